//! Puts the topics of one partition in one order. Their records are of the same users, and time is one for all of
//! them: were one topic read far ahead of the others, what comes of those would be late. So the record with the least
//! timestamp goes first, and a topic without a record at hand is waited for, unless it has no more or nothing came of
//! it for a while (compare the task idle time of Kafka Streams, KIP-353 and KIP-695). Old records of one topic are taken
//! while another has none only if they are older than when the broker last said so; fresh ones are of the same moment
//! anyway.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cohort_engine::source::RawBatch;

/// How long a topic is waited for that should have more.
const PATIENCE: Duration = Duration::from_secs(5);
/// How far behind the clock records are that are called old, ms.
const OLD: i64 = 5_000;

/// How long after an end was told what comes next may still be on its way from the thread that fetches, which learns
/// how far a log reaches a moment before it hands over the records.
const DOUBT: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy)]
struct Record {
    /// Where it is among all bytes that the lane ever held.
    start: u64,
    len: u32,
    /// Index of its topic.
    topic: u16,
    offset: i64,
    /// ms since the epoch
    time: i64,
    /// When it was taken in, ms since the epoch.
    arrived: i64,
}

/// The records at hand of one topic of a partition.
#[derive(Debug)]
pub struct Lane {
    topic: Arc<str>,
    /// The topics of records: its own, and those that records had before they were given another key.
    topics: Vec<Arc<str>>,
    data: Vec<u8>,
    /// Bytes that were taken and are no longer in `data`.
    gone: u64,
    records: VecDeque<Record>,
    /// The next offset to fetch.
    pub next: i64,
    /// The end of the log, as far as it is known.
    pub end: i64,
    /// When the broker said that there is no more: what is before the end may be marks of transactions.
    ended: Option<Instant>,
    /// When the broker last said where the log ends, ms since the epoch.
    confirmed: i64,
    since: Instant,
}

impl Lane {
    /// A topic, to be read from an offset on, that ended at `end` at a time, ms since the epoch.
    pub fn new(topic: Arc<str>, next: i64, end: i64, now: i64) -> Self {
        Lane {
            topics: vec![Arc::clone(&topic)],
            topic,
            data: vec![],
            gone: 0,
            records: VecDeque::new(),
            next,
            end,
            ended: None,
            confirmed: now,
            since: Instant::now(),
        }
    }

    /// The topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Adds a record, with the topic that it had before, if it was given another key.
    pub fn push(&mut self, payload: &[u8], origin: Option<&str>, offset: i64, time: i64, arrived: i64) {
        let start = self.gone + self.data.len() as u64;
        self.data.extend_from_slice(payload);
        let topic = origin.map_or(0, |origin| self.index(origin));
        self.records.push_back(Record { start, len: payload.len() as u32, topic, offset, time, arrived });
        self.next = offset + 1;
        self.end = self.end.max(self.next);
        self.ended = None;
    }

    fn index(&mut self, topic: &str) -> u16 {
        let known = self.topics.iter().position(|t| **t == *topic);
        if known.is_none() {
            self.topics.push(topic.into());
        }
        known.unwrap_or(self.topics.len() - 1) as u16
    }

    /// Records at hand.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes at hand.
    pub fn bytes(&self) -> usize {
        self.records.front().map_or(0, |r| self.data.len() - (r.start - self.gone) as usize)
    }

    /// Records that are in the log and not taken yet.
    pub fn lag(&self) -> u64 {
        let unread = if self.has_ended() { 0 } else { (self.end - self.next).max(0) };
        self.records.len() as u64 + unread as u64
    }

    fn has_ended(&self) -> bool {
        self.next >= self.end || self.ended.is_some_and(|at| at.elapsed() >= DOUBT)
    }

    fn is_waited_for(&self) -> bool {
        self.records.is_empty() && !self.has_ended() && self.since.elapsed() < PATIENCE
    }

    /// The broker said that there is no more.
    pub fn mark_end(&mut self) {
        self.ended = Some(Instant::now());
    }

    /// The log ends there now, as far as the client has heard.
    pub fn learn_end(&mut self, end: i64) {
        if end > self.end {
            (self.end, self.since, self.ended) = (end, Instant::now(), None);
        }
    }

    /// The broker said where the log ends now, ms since the epoch.
    pub fn confirm(&mut self, end: i64, now: i64) {
        self.learn_end(end);
        self.confirmed = now;
    }

    /// Up to which time records of other topics can be taken, as none of this one come before.
    fn limit(&self) -> i64 {
        if self.records.is_empty() { self.confirmed } else { i64::MAX }
    }

    fn take(&mut self, into: &mut RawBatch) {
        if let Some(r) = self.records.pop_front() {
            let start = (r.start - self.gone) as usize;
            into.push(&self.data[start..start + r.len as usize], &self.topics[usize::from(r.topic)], r.offset, r.arrived);
            if self.records.is_empty() {
                self.since = Instant::now();
            }
        }
    }

    /// Makes room of what was taken, when that is more than what is left: each byte is moved once at most, on average.
    fn tidy(&mut self) {
        let left = self.bytes();
        let taken = self.data.len() - left;
        if taken >= left {
            self.gone += taken as u64;
            self.data.drain(..taken);
        }
    }
}

/// The topics of one partition.
#[derive(Debug)]
pub struct Shelf {
    /// The partition.
    pub partition: u32,
    /// The log of all its records, where they are of several topics in one.
    pub log: Option<Arc<str>>,
    /// Its topics.
    pub lanes: Vec<Lane>,
}

impl Shelf {
    /// The topics of which it is to be asked whether they have no more, before old records of others are taken.
    pub fn unconfirmed(&mut self, now: i64) -> impl Iterator<Item = &mut Lane> {
        let next = self.lanes.iter().filter_map(|l| l.records.front()).map(|r| r.time).min().filter(|t| *t < now - OLD);
        self.lanes.iter_mut().filter(move |l| next.is_some_and(|t| l.limit() <= t) && !l.is_waited_for())
    }

    /// Whether there is a record whose turn is known.
    pub fn is_ready(&self) -> bool {
        self.lanes.iter().any(|l| !l.is_empty()) && !self.lanes.iter().any(Lane::is_waited_for)
    }

    /// Fills `into`, which is cleared first, with the next records, at most `max_rows`; `now` in ms since the epoch.
    pub fn take(&mut self, max_rows: usize, now: i64, into: &mut RawBatch) {
        into.clear();
        (into.partition, into.log) = (self.partition, self.log.clone());
        self.merge(max_rows, now - OLD, into);
        self.lanes.iter_mut().for_each(Lane::tidy);
    }

    fn merge(&mut self, max_rows: usize, old: i64, into: &mut RawBatch) {
        let limit = |lanes: &[Lane]| lanes.iter().map(Lane::limit).min().unwrap_or(i64::MAX);
        let mut known = limit(&self.lanes);
        while into.len() < max_rows && into.data.len() < (1 << 30) {
            let head = |l: &Lane| l.records.front().map(|r| r.time);
            let next = (0..self.lanes.len()).filter_map(|i| head(&self.lanes[i]).map(|time| (time, i))).min();
            let Some((time, lane)) = next else { return };
            if time >= known && time < old {
                return;
            }
            self.lanes[lane].take(into);
            if self.lanes[lane].is_empty() {
                if self.lanes[lane].is_waited_for() {
                    return;
                }
                known = limit(&self.lanes);
            }
        }
    }

    /// Records that are in the logs and not taken yet.
    pub fn lag(&self) -> u64 {
        self.lanes.iter().map(Lane::lag).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(lanes: &[(&str, &[i64], i64)]) -> Shelf {
        let lane = |(topic, times, end): &(&str, &[i64], i64)| {
            let mut lane = Lane::new((*topic).into(), 0, *end, 0);
            (0i64..).zip(*times).for_each(|(offset, time)| lane.push(time.to_string().as_bytes(), None, offset, *time, 0));
            lane
        };
        Shelf { partition: 7, log: None, lanes: lanes.iter().map(lane).collect() }
    }

    fn taken(shelf: &mut Shelf, max_rows: usize) -> Vec<String> {
        let mut batch = RawBatch::default();
        shelf.take(max_rows, 0, &mut batch);
        (0..batch.len()).map(|r| format!("{}:{}:{}", batch.topic(r), batch.offsets[r], String::from_utf8_lossy(batch.payload(r)))).collect()
    }

    #[test]
    fn the_least_timestamp_goes_first() {
        let mut shelf = shelf(&[("a", &[1, 5, 6], 3), ("b", &[2, 3, 9], 3)]);
        assert_eq!(shelf.lag(), 6);
        assert_eq!(taken(&mut shelf, 4), ["a:0:1", "b:0:2", "b:1:3", "a:1:5"]);
        assert_eq!(taken(&mut shelf, 4), ["a:2:6", "b:2:9"]);
        assert!(!shelf.is_ready());
        assert_eq!(shelf.lag(), 0);
    }

    #[test]
    fn a_topic_that_should_have_more_is_waited_for() {
        let mut shelf = shelf(&[("a", &[1, 5], 2), ("b", &[2], 3)]);
        assert_eq!(taken(&mut shelf, 9), ["a:0:1", "b:0:2"], "what comes of b may be older than 5");
        assert!(!shelf.is_ready());
        shelf.lanes[1].push(b"4", None, 1, 4, 0);
        assert!(shelf.is_ready());
        assert_eq!(taken(&mut shelf, 9), ["b:1:4"]);
        assert_eq!(shelf.lag(), 2);
        shelf.lanes[0].mark_end();
        assert!(!shelf.is_ready(), "the end was that of a, of which nothing is missing");
        shelf.lanes[1].mark_end();
        assert!(!shelf.is_ready(), "records may follow at once");
        std::thread::sleep(DOUBT);
        assert_eq!(shelf.lag(), 1, "what is left of b are marks of transactions");
        assert_eq!(shelf.unconfirmed(100_000).count(), 1, "is b still at its end?");
        shelf.lanes[1].confirm(5, 100_000);
        assert!(!shelf.is_ready(), "it is not");
        shelf.lanes[1].push(b"6", None, 4, 6, 0);
        assert_eq!(taken(&mut shelf, 9), ["a:1:5", "b:4:6"]);
    }

    #[test]
    fn old_records_are_taken_up_to_when_others_were_known_to_have_none() {
        const NOW: i64 = 1_000_000;
        let mut shelf = shelf(&[("a", &[10, 500, 600, NOW - OLD, NOW], 5), ("b", &[], 0)]);
        shelf.lanes[1].confirm(0, 550);
        let mut batch = RawBatch::default();
        let mut take = |shelf: &mut Shelf| {
            shelf.take(9, NOW, &mut batch);
            batch.offsets.clone()
        };
        assert_eq!(shelf.unconfirmed(NOW).count(), 0);
        assert_eq!(take(&mut shelf), [0, 1], "b may have got one of 550 or later since");
        assert_eq!(shelf.unconfirmed(NOW).count(), 1);
        shelf.lanes[1].confirm(0, NOW);
        assert_eq!(take(&mut shelf), [2, 3, 4], "what is fresh is not asked for");
    }

    #[test]
    fn room_is_made_of_what_was_taken() {
        let mut shelf = shelf(&[("a", &[], 0)]);
        let (mut offset, mut batch) = (0, RawBatch::default());
        for round in 0..1_000 {
            for _ in 0..3 {
                shelf.lanes[0].push(format!("{offset:08}").as_bytes(), None, offset, offset, 0);
                offset += 1;
            }
            shelf.take(2 + round % 3, 0, &mut batch);
            let first = batch.offsets[0];
            (0..batch.len()).for_each(|r| assert_eq!(batch.payload(r), format!("{:08}", first + r as i64).as_bytes()));
            let lane = &shelf.lanes[0];
            assert_eq!(lane.bytes(), lane.len() * 8);
            assert!(lane.data.len() <= lane.bytes() * 2 + 8, "{} bytes are kept for {}", lane.data.len(), lane.bytes());
        }
    }
}
