//! A thread that appends generated events of the present to the log, at a rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use cohort_connectors::embedded::log::Record;

use super::{SLICE, lag};
use crate::generate::{Generator, GeneratorConfig};
use crate::service::Service;

/// Events that may wait when they come as fast as they are read.
pub const WAITING: u64 = 200_000;

/// A thread that appends events of the present at a rate.
pub struct Feeder {
    rate: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Feeder {
    /// Starts with a rate of 0.
    pub fn start(service: &Arc<Service>, users: u64, seed: u64) -> Self {
        let (rate, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (service, its_rate, its_stop) = (Arc::clone(service), Arc::clone(&rate), Arc::clone(&stop));
        let thread = std::thread::spawn(move || feed(&service, users, seed, &its_rate, &its_stop));
        Feeder { rate, stop, thread }
    }

    /// Events a second from now on; `u64::MAX` for as many as are read.
    pub fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Ends the thread.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

fn feed(service: &Service, users: u64, mut seed: u64, rate: &AtomicU64, stop: &AtomicBool) {
    let (mut next, mut owed) = (Instant::now(), 0.0);
    while !stop.load(Ordering::Relaxed) {
        let rate = rate.load(Ordering::Relaxed);
        let events = if rate == u64::MAX {
            if lag(service) > WAITING {
                std::thread::sleep(SLICE / 10);
                continue;
            }
            next = Instant::now();
            4_096
        } else {
            next += SLICE;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            owed += rate as f64 * SLICE.as_secs_f64();
            let events = owed as u64;
            owed -= events as f64;
            events
        };
        seed += 1;
        append(service, events, users, seed);
    }
}

fn append(service: &Service, events: u64, users: u64, seed: u64) {
    let now = (service.clock)();
    let mut generator = Generator::new(GeneratorConfig { events, users, seed, from_ms: now - 10, span_ms: 10, disorder_ms: 0, ..GeneratorConfig::default() });
    let mut made = Vec::with_capacity(events as usize);
    while let Some(event) = generator.next_event() {
        let topic = event.topic().name();
        made.push((topic, serde_json::to_vec(&event).unwrap_or_default(), event.user_id));
    }
    let records: Vec<Record<'_>> = made.iter().map(|(topic, payload, user)| Record { topic, user: user.as_bytes(), payload }).collect();
    if let Err(error) = service.log.append(&records, now) {
        tracing::error!(%error, "the log takes no events");
    }
}
