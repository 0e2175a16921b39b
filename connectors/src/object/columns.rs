//! Parquet of an object store: the footer, then of each row group that may have events of the run's time the pages
//! of the wanted columns, by ranged reads. A row group is fetched while the one before it is decoded.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, TimeUnit};
use object_store::{ObjectStore, coalesce_ranges};
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowSelection, RowSelector};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};

use super::{Object, Reading, Tally};

/// What is read at the end first: most footers are in it.
const TAIL: u64 = 64 << 10;
/// Ranges so near to one another are fetched as one.
const NEAR: u64 = 256 << 10;
/// Rows decoded at a time.
const ROWS: usize = 8192;

/// The rows of an object, row group by row group.
pub struct Columns {
    groups: Receiver<Result<ParquetRecordBatchReader, String>>,
    current: Option<ParquetRecordBatchReader>,
}

impl Columns {
    /// Begins to fetch. The thread that does ends when this is dropped, or with the object.
    pub fn fetch(object: &Object, reading: &Reading) -> Self {
        let (send, groups) = sync_channel(0);
        let fetch = Fetch { object: object.clone(), reading: reading.clone() };
        thread::spawn(move || {
            let outcome = fetch.decoder().and_then(|decoder| match decoder {
                Some(mut decoder) => {
                    while let Some(group) = fetch.next(&mut decoder)? {
                        if send.send(Ok(group)).is_err() {
                            return Ok(());
                        }
                    }
                    Ok(())
                }
                None => Ok(()),
            });
            if let Err(message) = outcome {
                // Nobody is there to hear it when reading was given up.
                let _ = send.send(Err(message));
            }
        });
        Columns { groups, current: None }
    }
}

impl Iterator for Columns {
    type Item = Result<RecordBatch, String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.current.as_mut().and_then(Iterator::next) {
                return Some(batch.map_err(|e| e.to_string()));
            }
            match self.groups.recv() {
                Ok(Ok(group)) => self.current = Some(group),
                Ok(Err(message)) => return Some(Err(message)),
                Err(_) => return None,
            }
        }
    }
}

struct Fetch {
    object: Object,
    reading: Reading,
}

/// What of a row group is read.
struct Part {
    group: usize,
    rows: Option<RowSelection>,
}

impl Fetch {
    fn ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, String> {
        let fetch = |range: Range<u64>| async move {
            let bytes = self.object.store.get_opts(&self.object.path, self.object.part(range.start, range.end)).await?.bytes().await?;
            Tally::add(&self.reading.tally.bytes, bytes.len() as u64);
            Ok::<_, object_store::Error>(bytes)
        };
        self.reading.runtime.block_on(coalesce_ranges(ranges, fetch, NEAR)).map_err(|e| e.to_string())
    }

    /// What the object says of itself; with the statistics of pages where some may be left out.
    fn metadata(&self) -> Result<ParquetMetaData, String> {
        let size = self.object.size;
        let pages = if self.reading.between.is_all() { PageIndexPolicy::Skip } else { PageIndexPolicy::Optional };
        let mut decoder = ParquetMetaDataPushDecoder::try_new(size).map_err(|e| e.to_string())?.with_page_index_policy(pages);
        let tail = size.saturating_sub(TAIL)..size;
        let bytes = self.ranges(std::slice::from_ref(&tail))?;
        decoder.push_ranges(vec![tail], bytes).map_err(|e| e.to_string())?;
        loop {
            match decoder.try_decode().map_err(|e| e.to_string())? {
                DecodeResult::NeedsData(ranges) => {
                    let bytes = self.ranges(&ranges)?;
                    decoder.push_ranges(ranges, bytes).map_err(|e| e.to_string())?;
                }
                DecodeResult::Data(metadata) => return Ok(metadata),
                DecodeResult::Finished => return Err("has no footer".into()),
            }
        }
    }

    /// What decodes the wanted row groups; none, if there are none.
    fn decoder(&self) -> Result<Option<ParquetPushDecoder>, String> {
        let metadata = ArrowReaderMetadata::try_new(Arc::new(self.metadata()?), ArrowReaderOptions::new()).map_err(|e| e.to_string())?;
        let projection = self.projection(&metadata);
        let parts = self.parts(&metadata, &projection)?;
        if parts.is_empty() {
            return Ok(None);
        }
        let mut builder = ParquetPushDecoderBuilder::new_with_metadata(metadata.clone())
            .with_batch_size(ROWS)
            .with_projection(projection)
            .with_row_groups(parts.iter().map(|p| p.group).collect());
        if parts.iter().any(|p| p.rows.is_some()) {
            let all = |group: usize| RowSelection::from(vec![RowSelector::select(metadata.metadata().row_group(group).num_rows() as usize)]);
            let selectors = parts.into_iter().flat_map(|p| Vec::<RowSelector>::from(p.rows.unwrap_or_else(|| all(p.group))));
            builder = builder.with_row_selection(RowSelection::from(selectors.collect::<Vec<_>>()));
        }
        builder.build().map(Some).map_err(|e| e.to_string())
    }

    fn next(&self, decoder: &mut ParquetPushDecoder) -> Result<Option<ParquetRecordBatchReader>, String> {
        loop {
            match decoder.try_next_reader().map_err(|e| e.to_string())? {
                DecodeResult::NeedsData(ranges) => {
                    let bytes = self.ranges(&ranges)?;
                    decoder.push_ranges(ranges, bytes).map_err(|e| e.to_string())?;
                }
                DecodeResult::Data(reader) => return Ok(Some(reader)),
                DecodeResult::Finished => return Ok(None),
            }
        }
    }

    /// The columns that are wanted. Metadata as text are read in any case, as they may break the rule for metadata.
    fn projection(&self, metadata: &ArrowReaderMetadata) -> ProjectionMask {
        let Some(wanted) = &self.reading.columns else { return ProjectionMask::all() };
        let fields = metadata.schema().fields().iter().enumerate();
        let is_text = |field: &Field| !matches!(field.data_type(), DataType::Map(..) | DataType::Struct(_));
        let is_wanted = |field: &Field| wanted.iter().any(|w| w == field.name()) || field.name() == "metadata" && is_text(field);
        let roots = fields.filter(|(_, field)| is_wanted(field)).map(|(i, _)| i);
        ProjectionMask::roots(metadata.parquet_schema(), roots)
    }

    /// The row groups that may have events of the run's time, and the rows of those of their pages that may.
    fn parts(&self, metadata: &ArrowReaderMetadata, projection: &ProjectionMask) -> Result<Vec<Part>, String> {
        let file = metadata.metadata();
        let between = &self.reading.between;
        let all = || (0..file.num_row_groups()).map(|group| Part { group, rows: None }).collect::<Vec<_>>();
        let column = self.reading.time.iter().find(|name| metadata.schema().column_with_name(name).is_some());
        let parts = match column.filter(|_| !between.is_all()) {
            Some(column) => self.pruned(metadata, column)?,
            None => all(),
        };
        let tally = &self.reading.tally;
        let skipped: Vec<usize> = (0..file.num_row_groups()).filter(|group| !parts.iter().any(|p| p.group == *group)).collect();
        let bytes = |group: usize| {
            let columns = file.row_group(group).columns().iter().enumerate();
            columns.filter(|(leaf, _)| projection.leaf_included(*leaf)).map(|(_, c)| c.compressed_size().max(0) as u64).sum::<u64>()
        };
        Tally::add(&tally.row_groups, parts.len() as u64);
        Tally::add(&tally.row_groups_skipped, skipped.len() as u64);
        Tally::add(&tally.row_group_bytes_skipped, skipped.into_iter().map(bytes).sum());
        Ok(parts)
    }

    fn pruned(&self, metadata: &ArrowReaderMetadata, column: &str) -> Result<Vec<Part>, String> {
        let (file, between) = (metadata.metadata(), &self.reading.between);
        let converter = StatisticsConverter::try_new(column, metadata.schema(), metadata.parquet_schema()).map_err(|e| e.to_string())?;
        let unit = self.reading.time_unit;
        let bounds = |least: ArrayRef, most: ArrayRef| Some((millis(&least, unit)?, millis(&most, unit)?));
        let least = converter.row_group_mins(file.row_groups()).map_err(|e| e.to_string())?;
        let most = converter.row_group_maxes(file.row_groups()).map_err(|e| e.to_string())?;
        let Some((least, most)) = bounds(least, most) else {
            return Ok((0..file.num_row_groups()).map(|group| Part { group, rows: None }).collect());
        };
        let may_have = |least: Option<i64>, most: Option<i64>| between.may_have(least.unwrap_or(i64::MIN), most.unwrap_or(i64::MAX));
        let mut parts = vec![];
        for group in (0..file.num_row_groups()).filter(|&group| may_have(least[group], most[group])) {
            let is_whole = least[group].zip(most[group]).is_some_and(|(l, m)| between.has(l) && between.has(m));
            let pages = file.column_index().zip(file.offset_index()).filter(|_| !is_whole);
            let mut rows = None;
            if let Some((column_index, offset_index)) = pages {
                let group = [group];
                let counts = converter.data_page_row_counts(offset_index, file.row_groups(), &group).map_err(|e| e.to_string())?;
                let least = converter.data_page_mins(column_index, offset_index, &group).map_err(|e| e.to_string())?;
                let most = converter.data_page_maxes(column_index, offset_index, &group).map_err(|e| e.to_string())?;
                if let (Some(counts), Some((least, most))) = (counts, bounds(least, most)) {
                    let pages = counts.values().iter().zip(least.into_iter().zip(most));
                    let selectors = pages.map(|(&rows, (least, most))| RowSelector { row_count: rows as usize, skip: !may_have(least, most) });
                    let selectors: Vec<RowSelector> = selectors.collect();
                    Tally::add(&self.reading.tally.rows_skipped, selectors.iter().filter(|s| s.skip).map(|s| s.row_count as u64).sum());
                    rows = Some(RowSelection::from(selectors));
                }
            }
            parts.push(Part { group, rows });
        }
        Ok(parts)
    }
}

/// Times as milliseconds, rounded as those of events are; none, where the type of a column does not say what they are.
fn millis(times: &ArrayRef, unit: i64) -> Option<Vec<Option<i64>>> {
    let to_millis = |t: i64| i64::try_from((i128::from(t) * i128::from(unit)).div_euclid(1_000_000)).ok();
    let values = match times.data_type() {
        DataType::Timestamp(..) => {
            let millis = cast(times, &DataType::Timestamp(TimeUnit::Millisecond, None)).ok()?;
            return Some(cast(&millis, &DataType::Int64).ok()?.as_primitive::<Int64Type>().iter().collect());
        }
        DataType::Int64 => times.as_primitive::<Int64Type>().iter(),
        _ => return None,
    };
    Some(values.map(|t| t.and_then(to_millis)).collect())
}
