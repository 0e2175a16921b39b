//! Classic rules in `laminar-db`: one windowed query for each size, which goes to a sink that looks up the thresholds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use laminar_db::{LaminarDB, UntypedSourceHandle};
use mimalloc::MiMalloc;
use peers_shared::{Blocks, Event, Rules, Task, lines};

mod sink;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How far the watermark lies behind the newest event, as in Cohort.
const OUT_OF_ORDERNESS_MILLIS: i64 = 30_000;
const LINES: usize = 8_192;
const PAUSE: Duration = Duration::from_micros(200);
/// As good as none.
const BYTES: usize = 16 << 30;

const EVENTS: &str = "
CREATE SOURCE events (
  user_id VARCHAR NOT NULL, event_type VARCHAR NOT NULL, event_time TIMESTAMP NOT NULL, value DOUBLE NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '{seconds}' SECOND)";

const WINDOWS: &str = "
CREATE STREAM windows_{number} AS
SELECT user_id, event_type, TUMBLE(event_time, INTERVAL '{minutes}' MINUTE) AS window_start, COUNT(*) AS n, SUM(value) AS total
FROM events
GROUP BY user_id, event_type, TUMBLE(event_time, INTERVAL '{minutes}' MINUTE)
EMIT ON WINDOW CLOSE";

const ROWS: &str = "CREATE SINK rows_{number} FROM windows_{number} INTO thresholds ('number' = '{number}')";

fn main() -> Result<()> {
    let started = Instant::now();
    let task = Task::from_arguments()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(task.workers).enable_all().build()?;
    runtime.block_on(run(&task))?;
    task.tell(started.elapsed())
}

async fn run(task: &Task) -> Result<()> {
    let rules = Arc::new(Rules::read(&task.rules)?);
    std::fs::create_dir(&task.output).with_context(|| format!("{} can't be made", task.output.display()))?;
    let (known, output) = (rules.clone(), task.output.clone());
    let db = LaminarDB::builder()
        .register_connector(move |registry| sink::register(registry, known, output))
        .event_time_max_future_skew(Duration::ZERO)
        .pipeline_max_managed_state_bytes(BYTES)
        .build()
        .await?;
    db.execute(&EVENTS.replace("{seconds}", &(OUT_OF_ORDERNESS_MILLIS / 1_000).to_string())).await?;
    for (number, size) in rules.sizes.iter().enumerate() {
        let fill = |sql: &str| sql.replace("{number}", &number.to_string()).replace("{minutes}", &(size.millis / 60_000).to_string());
        db.execute(&fill(WINDOWS)).await?;
        db.execute(&fill(ROWS)).await?;
    }
    db.start().await?;
    let source = db.source_untyped("events")?;
    let mut blocks = Blocks::open(&task.events.join("events.jsonl"), LINES)?;
    let mut newest = i64::MIN;
    loop {
        let block = blocks.next()?;
        if block.is_empty() {
            break;
        }
        push(&source, decode(&block, &source, &mut newest)?).await?;
    }
    // An event of no user and no type, which comes so late that all windows close.
    let last = newest + rules.sizes.iter().map(|size| size.millis).max().unwrap_or(0) + 2 * OUT_OF_ORDERNESS_MILLIS;
    push(&source, batch(&source, vec![""], vec![""], vec![last * 1_000], vec![0.0])?).await?;
    while db.pipeline_watermark() < last - OUT_OF_ORDERNESS_MILLIS {
        if let Some(fault) = db.last_fault() {
            bail!("{fault}");
        }
        tokio::time::sleep(PAUSE).await;
    }
    let late = db.metrics().total_events_dropped;
    if late > 0 {
        bail!("{late} events were dropped");
    }
    db.shutdown().await?;
    Ok(())
}

/// Waits while there is much to do.
async fn push(source: &UntypedSourceHandle, batch: RecordBatch) -> Result<()> {
    while source.is_backpressured() {
        tokio::time::sleep(PAUSE).await;
    }
    source.push_arrow(batch).map_err(|error| anyhow!("events are not taken: {error}"))
}

fn decode(block: &[u8], source: &UntypedSourceHandle, newest: &mut i64) -> Result<RecordBatch> {
    let events = lines(block).map(Event::of).collect::<Result<Vec<_>>>()?;
    let (mut users, mut types, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for event in &events {
        *newest = event.timestamp.max(*newest);
        users.push(&*event.user);
        types.push(&*event.kind);
        times.push(event.timestamp * 1_000);
        values.push(event.value);
    }
    batch(source, users, types, times, values)
}

fn batch(source: &UntypedSourceHandle, users: Vec<&str>, types: Vec<&str>, micros: Vec<i64>, values: Vec<f64>) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(users)),
        Arc::new(StringArray::from(types)),
        Arc::new(TimestampMicrosecondArray::from(micros)),
        Arc::new(Float64Array::from(values)),
    ];
    Ok(RecordBatch::try_new(source.schema().clone(), columns)?)
}
