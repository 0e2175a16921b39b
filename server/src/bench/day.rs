//! The `day` scenario: a day of traffic in event time, and what memory its state takes from hour to hour. Events are
//! generated a batch at a time, so that they are no part of that. Once the longest window has passed, memory should
//! stay as it is; beyond the limit, groups go to files.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use cohort_engine::decode::json::{JsonDecoder, split_lines};
use cohort_engine::decode::{EventBatch, Topics};
use cohort_engine::events::projection;
use cohort_engine::{Late, Partition, Settings};
use serde_json::{Value, json};

use super::run::{Counted, compile};
use super::scenarios::Workload;
use crate::generate::Generator;

const HOUR: i64 = 3_600_000;

/// Runs a workload in one partition, whose state takes no more than `memory_limit` bytes beside what goes to `spill`.
pub fn run(workload: &Workload, batch_rows: usize, memory_limit: usize, spill: &Path) -> Result<Value> {
    let program = compile(workload)?;
    let settings = Settings { memory_limit, spill: Some(spill.to_path_buf()), ..Settings::default() };
    let mut partition = Partition::new(program.clone(), settings);
    let (mut generator, mut decoder) = (Generator::new(workload.generator.clone()), JsonDecoder::new(projection(&program)));
    let (mut bytes, mut spans, mut events, mut rejected) = (vec![], vec![], EventBatch::default(), vec![]);
    let (mut out, mut late, mut hours) = (Counted::default(), Late::default(), vec![]);
    let (mut read, mut busy, mut hour) = (0u64, Duration::ZERO, None);
    loop {
        bytes.clear();
        let more = (0..batch_rows).all(|_| generator.write_event(&mut bytes));
        let started = Instant::now();
        split_lines(&bytes, &mut spans);
        decoder.decode(&bytes, &spans, Topics::None, &mut events, &mut rejected);
        partition.process(&events, &mut out, &mut late)?;
        let time = partition.watermark().unwrap_or(i64::MIN);
        partition.advance(time, &mut out)?;
        busy += started.elapsed();
        read += events.len() as u64;
        out.total();
        let now = time.div_euclid(HOUR);
        if hour.replace(now).is_some_and(|before| before != now) || !more {
            hours.push(standing(&mut partition, hours.len() + 1, read));
        }
        if !more {
            break;
        }
    }
    let seconds = busy.as_secs_f64();
    Ok(json!({
        "segments": workload.segments, "users": workload.generator.users, "events": read, "results": out.total(), "seconds": seconds,
        "eventsPerSecond": read as f64 / seconds, "memoryLimit": memory_limit, "peakMemoryBytes": crate::memory::peak_bytes(),
        "growth": growth(&hours), "hours": hours,
    }))
}

fn standing(partition: &mut Partition, hour: usize, events: u64) -> Value {
    partition.look();
    json!({
        "hour": hour, "events": events, "groups": partition.groups(), "users": partition.users().len(), "memberships": partition.membership().len(),
        "stateBytes": partition.size(), "spilledBytes": partition.spilled(), "residentBytes": crate::memory::resident_bytes(),
    })
}

/// The most memory that state took in the last quarter, as a multiple of that in the second; none without four hours.
fn growth(hours: &[Value]) -> Option<f64> {
    let quarter = hours.len() / 4;
    let most = |some: &[Value]| some.iter().filter_map(|hour| hour["stateBytes"].as_f64()).fold(0.0, f64::max);
    (quarter > 0).then(|| most(&hours[hours.len() - quarter..]) / most(&hours[quarter..2 * quarter]))
}

/// Prints a report.
pub fn say(report: &Value) {
    let megabytes = |value: &Value| value.as_f64().unwrap_or(0.0) / 1e6;
    for hour in report["hours"].as_array().into_iter().flatten() {
        eprintln!(
            "  hour {}: {} groups, {} users, {} memberships, {:.0} MB of state, {:.0} MB in files, {:.0} MB resident",
            hour["hour"],
            hour["groups"],
            hour["users"],
            hour["memberships"],
            megabytes(&hour["stateBytes"]),
            megabytes(&hour["spilledBytes"]),
            megabytes(&hour["residentBytes"])
        );
    }
    let rate = report["eventsPerSecond"].as_f64().unwrap_or(0.0) / 1e6;
    let growth = report["growth"].as_f64().map_or(String::new(), |g| format!("; state of the last quarter is {g:.2} times that of the second"));
    eprintln!("day: {} events, {} results, {rate:.2} M events/s{growth}", report["events"], report["results"]);
}
