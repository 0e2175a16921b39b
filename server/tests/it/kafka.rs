//! The production path: events from a real Kafka, memberships in Aerospike, and everything that can fail on the way.
//! What the store holds in the end is compared with `cohort replay` over the same events.
//!
//! Needs a broker (`scripts/kafka.sh`), which one test at a time has for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cohort_connectors::kafka::producer::{KafkaProducer, Outgoing};
use cohort_connectors::kafka::{KafkaOptions, Start, admin};
use cohort_connectors::replay::partition_of;
use serde_json::{Value, json};

use crate::aerospike_double::{Hang, Options, Server, code};
use crate::live::{Live, now};

pub(crate) const PARTITIONS: u32 = 4;
const MINUTE: i64 = 60_000;
/// The first event of a story.
pub(crate) const START: i64 = 1_750_000_020_000 - 1_750_000_020_000 % MINUTE;

pub(crate) const SEGMENTS: &str = "
CREATE SEGMENT spenders WITH (retain = '10 minutes') AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '1 minute') WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > 60;
CREATE SEGMENT frugal WITH (retain = '10 minutes') AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '1 minute') WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) < 8;
CREATE SEGMENT busy WITH (retain = '10 minutes') AS SELECT user_id, count(*) AS value FROM HOP(events, event_time, INTERVAL '1 minute', INTERVAL '5 minutes') WHERE event_type = 'view' GROUP BY user_id, window_start, window_end HAVING count(*) >= 9;
CREATE SEGMENT visits WITH (retain = '10 minutes') AS SELECT user_id, max(value) AS value FROM SESSION(events, event_time, INTERVAL '40 seconds') WHERE event_type <> 'end' GROUP BY user_id, window_start, window_end HAVING count(*) >= 8;
CREATE SEGMENT both WITH (retain = '10 minutes') AS SELECT a.user_id, a.value + b.value AS value FROM spenders a JOIN frugal b USING (user_id, window_start, window_end);
CREATE SEGMENT busy_spenders AS SELECT a.user_id FROM spenders a JOIN busy b USING (user_id);
CREATE SEGMENT only_busy AS SELECT a.user_id FROM busy a LEFT ANTI JOIN spenders b USING (user_id) LEFT ANTI JOIN frugal c USING (user_id);
";

/// One test at a time: some of them stop the broker.
pub(crate) static BROKER: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
pub(crate) static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A broker's address; without one the test is left out, which it says.
pub(crate) fn broker() -> Option<String> {
    let found = std::env::var("COHORT_TEST_KAFKA").ok();
    if found.is_none() {
        eprintln!("SKIPPED: a test on Kafka (no broker in COHORT_TEST_KAFKA; scripts/kafka.sh gives one)");
    }
    found
}

fn control(command: &str) {
    let script = std::env::var("COHORT_TEST_KAFKA_CONTROL").expect("a broker that can be controlled");
    assert!(Command::new(script).arg(command).status().expect("the script runs").success(), "{command}");
}

/// Events in pieces that are produced one after the other.
pub(crate) struct Story {
    pub(crate) pieces: Vec<Vec<Value>>,
    bad: usize,
}

pub(crate) fn random(state: &mut u64, n: u64) -> u64 {
    // SplitMix64.
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % n
}

/// Ten minutes of events, ten of silence, in which memberships end, and five of events. The last event of each
/// partition closes the windows of all others, and no later ones: then what live and bounded runs hold is the same.
pub(crate) fn story(seed: u64, an_event_in_bad: u64) -> Story {
    let (mut state, mut pieces, mut bad) = (seed, vec![], 0);
    let seconds = (0..600i64).step_by(10).chain((1_200..1_500).step_by(10));
    for second in seconds {
        let mut piece = vec![];
        for _ in 0..250 {
            let time = START + second * 1_000 + random(&mut state, 10_000) as i64;
            let kind = ["purchase", "view", "view", "install"][random(&mut state, 4) as usize];
            let mut event = json!({"userId": format!("u{}", random(&mut state, 300)), "eventType": kind, "timestamp": time,
                                   "value": random(&mut state, 200) as f64 / 8.0, "sessionId": format!("s{}", random(&mut state, 4))});
            if an_event_in_bad > 0 && random(&mut state, an_event_in_bad) == 0 {
                event["timestamp"] = json!("yesterday");
                bad += 1;
            }
            piece.push(event);
        }
        pieces.push(piece);
    }
    let end = START + 25 * MINUTE + 31_000;
    let user = |p: u32| (0..).map(|i| format!("end{i}")).find(|u| partition_of(u.as_bytes(), PARTITIONS) == p).expect("a user of each partition");
    pieces.push((0..PARTITIONS).map(|p| json!({"userId": user(p), "eventType": "end", "timestamp": end})).collect());
    Story { pieces, bad }
}

/// What members of a group share.
pub(crate) struct Fleet {
    pub(crate) folder: tempfile::TempDir,
    brokers: String,
    pub(crate) group: String,
    pub(crate) topics: Vec<String>,
    pub(crate) producer: KafkaProducer,
    pub(crate) settings: Vec<String>,
    events: usize,
    /// Whether records come without the user as key, in topics that are partitioned differently.
    rekeyed: bool,
}

pub(crate) const REKEY: &str = "source.kafka.rekey=true";

/// How a client of some topics finds them.
pub(crate) fn options(brokers: &str, group: &str, topics: &[String]) -> KafkaOptions {
    KafkaOptions {
        brokers: brokers.into(),
        properties: BTreeMap::new(),
        group_id: group.into(),
        topics: topics.to_vec(),
        start: Start::Latest,
        rekey: false,
        fetch_ahead: 0,
        formats: Default::default(),
    }
}

impl Fleet {
    pub(crate) async fn new(brokers: &str, settings: &[&str]) -> Fleet {
        let name = format!("t{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let topics: Vec<String> = ["orders", "activity", "installs"].map(|t| format!("{name}-{t}")).to_vec();
        let options = options(brokers, &name, &topics);
        let rekeyed = settings.contains(&REKEY);
        for (topic, partitions) in topics.iter().zip(if rekeyed { [3, 1, PARTITIONS] } else { [PARTITIONS; 3] }) {
            admin::create(&options, std::slice::from_ref(topic), partitions, &[]).await.expect("topics");
        }
        Fleet {
            rekeyed,
            folder: tempfile::tempdir().expect("a folder"),
            brokers: brokers.into(),
            group: name,
            topics,
            producer: KafkaProducer::new(&options).expect("a producer"),
            settings: settings.iter().map(|s| s.to_string()).collect(),
            events: 0,
        }
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.path().join("checkpoints")
    }

    /// Starts a member with a folder of its own.
    pub(crate) fn member(&self, number: u32) -> Live {
        self.try_member(number, &[]).unwrap_or_else(|said| panic!("a member does not start: {said}"))
    }

    pub(crate) fn try_member(&self, number: u32, more: &[&str]) -> Result<Live, String> {
        let shared = self.folder.path().display();
        let mut set = vec![
            "source.kind=kafka".to_string(),
            format!("source.topics=[{}]", self.topics.join(",")),
            format!("source.kafka.brokers=\"{}\"", self.brokers),
            format!("source.kafka.group_id={}", self.group),
            "source.kafka.start=earliest".into(),
            "source.kafka.properties.session.timeout.ms=4000".into(),
            "source.kafka.properties.heartbeat.interval.ms=500".into(),
            "time.idle_timeout=1h".into(),
            "engine.batch_linger=5ms".into(),
            "checkpoint.interval=400ms".into(),
            format!("checkpoint.url=\"file:{}\"", self.checkpoints().display()),
            format!("catalog.url=\"sqlite:{shared}/catalog.db\""),
            format!("dead_letters.topic={}-dead", self.group),
        ];
        set.extend(self.settings.iter().cloned());
        set.extend(more.iter().map(|s| s.to_string()));
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        Live::start_with(&self.folder.path().join(format!("member-{number}")), &set, &[])
    }

    /// Produces a piece; each event goes to the topic of its type.
    pub(crate) fn produce(&mut self, piece: &[Value]) {
        let place = |event: &Value| match event["eventType"].as_str() {
            Some("purchase") => 0,
            Some("install") => 2,
            _ => 1,
        };
        let values: Vec<Vec<u8>> = piece.iter().map(|e| serde_json::to_vec(e).expect("JSON")).collect();
        let mut latest = START;
        let records = piece.iter().zip(&values).map(|(event, value)| {
            latest = event["timestamp"].as_i64().unwrap_or(latest);
            Outgoing {
                topic: &self.topics[place(event)],
                key: event["userId"].as_str().filter(|_| !self.rekeyed).map(str::as_bytes),
                value,
                time: Some(latest),
                headers: vec![],
            }
        });
        self.producer.write(records).expect("events are taken");
        self.events += piece.len();
    }

    /// Who is in what at the end of the story, by `cohort replay`.
    fn replayed(&self, story: &Story) -> BTreeMap<String, BTreeSet<String>> {
        let path = |name: &str| self.folder.path().join(name);
        let lines: Vec<String> = story.pieces.iter().flatten().map(Value::to_string).collect();
        std::fs::write(path("events.jsonl"), lines.join("\n")).expect("a file");
        std::fs::write(path("segments.sql"), SEGMENTS).expect("a file");
        let mut replay = Command::new(env!("CARGO_BIN_EXE_cohort"));
        replay.args(["replay", "--output", "none", "--partitions", "4", "--input"]).arg(path("events.jsonl")).arg("--segments").arg(path("segments.sql"));
        let output = replay.arg("--memberships").arg(path("members.ndjson")).output().expect("replay runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in std::fs::read_to_string(path("members.ndjson")).expect("memberships").lines() {
            let member: Value = serde_json::from_str(line).expect("JSON");
            members.entry(text(&member["userId"])).or_default().insert(text(&member["segmentId"]));
        }
        members
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

/// Who is in what by the store: users with a segment at least.
pub(crate) fn stored(server: &Server) -> BTreeMap<String, BTreeSet<String>> {
    let mut members = BTreeMap::new();
    for record in server.records().values() {
        let strings = |bin: &str| -> BTreeSet<String> {
            let items = record.bin(bin).map(|v| v.items()).unwrap_or_default();
            items.iter().filter_map(|v| v.as_str().map(String::from)).collect()
        };
        let segments = strings("segments");
        let results = record.bin("results").map_or(0, |v| v.entries().len());
        assert_eq!(results, segments.len(), "a result for each segment: {record:?}");
        let user = record.bin("userId").and_then(|v| v.as_str().map(String::from)).unwrap_or_default();
        if !segments.is_empty() {
            members.insert(user, segments);
        }
    }
    members
}

pub(crate) type Members = BTreeMap<String, BTreeSet<String>>;

fn differences(expected: &Members, found: &Members) -> Vec<String> {
    let users: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let none = BTreeSet::new();
    let of = |m: &Members, u: &String| m.get(u).unwrap_or(&none).clone();
    users.into_iter().filter(|u| of(expected, u) != of(found, u)).map(|u| format!("{u}: expected {:?}, found {:?}", of(expected, u), of(found, u))).collect()
}

/// Waits until the store holds what is expected; returns how long that took.
pub(crate) async fn until_equal(what: &str, expected: &Members, found: impl AsyncFn() -> Members) -> Duration {
    let start = Instant::now();
    loop {
        let wrong = differences(expected, &found().await);
        if wrong.is_empty() {
            return start.elapsed();
        }
        assert!(start.elapsed() < Duration::from_secs(90), "{what}: {} users differ: {:#?}", wrong.len(), &wrong[..wrong.len().min(10)]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn create_segments(member: &Live) {
    let created = member.sql(SEGMENTS).await;
    assert_eq!(created.status, 200, "{}", created.body);
}

/// The report of a case: what happened, and how long until the store was right.
async fn report(case: &str, fleet: &Fleet, members: &[&Live], recovery: Duration) {
    let (mut retries, mut dead, mut late) = (0, 0, 0);
    for member in members {
        let status = member.get("/status").await.body;
        retries += status["sink"]["retries"].as_u64().unwrap_or(0);
        dead += status["partitions"].as_array().into_iter().flatten().map(|p| p["deadLetters"].as_u64().unwrap_or(0)).sum::<u64>();
        let letters = member.get("/events/dead-letters?limit=1000&reason=late").await.body;
        late += letters.as_array().map_or(0, Vec::len);
    }
    eprintln!(
        "{case}: {} events; of the members at the end: {dead} dead letters, {retries} flushes tried again; right after {:.1} s",
        fleet.events,
        recovery.as_secs_f64()
    );
    assert_eq!(late, 0, "{case}: no event is late, however topics and members interleave");
}

pub(crate) fn double() -> Server {
    Server::start(Options { namespace: "segments".into(), ..Options::default() })
}

pub(crate) fn hosts(server: &Server) -> String {
    format!("sink.aerospike.hosts=\"{}\"", server.address())
}

/// Without any failure: what the store and the API hold is what replay holds.
#[tokio::test(flavor = "multi_thread")]
async fn memberships_equal_those_of_replay() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let server = double();
    let mut fleet = Fleet::new(&brokers, &["sink.kind=aerospike", &hosts(&server)]).await;
    let (story, member) = (story(1, 100), fleet.member(1));
    create_segments(&member).await;
    story.pieces.iter().for_each(|piece| fleet.produce(piece));
    let expected = fleet.replayed(&story);
    assert!(expected.len() > 100, "{} members", expected.len());
    let took = until_equal("undisturbed", &expected, async || stored(&server)).await;
    report("undisturbed", &fleet, &[&member], took).await;
    // The API knows the same.
    let rows = member.select("SELECT user_id, segment FROM memberships").await;
    let mut shown = Members::new();
    for row in &rows {
        shown.entry(text(&row["user_id"])).or_default().insert(text(&row["segment"]));
    }
    assert_eq!(differences(&expected, &shown), Vec::<String>::new());
    let (user, segments) = expected.iter().next().expect("a member");
    assert_eq!(member.segments_of(user).await.into_iter().collect::<BTreeSet<_>>(), *segments);
    // What was not accepted is in its topic and in the API.
    let letters = member.get("/events/dead-letters?limit=1000").await.body;
    let reasons: Vec<String> = letters.as_array().into_iter().flatten().map(|l| text(&l["reason"])).collect();
    assert_eq!(reasons, vec!["invalid_timestamp"; story.bad], "nothing is late");
    assert_eq!(crate::repair::repaired(&member).await, 0.0, "the store held what it should all along");
}

/// Runs a story with a failure in it, and compares what the store holds in the end.
struct Case {
    fleet: Fleet,
    story: Story,
    server: Server,
    /// The piece to produce next.
    next: usize,
    name: &'static str,
}

impl Case {
    async fn new(name: &'static str, brokers: &str, seed: u64, settings: &[&str]) -> Case {
        let server = double();
        let mut all = vec!["sink.kind=aerospike".to_string(), hosts(&server)];
        all.extend(settings.iter().map(|s| s.to_string()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        Case { fleet: Fleet::new(brokers, &all).await, story: story(seed, 100), server, next: 0, name }
    }

    /// Produces some pieces, at a steady pace.
    async fn produce(&mut self, pieces: usize) {
        let last = (self.next + pieces).min(self.story.pieces.len());
        for piece in &self.story.pieces[self.next..last] {
            self.fleet.produce(piece);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.next = last;
    }

    /// Produces the rest, and waits until the store is right.
    async fn finish(mut self, members: &[&Live]) {
        let left = self.story.pieces.len();
        self.produce(left).await;
        let expected = self.fleet.replayed(&self.story);
        let took = until_equal(self.name, &expected, async || stored(&self.server)).await;
        report(self.name, &self.fleet, members, took).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_killed_loses_nothing() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let mut case = Case::new("kill -9", &brokers, 2, &[]).await;
    let mut member = case.fleet.member(1);
    create_segments(&member).await;
    for _ in 0..4 {
        case.produce(20).await;
        // In the middle of a batch, as likely as not.
        member.kill();
        case.produce(1).await;
        member = case.fleet.member(1);
    }
    case.finish(&[&member]).await;
}

/// Everything that speaks to Kafka passes on how: the source, previews, results and dead letters.
#[tokio::test(flavor = "multi_thread")]
async fn tls_and_a_password_are_passed_on() {
    let Some(brokers) = broker() else { return };
    let (Ok(secure), Ok(ca)) = (std::env::var("COHORT_TEST_KAFKA_SECURE"), std::env::var("COHORT_TEST_KAFKA_CA")) else {
        eprintln!("SKIPPED: TLS to Kafka (no openssl command, or a broker of another's)");
        return;
    };
    let _alone = BROKER.lock().await;
    let server = double();
    let mut fleet = Fleet::new(&brokers, &["sink.kind=aerospike", &hosts(&server)]).await;
    let security = |password: &str| {
        format!(
            "source.kafka.properties={{\"security.protocol\"=\"SASL_SSL\",\"sasl.mechanisms\"=\"PLAIN\",\"sasl.username\"=\"cohort\",\
             \"sasl.password\"=\"{password}\",\"ssl.ca.location\"=\"{ca}\"}}"
        )
    };
    let at = format!("source.kafka.brokers=\"{secure}\"");
    let refused = fleet.try_member(1, &[&at, &security("wrong")]).err().expect("a wrong password is refused");
    assert!(refused.contains("kafka") && refused.to_lowercase().contains("auth") && !refused.contains("wrong"), "{refused}");
    let member = fleet.try_member(1, &[&at, &security("secret")]).unwrap_or_else(|said| panic!("{said}"));
    create_segments(&member).await;
    let story = story(14, 100);
    story.pieces.iter().for_each(|piece| fleet.produce(piece));
    let expected = fleet.replayed(&story);
    let took = until_equal("TLS", &expected, async || stored(&server)).await;
    report("TLS", &fleet, &[&member], took).await;
    let shown = member.get("/status").await.body.to_string() + &member.said();
    assert!(!shown.contains("secret"), "a password is not shown");
    let tried =
        member.post("/segments/preview", json!({"sql": SEGMENTS.lines().nth(1).expect("a segment").replace("spenders", "tried").trim_end_matches(';')})).await;
    assert!(tried.body["size"].as_u64() > Some(0), "{}", tried.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_with_other_keys_are_read_by_user() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let mut case = Case::new("another key", &brokers, 12, &[REKEY, "engine.workers=1"]).await;
    let first = case.fleet.member(1);
    create_segments(&first).await;
    let second = case.fleet.member(2);
    case.produce(30).await;
    // One of them does it; when it is gone, the other goes on where it was.
    first.kill();
    case.produce(20).await;
    let third = case.fleet.member(3);
    case.produce(20).await;
    control("kill");
    control("start");
    case.finish(&[&second, &third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_topics_keep_is_read_beside_the_engine() {
    for settings in [vec![], vec![REKEY]] {
        let Some(brokers) = broker() else { return };
        let _alone = BROKER.lock().await;
        let case = Case::new("kept events", &brokers, 13, &settings).await;
        let (mut fleet, story, server) = (case.fleet, case.story, case.server);
        let member = fleet.member(1);
        create_segments(&member).await;
        story.pieces.iter().for_each(|piece| fleet.produce(piece));
        let expected = fleet.replayed(&story);
        until_equal("read", &expected, async || stored(&server)).await;
        let in_it = |members: &Members, segment: &str| members.values().filter(|of| of.contains(segment)).count();
        // A segment that is tried out has the members of the same one that runs.
        let definition = SEGMENTS.lines().find(|l| l.contains("SEGMENT spenders")).expect("spenders").replace("spenders", "tried");
        let good = story.pieces.iter().map(Vec::len).sum::<usize>() - story.bad;
        let preview = async || member.post("/segments/preview", json!({"sql": definition.trim_end_matches(';')})).await;
        // The last events change nothing, and may still be on their way to their users' partitions.
        member.until("all events are kept by user", Duration::from_secs(30), async || preview().await.body["rows"] == good).await;
        let tried = preview().await;
        assert_eq!(tried.body["size"], in_it(&expected, "spenders"), "{}", tried.body);
        assert_eq!(tried.body["rows"], good);
        // Records of users' partitions are of the time at which they were written there.
        let from = if settings.contains(&REKEY) { now() + MINUTE } else { START + 20 * MINUTE };
        let late = member.post("/segments/preview", json!({"sql": definition.trim_end_matches(';'), "from": from})).await;
        assert!(late.body["rows"].as_u64() < tried.body["rows"].as_u64(), "{}", late.body);
        // And one that is backfilled gets them. Events are of 2025, by record time too.
        let warm = definition.replace("tried", "warm").replace("retain =", "backfill = '3000 days', retain =");
        assert_eq!(member.sql(&warm).await.status, 200);
        member
            .until("the backfilled segment has its members", Duration::from_secs(20), async || {
                let members = member.get("/segments/warm/members?limit=1000").await.body;
                members["items"].as_array().map_or(0, Vec::len) == in_it(&expected, "spenders")
            })
            .await;
        // Events are found by SELECT, and by why.
        let counted = member.select("SELECT count(*) AS n, count(DISTINCT topic) AS topics FROM events").await;
        assert!(counted[0]["n"].as_i64() > Some(1_000) && counted[0]["topics"] == 3, "{counted:?}");
        let user = expected.iter().find(|(_, of)| of.contains("spenders")).expect("a member").0;
        let why = member.get(&format!("/users/{user}/segments/spenders/why")).await.body;
        assert!(!why["events"].as_array().expect("events").is_empty(), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_loses_nothing() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let mut case = Case::new("broker restart", &brokers, 3, &[]).await;
    let member = case.fleet.member(1);
    create_segments(&member).await;
    case.produce(30).await;
    control("stop");
    tokio::time::sleep(Duration::from_secs(1)).await;
    control("start");
    case.produce(20).await;
    control("kill");
    control("start");
    case.finish(&[&member]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_change_nothing() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let mut case = Case::new("members come and go", &brokers, 4, &["engine.workers=1"]).await;
    let first = case.fleet.member(1);
    create_segments(&first).await;
    case.produce(15).await;
    let mut second = case.fleet.member(2);
    case.produce(15).await;
    let third = case.fleet.member(3);
    case.produce(15).await;
    let all = [&first, &second, &third];
    first
        .until("each partition has one member", Duration::from_secs(20), async || {
            let mut owned = vec![];
            for member in all {
                owned.push(partitions_of(member).await);
            }
            let mut together = owned.concat();
            together.sort_unstable();
            together == (0..PARTITIONS).collect::<Vec<_>>() && owned.iter().all(|o| !o.is_empty())
        })
        .await;
    assert!(second.terminate().0.success());
    case.produce(15).await;
    third.kill();
    case.finish(&[&first]).await;
}

async fn partitions_of(member: &Live) -> Vec<u32> {
    let status = member.get("/status").await.body;
    status["partitions"].as_array().into_iter().flatten().filter_map(|p| p["partition"].as_u64().map(|p| p as u32)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_is_waited_for() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let mut case = Case::new("store down", &brokers, 5, &[]).await;
    let member = case.fleet.member(1);
    create_segments(&member).await;
    case.produce(30).await;
    case.server.down();
    case.produce(20).await;
    member.until("readiness fails", Duration::from_secs(20), async || member.get("/readyz").await.status == 503).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(partitions_of(&member).await.len(), PARTITIONS as usize, "it is still a member");
    case.server.up();
    member.until("readiness is back", Duration::from_secs(30), async || member.get("/readyz").await.status == 200).await;
    case.finish(&[&member]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_slow_or_refuses_some_is_given_time() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let mut case = Case::new("store slow and refusing", &brokers, 6, &["sink.aerospike.timeout=300ms", "sink.aerospike.batch=40"]).await;
    let member = case.fleet.member(1);
    create_segments(&member).await;
    case.produce(15).await;
    case.server.faults().delay_answers(Duration::from_millis(50));
    case.produce(15).await;
    case.server.faults().clear();
    case.server.faults().fail_every(7, code::KEY_BUSY);
    case.produce(15).await;
    case.server.faults().clear();
    case.server.faults().fail_batches(20, code::DEVICE_OVERLOAD);
    case.server.faults().lose_answers(5);
    case.produce(10).await;
    case.server.faults().clear();
    case.server.faults().hang(Hang::Records);
    case.produce(10).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    case.server.faults().clear();
    case.finish(&[&member]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_checkpoint_is_passed_over() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let mut case = Case::new("corrupt checkpoint", &brokers, 7, &["engine.workers=1"]).await;
    let member = case.fleet.member(1);
    create_segments(&member).await;
    case.produce(30).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    case.produce(10).await;
    member.kill();
    for partition in 0..PARTITIONS {
        let states = case.fleet.checkpoints().join(format!("partition-{partition}")).join("state");
        let newest = std::fs::read_dir(states).expect("checkpoints").flatten().map(|e| e.path()).max().expect("a checkpoint");
        let mut bytes = std::fs::read(&newest).expect("a checkpoint");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        std::fs::write(&newest, bytes).expect("a checkpoint");
    }
    let member = case.fleet.member(1);
    case.finish(&[&member]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_cannot_be_written_stop_nothing() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let mut case = Case::new("no room for checkpoints", &brokers, 8, &[]).await;
    // A disk of half a MiB, where that may be made; else a file in the place of a folder.
    let disk = case.fleet.checkpoints();
    std::fs::create_dir_all(&disk).expect("a folder");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&disk).status().is_ok_and(|s| s.success());
    let member = case.fleet.member(1);
    create_segments(&member).await;
    case.produce(20).await;
    let fill = disk.join("full");
    if mounted {
        let filled = std::fs::write(&fill, vec![0u8; 1 << 20]);
        assert!(filled.is_err(), "the disk is full");
    } else {
        for partition in 0..PARTITIONS {
            let state = disk.join(format!("partition-{partition}")).join("state");
            std::fs::rename(&state, state.with_extension("away")).expect("moved");
            std::fs::write(&state, "in the way").expect("a file");
        }
    }
    case.produce(20).await;
    member.until("it is told", Duration::from_secs(20), async || member.get("/status").await.body["problems"].to_string().contains("checkpoint")).await;
    member.kill();
    if mounted {
        std::fs::remove_file(&fill).expect("room");
    } else {
        for partition in 0..PARTITIONS {
            let state = disk.join(format!("partition-{partition}")).join("state");
            std::fs::remove_file(&state).expect("out of the way");
            std::fs::rename(state.with_extension("away"), &state).expect("moved back");
        }
    }
    let member = case.fleet.member(1);
    case.finish(&[&member]).await;
    drop(member);
    if mounted {
        let _ = Command::new("umount").arg(&disk).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_work_is_refused_at_the_start() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let server = Server::start(Options { namespace: "segments".into(), user: Some(("cohort".into(), "right".into())), ..Options::default() });
    let mut fleet = Fleet::new(&brokers, &["sink.kind=aerospike", &hosts(&server)]).await;
    let refused = |fleet: &Fleet, more: &[&str]| match fleet.try_member(1, more) {
        Ok(_) => panic!("{more:?} is accepted"),
        Err(said) => said,
    };
    let said = refused(&fleet, &["sink.aerospike.user=cohort", "sink.aerospike.password=wrong"]);
    assert!(said.contains("sink.aerospike") && said.contains("login refused") && !said.contains("wrong"), "{said}");
    let open = double();
    fleet.settings = vec!["sink.kind=aerospike".into(), hosts(&open)];
    let said = refused(&fleet, &["sink.aerospike.namespace=other"]);
    assert!(said.contains("there is no namespace \"other\""), "{said}");
    open.configure(|o| o.nsup_period = 0);
    let said = refused(&fleet, &[]);
    assert!(said.contains("nsup-period 0"), "{said}");
    // Topics that are not partitioned alike.
    let odd = format!("{}-odd", fleet.group);
    let options = options(&brokers, &fleet.group, std::slice::from_ref(&odd));
    admin::create(&options, std::slice::from_ref(&odd), PARTITIONS + 1, &[]).await.expect("a topic");
    fleet.topics.push(odd.clone());
    let said = refused(&fleet, &["sink.kind=none"]);
    assert!(said.contains(&format!("{odd} has 5")) && said.contains("equally many partitions"), "{said}");
}

/// Any member answers for any user, without a shared store.
#[tokio::test(flavor = "multi_thread")]
async fn members_answer_for_each_other() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let mut fleet = Fleet::new(&brokers, &["engine.workers=1"]).await;
    let story = story(9, 0);
    let (first, second) = (fleet.member(1), fleet.member(2));
    create_segments(&first).await;
    second.until("segments", Duration::from_secs(10), async || second.get("/segments/only_busy").await.status == 200).await;
    let both = [&first, &second];
    first.until("both read", Duration::from_secs(30), async || partitions_of(&first).await.len() == 2 && partitions_of(&second).await.len() == 2).await;
    story.pieces.iter().for_each(|piece| fleet.produce(piece));
    let expected = fleet.replayed(&story);
    for (n, member) in both.into_iter().enumerate() {
        let found = async || {
            let mut found = Members::new();
            for user in (0..300).map(|u| format!("u{u}")) {
                let segments: BTreeSet<String> = member.segments_of(&user).await.into_iter().collect();
                if !segments.is_empty() {
                    found.insert(user, segments);
                }
            }
            found
        };
        until_equal(&format!("asked of member {n}"), &expected, found).await;
        let (user, segments) = expected.iter().next().expect("a member");
        for segment in segments {
            let why = member.get(&format!("/users/{user}/segments/{segment}/why")).await;
            assert_eq!((why.status, &why.body["member"]), (200, &json!(true)), "{}", why.body);
        }
    }
    report("two members without a shared store", &fleet, &both, Duration::ZERO).await;
}

/// What a topic can hold beside small events with a key: tombstones, records without a key, large ones, compressed
/// ones, and those of transactions, of which only those count that were committed.
#[tokio::test(flavor = "multi_thread")]
async fn odd_records_are_read_for_what_they_are() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let server = double();
    let fleet = Fleet::new(&brokers, &["sink.kind=aerospike", &hosts(&server)]).await;
    let member = fleet.member(1);
    let sql = "CREATE SEGMENT big AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') \
               WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) >= 100";
    assert_eq!(member.sql(sql).await.status, 200);
    let event = |user: &str, padding: usize| {
        json!({"userId": user, "eventType": "purchase", "timestamp": START, "value": 100.0, "metadata": {"note": "x".repeat(padding)}}).to_string()
    };
    let raw = |properties: &[(&str, &str)]| -> rdkafka::producer::BaseProducer {
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", &brokers).set("message.max.bytes", "3000000");
        properties.iter().for_each(|(key, value)| {
            config.set(*key, *value);
        });
        config.create().expect("a producer")
    };
    use rdkafka::producer::{BaseRecord, Producer};
    let topic = fleet.topics[0].as_str();
    let send = |producer: &rdkafka::producer::BaseProducer, key: Option<&str>, value: Option<&str>, partition: i32| {
        let mut record = BaseRecord::<str, str>::to(topic).partition(partition);
        (record.key, record.payload) = (key, value);
        producer.send(record).map_err(|(e, _)| e).expect("sent");
    };
    let plain = raw(&[]);
    send(&plain, Some("gone"), None, 0);
    send(&plain, None, Some(&event("keyless", 0)), 1);
    send(&plain, Some("large"), Some(&event("large", 900_000)), 2);
    plain.flush(Duration::from_secs(10)).expect("written");
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let compressing = raw(&[("compression.codec", codec)]);
        send(&compressing, Some(codec), Some(&event(codec, 500)), 3);
        compressing.flush(Duration::from_secs(10)).expect("written");
    }
    let transactional = raw(&[("transactional.id", &format!("{}-t", fleet.group))]);
    transactional.init_transactions(Duration::from_secs(10)).expect("ready");
    for (user, commit) in [("aborted", false), ("committed", true), ("aborted too", false)] {
        transactional.begin_transaction().expect("begun");
        send(&transactional, Some(user), Some(&event(user, 0)), 0);
        transactional.flush(Duration::from_secs(10)).expect("written");
        if commit {
            transactional.commit_transaction(Duration::from_secs(10)).expect("committed");
        } else {
            transactional.abort_transaction(Duration::from_secs(10)).expect("aborted");
        }
    }
    let users = ["keyless", "large", "gzip", "snappy", "lz4", "zstd", "committed"];
    let expected: Members = users.into_iter().map(|u| (u.to_string(), BTreeSet::from(["big".to_string()]))).collect();
    until_equal("odd records", &expected, async || stored(&server)).await;
    member.until("marks of transactions are no lag", Duration::from_secs(10), async || lag_of(&member).await == 0).await;
    let letters = member.get("/events/dead-letters").await.body;
    assert_eq!((letters.as_array().map_or(0, Vec::len), &letters[0]["reason"]), (1, &json!("not_json")), "the tombstone: {letters}");
}

async fn lag_of(member: &Live) -> u64 {
    let status = member.get("/status").await.body;
    status["partitions"].as_array().into_iter().flatten().map(|p| p["lag"].as_u64().unwrap_or(u64::MAX)).sum()
}

/// While the engine runs, members' records do not expire; without it they do.
#[tokio::test(flavor = "multi_thread")]
async fn memberships_live_as_long_as_the_engine() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let server = double();
    let mut fleet = Fleet::new(&brokers, &["sink.kind=aerospike", "sink.aerospike.ttl=3s", "sink.ttl=3s", &hosts(&server)]).await;
    let member = fleet.member(1);
    let sql = "CREATE SEGMENT big AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') \
               WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) >= 100";
    assert_eq!(member.sql(sql).await.status, 200);
    fleet.produce(&[json!({"userId": "stays", "eventType": "purchase", "timestamp": START, "value": 100.0})]);
    let expected = Members::from([("stays".to_string(), BTreeSet::from(["big".to_string()]))]);
    until_equal("entered", &expected, async || stored(&server)).await;
    for _ in 0..14 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(stored(&server), expected, "it lives on: {}\n{}", member.get("/status").await.body, member.said());
        assert_eq!(member.segments_of("stays").await, ["big"]);
    }
    member.kill();
    until_equal("decayed", &Members::new(), async || stored(&server)).await;
    // A restart brings back who is still a member.
    let member = fleet.member(1);
    until_equal("back", &expected, async || stored(&server)).await;
    assert_eq!(member.segments_of("stays").await, ["big"]);
}

/// Partitions that a topic gets while it is read are read from their first record on.
#[tokio::test(flavor = "multi_thread")]
async fn new_partitions_are_found() {
    let Some(brokers) = broker() else { return };
    let _alone = BROKER.lock().await;
    let server = double();
    let mut fleet = Fleet::new(&brokers, &["sink.kind=aerospike", &hosts(&server), "source.kafka.start=latest"]).await;
    let member = fleet.try_member(1, &["source.kafka.properties.topic.metadata.refresh.interval.ms=1000"]).expect("a member");
    let sql = "CREATE SEGMENT big AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') \
               WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) >= 100";
    assert_eq!(member.sql(sql).await.status, 200);
    member.until("all partitions", Duration::from_secs(20), async || partitions_of(&member).await.len() == PARTITIONS as usize).await;
    use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
    let admin: AdminClient<rdkafka::client::DefaultClientContext> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("an admin client");
    let more: Vec<NewPartitions<'_>> = fleet.topics.iter().map(|t| NewPartitions::new(t, PARTITIONS as usize + 2)).collect();
    let made = admin.create_partitions(&more, &AdminOptions::new()).await.expect("more partitions");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let options = options(&brokers, &fleet.group, &fleet.topics);
    // One that knows the new partitions.
    fleet.producer = KafkaProducer::new(&options).expect("a producer");
    let users: Vec<String> = (0..40).map(|u| format!("n{u}")).collect();
    assert!(users.iter().any(|u| partition_of(u.as_bytes(), PARTITIONS + 2) >= PARTITIONS));
    let events: Vec<Value> = users.iter().map(|u| json!({"userId": u, "eventType": "purchase", "timestamp": START, "value": 100.0})).collect();
    fleet.produce(&events);
    let expected: Members = users.into_iter().map(|u| (u, BTreeSet::from(["big".to_string()]))).collect();
    until_equal("new partitions", &expected, async || stored(&server)).await;
    // Each topic's new partitions may be found apart, and shared among the workers anew each time.
    member.until("the new partitions, too", Duration::from_secs(20), async || partitions_of(&member).await.len() == PARTITIONS as usize + 2).await;
}

/// The benchmark of the store runs: every record is there in the end.
#[tokio::test(flavor = "multi_thread")]
async fn writes_are_measured() {
    let server = double();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_cohort"));
    bench.args(["bench", "--scenario", "aerospike", "--users", "3000", "--json", "-", "--hosts", &server.address()]);
    let output = bench.output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["runs"][0]["rows"].as_array().map_or(0, Vec::len), 4);
    assert_eq!(server.records().len(), 3_000);
}
