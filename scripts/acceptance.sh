#!/usr/bin/env bash
# Replays queries/acceptance through the binary and compares with the expected results, over partitions
# and batch sizes; the results of rules.json are the same to the byte whatever they are.
set -euo pipefail
cd "$(dirname "$0")/.."
cohort=${CARGO_TARGET_DIR:-target}/release/cohort
data=queries/acceptance
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0
check() { # expected, further arguments of check.py, -- arguments of replay
  local expected=$1
  shift
  local only=()
  while [ "$1" != -- ]; do only+=("$1"); shift; done
  shift
  "$cohort" replay --input $data/events.jsonl.gz "$@" --emit final --output "$out/results.ndjson" 2>"$out/log" || { cat "$out/log"; exit 1; }
  python3 $data/check.py "$out/results.ndjson" "$data/$expected" "${only[@]}" >"$out/log" || { cat "$out/log"; exit 1; }
  passed=$((passed + 1))
}
sums=()
for partitions in 1 2 5; do
  for rows in 1 1000 65536; do
    common=(--partitions "$partitions" --batch-rows "$rows")
    check expected_rules.ndjson.gz -- --rules $data/rules.json "${common[@]}"
    sums+=("$(sort "$out/results.ndjson" | cksum)")
    check expected_sql.ndjson.gz -- --segments $data/segments.sql "${common[@]}"
    check expected_json.ndjson.gz --only json_ -- --rules $data/rules.json --rules $data/segments.json "${common[@]}"
  done
done
if [ "$(printf '%s\n' "${sums[@]}" | sort -u | wc -l)" != 1 ]; then
  echo "results of rules.json differ between runs: ${sums[*]}"
  exit 1
fi
echo "$passed passed, 0 failed"
