#!/usr/bin/env bash
# Fuzzes a decoder for so many seconds (60 by default), from the seeds in fuzz/seeds: scripts/fuzz.sh [SECONDS [layouts|formats]…]
# Without a name that of plain JSON (layouts); what formats needs takes minutes to build.
# What it finds is kept in fuzz/found, with the command that shows it. Needs a C++ compiler.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
target=${CARGO_TARGET_DIR:-../target}/fuzz
# The coverage that libFuzzer wants, which stable Rust can give.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
host=$(rustc -vV | sed -n 's/^host: //p')
mkdir -p found
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(layouts)
for name in "${targets[@]}"; do
  features=()
  [ "$name" = layouts ] || features=(--features "$name")
  CARGO_TARGET_DIR=$target cargo build --quiet --release --locked --target "$host" --bin "$name" "${features[@]}"
  mkdir -p "corpus/$name"
  "$target/$host/release/$name" -max_total_time="${1:-60}" -max_len=2048 -artifact_prefix=found/ "corpus/$name" "seeds/$name" 2>&1 | tail -20
done
