//! What a partition needs to go on after a restart: its state, where reading stood, and which program ran.
//!
//! Program changes take effect at a point of the partition's input. That point is noted ([`Adoption`]) before the
//! change takes effect, so that a restart from an older checkpoint repeats the change at the same record and comes
//! to the same memberships.

use std::io::Cursor;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;

use crate::error::EngineError;
use crate::partition::saved::Snapshot;
use crate::source::Positions;
use crate::tables::Tables;

/// The state of a partition between two records.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The partition.
    pub partition: u32,
    /// Revision of the catalog whose program ran.
    pub revision: i64,
    /// Where reading goes on.
    pub positions: Positions,
    /// The state.
    pub tables: Tables,
}

/// A checkpoint of which the tables are not made yet.
pub struct Unsaved {
    /// As in [`Checkpoint`].
    pub partition: u32,
    /// As in [`Checkpoint`].
    pub revision: i64,
    /// As in [`Checkpoint`].
    pub positions: Positions,
    /// The state.
    pub state: Snapshot,
    /// Tables that go with it.
    pub relay: Tables,
}

impl Unsaved {
    /// The checkpoint.
    ///
    /// # Errors
    /// When a state of DataFusion's accumulators cannot be gathered.
    pub fn checkpoint(self) -> Result<Checkpoint, EngineError> {
        let mut tables = self.state.tables()?;
        tables.0.extend(self.relay.0);
        Ok(Checkpoint { partition: self.partition, revision: self.revision, positions: self.positions, tables })
    }
}

/// A change of program, at a point of a partition's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The partition.
    pub partition: u32,
    /// Revision of the catalog whose program runs from here on.
    pub revision: i64,
    /// The first records that it sees.
    pub positions: Positions,
}

/// A checkpoint that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("checkpoint {what}: {message}")]
pub struct CheckpointError {
    /// Which one, or where.
    pub what: String,
    /// What is wrong.
    pub message: String,
}

/// Keeps checkpoints and adoptions; used by all workers.
pub trait CheckpointStore: Send + Sync {
    /// Publishes a checkpoint, whole or not at all; returns its size in bytes.
    ///
    /// # Errors
    /// When it cannot be written; the one before stays in force.
    fn save(&self, checkpoint: &Checkpoint) -> Result<u64, CheckpointError>;

    /// The newest checkpoint of a partition that is whole.
    ///
    /// # Errors
    /// When the store cannot be read, or there are checkpoints but none is whole.
    fn load(&self, partition: u32) -> Result<Option<Checkpoint>, CheckpointError>;

    /// Notes a change of program.
    ///
    /// # Errors
    /// When it cannot be written; then the change must not take effect.
    fn adopt(&self, adoption: &Adoption) -> Result<(), CheckpointError>;

    /// Changes of program of a partition since a revision, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn adoptions(&self, partition: u32, since: i64) -> Result<Vec<Adoption>, CheckpointError>;
}

fn broken(table: &str, problem: impl ToString) -> EngineError {
    EngineError::Saved { table: table.to_string(), problem: problem.to_string() }
}

/// A table as an Arrow IPC stream.
///
/// # Errors
/// When Arrow cannot encode it.
pub fn encode(table: &str, batch: &RecordBatch) -> Result<Vec<u8>, EngineError> {
    let mut writer = StreamWriter::try_new(vec![], &batch.schema()).map_err(|e| broken(table, e))?;
    writer.write(batch).map_err(|e| broken(table, e))?;
    writer.into_inner().map_err(|e| broken(table, e))
}

/// The table of an Arrow IPC stream.
///
/// # Errors
/// When the bytes are not one.
pub fn decode(table: &str, bytes: &[u8]) -> Result<RecordBatch, EngineError> {
    let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(|e| broken(table, e))?;
    let schema = Arc::clone(&reader.schema());
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|e| broken(table, e))?;
    concat_batches(&schema, &batches).map_err(|e| broken(table, e))
}
