//! What is kept, and for how long: events by time and by size, profiles by their time to live.

use std::time::Duration;

use serde_json::{Value, json};

use crate::live::{BIG, Live, high_spenders, now, numbers, purchase};

/// Housekeeping comes every ten seconds.
const HOUSEKEEPING: Duration = Duration::from_secs(30);

async fn users(live: &Live) -> Vec<String> {
    let rows = live.select("SELECT user_id FROM events ORDER BY user_id").await;
    rows.iter().filter_map(|r| r["user_id"].as_str().map(String::from)).collect()
}

async fn offsets(live: &Live) -> i64 {
    let status = live.get("/status").await.body;
    status["partitions"].as_array().into_iter().flatten().filter_map(|p| p["offsets"]["events"].as_i64()).sum()
}

#[tokio::test]
async fn events_are_kept_for_a_time() {
    let data = tempfile::tempdir().expect("a folder");
    let set = ["source.partitions=1", "source.retention=1s", "checkpoint.interval=500ms"];
    let live = Live::start(data.path(), &set);
    assert_eq!(live.post("/segments", high_spenders()).await.status, 201);
    live.settled().await;
    live.post("/events", json!([purchase("old", now(), 600.0)])).await;
    live.settled().await;
    assert_eq!(users(&live).await, ["old"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Both events of this user are of one window, also when it ends between them.
    let time = now();
    live.post("/events", json!([purchase("new", time, 100.0)])).await;
    live.until("the old event goes", HOUSEKEEPING, async || users(&live).await == ["new"]).await;
    // What came of it stays, and offsets go on where they were.
    assert_eq!(live.segments_of("old").await, ["High Spenders"]);
    live.post("/events", json!([purchase("new", time, 500.0)])).await;
    live.until("the next event", Duration::from_secs(5), async || live.segments_of("new").await == ["High Spenders"]).await;
    live.settled().await;
    assert_eq!(offsets(&live).await, 3);

    let mut live = live;
    assert!(live.terminate().0.success());
    let live = Live::start(data.path(), &set);
    live.post("/events", json!([purchase("later", now(), 600.0)])).await;
    live.until("an event after a restart", Duration::from_secs(5), async || live.segments_of("later").await == ["High Spenders"]).await;
    assert_eq!(live.segments_of("new").await, ["High Spenders"]);
    live.settled().await;
    assert_eq!(offsets(&live).await, 4);
}

#[tokio::test]
async fn events_are_kept_up_to_a_size() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=2", "source.retention_bytes=64KiB"]);
    // What the log keeps is compressed; this cannot be.
    let mut random = numbers(1);
    for block in 0..20 {
        let event = |u| {
            let mut event = purchase(&format!("block{block:02}-{u}"), now(), 1.0);
            event["metadata"] = json!({"noise": (0..6).map(|_| format!("{:016x}", random(u64::MAX))).collect::<String>()});
            event
        };
        let events: Vec<Value> = (0..100).map(event).collect();
        assert_eq!(live.post("/events", json!(events)).await.body["accepted"], 100);
    }
    live.settled().await;
    let bytes = async || live.get("/status").await.body["logBytes"].as_u64().unwrap_or(0);
    assert!(bytes().await > 100_000, "{}", bytes().await);
    live.until("the oldest events go", HOUSEKEEPING, async || bytes().await <= 65_536).await;
    let left = users(&live).await;
    assert!(left.len() >= 200 && left.len() < 2_000, "{} events are left", left.len());
    let first = left.first().cloned().unwrap_or_default();
    assert!(left.last().is_some_and(|u| u.starts_with("block19")) && *first > *"block05", "from {first} on");
    assert_eq!(offsets(&live).await, 2_000);
}

/// A profile that nobody writes any more leaves look-ups, members, SELECT and sizes. The second run knows nothing of
/// what the first one evaluated, so nothing writes it again.
#[tokio::test]
async fn profiles_expire() {
    let data = tempfile::tempdir().expect("a folder");
    let mut live = Live::start(data.path(), &["source.partitions=1", "sink.ttl=6s"]);
    assert_eq!(live.post("/segments", json!({"name": "big", "sql": BIG})).await.status, 201);
    live.settled().await;
    let before = now();
    live.post("/events", json!([purchase("u1", now(), 600.0), purchase("u2", now(), 700.0)])).await;
    live.until("members", Duration::from_secs(2), async || live.segments_of("u2").await == ["big"]).await;
    let expires = live.get("/users/u1/segments").await.body["segments"][0]["expiresAt"].as_i64().unwrap_or(0);
    assert!((before + 6_000..=now() + 6_000).contains(&expires), "{expires}");
    assert!(live.terminate().0.success());

    let catalog = format!("catalog.url=sqlite:{}", data.path().join("other.db").display());
    let checkpoints = format!("checkpoint.url=file:{}", data.path().join("other").display());
    let live = Live::start(data.path(), &["source.partitions=1", "sink.ttl=6s", &catalog, &checkpoints]);
    let never = BIG.replace("'purchase'", "'never'");
    assert_eq!(live.post("/segments", json!({"name": "big", "sql": never})).await.status, 201);
    let members = async || live.get("/segments/big/members").await.body["items"].as_array().map(Vec::len);
    let selected = async || live.select("SELECT user_id FROM memberships ORDER BY user_id").await;
    let size = async || live.get("/segments/big/stats").await.body["size"].clone();
    if now() < expires - 1_000 {
        assert_eq!(live.segments_of("u1").await, ["big"]);
        assert_eq!((members().await, selected().await.len(), size().await), (Some(2), 2, json!(2)));
    }
    tokio::time::sleep(Duration::from_millis((expires - now() + 300).max(0) as u64)).await;
    assert!(live.segments_of("u1").await.is_empty());
    assert_eq!((members().await, selected().await), (Some(0), vec![]));
    live.until("the size", Duration::from_secs(5), async || size().await == 0).await;
    let minutes = live.get("/segments/big/stats").await.body["minutes"].clone();
    let exited: i64 = minutes.as_array().into_iter().flatten().filter_map(|m| m["exited"].as_i64()).sum();
    assert_eq!(exited, 2);
}
