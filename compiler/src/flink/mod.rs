//! A compiled program as a Flink SQL job that gives the same final results and exits.
//!
//! ```text
//! records → events → windows_{i} (one aggregation a family) → finals_{i} (its segments, by tests on its aggregates)
//!                         windows_* → matched_windows, matched_users (presence and value of inputs, by key) → derived_*
//!                                     finals_* and derived_*, and the exits that follow from them → results
//! ```
//!
//! `plan` says of each segment how it is tested, or why it can't be; [`write`] makes SQL of that; `expr` writes expressions.

mod expr;
mod plan;
mod write;

use crate::program::Program;
pub use plan::Refusal;

/// What a job reads and writes, and how it takes time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Events and results.
    pub connector: Connector,
    /// How far the watermark lies behind the newest event, with how long windows wait after their end, ms.
    pub delay_ms: i64,
    /// How long a partition without events holds time back, ms.
    pub idle_ms: i64,
    /// How far ahead of the clock an event may be, ms.
    pub max_future_ms: i64,
    /// How often Flink saves its state, ms.
    pub checkpoint_ms: i64,
    /// Whether segments that can't be exported are left out, with those that read them.
    pub leave_out: bool,
}

/// Where events come from and results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connector {
    /// Topics.
    Kafka {
        /// `host:port`, several with commas between.
        brokers: String,
        /// Topics of events.
        topics: Vec<String>,
        /// Topic of results.
        results: String,
        /// Consumer group, which only notes how far was read.
        group: String,
        /// Where reading begins.
        start: Start,
        /// Whether the job ends once it has read what is there.
        bounded: bool,
    },
    /// Files.
    Files {
        /// A file, or a folder of them, with an event a line.
        input: String,
        /// A folder for results.
        output: String,
        /// The topic of all events, if they have one.
        topic: Option<String>,
    },
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With records that come after the job was started, unless the group has read before.
    Latest,
    /// With the oldest, unless the group has read before.
    Earliest,
    /// With the first record since a time, ms since the epoch.
    At(i64),
}

/// An exported job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Statements; each ends with a semicolon at the end of a line.
    pub sql: String,
    /// Segments that were left out.
    pub left_out: Vec<Refusal>,
    /// Names of segments that emit changes here, and final results only there.
    pub changes: Vec<String>,
    /// Segments that the job tells of.
    pub segments: usize,
    /// Aggregations that they share.
    pub aggregations: usize,
}

/// Makes a job of all segments of a program.
///
/// # Errors
/// The segments that can't be exported, when they are not to be left out; or all of them, when nothing would be left.
pub fn export(program: &Program, options: &Options) -> Result<Job, Vec<Refusal>> {
    let plan = plan::plan(program);
    let told = |i: &usize| plan.segments[*i].is_some() && !program.segments[*i].hidden;
    let segments = (0..program.segments.len()).filter(told).count();
    if !plan.refused.is_empty() && (!options.leave_out || segments == 0) {
        return Err(plan.refused);
    }
    let emits_changes = |i: &usize| told(i) && program.segments[*i].emit == crate::emit::Emit::Changes;
    let changes = (0..program.segments.len()).filter(emits_changes).map(|i| program.segments[i].name.clone()).collect();
    let sql = write::job(program, &plan, options);
    Ok(Job { sql, changes, segments, aggregations: plan.families.iter().filter(|f| !f.segments.is_empty()).count(), left_out: plan.refused })
}
