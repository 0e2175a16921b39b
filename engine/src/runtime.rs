//! Starts the workers and the outbox, and speaks with them: [`Runtime::deploy`] gives all workers a new program,
//! [`Runtime::ask`] runs a question where a user's state is, [`Runtime::stop`] ends them with their state saved.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::checkpoint::CheckpointStore;
use crate::handover::open;
use crate::outbox::{Outbox, OutboxStatus};
use crate::sink::{DeadLetterSink, Sink};
use crate::source::Source;
use crate::waiting::Waiting;
use crate::worker::{Clock, Command, Deployment, Measures, Programs, Running, Scratch, Worker, WorkerError, WorkerSettings, WorkerStatus};

/// Batches of results that may wait for the sink.
const QUEUE: usize = 64;

/// Threads that run what users wrote have as much stack as those that plan it.
pub use cohort_compiler::STACK;

/// What a runtime is made of.
pub struct Parts {
    /// One source for each worker.
    pub sources: Vec<Box<dyn Source>>,
    /// Where results go, in turn.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Where dead letters go.
    pub dead_letters: Box<dyn DeadLetterSink>,
    /// Where checkpoints go.
    pub store: Arc<dyn CheckpointStore>,
    /// How workers run.
    pub settings: WorkerSettings,
    /// What time it is.
    pub clock: Clock,
    /// Programs of older revisions, for what a restart must repeat.
    pub programs: Arc<dyn Programs>,
}

struct Handle {
    commands: Sender<Command>,
    status: Arc<Mutex<WorkerStatus>>,
}

/// Workers that run.
pub struct Runtime {
    workers: Vec<Handle>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    outbox: Arc<OutboxStatus>,
    sent: Arc<AtomicBool>,
}

impl Handle {
    fn status(&self) -> WorkerStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn partitions(&self) -> Vec<u32> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).partitions.iter().map(|p| p.partition).collect()
    }
}

/// A runtime that cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A partition's state cannot be restored.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl Runtime {
    /// Restores the partitions that are there from the start, and starts to read. `newest` is the program to run.
    ///
    /// # Errors
    /// When state cannot be restored, or threads cannot be started.
    pub fn start(parts: Parts, newest: &Deployment) -> Result<Self, StartError> {
        let (out, from) = sync_channel(QUEUE);
        let (stopping, outbox) = (Arc::new(AtomicBool::new(false)), Arc::new(OutboxStatus::default()));
        let Parts { sources, sinks, dead_letters, store, settings, clock, programs } = parts;
        let (mut handles, mut ready) = (vec![], vec![]);
        for source in sources {
            let (commands, receive) = channel();
            let status = Arc::new(Mutex::new(WorkerStatus::default()));
            handles.push(Handle { commands, status: Arc::clone(&status) });
            let mut worker = Worker {
                source,
                partitions: vec![],
                parked: vec![],
                newest: newest.clone(),
                programs: Arc::clone(&programs),
                commands: receive,
                out: out.clone(),
                outbox: Arc::clone(&outbox),
                store: Arc::clone(&store),
                settings: settings.clone(),
                clock: Arc::clone(&clock),
                status,
                sent: 0,
                stopped: false,
                woken: None,
                restored: (0, 0),
                measures: Measures::default(),
                scratch: Scratch::default(),
                waiting: Waiting::default(),
            };
            open_all(&mut worker)?;
            ready.push(worker);
        }
        drop(out);
        let mut threads = vec![];
        for (n, worker) in ready.into_iter().enumerate() {
            let _ = handles[n].commands.send(Command::Deploy(newest.clone()));
            threads.push(std::thread::Builder::new().name(format!("worker-{n}")).stack_size(STACK).spawn(move || drop(worker.run()))?);
        }
        let outbox_thread = Outbox { from, sinks, dead_letters, store, clock, status: Arc::clone(&outbox), stopping: Arc::clone(&stopping) };
        threads.push(std::thread::Builder::new().name("outbox".into()).spawn(move || outbox_thread.run())?);
        Ok(Runtime { workers: handles, threads: Mutex::new(threads), outbox, sent: stopping })
    }

    /// Has all workers run another program from their next batch on.
    pub fn deploy(&self, deployment: &Deployment) {
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Deploy(deployment.clone()));
        }
    }

    /// Asks a question of the partition's worker, between two batches; `None` when there is no such partition, or
    /// its worker does not answer in time.
    pub fn ask<T: Send + 'static>(&self, partition: u32, timeout: Duration, question: impl FnOnce(&mut Running) -> T + Send + 'static) -> Option<T> {
        self.send_question(partition, question)?.recv_timeout(timeout).ok()
    }

    fn send_question<T: Send + 'static>(&self, partition: u32, question: impl FnOnce(&mut Running) -> T + Send + 'static) -> Option<Receiver<T>> {
        let worker = self.workers.iter().find(|w| w.partitions().contains(&partition))?;
        let (answer, wait) = sync_channel(1);
        let ask = move |running: &mut [Running]| {
            if let Some(partition) = running.iter_mut().find(|r| r.number == partition) {
                let _ = answer.send(question(partition));
            }
        };
        worker.commands.send(Command::Ask(Box::new(ask))).ok()?;
        Some(wait)
    }

    /// Asks a question of all partitions at once; returns the answers that come in time.
    pub fn ask_all<T: Send + 'static>(&self, timeout: Duration, question: impl Fn(&mut Running) -> T + Send + Sync + 'static) -> Vec<T> {
        let (question, until) = (Arc::new(question), Instant::now() + timeout);
        let ask = |p: u32| {
            let question = Arc::clone(&question);
            self.send_question(p, move |running| question(running))
        };
        let asked: Vec<Receiver<T>> = self.partitions().into_iter().filter_map(ask).collect();
        asked.into_iter().filter_map(|wait| wait.recv_timeout(until.saturating_duration_since(Instant::now())).ok()).collect()
    }

    /// The partitions that are read now.
    pub fn partitions(&self) -> Vec<u32> {
        self.workers.iter().flat_map(Handle::partitions).collect()
    }

    /// Saves all state now; returns whether that was published in time.
    pub fn checkpoint(&self, timeout: Duration) -> bool {
        let waits: Vec<Receiver<()>> = self.workers.iter().map(checkpoint_of).collect();
        waits.iter().all(|wait| wait.recv_timeout(timeout).is_ok())
    }

    /// How the workers stand.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.workers.iter().map(Handle::status).collect()
    }

    /// Batches that wait for the sinks.
    pub fn queued(&self) -> u64 {
        let sent = self.workers().iter().map(|w| w.sent).sum::<u64>();
        sent.saturating_sub(self.outbox.taken.load(Ordering::Relaxed))
    }

    /// Why nothing can be written any more, however often it is tried.
    pub fn failure(&self) -> Option<String> {
        self.outbox.stopped.load(Ordering::Acquire).then(|| self.outbox.error().unwrap_or_else(|| "a sink refuses results".into()))
    }

    /// How the sinks stand.
    pub fn outbox(&self) -> &OutboxStatus {
        &self.outbox
    }

    /// Stops reading, saves all state, writes what is left, and ends all threads.
    pub fn stop(&self) {
        self.sent.store(true, Ordering::Relaxed);
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Stop);
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread panicked");
            }
        }
    }
}

fn checkpoint_of(worker: &Handle) -> Receiver<()> {
    let (done, wait) = sync_channel(1);
    let _ = worker.commands.send(Command::Checkpoint(done));
    wait
}

/// Opens the partitions that a worker reads from the start on.
fn open_all(worker: &mut Worker) -> Result<(), WorkerError> {
    for number in worker.source.partitions() {
        let settings = (&worker.settings, &worker.clock);
        let (mut running, known) = open(number, &mut *worker.source, &*worker.store, settings, (&worker.newest, &*worker.programs))?;
        worker.source.begin(&running.positions)?;
        if known {
            running.catch_up(worker.source.lag(number));
        }
        worker.partitions.push(running);
    }
    worker.say(None);
    Ok(())
}
