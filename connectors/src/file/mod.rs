//! Files: [`source`] reads JSON Lines (plain, gzip, zstd, standard input) and Parquet as chunks of
//! newline-separated JSON, and Avro object container files ([`container`]) as chunks of their records; [`follow`] reads files as they grow, for the running service; `rows` makes records of Parquet's rows; [`sink`] writes results as NDJSON, CSV or Parquet, and dead letters as NDJSON.

pub mod container;
pub mod follow;
mod rows;
pub mod sink;
pub mod source;
