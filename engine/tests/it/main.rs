//! The engine over random events: state that is saved and restored, programs that change while events come.

mod restart;
mod run;
