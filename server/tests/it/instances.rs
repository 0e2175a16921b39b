//! Two instances that share one PostgreSQL.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AnyPool;

use crate::live::{BIG, Live, high_spenders, now, purchase};

const REFRESH: Duration = Duration::from_millis(300);
/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_millis(1_500);

/// The URL of a database of its own; none without a PostgreSQL.
async fn database() -> Option<String> {
    let Ok(server) = std::env::var("COHORT_TEST_POSTGRES") else {
        eprintln!("SKIPPED: two instances on one PostgreSQL (COHORT_TEST_POSTGRES is not set)");
        return None;
    };
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    sqlx::any::install_default_drivers();
    let admin = AnyPool::connect(&server).await.expect("a PostgreSQL");
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await.expect("a database");
    let base = server.rsplit_once('/').map_or(server.as_str(), |(base, _)| base);
    Some(format!("{base}/{name}"))
}

fn start(folder: &std::path::Path, url: &str) -> Live {
    let refresh = format!("catalog.refresh={}ms", REFRESH.as_millis());
    Live::start_with(folder, &["source.partitions=1", &refresh], &[("COHORT_CATALOG__URL", url)]).unwrap_or_else(|said| panic!("{said}"))
}

/// Waits until something that the other instance did is seen, which takes `refresh` at most.
async fn seen(live: &Live, what: &str, holds: impl AsyncFn() -> bool) {
    let started = Instant::now();
    live.until(what, REFRESH + SLACK, holds).await;
    eprintln!("{what}: seen after {:?}", started.elapsed());
}

#[tokio::test]
async fn instances_see_each_others_changes() {
    let Some(url) = database().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let (a, b) = (start(&data.path().join("a"), &url), start(&data.path().join("b"), &url));

    let created = a.post("/segments", high_spenders()).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let id = created.body["id"].as_str().expect("an id").to_string();
    seen(&b, "a creation", async || b.get(&format!("/segments/{id}")).await.status == 200).await;
    // It runs there, too: b has events of its own.
    b.post("/events", json!([purchase("u1", now(), 300.0), purchase("u1", now(), 300.0)])).await;
    seen(&b, "a member", async || b.segments_of("u1").await == ["High Spenders"]).await;
    assert!(a.segments_of("u1").await.is_empty());

    let mut higher = high_spenders();
    higher["rules"][0]["value"] = json!(5_000);
    assert_eq!(a.call(Method::PUT, &format!("/segments/{id}"), higher).await.status, 200);
    seen(&b, "a replacement", async || b.get(&format!("/segments/{id}")).await.body["rules"][0]["value"] == 5_000).await;
    seen(&b, "its exit", async || b.segments_of("u1").await.is_empty()).await;

    assert_eq!(b.call(Method::PUT, &format!("/segments/{id}"), high_spenders()).await.status, 200);
    seen(&b, "its entry", async || b.segments_of("u1").await == ["High Spenders"]).await;
    assert_eq!(a.call(Method::PATCH, &format!("/segments/{id}/status"), json!({"active": false})).await.status, 200);
    seen(&b, "a pause", async || b.segments_of("u1").await.is_empty() && b.get(&format!("/segments/{id}")).await.body["active"] == false).await;
    assert_eq!(b.sql("ALTER SEGMENT \"High Spenders\" RESUME").await.status, 200);
    seen(&a, "a resumption", async || a.get(&format!("/segments/{id}")).await.body["active"] == true).await;

    assert_eq!(b.call(Method::DELETE, &format!("/segments/{id}"), json!({})).await.status, 204);
    seen(&a, "a drop", async || a.get(&format!("/segments/{id}")).await.status == 404).await;
    let actions = |changes: &Value| changes.as_array().into_iter().flatten().map(|c| c["action"].clone()).collect::<Vec<_>>();
    let (of_a, of_b) = (a.get("/audit").await.body, b.get("/audit").await.body);
    assert_eq!(of_a, of_b);
    assert_eq!(actions(&of_a), ["drop", "resume", "pause", "replace", "replace", "create"]);
}

/// What one instance decides rests on what the other has just done, whether it has been seen yet or not.
#[tokio::test]
async fn instances_do_not_overwrite_each_other() {
    let Some(url) = database().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let (a, b) = (start(&data.path().join("a"), &url), start(&data.path().join("b"), &url));
    let (left, right) = tokio::join!(a.post("/segments", high_spenders()), b.post("/segments", high_spenders()));
    let mut statuses = [left.status, right.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "{} {}", left.body, right.body);

    assert_eq!(a.post("/segments", json!({"name": "base", "sql": BIG})).await.status, 201);
    let reader = "CREATE SEGMENT reader AS SELECT a.user_id FROM base a JOIN \"High Spenders\" b USING (user_id)";
    assert_eq!(b.sql(reader).await.status, 200, "b sees base when it needs it");
    let refused = a.call(Method::DELETE, "/segments/base", json!({})).await;
    assert_eq!((refused.status, &refused.body["segments"]), (409, &json!(["reader"])), "a sees reader when it needs it");

    let replace = async |live: &Live, version: &str| {
        let request = live.request(Method::PUT, "/segments/base").header("if-match", format!("\"{version}\""));
        live.send(request.json(&json!({"name": "base", "sql": BIG}))).await
    };
    assert_eq!(b.call(Method::PUT, "/segments/base", json!({"name": "base", "sql": BIG})).await.body["version"], 2);
    // A version that a has not seen yet, or has: not the first in any case.
    assert_eq!(replace(&a, "1").await.status, 412);
    assert_eq!(replace(&a, "2").await.status, 200);

    let segment = |who: &str, n: usize| json!({"name": format!("{who}{n}"), "sql": BIG.replace("> 500", &format!("> {n}"))});
    let many = async |live: &Live, who: &str| {
        for n in 0..10 {
            let created = live.post("/segments", segment(who, n)).await;
            assert_eq!(created.status, 201, "{}", created.body);
        }
    };
    tokio::join!(many(&a, "a"), many(&b, "b"));
    let list = async |live: &Live| live.get("/segments?size=100").await.body["items"].as_array().cloned().unwrap_or_default();
    let names = |items: &[Value]| items.iter().map(|s| (s["id"].clone(), s["name"].clone(), s["version"].clone())).collect::<Vec<_>>();
    seen(&a, "all of b", async || list(&a).await.len() == 23).await;
    seen(&b, "all of a", async || list(&b).await.len() == 23).await;
    assert_eq!(names(&list(&a).await), names(&list(&b).await));
    assert_eq!(a.get("/status").await.body["revision"], b.get("/status").await.body["revision"]);
}

/// A catalog that goes away: nothing that needs it is done, everything else goes on, and the service says so.
#[tokio::test]
async fn a_catalog_that_is_gone_stops_no_evaluation() {
    let Some(url) = database().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let live = start(data.path(), &url);
    assert_eq!(live.post("/segments", high_spenders()).await.status, 201);
    assert_eq!(live.get("/readyz").await.status, 200);
    let (base, name) = url.rsplit_once('/').expect("a database");
    let admin = AnyPool::connect(&format!("{base}/postgres")).await.expect("a PostgreSQL");
    sqlx::query(sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).execute(&admin).await.expect("dropped");
    let refused = live.post("/segments", json!({"name": "late", "sql": BIG})).await;
    assert_eq!((refused.status, &refused.body["type"]), (503, &json!("/problems/catalog-unreachable")), "{}", refused.body);
    assert_eq!(live.get("/readyz").await.status, 503);
    live.post("/events", json!([purchase("u1", now(), 300.0), purchase("u1", now(), 300.0)])).await;
    live.until("evaluation", Duration::from_secs(2), async || live.segments_of("u1").await == ["High Spenders"]).await;
    assert_eq!(live.get("/segments/High%20Spenders").await.status, 200);
    assert!(!live.said().contains(base.rsplit_once('@').and_then(|(u, _)| u.rsplit_once(':')).map_or("?", |(_, password)| password)), "a secret in the log");
}
