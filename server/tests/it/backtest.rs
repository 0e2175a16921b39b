//! Backtests: replays over partitioned folders and buckets, between two times, and of two versions of segments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use flate2::{Compression, write::GzEncoder};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::live::Live;
use crate::s3_double::S3;

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;
/// 2026-10-31T20:00:00Z, so that folders change day and month.
const START: i64 = 1_793_476_800_000;

const SEGMENTS: &str = "
CREATE SEGMENT spenders AS
SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '7 minutes')
WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > 120;
CREATE SEGMENT quiet WITH (retain = '20 minutes') AS
SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '10 minutes')
GROUP BY user_id, window_start, window_end HAVING count(*) < 2;
CREATE SEGMENT regulars AS
SELECT user_id, count(*) AS value FROM HOP(events, event_time, INTERVAL '5 minutes', INTERVAL '45 minutes')
WHERE metadata['kind'] = 'a' GROUP BY user_id, window_start, window_end HAVING count(*) >= 3;
CREATE SEGMENT growing AS
SELECT user_id, max(value) AS value FROM CUMULATE(events, event_time, INTERVAL '10 minutes', INTERVAL '30 minutes')
GROUP BY user_id, window_start, window_end HAVING max(value) > 80;
CREATE SEGMENT visits AS
SELECT user_id, count(*) AS value FROM SESSION(events, event_time, INTERVAL '2 minutes')
GROUP BY user_id, window_start, window_end HAVING count(*) >= 2;
CREATE SEGMENT both AS SELECT r.user_id, s.value FROM regulars r JOIN spenders s USING (user_id);
CREATE SEGMENT steady WITH (retain = '15 minutes') AS
SELECT r.user_id, r.value FROM regulars r LEFT ANTI JOIN quiet q USING (user_id);
";

#[derive(Clone)]
struct Event {
    user: String,
    kind: &'static str,
    time: i64,
    value: f64,
    group: &'static str,
}

impl Event {
    fn line(&self) -> String {
        json!({"userId": self.user, "eventType": self.kind, "timestamp": self.time, "value": self.value, "metadata": {"kind": self.group}}).to_string()
    }
}

/// Events of some hours, nearly in the order of their times.
fn events(seed: u64, hours: i64, count: usize) -> Vec<Event> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut event = || Event {
        user: format!("u{}", random.random_range(0..25)),
        kind: ["purchase", "view"].choose(&mut random).expect("one"),
        time: START + random.random_range(0..hours * HOUR),
        value: f64::from(random.random_range(0..100)),
        group: ["a", "b", "c"].choose(&mut random).expect("one"),
    };
    let mut events: Vec<Event> = (0..count).map(|_| event()).collect();
    events.sort_by_cached_key(|e| (e.time + random.random_range(0..20_000), e.time));
    events
}

fn lines(events: &[Event]) -> String {
    events.iter().map(|e| e.line() + "\n").collect()
}

fn parquet_file(path: &Path, events: &[Event], rows: usize, sql_names: bool) {
    let times: Vec<i64> = events.iter().map(|e| e.time).collect();
    let texts = |f: fn(&Event) -> String| Arc::new(StringArray::from_iter_values(events.iter().map(f))) as ArrayRef;
    let metadata = texts(|e| json!({"kind": e.group}).to_string());
    let values = Arc::new(Float64Array::from_iter_values(events.iter().map(|e| e.value))) as ArrayRef;
    let (user, kind) = (texts(|e| e.user.clone()), texts(|e| e.kind.into()));
    // What no segment reads, and what makes most of the file.
    let ballast = texts(|e| format!("{}{}", e.user, e.time).repeat(40));
    let columns: Vec<(&str, ArrayRef)> = if sql_names {
        let micros = TimestampMicrosecondArray::from_iter_values(times.iter().map(|t| t * 1000)).with_timezone("UTC");
        vec![("user_id", user), ("event_type", kind), ("event_time", Arc::new(micros)), ("value", values), ("metadata", metadata), ("ballast", ballast)]
    } else {
        vec![
            ("userId", user),
            ("eventType", kind),
            ("timestamp", Arc::new(Int64Array::from(times))),
            ("value", values),
            ("metadata", metadata),
            ("ballast", ballast),
        ]
    };
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(rows)).set_data_page_row_count_limit(8).set_write_batch_size(8).build();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).expect("a file"), batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
}

/// Writes events into `date=…/hour=…` folders, some objects for each hour, of several kinds.
fn partition(events: &[Event], root: &Path, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut hours: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
    events.iter().for_each(|e| hours.entry(e.time.div_euclid(HOUR)).or_default().push(e.clone()));
    for (hour, events) in hours {
        let days = datafusion::arrow::temporal_conversions::date32_to_datetime((hour.div_euclid(24)) as i32).expect("a day").date();
        let folder = root.join(format!("date={days}")).join(format!("hour={:02}", hour.rem_euclid(24)));
        fs::create_dir_all(&folder).expect("a folder");
        let objects = random.random_range(1..=4);
        let mut parts: Vec<Vec<Event>> = vec![vec![]; objects];
        events.into_iter().for_each(|e| parts[random.random_range(0..objects)].push(e));
        for (i, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            let path = |end: &str| folder.join(format!("part-{i}{end}"));
            match random.random_range(0..5) {
                0 => fs::write(path(".jsonl"), lines(part).trim_end()).expect("a file"),
                1 => {
                    let mut gz = GzEncoder::new(fs::File::create(path(".json.gz")).expect("a file"), Compression::fast());
                    gz.write_all(lines(part).as_bytes()).expect("written");
                    gz.finish().expect("written");
                }
                2 => fs::write(path(".ndjson.zst"), zstd::encode_all(lines(part).as_bytes(), 1).expect("packed")).expect("a file"),
                kind => parquet_file(&path(".snappy.parquet"), part, 20, kind == 3),
            }
        }
    }
    fs::write(root.join("_SUCCESS"), "").expect("a file");
    fs::create_dir_all(root.join("_temporary")).expect("a folder");
    fs::write(root.join("_temporary/part.jsonl"), "not an event").expect("a file");
    fs::write(root.join("readme.md"), "not an event").expect("a file");
}

/// What a replay came to.
struct Outcome {
    results: Vec<String>,
    members: BTreeSet<(String, String)>,
    summary: Value,
    said: String,
}

fn command(folder: &Path, input: &str, arguments: &[&str]) -> Command {
    fs::create_dir_all(folder).expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cohort"));
    command.args(["replay", "--input", input]).args(arguments);
    for (flag, file) in [("--output", "results"), ("--memberships", "members"), ("--json", "summary")] {
        command.arg(flag).arg(folder.join(file));
    }
    command
}

fn outcome(folder: &Path, command: &mut Command) -> Result<Outcome, String> {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).to_string();
    if !output.status.success() {
        return Err(format!("{:?}: {said}", output.status.code()));
    }
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file");
    let mut results: Vec<String> = read("results").lines().map(String::from).collect();
    results.sort();
    let members = read("members");
    let members = members.lines().map(|l| {
        let member: Value = serde_json::from_str(l).expect("JSON");
        let text = |key: &str| member[key].as_str().expect("a text").to_string();
        (text("segmentId"), text("userId"))
    });
    Ok(Outcome { results, members: members.collect(), summary: serde_json::from_str(&read("summary")).expect("JSON"), said })
}

fn run(folder: &Path, input: &str, arguments: &[&str]) -> Outcome {
    outcome(folder, &mut command(folder, input, arguments)).unwrap_or_else(|e| panic!("{e}"))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    fs::write(folder.join(name), text).expect("a file");
    folder.join(name)
}

/// Results from a moment on.
fn since(results: &[String], from: i64) -> Vec<String> {
    let time = |line: &String| serde_json::from_str::<Value>(line).expect("JSON")["timestamp"].as_i64().expect("a time");
    results.iter().filter(|line| time(line) >= from).cloned().collect()
}

/// A replay over folders and between two times is one over the same events in one file; and with its lead-in it knows at
/// `from` what a replay of all that came before knows.
#[test]
fn partitioned_folders_between_two_times_are_the_flat_file_of_that_time() {
    for seed in 0..8 {
        let folder = tempfile::tempdir().expect("a folder");
        let (folder, all) = (folder.path(), events(seed, 7, 1_500));
        partition(&all, &folder.join("events"), seed);
        let segments = write(folder, "segments.sql", SEGMENTS);
        let mut random = ChaCha8Rng::seed_from_u64(1_000 + seed);
        let from = START + random.random_range(2 * HOUR..5 * HOUR);
        let to = from + random.random_range(10 * MINUTE..2 * HOUR);
        // Sessions reach back a day unless told otherwise; theirs are of minutes.
        let partitions = random.random_range(1..4).to_string();
        let common = ["--segments", path(&segments), "--emit", "final", "--partitions", &partitions, "--batch-rows", "97"];
        let times = [from.to_string(), to.to_string()];
        let span = ["--from", &times[0], "--to", &times[1], "--lead-in", "100 minutes"];
        let tested = run(&folder.join("a"), path(&folder.join("events")), &[&common[..], &span].concat());
        let until: Vec<Event> = all.iter().filter(|e| e.time < to).cloned().collect();
        let led: Vec<Event> = until.iter().filter(|e| e.time >= from - 100 * MINUTE).cloned().collect();
        let inside = until.iter().filter(|e| e.time >= from).count();
        for (name, flat) in [("all before", &until), ("lead-in", &led)] {
            let file = write(folder, "flat.jsonl", &lines(flat));
            let expected = run(&folder.join("b"), path(&file), &common);
            assert_eq!(tested.members, expected.members, "{name}, seed {seed}");
            assert_eq!(tested.results, since(&expected.results, from), "{name}, seed {seed}");
            assert!(!tested.members.is_empty() && tested.results.len() > 20, "seed {seed} tests nothing");
        }
        let summary = &tested.summary;
        assert_eq!((summary["events"].as_u64(), &summary["late"]), (Some(inside as u64), &json!(0)), "seed {seed}");
        assert_eq!(summary["input"]["leadInEvents"], json!(led.len() - inside), "seed {seed}");
        assert!(summary["input"]["objects"]["skipped"].as_u64() > Some(0), "{summary}");
        assert_eq!(summary["input"]["objects"]["leftOut"], 3, "{summary}");
        assert!(tested.said.contains("left out 3 files that by their names have no events"), "{}", tested.said);
    }
}

#[test]
fn whole_folders_patterns_and_buckets_are_the_flat_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, all) = (folder.path(), events(77, 5, 1_200));
    partition(&all, &folder.join("events"), 77);
    let segments = write(folder, "segments.sql", SEGMENTS);
    let file = write(folder, "flat.jsonl", &lines(&all));
    let common = ["--segments", path(&segments), "--emit", "final"];
    let expected = run(&folder.join("flat"), path(&file), &common);
    let s3 = S3::start();
    s3.put_all(&folder.join("events"), "prefix/events");
    s3.put("prefix/events-of-others/date=2026-11-01/hour=00/x.jsonl", b"not ours".to_vec());
    let local = path(&folder.join("events")).to_string();
    let inputs = [
        local.clone(),
        format!("file://{local}/"),
        format!("{local}/date=*/hour=*/part-*"),
        "s3://bucket/prefix/events".into(),
        "s3://bucket/prefix/events/".into(),
        "s3://bucket/*/events/date=2026-1?-*/**/part-*".into(),
    ];
    for (i, input) in inputs.iter().enumerate() {
        s3.be_busy(u64::from(i % 2 == 1) * 2);
        let to = folder.join(format!("run{i}"));
        let found = outcome(&to, command(&to, input, &common).envs(s3.environment())).unwrap_or_else(|e| panic!("{input}: {e}"));
        assert_eq!(found.results, expected.results, "{input}");
        assert_eq!(found.members, expected.members, "{input}");
        assert_eq!((&found.summary["events"], &found.summary["late"]), (&json!(all.len()), &json!(0)), "{input}");
        let read = found.summary["input"]["objects"]["bytes"].as_u64().expect("bytes");
        assert!(read > 10_000, "{}", found.summary);
    }
    assert!(s3.requests() > 30);
    // A key that the store does not know.
    let to = folder.join("refused");
    let refused = outcome(&to, command(&to, "s3://bucket/prefix/events/", &common).envs(s3.environment()).env("AWS_ACCESS_KEY_ID", "other")).err();
    assert!(refused.as_ref().is_some_and(|e| e.starts_with("Some(1)") && e.contains("s3://bucket/prefix/events/")), "{refused:?}");
    let nothing = outcome(&to, command(&to, "s3://bucket/nothing/", &common).envs(s3.environment())).err();
    assert!(nothing.as_ref().is_some_and(|e| e.contains("there are no files of events here")), "{nothing:?}");
}

/// What builds with `--features cohort/gcp,cohort/azure` read, too.
#[cfg(any(feature = "gcp", feature = "azure"))]
#[test]
fn buckets_of_other_clouds_are_the_flat_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, all) = (folder.path(), events(78, 4, 800));
    partition(&all, &folder.join("events"), 78);
    let segments = write(folder, "segments.sql", SEGMENTS);
    let file = write(folder, "flat.jsonl", &lines(&all));
    let common = ["--segments", path(&segments), "--emit", "final"];
    let expected = run(&folder.join("flat"), path(&file), &common);
    let s3 = S3::start();
    s3.put_all(&folder.join("events"), "prefix/events");
    let mut clouds: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
    #[cfg(feature = "gcp")]
    clouds.insert("gs", s3.environment_of_google().into());
    #[cfg(feature = "azure")]
    clouds.insert("az", s3.environment_of_azure().into());
    for (scheme, environment) in clouds {
        for input in ["prefix/events/", "*/events/date=2026-1?-*/**/part-*"].map(|path| format!("{scheme}://bucket/{path}")) {
            // What does not answer is asked again.
            s3.be_busy(2);
            let to = folder.join(scheme);
            let found = outcome(&to, command(&to, &input, &common).envs(environment.clone())).unwrap_or_else(|e| panic!("{input}: {e}"));
            assert_eq!((found.results, found.members), (expected.results.clone(), expected.members.clone()), "{input}");
        }
    }
    #[cfg(feature = "azure")]
    {
        let other = s3.environment_of_azure().into_iter().chain([("AZURE_STORAGE_ACCOUNT_NAME", "other".to_string())]);
        let to = folder.join("refused");
        let refused = outcome(&to, command(&to, "az://bucket/prefix/events/", &common).envs(other)).err();
        assert!(refused.as_ref().is_some_and(|e| e.starts_with("Some(1)") && e.contains("az://bucket/prefix/events/")), "{refused:?}");
    }
}

#[test]
fn objects_row_groups_and_columns_that_are_not_needed_are_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut all = events(5, 4, 2_000);
    all.sort_by_key(|e| e.time);
    for hour in 0..4 {
        let to = folder.join(format!("events/dt=20261031{:02}", 20 + hour));
        fs::create_dir_all(&to).expect("a folder");
        let of_hour: Vec<Event> = all.iter().filter(|e| e.time.div_euclid(HOUR) == START / HOUR + hour).cloned().collect();
        parquet_file(&to.join("a.parquet"), &of_hour, 50, hour % 2 == 0);
    }
    let s3 = S3::start();
    s3.put_all(&folder.join("events"), "events");
    let segments = write(folder, "segments.sql", &SEGMENTS[..SEGMENTS.find("CREATE SEGMENT quiet").expect("it is there")]);
    let arguments = ["--segments", path(&segments), "--from", "2026-10-31T22:20:00Z", "--to", "2026-10-31T22:40:00Z"];
    let to = folder.join("out");
    let found = outcome(&to, command(&to, "s3://bucket/events/", &arguments).envs(s3.environment())).unwrap_or_else(|e| panic!("{e}"));
    let input = &found.summary["input"];
    let is_inside = |e: &&Event| (START + 2 * HOUR + 20 * MINUTE..START + 2 * HOUR + 40 * MINUTE).contains(&e.time);
    assert_eq!(found.summary["events"], json!(all.iter().filter(is_inside).count()));
    assert_eq!(input["leadInMillis"], json!(14 * MINUTE));
    let lead_in = all.iter().filter(|e| (START + 2 * HOUR + 6 * MINUTE..START + 2 * HOUR + 20 * MINUTE).contains(&e.time)).count();
    assert_eq!(input["leadInEvents"], json!(lead_in));
    assert_eq!((&input["objects"]["read"], &input["objects"]["skipped"]), (&json!(1), &json!(3)));
    let sizes: u64 = [20, 21, 23].iter().map(|h| fs::metadata(folder.join(format!("events/dt=20261031{h}/a.parquet"))).expect("a file").len()).sum();
    assert_eq!(input["objects"]["bytesSkipped"], json!(sizes));
    // Of ten row groups of six minutes, those of half an hour and the ends of their neighbours.
    let groups = |key: &str| input["rowGroups"][key].as_u64().expect("a number");
    let in_hour = all.iter().filter(|e| e.time.div_euclid(HOUR) == START / HOUR + 2).count() as u64;
    assert_eq!(groups("read") + groups("skipped"), in_hour.div_ceil(50));
    assert!(groups("skipped") >= 3 && groups("bytesSkipped") > 0, "{input}");
    // Pages of eight rows are left out too, so less than a page is read in vain at either end.
    assert!(input["eventsOutside"].as_u64() < Some(16), "{input}");
    assert!(groups("rowsSkippedByPage") > 0, "{input}");
    // Neither the ballast nor the other objects came over the wire: all that came was counted.
    assert_eq!(input["objects"]["bytes"], json!(s3.sent()));
    let size = fs::metadata(folder.join("events/dt=2026103122/a.parquet")).expect("a file").len();
    let footer = 64 << 10;
    assert!(s3.sent() < size / 2 + footer, "{} of {size} bytes were read", s3.sent());
}

#[test]
fn what_cannot_be_read_is_named_and_never_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, all) = (folder.path(), events(3, 2, 400));
    let segments = write(folder, "segments.sql", SEGMENTS);
    let root = folder.join("events");
    fs::create_dir_all(&root).expect("a folder");
    fs::write(root.join("a.jsonl"), lines(&all[..100])).expect("a file");
    let mut gz = GzEncoder::new(vec![], Compression::fast());
    gz.write_all(lines(&all).as_bytes()).expect("written");
    let gz = gz.finish().expect("packed");
    let zst = zstd::encode_all(lines(&all).as_bytes(), 1).expect("packed");
    parquet_file(&root.join("p.parquet"), &all, 50, false);
    let parquet = fs::read(root.join("p.parquet")).expect("a file");
    fs::remove_file(root.join("p.parquet")).expect("a file");
    let mut broken = parquet.clone();
    broken[200..1200].fill(0xa5);
    let cases: [(&str, &[u8]); 6] = [
        ("b.json.gz", &gz[..gz.len() / 2]),
        ("b.jsonl.zst", &zst[..zst.len() / 2]),
        ("b.parquet", &parquet[..parquet.len() / 2]),
        ("b.snappy.parquet", &broken),
        ("b.avro", b"Obj\x01\x02"),
        ("b.tiny.parquet", b"PAR1"),
    ];
    for (name, bytes) in cases {
        fs::write(root.join(name), bytes).expect("a file");
        for input in [root.clone(), root.join(name)] {
            let to = folder.join("out");
            let failed = outcome(&to, &mut command(&to, path(&input), &["--segments", path(&segments)])).err().unwrap_or_else(|| panic!("{name} is read"));
            assert!(failed.starts_with("Some(1)") && failed.contains(&format!("events/{name}: ")), "{name}: {failed}");
        }
        fs::remove_file(root.join(name)).expect("a file");
    }
    let to = folder.join("out");
    let missing = outcome(&to, &mut command(&to, path(&folder.join("none/")), &["--segments", path(&segments)])).err().unwrap_or_default();
    assert!(missing.starts_with("Some(2)") && missing.contains("no such file"), "{missing}");
    let backwards = ["--segments", path(&segments), "--from", "-1h", "--to", "-2h"];
    let backwards = outcome(&to, &mut command(&to, path(&root), &backwards)).err().unwrap_or_default();
    assert!(backwards.starts_with("Some(2)") && backwards.contains("--from must be before --to"), "{backwards}");
    // A line that is no event is a dead letter, as in any file.
    fs::write(root.join("c.jsonl"), "nonsense\n").expect("a file");
    assert_eq!(run(&to, path(&root), &["--segments", path(&segments)]).summary["deadLetters"]["byReason"], json!({"not_json": 1}));
}

const OLDER: &str = "
CREATE SEGMENT spenders AS
SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '7 minutes')
WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > 60;
CREATE SEGMENT regulars AS
SELECT user_id, count(*) AS value FROM HOP(events, event_time, INTERVAL '5 minutes', INTERVAL '45 minutes')
WHERE metadata['kind'] = 'b' GROUP BY user_id, window_start, window_end HAVING count(*) >= 3;
CREATE SEGMENT both AS SELECT regulars.user_id, spenders.value FROM regulars JOIN spenders USING (user_id);
CREATE SEGMENT gone AS
SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '1 hour') GROUP BY user_id, window_start, window_end;
";

/// How often users entered and exited, by segment, as results of one partition say.
fn moves(results: &Path) -> BTreeMap<String, (u64, u64)> {
    let (mut inside, mut moves) = (BTreeSet::new(), BTreeMap::<String, (u64, u64)>::new());
    for line in fs::read_to_string(results).expect("a file").lines() {
        let result: Value = serde_json::from_str(line).expect("JSON");
        let (segment, user) = (result["segmentId"].as_str().expect("a text").to_string(), result["userId"].as_str().expect("a text").to_string());
        let counts = moves.entry(segment.clone()).or_default();
        if result["qualified"] == true {
            counts.0 += u64::from(inside.insert((segment, user)));
        } else {
            counts.1 += u64::from(inside.remove(&(segment, user)));
        }
    }
    moves
}

#[test]
fn a_comparison_is_the_difference_of_two_replays() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (newer, older) = (write(folder, "newer.sql", SEGMENTS), write(folder, "older.sql", OLDER));
    let mut differ = 0;
    for seed in 20..26 {
        let all = events(seed, 3, 900);
        let file = write(folder, "flat.jsonl", &lines(&all));
        let differences = folder.join("differences");
        let alone = |name: &str, segments: &Path| run(&folder.join(name), path(&file), &["--segments", path(segments), "--emit", "final"]);
        let (new, old) = (alone("new", &newer), alone("old", &older));
        let partitions = (1 + seed % 3).to_string();
        let arguments =
            ["--segments", path(&newer), "--against", path(&older), "--differences", path(&differences), "--emit", "final", "--partitions", &partitions];
        let compared = run(&folder.join("compared"), path(&file), &arguments);
        assert_eq!((&compared.results, &compared.members), (&new.results, &new.members), "what is written is of the newer version, seed {seed}");
        let of = |members: &BTreeSet<(String, String)>, segment: &str| -> BTreeSet<String> {
            members.iter().filter(|(s, _)| s == segment).map(|(_, u)| u.clone()).collect()
        };
        let mut listed: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for line in fs::read_to_string(&differences).expect("a file").lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let text = |key: &str| line[key].as_str().expect("a text").to_string();
            assert!(listed.entry((text("segmentId"), text("change"))).or_default().insert(text("userId")), "{line} is there twice");
        }
        let list = compared.summary["comparison"].as_array().expect("a list").clone();
        let names: BTreeSet<&str> = list.iter().filter_map(|c| c["segment"].as_str()).collect();
        assert_eq!(names, BTreeSet::from(["spenders", "quiet", "regulars", "growing", "visits", "both", "steady", "gone"]));
        let (moved_new, moved_old) = (moves(&folder.join("new/results")), moves(&folder.join("old/results")));
        for c in &list {
            let name = c["segment"].as_str().expect("a name");
            let (after, before) = (of(&new.members, name), of(&old.members, name));
            let (enter, leave): (BTreeSet<String>, BTreeSet<String>) =
                (after.difference(&before).cloned().collect(), before.difference(&after).cloned().collect());
            differ += enter.len() + leave.len();
            assert_eq!(c["both"], json!(after.intersection(&before).count()), "{name}");
            for (key, change, users) in [("wouldEnter", "enter", &enter), ("wouldLeave", "leave", &leave)] {
                assert_eq!(c[key], json!({"count": users.len(), "sample": users.iter().take(20).collect::<Vec<_>>()}), "{name} {key}, seed {seed}");
                assert_eq!(listed.get(&(name.to_string(), change.to_string())).cloned().unwrap_or_default(), *users, "{name} {change}");
            }
            for (key, members, moved, there) in
                [("after", &after, &moved_new, name != "gone"), ("before", &before, &moved_old, OLDER.contains(&format!("SEGMENT {name} ")))]
            {
                let (entered, exited) = moved.get(name).copied().unwrap_or_default();
                let expected = if there { json!({"members": members.len(), "entered": entered, "exited": exited}) } else { Value::Null };
                assert_eq!(c[key], expected, "{name} {key}, seed {seed}");
            }
        }
        assert!(compared.said.contains("spenders: ") && compared.said.contains(" would leave"), "{}", compared.said);
    }
    assert!(differ > 50, "only {differ} users differ");
    // Rules against SQL of the same meaning differ in nobody.
    let rules =
        json!([{"id": "r", "segmentId": "spenders", "eventType": "purchase", "attribute": "sum", "operator": "GT", "threshold": 120, "windowMinutes": 7}]);
    let rules = write(folder, "rules.json", &rules.to_string());
    let file = folder.join("flat.jsonl");
    let same = run(&folder.join("same"), path(&file), &["--segments", path(&newer), "--against", path(&rules)]);
    let spenders = same.summary["comparison"].as_array().and_then(|l| l.iter().find(|c| c["segment"] == "spenders").cloned()).expect("it is compared");
    assert_eq!((&spenders["wouldEnter"]["count"], &spenders["wouldLeave"]["count"], &spenders["before"]), (&json!(0), &json!(0), &spenders["after"]));
}

#[tokio::test]
async fn previews_read_sources_that_are_allowed_and_compare_versions() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, all) = (folder.path().to_path_buf(), events(9, 5, 1_200));
    partition(&all, &folder.join("events"), 9);
    fs::create_dir_all(folder.join("events-of-others")).expect("a folder");
    fs::write(folder.join("events-of-others/a.jsonl"), lines(&all[..10])).expect("a file");
    fs::create_dir_all(folder.join("events/broken")).expect("a folder");
    let url = format!("file://{}/", path(&folder.join("events")));
    let live = Live::start(&folder.join("data"), &[&format!("backtest.sources=[\"{url}\", \"s3://bucket/prefix/\"]")]);
    let query = |more: i64| {
        format!(
            "SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '7 minutes') WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > {more}"
        )
    };
    let (from, to) = (START + 2 * HOUR + 13 * MINUTE, START + 3 * HOUR + 41 * MINUTE);
    let dates = format!("{url}date=*");
    let body = json!({"name": "spenders", "sql": query(120), "source": dates, "from": from, "to": to, "against": {"sql": query(60)}});
    let preview = live.post("/segments/preview", body).await;
    assert_eq!(preview.status, 200, "{}", preview.body);
    let preview = preview.body;
    // The same by the command.
    let create = |more| format!("CREATE SEGMENT spenders AS {};", query(more));
    let (newer, older) = (write(&folder, "newer.sql", &create(120)), write(&folder, "older.sql", &create(60)));
    let times = [from.to_string(), to.to_string()];
    let arguments = ["--segments", path(&newer), "--against", path(&older), "--from", &times[0], "--to", &times[1]];
    let expected = run(&folder.join("out"), path(&folder.join("events")), &arguments);
    let members: Vec<&String> = expected.members.iter().map(|(_, user)| user).collect();
    let sample: Vec<&String> = members.iter().copied().take(20).collect();
    assert_eq!((&preview["size"], &preview["sample"], &preview["rows"]), (&json!(members.len()), &json!(sample), &expected.summary["events"]), "{preview}");
    let compared = &expected.summary["comparison"][0];
    for key in ["both", "wouldEnter", "wouldLeave"] {
        assert_eq!(preview["comparison"][key], compared[key], "{key}");
    }
    assert_eq!((&preview["comparison"]["before"]["members"], &preview["partial"]), (&compared["before"]["members"], &json!(false)));
    assert!(compared["wouldLeave"]["count"].as_u64() > Some(0), "{compared}");
    assert_eq!(preview["difference"], Value::Null);
    let input = &expected.summary["input"];
    assert_eq!((&preview["source"]["objectsSkipped"], &preview["source"]["leadIn"]), (&input["objects"]["skipped"], &input["leadInEvents"]));
    assert_eq!(preview["overTime"].as_array().and_then(|o| o.last()).map(|p| &p["size"]), Some(&json!(members.len())), "{preview}");

    // Sources beside those that may be read.
    let refused = [
        url.replace("/events/", "/events-of-others/"),
        url.replace("/events/", "/"),
        format!("{url}../events-of-others/"),
        "s3://bucket/".into(),
        "s3://other/prefix/".into(),
        path(&folder.join("events")).into(),
    ];
    for source in refused {
        let answer = live.post("/segments/preview", json!({"sql": query(1), "source": source})).await;
        assert_eq!((answer.status, &answer.body["type"]), (403, &json!("/problems/source-not-allowed")), "{source}: {}", answer.body);
    }
    fs::write(folder.join("events/broken/a.parquet"), "PAR1 and no more").expect("a file");
    let broken = live.post("/segments/preview", json!({"sql": query(1), "source": format!("{url}broken/")})).await;
    assert_eq!((broken.status, &broken.body["type"]), (400, &json!("/problems/source-unreadable")), "{}", broken.body);
    assert!(broken.body["detail"].as_str().is_some_and(|d| d.contains("broken/a.parquet")), "{}", broken.body);
    let nothing = live.post("/segments/preview", json!({"sql": query(1), "source": format!("{url}nothing/")})).await;
    assert_eq!((nothing.status, &nothing.body["type"]), (400, &json!("/problems/source-unreadable")), "{}", nothing.body);

    // Without sources in the configuration nothing is read.
    let closed = Live::start(&folder.join("closed"), &[]);
    let answer = closed.post("/segments/preview", json!({"sql": query(1), "source": url})).await;
    assert_eq!((answer.status, &answer.body["type"]), (403, &json!("/problems/source-not-allowed")), "{}", answer.body);
    assert!(answer.body["hint"].as_str().is_some_and(|h| h.contains("backtest.sources")), "{}", answer.body);
    let set = "backtest.sources=[\"events\"]";
    let wrong = Live::start_with(&folder.join("wrong"), &[set], &[]).err().unwrap_or_default();
    assert!(wrong.contains("backtest.sources"), "{wrong}");
}

#[tokio::test]
async fn previews_of_kept_events_compare_with_what_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let live = Live::start(folder.path(), &["source.partitions=3", "time.out_of_orderness=1s"]);
    let query = |more: i64| {
        format!(
            "SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '1 hour') WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > {more}"
        )
    };
    assert_eq!(live.post("/segments", json!({"name": "big", "sql": query(500)})).await.status, 201);
    assert_eq!(live.post("/segments", json!({"name": "bigger", "sql": "SELECT b.user_id, b.value FROM big b WHERE b.value > 600"})).await.status, 201);
    let at = crate::live::now();
    let events: Vec<Value> = (0..40).map(|u| crate::live::purchase(&format!("u{u:02}"), at, 310.0 + f64::from(u) * 10.0)).collect();
    live.post("/events", json!(events)).await;
    live.settled().await;
    let preview = live.post("/segments/preview", json!({"name": "big", "sql": query(600), "against": "current"})).await;
    assert_eq!(preview.status, 200, "{}", preview.body);
    let compared = &preview.body["comparison"];
    // Over 500 are u20 and on, over 600 u30 and on.
    let leave: Vec<String> = (20..30).map(|u| format!("u{u}")).collect();
    assert_eq!((&compared["both"], &compared["wouldLeave"], &compared["wouldEnter"]["count"]), (&json!(10), &json!({"count": 10, "sample": leave}), &json!(0)));
    assert_eq!((&compared["before"]["members"], &compared["before"]["entered"], &compared["after"]["members"]), (&json!(20), &json!(20), &json!(10)));
    // A derived segment against another reading of the same one; and rules.
    let derived = json!({"name": "bigger", "sql": "SELECT b.user_id, b.value FROM big b WHERE b.value > 650", "against": "current"});
    let derived = live.post("/segments/preview", derived).await.body;
    assert_eq!((&derived["comparison"]["both"], &derived["comparison"]["wouldLeave"]["count"]), (&json!(5), &json!(5)), "{derived}");
    let rules = json!({"type": "INDEPENDENT", "windowMinutes": 60, "rules": [{"eventType": "purchase", "attribute": "sum", "operator": "GT", "value": 400}]});
    let by_rules = live.post("/segments/preview", json!({"name": "big", "sql": query(500), "against": rules})).await.body;
    assert_eq!((&by_rules["comparison"]["both"], &by_rules["comparison"]["wouldLeave"]["count"]), (&json!(20), &json!(10)), "{by_rules}");
    for (against, says) in [
        (json!("current"), "no active segment is called"),
        (json!("yesterday"), "\"current\" or a segment"),
        (json!({"name": "other", "sql": query(1)}), "must be a version of"),
    ] {
        let answer = live.post("/segments/preview", json!({"name": "new", "sql": query(500), "against": against})).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body["detail"].as_str().is_some_and(|d| d.contains(says)), "{}", answer.body);
    }
    let wrong = live.post("/segments/preview", json!({"name": "big", "sql": query(500), "against": {"sql": "SELECT nothing"}})).await;
    assert_eq!((wrong.status, &wrong.body["type"]), (400, &json!("/problems/invalid-segment")), "{}", wrong.body);
    assert_eq!(live.get("/segments").await.body["total"], 2);
}
