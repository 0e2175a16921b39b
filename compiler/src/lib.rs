//! Compiles audience segments, written as SQL or JSON rules, into one shared, windowed aggregation
//! [`program::Program`].
//!
//! Texts go through [`statement`] or [`rule`], [`bind`] and [`normalize`] one segment at a time, then
//! [`share`] interns what they have in common. There is no clock, no I/O and no global state here.

pub mod bind;
pub mod catalog;
pub mod diagnostic;
pub mod emit;
pub mod explain;
pub mod flink;
pub mod form;
pub mod normalize;
pub mod program;
pub mod rule;
pub mod share;
pub mod statement;
pub mod text;
pub mod versions;
pub mod window;

mod cache;
mod compile;

pub use cache::CompileCache;
pub use compile::{CompileOptions, SourceKind, SourceText, compile, compile_cached, compile_versions};
pub use diagnostic::{Diagnostic, Diagnostics};
pub use program::Program;
