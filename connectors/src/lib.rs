//! Where events come from and results go to. [`file`] reads and writes files; [`replay`] runs a program
//! over bounded input with several workers.

pub mod error;
pub mod file;
pub mod replay;

pub use error::ConnectorError;
