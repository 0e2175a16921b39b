//! Records whose schema cannot be had: the worker keeps them, and reads nothing until it has it. It goes on to do what it
//! is asked and to hand partitions over, and time stands still for it, so that nothing is late because a registry was
//! away.

use std::time::{Duration, Instant};

use crate::formats::Away;
use crate::source::RawBatch;
use crate::worker::{Worker, WorkerError};

/// How long until a schema that cannot be had is asked for again.
const RETRY: Duration = Duration::from_millis(500);

/// Records that wait for a schema. Their positions are not passed, so that nothing is lost when they are forgotten.
pub struct Held {
    /// The batch that they are in.
    pub(crate) batch: RawBatch,
    /// The first of them.
    pub(crate) from: usize,
    /// What they wait for.
    pub(crate) away: Away,
    /// Since when.
    pub(crate) since: Instant,
}

/// The schema that was waited for before, and since when.
pub(crate) type Waited = (u32, Instant);

impl Worker {
    /// Keeps records until their schema is there.
    pub(crate) fn hold(&mut self, held: Held, waited: Option<Waited>) {
        let since = waited.filter(|(id, _)| *id == held.away.id).map(|(_, since)| since);
        if since.is_none() {
            tracing::warn!(away = %held.away, partition = held.batch.partition, "reading waits for a schema");
            metrics::counter!("cohort_schema_waits_total").increment(1);
        }
        self.held = Some(Held { since: since.unwrap_or(held.since), ..held });
        self.say(None);
    }

    /// Runs what waited for a schema; false while it still does. Until then the source only tells of changes.
    pub(crate) fn take_held(&mut self) -> Result<bool, WorkerError> {
        let Some(held) = self.held.take() else { return Ok(true) };
        let (id, since) = (held.away.id, held.since);
        self.take(held.batch, held.from, Some((id, since)))?;
        if self.held.is_none() {
            tracing::info!(id, waited = ?since.elapsed(), "the schema came; reading goes on");
            return Ok(true);
        }
        let mut none = RawBatch::default();
        let polled = self.source.poll(0, RETRY, &mut none);
        self.without_records(polled)?;
        Ok(false)
    }

    /// Records of a partition that did not run yet.
    pub(crate) fn lag(&self, partition: u32) -> u64 {
        let held = self.held.as_ref().filter(|held| held.batch.partition == partition).map_or(0, |held| held.batch.len() - held.from);
        self.source.lag(partition) + held as u64
    }
}
