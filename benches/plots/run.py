#!/usr/bin/env python3
"""Measures how the cost of an event grows with rules, users, cores and kinds of windows, and draws it.

    benches/plots/run.py --runs 5            # measures into measurements.json, then draws into docs/images
    benches/plots/run.py --draw              # draws again from measurements.json

$COHORT is the binary. Drawing takes matplotlib, which is installed into an environment of its own.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MATPLOTLIB = "3.10.7"
HERE = Path(__file__).resolve().parent
MEASUREMENTS = HERE / "measurements.json"
IMAGES = HERE.parent.parent / "docs" / "images"
ENVIRONMENT = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cohort" / "plots"

RULES = [10, 30, 100, 300, 1_000, 3_000, 10_000]
USERS = [1_000, 10_000, 100_000, 1_000_000]
WINDOWS = ["tumble", "session", "hop", "long-hop"]


def bench(folder, runs, scenario, rules, **flags):
    """Nanoseconds of one core that an event takes, for each number of workers: the least and the median of so many runs."""
    report = Path(folder) / "report.json"
    workers = flags.pop("workers", [1])
    command = [os.environ.get("COHORT", "cohort"), "bench", "--scenario", scenario, "--rules", str(rules), "--runs", str(runs), "--json", str(report)]
    command += ["--workers", *map(str, workers)]
    for name, value in flags.items():
        command += [f"--{name}", str(value)]
    print(" ".join(command[1:]), flush=True)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    found = {}
    for row in json.loads(report.read_text())["rules"][0]["engine"]:
        seconds = [s / row["events"] * 1e9 for s in row["allSeconds"]]
        found[row["workers"]] = {"least": min(seconds), "median": statistics.median(seconds), "results": row["results"]}
    return found


def measure(runs, events):
    with tempfile.TemporaryDirectory() as folder:
        one = lambda *arguments, **flags: bench(folder, runs, *arguments, events=events, **flags)[1]
        measured = {
            "date": datetime.date.today().isoformat(),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}",
            "events": events,
            "runs": runs,
            "rules": [{"rules": n, **one("classic-rules", n)} for n in RULES],
            "users": [{"users": n, **one("classic-rules", 100, users=n)} for n in USERS],
            "windows": [{"window": name, **one(name, 10)} for name in WINDOWS],
        }
        cores = bench(folder, runs, "classic-rules", 100, events=events, workers=list(range(1, (os.cpu_count() or 1) + 1)))
        measured["cores"] = [{"workers": workers, **found} for workers, found in cores.items()]
    MEASUREMENTS.write_text(json.dumps(measured, indent=1) + "\n")


def with_matplotlib():
    """Starts again in an environment that has matplotlib, unless this one does."""
    try:
        import matplotlib

        return matplotlib
    except ImportError:
        python = ENVIRONMENT / "bin" / "python"
        if Path(sys.executable) == python:
            raise
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"matplotlib=={MATPLOTLIB}"], check=True)
        os.execv(python, [str(python), str(Path(__file__).resolve()), "--draw"])


def draw():
    matplotlib = with_matplotlib()
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "cohort"
    from matplotlib import pyplot

    measured = json.loads(MEASUREMENTS.read_text())
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for axis, (key, label) in zip(axes.flat, [("rules", "rules"), ("users", "users, 100 rules"), ("windows", "10 rules, windows"), ("cores", "workers, 100 rules")]):
        points = measured[key]
        places = [str(point[{"windows": "window", "cores": "workers"}.get(key, key)]) for point in points]
        least, median = [point["least"] for point in points], [point["median"] for point in points]
        axis.bar(places, median, color="#b8c4d6", label=f"median of {measured['runs']}")
        axis.plot(places, least, "o-", color="#1f4e8c", label="least")
        axis.set_xlabel(label)
        axis.set_ylabel("ns an event")
        axis.set_ylim(bottom=0)
    axes.flat[0].legend(loc="lower right")
    figure.suptitle(f"Cost of an event: {measured['events']:,} events, {measured['machine']}, {measured['date']}")
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / "cost.svg", metadata={"Date": None})
    print(f"drawn into {IMAGES / 'cost.svg'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="of each measurement (default: 5)")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--draw", action="store_true", help="only draws what was measured before")
    args = parser.parse_args()
    if not args.draw:
        measure(args.runs, args.events)
    draw()


if __name__ == "__main__":
    main()
