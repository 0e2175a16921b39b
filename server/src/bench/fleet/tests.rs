//! A small fleet, held to the engine run by hand.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use cohort_compiler::Program;
use cohort_engine::{Evaluator, Settings};

use super::member::pair;
use super::*;
use crate::bench::scenarios::{self, build};
use crate::generate::Generator;

const PARAMS: Params = Params { members: 3, partitions: 8, rate: 200_000.0, batch_rows: 100, checkpoint_ms: 350_000.0, busy: 0.3 };

fn workload() -> Workload {
    build("classic-rules", &scenarios::Params { rules: 60, events: 80_000, users: 2_000, seed: 3, span_ms: None }).unwrap()
}

fn small() -> (Workload, Plan, Passes) {
    let workload = workload();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (plan, passes) = passes(&compile(&workload).unwrap(), &workload, &PARAMS, runtime.handle()).unwrap();
    (workload, plan, passes)
}

/// Memberships by one evaluator over all events, batches cut elsewhere.
fn by_hand(program: Arc<Program>, generator: &GeneratorConfig) -> Vec<u64> {
    let mut evaluator = Evaluator::new(program, Settings { memory_limit: usize::MAX / 2, ..Settings::default() });
    let (mut events, mut lines, mut more) = (Generator::new(generator.clone()), vec![], true);
    while more {
        lines.clear();
        more = (0..777).all(|_| events.write_event(&mut lines));
        evaluator.push(&lines).unwrap().for_each(drop);
    }
    let partition = evaluator.partition();
    partition.advance(generator.from_ms + generator.span_ms, &mut vec![]).unwrap();
    let member = |(segment, user, _)| pair(partition.users().name(user), &partition.program().segments[segment as usize].name);
    let mut members: Vec<u64> = partition.membership().iter().map(member).collect();
    members.sort_unstable();
    members
}

#[test]
fn a_fleet_comes_to_what_one_member_does_and_its_accounts_add_up() {
    let (workload, plan, passes) = small();
    let program = compile(&workload).unwrap();
    let events = workload.generator.events;
    let expected = by_hand(program, &workload.generator);
    assert!(expected.len() > 300, "{} memberships", expected.len());
    for outcome in [&passes.fleet, &passes.alone, &passes.loss] {
        assert_eq!(outcome.memberships, expected);
        assert_eq!((outcome.told.digest, outcome.told.kinds[1]), (passes.alone.told.digest, passes.alone.told.kinds[1]));
    }
    assert!(passes.alone.told.kinds.iter().all(|kind| *kind > 1_000), "{:?}", passes.alone.told);
    // The sum over members is that of one alone.
    let (all, alone) = (passes.fleet.account(), passes.alone.account());
    assert_eq!((all.events, all.bytes, all.late, all.rejected), (events, alone.bytes, 0, 0));
    assert_eq!(passes.fleet.members.iter().map(|m| m.account.events).sum::<u64>(), events);
    assert_eq!(passes.fleet.members.iter().map(|m| m.partitions).collect::<Vec<_>>(), [3, 3, 2]);
    assert_eq!(all.results, passes.fleet.told.kinds.iter().sum::<u64>());
    assert_eq!(passes.fleet.partitions.values().sum::<u64>(), all.evaluate);
    assert_eq!((passes.fleet.records, passes.fleet.record_bytes), (passes.alone.records, passes.alone.record_bytes));
    assert!(all.records > 0 && all.records < all.results && all.operations >= 5 * all.records && all.sink_bytes > 100 * all.records);
    // Each of the eight partitions is saved as often as an interval fits into the span.
    let times = workload.generator.span_ms as u64 / 350_000;
    assert!((times - 1..=times).contains(&(all.checkpoints / 8)) && all.checkpoints % 8 == 0, "{}", all.checkpoints);
    assert!(all.compared.1 > 0 && all.compared.1 < all.compared.0, "{:?}", all.compared);
    assert!(plan.scale > 1.0);
}

#[test]
fn a_lost_member_is_made_up_for_by_the_others() {
    let (workload, _, passes) = small();
    let takeover = passes.loss.takeover.unwrap();
    // Of three members with 3, 3 and 2 partitions the first goes: one of the others has [0, 4), the other [4, 8).
    assert_eq!(takeover.partitions, (3, 5));
    assert!(takeover.taken_at.unwrap() - takeover.lost_at >= 10_000.0);
    assert!(takeover.saved <= takeover.lost_at && takeover.bytes > 0 && takeover.events > 0, "{takeover:?}");
    assert!(takeover.caught_up.is_some_and(|time| time > 0.0) && takeover.retold.0 > 0);
    let read: u64 = passes.loss.members.iter().map(|m| m.account.events).sum();
    assert!(read > workload.generator.events, "what came after the checkpoint was read again");
    assert_eq!(passes.loss.members.iter().map(|m| m.partitions).collect::<Vec<_>>(), [0, 4, 4]);
}

#[test]
fn a_busy_users_partition_has_their_part_of_the_events() {
    let (workload, _, passes) = small();
    let most = passes.busy.members.iter().map(|m| m.account.events).max().unwrap();
    let part = most as f64 / workload.generator.events as f64;
    assert!(part > 0.3 && part < 0.6, "{part}");
    assert_eq!(passes.busy.members.len(), 8);
}

#[test]
fn a_report_has_the_formulas_beside_what_came_of_them() {
    let report = run(&workload(), &PARAMS).unwrap();
    assert!(report["same"].as_object().unwrap().values().all(|same| same == true), "{}", report["same"]);
    let rows = report["compared"].as_array().unwrap();
    let ratio = |what: &str| rows.iter().find(|row| row["what"] == what).unwrap()["ratio"].as_f64().unwrap();
    // What does not depend on time: a quarter of the users says how much all have.
    for what in [
        "groups",
        "memberships",
        "bytes of state",
        "results/s",
        "records written/s",
        "bytes to the sink/s",
        "records held",
        "bytes of checkpoints/s",
        "bytes read/s",
    ] {
        assert!((0.5..2.0).contains(&ratio(what)), "{what}: {}", ratio(what));
    }
    let rate: f64 = report["perMember"].as_array().unwrap().iter().map(|m| m["eventsPerSecond"].as_f64().unwrap()).sum();
    assert!((rate / 200_000.0 - 1.0).abs() < 1e-6, "{rate}");
}
