//! Objects of the same time → one sequence of records in the order of their times.
//!
//! Writers leave several objects for an hour, each with events of all of it. One after the other they would send time to
//! the hour's end and back again, and what comes then would be late. So of all heads the oldest is taken next; records
//! of one object keep their order. A record without a time goes with the one before it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use cohort_engine::decode::Projection;
use cohort_engine::formats::avro::Schema;

use super::{Object, Reading};
use crate::error::ConnectorError;
use crate::file::source::{AvroRecords, Chunk, FileSource, Origin};
use crate::records::ChunkDecoder;
use crate::spares::Spares;

/// Records that are read of an object at a time.
const LINES: usize = 4096;
/// Bytes after which a chunk ends whatever the number of its records.
const LARGEST: usize = 256 << 20;

/// Objects that are read side by side.
pub struct Merge {
    lanes: Vec<Lane>,
    /// The time of each lane's next record, the oldest first.
    heads: BinaryHeap<Reverse<(i64, usize)>>,
    /// Schemas of Avro that were met, each once, so that chunks need not end where the next object has the same.
    schemas: Vec<Arc<Schema>>,
    begun: bool,
}

/// An object, with some of its records.
struct Lane {
    source: FileSource,
    decoder: ChunkDecoder,
    chunk: Chunk,
    records: VecDeque<(i64, (u32, u32))>,
    last: i64,
}

impl Lane {
    /// Reads on when there is nothing left; false at the end.
    fn fill(&mut self, schemas: &mut Vec<Arc<Schema>>) -> Result<bool, ConnectorError> {
        while self.records.is_empty() {
            let Some(mut chunk) = self.source.next_chunk()? else { return Ok(false) };
            if let Some(avro) = &mut chunk.avro {
                avro.schema = known(schemas, &avro.schema);
            }
            self.decoder.decode(&mut chunk)?;
            let (events, mut next) = (&self.decoder.events, 0);
            for (i, span) in self.decoder.spans.iter().enumerate() {
                if events.records.get(next).is_some_and(|record| *record as usize == i) {
                    self.last = events.times[next];
                    next += 1;
                }
                self.records.push_back((self.last, *span));
            }
            self.chunk = chunk;
        }
        Ok(true)
    }

    fn schema(&self) -> Option<&Arc<Schema>> {
        self.chunk.avro.as_ref().map(|a| &a.schema)
    }
}

fn known(schemas: &mut Vec<Arc<Schema>>, schema: &Arc<Schema>) -> Arc<Schema> {
    if let Some(known) = schemas.iter().find(|s| s == &schema) {
        return Arc::clone(known);
    }
    schemas.push(Arc::clone(schema));
    Arc::clone(schema)
}

impl Merge {
    /// Some objects, of whose Parquet whole rows are wanted or the columns of plain events.
    pub fn new(objects: Vec<Object>, reading: &Reading, whole_rows: bool) -> Self {
        let together = objects.len();
        let source = |object| FileSource::of(vec![Origin::Object(object, reading.clone())], LINES).beside(together);
        let lane = |object: Object| Lane {
            source: if whole_rows { source(object).with_whole_rows() } else { source(object) },
            decoder: ChunkDecoder::new(Projection::default(), &reading.shape),
            chunk: Chunk::default(),
            records: VecDeque::new(),
            last: i64::MIN,
        };
        Merge { lanes: objects.into_iter().map(lane).collect(), heads: BinaryHeap::new(), schemas: vec![], begun: false }
    }

    /// The next records, at most so many, in memory from `spares`; none at the end of all objects.
    ///
    /// # Errors
    /// When an object can't be read.
    pub fn next_chunk(&mut self, lines: usize, spares: &Spares) -> Result<Option<Chunk>, ConnectorError> {
        if !self.begun {
            self.begun = true;
            // All are asked for before the first is waited for.
            self.lanes.iter_mut().for_each(|lane| lane.source.start());
            (0..self.lanes.len()).try_for_each(|lane| self.push(lane))?;
        }
        let mut chunk = Chunk { data: spares.take(0), ..Chunk::default() };
        let mut taken = 0;
        while taken < lines && chunk.data.len() < LARGEST {
            let Some(Reverse((_, lane))) = self.heads.pop() else { break };
            let fits = taken == 0 || same(self.lanes[lane].schema(), chunk.avro.as_ref().map(|a| &a.schema));
            if fits {
                let until = self.heads.peek().map_or((i64::MAX, usize::MAX), |Reverse(head)| *head);
                taken += take(&mut self.lanes[lane], lane, until, lines - taken, &mut chunk);
            }
            self.push(lane)?;
            if !fits {
                break;
            }
        }
        Ok((taken > 0).then_some(chunk))
    }

    fn push(&mut self, lane: usize) -> Result<(), ConnectorError> {
        if self.lanes[lane].fill(&mut self.schemas)?
            && let Some((time, _)) = self.lanes[lane].records.front()
        {
            self.heads.push(Reverse((*time, lane)));
        }
        Ok(())
    }
}

fn same(a: Option<&Arc<Schema>>, b: Option<&Arc<Schema>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// Moves records of a lane into a chunk while they come before another's; how many.
fn take(lane: &mut Lane, number: usize, until: (i64, usize), most: usize, into: &mut Chunk) -> usize {
    if let (None, Some(schema)) = (&into.avro, lane.schema().cloned()) {
        into.avro = Some(AvroRecords { schema, spans: vec![] });
    }
    let mut taken = 0;
    while taken < most {
        let Some((_, (start, end))) = lane.records.pop_front_if(|(time, _)| (*time, number) <= until) else { break };
        let from = into.data.len() as u32;
        into.data.extend_from_slice(&lane.chunk.data[start as usize..end as usize]);
        match &mut into.avro {
            Some(avro) => avro.spans.push((from, into.data.len() as u32)),
            None => into.data.push(b'\n'),
        }
        taken += 1;
    }
    taken
}
