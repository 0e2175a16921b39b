//! A client that is known: its statements, one after the other, as text or prepared with parameters.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::vec::IntoIter;

use bytes::Bytes;
use cohort_compiler::Diagnostics;
use cohort_compiler::statement::{self, Piece};
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast;
use pgwire::messages::PgWireBackendMessage as Message;
use pgwire::messages::data::{DataRow, NoData, ParameterDescription};
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::ParameterStatus;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};

use super::errors::{self, problem};
use super::settings::{DEFAULTS, REPORTED, Settings};
use super::values::{self, Formats, Type};
use super::wire::{Request, Wire};
use super::{GRACE, catalog, rewrite, stopped};
use crate::api::App;
use crate::api::auth::Caller;
use crate::api::problem::{ApiResult, Problem};
use crate::api::sql::{self, Outcome};
use crate::service::query::{Dialect, Rows, Select};

/// Statements and portals that a client may keep, and their bytes.
const MAX_KEPT: usize = 256;
const MAX_KEPT_BYTES: usize = 4 << 20;

/// A client.
pub struct Session<S> {
    pub wire: Wire<S>,
    pub app: App,
    pub caller: Caller,
    pub user: String,
    pub pid: i32,
    pub settings: Settings,
    /// Told when the client wants its statement ended.
    pub cancel: Arc<Notify>,
    pub stop: watch::Receiver<bool>,
    pub block: Block,
    pub statements: BTreeMap<String, Arc<Prepared>>,
    pub portals: BTreeMap<String, Portal>,
}

/// Whether BEGIN was said. Nothing else comes of it: what statements do, they do at once.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Block {
    open: bool,
    failed: bool,
    changed: bool,
}

/// A statement that may be run again and again; none where the text is empty.
pub struct Prepared {
    text: String,
    piece: Option<Piece>,
    parameters: Vec<Type>,
    columns: Vec<(String, Type)>,
}

/// A statement with its parameters.
pub struct Portal {
    statement: Arc<Prepared>,
    parameters: Vec<Option<Bytes>>,
    formats: Formats,
    wanted: Formats,
    /// What is left of its answer, once it ran.
    left: Option<Left>,
}

struct Left {
    rows: IntoIter<DataRow>,
    tag: String,
}

/// What a statement gives.
struct Answer {
    rows: Option<Rows>,
    /// What it is called; the number of rows comes after SELECT.
    tag: String,
}

impl Answer {
    fn done(tag: &str) -> ApiResult<Answer> {
        Ok(Answer { rows: None, tag: tag.into() })
    }
}

/// Why a message was not served.
enum Trouble {
    /// The client has gone.
    Gone(io::Error),
    /// The statement is wrong.
    Wrong(Problem),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Gone(error)
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Trouble::Wrong(problem)
    }
}

/// What a session has beside the tables of the service.
struct Names {
    user: String,
    pid: i32,
    settings: Settings,
}

impl Dialect for Names {
    fn prepare(&self, context: &SessionContext) -> PlanResult<()> {
        catalog::add_to(context, &self.user, self.pid, &self.settings.0)
    }

    fn rewrite(&self, query: &mut ast::Statement) -> PlanResult<()> {
        rewrite::rewrite(query)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Serves the client until it goes or the service ends.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn serve(mut self) -> io::Result<()> {
        let mut stop = self.stop.clone();
        // After an error in a prepared statement, all is passed over until the client asks for what became of it.
        let mut skipping = false;
        loop {
            let request = tokio::select! {
                request = self.wire.next(true) => request,
                () = stopped(&mut stop) => return self.end("57P01", "the service stops").await,
            };
            let request = match request {
                Ok(Some(Request::Terminate) | None) => return Ok(()),
                Ok(Some(request)) => request,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return self.end("08P01", &error.to_string()).await,
                Err(error) => return Err(error),
            };
            match request {
                Request::Sync => {
                    skipping = false;
                    self.portals.remove("");
                    self.ready().await?;
                }
                Request::Query(text) => {
                    let outcome = self.query(&text).await;
                    self.report(outcome, &text).await?;
                    self.ready().await?;
                }
                Request::Flush => self.wire.flush().await?,
                _ if skipping => {}
                Request::Password(_) | Request::Copy | Request::Terminate => {}
                request => {
                    let text = self.text_of(&request);
                    let outcome = self.extended(request).await;
                    skipping = self.report(outcome, &text).await?;
                }
            }
        }
    }

    async fn end(mut self, code: &str, why: &str) -> io::Result<()> {
        self.wire.tell(errors::fatal(code, why)).await?;
        self.wire.close().await;
        Ok(())
    }

    /// Tells what went wrong, if something did.
    async fn report(&mut self, outcome: Result<(), Trouble>, text: &str) -> io::Result<bool> {
        match outcome {
            Ok(()) => Ok(false),
            Err(Trouble::Gone(error)) => Err(error),
            Err(Trouble::Wrong(problem)) => {
                self.block.failed = self.block.open;
                self.wire.tell(errors::error(problem, text)).await?;
                Ok(true)
            }
        }
    }

    async fn ready(&mut self) -> io::Result<()> {
        let status = match self.block {
            Block { failed: true, .. } => TransactionStatus::Error,
            Block { open: true, .. } => TransactionStatus::Transaction,
            _ => TransactionStatus::Idle,
        };
        self.wire.send(Message::ReadyForQuery(ReadyForQuery::new(status))).await?;
        self.wire.flush().await
    }

    /// Statements as text.
    async fn query(&mut self, text: &str) -> Result<(), Trouble> {
        let pieces = pieces(text)?;
        if pieces.is_empty() {
            self.wire.send(Message::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
        }
        for piece in pieces {
            let answer = self.run(&piece, vec![]).await?;
            let Some(rows) = &answer.rows else {
                self.wire.send(Message::CommandComplete(CommandComplete::new(answer.tag))).await?;
                continue;
            };
            let columns = values::columns(&rows.schema);
            let written = written(rows, &columns, &Formats::default())?;
            self.wire.send(Message::RowDescription(values::description(&columns, &Formats::default()))).await?;
            let tag = with_rows(&answer.tag, written.len());
            for row in written {
                self.wire.send(Message::DataRow(row)).await?;
            }
            self.wire.send(Message::CommandComplete(CommandComplete::new(tag))).await?;
        }
        Ok(())
    }

    /// The text that a message is about, for the place of an error.
    fn text_of(&self, request: &Request) -> String {
        match request {
            Request::Parse { text, .. } => text.clone(),
            Request::Execute { portal, .. } => self.portals.get(portal).map_or(String::new(), |p| p.statement.text.clone()),
            _ => String::new(),
        }
    }

    async fn extended(&mut self, request: Request) -> Result<(), Trouble> {
        match request {
            Request::Parse { name, text, types } => {
                let prepared = self.prepare(&text, &types).await?;
                let bytes = self.statements.values().map(|s| s.text.len()).sum::<usize>() + text.len();
                if !name.is_empty() && (self.statements.len() >= MAX_KEPT || bytes > MAX_KEPT_BYTES) {
                    return Err(too_many("prepared statements").into());
                }
                self.statements.insert(name, Arc::new(prepared));
                self.wire.send(Message::ParseComplete(ParseComplete::new())).await?;
            }
            Request::Bind { portal, statement, formats, parameters, wanted } => {
                let statement = Arc::clone(self.statements.get(&statement).ok_or_else(|| none("prepared statement", &statement))?);
                if parameters.len() != statement.parameters.len() {
                    let detail = format!("{} parameters are given, and the statement has {}", parameters.len(), statement.parameters.len());
                    return Err(problem("08P01", detail).into());
                }
                let bytes: usize = self.portals.values().flat_map(|p| &p.parameters).flatten().map(Bytes::len).sum();
                if !portal.is_empty() && (self.portals.len() >= MAX_KEPT || bytes > MAX_KEPT_BYTES) {
                    return Err(too_many("portals").into());
                }
                self.portals.insert(portal, Portal { statement, parameters, formats: Formats(formats), wanted: Formats(wanted), left: None });
                self.wire.send(Message::BindComplete(BindComplete::new())).await?;
            }
            Request::Describe { portal: true, name } => {
                let portal = self.portals.get(&name).ok_or_else(|| none("portal", &name))?;
                let (columns, wanted) = (portal.statement.columns.clone(), portal.wanted.clone());
                self.describe(&columns, &wanted).await?;
            }
            Request::Describe { portal: false, name } => {
                let statement = Arc::clone(self.statements.get(&name).ok_or_else(|| none("prepared statement", &name))?);
                let types = statement.parameters.iter().map(|t| t.oid()).collect();
                self.wire.send(Message::ParameterDescription(ParameterDescription::new(types))).await?;
                self.describe(&statement.columns, &Formats::default()).await?;
            }
            Request::Execute { portal, rows } => self.execute(&portal, rows).await?,
            Request::Close { portal, name } => {
                if portal {
                    self.portals.remove(&name);
                } else {
                    self.statements.remove(&name);
                }
                self.wire.send(Message::CloseComplete(CloseComplete::new())).await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn describe(&mut self, columns: &[(String, Type)], wanted: &Formats) -> io::Result<()> {
        let description = if columns.is_empty() { Message::NoData(NoData::new()) } else { Message::RowDescription(values::description(columns, wanted)) };
        self.wire.send(description).await
    }

    /// What a statement needs and gives, without running it.
    async fn prepare(&mut self, text: &str, types: &[u32]) -> ApiResult<Prepared> {
        let mut pieces = pieces(text)?;
        let piece = pieces.pop();
        if !pieces.is_empty() {
            return Err(problem("42601", "a prepared statement is one statement").hint("send several as one simple query"));
        }
        let mut prepared = Prepared { text: text.into(), piece, parameters: vec![], columns: vec![] };
        let Some(piece) = &prepared.piece else { return Ok(prepared) };
        self.fits_block(piece)?;
        if let Some(query) = select_of(piece) {
            let select = self.select(query, vec![]);
            let shape = self.interruptible(|app| async move { app.shape(select).await }).await.map_err(|p| p.shifted(piece.at))?;
            prepared.columns = values::columns(&shape.schema);
            let count = shape.parameters.len().max(types.len());
            let given = |n: usize| types.get(n).and_then(|oid| Type::of(*oid)).filter(|t| *t != Type::Unknown);
            let found = |n: usize| shape.parameters.get(n).and_then(Option::as_ref).map(values::kind);
            prepared.parameters = (0..count).map(|n| given(n).or_else(|| found(n)).unwrap_or(Type::Text)).collect();
        } else if let Some(column) = column_of(piece) {
            prepared.columns = vec![(column, Type::Text)];
            if is_show_all(piece) {
                prepared.columns = ["name", "setting"].map(|n| (n.to_string(), Type::Text)).into();
            }
        }
        Ok(prepared)
    }

    async fn execute(&mut self, name: &str, rows: usize) -> Result<(), Trouble> {
        let portal = self.portals.get_mut(name).ok_or_else(|| none("portal", name))?;
        let mut left = match portal.left.take() {
            Some(left) => left,
            None => {
                let statement = Arc::clone(&portal.statement);
                let Some(piece) = &statement.piece else {
                    self.wire.send(Message::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
                    return Ok(());
                };
                let parameter = |(n, kind): (usize, &Type)| values::parameter(n, *kind, portal.parameters[n].as_deref(), &portal.formats);
                let parameters = statement.parameters.iter().enumerate().map(parameter).collect::<ApiResult<Vec<_>>>()?;
                let wanted = portal.wanted.clone();
                let answer = self.run(piece, parameters).await?;
                let Some(found) = &answer.rows else {
                    self.wire.send(Message::CommandComplete(CommandComplete::new(answer.tag))).await?;
                    return Ok(());
                };
                let columns = values::columns(&found.schema);
                if columns.iter().map(|c| c.1).ne(statement.columns.iter().map(|c| c.1)) {
                    return Err(problem("0A000", "the answer has other columns than were described").hint("prepare the statement again").into());
                }
                Left { rows: written(found, &columns, &wanted)?.into_iter(), tag: answer.tag }
            }
        };
        let take = if rows == 0 { usize::MAX } else { rows };
        let mut sent = 0;
        for row in left.rows.by_ref().take(take) {
            self.wire.send(Message::DataRow(row)).await?;
            sent += 1;
        }
        let finished = left.rows.len() == 0;
        let end = if finished {
            Message::CommandComplete(CommandComplete::new(with_rows(&left.tag, sent)))
        } else {
            Message::PortalSuspended(PortalSuspended::new())
        };
        if let Some(portal) = self.portals.get_mut(name) {
            portal.left = Some(left);
        }
        Ok(self.wire.send(end).await?)
    }

    fn select(&self, sql: String, parameters: Vec<ScalarValue>) -> Select {
        let names = Names { user: self.user.clone(), pid: self.pid, settings: self.settings.clone() };
        Select { sql, parameters, limit: self.settings.limit(), dialect: Some(Arc::new(names)) }
    }

    /// Work that ends when the client cancels it, or a moment after the service is told to stop.
    async fn interruptible<T, F: Future<Output = ApiResult<T>>>(&self, work: impl FnOnce(App) -> F) -> ApiResult<T> {
        let mut stop = self.stop.clone();
        let stopping = async {
            stopped(&mut stop).await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            outcome = work(Arc::clone(&self.app)) => outcome,
            () = self.cancel.notified() => Err(problem("57014", "the statement was cancelled, as the user wanted")),
            () = stopping => Err(problem("57P01", "the service stops")),
        }
    }

    /// After an error, a block takes nothing but its end.
    fn fits_block(&self, piece: &Piece) -> ApiResult<()> {
        if self.block.failed && !matches!(piece.word.as_str(), "ROLLBACK" | "COMMIT" | "END" | "ABORT") {
            return Err(problem("25P02", "a statement of this transaction failed; others are passed over until it ends").hint("ROLLBACK"));
        }
        Ok(())
    }

    /// Runs one statement, and counts it.
    async fn run(&mut self, piece: &Piece, parameters: Vec<ScalarValue>) -> Result<Answer, Trouble> {
        let outcome = self.run_uncounted(piece, parameters).await;
        let label = if outcome.is_ok() { "ok" } else { "error" };
        metrics::counter!("cohort_postgres_statements_total", "outcome" => label).increment(1);
        outcome
    }

    async fn run_uncounted(&mut self, piece: &Piece, parameters: Vec<ScalarValue>) -> Result<Answer, Trouble> {
        self.fits_block(piece)?;
        match piece.word.as_str() {
            "BEGIN" | "START" => {
                if self.block.open {
                    self.wire.tell(errors::warning("there is already a transaction in progress")).await?;
                }
                self.block = Block { open: true, ..self.block };
                return Ok(Answer::done("BEGIN")?);
            }
            "COMMIT" | "END" | "ROLLBACK" | "ABORT" if !second_word_is(piece, "TO") => return self.end_block(piece).await,
            "SAVEPOINT" | "RELEASE" | "ROLLBACK" => return Ok(Answer::done(&piece.word)?),
            "SET" | "RESET" => return self.set(piece).await,
            "UNLISTEN" => return Ok(Answer::done("UNLISTEN")?),
            "DISCARD" | "DEALLOCATE" | "CLOSE" => return Ok(self.forget(piece)?),
            _ => {}
        }
        let answer = self.answer(piece, parameters).await.map_err(|p| p.shifted(piece.at))?;
        if answer.rows.as_ref().is_some_and(|r| r.truncated) {
            let more = format!("there are more rows than the {} that are shown", crate::service::query::MAX_ROWS);
            self.wire.tell(errors::warning(more)).await?;
        }
        Ok(answer)
    }

    async fn end_block(&mut self, piece: &Piece) -> Result<Answer, Trouble> {
        let undone = self.block.failed || matches!(piece.word.as_str(), "ROLLBACK" | "ABORT");
        if undone && self.block.changed {
            self.wire.tell(errors::warning("statements about segments took effect at once, and are not undone")).await?;
        }
        if !self.block.open {
            self.wire.tell(errors::warning("there is no transaction in progress")).await?;
        }
        self.block = Block::default();
        Ok(Answer::done(if undone { "ROLLBACK" } else { "COMMIT" })?)
    }

    async fn answer(&mut self, piece: &Piece, parameters: Vec<ScalarValue>) -> ApiResult<Answer> {
        if let Some(query) = select_of(piece) {
            let select = self.select(query, parameters);
            let rows = self.interruptible(|app| async move { app.rows(select).await }).await?;
            return Ok(Answer { rows: Some(rows), tag: if sql::is_query(piece) { "SELECT" } else { "SHOW" }.into() });
        }
        match piece.word.as_str() {
            "SHOW" => self.show(piece),
            "COPY" => Err(problem("0A000", "COPY is not spoken here")
                .hint("psql --csv -c 'SELECT …' writes CSV, and GET /api/v1/segments/{id}/members?format=csv all members")),
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" => {
                Err(problem("25006", format!("{} is not possible: tables are what the service knows", piece.word))
                    .hint("events come in with POST /api/v1/events"))
            }
            "DECLARE" | "FETCH" | "MOVE" | "PREPARE" | "EXECUTE" | "LISTEN" | "NOTIFY" | "LOCK" | "CALL" | "DO" | "GRANT" | "REVOKE" | "VACUUM" | "ANALYZE" => {
                Err(problem("0A000", format!("{} is not spoken here", piece.word)))
            }
            _ => self.statement(piece).await,
        }
    }

    /// A statement about segments, as the HTTP API runs it.
    async fn statement(&mut self, piece: &Piece) -> ApiResult<Answer> {
        let (caller, text) = (self.caller.clone(), piece.text.clone());
        let limit = self.settings.limit();
        let work = |app: App| async move {
            let slow = |_| problem("57014", format!("the statement took longer than {} s", limit.as_secs_f64()));
            tokio::time::timeout(limit, sql::statement(&app, &caller, &text)).await.map_err(slow)?
        };
        let done = self.interruptible(work).await?;
        match done.result {
            Some(Outcome::Plan(plan)) => Ok(Answer { rows: Some(texts("QUERY PLAN", plan.plan.unwrap_or_default().lines())?), tag: "EXPLAIN".into() }),
            _ => {
                self.block.changed = self.block.open;
                Answer::done(&format!("{} SEGMENT", piece.word))
            }
        }
    }

    fn show(&self, piece: &Piece) -> ApiResult<Answer> {
        let answer = |rows| Ok(Answer { rows: Some(rows), tag: "SHOW".into() });
        if is_show_all(piece) {
            let names = DEFAULTS.map(|(name, _)| name);
            let values = names.map(|name| self.settings.get(name).unwrap_or_default());
            return answer(columns_of_texts(&[("name", names.into()), ("setting", values.into())])?);
        }
        let name = setting_of(piece);
        answer(texts(&name, [self.settings.get(&name)?].into_iter())?)
    }

    async fn set(&mut self, piece: &Piece) -> Result<Answer, Trouble> {
        let text = piece.text.trim();
        if piece.word == "RESET" {
            if second_word_is(piece, "ALL") {
                self.settings = Settings::default();
            } else {
                self.settings.set(&setting_of(piece), "default")?;
            }
            return Ok(Answer::done("RESET")?);
        }
        let rest = words_after(text, &["SET"]);
        let rest = words_after(rest, &["SESSION", "LOCAL"]);
        let upper = rest.to_uppercase();
        if upper.starts_with("NAMES") {
            self.settings.set("client_encoding", words_after(rest, &["NAMES"]).trim_matches('\''))?;
            return Ok(Answer::done("SET")?);
        }
        // How transactions are isolated, and who one is, makes no difference.
        if ["TRANSACTION", "CHARACTERISTICS", "ROLE", "AUTHORIZATION", "CONSTRAINTS", "TIME ZONE"].iter().any(|w| upper.starts_with(w)) {
            return Ok(Answer::done("SET")?);
        }
        let (name, value) = assignment(rest).ok_or_else(|| problem("42601", "SET needs a name and a value").hint("SET name = value"))?;
        self.settings.set(name, &value)?;
        if let Some(name) = REPORTED.iter().find(|n| n.eq_ignore_ascii_case(name)) {
            let now = self.settings.get(name)?.to_string();
            self.wire.send(Message::ParameterStatus(ParameterStatus::new(name.to_string(), now))).await?;
        }
        Ok(Answer::done("SET")?)
    }

    fn forget(&mut self, piece: &Piece) -> ApiResult<Answer> {
        let name = setting_of(piece);
        match (piece.word.as_str(), name.to_uppercase().as_str()) {
            ("DISCARD", _) => {
                self.settings = Settings::default();
                self.statements.clear();
                self.portals.clear();
                Answer::done("DISCARD ALL")
            }
            ("DEALLOCATE", "ALL") => {
                self.statements.clear();
                Answer::done("DEALLOCATE ALL")
            }
            ("DEALLOCATE", _) => self.statements.remove(&name).map(|_| Answer::done("DEALLOCATE")).ok_or_else(|| none("prepared statement", &name))?,
            _ => Answer::done("CLOSE CURSOR"),
        }
    }
}

fn pieces(text: &str) -> ApiResult<Vec<Piece>> {
    statement::pieces(text).map_err(|f| Problem::from(Diagnostics(vec![f.in_file("sql")])))
}

/// The SELECT that a statement is.
fn select_of(piece: &Piece) -> Option<String> {
    if sql::is_query(piece) {
        return Some(piece.text.clone());
    }
    (piece.word == "SHOW" && second_word_is(piece, "SEGMENTS")).then(|| sql::SHOW_SEGMENTS.to_string())
}

/// The one column of texts that a statement gives which is no SELECT.
fn column_of(piece: &Piece) -> Option<String> {
    match piece.word.as_str() {
        "SHOW" => Some(setting_of(piece)),
        "EXPLAIN" => Some("QUERY PLAN".into()),
        _ => None,
    }
}

fn is_show_all(piece: &Piece) -> bool {
    piece.word == "SHOW" && second_word_is(piece, "ALL")
}

fn second_word_is(piece: &Piece, word: &str) -> bool {
    let second = piece.text.split_whitespace().nth(1).unwrap_or_default();
    second.trim_end_matches(';').eq_ignore_ascii_case(word)
}

/// The name that a statement of two words names: a setting or a prepared statement.
fn setting_of(piece: &Piece) -> String {
    let words: Vec<&str> = piece.text.split_whitespace().skip(1).collect();
    let name = words.join(" ");
    match name.to_uppercase().as_str() {
        "TIME ZONE" => "TimeZone".into(),
        "TRANSACTION ISOLATION LEVEL" => "transaction_isolation".into(),
        "SESSION AUTHORIZATION" => "session_authorization".into(),
        _ => name.trim_start_matches("PREPARE ").trim_matches('"').to_string(),
    }
}

/// A text without its first word, where that is one of these.
fn words_after<'a>(text: &'a str, words: &[&str]) -> &'a str {
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if words.iter().any(|w| w.eq_ignore_ascii_case(first)) { rest.trim_start() } else { text }
}

/// `name = value` or `name TO value`
fn assignment(text: &str) -> Option<(&str, String)> {
    let end = text.find(|c: char| c == '=' || c.is_whitespace())?;
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let value = rest.strip_prefix('=').unwrap_or_else(|| words_after(rest, &["TO"])).trim();
    let value = if let Some(quoted) = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) { quoted.replace("''", "'") } else { value.to_string() };
    (!name.is_empty() && !rest.is_empty()).then_some((name.trim_matches('"'), value))
}

fn none(what: &str, name: &str) -> Problem {
    problem(if what == "portal" { "34000" } else { "26000" }, format!("there is no {what} {name:?}"))
}

fn too_many(what: &str) -> Problem {
    problem("53400", format!("a connection may keep {MAX_KEPT} {what} of {} MiB", MAX_KEPT_BYTES >> 20)).hint("close those that are not needed any more")
}

fn with_rows(tag: &str, rows: usize) -> String {
    if tag == "SELECT" { format!("SELECT {rows}") } else { tag.into() }
}

fn written(rows: &Rows, columns: &[(String, Type)], formats: &Formats) -> ApiResult<Vec<DataRow>> {
    values::rows(rows, columns, formats).map_err(|e| problem("22000", e.to_string()))
}

fn texts<'a>(name: &str, lines: impl Iterator<Item = &'a str>) -> ApiResult<Rows> {
    columns_of_texts(&[(name, lines.collect())])
}

fn columns_of_texts(columns: &[(&str, Vec<&str>)]) -> ApiResult<Rows> {
    let schema = Arc::new(Schema::new(columns.iter().map(|(name, _)| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>()));
    let arrays = columns.iter().map(|(_, texts)| Arc::new(StringArray::from(texts.clone())) as ArrayRef).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|e| Problem::internal(&e))?;
    Ok(Rows { schema, batches: vec![batch], truncated: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_in_all_their_forms() {
        for (text, name, value) in [
            ("extra_float_digits=3", "extra_float_digits", "3"),
            ("client_encoding TO 'UTF8'", "client_encoding", "UTF8"),
            ("\"search_path\" = a, b", "search_path", "a, b"),
            ("application_name = 'it''s'", "application_name", "it's"),
        ] {
            assert_eq!(assignment(text), Some((name, value.to_string())), "{text}");
        }
        assert_eq!(assignment("nothing"), None);
        let named = |text: &str| pieces(text).ok().and_then(|mut p| p.pop()).map(|p| setting_of(&p));
        assert_eq!(named("SHOW TRANSACTION ISOLATION LEVEL").as_deref(), Some("transaction_isolation"));
        assert_eq!(named("show server_version;").as_deref(), Some("server_version"));
    }
}
