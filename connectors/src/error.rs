//! What can go wrong with a source or a sink.

/// An error of a connector, with the name of what failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectorError {
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// File or stream.
        what: String,
        /// Cause.
        source: std::io::Error,
    },
    /// A Parquet file could not be read or written.
    #[error("{what}: {message}")]
    Parquet {
        /// File.
        what: String,
        /// Cause.
        message: String,
    },
    /// An Avro file could not be read.
    #[error("{what}: {message}")]
    Avro {
        /// File.
        what: String,
        /// Cause.
        message: String,
    },
    /// An object store did not answer as it should, or has no such objects.
    #[error("{what}: {message}")]
    Object {
        /// URL.
        what: String,
        /// Cause.
        message: String,
    },
    /// A schema could not be had.
    #[error(transparent)]
    Schema(#[from] cohort_engine::formats::Away),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] cohort_engine::EngineError),
    /// A thread ended early.
    #[error("{0} ended unexpectedly")]
    Thread(&'static str),
}

impl ConnectorError {
    /// Wraps an I/O error with what it concerns.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ConnectorError {
        let what = what.into();
        move |source| ConnectorError::Io { what, source }
    }
}
