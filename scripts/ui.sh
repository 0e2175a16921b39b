#!/usr/bin/env bash
# The web UI.
#   scripts/ui.sh build    builds it for the binary to take in, if it changed since the last time
#   scripts/ui.sh check    types, lint and unit tests
#   scripts/ui.sh e2e      its pages in a browser, against the binary COHORT
# Without Node.js, or without a browser for e2e, it says so and does nothing.
set -euo pipefail
cd "$(dirname "$0")/../server/ui"

skip() { # what, reason
  echo "$1 ($2)" >>"${COHORT_SKIPPED:-/dev/null}"
  echo "SKIPPED: $1 ($2)"
  exit 0
}

have_node() {
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null && npm --version >/dev/null 2>&1
}

install() {
  local wanted=node_modules/.installed
  if ! cmp -s package-lock.json "$wanted"; then
    npm ci --no-progress --loglevel=error || skip "the web UI" "its packages cannot be had"
    cp package-lock.json "$wanted"
  fi
}

# What a build is made of.
sources() {
  find src public index.html vite.config.ts package-lock.json tsconfig*.json -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
}

build() {
  local stamp=node_modules/.built
  if [ -e embedded/dist/index.html ] && [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(sources)" ]; then return; fi
  npm run --silent build
  sources >"$stamp"
}

# Finds a Chromium, or installs Debian's where that may be done.
find_chromium() {
  local name
  for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
    if [ -n "$name" ] && type -P "$name"; then return; fi
  done
  if [ "$(id -u)" = 0 ] && type -P apt-get >/dev/null; then
    { apt-get install -y --no-install-recommends chromium || { apt-get update && apt-get install -y --no-install-recommends chromium; }; } >/dev/null 2>&1 || true
  fi
  type -P chromium || true
}

have_node || skip "the web UI" "it needs Node.js 20.19 or later"
install
case ${1:-build} in
build) build ;;
check) npm run --silent check ;;
e2e)
  CHROMIUM=$(find_chromium)
  [ -n "$CHROMIUM" ] || skip "the web UI in a browser" "there is no Chromium"
  export CHROMIUM
  npm run --silent e2e
  ;;
*)
  echo "usage: scripts/ui.sh build|check|e2e" >&2
  exit 2
  ;;
esac
