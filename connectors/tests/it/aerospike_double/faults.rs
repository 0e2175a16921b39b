//! Ways to fail, which can be set and lifted while the server runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lock;
use super::message::Digest;

/// What is to go wrong from now on. Info messages are spared, other than by a hang of everything and when the server is down.
#[derive(Default)]
pub struct Faults {
    state: Mutex<State>,
    changed: Condvar,
}

/// Which messages are left waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hang {
    #[default]
    Nothing,
    /// Of records and batches; the node still looks well.
    Records,
    /// Info and logins too, as from a stopped process.
    Everything,
}

#[derive(Default)]
struct State {
    hang: Hang,
    delay: Duration,
    failing_messages: (u64, u8),
    failing_batches: (u64, u8),
    failing_keys: HashMap<Digest, u8>,
    failing_writes: Option<(u64, u8)>,
    writes: u64,
    lost_requests: u64,
    lost_answers: u64,
}

/// What becomes of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub code: Option<u8>,
    /// Its connection ends before the answer.
    pub lost: bool,
}

impl Faults {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// Lifts all of them. Messages that hang are done now, as late as that is.
    pub fn clear(&self) {
        self.set(|state| *state = State::default());
    }

    /// Delays each answer; what it answers is done at once.
    pub fn delay_answers(&self, by: Duration) {
        self.set(|state| state.delay = by);
    }

    /// Leaves messages waiting, neither done nor answered. When the hang is lifted they are done.
    pub fn hang(&self, hang: Hang) {
        self.set(|state| state.hang = hang);
    }

    /// Lets the next messages fail: those for one record with this code, batches with this code in each row.
    pub fn fail_messages(&self, count: u64, code: u8) {
        self.set(|state| state.failing_messages = (count, code));
    }

    /// Refuses the next batches as a whole, as a server does that has too many of them.
    pub fn fail_batches(&self, count: u64, code: u8) {
        self.set(|state| state.failing_batches = (count, code));
    }

    /// Lets every k-th write of a record fail, alone or in a batch, counted from now; zero lets none.
    pub fn fail_every(&self, k: u64, code: u8) {
        self.set(|state| (state.failing_writes, state.writes) = ((k != 0).then_some((k, code)), 0));
    }

    /// Lets whatever is asked of one record fail.
    pub fn fail_record(&self, digest: Digest, code: u8) {
        self.set(|state| _ = state.failing_keys.insert(digest, code));
    }

    /// Closes the connections of the next messages before anything is done.
    pub fn lose_requests(&self, count: u64) {
        self.set(|state| state.lost_requests = count);
    }

    /// Closes the connections of the next messages after they are done, instead of answering.
    pub fn lose_answers(&self, count: u64) {
        self.set(|state| state.lost_answers = count);
    }

    /// Lets those that wait look whether their node still is alive.
    pub(crate) fn wake(&self) {
        drop(lock(&self.state));
        self.changed.notify_all();
    }

    /// Waits while messages hang. None when the node's life ends.
    pub(crate) fn wait(&self, record: bool, alive: &AtomicBool) -> Option<()> {
        let hangs = |state: &mut State| match state.hang {
            Hang::Nothing => false,
            Hang::Records => record,
            Hang::Everything => true,
        };
        let waiting = |state: &mut State| alive.load(Ordering::SeqCst) && hangs(state);
        drop(self.changed.wait_while(lock(&self.state), waiting).unwrap_or_else(PoisonError::into_inner));
        alive.load(Ordering::SeqCst).then_some(())
    }

    /// Waits as long as answers are delayed. None when the node's life ends.
    pub(crate) fn delay(&self, alive: &AtomicBool) -> Option<()> {
        let state = lock(&self.state);
        if state.delay > Duration::ZERO {
            let end = Instant::now() + state.delay;
            let waiting = |_: &mut State| alive.load(Ordering::SeqCst) && Instant::now() < end;
            let delay = state.delay;
            drop(self.changed.wait_timeout_while(state, delay, waiting).unwrap_or_else(PoisonError::into_inner));
        }
        alive.load(Ordering::SeqCst).then_some(())
    }

    /// What becomes of the next message of records; none when it is lost.
    pub(crate) fn message(&self) -> Option<Fate> {
        let mut state = lock(&self.state);
        if take(&mut state.lost_requests) {
            return None;
        }
        let code = take(&mut state.failing_messages.0).then_some(state.failing_messages.1);
        Some(Fate { code, lost: take(&mut state.lost_answers) })
    }

    /// The code that the next batch is refused with, if any.
    pub(crate) fn batch(&self) -> Option<u8> {
        let mut state = lock(&self.state);
        take(&mut state.failing_batches.0).then_some(state.failing_batches.1)
    }

    /// The code that a record fails with, if any.
    pub(crate) fn record(&self, digest: &Digest, write: bool) -> Option<u8> {
        let mut state = lock(&self.state);
        if let Some(code) = state.failing_keys.get(digest) {
            return Some(*code);
        }
        let (k, code) = state.failing_writes.filter(|_| write)?;
        state.writes += 1;
        state.writes.is_multiple_of(k).then_some(code)
    }
}

fn take(count: &mut u64) -> bool {
    let some = *count > 0;
    *count -= u64::from(some);
    some
}
