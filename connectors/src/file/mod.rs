//! Files: [`source`] reads JSON Lines (plain, gzip, zstd, standard input) and Parquet as chunks of
//! newline-separated JSON; [`follow`] reads files as they grow, for the running service; [`sink`] writes results as NDJSON or Parquet, and dead letters as NDJSON.

pub mod follow;
pub mod sink;
pub mod source;
