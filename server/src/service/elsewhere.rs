//! A service whose events are evaluated elsewhere (`source.kind = "results"`): it reads results, and has no events, so
//! what needs them is refused.

use std::sync::Arc;

use axum::http::StatusCode;
use cohort_compiler::Program;
use cohort_connectors::retained::{Records, Retained};
use cohort_engine::relay::Reads;
use cohort_engine::source::{Positions, SourceError};

use super::Service;
use crate::api::problem::{ApiResult, Problem};
use crate::config::{Config, SourceKind};

/// What workers read.
pub fn reads(config: &Config) -> Reads {
    if config.source.kind == SourceKind::Results { Reads::Results } else { Reads::Events }
}

/// The program that workers run. Where results are read, derived segments come as results too, and none follows from others here.
pub fn to_run(config: &Config, program: Arc<Program>) -> Arc<Program> {
    if reads(config) == Reads::Events {
        return program;
    }
    let mut alone = Program::clone(&program);
    for segment in &mut alone.segments {
        segment.readers.clear();
        segment.member_readers.clear();
    }
    Arc::new(alone)
}

impl Service {
    /// Refuses what needs events where there are none.
    ///
    /// # Errors
    /// 409, with what it was that needs them.
    pub fn needs_events(&self, what: &str) -> ApiResult<()> {
        if reads(&self.config) == Reads::Events {
            return Ok(());
        }
        let detail = format!("{what} events, which are evaluated elsewhere: this service reads their results (source.kind = \"results\")");
        Err(Problem::new(StatusCode::CONFLICT, "evaluated-elsewhere", detail).hint("ask where they are evaluated, or run a service that reads the events"))
    }
}

/// Keeps no events.
pub struct NoEvents;

impl Retained for NoEvents {
    fn partitions(&self) -> u32 {
        0
    }

    fn range(&self, _: u32) -> Result<(Positions, Positions), SourceError> {
        Ok(Default::default())
    }

    fn at(&self, _: u32, _: i64) -> Result<Positions, SourceError> {
        Ok(Positions::new())
    }

    fn open(&self, _: u32, _: &Positions) -> Result<Box<dyn Records>, SourceError> {
        Err(SourceError { source_name: "results".into(), message: "events are evaluated elsewhere".into(), fatal: false })
    }
}
