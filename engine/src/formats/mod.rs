//! Records of other shapes and encodings than plain JSON events → [`EventBatch`](crate::decode::EventBatch).
//!
//! [`Formats`] says which topic has which format; a [`Decoder`] is made of it for a projection. Where all topics are
//! plain it is the JSON decoder and nothing else. Otherwise each record goes by its topic to a reader (`json`,
//! [`avro`], [`protobuf`]) that walks over its bytes once, led by the paths of a [`mapping`], and notes what stands there
//! (`capture`); the event rules and the columns are then the same for all.

pub mod avro;
mod capture;
mod decoder;
mod json;
pub mod mapping;
pub mod protobuf;
pub mod schemas;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use decoder::Decoder;
pub use mapping::Mapping;
pub use schemas::{Asked, Away, SchemaCache};

/// What stands before a record's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// A zero and four bytes of a schema's id, as Confluent's serializers have it; in Protobuf the message's indexes too.
    #[default]
    Confluent,
    /// Avro's single-object encoding: two bytes that mark it, and eight of a fingerprint, which is not looked at.
    SingleObject,
    /// Nothing.
    None,
}

/// Where the schema comes from that a record was written with.
#[derive(Debug, Clone)]
pub enum Writer<T> {
    /// All records were written with this one.
    Local(T),
    /// Each says which.
    Registry(Arc<SchemaCache>),
}

/// How records are encoded.
#[derive(Debug, Clone)]
pub enum Encoding {
    /// JSON, with Confluent's framing (of JSON Schema) or without.
    Json {
        /// Whether five bytes stand before it.
        framed: bool,
    },
    /// Avro.
    Avro {
        /// What stands before it.
        framing: Framing,
        /// The schema that it was written with.
        writer: Writer<Arc<avro::Schema>>,
        /// A schema whose names, aliases and defaults the mapping goes by.
        reader: Option<Arc<avro::Schema>>,
    },
    /// Protobuf.
    Protobuf {
        /// What stands before it.
        framing: Framing,
        /// The message that it is.
        writer: Writer<protobuf::Message>,
    },
}

/// What records of a topic are.
#[derive(Debug, Clone)]
pub struct Format {
    /// Their encoding.
    pub encoding: Encoding,
    /// Where their fields are; none, for the names of plain events.
    pub mapping: Option<Mapping>,
}

impl Default for Format {
    fn default() -> Self {
        Format { encoding: Encoding::Json { framed: false }, mapping: None }
    }
}

impl Format {
    /// Whether it is that of plain JSON events.
    pub fn is_plain(&self) -> bool {
        matches!(self.encoding, Encoding::Json { framed: false }) && self.mapping.is_none()
    }
}

/// The formats of topics.
#[derive(Debug, Clone, Default)]
pub struct Formats {
    /// That of topics without one of their own.
    pub default: Format,
    /// Those of single topics.
    pub topics: BTreeMap<String, Format>,
}

impl Formats {
    /// Whether all records are plain JSON events.
    pub fn are_plain(&self) -> bool {
        self.default.is_plain() && self.topics.values().all(Format::is_plain)
    }

    /// The format of a topic.
    pub fn of(&self, topic: Option<&str>) -> &Format {
        topic.and_then(|topic| self.topics.get(topic)).unwrap_or(&self.default)
    }
}

#[cfg(test)]
pub(crate) mod avro_bytes;
#[cfg(test)]
mod tests;
