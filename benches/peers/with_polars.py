"""Classic rules in Polars: one lazy query over the whole file in its streaming engine, joined with a frame of all rules."""

import os
import sys

# Polars makes its threads when it is imported.
os.environ["POLARS_MAX_THREADS"] = sys.argv[sys.argv.index("--workers") + 1]

import polars as pl

import task

EVENT = {"userId": pl.String, "eventType": pl.String, "timestamp": pl.Int64, "value": pl.Float64}
KEYS = ["eventType", "attribute", "minutes"]
BOUND = {"rule": pl.String, **dict.fromkeys(KEYS, pl.String), "minutes": pl.Int64, "low": pl.Float64, "high": pl.Float64}


def windows(panes, minutes):
    """Panes added up to windows of some minutes."""
    groups = panes.group_by("userId", "eventType", start("window_start", task.milliseconds(minutes)))
    sums = groups.agg(pl.col("count").sum().cast(pl.Float64), pl.col("sum").sum())
    return sums.with_columns(minutes=pl.lit(minutes, dtype=pl.Int64))


def start(column, size):
    return (pl.col(column) // size * size).alias("window_start")


def main():
    args = task.arguments()
    with task.measured(args):
        bounds = task.bounds(args.rules)
        sizes = sorted({bound.minutes for bound in bounds})
        rules = pl.LazyFrame(bounds, schema=BOUND, orient="row")
        events = pl.scan_ndjson(f"{args.events}/events.jsonl", schema=EVENT)
        # The only aggregation over events is of the smallest window.
        panes = events.group_by("userId", "eventType", start("timestamp", task.pane(bounds))).agg(count=pl.len(), sum=pl.col("value").sum())
        groups = pl.concat([windows(panes, minutes) for minutes in sizes])
        values = groups.unpivot(["count", "sum"], index=["userId", "eventType", "minutes", "window_start"], variable_name="attribute")
        rows = values.join(rules, on=KEYS).filter(pl.col("value").is_between("low", "high"))
        rows.select("rule", "userId", "window_start", "value").sink_csv(args.output, include_header=False, engine="streaming")


main()
