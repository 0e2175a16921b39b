//! What can go wrong while a program runs.

use std::path::PathBuf;

use datafusion::common::DataFusionError;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// An expression or aggregate of DataFusion failed, for instance on an overflow.
    #[error("evaluating {what}: {source}")]
    Evaluate {
        /// What was evaluated.
        what: String,
        /// DataFusion's error.
        source: DataFusionError,
    },
    /// State outgrew its limit.
    #[error(
        "state needs {used} bytes of memory, more than memory_limit ({limit}): raise the limit, use more partitions and members, or shorten the longest window"
    )]
    MemoryLimit {
        /// Bytes in use.
        used: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// State cannot go to files.
    #[error("state outgrew memory_limit and cannot go to files in {}: {source}", folder.display())]
    Spill {
        /// Where they were to be.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Saved state cannot be read.
    #[error("saved state: table {table}: {problem}")]
    Saved {
        /// The table.
        table: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl EngineError {
    /// Wraps an error of DataFusion.
    pub fn evaluate(what: impl Into<String>) -> impl FnOnce(DataFusionError) -> EngineError {
        let what = what.into();
        move |source| EngineError::Evaluate { what, source }
    }
}
