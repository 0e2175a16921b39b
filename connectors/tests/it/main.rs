//! Connectors against servers: an Aerospike in the tests, which [`double`] holds to the official client, and a real one
//! when AEROSPIKE_HOSTS is set; librdkafka's own mock of a Kafka cluster, and a real broker when COHORT_TEST_KAFKA is set.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod aerospike;
#[allow(dead_code, unused_imports, missing_docs)]
mod aerospike_double;
mod aerospike_failures;
mod aerospike_flushes;
mod aerospike_sizes;
#[allow(dead_code, missing_docs)]
mod avro_bytes;
mod container;
mod double;
mod follow;
mod kafka;
mod objects;
mod profiles;
mod registry;
#[allow(dead_code)]
mod registry_double;
