//! `cohort serve` and `cohort demo`: the service until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use cohort_connectors::embedded::log::Record;
use cohort_connectors::kafka::admin;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use serde_json::json;
use tokio::sync::watch;

use crate::api;
use crate::api::auth::Tokens;
use crate::catalog::Edit;
use crate::config::{Config, Source, SourceKind, Telemetry, Tls};
use crate::generate::{Generator, GeneratorConfig};
use crate::postgres;
use crate::service::connect::kafka_options;
use crate::service::{Service, system_clock};
use crate::telemetry::{self, LogFormat};

/// Flags of `cohort serve`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Where the configuration comes from.
#[derive(clap::Args)]
pub struct ConfigArgs {
    /// The configuration, as TOML.
    #[arg(long)]
    config: Option<PathBuf>,
    /// A key of the configuration with its value, for instance --set server.listen=127.0.0.1:9000.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = super::pair)]
    set: Vec<(String, String)>,
}

impl ConfigArgs {
    /// Only what it says of records.
    pub fn load_source(&self) -> Result<Source> {
        Config::load_source(self.config.as_deref(), &self.set).map_err(|e| super::Usage(e.to_string()).into())
    }

    /// The configuration, over which `more` and then the flags go.
    pub fn load(&self, more: &[(&str, &str)]) -> Result<Config> {
        let mut flags: Vec<(String, String)> = more.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        flags.extend(self.set.clone());
        Config::load(self.config.as_deref(), &flags).map_err(|e| super::Usage(e.to_string()).into())
    }
}

/// Runs `cohort serve`.
pub fn run(args: &Args, logs: LogFormat) -> Result<()> {
    let config = args.config.load(&[])?;
    with_telemetry(&config.telemetry.clone(), logs, serve(config, None))
}

/// Runs the service with logs and traces; what is left of the traces is sent when it ends.
fn with_telemetry(telemetry: &Telemetry, logs: LogFormat, service: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = runtime()?;
    let traces = telemetry::start(logs, telemetry, runtime.handle()).map_err(|e| super::Usage(format!("telemetry.otlp_endpoint: {e}")))?;
    let outcome = runtime.block_on(service);
    traces.end();
    outcome
}

/// Prints the effective configuration.
pub fn print_config(args: &ConfigArgs) -> Result<()> {
    super::print(&args.load(&[])?.effective())
}

/// Flags of `cohort demo`.
#[derive(clap::Args)]
pub struct DemoArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Events a second.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// Users.
    #[arg(long, default_value_t = 5_000)]
    users: u64,
    /// Events go through Kafka: its brokers. Topics that are not there are made.
    #[arg(long, value_name = "BROKERS")]
    kafka: Option<String>,
    /// Memberships go to Aerospike: its hosts.
    #[arg(long, value_name = "HOSTS")]
    aerospike: Option<String>,
}

/// Runs `cohort demo`.
pub fn demo(args: &DemoArgs, logs: LogFormat) -> Result<()> {
    if args.rate == 0 || args.users == 0 {
        return Err(super::Usage("--rate and --users must be at least 1".into()).into());
    }
    let mut set = vec![("time.out_of_orderness", "2s".to_string()), ("time.idle_timeout", "5s".to_string())];
    if let Some(brokers) = &args.kafka {
        set.extend([("source.kind", "kafka".to_string()), ("source.kafka.brokers", format!("{brokers:?}"))]);
    }
    if let Some(hosts) = &args.aerospike {
        set.extend([("sink.kind", "aerospike".to_string()), ("sink.aerospike.hosts", format!("{hosts:?}"))]);
    }
    let set: Vec<(&str, &str)> = set.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let config = args.config.load(&set)?;
    let demo = async {
        if config.source.kind == SourceKind::Kafka {
            let options = kafka_options(&config)?;
            admin::create(&options, &options.topics, DEMO_PARTITIONS, &[]).await.context("source.kafka")?;
        }
        serve(config.clone(), Some((args.rate, args.users))).await
    };
    with_telemetry(&config.telemetry, logs, demo)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    // Deeply nested statements are planned on these threads; only what is used of a stack takes memory.
    let builder = &mut tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).thread_stack_size(cohort_engine::runtime::STACK).enable_all().build().context("tokio")
}

/// Partitions of topics that the demonstration makes.
const DEMO_PARTITIONS: u32 = 4;

async fn serve(mut config: Config, demo: Option<(u64, u64)>) -> Result<()> {
    let tokens = Arc::new(Tokens::new(&config.server.tokens).map_err(|e| super::Usage(format!("server.tokens: {e}")))?);
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0])?
        .install_recorder()
        .map_err(|e| anyhow!("metrics: {e}"))?;
    api::metrics::describe();
    let server = config.server.clone();
    // Bound before anything else, so that an address in use is found at once.
    let listener = std::net::TcpListener::bind(server.listen).with_context(|| format!("server.listen: {}", server.listen))?;
    let address = listener.local_addr()?;
    let postgres = match server.postgres {
        Some(address) => Some(tokio::net::TcpListener::bind(address).await.with_context(|| format!("server.postgres: {address}"))?),
        None => None,
    };
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    if config.server.advertise.is_empty() {
        config.server.advertise = format!("{scheme}://{address}");
    }
    let tls = match &server.tls {
        Some(files) => Some(certificate(files).await?),
        None => None,
    };
    let service = Service::start(config, system_clock()).await?;
    let router = api::router(&service, Arc::clone(&tokens), metrics);
    let handle = Handle::new();
    let (stopping, stop) = watch::channel(false);
    let ends = Ends { http: handle.clone(), postgres: stopping.clone() };
    tokio::spawn(stop_on_signal(ends.clone()));
    tokio::spawn(stop_on_failure(Arc::downgrade(&service), ends));
    let postgres = match postgres {
        Some(listener) => {
            eprintln!("cohort speaks PostgreSQL on {}", listener.local_addr()?);
            let tls = tls.as_ref().map(RustlsConfig::get_inner);
            Some(tokio::spawn(postgres::serve(listener, postgres::Options { app: Arc::clone(&service), tokens, tls, stop })))
        }
        None => None,
    };
    eprintln!("cohort listens on {scheme}://{address} (API {scheme}://{address}/docs)");
    if let Some((rate, users)) = demo {
        sample_segments(&service).await?;
        start_generator(&service, rate, users);
        eprintln!("demo: {rate} events/s of {users} users; open {scheme}://{address}/ and press Ctrl-C to end");
    }
    let app = router.into_make_service();
    let served = match tls {
        Some(tls) => axum_server::from_tcp_rustls(listener, tls)?.handle(handle).serve(app).await,
        None => axum_server::from_tcp(listener)?.handle(handle).serve(app).await,
    };
    let failure = service.runtime.failure();
    let _ = stopping.send(true);
    if let Some(postgres) = postgres {
        postgres.await.context("postgres")?;
    }
    service.stop().await;
    served.context("server")?;
    failure.map_or(Ok(()), |why| Err(anyhow!("stopped: {why}")))
}

/// What to tell that the service stops.
#[derive(Clone)]
struct Ends {
    http: Handle<std::net::SocketAddr>,
    postgres: watch::Sender<bool>,
}

impl Ends {
    /// Takes no more requests; those that run have a moment to end.
    fn stop(&self) {
        let _ = self.postgres.send(true);
        self.http.graceful_shutdown(Some(Duration::from_secs(2)));
    }
}

/// Ends the server when a sink says that it can never take results: what is not written is read again at the next
/// start.
async fn stop_on_failure(service: std::sync::Weak<Service>, ends: Ends) {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let Some(service) = service.upgrade() else { return };
        if let Some(why) = service.runtime.failure() {
            tracing::error!(why, "stopping");
            ends.stop();
            return;
        }
    }
}

/// The certificate and key of files.
async fn certificate(files: &Tls) -> Result<RustlsConfig> {
    // Another part may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let read = RustlsConfig::from_pem_file(&files.certificate, &files.key).await;
    read.map_err(|e| super::Usage(format!("server.tls: {}: {e}", files.certificate.display())).into())
}

/// Ends the server on Ctrl-C and SIGTERM: requests have a moment to end.
async fn stop_on_signal(ends: Ends) {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else { return };
        tokio::select! {
            _ = interrupt => {}
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = interrupt.await;
    tracing::info!("stopping");
    ends.stop();
}

const SAMPLES: &str = include_str!("../../demo.sql");

/// Creates the sample segments that are not there yet.
async fn sample_segments(service: &Arc<Service>) -> Result<()> {
    let pieces = cohort_compiler::statement::pieces(SAMPLES).map_err(|f| anyhow!(f.message))?;
    let mut edits = vec![];
    for piece in pieces {
        let draft = crate::service::segments::draft(&json!({"sql": piece.text}), None).map_err(|p| anyhow!(p.detail))?;
        if service.current.load().find(&draft.name).is_none() {
            edits.push(Edit::Create { name: draft.name, body: draft.body, description: draft.description, origin: "api".into(), active: true });
        }
    }
    if !edits.is_empty() {
        service.edit(edits, "demo").await.map_err(|p| anyhow!(p.detail))?;
    }
    Ok(())
}

/// Appends events at a steady rate. Every quarter of a minute another set of users is busy, so that numbers move.
fn start_generator(service: &Arc<Service>, rate: u64, users: u64) {
    let weak = Arc::downgrade(service);
    std::thread::spawn(move || {
        let period = Duration::from_millis(100);
        let (mut seed, mut owed) = (1, 0.0);
        let mut next = Instant::now();
        loop {
            next += period;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            let Some(service) = weak.upgrade() else { return };
            owed += rate as f64 * period.as_secs_f64();
            let events = owed as u64;
            owed -= events as f64;
            let now = (service.clock)();
            let phase = (now / 15_000) % 4;
            let config = GeneratorConfig {
                events,
                users,
                seed,
                from_ms: now - 100,
                span_ms: 100,
                disorder_ms: 500,
                user_prefix: format!("user_{}", ["a", "b", "c", "d"][phase as usize]),
                ..GeneratorConfig::default()
            };
            seed += 1;
            if let Err(error) = append(&service, config, now) {
                tracing::warn!(error, "generator");
            }
        }
    });
}

fn append(service: &Service, config: GeneratorConfig, now: i64) -> Result<(), String> {
    let mut generator = Generator::new(config);
    let mut events = vec![];
    while let Some(event) = generator.next_event() {
        let payload = serde_json::to_vec(&event).map_err(|e| e.to_string())?;
        events.push((event.topic().name(), event.user_id.clone(), payload, event.timestamp));
    }
    let records: Vec<_> = events.iter().map(|(topic, user, payload, time)| (Record { topic, user: user.as_bytes(), payload }, *time)).collect();
    service.intake.append(&records, now)
}
