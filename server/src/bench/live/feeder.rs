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

/// Events that are made beforehand.
const TEMPLATES: u64 = 500_000;
/// How far events of one append lie apart, ms.
const SPREAD: i64 = 10;

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

fn feed(service: &Service, users: u64, seed: u64, rate: &AtomicU64, stop: &AtomicBool) {
    let (mut templates, mut at) = (templates(users, seed), 0);
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
        let mut left = events as usize;
        while left > 0 && !templates.is_empty() {
            let some = left.min(templates.len() - at);
            append(service, &mut templates[at..at + some]);
            at = (at + some) % templates.len();
            left -= some;
        }
    }
}

/// An event to append again and again, at other times.
struct Template {
    topic: &'static str,
    user: String,
    payload: Vec<u8>,
    /// Where the digits of its timestamp are.
    digits: std::ops::Range<usize>,
}

/// Events made beforehand, so that making them is no part of what is measured.
fn templates(users: u64, seed: u64) -> Vec<Template> {
    const AT: i64 = 1_700_000_000_000;
    let config = GeneratorConfig { events: TEMPLATES, users, seed, from_ms: AT, span_ms: 1, disorder_ms: 0, ..GeneratorConfig::default() };
    let (mut generator, mut made) = (Generator::new(config), vec![]);
    while let Some(event) = generator.next_event() {
        let payload = serde_json::to_vec(&event).unwrap_or_default();
        let digits = AT.to_string();
        if let Some(at) = memchr::memmem::find(&payload, digits.as_bytes()) {
            made.push(Template { topic: event.topic().name(), digits: at..at + digits.len(), user: event.user_id, payload });
        }
    }
    made
}

/// Appends the next events, at most all of them once, as of the present.
fn append(service: &Service, next: &mut [Template]) {
    let (now, events) = ((service.clock)(), next.len() as i64);
    for (i, template) in next.iter_mut().enumerate() {
        let time = (now - SPREAD + i as i64 * SPREAD / events).to_string();
        template.payload[template.digits.clone()].copy_from_slice(time.as_bytes());
    }
    let records: Vec<Record<'_>> = next.iter().map(|t| Record { topic: t.topic, user: t.user.as_bytes(), payload: &t.payload }).collect();
    if let Err(error) = service.log.append(&records, now) {
        tracing::error!(%error, "the log takes no events");
    }
}
