//! Memberships that the store lost while the engine runs come back by themselves.

use std::time::Duration;

use serde_json::json;

use crate::kafka::{Members, double, hosts, stored, until_equal};
use crate::live::{Live, now, purchase};

const SEGMENTS: &str = "CREATE SEGMENT big AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '1 day') \
    WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) >= 100; \
    CREATE SEGMENT seen AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '1 day') \
    WHERE event_type = 'view' GROUP BY user_id, window_start, window_end HAVING count(*) >= 1";

/// Users that were told anew as a whole.
pub(crate) async fn repaired(live: &Live) -> f64 {
    let metrics = live.get("/metrics").await.body;
    let line = metrics.as_str().into_iter().flat_map(str::lines).find_map(|l| l.strip_prefix("cohort_sink_repaired_users_total "));
    line.and_then(|n| n.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_lost_is_told_anew() {
    let (server, folder) = (double(), tempfile::tempdir().expect("a folder"));
    let settings = ["sink.kind=aerospike", "sink.aerospike.ttl=6s", "sink.ttl=6s", &hosts(&server), "time.idle_timeout=1h", "engine.batch_linger=5ms"];
    let live = Live::start(folder.path(), &settings);
    assert_eq!(live.sql(SEGMENTS).await.status, 200);
    let at = now();
    let users: Vec<String> = (0..20).map(|u| format!("u{u}")).collect();
    live.post("/events", json!(users.iter().map(|u| purchase(u, at, 150.0)).collect::<Vec<_>>())).await;
    let mut expected: Members = users.iter().map(|u| (u.clone(), ["big".to_string()].into())).collect();
    until_equal("entered", &expected, async || stored(&server)).await;
    assert_eq!(repaired(&live).await, 0.0, "nothing was amiss");

    server.clear();
    until_equal("back after the store was emptied", &expected, async || stored(&server)).await;

    server.advance(Duration::from_secs(60));
    assert_eq!(stored(&server), Members::new(), "all have expired");
    until_equal("back after they expired", &expected, async || stored(&server)).await;

    // A result that makes the record anew brings back what was in it.
    server.clear();
    live.post("/events", json!([{"userId": "u3", "eventType": "view", "timestamp": at}])).await;
    expected.get_mut("u3").expect("a user").insert("seen".into());
    until_equal("back with another", &expected, async || stored(&server)).await;

    let before = repaired(&live).await;
    server.down();
    tokio::time::sleep(Duration::from_secs(8)).await;
    server.advance(Duration::from_secs(8));
    server.up();
    until_equal("back after the store was away for longer than records live", &expected, async || stored(&server)).await;
    live.until("they were told anew", Duration::from_secs(20), async || repaired(&live).await >= before + 1.0).await;
    assert_eq!(live.segments_of("u3").await, ["big", "seen"]);
    // And then there is nothing to mend.
    let after = repaired(&live).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((repaired(&live).await, stored(&server)), (after, expected));
}
