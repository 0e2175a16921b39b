#!/usr/bin/env bash
# Starts the service with sample segments and live events; Ctrl-C ends it. Set COHORT_DEMO_ARGS for other flags.
set -euo pipefail
cd "$(dirname "$0")/.."
cohort=${COHORT:-target/release/cohort}
echo "Starting Cohort on embedded stores under ./demo-data …"
# shellcheck disable=SC2086
exec "$cohort" demo --set data=./demo-data ${COHORT_DEMO_ARGS:-}
