//! The service as its users meet it: the binary, over HTTP.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A service that runs.
pub struct Live {
    process: Child,
    pub base: String,
    pub client: reqwest::Client,
    token: Option<String>,
    said: Arc<Mutex<String>>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Live {
    /// Starts the service on a folder.
    pub fn start(data: &Path, set: &[&str]) -> Live {
        Live::start_with(data, set, &[]).unwrap_or_else(|said| panic!("the service does not start: {said}"))
    }

    /// Starts the service with variables of the environment; an error is what it said.
    pub fn start_with(data: &Path, set: &[&str], env: &[(&str, &str)]) -> Result<Live, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cohort"));
        command.args(["serve", "--set", "server.listen=127.0.0.1:0", "--set"]).arg(format!("data={}", data.display()));
        set.iter().for_each(|s| {
            command.args(["--set", s]);
        });
        let mut process = command.envs(env.iter().copied()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut said = BufReader::new(process.stderr.take().expect("its stderr"));
        let (mut all, mut line) = (String::new(), String::new());
        while said.read_line(&mut line).is_ok_and(|n| n > 0) {
            if let Some(rest) = line.strip_prefix("cohort listens on ") {
                let base = rest.split(' ').next().unwrap_or_default().to_string();
                let later = Arc::new(Mutex::new(all));
                keep(said, Arc::clone(&later));
                let _ = rustls::crypto::ring::default_provider().install_default();
                let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().expect("a client");
                return Ok(Live { process, base, client, token: None, said: later });
            }
            all += &line;
            line.clear();
        }
        let _ = process.wait();
        Err(all)
    }

    pub fn with_token(mut self, token: &str) -> Live {
        self.token = Some(token.to_string());
        self
    }

    /// Ends the process at once.
    pub fn kill(mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Tells the process to stop and waits for it; how it ended and how long that took.
    pub fn terminate(&mut self) -> (std::process::ExitStatus, Duration) {
        let started = Instant::now();
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        (self.process.wait().expect("the process ends"), started.elapsed())
    }

    /// What it said so far on its standard error.
    pub fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let path = if path.starts_with("/healthz") || path.starts_with("/readyz") || path.starts_with("/metrics") || path.starts_with("/docs") {
            path.to_string()
        } else {
            format!("/api/v1{path}")
        };
        self.page(method, &path)
    }

    /// A request beside the API.
    pub fn page(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.expect("an answer")
    }

    pub async fn try_send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        if status >= 400 {
            let kind = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
            assert_eq!(kind, "application/problem+json", "{status}: {text}");
        }
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, headers, body })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        self.send(self.request(method, path).json(&body)).await
    }

    /// Rows of a SELECT.
    pub async fn select(&self, sql: &str) -> Vec<Value> {
        let answer = self.post("/sql", json!({ "sql": sql })).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["results"][0]["result"]["rows"].as_array().cloned().unwrap_or_default()
    }

    /// Creates a segment by SQL.
    pub async fn sql(&self, sql: &str) -> Answer {
        self.post("/sql", json!({ "sql": sql })).await
    }

    /// Names of the segments that a user is in.
    pub async fn segments_of(&self, user: &str) -> Vec<String> {
        let answer = self.get(&format!("/users/{user}/segments")).await;
        let segments = answer.body["segments"].as_array().cloned().unwrap_or_default();
        segments.iter().filter_map(|s| s["segment"].as_str().map(String::from)).collect()
    }

    /// Waits until something holds.
    pub async fn until(&self, what: &str, limit: Duration, holds: impl AsyncFn() -> bool) {
        let start = Instant::now();
        while !holds().await {
            assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until all events are read and all results written.
    pub async fn settled(&self) {
        self.until("everything read", Duration::from_secs(30), async || {
            let status = self.get("/status").await.body;
            let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
            !partitions.is_empty() && partitions.iter().all(|p| p["lag"] == 0 && p["revision"] == status["revision"]) && status["sink"]["queue"] == 0
        })
        .await;
        // Results that were being written when the status was told.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Keeps what a process says; its pipe must not fill.
fn keep(from: impl BufRead + Send + 'static, to: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in from.lines().map_while(Result::ok) {
            let mut said = to.lock().expect("no panic");
            *said += &line;
            said.push('\n');
        }
    });
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|d| d.as_millis() as i64).unwrap_or(0)
}

pub fn purchase(user: &str, at: i64, value: f64) -> Value {
    json!({"userId": user, "eventType": "purchase", "timestamp": at, "value": value})
}

pub fn high_spenders() -> Value {
    json!({"name": "High Spenders", "type": "INDEPENDENT", "windowMinutes": 5,
           "rules": [{"eventType": "orders", "attribute": "sum", "operator": "GT", "value": 500}]})
}

pub const BIG: &str = "SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE event_type = 'purchase' \
                   GROUP BY user_id, window_start, window_end HAVING sum(value) > 500";

/// The example of the README, step by step.
#[tokio::test]
async fn a_new_users_first_segment() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1", "time.out_of_orderness=1s"]);
    let created = live.post("/segments", high_spenders()).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(created.body["emit"], "CHANGES");
    assert!(created.headers["location"].to_str().is_ok_and(|l| l.ends_with(created.body["id"].as_str().unwrap_or("?"))));
    assert_eq!(live.post("/segments", json!({"name": "Big by SQL", "sql": BIG})).await.status, 201);
    let derived = json!({"name": "Both", "type": "DERIVED", "windowMinutes": 5, "dependencies": [
        {"independentSegmentId": created.body["id"], "logicalOperator": "AND"}, {"independentSegmentId": "Big by SQL", "logicalOperator": "AND"}]});
    let derived = live.post("/segments", derived).await;
    assert_eq!(derived.status, 201, "{}", derived.body);
    live.settled().await;

    let mut stream = live.request(Method::GET, "/results/stream?user=u1").send().await.expect("a stream");
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let start = now() - now() % 300_000;
    let accepted = live.post("/events", json!([purchase("u1", start + 1_000, 300.0), purchase("u1", start + 2_000, 300.5)])).await;
    assert_eq!(accepted.body, json!({"accepted": 2, "rejected": []}));
    live.until("membership", Duration::from_secs(2), async || live.segments_of("u1").await.len() == 3).await;
    assert_eq!(live.segments_of("u1").await, ["Big by SQL", "Both", "High Spenders"]);
    let rows = live.select("SELECT segment, value FROM memberships WHERE user_id = 'u1' AND segment = 'High Spenders'").await;
    assert_eq!(rows, [json!({"segment": "High Spenders", "value": 600.5})]);
    let why = live.get("/users/u1/segments/High%20Spenders/why").await.body;
    assert_eq!(why["member"], true);
    assert_eq!(why["windows"][0]["aggregates"][0]["value"], 600.5);
    assert_eq!(why["windows"][0]["threshold"], 500.0);
    assert_eq!(why["events"].as_array().map(Vec::len), Some(2));
    let why = live.get("/users/u2/segments/High%20Spenders/why").await.body;
    assert_eq!(why["member"], false);

    // The window closes, and the one after it, without purchases of u1: another user's events let time pass.
    live.post("/events", json!([purchase("u2", start + 301_500, 10.0)])).await;
    live.settled().await;
    assert_eq!(live.segments_of("u1").await.len(), 3, "a member stays until the next window closes");
    live.post("/events", json!([purchase("u2", start + 601_500, 10.0)])).await;
    live.until("exit", Duration::from_secs(2), async || live.segments_of("u1").await.is_empty()).await;
    let mut events = String::new();
    while !events.contains("event: exited") || !events.contains("\"segmentId\":\"Both\"") {
        let chunk = tokio::time::timeout(Duration::from_secs(5), stream.chunk()).await.expect("in time").expect("a chunk");
        events += &String::from_utf8_lossy(&chunk.expect("more"));
    }
    assert!(events.contains("event: entered"));
    assert!(!events.contains("u2"));
}

#[tokio::test]
async fn segments_come_change_and_go() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=2"]);
    let created = live.post("/segments", high_spenders()).await;
    let id = created.body["id"].as_str().expect("an id").to_string();
    for name in [id.as_str(), "High%20Spenders"] {
        assert_eq!(live.get(&format!("/segments/{name}")).await.body["id"], id.as_str());
    }
    assert_eq!(live.post("/segments", high_spenders()).await.status, 409);
    assert_eq!(live.post("/segments", json!({"name": "Second", "sql": BIG, "description": "by hand"})).await.status, 201);
    let both = "CREATE SEGMENT third AS SELECT a.user_id FROM \"High Spenders\" a JOIN \"Second\" b USING (user_id)";
    assert_eq!(live.post("/segments", json!({"sql": both})).await.status, 201);

    let list = live.get("/segments?size=2&page=0").await.body;
    assert_eq!((list["total"].clone(), list["items"].as_array().map(Vec::len)), (json!(3), Some(2)));
    assert_eq!(live.get("/segments?q=HAND").await.body["items"][0]["name"], "Second");
    assert_eq!(live.get("/segments?type=SQL").await.body["total"], 2);
    assert_eq!(live.get("/segments?active=false").await.body["total"], 0);

    let refused = live.call(Method::DELETE, &format!("/segments/{id}"), json!({})).await;
    assert_eq!((refused.status, &refused.body["segments"]), (409, &json!(["third"])));
    assert_eq!(live.call(Method::PATCH, &format!("/segments/{id}/status"), json!({"active": false})).await.status, 409);

    // Two purchases of 300 make a member; replaced by a higher threshold, they do not.
    let at = now();
    live.post("/events", json!([purchase("u1", at, 300.0), purchase("u1", at, 300.0)])).await;
    live.until("membership", Duration::from_secs(2), async || live.segments_of("u1").await.len() == 3).await;
    let mut higher = high_spenders();
    higher["rules"][0]["value"] = json!(5000);
    let stale = live.send(live.request(Method::PUT, &format!("/segments/{id}")).header("if-match", "\"7\"").json(&higher)).await;
    assert_eq!(stale.status, 412);
    let replaced = live.send(live.request(Method::PUT, &format!("/segments/{id}")).header("if-match", "\"1\"").json(&higher)).await;
    assert_eq!((replaced.status, &replaced.body["version"]), (200, &json!(2)));
    live.until("exit by replacing", Duration::from_secs(2), async || live.segments_of("u1").await == ["Second"]).await;

    assert_eq!(live.call(Method::DELETE, "/segments/third", json!({})).await.status, 204);
    assert_eq!(live.call(Method::PATCH, "/segments/Second/status", json!({"active": false})).await.body["active"], false);
    live.until("a paused segment has no members", Duration::from_secs(2), async || live.segments_of("u1").await.is_empty()).await;
    let resumed = live.sql("ALTER SEGMENT \"Second\" RESUME").await;
    assert_eq!(resumed.body["results"][0]["outcome"], "resumed", "{}", resumed.body);
    let versions = live.get(&format!("/segments/{id}/versions")).await.body;
    let actions: Vec<_> = versions.as_array().into_iter().flatten().map(|v| v["action"].clone()).collect();
    assert_eq!(actions, ["replace", "create"]);
    assert_eq!(versions[0]["by"], "local");
    assert_eq!(live.get("/audit?limit=1").await.body[0]["action"], "resume");

    let rules = live.get("/segments/rules").await;
    assert_eq!(rules.body[0]["threshold"], 5000);
    let tag = rules.headers["etag"].to_str().expect("a tag").to_string();
    assert_eq!(live.send(live.request(Method::GET, "/segments/rules").header("if-none-match", &tag)).await.status, 304);
    assert_eq!(live.get("/segments/rules/eventType/orders").await.body.as_array().map(Vec::len), Some(1));
    assert_eq!(live.get("/segments/rules/eventType/clicks").await.body, json!([]));
}

#[tokio::test]
async fn errors_say_what_and_where() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    let unknown = live.post("/segments", json!({"name": "x", "sql": "SELECT user_id\nFROM nope"})).await;
    assert_eq!((unknown.status, &unknown.body["line"], &unknown.body["column"]), (400, &json!(2), &json!(6)), "{}", unknown.body);
    assert!(unknown.body["hint"].as_str().is_some_and(|h| h.contains("order_events")));
    let second = live.sql("SHOW SEGMENTS;\n  SELEC 1").await;
    assert_eq!((second.status, &second.body["line"], &second.body["column"]), (400, &json!(2), &json!(3)), "{}", second.body);
    let explained = live.post("/explain", json!({"sql": "SELECT user_id, nope FROM events GROUP BY user_id"})).await;
    assert_eq!((explained.status, &explained.body["line"], &explained.body["column"]), (400, &json!(1), &json!(17)), "{}", explained.body);
    let cases = [
        (live.post("/segments", json!({"name": "x", "type": "INDEPENDENT", "rules": []})).await, 400, "at least one rule"),
        (live.post("/segments", json!({"name": "x", "windowMinute": 5})).await, 400, "no field \"windowMinute\""),
        (live.post("/segments", json!(["x"])).await, 400, "object"),
        (live.post("/segments", json!({"name": "x", "type": "DERIVED", "logicalExpression": {}})).await, 400, "logicalExpression must be a text"),
        (live.post("/segments", json!({"name": "x", "type": "INDEPENDENT", "rules": {}})).await, 400, "rules must be a list"),
        (live.post("/segments", json!({"name": "x", "sql": BIG.replace("TUMBLE(events, event_time, INTERVAL '5 minutes')", "HOP(events, event_time, INTERVAL '1 second', INTERVAL '30 days')")})).await, 400, "2592000 windows"),
        (live.post("/segments", json!({"sql": "DROP SEGMENT x"})).await, 400, "needs a name"),
        (live.get("/segments/none").await, 404, "none"),
        (live.get("/segments?page=-1").await, 400, "page"),
        (live.call(Method::PUT, "/segments/none", json!({"sql": BIG})).await, 404, "none"),
        (live.call(Method::DELETE, "/segments/none", json!({})).await, 404, "none"),
        (live.call(Method::PATCH, "/segments/none/status", json!({"active": 3})).await, 400, "boolean"),
        (live.get("/nothing").await, 404, "nothing"),
        (live.call(Method::PUT, "/status", json!({})).await, 405, "PUT"),
        (live.post("/events", json!([])).await, 400, "no events"),
        (live.post("/events?topic=nope", json!({})).await, 400, "nope"),
        (live.post("/events/generate", json!({"count": 1001})).await, 400, "1 to 1000"),
        (live.post("/sql", json!({"sql": "  "})).await, 400, "no statement"),
        (live.post("/sql", json!({"sql": "SELECT * FROM '/etc/passwd'"})).await, 400, "not found"),
        (live.post("/sql", json!({"sql": "SET a = 1"})).await, 400, "SET"),
        (live.post("/sql", json!({"sql": "SELECT nope FROM memberships"})).await, 400, "nope"),
        (live.post("/sql", json!({"sql": "SELECT length(repeat('a', 1500000000))"})).await, 400, "repeat"),
        (live.post("/sql", json!({"sql": "SELECT a.user_id, b.user_id FROM events a, events b"})).await, 400, "two columns are named user_id"),
        (live.get("/users/u/segments/none/why").await, 404, "none"),
        (live.get("/results/stream?segment=none").await, 404, "none"),
        (live.get("/explain?segment=none").await, 404, "none"),
        (live.get("/explain?format=none").await, 400, "none"),
    ];
    for (answer, status, detail) in cases {
        assert_eq!(answer.status, status, "{}", answer.body);
        let text = answer.body["detail"].as_str().unwrap_or_default();
        assert!(text.contains(detail), "{text:?} does not say {detail:?}");
        assert!(answer.headers.contains_key("x-request-id"));
    }
    let broken = live.send(live.request(Method::POST, "/segments").header("content-type", "application/json").body("{\"name\":\n oops}")).await;
    assert_eq!((broken.status, &broken.body["line"], &broken.body["column"]), (400, &json!(2), &json!(2)));
    let form = live.send(live.request(Method::POST, "/sql").header("content-type", "text/plain").body("{}")).await;
    assert_eq!(form.status, 415);
    let large = vec![b' '; (1 << 20) + 1];
    let large = live.send(live.request(Method::POST, "/sql").header("content-type", "application/json").body(large)).await;
    assert_eq!(large.status, 413);
    assert_eq!(live.get("/segments").await.body["total"], 0, "what does not compile changes nothing");
}

#[tokio::test]
async fn events_come_in_every_form() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=2"]);
    let at = now();
    assert_eq!(live.post("/events", purchase("one", at, 1.0)).await.body["accepted"], 1);
    let lines = format!("{}\n{{\"userId\":\n\n{}\n", purchase("a", at, 1.0), json!({"userId": "", "eventType": "x", "timestamp": at}));
    let answer = live.send(live.request(Method::POST, "/events?topic=install_events").header("content-type", "application/x-ndjson").body(lines)).await;
    assert_eq!(answer.body, json!({"accepted": 1, "rejected": [{"index": 1, "reason": "not_json"}, {"index": 2, "reason": "empty_user_id"}]}));
    let future = live.post("/events", json!([purchase("b", at + 7_200_000, 1.0), purchase("b", at, 2.0)])).await;
    assert_eq!(future.body, json!({"accepted": 1, "rejected": [{"index": 0, "reason": "future_timestamp"}]}));
    let letters = live.get("/events/dead-letters?reason=empty_user_id").await.body;
    assert_eq!(letters.as_array().map(Vec::len), Some(1));
    assert!(letters[0]["raw"].as_str().is_some_and(|raw| raw.contains("\"userId\":\"\"")));
    let generated = live.post("/events/generate", json!({"topic": "order_events", "count": 50, "userPrefix": "gen_", "seed": 7})).await.body;
    assert_eq!((&generated["accepted"], generated["events"].as_array().map(Vec::len)), (&json!(50), Some(5)));
    live.settled().await;
    let topics = live.get("/events/topics").await.body;
    let events: i64 = topics.as_array().into_iter().flatten().filter_map(|t| t["events"].as_i64()).sum();
    assert_eq!(events, 53);
    let count = live.select("SELECT count(*) AS n, count(DISTINCT topic) AS t FROM events").await;
    assert_eq!(count, [json!({"n": 53, "t": 2})]);
}

#[tokio::test]
async fn plans_previews_and_pages() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=2", "time.out_of_orderness=1s"]);
    live.post("/segments", high_spenders()).await;
    let at = now();
    let events: Vec<Value> =
        (0..30).flat_map(|u| [purchase(&format!("u{u:02}"), at, 200.0), purchase(&format!("u{u:02}"), at, 400.0 - f64::from(u) * 10.0)]).collect();
    live.post("/events", json!(events)).await;
    live.settled().await;
    let first = live.get("/segments/High%20Spenders/members?limit=4").await.body;
    let second = live.get(&format!("/segments/High%20Spenders/members?limit=4&cursor={}", first["cursor"].as_str().unwrap_or("?"))).await.body;
    let third = live.get(&format!("/segments/High%20Spenders/members?limit=4&cursor={}", second["cursor"].as_str().unwrap_or("?"))).await.body;
    let users: Vec<_> = [first, second, third].iter().flat_map(|p| p["items"].as_array().cloned().unwrap_or_default()).map(|m| m["userId"].clone()).collect();
    assert_eq!(users, (0..10).map(|u| json!(format!("u{u:02}"))).collect::<Vec<_>>());
    let stats = live.get("/segments/High%20Spenders/stats").await.body;
    assert_eq!((&stats["size"], &stats["minutes"][0]["entered"]), (&json!(10), &json!(10)));

    let preview = live.post("/segments/preview", json!({"name": "High Spenders", "sql": BIG.replace("> 500", "> 400")})).await.body;
    assert_eq!((&preview["size"], &preview["difference"]["added"], &preview["difference"]["removed"]), (&json!(20), &json!(10), &json!(0)), "{preview}");
    assert_eq!(live.get("/segments").await.body["total"], 1);
    let tree = live.post("/explain", json!({"sql": BIG})).await.body;
    assert!(tree["plan"].as_str().is_some_and(|p| p.contains("Scan: events")), "{tree}");
    let analyzed = live.post("/explain", json!({"sql": BIG, "analyze": true})).await.body;
    assert!(analyzed["plan"].as_str().is_some_and(|p| p.contains("rows=60")), "{analyzed}");
    let graph = live.get("/explain?format=json").await.body;
    assert!(graph["graph"]["nodes"].as_array().is_some_and(|n| n.len() >= 4));
    assert!(live.get("/explain?format=graphviz").await.body.as_str().is_some_and(|d| d.starts_with("digraph")));
    assert_eq!(live.post("/explain", json!({"sql": "SEGMENT \"High Spenders\""})).await.body["emit"], "CHANGES");
    let paths = live.get("/openapi.json").await.body;
    for path in ["/api/v1/segments", "/api/v1/sql", "/api/v1/users/{userId}/segments/{segment}/why", "/api/v1/results/stream", "/api/v1/events"] {
        assert!(paths["paths"].get(path).is_some(), "{path}");
    }
    assert_eq!(live.get("/healthz").await.body, "ok\n");
    assert_eq!(live.get("/readyz").await.status, 200);
    let metrics = live.get("/metrics").await.body;
    for name in ["cohort_events_total", "cohort_end_to_end_seconds", "cohort_http_requests_total", "cohort_compile_seconds", "cohort_consumer_lag"] {
        assert!(metrics.as_str().is_some_and(|m| m.contains(name)), "{name}");
    }
}

#[tokio::test]
async fn roles_are_kept() {
    let data = tempfile::tempdir().expect("a folder");
    let file = data.path().join("cohort.toml");
    let tokens = ["read", "write", "admin"].map(|r| format!("{{ name = \"{r}er\", role = \"{r}\", secret_env = \"TOKEN_{r}\" }}")).join(", ");
    std::fs::write(&file, format!("[server]\ntokens = [{tokens}]\n")).expect("a file");
    let set: Vec<(String, String)> = ["read", "write", "admin"].map(|r| (format!("TOKEN_{r}"), format!("secret-of-{r}"))).to_vec();
    let env: Vec<(&str, &str)> = set.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cohort"));
    let shown = command.args(["config", "--config"]).arg(&file).envs(env.iter().copied()).output().expect("the program runs");
    assert!(!String::from_utf8_lossy(&shown.stdout).contains("secret-of"));
    let listen = format!("server.tokens=[{}]", tokens.replace(" = ", "="));
    let mut live = Live::start_with(&data.path().join("data"), &[&listen], &env).unwrap_or_else(|said| panic!("{said}"));
    let nobody = live.get("/segments").await;
    assert_eq!((nobody.status, nobody.headers["www-authenticate"].to_str().ok()), (401, Some("Bearer")));
    live = live.with_token("wrong");
    assert_eq!(live.get("/segments").await.status, 401);
    live = live.with_token("secret-of-read");
    assert_eq!(live.get("/segments").await.status, 200);
    assert_eq!(live.sql("SHOW SEGMENTS").await.status, 200);
    for (answer, what) in [
        (live.post("/segments", high_spenders()).await, "create"),
        (live.sql(&format!("CREATE SEGMENT x AS {BIG}")).await, "SQL"),
        (live.post("/events", purchase("u", now(), 1.0)).await, "events"),
        (live.get("/audit").await, "audit"),
    ] {
        assert_eq!(answer.status, 403, "{what}: {}", answer.body);
    }
    live = live.with_token("secret-of-write");
    assert_eq!(live.post("/segments", high_spenders()).await.status, 201);
    assert_eq!(live.get("/audit").await.status, 403);
    live = live.with_token("secret-of-admin");
    assert_eq!(live.get("/audit").await.body[0]["by"], "writeer");
    assert_eq!(live.get("/healthz").await.status, 200);
}

#[test]
fn wrong_configurations_are_refused() {
    let data = tempfile::tempdir().expect("a folder");
    let refused = |set: &[&str]| match Live::start_with(&data.path().join("data"), set, &[]) {
        Ok(_) => panic!("{set:?} is accepted"),
        Err(said) => said,
    };
    for (set, says) in [
        ("server.listen=0.0.0.0:0", "server.listen: 0.0.0.0:0 can be reached from elsewhere, which needs server.tokens"),
        ("source.partitions=0", "source.partitions: must be at least 1"),
        ("engine.batch_linger=soon", "engine.batch_linger on the command line: \"soon\" is not a length of time"),
        ("engine.memory_limit=1", "engine.memory_limit: must be at least 1MiB"),
        ("server.request_timeout=0s", "server.request_timeout: must be at least 100ms"),
        ("source.retention=0s", "source.retention: must be at least 1s"),
        ("engine.memory_limit=much", "engine.memory_limit on the command line: \"much\" is not a size"),
        ("engine.wrokers=2", "unknown key \"wrokers\"; keys here are"),
        ("sink.kind=nowhere", "sink.kind on the command line: \"nowhere\" is not one of embedded"),
        ("catalog.url=mysql://me:secret@host/db", "catalog.url: \"mysql://me:***@host/db\" is neither"),
        ("source.partitions=two", "source.partitions on the command line: found string \"two\", expected u32"),
    ] {
        let said = refused(&[set]);
        assert!(said.contains(says), "{set}: {said}");
        assert!(!said.contains("secret@"));
    }
}

/// One service serves rules, another follows them.
#[tokio::test]
async fn a_feed_of_rules_is_followed() {
    let data = tempfile::tempdir().expect("a folder");
    let leader = Live::start(&data.path().join("leader"), &["source.partitions=1"]);
    leader.post("/segments", high_spenders()).await;
    let url = format!("rules.url={}/api/v1/segments/rules", leader.base);
    let follower = Live::start(&data.path().join("follower"), &["source.partitions=1", "rules.refresh=100ms", &url]);
    follower.until("the rule", Duration::from_secs(5), async || follower.get("/segments/High%20Spenders").await.status == 200).await;
    let mut changed = high_spenders();
    changed["rules"][0]["value"] = json!(700);
    leader.call(Method::PUT, "/segments/High%20Spenders", changed).await;
    follower.until("the change", Duration::from_secs(5), async || follower.get("/segments/High%20Spenders").await.body["rules"][0]["value"] == 700).await;
    leader.call(Method::DELETE, "/segments/High%20Spenders", json!({})).await;
    follower.until("the end", Duration::from_secs(5), async || follower.get("/segments/High%20Spenders").await.status == 404).await;
    assert_eq!(follower.get("/readyz").await.status, StatusCode::OK.as_u16());
}

/// A segment that asks for retained events has the members that it would have had.
#[tokio::test]
async fn a_new_segment_is_backfilled() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=2"]);
    let at = now();
    live.post("/events", json!([purchase("u1", at, 300.0), purchase("u1", at, 300.0), purchase("u2", at, 100.0)])).await;
    live.settled().await;
    assert_eq!(live.sql(&format!("CREATE SEGMENT cold AS {BIG}")).await.status, 200);
    let backfilled = "SELECT user_id, sum(value) AS value FROM HOP(events, event_time, INTERVAL '1 minute', INTERVAL '5 minutes') \
                      WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > 500";
    let created = live.sql(&format!("CREATE SEGMENT warm WITH (backfill = '1 hour') AS {backfilled}")).await;
    assert_eq!(created.status, 200, "{}", created.body);
    live.until("membership", Duration::from_secs(3), async || live.segments_of("u1").await == ["warm"]).await;
    live.post("/events", purchase("u2", at, 450.0)).await;
    live.until("what was retained counts", Duration::from_secs(3), async || live.segments_of("u2").await == ["warm"]).await;
}

/// Files are a source as well: what is appended counts, once, across a kill.
#[tokio::test]
async fn files_are_followed() {
    let data = tempfile::tempdir().expect("a folder");
    let file = data.path().join("events.jsonl");
    let write = |events: &[Value]| {
        use std::io::Write;
        let mut file = std::fs::File::options().append(true).create(true).open(&file).expect("a file");
        events.iter().for_each(|e| writeln!(file, "{e}").expect("a line"));
    };
    let at = now();
    write(&[purchase("u1", at, 300.0), purchase("u2", at, 300.0), json!({"userId": "u1"})]);
    let paths = format!("source.file.paths=[{:?}]", file.display().to_string());
    let settings = ["source.kind=file", &paths, "source.file.topic=order_events", "checkpoint.interval=200ms", "engine.batch_linger=5ms"];
    let live = Live::start(&data.path().join("service"), &settings);
    assert_eq!(live.sql(&format!("CREATE SEGMENT big WITH (backfill = '1 hour') AS {BIG}")).await.status, 200);
    live.until("three lines", Duration::from_secs(5), async || live.get("/status").await.body["checkpoint"]["published"].as_u64() > Some(1)).await;
    live.kill();
    write(&[purchase("u1", at, 201.0)]);
    let live = Live::start(&data.path().join("service"), &settings);
    live.until("what was there before counts", Duration::from_secs(5), async || live.segments_of("u1").await == ["big"]).await;
    write(&[purchase("u2", at, 100.0)]);
    let read = async || live.select("SELECT count(*) AS n FROM order_events WHERE value > 0").await[0]["n"] == 4;
    live.until("the rest", Duration::from_secs(5), read).await;
    live.settled().await;
    assert!(live.segments_of("u2").await.is_empty(), "400, were no line counted twice");
    let letters = live.get("/events/dead-letters").await.body;
    assert_eq!((letters.as_array().map(Vec::len), &letters[0]["offset"]), (Some(1), &json!(file_offset(&file, 2))), "{letters}");
    let refused = live.post("/events", purchase("u1", at, 1.0)).await;
    assert_eq!(refused.status, StatusCode::CONFLICT.as_u16());
}

/// The byte at which a line begins.
fn file_offset(file: &Path, line: usize) -> usize {
    let text = std::fs::read_to_string(file).expect("text");
    text.lines().take(line).map(|l| l.len() + 1).sum()
}

/// An expression that fails for some events is null for those, and stops nothing.
#[tokio::test]
async fn bad_values_stop_nothing() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    let sql = "CREATE SEGMENT many AS SELECT user_id, sum(CAST(metadata['n'] AS BIGINT)) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') \
               WHERE CAST(metadata['n'] AS BIGINT) > 1 GROUP BY user_id, window_start, window_end \
               HAVING sum(100 / (CAST(metadata['n'] AS BIGINT) - 7)) > 10 EMIT CHANGES";
    assert_eq!(live.sql(sql).await.status, 200);
    let at = now();
    let event = |user: &str, n: &str| json!({"userId": user, "eventType": "view", "timestamp": at, "metadata": {"n": n}});
    live.post("/events", json!([event("a", "many"), event("b", "9"), event("a", "8"), event("c", "7"), event("b", "")])).await;
    live.until("members", Duration::from_secs(2), async || live.segments_of("a").await == ["many"] && live.segments_of("b").await == ["many"]).await;
    assert!(live.segments_of("c").await.is_empty());
    assert_eq!(live.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_watermark_ahead_of_the_clock_is_a_problem() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1", "time.out_of_orderness=2s"]);
    let about = "CREATE SEGMENT some AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '5 minutes') GROUP BY user_id, window_start, window_end";
    assert_eq!(live.sql(about).await.status, 200);
    let event = |user: &str, at: i64| json!([{"userId": user, "eventType": "view", "timestamp": at}]);
    live.post("/events", event("a", now())).await;
    live.until("a member", Duration::from_secs(5), async || live.segments_of("a").await == ["some"]).await;
    assert_eq!(live.get("/status").await.body["problems"], json!([]));
    live.post("/events", event("b", now() + 1_800_000)).await;
    let ahead = async || live.get("/status").await.body["problems"][0]["detail"].as_str().is_some_and(|text| text.contains("ahead of the clock"));
    live.until("the problem", Duration::from_secs(5), ahead).await;
    assert_eq!(live.get("/readyz").await.status, 200, "it is no reason to send requests elsewhere");
}

/// Segments of every window kind, over and over created, replaced and dropped.
pub const SHOP: [(&str, &str); 7] = [
    (
        "spenders",
        "SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '20 seconds') WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > 40",
    ),
    (
        "busy",
        "SELECT user_id, count(*) AS value FROM HOP(events, event_time, INTERVAL '5 seconds', INTERVAL '30 seconds') GROUP BY user_id, window_start, window_end HAVING count(*) >= 6",
    ),
    (
        "quiet",
        "SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '20 seconds') GROUP BY user_id, window_start, window_end HAVING count(*) <= 2",
    ),
    (
        "visits",
        "SELECT user_id, max(value) AS value FROM SESSION(events, event_time, INTERVAL '7 seconds') GROUP BY user_id, window_start, window_end HAVING count(*) >= 4",
    ),
    (
        "various",
        "SELECT user_id, count(DISTINCT session_id) AS value FROM TUMBLE(events, event_time, INTERVAL '20 seconds') GROUP BY user_id, window_start, window_end HAVING count(DISTINCT session_id) >= 3",
    ),
    (
        "frequent",
        "SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '20 seconds') GROUP BY user_id, window_start, window_end HAVING count(*) >= 3",
    ),
    ("frequent_spenders", "SELECT a.user_id, a.value + b.value AS value FROM spenders a JOIN frequent b USING (user_id, window_start, window_end)"),
];

/// Numbers below what is asked for, the same for a seed.
pub fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |n: u64| {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// What happens to the service in a run: batches of events, and changes of segments between them.
fn story(seed: u64) -> Vec<Step> {
    let mut random = numbers(seed);
    let (mut steps, mut time) = (vec![], 1_700_000_000_000i64);
    for (name, sql) in SHOP {
        steps.push(Step::Put(name, sql.to_string()));
    }
    for round in 0..40u64 {
        let event = |_| {
            time += random(40) as i64;
            let kind = ["purchase", "view", "install"][random(3) as usize];
            json!({"userId": format!("u{}", random(60)), "eventType": kind, "timestamp": time - random(3_000) as i64,
                   "value": random(200) as f64 / 8.0, "sessionId": format!("s{}", random(4))})
        };
        steps.push(Step::Events((0..250).map(event).collect()));
        if round % 5 == 3 {
            let threshold = 20 + random(60);
            steps.push(Step::Put("spenders", SHOP[0].1.replace("> 40", &format!("> {threshold}"))));
        }
        if round % 8 == 4 {
            steps.push(Step::Drop("quiet"));
        }
        if round % 8 == 6 {
            steps.push(Step::Put("quiet", SHOP[2].1.to_string()));
        }
    }
    // The last windows close, and no later one.
    let last: Vec<Value> = (0..60).map(|u| json!({"userId": format!("u{u}"), "eventType": "end", "timestamp": time - time % 20_000 + 23_000})).collect();
    steps.push(Step::Events(last));
    steps
}

#[derive(Clone)]
pub enum Step {
    Events(Vec<Value>),
    Put(&'static str, String),
    Drop(&'static str),
}

const STEADY: [&str; 5] = ["source.partitions=3", "time.out_of_orderness=2s", "time.idle_timeout=1h", "engine.batch_linger=5ms", "checkpoint.interval=300ms"];
/// Of [`STEADY`], and of all who wait with [`Live::settled_soon`].
const STEADY_PARTITIONS: usize = 3;

/// How many records the log has.
pub async fn appended(live: &Live) -> Result<i64, reqwest::Error> {
    let status = live.try_send(live.request(Method::GET, "/status")).await?.body;
    let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
    Ok(partitions.iter().map(|p| p["offsets"]["events"].as_i64().unwrap_or(0) + p["lag"].as_i64().unwrap_or(0)).sum())
}

/// Does a step, unless it is already done; `Err` when the process is gone.
pub async fn step(live: &Live, step: &Step, before: i64) -> Result<(), reqwest::Error> {
    match step {
        Step::Events(events) => {
            // One that was killed may have taken them in without saying so.
            if appended(live).await? == before {
                live.try_send(live.request(Method::POST, "/events").json(events)).await?;
            }
        }
        Step::Put(name, sql) => {
            let known = live.try_send(live.request(Method::GET, &format!("/segments/{name}"))).await?;
            let (method, path) = if known.status == 404 { (Method::POST, "/segments".to_string()) } else { (Method::PUT, format!("/segments/{name}")) };
            if known.body["sql"] != sql.as_str() {
                let answer = live.try_send(live.request(method, &path).json(&json!({"name": name, "sql": sql}))).await?;
                assert!(answer.status < 300, "{}", answer.body);
            }
        }
        Step::Drop(name) => {
            live.try_send(live.request(Method::DELETE, &format!("/segments/{name}"))).await?;
        }
    }
    Ok(())
}

/// Members with what they are members by, and the segments. Where a window is open, it is told as it stood when the
/// user entered, which depends on how batches were cut.
pub async fn outcome(live: &Live) -> (Vec<Value>, Vec<Value>) {
    let members = "SELECT user_id, segment, CASE WHEN closed THEN value END AS value, CASE WHEN closed THEN window_end END AS window_end
                   FROM (SELECT *, segment IN ('quiet') AS closed FROM memberships) ORDER BY segment, user_id";
    (live.select(members).await, live.select("SELECT name, sql FROM segments ORDER BY name").await)
}

/// A run in which nothing happens to the process: the outcome.
async fn undisturbed(steps: &[Step]) -> (Vec<Value>, Vec<Value>) {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &STEADY);
    let mut events = 0;
    for s in steps {
        step(&live, s, events).await.expect("a step");
        events += records(s);
        live.read(events).await;
    }
    live.settled().await;
    outcome(&live).await
}

/// How many records a step adds to the log.
fn records(step: &Step) -> i64 {
    if let Step::Events(events) = step { events.len() as i64 } else { 0 }
}

impl Live {
    /// Waits until so many events are read by what runs now. A status may be older than the last of them.
    async fn read(&self, events: i64) {
        self.until("so many events read", Duration::from_secs(30), async || {
            let status = self.get("/status").await.body;
            let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
            let read: i64 = partitions.iter().map(|p| p["offsets"]["events"].as_i64().unwrap_or(0)).sum();
            read == events && partitions.iter().all(|p| p["lag"] == 0 && p["revision"] == status["revision"])
        })
        .await;
    }

    /// Waits until all events are read by what runs now.
    pub async fn settled_soon(&self) {
        self.until("everything read", Duration::from_secs(30), async || {
            let Ok(status) = self.try_send(self.request(Method::GET, "/status")).await else { return true };
            let partitions = status.body["partitions"].as_array().cloned().unwrap_or_default();
            // Workers begin one after the other: until all have, some partitions are not listed.
            partitions.len() == STEADY_PARTITIONS && partitions.iter().all(|p| p["lag"] == 0 && p["revision"] == status.body["revision"])
        })
        .await;
    }
}

/// Killed at twenty moments, with events coming and segments changing: the outcome is that of an undisturbed run.
#[tokio::test]
async fn kill_9_changes_nothing() {
    for seed in [1, 2] {
        let steps = story(seed);
        let expected = undisturbed(&steps).await;
        assert!(expected.0.len() > 20, "{} memberships", expected.0.len());
        let data = tempfile::tempdir().expect("a folder");
        let mut live = Live::start(data.path(), &STEADY);
        let (mut events, mut kills) = (0, 0u64);
        for (n, s) in steps.iter().enumerate() {
            // A kill somewhere within every fifth step, sooner or later in it.
            let kill_after = (n as u64 % 5 == seed).then(|| Duration::from_millis((n as u64 * 7 + seed * 3) % 40));
            if let Some(after) = kill_after {
                let id = live.process.id();
                let killer = std::thread::spawn(move || {
                    std::thread::sleep(after);
                    let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
                });
                let _ = tokio::time::timeout(Duration::from_secs(5), step(&live, s, events)).await;
                let _ = killer.join();
                live.kill();
                live = Live::start(data.path(), &STEADY);
                kills += 1;
            }
            live.settled_soon().await;
            step(&live, s, events).await.expect("a step");
            events += records(s);
            live.read(events).await;
        }
        live.settled().await;
        assert!(kills >= 10);
        let (members, segments) = outcome(&live).await;
        assert_eq!(segments, expected.1);
        let only = |a: &[Value], b: &[Value]| a.iter().filter(|m| !b.contains(m)).cloned().collect::<Vec<_>>();
        assert_eq!((only(&members, &expected.0), only(&expected.0, &members)), (vec![], vec![]), "seed {seed}, {kills} kills");
    }
}
