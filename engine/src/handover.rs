//! Partitions that come to a worker and leave it while it runs, as members of a consumer group do.
//!
//! One that leaves is saved, the sinks are given time to take what came before, and the source hears up to where the
//! checkpoint reaches; only then is it let go. It stays in memory until the next assignment: if it comes back, nobody
//! else has had it. One that comes is restored from its checkpoint, read on from there, and once what was there at
//! that moment has been read the sinks are told its members as a whole. One that was lost may have another reader
//! already: its lease ends, so that nothing of it is written any more.

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use crate::checkpoint::CheckpointStore;
use crate::running::{Deployment, Programs, Running};
use crate::source::{Positions, Source};
use crate::worker::{Clock, Worker, WorkerError, WorkerSettings};

/// How long a partition that leaves may take until its checkpoint is published.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often opening a partition is tried, and how far apart.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// A partition with the state of its newest checkpoint, and the positions to read it from. One without a checkpoint
/// gets one, so that a restart begins at the same records. Also whether there was a checkpoint.
///
/// # Errors
/// When the store cannot be read or written, or the source does not know where to begin.
pub fn open(
    number: u32,
    source: &mut dyn Source,
    store: &dyn CheckpointStore,
    (settings, clock): (&WorkerSettings, &Clock),
    (newest, programs): (&Deployment, &dyn Programs),
) -> Result<(Running, bool), WorkerError> {
    let (mut running, known) = Running::restore(number, store, settings.state.clone(), newest, clock(), (programs, &source.formats()))?;
    running.positions = source.start(number, &running.positions)?;
    if !known {
        let first = running.checkpoint()?;
        store.save(&first)?;
    }
    Ok((running, known))
}

impl Worker {
    /// Takes partitions over.
    pub(crate) fn assigned(&mut self, numbers: &[u32]) -> Result<(), WorkerError> {
        let (mut parked, mut fresh) = (std::mem::take(&mut self.parked), vec![]);
        let newest = self.newest.clone();
        for &number in numbers {
            if let Some(i) = parked.iter().position(|p| p.number == number) {
                self.partitions.push(parked.swap_remove(i));
            } else {
                let started = Instant::now();
                let (running, known) = self.open(number)?;
                self.restored = (self.restored.0 + 1, self.restored.1.max(started.elapsed().as_millis() as u64));
                tracing::info!(partition = number, positions = ?running.positions, took = ?started.elapsed(), "partition restored");
                self.partitions.push(running);
                if known {
                    fresh.push(number);
                }
            }
        }
        let positions: Positions = self.partitions.iter().filter(|p| numbers.contains(&p.number)).flat_map(|p| p.positions.clone()).collect();
        self.source.begin(&positions)?;
        for i in 0..self.partitions.len() {
            let number = self.partitions[i].number;
            if fresh.contains(&number) {
                let lag = self.source.lag(number);
                self.partitions[i].catch_up(lag);
            }
            self.deploy_to(i, &newest)?;
        }
        self.say(None);
        Ok(())
    }

    /// Opens a partition; tries again for a while, as brokers and stores may be away for a moment.
    fn open(&mut self, number: u32) -> Result<(Running, bool), WorkerError> {
        let mut attempt = 1;
        loop {
            let settings = (&self.settings, &self.clock);
            match open(number, &mut *self.source, &*self.store, settings, (&self.newest, &*self.programs)) {
                Err(error) if attempt < ATTEMPTS && !matches!(error, WorkerError::Engine { .. }) => {
                    tracing::warn!(%error, partition = number, attempt, "a partition cannot be opened yet");
                    self.say(Some(error.to_string()));
                    std::thread::sleep(PAUSE);
                    self.source.keep_alive();
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Hands partitions back.
    pub(crate) fn revoked(&mut self, numbers: &[u32], lost: bool) -> Result<(), WorkerError> {
        let written = !lost && self.save_before_leaving()?;
        let (leaving, staying): (Vec<Running>, Vec<Running>) = std::mem::take(&mut self.partitions).into_iter().partition(|p| numbers.contains(&p.number));
        self.partitions = staying;
        self.forget_held(numbers);
        for partition in leaving {
            let saved = written && self.outbox.published(partition.number).is_some_and(|p| p == partition.positions);
            tracing::info!(partition = partition.number, saved, lost, "partition leaves");
            if saved {
                self.parked.push(partition);
            } else {
                partition.lease.end();
            }
        }
        if lost {
            self.parked.drain(..).for_each(|p| p.lease.end());
        }
        self.source.release(numbers);
        self.say(None);
        Ok(())
    }

    /// Saves the state, and waits until all before it is written and the source has taken note; false when that takes
    /// too long.
    fn save_before_leaving(&mut self) -> Result<bool, WorkerError> {
        let (done, wait) = sync_channel(1);
        self.checkpoint(Some(done))?;
        let started = Instant::now();
        while wait.recv_timeout(Duration::from_millis(100)).is_err() {
            if started.elapsed() >= PATIENCE {
                tracing::warn!("a partition leaves before its checkpoint is published: who takes it over begins at the one before");
                return Ok(false);
            }
        }
        self.note_covered(true);
        Ok(true)
    }
}
