//! The SQL of a planned job.

use std::fmt::Write as _;

use super::expr::{interval, text};
use super::plan::{From, Matched, Plan, Planned, PlannedFamily, Slot, Test};
use super::{Connector, Options, Start};
use crate::program::{Program, SegmentId};
use crate::window::{Millis, WindowSpec};

/// The first instant that Flink knows, which no event has: those that are left out stand there, where they do not move time on. Nor has one a
/// time before 1970, where Flink's joins do not work.
const BEFORE: &str = "-62135596800000";
/// The last.
const LAST: &str = "253402300799999";
/// The greatest number.
const GREATEST: &str = "1.7976931348623157E308";

/// Milliseconds since the epoch. Of a window's time Flink gives days and parts of a day as numbers (the parts negative before 1970); seconds
/// since the epoch it gives as INT, which ends in 2038.
fn millis(time: &str) -> String {
    format!(
        "TIMESTAMPDIFF(DAY, TIMESTAMP '0001-01-01 00:00:00', {time}) * CAST(86400000 AS BIGINT) {BEFORE}\n      \
         + MOD(86400000 + EXTRACT(HOUR FROM {time}) * 3600000 + EXTRACT(MINUTE FROM {time}) * 60000\n      \
         + EXTRACT(SECOND FROM {time}) * 1000 + EXTRACT(MILLISECOND FROM {time}), 86400000)"
    )
}

/// A view of final results, with the segments whose they are.
struct View<'a> {
    name: String,
    segments: &'a [SegmentId],
}

/// All statements.
pub(super) fn job(program: &Program, plan: &Plan, options: &Options) -> String {
    let mut out = String::new();
    header(&mut out, program, plan, options);
    source(&mut out, options);
    sink(&mut out, options);
    let mut finals: Vec<View<'_>> = vec![];
    for (i, family) in plan.families.iter().enumerate().filter(|(_, f)| !f.segments.is_empty()) {
        windows(&mut out, program, i, family);
        let rows = Rows { from: format!("windows_{i}"), view: format!("finals_{i}"), tests: &family.tests.all, segments: &family.segments };
        rows.write(&mut out, program, plan);
        finals.push(View { name: rows.view, segments: &family.segments });
    }
    for (kind, matched) in [("windows", &plan.windows), ("users", &plan.users)].into_iter().filter(|(_, m)| !m.segments.is_empty()) {
        let rows = Rows {
            from: matching(&mut out, program, plan, kind, matched),
            view: format!("derived_{kind}"),
            tests: &matched.tests.all,
            segments: &matched.segments,
        };
        rows.write(&mut out, program, plan);
        finals.push(View { name: rows.view, segments: &matched.segments });
    }
    insert(&mut out, program, plan, &finals);
    out
}

fn header(out: &mut String, program: &Program, plan: &Plan, options: &Options) {
    let told = told(program, plan);
    let aggregations = plan.families.iter().filter(|f| !f.segments.is_empty()).count();
    let _ = writeln!(
        out,
        "-- {} over {}, exported from Cohort: one result for each user and window that\n-- qualifies, when the window has closed (EMIT FINAL; EMIT CHANGES becomes that), and one with qualified = false when a member leaves.\n",
        some(told.len(), "segment"),
        some(aggregations, "aggregation"),
    );
    out.push_str(
        "SET 'execution.runtime-mode' = 'streaming';\nSET 'table.local-time-zone' = 'UTC';\n\
         -- So that what several statements read is computed once.\nSET 'table.optimizer.reuse-optimize-block-with-digest-enabled' = 'true';\n",
    );
    if let Connector::Kafka { .. } = options.connector {
        let _ = writeln!(out, "SET 'execution.checkpointing.interval' = '{} ms';", options.checkpoint_ms);
    }
    out.push_str("SET 'pipeline.name' = 'cohort-segments';\n\n");
}

fn some(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Segments whose results are told.
fn told(program: &Program, plan: &Plan) -> Vec<SegmentId> {
    let ids = 0..program.segments.len();
    ids.filter(|&i| plan.segments[i].is_some() && !program.segments[i].hidden).map(|i| i as SegmentId).collect()
}

/// The events: records, and what of them is valid, in the types that segments read.
fn source(out: &mut String, options: &Options) {
    let (topic, future, with) = match &options.connector {
        Connector::Kafka { brokers, topics, group, start, bounded, .. } => {
            let future = format!("\n      AND TRY_CAST(`timestamp` AS BIGINT) <= UNIX_TIMESTAMP() * 1000 + {}", options.max_future_ms);
            ("`topic` STRING METADATA VIRTUAL".to_string(), future, kafka_source(brokers, topics, group, (*start, *bounded), options.idle_ms))
        }
        Connector::Files { input, topic, .. } => {
            let topic = topic.as_ref().map_or("NULL".into(), |t| text(t));
            (format!("`topic` AS CAST({topic} AS STRING)"), String::new(), format!("  'connector' = 'filesystem',\n  'path' = {}", text(input)))
        }
    };
    let _ = write!(
        out,
        "-- Numbers are read as texts first, as a record of a wrong type is left out as a whole. A record that is left out stands at the\n\
         -- beginning of time, where it does not move time on. A window closes when its end is {} behind the newest event.\n\
         CREATE TEMPORARY TABLE records (\n  `userId` STRING,\n  `eventType` STRING,\n  `timestamp` STRING,\n  `value` STRING,\n  `sessionId` STRING,\n  \
         `metadata` MAP<STRING, STRING>,\n  {topic},\n  event_time AS CASE\n    WHEN CHAR_LENGTH(`userId`) BETWEEN 1 AND 256 AND `eventType` <> ''\n      \
         AND CAST(TRY_CAST(`timestamp` AS BIGINT) AS STRING) = `timestamp`\n      \
         AND TRY_CAST(`timestamp` AS BIGINT) BETWEEN 0 AND {LAST}{future}\n      \
         AND (`value` IS NULL OR ABS(TRY_CAST(`value` AS DOUBLE)) <= {GREATEST})\n    \
         THEN TO_TIMESTAMP_LTZ(TRY_CAST(`timestamp` AS BIGINT), 3)\n    ELSE TO_TIMESTAMP_LTZ({BEFORE}, 3)\n  END,\n  \
         WATERMARK FOR event_time AS event_time - {}\n) WITH (\n{with},\n  'format' = 'json',\n  'json.ignore-parse-errors' = 'true'\n);\n\n",
        Millis(options.delay_ms),
        // Flink's watermark says that nothing up to it comes any more, and so closes a window a millisecond before its end.
        interval(options.delay_ms + 1),
    );
    let _ = write!(
        out,
        "CREATE TEMPORARY VIEW events AS\nSELECT `userId` AS user_id, `eventType` AS event_type, event_time, TRY_CAST(`timestamp` AS BIGINT) AS event_millis,\n  \
         TRY_CAST(`value` AS DOUBLE) AS amount, `sessionId` AS session_id, `metadata` AS metadata, `topic` AS topic\n\
         FROM records\nWHERE event_time > TO_TIMESTAMP_LTZ({BEFORE}, 3);\n\n",
    );
}

fn kafka_source(brokers: &str, topics: &[String], group: &str, (start, bounded): (Start, bool), idle_ms: i64) -> String {
    let mut with = format!(
        "  'connector' = 'kafka',\n  'topic' = {},\n  'properties.bootstrap.servers' = {},\n  'properties.group.id' = {},\n  'properties.isolation.level' = 'read_committed',\n",
        text(&topics.join(";")),
        text(brokers),
        text(group),
    );
    match start {
        Start::Latest => with.push_str("  'scan.startup.mode' = 'group-offsets',\n  'properties.auto.offset.reset' = 'latest',\n"),
        Start::Earliest => with.push_str("  'scan.startup.mode' = 'group-offsets',\n  'properties.auto.offset.reset' = 'earliest',\n"),
        Start::At(time) => drop(write!(with, "  'scan.startup.mode' = 'timestamp',\n  'scan.startup.timestamp-millis' = '{time}',\n")),
    }
    if bounded {
        with.push_str("  'scan.bounded.mode' = 'latest-offset',\n");
    }
    let _ = write!(with, "  'scan.watermark.idle-timeout' = '{idle_ms} ms'");
    with
}

/// The results, with the fields of a SegmentResult.
fn sink(out: &mut String, options: &Options) {
    out.push_str(
        "CREATE TEMPORARY TABLE results (\n  `userId` STRING,\n  `segmentId` STRING,\n  `ruleId` STRING,\n  `qualified` BOOLEAN,\n  `value` DOUBLE,\n  \
         `timestamp` BIGINT,\n  `windowStart` BIGINT,\n  `windowEnd` BIGINT\n) WITH (\n",
    );
    match &options.connector {
        Connector::Kafka { brokers, results, .. } => {
            let _ = write!(
                out,
                "  'connector' = 'kafka',\n  'topic' = {},\n  'properties.bootstrap.servers' = {},\n  'key.format' = 'raw',\n  'key.fields' = 'userId',\n  \
                 'value.format' = 'json',\n  'sink.delivery-guarantee' = 'at-least-once'\n);\n\n",
                text(results),
                text(brokers),
            );
        }
        Connector::Files { output, .. } => {
            let _ = write!(out, "  'connector' = 'filesystem',\n  'path' = {},\n  'format' = 'json'\n);\n\n", text(output));
        }
    }
}

/// The one aggregation of a family.
fn windows(out: &mut String, program: &Program, i: usize, planned: &PlannedFamily) {
    let family = &program.families[i];
    let table = |function: &str, partition: &str, sizes: &[i64]| {
        let sizes: Vec<String> = sizes.iter().map(|ms| interval(*ms)).collect();
        format!("{function}(TABLE events{partition}, DESCRIPTOR(event_time), {})", sizes.join(", "))
    };
    // Where all windows are of one size, their ends follow from their starts.
    let (table, ended) = match family.window {
        WindowSpec::Tumble { size } => (table("TUMBLE", "", &[size]), None),
        WindowSpec::Hop { slide, size } => (table("HOP", "", &[slide, size]), None),
        WindowSpec::Cumulate { step, size } => (table("CUMULATE", "", &[step, size]), Some(millis("window_end"))),
        // Flink joins windows that touch, as those of events as far apart as the gap do.
        WindowSpec::Session { gap } => (table("SESSION", " PARTITION BY user_id", &[gap - 1]), Some(format!("{} + 1", millis("window_end")))),
    };
    let end = if ended.is_some() { "ended".into() } else { format!("started + {} AS ended", family.window.size()) };
    let ended = ended.map_or(String::new(), |ended| format!(",\n    {ended} AS ended"));
    let names: Vec<String> = (0..planned.aggregates.len()).map(|a| format!(", a{a}")).collect();
    let aggregates: Vec<String> = planned.aggregates.iter().enumerate().map(|(a, sql)| format!(",\n    {sql} AS a{a}")).collect();
    let filter = if planned.filter.is_empty() { String::new() } else { format!("\n  WHERE {}", planned.filter.join("\n    AND ")) };
    let _ = write!(
        out,
        "-- {}, of events where {}.\nCREATE TEMPORARY VIEW windows_{i} AS\nSELECT user_id, started, {end}, closed_at{}\nFROM (\n  \
         SELECT user_id,\n    {} AS started{ended},\n    window_time AS closed_at{}\n  FROM TABLE({table}){filter}\n  \
         GROUP BY user_id, window_start, window_end, window_time\n);\n\n",
        family.window,
        comment(&family.filter),
        names.concat(),
        millis("window_start"),
        aggregates.concat(),
    );
}

/// A text that ends with its line.
fn comment(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Segments that are tested on the rows of a view.
struct Rows<'a> {
    from: String,
    view: String,
    tests: &'a [Test],
    segments: &'a [SegmentId],
}

impl Rows<'_> {
    /// Each row with each segment that it qualifies for. Segments are a list of constants, whatever their number, and tests are few.
    fn write(&self, out: &mut String, program: &Program, plan: &Plan) {
        let row = |&id: &SegmentId| {
            let (segment, planned) = (&program.segments[id as usize], plan.segments[id as usize].as_ref());
            let Planned { test, constant, held_ms } = planned.cloned().unwrap_or(Planned { test: 0, constant: None, held_ms: 0 });
            let constant = constant.map_or("0E0".into(), super::expr::double);
            format!("    ROW({}, {}, CAST({held_ms} AS BIGINT), {test}, {constant})", text(&segment.name), text(&segment.rule_id))
        };
        let rows: Vec<String> = self.segments.iter().map(row).collect();
        let choice = |of: &dyn Fn(&Test) -> String| match self.tests {
            [one] => of(one),
            many => {
                let arms: Vec<String> = many.iter().enumerate().map(|(n, t)| format!("\n    WHEN {n} THEN {}", of(t))).collect();
                format!("CASE r.test{}\n  END", arms.concat())
            }
        };
        let by_user = self.tests.iter().any(|t| t.started.is_some());
        let started = if by_user { format!("{} AS started", choice(&|t| t.started.clone().unwrap_or_default())) } else { "started".into() };
        let _ = write!(
            out,
            "CREATE TEMPORARY VIEW {} AS\nSELECT user_id, r.segment, r.rule, {} AS amount, {started}, ended, r.held, closed_at\nFROM (\n  SELECT *, ARRAY[\n{}\n  ] AS segments FROM {}\n) \
             CROSS JOIN UNNEST(segments) AS r (segment, rule, held, test, constant)\nWHERE {};\n\n",
            self.view,
            choice(&|t| t.value.clone()),
            rows.join(",\n"),
            self.from,
            choice(&|t| t.condition.clone()),
        );
    }
}

/// Presence and value of what derived segments read, by what they match: a view whose name is returned. Rows of one time come together
/// in windows of one millisecond, which are over when the inputs' are.
fn matching(out: &mut String, program: &Program, plan: &Plan, kind: &str, matched: &Matched) -> String {
    let by_user = kind == "users";
    let mut sources: Vec<From> = vec![];
    for slot in matched.slots.iter().filter(|s| s.from != From::Here) {
        if !sources.contains(&slot.from) {
            sources.push(slot.from);
        }
    }
    let branches: Vec<String> = sources.iter().map(|source| branch(plan, matched, *source)).collect();
    let _ = write!(out, "-- What derived segments read that match {kind}.\nCREATE TEMPORARY VIEW inputs_{kind} AS\n{};\n\n", branches.join("\nUNION ALL\n"));
    let mut columns = String::new();
    for (i, slot) in matched.slots.iter().enumerate().filter(|(_, s)| s.from != From::Here) {
        let _ = write!(columns, ",\n  COUNT(*) FILTER (WHERE p{i}) > 0 AS p{i}, MAX(v{i}) AS v{i}");
        if by_user {
            let _ = write!(columns, ", MIN(started) FILTER (WHERE p{i}) AS s{i}");
        }
        let _ = write!(columns, " /* {} */", comment(&program.segments[slot.segment as usize].name).replace("*/", "* /"));
    }
    let key = if by_user { "ended" } else { "started, ended" };
    let _ = write!(
        out,
        "CREATE TEMPORARY VIEW matched_{kind} AS\nSELECT user_id, {key}, window_time AS closed_at{columns}\n\
         FROM TABLE(TUMBLE(TABLE inputs_{kind}, DESCRIPTOR(closed_at), {}))\nGROUP BY user_id, {key}, window_start, window_end, window_time;\n\n",
        interval(1),
    );
    let (mut name, deepest) = (format!("matched_{kind}"), matched.slots.iter().map(|s| s.level).max().unwrap_or(0));
    for level in 1..=deepest {
        let mut columns = String::new();
        for (i, Slot { test, .. }) in matched.slots.iter().enumerate().filter(|(_, s)| s.level == level) {
            let _ = write!(columns, ",\n  ({0}) IS TRUE AS p{i}, CASE WHEN {0} THEN {1} END AS v{i}", test.condition, test.value);
            if let Some(started) = &test.started {
                let _ = write!(columns, ", CASE WHEN {} THEN {started} END AS s{i}", test.condition);
            }
        }
        let _ = write!(out, "CREATE TEMPORARY VIEW matched_{kind}_{level} AS\nSELECT *{columns}\nFROM {name};\n\n");
        name = format!("matched_{kind}_{level}");
    }
    name
}

/// Rows of one view with the slots that are found there; the others are null.
fn branch(plan: &Plan, matched: &Matched, source: From) -> String {
    let deepest = plan.windows.slots.iter().map(|s| s.level).max().unwrap_or(0);
    let from = match source {
        From::Family(family) => format!("windows_{family}"),
        _ => format!("matched_windows_{deepest}"),
    };
    let (mut columns, mut any) = (String::new(), vec![]);
    for (i, slot) in matched.slots.iter().enumerate().filter(|(_, s)| s.from != From::Here) {
        if slot.from == source {
            let Test { condition, value, .. } = &slot.test;
            let _ = write!(columns, ",\n  ({condition}) IS TRUE AS p{i}, CASE WHEN {condition} THEN {value} END AS v{i}");
            any.push(format!("({condition}) IS TRUE"));
        } else {
            let _ = write!(columns, ",\n  CAST(NULL AS BOOLEAN) AS p{i}, CAST(NULL AS DOUBLE) AS v{i}");
        }
    }
    format!("SELECT user_id, started, ended, closed_at{columns}\nFROM {from}\nWHERE {}", any.join(" OR "))
}

/// The rows of those segments that are wanted.
fn union(program: &Program, views: &[View<'_>], wanted: &dyn Fn(SegmentId) -> bool) -> String {
    let mut all = vec![];
    for view in views {
        let (some, others): (Vec<SegmentId>, Vec<SegmentId>) = view.segments.iter().partition(|id| wanted(**id));
        let names = |ids: &[SegmentId]| ids.iter().map(|id| text(&program.segments[*id as usize].name)).collect::<Vec<_>>().join(", ");
        let filter = match (some.as_slice(), others.as_slice()) {
            ([], _) => continue,
            (_, []) => String::new(),
            (some, others) if some.len() <= others.len() => format!(" WHERE segment IN ({})", names(some)),
            (_, others) => format!(" WHERE segment NOT IN ({})", names(others)),
        };
        all.push(format!("SELECT user_id, segment, rule, amount, started, ended, held, closed_at FROM {}{filter}", view.name));
    }
    all.join("\nUNION ALL\n")
}

/// Results of windows, and exits of those who qualified in no window that ended while they were held; of several windows that end together, by
/// that which began last.
fn insert(out: &mut String, program: &Program, plan: &Plan, finals: &[View<'_>]) {
    let held_of = |id: SegmentId| plan.segments[id as usize].as_ref().map_or(0, |p| p.held_ms);
    let is_told = |id: SegmentId| !program.segments[id as usize].hidden;
    let mut held: Vec<i64> = told(program, plan).into_iter().map(held_of).collect();
    held.sort_unstable();
    held.dedup();
    let _ = write!(out, "CREATE TEMPORARY VIEW finals AS\n{};\n\n", union(program, finals, &is_told));
    for ms in &held {
        let members = union(program, finals, &|id| is_told(id) && held_of(id) == *ms);
        let _ =
            write!(out, "-- Results of segments in which one stays for {} after a window.\nCREATE TEMPORARY VIEW held_{ms} AS\n{members};\n\n", Millis(*ms));
    }
    let _ = write!(
        out,
        "EXECUTE STATEMENT SET\nBEGIN\nINSERT INTO results\nSELECT user_id, segment, rule, TRUE, CASE WHEN ABS(amount) <= {GREATEST} THEN amount END, ended, started, ended\nFROM finals;\n",
    );
    for ms in held {
        let _ = write!(
            out,
            "INSERT INTO results\nSELECT f.user_id, f.segment, f.rule, FALSE, CAST(NULL AS DOUBLE), f.ended + {ms}, f.started, f.ended\n\
             FROM held_{ms} AS f LEFT JOIN held_{ms} AS later\n  \
             ON later.user_id = f.user_id AND later.segment = f.segment\n    AND later.closed_at BETWEEN f.closed_at AND f.closed_at + {}\n    \
             AND (later.closed_at > f.closed_at OR later.started > f.started)\n\
             WHERE later.user_id IS NULL;\n",
            interval(ms),
        );
    }
    out.push_str("END;\n");
}
