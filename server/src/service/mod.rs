//! The running service: the live engine with its stores, the catalog, and what the API asks of them.
//!
//! [`connect`] makes sources and sinks of the configuration, [`elsewhere`] is for events that are evaluated elsewhere, [`segments`] changes what runs, [`feed`] follows a feed of rules, [`history`] runs programs over retained events, [`members`] knows the
//! other members of the group, [`results`] passes results on to
//! those who watch, [`samples`] remembers how the service stood, [`query`] answers SELECT, [`shown`] shows records as events, [`trial`] tries segments out.

pub mod connect;
pub mod elsewhere;
pub mod feed;
pub mod history;
pub mod members;
pub mod query;
pub mod results;
pub mod samples;
pub mod segments;
pub mod shown;
pub mod trial;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use arc_swap::ArcSwap;
use cohort_compiler::{CompileCache, CompileOptions, compile_cached};
use cohort_connectors::aerospike::Aerospike;
use cohort_connectors::aerospike::sink::AerospikeStatus;
use cohort_connectors::embedded::dead_letters::DeadLetters;
use cohort_connectors::embedded::log::{EventLog, LogOptions};
use cohort_connectors::embedded::profiles::{ProfileOptions, Profiles};
use cohort_connectors::embedded::{EmbeddedError, Store};
use cohort_connectors::kafka::rekey::{RekeyStatus, Rekeyer};
use cohort_connectors::retained::Retained;
use cohort_engine::Settings;
use cohort_engine::checkpoint::CheckpointStore;
use cohort_engine::runtime::{Parts, Runtime};
use cohort_engine::worker::{Clock, Deployment, Programs, WorkerSettings};
use tokio::runtime::Handle;

use crate::catalog::Catalog;
use crate::config::Config;
use connect::Intake;
use results::Results;
use segments::{Current, Listed, source, sources};

/// How often what was appended is written through to the disk. The database does so by itself when it begins another journal, and appends
/// wait meanwhile: so there must be little left.
const SYNC_INTERVAL: Duration = Duration::from_millis(200);

/// All that the service consists of.
pub struct Service {
    /// How it is configured.
    pub config: Config,
    /// The segments.
    pub catalog: Catalog,
    /// The events, where the embedded log is the source.
    pub log: EventLog,
    /// What the source still keeps, to be read beside the engine.
    pub retained: Arc<dyn Retained>,
    /// How writing topics anew by user goes, if that is done.
    pub rekey: Option<Arc<RekeyStatus>>,
    /// Where events that come over HTTP go.
    pub intake: Intake,
    /// Partitions of the source.
    pub partitions: u32,
    /// The other members of the group.
    pub members: members::Members,
    /// The shared store of profiles, if there is one.
    pub aerospike: Option<(Aerospike, Arc<AerospikeStatus>)>,
    /// The memberships.
    pub profiles: Profiles,
    /// Records that were not accepted.
    pub dead_letters: DeadLetters,
    /// The workers.
    pub runtime: Runtime,
    /// What runs.
    pub current: ArcSwap<Current>,
    /// The newest results.
    pub results: Results,
    /// What time it is.
    pub clock: Clock,
    /// When the service started, ms since the epoch.
    pub started_at: i64,
    /// How the catalog stands.
    pub catalog_state: Mutex<CatalogState>,
    /// How the service stood of late.
    pub samples: samples::Samples,
    /// Records that came over HTTP and were not accepted, by reason, since the start.
    pub rejected: Mutex<BTreeMap<&'static str, u64>>,
    /// What is kept in the folder of data.
    stores: [Store; 2],
    /// Whether it was told to stop, so that nobody looks after the stores any more.
    stopped: Arc<AtomicBool>,
    rekeyer: Mutex<Option<Rekeyer>>,
    editing: tokio::sync::Mutex<()>,
    /// Held by the one that reads objects of a store to try a segment out.
    pub backtesting: tokio::sync::Mutex<()>,
    /// Compilations of what is to run.
    cache: Arc<tokio::sync::Mutex<CompileCache>>,
    /// Compilations of what is only asked about.
    asking: Arc<tokio::sync::Mutex<CompileCache>>,
}

/// How the catalog stood when it was last looked at.
#[derive(Debug, Clone, Default)]
pub struct CatalogState {
    /// What was wrong.
    pub error: Option<String>,
    /// When it last answered, ms since the epoch.
    pub read_at: i64,
}

/// Milliseconds since the epoch, by the system's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
    })
}

impl Service {
    /// Opens the stores, restores the state, and starts to read.
    ///
    /// # Errors
    /// When a store cannot be opened, or the state cannot be restored.
    pub async fn start(config: Config, clock: Clock) -> Result<Arc<Self>> {
        std::fs::create_dir_all(&config.data).with_context(|| format!("data: {}", config.data.display()))?;
        let store = Store::open(&config.data.join("store")).with_context(|| format!("data: {} (is another cohort using it?)", config.data.display()))?;
        let options =
            LogOptions { partitions: config.source.partitions, retention_ms: config.source.retention.0, retention_bytes: config.source.retention_bytes.0 };
        let log = EventLog::open(&store, options)?;
        // Apart from the log, which takes events while profiles are written through to the disk.
        let profile_store = Store::open(&config.data.join("profiles"))?;
        let profiles = Profiles::open(&profile_store, ProfileOptions::new(config.sink.ttl.0), Arc::clone(&clock))?;
        Profiles::forget_older_stores(&store)?;
        let dead_letters = DeadLetters::open(&store, config.dead_letters.keep)?;
        let catalog = Catalog::open(&config.catalog.url).await?;
        let results = Results::default();
        let (revision, stored) = catalog.all().await?;
        let mut cache = CompileCache::default();
        let stored: Vec<_> = stored.into_iter().map(Listed::new).collect();
        let program = compile_cached(&sources(&stored), &CompileOptions::default(), &mut cache).context("the catalog does not compile")?;
        let program = Arc::new(program);
        let deployment = Deployment::new(revision, elsewhere::to_run(&config, Arc::clone(&program)));
        let checkpoints: Arc<dyn CheckpointStore> = Arc::new(connect::checkpoints(&config)?);
        let connect::Sinks { mut sinks, aerospike, refresh } = connect::sinks(&config, &profiles).await?;
        sinks.push(results.sink(profiles.clone(), Arc::clone(&clock)));
        let connect::Sources { sources, intake, partitions, retained, rekeyer } = connect::sources(&config, &log).await?;
        let cache = Arc::new(tokio::sync::Mutex::new(cache));
        let parts = Parts {
            settings: worker_settings(&config, sources.len(), refresh),
            sources,
            sinks,
            dead_letters: connect::dead_letters(&config, &dead_letters).await?,
            store: checkpoints,
            clock: Arc::clone(&clock),
            programs: Arc::new(Older { catalog: catalog.clone(), cache: Arc::clone(&cache), handle: Handle::current(), config: config.clone() }),
        };
        let started_at = clock();
        let current = Current::new(revision, program, stored);
        let runtime = tokio::task::spawn_blocking(move || Runtime::start(parts, &deployment)).await?.map_err(|e| anyhow!(e))?;
        let service = Arc::new(Service {
            catalog,
            log,
            retained,
            rekey: rekeyer.as_ref().map(|r| Arc::clone(&r.status)),
            rekeyer: Mutex::new(rekeyer),
            intake,
            partitions,
            members: members::Members::default(),
            aerospike,
            profiles,
            dead_letters,
            runtime,
            current: ArcSwap::from_pointee(current),
            results,
            clock,
            started_at,
            catalog_state: Mutex::new(CatalogState { error: None, read_at: started_at }),
            samples: samples::Samples::default(),
            rejected: Mutex::default(),
            stores: [store, profile_store],
            stopped: Arc::default(),
            editing: tokio::sync::Mutex::new(()),
            backtesting: tokio::sync::Mutex::new(()),
            cache,
            asking: Arc::default(),
            config,
        });
        service.housekeeping();
        Ok(service)
    }

    /// Time and memory of evaluation.
    pub fn settings(&self) -> Settings {
        worker_settings(&self.config, 1, Duration::ZERO).state
    }

    /// Starts what has to be done now and then.
    fn housekeeping(self: &Arc<Self>) {
        let (log, clock) = (self.log.clone(), Arc::clone(&self.clock));
        let chore = |period, what, work: Chore| every(period, what, Arc::clone(&self.stopped), work);
        chore(Duration::from_secs(10), "retention", Box::new(move || log.enforce_retention(clock()).map_err(|e| e.to_string())));
        let stores = self.stores.clone();
        chore(SYNC_INTERVAL, "sync", Box::new(move || sync(&stores).map_err(|e| e.to_string())));
        let profiles = self.profiles.clone();
        let mut after: Option<String> = None;
        let expire = move || {
            after = profiles.expire(after.as_deref(), 20_000).map_err(|e| e.to_string())?;
            Ok(())
        };
        chore(Duration::from_secs(1), "expiry", Box::new(expire));
        tokio::spawn(samples::take(Arc::downgrade(self)));
        if self.config.source.kind.is_kafka() {
            tokio::spawn(members::announce(Arc::downgrade(self)));
        }
        if !self.config.rules.url.is_empty() {
            tokio::spawn(feed::follow(Arc::downgrade(self)));
        }
        let weak = Arc::downgrade(self);
        let refresh = self.config.catalog.refresh.duration();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(refresh).await;
                let Some(service) = weak.upgrade() else { return };
                let error = service.refresh().await.err().map(|problem| problem.detail);
                if let Some(problem) = &error {
                    tracing::warn!(problem, "catalog refresh");
                }
                service.note_catalog(error);
            }
        });
    }

    fn note_catalog(&self, error: Option<String>) {
        let mut state = self.catalog_state.lock().unwrap_or_else(PoisonError::into_inner);
        if error.is_none() {
            state.read_at = (self.clock)();
        }
        state.error = error;
    }

    /// Stops reading, saves all state, and writes what is left.
    pub async fn stop(self: &Arc<Self>) {
        let service = Arc::clone(self);
        self.stopped.store(true, Ordering::Relaxed);
        let stopped = tokio::task::spawn_blocking(move || {
            drop(service.rekeyer.lock().unwrap_or_else(PoisonError::into_inner).take());
            service.runtime.stop();
            sync(&service.stores)
        });
        if let Ok(Err(error)) = stopped.await {
            tracing::error!(%error, "stop");
        }
    }
}

/// Has all be on the disk.
fn sync(stores: &[Store]) -> Result<(), EmbeddedError> {
    let outcomes: Vec<_> = stores.iter().map(Store::sync).collect();
    outcomes.into_iter().collect()
}

/// What has to be done now and then.
type Chore = Box<dyn FnMut() -> Result<(), String> + Send>;

/// Does something again and again, on a thread for work that blocks, until the service stops.
fn every(period: Duration, what: &'static str, stopped: Arc<AtomicBool>, mut work: Chore) {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(period).await;
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            let run = move || {
                let outcome = work();
                (outcome, work)
            };
            let Ok((outcome, next)) = tokio::task::spawn_blocking(run).await else { return };
            if let Err(error) = outcome {
                tracing::error!(error, what, "housekeeping");
            }
            work = next;
        }
    });
}

fn worker_settings(config: &Config, workers: usize, refresh: Duration) -> WorkerSettings {
    let memory = usize::try_from(config.engine.memory_limit.0).unwrap_or(usize::MAX);
    let of_worker = memory / workers.max(1);
    let state = Settings {
        out_of_orderness: config.time.out_of_orderness.0,
        allowed_lateness: config.time.allowed_lateness.0,
        // Partitions of Kafka come and go: only their sum is bounded.
        spill: Some(config.data.join("spill")),
        memory_limit: if config.source.kind.is_kafka() { of_worker } else { memory / config.source.partitions.max(1) as usize },
    };
    WorkerSettings {
        state,
        batch_rows: config.engine.batch_rows,
        linger: config.engine.batch_linger.duration(),
        idle_timeout: config.time.idle_timeout.0,
        max_future: config.time.max_future.0,
        checkpoint_interval: config.checkpoint.interval.duration(),
        refresh_interval: refresh,
        worker_memory: of_worker,
        reads: elsewhere::reads(config),
    }
}

/// Programs of older revisions, compiled as they are asked for, from threads that are not the runtime's.
struct Older {
    catalog: Catalog,
    cache: Arc<tokio::sync::Mutex<CompileCache>>,
    handle: Handle,
    config: Config,
}

impl Programs for Older {
    fn at(&self, revision: i64) -> Option<Deployment> {
        let segments = self.handle.block_on(self.catalog.active_at(revision)).inspect_err(|error| tracing::error!(%error, revision, "catalog")).ok()?;
        let sources: Vec<_> = segments.iter().map(|(id, name, body)| source(id, name, body)).collect();
        let program = compile_cached(&sources, &CompileOptions::default(), &mut self.cache.blocking_lock());
        let program = program.inspect_err(|error| tracing::error!(%error, revision, "an older program does not compile")).ok()?;
        Some(Deployment::new(revision, elsewhere::to_run(&self.config, Arc::new(program))))
    }
}
