//! The `cohort` binary against an independent evaluation of the same segments.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unused_imports, missing_docs)]
#[path = "../../../connectors/tests/it/aerospike_double/mod.rs"]
mod aerospike_double;
mod api;
#[allow(dead_code, missing_docs)]
#[path = "../../../connectors/tests/it/avro_bytes.rs"]
mod avro_bytes;
mod backtest;
mod examples;
mod flink;
mod formats;
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
#[allow(dead_code)]
#[path = "../../../connectors/tests/it/registry_double.rs"]
mod registry_double;
mod repair;
mod replay;
mod replays;
mod results;
mod retention;
mod roles;
mod s3_double;
mod tls;
mod traces;
mod ui;
