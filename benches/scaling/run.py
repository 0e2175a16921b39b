#!/usr/bin/env python3
"""Measures what a fleet takes, and writes the tables of docs/scaling.md.

    benches/scaling/run.py            # runs `cohort bench --scenario fleet` into report.json, then writes the tables
    benches/scaling/run.py --part 0.1 # the same of a tenth of the users, for a first look
    benches/scaling/run.py --tables   # writes them again from report.json

$COHORT is the binary. Only the standard library is needed. Sizes are those of 100 million users and 10,000 segments; what
is assumed, not measured, is in ASSUMED and is listed in the tables.
"""

import argparse
import datetime
import json
import math
import os
import platform
import re
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPORT = HERE / "report.json"
PAGE = HERE.parent.parent / "docs" / "scaling.md"

USERS = 100e6
RATES = [100e3, 1e6, 10e6]
HOURS = 2.1
# Users of the simulated log at each rate, and rules: so many events that all runs take some minutes.
RUNS = [(100e3, 10_000, 150_000), (1e6, 10_000, 30_000), (10e6, 10_000, 4_000), (1e6, 100, 30_000), (1e6, 10, 30_000)]
# Ticks of a log: each is less than the interval of checkpoints.
PARTITIONS, TICKS = 8, 128

ASSUMED = {
    "busy": (0.5, "how busy a worker is allowed to be; the other half is for catching up"),
    "stop": (1.0, "the longest that a worker may stop to gather the state of one of its partitions for a checkpoint, s"),
    "read_nanos": (440.0, "CPU ns of the Kafka client an event (`cohort bench --scenario kafka`: reading only)"),
    "client_nanos": (20_000.0, "CPU ns of the Aerospike client a record; not measured against a real server yet (`cohort bench --scenario aerospike`)"),
    "room": (1.5, "memory of a process over that of its state, as tables double when they grow"),
    "base_bytes": (1.5e9, "memory of a process without state: records fetched ahead, queues, a checkpoint that is written"),
    "workers": (8.0, "the most workers of a process"),
    "partitions": (4.0, "partitions for each worker, so that none has more than a quarter above the others"),
    "kafka_bytes": (100e6, "bytes/s that come in from producers, for each broker (three replicas)"),
    "record_overhead": (70.0, "bytes of a record in Kafka around its value, key included"),
    "aerospike_writes": (150e3, "writes/s of an Aerospike node, replicas counted as writes"),
    "aerospike_bytes": (1e12, "bytes on the disks of an Aerospike node"),
    "aerospike_copies": (2.0, "copies of a record"),
    "aerospike_overhead": (128.0, "bytes of a record on disk around its values"),
    "aerospike_index": (64.0, "bytes of a record in the index, in memory"),
}
A = {name: value for name, (value, _) in ASSUMED.items()}


def simulate(part):
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.json"
        for rate, rules, users in RUNS:
            users = max(1_000, int(users * part))
            events = int(rate / USERS * users * 3600 * HOURS)
            command = [os.environ.get("COHORT", "cohort"), "bench", "--scenario", "fleet", "--rules", str(rules), "--users", str(users)]
            command += ["--events", str(events), "--span", f"{int(HOURS * 60)}m", "--members", "4", "--partitions", str(PARTITIONS), "--rate", f"{min(rate, 1e6):.0f}"]
            command += ["--batch-rows", str(max(1, events // (PARTITIONS * TICKS))), "--json", str(out)]
            print(" ".join(command[1:]), flush=True)
            subprocess.run(command, check=True)
            runs.append({"rate": rate, "command": " ".join(["cohort", *command[1:-2]]), **json.loads(out.read_text())["runs"][0]})
    about = {"date": datetime.date.today().isoformat(), "machine": f"{os.cpu_count()} cores, {platform.machine()}", "part": part, "runs": runs}
    REPORT.write_text(json.dumps(about, indent=1) + "\n")


def number(value, digits=3):
    """A number with so many digits that count, and k, M, G or T."""
    if value is None:
        return "never"
    if value == 0 or (isinstance(value, int) and value < 10_000):
        return f"{value:,}"
    for size, name in [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")]:
        if abs(value) >= size:
            value, suffix = value / (1e3 if name == " k" else size), name
            break
    else:
        suffix = ""
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}{suffix}"


def table(head, rows):
    line = lambda cells: "| " + " | ".join(cells) + " |"
    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


UNITS = [
    ("evaluateNanos", "CPU of the worker an event, ns"),
    ("recordNanos", "CPU of the outbox a record, ns"),
    ("saveNanos", "CPU of the worker a byte of checkpoint, ns"),
    ("publishNanos", "CPU in the background a byte of checkpoint, ns"),
    ("restoreNanos", "CPU to restore one, ns"),
    ("eventBytes", "bytes of an event"),
    ("results", "results an event"),
    ("records", "records written a result"),
    ("operations", "operations on a record written"),
    ("sinkBytes", "bytes sent for it"),
    ("active", "users with state, of all"),
    ("groups", "groups a user"),
    ("groupBytes", "bytes a group"),
    ("userBytes", "bytes a user with state"),
    ("memberships", "memberships a user"),
    ("membershipBytes", "bytes a membership"),
    ("checkpointBytes", "bytes of a checkpoint a user"),
    ("changed", "of it not in the one before"),
    ("partitionBytes", "bytes of a checkpoint a partition, besides"),
    ("profiles", "records held a user"),
    ("profileBytes", "bytes of a record's values"),
]


def names(runs):
    return [f"{number(run['eventsPerUserAndHour'])} an hour, {run['rules']:,} segments" for run in runs]


def units(report):
    runs = report["runs"]
    rows = [[what, *(number(run["units"][key]) for run in runs)] for key, what in UNITS]
    return table(["", *names(runs)], rows)


def compared(report):
    runs = report["runs"]
    whats = [row["what"] for row in runs[0]["compared"]]
    ratio = lambda run, what: next((f"{row['ratio']:.2f}" for row in run["compared"] if row["what"] == what), "–")
    rows = [[what, *(ratio(run, what) for run in runs)] for what in whats]
    same = ["all came to the same", *("yes" if all(run["same"].values()) else "NO" for run in runs)]
    return table(["simulated over predicted", *names(runs)], [*rows, same])


def size(rate, unit):
    """A fleet for a rate of events, by the formulas of the page."""
    of_users = USERS * unit["checkpointBytes"] / 60
    # A partition's own part is next to nothing for a worker, but is written, too.
    worker_cores = (rate * unit["evaluateNanos"] + of_users * unit["saveNanos"]) / 1e9
    gather = USERS * unit["checkpointBytes"] * unit["saveNanos"] / 1e9
    for_events, for_saving = math.ceil(worker_cores / A["busy"]), math.ceil(gather / A["stop"] / A["partitions"])
    workers = max(for_events, for_saving)
    writes = rate * unit["results"] * unit["records"]
    outbox = writes * unit["recordNanos"] / 1e9
    processes = max(2, math.ceil(workers / A["workers"]), math.ceil(outbox / A["busy"]))
    workers = max(workers, processes)
    partitions = math.ceil(workers * A["partitions"])
    checkpoint = of_users + partitions * unit["partitionBytes"] / 60
    state = USERS * (unit["groups"] * unit["groupBytes"] + unit["active"] * unit["userBytes"] + unit["memberships"] * unit["membershipBytes"])
    read, client, publish = rate * A["read_nanos"] / 1e9, writes * A["client_nanos"] / 1e9, checkpoint * unit["publishNanos"] / 1e9
    sink, log = writes * unit["sinkBytes"], rate * (unit["eventBytes"] + A["record_overhead"])
    records = USERS * unit["profiles"]
    disk = records * (unit["profileBytes"] + A["aerospike_overhead"]) * A["aerospike_copies"]
    busy = worker_cores / workers
    return {
        "partitions": partitions,
        "workers": workers,
        "for events": for_events,
        "for saving": for_saving,
        "processes": processes,
        "cores": max(worker_cores / A["busy"], workers / 2) + outbox + read + client + publish,
        "of workers": worker_cores,
        "of the outboxes": outbox,
        "of Kafka's client": read,
        "of Aerospike's client": client,
        "of checkpoints": publish,
        "state": state,
        "memory": state / processes * A["room"] + A["base_bytes"],
        "network in": log / processes,
        "network out": (sink + checkpoint) / processes,
        "checkpoint": checkpoint * 60,
        "checkpoint/s": checkpoint,
        "changed/s": of_users * unit["changed"],
        "stop": gather / partitions,
        "catch up": 70 * busy / (1 - busy) if busy < 1 else None,
        "restore": USERS * unit["checkpointBytes"] / workers * unit["restoreNanos"] / 1e9,
        "kafka": log,
        "brokers": max(3, math.ceil(log / A["kafka_bytes"])),
        "records": records,
        "index": records * A["aerospike_index"] * A["aerospike_copies"],
        "disk": disk,
        "writes": writes,
        "sink": sink,
        "nodes": max(2, math.ceil(writes * A["aerospike_copies"] / A["aerospike_writes"]), math.ceil(disk / A["aerospike_bytes"])),
    }


SIZES = [
    ("partitions", "partitions of each topic"),
    ("workers", "workers (members of the group)"),
    ("for events", "… that events take"),
    ("for saving", "… that take a partition's state in the time it may stop"),
    ("processes", "processes"),
    ("cores", "cores, all"),
    ("of workers", "… that workers use"),
    ("of the outboxes", "… that outboxes use"),
    ("of Kafka's client", "… that Kafka's client uses"),
    ("of Aerospike's client", "… that Aerospike's client uses"),
    ("of checkpoints", "… that checkpoints use behind"),
    ("state", "state, bytes, all"),
    ("memory", "memory of a process, bytes"),
    ("network in", "into a process, bytes/s"),
    ("network out", "out of a process, bytes/s"),
    ("checkpoint", "a checkpoint of all, bytes"),
    ("checkpoint/s", "checkpoints, bytes/s"),
    ("changed/s", "… if they were incremental"),
    ("stop", "a worker stops to save one partition for, s"),
    ("restore", "a lost worker's state takes to restore, s"),
    ("catch up", "caught up after a loss, at worst, s"),
    ("kafka", "Kafka, bytes/s"),
    ("brokers", "brokers"),
    ("records", "records in Aerospike"),
    ("index", "index, bytes"),
    ("disk", "disks, bytes"),
    ("writes", "writes/s"),
    ("sink", "bytes/s to it"),
    ("nodes", "nodes"),
]


def sizes(report):
    of = lambda rate: next(run["units"] for run in report["runs"] if run["rate"] == rate and run["rules"] == 10_000)
    # What a byte of a checkpoint takes is told best where a partition's own part, its segments, is next to nothing.
    few = next(run["units"] for run in report["runs"] if run["rules"] == 100)
    bytes_of = {key: few[key] for key in ("saveNanos", "publishNanos", "restoreNanos")}
    columns = [size(rate, {**of(rate), **bytes_of}) for rate in RATES]
    rows = [[what, *(number(column[key], 2) for column in columns)] for key, what in SIZES]
    return table(["", *(f"{number(rate)} events/s" for rate in RATES)], rows)


def losses(report):
    rows = []
    for run, name in zip(report["runs"], names(report["runs"])):
        lost, busy = run["lostMember"], run["busyUser"]
        cells = [lost["partitionsMoved"], lost["restoredBytes"], lost["eventsAgain"], lost["lagAtTakeoverSeconds"], lost["catchUpSeconds"], lost["predictedCatchUpSeconds"]]
        cells += [busy["sustainedWithoutEventsPerSecond"], busy["sustainedEventsPerSecond"]]
        rows.append([name, *(number(cell) for cell in cells)])
    head = ["", "partitions moved", "bytes restored", "events read again", "behind at takeover, s", "caught up after, s", "predicted, s", "events/s at most", "with a busy user"]
    return table(head, rows)


def assumed(_):
    return table(["", "taken as", "what"], [[f"`{name}`", number(value), what] for name, (value, what) in ASSUMED.items()])


def measured(report):
    commands = "\n".join(run["command"] for run in report["runs"])
    part = "" if report["part"] == 1 else f" (with {report['part']:g} of the users, for a first look)"
    return f"Measured on {report['date']}, {report['machine']}, by `make scaling`{part}, which runs\n\n```sh\n{commands}\n```"


def write():
    report, text = json.loads(REPORT.read_text()), PAGE.read_text()
    for make in (measured, units, compared, sizes, losses, assumed):
        place = re.compile(rf"(<!-- {make.__name__}: .*? -->\n).*?(<!-- end -->)", re.S)
        if not place.search(text):
            raise SystemExit(f"{PAGE}: no place for {make.__name__}")
        text = place.sub(lambda found: f"{found[1]}\n{make(report)}\n\n{found[2]}", text)
    PAGE.write_text(text)
    print(f"tables of {report['date']} are in {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tables", action="store_true", help="only writes the tables of what was measured before")
    parser.add_argument("--part", type=float, default=1.0, help="of the users: less is faster, and says less")
    args = parser.parse_args()
    if not args.tables:
        simulate(args.part)
    write()


if __name__ == "__main__":
    main()
