//! Results that were evaluated elsewhere: records are SegmentResults, as a job exported to Flink writes them, instead
//! of events. They lead to memberships, results for the sinks and checkpoints as windows that close here do.
//!
//! A user's results are in one partition, but not in one order: a job writes results and exits side by side, so an exit
//! may come before the result that it ends, and a job that was restarted writes some again. What decides is the window:
//! a result or an exit of a window that ended before the newest one known says nothing new.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, StringArray};
use rustc_hash::FxHashMap;
use serde::Deserialize;

use crate::decode::{MAX_TIMESTAMP_MS, MAX_USER_ID_BYTES, Reason, Rejected};
use crate::error::EngineError;
use crate::partition::Partition;
use crate::result::{ResultKind, ResultRow};
use crate::running::Deployment;
use crate::sink::DeadLetter;
use crate::source::RawBatch;
use crate::tables::{Tables, column};
use crate::worker::{Worker, count, letter};

/// What a worker's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reads {
    /// Events, which are evaluated here.
    #[default]
    Events,
    /// Results.
    Results,
}

/// Exits that are remembered, at most.
const MOST: usize = 100_000;
/// The table of a checkpoint that they are in.
const TABLE: &str = "ended";

/// A record. Other fields are let be.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    user_id: Cow<'a, str>,
    #[serde(borrow)]
    segment_id: Cow<'a, str>,
    #[serde(borrow)]
    #[allow(dead_code, reason = "a SegmentResult has one; which rule it is, the catalog says")]
    rule_id: Cow<'a, str>,
    qualified: bool,
    value: Option<f64>,
    timestamp: i64,
    window_start: i64,
    window_end: i64,
}

/// Reads a record.
fn read(payload: &[u8]) -> Result<Record<'_>, Reason> {
    let record: Record<'_> = serde_json::from_slice(payload).map_err(|e| if e.is_data() { Reason::InvalidResult } else { Reason::NotJson })?;
    let times = [record.timestamp, record.window_start, record.window_end];
    if record.user_id.is_empty() {
        return Err(Reason::EmptyUserId);
    }
    if record.user_id.len() > MAX_USER_ID_BYTES {
        return Err(Reason::UserIdTooLong);
    }
    let wrong = times.iter().any(|t| !(-MAX_TIMESTAMP_MS..=MAX_TIMESTAMP_MS).contains(t)) || record.window_start > record.window_end;
    if wrong { Err(Reason::InvalidResult) } else { Ok(record) }
}

/// What became of a record that could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It was taken.
    Taken,
    /// A newer window of its user and segment is known.
    Superseded,
    /// No segment of that name runs here.
    UnknownSegment,
}

impl Outcome {
    /// The stable name used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Taken => "taken",
            Outcome::Superseded => "superseded",
            Outcome::UnknownSegment => "unknown_segment",
        }
    }
}

/// What a partition remembers of results beside who is a member.
#[derive(Debug, Default)]
pub struct Relay {
    /// Memberships that ended: (segment, user) → end of the window that they were by. Results of it, or of older ones, may still come.
    ended: FxHashMap<(String, String), i64>,
    /// The segments that run, by name; of the revision that comes first.
    known: (i64, FxHashMap<Arc<str>, u32>),
}

impl Relay {
    /// What was saved.
    ///
    /// # Errors
    /// When the table is not what [`Relay::save`] writes.
    pub fn load(tables: &Tables) -> Result<Self, EngineError> {
        let mut relay = Relay::default();
        let Some(table) = tables.get(TABLE) else { return Ok(relay) };
        let (segments, users, ends) = (table.texts("segment")?, table.texts("user")?, table.i64s("end")?);
        for (i, end) in ends.iter().enumerate() {
            relay.ended.insert((segments.value(i).to_string(), users.value(i).to_string()), *end);
        }
        Ok(relay)
    }

    /// Adds what is remembered to a partition's tables.
    ///
    /// # Errors
    /// When the table cannot be made.
    pub fn save(&self, tables: &mut Tables) -> Result<(), EngineError> {
        if self.ended.is_empty() {
            return Ok(());
        }
        let columns = vec![
            column("segment", StringArray::from_iter_values(self.ended.keys().map(|k| k.0.as_str()))),
            column("user", StringArray::from_iter_values(self.ended.keys().map(|k| k.1.as_str()))),
            column("end", Int64Array::from_iter_values(self.ended.values().copied())),
        ];
        tables.put(TABLE.into(), columns)
    }

    /// Takes a record; what it changes goes to `out`.
    ///
    /// # Errors
    /// Why it is a dead letter.
    pub fn take(&mut self, payload: &[u8], deployment: &Deployment, state: &mut Partition, out: &mut Vec<ResultRow>) -> Result<Outcome, Reason> {
        let record = read(payload)?;
        let Some(segment) = self.segment(&record.segment_id, deployment) else { return Ok(Outcome::UnknownSegment) };
        let row = ResultRow {
            segment,
            user: state.user_of(&record.user_id),
            kind: if record.qualified { ResultKind::Final } else { ResultKind::Exit },
            qualified: record.qualified,
            value: record.value.filter(|_| record.qualified),
            timestamp: record.timestamp,
            window_start: record.window_start,
            window_end: record.window_end,
        };
        if record.qualified && self.has_ended(&record) {
            return Ok(Outcome::Superseded);
        }
        if !state.told(&row) {
            return Ok(Outcome::Superseded);
        }
        if !record.qualified {
            self.remember(&record);
        }
        out.push(row);
        Ok(Outcome::Taken)
    }

    fn segment(&mut self, name: &str, deployment: &Deployment) -> Option<u32> {
        if self.known.0 != deployment.revision || self.known.1.is_empty() {
            let told = (0u32..).zip(deployment.names.iter()).zip(&deployment.program.segments).filter(|(_, s)| !s.hidden);
            self.known = (deployment.revision, told.map(|((i, name), _)| (Arc::clone(&name.segment), i)).collect());
        }
        self.known.1.get(name).copied()
    }

    /// Whether the exit of the window of a result, or of a newer one, has come already.
    fn has_ended(&mut self, record: &Record<'_>) -> bool {
        if self.ended.is_empty() {
            return false;
        }
        let key = (record.segment_id.to_string(), record.user_id.to_string());
        let Some(&end) = self.ended.get(&key) else { return false };
        if record.window_end > end {
            self.ended.remove(&key);
        }
        record.window_end <= end
    }

    /// Remembers an exit that may have come before its result. Of too many, those of older windows are forgotten.
    fn remember(&mut self, record: &Record<'_>) {
        let end = self.ended.entry((record.segment_id.to_string(), record.user_id.to_string())).or_insert(record.window_end);
        *end = (*end).max(record.window_end);
        if self.ended.len() > MOST {
            let mut ends: Vec<i64> = self.ended.values().copied().collect();
            let (_, &mut middle, _) = ends.select_nth_unstable(MOST / 2);
            self.ended.retain(|_, end| *end > middle);
        }
    }
}

impl Worker {
    /// Takes results over that were evaluated elsewhere; returns records that are none.
    pub(crate) fn relay(&mut self, i: usize, batch: &RawBatch, records: std::ops::Range<usize>, now: i64) -> Result<Vec<DeadLetter>, EngineError> {
        let (running, rows) = (&mut self.partitions[i], &mut self.scratch.rows);
        running.state.relayed()?;
        let (mut taken, mut letters) = (vec![], vec![]);
        for record in records.clone() {
            let within = (record - records.start) as u32;
            match running.relay.take(batch.payload(record), &running.deployment, &mut running.state, rows) {
                Ok(Outcome::Taken) => taken.push(within),
                Ok(ignored) => *running.counts.ignored.entry(ignored.as_str()).or_default() += 1,
                Err(reason) => letters.push(letter(batch, records.start, Rejected { record: within, reason }, now)),
            }
        }
        count(&mut running.counts, batch, records, &taken);
        Ok(letters)
    }
}

#[cfg(test)]
mod tests {
    use cohort_compiler::{CompileOptions, SourceKind, SourceText, compile};

    use super::*;
    use crate::partition::Settings;

    fn deployment() -> Deployment {
        let text = "CREATE SEGMENT s AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '1 minute') GROUP BY user_id, window_start, window_end;";
        let source = SourceText { name: "t".into(), kind: SourceKind::Sql, text: text.into(), id: None };
        Deployment::new(1, Arc::new(compile(&[source], &CompileOptions::default()).expect("it compiles")))
    }

    fn record(segment: &str, qualified: bool, end: i64) -> String {
        format!(
            r#"{{"userId":"u","segmentId":"{segment}","ruleId":"r","qualified":{qualified},"value":2.5,"timestamp":{end},"windowStart":{},"windowEnd":{end}}}"#,
            end - 60_000
        )
    }

    /// Takes records in order; returns what became of each, and whether the user is a member in the end.
    fn run(relay: &mut Relay, state: &mut Partition, records: &[(bool, i64)]) -> (Vec<Outcome>, bool) {
        let (deployment, mut rows) = (deployment(), vec![]);
        let take = |(qualified, end): &(bool, i64)| relay.take(record("s", *qualified, *end).as_bytes(), &deployment, state, &mut rows).expect("a result");
        let outcomes = records.iter().map(take).collect();
        (outcomes, !state.membership().is_empty())
    }

    #[test]
    fn memberships_do_not_depend_on_the_order_and_number_of_records() {
        use Outcome::{Superseded, Taken};
        type Story<'a> = (&'a [(bool, i64)], &'a [Outcome], bool);
        let cases: [Story<'_>; 8] = [
            (&[(true, 60_000), (false, 60_000)], &[Taken, Taken], false),
            // The exit first.
            (&[(false, 60_000), (true, 60_000)], &[Taken, Superseded], false),
            (&[(true, 60_000), (false, 120_000), (true, 120_000)], &[Taken, Taken, Superseded], false),
            (&[(true, 120_000), (false, 60_000), (false, 120_000), (true, 60_000)], &[Taken, Superseded, Taken, Superseded], false),
            // Written again after a newer window.
            (&[(true, 60_000), (true, 120_000), (true, 60_000), (false, 60_000)], &[Taken, Taken, Superseded, Superseded], true),
            // Written again as a whole.
            (&[(true, 60_000), (false, 60_000), (true, 60_000), (false, 60_000)], &[Taken, Taken, Superseded, Taken], false),
            // A new window after an exit that came first.
            (&[(false, 60_000), (true, 180_000), (true, 60_000)], &[Taken, Taken, Superseded], true),
            (&[(false, 60_000), (true, 180_000), (false, 180_000)], &[Taken, Taken, Taken], false),
        ];
        for (records, outcomes, member) in cases {
            let mut state = Partition::new(deployment().program, Settings::default());
            assert_eq!(run(&mut Relay::default(), &mut state, records), (outcomes.to_vec(), member), "{records:?}");
        }
    }

    #[test]
    fn exits_are_remembered_through_a_restart() {
        let mut state = Partition::new(deployment().program, Settings::default());
        let mut relay = Relay::default();
        run(&mut relay, &mut state, &[(false, 60_000)]);
        let mut tables = state.save().expect("tables");
        relay.save(&mut tables).expect("a table");
        let (mut state, _) = Partition::restore(deployment().program, Settings::default(), &tables).expect("a partition");
        let mut relay = Relay::load(&tables).expect("a relay");
        assert_eq!(run(&mut relay, &mut state, &[(true, 60_000)]), (vec![Outcome::Superseded], false));
    }

    #[test]
    fn bad_records_are_told_apart() {
        let (mut relay, deployment, mut rows) = (Relay::default(), deployment(), vec![]);
        let mut state = Partition::new(Arc::clone(&deployment.program), Settings::default());
        let good = record("s", true, 60_000);
        let cases = [
            ("no json".to_string(), Err(Reason::NotJson)),
            ("[]".to_string(), Err(Reason::InvalidResult)),
            (good.replace("true", "1"), Err(Reason::InvalidResult)),
            (good.replace("\"u\"", "\"\""), Err(Reason::EmptyUserId)),
            (good.replace("\"u\"", &format!("\"{}\"", "x".repeat(257))), Err(Reason::UserIdTooLong)),
            (good.replace("60000", "6.5"), Err(Reason::InvalidResult)),
            (good.replace("\"windowStart\":0", "\"windowStart\":70000"), Err(Reason::InvalidResult)),
            (record("other", true, 60_000), Ok(Outcome::UnknownSegment)),
            (good.replace("2.5", "null"), Ok(Outcome::Taken)),
        ];
        for (payload, expected) in cases {
            assert_eq!(relay.take(payload.as_bytes(), &deployment, &mut state, &mut rows), expected, "{payload}");
        }
        assert_eq!(rows.len(), 1);
    }
}
