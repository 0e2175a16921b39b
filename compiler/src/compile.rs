//! From texts to a [`Program`]: collects the segments of all texts, orders them so that each comes after
//! those it reads, compiles each, and reports every error that it finds.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::sqlparser::ast::Query;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::bind;
use crate::cache::{CompileCache, PlannedBase};
use crate::catalog::{Catalog, Functions, STREAMS, SegmentNames, timestamp_type};
use crate::diagnostic::{Diagnostic, Diagnostics, Finding, Position};
use crate::emit::{self, Emit};
use crate::normalize::{DerivedQuery, Normal, normalize};
use crate::program::*;
use crate::rule;
use crate::share::{PendingHaving, PendingValue, SharedBase, SharedParts, Sharing, physical_over};
use crate::statement::{CreateSegment, Statement};
use crate::text::text_over;
use crate::versions::{older, rename};
use crate::window::{MAX_WINDOW_MS, WindowSpec, parse_duration};

/// Whether a text is SQL or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Statements.
    Sql,
    /// Rules or API segments.
    Json,
}

/// A text with segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    /// Name for messages, a file's name for instance.
    pub name: String,
    /// SQL or JSON.
    pub kind: SourceKind,
    /// The text.
    pub text: String,
    /// Another name for the segment of the text, by which others may read it.
    pub id: Option<String>,
}

/// Choices for a compilation.
#[derive(Debug, Clone, Default)]
pub struct CompileOptions {
    /// Overrides every EMIT clause and default.
    pub emit: Option<Emit>,
}

/// A segment before it is planned.
struct Pending {
    name: String,
    rule_id: Option<String>,
    hidden: bool,
    older: bool,
    file: usize,
    at: Position,
    query: Arc<Query>,
    emit: Option<Emit>,
    retain_ms: i64,
    backfill_ms: i64,
    window_ms: Option<i64>,
    sql: String,
}

/// Compiles all texts together.
///
/// # Errors
/// All findings of all texts; nothing is compiled when there is one.
pub fn compile(sources: &[SourceText], options: &CompileOptions) -> Result<Program, Diagnostics> {
    compile_cached(sources, options, &mut CompileCache::default())
}

/// As [`compile`], with what earlier compilations left.
///
/// # Errors
/// All findings of all texts; nothing is compiled when there is one.
pub fn compile_cached(sources: &[SourceText], options: &CompileOptions, cache: &mut CompileCache) -> Result<Program, Diagnostics> {
    compile_versions(sources, sources.len(), options, cache)
}

/// As [`compile_cached`], of two versions of segments: the sources from `from_older` on are the older one, whose segments
/// are called by [`older`] and read those of their own version before any of the others.
///
/// # Errors
/// All findings of all texts; nothing is compiled when there is one.
pub fn compile_versions(sources: &[SourceText], from_older: usize, options: &CompileOptions, cache: &mut CompileCache) -> Result<Program, Diagnostics> {
    cache.next();
    let mut compiler = Compiler {
        sources,
        functions: Arc::clone(&cache.functions),
        cache,
        pending: vec![],
        names: FxHashSet::default(),
        aliases: FxHashMap::default(),
        errors: vec![],
    };
    compiler.collect(0..from_older.min(sources.len()));
    compiler.collect_older(from_older.min(sources.len())..sources.len());
    let order = compiler.order();
    let program = compiler.program(&order, options);
    match program {
        Some(program) if compiler.errors.is_empty() => Ok(program),
        _ => {
            let file_index = |d: &Diagnostic| sources.iter().position(|s| s.name == d.file);
            compiler.errors.sort_by_key(|d| (file_index(d), d.line, d.column));
            Err(Diagnostics(compiler.errors))
        }
    }
}

struct Compiler<'a> {
    sources: &'a [SourceText],
    cache: &'a mut CompileCache,
    pending: Vec<Pending>,
    /// Names of those that are pending.
    names: FxHashSet<String>,
    /// Ids under which segments are also known.
    aliases: FxHashMap<String, String>,
    errors: Vec<Diagnostic>,
    functions: Arc<Functions>,
}

impl Compiler<'_> {
    fn report(&mut self, file: usize, finding: Finding) {
        self.errors.push(finding.in_file(&self.sources[file].name));
    }

    fn collect(&mut self, files: Range<usize>) {
        for file in files {
            match self.sources[file].kind {
                SourceKind::Sql => self.collect_sql(file),
                SourceKind::Json => self.collect_json(file),
            }
        }
    }

    /// Collects the older version beside what there is.
    fn collect_older(&mut self, files: Range<usize>) {
        if files.is_empty() {
            return;
        }
        let others = (std::mem::take(&mut self.pending), std::mem::take(&mut self.names), std::mem::take(&mut self.aliases));
        self.collect(files);
        let (mut olds, aliases) = (std::mem::replace(&mut self.pending, others.0), std::mem::replace(&mut self.aliases, others.2));
        let mut meant: FxHashMap<String, String> = aliases.into_iter().map(|(said, name)| (said, older(&name))).collect();
        meant.extend(std::mem::replace(&mut self.names, others.1).into_iter().map(|name| (name.clone(), older(&name))));
        for old in &mut olds {
            let name = older(&old.name);
            if !self.names.insert(name.clone()) {
                let finding = Finding::new(old.at, format!("{name} is what the older version of {} is called beside the newer", old.name));
                self.report(old.file, finding.hint("choose another name for one of them"));
            }
            old.name = name;
            old.older = true;
            rename(Arc::make_mut(&mut old.query), &meant);
        }
        self.pending.append(&mut olds);
    }

    fn collect_sql(&mut self, file: usize) {
        let (statements, findings) = self.cache.parse(&self.sources[file].text);
        for finding in findings {
            self.report(file, finding);
        }
        for parsed in statements.iter() {
            match &parsed.statement {
                Statement::Create(create) => self.add_create(file, create, &parsed.text),
                Statement::Explain { .. } | Statement::Show => {}
                Statement::Drop { .. } | Statement::Alter { .. } => {
                    self.report(file, Finding::new(parsed.at, "a file of segments can only create them").hint("DROP and ALTER are for the running service"));
                }
            }
        }
    }

    /// How long members are retained, and how far a new segment reads back, ms.
    fn options(&mut self, file: usize, create: &CreateSegment) -> (i64, i64) {
        let (mut retain_ms, mut backfill_ms) = (0, 0);
        for (key, value, at) in &create.options {
            match (key.as_str(), parse_duration(value)) {
                ("retain", Some(ms)) if (0..=12 * MAX_WINDOW_MS).contains(&ms) => retain_ms = ms,
                ("backfill", Some(ms)) if ms >= 0 => backfill_ms = ms,
                ("retain", Some(ms)) if ms > 0 => {
                    let most = 12 * MAX_WINDOW_MS / 86_400_000;
                    self.report(file, Finding::new(*at, format!("retain = '{value}' is too long")).hint(format!("at most {most} days")));
                }
                ("retain" | "backfill", _) => {
                    self.report(file, Finding::new(*at, format!("{key} = '{value}' is not a length of time")).hint("for instance retain = '1 hour'"))
                }
                _ => self.report(file, Finding::new(*at, format!("unknown option {key}")).hint("options are retain and backfill")),
            }
        }
        (retain_ms, backfill_ms)
    }

    fn add_create(&mut self, file: usize, create: &CreateSegment, text: &str) {
        let (retain_ms, backfill_ms) = self.options(file, create);
        if STREAMS.contains(&create.name.as_str()) {
            return self.report(file, Finding::new(create.name_at, format!("{} is the name of a stream", create.name)));
        }
        if let Some(id) = self.sources[file].id.as_ref().filter(|id| **id != create.name) {
            self.aliases.insert(id.clone(), create.name.clone());
        }
        let known = self.names.contains(&create.name).then(|| self.pending.iter().position(|p| p.name == create.name));
        if let Some(first) = known.flatten() {
            if create.if_not_exists {
                return;
            }
            if !create.or_replace {
                let other = &self.pending[first];
                let place = format!("{}:{}", self.sources[other.file].name, other.at.line);
                return self.report(
                    file,
                    Finding::new(create.name_at, format!("segment {} is already created at {place}", create.name))
                        .hint("choose another name, or write CREATE OR REPLACE SEGMENT"),
                );
            }
            self.pending.remove(first);
        }
        self.names.insert(create.name.clone());
        self.pending.push(Pending {
            name: create.name.clone(),
            rule_id: None,
            hidden: false,
            older: false,
            file,
            at: create.name_at,
            query: Arc::clone(&create.query),
            emit: create.emit,
            retain_ms,
            backfill_ms,
            window_ms: None,
            sql: text.to_string(),
        });
    }

    fn collect_json(&mut self, file: usize) {
        let (segments, findings) = self.cache.json(&self.sources[file].text);
        for finding in findings {
            self.report(file, finding);
        }
        for segment in segments.iter() {
            if let Err(finding) = self.add_json(file, segment) {
                self.report(file, finding);
            }
        }
    }

    fn add_json(&mut self, file: usize, segment: &rule::JsonSegment) -> Result<(), Finding> {
        let nowhere = Position::default();
        let label = |f: Finding| Finding { at: nowhere, message: format!("\"{}\": {}", segment.name, f.message), ..f };
        let create = if segment.query.trim_start().get(..6).is_some_and(|w| w.eq_ignore_ascii_case("create")) {
            segment.query.clone()
        } else {
            format!("CREATE SEGMENT \"{}\" AS\n{}", segment.name.replace('"', "\"\""), segment.query)
        };
        let (statements, findings) = self.cache.parse(&create);
        if let Some(finding) = findings.into_iter().next() {
            return Err(label(finding));
        }
        let [parsed] = statements.as_slice() else {
            return Err(Finding::new(nowhere, format!("\"{}\": sql must be one query or one CREATE SEGMENT", segment.name)));
        };
        let Statement::Create(create) = &parsed.statement else {
            return Err(Finding::new(nowhere, format!("\"{}\": sql must be one query or one CREATE SEGMENT", segment.name)));
        };
        if !self.names.insert(create.name.clone()) {
            return Err(Finding::new(nowhere, format!("segment \"{}\" is given twice", create.name)).hint("segment ids and names are unique"));
        }
        if let Some(id) = segment.id.as_ref().filter(|id| **id != create.name) {
            self.aliases.insert(id.clone(), create.name.clone());
        }
        let (retain_ms, backfill_ms) = self.options(file, create);
        self.pending.push(Pending {
            name: create.name.clone(),
            rule_id: segment.rule_id.clone(),
            hidden: segment.hidden,
            older: false,
            file,
            at: nowhere,
            emit: create.emit,
            query: Arc::clone(&create.query),
            retain_ms,
            backfill_ms,
            window_ms: segment.window_ms,
            sql: parsed.text.clone(),
        });
        Ok(())
    }

    /// Indices of the segments, each after those it reads; cycles are reported.
    fn order(&mut self) -> Vec<usize> {
        let index: FxHashMap<&str, usize> = self.pending.iter().enumerate().map(|(i, p)| (p.name.as_str(), i)).collect();
        let mut reads: Vec<Vec<(usize, Position)>> = vec![];
        for pending in &self.pending {
            // What is known to be over a stream reads no segment.
            let names = if self.cache.kept.bases.contains_key(&pending.sql) { vec![] } else { bind::tables(&pending.query) };
            let resolve = |name: &String| index.get(name.as_str()).or_else(|| self.aliases.get(name).and_then(|n| index.get(n.as_str()))).copied();
            reads.push(names.iter().filter_map(|(name, at)| Some((resolve(name)?, *at))).collect());
        }
        let mut order = vec![];
        let mut state = vec![Visit::New; self.pending.len()];
        for i in 0..self.pending.len() {
            self.visit(i, &reads, &mut state, &mut order);
        }
        order
    }

    /// Depth first, without recursion: chains of segments may be long.
    fn visit(&mut self, start: usize, reads: &[Vec<(usize, Position)>], state: &mut [Visit], order: &mut Vec<usize>) {
        if state[start] != Visit::New {
            return;
        }
        state[start] = Visit::Open;
        let mut stack = vec![(start, 0)];
        while let Some((node, next)) = stack.pop() {
            let Some(&(to, at)) = reads[node].get(next) else {
                state[node] = Visit::Done;
                order.push(node);
                continue;
            };
            stack.push((node, next + 1));
            match state[to] {
                Visit::Done => {}
                Visit::New => {
                    state[to] = Visit::Open;
                    stack.push((to, 0));
                }
                Visit::Open => {
                    let from = stack.iter().position(|(n, _)| *n == to).unwrap_or(0);
                    let mut names: Vec<&str> = stack[from..].iter().map(|(n, _)| self.pending[*n].name.as_str()).collect();
                    names.push(&self.pending[to].name);
                    let message = format!("segments read each other in a circle: {}", names.join(" → "));
                    let at = if self.pending[node].at.line == 0 { Position::default() } else { at };
                    self.report(self.pending[node].file, Finding::new(at, message));
                }
            }
        }
    }

    fn program(&mut self, order: &[usize], options: &CompileOptions) -> Option<Program> {
        let mut built = Built { sharing: Sharing::default(), segments: vec![], bases: vec![], ids: FxHashMap::default() };
        let mut failed: FxHashSet<String> = FxHashSet::default();
        let mut planned = self.plan_all(order);
        for &i in order {
            let result = self.segment(i, planned.remove(&i), &mut built, options);
            if let Err(finding) = result {
                failed.insert(self.pending[i].name.clone());
                if let Some(finding) = finding {
                    let pending = &self.pending[i];
                    let finding = if pending.at.line == 0 {
                        Finding { at: Position::default(), message: format!("\"{}\": {}", pending.name, finding.message), ..finding }
                    } else {
                        finding.or_at(pending.at)
                    };
                    self.report(pending.file, finding);
                }
            }
        }
        if !failed.is_empty() || !self.errors.is_empty() {
            return None;
        }
        match built.finish() {
            Ok(program) => Some(program),
            Err(finding) => {
                self.report(0, finding);
                None
            }
        }
    }

    /// Plans the segments that are not known, on all cores: no plan depends on another.
    fn plan_all(&self, order: &[usize]) -> FxHashMap<usize, PlanOutcome> {
        let unknown = |i: &usize| !self.cache.knows(&self.pending[*i].sql);
        let new: Vec<usize> = order.iter().copied().filter(unknown).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = new.len().div_ceil(cores).max(LEAST_PLANS);
        if new.len() <= share {
            return new.into_iter().map(|i| (i, self.plan(i))).collect();
        }
        std::thread::scope(|scope| {
            let plan_some = |some: &[usize]| some.iter().map(|&i| (i, self.plan(i))).collect::<Vec<_>>();
            // Where there is no thread to be had, they are planned one by one.
            let spawn = |some| std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || plan_some(some)).ok();
            let spawned: Vec<_> = new.chunks(share).filter_map(spawn).collect();
            spawned.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }

    fn plan(&self, i: usize) -> PlanOutcome {
        let mut catalog = Catalog::new(&self.functions, SegmentNames { names: &self.names, aliases: &self.aliases });
        let mut query = (*self.pending[i].query).clone();
        let logical = bind::plan(&mut query, &mut catalog, &self.functions)?;
        let normal = normalize(&logical, &catalog)?;
        Ok((normal, logical.display_indent().to_string().into()))
    }

    /// Compiles one segment, which may have been planned already; `Err(None)` when one that it reads failed.
    fn segment(&mut self, i: usize, planned: Option<PlanOutcome>, built: &mut Built, options: &CompileOptions) -> Result<(), Option<Finding>> {
        let aliases = &self.aliases;
        let pending = &self.pending[i];
        let (planned, logical_plan) = match self.cache.base(&pending.sql) {
            Some(base) => (Planned::Base(Arc::clone(&base)), Arc::clone(&base.plan)),
            None => {
                let (normal, plan) = planned.unwrap_or_else(|| self.plan(i)).map_err(Some)?;
                let planned = match normal {
                    Normal::Derived(query) => Planned::Derived(query),
                    Normal::Base(query) => {
                        let base = Arc::new(PlannedBase::new(query, Arc::clone(&plan)));
                        self.cache.used.bases.insert(pending.sql.clone(), Arc::clone(&base));
                        Planned::Base(base)
                    }
                };
                (planned, plan)
            }
        };
        let id = built.segments.len() as SegmentId;
        let normal = match &planned {
            Planned::Base(base) => Normal::Base(Arc::clone(&base.query)),
            Planned::Derived(query) => Normal::Derived(Arc::clone(query)),
        };
        let mut segment = Segment {
            name: pending.name.clone(),
            rule_id: pending.rule_id.clone().unwrap_or_else(|| pending.name.clone()),
            hidden: pending.hidden,
            older: pending.older,
            emit: Emit::Final,
            emit_reason: String::new(),
            retain_ms: pending.retain_ms,
            backfill_ms: pending.backfill_ms,
            hold_ms: 0,
            window: WindowSpec::Tumble { size: 0 },
            kind: SegmentKind::Base { family: 0, having: Having::Always, value: Value::None },
            readers: vec![],
            member_readers: vec![],
            sql: pending.sql.clone(),
            logical_plan,
            normal,
            condition: String::new(),
        };
        let (default, base) = match planned {
            Planned::Base(base) => {
                segment.window = base.query.window;
                segment.hold_ms = base.query.window.step();
                segment.condition = base.condition.clone();
                (base.emit.clone(), Some(built.sharing.add(id, &base.query).map_err(Some)?))
            }
            Planned::Derived(query) => {
                // One that failed, or is part of a circle, has its own finding.
                let built_name = |n: &String| built.ids.contains_key(aliases.get(n).unwrap_or(n));
                if !query.inputs.iter().all(built_name) {
                    return Err(None);
                }
                (derived(&mut segment, id, &query, pending.window_ms, built, aliases).map_err(Some)?, None)
            }
        };
        let asked = options.emit.map(|e| (e, "asked for by the command line".to_string()));
        let written = pending.emit.map(|e| (e, "written in the EMIT clause".to_string()));
        (segment.emit, segment.emit_reason) = asked.or(written).unwrap_or(default);
        built.ids.insert(segment.name.clone(), id);
        built.segments.push(segment);
        built.bases.push(base);
        Ok(())
    }
}

/// Bytes of stack of a thread that plans: deeply nested statements take much of it. Only what is used is taken from memory.
pub const STACK: usize = 256 << 20;
/// The fewest plans that a thread is worth.
const LEAST_PLANS: usize = 16;

/// What a query comes to, with its logical plan as text.
type PlanOutcome = Result<(Normal, Arc<str>), Finding>;

/// A query that has been planned, now or before.
enum Planned {
    Base(Arc<PlannedBase>),
    Derived(Arc<DerivedQuery>),
}

#[derive(Clone, Copy, PartialEq)]
enum Visit {
    New,
    Open,
    Done,
}

struct Built {
    sharing: Sharing,
    segments: Vec<Segment>,
    bases: Vec<Option<SharedBase>>,
    ids: FxHashMap<String, SegmentId>,
}

/// Fills in a derived segment; returns its default emit mode.
fn derived(
    segment: &mut Segment,
    id: SegmentId,
    query: &DerivedQuery,
    window_ms: Option<i64>,
    built: &mut Built,
    aliases: &FxHashMap<String, String>,
) -> Result<(Emit, String), Finding> {
    let mut inputs = vec![];
    for name in &query.inputs {
        let found = built.ids.get(name).or_else(|| aliases.get(name).and_then(|n| built.ids.get(n)));
        inputs.push(*found.ok_or_else(|| Finding::new(Position::default(), format!("unknown segment {name}")))?);
    }
    let input = |i: usize| &built.segments[inputs[i] as usize];
    check_windows(segment, query, &inputs, window_ms, built)?;
    let mut fields = vec![
        Field::new("user_id", DataType::Utf8, false),
        Field::new("window_start", timestamp_type(), false),
        Field::new("window_end", timestamp_type(), false),
    ];
    for i in 0..inputs.len() {
        fields.push(Field::new(format!("p{i}"), DataType::Boolean, false));
        fields.push(Field::new(format!("v{i}"), DataType::Float64, true));
    }
    let schema = Arc::new(Schema::new(fields));
    let condition = physical_over(&query.condition, &schema)?;
    let value = query.value.as_ref().map(|v| physical_over(v, &schema)).transpose()?;
    segment.window = input(0).window;
    segment.hold_ms = inputs.iter().map(|&i| built.segments[i as usize].hold_ms).max().unwrap_or(0);
    segment.condition = text_over(&query.condition, |i| inputs.get(i).map(|id| built.segments[*id as usize].name.as_ref()));
    let modes: Vec<_> = (0..inputs.len()).map(|i| (input(i).name.clone(), input(i).emit)).collect();
    for &i in &inputs {
        let readers = &mut built.segments[i as usize];
        match query.by {
            MatchBy::Window => readers.readers.push(id),
            MatchBy::User => readers.member_readers.push(id),
        }
    }
    segment.kind = SegmentKind::Derived(Derived { by: query.by, inputs, presence: query.presence.clone(), schema, condition, value });
    Ok(emit::default_for_derived(&query.condition, &modes))
}

fn check_windows(segment: &Segment, query: &DerivedQuery, inputs: &[SegmentId], window_ms: Option<i64>, built: &Built) -> Result<(), Finding> {
    let describe = |s: &Segment| format!("{} ({})", s.name, s.window);
    let input = |i: usize| &built.segments[inputs[i] as usize];
    if let Some(ms) = window_ms {
        let by_user = |s: &Segment| matches!(&s.kind, SegmentKind::Derived(d) if d.by == MatchBy::User);
        if let Some(other) = (0..inputs.len()).map(input).find(|s| s.window.size() != ms || by_user(s)) {
            return Err(Finding::new(
                Position::default(),
                format!("all dependencies must have windowMinutes {}, but {} has not", ms / 60_000, describe(other)),
            ));
        }
    }
    if query.by == MatchBy::User {
        return Ok(());
    }
    let first = input(0);
    for other in (1..inputs.len()).map(input) {
        let sessions = |s: &Segment| matches!(s.window, WindowSpec::Session { .. });
        if first.window.size() != other.window.size() || sessions(first) != sessions(other) {
            return Err(Finding::new(
                Position::default(),
                format!("{} combines windows that never coincide: {} and {}", segment.name, describe(first), describe(other)),
            )
            .hint("match segments of equal window sizes, or current membership: USING (user_id)"));
        }
    }
    Ok(())
}

impl Built {
    fn finish(self) -> Result<Program, Finding> {
        let SharedParts { scan, event_schema, matched, masks, arguments, routers, families, filters } = self.sharing.finish()?;
        let mut segments = self.segments;
        for (segment, base) in segments.iter_mut().zip(self.bases) {
            let Some(base) = base else { continue };
            let schema = &families[base.family as usize].output_schema;
            let having = match base.having {
                PendingHaving::Always => Having::Always,
                PendingHaving::Threshold(t) => Having::Threshold(t),
                PendingHaving::Expression(e) => Having::Expression(physical_over(&e, schema)?),
            };
            let value = match base.value {
                PendingValue::None => Value::None,
                PendingValue::View(v) => Value::View(v),
                PendingValue::Expression(e) => Value::Expression(physical_over(&e, schema)?),
            };
            segment.kind = SegmentKind::Base { family: base.family, having, value };
        }
        Ok(Program { scan, event_schema, matched, masks, arguments, routers, families, filters, segments })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// A segment whose condition has so many terms, each a level of nesting.
    fn segment(name: &str, terms: usize) -> String {
        let condition: Vec<String> = (0..terms).map(|i| format!("value = {i}")).collect();
        format!(
            "CREATE SEGMENT {name} AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE {} \
             GROUP BY user_id, window_start, window_end HAVING count(*) > 1;\n",
            condition.join(" OR ")
        )
    }

    #[test]
    fn what_is_nested_deeply_is_planned_beside_others() {
        let text = (0..4 * LEAST_PLANS).map(|i| segment(&format!("s{i}"), 1)).collect::<String>() + &segment("deep", 4_500);
        let source = SourceText { name: "sql".into(), kind: SourceKind::Sql, text, id: None };
        // As the service compiles: with a stack for what is nested.
        let compiling = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            let program = compile(&[source], &CompileOptions::default()).unwrap();
            program.segments.len()
        });
        assert_eq!(compiling.unwrap().join().unwrap(), 4 * LEAST_PLANS + 1);
    }

    #[test]
    fn findings_of_segments_planned_at_once_come_in_the_order_of_the_text() {
        let text =
            (0..4 * LEAST_PLANS).map(|i| segment(&format!("s{i}"), 1).replace("count(*)", if i % 7 == 3 { "count(nothing)" } else { "count(*)" })).collect();
        let source = SourceText { name: "sql".into(), kind: SourceKind::Sql, text, id: None };
        let Err(Diagnostics(found)) = compile(&[source], &CompileOptions::default()) else { panic!("the segments compile") };
        let lines: Vec<_> = found.iter().map(|d| d.line).collect();
        assert_eq!(lines, (0..4 * LEAST_PLANS as u64).filter(|i| i % 7 == 3).map(|i| i + 1).collect::<Vec<_>>());
    }
}
