//! `cohort bench`: named workloads ([`scenarios`]) through the engine, beside yardsticks on the same bytes:
//! [`peers`] only decode them, [`yardsticks`] are the loops that people write by hand;
//! [`fleet`] runs members of a group in virtual time; [`kafka`] and [`aerospike`] measure the way from a broker and to a store.

pub mod aerospike;
pub mod calibrate;
pub mod day;
pub mod fleet;
pub mod kafka;
pub mod live;
pub mod peers;
pub mod rules;
pub mod run;
pub mod scenarios;
pub mod yardsticks;
