//! Segments inside another program: `cargo run --release -p cohort-engine --example in_a_program`.

use cohort_engine::{Evaluator, Settings};

const SEGMENTS: &str = "
    CREATE SEGMENT big_spenders AS
    SELECT user_id, sum(value) AS value
    FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
    WHERE event_type = 'purchase'
    GROUP BY user_id, window_start, window_end
    HAVING sum(value) > 100;";

const EVENTS: &[u8] = br#"{"userId":"ada","eventType":"purchase","timestamp":1767225600000,"value":80}
{"userId":"bob","eventType":"purchase","timestamp":1767225605000,"value":30}
{"userId":"ada","eventType":"purchase","timestamp":1767225610000,"value":45.5}
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut evaluator = Evaluator::of_sql(SEGMENTS, Settings::default())?;
    for outcome in evaluator.push(EVENTS)? {
        println!("{} {} {}", outcome.user, if outcome.row.qualified { "enters" } else { "leaves" }, outcome.segment);
    }
    println!("ada is in {:?}, bob in {:?}", evaluator.segments_of("ada").collect::<Vec<_>>(), evaluator.segments_of("bob").collect::<Vec<_>>());
    Ok(())
}
