//! Schemas by the ids that records carry: asked of a registry once, and kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::avro::Schema;
use super::protobuf::Messages;
use crate::decode::Reason;

/// What a schema is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaKind {
    /// Avro.
    Avro,
    /// Protobuf.
    Protobuf,
    /// JSON Schema.
    Json,
    /// Something that is not known here.
    Other,
}

/// A schema as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// What it is written in.
    pub kind: SchemaKind,
    /// Its text.
    pub text: String,
    /// The schemas that it names, each after those that it names itself: name and text.
    pub references: Vec<(String, String)>,
}

/// Schemas cannot be had now: what was read waits for them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schema {id}: {why}")]
pub struct Away {
    /// The schema that was asked for.
    pub id: u32,
    /// Why it was not given.
    pub why: String,
}

/// What is known of a schema that could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It has come, or it is known that there is none.
    Come,
    /// It is being asked for.
    UnderWay,
    /// It could not be had this time either, and is asked for once more.
    Failed(Away),
}

/// Where schemas come from. May block for as long as a request takes.
pub trait SchemaSource: Send + Sync {
    /// The schema of an id; none, when there is no such schema.
    ///
    /// # Errors
    /// When nobody can say: it is asked again.
    fn fetch(&self, id: u32) -> Result<Option<Registered>, Away>;
}

/// A schema that records can be read with.
#[derive(Debug, Clone)]
pub(super) enum Parsed {
    Avro(Arc<Schema>),
    Protobuf(Arc<Messages>),
    /// Records of it cannot be read.
    Not(Reason),
}

/// Schemas that are kept. When there are more, all are asked for anew.
const KEPT: usize = 1_000;
/// How long an id that is not known is not asked for again.
const UNKNOWN: Duration = Duration::from_secs(30);

/// Schemas of a registry, parsed once for all partitions.
pub struct SchemaCache {
    source: Box<dyn SchemaSource>,
    known: Mutex<FxHashMap<u32, (Parsed, Instant)>>,
    /// What threads of their own ask for; and what came of it, where it was not the schema.
    asked: Mutex<FxHashMap<u32, Option<Away>>>,
}

impl std::fmt::Debug for SchemaCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SchemaCache")
    }
}

impl SchemaCache {
    /// Schemas of a source.
    pub fn new(source: Box<dyn SchemaSource>) -> Self {
        SchemaCache { source, known: Mutex::default(), asked: Mutex::default() }
    }

    fn known(&self, id: u32) -> Option<Parsed> {
        let known = lock(&self.known).get(&id).cloned();
        known.filter(|(parsed, at)| !matches!(parsed, Parsed::Not(Reason::UnknownSchema)) || at.elapsed() < UNKNOWN).map(|(parsed, _)| parsed)
    }

    /// Asks for a schema that could not be had, on a thread of its own: what comes of it is told to who asks next.
    pub(super) fn ask(self: &Arc<Self>, id: u32) -> Asked {
        if self.known(id).is_some() {
            return Asked::Come;
        }
        let mut asked = lock(&self.asked);
        let before = match asked.get(&id) {
            Some(None) => return Asked::UnderWay,
            Some(Some(away)) => Asked::Failed(away.clone()),
            None => Asked::UnderWay,
        };
        if asked.len() >= KEPT {
            asked.clear();
        }
        let cache = Arc::clone(self);
        let ask = move || {
            let outcome = cache.get(id);
            let mut asked = lock(&cache.asked);
            match outcome {
                Ok(_) => asked.remove(&id),
                Err(away) => asked.insert(id, Some(away)),
            };
        };
        let _ = match std::thread::Builder::new().name(format!("schema-{id}")).spawn(ask) {
            Ok(_) => asked.insert(id, None),
            // Then it is asked for by who comes next.
            Err(error) => asked.insert(id, Some(Away { id, why: format!("there is no thread to ask for it: {error}") })),
        };
        before
    }

    /// The schema of an id.
    pub(super) fn get(&self, id: u32) -> Result<Parsed, Away> {
        if let Some(parsed) = self.known(id) {
            return Ok(parsed);
        }
        // Others go on meanwhile; what two ask for at once comes twice.
        let parsed = match self.source.fetch(id)? {
            Some(registered) => parse(id, &registered),
            None => {
                tracing::warn!(id, "the registry does not know this schema; its records become dead letters");
                Parsed::Not(Reason::UnknownSchema)
            }
        };
        let mut known = lock(&self.known);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(id, (parsed.clone(), Instant::now()));
        Ok(parsed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parse(id: u32, registered: &Registered) -> Parsed {
    let references: Vec<&str> = registered.references.iter().map(|(_, text)| text.as_str()).collect();
    let parsed = match registered.kind {
        SchemaKind::Avro => Schema::parse(&registered.text, &references).map(|s| Parsed::Avro(Arc::new(s))).map_err(|e| e.to_string()),
        SchemaKind::Protobuf => Messages::compile(&registered.text, &registered.references).map(|m| Parsed::Protobuf(Arc::new(m))).map_err(|e| e.to_string()),
        SchemaKind::Json | SchemaKind::Other => Err("is neither of Avro nor of Protobuf".into()),
    };
    match parsed {
        Ok(parsed) => {
            tracing::info!(id, kind = ?registered.kind, "schema");
            parsed
        }
        Err(why) => {
            tracing::error!(id, why, "a schema cannot be used; its records become dead letters");
            Parsed::Not(Reason::UnusableSchema)
        }
    }
}
