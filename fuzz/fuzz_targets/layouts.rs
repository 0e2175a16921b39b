//! Records that are decoded by what earlier ones looked like must come out as if each were the first: the same events,
//! and the same reasons where they are not accepted. The first byte chooses what is projected and whether records
//! stand on lines of their own in memory; records are separated by newlines.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../engine/src/decode/mod.rs"]
mod decode;

use decode::json::JsonDecoder;
use decode::{EventBatch, Projection, TextColumnSpec, TextField, Topics};

fn projection(texts: usize) -> Projection {
    let dictionary = |texts: &[&str]| Some(Arc::new(texts.iter().enumerate().map(|(i, t)| (t.as_bytes().into(), i as u32 + 2)).collect()));
    let all = [
        TextColumnSpec { field: TextField::EventType, dictionary: dictionary(&["view", "purchase"]), text: true },
        TextColumnSpec { field: TextField::Metadata("category".into()), dictionary: None, text: true },
        TextColumnSpec { field: TextField::SessionId, dictionary: dictionary(&["s"]), text: true },
    ];
    Projection { value: texts > 0, texts: all.into_iter().take(texts).collect(), metadata: false }
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, input)) = input.split_first() else { return };
    let (projection, lines) = (projection(usize::from(choice % 4)), choice & 4 == 0);
    let records: Vec<&[u8]> = input.split(|b| *b == b'\n').take(64).collect();
    let (mut data, mut spans) = (vec![], vec![]);
    // Twice, so that most were seen before.
    for record in records.iter().chain(&records) {
        let start = data.len() as u32;
        data.extend_from_slice(record);
        spans.push((start, data.len() as u32));
        data.extend_from_slice(if lines { b"\n" } else { b"" });
    }
    let (mut out, mut rejected) = (EventBatch::default(), vec![]);
    JsonDecoder::new(projection.clone()).decode(&data, &spans, Topics::None, &mut out, &mut rejected);
    let (mut alone, mut refused, mut row, mut wrong) = (EventBatch::default(), vec![], 0, rejected.iter());
    for record in records.iter().chain(&records) {
        JsonDecoder::new(projection.clone()).decode(record, &[(0, record.len() as u32)], Topics::None, &mut alone, &mut refused);
        match refused.first() {
            Some(refused) => assert_eq!(wrong.next().map(|r| r.reason), Some(refused.reason)),
            None => {
                let mut found = out.select(&[row]);
                found.records = vec![0];
                assert_eq!(found, alone.select(&[0]));
                row += 1;
            }
        }
    }
    assert_eq!((row as usize, wrong.next()), (out.len(), None));
});
