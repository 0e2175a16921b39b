//! The `cohort` binary against an independent evaluation of the same segments.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod examples;
mod golden;
mod instances;
mod kill;
mod limits;
mod live;
mod model;
mod oracle;
mod oracle_gen;
mod properties;
mod replay;
mod retention;
mod roles;
mod tls;
mod traces;
