//! The loop that everything runs in; read this first.
//!
//! A worker owns some partitions. It polls a micro-batch, decodes it, runs the program over it, hands results and
//! dead letters to the [`outbox`](crate::outbox) through a bounded queue, lets time pass, and now and then hands
//! over a checkpoint. Between two batches it takes a new program, where there is one, and answers questions about
//! its state. Nothing else touches a partition, so there are no locks here. Partitions that come and go are the
//! matter of [`handover`](crate::handover), records whose schema is not there yet that of [`waiting`](crate::waiting).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError};
use std::time::{Duration, Instant};

use crate::checkpoint::{Adoption, CheckpointError, CheckpointStore};
use crate::decode::{EventBatch, Reason, Rejected, Topics};
use crate::error::EngineError;
use crate::formats::Away;
use crate::outbox::{OutboxStatus, Outgoing};
use crate::partition::{Late, Settings};
use crate::relay::Reads;
use crate::result::ResultRow;
pub use crate::running::{Backfill, Counts, Deployment, PartitionStatus, Programs, Running};
use crate::sink::DeadLetter;
use crate::source::{Polled, Positions, RawBatch, Source, SourceError};
use crate::waiting::{Held, Waited, Waiting};

/// Milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How workers run.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Time and memory.
    pub state: Settings,
    /// The most records of a micro-batch.
    pub batch_rows: usize,
    /// The longest that a micro-batch waits for more records.
    pub linger: Duration,
    /// How long a partition without records holds time back, ms.
    pub idle_timeout: i64,
    /// How far ahead of the clock an event may be, ms.
    pub max_future: i64,
    /// How often state is saved.
    pub checkpoint_interval: Duration,
    /// How often the records of members are made to live on; never, when zero.
    pub refresh_interval: Duration,
    /// The most memory that the partitions of one worker may take together.
    pub worker_memory: usize,
    /// What records are.
    pub reads: Reads,
}

/// A worker that cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Evaluation failed, or state outgrew its limit.
    #[error("partition {partition}: {source}")]
    Engine {
        /// The partition.
        partition: u32,
        /// Why.
        source: EngineError,
    },
    /// A checkpoint, or a change of program, cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The source can never be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Nobody takes results any more.
    #[error("the sink's thread ended")]
    NoSink,
}

/// A question about a worker's partitions.
pub type Question = Box<dyn FnOnce(&mut [Running]) + Send>;

/// What a worker is asked between two batches.
pub enum Command {
    /// To run another program from the next batch on.
    Deploy(Deployment),
    /// Anything about its partitions.
    Ask(Question),
    /// To save its state now; the sender hears when it is published.
    Checkpoint(SyncSender<()>),
    /// To save its state and end.
    Stop,
}

/// How a worker stands.
#[derive(Debug, Clone, Default)]
pub struct WorkerStatus {
    /// Its partitions.
    pub partitions: Vec<PartitionStatus>,
    /// What it handed over so far.
    pub sent: u64,
    /// What the source says, while it cannot be read.
    pub source_error: Option<String>,
    /// Whether it waits for the sink.
    pub waits_for_sink: bool,
    /// Whether partitions wait for a schema, and are not read until it is there.
    pub waits_for_schema: bool,
    /// Partitions restored so far, and how long that took at most, ms.
    pub restored: (u64, u64),
    /// Why the worker ended, if it failed.
    pub failed: Option<String>,
}

/// A thread's worth of partitions.
pub struct Worker {
    /// What it reads.
    pub source: Box<dyn Source>,
    /// What it runs.
    pub partitions: Vec<Running>,
    /// Partitions that were handed back and may come again, with their state.
    pub parked: Vec<Running>,
    /// The newest program.
    pub newest: Deployment,
    /// Programs of older revisions.
    pub programs: Arc<dyn Programs>,
    /// What it is asked.
    pub commands: Receiver<Command>,
    /// Where results, dead letters and checkpoints go.
    pub out: SyncSender<Outgoing>,
    /// How they stand there.
    pub outbox: Arc<OutboxStatus>,
    /// Where changes of program are noted.
    pub store: Arc<dyn CheckpointStore>,
    /// How it runs.
    pub settings: WorkerSettings,
    /// What time it is.
    pub clock: Clock,
    /// Where it says how it stands.
    pub status: Arc<std::sync::Mutex<WorkerStatus>>,
    /// What it handed over so far.
    pub sent: u64,
    /// Whether it was told to stop.
    pub stopped: bool,
    /// When the first records of this turn came, if any did.
    pub woken: Option<Instant>,
    /// Partitions restored so far, and how long that took at most, ms.
    pub restored: (u64, u64),
    /// Records and seconds of batches.
    pub measures: Measures,
    /// Room for a batch.
    pub scratch: Scratch,
    /// Records whose schema cannot be had yet.
    pub waiting: Waiting,
}

/// How large batches are and how long they take.
pub struct Measures {
    rows: metrics::Histogram,
    seconds: metrics::Histogram,
}

impl Default for Measures {
    fn default() -> Self {
        Measures { rows: metrics::histogram!("cohort_batch_rows"), seconds: metrics::histogram!("cohort_batch_seconds") }
    }
}

/// Room for a batch, kept from one to the next.
#[derive(Default)]
pub struct Scratch {
    batch: RawBatch,
    events: EventBatch,
    rejected: Vec<Rejected>,
    late: Late,
    pub(crate) rows: Vec<ResultRow>,
}

/// How long a worker that ends waits for what it hands over to be written.
const LAST_WORD: Duration = Duration::from_secs(7);
/// The least time from the records of a turn to those of the next, unless `linger` is less: what a turn takes beside its records is paid no more
/// often than that.
const SHORTEST_TURN: Duration = Duration::from_millis(10);
/// How long the source rests after it could not be read.
const SOURCE_RETRY: Duration = Duration::from_millis(500);
/// How often a worker says how it stands, at most.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);

impl Worker {
    /// Runs until it is told to stop. The state is then saved.
    ///
    /// # Errors
    /// When it cannot go on; the status says why.
    pub fn run(mut self) -> Result<(), WorkerError> {
        let outcome = self.work();
        if let Err(error) = &outcome {
            tracing::error!(%error, "worker ended");
            lock(&self.status).failed = Some(error.to_string());
        }
        outcome
    }

    fn work(&mut self) -> Result<(), WorkerError> {
        let mut told = Instant::now();
        self.say(None);
        loop {
            let started = Instant::now();
            for i in 0..self.partitions.len() {
                while self.partitions[i].is_reached() {
                    self.repeat_change(i)?;
                }
                let lag = self.lag(self.partitions[i].number);
                if self.partitions[i].has_caught_up(lag) {
                    if let Some(deployment) = self.partitions[i].deferred.take() {
                        self.deploy_to(i, &deployment)?;
                    }
                    self.tell_members(i)?;
                }
            }
            let full = self.micro_batch()?;
            let closed_idle = self.pass_time()?;
            self.checkpoint_some(closed_idle)?;
            if told.elapsed() >= STATUS_INTERVAL {
                self.now_and_then()?;
                told = Instant::now();
            }
            let rest = if full { Duration::ZERO } else { self.rest(started) };
            if self.stopped || !self.commands(rest)? {
                return self.end();
            }
        }
    }

    /// How long more records are waited for after a turn that began at `started`: the shorter the less the turn had to do, so that events wait long
    /// only where larger batches are what makes the worker keep up.
    fn rest(&self, started: Instant) -> Duration {
        let linger = self.settings.linger;
        let Some(woken) = self.woken else { return linger.saturating_sub(started.elapsed()) };
        let busy = woken.elapsed();
        (busy + busy / 4).clamp(SHORTEST_TURN.min(linger), linger).saturating_sub(busy)
    }

    /// What is not to be done for every batch.
    fn now_and_then(&mut self) -> Result<(), WorkerError> {
        self.note_covered(false);
        self.partitions.iter_mut().for_each(|p| p.state.look());
        let size = |partitions: &[Running]| partitions.iter().map(|p| p.state.size()).sum::<usize>();
        if size(&self.partitions) > self.settings.worker_memory {
            self.partitions.iter_mut().try_for_each(|p| p.state.spill().map_err(|e| p.failed(e)))?;
        }
        let used = size(&self.partitions);
        if let Some(first) = self.partitions.first().filter(|_| used > self.settings.worker_memory) {
            return Err(first.failed(EngineError::MemoryLimit { used, limit: self.settings.worker_memory }));
        }
        self.repair()?;
        self.touch()?;
        self.say(None);
        Ok(())
    }

    /// Tells the sinks all about users of whom they hold what they should not.
    fn repair(&mut self) -> Result<(), WorkerError> {
        for i in 0..self.partitions.len() {
            let running = &self.partitions[i];
            let users = self.outbox.take_amiss(running.number);
            // Everybody will be told once everything has been read.
            if users.is_empty() || running.behind.is_some() {
                continue;
            }
            tracing::info!(partition = running.number, users = users.len(), "records were gone or not as they should be; told anew");
            self.outbox.repaired.fetch_add(users.len() as u64, Ordering::Relaxed);
            running.members_of(&users).into_iter().try_for_each(|told| self.send(Outgoing::Members(told)))?;
        }
        Ok(())
    }

    /// Has some of the members' records live on, when it is time and the sink is not busy.
    fn touch(&mut self) -> Result<(), WorkerError> {
        let every = self.settings.refresh_interval;
        for i in 0..self.partitions.len() {
            let partition = &mut self.partitions[i];
            if !every.is_zero() && partition.behind.is_none() && partition.touched_at.elapsed() >= every {
                partition.plan_touch();
            }
            if let Some(touch) = partition.next_touch() {
                self.send(Outgoing::Touch(touch))?;
            }
        }
        Ok(())
    }

    /// Tells the sinks what everybody is a member of: what a process before this one told them may differ, as its
    /// batches were cut elsewhere.
    fn tell_members(&mut self, i: usize) -> Result<(), WorkerError> {
        let (since, running) = ((self.clock)(), &mut self.partitions[i]);
        let (batches, last) = (running.members(), Outgoing::Forget(running.number, since, running.lease.clone()));
        batches.into_iter().map(Outgoing::Members).chain([last]).try_for_each(|told| self.send(told))
    }

    /// Saves all state, waits until everything is written, and has the source take note.
    fn end(&mut self) -> Result<(), WorkerError> {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        self.checkpoint(Some(done))?;
        self.say(None);
        if wait.recv_timeout(LAST_WORD).is_ok() {
            self.note_covered(true);
        }
        Ok(())
    }

    /// Does what it is asked, for at most `rest`; returns false when that is to stop.
    fn commands(&mut self, rest: Duration) -> Result<bool, WorkerError> {
        let until = Instant::now() + rest;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let command = if left.is_zero() {
                match self.commands.try_recv() {
                    Ok(command) => command,
                    Err(TryRecvError::Empty) => return Ok(true),
                    Err(TryRecvError::Disconnected) => return Ok(false),
                }
            } else {
                match self.commands.recv_timeout(left) {
                    Ok(command) => command,
                    Err(RecvTimeoutError::Timeout) => return Ok(true),
                    Err(RecvTimeoutError::Disconnected) => return Ok(false),
                }
            };
            match command {
                Command::Deploy(deployment) => self.deploy(deployment)?,
                Command::Ask(question) => question(&mut self.partitions),
                Command::Checkpoint(done) => self.checkpoint(Some(done))?,
                Command::Stop => return Ok(false),
            }
        }
    }

    /// Takes the newest of the programs that wait.
    fn deploy(&mut self, deployment: Deployment) -> Result<(), WorkerError> {
        if deployment.revision > self.newest.revision {
            self.newest = Deployment { backfill: None, ..deployment.clone() };
        }
        for i in 0..self.partitions.len() {
            self.deploy_to(i, &deployment)?;
        }
        self.say(None);
        Ok(())
    }

    /// Has a partition run a program, unless it runs a newer one.
    pub(crate) fn deploy_to(&mut self, i: usize, deployment: &Deployment) -> Result<(), WorkerError> {
        let running = &mut self.partitions[i];
        let newest = running.noted.back().map_or(running.deployment.revision, |(noted, _)| noted.revision);
        if newest >= deployment.revision {
            return Ok(());
        }
        if running.behind.is_some() {
            running.deferred = Some(deployment.clone());
            return Ok(());
        }
        let adoption = Adoption { partition: running.number, revision: deployment.revision, positions: running.positions.clone() };
        if !running.noted.is_empty() {
            running.noted.push_back((Adoption { positions: Positions::new(), ..adoption }, deployment.clone()));
            return Ok(());
        }
        self.store.adopt(&adoption)?;
        self.adopt(i, deployment)
    }

    fn adopt(&mut self, i: usize, deployment: &Deployment) -> Result<(), WorkerError> {
        let batches = self.partitions[i].adopt(deployment).map_err(|e| self.partitions[i].failed(e))?;
        batches.into_iter().try_for_each(|b| self.send(Outgoing::Results(b)))
    }

    /// Hands something over; waits while the sink has too much to do, and tells the source that it is alive.
    pub(crate) fn send(&mut self, mut outgoing: Outgoing) -> Result<(), WorkerError> {
        let mut told = Instant::now();
        loop {
            match self.out.try_send(outgoing) {
                Ok(()) => {
                    self.sent += 1;
                    return Ok(());
                }
                Err(TrySendError::Disconnected(_)) => return Err(WorkerError::NoSink),
                Err(TrySendError::Full(back)) => outgoing = back,
            }
            std::thread::sleep(Duration::from_millis(1));
            if told.elapsed() >= STATUS_INTERVAL {
                self.source.keep_alive();
                self.say(None);
                lock(&self.status).waits_for_sink = true;
                told = Instant::now();
            }
        }
    }

    /// Takes what the source has, up to a batch; returns whether it may have more.
    fn micro_batch(&mut self) -> Result<bool, WorkerError> {
        self.woken = None;
        if !self.take_held()? {
            return Ok(false);
        }
        let (mut rows, mut timeout) = (0, self.settings.linger);
        while rows < self.settings.batch_rows {
            let mut batch = std::mem::take(&mut self.scratch.batch);
            let polled = self.source.poll(self.settings.batch_rows - rows, timeout, &mut batch);
            if !matches!(polled, Ok(Polled::Records)) {
                self.scratch.batch = batch;
                return self.without_records(polled);
            }
            self.woken.get_or_insert_with(Instant::now);
            self.waiting.in_hand = (batch.partition, batch.len());
            // What was asked before these records came is done before them.
            if !self.commands(Duration::ZERO)? {
                self.stopped = true;
                return Ok(true);
            }
            rows += batch.len();
            timeout = Duration::ZERO;
            self.take(batch, 0, None)?;
            if self.waiting.all {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does what a poll without records asks for; returns whether there may be more to do at once.
    pub(crate) fn without_records(&mut self, polled: Result<Polled, SourceError>) -> Result<bool, WorkerError> {
        match polled {
            Ok(Polled::Assigned(partitions)) => self.assigned(&partitions).map(|()| true),
            Ok(Polled::Revoked { partitions, lost }) => self.revoked(&partitions, lost).map(|()| true),
            Ok(Polled::Records | Polled::Nothing) => Ok(false),
            Err(error) if error.fatal => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "source");
                self.say(Some(error.to_string()));
                std::thread::sleep(SOURCE_RETRY);
                Ok(false)
            }
        }
    }

    /// Runs a batch from a record on; where a change of program was noted within it, in parts. What needs a schema that
    /// cannot be had is held.
    pub(crate) fn take(&mut self, batch: RawBatch, mut from: usize, waited: Option<Waited>) -> Result<(), WorkerError> {
        self.waiting.in_hand = (batch.partition, 0);
        let Some(i) = self.partitions.iter().position(|p| p.number == batch.partition) else { return Ok(()) };
        while from < batch.len() {
            self.waiting.in_hand.1 = batch.len() - from;
            while self.partitions[i].is_due(batch.log_of(from), batch.offsets[from]) {
                self.repeat_change(i)?;
            }
            let running = &self.partitions[i];
            let to = (from + 1..batch.len()).find(|&r| running.is_due(batch.log_of(r), batch.offsets[r])).unwrap_or(batch.len());
            if let Err(away) = self.process(i, &batch, from..to)? {
                let now = Instant::now();
                self.waiting.in_hand.1 = 0;
                self.hold(Held { batch, from, away, since: now, asked: now }, waited);
                return Ok(());
            }
            from = to;
        }
        self.scratch.batch = batch;
        Ok(())
    }

    /// Makes the next of the changes of program that were noted.
    fn repeat_change(&mut self, i: usize) -> Result<(), WorkerError> {
        let Some((adoption, deployment)) = self.partitions[i].noted.pop_front() else { return Ok(()) };
        if adoption.positions.is_empty() {
            self.store.adopt(&Adoption { positions: self.partitions[i].positions.clone(), ..adoption })?;
        }
        self.adopt(i, &deployment)
    }

    fn process(&mut self, i: usize, batch: &RawBatch, records: std::ops::Range<usize>) -> Result<Result<(), Away>, WorkerError> {
        let (started, now) = (Instant::now(), (self.clock)());
        let letters = match self.settings.reads {
            Reads::Events => match self.evaluate(i, batch, records.clone(), now).map_err(|source| self.partitions[i].failed(source))? {
                Ok(letters) => letters,
                Err(away) => return Ok(Err(away)),
            },
            Reads::Results => self.relay(i, batch, records.clone(), now).map_err(|source| self.partitions[i].failed(source))?,
        };
        let (running, rows) = (&mut self.partitions[i], &mut self.scratch.rows);
        running.last_record = now;
        running.evaluated_at = now;
        batch.advance(&mut running.positions, records.clone());
        self.waiting.in_hand.1 = batch.len() - records.end;
        for letter in &letters {
            *running.counts.dead.entry((Arc::clone(&letter.topic), letter.reason)).or_default() += 1;
        }
        running.counts.batches += 1;
        running.counts.results += rows.len() as u64;
        running.counts.busy_micros += started.elapsed().as_micros() as u64;
        running.behind = running.behind.map(|left| left.saturating_sub(records.len() as u64));
        self.measures.rows.record(records.len() as f64);
        self.measures.seconds.record(started.elapsed().as_secs_f64());
        let results = (!rows.is_empty()).then(|| running.results(rows, batch.arrived[records.start]));
        rows.clear();
        if !letters.is_empty() {
            self.send(Outgoing::DeadLetters(letters))?;
        }
        results.map_or(Ok(()), |r| self.send(Outgoing::Results(r)))?;
        Ok(Ok(()))
    }

    /// Evaluates events; returns those that are dead letters, or that a schema is needed first.
    fn evaluate(&mut self, i: usize, batch: &RawBatch, records: std::ops::Range<usize>, now: i64) -> Result<Result<Vec<DeadLetter>, Away>, EngineError> {
        let Scratch { events, rejected, late, rows, .. } = &mut self.scratch;
        let running = &mut self.partitions[i];
        let topics = Topics::Each(&batch.topic_of[records.clone()], &batch.topics);
        if let Err(away) = running.decoder.decode(&batch.data, &batch.spans[records.clone()], topics, events, rejected) {
            return Ok(Err(away));
        }
        refuse_future(events, rejected, now.saturating_add(self.settings.max_future));
        running.state.process(events, rows, late)?;
        count(&mut running.counts, batch, records.clone(), &events.records);
        let late_records = late.events.iter().map(|&e| Rejected { record: events.records[e as usize], reason: Reason::Late });
        Ok(Ok(rejected.iter().copied().chain(late_records).map(|r| letter(batch, records.start, r, now)).collect()))
    }

    /// Closes windows. A worker's time is the least watermark of its partitions that are not idle; when all are,
    /// it follows the clock. Returns whether the clock closed any.
    fn pass_time(&mut self) -> Result<bool, WorkerError> {
        // Where windows are evaluated elsewhere, exits come from there too.
        if self.settings.reads == Reads::Results {
            return Ok(false);
        }
        let now = (self.clock)();
        let idle: Vec<bool> = self.partitions.iter().map(|p| self.is_idle(p, now)).collect();
        let all_idle = idle.iter().all(|i| *i);
        let time = if all_idle {
            Some(now.saturating_sub(self.settings.state.out_of_orderness))
        } else {
            let active = self.partitions.iter().zip(&idle).filter(|(_, idle)| !**idle).map(|(p, _)| p.state.watermark());
            active.min().flatten()
        };
        let Some(time) = time else { return Ok(false) };
        let mut closed = false;
        for (i, idle) in idle.into_iter().enumerate() {
            let (running, rows) = (&mut self.partitions[i], &mut self.scratch.rows);
            let outcome = if idle { running.state.pass(time, rows) } else { running.state.advance(time, rows) };
            outcome.map_err(|source| WorkerError::Engine { partition: running.number, source })?;
            if rows.is_empty() {
                continue;
            }
            closed |= idle;
            running.counts.results += rows.len() as u64;
            let results = running.results(rows, 0);
            rows.clear();
            self.send(Outgoing::Results(results))?;
        }
        Ok(closed)
    }

    /// A partition that is not read, as records wait for a schema, may have anything.
    fn is_idle(&self, partition: &Running, now: i64) -> bool {
        !self.waiting.has(partition.number) && now.saturating_sub(partition.last_record) >= self.settings.idle_timeout && self.source.lag(partition.number) == 0
    }

    /// Saves the partition whose turn it is, if any: one between two batches, and not all at once, as events wait meanwhile. All of
    /// them when windows closed while nothing came.
    fn checkpoint_some(&mut self, closed_idle: bool) -> Result<(), WorkerError> {
        let saved = || self.partitions.iter().map(|p| p.saved);
        let (Some(newest), Some(oldest)) = (saved().max(), saved().min()) else { return Ok(()) };
        let interval = self.settings.checkpoint_interval;
        if closed_idle && oldest.elapsed() >= Duration::from_secs(1) {
            return self.checkpoint(None);
        }
        if oldest.elapsed() < interval || newest.elapsed() < interval / (2 * self.partitions.len() as u32) {
            return Ok(());
        }
        let due = self.partitions.iter().position(|p| p.saved == oldest);
        due.map_or(Ok(()), |i| self.checkpoint_of(i))
    }

    pub(crate) fn checkpoint(&mut self, done: Option<SyncSender<()>>) -> Result<(), WorkerError> {
        (0..self.partitions.len()).try_for_each(|i| self.checkpoint_of(i))?;
        done.map_or(Ok(()), |done| self.send(Outgoing::Done(done)))
    }

    fn checkpoint_of(&mut self, i: usize) -> Result<(), WorkerError> {
        let running = &mut self.partitions[i];
        running.saved = Instant::now();
        // Until what was noted is repeated, the checkpoint before is the one to start from.
        if !running.noted.is_empty() {
            return Ok(());
        }
        let (unsaved, lease) = (Box::new(running.snapshot()?), running.lease.clone());
        tracing::debug!(partition = unsaved.partition, took = ?running.saved.elapsed(), "state copied for a checkpoint");
        self.send(Outgoing::Checkpoint(unsaved, lease))
    }

    /// Has the source take note of checkpoints that were published since.
    pub(crate) fn note_covered(&mut self, wait: bool) {
        let mut news = Positions::new();
        for partition in &mut self.partitions {
            if let Some(published) = self.outbox.published(partition.number).filter(|p| *p != partition.covered) {
                news.extend(published.clone());
                partition.covered = published;
            }
        }
        if !news.is_empty() {
            self.source.covered(&news, wait);
        }
    }

    /// Says how it stands.
    pub(crate) fn say(&mut self, source_error: Option<String>) {
        let now = (self.clock)();
        self.partitions.iter_mut().for_each(|p| p.state.look());
        let partitions = self.partitions.iter().map(|p| p.status(self.lag(p.number), self.is_idle(p, now))).collect();
        let source_error = source_error.or_else(|| self.waiting.away().map(ToString::to_string));
        let waits_for_schema = self.waiting.away().is_some();
        *lock(&self.status) = WorkerStatus { partitions, sent: self.sent, source_error, waits_for_schema, restored: self.restored, ..WorkerStatus::default() };
    }
}

/// A status that a thread wrote before it panicked is still a status.
fn lock(status: &std::sync::Mutex<WorkerStatus>) -> std::sync::MutexGuard<'_, WorkerStatus> {
    status.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Moves events that are later than `limit` to `rejected`.
fn refuse_future(events: &mut EventBatch, rejected: &mut Vec<Rejected>, limit: i64) {
    if events.times.iter().all(|t| *t <= limit) {
        return;
    }
    let (good, bad): (Vec<u32>, Vec<u32>) = (0..events.len() as u32).partition(|&i| events.times[i as usize] <= limit);
    rejected.extend(bad.iter().map(|&i| Rejected { record: events.records[i as usize], reason: Reason::FutureTimestamp }));
    *events = events.select(&good);
}

pub(crate) fn letter(batch: &RawBatch, first: usize, rejected: Rejected, now: i64) -> DeadLetter {
    let record = first + rejected.record as usize;
    DeadLetter {
        reason: rejected.reason,
        topic: Arc::clone(batch.topic(record)),
        partition: batch.partition,
        offset: batch.offsets[record],
        at: now,
        raw: batch.payload(record).to_vec(),
    }
}

/// Counts records, of which those at the indices `accepted` were taken.
pub(crate) fn count(counts: &mut Counts, batch: &RawBatch, records: std::ops::Range<usize>, accepted: &[u32]) {
    let mut by_topic = vec![(0u64, 0u64); batch.topics.len()];
    for record in records.clone() {
        let (start, end) = batch.spans[record];
        by_topic[usize::from(batch.topic_of[record])].1 += u64::from(end - start);
    }
    for &record in accepted {
        by_topic[usize::from(batch.topic_of[records.start + record as usize])].0 += 1;
    }
    for (topic, (events, bytes)) in batch.topics.iter().zip(by_topic) {
        if let Some(n) = counts.events.get_mut(topic) {
            *n += events;
        } else {
            counts.events.insert(Arc::clone(topic), events);
        }
        if let Some(n) = counts.bytes.get_mut(topic) {
            *n += bytes;
        } else {
            counts.bytes.insert(Arc::clone(topic), bytes);
        }
    }
}
