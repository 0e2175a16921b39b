//! The `lookups` scenario: what a user is in, asked over HTTP by several clients with open connections while events
//! stream, with a profile for every user.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use cohort_connectors::embedded::log::Record;
use hdrhistogram::Histogram;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use super::client::{Client, histogram, quantiles};
use super::feeder::{Feeder, WAITING};
use super::{Folder, SLICE, lag, settled, start, written};
use crate::catalog::Edit;
use crate::service::Service;

const CLIENTS: u64 = 8;
/// Look-ups a second, of all clients together.
const PACE: u64 = 1_000;
const STEP: Duration = Duration::from_secs(10);
const FILL: u64 = 4_096;

/// Segments that every user is in after their first event, and some that fewer are in.
const SEGMENTS: [(&str, &str); 4] = [("active", "count(*) >= 1"), ("spent", "sum(value) > 50"), ("busy", "count(*) >= 20"), ("big", "sum(value) > 5000")];

/// Runs the scenario in a folder of its own, which it removes.
pub async fn run(users: u64, partitions: Option<u32>, rate: u64, seed: u64) -> Result<Value> {
    let folder = Folder::new("lookups");
    let service = start(&folder.0, partitions).await?;
    let edits = SEGMENTS.map(|(name, having)| create(name, having));
    service.edit(edits.to_vec(), "bench").await.map_err(|p| anyhow!(p.detail))?;
    let filling = Instant::now();
    fill(&service, users).await?;
    let filled = filling.elapsed();
    eprintln!("lookups: {users} profiles written in {:.1} s", filled.as_secs_f64());
    let client = Client::serve(&service)?;
    let feeder = Feeder::start(&service, users, seed);
    let mut steps = vec![];
    for (what, events, pace) in [("idle", 0, PACE), ("streaming", rate, PACE), ("streaming, as fast as answered", rate, u64::MAX)] {
        feeder.set_rate(events);
        let (results, times) = (written(&service), look_up(&client, users, pace, seed).await?);
        let results = (written(&service) - results) / STEP.as_secs();
        let mut step = quantiles(&times);
        (step["step"], step["eventsPerSecond"], step["resultsPerSecond"], step["lag"]) = (json!(what), json!(events), json!(results), json!(lag(&service)));
        steps.push(step);
    }
    feeder.stop();
    service.stop().await;
    Ok(json!({"users": users, "clients": CLIENTS, "fillSeconds": filled.as_secs_f64(), "steps": steps, "peakMemoryBytes": crate::memory::peak_bytes()}))
}

fn create(name: &str, having: &str) -> Edit {
    let sql = format!(
        "SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '1 hour') GROUP BY user_id, window_start, window_end HAVING {having}"
    );
    Edit::Create { name: name.into(), body: json!({"name": name, "sql": sql}), description: String::new(), origin: "api".into(), active: true }
}

/// The id that the generator gives a user.
fn user(number: u64, users: u64) -> String {
    let width = (users.saturating_sub(1).max(1).ilog10() as usize + 1).max(6);
    format!("user_{number:0width$}")
}

/// An event of each user, so that each has a profile.
async fn fill(service: &Service, users: u64) -> Result<()> {
    for from in (0..users).step_by(FILL as usize) {
        while lag(service) > WAITING {
            tokio::time::sleep(SLICE).await;
        }
        let now = (service.clock)();
        let names: Vec<String> = (from..users.min(from + FILL)).map(|n| user(n, users)).collect();
        let event = |name: &String| json!({"userId": name, "eventType": "purchase", "timestamp": now, "value": 99.5}).to_string();
        let events: Vec<String> = names.iter().map(event).collect();
        let records: Vec<Record<'_>> =
            names.iter().zip(&events).map(|(user, event)| Record { topic: "order_events", user: user.as_bytes(), payload: event.as_bytes() }).collect();
        service.log.append(&records, now)?;
    }
    settled(service).await;
    // The status of the sink is a moment old.
    for _ in 0..500 {
        if service.profiles.size("active") == users {
            return Ok(());
        }
        tokio::time::sleep(SLICE).await;
    }
    bail!("{} of {users} users have a profile", service.profiles.size("active"))
}

/// Has all clients look users up for a while; returns what that took, µs.
async fn look_up(client: &Client, users: u64, pace: u64, seed: u64) -> Result<Histogram<u64>> {
    let clients: Vec<_> = (0..CLIENTS).map(|n| tokio::spawn(one_client(client.clone(), users, pace, seed + n))).collect();
    let mut all = histogram()?;
    for one in clients {
        all.add(&one.await??)?;
    }
    Ok(all)
}

async fn one_client(client: Client, users: u64, pace: u64, seed: u64) -> Result<Histogram<u64>> {
    let (mut random, mut times, started) = (ChaCha8Rng::seed_from_u64(seed), histogram()?, Instant::now());
    let mut turns = tokio::time::interval(Duration::from_secs_f64(CLIENTS as f64 / pace as f64).max(Duration::from_nanos(1)));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while started.elapsed() < STEP {
        if pace < u64::MAX {
            turns.tick().await;
        }
        let name = user(random.random_range(0..users), users);
        let (answer, took) = client.call(Method::GET, &format!("/users/{name}/segments"), None).await?;
        if !answer.windows(8).any(|w| w == b"\"active\"") {
            bail!("{name} is in no segment: {}", String::from_utf8_lossy(&answer));
        }
        times.record(took.as_micros() as u64)?;
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Generator, GeneratorConfig};

    #[test]
    fn users_are_those_of_the_generator() {
        for users in [1, 10, 11, 1_000, 1_001] {
            let known: Vec<String> = (0..users).map(|n| user(n, users)).collect();
            let mut generator = Generator::new(GeneratorConfig { events: 200, users, ..GeneratorConfig::default() });
            while let Some(event) = generator.next_event() {
                assert!(known.contains(&event.user_id), "{} of {users}", event.user_id);
            }
        }
    }
}
