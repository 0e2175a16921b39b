//! Classic rules in Feldera's `dbsp`: for each size of window an incremental aggregate by user and type of event, and a look-up of the thresholds.
//!
//! Each worker of the circuit reads a file of its own, so that users never change workers, and writes changes of rows as they come.

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result};
use dbsp::algebra::F64;
use dbsp::circuit::CircuitConfig;
use dbsp::mimalloc::MiMalloc;
use dbsp::utils::{Tup2, Tup3, Tup4};
use dbsp::{InputHandle, OrdIndexedZSet, OrdZSet, RootCircuit, Runtime, Stream};
use peers_shared::{Rules, Size, Task};

use lane::{Lane, Seen};

mod lane;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Start, number of the type of event, number of the user.
type Window = Tup3<i64, u32, u32>;
/// Count and sum.
type Amount = Tup2<i64, F64>;
/// Number of the rule, number of the user, start of the window, value.
type Row = Tup4<u32, u32, i64, F64>;

type Lanes = Arc<[Mutex<Lane>]>;

/// How many events all workers together read in a step. The fewer, the more often rows change.
const STEP: usize = 100_000;

fn main() -> Result<()> {
    let started = Instant::now();
    let task = Task::from_arguments()?;
    let rules = Arc::new(Rules::read(&task.rules)?);
    std::fs::create_dir(&task.output).with_context(|| format!("{} can't be made", task.output.display()))?;
    let parts = task.parts().into_iter().enumerate();
    let lanes = parts.map(|(number, part)| Lane::open(&part, STEP / task.workers, &task.output.join(format!("{number}.csv"))));
    let lanes: Lanes = lanes.map(|lane| lane.map(Mutex::new)).collect::<Result<_>>()?;
    let used = lanes.clone();
    let build = move |circuit: &mut RootCircuit| Ok(build(circuit, &rules, &used));
    let (mut circuit, turn) = Runtime::init_circuit(CircuitConfig::with_workers(task.workers), build)?;
    let mut reading = true;
    while reading {
        turn.set_for_all(true);
        circuit.transaction()?;
        reading = false;
        for lane in &*lanes {
            reading |= lane::locked(lane).is_reading()?;
        }
    }
    for lane in &*lanes {
        lane::locked(lane).close()?;
    }
    task.tell(started.elapsed())?;
    // No worker is joined, and no state freed.
    std::process::exit(0)
}

/// What each worker runs. It reads some events whenever it is its turn.
fn build(circuit: &mut RootCircuit, rules: &Arc<Rules>, lanes: &Lanes) -> InputHandle<bool> {
    let worker = Runtime::worker_index();
    let (turns, turn) = circuit.add_input_stream::<bool>();
    let (known, used) = (rules.clone(), lanes.clone());
    let events = turns.apply(move |&turn| Rc::new(if turn { lane::locked(&used[worker]).read(&known) } else { Vec::new() }));
    for number in 0..rules.sizes.len() {
        let rows = rows(&events, rules, number);
        let (known, used) = (rules.clone(), lanes.clone());
        rows.inspect(move |rows| lane::locked(&used[worker]).write(rows, &known));
    }
    turn
}

/// The rows of windows of one size.
fn rows(events: &Stream<RootCircuit, Rc<Vec<Seen>>>, rules: &Arc<Rules>, number: usize) -> Stream<RootCircuit, OrdZSet<Row>> {
    let known = rules.clone();
    let windows = events.apply(move |events| by_window(events, &known.sizes[number]));
    // Users stay where they are. It is the untyped stream that operators look at.
    windows.inner().mark_sharded();
    // Needs the former amounts only; a linear aggregate would keep what each step adds, too.
    let amounts = windows.chain_aggregate(amount, |sum, value, weight| {
        let more = amount(value, weight);
        Tup2(sum.0 + more.0, sum.1 + more.1)
    });
    let known = rules.clone();
    amounts.flat_map(move |(&Tup3(start, kind, user), &Tup2(count, sum))| {
        let holding = known.sizes[number].by_type[kind as usize].holding(count, sum.into_inner());
        holding.map(|(rule, value)| Tup4(rule, user, start, F64::new(value))).collect::<Vec<_>>()
    })
}

fn by_window(events: &[Seen], size: &Size) -> OrdIndexedZSet<Window, F64> {
    let events = events.iter().filter(|event| !size.by_type[event.kind as usize].is_empty());
    let keyed = events.map(|event| {
        let start = event.timestamp - event.timestamp.rem_euclid(size.millis);
        Tup2(Tup2(Tup3(start, event.kind, event.user), event.value), 1)
    });
    OrdIndexedZSet::from_tuples((), keyed.collect())
}

/// What so many events of the same value count and sum up to.
fn amount(value: &F64, weight: i64) -> Amount {
    Tup2(weight, F64::new(value.into_inner() * weight as f64))
}
