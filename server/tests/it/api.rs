//! What the web UI and other programs ask of the API, over HTTP.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::live::{BIG, Live, high_spenders, now, purchase};

const FIVE_MINUTES: i64 = 300_000;

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// References to schemas in a document.
fn references<'a>(value: &'a Value, into: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|v| references(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, into)),
        _ => {}
    }
}

/// All properties of a schema, with those of the schemas that it is all of.
fn properties<'a>(document: &'a Value, schema: &'a Value) -> BTreeSet<&'a str> {
    let schema = match schema["$ref"].as_str() {
        Some(name) => document.pointer(name.trim_start_matches('#')).expect("a schema"),
        None => schema,
    };
    let own = schema["properties"].as_object().into_iter().flat_map(|p| p.keys().map(String::as_str));
    let parts = schema["allOf"].as_array().into_iter().flatten().flat_map(|s| properties(document, s));
    own.chain(parts).collect()
}

#[test]
fn the_document_describes_what_is_answered() {
    let printed = Command::new(env!("CARGO_BIN_EXE_cohort")).arg("openapi").output().expect("it runs");
    let document: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!((&document["info"]["title"], &document["info"]["version"]), (&json!("Cohort"), &json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!((&document["info"]["contact"], &document["info"]["license"]["name"]), (&Value::Null, &json!("Apache-2.0")));
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    let mut ids = vec![];
    for methods in document["paths"].as_object().expect("paths").values() {
        ids.extend(methods.as_object().expect("methods").values().filter_map(|o| o["operationId"].as_str()));
    }
    let all = ids.len();
    assert_eq!((ids.iter().collect::<BTreeSet<_>>().len(), all > 30), (all, true), "{ids:?}");
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    for reference in used {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} is not there");
    }
    let schema = |name: &str| document["components"]["schemas"][name].clone();
    let segment = schema("Segment");
    let segment = properties(&document, &segment);
    for field in ["name", "type", "rules", "dependencies", "logicalExpression", "windowMinutes", "trend", "reads", "readBy"] {
        assert!(segment.contains(field), "{field} is not in {segment:?}");
    }
    let preview = schema("PreviewInput");
    assert!(properties(&document, &preview).is_superset(&BTreeSet::from(["from", "to", "sql", "rules"])));
    assert_eq!(schema("SegmentType")["enum"], json!(["INDEPENDENT", "DERIVED", "SQL"]));
    let node = schema("PlanNode");
    assert!(properties(&document, &node).is_superset(&BTreeSet::from(["id", "kind", "label", "details", "measured", "shared", "segments"])));
    assert_eq!(schema("Outcome")["oneOf"].as_array().map(Vec::len), Some(2));
    assert_eq!((&schema("Checked")["properties"]["ok"]["enum"], &schema("Refused")["properties"]["ok"]["enum"]), (&json!([true]), &json!([false])));
}

#[test]
fn printing_ends_quietly_when_nobody_reads() {
    for arguments in [&["openapi"][..], &["config"], &["completions", "bash"], &["bench", "--list"]] {
        let mut process = Command::new(env!("CARGO_BIN_EXE_cohort")).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        drop(process.stdout.take());
        let ended = process.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), &*said), (Some(0), ""), "{arguments:?}");
    }
}

#[tokio::test]
async fn who_calls_and_what_is_configured_is_told_without_secrets() {
    let data = tempfile::tempdir().expect("a folder");
    let open = Live::start(&data.path().join("open"), &["source.partitions=1"]);
    assert_eq!(open.get("/me").await.body, json!({"name": "local", "role": "admin", "tokens": false}));

    let set = [
        "server.tokens=[{name=\"looker\",role=\"read\",secret_env=\"LOOKER\"}]",
        "rules.url=\"http://feed-token@127.0.0.1:1/rules?key=feed-key\"",
        "rules.refresh=1h",
        "source.kafka.properties.sasl.password=hidden-password",
        "source.kafka.properties.sasl.oauthbearer.assertion.private.key.passphrase=hidden-phrase",
        "source.kafka.properties.client.id=shown",
        "sink.aerospike.password=\"hidden-too\"",
        "telemetry.otlp_endpoint=\"http://127.0.0.1:1?api_key=otlp-key\"",
        "time.out_of_orderness=7s",
    ];
    let closed = Live::start_with(&data.path().join("closed"), &set, &[("LOOKER", "the-secret")]).unwrap_or_else(|said| panic!("{said}"));
    let closed = closed.with_token("the-secret");
    assert_eq!(closed.get("/me").await.body, json!({"name": "looker", "role": "read", "tokens": true}));
    let config = closed.get("/config").await.body;
    assert_eq!((&config["time"]["out_of_orderness"], &config["source"]["kafka"]["properties"]["client.id"]), (&json!("7s"), &json!("shown")));
    assert_eq!(config["server"]["tokens"], json!([{"name": "looker", "role": "read"}]));
    let text = config.to_string();
    for secret in ["the-secret", "LOOKER", "feed-token", "feed-key", "hidden", "otlp-key"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

#[tokio::test]
async fn the_status_says_what_health_is_made_of() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1", "checkpoint.interval=2s", "time.out_of_orderness=3s", "time.idle_timeout=20s"]);
    assert_eq!(live.get("/status").await.body["latencyMs"], Value::Null, "there were no results");
    live.post("/segments", high_spenders()).await;
    live.settled().await;
    let at = now();
    live.post("/events", json!([purchase("u1", at, 600.0), {"userId": "", "eventType": "x", "timestamp": at}, {"userId": "u", "eventType": "x"}])).await;
    live.until("a result", Duration::from_secs(5), async || !live.segments_of("u1").await.is_empty()).await;
    // Late for its window, and found by the engine.
    live.post("/events", json!([purchase("u1", at - 3 * FIVE_MINUTES, 1.0)])).await;
    live.until("late", Duration::from_secs(5), async || live.get("/status").await.body["deadLetters"]["late"] == 1).await;
    let status = live.get("/status").await.body;
    assert_eq!(
        status["source"],
        json!({"kind": "embedded", "evaluatedElsewhere": false, "ignored": {}, "topics": ["order_events", "activity_events", "install_events"], "error": null})
    );
    assert_eq!((&status["catalog"]["kind"], &status["catalog"]["error"]), (&json!("sqlite"), &Value::Null));
    assert!(status["catalog"]["readAt"].as_i64().is_some_and(|t| (now() - t).abs() < 10_000), "{}", status["catalog"]);
    assert_eq!((&status["checkpoint"]["intervalMs"], &status["checkpoint"]["error"]), (&json!(2_000), &Value::Null));
    let time = json!({"outOfOrdernessMs": 3_000, "allowedLatenessMs": 0, "idleTimeoutMs": 20_000, "maxFutureMs": 3_600_000});
    assert_eq!(status["time"], time);
    assert_eq!(status["deadLetters"], json!({"empty_user_id": 1, "late": 1, "missing_timestamp": 1}));
    let latency = |key: &str| status["latencyMs"][key].as_u64().unwrap_or(0);
    assert!(latency("p50") > 0 && latency("p50") <= latency("p99") && latency("p99") < 5_000, "{}", status["latencyMs"]);
    assert_eq!(status["problems"], json!([]));
    // A sample every five seconds; counters as above.
    live.until("a sample", Duration::from_secs(12), async || {
        live.get("/status/history").await.body["points"].as_array().and_then(|p| p.last().cloned()).is_some_and(|p| p["deadLetters"] == 3)
    })
    .await;
    let history = live.get("/status/history?minutes=1").await.body;
    let points = history["points"].as_array().cloned().unwrap_or_default();
    let last = points.last().cloned().unwrap_or_default();
    assert_eq!((&history["every"], &last["events"], &last["members"], &last["lag"]), (&json!(5_000), &json!(2), &json!(1), &json!(0)), "{history}");
    assert!(points.is_sorted_by_key(|p| p["at"].as_i64()) && points[0]["events"] == 0, "{history}");
    assert!(last["watermarkDelayMs"].as_i64().is_some_and(|ms| ms >= 3_000), "{last}");
    assert_eq!(live.get("/status/history?minutes=0").await.status, 400);
}

#[tokio::test]
async fn problems_say_what_they_are_with() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = data.path().join("saved");
    let url = format!("checkpoint.url=\"file:{}\"", folder.display());
    let live = Live::start(&data.path().join("data"), &["source.partitions=1", "checkpoint.interval=300ms", &url]);
    live.until("a checkpoint", Duration::from_secs(10), async || live.get("/status").await.body["checkpoint"]["published"].as_u64() > Some(0)).await;
    // A file where the folder was: nothing can be saved.
    while std::fs::remove_dir_all(&folder).and_then(|()| std::fs::write(&folder, "")).is_err() {}
    live.until("trouble", Duration::from_secs(10), async || !live.get("/status").await.body["checkpoint"]["error"].is_null()).await;
    let status = live.get("/status").await.body;
    assert_eq!((&status["problems"][0]["component"], &status["sink"]["error"]), (&json!("checkpoint"), &Value::Null), "{}", status["problems"]);
    assert!(status["problems"][0]["since"].as_i64().is_some_and(|t| t <= now()));
    assert_eq!(live.get("/readyz").await.status, 503);
}

#[tokio::test]
async fn lists_of_segments_have_what_overviews_show() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    live.post("/segments", high_spenders()).await;
    live.post("/segments", json!({"name": "big by SQL", "sql": BIG.replace("500", "1000")})).await;
    live.post("/segments", json!({"name": "All", "sql": BIG.replace("> 500", "> 0")})).await;
    let both = json!({"name": "Both", "type": "DERIVED", "windowMinutes": 5, "dependencies": [
        {"independentSegmentId": "High Spenders", "logicalOperator": "AND"}, {"independentSegmentId": "big by SQL", "logicalOperator": "AND"}]});
    live.post("/segments", both.clone()).await;
    live.settled().await;
    let at = now();
    live.post("/events", json!([purchase("u1", at, 1_500.0), purchase("u2", at, 600.0), purchase("u3", at, 1.0)])).await;
    live.until("members", Duration::from_secs(5), async || live.get("/segments/All/stats").await.body["size"] == 3).await;

    let listed = async |query: &str| live.get(&format!("/segments?{query}")).await.body["items"].as_array().cloned().unwrap_or_default();
    let order = async |query: &str| listed(query).await.iter().filter_map(|s| s["name"].as_str().map(String::from)).collect::<Vec<_>>();
    assert_eq!(order("sort=name").await, ["All", "big by SQL", "Both", "High Spenders"]);
    assert_eq!(order("sort=size&order=desc").await[..2], ["All", "High Spenders"]);
    assert_eq!(order("order=desc").await, ["Both", "All", "big by SQL", "High Spenders"]);
    assert_eq!(order("sort=updatedAt&size=1&page=1").await, ["big by SQL"]);
    assert_eq!((order("type=SQL").await, order("type=derived").await), (vec!["big by SQL".into(), "All".into()], vec!["Both".to_string()]));
    for bad in ["type=FOO", "sort=colour", "order=up", "size=0"] {
        assert_eq!(live.get(&format!("/segments?{bad}")).await.status, 400, "{bad}");
    }

    let all = listed("sort=name").await;
    assert_eq!(all.iter().map(|s| s["type"].as_str().unwrap_or("?")).collect::<Vec<_>>(), ["SQL", "SQL", "DERIVED", "INDEPENDENT"]);
    assert_eq!((&all[0]["size"], &all[0]["entered"], &all[0]["exited"]), (&json!(3), &json!(3), &json!(0)));
    let trend = all[0]["trend"].as_array().cloned().unwrap_or_default();
    assert_eq!((trend.len(), trend.first(), trend.last()), (30, Some(&json!(0)), Some(&json!(3))));
    assert_eq!((names(&all[2]["reads"]), names(&all[2]["readBy"])), (vec!["High Spenders", "big by SQL"], vec![]));
    assert_eq!((names(&all[1]["reads"]), names(&all[1]["readBy"])), (vec![], vec!["Both"]));
    // One that is paused still says what it reads; nobody waits for it.
    live.call(Method::PATCH, "/segments/Both/status", json!({"active": false})).await;
    let paused = live.get("/segments/Both").await.body;
    assert_eq!((names(&paused["reads"]), &paused["emit"]), (vec!["High Spenders", "big by SQL"], &Value::Null));
    assert_eq!(live.get("/segments/High%20Spenders").await.body["readBy"], json!([]));

    // What was answered can be sent back, and means the same.
    for name in ["High%20Spenders", "big%20by%20SQL", "Both"] {
        let mut segment = live.get(&format!("/segments/{name}")).await.body;
        segment["description"] = json!("sent back");
        let replaced = live.call(Method::PUT, &format!("/segments/{name}"), segment.clone()).await;
        assert_eq!(replaced.status, 200, "{}", replaced.body);
        for field in ["type", "rules", "dependencies", "sql"] {
            assert_eq!(replaced.body[field], segment[field], "{field} of {name}");
        }
    }
}

#[tokio::test]
async fn a_segment_is_checked_before_it_is_created() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    let check = async |body: Value| live.post("/segments/check", body).await;

    // Rules → SQL → the same rules.
    let mut unnamed = high_spenders();
    unnamed.as_object_mut().expect("an object").remove("name");
    let checked = check(unnamed).await;
    assert_eq!((checked.status, &checked.body["ok"]), (200, &json!(true)), "{}", checked.body);
    assert_eq!((&checked.body["name"], &checked.body["complete"]), (&Value::Null, &json!(true)));
    assert_eq!((&checked.body["emit"], &checked.body["window"]), (&json!("CHANGES"), &json!("TUMBLE 5 minutes")));
    assert_eq!(checked.body["form"]["rules"][0]["eventType"], "orders", "as it was written");
    let sql = checked.body["sql"].as_str().expect("SQL").to_string();
    assert!(sql.starts_with("SELECT user_id, coalesce(sum(value), 0) AS value\nFROM TUMBLE"), "{sql}");
    let back = check(json!({"sql": sql})).await.body;
    assert_eq!((&back["form"]["type"], &back["form"]["windowMinutes"]), (&json!("INDEPENDENT"), &json!(5)));
    assert_eq!((back["form"]["rules"][0]["value"].as_f64(), &back["form"]["rules"][0]["eventType"]), (Some(500.0), &json!("purchase")));
    assert_eq!(
        check(json!({"sql": BIG})).await.body["form"]["rules"],
        json!([{"eventType": "purchase", "attribute": "sum", "operator": "GT", "value": 500.0}])
    );
    assert_eq!(check(json!({"sql": BIG.replace("sum(value) > 500", "max(value) > 500")})).await.body["form"], Value::Null);
    let two = json!({"type": "INDEPENDENT", "rules": [
        {"eventType": "orders", "attribute": "sum", "operator": "gt", "value": "500", "windowMinutes": 5},
        {"eventType": "views", "attribute": "count", "operator": "GT", "value": 1, "windowMinutes": 60}]});
    let two = check(two).await.body;
    assert_eq!((&two["complete"], &two["form"]["rules"][0]["operator"], &two["form"]["rules"][0]["value"]), (&json!(false), &json!("GT"), &json!(500.0)));
    assert_eq!(two["sql"].as_str().map(|s| s.matches("CREATE SEGMENT").count()), Some(3));

    // What is wrong is an answer too, with places of the text as it was sent.
    for (sql, line, column) in [
        ("SELECT user_id,\n  nope FROM events", 2, 3),
        ("\n\n  SELECT user_id\nFROM nope", 4, 6),
        ("CREATE SEGMENT x AS\nSELECT user_id FROM nope", 2, 21),
        ("  SELEC 1", 1, 3),
        ("CREATE SEGMNT x AS SELECT 1", 1, 8),
    ] {
        let wrong = check(json!({"sql": sql})).await;
        assert_eq!((wrong.status, &wrong.body["ok"], &wrong.body["problem"]["status"]), (200, &json!(false), &json!(400)));
        let error = &wrong.body["errors"][0];
        assert_eq!((&error["line"], &error["column"]), (&json!(line), &json!(column)), "{sql:?} {}", wrong.body);
        assert!(!error["message"].as_str().unwrap_or_default().contains("check"), "{}", wrong.body);
    }
    assert_eq!(check(json!({"sql": "CREATE SEGMNT x AS SELECT 1"})).await.body["errors"][0]["hint"], "did you mean SEGMENT?");
    let wrong = check(json!({"type": "INDEPENDENT", "windowMinutes": 5, "rules": [{"eventType": "orders"}]})).await.body;
    assert_eq!(wrong["errors"].as_array().map(Vec::len), Some(3), "{wrong}");
    assert!(wrong["errors"][0]["message"].as_str().is_some_and(|m| m.starts_with("attribute")), "{wrong}");
    let refused = async |body: Value| {
        let answer = check(body).await;
        assert_eq!((answer.status, &answer.body["ok"]), (200, &json!(false)), "{}", answer.body);
        answer.body["problem"].clone()
    };
    assert_eq!(refused(json!({"name": "x", "sqll": ""})).await["status"], 400);
    assert_eq!(refused(json!({"id": "none", "sql": BIG})).await["status"], 404);
    assert_eq!(refused(json!({"name": "check", "sql": BIG})).await["status"], 400, "the name of a path");
    assert_eq!(check(json!([1])).await.status, 400, "no segment at all");

    // Beside others: names, what is shared, and one that is being edited.
    let created = live.post("/segments", high_spenders()).await.body;
    live.post("/segments", json!({"name": "big", "sql": BIG.replace("500", "900")})).await;
    let both = json!({"name": "both", "type": "DERIVED", "windowMinutes": 5, "dependencies": [
        {"independentSegmentId": created["id"], "logicalOperator": "AND"}, {"independentSegmentId": "big", "logicalOperator": "NOT"}]});
    let checked = check(both.clone()).await.body;
    assert_eq!(names(&checked["reads"]), ["High Spenders", "big"]);
    assert!(checked["sql"].as_str().is_some_and(|sql| sql.contains("FROM \"High Spenders\" AS d0")), "names and not ids: {}", checked["sql"]);
    assert_eq!(checked["emit"], "FINAL");
    assert!(checked["warnings"].as_array().is_some_and(|w| !w.is_empty()));
    let again = check(json!({"sql": checked["sql"]})).await.body;
    let fold = |form: &Value| form["dependencies"].as_array().into_iter().flatten().map(|d| d["logicalOperator"].clone()).collect::<Vec<_>>();
    assert_eq!((fold(&again["form"]), &again["form"]["dependencies"][1]["independentSegmentId"]), (vec![json!("AND"), json!("NOT")], &json!("big")));
    assert_eq!(refused(high_spenders()).await["type"], "/problems/name-taken");
    let mut edited = high_spenders();
    (edited["id"], edited["rules"][0]["value"]) = (created["id"].clone(), json!(700));
    let checked = check(edited.clone()).await;
    assert_eq!((checked.status, names(&checked.body["shares"])), (200, vec!["big"]), "{}", checked.body);
    let kinds: Vec<_> = checked.body["graph"]["nodes"].as_array().into_iter().flatten().map(|n| n["kind"].as_str().unwrap_or("?")).collect();
    assert_eq!(kinds, ["scan", "filter", "window", "segment"]);
    assert_eq!(checked.body["graph"]["nodes"][2]["shared"], 2);
    assert_eq!(check(json!({"id": created["id"], "sql": BIG})).await.body["form"]["rules"][0]["operator"], "GT");
    // Renamed, its readers would lose it; with another window, they would not fit.
    live.post("/segments", both).await;
    edited["name"] = json!("Renamed");
    let renamed = refused(edited.clone()).await;
    assert_eq!((&renamed["status"], &renamed["segments"]), (&json!(409), &json!(["both"])), "{renamed}");
    (edited["name"], edited["windowMinutes"]) = (json!("High Spenders"), json!(10));
    let wider = refused(edited).await;
    assert_eq!((&wider["status"], &wider["line"]), (&json!(400), &Value::Null), "{wider}");
    assert!(wider["detail"].as_str().is_some_and(|d| d.starts_with("\"both\": all dependencies must have windowMinutes 5")), "{wider}");
    // One that does not run is checked as if it did.
    live.call(Method::PATCH, "/segments/both/status", json!({"active": false})).await;
    let paused = live.get("/segments/both").await.body;
    assert_eq!(check(paused).await.body["emit"], "FINAL");
    assert_eq!(live.get("/segments").await.body["total"], 3, "nothing was created");
    // A preview needs no name either, and time goes forward.
    assert_eq!(live.post("/segments/preview", json!({"sql": BIG})).await.status, 200);
    let backwards = live.post("/segments/preview", json!({"sql": BIG, "from": 2, "to": 1})).await;
    assert!((backwards.status, backwards.body["detail"].as_str()) == (400, Some("from (2) is after to (1)")), "{}", backwards.body);
}

#[tokio::test]
async fn dead_letters_are_counted_paged_and_explained() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1", "time.out_of_orderness=1s"]);
    live.post("/segments", high_spenders()).await;
    live.settled().await;
    let at = now();
    let wrong = [
        (json!({"eventType": "x", "timestamp": at}), "userId is missing"),
        (json!({"userId": null, "eventType": "x", "timestamp": at}), "userId is null"),
        (json!({"userId": 7, "eventType": "x", "timestamp": at}), "userId is the number 7, and must be a text"),
        (json!({"userId": "u".repeat(300), "eventType": "x", "timestamp": at}), "userId has 300 bytes, and at most 256 are accepted"),
        (json!({"userId": "u", "eventType": "", "timestamp": at}), "eventType is empty"),
        (json!({"userId": "u", "eventType": "x", "timestamp": "now"}), "timestamp is the text \"now\", and must be whole milliseconds since the epoch"),
        (json!({"userId": "u", "eventType": "x", "timestamp": 1.5}), "timestamp is 1.5, and must be whole milliseconds since the epoch"),
        (json!({"userId": "u", "eventType": "x", "timestamp": at + 7_200_500}), "timestamp is 7200 s ahead of the clock; is it in milliseconds?"),
        (json!({"userId": "u", "eventType": "x", "timestamp": at, "value": "9"}), "value is the text \"9\", and must be a finite number"),
        (json!({"userId": "u", "eventType": "x", "timestamp": at, "metadata": [1]}), "metadata is the list [1], and must be an object"),
        (json!("a text"), "it is the text \"a text\", and must be an object"),
    ];
    for (event, _) in &wrong {
        assert_eq!(live.post("/events", json!([event])).await.body["rejected"].as_array().map(Vec::len), Some(1), "{event}");
    }
    let letters = live.get("/events/dead-letters").await.body;
    let errors: Vec<_> = letters.as_array().into_iter().flatten().rev().map(|l| l["error"].as_str().unwrap_or("?")).collect();
    let near = |found: &str, expected: &str| found == expected || (expected.contains("7200 s") && found.contains("s ahead of the clock"));
    assert_eq!(errors.len(), wrong.len());
    errors.iter().zip(&wrong).for_each(|(found, (_, expected))| assert!(near(found, expected), "{found:?} and not {expected:?}"));
    assert!(letters.as_array().into_iter().flatten().all(|l| l.get("offset").is_none() && l["topic"] == "http"), "{letters}");

    let request = live.request(Method::POST, "/events?topic=install_events").header("content-type", "application/x-ndjson");
    live.send(request.body("{\"userId\":\n{oops}\n")).await;
    live.post("/events", json!([purchase("u1", at, 1.0), purchase("u1", at - 3 * FIVE_MINUTES, 1.0)])).await;
    live.until("late", Duration::from_secs(5), async || live.get("/status").await.body["deadLetters"]["late"] == 1).await;
    let late = async || live.get("/events/dead-letters?reason=late").await.body;
    live.until("kept", Duration::from_secs(5), async || late().await[0]["offset"].is_i64()).await;
    assert!(late().await[0]["error"].as_str().is_some_and(|e| e.contains("window")));
    let broken = live.get("/events/dead-letters?reason=not_json").await.body;
    assert!(broken[1]["error"].as_str().is_some_and(|e| e.starts_with("it is not JSON: EOF")), "{broken}");

    let reasons = live.get("/events/dead-letters/reasons").await.body;
    let count = |reason: &str, topic: &str| {
        let found = reasons.as_array().into_iter().flatten().find(|r| r["reason"] == reason && r["topic"] == topic);
        found.map_or((0, 0), |r| (r["count"].as_u64().unwrap_or(0), r["newest"].as_i64().unwrap_or(0)))
    };
    assert_eq!((count("missing_user_id", "http").0, count("not_json", "install_events").0, count("late", "order_events").0), (2, 2, 1), "{reasons}");
    assert!((now() - count("late", "order_events").1).abs() < 30_000);
    assert_eq!(reasons.as_array().into_iter().flatten().filter_map(|r| r["count"].as_u64()).sum::<u64>(), 14);

    let (mut before, mut ids) = (String::new(), vec![]);
    loop {
        let page = live.get(&format!("/events/dead-letters?limit=4{before}")).await.body;
        let found: Vec<u64> = page.as_array().into_iter().flatten().filter_map(|l| l["id"].as_u64()).collect();
        let Some(last) = found.last() else { break };
        before = format!("&before={last}");
        ids.extend(found);
    }
    assert!(ids.is_sorted_by(|a, b| a > b));
    assert_eq!(ids.len(), 14, "each once: {ids:?}");
    assert_eq!(live.get("/events/dead-letters?limit=0").await.status, 400);
}

#[tokio::test]
async fn generated_events_are_what_is_asked_for() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    let before = now();
    let generated = live.post("/events/generate", json!({"topic": "order_events", "count": 250, "userPrefix": "shopper_", "seed": 200})).await;
    assert_eq!((generated.status, &generated.body["accepted"]), (200, &json!(250)), "{}", generated.body);
    let users: Vec<_> = generated.body["events"].as_array().into_iter().flatten().map(|e| e["userId"].as_str().unwrap_or("?")).collect();
    assert_eq!(users, ["shopper_0", "shopper_1", "shopper_2", "shopper_3", "shopper_4"], "they take turns");
    live.settled().await;
    let rows = live.select("SELECT count(DISTINCT user_id) AS users, min(value) AS least, max(value) AS most, count(*) AS n FROM order_events").await;
    assert_eq!((&rows[0]["users"], &rows[0]["n"]), (&json!(100), &json!(250)));
    assert!(rows[0]["least"].as_f64() >= Some(10.0) && rows[0]["most"].as_f64() <= Some(510.0), "{rows:?}");
    let times = live.get("/users/shopper_0/events").await.body;
    let times: Vec<i64> = times.as_array().into_iter().flatten().filter_map(|e| e["timestamp"].as_i64()).collect();
    // Events 0, 100 and 200 of 250 over five minutes, newest first.
    assert_eq!((times.len(), times.first().zip(times.last()).map(|(a, b)| a - b)), (3, Some(240_000)), "{times:?}");
    assert!(times.iter().all(|t| (before - FIVE_MINUTES - 1_000..=now()).contains(t)));

    let few = live.post("/events/generate", json!({"count": 10, "users": 1, "spanSeconds": 0, "userPrefix": "only_"})).await.body;
    assert!(few["events"].as_array().is_some_and(|e| e.iter().all(|e| e["userId"] == "only_0" && e["timestamp"] == few["events"][0]["timestamp"])), "{few}");
    for bad in [json!({"count": 0}), json!({"count": 1, "users": 0}), json!({"count": 1, "spanSeconds": 301}), json!({"count": 1, "spanSeconds": -1})] {
        assert_eq!(live.post("/events/generate", bad.clone()).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn users_and_members_are_found() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=2", "time.out_of_orderness=1s"]);
    live.post("/segments", high_spenders()).await;
    live.post("/segments", json!({"name": "any", "sql": BIG.replace("> 500", "> 0")})).await;
    live.settled().await;
    let start = now() - now() % FIVE_MINUTES;
    let odd = ["an,na", "an\"na", "anton", "berta"];
    let mut events: Vec<Value> = odd.iter().map(|u| purchase(u, start + 1_000, 600.0)).collect();
    events.push(purchase("cäsar", start + 1_000, 1.0));
    live.post("/events", json!(events)).await;
    live.until("members", Duration::from_secs(5), async || live.get("/segments/any/stats").await.body["size"] == 5).await;

    let users = live.get("/users?q=an").await.body;
    assert_eq!(users, json!([{"userId": "an\"na", "segments": 2}, {"userId": "an,na", "segments": 2}, {"userId": "anton", "segments": 2}]));
    assert_eq!(live.get("/users?q=c%C3%A4").await.body, json!([{"userId": "cäsar", "segments": 1}]));
    assert_eq!((live.get("/users").await.body.as_array().map(Vec::len), live.get("/users?limit=2").await.body.as_array().map(Vec::len)), (Some(5), Some(2)));
    assert_eq!((live.get("/users?limit=0").await.status, live.get("/users?q=nobody").await.body), (400, json!([])));
    assert_eq!(live.get("/users//segments").await.status, 404);
    assert_eq!(live.get("/segments//members").await.status, 404);

    let members = async |query: &str| {
        let body = live.get(&format!("/segments/any/members?{query}")).await.body;
        let users: Vec<String> = body["items"].as_array().into_iter().flatten().filter_map(|s| s["userId"].as_str().map(String::from)).collect();
        (users, body["cursor"].as_str().map(String::from))
    };
    assert_eq!(members("q=an&limit=2").await, (vec!["an\"na".into(), "an,na".into()], Some("an,na".into())));
    assert_eq!(members("q=an&limit=2&cursor=an,na").await, (vec!["anton".into()], None));
    assert_eq!(members("q=an&cursor=a").await.0.len(), 3);
    assert_eq!(members("q=an&cursor=b").await.0.len(), 0);
    assert_eq!(members("limit=0").await, (vec![], None));

    let csv = live.send(live.request(Method::GET, "/segments/High%20Spenders/members").header("accept", "text/csv")).await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(csv.headers["content-disposition"], "attachment; filename=\"High_Spenders.csv\"");
    let lines: Vec<&str> = csv.body.as_str().expect("text").split("\r\n").collect();
    assert_eq!((lines[0], lines.len()), ("userId,value,since,windowStart,windowEnd,expiresAt", 6), "{lines:?}");
    assert!(lines[1].starts_with(&format!("\"an\"\"na\",600,{},{start},", start + 1_000)), "{lines:?}");
    assert!(lines[2].starts_with("\"an,na\",600,") && lines[5].is_empty(), "{lines:?}");
    let some = live.get("/segments/any/members?format=csv&q=b").await.body;
    assert_eq!(some.as_str().map(|t| t.lines().count()), Some(2));
    assert_eq!(live.get("/segments/any/members?format=xml").await.status, 400);

    // What they did, and what became of it: the window closes, and the next, without purchases.
    live.post("/events", json!([purchase("x", start + 300_000 + 1_500, 1.0), purchase("y", start + 300_000 + 1_500, 1.0)])).await;
    let event = live.get("/users/anton/events?limit=5").await.body;
    assert_eq!(event, json!([{"userId": "anton", "eventType": "purchase", "timestamp": start + 1_000, "value": 600.0, "topic": "order_events"}]));
    assert_eq!(live.get("/users/nobody/events").await.body, json!([]));
    let timeline = async |user: &str| live.get(&format!("/users/{user}/timeline")).await.body;
    let both = timeline("anton").await;
    assert!(both.as_array().is_some_and(|r| r.len() == 2 && r.iter().all(|r| r["event"] == "entered" && r["userId"] == "anton")), "{both}");
    live.call(Method::DELETE, "/segments/any", json!({})).await;
    live.until("exit", Duration::from_secs(5), async || timeline("anton").await[0]["event"] == "exited").await;
    assert_eq!((timeline("anton").await[0]["segmentId"].as_str(), timeline("nobody").await), (Some("any"), json!([])));
}

/// A user enters a segment once, however many of its windows they qualify in, and whether it tells early or at the close.
#[tokio::test]
async fn only_changes_of_membership_are_told_as_such() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1", "time.out_of_orderness=0s"]);
    let hop = "SELECT user_id, count(*) AS value FROM HOP(events, event_time, INTERVAL '1 second', INTERVAL '5 seconds') \
               GROUP BY user_id, window_start, window_end HAVING count(*) >= 2";
    let few = hop
        .replace("HOP(events, event_time, INTERVAL '1 second', INTERVAL '5 seconds')", "TUMBLE(events, event_time, INTERVAL '5 seconds')")
        .replace(">= 2", "<= 3");
    live.post("/segments", json!({"name": "hop", "sql": hop})).await;
    live.post("/segments", json!({"name": "few", "sql": few})).await;
    live.settled().await;
    let start = now() - now() % 5_000 - 60_000;
    let told = async |segment: &str| {
        let body = live.get(&format!("/results?user=u&segment={segment}&limit=1000")).await.body;
        let mut events: Vec<String> = body.as_array().into_iter().flatten().filter_map(|r| r["event"].as_str().map(String::from)).collect();
        events.reverse();
        events
    };
    let moves = async |segment: &str| told(segment).await.into_iter().filter(|e| e != "result").collect::<Vec<_>>();
    live.post("/events", json!([purchase("u", start, 1.0), purchase("u", start, 1.0)])).await;
    live.until("entered", Duration::from_secs(5), async || !told("hop").await.is_empty()).await;
    live.post("/events", json!([purchase("u", start + 1_000, 1.0)])).await;
    live.settled().await;
    assert!(told("hop").await.len() > 5, "results of several windows: {:?}", told("hop").await);
    assert_eq!((moves("hop").await, moves("few").await), (vec!["entered".to_string()], vec![]));
    // Another user's events let time pass: the windows close, and then the ones after them.
    live.post("/events", json!([purchase("v", start + 5_500, 1.0)])).await;
    live.until("the window has closed", Duration::from_secs(5), async || moves("few").await == ["entered"]).await;
    live.post("/events", json!([purchase("v", start + 20_000, 1.0)])).await;
    live.until("both left", Duration::from_secs(5), async || moves("hop").await == ["entered", "exited"] && moves("few").await == ["entered", "exited"]).await;
}

/// More members than are read at a time.
#[tokio::test]
async fn all_members_are_exported() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    live.post("/segments", json!({"name": "any", "sql": BIG.replace("> 500", "> 0")})).await;
    live.settled().await;
    let at = now();
    live.post("/events", json!((0..2_500).map(|u| purchase(&format!("u{u:05}"), at, 1.0)).collect::<Vec<_>>())).await;
    live.until("members", Duration::from_secs(10), async || live.get("/segments/any/stats").await.body["size"] == 2_500).await;
    let csv = live.get("/segments/any/members?format=csv").await.body;
    let users: Vec<&str> = csv.as_str().expect("text").lines().skip(1).filter_map(|l| l.split(',').next()).collect();
    assert_eq!((users.len(), users.first(), users.last()), (2_500, Some(&"u00000"), Some(&"u02499")));
    assert!(users.is_sorted_by(|a, b| a < b));
}

#[tokio::test]
async fn results_are_listed_and_followed_by_what_they_say() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    live.post("/segments", high_spenders()).await;
    live.post("/segments", json!({"name": "any", "sql": BIG.replace("> 500", "> 0")})).await;
    live.settled().await;
    let mut stream = live.request(Method::GET, "/results/stream?event=exited").send().await.expect("a stream");
    let at = now();
    live.post("/events", json!([purchase("u1", at, 600.0), purchase("u2", at, 1.0)])).await;
    live.until("members", Duration::from_secs(5), async || live.get("/results").await.body.as_array().is_some_and(|r| r.len() == 3)).await;
    let users = async |query: &str| {
        let body = live.get(&format!("/results?{query}")).await.body;
        let mut users: Vec<String> = body.as_array().into_iter().flatten().map(|r| format!("{} {}", r["userId"], r["segmentId"]).replace('"', "")).collect();
        users.sort();
        users
    };
    assert_eq!(users("segment=High%20Spenders").await, ["u1 High Spenders"]);
    assert_eq!(users("user=u1").await, ["u1 High Spenders", "u1 any"]);
    assert_eq!((users("event=exited,result").await, users("event=entered&limit=2").await.len()), (vec![], 2));
    live.call(Method::DELETE, "/segments/any", json!({})).await;
    live.until("exits", Duration::from_secs(5), async || users("event=exited").await == ["u1 any", "u2 any"]).await;
    assert_eq!(live.get("/results?event=exited").await.body[0]["event"], "exited", "newest first");
    for (path, status) in [("/results?event=gone", 400), ("/results/stream?event=entered,", 400), ("/results?limit=0", 400), ("/results?segment=none", 404)] {
        assert_eq!(live.get(path).await.status, status, "{path}");
    }
    let mut said = String::new();
    while said.matches("event: exited").count() < 2 {
        let chunk = tokio::time::timeout(Duration::from_secs(5), stream.chunk()).await.expect("in time").expect("a chunk");
        said += &String::from_utf8_lossy(&chunk.expect("more"));
    }
    assert!(!said.contains("event: entered"), "{said}");
}

#[tokio::test]
async fn plans_say_what_is_shared_and_what_it_did() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    live.post("/segments", high_spenders()).await;
    live.post("/segments", json!({"name": "any", "sql": BIG.replace("> 500", "> 0")})).await;
    let over = "SELECT user_id, value FROM \"High Spenders\"";
    live.post("/segments", json!({"name": "over", "sql": over})).await;
    live.settled().await;
    let at = now();
    live.post("/events", json!([purchase("u1", at, 600.0), purchase("u2", at, 1.0)])).await;
    live.until("members", Duration::from_secs(5), async || live.get("/segments/any/stats").await.body["size"] == 2).await;
    let plan = live.get("/explain?format=json").await.body;
    let nodes = plan["graph"]["nodes"].as_array().cloned().unwrap_or_default();
    let node = |label: &str| nodes.iter().find(|n| n["label"].as_str().is_some_and(|l| l.contains(label))).cloned().unwrap_or_default();
    let window = node("Aggregate");
    assert_eq!((&window["kind"], &window["shared"], names(&window["segments"])), (&json!("window"), &json!(3), vec!["High Spenders", "any", "over"]), "{plan}");
    assert_eq!(window["measured"]["rows"], 2);
    let spenders = node("Segment: High Spenders");
    assert_eq!((&spenders["shared"], names(&spenders["segments"])), (&json!(2), vec!["High Spenders", "over"]));
    assert_eq!((&spenders["measured"]["members"], &node("Segment: any")["measured"]), (&json!(1), &json!({"rows": 2, "nanos": 0, "members": 2})));
    assert_eq!(node("Scan")["shared"], 3);
    let one = live.get("/explain?format=json&segment=over").await.body;
    assert_eq!(one["graph"]["nodes"].as_array().map(Vec::len), Some(5), "{one}");
    // Through SQL too, where a result is rows or a plan.
    let explained = live.sql("EXPLAIN SEGMENT over").await.body;
    assert!(explained["results"][0]["result"]["plan"].as_str().is_some_and(|p| p.contains("members=1")), "{explained}");
}

#[tokio::test]
async fn every_metric_says_what_it_is() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    live.post("/segments", high_spenders()).await;
    live.settled().await;
    live.post("/events", json!([purchase("u1", now(), 600.0), purchase("u1", 1, 1.0), {}])).await;
    live.until("members", Duration::from_secs(5), async || !live.segments_of("u1").await.is_empty()).await;
    let text = live.get("/metrics").await.body;
    let lines = |kind: &str| {
        let named = text.as_str().into_iter().flat_map(str::lines).filter_map(|l| l.strip_prefix(kind)).filter_map(|l| l.split(' ').nth(1));
        named.map(String::from).collect::<BTreeSet<_>>()
    };
    let (types, helps) = (lines("# TYPE"), lines("# HELP"));
    assert!(types.len() > 20, "{types:?}");
    assert_eq!(types.difference(&helps).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// A text that looks like a number, as a password may.
#[test]
fn texts_of_digits_are_texts() {
    let shown = |set: &[&str], env: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cohort"));
        let output = command.arg("config").args(set.iter().flat_map(|s| ["--set", s])).envs(env.iter().copied()).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    for (set, env) in [(&["sink.aerospike.set=007"][..], &[][..]), (&[], &[("COHORT_SINK__AEROSPIKE__SET", "007")]), (&["sink.aerospike.set=\"007\""], &[])] {
        let (status, said) = shown(set, env);
        assert!(status == Some(0) && said.contains("set = \"007\""), "{said}");
    }
    let (status, said) = shown(&["time.out_of_orderness=5"], &[]);
    assert!(status == Some(2) && said.contains("time.out_of_orderness on the command line: \"5\" is not a length of time"), "{said}");
}

#[test]
fn a_wrong_table_is_named() {
    let data = tempfile::tempdir().expect("a folder");
    let file = data.path().join("cohort.toml");
    for (text, says) in [
        ("server = 3", "server in FILE: found signed int `3`, expected a table"),
        ("[source]\nkafka = \"x\"", "source.kafka in FILE: found string \"x\", expected a table"),
        ("source.kafka.properties = 3", "source.kafka.properties in FILE: found signed int `3`, expected a table"),
    ] {
        std::fs::write(&file, text).expect("a file");
        // What comes later must not hide it.
        let set = ["--set", "server.listen=127.0.0.1:0", "--set", "source.kafka.group_id=x"];
        let shown = Command::new(env!("CARGO_BIN_EXE_cohort")).args(["config", "--config"]).arg(&file).args(set).output().expect("it runs");
        let said = String::from_utf8_lossy(&shown.stderr).replace(&file.display().to_string(), "FILE");
        assert_eq!((shown.status.code(), said.trim()), (Some(2), says));
    }
    let shown = Command::new(env!("CARGO_BIN_EXE_cohort")).args(["config", "--set", "sink=3", "--set", "sink.ttl=1h"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&shown.stderr).starts_with("sink on the command line: found unsigned int `3`"), "{shown:?}");
}
