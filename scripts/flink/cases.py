"""Random segments, of the forms that can be exported to Flink, and random events. The same seed gives the same."""
import json
import random

TYPES = ["purchase", "view", "install", "add_to_cart", "View", "été"]
USERS = ["u%d" % n for n in range(30)] + ["ünï", "用户", "it's", 'quote"back\\slash', " "]
CATEGORIES = ["toys", "electronics", "beauty", "it's", "50%", ""]
SESSIONS = ["s1", "s2", "session_3", ""]
WINDOWS = [
    "TUMBLE(STREAM, event_time, INTERVAL '5 minutes')",
    "TUMBLE(STREAM, event_time, INTERVAL '90 seconds')",
    "TUMBLE(STREAM, event_time, INTERVAL '30 minutes')",
    "TUMBLE(STREAM, event_time, INTERVAL '1500 ms')",
    "HOP(STREAM, event_time, INTERVAL '5 minutes', INTERVAL '30 minutes')",
    "HOP(STREAM, event_time, INTERVAL '1 minute', INTERVAL '5 minutes')",
    "CUMULATE(STREAM, event_time, INTERVAL '10 minutes', INTERVAL '30 minutes')",
    "SESSION(STREAM, event_time, INTERVAL '2 minutes')",
    "SESSION(STREAM, event_time, INTERVAL '5 minutes')",
]


def text(s):
    return "'" + s.replace("'", "''") + "'"


def number(r):
    return str(r.randint(-40, 400) / 4)


def predicate(r, deep=2):
    """A condition on an event."""
    kind = r.randrange(12 if deep else 8)
    column = r.choice(["event_type", "metadata['category']", "session_id"])
    words = {"event_type": TYPES, "metadata['category']": CATEGORIES + ["7", "1.50", "true"], "session_id": SESSIONS}[column]
    if kind < 3:
        return f"event_type {r.choice(['=', '=', '<>'])} {text(r.choice(TYPES))}"
    if kind == 3:
        return f"{column} {r.choice(['IN', 'NOT IN'])} ({', '.join(text(w) for w in r.sample(words, 2))})"
    if kind == 4:
        return f"{r.choice([column, 'value'])} IS {r.choice(['', 'NOT '])}NULL"
    if kind == 5:
        return f"value {r.choice(['>', '>=', '<', '<=', '=', '<>'])} {number(r)}"
    if kind == 6:
        return r.choice([f"value {r.choice(['', 'NOT '])}BETWEEN 10 AND {number(r)}", f"coalesce(value, 1.5) * 2 + 1 > {number(r)}", f"abs(value - 20) < {number(r)}"])
    if kind == 7:
        return r.choice([f"{column} {r.choice(['', 'NOT '])}LIKE {text(r.choice(['%', 't%', '%e%', '_oys', 'view', '%s']))}", f"{column} >= {text(r.choice(words))}", f"char_length({column}) > 3"])
    if kind == 8:
        return f"NOT ({predicate(r, deep - 1)})"
    return f"({predicate(r, deep - 1)} {r.choice(['AND', 'OR'])} {predicate(r, deep - 1)})"


def aggregate(r):
    """A number over the events of a group."""
    of = r.choice(["count(*)", "count(value)", "sum(value)", "sum(value)", "avg(value)", "min(value)", "max(value)",
                   "count(DISTINCT metadata['category'])", "count(DISTINCT event_type)", "sum(char_length(event_type))", "count(session_id)"])
    if r.random() < 0.3:
        of += f" FILTER (WHERE {predicate(r, 1)})"
    return of


def having(r, deep=2):
    kind = r.randrange(9 if deep else 6)
    if kind < 4:
        return f"{aggregate(r)} {r.choice(['>', '>=', '<', '<=', '=', '<>', '>', '>='])} {r.choice([1, 2, 3, 5, 10, 20.25, 60])}"
    if kind == 4:
        return r.choice([f"abs(coalesce(sum(value), 0) - {number(r)}) {r.choice(['<', '>='])} 0.001", "max(session_id) > 's1'", "sum(value) / count(*) > 12.5",
                         "max(event_time) - min(event_time) > INTERVAL '40 seconds'", "count(*) % 2 = 1", "min(event_time) > TIMESTAMP '2023-11-14 22:30:00'"])
    if kind == 5:
        return f"{aggregate(r)} + {aggregate(r)} > {r.choice([3, 10, 50.5])}"
    if kind == 6:
        return f"NOT ({having(r, deep - 1)})"
    return f"({having(r, deep - 1)} {r.choice(['AND', 'OR'])} {having(r, deep - 1)})"


def base(r, name, window, stream):
    where = f"\nWHERE {predicate(r)}" if r.random() < 0.8 else ""
    value = r.choice([f", {aggregate(r)} AS value", f", {aggregate(r)} AS value", f", {aggregate(r)} * 2 - 1 AS value", ""])
    condition = f"\nHAVING {having(r)}" if r.random() < 0.9 else ""
    retain = r.choice(["", "", "", " WITH (retain = '7 minutes')", " WITH (retain = '1 hour')"])
    sql = f"CREATE SEGMENT {name}{retain} AS\nSELECT user_id{value}\nFROM {window.replace('STREAM', stream)}{where}\nGROUP BY user_id, window_start, window_end{condition};"
    return sql, bool(retain), bool(value)


def derived(r, name, inputs, by):
    """A segment over two or three others."""
    using = "(user_id, window_start, window_end)" if by == "window" else "(user_id)"
    key = "user_id, window_start, window_end" if by == "window" else "user_id"
    a, b, c = inputs[0], inputs[1], inputs[-1]
    extra = r.choice(["", "", "\nWHERE a.value > 2", "\nWHERE a.value + coalesce(b.value, 1) > 4"])
    forms = [
        f"SELECT a.user_id, a.value + b.value AS value\nFROM {a} a JOIN {b} b USING {using}{extra}",
        f"SELECT a.user_id, a.value\nFROM {a} a LEFT ANTI JOIN {b} b USING {using}",
        f"SELECT a.user_id, coalesce(b.value, a.value) AS value\nFROM {a} a LEFT JOIN {b} b USING {using}{extra}",
        f"SELECT {key}, value FROM {a}\nUNION\nSELECT {key}, value FROM {b}",
        f"SELECT {key} FROM {a}\nEXCEPT\nSELECT {key} FROM {b}",
        f"SELECT a.user_id, a.value\nFROM {a} a JOIN {b} b USING {using} JOIN {c} c USING {using}",
    ]
    return f"CREATE SEGMENT {name} AS\n{r.choice(forms)};"


def segments(seed, count):
    """SQL of `count` segments over streams, and derived ones over them."""
    r = random.Random(seed)
    texts, by_window, plain = [], {}, {}
    for n in range(count):
        window = r.choice(WINDOWS)
        stream = r.choice(["events", "events", "events", "order_events", "install_events"])
        sql, retained, has_value = base(r, f"s{n}", window, stream)
        texts.append(sql)
        if has_value:
            by_window.setdefault(window, []).append(f"s{n}")
            if not retained and "SESSION" not in window:
                step = window.split("INTERVAL ")[1]
                plain.setdefault(step.rstrip(",) "), []).append(f"s{n}")
    for n in range(count // 2):
        by = r.choice(["window", "window", "user"])
        groups = [g for g in (by_window if by == "window" else plain).values() if len(g) >= 2]
        if groups:
            group = r.choice(groups)
            some = r.sample(group, min(len(group), r.choice([2, 3])))
            sql = derived(r, f"d{n}", some, by)
            texts.append(sql)
            # Others that match the same may read it.
            if by == "window" and ("value" in sql.split("\nFROM")[0] or "UNION" in sql):
                group.append(f"d{n}")
    return "\n\n".join(texts) + "\n"


def events(seed, count, base_time):
    """Lines of events in nearly the order of time, of which some are no events."""
    r = random.Random(seed * 7919 + 1)
    lines, time = [], base_time
    for _ in range(count):
        # Some exactly as far apart as sessions' gaps, and at ends of windows.
        time += r.choice([0, 1, 250, 700, 1000, 1000, 4000, 9000]) if r.random() > 0.01 else r.choice([120_000, 119_999, 300_000, 299_999, 300_000 - time % 300_000])
        at = max(base_time, time - (r.randrange(20_000) if r.random() < 0.3 else 0))
        event = {"userId": r.choice(USERS), "eventType": r.choice(TYPES), "timestamp": at}
        if r.random() < 0.8:
            event["value"] = r.choice([r.randint(0, 400) / 4, r.randint(-100, 100) / 4, 7, 0, None])
        if r.random() < 0.5:
            event["sessionId"] = r.choice(SESSIONS + [None])
        if r.random() < 0.7:
            event["metadata"] = {"category": r.choice(CATEGORIES + [7, True, None]), "other": {"nested": [1, 2]}}
        line = json.dumps(event, ensure_ascii=r.random() < 0.5)
        lines.append(line.replace('"category": 7', '"category": 1.50') if r.random() < 0.3 else line)
        if r.random() < 0.03:
            lines.append(r.choice([
                "no JSON", "[]", "{}", "", '{"userId": "u1"}',
                json.dumps({"userId": "", "eventType": "view", "timestamp": at + 10**9}), json.dumps({"userId": "u1", "eventType": "", "timestamp": at + 10**9}),
                json.dumps({"userId": None, "eventType": "view", "timestamp": at + 10**9}), json.dumps({"userId": "u1", "eventType": "view", "timestamp": at + 0.5}),
                json.dumps({"userId": "u1", "eventType": "view", "timestamp": None}), json.dumps({"userId": "u1", "eventType": "view", "timestamp": at + 10**9, "value": "many"}),
            ]))
    return "\n".join(lines) + "\n"
