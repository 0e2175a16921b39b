//! A pass of a fleet over a log, in virtual time. A tick's events have come when it ends; a member takes them as soon as
//! it is free, and is busy for the CPU time that its thread really took. The log is a sample of the users of a larger one,
//! so that CPU time counts `scale` times. A member may be lost on the way: the others take its partitions over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use cohort_compiler::Program;
use cohort_connectors::checkpoint::ObjectCheckpoints;
use cohort_engine::running::Deployment;
use object_store::memory::InMemory;

use super::log::Log;
use super::member::{Account, Empty, Member, Shared, Standing, Told};
use crate::generate::GeneratorConfig;

/// How long the group waits for a member that says nothing, ms: `session.timeout.ms`.
pub const SESSION_TIMEOUT: f64 = 10_000.0;
/// Checkpoints of a partition that are kept.
const KEEP: usize = 2;

/// What passes have in common.
#[derive(Clone)]
pub struct Plan {
    /// What runs.
    pub program: Arc<Program>,
    /// The events.
    pub generator: GeneratorConfig,
    /// Events of a tick.
    pub per_tick: u64,
    /// How long a tick is, ms.
    pub tick_ms: f64,
    /// How often state is saved, ms.
    pub checkpoint_ms: f64,
    /// How many users each user of the log stands for.
    pub scale: f64,
    /// Where stores run.
    pub runtime: tokio::runtime::Handle,
}

/// What is special about a pass.
pub struct Course {
    /// Partitions of the log.
    pub partitions: u32,
    /// Those that each member reads at first.
    pub members: Vec<Vec<u32>>,
    /// The part of the events that are one user's.
    pub busy: f64,
    /// Whether state is saved.
    pub saves: bool,
    /// Whether all partitions are restored once in the end, to know what that takes.
    pub restores: bool,
    /// The tick after which the first member is lost, if it is.
    pub loss: Option<usize>,
}

/// What came of a member.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its number.
    pub number: usize,
    /// Partitions that it had at the end.
    pub partitions: usize,
    /// What it did.
    pub account: Account,
    /// The most it held at the end of a tick.
    pub peak: Standing,
    /// The longest that events waited until it was free, ms of virtual time.
    pub longest_wait: f64,
}

/// What came of a lost member's partitions. Times are ms of virtual time.
#[derive(Debug, Clone, Default)]
pub struct Takeover {
    /// When it was lost.
    pub lost_at: f64,
    /// When the others took over.
    pub taken_at: Option<f64>,
    /// Partitions that it had, and all that went to another member.
    pub partitions: (usize, usize),
    /// Up to when the checkpoint reaches that its partitions are restored from.
    pub saved: f64,
    /// The longest that a member took to save before it handed partitions over.
    pub saving: f64,
    /// The longest that a member took to restore what it got.
    pub restoring: f64,
    /// The longest that a member took for what was read again, and what had come meanwhile.
    pub backlog: f64,
    /// Bytes restored.
    pub bytes: u64,
    /// Events that were read again or had waited.
    pub events: u64,
    /// Until the last member had caught up, since the takeover began; none, if the log ended before.
    pub caught_up: Option<f64>,
    /// Records written as a whole afterwards, and bytes of them.
    pub retold: (u64, u64),
}

/// What came of a pass.
pub struct Outcome {
    /// Members, the lost one too.
    pub members: Vec<Report>,
    /// Nanoseconds of evaluation, by partition.
    pub partitions: BTreeMap<u32, u64>,
    /// All results, those that were told again once.
    pub told: Told,
    /// Records at the end.
    pub records: u64,
    /// Bytes of their values.
    pub record_bytes: u64,
    /// Memberships at the end, sorted.
    pub memberships: Vec<u64>,
    /// What came of a loss.
    pub takeover: Option<Takeover>,
    /// What each partition takes without users.
    pub empty: Empty,
}

impl Outcome {
    /// What all members did.
    pub fn account(&self) -> Account {
        let mut all = Account::default();
        self.members.iter().for_each(|m| all.add(&m.account));
        all
    }

    /// What all members held at most.
    pub fn peak(&self) -> Standing {
        let mut all = Standing::default();
        self.members.iter().for_each(|m| all.add(&m.peak));
        all
    }
}

/// A member with its place in virtual time.
struct Place {
    member: Member,
    free_at: f64,
    longest_wait: f64,
    peak: Standing,
    /// What it is behind by since it took partitions over.
    behind: Option<Behind>,
    /// When it had caught up, ms since it took partitions over.
    caught_up: Option<f64>,
    /// How long it took to restore what it took over, and for what had come meanwhile, ms.
    restoring: f64,
    backlog: f64,
}

impl Place {
    fn report(&self) -> Report {
        let Place { member, longest_wait, peak, .. } = self;
        Report { number: member.number, partitions: member.owned.len(), account: member.account.clone(), peak: *peak, longest_wait: *longest_wait }
    }
}

/// Work that waits, ms, and the time since it began to; worked off while more comes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Behind {
    work: f64,
    since: f64,
}

impl Behind {
    /// Passes a tick whose own events keep the member busy for so long. Returns when it had caught up, if it has.
    fn pass(&mut self, busy: f64, tick: f64) -> Option<f64> {
        let free = tick - busy;
        if self.work <= free {
            return Some(self.since + if free > 0.0 { self.work * tick / free } else { 0.0 });
        }
        (self.work, self.since) = (self.work - free, self.since + tick);
        None
    }
}

/// A pass under way.
struct Pass<'a> {
    plan: &'a Plan,
    shared: Shared,
    places: Vec<Place>,
    lost: Vec<Report>,
    /// Results by partition, with their tick.
    told: BTreeMap<u32, Vec<(usize, Told)>>,
    /// The tick that the last regular checkpoint does not hold any more, and its time.
    saved: (usize, f64),
    /// The same of a lost member's, until others have taken over.
    lost_from: Option<usize>,
    takeover: Option<Takeover>,
}

/// Partitions by member, as Kafka's range assignor has them.
pub fn range(partitions: u32, members: usize) -> Vec<Vec<u32>> {
    let (members, mut next) = (members.max(1) as u32, 0);
    let of = |i: u32| partitions / members + u32::from(i < partitions % members);
    let mut take = |i| {
        let from = next;
        next += of(i);
        (from..next).collect()
    };
    (0..members).map(&mut take).collect()
}

/// Runs a pass.
///
/// # Errors
/// When an expression fails, or state cannot be saved or restored.
pub fn run(plan: &Plan, course: &Course) -> Result<Outcome> {
    let store = ObjectCheckpoints::new(Arc::new(InMemory::new()), object_store::path::Path::default(), KEEP, plan.runtime.clone());
    let deployment = Deployment::new(1, Arc::clone(&plan.program));
    let mut shared = Shared { deployment, store, partitions: course.partitions, sizes: Mutex::default(), empty: Empty::default() };
    shared.measure_empty()?;
    let place = |(number, partitions): (usize, &Vec<u32>)| {
        let owned = partitions.iter().map(|p| shared.open(*p)).collect::<Result<Vec<_>>>()?;
        let member = Member::new(number, owned);
        Ok(Place { member, free_at: 0.0, longest_wait: 0.0, peak: Standing::default(), behind: None, caught_up: None, restoring: 0.0, backlog: 0.0 })
    };
    let places = course.members.iter().enumerate().map(place).collect::<Result<Vec<_>>>()?;
    let mut pass = Pass { plan, shared, places, lost: vec![], told: BTreeMap::new(), saved: (0, 0.0), lost_from: None, takeover: None };
    let mut log = Log::new(plan.generator.clone(), course.partitions, plan.per_tick, course.busy);
    let mut tick = 0;
    while log.pass() {
        pass.step(&log, tick, course.saves)?;
        pass.lose(&log, tick, course.loss)?;
        log.forget(if course.saves { pass.lost_from.unwrap_or(pass.saved.0) } else { tick + 1 });
        tick += 1;
    }
    if course.restores {
        pass.restore_all()?;
    }
    pass.end(tick)
}

impl Pass<'_> {
    /// Has all members take what came within a tick, and save where it is time.
    fn step(&mut self, log: &Log, tick: usize, saves: bool) -> Result<()> {
        let (plan, shared, arrival) = (self.plan, &self.shared, (tick + 1) as f64 * self.plan.tick_ms);
        let periods = |time: f64| (time / plan.checkpoint_ms).floor();
        let save = saves && periods(arrival) > periods(arrival - plan.tick_ms);
        for place in &mut self.places {
            let before = place.member.account.clone();
            place.member.read(log, tick)?;
            if save {
                place.member.save(shared)?;
            }
            let busy = place.member.account.busy_since(&before, plan.scale);
            place.longest_wait = place.longest_wait.max(place.free_at - arrival);
            place.free_at = place.free_at.max(arrival) + busy;
            let standing = place.member.standing(&shared.empty);
            if standing.bytes > place.peak.bytes {
                place.peak = standing;
            }
            if let Some(caught_up) = place.behind.as_mut().and_then(|behind| behind.pass(busy, plan.tick_ms)) {
                (place.behind, place.caught_up) = (None, Some(caught_up));
                place.member.tell_members();
            }
        }
        if save {
            self.saved = (tick + 1, arrival);
        }
        self.collect();
        Ok(())
    }

    /// Takes what members told.
    fn collect(&mut self) {
        for (partition, tick, told) in self.places.iter_mut().flat_map(|place| place.member.told.drain(..)) {
            self.told.entry(partition).or_default().push((tick, told));
        }
    }

    /// Loses the first member after a tick; and has the others take over what it had, once its silence was long enough.
    fn lose(&mut self, log: &Log, tick: usize, loss: Option<usize>) -> Result<()> {
        let now = (tick + 1) as f64 * self.plan.tick_ms;
        if loss == Some(tick) && self.places.len() > 1 {
            let place = self.places.remove(0);
            let partitions = (place.member.owned.len(), 0);
            self.lost.push(Report { partitions: 0, ..place.report() });
            self.lost_from = Some(self.saved.0);
            self.takeover = Some(Takeover { lost_at: now, partitions, saved: self.saved.1, ..Takeover::default() });
        }
        if self.takeover.as_ref().is_some_and(|t| t.taken_at.is_none() && now >= t.lost_at + SESSION_TIMEOUT) { self.take_over(log, tick, now) } else { Ok(()) }
    }

    /// All save, hand partitions back, and are given others; what moves is restored, and read on from where it was saved.
    fn take_over(&mut self, log: &Log, tick: usize, now: f64) -> Result<()> {
        let (scale, before) = (self.plan.scale, self.total());
        for place in &mut self.places {
            let before = place.member.account.clone();
            place.member.save(&self.shared)?;
            place.behind = Some(Behind { work: place.member.account.busy_since(&before, scale), since: 0.0 });
        }
        let saving = self.places.iter().filter_map(|p| p.behind).fold(0.0, |most: f64, b| most.max(b.work));
        let to_restore = self.regroup();
        let moved = to_restore.iter().map(Vec::len).sum();
        for (place, partitions) in self.places.iter_mut().zip(to_restore) {
            let before = place.member.account.clone();
            partitions.iter().try_for_each(|p| place.member.restore(&self.shared, *p))?;
            let restored = place.member.account.clone();
            place.member.read(log, tick)?;
            (place.restoring, place.backlog) = (restored.busy_since(&before, scale), place.member.account.busy_since(&restored, scale));
            let work = saving + place.restoring + place.backlog;
            (place.behind, place.free_at) = (Some(Behind { work, since: 0.0 }), place.free_at.max(now) + work);
        }
        let after = self.total();
        let most = |of: &dyn Fn(&Place) -> f64| self.places.iter().map(of).fold(0.0, f64::max);
        let (restoring, backlog) = (most(&|p| p.restoring), most(&|p| p.backlog));
        if let Some(takeover) = &mut self.takeover {
            (takeover.taken_at, takeover.partitions.1) = (Some(now), moved);
            (takeover.saving, takeover.restoring, takeover.backlog) = (saving, restoring, backlog);
            (takeover.bytes, takeover.events) = (after.restored_bytes - before.restored_bytes, after.events - before.events);
        }
        self.collect();
        Ok(())
    }

    /// Takes from members what they are not given any more; returns what each has to restore.
    fn regroup(&mut self) -> Vec<Vec<u32>> {
        let (partitions, members) = (self.shared.partitions, self.places.len());
        let before = range_before(partitions, members + 1);
        let mut kept = BTreeMap::new();
        for owned in self.places.iter_mut().flat_map(|place| place.member.owned.drain(..)) {
            kept.insert(owned.running.number, owned);
        }
        let mut to_restore = vec![];
        for (place, given) in self.places.iter_mut().zip(range(partitions, members)) {
            let (same, others): (Vec<u32>, Vec<u32>) = given.into_iter().partition(|p| before[*p as usize] == place.member.number);
            place.member.owned.extend(same.iter().filter_map(|p| kept.remove(p)));
            to_restore.push(others);
        }
        // What the lost member told after its checkpoint comes about again.
        let from = self.lost_from.take().unwrap_or(self.saved.0);
        for partition in to_restore.iter().flatten().filter(|p| !kept.contains_key(p)) {
            self.told.entry(*partition).or_default().retain(|(told, _)| *told < from);
        }
        to_restore
    }

    /// Saves and restores all partitions.
    fn restore_all(&mut self) -> Result<()> {
        for place in &mut self.places {
            place.member.save(&self.shared)?;
            let partitions: Vec<u32> = place.member.owned.drain(..).map(|owned| owned.running.number).collect();
            partitions.iter().try_for_each(|p| place.member.restore(&self.shared, *p))?;
        }
        Ok(())
    }

    /// What members that are left did so far.
    fn total(&self) -> Account {
        let mut all = Account::default();
        self.places.iter().for_each(|place| all.add(&place.member.account));
        all
    }

    /// Ends the log: windows close up to its end, whoever read what.
    fn end(mut self, ticks: usize) -> Result<Outcome> {
        let end = self.plan.generator.from_ms + self.plan.generator.span_ms;
        for place in &mut self.places {
            place.member.tell_members();
            place.member.end(ticks, end)?;
        }
        self.collect();
        let (mut told, mut memberships, mut records, mut record_bytes, mut partitions) = (Told::default(), vec![], 0, 0, BTreeMap::new());
        self.told.values().flatten().for_each(|(_, some)| told.add(some));
        for place in &mut self.places {
            let held = place.member.held();
            (records, record_bytes) = (records + held.records, record_bytes + held.bytes);
            memberships.extend(held.memberships);
            partitions.extend(place.member.owned.iter().map(|owned| (owned.running.number, owned.evaluate)));
        }
        memberships.sort_unstable();
        let retold = self.total().retold;
        if let Some(takeover) = &mut self.takeover {
            let caught_up: Option<Vec<f64>> = self.places.iter().map(|place| place.caught_up).collect();
            takeover.caught_up = caught_up.map(|all| all.into_iter().fold(0.0, f64::max));
            takeover.retold = retold;
        }
        let mut members: Vec<Report> = self.lost.into_iter().chain(self.places.iter().map(Place::report)).collect();
        members.sort_by_key(|m| m.number);
        Ok(Outcome { members, partitions, told, records, record_bytes, memberships, takeover: self.takeover, empty: self.shared.empty })
    }
}

/// The member of each partition, as [`range`] has it.
fn range_before(partitions: u32, members: usize) -> Vec<usize> {
    range(partitions, members).into_iter().enumerate().flat_map(|(member, some)| vec![member; some.len()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_assigned_as_kafka_does() {
        assert_eq!(range(7, 3), [vec![0, 1, 2], vec![3, 4], vec![5, 6]]);
        assert_eq!(range(2, 3), [vec![0], vec![1], vec![]]);
        assert_eq!(range_before(7, 3), [0, 0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn what_is_behind_is_worked_off_beside_what_comes() {
        let mut behind = Behind { work: 30.0, since: 0.0 };
        // Half of each tick is free: 30 ms of work take 60 ms.
        assert_eq!([behind.pass(10.0, 20.0), behind.pass(10.0, 20.0), behind.pass(10.0, 20.0)], [None, None, Some(60.0)]);
        let mut hopeless = Behind { work: 1.0, since: 0.0 };
        assert_eq!((0..100).find_map(|_| hopeless.pass(25.0, 20.0)), None);
        assert!(hopeless.work > 400.0);
    }
}
