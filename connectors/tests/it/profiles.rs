//! The embedded profile store against a map that does the same by hand, over random results, memberships told as a
//! whole, touches, time, sweeps and restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cohort_connectors::embedded::Store;
use cohort_connectors::embedded::profiles::{Profile, ProfileOptions, Profiles, RuleResult};
use cohort_engine::sink::{Amiss, MemberBatch, ResultBatch, SegmentName, Touch};
use cohort_engine::{ResultKind, ResultRow};
use proptest::prelude::*;

const TTL: i64 = 1_000;
/// Rules and their segments; a segment that was made anew has another rule.
const NAMES: [(&str, &str); 5] = [("a", "r0"), ("b", "r1"), ("a", "r2"), ("c", "r3"), ("p1 x", "r4")];
const USERS: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    /// User, name, whether a member after it, time; and how many segments each user is said to be in.
    Results(Vec<(usize, usize, bool, i64)>, [u32; USERS]),
    /// User, and names with whether they are of a closed window.
    Members(usize, Vec<(usize, bool)>),
    /// User, and how many segments they are said to be in.
    Touch(usize, u32),
    Wait(i64),
    Sweep,
    /// What waits in memory is written.
    Flush,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let result = (0..USERS, 0..NAMES.len(), prop::bool::weighted(0.7), 0..50i64);
    prop_oneof![
        6 => (prop::collection::vec(result, 1..12), prop::array::uniform4(0..4u32)).prop_map(|(results, held)| Step::Results(results, held)),
        2 => (0..USERS, prop::collection::vec((0..NAMES.len(), any::<bool>()), 0..4)).prop_map(|(u, rows)| Step::Members(u, rows)),
        1 => (0..USERS, 0..4u32).prop_map(|(u, held)| Step::Touch(u, held)),
        2 => (1..800i64).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
        2 => Just(Step::Flush),
        1 => Just(Step::Restart),
    ]
}

fn row(name: usize, kind: ResultKind, timestamp: i64) -> ResultRow {
    let qualified = timestamp % 3 > 0;
    ResultRow {
        segment: name as u32,
        user: 0,
        kind,
        qualified,
        value: (timestamp % 2 > 0).then_some(timestamp as f64),
        timestamp,
        window_start: -timestamp,
        window_end: timestamp + 5,
    }
}

fn result(row: &ResultRow, segment: &str, since: i64) -> RuleResult {
    let ResultRow { qualified, value, timestamp, window_start, window_end, .. } = *row;
    RuleResult { segment: segment.into(), qualified, value, timestamp, window_start, window_end, since }
}

/// Segment → rule and its last result.
type Results = BTreeMap<String, (String, RuleResult)>;

/// User → when they expire, and their results.
#[derive(Default)]
struct Model(BTreeMap<String, (i64, Results)>);

impl Model {
    fn results(&mut self, results: &[(usize, usize, bool, i64)], now: i64) {
        for &(user, name, member, time) in results {
            let (segment, rule) = NAMES[name];
            let (expires, rows) = self.0.entry(format!("u{user}")).or_default();
            if *expires <= now {
                rows.clear();
            }
            *expires = now + TTL;
            let before = rows.get(segment).filter(|(r, _)| r == rule).map(|(_, r)| r.clone());
            if !member {
                rows.remove(segment);
            } else if before.as_ref().is_none_or(|r| r.timestamp <= time) {
                let since = before.map_or(time, |r| r.since);
                rows.insert(segment.into(), (rule.into(), result(&row(name, ResultKind::Change, time), segment, since)));
            }
        }
    }

    fn members(&mut self, user: usize, told: &[(usize, bool)], now: i64) {
        let entry = self.0.entry(format!("u{user}")).or_default();
        let old = std::mem::take(&mut entry.1);
        entry.0 = now + TTL;
        for &(name, closed) in told {
            let (segment, rule) = NAMES[name];
            let kept = old.get(segment).filter(|(r, o)| r == rule && o.qualified && (!closed || o.timestamp >= 25)).cloned();
            let fresh = || (rule.to_string(), RuleResult { qualified: true, ..result(&row(name, ResultKind::Change, 25), segment, 25) });
            entry.1.insert(segment.into(), kept.unwrap_or_else(fresh));
        }
    }

    /// Compares the store with this; lists of members only where they may be asked for, as that writes what waits.
    fn check(&self, profiles: &Profiles, now: i64, lists: bool) -> Result<(), TestCaseError> {
        for user in 0..USERS {
            let name = format!("u{user}");
            let known = self.0.get(&name).filter(|(expires, rows)| *expires > now && !rows.is_empty());
            let found = profiles.get(&name).expect("the store is read");
            let expected = known.map(|(expires_at, rows)| Profile {
                expires_at: *expires_at,
                segments: rows.keys().cloned().collect(),
                results: rows.values().cloned().collect(),
                ..found.clone().unwrap_or_default()
            });
            prop_assert_eq!(found, expected, "{}", name);
        }
        for (segment, _) in NAMES {
            let of = |alive: bool| self.0.iter().filter(move |(_, (expires, rows))| rows.contains_key(segment) && (!alive || *expires > now));
            prop_assert_eq!(profiles.size(segment), of(false).count() as u64, "size of {}", segment);
            if !lists {
                continue;
            }
            let members: Vec<String> = profiles.members(segment, None, 100).expect("the store is read").into_iter().map(|(user, _)| user).collect();
            prop_assert_eq!(members, of(true).map(|(user, _)| user.clone()).collect::<Vec<_>>(), "members of {}", segment);
        }
        Ok(())
    }
}

fn names() -> Arc<Vec<SegmentName>> {
    Arc::new(NAMES.iter().map(|(segment, rule)| SegmentName { segment: (*segment).into(), rule: (*rule).into() }).collect())
}

/// Results in a batch or two.
fn batches(results: &[(usize, usize, bool, i64)], held: &[u32; USERS], names: &Arc<Vec<SegmentName>>) -> Vec<ResultBatch> {
    let batch = |some: &[(usize, usize, bool, i64)]| {
        let mut batch = ResultBatch { names: Arc::clone(names), ..ResultBatch::default() };
        for &(user, name, member, time) in some {
            batch.users.push(format!("u{user}").as_bytes());
            batch.rows.push(row(name, ResultKind::Change, time));
            batch.member.push(member);
            batch.held.push(held[user]);
        }
        batch
    };
    results.chunks(7).map(batch).collect()
}

/// The users of whom a store says that it holds what it should not, in order.
fn users(mut amiss: Amiss) -> Vec<String> {
    let users = amiss.take(0);
    assert!(amiss.is_empty());
    let mut users: Vec<String> = (0..users.len()).map(|i| String::from_utf8_lossy(users.get(i)).into_owned()).collect();
    users.sort_unstable();
    users
}

fn run(steps: &[Step], tables_from: usize) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let time = Arc::new(AtomicI64::new(100_000));
    let open = || {
        let (store, clock) = (Store::open(dir.path()).expect("the store opens"), Arc::clone(&time));
        Profiles::open(&store, ProfileOptions { tables_from, ..ProfileOptions::new(TTL) }, Arc::new(move || clock.load(Ordering::Relaxed)))
            .expect("profiles open")
    };
    let (mut profiles, mut model, mut names) = (open(), Model::default(), names());
    for step in steps {
        let now = time.load(Ordering::Relaxed);
        match step {
            Step::Results(results, held) => {
                let mut amiss = Amiss::default();
                profiles.apply(&batches(results, held, &names), &mut amiss).expect("results are written");
                model.results(results, now);
                let told: BTreeSet<usize> = results.iter().map(|(user, ..)| *user).collect();
                let holds = |user: &usize| model.0[&format!("u{user}")].1.len() as u32;
                prop_assert_eq!(users(amiss), told.into_iter().filter(|user| holds(user) != held[*user]).map(|user| format!("u{user}")).collect::<Vec<_>>());
            }
            Step::Members(user, told) => {
                let mut members = MemberBatch { names: Arc::clone(&names), ..MemberBatch::default() };
                members.users.push(format!("u{user}").as_bytes());
                let kind = |closed| if closed { ResultKind::Final } else { ResultKind::Change };
                members.rows.extend(told.iter().map(|&(name, closed)| row(name, kind(closed), 25)));
                members.ends.push(told.len() as u32);
                profiles.set(&members).expect("members are written");
                model.members(*user, told, now);
            }
            Step::Touch(user, held) => {
                let (mut touch, mut amiss) = (Touch { held: vec![*held], ..Touch::default() }, Amiss::default());
                touch.users.push(format!("u{user}").as_bytes());
                profiles.keep(&touch, &mut amiss).expect("members live on");
                let known = model.0.get_mut(&format!("u{user}")).filter(|(_, rows)| !rows.is_empty());
                prop_assert_eq!(users(amiss).is_empty(), known.as_ref().is_some_and(|(_, rows)| rows.len() as u32 == *held));
                if let Some((expires, _)) = known {
                    *expires = now + TTL;
                }
            }
            Step::Wait(ms) => {
                time.fetch_add(*ms, Ordering::Relaxed);
            }
            Step::Sweep => {
                profiles.flush().expect("changes are written");
                profiles.expire(None, 100).expect("the store is swept");
                model.0.retain(|_, (expires, _)| *expires > now);
            }
            Step::Flush => profiles.flush().expect("changes are written"),
            Step::Restart => {
                profiles.flush().expect("changes are written");
                drop(profiles);
                (profiles, names) = (open(), Arc::new(names.to_vec()));
            }
        }
        model.check(&profiles, time.load(Ordering::Relaxed), matches!(step, Step::Flush | Step::Restart))?;
    }
    model.check(&profiles, time.load(Ordering::Relaxed), true)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn profiles_are_what_was_told(steps in prop::collection::vec(step(), 1..25), tables_from in prop::sample::select(vec![0, 600, usize::MAX])) {
        run(&steps, tables_from)?;
    }
}
