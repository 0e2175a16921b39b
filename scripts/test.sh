#!/usr/bin/env bash
# All the tests. A check whose tool can't be had is reported as skipped, never silently passed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
failed=0
skipped=()

step() { # name, command…
  local name=$1
  shift
  echo "── $name"
  if "$@"; then echo "   ok"; else
    echo "   FAILED: $name"
    failed=1
  fi
}

# What could not be had is told at the end.
COHORT_SKIPPED=$(mktemp)
export COHORT_SKIPPED
trap 'rm -f "$COHORT_SKIPPED"' EXIT

step "ui build" scripts/ui.sh build
if cargo fmt --version >/dev/null 2>&1; then step "rustfmt" cargo fmt --all -- --check; else skipped+=("rustfmt"); fi
if cargo clippy --version >/dev/null 2>&1; then
  step "clippy" cargo clippy --locked --release --workspace --all-targets --quiet -- -D warnings
else
  skipped+=("clippy")
fi
RUSTDOCFLAGS="-D warnings" step "documentation of the crates" cargo doc --locked --release --workspace --no-deps --quiet
# What would be published: files, metadata, versions.
step "packages" scripts/package.sh
# With a PostgreSQL, for the catalog, a Kafka broker, and a Flink.
step "tests" scripts/postgres.sh scripts/kafka.sh scripts/flink.sh env cargo test --locked --release --workspace
# The script that sets up and checks Aerospike's namespace, against a server that is made up.
step "aerospike namespace" scripts/tests/aerospike-namespace.sh
# Two of the acceptance inputs, run as a user would.
step "acceptance" scripts/acceptance.sh
# Exported jobs on a real Flink, compared with replay.
step "flink" scripts/flink.sh

# The decoder, for as long as fits here; scripts/fuzz.sh 3600 finds more.
if command -v c++ >/dev/null 2>&1; then step "fuzz" scripts/fuzz.sh 20; else skipped+=("fuzz (no C++ compiler)"); fi

# The web UI: types, lint, unit tests, then its pages in a browser against the binary.
step "ui check" scripts/ui.sh check
COHORT=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release/cohort
export COHORT
step "ui in a browser" scripts/ui.sh e2e

# The image, the stack around it, the chart and the unit, without running them; and all shell scripts.
step "deploy" scripts/deploy-check.sh

# The API against its own document.
step "schemathesis" scripts/schemathesis.sh

# Licences, bans and sources of dependencies; advisories where a database of them was fetched before.
deny_version=0.20.2
tools=${COHORT_TOOLS:-$HOME/.cache/cohort/tools}
PATH=$PATH:$tools/bin
if ! command -v cargo-deny >/dev/null 2>&1; then
  echo "── installing cargo-deny $deny_version into $tools"
  CARGO_TARGET_DIR=$tools/target cargo install --quiet --locked --version "$deny_version" --root "$tools" cargo-deny
  rm -rf "$tools/target"
fi
if command -v cargo-deny >/dev/null 2>&1; then
  step "cargo-deny (licences, bans, sources)" cargo deny --locked check licenses bans sources
  if [ -d "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs" ]; then
    step "cargo-deny (advisories)" cargo deny --locked check --disable-fetch advisories
  else
    skipped+=("advisories (no database of them here: cargo deny fetch)")
  fi
else
  skipped+=("cargo-deny (could not be installed)")
fi

mapfile -t -O "${#skipped[@]}" skipped <"$COHORT_SKIPPED"
[ -n "${AEROSPIKE_HOSTS:-}" ] || skipped+=("tests on a real Aerospike (none in AEROSPIKE_HOSTS; the protocol is tested against a server in the tests)")
for check in "${skipped[@]:-}"; do [ -n "$check" ] && echo "SKIPPED: $check"; done
exit $failed
