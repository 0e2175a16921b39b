#!/usr/bin/env bash
# Tries the whole API with made-up requests, from its OpenAPI document: no server error, no answer that the document
# does not know. Needs Python 3 and its package registry for the first run.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
version=4.32.5
tools=${COHORT_TOOLS:-$HOME/.cache/cohort/tools}
cohort=${COHORT:-${CARGO_TARGET_DIR:-target}/release/cohort}
if [ ! -x "$tools/schemathesis-$version/bin/schemathesis" ]; then
  echo "── installing schemathesis $version into $tools"
  python3 -m venv "$tools/schemathesis-$version" >/dev/null 2>&1 &&
    "$tools/schemathesis-$version/bin/pip" install --quiet "schemathesis==$version" >/dev/null 2>&1 || {
    rm -rf "$tools/schemathesis-$version"
    echo "schemathesis (could not be installed)" >>"${COHORT_SKIPPED:-/dev/null}"
    echo "SKIPPED: schemathesis (could not be installed)"
    exit 0
  }
fi
folder=$(mktemp -d)
"$cohort" serve --set server.listen=127.0.0.1:0 --set "data=$folder/data" 2>"$folder/log" &
service=$!
trap 'kill "$service" 2>/dev/null; wait "$service" 2>/dev/null; rm -rf "$folder"' EXIT
for _ in $(seq 100); do
  base=$(sed -n 's/^cohort listens on \([^ ]*\) .*/\1/p' "$folder/log")
  [ -n "$base" ] && break
  sleep 0.1
done
[ -n "$base" ] || { cat "$folder/log"; exit 1; }
# The stream of results does not end.
# It keeps notes where it runs.
cd "$folder" || exit 1
"$tools/schemathesis-$version/bin/schemathesis" run "$base/api/v1/openapi.json" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
  --exclude-path /api/v1/results/stream --max-examples "${SCHEMATHESIS_EXAMPLES:-20}" --request-timeout 10 --seed 1 >"$folder/report" 2>&1
outcome=$?
tail -n "${SCHEMATHESIS_LINES:-40}" "$folder/report"
if grep -q panicked "$folder/log"; then
  cat "$folder/log"
  exit 1
fi
exit $outcome
