//! The engine over random events: state that is saved and restored, programs that change while events come.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod banks;
mod evaluator;
mod members;
mod parts;
mod restart;
mod run;
mod shared;
mod texts;
