//! Segments that come, change and go while the engine runs: each change is compiled together with all that runs,
//! then kept in the catalog, then deployed. What does not compile changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use cohort_compiler::catalog::STREAMS;
use cohort_compiler::program::SegmentKind;
use cohort_compiler::statement::{self, Statement};
use cohort_compiler::{CompileCache, CompileOptions, Diagnostics, Program, SourceKind, SourceText, compile_versions};
use cohort_engine::relay::Reads;
use cohort_engine::worker::Deployment;
use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};
use tracing::Instrument;

use super::Service;
use super::elsewhere;
use super::history::LogBackfill;
use crate::api::problem::{ApiResult, Problem};
use crate::catalog::{Edit, Stored};

/// A segment of the catalog, with the text that it is compiled from.
pub struct Listed {
    stored: Stored,
    source: SourceText,
}

impl Listed {
    /// A segment of the catalog.
    pub fn new(stored: Stored) -> Arc<Self> {
        Arc::new(Listed { source: source(&stored.id, &stored.name, &stored.body), stored })
    }
}

impl std::ops::Deref for Listed {
    type Target = Stored;

    fn deref(&self) -> &Stored {
        &self.stored
    }
}

/// The texts of the segments that are to run.
pub fn sources(segments: &[Arc<Listed>]) -> Vec<SourceText> {
    segments.iter().filter(|s| s.active).map(|s| s.source.clone()).collect()
}

/// What runs, and what is in the catalog.
pub struct Current {
    /// Revision of the catalog.
    pub revision: i64,
    /// What runs.
    pub program: Arc<Program>,
    /// All segments, in the order of their creation.
    pub segments: Vec<Arc<Listed>>,
    /// Name or id → place in `segments`.
    places: FxHashMap<String, usize>,
    /// Name → place in the program's segments.
    compiled: FxHashMap<String, usize>,
}

impl Current {
    /// What runs as of a revision.
    pub fn new(revision: i64, program: Arc<Program>, segments: Vec<Arc<Listed>>) -> Self {
        let mut places: FxHashMap<String, usize> = segments.iter().enumerate().map(|(i, s)| (s.name.clone(), i)).collect();
        segments.iter().enumerate().for_each(|(i, s)| {
            places.insert(s.id.clone(), i);
        });
        let compiled = program.segments.iter().enumerate().map(|(i, s)| (s.name.clone(), i)).collect();
        Current { revision, program, segments, places, compiled }
    }

    /// The segment of a name or id.
    pub fn find(&self, name: &str) -> Option<&Stored> {
        self.places.get(name).map(|&i| &self.segments[i].stored)
    }

    /// Its place in the program, when it runs.
    pub fn compiled(&self, name: &str) -> Option<usize> {
        self.compiled.get(name).copied()
    }

    /// The running segments that read one, by name.
    pub fn readers_of(&self, name: &str) -> Vec<String> {
        let Some(id) = self.compiled(name) else { return vec![] };
        let segment = &self.program.segments[id];
        let readers = segment.readers.iter().chain(&segment.member_readers);
        self.visible(name, readers)
    }

    /// The segments that a running one reads, by name.
    pub fn reads_of(&self, name: &str) -> Vec<String> {
        match self.compiled(name).map(|id| &self.program.segments[id].kind) {
            Some(SegmentKind::Derived(d)) => self.visible(name, d.inputs.iter()),
            _ => vec![],
        }
    }

    /// The names of segments but for one's own; those that are hidden stand for the one they belong to.
    fn visible<'a>(&self, own: &str, ids: impl Iterator<Item = &'a u32>) -> Vec<String> {
        let owner = |id: &u32| self.program.segments[*id as usize].name.split('/').next().unwrap_or_default().to_string();
        let names: BTreeSet<String> = ids.map(owner).filter(|name| name != own).collect();
        names.into_iter().collect()
    }
}

/// The text that a segment is compiled from.
pub fn source(id: &str, name: &str, body: &Value) -> SourceText {
    let id = Some(id.to_string());
    match body.get("sql").and_then(Value::as_str) {
        Some(sql) => SourceText { name: name.into(), kind: SourceKind::Sql, text: statement_of(name, sql), id },
        None => {
            let mut object = body.as_object().cloned().unwrap_or_default();
            object.insert("name".into(), json!(name));
            object.insert("id".into(), json!(id));
            SourceText { name: name.into(), kind: SourceKind::Json, text: Value::Object(object).to_string(), id }
        }
    }
}

fn is_create(sql: &str) -> bool {
    sql.trim_start().get(..6).is_some_and(|w| w.eq_ignore_ascii_case("create"))
}

/// A query as the statement that creates its segment.
fn statement_of(name: &str, sql: &str) -> String {
    if is_create(sql) { sql.to_string() } else { format!("CREATE SEGMENT \"{}\" AS\n{}", name.replace('"', "\"\""), sql.trim_end().trim_end_matches(';')) }
}

/// A segment to create or to replace, as the API takes it.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Its name.
    pub name: String,
    /// What it is made from.
    pub body: Value,
    /// What it is for.
    pub description: String,
}

/// Fields of a segment; those from the ninth on are what the API answers with, and mean nothing.
const KNOWN: [&str; 25] = [
    "name",
    "description",
    "type",
    "windowMinutes",
    "rules",
    "dependencies",
    "logicalExpression",
    "sql",
    "active",
    "id",
    "emit",
    "emitReason",
    "window",
    "version",
    "createdAt",
    "updatedAt",
    "updatedBy",
    "size",
    "warnings",
    "freshness",
    "entered",
    "exited",
    "trend",
    "reads",
    "readBy",
];

/// Names that paths of the API have instead of a segment's.
pub const RESERVED: [&str; 3] = ["rules", "preview", "check"];

/// Checks the form of a body; whether it compiles is seen later.
pub fn draft(body: &Value, known_name: Option<&str>) -> ApiResult<Draft> {
    let object = body.as_object().ok_or_else(|| Problem::bad_request("a segment is a JSON object"))?;
    if let Some(unknown) = object.keys().find(|k| !KNOWN.contains(&k.as_str())) {
        return Err(Problem::bad_request(format!("a segment has no field {unknown:?}")).hint(format!("fields are {}", KNOWN[..8].join(", "))));
    }
    let text = |key: &str| match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        // Lines and columns of errors are those of the text as it came.
        Some(Value::String(s)) if key == "sql" => Ok(Some(s.trim_end().to_string()).filter(|s| !s.is_empty())),
        Some(Value::String(s)) => Ok(Some(s.trim().to_string()).filter(|s| !s.is_empty())),
        Some(other) => Err(Problem::bad_request(format!("{key} must be a text, not {other}"))),
    };
    // With rules, the SQL is what the API answered with.
    let (mut name, sql) = (text("name")?, text("sql")?.filter(|_| !is_form(object)));
    let description = text("description")?.unwrap_or_default();
    text("logicalExpression")?;
    if let Some(key) = ["rules", "dependencies"].iter().find(|key| object.get(**key).is_some_and(|v| !v.is_null() && !v.is_array())) {
        return Err(Problem::bad_request(format!("{key} must be a list")));
    }
    if let Some(sql) = sql.as_deref().filter(|sql| is_create(sql)) {
        let own = created_name(sql)?;
        if name.as_ref().is_some_and(|n| *n != own) {
            return Err(Problem::bad_request(format!("name says {:?}, and the SQL creates {own:?}", name.unwrap_or_default())));
        }
        name = Some(own);
    }
    let reserved = |name: &String| STREAMS.contains(&name.as_str()) || RESERVED.contains(&name.as_str());
    if let Some(name) = name.as_ref().filter(|name| reserved(name)) {
        return Err(Problem::bad_request(format!("{name} is the name of something else")).hint("choose another name"));
    }
    let name = name.or_else(|| known_name.map(String::from));
    let name = name.ok_or_else(|| Problem::bad_request("a segment needs a name").hint("\"name\": \"High Spenders\", or CREATE SEGMENT name AS …"))?;
    if name.len() > 128 || name.contains(['/', '\0']) {
        return Err(Problem::bad_request("a name has at most 128 bytes, no '/' and no NUL"));
    }
    let body = match sql {
        Some(sql) => json!({"name": name, "sql": sql}),
        None => {
            let mut kept = object.clone();
            let foreign = foreign(object);
            kept.retain(|key, _| KNOWN[..7].contains(&key.as_str()) && key != "description" && !foreign.contains(&key.as_str()));
            kept.insert("name".into(), json!(name));
            Value::Object(kept)
        }
    };
    Ok(Draft { name, body, description })
}

/// Fields that mean nothing to a segment of its type.
fn foreign(object: &Map<String, Value>) -> &'static [&'static str] {
    match object.get("type").and_then(Value::as_str) {
        Some(kind) if kind.eq_ignore_ascii_case("INDEPENDENT") => &["dependencies", "logicalExpression"],
        Some(kind) if kind.eq_ignore_ascii_case("DERIVED") => &["rules"],
        _ => &[],
    }
}

/// Whether a body says with rules or dependencies what its segment is.
fn is_form(object: &Map<String, Value>) -> bool {
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    let given = |key: &&str| object.get(*key).is_some_and(|v| !v.is_null() && *v != json!([]) && *v != json!(""));
    ["INDEPENDENT", "DERIVED"].iter().any(|k| k.eq_ignore_ascii_case(kind)) && ["rules", "dependencies", "logicalExpression"].iter().any(given)
}

fn created_name(sql: &str) -> ApiResult<String> {
    let (mut statements, findings) = statement::parse(sql);
    if !findings.is_empty() {
        return Err(Diagnostics(findings.into_iter().map(|f| f.in_file("sql")).collect()).into());
    }
    match (statements.pop().map(|p| p.statement), statements.is_empty()) {
        (Some(Statement::Create(create)), true) => Ok(create.name),
        _ => Err(Problem::bad_request("sql must be one query or one CREATE SEGMENT")),
    }
}

/// The lines and columns of a query that was wrapped into a statement, as its author counts them.
fn unwrapped(found: Diagnostics, name: &str, body: &Value) -> Diagnostics {
    let sql = body.get("sql").and_then(Value::as_str);
    let shift = |mut d: cohort_compiler::Diagnostic| {
        if d.file != name && !d.message.starts_with('"') {
            d.message = format!("\"{}\": {}", d.file, d.message);
        }
        if sql.is_none() || d.file != name {
            (d.line, d.column) = (0, 0);
        } else if sql.is_some_and(|sql| !is_create(sql)) && d.line > 0 {
            d.line -= 1;
            d.column = if d.line == 0 { 0 } else { d.column };
        }
        d
    };
    Diagnostics(found.0.into_iter().map(shift).collect())
}

impl Service {
    /// Compiles segments.
    async fn compile(&self, cache: Arc<tokio::sync::Mutex<CompileCache>>, sources: Vec<SourceText>) -> ApiResult<Result<Program, Diagnostics>> {
        let all = sources.len();
        self.compile_versions(cache, sources, all).await
    }

    /// Compiles segments, of which those from `from_older` on are an older version of some of the others.
    async fn compile_versions(
        &self,
        cache: Arc<tokio::sync::Mutex<CompileCache>>,
        sources: Vec<SourceText>,
        from_older: usize,
    ) -> ApiResult<Result<Program, Diagnostics>> {
        // Waits here and not on a thread, of which there would be too many.
        let mut cache = cache.lock_owned().await;
        let started = std::time::Instant::now();
        let span = tracing::info_span!("compile", segments = sources.len());
        let work = move || compile_versions(&sources, from_older, &CompileOptions::default(), &mut cache);
        let compiled = tokio::task::spawn_blocking(work).instrument(span).await.map_err(|e| Problem::internal(&e));
        metrics::histogram!("cohort_compile_seconds").record(started.elapsed().as_secs_f64());
        compiled
    }

    /// Makes changes to the catalog and deploys them; nothing happens unless all segments compile together.
    pub async fn edit(&self, edits: Vec<Edit>, by: &str) -> ApiResult<Arc<Current>> {
        let _one_at_a_time = self.editing.lock().await;
        self.refresh_locked().await?;
        let current = self.current.load_full();
        let mut segments = current.segments.clone();
        for edit in &edits {
            preview_edit(&mut segments, edit)?;
        }
        self.refuse_used(&current, &edits)?;
        let program = match self.compile(Arc::clone(&self.cache), sources(&segments)).await? {
            Ok(program) => program,
            Err(found) => return Err(self.finding(found, &edits)),
        };
        let (revision, changed) = self.catalog.apply(&edits, by, (self.clock)()).await?;
        if revision == current.revision + edits.len() as i64 {
            let mut segments = current.segments.clone();
            for (edit, stored) in edits.iter().zip(changed) {
                take_over(&mut segments, edit, stored);
            }
            self.deploy(revision, Arc::new(program), segments).await;
        } else {
            // Another instance was faster.
            self.refresh_locked().await?;
        }
        Ok(self.current.load_full())
    }

    /// Compiles what an edit that creates or replaces a segment would have run, as if that segment were active.
    pub async fn check(&self, edit: Edit) -> ApiResult<Arc<Program>> {
        let current = self.current.load_full();
        let mut segments = current.segments.clone();
        preview_edit(&mut segments, &edit)?;
        self.refuse_used(&current, std::slice::from_ref(&edit))?;
        let (Edit::Create { name, .. } | Edit::Replace { name, .. }) = &edit else { return Err(Problem::internal(&"not a segment to check")) };
        if let Some(paused) = segments.iter_mut().find(|s| s.name == *name && !s.active) {
            *paused = Listed::new(Stored { active: true, ..paused.stored.clone() });
        }
        match self.compile(Arc::clone(&self.asking), sources(&segments)).await? {
            Ok(program) => Ok(Arc::new(program)),
            Err(Diagnostics(mut found)) => {
                // What is wrong with the text comes first.
                found.sort_by_key(|d| d.file != *name);
                Err(self.finding(Diagnostics(found), &[edit]))
            }
        }
    }

    fn finding(&self, found: Diagnostics, edits: &[Edit]) -> Problem {
        let body = edits.iter().find_map(|e| match e {
            Edit::Create { name, body, .. } | Edit::Replace { name, body, .. } => Some((name, body)),
            _ => None,
        });
        match body {
            Some((name, body)) => unwrapped(found, name, body).into(),
            None => found.into(),
        }
    }

    /// Refuses to take away what others read.
    fn refuse_used(&self, current: &Current, edits: &[Edit]) -> ApiResult<()> {
        let gone: BTreeSet<&str> = edits
            .iter()
            .filter_map(|e| match e {
                Edit::Drop { id } | Edit::SetActive { id, active: false } => current.find(id).map(|s| s.name.as_str()),
                Edit::Replace { id, name, .. } => current.find(id).filter(|s| s.name != *name).map(|s| s.name.as_str()),
                _ => None,
            })
            .collect();
        for name in &gone {
            let readers: Vec<String> = current.readers_of(name).into_iter().filter(|r| !gone.contains(r.as_str())).collect();
            if !readers.is_empty() {
                let detail = format!("segment {name:?} is used by {}", readers.join(", "));
                return Err(Problem::new(axum::http::StatusCode::CONFLICT, "segment-in-use", detail).with_segments(readers));
            }
        }
        Ok(())
    }

    /// Has the workers run a program from their next batch on.
    #[tracing::instrument(skip_all, fields(revision = revision))]
    async fn deploy(&self, revision: i64, program: Arc<Program>, segments: Vec<Arc<Listed>>) {
        let old = self.current.load_full();
        let mut deployment = Deployment::new(revision, elsewhere::to_run(&self.config, Arc::clone(&program)));
        let evaluates = elsewhere::reads(&self.config) == Reads::Events;
        let fresh: Vec<&str> = if evaluates { fresh_backfills(&old.program, &program) } else { vec![] };
        if !fresh.is_empty() {
            let longest = program.segments.iter().filter(|s| fresh.contains(&s.name.as_str())).map(|s| s.backfill_ms).max().unwrap_or(0);
            let backfill = LogBackfill::new(&self.retained, Arc::clone(&program), self.settings(), (self.clock)() - longest);
            let prepare = move || backfill.prepare().map(|()| backfill);
            match tokio::task::spawn_blocking(prepare).await {
                Ok(Ok(backfill)) => deployment.backfill = Some(Arc::new(backfill)),
                Ok(Err(error)) => tracing::error!(error, "backfill"),
                Err(error) => tracing::error!(%error, "backfill"),
            }
        }
        self.runtime.deploy(&deployment);
        self.current.store(Arc::new(Current::new(revision, program, segments)));
    }

    /// Takes over what other instances changed.
    pub async fn refresh(&self) -> ApiResult<()> {
        if self.catalog.revision().await? == self.current.load().revision {
            return Ok(());
        }
        let _one_at_a_time = self.editing.lock().await;
        self.refresh_locked().await
    }

    async fn refresh_locked(&self) -> ApiResult<()> {
        if self.catalog.revision().await? == self.current.load().revision {
            return Ok(());
        }
        let (revision, segments) = self.catalog.all().await?;
        let segments: Vec<Arc<Listed>> = segments.into_iter().map(Listed::new).collect();
        match self.compile(Arc::clone(&self.cache), sources(&segments)).await? {
            Ok(program) => self.deploy(revision, Arc::new(program), segments).await,
            Err(found) => {
                tracing::error!(error = %found, "the catalog does not compile; what ran before goes on");
                return Err(found.into());
            }
        }
        Ok(())
    }

    /// Compiles a text together with what runs; segments of the same names are replaced. A `SELECT` becomes a segment
    /// of the name given. `older` is another version of them, which runs along. Returns the program and the names of the
    /// text's segments.
    pub async fn compile_beside(&self, text: SourceText, older: Option<SourceText>) -> ApiResult<(Arc<Program>, Vec<String>)> {
        let own: BTreeSet<String> = match text.kind {
            SourceKind::Sql => {
                statement::parse(&text.text).0.into_iter().filter_map(|p| if let Statement::Create(c) = p.statement { Some(c.name) } else { None }).collect()
            }
            SourceKind::Json => cohort_compiler::rule::parse(&text.text).0.into_iter().filter(|s| !s.hidden).map(|s| s.name).collect(),
        };
        let current = self.current.load_full();
        let others = current.segments.iter().filter(|s| s.active && !own.contains(&s.name));
        let mut sources: Vec<SourceText> = others.map(|s| s.source.clone()).collect();
        let name = text.name.clone();
        sources.push(text);
        let newer = sources.len();
        sources.extend(older);
        let cache = Arc::clone(&self.asking);
        match self.compile_versions(cache, sources, newer).await? {
            Ok(program) => Ok((Arc::new(program), own.into_iter().collect())),
            Err(Diagnostics(mut found)) => {
                // What is wrong with the text comes first.
                found.sort_by_key(|d| d.file != name);
                Err(Diagnostics(found).into())
            }
        }
    }
}

/// The segments that are new, or mean something new, and ask for retained events.
fn fresh_backfills<'a>(old: &Program, new: &'a Program) -> Vec<&'a str> {
    let known = |s: &&cohort_compiler::program::Segment| old.segments.iter().any(|o| o.name == s.name && o.sql == s.sql);
    new.segments.iter().filter(|s| s.backfill_ms > 0).filter(|s| !known(s)).map(|s| s.name.as_str()).collect()
}

/// Does to a list what an edit did to the catalog.
fn take_over(segments: &mut Vec<Arc<Listed>>, edit: &Edit, stored: Stored) {
    let at = segments.iter().position(|s| s.id == stored.id);
    match (edit, at) {
        (Edit::Drop { .. }, Some(at)) => drop(segments.remove(at)),
        (Edit::Drop { .. }, None) => {}
        (_, Some(at)) => segments[at] = Listed::new(stored),
        (_, None) => segments.push(Listed::new(stored)),
    }
}

/// Does to a list what an edit will do to the catalog.
fn preview_edit(segments: &mut Vec<Arc<Listed>>, edit: &Edit) -> ApiResult<()> {
    let taken = |name: &str| Problem::from(crate::catalog::CatalogError::NameTaken { name: name.to_string() });
    let (id, changed) = match edit {
        Edit::Create { name, body, description, origin, active } => {
            if segments.iter().any(|s| s.name == *name) {
                return Err(taken(name));
            }
            let stored = Stored {
                id: format!("new {name}"),
                name: name.clone(),
                body: body.clone(),
                description: description.clone(),
                origin: origin.clone(),
                active: *active,
                version: 1,
                created_at: 0,
                updated_at: 0,
                updated_by: String::new(),
            };
            segments.push(Listed::new(stored));
            return Ok(());
        }
        Edit::Replace { id, .. } | Edit::SetActive { id, .. } | Edit::Drop { id } => (id, segments.iter().position(|s| s.id == *id)),
    };
    let at = changed.ok_or_else(|| Problem::no_segment(id))?;
    let old = segments[at].stored.clone();
    match edit {
        Edit::Replace { name, body, description, .. } => {
            if segments.iter().enumerate().any(|(i, s)| i != at && s.name == *name) {
                return Err(taken(name));
            }
            segments[at] = Listed::new(Stored { name: name.clone(), body: body.clone(), description: description.clone(), ..old });
        }
        Edit::SetActive { active, .. } => segments[at] = Listed::new(Stored { active: *active, ..old }),
        _ => drop(segments.remove(at)),
    }
    Ok(())
}
