#!/usr/bin/env python3
"""Runs exported jobs on a Flink in this machine, and compares what they tell, row by row, with `cohort replay` over the same events.

usage: check.py COHORT JAVA… -- SEED…

COHORT is the binary; JAVA… the command that runs files of Flink SQL; each SEED is a job of random segments over random events, beside
those of queries/. Rows up to the newest event are compared on all fields, values to within rounding. That event comes long after all others,
so that every window and membership of those ends before it; after it Flink ends all memberships, as its input has ended, and Cohort does not.
"""
import gzip
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

import cases  # noqa: E402, beside this file

QUERIES = Path(__file__).resolve().parents[2] / "queries"
# From the epoch on, where windows begin before it, and of a time beyond 2038.
TIMES = [1_700_000_000_000, 0, 4_100_000_000_000]


class Case:
    def __init__(self, folder, name, files, events, topic=None):
        self.name, self.files, self.events, self.topic = name, files, events, topic
        self.folder = folder / name
        self.folder.mkdir()
        self.job, self.results, self.expected = self.folder / "job.sql", self.folder / "results", self.folder / "expected.ndjson"

    def prepare(self, cohort):
        """Exports, and replays; remembers which segments were left out."""
        topic = ["--topic", self.topic] if self.topic else []
        files = ["--connector", "filesystem", "--input", self.events, "--output", self.results]
        export = run([cohort, "export", "flink-sql", *self.files, *files, *topic, "--leave-out", "--out", self.folder])
        self.left_out = set(re.findall(r"^left out: segment (.*?): ", export.stderr, re.M))
        segments = [arg for f in self.files for arg in ("--rules" if str(f).endswith(".json") else "--segments", f)]
        run([cohort, "replay", "--input", self.events, *segments, *topic, "--emit", "final", "--output", self.expected])

    def differences(self):
        newest = max(timestamps(self.events))
        wanted = lambda row: row["segmentId"] not in self.left_out and row["timestamp"] <= newest
        expected = [row for row in rows([self.expected]) if wanted(row)]
        written = sorted(p for p in self.results.rglob("*") if p.is_file() and not p.name.startswith((".", "_")))
        found = [row for row in rows(written) if wanted(row)]
        wrong = []
        for qualified in (True, False):
            want, got = keyed(expected, qualified, wrong), keyed(found, qualified, wrong)
            wrong += [f"missing {key}" for key in want if key not in got]
            wrong += [f"unexpected {key}" for key in got if key not in want]
            wrong += [f"value of {key}: {got[key]}, not {want[key]}" for key in want if key in got and not near(want[key], got[key])]
            if not want:
                wrong.append(f"nothing was expected with qualified = {qualified}: the case tests nothing")
        return wrong, len(expected), len({row["segmentId"] for row in expected})


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done


def rows(paths):
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def keyed(found, qualified, wrong):
    out = {}
    for row in found:
        if row["qualified"] == qualified:
            key = tuple(row[k] for k in ("segmentId", "ruleId", "userId", "timestamp", "windowStart", "windowEnd"))
            if key in out:
                wrong.append(f"twice {key}")
            out[key] = row["value"]
    return out


def near(a, b):
    if a is None or b is None:
        return a is b
    return abs(a - b) <= 1e-9 * max(1.0, abs(a))


def timestamps(path):
    for line in path.read_text().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        # As Cohort reads them; events that are none do not move time on.
        if isinstance(event, dict) and event.get("userId") and event.get("eventType") and isinstance(event.get("timestamp"), int) and not isinstance(event.get("value"), str):
            yield event["timestamp"]


def write(path, text):
    path.write_text(text)
    return path


def write_events(path, text):
    """Events, and one long after them."""
    last = {"userId": "tail", "eventType": "tail", "timestamp": max(timestamps(write(path, text))) + 10 * 86_400_000}
    return write(path, f"{text}{json.dumps(last)}\n")


def all_cases(cohort, folder, seeds):
    generated = run([cohort, "generate", "--events", "20000", "--users", "300", "--span", "3h", "--disorder", "20s", "--to", "-"]).stdout
    generated = write_events(folder / "generated.jsonl", generated)
    yield Case(folder, "segments", [QUERIES / "segments.sql"], generated)
    yield Case(folder, "demo", [QUERIES / "demo.sql"], generated)
    accepted = QUERIES / "acceptance"
    events = write_events(folder / "accepted.jsonl", gzip.open(accepted / "events.jsonl.gz", "rt").read())
    yield Case(folder, "acceptance", [accepted / "rules.json", accepted / "segments.json", accepted / "segments.sql"], events)
    for n, seed in enumerate(seeds):
        events = write_events(folder / f"events-{seed}.jsonl", cases.events(seed, 4000, TIMES[n % len(TIMES)]))
        segments = write(folder / f"segments-{seed}.sql", cases.segments(seed, 24))
        yield Case(folder, f"seed-{seed}", [segments], events, "order_events")


def main():
    cohort, rest = sys.argv[1], sys.argv[2:]
    java, seeds = rest[: rest.index("--")], [int(s) for s in rest[rest.index("--") + 1 :]]
    failed = passed = 0
    with tempfile.TemporaryDirectory() as folder:
        every = list(all_cases(cohort, Path(folder), seeds))
        for case in every:
            case.prepare(cohort)
        run([*java, *(case.job for case in every)])
        for case in every:
            wrong, results, segments = case.differences()
            failed, passed = failed + bool(wrong), passed + (not wrong)
            left = f", left out: {', '.join(sorted(case.left_out))}" if case.left_out else ""
            print(f"{case.name}: {results} results of {segments} segments{left}: {'as replayed' if not wrong else f'{len(wrong)} DIFFER'}")
            for line in wrong[:10]:
                print(f"  {line}")
            if wrong and case.name.startswith("seed"):
                print(case.files[0].read_text())
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
