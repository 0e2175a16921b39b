//! Records as the plain JSON events that they stand for, for those who look at what a source keeps.

use std::sync::Arc;

use cohort_engine::decode::{EventBatch, Projection, TextColumnSpec, TextField, Topics};
use cohort_engine::formats::{Decoder, Formats};
use cohort_engine::source::RawBatch;
use serde_json::{Map, Value};

/// Shows records of some formats.
pub struct Shown {
    formats: Arc<Formats>,
    decoder: Decoder,
    events: EventBatch,
}

impl Shown {
    /// Of these formats.
    pub fn new(formats: Arc<Formats>) -> Self {
        let text = |field| TextColumnSpec { field, dictionary: None, text: true };
        let all = Projection { value: true, texts: vec![text(TextField::EventType), text(TextField::SessionId)], metadata: true };
        Shown { decoder: Decoder::new(all, &formats), formats, events: EventBatch::default() }
    }

    /// The event; a plain one as it was written. None, when it is none, or its schema cannot be had.
    pub fn event(&mut self, batch: &RawBatch, record: usize) -> Option<Map<String, Value>> {
        if self.formats.of(Some(batch.topic(record))).is_plain() {
            return serde_json::from_slice(batch.payload(record)).ok();
        }
        let (events, mut rejected) = (&mut self.events, vec![]);
        let topics = Topics::Each(&batch.topic_of[record..=record], &batch.topics);
        self.decoder.decode(&batch.data, &batch.spans[record..=record], topics, events, &mut rejected).ok()?;
        let mut event = Map::new();
        let time = *events.times.first()?;
        event.insert("userId".into(), text(events.users.get(0)));
        event.insert("eventType".into(), text(events.texts[0].text.get(0)));
        event.insert("timestamp".into(), time.into());
        if events.values_valid[0] {
            event.insert("value".into(), events.values[0].into());
        }
        if events.texts[1].valid[0] {
            event.insert("sessionId".into(), text(events.texts[1].text.get(0)));
        }
        if let Some(map) = events.metadata.as_ref().filter(|map| map.valid[0]) {
            let value = |i: usize| if map.values_valid[i] { text(map.values.get(i)) } else { Value::Null };
            let entries: Map<String, Value> = (0..map.keys.len()).map(|i| (String::from_utf8_lossy(map.keys.get(i)).into_owned(), value(i))).collect();
            event.insert("metadata".into(), entries.into());
        }
        Some(event)
    }
}

fn text(bytes: &[u8]) -> Value {
    Value::from(String::from_utf8_lossy(bytes))
}
