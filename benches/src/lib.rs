//! Micro-benchmarks of the engine's parts, in `benches/parts.rs`; end to end see `cohort bench`.
