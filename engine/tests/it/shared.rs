//! Events that are decoded into the batches of their partitions are those of one batch, shared out.

use cohort_engine::decode::json::{JsonDecoder, split_lines};
use cohort_engine::decode::{ByPartition, EventBatch, Projection, TextColumnSpec, TextField, Topics};
use proptest::prelude::*;

fn record() -> impl Strategy<Value = String> {
    let user = prop::sample::select(vec!["u1", "u2", "u3", "a user with a long name", "caf\u{e9}", "esc\\\"aped", "tab\\t"]);
    let metadata = prop::sample::select(vec!["null", "{}", "{\"k\":\"v\"}", "{\"k\":\"a value that is long\",\"n\":1}", "{\"k\":null,\"m\":\"\\n\"}"]);
    let value = prop::sample::select(vec!["null", "1", "-2.5", "0"]);
    let whole = (user, metadata, value, 0i64..1_000, any::<bool>()).prop_map(|(user, metadata, value, time, session)| {
        let session = if session { ",\"sessionId\":\"s\"" } else { "" };
        format!("{{\"userId\":\"{user}\",\"eventType\":\"view\",\"timestamp\":{time},\"value\":{value}{session},\"metadata\":{metadata}}}")
    });
    prop_oneof![8 => whole, 1 => prop::sample::select(vec!["{", "[]", "{\"userId\":\"\"}", "{\"userId\":\"u\",\"eventType\":\"e\"}"]).prop_map(String::from)]
}

fn text(field: TextField) -> TextColumnSpec {
    TextColumnSpec { field, dictionary: None, text: true }
}

fn projections() -> [Projection; 3] {
    let texts = vec![text(TextField::EventType), text(TextField::SessionId), text(TextField::Metadata("k".into()))];
    let all = Projection { value: true, texts: texts.clone(), metadata: true };
    [Projection::default(), Projection { value: true, texts, metadata: false }, all]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn batches_by_partition_are_parts_of_the_whole(chunks in prop::collection::vec(prop::collection::vec(record(), 0..40), 1..6), partitions in 1usize..4) {
        let partition = |user: &[u8]| user.iter().map(|byte| usize::from(*byte)).sum::<usize>() % partitions;
        for projection in projections() {
            let (mut whole, mut by_partition) = (JsonDecoder::new(projection.clone()), JsonDecoder::new(projection));
            // They are used again from chunk to chunk.
            let mut batches = vec![EventBatch::default(); partitions];
            for chunk in &chunks {
                let data = chunk.iter().map(|record| format!("{record}\n")).collect::<String>();
                let (mut spans, mut all, mut rejected, mut again) = (vec![], EventBatch::default(), vec![], vec![]);
                split_lines(data.as_bytes(), &mut spans);
                whole.decode(data.as_bytes(), &spans, Topics::None, &mut all, &mut rejected);
                by_partition.decode(data.as_bytes(), &spans, Topics::None, &mut ByPartition { batches: &mut batches, partition }, &mut again);
                prop_assert_eq!(&rejected, &again);
                let mut shared = vec![EventBatch::default(); partitions];
                all.share(&mut ByPartition { batches: &mut shared, partition });
                for (number, (batch, part)) in batches.iter().zip(&shared).enumerate() {
                    let rows: Vec<u32> = (0..all.len()).filter(|&i| partition(all.users.get(i)) == number).map(|i| i as u32).collect();
                    prop_assert_eq!(batch.len(), rows.len());
                    prop_assert_eq!(part.len(), rows.len());
                    if !rows.is_empty() {
                        prop_assert_eq!(batch, &all.select(&rows));
                        prop_assert_eq!(part, batch);
                    }
                }
            }
        }
    }
}
