"""Classic rules in Pathway: one count and sum of each window by user and type of event, and a look-up of the thresholds.

In static mode, as its streaming mode does not end with a file.
"""

import os
import sys

# Pathway makes its threads when it is imported.
os.environ["PATHWAY_THREADS"] = sys.argv[sys.argv.index("--workers") + 1]

import pathway as pw

import task


class Event(pw.Schema):
    userId: str
    eventType: str
    timestamp: int
    value: float


def main():
    args = task.arguments()
    with task.measured(args):
        bounds = task.bounds(args.rules)
        thresholds = task.thresholds(bounds)
        events = pw.io.jsonlines.read(f"{args.events}/parts", schema=Event, mode="static")
        panes = groups(events, task.pane(bounds), count=pw.reducers.count(), total=pw.reducers.sum(pw.this.value))
        rows = [windows(panes, minutes, thresholds) for minutes in sorted({bound.minutes for bound in bounds})]
        pw.io.csv.write(pw.Table.concat_reindex(*rows), args.output)
        pw.run(monitoring_level=pw.MonitoringLevel.NONE)


def groups(table, size, **aggregates):
    """A table by user, type of event and start of the window."""
    starts = table.with_columns(timestamp=table.timestamp // size * size)
    keys = (starts.userId, starts.eventType, starts.timestamp)
    return starts.groupby(*keys).reduce(*keys, **aggregates)


def windows(panes, minutes, thresholds):
    """The rows of windows of some minutes, added up from panes."""
    sums = groups(panes, task.milliseconds(minutes), count=pw.reducers.sum(pw.this.count), total=pw.reducers.sum(pw.this.total))

    @pw.udf(deterministic=True)
    def qualifying(event_type: str, count: int, total: float) -> list[tuple[str, float]]:
        rows = []
        for attribute, value in (("count", float(count)), ("sum", total)):
            bounds = thresholds.get((event_type, attribute, minutes))
            if bounds is not None:
                rows += [(rule, value) for rule in bounds.holding(value)]
        return rows

    found = sums.select(sums.userId, sums.timestamp, row=qualifying(sums.eventType, sums.count, sums.total))
    flat = found.flatten(found.row)
    return flat.select(rule=flat.row[0], user=flat.userId, start=flat.timestamp, value=flat.row[1])


main()
