#!/usr/bin/env bash
# All the tests. A check whose tool can't be had is reported as skipped, never silently passed.
set -uo pipefail
cd "$(dirname "$0")/.."
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

if cargo fmt --version >/dev/null 2>&1; then step "rustfmt" cargo fmt --all -- --check; else skipped+=("rustfmt"); fi
if cargo clippy --version >/dev/null 2>&1; then
  step "clippy" cargo clippy --locked --release --workspace --all-targets --quiet -- -D warnings
else
  skipped+=("clippy")
fi
if command -v cargo-deny >/dev/null 2>&1; then
  step "cargo-deny (licences, bans, sources)" cargo deny --offline check licenses bans sources
else
  skipped+=("cargo-deny (install it with: cargo install cargo-deny)")
fi
step "tests" cargo test --locked --release --workspace
# Two of the acceptance inputs, run as a user would.
step "acceptance" scripts/acceptance.sh

for check in "${skipped[@]:-}"; do [ -n "$check" ] && echo "SKIPPED: $check"; done
exit $failed
