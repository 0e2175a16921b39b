//! Runs a compiled segment program incrementally over micro-batches of events.
//!
//! Read [`partition`] first: it is the loop that everything else serves.

pub mod aggregate;
pub mod background;
mod calendar;
pub mod checkpoint;
pub mod decode;
pub mod derived;
pub mod error;
pub mod evaluate;
pub mod evaluator;
pub mod events;
pub mod formats;
pub mod handover;
pub mod having;
mod heads;
mod ladder;
pub mod membership;
pub mod outbox;
mod pages;
pub mod partition;
mod probe;
pub mod relay;
pub mod result;
pub mod running;
pub mod runtime;
pub mod sink;
pub mod source;
pub mod state;
pub mod tables;
pub mod users;
pub mod waiting;
pub mod window;
pub mod worker;

pub use error::EngineError;
pub use evaluator::{Evaluator, Outcome};
pub use partition::saved::{Departed, Difference};
pub use partition::{Late, Partition, Settings};
pub use result::{ResultKind, ResultRow, Results};
pub use tables::Tables;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
