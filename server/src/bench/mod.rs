//! `cohort bench`: named workloads ([`scenarios`]) through the engine, beside yardsticks on the same bytes:
//! [`peers`] only decode them, [`yardsticks`] are the loops that people write by hand.

pub mod calibrate;
pub mod live;
pub mod peers;
pub mod rules;
pub mod run;
pub mod scenarios;
pub mod yardsticks;
