//! The engine in another program, in one thread and without any other part of Cohort: events come in as JSON lines,
//! what changes in memberships goes out, and who is in which segment can be asked at any time.
//!
//! `examples/in_a_program.rs` is ten lines that do it.

use std::sync::Arc;

use cohort_compiler::{CompileOptions, Diagnostics, Program, SourceKind, SourceText, compile};

use crate::decode::json::{JsonDecoder, split_lines};
use crate::decode::{EventBatch, Rejected, Topics};
use crate::error::EngineError;
use crate::events::projection;
use crate::partition::{Late, Partition, Settings};
use crate::result::ResultRow;

/// Segments over events that a program hands over.
///
/// ```
/// use cohort_engine::{Evaluator, Settings};
///
/// let mut evaluator = Evaluator::of_sql(
///     "CREATE SEGMENT spenders AS
///      SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
///      WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > 100;",
///     Settings::default(),
/// )?;
/// let event = |time: i64, value: f64| format!(r#"{{"userId":"ada","eventType":"purchase","timestamp":{time},"value":{value}}}"#) + "\n";
/// let lines = event(1_767_225_600_000, 80.0) + &event(1_767_225_610_000, 45.5) + "no event\n";
/// let outcomes: Vec<_> = evaluator.push(lines.as_bytes())?.map(|o| (o.user.to_string(), o.row.qualified, o.row.value)).collect();
/// assert_eq!(outcomes, [("ada".to_string(), true, Some(125.5))]);
/// assert_eq!(evaluator.segments_of("ada").collect::<Vec<_>>(), ["spenders"]);
/// assert_eq!(evaluator.rejected()[0].record, 2);
///
/// // State goes on elsewhere.
/// let tables = evaluator.partition().save()?;
/// let program = evaluator.partition().program().clone();
/// let (restored, difference) = cohort_engine::Partition::restore(program, Settings::default(), &tables)?;
/// assert!(difference.rows.is_empty());
/// assert_eq!(restored.membership().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Evaluator {
    partition: Partition,
    decoder: JsonDecoder,
    spans: Vec<(u32, u32)>,
    events: EventBatch,
    rejected: Vec<Rejected>,
    late: Late,
    rows: Vec<ResultRow>,
}

/// A result with the names that it is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome<'a> {
    /// The user.
    pub user: &'a str,
    /// The segment's name.
    pub segment: &'a str,
    /// What happened, and when.
    pub row: ResultRow,
}

impl Evaluator {
    /// Compiles segments, as `CREATE SEGMENT …` statements.
    ///
    /// # Errors
    /// When one of them is wrong: what, and in which line and column.
    pub fn of_sql(sql: &str, settings: Settings) -> Result<Self, Diagnostics> {
        let source = SourceText { name: "segments".into(), kind: SourceKind::Sql, text: sql.into(), id: None };
        Ok(Evaluator::new(Arc::new(compile(&[source], &CompileOptions::default())?), settings))
    }

    /// Segments that are compiled already, from SQL or JSON.
    pub fn new(program: Arc<Program>, settings: Settings) -> Self {
        let decoder = JsonDecoder::new(projection(&program));
        let partition = Partition::new(program, settings);
        Evaluator { partition, decoder, spans: vec![], events: EventBatch::default(), rejected: vec![], late: Late::default(), rows: vec![] }
    }

    /// Takes events, one a line, and says what they change: memberships that begin or end, and what windows came to
    /// that the watermark has passed.
    ///
    /// # Errors
    /// When an expression fails, or state outgrows its limit.
    pub fn push(&mut self, lines: &[u8]) -> Result<impl Iterator<Item = Outcome<'_>>, EngineError> {
        self.rows.clear();
        self.rejected.clear();
        split_lines(lines, &mut self.spans);
        self.decoder.decode(lines, &self.spans, Topics::None, &mut self.events, &mut self.rejected);
        self.partition.process(&self.events, &mut self.rows, &mut self.late)?;
        if let Some(time) = self.partition.watermark() {
            self.partition.advance(time, &mut self.rows)?;
        }
        Ok(self.outcomes())
    }

    /// Ends the input: every window closes.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn finish(&mut self) -> Result<impl Iterator<Item = Outcome<'_>>, EngineError> {
        self.rows.clear();
        if let Some(newest) = self.partition.newest() {
            self.partition.finish(newest, &mut self.rows)?;
        }
        Ok(self.outcomes())
    }

    fn outcomes(&self) -> impl Iterator<Item = Outcome<'_>> {
        let (users, segments) = (self.partition.users(), &self.partition.program().segments);
        self.rows.iter().map(|&row| Outcome { user: users.name(row.user), segment: &segments[row.segment as usize].name, row })
    }

    /// The segments that a user is in now, in the order in which they were compiled.
    pub fn segments_of(&self, user: &str) -> impl Iterator<Item = &str> {
        let user = self.partition.users().find(user.as_bytes());
        let segments = (0u32..).zip(&self.partition.program().segments);
        segments.filter(move |(id, _)| user.is_some_and(|user| self.partition.member_row(*id, user).is_some())).map(|(_, segment)| segment.name.as_str())
    }

    /// Lines of the last [`Evaluator::push`] that are no events, by their index, and why.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// How many events of the last [`Evaluator::push`] were too late for a window.
    pub fn late(&self) -> usize {
        self.late.events.len()
    }

    /// All state, for what goes beyond this: to save and restore it, to change the segments, to ask why.
    pub fn partition(&mut self) -> &mut Partition {
        &mut self.partition
    }
}
