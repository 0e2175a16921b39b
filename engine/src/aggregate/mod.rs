//! Aggregates of a group: [`fixed`] slots of eight bytes updated event by event, and [`general`] ones
//! kept by DataFusion's accumulators batch by batch. To give an aggregate a fast path, add a slot to the
//! compiler's `Slot` and its update to [`fixed`]; without that it already works through [`general`].

pub mod fixed;
pub mod general;
