#!/usr/bin/env bash
# Generates an hour of events and replays the sample segments over them.
set -euo pipefail
cd "$(dirname "$0")/.."
cohort=${COHORT:-target/release/cohort}
mkdir -p demo-data
echo "Generating an hour of events of 10,000 users …"
"$cohort" generate --events 500000 --users 10000 --span 1h --to demo-data/events.jsonl
echo "Replaying queries/segments.sql over them …"
"$cohort" replay --input demo-data/events.jsonl --segments queries/segments.sql \
  --output demo-data/results.ndjson --memberships demo-data/members.ndjson \
  --dead-letters demo-data/dead-letters.ndjson --json demo-data/summary.json --table
echo
echo "What the segments share:"
"$cohort" explain queries/segments.sql | head -1
echo
echo "All results: demo-data/results.ndjson    members at the end: demo-data/members.ndjson"
echo "Summary: demo-data/summary.json          how it runs: $cohort explain queries/segments.sql"
