//! Where events come from and results go to. [`mod@file`] reads and writes files; [`object`] reads objects of stores, [`records`] decodes what was read, [`between`] says which of it is wanted, and [`moves`] counts who enters and exits; [`replay`] runs a program
//! over bounded input with several workers; [`embedded`] is a durable event log and profile store without any
//! other system; [`kafka`] reads topics as a member of a consumer group, and writes them; [`aerospike`] keeps profiles;
//! [`registry`] knows the schemas of records; [`checkpoint`] keeps state in an object store; [`retained`] are events that are kept, read beside the engine.

pub mod aerospike;
pub mod between;
pub mod checkpoint;
pub mod embedded;
pub mod error;
pub mod file;
pub mod kafka;
pub mod moves;
pub mod object;
pub mod records;
pub mod registry;
pub mod replay;
pub mod retained;
pub mod spares;

pub use error::ConnectorError;
