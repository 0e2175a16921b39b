//! The embedded event log: durable, in partitions, append-only. A user's events are all in one partition, the one
//! that Kafka would choose. Records are kept in compressed blocks, as they were appended; readers wait for more.
//! The newest blocks stay in memory besides (`log/recent.rs`): who keeps up reads those.

mod recent;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cohort_engine::source::RawBatch;
use fjall::{Guard, Keyspace, Slice};
use serde::{Deserialize, Serialize};

use self::recent::{Recent, RecentBlock};
use super::{EmbeddedError, Store, corrupt};
use crate::replay::partition_of;

/// The name that offsets of the log have in positions.
pub const LOG: &str = "events";

const MAX_BLOCK_RECORDS: usize = 4096;
const MAX_BLOCK_BYTES: usize = 1 << 20;

/// How the log is kept.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// Number of partitions, for ever.
    pub partitions: u32,
    /// How long records are kept at least, ms.
    pub retention_ms: i64,
    /// How many bytes are kept at most.
    pub retention_bytes: u64,
}

/// A record to append.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// The user, who decides the partition.
    pub user: &'a [u8],
    /// The record itself.
    pub payload: &'a [u8],
}

/// What precedes the payloads of a block.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Header {
    /// When it was appended, ms since the epoch.
    arrived: i64,
    /// Bytes of all blocks of the partition before it.
    before: u64,
    topics: Vec<String>,
    /// For each record, its topic and length.
    records: Vec<(u16, u32)>,
}

/// The event log; clones share it.
#[derive(Clone)]
pub struct EventLog {
    store: Store,
    blocks: Keyspace,
    options: LogOptions,
    shared: Arc<Shared>,
}

struct Shared {
    /// Whoever appends, one at a time; readers do not wait for the disk.
    appending: Mutex<()>,
    ends: Mutex<Ends>,
    appended: Condvar,
}

/// Where the partitions begin and end.
struct Ends {
    /// Counts appends.
    version: u64,
    partitions: Vec<End>,
    recent: Recent,
}

#[derive(Debug, Clone, Copy, Default)]
struct End {
    first: i64,
    next: i64,
    /// Bytes ever appended.
    bytes: u64,
    /// Bytes of them that are no longer kept.
    dropped: u64,
    /// When the last block was appended; blocks are in the order of time.
    arrived: i64,
}

fn key(partition: u32, offset: i64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..].copy_from_slice(&offset.to_be_bytes());
    key
}

fn offset_of(key: &[u8]) -> Result<i64, EmbeddedError> {
    let bytes = key.get(4..12).and_then(|b| b.try_into().ok()).ok_or_else(|| corrupt("log", key, "not a block's key"))?;
    Ok(i64::from_be_bytes(bytes))
}

/// What precedes a block whose payloads are compressed. Older versions compressed none, and no header of theirs begins so.
const COMPRESSED: [u8; 10] = [0xff; 10];
/// LZ4 makes bytes at most so many times fewer.
const MOST_COMPRESSED: usize = 256;
/// Payloads of fewer bytes are kept as they are.
const WORTH_IT: usize = 512;

/// A block as it is kept.
struct Kept<'a> {
    key: &'a [u8],
    header: Header,
    payloads: &'a [u8],
    is_compressed: bool,
}

impl<'a> Kept<'a> {
    fn parse(key: &'a [u8], value: &'a [u8]) -> Result<Self, EmbeddedError> {
        let (value, is_compressed) = value.strip_prefix(&COMPRESSED).map_or((value, false), |rest| (rest, true));
        let (header, payloads): (Header, &[u8]) = postcard::take_from_bytes(value).map_err(|e| corrupt("log", key, e))?;
        let block = Kept { key, header, payloads, is_compressed };
        if !is_compressed && block.length() != payloads.len() as u64 || block.header.records.iter().any(|r| usize::from(r.0) >= block.header.topics.len()) {
            return Err(corrupt("log", key, "lengths do not add up"));
        }
        Ok(block)
    }

    /// Bytes of all payloads.
    fn length(&self) -> u64 {
        self.header.records.iter().map(|r| u64::from(r.1)).sum()
    }

    /// Adds the payloads, one after the other.
    fn unpack(&self, into: &mut Vec<u8>) -> Result<(), EmbeddedError> {
        if !self.is_compressed {
            into.extend_from_slice(self.payloads);
            return Ok(());
        }
        // A header that claims more than LZ4 can have made of them is wrong, and takes no memory.
        let length = usize::try_from(self.length()).ok().filter(|length| *length <= self.payloads.len().saturating_mul(MOST_COMPRESSED));
        let length = length.ok_or_else(|| corrupt("log", self.key, "lengths do not add up"))?;
        let start = into.len();
        into.resize(start + length, 0);
        match lz4_flex::block::decompress_into(self.payloads, &mut into[start..]) {
            Ok(found) if found == length => Ok(()),
            Ok(_) => Err(corrupt("log", self.key, "lengths do not add up")),
            Err(error) => Err(corrupt("log", self.key, error)),
        }
    }
}

/// A block as it is to be kept.
fn pack(block: &Block) -> Result<Vec<u8>, postcard::Error> {
    let header = postcard::to_stdvec(&block.header)?;
    Ok(match &block.compressed {
        Some(compressed) => [&COMPRESSED, &header[..], compressed].concat(),
        None => [&header[..], &block.payloads].concat(),
    })
}

fn entry(guard: impl Into<Guard>) -> Result<(Slice, Slice), EmbeddedError> {
    Ok(guard.into().into_inner()?)
}

impl EventLog {
    /// Opens the log of a store, which is made if there is none.
    ///
    /// # Errors
    /// When the store fails, or the log has another number of partitions.
    pub fn open(store: &Store, options: LogOptions) -> Result<Self, EmbeddedError> {
        let (blocks, about) = (store.compressed_keyspace("log")?, store.keyspace("about")?);
        let wanted = options.partitions.max(1);
        match about.get("partitions")? {
            None => about.insert("partitions", wanted.to_be_bytes())?,
            Some(bytes) => {
                let existing = u32::from_be_bytes((*bytes).try_into().map_err(|e| corrupt("about", b"partitions", e))?);
                if existing != wanted {
                    return Err(EmbeddedError::Partitions { existing, wanted });
                }
            }
        }
        let partitions = (0..wanted).map(|p| find_end(&blocks, p)).collect::<Result<Vec<_>, _>>()?;
        let shared =
            Shared { appending: Mutex::default(), ends: Mutex::new(Ends { version: 0, partitions, recent: Recent::new(wanted) }), appended: Condvar::new() };
        Ok(EventLog { store: store.clone(), blocks, options: LogOptions { partitions: wanted, ..options }, shared: Arc::new(shared) })
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.shared.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of partitions.
    pub fn partitions(&self) -> u32 {
        self.options.partitions
    }

    /// First offset that is kept, and the offset that the next record will have.
    pub fn range(&self, partition: u32) -> (i64, i64) {
        self.ends().partitions.get(partition as usize).map_or((0, 0), |e| (e.first, e.next))
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> u64 {
        self.ends().partitions.iter().map(|e| e.bytes - e.dropped).sum()
    }

    /// Appends records, all or none; when it returns, they outlive the process. Returns the partition and offset of
    /// each.
    ///
    /// # Errors
    /// When the store fails.
    pub fn append(&self, records: &[Record<'_>], now: i64) -> Result<Vec<(u32, i64)>, EmbeddedError> {
        let mut builders: Vec<Builder> = (0..self.options.partitions).map(|_| Builder::default()).collect();
        let partitions: Vec<u32> = records.iter().map(|r| partition_of(r.user, self.options.partitions)).collect();
        for (record, &partition) in records.iter().zip(&partitions) {
            builders[partition as usize].bytes += record.payload.len();
        }
        for (record, &partition) in records.iter().zip(&partitions) {
            builders[partition as usize].push(record);
        }
        // What takes long is done before others have to wait.
        let mut room = vec![];
        builders.iter_mut().flat_map(|builder| &mut builder.blocks).for_each(|block| block.compress(&mut room));
        let turn = self.shared.appending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut grown = self.ends().partitions.clone();
        let mut places = Vec::with_capacity(records.len());
        let mut next: Vec<i64> = grown.iter().map(|e| e.next).collect();
        for &partition in &partitions {
            places.push((partition, next[partition as usize]));
            next[partition as usize] += 1;
        }
        let (mut batch, mut recent) = (self.store.database.batch(), vec![]);
        for (p, builder) in (0u32..).zip(builders) {
            let end = &mut grown[p as usize];
            for mut block in builder.blocks {
                end.arrived = end.arrived.max(now);
                (block.header.arrived, block.header.before) = (end.arrived, end.bytes);
                let value = pack(&block).map_err(|e| corrupt("log", b"new", e))?;
                end.bytes += value.len() as u64;
                batch.insert(&self.blocks, key(p, end.next), value);
                let (first, Block { header, payloads, .. }) = (end.next, block);
                end.next += header.records.len() as i64;
                recent.push((p, RecentBlock { first, header, payloads }));
            }
        }
        batch.commit()?;
        let (mut ends, mut oldest) = (self.ends(), vec![]);
        recent.into_iter().for_each(|(partition, block)| ends.recent.push(partition, block, &mut oldest));
        for (end, grown) in ends.partitions.iter_mut().zip(&grown) {
            // What is kept may have become less meanwhile.
            (end.next, end.bytes, end.arrived) = (grown.next, grown.bytes, grown.arrived);
        }
        ends.version += 1;
        drop(ends);
        drop(turn);
        self.shared.appended.notify_all();
        // Many small ones take a while to free, for which no reader waits.
        drop(oldest);
        Ok(places)
    }

    /// Waits until something is appended after the `seen`-th append; returns how many there have been.
    pub fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        let (mut ends, until) = (self.ends(), Instant::now() + timeout);
        while ends.version == seen {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            ends = self.shared.appended.wait_timeout(ends, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        ends.version
    }

    /// How many appends there have been since the log was opened.
    pub fn version(&self) -> u64 {
        self.ends().version
    }

    /// Fills `into`, which is cleared first, with records from an offset on, at most `max_rows`; what is no longer
    /// kept is passed over. Returns the offset to go on with.
    ///
    /// # Errors
    /// When the store fails.
    pub fn read(&self, partition: u32, from: i64, max_rows: usize, into: &mut RawBatch) -> Result<i64, EmbeddedError> {
        into.clear();
        (into.partition, into.log) = (partition, Some(LOG.into()));
        let (first, end) = self.range(partition);
        let from = from.max(first);
        if from >= end {
            return Ok(from);
        }
        let mut reader = Reader { next: from, end, max_rows, into };
        let recent = self.ends().recent.from(partition, from, max_rows);
        for block in &recent {
            let unpack = |into: &mut Vec<u8>| {
                into.extend_from_slice(&block.payloads);
                Ok(())
            };
            if !reader.take(block.first, &block.header, block.payloads.len() as u64, unpack)? {
                break;
            }
        }
        if !recent.is_empty() {
            return Ok(reader.next);
        }
        let Some(start) = self.block_at(partition, from)? else { return Ok(from) };
        for guard in self.blocks.range(key(partition, start)..key(partition, i64::MAX)) {
            let (k, value) = entry(guard)?;
            let block = Kept::parse(&k, &value)?;
            if !reader.take(offset_of(&k)?, &block.header, block.length(), |into| block.unpack(into))? {
                break;
            }
        }
        Ok(reader.next)
    }

    /// The first offset of the block that holds an offset.
    fn block_at(&self, partition: u32, offset: i64) -> Result<Option<i64>, EmbeddedError> {
        let Some(guard) = self.blocks.range(key(partition, 0)..=key(partition, offset)).next_back() else { return Ok(None) };
        let k = guard.key()?;
        offset_of(&k).map(Some)
    }

    /// The first offset of what was appended at a time or after.
    ///
    /// # Errors
    /// When the store fails.
    pub fn offset_at(&self, partition: u32, time: i64) -> Result<i64, EmbeddedError> {
        let (mut low, mut high) = self.range(partition);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(guard) = self.blocks.range(key(partition, 0)..=key(partition, middle)).next_back() else { return Ok(low) };
            let (k, value) = entry(guard)?;
            let header = Kept::parse(&k, &value)?.header;
            let first = offset_of(&k)?;
            if header.arrived >= time {
                high = first;
            } else {
                low = first + header.records.len() as i64;
            }
        }
        Ok(low)
    }

    /// Forgets blocks that are too old, and the oldest while there are too many bytes. The newest block of each
    /// partition stays.
    ///
    /// # Errors
    /// When the store fails.
    pub fn enforce_retention(&self, now: i64) -> Result<(), EmbeddedError> {
        let oldest = now.saturating_sub(self.options.retention_ms);
        let mut excess = self.bytes().saturating_sub(self.options.retention_bytes);
        for p in 0..self.options.partitions {
            let share = excess.div_ceil(u64::from(self.options.partitions - p));
            let freed = self.drop_blocks(p, oldest, share)?;
            excess = excess.saturating_sub(freed);
        }
        Ok(())
    }

    fn drop_blocks(&self, partition: u32, oldest: i64, excess: u64) -> Result<u64, EmbeddedError> {
        let (mut freed, mut batch) = (0, self.store.database.batch());
        let mut first = None;
        let mut previous: Option<(Slice, u64)> = None;
        // Blocks of an append that is not done do not count yet.
        let (_, end) = self.range(partition);
        for guard in self.blocks.range(key(partition, 0)..key(partition, end)) {
            let (k, value) = entry(guard)?;
            // A block goes once it is known that there is a newer one.
            if let Some((old, bytes)) = previous.take() {
                batch.remove(&self.blocks, old);
                freed += bytes;
                first = Some(offset_of(&k)?);
            }
            let header = Kept::parse(&k, &value)?.header;
            if header.arrived >= oldest && freed >= excess || batch.len() >= 10_000 {
                break;
            }
            previous = Some((k, value.len() as u64));
        }
        batch.commit()?;
        if let (Some(first), Some(end)) = (first, self.ends().partitions.get_mut(partition as usize)) {
            end.first = first;
            end.dropped += freed;
        }
        Ok(freed)
    }
}

/// Fills a batch with records of blocks.
struct Reader<'a> {
    /// The next offset to read.
    next: i64,
    /// Where the partition ends.
    end: i64,
    max_rows: usize,
    into: &'a mut RawBatch,
}

impl Reader<'_> {
    /// Takes what is wanted of a block, which begins at offset `first` and has so many bytes of payloads, added by `unpack`. Returns whether there
    /// is room for more.
    fn take(
        &mut self,
        first: i64,
        header: &Header,
        length: u64,
        unpack: impl FnOnce(&mut Vec<u8>) -> Result<(), EmbeddedError>,
    ) -> Result<bool, EmbeddedError> {
        let (into, records) = (&mut *self.into, &header.records);
        let passed = usize::try_from(self.next - first).unwrap_or(0).min(records.len());
        let (left, room) = (records.len() - passed, self.max_rows - into.len());
        // A block that does not fit as a whole is unpacked once, by the next read.
        let is_too_much = into.data.len() as u64 + length > u64::from(u32::MAX);
        if !into.is_empty() && left > room || !into.data.is_empty() && is_too_much {
            return Ok(false);
        }
        let mut at = into.data.len();
        unpack(&mut into.data)?;
        let topics: Vec<u16> = header.topics.iter().map(|t| into.topic_number(&t.as_str().into())).collect();
        for (offset, &(topic, length)) in (first..).zip(records).take(passed + room) {
            let span = (at as u32, at as u32 + length);
            at += length as usize;
            if offset >= self.next {
                into.note(span, topics[usize::from(topic)], offset, header.arrived);
            }
        }
        self.next = self.next.max(first + (passed + left.min(room)) as i64);
        Ok(self.next < self.end && into.len() < self.max_rows)
    }
}

#[derive(Default)]
struct Block {
    header: Header,
    payloads: Vec<u8>,
    /// The same in fewer bytes, if that is worth it.
    compressed: Option<Vec<u8>>,
}

impl Block {
    /// Has the payloads take fewer bytes, if that is worth it. `room` is memory for that.
    fn compress(&mut self, room: &mut Vec<u8>) {
        if self.payloads.len() < WORTH_IT {
            return;
        }
        let most = lz4_flex::block::get_maximum_output_size(self.payloads.len());
        room.resize(room.len().max(most), 0);
        if let Ok(length) = lz4_flex::block::compress_into(&self.payloads, room) {
            self.compressed = Some(room[..length].to_vec());
        }
    }
}

/// The new blocks of a partition.
#[derive(Default)]
struct Builder {
    blocks: Vec<Block>,
    /// Bytes of payloads that are still to come.
    bytes: usize,
}

impl Builder {
    fn push(&mut self, record: &Record<'_>) {
        let full = |b: &Block| b.header.records.len() >= MAX_BLOCK_RECORDS || b.payloads.len() + record.payload.len() > MAX_BLOCK_BYTES;
        if self.blocks.last().is_none_or(full) {
            self.blocks.push(Block { payloads: Vec::with_capacity(self.bytes.min(MAX_BLOCK_BYTES)), ..Block::default() });
        }
        self.bytes -= record.payload.len();
        let Some(block) = self.blocks.last_mut() else { return };
        let topics = &mut block.header.topics;
        let topic = topics.iter().position(|t| t == record.topic).unwrap_or_else(|| {
            topics.push(record.topic.to_string());
            topics.len() - 1
        });
        block.header.records.push((topic as u16, record.payload.len() as u32));
        block.payloads.extend_from_slice(record.payload);
    }
}

fn find_end(blocks: &Keyspace, partition: u32) -> Result<End, EmbeddedError> {
    let mut range = blocks.range(key(partition, 0)..key(partition, i64::MAX));
    let (Some(first), last) = (range.next(), range.next_back()) else { return Ok(End::default()) };
    let (k, value) = entry(first)?;
    let header = Kept::parse(&k, &value)?.header;
    let (first, dropped) = (offset_of(&k)?, header.before);
    let (k, value) = last.map_or(Ok((k, value)), entry)?;
    let header = Kept::parse(&k, &value)?.header;
    Ok(End { first, dropped, next: offset_of(&k)? + header.records.len() as i64, bytes: header.before + value.len() as u64, arrived: header.arrived })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::Path;

    use proptest::prelude::*;

    use super::recent::MAX_RECENT_BYTES;
    use super::*;

    fn options() -> LogOptions {
        LogOptions { partitions: 1, retention_ms: 1 << 40, retention_bytes: 1 << 40 }
    }

    /// All payloads, read `rows` at a time.
    fn payloads(log: &EventLog, rows: usize) -> Result<Vec<Vec<u8>>, EmbeddedError> {
        let (mut batch, mut at, mut found) = (RawBatch::default(), 0, vec![]);
        loop {
            at = log.read(0, at, rows, &mut batch)?;
            if batch.is_empty() {
                return Ok(found);
            }
            found.extend(batch.spans.iter().map(|&(from, to)| batch.data[from as usize..to as usize].to_vec()));
        }
    }

    #[test]
    fn blocks_are_read_however_they_were_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut wanted: Vec<Vec<u8>> = vec![b"of an older version".to_vec(), b"".to_vec()];
        let mut builder = Builder { bytes: wanted.iter().map(Vec::len).sum(), ..Builder::default() };
        wanted.iter().for_each(|payload| builder.push(&Record { topic: "t", user: b"u", payload }));
        let mut old = builder.blocks;
        old[0].header.arrived = 7;
        let value = [postcard::to_stdvec(&old[0].header).unwrap(), old[0].payloads.clone()].concat();
        store.compressed_keyspace("log").unwrap().insert(key(0, 0), value).unwrap();

        let log = EventLog::open(&store, options()).unwrap();
        // One small block, some that compress well, and some that do not.
        let plain = (0..2_000u32).map(|i| format!("{{\"userId\":\"u\",\"timestamp\":{i}}}").into_bytes());
        let noise = (0..200u32).map(|i| (0..40).flat_map(|n| (i * 40 + n).wrapping_mul(2_654_435_761).to_be_bytes()).collect());
        for payloads in [vec![b"small".to_vec()], plain.collect::<Vec<Vec<u8>>>(), noise.collect()] {
            let records: Vec<Record<'_>> = payloads.iter().map(|payload| Record { topic: "t", user: b"u", payload }).collect();
            log.append(&records, 9).unwrap();
            wanted.extend(payloads.iter().cloned());
        }
        let raw: usize = wanted.iter().map(Vec::len).sum();
        assert!((log.bytes() as usize) < raw, "{} bytes kept of {raw}", log.bytes());
        drop(log);
        let log = EventLog::open(&store, options()).unwrap();
        for rows in [1_000_000, 777, 1] {
            assert_eq!(payloads(&log, rows).unwrap(), wanted);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
        #[test]
        fn reads_are_the_same_from_memory_and_from_the_disk(
            appends in prop::collection::vec(prop::collection::vec((0u8..5, 0usize..3, prop_oneof![3 => 0usize..60, 1 => 500usize..900]), 1..30), 1..12),
            most in prop_oneof![Just(0usize), 500usize..8_000, Just(MAX_RECENT_BYTES)],
        ) {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path()).unwrap();
            let options = LogOptions { partitions: 2, ..options() };
            let log = EventLog::open(&store, options).unwrap();
            log.ends().recent.most = most;
            let mut model: [Vec<(String, Vec<u8>, i64)>; 2] = [vec![], vec![]];
            for (now, append) in (0i64..).zip(&appends) {
                let events: Vec<(String, String, Vec<u8>)> =
                    append.iter().map(|(user, topic, length)| (format!("u{user}"), format!("t{topic}"), vec![b'a' + user; *length])).collect();
                let records: Vec<Record<'_>> =
                    events.iter().map(|(user, topic, payload)| Record { topic, user: user.as_bytes(), payload }).collect();
                for ((partition, offset), (_, topic, payload)) in log.append(&records, now).unwrap().into_iter().zip(&events) {
                    prop_assert_eq!(offset, model[partition as usize].len() as i64);
                    model[partition as usize].push((topic.clone(), payload.clone(), now));
                }
                prop_assert!(log.ends().recent.bytes <= most);
            }
            for (partition, model) in (0..).zip(&model) {
                let (oldest, ends) = (log.ends().recent.from(partition, 0, 1).len(), model.len());
                prop_assert!(oldest == usize::from(ends > 0) || most < MAX_RECENT_BYTES);
            }
            // What another reader of the same store has in memory is nothing.
            let from_disk = EventLog::open(&store, options).unwrap();
            for (log, rows) in [(&log, 1), (&log, 7), (&log, 1_000), (&from_disk, 1), (&from_disk, 7), (&from_disk, 1_000)] {
                for (partition, model) in (0..).zip(&model) {
                    for from in 0..=model.len() {
                        let mut batch = RawBatch::default();
                        let next = log.read(partition, from as i64, rows, &mut batch).unwrap() as usize;
                        prop_assert!(next > from || from == model.len());
                        prop_assert!(batch.len() == next - from && batch.len() <= rows);
                        for (i, (topic, payload, arrived)) in model[from..next].iter().enumerate() {
                            prop_assert_eq!(&*batch.topics[usize::from(batch.topic_of[i])], topic);
                            prop_assert_eq!((batch.payload(i), batch.arrived[i], batch.offsets[i]), (&payload[..], *arrived, (from + i) as i64));
                        }
                    }
                }
            }
        }
    }

    /// Bytes of files in a folder, and those below it, that are wanted by their path.
    fn bytes_in(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> u64 {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let size = |entry: std::fs::DirEntry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => bytes_in(&entry.path(), wanted),
            _ if !wanted(&entry.path()) => 0,
            _ => entry.metadata().map_or(0, |about| about.len()),
        };
        entries.map(size).sum()
    }

    #[test]
    fn what_is_no_longer_kept_takes_no_room_on_the_disk() {
        const BLOCK: u64 = 250_000;
        const KEPT: u64 = 4 << 20;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let log = EventLog::open(&store, LogOptions { partitions: 2, retention_bytes: KEPT, ..options() }).unwrap();
        let (mut most, mut apart, mut state) = (0, 0, 1u64);
        // Bytes that do not compress, a hundred times as many as are kept.
        for block in 0..100 * KEPT / BLOCK {
            let noise = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            });
            let payload: Vec<u8> = noise.take(BLOCK as usize / 8).flatten().collect();
            log.append(&[Record { topic: "t", user: format!("u{block}").as_bytes(), payload: &payload }], 9).unwrap();
            log.enforce_retention(10).unwrap();
            most = most.max(bytes_in(folder.path(), &|path| path.extension().is_none_or(|e| e != "jnl")));
            apart = apart.max(bytes_in(folder.path(), &|path| path.iter().any(|part| part == "blobs")));
        }
        assert!(log.bytes() <= KEPT + 2 * BLOCK, "{} bytes kept", log.bytes());
        assert!(most < 40 * KEPT, "{most} bytes on the disk");
        assert!(apart > KEPT / 2, "{apart} bytes apart from their keys");
    }

    #[test]
    fn what_is_being_appended_is_neither_read_nor_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let log = EventLog::open(&store, options()).unwrap();
        let append = |text: &str| log.append(&[Record { topic: "t", user: b"u", payload: text.as_bytes() }], 9).unwrap();
        append("first");
        append("second");
        // Two blocks that were committed, while the end is not moved yet.
        let value = log.blocks.get(key(0, 1)).unwrap().unwrap();
        for offset in [2, 3] {
            log.blocks.insert(key(0, offset), value.clone()).unwrap();
        }
        assert!(log.drop_blocks(0, i64::MAX, u64::MAX).unwrap() > 0);
        assert_eq!((log.range(0), log.bytes()), ((1, 2), value.len() as u64));
        assert_eq!(payloads(&log, 10).unwrap(), [b"second"]);
        log.ends().recent = Recent::new(1);
        assert_eq!(payloads(&log, 10).unwrap(), [b"second"]);
    }

    #[test]
    fn appends_side_by_side_have_places_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let log = EventLog::open(&store, options()).unwrap();
        let texts = |writer: u32| (0..40).map(move |i| format!("{writer} {i}").into_bytes());
        let write =
            |writer| texts(writer).map(|text| (log.append(&[Record { topic: "t", user: b"u", payload: &text }], 9).unwrap()[0].1, text)).collect::<Vec<_>>();
        let mut wanted: Vec<(i64, Vec<u8>)> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4).map(|writer| scope.spawn(move || write(writer))).collect();
            let mut seen = 0;
            while log.range(0).1 < 160 {
                seen = log.wait(seen, Duration::from_secs(10));
                assert!(payloads(&log, 1_000).unwrap().len() as u64 >= seen);
            }
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        wanted.sort();
        assert!(wanted.iter().zip(0..).all(|((place, _), i)| *place == i));
        assert_eq!(payloads(&log, 1_000).unwrap(), wanted.into_iter().map(|(_, text)| text).collect::<Vec<_>>());
    }

    #[test]
    fn a_block_that_was_changed_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let log = EventLog::open(&store, options()).unwrap();
        let payload = b"again and again ".repeat(100);
        log.append(&[Record { topic: "t", user: b"u", payload: &payload }], 9).unwrap();
        let whole = log.blocks.get(key(0, 0)).unwrap().unwrap();
        // Who keeps up reads what was appended, whatever the disk has.
        log.blocks.insert(key(0, 0), "").unwrap();
        assert_eq!(payloads(&log, 10).unwrap(), [&payload[..]]);
        log.ends().recent = Recent::new(1);
        for changed in [whole[..whole.len() - 1].to_vec(), [&whole[..], b"x"].concat(), whole[..11].to_vec()] {
            log.blocks.insert(key(0, 0), changed).unwrap();
            let error = payloads(&log, 10).unwrap_err().to_string();
            assert!(error.contains("log: entry"), "{error}");
        }
    }
}
