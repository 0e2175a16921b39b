//! Compiles audience segments, written as SQL or JSON rules, into one shared, windowed aggregation
//! [`program::Program`].
//!
//! Texts go through [`statement`] or [`rule`], [`bind`] and [`normalize`] one segment at a time, then
//! [`share`] interns what they have in common. There is no clock, no I/O and no global state here.
//!
//! ```
//! use cohort_compiler::{CompileOptions, SourceKind, SourceText, compile};
//!
//! let source = |text: &str| SourceText { name: "segments.sql".into(), kind: SourceKind::Sql, text: text.into(), id: None };
//! let spenders = "CREATE SEGMENT spenders AS
//!     SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
//!     WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > 500;";
//! let more = spenders.replace("spenders", "big_spenders").replace("500", "5000");
//! let program = compile(&[source(spenders), source(&more)], &CompileOptions::default())?;
//! // Both are thresholds over the same groups.
//! assert_eq!((program.segments.len(), program.families.len()), (2, 1));
//!
//! let wrong = compile(&[source("CREATE SEGMENT s AS SELECT user_id FROM nothing;")], &CompileOptions::default());
//! assert!(wrong.unwrap_err().to_string().contains("segments.sql"));
//! # Ok::<(), cohort_compiler::Diagnostics>(())
//! ```

pub mod bind;
pub mod catalog;
pub mod diagnostic;
pub mod emit;
pub mod explain;
pub mod flink;
pub mod form;
pub mod like;
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
pub use compile::{CompileOptions, STACK, SourceKind, SourceText, compile, compile_cached, compile_versions};
pub use diagnostic::{Diagnostic, Diagnostics};
pub use program::Program;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
