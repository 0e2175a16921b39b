//! The `cohort` binary against an independent evaluation of the same segments.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unused_imports, missing_docs)]
#[path = "../../../connectors/tests/it/aerospike_double/mod.rs"]
mod aerospike_double;
mod api;
mod examples;
mod flink;
mod golden;
mod instances;
mod kafka;
mod kill;
mod limits;
mod live;
mod model;
mod oracle;
mod oracle_gen;
mod postgres;
mod properties;
mod repair;
mod replay;
mod results;
mod retention;
mod roles;
mod tls;
mod traces;
mod ui;
