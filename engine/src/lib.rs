//! Runs a compiled segment program incrementally over micro-batches of events.
//!
//! Read [`partition`] first: it is the loop that everything else serves.

pub mod aggregate;
pub mod decode;
pub mod derived;
pub mod error;
pub mod events;
pub mod having;
pub mod membership;
pub mod partition;
pub mod result;
pub mod state;
pub mod users;
pub mod window;

pub use error::EngineError;
pub use partition::{Late, Partition, Settings};
pub use result::{ResultKind, ResultRow};
