//! Who may do what, over every operation of the OpenAPI document.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::live::{Live, high_spenders, now, purchase};

const ROLES: [&str; 3] = ["read", "write", "admin"];

/// Every operation, with the least role that it takes and a body. An operation that is missing here fails the test:
/// say who may do it.
fn operations() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let none = Value::Null;
    vec![
        ("GET", "/segments", "read", none.clone()),
        ("POST", "/segments", "write", high_spenders()),
        ("GET", "/segments/rules", "read", none.clone()),
        ("GET", "/segments/rules/eventType/{eventType}", "read", none.clone()),
        ("POST", "/segments/preview", "read", high_spenders()),
        ("POST", "/segments/check", "read", high_spenders()),
        ("GET", "/segments/{id}", "read", none.clone()),
        ("PUT", "/segments/{id}", "write", high_spenders()),
        ("DELETE", "/segments/{id}", "write", none.clone()),
        ("PATCH", "/segments/{id}/status", "write", json!({"active": false})),
        ("GET", "/segments/{id}/members", "read", none.clone()),
        ("GET", "/segments/{id}/stats", "read", none.clone()),
        ("GET", "/segments/{id}/versions", "read", none.clone()),
        ("GET", "/audit", "admin", none.clone()),
        ("POST", "/sql", "read", json!({"sql": "SHOW SEGMENTS"})),
        ("GET", "/explain", "read", none.clone()),
        ("POST", "/explain", "read", json!({"sql": "ALL SEGMENTS"})),
        ("GET", "/users", "read", none.clone()),
        ("GET", "/users/{userId}/segments", "read", none.clone()),
        ("GET", "/users/{userId}/events", "read", none.clone()),
        ("GET", "/users/{userId}/timeline", "read", none.clone()),
        ("GET", "/users/{userId}/segments/{segment}/why", "read", none.clone()),
        ("POST", "/events", "write", purchase("u1", now(), 1.0)),
        ("POST", "/events/generate", "write", json!({"count": 1})),
        ("GET", "/events/topics", "read", none.clone()),
        ("GET", "/events/dead-letters", "read", none.clone()),
        ("GET", "/events/dead-letters/reasons", "read", none.clone()),
        ("GET", "/results", "read", none.clone()),
        ("GET", "/results/stream", "read", none.clone()),
        ("GET", "/status", "read", none.clone()),
        ("GET", "/status/history", "read", none.clone()),
        ("GET", "/config", "read", none.clone()),
        ("GET", "/me", "read", none),
    ]
}

/// Starts a service with a token of each role, whose secret is the role's name and `-secret`.
fn start(folder: &std::path::Path) -> Live {
    let token = |role: &str| format!("{{name=\"{role}er\",role=\"{role}\",secret_env=\"TOKEN_{role}\"}}");
    let tokens = format!("server.tokens=[{}]", ROLES.map(token).join(","));
    let env = ROLES.map(|role| (format!("TOKEN_{role}"), format!("{role}-secret")));
    let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    Live::start_with(folder, &["source.partitions=1", &tokens], &env).unwrap_or_else(|said| panic!("{said}"))
}

/// The status of an answer whose body is not waited for.
async fn status(live: &Live, method: &str, path: &str, body: &Value, token: Option<&str>) -> u16 {
    let request = live.request(method.parse::<Method>().expect("a method"), path);
    let request = if body.is_null() { request } else { request.json(body) };
    let request = token.map_or(request.try_clone(), |t| request.try_clone().map(|r| r.bearer_auth(t))).expect("a request");
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn every_operation_takes_a_role() {
    let data = tempfile::tempdir().expect("a folder");
    let live = start(data.path());
    let document = live.send(live.request(Method::GET, "/openapi.json").bearer_auth("read-secret")).await.body;
    let operations = operations();
    let documented: BTreeSet<String> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, methods)| methods.as_object().into_iter().flat_map(|m| m.keys()).map(move |m| format!("{} {path}", m.to_uppercase())))
        .collect();
    let listed: BTreeSet<String> = operations.iter().map(|(method, path, ..)| format!("{method} /api/v1{path}")).collect();
    assert_eq!(documented, listed);

    // A segment that is there, and names that are not: who may is asked first.
    let named = |path: &str| ["{id}", "{segment}", "{userId}", "{eventType}"].iter().fold(path.to_string(), |p, name| p.replace(name, "none"));
    for (method, path, least, body) in &operations {
        let path = named(path);
        assert_eq!(status(&live, method, &path, body, None).await, 401, "{method} {path} without a token");
        assert_eq!(status(&live, method, &path, body, Some("guess")).await, 401, "{method} {path} with a wrong token");
        let least = ROLES.iter().position(|r| r == least).expect("a role");
        for (n, role) in ROLES.iter().enumerate() {
            let got = status(&live, method, &path, body, Some(&format!("{role}-secret"))).await;
            if n < least {
                assert_eq!(got, 403, "{method} {path} as {role}");
            } else {
                assert!(![401, 403, 405].contains(&got) && got < 500, "{method} {path} as {role}: {got}");
            }
        }
    }
    assert_eq!(status(&live, "GET", "/openapi.json", &Value::Null, None).await, 401);
    assert_eq!(status(&live, "GET", "/metrics", &Value::Null, None).await, 401);
    assert_eq!(status(&live, "GET", "/metrics", &Value::Null, Some("read-secret")).await, 200);
    // Those who watch the process have no token.
    assert_eq!(status(&live, "GET", "/healthz", &Value::Null, None).await, 200);
    assert_eq!(status(&live, "GET", "/readyz", &Value::Null, None).await, 200);
}

/// What SQL takes depends on its statements; the first one that is not allowed ends it.
#[tokio::test]
async fn statements_take_roles() {
    let data = tempfile::tempdir().expect("a folder");
    let live = start(data.path());
    let query = crate::live::BIG;
    let statements = [
        (format!("CREATE SEGMENT a AS {query}"), "write"),
        (format!("CREATE OR REPLACE SEGMENT a AS {query}"), "write"),
        (format!("CREATE SEGMENT IF NOT EXISTS a AS {query}"), "write"),
        ("ALTER SEGMENT a PAUSE".to_string(), "write"),
        ("ALTER SEGMENT a RESUME".to_string(), "write"),
        ("SHOW SEGMENTS".to_string(), "read"),
        ("SELECT * FROM memberships".to_string(), "read"),
        ("EXPLAIN SEGMENT a".to_string(), "read"),
        (format!("EXPLAIN CREATE SEGMENT b AS {query}"), "read"),
        (format!("SHOW SEGMENTS; CREATE SEGMENT c AS {query}"), "write"),
        ("DROP SEGMENT a".to_string(), "write"),
        ("DROP SEGMENT IF EXISTS none".to_string(), "write"),
    ];
    for (sql, least) in &statements {
        let as_reader = status(&live, "POST", "/sql", &json!({ "sql": sql }), Some("read-secret")).await;
        assert_eq!(as_reader, if *least == "read" { 200 } else { 403 }, "{sql}");
        assert_eq!(status(&live, "POST", "/sql", &json!({ "sql": sql }), Some("write-secret")).await, 200, "{sql}");
    }
}
