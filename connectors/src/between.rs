//! The time of a bounded run: events from one moment until another, and as much before as windows reach back.

use cohort_compiler::Program;
use cohort_compiler::program::{MatchBy, SegmentKind};
use cohort_compiler::window::WindowSpec;
use cohort_engine::decode::EventBatch;

/// How far a session may reach back: its length is not bounded by its gap.
const SESSION_MS: i64 = 86_400_000;

/// Which events a run is about. Times are milliseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Between {
    /// The first moment; from the beginning, if not given.
    pub from: Option<i64>,
    /// The first moment after; to the end, if not given.
    pub to: Option<i64>,
    /// How much before `from` is read, so that windows and members are right at `from`.
    pub lead_in: i64,
}

impl Between {
    /// Whether all events are meant.
    pub fn is_all(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// The first moment that is read.
    pub fn first(&self) -> i64 {
        self.from.map_or(i64::MIN, |from| from.saturating_sub(self.lead_in))
    }

    /// The first moment that is no longer read.
    pub fn end(&self) -> i64 {
        self.to.unwrap_or(i64::MAX)
    }

    /// Whether an event of a time is read.
    pub fn has(&self, time: i64) -> bool {
        time >= self.first() && time < self.end()
    }

    /// Whether what happens at a time is only there to prepare what is reported.
    pub fn is_lead_in(&self, time: i64) -> bool {
        self.from.is_some_and(|from| time < from)
    }

    /// Leaves out what is not read of some events; how many those were.
    pub fn keep(&self, events: &mut EventBatch) -> u64 {
        if self.is_all() || events.times.iter().all(|time| self.has(*time)) {
            return 0;
        }
        let rows: Vec<u32> = (0u32..).zip(&events.times).filter(|(_, time)| self.has(**time)).map(|(row, _)| row).collect();
        let left_out = events.len() - rows.len();
        *events = events.select(&rows);
        left_out as u64
    }

    /// Whether times from `first` to `last`, both of them included, may have events that are read.
    pub fn may_have(&self, first: i64, last: i64) -> bool {
        last >= self.first() && first < self.end()
    }
}

/// How long before a moment the events begin that decide who is a member then: the longest window, and how long
/// memberships outlast theirs.
pub fn lead_in(program: &Program) -> i64 {
    let mut reach: Vec<i64> = Vec::with_capacity(program.segments.len());
    for segment in &program.segments {
        let held = segment.hold_ms.max(segment.retain_ms);
        let own = match segment.window {
            WindowSpec::Session { gap } => held.saturating_add(SESSION_MS.max(4 * gap)),
            window => held.saturating_add(window.size()),
        };
        reach.push(match &segment.kind {
            SegmentKind::Base { .. } => own,
            SegmentKind::Derived(derived) => {
                let inputs = derived.inputs.iter().map(|&i| reach[i as usize]).max().unwrap_or(0);
                if derived.by == MatchBy::User { inputs.saturating_add(segment.retain_ms) } else { own.max(inputs) }
            }
        });
    }
    reach.into_iter().max().unwrap_or(0)
}
