//! What one event, group, membership and checkpoint cost, measured on a quarter of the users in one partition, with other
//! events than the fleet's; and what a fleet comes to by them: the formulas of docs/scaling.md.

use serde::Serialize;

use super::pass::Outcome;

/// The part of the users that unit costs are measured on: one of so many partitions.
pub const PART: u32 = 4;

/// Unit costs. "A user" is one of those that events are drawn from, whether any came or not.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Units {
    /// CPU nanoseconds of the worker's thread to decode and evaluate an event.
    pub evaluate_nanos: f64,
    /// CPU nanoseconds to make a record's operations; the outbox's thread.
    pub record_nanos: f64,
    /// CPU nanoseconds of the worker's thread to gather a byte of a checkpoint.
    pub save_nanos: f64,
    /// CPU nanoseconds to encode and publish one; a thread in the background.
    pub publish_nanos: f64,
    /// CPU nanoseconds to read and restore one.
    pub restore_nanos: f64,
    /// Bytes of an event in the log, uncompressed.
    pub event_bytes: f64,
    /// Results of an event.
    pub results: f64,
    /// Records written for a result.
    pub records: f64,
    /// Operations on a record that is written.
    pub operations: f64,
    /// Bytes sent for one.
    pub sink_bytes: f64,
    /// Users with state, of all.
    pub active: f64,
    /// Groups of a user.
    pub groups: f64,
    /// Bytes of a group.
    pub group_bytes: f64,
    /// Bytes of a user with state.
    pub user_bytes: f64,
    /// Memberships of a user.
    pub memberships: f64,
    /// Bytes of a membership.
    pub membership_bytes: f64,
    /// Bytes of a checkpoint, for each user.
    pub checkpoint_bytes: f64,
    /// Bytes of a checkpoint, for each partition, whatever its users.
    pub partition_bytes: f64,
    /// CPU nanoseconds of the worker's thread to gather that.
    pub partition_nanos: f64,
    /// The part of a checkpoint that the one before did not have.
    pub changed: f64,
    /// Records of a user at the end.
    pub profiles: f64,
    /// Bytes of a record's values.
    pub profile_bytes: f64,
}

/// A quotient that is 0 where there is nothing to divide by.
pub fn per(what: f64, of: f64) -> f64 {
    if of == 0.0 { 0.0 } else { what / of }
}

impl Units {
    /// Unit costs by a pass of one member over one partition with so many users.
    pub fn of(outcome: &Outcome, users: f64) -> Units {
        let (did, held) = (outcome.account(), outcome.peak());
        let f = |n: u64| n as f64;
        Units {
            evaluate_nanos: per(f(did.evaluate), f(did.events)),
            record_nanos: per(f(did.sink), f(did.records)),
            save_nanos: per(f(did.save), f(did.checkpoint_bytes)),
            publish_nanos: per(f(did.publish), f(did.checkpoint_bytes)),
            restore_nanos: per(f(did.restore), f(did.restored_bytes)),
            event_bytes: per(f(did.bytes), f(did.events)),
            results: per(f(did.results), f(did.events)),
            records: per(f(did.records), f(did.results)),
            operations: per(f(did.operations), f(did.records)),
            sink_bytes: per(f(did.sink_bytes), f(did.records)),
            active: per(held.users as f64, users),
            groups: per(held.groups as f64, users),
            group_bytes: per((held.bytes - held.user_bytes - held.membership_bytes) as f64, held.groups as f64),
            user_bytes: per(held.user_bytes as f64, held.users as f64),
            memberships: per(held.memberships as f64, users),
            membership_bytes: per(held.membership_bytes as f64, held.memberships as f64),
            checkpoint_bytes: per(per(f(did.checkpoint_bytes), f(did.checkpoints)), users),
            partition_bytes: f(outcome.empty.bytes),
            partition_nanos: f(outcome.empty.save),
            changed: per(f(did.compared.1), f(did.compared.0)),
            profiles: per(f(outcome.records), users),
            profile_bytes: per(f(outcome.record_bytes), f(outcome.records)),
        }
    }

    /// Bytes of state for each user.
    pub fn state_bytes(&self) -> f64 {
        self.groups * self.group_bytes + self.active * self.user_bytes + self.memberships * self.membership_bytes
    }
}

/// A fleet, as the formulas see it.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// Members, each a worker.
    pub members: usize,
    /// Partitions of the log.
    pub partitions: u32,
    /// Users.
    pub users: f64,
    /// Events a second.
    pub rate: f64,
    /// Seconds between checkpoints.
    pub checkpoint: f64,
}

impl Fleet {
    /// The part of all work that the member with the most partitions has, where partitions are equal.
    pub fn share(&self) -> f64 {
        let most = self.partitions.div_ceil(self.members.max(1) as u32);
        f64::from(most) / f64::from(self.partitions.max(1))
    }

    /// Seconds of workers' threads that all members together take in a second.
    pub fn cores(&self, units: &Units) -> f64 {
        let gather = self.users * units.checkpoint_bytes * units.save_nanos + f64::from(self.partitions) * units.partition_nanos;
        (self.rate * units.evaluate_nanos + per(gather, self.checkpoint)) / 1e9
    }

    /// Bytes of checkpoints a second.
    pub fn checkpoint_rate(&self, units: &Units) -> f64 {
        per(self.users * units.checkpoint_bytes + f64::from(self.partitions) * units.partition_bytes, self.checkpoint)
    }

    /// How busy the busiest member is, where partitions are equal.
    pub fn busy(&self, units: &Units) -> f64 {
        self.cores(units) * self.share()
    }

    /// Seconds that the others take, since they took over, until they have caught up, where the first member of a fleet of
    /// one more was lost and its last checkpoint was so many seconds old at the takeover; none, if never.
    pub fn catch_up(&self, units: &Units, waited: f64) -> Option<f64> {
        let bytes = self.users * units.checkpoint_bytes;
        let before = Fleet { members: self.members + 1, ..*self };
        let (save, restore) = (bytes * units.save_nanos / 1e9 * before.share(), bytes * units.restore_nanos / 1e9 * self.moved());
        let backlog = self.rate * waited * units.evaluate_nanos / 1e9 * self.gained();
        let free = 1.0 - self.busy(units);
        (free > 0.0).then(|| (save + restore + backlog) / free)
    }

    /// The most partitions that a member gets of the one that was lost, as a part of all.
    pub fn gained(&self) -> f64 {
        let (before, after) = (super::pass::range(self.partitions, self.members + 1), super::pass::range(self.partitions, self.members));
        let of_lost = |has: &Vec<u32>| has.iter().filter(|p| before[0].contains(p)).count();
        per(after.iter().map(of_lost).max().unwrap_or(0) as f64, f64::from(self.partitions))
    }

    /// The most partitions that a member gets of others, as a part of all: ranges shift.
    pub fn moved(&self) -> f64 {
        let (before, after) = (super::pass::range(self.partitions, self.members + 1), super::pass::range(self.partitions, self.members));
        let new = |(had, has): (&Vec<u32>, &Vec<u32>)| has.iter().filter(|p| !had.contains(p)).count();
        let most = before.iter().skip(1).zip(&after).map(new).max().unwrap_or(0);
        most as f64 / f64::from(self.partitions.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units() -> Units {
        Units {
            evaluate_nanos: 500.0,
            record_nanos: 1_000.0,
            save_nanos: 1.0,
            publish_nanos: 1.0,
            restore_nanos: 2.0,
            event_bytes: 174.0,
            results: 1.0,
            records: 0.5,
            operations: 6.0,
            sink_bytes: 300.0,
            active: 0.5,
            groups: 2.0,
            group_bytes: 40.0,
            user_bytes: 30.0,
            memberships: 1.0,
            membership_bytes: 33.0,
            checkpoint_bytes: 100.0,
            partition_bytes: 1_500.0,
            partition_nanos: 3_000.0,
            changed: 0.2,
            profiles: 0.4,
            profile_bytes: 200.0,
        }
    }

    #[test]
    fn the_busiest_member_has_the_most_partitions() {
        let fleet = Fleet { members: 3, partitions: 16, users: 1e6, rate: 1e6, checkpoint: 60.0 };
        assert_eq!(fleet.share(), 6.0 / 16.0);
        // Half a core for events, 1/600 of one for 100 MB of checkpoints a minute, and 48 µs a minute for partitions.
        assert!((fleet.cores(&units()) - (0.5 + (1e8 + 48e3) / 60.0 / 1e9)).abs() < 1e-12);
        assert_eq!(fleet.checkpoint_rate(&units()), (1e8 + 24e3) / 60.0);
        assert_eq!(units().state_bytes(), 128.0);
    }

    #[test]
    fn a_fleet_that_is_always_busy_never_catches_up() {
        let fleet = Fleet { members: 2, partitions: 16, users: 0.0, rate: 1e6, checkpoint: f64::INFINITY };
        // Three had 6, 5 and 5, and one of the two gets all six; its half of the events takes a quarter of its time.
        let caught_up = fleet.catch_up(&units(), 60.0).map(|seconds| (seconds * 1e6).round());
        let backlog = 60.0 * 0.5 * 6.0 / 16.0;
        assert_eq!(caught_up, Some((backlog / 0.75 * 1e6_f64).round()));
        assert_eq!(Fleet { rate: 4e6, ..fleet }.catch_up(&units(), 60.0), None);
    }

    #[test]
    fn ranges_shift_when_the_first_member_goes() {
        let fleet = Fleet { members: 3, partitions: 16, users: 0.0, rate: 0.0, checkpoint: 60.0 };
        // Of four had 1 [4-8), 2 [8-12), 3 [12-16); of three they have [0-6), [6-11), [11-16).
        assert_eq!((fleet.moved(), fleet.gained()), (4.0 / 16.0, 4.0 / 16.0));
    }
}
