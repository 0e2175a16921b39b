//! What the passes of a fleet came to: a row a member, what the formulas predicted beside what was simulated, a lost
//! member, a busy user, and whether all came to the same memberships.

use serde_json::{Value, json};

use super::member::Account;
use super::pass::{Report, Takeover};
use super::units::{Fleet, per};
use super::{Passes, Setting};

/// The whole report.
pub fn report(setting: &Setting<'_>, passes: &Passes) -> Value {
    let (params, plan) = (setting.params, setting.plan);
    let members: Vec<Value> = passes.fleet.members.iter().map(|m| member(setting, m)).collect();
    json!({
        "members": params.members, "partitions": params.partitions, "users": setting.generator.users, "events": setting.generator.events,
        "eventsPerSecond": params.rate, "spanSeconds": setting.seconds(), "tickSeconds": plan.tick_ms / 1e3,
        "checkpointSeconds": setting.fleet(params.members).checkpoint, "userStandsFor": plan.scale,
        "eventsPerUserAndHour": per(setting.generator.events as f64 * 3600.0, setting.generator.users as f64 * setting.seconds()),
        "perMember": members, "total": total(setting, passes), "skew": skew(passes), "units": setting.units,
        "compared": compared(setting, passes), "lostMember": lost(setting, passes), "busyUser": busy(setting, passes),
        "same": same(passes),
    })
}

/// A member at the rate that was asked for.
fn member(setting: &Setting<'_>, report: &Report) -> Value {
    let (did, held, scale) = (&report.account, &report.peak, setting.plan.scale);
    let second = |count: u64| count as f64 * scale / setting.seconds();
    json!({
        "member": report.number, "partitions": report.partitions, "eventsPerSecond": second(did.events),
        "sustainedEventsPerSecond": per(did.events as f64, did.worker() as f64 / 1e9), "busy": busy_of(setting, report),
        "longestWaitSeconds": report.longest_wait / 1e3, "stateBytes": held.bytes as f64 * scale, "groups": held.groups as f64 * scale,
        "users": held.users as f64 * scale, "memberships": held.memberships as f64 * scale, "resultsPerSecond": second(did.results),
        "recordsPerSecond": second(did.records), "operationsPerSecond": second(did.operations), "sinkBytesPerSecond": second(did.sink_bytes),
        "checkpointBytes": per(did.checkpoint_bytes as f64, did.checkpoints as f64) * report.partitions as f64 * scale,
        "checkpointBytesPerSecond": checkpoint_rate(setting, did), "changedPart": per(did.compared.1 as f64, did.compared.0 as f64),
        "changedBytesPerSecond": second(did.checkpoint_bytes) * setting.units.changed,
        "readBytesPerSecond": second(did.bytes), "counted": counted(did),
    })
}

/// The part of its time that a member's worker is busy at the rate that was asked for.
fn busy_of(setting: &Setting<'_>, report: &Report) -> f64 {
    report.account.busy_since(&Account::default(), setting.plan.scale) / 1e3 / setting.seconds()
}

/// What was counted, of the sample.
fn counted(did: &Account) -> Value {
    json!({
        "events": did.events, "bytes": did.bytes, "rejected": did.rejected, "late": did.late, "results": did.results, "records": did.records,
        "operations": did.operations, "sinkBytes": did.sink_bytes, "checkpoints": did.checkpoints, "checkpointBytes": did.checkpoint_bytes,
        "cpuSeconds": {
            "evaluate": did.evaluate as f64 / 1e9, "save": did.save as f64 / 1e9, "publish": did.publish as f64 / 1e9,
            "sink": did.sink as f64 / 1e9, "restore": did.restore as f64 / 1e9,
        },
    })
}

/// Bytes of checkpoints a second: those of users, and those of so many partitions without.
fn checkpoint_rate(setting: &Setting<'_>, did: &Account) -> f64 {
    (did.checkpoint_bytes as f64 * setting.plan.scale + did.checkpoints as f64 * setting.units.partition_bytes) / setting.seconds()
}

fn total(setting: &Setting<'_>, passes: &Passes) -> Value {
    let fleet = &passes.fleet;
    json!({
        "counted": counted(&fleet.account()), "changes": fleet.told.kinds[0], "finals": fleet.told.kinds[1], "exits": fleet.told.kinds[2],
        "memberships": fleet.memberships.len(), "records": fleet.records, "recordBytes": fleet.record_bytes,
        "sustainedEventsPerSecond": sustained(setting, &fleet.members),
    })
}

/// The rate at which the busiest member is always busy: that of the whole fleet.
fn sustained(setting: &Setting<'_>, members: &[Report]) -> f64 {
    let most = members.iter().map(|m| busy_of(setting, m)).fold(0.0, f64::max);
    per(setting.params.rate, most)
}

/// How uneven members are: the most over the mean.
fn skew(passes: &Passes) -> Value {
    let over = |of: &dyn Fn(&Report) -> f64| {
        let all: Vec<f64> = passes.fleet.members.iter().map(of).collect();
        per(all.iter().copied().fold(0.0, f64::max) * all.len() as f64, all.iter().sum())
    };
    json!({
        "events": over(&|m| m.account.events as f64), "cpu": over(&|m| m.account.worker() as f64), "state": over(&|m| m.peak.bytes as f64),
        "busiestPartition": busiest(passes.fleet.partitions.values()),
    })
}

/// The part of all evaluation that the busiest partition takes.
fn busiest<'a>(nanos: impl Iterator<Item = &'a u64> + Clone) -> f64 {
    per(nanos.clone().copied().max().unwrap_or(0) as f64, nanos.sum::<u64>() as f64)
}

/// The formulas beside what came of it.
fn compared(setting: &Setting<'_>, passes: &Passes) -> Vec<Value> {
    let (units, fleet, scale) = (&setting.units, setting.fleet(setting.params.members), setting.plan.scale);
    let (did, held) = (passes.fleet.account(), passes.fleet.peak());
    let second = |count: u64| count as f64 * scale / setting.seconds();
    let most = passes.fleet.members.iter().map(|m| busy_of(setting, m)).fold(0.0, f64::max);
    let cores: f64 = passes.fleet.members.iter().map(|m| busy_of(setting, m)).sum();
    let results = fleet.rate * units.results;
    let rows = [
        ("events/s sustained", per(fleet.rate, fleet.busy(units)), sustained(setting, &passes.fleet.members)),
        ("cores of workers", fleet.cores(units), cores),
        ("busiest member", fleet.busy(units), most),
        ("groups", fleet.users * units.groups, held.groups as f64 * scale),
        ("memberships", fleet.users * units.memberships, held.memberships as f64 * scale),
        ("bytes of state", fleet.users * units.state_bytes(), held.bytes as f64 * scale),
        ("results/s", results, second(did.results)),
        ("records written/s", results * units.records, second(did.records)),
        ("bytes to the sink/s", results * units.records * units.sink_bytes, second(did.sink_bytes)),
        ("records held", fleet.users * units.profiles, passes.fleet.records as f64 * scale),
        ("bytes of checkpoints/s", fleet.checkpoint_rate(units), checkpoint_rate(setting, &did)),
        (
            "bytes changed in them/s",
            per(fleet.users * units.checkpoint_bytes, fleet.checkpoint) * units.changed,
            second(did.checkpoint_bytes) * per(did.compared.1 as f64, did.compared.0 as f64),
        ),
        ("bytes read/s", fleet.rate * units.event_bytes, second(did.bytes)),
    ];
    let taken = passes.loss.takeover.as_ref().and_then(|t| Some((waited(t)?, t.caught_up?)));
    let after = setting.fleet(setting.params.members.saturating_sub(1));
    let caught_up = taken.and_then(|(waited, caught_up)| Some(("seconds to catch up", after.catch_up(units, waited)?, caught_up / 1e3)));
    let with_busy = ("events/s with a busy user", with_busy_user(setting, passes), per(setting.params.rate, busiest_at(setting, passes)));
    rows.into_iter()
        .chain(caught_up)
        .chain([with_busy])
        .map(|(what, predicted, simulated)| json!({"what": what, "predicted": predicted, "simulated": simulated, "ratio": per(simulated, predicted)}))
        .collect()
}

/// Seconds from the last checkpoint of a lost member to the takeover.
fn waited(takeover: &Takeover) -> Option<f64> {
    Some((takeover.taken_at? - takeover.saved) / 1e3)
}

fn lost(setting: &Setting<'_>, passes: &Passes) -> Value {
    let Some(takeover) = &passes.loss.takeover else { return Value::Null };
    let after: Fleet = setting.fleet(setting.params.members.saturating_sub(1));
    let scale = setting.plan.scale;
    json!({
        "lostAtSeconds": takeover.lost_at / 1e3, "takenOverAtSeconds": takeover.taken_at.map(|t| t / 1e3),
        "checkpointAgeSeconds": waited(takeover), "partitionsLost": takeover.partitions.0, "partitionsMoved": takeover.partitions.1,
        "restoredBytes": takeover.bytes as f64 * scale, "eventsAgain": takeover.events as f64 * scale,
        "savingSeconds": takeover.saving / 1e3, "restoringSeconds": takeover.restoring / 1e3, "backlogSeconds": takeover.backlog / 1e3,
        "lagAtTakeoverSeconds": waited(takeover).map(|w| w + (takeover.saving + takeover.restoring) / 1e3),
        "catchUpSeconds": takeover.caught_up.map(|t| t / 1e3), "predictedCatchUpSeconds": waited(takeover).and_then(|w| after.catch_up(&setting.units, w)),
        "recordsToldAgain": takeover.retold.0 as f64 * scale, "bytesToldAgain": takeover.retold.1 as f64 * scale,
    })
}

/// The part of its time that the busiest partition takes of a core at the rate that was asked for, with a busy user.
fn busiest_at(setting: &Setting<'_>, passes: &Passes) -> f64 {
    let nanos = passes.busy.partitions.values().copied().max().unwrap_or(0);
    nanos as f64 / 1e9 * setting.plan.scale / setting.seconds()
}

/// By the formula: a partition goes to one worker, so the busy user's part of the events, and the busiest partition's of
/// the others, must fit into a core.
fn with_busy_user(setting: &Setting<'_>, passes: &Passes) -> f64 {
    let (busy, others) = (setting.params.busy, 1.0 - setting.params.busy);
    per(1e9, setting.units.evaluate_nanos * (busy + others * busiest(passes.fleet.partitions.values())))
}

fn busy(setting: &Setting<'_>, passes: &Passes) -> Value {
    let (events, nanos) = (passes.busy.account().events, &passes.busy.partitions);
    let place = nanos.iter().max_by_key(|(_, nanos)| **nanos).map_or(0, |(partition, _)| *partition);
    let of_place = passes.busy.members.iter().find(|m| m.number == place as usize).map_or(0, |m| m.account.events);
    let before = passes.fleet.partitions.values().copied().max().unwrap_or(0) as f64 / 1e9 * setting.plan.scale / setting.seconds();
    json!({
        "part": setting.params.busy, "partition": place, "partitionsPartOfEvents": per(of_place as f64, events as f64),
        "nanosPerEvent": per(nanos.get(&place).copied().unwrap_or(0) as f64, of_place as f64),
        "sustainedEventsPerSecond": per(setting.params.rate, busiest_at(setting, passes)),
        "sustainedWithoutEventsPerSecond": per(setting.params.rate, before),
    })
}

/// Whether the fleet, one member alone, and the fleet that lost a member came to the same.
fn same(passes: &Passes) -> Value {
    let (fleet, alone, loss) = (&passes.fleet, &passes.alone, &passes.loss);
    json!({
        "membershipsAsOneMember": fleet.memberships == alone.memberships,
        "finalsAsOneMember": fleet.told.digest == alone.told.digest && fleet.told.kinds[1] == alone.told.kinds[1],
        "membershipsAfterLoss": fleet.memberships == loss.memberships,
        "finalsAfterLoss": fleet.told.digest == loss.told.digest && fleet.told.kinds[1] == loss.told.kinds[1],
    })
}

/// Prints a report.
pub fn say(report: &Value) {
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    eprintln!(
        "fleet of {} members and {} partitions, {} rules, {:.2} M events/s of {:.1} M users; each user of the log stands for {:.0}",
        report["members"],
        report["partitions"],
        report["rules"],
        number(&report["eventsPerSecond"]) / 1e6,
        number(&report["users"]) * number(&report["userStandsFor"]) / 1e6,
        number(&report["userStandsFor"])
    );
    for member in report["perMember"].as_array().into_iter().flatten() {
        eprintln!(
            "  member {}: {} partitions, {:.0} events/s of {:.0} sustained ({:.1} % busy), {:.0} MB of state, {:.0} results/s, {:.0} records/s, {:.1} MB/s to the sink, {:.1} MB/s of checkpoints",
            member["member"],
            member["partitions"],
            number(&member["eventsPerSecond"]),
            number(&member["sustainedEventsPerSecond"]),
            number(&member["busy"]) * 100.0,
            number(&member["stateBytes"]) / 1e6,
            number(&member["resultsPerSecond"]),
            number(&member["recordsPerSecond"]),
            number(&member["sinkBytesPerSecond"]) / 1e6,
            number(&member["checkpointBytesPerSecond"]) / 1e6
        );
    }
    eprintln!("  {:<28}{:>16}{:>16}{:>8}", "", "predicted", "simulated", "ratio");
    for row in report["compared"].as_array().into_iter().flatten() {
        let figure = |value: &Value| if number(value) < 100.0 { format!("{:.3}", number(value)) } else { format!("{:.0}", number(value)) };
        eprintln!(
            "  {:<28}{:>16}{:>16}{:>8.2}",
            row["what"].as_str().unwrap_or_default(),
            figure(&row["predicted"]),
            figure(&row["simulated"]),
            number(&row["ratio"])
        );
    }
    let (lost, busy) = (&report["lostMember"], &report["busyUser"]);
    if !lost.is_null() {
        eprintln!(
            "  a member lost: {} of its partitions and {} in all move, {:.0} MB restored, {:.0} events again; {:.1} s behind at the takeover, {}",
            lost["partitionsLost"],
            lost["partitionsMoved"],
            number(&lost["restoredBytes"]) / 1e6,
            number(&lost["eventsAgain"]),
            number(&lost["lagAtTakeoverSeconds"]),
            lost["catchUpSeconds"].as_f64().map_or("never caught up".into(), |seconds| format!("caught up after {seconds:.1} s"))
        );
    }
    eprintln!(
        "  a user with {:.0} % of all events: {:.2} M events/s at most, whatever the members; {:.2} M without",
        number(&busy["part"]) * 100.0,
        number(&busy["sustainedEventsPerSecond"]) / 1e6,
        number(&busy["sustainedWithoutEventsPerSecond"]) / 1e6
    );
    eprintln!("  the same as one member alone, and after the loss: {}", report["same"]);
}
