//! Our statements in front of sqlparser: text → [`Statement`]s, each with its own errors.
//!
//! A text is cut into statements at the semicolons between tokens, so that one wrong statement hides no
//! other. Queries inside a statement are parsed by sqlparser; their tokens keep their place in the text.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::diagnostic::{Finding, Position};
use crate::emit::Emit;

/// A parsed statement with its text and place.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The statement.
    pub statement: Statement,
    /// Its text, without the semicolon.
    pub text: String,
    /// Where it starts.
    pub at: Position,
}

/// One statement of the segment language.
#[derive(Debug, Clone)]
pub enum Statement {
    /// `CREATE [OR REPLACE] SEGMENT [IF NOT EXISTS] name [WITH (…)] AS query [EMIT …]`
    Create(Box<CreateSegment>),
    /// `DROP SEGMENT [IF EXISTS] name`
    Drop {
        /// The segment.
        name: String,
        /// Whether an unknown name is no error.
        if_exists: bool,
    },
    /// `ALTER SEGMENT name PAUSE | RESUME`
    Alter {
        /// The segment.
        name: String,
        /// Whether it is to run.
        active: bool,
    },
    /// `SHOW SEGMENTS`
    Show,
    /// `EXPLAIN [ANALYZE | VERBOSE] …`
    Explain {
        /// Whether it is to be run and measured.
        analyze: bool,
        /// Whether to show all details.
        verbose: bool,
        /// What to explain.
        target: ExplainTarget,
    },
}

/// What EXPLAIN explains.
#[derive(Debug, Clone)]
pub enum ExplainTarget {
    /// A segment as it would be created; a bare query is a segment named `query`.
    Create(Box<CreateSegment>),
    /// `SEGMENT name`
    Segment(String),
    /// `ALL SEGMENTS`
    All,
}

/// The parts of CREATE SEGMENT.
#[derive(Debug, Clone)]
pub struct CreateSegment {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub name_at: Position,
    /// `OR REPLACE`
    pub or_replace: bool,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// The WITH options, keys in lower case.
    pub options: Vec<(String, String, Position)>,
    /// The query.
    pub query: Arc<ast::Query>,
    /// The EMIT clause.
    pub emit: Option<Emit>,
}

/// Parses a text into its statements; statements that do not parse give a finding each.
pub fn parse(text: &str) -> (Vec<Parsed>, Vec<Finding>) {
    let dialect = GenericDialect {};
    let tokens = match Tokenizer::new(&dialect, text).tokenize_with_location() {
        Ok(tokens) => tokens,
        Err(e) => {
            let at = position(e.location);
            return (vec![], vec![Finding::new(at, e.message).hint("close the quote or comment, or remove the character")]);
        }
    };
    let lines = Lines::of(text);
    let mut parsed = vec![];
    let mut findings = vec![];
    for tokens in tokens.split(|t| t.token == Token::SemiColon) {
        let Some(first) = tokens.iter().find(|t| !is_space(t)) else { continue };
        let at = position(first.span.start);
        if let Some(finding) = too_long(tokens) {
            findings.push(finding);
            continue;
        }
        match parse_one(tokens) {
            Ok(statement) => parsed.push(Parsed { statement, text: lines.text_of(tokens), at }),
            Err(finding) => findings.push(finding.or_at(at)),
        }
    }
    (parsed, findings)
}

/// A statement of a text, not parsed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its text, without the semicolon.
    pub text: String,
    /// Where it starts.
    pub at: Position,
    /// Its first word, in upper case.
    pub word: String,
}

/// Cuts a text at its semicolons.
///
/// # Errors
/// When a quote or comment is not closed, or a character means nothing.
pub fn pieces(text: &str) -> Result<Vec<Piece>, Finding> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location();
    let tokens = tokens.map_err(|e| Finding::new(position(e.location), e.message).hint("close the quote or comment, or remove the character"))?;
    if let Some(finding) = tokens.split(|t| t.token == Token::SemiColon).find_map(too_long) {
        return Err(finding);
    }
    let lines = Lines::of(text);
    let piece = |tokens: &[TokenWithSpan]| {
        let first = tokens.iter().find(|t| !is_space(t))?;
        Some(Piece { text: lines.text_of(tokens), at: position(first.span.start), word: first.token.to_string().to_uppercase() })
    };
    Ok(tokens.split(|t| t.token == Token::SemiColon).filter_map(piece).collect())
}

/// The most words and signs of a statement: each may be a level of nesting, which planning it takes stack for.
const MAX_TOKENS: usize = 20_000;

fn too_long(tokens: &[TokenWithSpan]) -> Option<Finding> {
    let beyond = tokens.iter().filter(|t| !is_space(t)).nth(MAX_TOKENS)?;
    let message = format!("the statement has more than {MAX_TOKENS} words and signs");
    Some(Finding::new(position(beyond.span.start), message).hint("write x IN (…) instead of many ORs, or split it into several segments"))
}

fn is_space(t: &TokenWithSpan) -> bool {
    matches!(t.token, Token::Whitespace(_) | Token::EOF)
}

fn position(location: Location) -> Position {
    Position { line: location.line, column: location.column }
}

/// A text and where its lines start, for the bytes at a place.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Lines { text, starts }
    }

    fn text_of(&self, tokens: &[TokenWithSpan]) -> String {
        let mut words = tokens.iter().filter(|t| !is_space(t));
        let Some(first) = words.next() else { return String::new() };
        let last = words.next_back().unwrap_or(first);
        let (start, end) = (self.byte_offset(first.span.start), self.byte_offset(last.span.end));
        self.text.get(start..end).unwrap_or_default().trim().to_string()
    }

    fn byte_offset(&self, at: Location) -> usize {
        let start = self.starts.get(at.line.saturating_sub(1) as usize).copied().unwrap_or(self.text.len());
        let rest = self.text.get(start..).unwrap_or_default();
        let column = at.column.saturating_sub(1) as usize;
        start + rest.char_indices().nth(column).map_or(rest.len(), |(i, _)| i)
    }
}

fn parse_one(tokens: &[TokenWithSpan]) -> Result<Statement, Finding> {
    let (tokens, emit) = cut_emit(tokens)?;
    let dialect = GenericDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let statement = statement(&mut parser, emit)?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        return Err(Finding::new(position(rest.span.start), format!("unexpected {} after the end of the statement", rest.token))
            .hint("separate statements with a semicolon"));
    }
    Ok(statement)
}

/// Takes a trailing `EMIT CHANGES` or `EMIT FINAL` off, before sqlparser could read EMIT as an alias.
fn cut_emit(tokens: &[TokenWithSpan]) -> Result<(Vec<TokenWithSpan>, Option<Emit>), Finding> {
    let words: Vec<usize> = (0..tokens.len()).filter(|&i| !is_space(&tokens[i])).collect();
    let is = |i: usize, word: &str| matches!(&tokens[i].token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word));
    for (n, &i) in words.iter().enumerate() {
        if n == 0 || !is(i, "EMIT") {
            continue;
        }
        let at = position(tokens[i].span.start);
        let mode = match words.get(n + 1) {
            Some(&j) if is(j, "CHANGES") => Emit::Changes,
            Some(&j) if is(j, "FINAL") => Emit::Final,
            _ => continue,
        };
        if words.len() > n + 2 {
            return Err(Finding::new(at, "EMIT is the last clause of a segment").hint("write EMIT CHANGES or EMIT FINAL at the end"));
        }
        return Ok((tokens[..i].to_vec(), Some(mode)));
    }
    if let Some(&last) = words.last()
        && words.len() > 1
        && is(last, "EMIT")
    {
        let at = position(tokens[last].span.start);
        return Err(Finding::new(at, "EMIT needs CHANGES or FINAL").hint("write EMIT CHANGES or EMIT FINAL"));
    }
    Ok((tokens.to_vec(), None))
}

fn statement(parser: &mut Parser<'_>, emit: Option<Emit>) -> Result<Statement, Finding> {
    let first = parser.peek_token();
    let at = position(first.span.start);
    if parser.parse_keyword(Keyword::CREATE) {
        return Ok(Statement::Create(Box::new(create(parser, emit)?)));
    }
    if parser.parse_keyword(Keyword::EXPLAIN) {
        return explain(parser, emit);
    }
    if emit.is_some() {
        return Err(Finding::new(at, "EMIT belongs to CREATE SEGMENT"));
    }
    if parser.parse_keyword(Keyword::DROP) {
        expect_word(parser, "SEGMENT")?;
        let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        return Ok(Statement::Drop { name: name(parser)?.0, if_exists });
    }
    if parser.parse_keyword(Keyword::ALTER) {
        expect_word(parser, "SEGMENT")?;
        let name = name(parser)?.0;
        let active = if accept_word(parser, "PAUSE") {
            false
        } else if accept_word(parser, "RESUME") {
            true
        } else {
            return Err(unexpected(parser, "PAUSE or RESUME"));
        };
        return Ok(Statement::Alter { name, active });
    }
    if parser.parse_keyword(Keyword::SHOW) {
        expect_word(parser, "SEGMENTS")?;
        return Ok(Statement::Show);
    }
    const ACCEPTED: &str =
        "accepted: CREATE SEGMENT, DROP SEGMENT, ALTER SEGMENT … PAUSE | RESUME, SHOW SEGMENTS, EXPLAIN, and over HTTP and PostgreSQL SELECT";
    let near = meant(&first.token, "CREATE DROP ALTER SHOW EXPLAIN").map_or(String::new(), |word| format!("did you mean {word}? "));
    Err(Finding::new(at, format!("{} is not a statement of the segment language", first.token)).hint(format!("{near}{ACCEPTED}")))
}

/// The word of a text in capitals that a token was perhaps meant to be.
fn meant<'a>(token: &Token, words: &'a str) -> Option<&'a str> {
    let Token::Word(found) = token else { return None };
    let found = found.value.to_uppercase();
    let distance = |word: &str| datafusion::common::utils::datafusion_strsim::levenshtein(word, &found);
    let capitals = words.split(|c: char| !c.is_ascii_uppercase()).filter(|w| w.len() > 1);
    capitals.map(|word| (distance(word), word)).filter(|(d, word)| *d > 0 && *d <= (word.len() / 3).min(2)).min().map(|(_, word)| word)
}

fn create(parser: &mut Parser<'_>, emit: Option<Emit>) -> Result<CreateSegment, Finding> {
    let or_replace = parser.parse_keywords(&[Keyword::OR, Keyword::REPLACE]);
    expect_word(parser, "SEGMENT")?;
    let if_not_exists = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let (name, name_at) = name(parser)?;
    let options = if parser.parse_keyword(Keyword::WITH) { options(parser)? } else { vec![] };
    if !parser.parse_keyword(Keyword::AS) {
        return Err(unexpected(parser, "AS and a query (or WITH and options)"));
    }
    let query = parser.parse_query().map_err(finding)?.into();
    Ok(CreateSegment { name, name_at, or_replace, if_not_exists, options, query, emit })
}

fn explain(parser: &mut Parser<'_>, emit: Option<Emit>) -> Result<Statement, Finding> {
    let analyze = parser.parse_keyword(Keyword::ANALYZE);
    let verbose = parser.parse_keyword(Keyword::VERBOSE);
    let target = if parser.parse_keyword(Keyword::CREATE) {
        ExplainTarget::Create(Box::new(create(parser, emit)?))
    } else if parser.parse_keyword(Keyword::ALL) {
        expect_word(parser, "SEGMENTS")?;
        ExplainTarget::All
    } else if accept_word(parser, "SEGMENT") {
        ExplainTarget::Segment(name(parser)?.0)
    } else {
        let at = position(parser.peek_token().span.start);
        let query = parser.parse_query().map_err(finding)?.into();
        let (or_replace, if_not_exists) = (false, false);
        ExplainTarget::Create(Box::new(CreateSegment { name: "query".into(), name_at: at, or_replace, if_not_exists, options: vec![], query, emit }))
    };
    Ok(Statement::Explain { analyze, verbose, target })
}

fn options(parser: &mut Parser<'_>) -> Result<Vec<(String, String, Position)>, Finding> {
    let mut options = vec![];
    parser.expect_token(&Token::LParen).map_err(finding)?;
    loop {
        let token = parser.next_token();
        let at = position(token.span.start);
        let key = match token.token {
            Token::Word(w) => w.value.to_ascii_lowercase(),
            Token::SingleQuotedString(s) => s.to_ascii_lowercase(),
            other => return Err(Finding::new(at, format!("expected the name of an option, found {other}")).hint("WITH (retain = '1 hour')")),
        };
        parser.expect_token(&Token::Eq).map_err(finding)?;
        let value = parser.next_token();
        let text = match value.token {
            Token::SingleQuotedString(s) => s,
            Token::Number(n, _) => n,
            Token::Word(w) => w.value,
            other => {
                return Err(Finding::new(position(value.span.start), format!("expected the value of {key}, found {other}"))
                    .hint("values are quoted: WITH (retain = '1 hour')"));
            }
        };
        options.push((key, text, at));
        if parser.consume_token(&Token::RParen) {
            return Ok(options);
        }
        parser.expect_token(&Token::Comma).map_err(finding)?;
    }
}

fn name(parser: &mut Parser<'_>) -> Result<(String, Position), Finding> {
    let token = parser.next_token();
    let at = position(token.span.start);
    match token.token {
        Token::Word(w) if w.quote_style.is_none() => Ok((w.value.to_lowercase(), at)),
        Token::Word(w) if !w.value.is_empty() => Ok((w.value, at)),
        other => {
            Err(Finding::new(at, format!("expected the name of a segment, found {other}"))
                .hint("a name is letters, digits and _, or anything in double quotes"))
        }
    }
}

fn accept_word(parser: &mut Parser<'_>, word: &str) -> bool {
    let found = matches!(&parser.peek_token().token, Token::Word(w) if w.value.eq_ignore_ascii_case(word));
    if found {
        parser.next_token();
    }
    found
}

fn expect_word(parser: &mut Parser<'_>, word: &str) -> Result<(), Finding> {
    if accept_word(parser, word) { Ok(()) } else { Err(unexpected(parser, word)) }
}

fn unexpected(parser: &Parser<'_>, expected: &str) -> Finding {
    let found = parser.peek_token();
    let what = if found.token == Token::EOF { "the end of the statement".to_string() } else { found.token.to_string() };
    let finding = Finding::new(position(found.span.start), format!("expected {expected}, found {what}"));
    match meant(&found.token, expected) {
        Some(word) => finding.hint(format!("did you mean {word}?")),
        None => finding,
    }
}

/// A parser's error with its position taken out of the text.
pub fn finding(error: ParserError) -> Finding {
    match error {
        ParserError::RecursionLimitExceeded => Finding::new(Position::default(), "the statement is nested too deeply"),
        ParserError::TokenizerError(m) | ParserError::ParserError(m) => split_position(&m),
    }
}

fn split_position(message: &str) -> Finding {
    let Some((text, rest)) = message.split_once(" at Line: ") else { return Finding::new(Position::default(), message) };
    let mut numbers = rest.split(", Column: ").map(|n| n.trim().parse::<u64>().unwrap_or(0));
    let at = Position { line: numbers.next().unwrap_or(0), column: numbers.next().unwrap_or(0) };
    let text = text.replacen("Expected: ", "expected ", 1).replace("found: EOF", "found the end of the statement").replace("found: ", "found ");
    Finding::new(at, text)
}
