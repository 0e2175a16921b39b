//! Records of other formats through the whole service: Avro and Protobuf by a schema registry, JSON of another shape,
//! and files of them.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use cohort_connectors::kafka::producer::Outgoing;
use serde_json::{Value, json};

use crate::avro_bytes::{Bytes, container};
use crate::kafka::{BROKER, Fleet, Members, REKEY, START, broker, until_equal};
use crate::live::Live;
use crate::registry_double::{Mode, Registry};

const SEGMENTS: &str = "
CREATE SEGMENT big AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) >= 100;
CREATE SEGMENT by_app AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE metadata['channel'] = 'app' GROUP BY user_id, window_start, window_end HAVING count(*) >= 1;
";

const FIRST: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"user","type":"string"},{"name":"kind","type":{"type":"enum","name":"Kind","symbols":["view","purchase"]}},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"amount","type":["null","double"]}]}"#;
const SECOND: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"amount","type":["null","double"]},{"name":"userId","aliases":["user"],"type":"string"},
    {"name":"channel","type":"string","default":"web"},{"name":"kind","type":"Kind"},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;
const KIND: &str = r#"{"type":"enum","name":"Kind","namespace":"shop","symbols":["view","purchase"]}"#;
const CLICK: &str = r#"syntax = "proto3"; package shop; import "shop/user.proto"; import "google/protobuf/timestamp.proto";
    message Ignored {} message Click { User who = 1; google.protobuf.Timestamp at = 2; map<string, string> more = 3; }"#;
const USER: &str = r#"syntax = "proto3"; package shop; message User { string id = 1; }"#;

const AVRO: &str = "{kind=avro,fields={user_id=user,event_type=kind,event_time=at,value=amount,metadata=\".\"}}";
const PROTOBUF: &str = "{kind=protobuf,fields={user_id=\"who.id\",event_type=\"\",event_type_default=\"click of {topic}\",event_time=at,value=\"\",session_id=\"\",metadata=more}}";
const JSON: &str = "{fields={user_id=[\"user.id\",user],event_type=type,event_time=ts,event_time_unit=s,value=price,attributes={channel=\"via.channel\"}}}";

fn first(user: &str, amount: f64) -> Vec<u8> {
    Bytes::default().text(user).long(1).long(START).long(1).double(amount).framed(1)
}

fn second(user: &str, amount: f64, channel: &str) -> Vec<u8> {
    Bytes::default().long(1).double(amount).text(user).text(channel).long(1).long(START * 1_000 + 5).framed(2)
}

/// A click, by hand: tags, lengths and varints; the second message of its file.
fn click(user: &str, channel: &str) -> Vec<u8> {
    let field = |tag: u8, bytes: &[u8]| [&[tag << 3 | 2, bytes.len() as u8][..], bytes].concat();
    let varint = |mut n: u64| {
        let mut bytes = vec![];
        while n >= 0x80 {
            bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
        bytes
    };
    let at = [&[1 << 3][..], &varint(START as u64 / 1_000)].concat();
    let entry = [field(1, b"channel"), field(2, channel.as_bytes())].concat();
    [&[0, 0, 0, 0, 3, 2, 2][..], &field(1, &field(1, user.as_bytes())), &field(2, &at), &field(3, &entry)].concat()
}

async fn registry() -> Registry {
    let registry = Registry::start().await;
    registry.add(1, "AVRO", FIRST, &[]);
    registry.add(3, "PROTOBUF", CLICK, &[("shop/user.proto", "shop-user", 4)]);
    registry.add_version("shop-user", 4, "PROTOBUF", USER, &[]);
    registry.add_version("shop-kind", 1, "AVRO", KIND, &[]);
    registry
}

fn add_second(registry: &Registry) {
    registry.add(2, "AVRO", SECOND, &[("shop.Kind", "shop-kind", 1)]);
}

/// A fleet whose topics are of Avro, Protobuf, and JSON of another shape.
async fn fleet(brokers: &str, registry: &Registry, more: &[&str]) -> Fleet {
    let url = format!("source.registry.url=\"{}\"", registry.url);
    let mut fleet = Fleet::new(brokers, &[&[url.as_str(), "source.registry.timeout=1s"], more].concat()).await;
    let formats: Vec<String> = fleet.topics.iter().zip([AVRO, PROTOBUF, JSON]).map(|(topic, format)| format!("source.formats.{topic}={format}")).collect();
    fleet.settings.extend(formats);
    fleet
}

fn send(fleet: &mut Fleet, topic: usize, key: Option<&str>, value: &[u8]) {
    let record = Outgoing { topic: &fleet.topics[topic], key: key.map(str::as_bytes), value, time: Some(START), headers: vec![] };
    fleet.producer.write([record].into_iter()).expect("taken");
}

async fn held_by(member: &Live, users: &[&str]) -> Members {
    let mut members = Members::new();
    for user in users {
        let segments: BTreeSet<String> = member.segments_of(user).await.into_iter().collect();
        if !segments.is_empty() {
            members.insert(user.to_string(), segments);
        }
    }
    members
}

async fn metrics(member: &Live) -> String {
    member.get("/metrics").await.body.as_str().unwrap_or_default().to_string()
}

fn members(expected: &[(&str, &[&str])]) -> Members {
    expected.iter().map(|(user, segments)| (user.to_string(), segments.iter().map(|s| s.to_string()).collect())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn avro_protobuf_and_other_json_become_memberships() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let registry = registry().await;
    registry.set_login("Basic bWU6czNjcmV0");
    let login = ["source.registry.user=me", "source.registry.password=s3cret"];
    let mut fleet = fleet(&brokers, &registry, &login).await;
    let member = fleet.member(1);
    assert_eq!(member.sql(SEGMENTS).await.status, 200);
    send(&mut fleet, 0, Some("a"), &first("a", 60.0));
    send(&mut fleet, 0, Some("b"), &first("b", 60.0));
    member.until("the first schema is asked for", Duration::from_secs(20), async || registry.asked().contains(&"ids/1".to_string())).await;
    // The stream goes on with another schema, which nobody told the service of.
    add_second(&registry);
    send(&mut fleet, 0, Some("a"), &second("a", 50.0, "app"));
    send(&mut fleet, 0, Some("b"), &first("b", 30.0));
    send(&mut fleet, 1, Some("c"), &click("c", "app"));
    let order = json!({"user": {"id": "d"}, "type": "purchase", "ts": START as f64 / 1e3, "price": 200, "via": {"channel": "app"}});
    send(&mut fleet, 2, Some("d"), order.to_string().as_bytes());
    send(&mut fleet, 2, Some("e"), json!({"user": "e", "type": "purchase", "ts": START / 1_000, "price": 100}).to_string().as_bytes());
    // And with what is no event.
    send(&mut fleet, 0, Some("x"), &Bytes::default().text("x").framed(77));
    send(&mut fleet, 0, Some("x"), &first("x", 500.0)[..9]);
    send(&mut fleet, 0, Some("x"), &click("x", "app"));
    send(&mut fleet, 1, Some("x"), b"{}");
    send(&mut fleet, 2, Some("x"), b"{\"user\":{}}");
    let expected = members(&[("a", &["big", "by_app"]), ("c", &["by_app"]), ("d", &["big", "by_app"]), ("e", &["big"])]);
    until_equal("all formats", &expected, async || held_by(&member, &["a", "b", "c", "d", "e", "x"]).await).await;
    let reasons = async || -> Vec<String> {
        let letters = member.get("/events/dead-letters?limit=100").await.body;
        let mut reasons: Vec<String> = letters.as_array().into_iter().flatten().map(|l| l["reason"].as_str().unwrap_or_default().to_string()).collect();
        reasons.sort();
        reasons
    };
    let refused = ["invalid_user_id", "not_avro", "not_framed", "unknown_schema", "unusable_schema"];
    member.until("dead letters", Duration::from_secs(10), async || reasons().await.len() == refused.len()).await;
    assert_eq!(reasons().await, refused);
    // What is kept is read alike: by previews, by SELECT, and to say why.
    let preview = "CREATE SEGMENT tried AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) >= 90";
    let tried = member.post("/segments/preview", json!({"sql": preview})).await.body;
    assert_eq!((&tried["rows"], &tried["size"]), (&json!(7), &json!(4)), "{tried}");
    let why = member.get("/users/a/segments/big/why").await.body;
    let newest = &why["events"][0];
    assert_eq!((&newest["userId"], &newest["eventType"], &newest["value"]), (&json!("a"), &json!("purchase"), &json!(50.0)), "{why}");
    assert_eq!((&newest["timestamp"], &newest["metadata"]["channel"]), (&json!(START), &json!("app")), "{why}");
    let rows = member.select("SELECT count(*) AS n FROM events WHERE event_type LIKE 'click of %'").await;
    assert_eq!(rows[0]["n"], 1, "{rows:?}");
    // Over HTTP there is no telling what Avro a record should be.
    let event = json!({"userId": "u", "eventType": "purchase", "timestamp": START, "value": 1});
    let refused = member.post(&format!("/events?topic={}", fleet.topics[0]), event).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    // Each schema was asked for once, or once more by who reads what is kept.
    assert_eq!(registry.asked().iter().filter(|key| *key == "ids/1").count(), 1, "{:?}", registry.asked());
    let shown = member.get("/status").await.body.to_string() + &member.said() + &metrics(&member).await;
    assert!(!shown.contains("s3cret") && !shown.contains("bWU6czNjcmV0"), "a password is not shown");
    assert!(shown.contains("cohort_schema_requests_total{outcome=\"found\"}"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_holds_records_back_and_loses_none() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let registry = registry().await;
    registry.set_mode(Mode::Broken(503));
    let mut fleet = fleet(&brokers, &registry, &["engine.workers=1", "time.idle_timeout=1s"]).await;
    let mut member = fleet.member(1);
    assert_eq!(member.sql(SEGMENTS).await.status, 200);
    for user in ["a", "b", "c", "d", "e", "f"] {
        send(&mut fleet, 0, Some(user), &first(user, 70.0));
    }
    let waits = async |member: &Live| {
        let problems = member.get("/status").await.body["problems"].to_string();
        problems.contains("schema 1") && problems.contains("503")
    };
    member.until("it says that it waits", Duration::from_secs(20), async || waits(&member).await).await;
    assert_eq!(member.get("/readyz").await.status, 503);
    let metrics = metrics(&member).await;
    assert!(metrics.contains("cohort_worker_waits_for_schema{worker=\"0\"} 1"), "{metrics}");
    // Stopping does not wait for it; who starts next, waits again.
    let (status, took) = member.terminate();
    assert!(status.success() && took < Duration::from_secs(10), "{status} {took:?}");
    let first_again = fleet.member(2);
    first_again.until("it waits, too", Duration::from_secs(20), async || waits(&first_again).await).await;
    // Neither do members that come; while records wait, their windows stay open, however long nothing comes.
    let other = fleet.member(3);
    other
        .until("each has partitions", Duration::from_secs(30), async || {
            let count = async |member: &Live| member.get("/status").await.body["partitions"].as_array().map_or(0, Vec::len);
            count(&first_again).await == 2 && count(&other).await == 2
        })
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for user in ["a", "b", "c", "d", "e", "f"] {
        send(&mut fleet, 0, Some(user), &first(user, 40.0));
    }
    registry.set_mode(Mode::Well);
    let users = ["a", "b", "c", "d", "e", "f"];
    let expected = members(&users.map(|user| (user, &["big"][..])));
    until_equal("the registry is back", &expected, async || held_by(&first_again, &users).await).await;
    let letters = [&first_again, &other].map(|member| async { member.get("/events/dead-letters").await.body });
    for letters in letters {
        assert_eq!(letters.await, json!([]), "nothing was refused, and nothing is late");
    }
    first_again.until("it no longer waits", Duration::from_secs(5), async || !waits(&first_again).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_schema_is_away_does_not_hold_up_the_others() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let registry = registry().await;
    let mut fleet = fleet(&brokers, &registry, &["engine.workers=1"]).await;
    let member = fleet.member(1);
    assert_eq!(member.sql(SEGMENTS).await.status, 200);
    registry.set_mode(Mode::Silent);
    send(&mut fleet, 0, Some("a"), &first("a", 120.0));
    member.until("it waits", Duration::from_secs(20), async || metrics(&member).await.contains("cohort_worker_waits_for_schema{worker=\"0\"} 1")).await;
    let others: Vec<String> = (0..24).map(|i| format!("u{i}")).collect();
    for user in &others {
        let order = json!({"user": user, "type": "purchase", "ts": START / 1_000, "price": 200});
        send(&mut fleet, 2, Some(user), order.to_string().as_bytes());
    }
    // One worker has all four partitions; of those three go on, however long the registry takes.
    let users: Vec<&str> = others.iter().map(String::as_str).collect();
    let read = async || held_by(&member, &users).await.len();
    member.until("the others are read", Duration::from_secs(20), async || read().await > users.len() / 2).await;
    assert!(member.segments_of("a").await.is_empty() && read().await < users.len(), "what is in the partition with a waits with it");
    registry.set_mode(Mode::Well);
    let expected: Vec<(&str, &[&str])> = users.iter().chain(&["a"]).map(|user| (*user, &["big"][..])).collect();
    let all: Vec<&str> = expected.iter().map(|(user, _)| *user).collect();
    until_equal("the registry answers", &members(&expected), async || held_by(&member, &all).await).await;
    assert_eq!(member.get("/events/dead-letters").await.body, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_avro_are_written_anew_by_user() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let registry = registry().await;
    add_second(&registry);
    let mut fleet = fleet(&brokers, &registry, &[REKEY]).await;
    let member = fleet.member(1);
    assert_eq!(member.sql(SEGMENTS).await.status, 200);
    let names: Vec<String> = (0..30).map(|i| format!("u{i}")).collect();
    for user in &names {
        send(&mut fleet, 0, None, &first(user, 60.0));
    }
    for user in &names {
        send(&mut fleet, 0, Some("another"), &second(user, 60.0, "web"));
        send(&mut fleet, 1, None, &click(user, "app"));
    }
    let users: Vec<&str> = names.iter().map(String::as_str).collect();
    let expected: Vec<(&str, &[&str])> = users.iter().map(|user| (*user, &["big", "by_app"][..])).collect();
    until_equal("by user", &members(&expected), async || held_by(&member, &users).await).await;
}

/// The memberships that a replay of a file comes to, and its summary.
fn replayed(folder: &std::path::Path, input: &str, more: &[&str]) -> (Vec<String>, Value) {
    let path = |name: &str| folder.join(name);
    std::fs::write(path("segments.sql"), SEGMENTS).expect("a file");
    let mut replay = Command::new(env!("CARGO_BIN_EXE_cohort"));
    replay
        .args(["replay", "--emit", "final", "--output", "-", "--json"])
        .arg(path("summary.json"))
        .arg("--input")
        .arg(path(input))
        .arg("--segments")
        .arg(path("segments.sql"));
    let output = replay.args(more).output().expect("replay runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut results: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect();
    results.sort();
    let summary = std::fs::read_to_string(path("summary.json")).expect("a summary");
    (results, serde_json::from_str(&summary).expect("JSON"))
}

#[test]
fn files_of_avro_parquet_and_other_json_replay_alike() {
    use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let events: Vec<(String, i64, f64, &str)> =
        (0..500).map(|i| (format!("u{}", i % 7), START + i * 1_700, (i * 13 % 40) as f64, if i % 11 == 0 { "app" } else { "web" })).collect();
    let lines = |event: fn(&(String, i64, f64, &str)) -> Value| events.iter().map(|e| event(e).to_string()).collect::<Vec<_>>().join("\n");
    let plain = |e: &(String, i64, f64, &str)| json!({"userId": e.0, "eventType": "purchase", "timestamp": e.1, "value": e.2, "metadata": {"channel": e.3}});
    std::fs::write(path("plain.jsonl"), lines(plain)).expect("a file");
    let other = |e: &(String, i64, f64, &str)| json!({"user": {"id": e.0}, "type": "purchase", "ts": e.1 as f64 / 1e3, "price": e.2, "via": {"channel": e.3}});
    std::fs::write(path("other.jsonl"), lines(other)).expect("a file");
    let second: Vec<Bytes> = events.iter().map(|e| Bytes::default().long(1).double(e.2).text(&e.0).text(e.3).long(1).long(e.1 * 1_000)).collect();
    let schema = SECOND.replace(r#""type":"Kind""#, &format!(r#""type":{KIND}"#));
    let blocks: Vec<&[Bytes]> = second.chunks(70).collect();
    std::fs::write(path("orders.avro"), container(&schema, "deflate", &blocks)).expect("a file");
    let columns: [(&str, ArrayRef); 5] = [
        ("user", std::sync::Arc::new(StringArray::from_iter_values(events.iter().map(|e| &e.0)))),
        ("kind", std::sync::Arc::new(StringArray::from_iter_values(events.iter().map(|_| "purchase")))),
        ("at", std::sync::Arc::new(TimestampMillisecondArray::from_iter_values(events.iter().map(|e| e.1)).with_timezone("UTC"))),
        ("amount", std::sync::Arc::new(Float64Array::from_iter_values(events.iter().map(|e| e.2)))),
        ("channel", std::sync::Arc::new(StringArray::from_iter_values(events.iter().map(|e| e.3)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    let file = std::fs::File::create(path("orders.parquet")).expect("a file");
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("written");
    let expected = replayed(folder.path(), "plain.jsonl", &[]);
    assert!(expected.0.len() > 10, "{:?}", expected.0);
    let avro = format!("source.format={AVRO}").replace("kind=avro,", "");
    let parquet = avro.replace("event_time=at", "event_time=at,event_time_unit=rfc3339");
    for (file, format) in [("other.jsonl", format!("source.format={JSON}")), ("orders.avro", avro), ("orders.parquet", parquet)] {
        let found = replayed(folder.path(), file, &["--set", &format]);
        assert_eq!(found.0, expected.0, "{file}");
        assert_eq!((&found.1["events"], &found.1["deadLetters"]), (&expected.1["events"], &expected.1["deadLetters"]), "{file}");
    }
}
