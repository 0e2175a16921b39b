//! How the service stood of late: a sample every few seconds, kept in memory, so that charts are not empty when a page is
//! opened.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use cohort_engine::worker::WorkerStatus;
use serde::Serialize;

use super::Service;

/// How far samples lie apart.
pub const EVERY: Duration = Duration::from_secs(5);
/// Samples that are kept: an hour's.
const KEPT: usize = 720;

/// How the service stood. Counters are sums over partitions, since the start.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When, ms since the epoch.
    pub at: i64,
    /// Events that were accepted.
    pub events: u64,
    /// Results.
    pub results: u64,
    /// Dead letters, with those that came over HTTP.
    pub dead_letters: u64,
    /// Records not read yet.
    pub lag: u64,
    /// How far the watermark lies behind the clock, of the slowest partition that is not idle.
    pub watermark_delay_ms: Option<i64>,
    /// Memberships.
    pub members: usize,
}

/// The newest samples.
#[derive(Default)]
pub struct Samples(Mutex<VecDeque<Sample>>);

impl Samples {
    /// Those since a time, oldest first.
    pub fn since(&self, from: i64) -> Vec<Sample> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|s| s.at >= from).cloned().collect()
    }

    fn add(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }
}

/// Takes samples until the service is gone.
pub async fn take(service: Weak<Service>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let Some(service) = service.upgrade() else { return };
        service.samples.add(service.sample());
    }
}

impl Service {
    fn sample(&self) -> Sample {
        let (workers, now) = (self.runtime.workers(), (self.clock)());
        let partitions = || workers.iter().flat_map(|w| &w.partitions);
        Sample {
            at: now,
            events: partitions().flat_map(|p| p.counts.events.values()).sum(),
            results: partitions().map(|p| p.counts.results).sum(),
            dead_letters: self.dead_letters_by_reason(&workers).values().sum(),
            lag: partitions().map(|p| p.lag).sum(),
            watermark_delay_ms: partitions().filter(|p| !p.idle).filter_map(|p| p.watermark).min().map(|t| (now - t).max(0)),
            members: partitions().map(|p| p.members).sum(),
        }
    }

    /// Dead letters since the start: those of partitions, and those that never came to one.
    pub fn dead_letters_by_reason(&self, workers: &[WorkerStatus]) -> BTreeMap<&'static str, u64> {
        let mut letters = self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((_, reason), n) in workers.iter().flat_map(|w| &w.partitions).flat_map(|p| &p.counts.dead) {
            *letters.entry(reason.as_str()).or_default() += n;
        }
        letters
    }
}
