//! A member of a fleet: some partitions, run as a worker runs them, with the CPU time of each thing it does. Lines go
//! through the decoder into [`Running`] partitions; results are encoded as for Aerospike, and counted; state is saved to
//! a checkpoint store, and restored from it.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use cohort_connectors::aerospike::record::{Change, size};
use cohort_connectors::checkpoint::ObjectCheckpoints;
use cohort_engine::checkpoint::{Checkpoint, CheckpointStore};
use cohort_engine::decode::json::{JsonDecoder, split_lines};
use cohort_engine::decode::{EventBatch, Rejected, Topics};
use cohort_engine::events::projection;
use cohort_engine::formats::Formats;
use cohort_engine::running::{Deployment, Programs, Running};
use cohort_engine::sink::ResultBatch;
use cohort_engine::{Late, ResultKind, ResultRow, Settings};
use rustc_hash::FxHasher;

use super::changed;
use super::log::Log;
use crate::memory::thread_cpu_nanos;

/// Of records as the Aerospike sink writes them.
pub const NAMESPACE: &str = "segments";
/// Their set.
pub const SET: &str = "profiles";
/// Results that are written together come about within this time, ms.
const FLUSH_MS: i64 = 1_000;
/// The name that positions have; an offset is a number of ticks.
const LOG: &str = "events";

/// What a member did: CPU nanoseconds by what for, and numbers of things.
#[derive(Debug, Default, Clone)]
pub struct Account {
    /// Nanoseconds to decode and evaluate; the worker's thread.
    pub evaluate: u64,
    /// Nanoseconds to gather state; the worker's thread.
    pub save: u64,
    /// Nanoseconds to encode and publish checkpoints; a thread behind it.
    pub publish: u64,
    /// Nanoseconds to make records' operations of results; the outbox's thread.
    pub sink: u64,
    /// Nanoseconds to read and restore checkpoints; the worker's thread.
    pub restore: u64,
    /// Nanoseconds of the worker's thread for what each partition takes to save and restore without any user; not in
    /// the above, nor are its bytes below.
    pub fixed: u64,
    /// Events.
    pub events: u64,
    /// Bytes read from the log.
    pub bytes: u64,
    /// Records that were not taken.
    pub rejected: u64,
    /// Events that were too late for a window.
    pub late: u64,
    /// Results.
    pub results: u64,
    /// Records written to the sink.
    pub records: u64,
    /// Operations on them.
    pub operations: u64,
    /// Bytes of those.
    pub sink_bytes: u64,
    /// Checkpoints of partitions.
    pub checkpoints: u64,
    /// Bytes of them.
    pub checkpoint_bytes: u64,
    /// Bytes restored.
    pub restored_bytes: u64,
    /// Of checkpoints that were compared with the one before: bytes, and those of rows that are new.
    pub compared: (u64, u64),
    /// Records that were written as a whole once a partition was taken over, and bytes of them.
    pub retold: (u64, u64),
}

impl Account {
    /// Nanoseconds of the worker's thread, which decides what a member can do, as far as users and events make them.
    pub fn worker(&self) -> u64 {
        self.evaluate + self.save + self.restore
    }

    /// Milliseconds of the worker's thread since an earlier account, where each user stands for so many.
    pub fn busy_since(&self, before: &Account, scale: f64) -> f64 {
        ((self.worker() - before.worker()) as f64 * scale + (self.fixed - before.fixed) as f64) / 1e6
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Account) {
        self.evaluate += other.evaluate;
        self.save += other.save;
        self.publish += other.publish;
        self.sink += other.sink;
        self.restore += other.restore;
        self.fixed += other.fixed;
        self.events += other.events;
        self.bytes += other.bytes;
        self.rejected += other.rejected;
        self.late += other.late;
        self.results += other.results;
        self.records += other.records;
        self.operations += other.operations;
        self.sink_bytes += other.sink_bytes;
        self.checkpoints += other.checkpoints;
        self.checkpoint_bytes += other.checkpoint_bytes;
        self.restored_bytes += other.restored_bytes;
        self.compared = (self.compared.0 + other.compared.0, self.compared.1 + other.compared.1);
        self.retold = (self.retold.0 + other.retold.0, self.retold.1 + other.retold.1);
    }
}

/// What results of a partition came to within a tick, in whatever order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Changes, finals and exits.
    pub kinds: [u64; 3],
    /// Of finals; the sum over them, so that their order is no part of it. Changes depend on how batches were cut, and so
    /// does whether a user leaves by a change or an exit.
    pub digest: u64,
}

impl Told {
    /// Adds another's.
    pub fn add(&mut self, other: &Told) {
        self.kinds.iter_mut().zip(other.kinds).for_each(|(a, b)| *a += b);
        self.digest = self.digest.wrapping_add(other.digest);
    }

    fn take(&mut self, batch: &ResultBatch) {
        for (i, row) in batch.rows.iter().enumerate() {
            match row.kind {
                ResultKind::Change => self.kinds[0] += 1,
                ResultKind::Final => self.kinds[1] += 1,
                ResultKind::Exit => self.kinds[2] += 1,
            }
            if row.kind == ResultKind::Final {
                let mut hasher = FxHasher::default();
                hasher.write(batch.users.get(i));
                hasher.write_u32(row.segment);
                [row.window_start, row.window_end].iter().for_each(|t| hasher.write_i64(*t));
                hasher.write_u64(row.value.map_or(0, f64::to_bits));
                self.digest = self.digest.wrapping_add(hasher.finish());
            }
        }
    }
}

/// How much a member holds.
#[derive(Debug, Default, Clone, Copy)]
pub struct Standing {
    /// Bytes of state.
    pub bytes: usize,
    /// Bytes of users.
    pub user_bytes: usize,
    /// Bytes of memberships.
    pub membership_bytes: usize,
    /// Groups of user and window.
    pub groups: usize,
    /// Users with state.
    pub users: usize,
    /// Memberships.
    pub memberships: usize,
}

impl Standing {
    /// Adds another's.
    pub fn add(&mut self, other: &Standing) {
        self.bytes += other.bytes;
        self.user_bytes += other.user_bytes;
        self.membership_bytes += other.membership_bytes;
        self.groups += other.groups;
        self.users += other.users;
        self.memberships += other.memberships;
    }
}

/// The records of some members of segments.
#[derive(Debug, Default)]
pub struct Held {
    /// How many.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Each membership: a hash of user and segment.
    pub memberships: Vec<u64>,
}

/// A membership as a number.
pub fn pair(user: &str, segment: &str) -> u64 {
    let mut hasher = FxHasher::default();
    [user, segment].iter().for_each(|text| text.hash(&mut hasher));
    hasher.finish()
}

/// A partition that a member has.
pub struct Owned {
    /// Its state.
    pub running: Running,
    decoder: JsonDecoder,
    /// The next tick to read.
    pub next: usize,
    /// Nanoseconds that it took so far.
    pub evaluate: u64,
    /// Rows of its last checkpoint, where they are compared.
    rows: changed::Rows,
    /// Whether it came from another member, and the sink was not told its members yet.
    taken_over: bool,
}

/// What a partition without users takes: its program's segments, above all.
#[derive(Debug, Default, Clone, Copy)]
pub struct Empty {
    /// Bytes of state.
    pub state: usize,
    /// Bytes of its checkpoint.
    pub bytes: u64,
    /// Nanoseconds to gather it.
    pub save: u64,
    /// Nanoseconds to encode and publish it.
    pub publish: u64,
    /// Nanoseconds to read and restore it.
    pub restore: u64,
}

/// What all members share.
pub struct Shared {
    /// What runs.
    pub deployment: Deployment,
    /// Where state is saved.
    pub store: ObjectCheckpoints,
    /// Partitions of the log.
    pub partitions: u32,
    /// Bytes of each partition's newest checkpoint.
    pub sizes: Mutex<BTreeMap<u32, u64>>,
    /// What each partition takes without users.
    pub empty: Empty,
}

/// A checkpoint that was published, and what that took.
struct Saved {
    checkpoint: Checkpoint,
    bytes: u64,
    /// Nanoseconds to gather it.
    save: u64,
    /// Nanoseconds to encode and publish it.
    publish: u64,
}

/// There is one program only.
struct NoOthers;

impl Programs for NoOthers {
    fn at(&self, _: i64) -> Option<Deployment> {
        None
    }
}

impl Shared {
    /// Measures what a partition without users takes; the least of some times.
    ///
    /// # Errors
    /// When it cannot be saved or restored.
    pub fn measure_empty(&mut self) -> Result<()> {
        // A number that no partition has.
        let number = self.partitions;
        let mut empty = Empty { save: u64::MAX, publish: u64::MAX, restore: u64::MAX, ..Empty::default() };
        for _ in 0..5 {
            let saved = self.save(&mut self.open(number)?.running)?;
            let started = thread_cpu_nanos();
            empty.state = self.open(number)?.running.state.size();
            empty.restore = empty.restore.min(thread_cpu_nanos() - started);
            empty.bytes = saved.bytes;
            empty.save = empty.save.min(saved.save);
            empty.publish = empty.publish.min(saved.publish);
        }
        self.empty = empty;
        Ok(())
    }

    /// Saves a partition.
    fn save(&self, running: &mut Running) -> Result<Saved> {
        let started = thread_cpu_nanos();
        let checkpoint = running.checkpoint()?;
        let gathered = thread_cpu_nanos();
        let bytes = self.store.save(&checkpoint).map_err(|e| anyhow!(e))?;
        Ok(Saved { save: gathered - started, publish: thread_cpu_nanos() - gathered, bytes, checkpoint })
    }

    fn note_size(&self, partition: u32, bytes: u64) {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, bytes);
    }

    fn size_of(&self, partition: u32) -> u64 {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).copied().unwrap_or(0)
    }

    /// A partition from its newest checkpoint, or new.
    ///
    /// # Errors
    /// When the checkpoint cannot be read.
    pub fn open(&self, partition: u32) -> Result<Owned> {
        let settings = Settings { memory_limit: usize::MAX / 2, ..Settings::default() };
        let formats = Arc::<Formats>::default();
        let (running, _) = Running::restore(partition, &self.store, settings, &self.deployment, 0, (&NoOthers, &formats))?;
        let next = running.positions.get(&(LOG.into(), partition)).copied().unwrap_or(0);
        let decoder = JsonDecoder::new(projection(&self.deployment.program));
        Ok(Owned { running, decoder, next: usize::try_from(next)?, evaluate: 0, rows: changed::Rows::default(), taken_over: false })
    }
}

/// Room for a batch.
#[derive(Default)]
struct Scratch {
    spans: Vec<(u32, u32)>,
    events: EventBatch,
    rejected: Vec<Rejected>,
    late: Late,
    rows: Vec<ResultRow>,
}

/// A member of the group: one worker's partitions.
#[derive(Default)]
pub struct Member {
    /// Its number.
    pub number: usize,
    /// Its partitions.
    pub owned: Vec<Owned>,
    /// What it did.
    pub account: Account,
    /// What its partitions' results came to since they were taken away: partition, tick, and that.
    pub told: Vec<(u32, usize, Told)>,
    scratch: Scratch,
}

impl Member {
    /// A member with these partitions.
    pub fn new(number: usize, owned: Vec<Owned>) -> Self {
        Member { number, owned, ..Member::default() }
    }

    /// Reads all its partitions up to a tick, that one too, and writes the results.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn read(&mut self, log: &Log, upto: usize) -> Result<()> {
        let from = self.owned.iter().map(|owned| owned.next).min().unwrap_or(upto + 1);
        for tick in from..=upto {
            let mut batches = vec![];
            for i in 0..self.owned.len() {
                if self.owned[i].next == tick {
                    batches.extend(self.take(i, log, tick)?);
                }
            }
            batches.extend(self.pass_time(None)?);
            self.write(tick, &batches);
        }
        Ok(())
    }

    /// Decodes and processes what came in a partition within a tick.
    fn take(&mut self, i: usize, log: &Log, tick: usize) -> Result<Option<ResultBatch>> {
        let (owned, Scratch { spans, events, rejected, late, rows }) = (&mut self.owned[i], &mut self.scratch);
        let (lines, count) = log.read(tick, owned.running.number);
        let started = thread_cpu_nanos();
        split_lines(lines, spans);
        owned.decoder.decode(lines, spans, Topics::None, events, rejected);
        owned.running.state.process(events, rows, late)?;
        let batch = (!rows.is_empty()).then(|| owned.running.results(rows, 0));
        let took = thread_cpu_nanos() - started;
        rows.clear();
        owned.evaluate += took;
        owned.next = tick + 1;
        owned.running.positions.insert((LOG.into(), owned.running.number), owned.next as i64);
        self.account.evaluate += took;
        self.account.events += u64::from(count);
        self.account.bytes += lines.len() as u64;
        self.account.rejected += rejected.len() as u64;
        self.account.late += late.events.len() as u64;
        Ok(batch)
    }

    /// Closes windows up to the least watermark of its partitions, as a worker does, or up to a given time.
    fn pass_time(&mut self, to: Option<i64>) -> Result<Vec<ResultBatch>> {
        let Some(time) = to.or(self.owned.iter().filter_map(|owned| owned.running.state.watermark()).min()) else { return Ok(vec![]) };
        let mut batches = vec![];
        for owned in &mut self.owned {
            let (rows, started) = (&mut self.scratch.rows, thread_cpu_nanos());
            owned.running.state.advance(time, rows)?;
            if !rows.is_empty() {
                batches.push(owned.running.results(rows, 0));
            }
            rows.clear();
            let took = thread_cpu_nanos() - started;
            owned.evaluate += took;
            self.account.evaluate += took;
        }
        Ok(batches)
    }

    /// Closes windows up to a time at which the log ends.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn end(&mut self, tick: usize, time: i64) -> Result<()> {
        let batches = self.pass_time(Some(time))?;
        self.write(tick, &batches);
        Ok(())
    }

    /// Makes operations on records of results, and counts them: those of a user that came about within a flush's time are
    /// one record, however long a tick is.
    fn write(&mut self, tick: usize, batches: &[ResultBatch]) {
        let started = thread_cpu_nanos();
        let mut changes: BTreeMap<(i64, &str), Change<'_>> = BTreeMap::new();
        for batch in batches {
            for (i, row) in batch.rows.iter().enumerate() {
                changes.entry((row.timestamp.div_euclid(FLUSH_MS), batch.user(i))).or_default().add(batch, i);
            }
        }
        let operations: u64 = changes.iter().map(|((_, user), change)| change.operations(user, 0).len() as u64).sum();
        self.account.sink += thread_cpu_nanos() - started;
        self.account.operations += operations;
        self.account.records += changes.len() as u64;
        self.account.sink_bytes += changes.iter().map(|((_, user), change)| change.bytes(user, NAMESPACE, SET) as u64).sum::<u64>();
        for batch in batches {
            self.account.results += batch.rows.len() as u64;
            let mut told = Told::default();
            told.take(batch);
            self.told.push((batch.partition, tick, told));
        }
    }

    /// Saves all its partitions; some are compared with what was saved before.
    ///
    /// # Errors
    /// When a checkpoint cannot be written.
    pub fn save(&mut self, shared: &Shared) -> Result<()> {
        for owned in &mut self.owned {
            let (Saved { checkpoint, bytes, save, publish }, empty) = (shared.save(&mut owned.running)?, shared.empty);
            self.account.save += save.saturating_sub(empty.save);
            self.account.fixed += save.min(empty.save);
            self.account.publish += publish.saturating_sub(empty.publish);
            shared.note_size(owned.running.number, bytes);
            self.account.checkpoints += 1;
            self.account.checkpoint_bytes += bytes.saturating_sub(empty.bytes);
            // A quarter of the partitions says enough.
            if owned.running.number % 4 == 1 || shared.partitions < 2 {
                let bytes = changed::compare(&checkpoint.tables, &mut owned.rows)?.unwrap_or_default();
                self.account.compared = (self.account.compared.0 + bytes.whole.saturating_sub(empty.bytes), self.account.compared.1 + bytes.changed);
            }
        }
        Ok(())
    }

    /// Takes a partition over from its newest checkpoint.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn restore(&mut self, shared: &Shared, partition: u32) -> Result<()> {
        let started = thread_cpu_nanos();
        let mut owned = shared.open(partition)?;
        owned.running.catch_up(1);
        let took = thread_cpu_nanos() - started;
        self.account.restore += took.saturating_sub(shared.empty.restore);
        self.account.fixed += took.min(shared.empty.restore);
        self.account.restored_bytes += shared.size_of(partition).saturating_sub(shared.empty.bytes);
        owned.taken_over = true;
        self.owned.push(owned);
        Ok(())
    }

    /// Tells the sink all members of partitions that were taken over, as a worker does once it has caught up.
    pub fn tell_members(&mut self) {
        for owned in self.owned.iter_mut().filter(|owned| owned.taken_over) {
            owned.taken_over = false;
            for batch in owned.running.members() {
                let bytes: usize = batch.iter().map(|(user, rows)| size::record(user, &batch.names, rows)).sum();
                self.account.retold = (self.account.retold.0 + batch.ends.len() as u64, self.account.retold.1 + bytes as u64);
            }
        }
    }

    /// What all its partitions' members have, in records as the sink would hold them.
    pub fn held(&mut self) -> Held {
        let mut held = Held::default();
        for owned in &mut self.owned {
            for batch in owned.running.members() {
                for (user, rows) in batch.iter().filter(|(_, rows)| !rows.is_empty()) {
                    held.records += 1;
                    held.bytes += size::record(user, &batch.names, rows) as u64;
                    held.memberships.extend(rows.iter().map(|row| pair(user, &batch.names[row.segment as usize].segment)));
                }
            }
        }
        held
    }

    /// How much it holds beside what a partition without users does.
    pub fn standing(&mut self, empty: &Empty) -> Standing {
        let mut all = Standing::default();
        for owned in &mut self.owned {
            let state = &mut owned.running.state;
            state.look();
            all.add(&Standing {
                bytes: state.size().saturating_sub(empty.state),
                user_bytes: state.users().size(),
                membership_bytes: state.membership().size(),
                groups: state.groups(),
                users: state.users().len(),
                memberships: state.membership().len(),
            });
        }
        all
    }
}
