//! Sources, sinks and stores, as the configuration names them.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use cohort_connectors::aerospike::sink::{AerospikeSink, AerospikeStatus};
use cohort_connectors::aerospike::{Aerospike, AerospikeOptions};
use cohort_connectors::checkpoint::ObjectCheckpoints;
use cohort_connectors::embedded::dead_letters::DeadLetters;
use cohort_connectors::embedded::log::{EventLog, Record};
use cohort_connectors::embedded::profiles::Profiles;
use cohort_connectors::embedded::source::EmbeddedSource;
use cohort_connectors::file::follow::{Files, Follow};
use cohort_connectors::kafka::history::KafkaHistory;
use cohort_connectors::kafka::producer::{DeadLetterTopic, KafkaProducer, Outgoing, ResultTopic};
use cohort_connectors::kafka::rekey::Rekeyer;
use cohort_connectors::kafka::source::KafkaSource;
use cohort_connectors::kafka::{KafkaOptions, admin, rekey};
use cohort_connectors::object::store;
use cohort_connectors::retained::Retained;
use cohort_engine::formats::Formats;
use cohort_engine::sink::{DeadLetter, DeadLetterSink, Sink, SinkError};
use cohort_engine::source::Source;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme};
use tokio::runtime::Handle;

use super::elsewhere::NoEvents;
use crate::config::{self, ClientTls, Config, SinkKind, SourceKind};

/// Where events that come over HTTP go.
#[derive(Clone)]
pub enum Intake {
    /// To the embedded log.
    Log(EventLog),
    /// To topics of Kafka, those that hold plain JSON events.
    Topics(Arc<Mutex<KafkaProducer>>, Arc<Formats>),
    /// Nowhere: events come from files, or are evaluated elsewhere.
    Closed,
}

impl Intake {
    /// Takes events in; when it returns, they outlive the process.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(&self, records: &[(Record<'_>, i64)], now: i64) -> Result<(), String> {
        match self {
            Intake::Log(log) => {
                let records: Vec<Record<'_>> = records.iter().map(|(r, _)| *r).collect();
                log.append(&records, now).map(|_| ()).map_err(|e| e.to_string())
            }
            Intake::Topics(producer, _) => {
                if let Some(topic) = records.iter().map(|(r, _)| r.topic).find(|topic| !self.takes(topic)) {
                    return Err(format!("records of {topic} are no plain JSON events (source.format): they are written to Kafka by others"));
                }
                let outgoing = records.iter().map(|(r, time)| Outgoing {
                    topic: r.topic,
                    key: (!r.user.is_empty()).then_some(r.user),
                    value: r.payload,
                    time: Some((*time).max(0)),
                    headers: vec![],
                });
                producer.lock().unwrap_or_else(PoisonError::into_inner).write(outgoing).map(|_| ()).map_err(|e| e.to_string())
            }
            Intake::Closed => Err("events come from files (source.kind), and none over HTTP".into()),
        }
    }
}

impl Intake {
    /// Whether a topic holds plain JSON events, as those that come over HTTP are.
    pub fn takes(&self, topic: &str) -> bool {
        match self {
            Intake::Log(_) => true,
            Intake::Topics(_, formats) => formats.of(Some(topic)).is_plain(),
            Intake::Closed => false,
        }
    }
}

/// Workers of the engine.
pub fn workers(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if config.engine.workers == 0 { cores } else { config.engine.workers }
}

/// How to reach Kafka, and what to read there.
pub fn kafka_options(config: &Config) -> Result<KafkaOptions> {
    let kafka = &config.source.kafka;
    Ok(KafkaOptions {
        brokers: kafka.brokers.clone(),
        properties: kafka.properties.0.clone(),
        group_id: kafka.group_id.clone(),
        topics: config.source.topics.clone(),
        start: kafka.start().map_err(|e| anyhow!("source.kafka.start: {e}"))?,
        rekey: kafka.rekey,
        formats: Arc::default(),
        // A tenth of the memory of state, for all workers together.
        fetch_ahead: usize::try_from(config.engine.memory_limit.0 / 10).unwrap_or(usize::MAX) / workers(config),
    })
}

/// Where events come from.
pub struct Sources {
    /// A source for each worker.
    pub sources: Vec<Box<dyn Source>>,
    /// Where events that come over HTTP go.
    pub intake: Intake,
    /// Partitions, of all workers and members.
    pub partitions: u32,
    /// What the source still keeps.
    pub retained: Arc<dyn Retained>,
    /// What writes topics anew by user, if anything does.
    pub rekeyer: Option<Rekeyer>,
}

/// The source of the configuration.
pub async fn sources(config: &Config, log: &EventLog) -> Result<Sources> {
    if config.source.kind == SourceKind::Embedded {
        let workers = (workers(config) as u32).clamp(1, log.partitions());
        let owned = |w: u32| (w..log.partitions()).step_by(workers as usize).collect();
        let sources = (0..workers).map(|w| Box::new(EmbeddedSource::new(log.clone(), owned(w))) as Box<dyn Source>).collect();
        let (intake, retained) = (Intake::Log(log.clone()), Arc::new(log.clone()));
        return Ok(Sources { sources, intake, partitions: log.partitions(), retained, rekeyer: None });
    }
    if config.source.kind == SourceKind::File {
        let files = Files::new(&config.source.file.paths, &config.source.file.topic).context("source.file.paths")?;
        let files = files.with_formats(config.source.formats(&Handle::current()).map_err(|e| anyhow!(e))?);
        let sources = vec![Box::new(Follow::new(&files)) as Box<dyn Source>];
        return Ok(Sources { sources, intake: Intake::Closed, partitions: 1, retained: Arc::new(files), rekeyer: None });
    }
    let formats = config.source.formats(&Handle::current()).map_err(|e| anyhow!(e))?;
    let options = KafkaOptions { formats, ..kafka_options(config)? };
    let is_results = config.source.kind == SourceKind::Results;
    let partitions = blocking({
        let options = options.clone();
        move || admin::check(&options)
    })
    .await?
    .context("source.kafka")?;
    if options.rekey {
        rekey::create_topic(&options, partitions as u32).await.context("source.kafka.rekey")?;
    }
    let partitions = if options.rekey { rekeyed_partitions(&options).await? } else { partitions };
    let rekeyer = if options.rekey { Some(Rekeyer::start(options.clone())?) } else { None };
    let workers = workers(config).clamp(1, partitions.max(1));
    tracing::info!(partitions, workers, group = options.group_id, "kafka");
    let source = |worker| KafkaSource::join(of_worker(&options, worker)).map(|s| Box::new(s) as Box<dyn Source>).context("source.kafka");
    let sources = (0..workers).map(source).collect::<Result<_>>()?;
    if is_results {
        return Ok(Sources { sources, intake: Intake::Closed, partitions: partitions as u32, retained: Arc::new(NoEvents), rekeyer });
    }
    let producer = KafkaProducer::new(&options.shared()).context("source.kafka")?;
    let intake = Intake::Topics(Arc::new(Mutex::new(producer)), Arc::clone(&options.formats));
    let retained = Arc::new(KafkaHistory::new(options, partitions as u32).context("source.kafka")?);
    Ok(Sources { sources, intake, partitions: partitions as u32, retained, rekeyer })
}

/// A static member has a name of its own for each worker.
fn of_worker(options: &KafkaOptions, worker: usize) -> KafkaOptions {
    let mut options = options.clone();
    if let Some(name) = options.properties.get_mut("group.instance.id") {
        *name = format!("{name}-{worker}");
    }
    options
}

async fn rekeyed_partitions(options: &KafkaOptions) -> Result<usize> {
    let (options, topic) = (options.clone(), options.rekeyed());
    let counts = blocking(move || admin::partitions(&options, &[topic])).await??;
    Ok(counts.into_values().max().unwrap_or_default())
}

/// What writes results, and what else knows of them.
pub struct Sinks {
    /// In turn; the embedded profiles, which answer look-ups, first.
    pub sinks: Vec<Box<dyn Sink>>,
    /// The shared store, if there is one.
    pub aerospike: Option<(Aerospike, Arc<AerospikeStatus>)>,
    /// How often members are to be made to live on.
    pub refresh: std::time::Duration,
}

/// The sinks of the configuration.
pub async fn sinks(config: &Config, profiles: &Profiles) -> Result<Sinks> {
    let mut made = Sinks { sinks: vec![Box::new(profiles.clone())], aerospike: None, refresh: config.sink.ttl.duration() / 3 };
    for sink in config.all_sinks() {
        match sink.kind {
            SinkKind::Embedded | SinkKind::None => {}
            SinkKind::Aerospike => {
                let aerospike = Aerospike::new(aerospike_options(&sink.aerospike)?);
                match aerospike.client().await {
                    Ok(_) => {}
                    Err(problem) if problem.fatal => bail!("sink.aerospike: {problem}"),
                    Err(problem) => tracing::error!(%problem, "sink.aerospike; nothing is read until it can be written"),
                }
                let status = Arc::new(AerospikeStatus::default());
                made.sinks.push(Box::new(AerospikeSink::new(aerospike.clone(), Handle::current(), Arc::clone(&status))));
                made.refresh = made.refresh.min(sink.aerospike.ttl.duration() / 3);
                made.aerospike = Some((aerospike, status));
            }
            SinkKind::Kafka => {
                let options = kafka_sink_options(config, &sink.kafka)?;
                ensure_topic(&options, &sink.kafka.topic).await.context("sink.kafka.topic")?;
                let producer = KafkaProducer::new(&options).context("sink.kafka")?;
                made.sinks.push(Box::new(ResultTopic { producer, topic: sink.kafka.topic.clone() }));
            }
        }
    }
    Ok(made)
}

fn kafka_sink_options(config: &Config, sink: &config::KafkaSink) -> Result<KafkaOptions> {
    let mut options = kafka_options(config)?.shared();
    if !sink.brokers.is_empty() {
        (options.brokers, options.properties) = (sink.brokers.clone(), Default::default());
    }
    options.properties.extend(sink.properties.0.clone());
    Ok(options)
}

/// A topic that is to be written is made, if it is not there and may be made.
async fn ensure_topic(options: &KafkaOptions, topic: &str) -> Result<()> {
    let (there, wanted) = (options.clone(), vec![topic.to_string()]);
    let counts = blocking({
        let wanted = wanted.clone();
        move || admin::partitions(&there, &wanted)
    })
    .await??;
    if counts.values().all(|n| *n > 0) {
        return Ok(());
    }
    admin::create(options, &wanted, 6, &[]).await.with_context(|| format!("there is no topic {topic:?}"))
}

fn aerospike_options(a: &config::AerospikeSink) -> Result<AerospikeOptions> {
    Ok(AerospikeOptions {
        hosts: a.hosts.clone(),
        namespace: a.namespace.clone(),
        set: a.set.clone(),
        ttl: a.ttl.duration(),
        timeout: a.timeout.duration(),
        login: a.login().map_err(|e| anyhow!("sink.aerospike.{e}"))?,
        tls: a.tls.as_ref().map(client_tls).transpose().context("sink.aerospike.tls")?,
        batch: a.batch,
        in_flight: a.in_flight,
    })
}

fn client_tls(tls: &ClientTls) -> Result<Arc<rustls::ClientConfig>> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = rustls::RootCertStore::empty();
    let Some(ca) = &tls.ca else { bail!("ca: name the file of the authority that signs the servers' certificates") };
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    let config = match tls.own().map_err(|e| anyhow!(e))? {
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?
        }
        None => config.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Dead letters to several places.
struct Everywhere(Vec<Box<dyn DeadLetterSink>>);

impl DeadLetterSink for Everywhere {
    fn put(&mut self, letters: &[DeadLetter]) -> Result<(), SinkError> {
        self.0.iter_mut().try_for_each(|sink| sink.put(letters))
    }
}

/// Where dead letters go: to the embedded store, and with Kafka to their topic.
pub async fn dead_letters(config: &Config, kept: &DeadLetters) -> Result<Box<dyn DeadLetterSink>> {
    let topic = &config.dead_letters.topic;
    if !config.source.kind.is_kafka() || topic.is_empty() {
        return Ok(Box::new(kept.clone()));
    }
    let options = kafka_options(config)?.shared();
    ensure_topic(&options, topic).await.context("dead_letters.topic (leave it empty for none)")?;
    let producer = KafkaProducer::new(&options).context("dead_letters")?;
    Ok(Box::new(Everywhere(vec![Box::new(kept.clone()), Box::new(DeadLetterTopic { producer, topic: topic.clone() })])))
}

/// The checkpoint store of `checkpoint.url`.
pub fn checkpoints(config: &Config) -> Result<ObjectCheckpoints> {
    let (store, root) =
        object_store(&config.checkpoint.url).with_context(|| format!("checkpoint.url: {}", crate::catalog::redacted(&config.checkpoint.url)))?;
    Ok(ObjectCheckpoints::new(store, root, config.checkpoint.keep, Handle::current()))
}

fn object_store(url: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
    if let Some(path) = url.strip_prefix("file:") {
        let folder = std::path::Path::new(path.strip_prefix("//").unwrap_or(path));
        std::fs::create_dir_all(folder)?;
        return Ok((Arc::new(LocalFileSystem::new_with_prefix(folder)?), Path::default()));
    }
    let url = url.parse().map_err(|e| anyhow!("{e}"))?;
    if !matches!(ObjectStoreScheme::parse(&url)?.0, ObjectStoreScheme::Memory | ObjectStoreScheme::AmazonS3) {
        bail!("is none of file:, s3:");
    }
    store::of_url(&url, None).map_err(|e| anyhow!(e))
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}
