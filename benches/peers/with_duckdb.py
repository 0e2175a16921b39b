"""Classic rules in DuckDB: one query over the whole file, which aggregates once and joins with a table of all rules."""

import duckdb

import task

EVENTS = """
SELECT userId AS user_id, eventType AS event_type, "timestamp" AS time, value
FROM read_json('{path}', format = 'newline_delimited',
               columns = {{userId: 'VARCHAR', eventType: 'VARCHAR', timestamp: 'BIGINT', value: 'DOUBLE'}})
"""

# `panes` of the smallest window are the only aggregation over events; longer windows add panes up.
ROWS = """
WITH events AS ({events}),
panes AS MATERIALIZED (
  SELECT user_id, event_type, time // {pane} * {pane} AS window_start, count(*) AS n, sum(value) AS total
  FROM events GROUP BY ALL),
windows AS ({windows}),
aggregates AS (
  SELECT user_id, event_type, minutes, window_start, 'count' AS attribute, n::DOUBLE AS value FROM windows
  UNION ALL
  SELECT user_id, event_type, minutes, window_start, 'sum', total FROM windows)
SELECT rule, user_id, window_start, value
FROM aggregates JOIN bounds USING (event_type, attribute, minutes)
WHERE value BETWEEN low AND high
"""

WINDOW = """
SELECT user_id, event_type, {minutes} AS minutes, window_start // {size} * {size} AS window_start, sum(n) AS n, sum(total) AS total
FROM panes GROUP BY ALL
"""

BOUNDS = "CREATE TABLE bounds (rule VARCHAR, event_type VARCHAR, attribute VARCHAR, minutes INTEGER, low DOUBLE, high DOUBLE)"


def main():
    args = task.arguments()
    with task.measured(args):
        bounds = task.bounds(args.rules)
        pane, sizes = task.pane(bounds), sorted({bound.minutes for bound in bounds})
        windows = " UNION ALL ".join(WINDOW.format(minutes=minutes, size=task.milliseconds(minutes)) for minutes in sizes)
        query = ROWS.format(events=EVENTS.format(path=f"{args.events}/events.jsonl"), pane=pane, windows=windows)
        with duckdb.connect() as database:
            database.execute(f"SET threads = {args.workers}")
            database.execute("SET preserve_insertion_order = false")
            database.execute(BOUNDS)
            columns = [list(column) for column in zip(*bounds)]
            database.execute(f"INSERT INTO bounds SELECT {', '.join(['unnest(?)'] * len(columns))}", columns)
            database.execute(f"COPY ({query}) TO '{args.output}' (FORMAT csv, HEADER false)")


main()
