//! A schema registry in the test: it speaks Confluent's protocol over HTTP, and fails on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// As it should.
    Well,
    /// With a status and a page.
    Broken(u16),
    /// Not before long.
    Silent,
}

/// What it holds.
pub struct Held {
    /// Schemas by id, and by subject and version.
    schemas: BTreeMap<String, Value>,
    mode: Mode,
    /// The header that those who ask must bring.
    login: Option<String>,
    /// What was asked for.
    asked: Vec<String>,
}

/// A registry that runs.
#[derive(Clone)]
pub struct Registry {
    held: Arc<Mutex<Held>>,
    /// Its address.
    pub url: String,
}

impl Registry {
    /// Starts one without schemas, under a path of its own.
    pub async fn start() -> Registry {
        let held = Arc::new(Mutex::new(Held { schemas: BTreeMap::new(), mode: Mode::Well, login: None, asked: vec![] }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/registry", listener.local_addr().expect("an address"));
        let by_id =
            async |State(held): State<Arc<Mutex<Held>>>, Path(id): Path<u32>, headers: HeaderMap| answer(&held, &headers, format!("ids/{id}"), 40403).await;
        let by_version = async |State(held): State<Arc<Mutex<Held>>>, Path((subject, version)): Path<(String, i64)>, headers: HeaderMap| {
            answer(&held, &headers, format!("{subject}/{version}"), 40402).await
        };
        let app = Router::new()
            .route("/registry/schemas/ids/{id}", get(by_id))
            .route("/registry/subjects/{subject}/versions/{version}", get(by_version))
            .with_state(Arc::clone(&held));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Registry { held, url }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().expect("no panic")
    }

    /// Adds a schema by its id; `references` are names with subject and version.
    pub fn add(&self, id: u32, kind: &str, schema: &str, references: &[(&str, &str, i64)]) {
        self.held().schemas.insert(format!("ids/{id}"), told(kind, schema, references));
    }

    /// Adds a version of a subject.
    pub fn add_version(&self, subject: &str, version: i64, kind: &str, schema: &str, references: &[(&str, &str, i64)]) {
        self.held().schemas.insert(format!("{subject}/{version}"), told(kind, schema, references));
    }

    /// From now on it answers so.
    pub fn set_mode(&self, mode: Mode) {
        self.held().mode = mode;
    }

    /// From now on those who ask must bring this header.
    pub fn set_login(&self, login: &str) {
        self.held().login = Some(login.into());
    }

    /// What it was asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.held().asked.clone()
    }
}

fn told(kind: &str, schema: &str, references: &[(&str, &str, i64)]) -> Value {
    let references: Vec<Value> = references.iter().map(|(name, subject, version)| json!({"name": name, "subject": subject, "version": version})).collect();
    // Avro is what a registry does not mention.
    match kind {
        "AVRO" => json!({"schema": schema, "references": references}),
        _ => json!({"schema": schema, "schemaType": kind, "references": references}),
    }
}

async fn answer(held: &Mutex<Held>, headers: &HeaderMap, key: String, missing: u32) -> Response {
    let (mode, found, login) = {
        let mut held = held.lock().expect("no panic");
        held.asked.push(key.clone());
        (held.mode, held.schemas.get(&key).cloned(), held.login.clone())
    };
    let refuse = |status: StatusCode, code: u32| (status, Json(json!({"error_code": code, "message": "refused"}))).into_response();
    match mode {
        Mode::Well => {}
        Mode::Broken(status) => return (StatusCode::from_u16(status).expect("a status"), "<html>not here</html>").into_response(),
        Mode::Silent => tokio::time::sleep(Duration::from_secs(60)).await,
    }
    let brought = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    if login.is_some() && login.as_deref() != brought {
        return refuse(StatusCode::UNAUTHORIZED, 40101);
    }
    found.map_or_else(|| refuse(StatusCode::NOT_FOUND, missing), |schema| Json(schema).into_response())
}
