//! A run of a program that does not run, over events that are kept or over objects of a store, bounded in time and memory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cohort_compiler::Program;
use cohort_connectors::ConnectorError;
use cohort_connectors::between::{Between, lead_in};
use cohort_connectors::file::source::FileSource;
use cohort_connectors::moves::{Moves, change};
use cohort_connectors::object::list::{Location, is_url};
use cohort_connectors::object::plan::plan;
use cohort_connectors::object::{Reading, Tally};
use cohort_connectors::records::{ChunkDecoder, Shape};
use cohort_engine::events::projection;
use cohort_engine::{Late, Partition, ResultRow};
use tokio::runtime::Handle;

use super::Service;
use super::history::Reader;
use crate::api::preview::{Point, Preview, SourceRead};
use crate::comparison::Comparison;

/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Records that are taken at a time.
const STEP: usize = 16_384;
/// Members that are named as examples.
const SAMPLE: usize = 20;

/// What is tried out.
pub struct Trial {
    /// The segment, of a program.
    pub name: String,
    /// The first moment: of the event's time for objects, of its coming for what is kept.
    pub from: Option<i64>,
    /// The first moment after.
    pub to: Option<i64>,
    /// A URL with events, instead of those that are kept.
    pub source: Option<String>,
    /// Whether the program has an older version of the segment, to be compared with.
    pub compares: bool,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The source cannot be read.
    #[error("{0}")]
    Source(String),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

impl From<String> for TrialError {
    fn from(message: String) -> Self {
        TrialError::Other(message)
    }
}

impl From<ConnectorError> for TrialError {
    fn from(error: ConnectorError) -> Self {
        match error {
            ConnectorError::Engine(error) => TrialError::Other(error.to_string()),
            error => TrialError::Source(error.to_string()),
        }
    }
}

/// Whether a URL may be read.
///
/// # Errors
/// Why not.
pub fn allowed(sources: &[String], url: &str) -> Result<(), String> {
    if sources.is_empty() {
        return Err("this service reads no sources but its own".into());
    }
    let wanted = if is_url(url) { Location::parse(url).map_err(|e| e.to_string())? } else { return Err(format!("{url:?} is no URL")) };
    let within = |source: &String| Location::parse(source).is_ok_and(|source| wanted.is_within(&source));
    if sources.iter().any(within) { Ok(()) } else { Err(format!("{url} is below none of the sources that may be read")) }
}

/// What is known so far.
struct Run<'a> {
    program: &'a Arc<Program>,
    segment: u32,
    preview: Preview,
    members: BTreeSet<String>,
    /// Changes of the size by minute.
    sizes: BTreeMap<i64, i64>,
    between: Between,
    moves: Moves,
    comparison: Option<Comparison>,
}

impl Trial {
    /// Runs it; with all members at the end.
    ///
    /// # Errors
    /// When the source cannot be read, or an expression fails.
    pub fn run(&self, app: &Service, program: &Arc<Program>) -> Result<(Preview, BTreeSet<String>), TrialError> {
        let started = Instant::now();
        let segment = program.segments.iter().position(|s| s.name == self.name).ok_or_else(|| "no segment".to_string())?;
        let between = match &self.source {
            Some(_) => Between { from: self.from, to: self.to, lead_in: lead_in(program) },
            // Those are the times of coming, by which what is kept is found.
            None => Between::default(),
        };
        let mut run = Run {
            program,
            segment: segment as u32,
            preview: Preview::default(),
            members: BTreeSet::new(),
            sizes: BTreeMap::new(),
            between,
            moves: Moves::new(program.segments.len(), between),
            comparison: self.compares.then(|| Comparison::new(program, |name| name == self.name)),
        };
        match &self.source {
            Some(url) => run.over_source(app, url, started)?,
            None => run.over_retained(app, self.from, self.to, started)?,
        }
        Ok(run.finish(started))
    }
}

impl Run<'_> {
    fn over_retained(&mut self, app: &Service, from: Option<i64>, to: Option<i64>, started: Instant) -> Result<(), String> {
        for partition in 0..app.retained.partitions() {
            let at = |time: i64| app.retained.at(partition, time).map_err(|e| e.to_string());
            let (first, next) = app.retained.range(partition).map_err(|e| e.to_string())?;
            let (first, until) = (from.map_or(Ok(first), at)?, to.map_or(Ok(next), at)?);
            let mut reader = Reader::new(app.retained.open(partition, &first).map_err(|e| e.to_string())?, self.program, app.settings());
            let (mut inside, mut partial) = (HashSet::new(), false);
            reader.run(&until, |state, rows| {
                self.note(partition, state, rows, &mut inside);
                partial = started.elapsed() >= PATIENCE;
                !partial
            })?;
            self.preview.rows += reader.events;
            self.preview.partial |= partial;
            self.end(&reader.state);
        }
        Ok(())
    }

    fn over_source(&mut self, app: &Service, url: &str, started: Instant) -> Result<(), TrialError> {
        let (mapping, reader_schema) = app.config.source.of_files(None).map_err(TrialError::Source)?;
        let shape = Arc::new(Shape { topic: None, mapping, reader_schema });
        let (settings, tally) = (app.settings(), Arc::new(Tally::default()));
        let reading = Reading::new(Handle::current(), self.program, &shape, self.between, &tally);
        let plan = plan(&[url.to_string()], &reading, settings.out_of_orderness + settings.allowed_lateness)?;
        let source = FileSource::of(plan.origins, STEP).until(started + PATIENCE);
        let mut source = if shape.mapping.is_some() { source.with_whole_rows() } else { source };
        let mut decoder = ChunkDecoder::new(projection(self.program), &shape);
        let mut state = Partition::new(Arc::clone(self.program), settings);
        let (mut rows, mut late, mut inside, mut lead_in) = (vec![], Late::default(), HashSet::new(), 0);
        while let Some(mut chunk) = source.next_chunk()? {
            decoder.decode(&mut chunk).map_err(ConnectorError::from)?;
            let events = &mut decoder.events;
            self.between.keep(events);
            lead_in += events.times.iter().filter(|time| self.between.is_lead_in(**time)).count() as u64;
            self.preview.rows += events.len() as u64;
            state.process(events, &mut rows, &mut late).map_err(|e| e.to_string())?;
            if let Some(time) = state.watermark() {
                state.advance(time, &mut rows).map_err(|e| e.to_string())?;
            }
            self.note(0, &state, &rows, &mut inside);
            rows.clear();
        }
        self.preview.rows -= lead_in;
        self.preview.partial = source.is_cut_short();
        if let (Some(newest), false) = (state.newest(), self.preview.partial) {
            state.finish(newest, &mut rows).map_err(|e| e.to_string())?;
            self.note(0, &state, &rows, &mut inside);
        }
        let n = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.preview.source = Some(SourceRead {
            objects: n(&tally.objects),
            bytes: n(&tally.bytes),
            objects_skipped: n(&tally.objects_skipped),
            bytes_skipped: n(&tally.bytes_skipped),
            row_groups: n(&tally.row_groups),
            row_groups_skipped: n(&tally.row_groups_skipped),
            left_out: n(&tally.left_out),
            lead_in,
        });
        self.end(&state);
        Ok(())
    }

    /// Takes results of a partition; `inside` is who is a member there.
    fn note(&mut self, number: u32, state: &Partition, rows: &[ResultRow], inside: &mut HashSet<u32>) {
        self.moves.note(number, state, rows);
        for row in rows.iter().filter(|r| r.segment == self.segment) {
            let time = row.timestamp.max(self.between.from.unwrap_or(i64::MIN));
            let size = self.sizes.entry(time - time.rem_euclid(60_000)).or_default();
            match change(state, row) {
                true if inside.insert(row.user) => *size += 1,
                false if inside.remove(&row.user) => *size -= 1,
                _ => {}
            }
        }
    }

    /// Takes the members of a partition at its end.
    fn end(&mut self, state: &Partition) {
        let own = state.membership().iter().filter(|(s, ..)| *s == self.segment);
        self.members.extend(own.map(|(_, user, _)| state.users().name(user).to_string()));
        if let Some(comparison) = &mut self.comparison {
            comparison.add(state, |_, _, _, _| {});
        }
    }

    fn finish(self, started: Instant) -> (Preview, BTreeSet<String>) {
        let (mut preview, moved) = (self.preview, self.moves.counts()[self.segment as usize]);
        let mut size = 0;
        let changed = self.sizes.into_iter().filter(|(_, change)| *change != 0);
        preview.over_time = changed
            .map(|(time, change)| {
                size += change;
                Point { time, size: size.max(0) as u64 }
            })
            .collect();
        (preview.entered, preview.exited) = (moved.entered, moved.exited);
        preview.size = self.members.len() as u64;
        preview.sample = self.members.iter().take(SAMPLE).cloned().collect();
        preview.comparison = self.comparison.and_then(|c| c.finish(self.moves.counts()).into_iter().next());
        preview.millis = started.elapsed().as_millis() as u64;
        (preview, self.members)
    }
}
