#!/usr/bin/env python3
"""Runs the same classic rules over the same events in Cohort and in other systems, and compares rows, time and memory.

    benches/peers/run.py --events 1000000 --rules 10 100 1000 10000 --runs 5 --json report.json

README.md beside this file says what is measured and how. $COHORT is the binary; without it, it is built.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import zlib
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import measure
from rows import Reference
from systems import COHORT, SYSTEMS, Task, Unavailable, strings


# What a JVM is warmed up with: so many events, or a part of all.
WARM_UP_EVENTS = 100_000
WARM_UP_PART = 4


def arguments():
    names = [system.name for system in SYSTEMS if system is not COHORT]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rules", type=int, nargs="+", default=[10, 100, 1_000, 10_000])
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5, help="medians are reported (default: 5)")
    parser.add_argument("--workers", type=int, default=2, help="threads or slots of each system (default: 2)")
    parser.add_argument("--peers", nargs="+", choices=names, metavar="PEER", default=names, help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--timeout", type=int, default=900, help="the most seconds that one run may take (default: 900)")
    parser.add_argument("--json", type=Path, help="where the report goes")
    parser.add_argument("--data", type=Path, help="folder that keeps events, rules, rows and logs; by default a temporary one")
    return parser.parse_args()


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.systems, self.skipped = [], {}
        self.references = {}

    def prepare(self):
        for system in SYSTEMS:
            if system is COHORT or system.name in self.args.peers:
                try:
                    system.install()
                    self.systems.append(system)
                except Unavailable as reason:
                    self.skipped[system.name] = str(reason)
        if COHORT not in self.systems:
            sys.exit(self.skipped[COHORT.name])
        COHORT.export(self.folder, self.args.rules, self.args.events, self.args.users)

    def compare(self, rules):
        """All systems with so many rules, one after the other in each round."""
        entries = [Entry(system, rules, system.events_for(rules, self.args.events)) for system in self.systems]
        entries = [entry for entry in entries if entry.events > 0]
        for number in range(self.args.runs):
            for entry in entries:
                if entry.problem is None:
                    note(f"{rules} rules, round {number + 1} of {self.args.runs}: {entry.system.name}")
                    self.run(entry)
        return entries

    def run(self, entry):
        """One run. Its time counts only if the rows of the first one are Cohort's."""
        try:
            usage, task = self.execute(entry.system, entry.rules, entry.events)
            if not entry.usages:
                self.check(entry, task)
            if entry.problem is None:
                entry.usages.append(usage)
        except measure.Failed as failure:
            entry.problem = {"failed": str(failure)}

    def execute(self, system, rules, events):
        task = self.task(system, rules, events)
        measure.prepare()
        usage = measure.run(strings(system.command(task)), system.environment(task), self.folder / f"{system.name}.log", self.args.timeout)
        report = json.loads(task.report.read_text())
        result = asdict(usage) | {"told_seconds": report["seconds"]}
        if system.tells_startup:
            result["startup_seconds"] = usage.seconds - report["seconds"]
            result["startup_cpu_seconds"] = report["startup_cpu_seconds"]
        # Cohort knows its peak, also of a moment between two samples.
        result["peak_bytes"] = max(usage.peak_bytes, report.get("peakMemoryBytes", 0))
        if report.get("late"):
            raise measure.Failed(f"{report['late']} events are late, which batches don't know")
        return result, task

    def task(self, system, rules, events):
        for path in self.folder.glob(f"{system.name}.*"):
            remove(path)
        output, report = self.folder / f"{system.name}{system.ending}", self.folder / f"{system.name}.report"
        warm_up = self.input(min(events // WARM_UP_PART, WARM_UP_EVENTS))
        return Task(self.input(events), warm_up, self.folder / f"rules-{rules}.json", output, report, self.args.workers)

    def check(self, entry, task):
        reference = self.reference(entry, task)
        entry.rows = len(reference.values)
        difference = reference.difference(entry.system.rows(task.output))
        if difference:
            entry.problem = {"differs": difference}

    def reference(self, entry, task):
        """Cohort's rows for these rules and so many events."""
        size = (entry.rules, entry.events)
        if size not in self.references:
            if entry.system is not COHORT:
                _, task = self.execute(COHORT, *size)
            # Those of other numbers of rules are not needed any more.
            self.references = {other: rows for other, rows in self.references.items() if other[0] == entry.rules}
            self.references[size] = Reference(COHORT.rows(task.output))
        return self.references[size]

    def input(self, events):
        """The first so many events: in one file, and by user in as many as there are workers."""
        folder = self.folder / f"first-{events}"
        if not folder.exists():
            (folder / "parts").mkdir(parents=True)
            parts = [open(folder / f"parts/{number}.jsonl", "wb") for number in range(self.args.workers)]
            with open(self.folder / "events.jsonl", "rb") as lines, open(folder / "events.jsonl", "wb") as whole:
                for _, line in zip(range(events), lines):
                    whole.write(line)
                    parts[zlib.crc32(json.loads(line)["userId"].encode()) % len(parts)].write(line)
            for part in parts:
                part.close()
        return folder


class Entry:
    """A system with a number of rules, and what its runs took."""

    def __init__(self, system, rules, events):
        self.system, self.rules, self.events = system, rules, events
        self.rows = None
        self.usages = []
        self.problem = None

    def medians(self):
        by_name = defaultdict(list)
        for usage in self.usages:
            for name, value in usage.items():
                by_name[name].append(value)
        medians = {name: statistics.median(values) for name, values in by_name.items()}
        work = statistics.median(usage["seconds"] - usage.get("startup_seconds", 0.0) for usage in self.usages)
        return {**medians, "events_per_second": self.events / work}

    def as_json(self):
        entry = {"system": self.system.name, "rules": self.rules, "events": self.events, "rows": self.rows}
        if self.problem:
            return {**entry, **self.problem}
        return {**entry, "equal": True, "median": self.medians(), "runs": self.usages}


def table(entries):
    """The results as Markdown."""
    lines = [
        "| rules | system | kind | events | events/s | Cohort is | seconds | start-up | CPU s | of start-up | peak memory | rows |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    rates = {entry.rules: entry.medians()["events_per_second"] for entry in entries if entry.system is COHORT and entry.usages}
    for entry in entries:
        cells = [f"{entry.rules:,}", f"{entry.system.name} {entry.system.version}", entry.system.kind, f"{entry.events:,}"]
        cells += problem(entry) if entry.problem else figures(entry, rates.get(entry.rules))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figures(entry, cohort_rate):
    median = entry.medians()
    rate = median["events_per_second"]
    ratio = "" if entry.system is COHORT or cohort_rate is None else f"{cohort_rate / rate:.1f} times"
    startup = [f"{median[name]:.2f}" if name in median else "counted" for name in ("startup_seconds", "startup_cpu_seconds")]
    seconds, cpu, memory = f"{median['seconds']:.2f}", f"{median['cpu_seconds']:.2f}", f"{median['peak_bytes'] / 1e6:,.0f} MB"
    rows = f"{entry.rows:,}" if entry.system is COHORT else f"{entry.rows:,} equal"
    return [f"{rate:,.0f}", ratio, seconds, startup[0], cpu, startup[1], memory, rows]


def problem(entry):
    if "differs" in entry.problem:
        difference = entry.problem["differs"]
        counts = ", ".join(f"{count:,} {what}" for what, count in difference["counts"].items() if count)
        text = f"differs: {counts} of {entry.rows:,}; {difference['example']}"
    else:
        text = f"failed: {entry.problem['failed']}"
    return [text.replace("|", "\\|"), *[""] * 7]


def report(bench, entries):
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "model": processor(),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * measure.PAGE,
            "system": platform.platform(),
        },
        "versions": {system.name: system.version for system in bench.systems} | {"python": platform.python_version()},
        "parameters": {name: getattr(bench.args, name) for name in ("events", "users", "rules", "runs", "workers")},
        "skipped": bench.skipped,
        "results": [entry.as_json() for entry in entries],
    }


def processor():
    models = (line.partition(":")[2].strip() for line in measure.read("/proc/cpuinfo").splitlines() if line.startswith("model name"))
    return next(models, platform.machine())


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def note(text):
    print(text, file=sys.stderr, flush=True)


def main():
    args = arguments()
    # So that what runs is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="cohort-peers-") as temporary:
        folder = args.data or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(args, folder)
        bench.prepare()
        entries = [entry for rules in args.rules for entry in bench.compare(rules)]
    print(table(entries))
    for name, reason in bench.skipped.items():
        print(f"\n{name} was skipped: {reason}")
    if args.json:
        args.json.write_text(json.dumps(report(bench, entries), indent=2) + "\n")
    sys.exit(any(entry.problem for entry in entries))


if __name__ == "__main__":
    main()
