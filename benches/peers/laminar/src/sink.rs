//! Looks up the thresholds that hold for closed windows, and writes rows.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use laminar_connectors::config::{ConnectorConfig, ConnectorInfo};
use laminar_connectors::connector::{SinkConnector, WriteResult};
use laminar_connectors::error::ConnectorError;
use laminar_connectors::registry::ConnectorRegistry;
use laminar_connectors::schema::resolution::SchemaCapabilities;
use peers_shared::Rules;

const NAME: &str = "thresholds";

pub fn register(registry: &ConnectorRegistry, rules: Arc<Rules>, folder: PathBuf) -> Result<(), ConnectorError> {
    let info = ConnectorInfo {
        schema_capabilities: SchemaCapabilities::declared(true),
        name: NAME.to_owned(),
        display_name: NAME.to_owned(),
        version: String::new(),
        is_source: false,
        is_sink: true,
        config_keys: Vec::new(),
    };
    let sink = move |config: &ConnectorConfig, _: Option<&Arc<_>>| Ok(Box::new(Sink::new(config, &rules, &folder)?) as Box<dyn SinkConnector>);
    registry.register_sink(NAME, info, Arc::new(sink))
}

struct Sink {
    rules: Arc<Rules>,
    /// Which of the sizes of windows comes here.
    number: usize,
    output: BufWriter<File>,
}

impl Sink {
    fn new(config: &ConnectorConfig, rules: &Arc<Rules>, folder: &Path) -> Result<Self, ConnectorError> {
        let number: usize = config.require_parsed("number")?;
        let file = File::create(folder.join(format!("{number}.csv"))).map_err(unwritten)?;
        Ok(Self { rules: rules.clone(), number, output: BufWriter::with_capacity(1 << 20, file) })
    }

    fn write(&mut self, windows: &RecordBatch) -> std::io::Result<()> {
        let size = &self.rules.sizes[self.number];
        let (users, types) = (windows.column(0).as_string::<i32>(), windows.column(1).as_string::<i32>());
        let starts = windows.column(2).as_primitive::<TimestampMicrosecondType>();
        let (counts, sums) = (windows.column(3).as_primitive::<Int64Type>(), windows.column(4).as_primitive::<Float64Type>());
        for row in 0..windows.num_rows() {
            let Ok(kind) = self.rules.types.binary_search_by(|kind| kind.as_str().cmp(types.value(row))) else {
                continue;
            };
            let (user, start) = (users.value(row), starts.value(row) / 1_000);
            for (rule, value) in size.by_type[kind].holding(counts.value(row), sums.value(row)) {
                writeln!(self.output, "{},{user},{start},{value}", self.rules.ids[rule as usize])?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl SinkConnector for Sink {
    async fn open(&mut self, _: &ConnectorConfig) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn write_batch(&mut self, windows: &RecordBatch) -> Result<WriteResult, ConnectorError> {
        self.write(windows).map_err(unwritten)?;
        Ok(WriteResult::new(windows.num_rows(), 0))
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::empty())
    }

    fn suggested_write_timeout(&self) -> Duration {
        Duration::from_secs(600)
    }

    async fn close(&mut self) -> Result<(), ConnectorError> {
        self.output.flush().map_err(unwritten)
    }
}

fn unwritten(error: std::io::Error) -> ConnectorError {
    ConnectorError::WriteError(error.to_string())
}
