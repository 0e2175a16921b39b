//! The `fleet` scenario: members of a group over one log, in virtual time, on the cores of this machine, to hold the
//! arithmetic of docs/scaling.md to the real engine.
//!
//! [`log`] makes events by partition; [`member`] runs partitions as a worker does and accounts for what each thing took;
//! [`pass`] has all members take the log tick by tick, and one of them leave; [`units`] are costs of one event, group and
//! checkpoint, and the formulas; this file runs the passes (unit costs, the fleet, one member alone, a lost member, a
//! busy user) and reports what was predicted beside what came of it.

mod changed;
pub mod log;
pub mod member;
pub mod pass;
mod report;
#[cfg(test)]
mod tests;
pub mod units;

use anyhow::Result;
use cohort_compiler::Program;
use serde_json::Value;
use std::sync::Arc;

use super::run::compile;
use super::scenarios::Workload;
use crate::generate::GeneratorConfig;
use pass::{Course, Outcome, Plan, range};
use units::{Fleet, PART, Units};

pub use report::say;

/// A fleet and what it is given.
#[derive(Debug, Clone, Copy)]
pub struct Params {
    /// Members of the group, each a worker.
    pub members: usize,
    /// Partitions of the log.
    pub partitions: u32,
    /// Events a second that come, of which those of the workload are a sample of users.
    pub rate: f64,
    /// Events of a partition in a tick, about.
    pub batch_rows: usize,
    /// Between two checkpoints of a member, ms.
    pub checkpoint_ms: f64,
    /// The part of all events that are one user's in the pass with a busy user.
    pub busy: f64,
}

/// All passes.
pub struct Passes {
    /// One member over one of [`PART`] partitions, other events.
    pub sample: Outcome,
    /// The fleet.
    pub fleet: Outcome,
    /// One member over one partition of everything.
    pub alone: Outcome,
    /// The fleet without its first member from two thirds of the log on.
    pub loss: Outcome,
    /// A member for each partition, with a busy user.
    pub busy: Outcome,
}

/// What passes are compared by.
pub struct Setting<'a> {
    /// What was asked.
    pub params: &'a Params,
    /// The events.
    pub generator: &'a GeneratorConfig,
    /// How the passes ran.
    pub plan: &'a Plan,
    /// Unit costs.
    pub units: Units,
}

impl Setting<'_> {
    /// Seconds of the log.
    pub fn seconds(&self) -> f64 {
        self.generator.span_ms as f64 / 1e3
    }

    /// The fleet that the log's users are a sample of, of so many members.
    pub fn fleet(&self, members: usize) -> Fleet {
        let users = self.generator.users as f64 * self.plan.scale;
        let checkpoint = self.plan.checkpoint_ms.max(self.plan.tick_ms) / 1e3;
        Fleet { members, partitions: self.params.partitions, users, rate: self.params.rate, checkpoint }
    }
}

fn plan(params: &Params, generator: &GeneratorConfig, program: &Arc<Program>, runtime: tokio::runtime::Handle) -> Plan {
    let ticks = (generator.events as f64 / (params.batch_rows.max(1) as f64 * f64::from(params.partitions))).ceil().max(12.0);
    let per_tick = (generator.events as f64 / ticks).ceil().max(1.0);
    let seconds = generator.span_ms as f64 / 1e3;
    Plan {
        program: Arc::clone(program),
        generator: generator.clone(),
        per_tick: per_tick as u64,
        tick_ms: generator.span_ms as f64 * per_tick / generator.events as f64,
        checkpoint_ms: params.checkpoint_ms,
        scale: params.rate * seconds / generator.events as f64,
        runtime,
    }
}

/// Runs all passes over a workload.
///
/// # Errors
/// When segments do not compile, or a pass fails.
pub fn passes(program: &Arc<Program>, workload: &Workload, params: &Params, runtime: &tokio::runtime::Handle) -> Result<(Plan, Passes)> {
    let generator = &workload.generator;
    let plan = plan(params, generator, program, runtime.clone());
    let other = Plan { generator: GeneratorConfig { seed: generator.seed ^ 0x5eed, ..generator.clone() }, ..plan.clone() };
    let course = |partitions: u32, members: Vec<Vec<u32>>| Course { partitions, members, busy: 0.0, saves: false, restores: false, loss: None };
    let fleet = || course(params.partitions, range(params.partitions, params.members));
    let ticks = generator.events.div_ceil(plan.per_tick) as usize;
    let passes = Passes {
        sample: pass::run(&other, &Course { saves: true, restores: true, ..course(PART, vec![vec![1]]) })?,
        fleet: pass::run(&plan, &Course { saves: true, ..fleet() })?,
        alone: pass::run(&plan, &course(1, vec![vec![0]]))?,
        loss: pass::run(&plan, &Course { saves: true, loss: Some(ticks * 2 / 3), ..fleet() })?,
        busy: pass::run(&plan, &Course { busy: params.busy, ..course(params.partitions, range(params.partitions, params.partitions as usize)) })?,
    };
    Ok((plan, passes))
}

/// Runs the scenario.
///
/// # Errors
/// When segments do not compile, or a pass fails.
pub fn run(workload: &Workload, params: &Params) -> Result<Value> {
    let program = compile(workload)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (plan, passes) = passes(&program, workload, params, runtime.handle())?;
    let units = Units::of(&passes.sample, workload.generator.users as f64 / f64::from(PART));
    let setting = Setting { params, generator: &workload.generator, plan: &plan, units };
    let mut report = report::report(&setting, &passes);
    report["segments"] = workload.segments.into();
    Ok(report)
}
