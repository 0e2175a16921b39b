//! A bounded run: decoders take turns to read a micro-batch, turn it into columns and route
//! the events to partitions by user; workers own the partitions, and write what they emit.
//!
//! The source goes round from decoder to decoder: who has it reads, hands it on, and decodes what it read while that is still
//! in its core's cache. Workers take the decoders' batches in the same order, so that each partition sees its events in input order
//! whatever the number of threads. A worker writes its results itself, a thousand at a time, from memory that is in its core's cache as well. All queues are bounded: a slow output slows
//! workers, and they slow the decoders.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use cohort_compiler::Program;
use cohort_engine::decode::{ByPartition, EventBatch, Reason, Rejected};
use cohort_engine::events::projection;
use cohort_engine::{Late, Partition, ResultKind, ResultRow, Results, Settings};

use crate::between::Between;
use crate::error::ConnectorError;
use crate::file::sink::{Encoded, Format, Names, ResultWriter, dead_letter, encode};
use crate::file::source::{Chunk, FileSource};
use crate::moves::{Moved, Moves};
use crate::records::{ChunkDecoder, Shape};
use crate::spares::Spares;

/// How a replay runs.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Number of partitions; a user is in partition `murmur2(userId) % partitions`, as Kafka would have it.
    pub partitions: u32,
    /// Number of worker threads.
    pub workers: usize,
    /// Settings of time and memory.
    pub settings: Settings,
    /// What records are.
    pub shape: Arc<Shape>,
    /// Which events are wanted.
    pub between: Between,
    /// For each segment, whether its results are written and counted; all are, when empty.
    pub told: Vec<bool>,
    /// Whether those who enter and exit are counted.
    pub moves: bool,
    /// Whether results say who ceases to be a member.
    pub exits: bool,
    /// Whether it is asked who is a member at the end.
    pub members: bool,
}

impl ReplayOptions {
    fn partition(&self, program: &Arc<Program>) -> Partition {
        let partition = Partition::new(Arc::clone(program), self.settings.clone());
        if self.exits || self.members || self.moves { partition } else { partition.without_members() }
    }

    /// Whether a result is written and counted.
    fn tells(&self, row: &ResultRow) -> bool {
        let of_this_segment = self.told.get(row.segment as usize).is_none_or(|told| *told);
        of_this_segment && (self.exits || row.kind != ResultKind::Exit) && !self.between.is_lead_in(row.timestamp)
    }

    /// Whether there are no results but those that are told.
    fn tells_all(&self) -> bool {
        self.told.is_empty() && self.exits && self.between.from.is_none()
    }
}

/// What came of a replay.
#[derive(Debug, Default)]
pub struct ReplaySummary {
    /// Events accepted.
    pub events: u64,
    /// Bytes read, decompressed.
    pub bytes: u64,
    /// Dead letters by reason, late events among them.
    pub dead_letters: BTreeMap<Reason, u64>,
    /// Results by segment.
    pub results: Vec<u64>,
    /// Events before the first moment of the run that were read as its lead-in; `events` are without them.
    pub lead_in: u64,
    /// Events outside the time of the run that were met and passed over.
    pub outside: u64,
    /// By segment, how often a user became a member and ceased to be one, if that was asked for.
    pub moves: Vec<Moved>,
    /// Bytes of state at its largest, as accounted.
    pub state_bytes: usize,
}

/// Counters that a progress bar may read while a replay runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes read, decompressed.
    pub bytes: AtomicU64,
    /// Records decoded.
    pub records: AtomicU64,
}

struct Routed {
    /// What the events were decoded from, if late ones are kept.
    raw: Option<Arc<Raw>>,
    /// One batch for each partition of the worker.
    batches: Vec<EventBatch>,
}

/// A chunk, and where its records begin and end.
struct Raw {
    chunk: Chunk,
    spans: Vec<(u32, u32)>,
}

impl Raw {
    fn record(&self, record: u32) -> &[u8] {
        let (start, end) = self.spans[record as usize];
        &self.chunk.data[start as usize..end as usize]
    }

    fn line(&self, record: u32) -> u64 {
        self.chunk.line(record)
    }
}

/// The most batches of which memory is kept for the next ones.
const SPARE_BATCHES: usize = 64;

/// Batches that nobody uses at the moment, and whose memory is used again.
#[derive(Default)]
struct SpareBatches {
    free: Mutex<Vec<EventBatch>>,
}

impl SpareBatches {
    /// A batch with whatever was in it.
    fn take(&self) -> EventBatch {
        lock(&self.free).pop().unwrap_or_default()
    }

    fn give(&self, batch: EventBatch) {
        let mut free = lock(&self.free);
        if free.len() < SPARE_BATCHES {
            free.push(batch);
        }
    }
}

/// Where results and dead letters go. Whoever has some writes them, one at a time.
struct Output {
    /// None any more once writing failed, so that nothing follows what was written in part.
    results: Mutex<Option<ResultWriter>>,
    dead: Option<Mutex<Box<dyn Write + Send>>>,
}

/// What another thread had when it panicked is as it left it.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Output {
    fn write(&self, encoded: Encoded<'_>) -> Result<(), ConnectorError> {
        let mut results = lock(&self.results);
        let written = results.as_mut().map_or(Ok(()), |results| results.write(encoded));
        if written.is_err() {
            *results = None;
        }
        written
    }

    fn write_dead(&self, lines: &[u8]) -> Result<(), ConnectorError> {
        self.dead.as_ref().map_or(Ok(()), |dead| lock(dead).write_all(lines)).map_err(ConnectorError::io("dead letters"))
    }

    fn finish(self) -> Result<(), ConnectorError> {
        let results = self.results.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), ResultWriter::finish);
        let dead = self.dead.as_ref().map_or(Ok(()), |dead| lock(dead).flush()).map_err(ConnectorError::io("dead letters"));
        results.and(dead)
    }
}

/// What a worker hands back when the input ends.
struct WorkerState {
    partitions: Vec<(u32, Partition)>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    events: u64,
    late: u64,
    results: Vec<u64>,
    state_bytes: usize,
    moves: Option<Moves>,
}

/// What decoders count.
#[derive(Default)]
struct Decoded {
    bytes: u64,
    rejected: BTreeMap<Reason, u64>,
    lead_in: u64,
    outside: u64,
}

/// The partition of a user: murmur2 as in Kafka's default partitioner, so that files and topics agree.
pub fn partition_of(user: &[u8], partitions: u32) -> u32 {
    if partitions <= 1 { 0 } else { (murmur2(user) & 0x7fff_ffff) % partitions }
}

fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h: u32 = 0x9747_b28c ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// Runs a program over all of a source.
///
/// # Errors
/// When reading, writing or evaluating fails; what was written until then stays.
pub fn replay(
    program: &Arc<Program>,
    source: FileSource,
    writer: (Format, ResultWriter),
    dead_letters: Option<Box<dyn Write + Send>>,
    options: &ReplayOptions,
    progress: &Progress,
    mut members: impl FnMut(&Partition),
) -> Result<ReplaySummary, ConnectorError> {
    let workers = options.workers.clamp(1, options.partitions.max(1) as usize);
    let (format, writer) = writer;
    let names = Names::new(program, &format);
    let output = Output { results: Mutex::new(Some(writer)), dead: dead_letters.map(Mutex::new) };
    let to = To { options, names: &names, format: &format, output: &output };
    let (chunks, batches) = (&source.spares(), &SpareBatches::default());
    let finished = thread::scope(|scope| {
        let mut decoding = vec![];
        let mut routes: Vec<Vec<Receiver<Routed>>> = (0..workers).map(|_| vec![]).collect();
        for turns in Turns::of(source, workers.max(LEAST_DECODERS)) {
            let mut to_workers = vec![];
            for route in &mut routes {
                let (send, receive) = sync_channel::<Routed>(ROUTED_AHEAD);
                to_workers.push(send);
                route.push(receive);
            }
            let decoding_all = DecodeAll { program, options, turns, workers: to_workers, output: &output, progress, spares: chunks, batches };
            decoding.push(scope.spawn(move || decoding_all.run()));
        }
        let working: Vec<_> = routes
            .into_iter()
            .enumerate()
            .map(|(w, route)| {
                let counts = Counts {
                    results: vec![0; program.segments.len()],
                    moves: options.moves.then(|| Moves::new(program.segments.len(), options.between)),
                    ..Counts::default()
                };
                let worker = Worker { program, options, chunks, batches, out: Outlet::new(to, counts) };
                scope.spawn(move || worker.run(w, workers, &route))
            })
            .collect();
        // All are waited for, whatever became of one.
        let decoding: Vec<_> = decoding.into_iter().map(|decoder| decoder.join().map_err(|_| ConnectorError::Thread("a decoder"))).collect();
        let working: Vec<_> = working.into_iter().map(|worker| worker.join().map_err(|_| ConnectorError::Thread("a worker"))).collect();
        let mut summary = ReplaySummary::default();
        let mut read = Ok(());
        for decoder in decoding {
            let (decoded, ended) = decoder?;
            read = read.and(ended);
            summary.bytes += decoded.bytes;
            for (reason, n) in decoded.rejected {
                *summary.dead_letters.entry(reason).or_default() += n;
            }
            summary.lead_in += decoded.lead_in;
            summary.outside += decoded.outside;
        }
        let states = working.into_iter().map(|worker| worker?).collect::<Result<Vec<_>, _>>()?;
        // What was read in part has no end at which windows would close.
        read.and_then(|()| finish(program, states, to, &mut summary, &mut members)).map(|()| summary)
    });
    // What was written until then stays, also after an error.
    let wrote = output.finish();
    finished.and_then(|summary| wrote.map(|()| summary))
}

/// Decoders are at least as many, so that one can read while another decodes.
const LEAST_DECODERS: usize = 2;
/// The most batches that wait between a decoder and a worker: enough that a worker hardly ever waits while decoders wait for the source.
const ROUTED_AHEAD: usize = 6;

/// A decoder's turns to read: the source comes from the decoder before it, and goes to the one after it.
struct Turns {
    before: Receiver<FileSource>,
    after: SyncSender<FileSource>,
}

impl Turns {
    /// Those of so many decoders, of whom the first begins.
    fn of(source: FileSource, decoders: usize) -> Vec<Turns> {
        let (mut senders, receivers): (Vec<_>, Vec<_>) = (0..decoders).map(|_| sync_channel(1)).unzip();
        // There is room for it.
        let _ = senders[0].send(source);
        senders.rotate_left(1);
        receivers.into_iter().zip(senders).map(|(before, after)| Turns { before, after }).collect()
    }

    /// The next chunk of this decoder; none at the end, or when another decoder ended early.
    fn next_chunk(&self) -> Result<Option<Chunk>, ConnectorError> {
        let Ok(mut source) = self.before.recv() else { return Ok(None) };
        let chunk = source.next_chunk()?;
        if chunk.is_some() {
            let _ = self.after.send(source);
        }
        Ok(chunk)
    }
}

/// What a decoder works with.
struct DecodeAll<'a> {
    program: &'a Program,
    options: &'a ReplayOptions,
    turns: Turns,
    workers: Vec<SyncSender<Routed>>,
    output: &'a Output,
    progress: &'a Progress,
    spares: &'a Spares,
    batches: &'a SpareBatches,
}

impl DecodeAll<'_> {
    /// Reads and decodes until the input ends; what was counted until then, and how it ended.
    fn run(self) -> (Decoded, Result<(), ConnectorError>) {
        let mut decoder = ChunkDecoder::new(projection(self.program), &self.options.shape);
        let mut counts = Decoded::default();
        loop {
            match self.turns.next_chunk().and_then(|chunk| chunk.map_or(Ok(false), |chunk| self.decode(&mut decoder, chunk, &mut counts))) {
                Ok(true) => {}
                Ok(false) => return (counts, Ok(())),
                Err(error) => return (counts, Err(error)),
            }
        }
    }

    /// Decodes a chunk and hands its events on; whether the workers go on.
    fn decode(&self, decoder: &mut ChunkDecoder, mut chunk: Chunk, counts: &mut Decoded) -> Result<bool, ConnectorError> {
        let options = self.options;
        self.progress.bytes.fetch_add(chunk.data.len() as u64, Ordering::Relaxed);
        counts.bytes += chunk.data.len() as u64;
        let partitions = options.partitions.max(1);
        let mut batches: Vec<EventBatch> = (0..partitions).map(|_| self.batches.take()).collect();
        decoder
            .decode_by_partition(&mut chunk, &mut ByPartition { batches: &mut batches, partition: |user: &[u8]| partition_of(user, partitions) as usize })?;
        let ChunkDecoder { spans, rejected, .. } = decoder;
        self.progress.records.fetch_add(spans.len() as u64, Ordering::Relaxed);
        for r in rejected.iter() {
            *counts.rejected.entry(r.reason).or_default() += 1;
        }
        let raw = if self.output.dead.is_some() {
            let raw = Raw { chunk, spans: spans.clone() };
            if !rejected.is_empty() {
                self.output.write_dead(&rejected_letters(&raw, options.shape.topic.as_deref(), rejected))?;
            }
            Some(Arc::new(raw))
        } else {
            self.spares.give(chunk.data);
            None
        };
        for events in &mut batches {
            counts.outside += options.between.keep(events);
            counts.lead_in += events.times.iter().filter(|time| options.between.is_lead_in(**time)).count() as u64;
        }
        // Worker `w` owns partitions `w`, `w + workers`, ….
        let workers = self.workers.len();
        let mut routed: Vec<Vec<EventBatch>> = (0..workers).map(|_| vec![]).collect();
        batches.into_iter().enumerate().for_each(|(partition, batch)| routed[partition % workers].push(batch));
        // A worker is gone when it failed, which it then says.
        Ok(self.workers.iter().zip(routed).all(|(worker, batches)| worker.send(Routed { raw: raw.clone(), batches }).is_ok()))
    }
}

fn rejected_letters(raw: &Raw, topic: Option<&str>, rejected: &[Rejected]) -> Vec<u8> {
    let mut out = vec![];
    for r in rejected {
        dead_letter(&mut out, r.reason, topic, 0, raw.line(r.record), raw.record(r.record));
    }
    out
}

struct Worker<'a> {
    program: &'a Arc<Program>,
    options: &'a ReplayOptions,
    chunks: &'a Spares,
    batches: &'a SpareBatches,
    out: Outlet<'a>,
}

impl Worker<'_> {
    fn run(mut self, worker: usize, workers: usize, decoders: &[Receiver<Routed>]) -> Result<WorkerState, ConnectorError> {
        let owned = (worker as u32..self.options.partitions.max(1)).step_by(workers);
        let mut partitions: Vec<(u32, Partition)> = owned.map(|p| (p, self.options.partition(self.program))).collect();
        let mut late = Late::default();
        for turn in 0.. {
            let Ok(routed) = decoders[turn % decoders.len()].recv() else { break };
            for ((number, partition), events) in partitions.iter_mut().zip(&routed.batches) {
                self.out.number = *number;
                partition.process(events, &mut self.out, &mut late)?;
                self.out.end(partition)?;
                late.events.retain(|&i| !self.options.between.is_lead_in(events.times[i as usize]));
                if let Some(raw) = &routed.raw {
                    self.late(*number, raw, events, &late)?;
                }
                self.out.counts.late += late.events.len() as u64;
                self.out.counts.events += events.len() as u64;
            }
            routed.batches.into_iter().for_each(|batch| self.batches.give(batch));
            if let Some(raw) = routed.raw.and_then(Arc::into_inner) {
                self.chunks.give(raw.chunk.data);
            }
            // The worker's time is the least watermark of its partitions that have seen events.
            if let Some(time) = partitions.iter().filter_map(|(_, p)| p.watermark()).min() {
                for (number, partition) in &mut partitions {
                    self.out.number = *number;
                    partition.advance(time, &mut self.out)?;
                    self.out.end(partition)?;
                }
            }
            self.note_size(&partitions);
        }
        partitions.iter_mut().for_each(|(_, p)| p.look());
        self.note_size(&partitions);
        Ok(WorkerState { partitions, counts: self.out.counts })
    }

    fn note_size(&mut self, partitions: &[(u32, Partition)]) {
        let size = partitions.iter().map(|(_, p)| p.size()).sum();
        self.out.counts.state_bytes = self.out.counts.state_bytes.max(size);
    }

    /// Keeps late events.
    fn late(&self, partition: u32, raw: &Raw, events: &EventBatch, late: &Late) -> Result<(), ConnectorError> {
        if late.events.is_empty() {
            return Ok(());
        }
        let mut out = vec![];
        for &i in &late.events {
            let record = events.records[i as usize];
            dead_letter(&mut out, Reason::Late, self.options.shape.topic.as_deref(), partition, raw.line(record), raw.record(record));
        }
        self.out.to.output.write_dead(&out)
    }
}

/// About how many results are encoded at a time: few enough for the processor's caches.
const PART: usize = 1_024;

/// What results become.
#[derive(Clone, Copy)]
struct To<'a> {
    options: &'a ReplayOptions,
    names: &'a Names,
    format: &'a Format,
    output: &'a Output,
}

/// Takes the results of a worker's partitions, one after the other, and writes them in parts, each in the same memory.
struct Outlet<'a> {
    to: To<'a>,
    counts: Counts,
    lines: Vec<u8>,
    /// The partition whose results come.
    number: u32,
    rows: Vec<ResultRow>,
    /// What went wrong while a window closed.
    failure: Option<ConnectorError>,
}

impl Extend<ResultRow> for Outlet<'_> {
    #[inline]
    fn extend<T: IntoIterator<Item = ResultRow>>(&mut self, rows: T) {
        self.rows.extend(rows);
    }
}

impl Results for Outlet<'_> {
    fn pause(&mut self, partition: &Partition) {
        if self.rows.len() >= PART {
            self.write(partition);
        }
    }
}

impl<'a> Outlet<'a> {
    fn new(to: To<'a>, counts: Counts) -> Self {
        Outlet { to, counts, lines: vec![], number: 0, rows: vec![], failure: None }
    }

    /// Writes what is left of a partition's results.
    fn end(&mut self, partition: &Partition) -> Result<(), ConnectorError> {
        self.write(partition);
        self.failure.take().map_or(Ok(()), Err)
    }

    fn write(&mut self, partition: &Partition) {
        let (To { options, names, format, output }, counts) = (self.to, &mut self.counts);
        if let Some(moves) = &mut counts.moves {
            moves.note(self.number, partition, &self.rows);
        }
        if !options.tells_all() {
            self.rows.retain(|row| options.tells(row));
        }
        for row in &self.rows {
            counts.results[row.segment as usize] += 1;
        }
        if self.failure.is_none() {
            let mut parts = self.rows.chunks(PART);
            let written = parts.try_for_each(|some| {
                let encoded = encode(format, names, partition.users(), some, &mut self.lines)?;
                encoded.map_or(Ok(()), |encoded| output.write(encoded))
            });
            self.failure = written.err();
        }
        self.rows.clear();
    }
}

/// Closes every window of every partition, now that the newest event of all is known, those of all workers side by side.
fn finish(
    program: &Program,
    mut states: Vec<WorkerState>,
    to: To<'_>,
    summary: &mut ReplaySummary,
    members: &mut impl FnMut(&Partition),
) -> Result<(), ConnectorError> {
    let newest = states.iter().flat_map(|s| &s.partitions).filter_map(|(_, p)| p.newest()).max();
    if let Some(newest) = newest {
        thread::scope(|scope| {
            let closing: Vec<_> = states.iter_mut().map(|state| scope.spawn(move || close_all(state, newest, to))).collect();
            let ended = closing.into_iter().map(|worker| worker.join().map_err(|_| ConnectorError::Thread("a worker"))).collect::<Vec<_>>();
            ended.into_iter().try_for_each(|ended| ended?)
        })?;
    }
    summary.results = vec![0; program.segments.len()];
    summary.moves = vec![Moved::default(); program.segments.len()];
    for state in &states {
        state.partitions.iter().for_each(|(_, partition)| members(partition));
        summary.events += state.counts.events;
        if state.counts.late > 0 {
            *summary.dead_letters.entry(Reason::Late).or_default() += state.counts.late;
        }
        summary.state_bytes += state.counts.state_bytes;
        for (total, n) in summary.results.iter_mut().zip(&state.counts.results) {
            *total += n;
        }
        for (total, n) in summary.moves.iter_mut().zip(state.counts.moves.iter().flat_map(Moves::counts)) {
            *total += *n;
        }
    }
    summary.events = summary.events.saturating_sub(summary.lead_in);
    Ok(())
}

fn close_all(state: &mut WorkerState, newest: i64, to: To<'_>) -> Result<(), ConnectorError> {
    let mut out = Outlet::new(to, std::mem::take(&mut state.counts));
    for (number, partition) in &mut state.partitions {
        out.number = *number;
        partition.finish(newest, &mut out)?;
        out.end(partition)?;
    }
    state.counts = out.counts;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_those_of_kafka() {
        // Cases of org.apache.kafka.common.utils.UtilsTest.
        assert_eq!(murmur2(b"21") as i32, -973932308);
        assert_eq!(murmur2(b"foobar") as i32, -790332482);
        assert_eq!(murmur2(b"a-little-bit-long-string") as i32, -985981536);
        assert_eq!(murmur2(b"abc") as i32, 479470107);
    }
}
