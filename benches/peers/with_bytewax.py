"""Classic rules in Bytewax: one count and sum of each window by user and type of event, and a look-up of the thresholds.

Python needs a process for each worker to use several cores: they are started here, and talk over loopback.
"""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zlib import crc32

import bytewax.operators as op
from bytewax.connectors.files import DirSink, DirSource
from bytewax.dataflow import Dataflow
from bytewax.operators import windowing
from bytewax.testing import cluster_main

import task

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
OUT_OF_ORDERNESS = timedelta(seconds=30)
# Tells a process which one it is, and where all are.
NUMBER, ADDRESSES = "PEERS_NUMBER", "PEERS_ADDRESSES"


def main():
    args = task.arguments()
    if NUMBER not in os.environ:
        sys.exit(start_all(args.workers))
    number, addresses = int(os.environ[NUMBER]), os.environ[ADDRESSES].split()
    flow = dataflow(args)
    with task.measured(args, processes=args.workers) if number == 0 else nullcontext():
        cluster_main(flow, addresses, number)


def start_all(workers):
    Path(sys.argv[sys.argv.index("--output") + 1]).mkdir()
    environment = {**os.environ, ADDRESSES: " ".join(f"127.0.0.1:{port}" for port in free_ports(workers))}
    processes = [subprocess.Popen([sys.executable, *sys.argv], env={**environment, NUMBER: str(number)}) for number in range(workers)]
    return max(process.wait() for process in processes)


def free_ports(count):
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [some.getsockname()[1] for some in sockets]


def dataflow(args):
    bounds = task.bounds(args.rules)
    flow = Dataflow("rules")
    lines = op.input("lines", flow, DirSource(Path(args.events) / "parts", "*.jsonl"))
    events = op.map("events", lines, decode)
    # Windows close when events of later ones come, or at the end of input.
    clock = windowing.EventClock(ts_getter=lambda event: event[0], wait_for_system_duration=OUT_OF_ORDERNESS, to_system_utc=lambda _: None)
    rows = []
    for minutes in sorted({bound.minutes for bound in bounds}):
        windower = windowing.TumblingWindower(length=timedelta(minutes=minutes), align_to=EPOCH)
        groups = windowing.fold_window(f"windows_{minutes}", events, clock, windower, lambda: (0, 0.0), add, merge, ordered=False)
        rows.append(op.flat_map(f"rows_{minutes}", groups.down, qualifying(minutes, task.thresholds(bounds))))
    op.output("results", op.merge("all", *rows), DirSink(Path(args.output), args.workers, assign_file=lambda key: crc32(key.encode())))
    return flow


def decode(line):
    event = json.loads(line)
    time = EPOCH + timedelta(milliseconds=event["timestamp"])
    return f"{event['userId']},{event['eventType']}", (time, event["value"])


def add(group, event):
    return group[0] + 1, group[1] + event[1]


def merge(one, other):
    return one[0] + other[0], one[1] + other[1]


def qualifying(minutes, thresholds):
    """The rows of a closed window."""
    size = task.milliseconds(minutes)

    def rows(closed):
        key, (window, group) = closed
        user, _, event_type = key.rpartition(",")
        for attribute, value in zip(("count", "sum"), group):
            bounds = thresholds.get((event_type, attribute, minutes))
            if bounds is not None:
                for rule in bounds.holding(value):
                    yield key, f"{rule},{user},{window * size},{value}"

    return rows


main()
