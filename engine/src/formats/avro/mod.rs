//! Avro records, read with the schema that they were written with: [`schema`] is what a schema says, `plan` what of
//! it a tree of paths needs, `bytes` walks over a record.
//!
//! What is not needed is stepped over and nothing is allocated for it. Lengths, counts and nesting in the bytes are
//! never trusted: a record that is cut or made up is refused.

mod bytes;
mod plan;
pub mod schema;

pub use bytes::record_end;
pub(super) use plan::Plan;
pub use schema::Schema;
