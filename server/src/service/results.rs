//! Results for those who watch: the newest are kept, and each goes to everyone who listens. A listener who is too
//! slow misses some and is told how many; nobody waits for one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use cohort_connectors::embedded::profiles::{Moves, Profiles, place};
use cohort_engine::sink::{Amiss, ResultBatch, Sink, SinkError};
use cohort_engine::worker::Clock;
use hdrhistogram::Histogram;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// A result as the API shows it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SegmentResult {
    /// The user.
    pub user_id: String,
    /// The segment, by its name.
    pub segment_id: String,
    /// The rule.
    pub rule_id: String,
    /// Whether the user qualifies.
    pub qualified: bool,
    /// The value.
    pub value: Option<f64>,
    /// Time of the result, ms since the epoch.
    pub timestamp: i64,
    /// Start of the window.
    pub window_start: i64,
    /// End of the window.
    pub window_end: i64,
    /// `entered` and `exited` for changes of membership, else `result`.
    #[schema(value_type = ResultEvent)]
    pub event: &'static str,
}

/// What a result says of membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResultEvent {
    /// The user became a member.
    Entered,
    /// The user ceased to be a member.
    Exited,
    /// Neither.
    Result,
}

/// Batches that a listener may be behind.
const BEHIND: usize = 256;
/// Results that are kept.
const KEPT: usize = 100_000;

/// The newest results; clones share them.
#[derive(Clone)]
pub struct Results {
    sender: broadcast::Sender<Arc<Vec<SegmentResult>>>,
    recent: Arc<Mutex<Recent>>,
    /// From the arrival of an event to its result in the sink, ms, since it was last asked for.
    latency: Arc<Mutex<Option<Histogram<u64>>>>,
    counted: Arc<Mutex<Counted>>,
}

/// Batches with the newest results, as they came, each row with what it says of membership.
#[derive(Default)]
struct Recent {
    batches: VecDeque<(ResultBatch, Vec<&'static str>)>,
    rows: usize,
}

impl Recent {
    fn push(&mut self, batch: &ResultBatch, events: Vec<&'static str>) {
        self.rows += events.len();
        self.batches.push_back((batch.clone(), events));
        while let Some((_, oldest)) = self.batches.front().filter(|(_, oldest)| self.rows - oldest.len() >= KEPT) {
            self.rows -= oldest.len();
            self.batches.pop_front();
        }
    }

    /// The newest rows, the newest first.
    fn newest(&self) -> impl Iterator<Item = (&ResultBatch, usize, &'static str)> {
        let rows = self.batches.iter().rev().flat_map(|(batch, events)| events.iter().enumerate().rev().map(move |(row, event)| (batch, row, *event)));
        rows.take(KEPT)
    }
}

/// Of a result, what those who watch choose by.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The user.
    pub user: &'a str,
    /// The segment, by its name.
    pub segment: &'a str,
    /// `entered`, `exited` or `result`.
    pub event: &'static str,
}

impl SegmentResult {
    /// What to choose it by.
    pub fn told(&self) -> Told<'_> {
        Told { user: &self.user_id, segment: &self.segment_id, event: self.event }
    }
}

/// What is counted while results go by.
#[derive(Default)]
struct Counted {
    /// Results of each segment since the start.
    results: FxHashMap<Arc<str>, u64>,
    /// How long results took in this minute, and in the one before.
    minutes: [Option<(i64, Histogram<u64>)>; 2],
}

/// From the arrival of an event to its result in the sink, ms.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct Latency {
    /// Half of the results took at most that.
    pub p50: u64,
    /// Of a hundred results, 99 took at most that.
    pub p99: u64,
}

impl Counted {
    /// Adds results of a batch that took so long.
    fn took(&mut self, now: i64, millis: u64, results: u64) {
        let minute = now.div_euclid(60_000);
        if self.minutes[0].as_ref().is_none_or(|(m, _)| *m != minute) {
            self.minutes.swap(0, 1);
            // Two digits: a few kilobytes, however long it takes.
            self.minutes[0] = Histogram::new_with_bounds(1, 600_000, 2).ok().map(|h| (minute, h));
        }
        if let Some((_, histogram)) = &mut self.minutes[0] {
            histogram.saturating_record_n(millis.max(1), results);
        }
    }

    fn latency(&self, now: i64) -> Option<Latency> {
        let recent = |m: &&(i64, Histogram<u64>)| m.0 >= now.div_euclid(60_000) - 1;
        let mut minutes = self.minutes.iter().flatten().filter(recent).map(|(_, h)| h);
        let mut all = minutes.next()?.clone();
        minutes.for_each(|h| {
            // All have the same bounds.
            let _ = all.add(h);
        });
        Some(Latency { p50: all.value_at_quantile(0.5), p99: all.value_at_quantile(0.99) })
    }

    fn count(&mut self, batch: &ResultBatch) {
        let mut counts: FxHashMap<u32, u64> = FxHashMap::default();
        batch.rows.iter().for_each(|r| *counts.entry(r.segment).or_default() += 1);
        for (segment, n) in counts {
            *self.results.entry(Arc::clone(&batch.names[segment as usize].segment)).or_default() += n;
        }
        // Segments that were dropped are forgotten, now and then.
        if self.results.len() > 2 * batch.names.len() + 1_000 {
            let known: FxHashSet<&str> = batch.names.iter().map(|n| &*n.segment).collect();
            self.results.retain(|name, _| known.contains(&**name));
        }
    }
}

impl Default for Results {
    fn default() -> Self {
        Results { sender: broadcast::channel(BEHIND).0, recent: Arc::default(), latency: Arc::default(), counted: Arc::default() }
    }
}

impl Results {
    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Vec<SegmentResult>>> {
        self.sender.subscribe()
    }

    /// The newest results, newest first.
    pub fn recent(&self, limit: usize, wanted: impl Fn(Told<'_>) -> bool) -> Vec<SegmentResult> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |batch: &ResultBatch, row: usize, event| wanted(Told { user: batch.user(row), segment: &batch.name(row).segment, event });
        let rows = recent.newest().filter(|&(batch, row, event)| told(batch, row, event));
        rows.take(limit).map(|(batch, row, event)| shown(batch, row, event)).collect()
    }

    /// How long results took since this was last asked: from the arrival of an event to its result in the sink, ms.
    /// The first call begins to measure.
    pub fn take_latency(&self) -> Option<Histogram<u64>> {
        let fresh = Histogram::new_with_bounds(1, 600_000, 3).ok();
        std::mem::replace(&mut *self.latency.lock().unwrap_or_else(PoisonError::into_inner), fresh)
    }

    /// How long results of the last one to two minutes took; none where there were none.
    pub fn latency(&self, now: i64) -> Option<Latency> {
        self.counted().latency(now)
    }

    /// Results of each segment since the start, by name.
    pub fn of_segments(&self) -> FxHashMap<Arc<str>, u64> {
        self.counted().results.clone()
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sink that feeds them, after `profiles`, which know who entered and exited; `clock` times results from the arrival of
    /// their events.
    pub fn sink(&self, profiles: Profiles, clock: Clock) -> Box<dyn Sink> {
        Box::new(Watched { results: self.clone(), profiles, clock })
    }
}

struct Watched {
    results: Results,
    profiles: Profiles,
    clock: Clock,
}

/// What each result of a write says of membership: a user enters once, however many windows they qualify in.
fn events(batches: &[ResultBatch], moves: &Moves) -> Vec<&'static str> {
    let rows = || batches.iter().flat_map(|b| b.rows.iter().enumerate().map(move |(row, _)| (place(&b.name(row).segment, b.users.get(row)), b.member[row])));
    let mut member: FxHashMap<u64, bool> = rows().collect();
    member.iter_mut().for_each(|(place, is)| *is = moves.before(*place, *is));
    let event = |(place, is): (u64, bool)| match (member.insert(place, is), is) {
        (Some(false), true) => "entered",
        (Some(true), false) => "exited",
        _ => "result",
    };
    rows().map(event).collect()
}

fn shown(batch: &ResultBatch, row: usize, event: &'static str) -> SegmentResult {
    let (name, r) = (batch.name(row), batch.rows[row]);
    SegmentResult {
        user_id: batch.user(row).to_string(),
        segment_id: name.segment.to_string(),
        rule_id: name.rule.to_string(),
        qualified: r.qualified,
        value: r.value.filter(|v| v.is_finite()),
        timestamp: r.timestamp,
        window_start: r.window_start,
        window_end: r.window_end,
        event,
    }
}

impl Sink for Watched {
    fn name(&self) -> &'static str {
        "recent results"
    }

    fn write(&mut self, batches: &[ResultBatch], _: &mut Amiss) -> Result<(), SinkError> {
        let now = (self.clock)();
        let latency = metrics::histogram!("cohort_end_to_end_seconds");
        let mut counted = self.results.counted();
        batches.iter().for_each(|batch| counted.count(batch));
        for batch in batches.iter().filter(|b| b.arrived > 0) {
            let took = (now - batch.arrived).max(0);
            counted.took(now, took as u64, batch.rows.len() as u64);
            latency.record_many(took as f64 / 1000.0, batch.rows.len());
            if let Some(measured) = self.results.latency.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                measured.saturating_record_n(took as u64, batch.rows.len() as u64);
            }
        }
        drop(counted);
        let mut events = events(batches, &self.profiles.moves()).into_iter();
        let events: Vec<Vec<&'static str>> = batches.iter().map(|batch| events.by_ref().take(batch.rows.len()).collect()).collect();
        if self.results.sender.receiver_count() > 0 {
            let rows = batches.iter().zip(&events).flat_map(|(batch, events)| events.iter().enumerate().map(|(row, event)| shown(batch, row, event)));
            let _ = self.results.sender.send(Arc::new(rows.collect()));
        }
        let mut recent = self.results.recent.lock().unwrap_or_else(PoisonError::into_inner);
        batches.iter().zip(events).for_each(|(batch, events)| recent.push(batch, events));
        Ok(())
    }
}
