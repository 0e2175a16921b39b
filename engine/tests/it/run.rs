//! Runs partitions over made-up events and notes what they emit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cohort_compiler::{CompileOptions, Program, SourceKind, SourceText, compile};
use cohort_engine::decode::json::{JsonDecoder, split_lines};
use cohort_engine::decode::{EventBatch, Topics};
use cohort_engine::events::projection;
use cohort_engine::{Difference, Late, Partition, ResultKind, ResultRow, Settings, Tables};
use proptest::prelude::*;

/// Segments of every kind, one a line.
pub const SEGMENTS: &str = "
CREATE SEGMENT buyers AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '10 seconds') WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING count(*) >= 2;
CREATE SEGMENT spenders AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '10 seconds') WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > 60;
CREATE SEGMENT frugal AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '10 seconds') WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) < 20;
CREATE SEGMENT loyal WITH (retain = '25 seconds') AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '5 seconds') GROUP BY user_id, window_start, window_end HAVING count(*) > 2;
CREATE SEGMENT busy AS SELECT user_id, sum(value) AS value FROM HOP(events, event_time, INTERVAL '4 seconds', INTERVAL '20 seconds') GROUP BY user_id, window_start, window_end HAVING sum(value) > 90;
CREATE SEGMENT busy_exact AS SELECT user_id, sum(value) AS value FROM HOP(events, event_time, INTERVAL '4 seconds', INTERVAL '20 seconds') GROUP BY user_id, window_start, window_end HAVING sum(value) > 70 AND min(value) < 5 EMIT FINAL;
CREATE SEGMENT curious AS SELECT user_id FROM HOP(events, event_time, INTERVAL '5 seconds', INTERVAL '15 seconds') GROUP BY user_id, window_start, window_end HAVING count(DISTINCT metadata['k']) >= 3;
CREATE SEGMENT rising AS SELECT user_id, max(value) AS value FROM CUMULATE(events, event_time, INTERVAL '3 seconds', INTERVAL '12 seconds') GROUP BY user_id, window_start, window_end HAVING max(value) > 45;
CREATE SEGMENT visit AS SELECT user_id, avg(value) AS value FROM SESSION(events, event_time, INTERVAL '4 seconds') GROUP BY user_id, window_start, window_end HAVING count(*) >= 3;
CREATE SEGMENT short_visit AS SELECT user_id FROM SESSION(events, event_time, INTERVAL '4 seconds') WHERE event_type = 'view' GROUP BY user_id, window_start, window_end HAVING count(*) <= 1;
CREATE SEGMENT odd AS SELECT user_id, stddev(value) AS value FROM TUMBLE(events, event_time, INTERVAL '10 seconds') WHERE metadata['k'] <> 'b' GROUP BY user_id, window_start, window_end HAVING stddev(value) > 9.0123 OR approx_distinct(metadata['k']) > 2;
CREATE SEGMENT both AS SELECT a.user_id, a.value + b.value AS value FROM buyers a JOIN spenders b USING (user_id, window_start, window_end);
CREATE SEGMENT not_frugal AS SELECT a.user_id, a.value FROM buyers a LEFT ANTI JOIN frugal b USING (user_id, window_start, window_end);
CREATE SEGMENT loyal_and_busy AS SELECT a.user_id FROM loyal a JOIN busy b USING (user_id);
CREATE SEGMENT neither AS SELECT a.user_id FROM loyal a LEFT ANTI JOIN visit b USING (user_id) LEFT ANTI JOIN both c USING (user_id);
CREATE SEGMENT alike AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '10 seconds') WHERE event_type <> 'install' AND metadata['k'] NOT LIKE 'b%' GROUP BY user_id, window_start, window_end HAVING count(*) FILTER (WHERE metadata['k'] LIKE '%a') >= 1;
";

/// The statements of [`SEGMENTS`] that `keep` keeps, by their place.
pub fn some_segments(keep: impl Fn(usize) -> bool) -> String {
    SEGMENTS.lines().filter(|l| !l.is_empty()).enumerate().filter(|(i, _)| keep(*i)).map(|(_, l)| format!("{l}\n")).collect()
}

/// Compiles SQL.
pub fn program(sql: &str) -> Arc<Program> {
    let text = SourceText { name: "sql".into(), kind: SourceKind::Sql, text: sql.into(), id: None };
    Arc::new(compile(&[text], &CompileOptions::default()).unwrap_or_else(|e| panic!("{e}")))
}

/// Settings with little patience, so that windows close soon.
pub fn settings() -> Settings {
    Settings { out_of_orderness: 3_000, allowed_lateness: 0, memory_limit: 1 << 30, spill: None }
}

/// An event: user, type, seconds and milliseconds, value, metadata.
pub type Event = (u8, u8, i64, Option<i32>, u8);

/// Events in time order but for some disorder. Sums of `exact` values do not depend on the order in which they are
/// added.
pub fn events(exact: bool) -> impl Strategy<Value = Vec<Event>> {
    let event = (0u8..6, 0u8..3, 0i64..900, prop_oneof![4 => (0i32..600).prop_map(move |v| Some(if exact { v - v % 5 } else { v })), 1 => Just(None)], 0u8..5);
    (prop::collection::vec(event, 20..400), prop::collection::vec(0i64..4_000, 400)).prop_map(|(mut events, disorder)| {
        let mut now = 1_000_000;
        for (event, behind) in events.iter_mut().zip(disorder) {
            now += event.2;
            event.2 = now - behind;
        }
        events
    })
}

fn json((user, kind, time, value, key): &Event) -> String {
    let kind = ["purchase", "view", "install"][usize::from(*kind)];
    let value = value.map_or("null".to_string(), |v| format!("{:.1}", f64::from(v) / 10.0));
    let metadata = if *key == 4 { "null".to_string() } else { format!("{{\"k\":\"{}\"}}", ["a", "b", "c", "d"][usize::from(*key)]) };
    format!("{{\"userId\":\"u{user}\",\"eventType\":\"{kind}\",\"timestamp\":{time},\"value\":{value},\"metadata\":{metadata}}}\n")
}

/// A result in terms that do not depend on a program or partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub segment: String,
    pub user: String,
    pub kind: String,
    pub qualified: bool,
    pub value: Option<u64>,
    pub times: (i64, i64, i64),
}

/// A partition that runs, and what a sink makes of its results.
pub struct Run {
    pub partition: Partition,
    pub sink: BTreeSet<(String, String)>,
    /// Whether the measures were looked at after the last batch.
    looks: bool,
}

impl Run {
    pub fn new(program: &Arc<Program>) -> Self {
        Run { partition: Partition::new(Arc::clone(program), settings()), sink: BTreeSet::new(), looks: false }
    }

    /// As [`Run::new`], with a folder for groups that memory is too small for.
    pub fn spilling(program: &Arc<Program>, folder: &std::path::Path) -> Self {
        let settings = Settings { spill: Some(folder.to_path_buf()), ..settings() };
        Run { partition: Partition::new(Arc::clone(program), settings), sink: BTreeSet::new(), looks: false }
    }

    /// Takes a micro-batch; time passes as the watermark does.
    pub fn batch(&mut self, events: &[Event]) -> Vec<Line> {
        self.take(events, true)
    }

    /// Takes a micro-batch; time may stand still for now, as it does in a worker with another partition that is behind.
    pub fn take(&mut self, events: &[Event], passes: bool) -> Vec<Line> {
        let data: String = events.iter().map(json).collect();
        let (mut spans, mut batch, mut rejected) = (vec![], EventBatch::default(), vec![]);
        split_lines(data.as_bytes(), &mut spans);
        JsonDecoder::new(projection(self.partition.program())).decode(data.as_bytes(), &spans, Topics::None, &mut batch, &mut rejected);
        assert!(rejected.is_empty());
        let (mut rows, mut late) = (vec![], Late::default());
        self.partition.process(&batch, &mut rows, &mut late).expect("a batch");
        let mut lines = self.lines(&rows);
        rows.clear();
        if let Some(time) = self.partition.watermark().filter(|_| passes) {
            self.partition.advance(time, &mut rows).expect("a close");
        }
        lines.extend(self.lines(&rows));
        lines.sort();
        self.check_measures();
        lines
    }

    /// What is kept of groups' number, size and windows' ends is, after a look at what events stirred, what they come to when each is looked at. Every
    /// other batch goes on without a look.
    fn check_measures(&mut self) {
        self.looks = !self.looks;
        if self.looks {
            let measures = |partition: &Partition| (partition.groups(), partition.size(), partition.next_close());
            self.partition.look();
            let kept = measures(&self.partition);
            self.partition.measure();
            assert_eq!(kept, measures(&self.partition));
        }
    }

    /// Ends the input.
    pub fn finish(&mut self) -> Vec<Line> {
        let mut rows = vec![];
        let newest = self.partition.newest().unwrap_or(0);
        self.partition.finish(newest, &mut rows).expect("the end");
        let mut lines = self.lines(&rows);
        lines.sort();
        lines
    }

    fn lines(&mut self, rows: &[ResultRow]) -> Vec<Line> {
        rows.iter().map(|row| self.line(row)).collect()
    }

    /// Gives a result to the sink, which knows what the worker tells it.
    fn line(&mut self, row: &ResultRow) -> Line {
        let segment = self.partition.program().segments[row.segment as usize].name.clone();
        let user = self.partition.users().name(row.user).to_string();
        let still = self.partition.membership().get(row.segment, row.user).is_some();
        let key = (segment.clone(), user.clone());
        if row.qualified || (row.kind == ResultKind::Change && still) {
            self.sink.insert(key);
        } else {
            self.sink.remove(&key);
        }
        let times = (row.timestamp, row.window_start, row.window_end);
        Line { segment, user, kind: format!("{:?}", row.kind), qualified: row.qualified, value: row.value.map(f64::to_bits), times }
    }

    /// The state goes through a copy and its encoded form, as in a restart.
    pub fn restart(&mut self) -> Difference {
        let copy = self.partition.snapshot().expect("a copy of the state");
        let tables = encoded(&copy.tables().expect("saved state"));
        let (partition, difference) = Partition::restore(Arc::clone(self.partition.program()), settings(), &tables).expect("restored state");
        self.partition = partition;
        difference
    }

    /// Goes on from saved state; the sink is as it was.
    pub fn restore(&mut self, tables: &Tables) {
        self.partition = Partition::restore(Arc::clone(self.partition.program()), settings(), tables).expect("restored state").0;
    }

    /// Tells the sink the memberships of all members and of those whose events came since the partition is watched.
    pub fn tell(&mut self) {
        let watched = self.partition.unwatch();
        let users: BTreeSet<String> = (0u32..).zip(watched).filter(|(_, w)| *w).map(|(u, _)| self.partition.users().name(u).to_string()).collect();
        let members = self.members();
        self.sink.retain(|(_, user)| !users.contains(user) && !members.iter().any(|(_, u)| u == user));
        self.sink.extend(members);
    }

    /// Goes on with another program.
    pub fn adopt(&mut self, program: &Arc<Program>, backfill: Option<&Tables>) -> Vec<Line> {
        let difference = self.partition.adopt(Arc::clone(program), backfill).expect("another program");
        self.differ(difference)
    }

    fn differ(&mut self, difference: Difference) -> Vec<Line> {
        for d in &difference.departed {
            assert!(self.sink.remove(&(d.segment.clone(), d.user.clone())), "{d:?} was no member");
        }
        self.lines(&difference.rows)
    }

    /// As [`Run::adopt`], by way of saved state.
    pub fn adopt_through_tables(&mut self, program: &Arc<Program>) -> Vec<Line> {
        let tables = encoded(&self.partition.save().expect("saved state"));
        let (partition, difference) = Partition::restore(Arc::clone(program), settings(), &tables).expect("restored state");
        self.partition = partition;
        self.differ(difference)
    }

    /// What sinks check their records by is how many of a user's memberships they are told of.
    fn check_counts(&self) {
        let (membership, program) = (self.partition.membership(), self.partition.program());
        let mut counts = vec![0; self.partition.users().len()];
        membership.iter().filter(|(s, ..)| !program.segments[*s as usize].hidden).for_each(|(_, user, _)| counts[user as usize] += 1);
        assert_eq!((0..counts.len() as u32).map(|user| membership.told(user)).collect::<Vec<u32>>(), counts);
    }

    /// Members of visible segments: (segment, user).
    pub fn members(&self) -> BTreeSet<(String, String)> {
        self.check_counts();
        let name = |(s, u, _): (u32, u32, _)| (self.partition.program().segments[s as usize].name.clone(), self.partition.users().name(u).to_string());
        self.partition.membership().iter().map(name).collect()
    }
}

/// Tables through Arrow IPC and back.
pub fn encoded(tables: &Tables) -> Tables {
    let through = |(name, batch): (&String, _)| {
        let bytes = cohort_engine::checkpoint::encode(name, batch).expect("an encoded table");
        (name.clone(), cohort_engine::checkpoint::decode(name, &bytes).expect("a decoded table"))
    };
    Tables(tables.0.iter().map(through).collect::<BTreeMap<_, _>>())
}

/// What is in one list and not in the other.
pub fn differences(a: &[Line], b: &[Line]) -> Vec<String> {
    let only = |a: &[Line], b: &[Line], what: &str| a.iter().filter(|l| !b.contains(l)).map(|l| format!("{what}: {l:?}")).collect::<Vec<_>>();
    [only(a, b, "first"), only(b, a, "second")].concat()
}

/// Cuts events into batches.
pub fn batches<'a>(events: &'a [Event], sizes: &'a [usize]) -> Vec<&'a [Event]> {
    let (mut rest, mut cut) = (events, vec![]);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*size).min(rest.len()));
        cut.push(now);
        rest = later;
    }
    cut
}
