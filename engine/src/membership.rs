//! Who is in which segment now, and when they leave.
//!
//! A user is a member through a window that closed (until the next window's end, or as long as the
//! segment retains) and, with EMIT CHANGES, through windows that are open. Finals and changes come in,
//! exits go out.

use std::collections::BTreeMap;

use crate::probe::{Entry, Probed};

/// "No closed window."
pub const NEVER: i64 = i64::MIN;

/// A user's membership of a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// End of the last closed window in which the user qualified, or [`NEVER`].
    pub closed_end: i64,
    /// Its start.
    pub closed_start: i64,
    /// Its value.
    pub closed_value: Option<f64>,
    /// Open windows in which the user qualifies.
    pub open: u32,
}

/// A membership in four words, two to a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Packed {
    /// Segment and user.
    key: u64,
    closed_end: i64,
    /// The value's bits, or [`NO_VALUE`].
    value: u64,
    /// Milliseconds from the closed window's start to its end, and (the lower [`OPEN_BITS`]) open windows.
    span_and_open: u64,
}

/// A NaN that no arithmetic makes.
const NO_VALUE: u64 = 0x7ff8_6e6f_7661_6c75;
/// Enough for a user's open windows, and to leave 34 years for a closed one, which only a session could exceed.
const OPEN_BITS: u32 = 24;
const MOST_OPEN: u64 = (1 << OPEN_BITS) - 1;
/// A key that nobody has.
const NOBODY: u64 = u64::MAX;

impl Entry for Packed {
    const EMPTY: Self = Packed { key: NOBODY, closed_end: NEVER, value: NO_VALUE, span_and_open: 0 };

    #[inline]
    fn is_empty(&self) -> bool {
        self.key == NOBODY
    }

    #[inline]
    fn hash(&self) -> u64 {
        hash(self.key)
    }
}

impl Packed {
    fn close(&mut self, (start, end): (i64, i64), value: Option<f64>) {
        let span = (end.saturating_sub(start).max(0) as u64).min(u64::MAX >> OPEN_BITS);
        self.closed_end = end;
        self.value = value.map_or(NO_VALUE, f64::to_bits);
        self.span_and_open = span << OPEN_BITS | self.open();
    }

    fn open(&self) -> u64 {
        self.span_and_open & MOST_OPEN
    }

    fn add_open(&mut self, more: i32) {
        let open = self.open().saturating_add_signed(i64::from(more)).min(MOST_OPEN);
        self.span_and_open = self.span_and_open & !MOST_OPEN | open;
    }

    fn unpacked(&self) -> Member {
        let span = (self.span_and_open >> OPEN_BITS) as i64;
        Member {
            closed_end: self.closed_end,
            closed_start: if self.closed_end == NEVER { NEVER } else { self.closed_end - span },
            closed_value: (self.value != NO_VALUE).then(|| f64::from_bits(self.value)),
            open: self.open() as u32,
        }
    }
}

/// All memberships of one partition.
#[derive(Debug, Default, Clone)]
pub struct Membership {
    members: Probed<Packed>,
    /// When memberships through closed windows end: time → (segment, user).
    due: BTreeMap<i64, Vec<(u32, u32)>>,
    /// The list of `due` that was added to last, taken out; mostly the next is added to the same.
    current_due: (i64, Vec<(u32, u32)>),
    scheduled: usize,
    /// For each user, the number of segments that they are in and that are told to sinks.
    told: Vec<u32>,
    /// For each segment, whether sinks hear nothing of it.
    hidden: Vec<bool>,
}

fn key(segment: u32, user: u32) -> u64 {
    u64::from(segment) << 32 | u64::from(user)
}

/// Two rounds of multiplication, so that all of a key counts in the upper bits, and runs of users of one segment spread.
#[inline]
fn hash(key: u64) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let once = key.wrapping_mul(ODD);
    (once ^ once >> 32).wrapping_mul(ODD)
}

impl Membership {
    /// Says of which segments sinks hear nothing. Segments that have members keep what was said of them.
    pub fn hide(&mut self, hidden: Vec<bool>) {
        self.hidden = hidden;
    }

    /// Makes room for so many memberships more, as another table had them.
    pub fn reserve(&mut self, more: usize) {
        self.members.reserve(more);
    }

    /// How many memberships are worth warming at a time.
    pub const TOGETHER: usize = 16;

    /// Has the processor fetch memberships that will be used next, side by side instead of one after the other.
    #[inline]
    pub fn warm(&self, some: impl Iterator<Item = (u32, u32)>) {
        some.for_each(|(segment, user)| self.members.prefetch(hash(key(segment, user))));
    }

    #[inline]
    fn place(&self, segment: u32, user: u32) -> Option<usize> {
        let key = key(segment, user);
        self.members.find(hash(key), |m| m.key == key)
    }

    /// The membership of a user in a segment, if any.
    pub fn get(&self, segment: u32, user: u32) -> Option<Member> {
        self.place(segment, user).map(|place| self.members.at(place).unpacked())
    }

    /// Whether a user is a member through a closed window.
    pub fn is_closed_member(&self, segment: u32, user: u32) -> bool {
        self.get(segment, user).is_some_and(|m| m.closed_end != NEVER)
    }

    /// Adds or removes open windows in which a user qualifies.
    #[inline]
    pub fn open(&mut self, segment: u32, user: u32, more: i32) {
        let Some(place) = self.place(segment, user) else {
            if more > 0 {
                self.members.insert(Packed { key: key(segment, user), span_and_open: u64::from(more.unsigned_abs()), ..Packed::EMPTY });
                self.count(segment, user, 1);
            }
            return;
        };
        let member = self.members.at_mut(place);
        member.add_open(more);
        if member.open() == 0 && member.closed_end == NEVER {
            self.members.remove(place);
            self.count(segment, user, -1);
        }
    }

    /// Notes that a user is in one more segment, or one fewer.
    #[inline]
    fn count(&mut self, segment: u32, user: u32, more: i32) {
        if self.hidden.get(segment as usize).is_some_and(|h| *h) {
            return;
        }
        let user = user as usize;
        if user >= self.told.len() {
            self.told.resize(user + 1, 0);
        }
        self.told[user] = self.told[user].saturating_add_signed(more);
    }

    /// The number of segments that a user is in, without those of which sinks hear nothing.
    pub fn told(&self, user: u32) -> u32 {
        self.told.get(user as usize).copied().unwrap_or(0)
    }

    /// A window closed in which the user qualified; membership lasts until `until`, or, with `None`, until
    /// it is ended by [`Membership::end`].
    #[inline]
    pub fn qualified(&mut self, segment: u32, user: u32, window: (i64, i64), value: Option<f64>, was_open: bool, until: Option<i64>) {
        let update = |member: &mut Packed| {
            if window.1 >= member.closed_end {
                member.close(window, value);
            }
            if was_open {
                member.add_open(-1);
            }
        };
        if let Some(place) = self.place(segment, user) {
            update(self.members.at_mut(place));
        } else {
            let mut member = Packed { key: key(segment, user), ..Packed::EMPTY };
            update(&mut member);
            self.members.insert(member);
            self.count(segment, user, 1);
        }
        if let Some(until) = until {
            self.schedule(until, segment, user);
        }
    }

    /// Ends a membership through closed windows, if there is one and `due(end of its last window)` says so.
    /// Then the answer is, when the user is no longer a member at all, what they were one by.
    #[inline]
    pub fn end(&mut self, segment: u32, user: u32, due: impl FnOnce(i64) -> bool) -> Option<Option<Member>> {
        let place = self.place(segment, user)?;
        let member = self.members.at_mut(place);
        let ended = *member;
        if ended.closed_end == NEVER || !due(ended.closed_end) {
            return None;
        }
        member.closed_end = NEVER;
        if member.open() > 0 {
            return Some(None);
        }
        self.members.remove(place);
        self.count(segment, user, -1);
        Some(Some(ended.unpacked()))
    }

    /// Has a membership looked at again at `time`.
    #[inline]
    pub fn schedule(&mut self, time: i64, segment: u32, user: u32) {
        if self.current_due.0 != time {
            self.settle_due();
            self.current_due = (time, self.due.remove(&time).unwrap_or_default());
        }
        self.current_due.1.push((segment, user));
        self.scheduled += 1;
    }

    /// Puts the list that was added to last among the others.
    fn settle_due(&mut self) {
        let (time, some) = std::mem::replace(&mut self.current_due, (NEVER, vec![]));
        if !some.is_empty() {
            self.due.insert(time, some);
        }
    }

    /// The earliest time at which a membership may end.
    pub fn next_due(&self) -> Option<i64> {
        let current = (!self.current_due.1.is_empty()).then_some(self.current_due.0);
        self.due.keys().next().copied().into_iter().chain(current).min()
    }

    /// Takes the memberships to look at, at `time`.
    pub fn take_due(&mut self, time: i64) -> Vec<(u32, u32)> {
        self.settle_due();
        let due = self.due.remove(&time).unwrap_or_default();
        self.scheduled -= due.len();
        due
    }

    /// When memberships are to be looked at: (time, segment, user).
    pub fn due(&self) -> impl Iterator<Item = (i64, u32, u32)> + '_ {
        self.due
            .iter()
            .chain([(&self.current_due.0, &self.current_due.1)])
            .flat_map(|(time, some)| some.iter().map(move |&(segment, user)| (*time, segment, user)))
    }

    /// All members: (segment, user, membership).
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32, Member)> {
        self.members.iter().map(|m| ((m.key >> 32) as u32, m.key as u32, m.unpacked()))
    }

    /// Number of memberships.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is a member of anything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        self.members.size() + self.scheduled * 8 + self.due.len() * 64 + self.told.capacity() * 4
    }
}
