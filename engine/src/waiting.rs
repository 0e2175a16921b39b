//! Records whose schema cannot be had: the worker keeps them, has the source pass over their partition, and asks for the
//! schema now and then without waiting for the answer. Other partitions go on, and so does all that the worker is asked.
//! Time stands still, as it does for a partition that is behind, so that nothing is late because a registry was away.

use std::time::{Duration, Instant};

use crate::formats::{Asked, Away};
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
    /// When it was last asked for.
    pub(crate) asked: Instant,
}

/// The partitions whose records wait.
#[derive(Default)]
pub struct Waiting {
    /// Each with its records.
    held: Vec<Held>,
    /// Whether the source cannot pass over them, so that nothing is read.
    pub(crate) all: bool,
    /// Records that were polled and did not run yet, and their partition.
    pub(crate) in_hand: (u32, usize),
}

impl Waiting {
    /// Whether nothing of a partition is read.
    pub(crate) fn has(&self, partition: u32) -> bool {
        self.all || self.held.iter().any(|held| held.batch.partition == partition)
    }

    /// Records of a partition that are held.
    pub(crate) fn records(&self, partition: u32) -> usize {
        self.held.iter().filter(|held| held.batch.partition == partition).map(|held| held.batch.len() - held.from).sum()
    }

    /// What is waited for, if anything is.
    pub(crate) fn away(&self) -> Option<&Away> {
        self.held.first().map(|held| &held.away)
    }
}

/// The schema that was waited for before, and since when.
pub(crate) type Waited = (u32, Instant);

impl Worker {
    /// Keeps records until their schema is there.
    pub(crate) fn hold(&mut self, held: Held, waited: Option<Waited>) {
        let since = waited.filter(|(id, _)| *id == held.away.id).map(|(_, since)| since);
        if since.is_none() {
            tracing::warn!(away = %held.away, partition = held.batch.partition, "a partition waits for a schema");
            metrics::counter!("cohort_schema_waits_total").increment(1);
        }
        self.waiting.held.push(Held { since: since.unwrap_or(held.since), ..held });
        self.pass_over();
        self.say(None);
    }

    /// Forgets the records of partitions that leave: who takes them over, this worker or another, reads them again from
    /// where their state stands.
    pub(crate) fn forget_held(&mut self, partitions: &[u32]) {
        self.waiting.held.retain(|held| !partitions.contains(&held.batch.partition));
        self.pass_over();
    }

    fn pass_over(&mut self) {
        let partitions: Vec<u32> = self.waiting.held.iter().map(|held| held.batch.partition).collect();
        self.waiting.all = !self.source.pass_over(&partitions) && !partitions.is_empty();
    }

    /// Runs what waited for schemas that have come; false when nothing is to be read, as the source cannot read some
    /// partitions without the others: it then only tells of changes.
    pub(crate) fn take_held(&mut self) -> Result<bool, WorkerError> {
        if self.waiting.held.iter().any(|held| held.asked.elapsed() >= RETRY) {
            for held in std::mem::take(&mut self.waiting.held) {
                self.ask_again(held)?;
            }
            self.pass_over();
        }
        if self.waiting.all {
            let polled = self.source.poll(0, RETRY, &mut RawBatch::default());
            self.without_records(polled)?;
        }
        Ok(!self.waiting.all)
    }

    /// Runs records whose schema has come; the others are held on.
    fn ask_again(&mut self, mut held: Held) -> Result<(), WorkerError> {
        let number = held.batch.partition;
        let Some(running) = self.partitions.iter().find(|p| p.number == number).filter(|_| held.asked.elapsed() >= RETRY) else {
            self.waiting.held.push(held);
            return Ok(());
        };
        held.asked = Instant::now();
        match running.decoder.ask(held.away.id) {
            Asked::Come => {
                let (id, since) = (held.away.id, held.since);
                self.take(held.batch, held.from, Some((id, since)))?;
                if !self.waiting.held.iter().any(|held| held.batch.partition == number && held.away.id == id) {
                    tracing::info!(id, partition = number, waited = ?since.elapsed(), "the schema came; reading goes on");
                }
                return Ok(());
            }
            Asked::UnderWay => {}
            Asked::Failed(away) => held.away = away,
        }
        self.waiting.held.push(held);
        Ok(())
    }

    /// Records of a partition that did not run yet.
    pub(crate) fn lag(&self, partition: u32) -> u64 {
        let in_hand = if self.waiting.in_hand.0 == partition { self.waiting.in_hand.1 } else { 0 };
        self.source.lag(partition) + (self.waiting.records(partition) + in_hand) as u64
    }
}

#[cfg(test)]
mod tests;
