"""What the peers that are written in Python share: their arguments, their rules and their report."""

import argparse
import json
import math
import os
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict, namedtuple
from contextlib import contextmanager
from operator import itemgetter

# How far a sum may be from the threshold of EQ and still equal it.
SUM_TOLERANCE = 0.001

# A rule holds for a value from `low` to `high`, both included; NEQ makes two of these.
Bound = namedtuple("Bound", "rule event_type attribute minutes low high")


def arguments():
    """The command line that `run.py` gives every peer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", required=True, help="folder: events.jsonl, and the same by user in parts/*.jsonl")
    parser.add_argument("--rules", required=True, help="file: a list of SegmentRules")
    parser.add_argument("--output", required=True, help="file or folder to write: rule, user, start of the window, value")
    parser.add_argument("--report", required=True, help="file to write: what start-up took")
    parser.add_argument("--workers", type=int, required=True)
    return parser.parse_args()


@contextmanager
def measured(args, processes=1):
    """Wraps the work itself, so that what went before (the interpreter, imports) can be told apart."""
    used, started = cpu_seconds(), time.perf_counter()
    yield
    report = {"seconds": time.perf_counter() - started, "startup_cpu_seconds": used * processes}
    with open(args.report, "w") as file:
        json.dump(report, file)


def cpu_seconds():
    times = os.times()
    return times.user + times.system


def bounds(path):
    """The rules of a file as ranges of values, so that one comparison does for all operators."""
    with open(path) as file:
        rules = json.load(file)
    return [bound for rule in rules for bound in bounds_of(rule)]


def bounds_of(rule):
    threshold = rule["threshold"]
    tolerance = SUM_TOLERANCE if rule["attribute"] == "sum" else 0.0
    over, under = math.nextafter(threshold + tolerance, math.inf), math.nextafter(threshold - tolerance, -math.inf)
    ranges = {
        "GT": [(math.nextafter(threshold, math.inf), math.inf)],
        "GTE": [(threshold, math.inf)],
        "LT": [(-math.inf, math.nextafter(threshold, -math.inf))],
        "LTE": [(-math.inf, threshold)],
        "EQ": [(threshold - tolerance, threshold + tolerance)],
        "NEQ": [(-math.inf, under), (over, math.inf)],
    }
    key = (rule["id"], rule["eventType"], rule["attribute"], rule["windowMinutes"])
    return [Bound(*key, low, high) for low, high in ranges[rule["operator"]]]


def milliseconds(minutes):
    return minutes * 60_000


def pane(bounds):
    """The size in milliseconds that every window is a multiple of."""
    return milliseconds(math.gcd(*(bound.minutes for bound in bounds)))


class Thresholds:
    """The rules on one value, so that those which hold are found without looking at the others."""

    def __init__(self, bounds):
        self.lower = sorted((bound.low, bound.rule) for bound in bounds if bound.high == math.inf)
        self.upper = sorted((-bound.high, bound.rule) for bound in bounds if bound.low == -math.inf)
        self.equal = sorted((bound.low, bound.high, bound.rule) for bound in bounds if -math.inf < bound.low and bound.high < math.inf)

    def holding(self, value):
        """The rules that hold for a value."""
        for rules, limit in ((self.lower, value), (self.upper, -value)):
            for _, rule in rules[: bisect_right(rules, limit, key=itemgetter(0))]:
                yield rule
        first = bisect_left(self.equal, value - 2 * SUM_TOLERANCE, key=itemgetter(0))
        for low, high, rule in self.equal[first:]:
            if low > value:
                break
            if value <= high:
                yield rule


def thresholds(bounds):
    """Thresholds by (type of event, attribute, minutes)."""
    by_key = defaultdict(list)
    for bound in bounds:
        by_key[bound.event_type, bound.attribute, bound.minutes].append(bound)
    return {key: Thresholds(some) for key, some in by_key.items()}
