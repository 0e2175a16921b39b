//! The loop that everything runs in; read this first.
//!
//! A worker owns some partitions. It polls a micro-batch, decodes it, runs the program over it, hands results and
//! dead letters to the [`outbox`](crate::outbox) through a bounded queue, lets time pass, and now and then hands
//! over a checkpoint. Between two batches it takes a new program, where there is one, and answers questions about
//! its state. Nothing else touches a partition, so there are no locks here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use cohort_compiler::Program;

use crate::checkpoint::{Adoption, Checkpoint, CheckpointError, CheckpointStore};
use crate::decode::json::JsonDecoder;
use crate::decode::{EventBatch, Reason, Rejected, Topics};
use crate::error::EngineError;
use crate::events::projection;
use crate::outbox::Outgoing;
use crate::partition::{Late, Partition, Settings};
use crate::result::{ResultKind, ResultRow};
use crate::sink::{DeadLetter, ResultBatch, SegmentName};
use crate::source::{Positions, RawBatch, Source};
use crate::{Departed, Tables};

/// Milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How workers run.
#[derive(Debug, Clone, Copy)]
pub struct WorkerSettings {
    /// Time and memory.
    pub state: Settings,
    /// The most records of a micro-batch.
    pub batch_rows: usize,
    /// How long a micro-batch waits for more records.
    pub linger: Duration,
    /// How long a partition without records holds time back, ms.
    pub idle_timeout: i64,
    /// How far ahead of the clock an event may be, ms.
    pub max_future: i64,
    /// How often state is saved.
    pub checkpoint_interval: Duration,
}

/// A worker that cannot go on.
#[derive(Debug, thiserror::Error)]
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
    /// Nobody takes results any more.
    #[error("the sink's thread ended")]
    NoSink,
}

/// A program that is to run, with the revision of the catalog that it was compiled from.
#[derive(Clone)]
pub struct Deployment {
    /// Revision of the catalog.
    pub revision: i64,
    /// The program.
    pub program: Arc<Program>,
    /// Names that results carry.
    pub names: Arc<Vec<SegmentName>>,
    /// What gives new groups their state from retained events, if anything does.
    pub backfill: Option<Arc<dyn Backfill>>,
}

/// Computes the state of new groups from retained events.
pub trait Backfill: Send + Sync {
    /// The state of a partition at these positions, with windows closed up to `closed`.
    ///
    /// # Errors
    /// When retained events cannot be read, or an expression fails; the new groups then begin empty.
    fn tables(&self, partition: u32, positions: &Positions, closed: i64) -> Result<Tables, String>;
}

impl Deployment {
    /// A program to run from the next batch on.
    pub fn new(revision: i64, program: Arc<Program>) -> Self {
        let name = |s: &cohort_compiler::program::Segment| SegmentName { segment: s.name.as_str().into(), rule: s.rule_id.as_str().into() };
        let names = Arc::new(program.segments.iter().map(name).collect());
        Deployment { revision, program, names, backfill: None }
    }
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

/// What a partition did so far.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Events accepted, by topic.
    pub events: BTreeMap<Arc<str>, u64>,
    /// Bytes of records, by topic.
    pub bytes: BTreeMap<Arc<str>, u64>,
    /// Dead letters by topic and reason.
    pub dead: BTreeMap<(Arc<str>, Reason), u64>,
    /// Results.
    pub results: u64,
    /// Micro-batches.
    pub batches: u64,
    /// Time spent on them, µs.
    pub busy_micros: u64,
}

/// How a partition stands, for those who watch.
#[derive(Debug, Clone, Default)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: u32,
    /// Revision of the catalog whose program runs.
    pub revision: i64,
    /// Where reading goes on.
    pub positions: Positions,
    /// Records not read yet.
    pub lag: u64,
    /// The largest event time.
    pub newest: Option<i64>,
    /// The watermark.
    pub watermark: Option<i64>,
    /// Up to when windows are closed.
    pub closed: Option<i64>,
    /// The earliest end of an open window.
    pub next_close: Option<i64>,
    /// Whether it has had no records for so long that it holds no time back.
    pub idle: bool,
    /// (user, window or pane) groups.
    pub groups: usize,
    /// Bytes of state.
    pub state_bytes: usize,
    /// Memberships.
    pub members: usize,
    /// When the last batch ended, ms since the epoch.
    pub evaluated_at: i64,
    /// What it did so far.
    pub counts: Counts,
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
    /// Why the worker ended, if it failed.
    pub failed: Option<String>,
}

/// A partition that runs.
pub struct Running {
    /// Its number.
    pub number: u32,
    /// Its state.
    pub state: Partition,
    /// What runs.
    pub deployment: Deployment,
    /// What it did so far.
    pub counts: Counts,
    /// Where reading goes on.
    pub positions: Positions,
    decoder: JsonDecoder,
    last_record: i64,
    evaluated_at: i64,
    /// Changes of program that were noted before a restart, to be repeated at the same records.
    noted: VecDeque<(Adoption, Deployment)>,
}

impl Running {
    /// A partition with the state of its newest checkpoint, and the changes of program that were noted since.
    /// `deployments` gives the program of a revision.
    ///
    /// # Errors
    /// When the store cannot be read, or its state is not what this engine writes.
    pub fn restore(
        number: u32,
        store: &dyn CheckpointStore,
        settings: Settings,
        first: &Deployment,
        now: i64,
        deployments: &mut dyn FnMut(i64) -> Option<Deployment>,
    ) -> Result<Self, WorkerError> {
        let failed = |source| WorkerError::Engine { partition: number, source };
        let checkpoint = match store.load(number)? {
            Some(checkpoint) => checkpoint,
            None => {
                // What is to be repeated after a restart is repeated from here.
                let tables = Partition::new(Arc::clone(&first.program), settings).save().map_err(failed)?;
                let checkpoint = Checkpoint { partition: number, revision: first.revision, positions: Positions::new(), tables };
                store.save(&checkpoint)?;
                checkpoint
            }
        };
        let adoptions = store.adoptions(number, checkpoint.revision)?;
        let deployment = deployments(checkpoint.revision).unwrap_or_else(|| first.clone());
        let (state, _) = Partition::restore(Arc::clone(&deployment.program), settings, &checkpoint.tables).map_err(failed)?;
        let positions = checkpoint.positions;
        let noted = adoptions.into_iter().filter(|a| a.revision > deployment.revision).filter_map(|a| deployments(a.revision).map(|d| (a, d))).collect();
        Ok(Running {
            number,
            decoder: JsonDecoder::new(projection(&deployment.program)),
            state,
            deployment,
            counts: Counts::default(),
            positions,
            last_record: now,
            evaluated_at: now,
            noted,
        })
    }

    fn failed(&self, source: EngineError) -> WorkerError {
        WorkerError::Engine { partition: self.number, source }
    }

    /// Whether everything before a noted change has been read.
    fn is_reached(&self) -> bool {
        let read = |(log, at): (&(Arc<str>, u32), &i64)| self.positions.get(log).copied().unwrap_or(0) >= *at;
        self.noted.front().is_some_and(|(adoption, _)| adoption.positions.iter().all(read))
    }

    /// Whether a noted change comes before the record at `offset` of `log`.
    fn is_due(&self, log: &Arc<str>, offset: i64) -> bool {
        let Some((adoption, _)) = self.noted.front() else { return false };
        adoption.positions.get(&(Arc::clone(log), self.number)).is_none_or(|at| *at <= offset)
    }

    /// Runs another program from here on. Returns the results of the change.
    fn adopt(&mut self, deployment: &Deployment) -> Result<Vec<ResultBatch>, EngineError> {
        let backfill = deployment.backfill.as_ref().map(|b| b.tables(self.number, &self.positions, self.state.closed()));
        let backfill = backfill.and_then(|tables| tables.inspect_err(|error| tracing::error!(error, "backfill")).ok());
        let difference = match self.state.adopt(Arc::clone(&deployment.program), backfill.as_ref()) {
            Err(error) if backfill.is_some() => {
                tracing::error!(%error, "backfill; new groups begin empty");
                self.state.adopt(Arc::clone(&deployment.program), None)?
            }
            outcome => outcome?,
        };
        self.decoder = JsonDecoder::new(projection(&deployment.program));
        self.deployment = deployment.clone();
        let mut batches = vec![departed(self.number, &difference.departed, self.state.newest().unwrap_or(0))];
        batches.push(self.results(&difference.rows, 0));
        batches.retain(|b| !b.rows.is_empty());
        Ok(batches)
    }

    /// Results as a batch for the sink.
    fn results(&self, rows: &[ResultRow], arrived: i64) -> ResultBatch {
        let mut batch = ResultBatch { partition: self.number, names: Arc::clone(&self.deployment.names), arrived, ..ResultBatch::default() };
        for row in rows {
            let still = || self.state.membership().get(row.segment, row.user).is_some();
            batch.member.push(row.qualified || (row.kind == ResultKind::Change && still()));
            batch.users.push(self.state.users().name(row.user).as_bytes());
            batch.rows.push(*row);
        }
        batch
    }

    /// How the partition stands.
    pub fn status(&self, lag: u64, idle: bool) -> PartitionStatus {
        PartitionStatus {
            partition: self.number,
            revision: self.deployment.revision,
            positions: self.positions.clone(),
            lag,
            newest: self.state.newest(),
            watermark: self.state.watermark(),
            closed: Some(self.state.closed()).filter(|t| *t != i64::MIN),
            next_close: self.state.next_close(),
            idle,
            groups: self.state.groups(),
            state_bytes: self.state.size(),
            members: self.state.membership().len(),
            evaluated_at: self.evaluated_at,
            counts: self.counts.clone(),
        }
    }
}

/// The exits of members of segments that are no more.
fn departed(partition: u32, departed: &[Departed], now: i64) -> ResultBatch {
    let (mut batch, mut names) = (ResultBatch { partition, ..ResultBatch::default() }, vec![]);
    for d in departed {
        let name = SegmentName { segment: d.segment.as_str().into(), rule: d.rule_id.as_str().into() };
        let segment = names.iter().rposition(|n| *n == name).unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
        let window = if d.window.1 == i64::MIN { (now, now) } else { d.window };
        batch.users.push(d.user.as_bytes());
        batch.member.push(false);
        batch.rows.push(ResultRow {
            segment: segment as u32,
            user: 0,
            kind: ResultKind::Exit,
            qualified: false,
            value: None,
            timestamp: now,
            window_start: window.0,
            window_end: window.1,
        });
    }
    batch.names = Arc::new(names);
    batch
}

/// A thread's worth of partitions.
pub struct Worker {
    /// What it reads.
    pub source: Box<dyn Source>,
    /// What it runs.
    pub partitions: Vec<Running>,
    /// What it is asked.
    pub commands: Receiver<Command>,
    /// Where results, dead letters and checkpoints go.
    pub out: SyncSender<Outgoing>,
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
    /// Room for a batch.
    pub scratch: Scratch,
}

/// Room for a batch, kept from one to the next.
#[derive(Default)]
pub struct Scratch {
    batch: RawBatch,
    events: EventBatch,
    rejected: Vec<Rejected>,
    late: Late,
    rows: Vec<ResultRow>,
}

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
        let start: Positions = self.partitions.iter().flat_map(|p| p.positions.clone()).collect();
        if let Err(error) = self.source.seek(&start) {
            lock(&self.status).source_error = Some(error.to_string());
        }
        let (mut saved, mut told) = (Instant::now(), Instant::now());
        self.say();
        loop {
            let started = Instant::now();
            for i in 0..self.partitions.len() {
                while self.partitions[i].is_reached() {
                    self.repeat_change(i)?;
                }
            }
            let full = self.micro_batch()?;
            let closed_idle = self.pass_time()?;
            if saved.elapsed() >= self.settings.checkpoint_interval || (closed_idle && saved.elapsed() >= Duration::from_secs(1)) {
                self.checkpoint(None)?;
                saved = Instant::now();
            }
            if told.elapsed() >= STATUS_INTERVAL {
                self.say();
                told = Instant::now();
            }
            let rest = if full { Duration::ZERO } else { self.settings.linger.saturating_sub(started.elapsed()) };
            if self.stopped || !self.commands(rest)? {
                self.checkpoint(None)?;
                self.say();
                return Ok(());
            }
        }
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
        for i in 0..self.partitions.len() {
            let running = &mut self.partitions[i];
            let newest = running.noted.back().map_or(running.deployment.revision, |(noted, _)| noted.revision);
            if newest >= deployment.revision {
                continue;
            }
            let adoption = Adoption { partition: running.number, revision: deployment.revision, positions: running.positions.clone() };
            if !running.noted.is_empty() {
                running.noted.push_back((Adoption { positions: Positions::new(), ..adoption }, deployment.clone()));
                continue;
            }
            self.store.adopt(&adoption)?;
            self.adopt(i, &deployment)?;
        }
        self.say();
        Ok(())
    }

    fn adopt(&mut self, i: usize, deployment: &Deployment) -> Result<(), WorkerError> {
        let batches = self.partitions[i].adopt(deployment).map_err(|e| self.partitions[i].failed(e))?;
        batches.into_iter().try_for_each(|b| self.send(Outgoing::Results(b)))
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), WorkerError> {
        self.sent += 1;
        self.out.send(outgoing).map_err(|_| WorkerError::NoSink)
    }

    /// Takes what the source has, up to a batch; returns whether it may have more.
    fn micro_batch(&mut self) -> Result<bool, WorkerError> {
        let (mut rows, mut timeout) = (0, self.settings.linger);
        while rows < self.settings.batch_rows {
            let mut batch = std::mem::take(&mut self.scratch.batch);
            let polled = self.source.poll(self.settings.batch_rows - rows, timeout, &mut batch);
            match polled {
                Ok(true) => {}
                Ok(false) => {
                    self.scratch.batch = batch;
                    return Ok(false);
                }
                Err(error) => {
                    tracing::warn!(%error, "source");
                    lock(&self.status).source_error = Some(error.to_string());
                    self.scratch.batch = batch;
                    std::thread::sleep(SOURCE_RETRY);
                    return Ok(false);
                }
            }
            // What was asked before these records came is done before them.
            if !self.commands(Duration::ZERO)? {
                self.stopped = true;
                return Ok(true);
            }
            rows += batch.len();
            timeout = Duration::ZERO;
            self.take(&batch)?;
            self.scratch.batch = batch;
        }
        Ok(true)
    }

    /// Runs a batch; where a change of program was noted within it, in parts.
    fn take(&mut self, batch: &RawBatch) -> Result<(), WorkerError> {
        let Some(i) = self.partitions.iter().position(|p| p.number == batch.partition) else { return Ok(()) };
        let mut from = 0;
        while from < batch.len() {
            while self.partitions[i].is_due(&batch.log, batch.offsets[from]) {
                self.repeat_change(i)?;
            }
            let running = &self.partitions[i];
            let to = (from + 1..batch.len()).find(|&r| running.is_due(&batch.log, batch.offsets[r])).unwrap_or(batch.len());
            self.process(i, batch, from..to)?;
            from = to;
        }
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

    fn process(&mut self, i: usize, batch: &RawBatch, records: std::ops::Range<usize>) -> Result<(), WorkerError> {
        let (started, now) = (Instant::now(), (self.clock)());
        let Scratch { events, rejected, late, rows, .. } = &mut self.scratch;
        let running = &mut self.partitions[i];
        let topics = Topics::Each(&batch.topic_of[records.clone()], &batch.topics);
        running.decoder.decode(&batch.data, &batch.spans[records.clone()], topics, events, rejected);
        refuse_future(events, rejected, now.saturating_add(self.settings.max_future));
        running.state.process(events, rows, late).map_err(|source| WorkerError::Engine { partition: running.number, source })?;
        running.last_record = now;
        running.evaluated_at = now;
        running.positions.insert((Arc::clone(&batch.log), running.number), batch.offsets[records.end - 1] + 1);
        count(&mut running.counts, batch, records.clone(), events);
        let late_records = late.events.iter().map(|&e| Rejected { record: events.records[e as usize], reason: Reason::Late });
        let letters: Vec<DeadLetter> = rejected.iter().copied().chain(late_records).map(|r| letter(batch, records.start, r, now)).collect();
        for letter in &letters {
            *running.counts.dead.entry((Arc::clone(&letter.topic), letter.reason)).or_default() += 1;
        }
        running.counts.batches += 1;
        running.counts.results += rows.len() as u64;
        running.counts.busy_micros += started.elapsed().as_micros() as u64;
        let results = (!rows.is_empty()).then(|| running.results(rows, batch.arrived[records.start]));
        rows.clear();
        if !letters.is_empty() {
            self.send(Outgoing::DeadLetters(letters))?;
        }
        results.map_or(Ok(()), |r| self.send(Outgoing::Results(r)))
    }

    /// Closes windows. A worker's time is the least watermark of its partitions that are not idle; when all are,
    /// it follows the clock. Returns whether the clock closed any.
    fn pass_time(&mut self) -> Result<bool, WorkerError> {
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

    fn is_idle(&self, partition: &Running, now: i64) -> bool {
        now.saturating_sub(partition.last_record) >= self.settings.idle_timeout && self.source.lag(partition.number) == 0
    }

    fn checkpoint(&mut self, done: Option<SyncSender<()>>) -> Result<(), WorkerError> {
        for i in 0..self.partitions.len() {
            let running = &mut self.partitions[i];
            // Until what was noted is repeated, the checkpoint before is the one to start from.
            if !running.noted.is_empty() {
                continue;
            }
            let tables = running.state.save().map_err(|source| WorkerError::Engine { partition: running.number, source })?;
            let checkpoint = Checkpoint { partition: running.number, revision: running.deployment.revision, positions: running.positions.clone(), tables };
            self.send(Outgoing::Checkpoint(Box::new(checkpoint)))?;
        }
        done.map_or(Ok(()), |done| self.send(Outgoing::Done(done)))
    }

    /// Says how it stands.
    fn say(&self) {
        let now = (self.clock)();
        let partitions = self.partitions.iter().map(|p| p.status(self.source.lag(p.number), self.is_idle(p, now))).collect();
        *lock(&self.status) = WorkerStatus { partitions, sent: self.sent, ..WorkerStatus::default() };
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

fn letter(batch: &RawBatch, first: usize, rejected: Rejected, now: i64) -> DeadLetter {
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

fn count(counts: &mut Counts, batch: &RawBatch, records: std::ops::Range<usize>, events: &EventBatch) {
    let mut by_topic = vec![(0u64, 0u64); batch.topics.len()];
    for record in records.clone() {
        let (start, end) = batch.spans[record];
        by_topic[usize::from(batch.topic_of[record])].1 += u64::from(end - start);
    }
    for &record in &events.records {
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
