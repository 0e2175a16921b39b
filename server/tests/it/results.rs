//! Events that are evaluated elsewhere: a service reads their results from Kafka, and its store, API and catalog are as if it had
//! evaluated them itself. What the store holds is compared with `cohort replay`, whose results are what it reads.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cohort_connectors::kafka::admin;
use cohort_connectors::kafka::producer::Outgoing;
use serde_json::{Value, json};

use crate::kafka::{BROKER, Fleet, Members, PARTITIONS, SEGMENTS, Story, broker, double, hosts, options, random, stored, story, text, until_equal};
use crate::live::Live;

/// Segments for Flink: not those that match users over windows of different kinds, which can't be exported; nor sessions, of which the last
/// close after the story.
fn exported() -> String {
    SEGMENTS.lines().filter(|line| !line.contains("USING (user_id)") && !line.contains("SESSION")).collect::<Vec<_>>().join("\n")
}

/// A topic for results, beside those of a fleet.
async fn results_topic(brokers: &str, fleet: &Fleet) -> String {
    let topic = format!("{}-results", fleet.group);
    let options = options(brokers, &fleet.group, std::slice::from_ref(&topic));
    admin::create(&options, std::slice::from_ref(&topic), PARTITIONS, &[]).await.expect("a topic");
    topic
}

/// A member that reads results.
fn reader(fleet: &Fleet, topic: &str) -> Live {
    let topics = format!("source.topics=[{topic}]");
    fleet.try_member(1, &["source.kind=results", &topics]).unwrap_or_else(|said| panic!("a member does not start: {said}"))
}

/// What replay tells of a story: results in their order, and who is in what in the end.
fn replayed(folder: &Path, story: &Story, segments: &str) -> (Vec<Value>, Members) {
    let path = |name: &str| folder.join(name);
    let lines: Vec<String> = story.pieces.iter().flatten().map(Value::to_string).collect();
    std::fs::write(path("events.jsonl"), lines.join("\n")).expect("a file");
    std::fs::write(path("segments.sql"), segments).expect("a file");
    let mut replay = Command::new(env!("CARGO_BIN_EXE_cohort"));
    replay.args(["replay", "--emit", "final", "--partitions", "4", "--input"]).arg(path("events.jsonl")).arg("--segments").arg(path("segments.sql"));
    let output = replay.arg("--output").arg(path("results.ndjson")).arg("--memberships").arg(path("members.ndjson")).output().expect("replay runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(path(name)).expect("a file");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let mut members = Members::new();
    for member in read("members.ndjson") {
        members.entry(text(&member["userId"])).or_default().insert(text(&member["segmentId"]));
    }
    (read("results.ndjson"), members)
}

fn produce(fleet: &mut Fleet, topic: &str, records: &[Vec<u8>], keys: &[String]) {
    let records = records.iter().zip(keys).map(|(value, key)| Outgoing { topic, key: Some(key.as_bytes()), value, time: None, headers: vec![] });
    fleet.producer.write(records).expect("records are taken");
}

/// Results that come out of order, some twice as after a restart of the job, with records that are none between, and a service that is killed.
#[tokio::test(flavor = "multi_thread")]
async fn memberships_equal_those_of_replay_through_kills() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let server = double();
    let mut fleet = Fleet::new(&brokers, &["sink.kind=aerospike", &hosts(&server)]).await;
    let topic = results_topic(&brokers, &fleet).await;
    let (results, expected) = replayed(fleet.folder.path(), &story(31, 0), SEGMENTS);
    assert!(results.len() > 2_000 && expected.len() > 100, "{} results, {} members", results.len(), expected.len());
    assert!(results.iter().any(|r| r["qualified"] == false), "there are exits");
    let mut member = reader(&fleet, &topic);
    let created = member.sql(SEGMENTS).await;
    assert_eq!(created.status, 200, "{}", created.body);
    let (mut state, mut unknown, mut bad) = (7, 0, 0);
    for (n, piece) in results.chunks(100).enumerate() {
        // A job that starts again from a checkpoint tells all since then once more.
        let again = if random(&mut state, 4) == 0 { 150 } else { 0 };
        let from = (n * 100).saturating_sub(again);
        let mut told: Vec<Value> = results[from..n * 100 + piece.len()].to_vec();
        for i in (1..told.len()).rev() {
            // Results and exits of a job come side by side, in no order.
            let near = i - random(&mut state, 40.min(i as u64 + 1)) as usize;
            told.swap(i, near);
        }
        let mut records: Vec<Vec<u8>> = told.iter().map(|r| r.to_string().into_bytes()).collect();
        let mut keys: Vec<String> = told.iter().map(|r| text(&r["userId"])).collect();
        if n % 5 == 0 {
            let mut other = told[0].clone();
            other["segmentId"] = json!("dropped");
            other["userId"] = json!("somebody");
            records.push(other.to_string().into_bytes());
            records.push(b"no result".to_vec());
            records.push(br#"{"userId": "u1", "segmentId": "spenders"}"#.to_vec());
            keys.extend(["somebody", "u1", "u1"].map(String::from));
            (unknown, bad) = (unknown + 1, bad + 1);
        }
        produce(&mut fleet, &topic, &records, &keys);
        if n % 8 == 7 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            member.kill();
            member = reader(&fleet, &topic);
        }
    }
    let took = until_equal("results from elsewhere", &expected, async || stored(&server)).await;
    eprintln!("results from elsewhere: {} results; right after {:.1} s", results.len(), took.as_secs_f64());
    // Nobody comes back, however long one waits.
    tokio::time::sleep(Duration::from_secs(2)).await;
    until_equal("and stays so", &expected, async || stored(&server)).await;
    let (user, segments) = expected.iter().next().expect("a member");
    assert_eq!(member.segments_of(user).await.into_iter().collect::<BTreeSet<_>>(), *segments);
    let letters = member.get("/events/dead-letters?limit=1000").await.body;
    let reasons: Vec<String> = letters.as_array().into_iter().flatten().map(|l| text(&l["reason"])).collect();
    let of = |reason: &str| reasons.iter().filter(|r| *r == reason).count();
    assert_eq!((of("not_json"), of("invalid_result"), reasons.len()), (bad, bad, 2 * bad), "{reasons:?}");
    // Segments that are not there are counted, since the last start.
    produce(&mut fleet, &topic, &[json!({"userId": "x", "segmentId": "dropped", "ruleId": "dropped", "qualified": true, "value": null, "timestamp": 1, "windowStart": 0, "windowEnd": 1}).to_string().into_bytes()], &["x".into()]);
    assert!(unknown > 0);
    let known = async || member.get("/status").await.body["source"]["ignored"]["unknown_segment"].as_u64().unwrap_or(0);
    for _ in 0..100 {
        if known().await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(known().await > 0);
    refuses_what_needs_events(&member, user).await;
}

async fn refuses_what_needs_events(member: &Live, user: &str) {
    let status = member.get("/status").await.body;
    assert_eq!((&status["source"]["kind"], &status["source"]["evaluatedElsewhere"]), (&json!("results"), &json!(true)), "{status}");
    let one = SEGMENTS.lines().nth(1).expect("a segment").replace("spenders", "tried");
    let event = json!({"userId": "u", "eventType": "view", "timestamp": 1_750_000_000_000_i64});
    let refused = [
        member.post("/events", event).await,
        member.post("/events/generate", json!({"count": 1})).await,
        member.post("/segments/preview", json!({"sql": one.trim_end_matches(';')})).await,
        member.get(&format!("/users/{user}/segments/spenders/why")).await,
        member.get(&format!("/users/{user}/events")).await,
    ];
    for answer in refused {
        assert_eq!((answer.status, &answer.body["type"]), (409, &json!("/problems/evaluated-elsewhere")), "{}", answer.body);
    }
}

/// A job on a real Flink, which ends with this.
struct Job(Child);

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The whole way: events in Kafka, evaluated by the exported job on a real Flink, results in Kafka, memberships in the store and the API.
#[tokio::test(flavor = "multi_thread")]
async fn an_exported_job_evaluates_and_the_service_answers() {
    let Some(brokers) = broker() else { return };
    let Ok(flink) = std::env::var("COHORT_TEST_FLINK") else {
        eprintln!("SKIPPED: an exported job on a real Flink (none in COHORT_TEST_FLINK; scripts/flink.sh env gives one)");
        return;
    };
    let _alone = BROKER.lock().await;
    let server = double();
    let mut fleet = Fleet::new(&brokers, &["sink.kind=aerospike", &hosts(&server)]).await;
    let topic = results_topic(&brokers, &fleet).await;
    let (story, segments) = (story(32, 100), exported());
    let (_, expected) = replayed(fleet.folder.path(), &story, &segments);
    let job = fleet.folder.path().join("job");
    let set = [
        format!("source.topics=[{}]", fleet.topics.join(",")),
        format!("source.kafka.brokers=\"{brokers}\""),
        format!("source.kafka.group_id={}", fleet.group),
        "source.kafka.start=earliest".into(),
        format!("sink.kafka.topic={topic}"),
        // Topics whose last events are older do not hold time back for long.
        "time.idle_timeout=2s".into(),
        "checkpoint.interval=1s".into(),
    ];
    let mut export = Command::new(env!("CARGO_BIN_EXE_cohort"));
    export.args(["export", "flink-sql", "--out"]).arg(&job).arg(fleet.folder.path().join("segments.sql"));
    let exported = export.args(set.iter().flat_map(|s| ["--set", s.as_str()])).output().expect("export runs");
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    story.pieces.iter().for_each(|piece| fleet.produce(piece));
    let log = std::fs::File::create(fleet.folder.path().join("flink.log")).expect("a file");
    let errors = log.try_clone().expect("the file");
    let job = Job(Command::new(flink).arg("run").arg(job.join("job.sql")).stdout(Stdio::from(log)).stderr(Stdio::from(errors)).spawn().expect("Flink starts"));
    let member = reader(&fleet, &topic);
    let created = member.sql(&segments).await;
    assert_eq!(created.status, 200, "{}", created.body);
    let said = || std::fs::read_to_string(fleet.folder.path().join("flink.log")).unwrap_or_default();
    let took = until_equal("evaluated by Flink", &expected, async || {
        assert!(!said().contains("Exception"), "{}", said());
        stored(&server)
    })
    .await;
    eprintln!("evaluated by Flink: {} members; right after {:.1} s", expected.len(), took.as_secs_f64());
    for (user, segments) in expected.iter().take(20) {
        assert_eq!(member.segments_of(user).await.into_iter().collect::<BTreeSet<_>>(), *segments, "{user}");
    }
    drop(job);
}
