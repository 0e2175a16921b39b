//! A partition that runs: its state with what belongs to it, the program that runs over it, and where reading stands.
//! It is restored from its newest checkpoint, takes other programs, and says what it found in terms of the sinks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use cohort_compiler::Program;
use rustc_hash::FxHashSet;

use crate::checkpoint::{Adoption, Checkpoint, CheckpointStore, Unsaved};
use crate::decode::Reason;
use crate::decode::TextBuffer;
use crate::error::EngineError;
use crate::events::projection;
use crate::formats::{Decoder, Formats};
use crate::partition::saved::Snapshot;
use crate::partition::{Partition, Settings};
use crate::relay::Relay;
use crate::result::{ResultKind, ResultRow};
use crate::sink::{Lease, MemberBatch, ResultBatch, SegmentName, Touch};
use crate::source::Positions;
use crate::worker::WorkerError;
use crate::{Departed, Tables};

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

/// Programs of older revisions, for what a restart must repeat.
pub trait Programs: Send + Sync {
    /// The program of a revision of the catalog; none when it is not known any more.
    fn at(&self, revision: i64) -> Option<Deployment>;
}

impl Deployment {
    /// A program to run from the next batch on.
    pub fn new(revision: i64, program: Arc<Program>) -> Self {
        let name = |s: &cohort_compiler::program::Segment| SegmentName { segment: s.name.as_str().into(), rule: s.rule_id.as_str().into() };
        let names = Arc::new(program.segments.iter().map(name).collect());
        Deployment { revision, program, names, backfill: None }
    }
}

/// Users told to sinks together, at most.
const TOGETHER: usize = 4_096;

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
    /// Results from elsewhere that were read and say nothing here, by why.
    pub ignored: BTreeMap<&'static str, u64>,
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
    /// Bytes of its state in files.
    pub spilled_bytes: usize,
    /// Memberships.
    pub members: usize,
    /// When the last batch ended, ms since the epoch.
    pub evaluated_at: i64,
    /// What it did so far.
    pub counts: Counts,
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
    /// Ends when another process may read the partition.
    pub lease: Lease,
    /// Up to where the source knows that checkpoints reach.
    pub(crate) covered: Positions,
    /// When its state was last gathered for a checkpoint, or when it came.
    pub(crate) saved: Instant,
    pub(crate) decoder: Decoder,
    /// Where results are read, what is remembered of them.
    pub(crate) relay: Relay,
    pub(crate) last_record: i64,
    pub(crate) evaluated_at: i64,
    /// Changes of program that were noted before a restart, to be repeated at the same records.
    pub(crate) noted: VecDeque<(Adoption, Deployment)>,
    /// Records that were there when reading began anew, and are not read yet: what a process before this one made of
    /// them may have reached the sinks.
    pub(crate) behind: Option<u64>,
    /// The program to run once they are read: until then what the process before told is to come about again.
    pub(crate) deferred: Option<Deployment>,
    /// Members whose records are to live on, by dense id.
    pub(crate) to_touch: Vec<u32>,
    pub(crate) touched_at: Instant,
}

impl Running {
    /// A partition with the state of its newest checkpoint, and the changes of program that were noted since; and
    /// whether there was one.
    ///
    /// # Errors
    /// When the store cannot be read, or its state is not what this engine writes.
    pub fn restore(
        number: u32,
        store: &dyn CheckpointStore,
        settings: Settings,
        newest: &Deployment,
        now: i64,
        (programs, formats): (&dyn Programs, &Arc<Formats>),
    ) -> Result<(Self, bool), WorkerError> {
        let failed = |source| WorkerError::Engine { partition: number, source };
        let program = |revision| if revision == newest.revision { Some(newest.clone()) } else { programs.at(revision) };
        let mut running = Running {
            number,
            decoder: Decoder::new(projection(&newest.program), formats),
            state: Partition::new(Arc::clone(&newest.program), settings.clone()),
            deployment: newest.clone(),
            relay: Relay::default(),
            counts: Counts::default(),
            positions: Positions::new(),
            lease: Lease::new(),
            covered: Positions::new(),
            saved: Instant::now(),
            last_record: now,
            evaluated_at: now,
            noted: VecDeque::new(),
            behind: None,
            deferred: None,
            to_touch: vec![],
            touched_at: Instant::now(),
        };
        let Some(checkpoint) = store.load(number)? else { return Ok((running, false)) };
        let adoptions = store.adoptions(number, checkpoint.revision)?;
        running.deployment = program(checkpoint.revision).unwrap_or_else(|| newest.clone());
        running.decoder = running.decoder.with(projection(&running.deployment.program));
        running.state = Partition::restore(Arc::clone(&running.deployment.program), settings, &checkpoint.tables).map_err(failed)?.0;
        running.relay = Relay::load(&checkpoint.tables).map_err(failed)?;
        running.positions = checkpoint.positions;
        let later = adoptions.into_iter().filter(|a| a.revision > running.deployment.revision);
        running.noted = later.filter_map(|a| program(a.revision).map(|d| (a, d))).collect();
        Ok((running, true))
    }

    /// The state as it is now.
    ///
    /// # Errors
    /// When a state of DataFusion's accumulators cannot be gathered.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, WorkerError> {
        let state = self.state.save().map(Snapshot::Tables);
        let checkpoint = state.and_then(|state| self.unsaved(state)).and_then(Unsaved::checkpoint);
        checkpoint.map_err(|source| self.failed(source))
    }

    /// A copy of the state as it is now, for another thread to make a checkpoint of.
    ///
    /// # Errors
    /// When a state of DataFusion's accumulators cannot be gathered.
    pub fn snapshot(&mut self) -> Result<Unsaved, WorkerError> {
        let state = self.state.snapshot();
        state.and_then(|state| self.unsaved(state)).map_err(|source| self.failed(source))
    }

    fn unsaved(&self, state: Snapshot) -> Result<Unsaved, EngineError> {
        let mut relay = Tables::default();
        self.relay.save(&mut relay)?;
        Ok(Unsaved { partition: self.number, revision: self.deployment.revision, positions: self.positions.clone(), state, relay })
    }

    /// Takes note that `records` of those that were there when reading began are not read yet, and which users they
    /// are of.
    pub fn catch_up(&mut self, records: u64) {
        self.behind = Some(records);
        self.state.watch();
    }

    /// Whether everything that was there when reading began has now been read; true once.
    pub(crate) fn has_caught_up(&mut self, lag: u64) -> bool {
        let caught_up = self.noted.is_empty() && self.behind.is_some_and(|left| left == 0 || lag == 0);
        if caught_up {
            self.behind = None;
        }
        caught_up
    }

    /// All members, and the users of events since reading began, with their memberships, some at a time.
    pub fn members(&mut self) -> Vec<MemberBatch> {
        let watched = self.state.unwatch();
        let mut pairs: Vec<(u32, Option<u32>)> = (0u32..).zip(watched).filter(|(_, w)| *w).map(|(user, _)| (user, None)).collect();
        pairs.extend(self.state.membership().iter().map(|(segment, user, _)| (user, Some(segment))));
        self.member_batches(pairs)
    }

    /// Some users with all of their memberships, some at a time; users who are not known here have none.
    pub(crate) fn members_of(&self, users: &TextBuffer) -> Vec<MemberBatch> {
        let (mut pairs, mut unknown) = (vec![], MemberBatch { partition: self.number, lease: self.lease.clone(), ..MemberBatch::default() });
        for user in (0..users.len()).map(|i| users.get(i)) {
            match self.state.users().find(user) {
                Some(id) => pairs.push((id, None)),
                None => {
                    unknown.users.push(user);
                    unknown.ends.push(0);
                }
            }
        }
        let (membership, segments) = (self.state.membership(), self.deployment.program.segments.len());
        if pairs.len().saturating_mul(segments) < membership.len() {
            let of = |id: u32| (0..segments as u32).filter(move |segment| membership.get(*segment, id).is_some()).map(move |segment| (id, Some(segment)));
            pairs.extend(pairs.clone().into_iter().flat_map(|(id, _)| of(id)));
        } else {
            let wanted: FxHashSet<u32> = pairs.iter().map(|(id, _)| *id).collect();
            pairs.extend(membership.iter().filter(|(_, id, _)| wanted.contains(id)).map(|(segment, id, _)| (id, Some(segment))));
        }
        let mut batches = self.member_batches(pairs);
        batches.extend(Some(unknown).filter(|batch| !batch.users.is_empty()));
        batches
    }

    /// Pairs of users, and users and segments that they are in, as batches.
    fn member_batches(&self, mut pairs: Vec<(u32, Option<u32>)>) -> Vec<MemberBatch> {
        pairs.sort_unstable();
        let users: Vec<&[(u32, Option<u32>)]> = pairs.chunk_by(|a, b| a.0 == b.0).collect();
        users.chunks(TOGETHER).map(|some| self.member_batch(some)).collect()
    }

    fn member_batch(&self, users: &[&[(u32, Option<u32>)]]) -> MemberBatch {
        let names = Arc::clone(&self.deployment.names);
        let mut batch = MemberBatch { partition: self.number, names, lease: self.lease.clone(), ..MemberBatch::default() };
        for pairs in users {
            batch.users.push(self.state.users().text(pairs[0].0));
            batch.rows.extend(pairs.iter().filter_map(|&(user, segment)| self.state.member_row(segment?, user)));
            batch.ends.push(batch.rows.len() as u32);
        }
        batch
    }

    /// Begins to have all members' records live on.
    pub(crate) fn plan_touch(&mut self) {
        let mut seen = vec![false; self.state.users().len()];
        self.state.membership().iter().for_each(|(_, user, _)| seen[user as usize] = true);
        self.to_touch = (0u32..).zip(seen).filter(|(_, s)| *s).map(|(user, _)| user).collect();
        self.touched_at = Instant::now();
    }

    /// The next of the members whose records are to live on.
    pub(crate) fn next_touch(&mut self) -> Option<Touch> {
        if self.to_touch.is_empty() {
            return None;
        }
        let some = self.to_touch.split_off(self.to_touch.len().saturating_sub(TOGETHER));
        let mut touch = Touch { partition: self.number, lease: self.lease.clone(), ..Touch::default() };
        // Some may have left every segment since they were noted, and may be forgotten.
        for (user, held) in some.into_iter().map(|user| (user, self.state.membership().told(user))).filter(|(_, held)| *held > 0) {
            touch.users.push(self.state.users().text(user));
            touch.held.push(held);
        }
        Some(touch)
    }

    pub(crate) fn failed(&self, source: EngineError) -> WorkerError {
        WorkerError::Engine { partition: self.number, source }
    }

    /// Whether everything before a noted change has been read.
    pub(crate) fn is_reached(&self) -> bool {
        let read = |(log, at): (&(Arc<str>, u32), &i64)| self.positions.get(log).copied().unwrap_or(0) >= *at;
        self.noted.front().is_some_and(|(adoption, _)| adoption.positions.iter().all(read))
    }

    /// Whether a noted change comes before the record at `offset` of `log`.
    pub(crate) fn is_due(&self, log: &Arc<str>, offset: i64) -> bool {
        let Some((adoption, _)) = self.noted.front() else { return false };
        adoption.positions.get(&(Arc::clone(log), self.number)).is_none_or(|at| *at <= offset)
    }

    /// Runs another program from here on. Returns the results of the change.
    pub(crate) fn adopt(&mut self, deployment: &Deployment) -> Result<Vec<ResultBatch>, EngineError> {
        let backfill = deployment.backfill.as_ref().map(|b| b.tables(self.number, &self.positions, self.state.closed()));
        let backfill = backfill.and_then(|tables| tables.inspect_err(|error| tracing::error!(error, "backfill")).ok());
        let difference = match self.state.adopt(Arc::clone(&deployment.program), backfill.as_ref()) {
            Err(error) if backfill.is_some() => {
                tracing::error!(%error, "backfill; new groups begin empty");
                self.state.adopt(Arc::clone(&deployment.program), None)?
            }
            outcome => outcome?,
        };
        self.decoder = self.decoder.with(projection(&deployment.program));
        self.deployment = deployment.clone();
        self.to_touch.clear();
        let mut batches = vec![self.departed(&difference.departed)];
        batches.push(self.results(&difference.rows, 0));
        batches.retain(|b| !b.rows.is_empty());
        Ok(batches)
    }

    /// Results as a batch for the sink.
    pub fn results(&mut self, rows: &[ResultRow], arrived: i64) -> ResultBatch {
        self.state.watch_rows(rows);
        let (names, lease) = (Arc::clone(&self.deployment.names), self.lease.clone());
        let mut batch = ResultBatch { partition: self.number, names, arrived, lease, ..ResultBatch::default() };
        for row in rows {
            let still = || self.state.membership().get(row.segment, row.user).is_some();
            batch.member.push(row.qualified || (row.kind == ResultKind::Change && still()));
            batch.users.push(self.state.users().text(row.user));
            batch.held.push(self.state.membership().told(row.user));
            batch.rows.push(*row);
        }
        batch
    }

    /// The exits of members of segments that are no more.
    fn departed(&self, departed: &[Departed]) -> ResultBatch {
        let now = self.state.newest().unwrap_or(0);
        let (mut batch, mut names) = (ResultBatch { partition: self.number, lease: self.lease.clone(), ..ResultBatch::default() }, vec![]);
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
            spilled_bytes: self.state.spilled(),
            members: self.state.membership().len(),
            evaluated_at: self.evaluated_at,
            counts: self.counts.clone(),
        }
    }
}
