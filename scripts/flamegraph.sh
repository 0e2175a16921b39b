#!/usr/bin/env bash
# Where the time goes, as docs/images/flame.svg: scripts/flamegraph.sh [ARGUMENTS OF cohort bench…]
# Needs Linux's perf, and the right to use it; $COHORT is the binary.
set -euo pipefail
cd "$(dirname "$0")/.."
inferno_version=0.12.4
tools=${COHORT_TOOLS:-$HOME/.cache/cohort/tools}
PATH=$PATH:$tools/bin
cohort=${COHORT:-${CARGO_TARGET_DIR:-target}/release/cohort}
[ $# -gt 0 ] || set -- --scenario classic-rules --rules 100 --events 2000000 --runs 3
command -v perf >/dev/null || { echo "perf is missing (Debian: linux-perf)" >&2; exit 1; }
if ! command -v inferno-flamegraph >/dev/null; then
  CARGO_TARGET_DIR=$tools/target cargo install --quiet --locked --version "$inferno_version" --root "$tools" inferno
  rm -rf "$tools/target"
fi
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
perf record --quiet --freq 499 --call-graph dwarf,16384 --output "$data/perf.data" "$cohort" bench "$@" >&2
# Only the engine: the rest is the generator of events and rules.
perf script --input "$data/perf.data" --no-inline 2>/dev/null | inferno-collapse-perf 2>/dev/null |
  sed -n 's/^.*;cohort::bench::run::one;/run;/p' |
  inferno-flamegraph --title "cohort bench $*" --minwidth 0.3 --hash >docs/images/flame.svg
echo "drawn into docs/images/flame.svg"
