//! Limits, and what HTTP itself offers: sizes, rows, time, pages, compression, origins, ETags, request ids.

use std::io::Read;
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::live::{BIG, Live, high_spenders, now, purchase};

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(HeaderName::from_bytes(name.as_bytes()).expect("a name")).and_then(|v| v.to_str().ok())
}

#[tokio::test]
async fn bodies_have_limits() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    let send = |path: &'static str, body: Vec<u8>| live.send(live.request(Method::POST, path).header("content-type", "application/json").body(body));
    let padded = |json: &str, size: usize| [json.as_bytes().to_vec(), vec![b' '; size - json.len()]].concat();
    let segment = high_spenders().to_string();
    assert_eq!(send("/segments", padded(&segment, (1 << 20) + 1)).await.status, 413);
    assert_eq!(send("/segments", padded(&segment, 1 << 20)).await.status, 201);
    let event = purchase("u1", now(), 1.0).to_string();
    assert_eq!(send("/events", padded(&event, (16 << 20) + 1)).await.status, 413);
    assert_eq!(send("/events", padded(&event, 16 << 20)).await.body["accepted"], 1);
    // The same without a length: the body is cut off where the limit is.
    let chunks = futures::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])));
    let chunked = live.request(Method::POST, "/events").header("content-type", "application/json").body(reqwest::Body::wrap_stream(chunks));
    if let Ok(answer) = chunked.send().await {
        assert_eq!(answer.status(), 413);
    }
    // The service is there; the connection that was cut off may be closed at any moment, so this asks by another.
    let another = reqwest::Client::builder().no_proxy().build().expect("a client");
    assert_eq!(another.get(format!("{}/api/v1/events/topics", live.base)).send().await.expect("an answer").status(), 200);
}

/// A hundred million comparisons in one operator.
pub const SLOW: &str = "SELECT count(*) FROM events a, events b WHERE a.user_id || b.user_id LIKE '%' || b.user_id || a.user_id || '%x%'";

#[tokio::test]
async fn queries_have_limits() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    let at = now();
    let events: Vec<Value> = (0..12_000).map(|u| purchase(&format!("u{u}"), at, 1.0)).collect();
    assert_eq!(live.post("/events", json!(events)).await.body["accepted"], 12_000);
    let all = live.sql("SELECT user_id FROM events").await.body;
    let result = &all["results"][0]["result"];
    assert_eq!((result["rows"].as_array().map(Vec::len), &result["truncated"]), (Some(10_000), &json!(true)));
    let few = live.sql("SELECT user_id FROM events LIMIT 10000").await.body;
    assert_eq!((few["results"][0]["result"]["rows"].as_array().map(Vec::len), &few["results"][0]["result"]["truncated"]), (Some(10_000), &json!(false)));
    let started = Instant::now();
    let slow = live.sql(SLOW).await;
    assert_eq!((slow.status, &slow.body["type"]), (408, &json!("/problems/query-too-slow")), "{}", slow.body);
    assert!(started.elapsed() < Duration::from_secs(13), "{:?}", started.elapsed());
    // Whatever it still computes, others are answered.
    assert_eq!(live.sql("SELECT count(*) FROM segments").await.status, 200);
    let large = live.sql("SELECT a.user_id || b.user_id AS x FROM events a, events b ORDER BY x").await;
    assert_eq!((large.status, &large.body["type"]), (400, &json!("/problems/query-too-large")), "{}", large.body);
    assert_eq!(live.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn requests_have_a_time_limit() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1", "server.request_timeout=300ms"]);
    let events: Vec<Value> = (0..12_000).map(|u| purchase(&format!("u{u}"), now(), 1.0)).collect();
    live.post("/events", json!(events)).await;
    let slow = live.sql(SLOW).await;
    assert_eq!((slow.status, &slow.body["type"]), (408, &json!("/problems/timeout")), "{}", slow.body);
    // A stream begins in time, and goes on.
    let mut stream = live.request(Method::GET, "/results/stream").send().await.expect("a stream");
    tokio::time::sleep(Duration::from_millis(600)).await;
    live.post("/segments", high_spenders()).await;
    live.settled().await;
    live.post("/events", json!([purchase("u1", now(), 600.0)])).await;
    let mut said = String::new();
    while !said.contains("event: entered") {
        let chunk = tokio::time::timeout(Duration::from_secs(5), stream.chunk()).await.expect("in time").expect("a chunk");
        said += &String::from_utf8_lossy(&chunk.expect("more"));
    }
}

/// A client that does not read is told what it missed; another one misses nothing, and the service does not wait.
#[tokio::test]
async fn a_slow_follower_is_told_what_it_missed() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1", "engine.batch_linger=1ms"]);
    let any =
        "SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '1 hour') GROUP BY user_id, window_start, window_end HAVING count(*) >= 1";
    assert_eq!(live.post("/segments", json!({"name": "any", "sql": any})).await.status, 201);
    live.settled().await;
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let address = live.base.strip_prefix("http://").expect("http").parse().expect("an address");
    let mut slow = socket.connect(address).await.expect("a connection");
    slow.write_all(format!("GET /api/v1/results/stream HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes()).await.expect("sent");
    let mut fast = live.request(Method::GET, "/results/stream").send().await.expect("a stream");
    let (posted, mut expected) = tokio::sync::watch::channel(None);
    let counted = tokio::spawn(async move {
        let (mut entered, mut rest) = (0, String::new());
        while expected.borrow_and_update().is_none_or(|all| entered < all) {
            let Ok(Ok(Some(chunk))) = tokio::time::timeout(Duration::from_secs(20), fast.chunk()).await else { break };
            rest += &String::from_utf8_lossy(&chunk);
            let whole = rest.rfind('\n').map_or(0, |at| at + 1);
            entered += rest[..whole].matches("event: entered").count();
            assert!(!rest.contains("event: lagged"), "{rest}");
            rest.drain(..whole);
        }
        entered
    });
    // More writes than a client may be behind, and more bytes than buffers hold.
    let writes = async || live.get("/status").await.body["sink"]["writes"].as_u64().unwrap_or(0);
    let (at, mut batches) = (now(), 0);
    while writes().await < 2 * 600 {
        for _ in 0..20 {
            let events: Vec<Value> = (0..100).map(|u| purchase(&format!("a-user-with-a-long-name-{batches}-{u}"), at, 1.0)).collect();
            assert_eq!(live.post("/events", json!(events)).await.status, 200);
            batches += 1;
        }
    }
    live.settled().await;
    posted.send_replace(Some(batches * 100));
    // Something that shows the follower that it has all.
    live.post("/events", json!([purchase("last", at, 1.0)])).await;
    let entered = counted.await.expect("no panic");
    assert!(entered >= batches * 100, "{entered} of {} results", batches * 100);
    let mut said = String::new();
    let mut buffer = vec![0; 1 << 16];
    while !said.contains("event: lagged\ndata: ") {
        let read = tokio::time::timeout(Duration::from_secs(10), slow.read(&mut buffer)).await.expect("in time").expect("read");
        assert!(read > 0, "the stream ends without a word");
        said += &String::from_utf8_lossy(&buffer[..read]);
    }
    let missed = said.split("event: lagged\ndata: ").nth(1).and_then(|rest| rest.split('\n').next()).and_then(|n| n.trim().parse::<u64>().ok());
    assert!(missed.is_some_and(|n| n > 0), "{missed:?}");
}

#[tokio::test]
async fn pages_have_edges() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    for n in 0..5 {
        live.post("/segments", json!({"name": format!("s{n}"), "sql": BIG})).await;
    }
    let page = async |query: &str| {
        let body = live.get(&format!("/segments?{query}")).await.body;
        let names: Vec<String> = body["items"].as_array().into_iter().flatten().filter_map(|s| s["name"].as_str().map(String::from)).collect();
        (names, body["page"].clone(), body["size"].clone(), body["total"].clone())
    };
    let names = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
    assert_eq!(page("size=2&page=2").await, (names(&["s4"]), json!(2), json!(2), json!(5)));
    assert_eq!(page("size=2&page=3").await, (vec![], json!(3), json!(2), json!(5)));
    assert_eq!(page("size=100000").await.2, json!(1_000));
    assert_eq!(page("page=18446744073709551615&size=1000").await.0, names(&[]));
    for bad in [
        "/segments?size=many",
        "/segments?size=0",
        "/segments/s0/members?limit=0",
        "/audit?limit=0",
        "/segments?page=-1",
        "/segments?active=maybe",
        "/segments/s0/members?limit=-1",
        "/audit?limit=x",
        "/events/dead-letters?limit=x",
    ] {
        assert_eq!(live.get(bad).await.status, 400, "{bad}");
    }

    live.settled().await;
    let at = now();
    live.post("/events", json!((0..3).map(|u| purchase(&format!("u{u}"), at, 600.0)).collect::<Vec<_>>())).await;
    live.until("members", Duration::from_secs(5), async || live.get("/segments/s0/stats").await.body["size"] == 3).await;
    let members = async |query: &str| {
        let body = live.get(&format!("/segments/s0/members?{query}")).await.body;
        let users: Vec<String> = body["items"].as_array().into_iter().flatten().filter_map(|s| s["userId"].as_str().map(String::from)).collect();
        (users, body["cursor"].as_str().map(String::from))
    };
    assert_eq!(members("limit=1").await, (names(&["u0"]), Some("u0".into())));
    assert_eq!(members("limit=3&cursor=u").await, (names(&["u0", "u1", "u2"]), Some("u2".into())));
    assert_eq!(members("limit=3&cursor=u2").await, (vec![], None));
    assert_eq!(members("limit=3&cursor=u0").await, (names(&["u1", "u2"]), None));
    // A cursor need not be a member, and may be any text.
    assert_eq!(members("limit=1&cursor=u00").await, (names(&["u1"]), Some("u1".into())));
    assert_eq!(members("cursor=%F0%9F%A6%80").await, (vec![], None));

    let revisions = async |query: &str| {
        let body = live.get(&format!("/audit?{query}")).await.body;
        body.as_array().into_iter().flatten().filter_map(|c| c["revision"].as_i64()).collect::<Vec<_>>()
    };
    assert_eq!(revisions("limit=2").await, [5, 4]);
    assert_eq!(revisions("limit=2&before=4").await, [3, 2]);
    assert_eq!(revisions("before=1").await, [0i64; 0]);
    assert_eq!(revisions("limit=1").await, [5]);
}

#[tokio::test]
async fn answers_are_compressed_and_cached() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    for n in 0..30 {
        let mut segment = high_spenders();
        segment["name"] = json!(format!("s{n}"));
        live.post("/segments", segment).await;
    }
    let raw = reqwest::Client::builder().no_proxy().no_gzip().build().expect("a client");
    let get = async |path: &str, headers: &[(&str, &str)]| {
        let request = raw.get(format!("{}/api/v1{path}", live.base));
        let answer = headers.iter().fold(request, |r, (k, v)| r.header(*k, *v)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.headers().clone(), answer.bytes().await.expect("a body"))
    };
    let (_, plain, body) = get("/segments", &[]).await;
    assert_eq!(header(&plain, "content-encoding"), None);
    let (_, packed, bytes) = get("/segments", &[("accept-encoding", "gzip")]).await;
    assert_eq!(header(&packed, "content-encoding"), Some("gzip"));
    assert!(header(&packed, "vary").is_some_and(|v| v.to_lowercase().contains("accept-encoding")));
    assert!(bytes.len() * 3 < body.len(), "{} bytes of {}", bytes.len(), body.len());
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut unpacked).expect("gzip");
    let unpacked: Value = serde_json::from_str(&unpacked).expect("JSON");
    assert_eq!(unpacked["total"], 30);
    assert_eq!(header(&get("/events/topics", &[("accept-encoding", "gzip")]).await.1, "content-encoding"), None, "a small answer stays as it is");

    for path in ["/segments/rules", "/segments/rules/eventType/orders", "/segments/s0"] {
        let (status, headers, _) = get(path, &[]).await;
        let tag = header(&headers, "etag").expect("a tag").to_string();
        assert_eq!(status, 200);
        for known in [tag.clone(), format!("\"other\", {tag}"), format!("W/{tag}"), "*".into()] {
            let (status, headers, body) = get(path, &[("if-none-match", &known)]).await;
            assert_eq!((status, header(&headers, "etag"), body.len()), (304, Some(tag.as_str()), 0), "{path} {known}");
        }
        assert_eq!(get(path, &[("if-none-match", "\"other\"")]).await.0, 200);
        let mut changed = high_spenders();
        (changed["name"], changed["rules"][0]["value"]) = (json!("s0"), json!(path.len()));
        assert_eq!(live.call(Method::PUT, "/segments/s0", changed).await.status, 200);
        assert_eq!(get(path, &[("if-none-match", &tag)]).await.0, 200, "{path} has changed");
    }
}

#[tokio::test]
async fn other_origins_are_let_in_by_name_only() {
    let data = tempfile::tempdir().expect("a folder");
    let closed = Live::start(&data.path().join("closed"), &["source.partitions=1"]);
    let cors = "server.cors=[\"https://app.example\"]";
    let token = "server.tokens=[{name=\"ops\",role=\"admin\",secret_env=\"OPS\"}]";
    let open = Live::start_with(&data.path().join("open"), &["source.partitions=1", cors, token], &[("OPS", "hidden")]).expect("a service");
    let preflight = async |live: &Live, origin: &str| {
        let request = live.request(Method::OPTIONS, "/segments").header("origin", origin);
        let request = request.header("access-control-request-method", "POST").header("access-control-request-headers", "authorization,content-type");
        request.send().await.expect("an answer").headers().clone()
    };
    for live in [&closed, &open] {
        assert_eq!(header(&preflight(live, "https://evil.example").await, "access-control-allow-origin"), None);
    }
    assert_eq!(header(&preflight(&closed, "https://app.example").await, "access-control-allow-origin"), None);
    let allowed = preflight(&open, "https://app.example").await;
    assert_eq!(header(&allowed, "access-control-allow-origin"), Some("https://app.example"));
    for (name, part) in [("access-control-allow-methods", "post"), ("access-control-allow-headers", "authorization")] {
        let value = header(&allowed, name).unwrap_or_default().to_lowercase();
        assert!(value == "*" && part != "authorization" || value.contains(part), "{name}: {value}");
    }
    // Being let in is not being known.
    let stranger = open.send(open.request(Method::GET, "/segments").header("origin", "https://app.example")).await;
    assert_eq!((stranger.status, header(&stranger.headers, "access-control-allow-origin")), (401, Some("https://app.example")));
    let open = open.with_token("hidden");
    let known = open.send(open.request(Method::GET, "/segments").header("origin", "https://app.example")).await;
    assert_eq!((known.status, header(&known.headers, "access-control-allow-origin")), (200, Some("https://app.example")));
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    let mut seen = vec![];
    for path in ["/segments", "/segments/none", "/nothing", "/healthz", "/metrics", "/docs/"] {
        let own = live.request(Method::GET, path).send().await.expect("an answer");
        seen.push(header(own.headers(), "x-request-id").unwrap_or_else(|| panic!("{path} has no id")).to_string());
        let given = live.request(Method::GET, path).header("x-request-id", "of-the-caller").send().await.expect("an answer");
        assert_eq!(header(given.headers(), "x-request-id"), Some("of-the-caller"), "{path}");
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "each is another");
}

/// What is nested deeply is planned or refused, and stops nothing.
#[tokio::test]
async fn nesting_stops_nothing() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &["source.partitions=1"]);
    let ors = |n: usize, what: &str| (0..n).map(|i| format!("{what}{i}'")).collect::<Vec<_>>().join(" OR ");
    let segment = |n| {
        format!(
            "CREATE SEGMENT many AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE {} \
             GROUP BY user_id, window_start, window_end HAVING count(*) > 1",
            ors(n, "metadata['k'] || 'x' = 'e")
        )
    };
    for (sql, what) in [
        (format!("SELECT 1{}", "+1".repeat(2_000)), "sums"),
        (format!("SELECT * FROM memberships WHERE {}", ors(4_000, "user_id = 'u")), "conditions"),
        (format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(1_000)), "unions"),
        (format!("SELECT {}1{}", "(".repeat(9_000), ")".repeat(9_000)), "parentheses"),
        (segment(2_400), "a segment"),
        (format!("SELECT 1{}", "+1".repeat(100_000)), "too much"),
    ] {
        let status = live.sql(&sql).await.status;
        assert!([200, 400, 408].contains(&status), "{what}: {status}");
        assert_eq!(live.get("/healthz").await.status, 200, "{what}");
    }
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let event = format!(r#"[{{"userId":"u","eventType":"view","timestamp":{},"metadata":{{"a":{}}}}}]"#, now(), deep(200_000));
    for body in [deep(20_000), event] {
        let request = live.request(Method::POST, "/events").header("content-type", "application/json").body(body);
        assert_eq!(live.send(request).await.status, 400);
    }
    live.post("/events", json!([{"userId": "u", "eventType": "view", "timestamp": now(), "metadata": {"k": "e"}}])).await;
    live.settled().await;
    assert_eq!(live.get("/readyz").await.status, 200);
}
