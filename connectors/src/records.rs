//! Chunks of bounded input → events: what records are, and what of them a run wants.

use std::collections::BTreeMap;
use std::sync::Arc;

use cohort_engine::decode::json::split_lines;
use cohort_engine::decode::{ByPartition, EventBatch, Projection, Rejected};
use cohort_engine::formats::avro::Schema;
use cohort_engine::formats::{Away, Decoder, Encoding, Format, Formats, Framing, Mapping, Writer};

use crate::file::source::Chunk;

/// What records of bounded input are.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// The topic that all records came from.
    pub topic: Option<String>,
    /// Where an event's columns are, where they have other names than in plain events.
    pub mapping: Option<Mapping>,
    /// The schema that the names in Avro files go by; their own, if not given.
    pub reader_schema: Option<Arc<Schema>>,
}

impl Shape {
    /// What records are: lines of JSON, or Avro of a schema.
    fn formats(&self, schema: Option<&Arc<Schema>>) -> Arc<Formats> {
        let encoding = match schema {
            None => Encoding::Json { framed: false },
            Some(schema) => Encoding::Avro { framing: Framing::None, writer: Writer::Local(Arc::clone(schema)), reader: self.reader_schema.clone() },
        };
        Arc::new(Formats { default: Format { encoding, mapping: self.mapping.clone() }, topics: BTreeMap::new() })
    }
}

/// Decodes chunks. Keeps scratch memory from one to the next.
pub struct ChunkDecoder {
    shape: Arc<Shape>,
    projection: Projection,
    lines: Decoder,
    /// The schema of the last chunk that was of Avro, and what decodes it.
    avro: Option<(Arc<Schema>, Decoder)>,
    /// Where each record of the last chunk begins and ends.
    pub spans: Vec<(u32, u32)>,
    /// The events of the last chunk.
    pub events: EventBatch,
    /// Those of its records that are none.
    pub rejected: Vec<Rejected>,
}

impl ChunkDecoder {
    /// A decoder of what a projection wants.
    pub fn new(projection: Projection, shape: &Arc<Shape>) -> Self {
        ChunkDecoder {
            lines: Decoder::new(projection.clone(), &shape.formats(None)),
            shape: Arc::clone(shape),
            projection,
            avro: None,
            spans: vec![],
            events: EventBatch::default(),
            rejected: vec![],
        }
    }

    /// Decodes a chunk, of which it takes where lines are.
    ///
    /// # Errors
    /// When a schema cannot be had.
    pub fn decode(&mut self, chunk: &mut Chunk) -> Result<(), Away> {
        self.prepare(chunk);
        let ChunkDecoder { shape, lines, avro, spans, events, rejected, .. } = self;
        let decoder = avro.as_mut().filter(|_| chunk.avro.is_some()).map_or(lines, |(_, decoder)| decoder);
        decoder.decode(&chunk.data, spans, shape.topic.as_deref().into(), events, rejected)
    }

    /// As [`ChunkDecoder::decode`], each event into the batch of its partition instead of `events`, which mean nothing then.
    ///
    /// # Errors
    /// As there.
    pub fn decode_by_partition(&mut self, chunk: &mut Chunk, out: &mut ByPartition<'_, impl Fn(&[u8]) -> usize>) -> Result<(), Away> {
        self.prepare(chunk);
        let ChunkDecoder { shape, lines, avro, spans, events, rejected, .. } = self;
        let decoder = avro.as_mut().filter(|_| chunk.avro.is_some()).map_or(lines, |(_, decoder)| decoder);
        decoder.decode_by_partition(&chunk.data, spans, shape.topic.as_deref().into(), out, events, rejected)
    }

    /// Finds the records of a chunk, and sees to what decodes them: what is for Avro, if they are, else what is for lines.
    fn prepare(&mut self, chunk: &mut Chunk) {
        let Some(records) = &chunk.avro else {
            match chunk.lines.take() {
                Some(lines) => self.spans = lines,
                None => split_lines(&chunk.data, &mut self.spans),
            }
            return;
        };
        self.spans.clone_from(&records.spans);
        if self.avro.as_ref().is_none_or(|(schema, _)| !Arc::ptr_eq(schema, &records.schema)) {
            let decoder = Decoder::new(self.projection.clone(), &self.shape.formats(Some(&records.schema)));
            self.avro = Some((Arc::clone(&records.schema), decoder));
        }
    }
}
