//! An object store that speaks as much of S3's protocol as reading needs: objects by ranges, and lists in pages. It fails
//! on demand. Google's clients speak the same to it, and Azure's get their lists in another shape.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Keys of a page of a list.
const PAGE: usize = 3;
const MODIFIED: &str = "Mon, 02 Nov 2026 00:00:00 GMT";

#[derive(Default)]
struct Store {
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// Requests that are still refused because the store has too much to do.
    busy: AtomicU64,
    requests: AtomicU64,
    /// Bytes of objects that were sent.
    sent: AtomicU64,
}

/// A bucket `bucket` on a port of its own.
pub struct S3 {
    store: Arc<Store>,
    pub endpoint: String,
}

impl S3 {
    pub fn start() -> S3 {
        let store = Arc::new(Store::default());
        let app = Router::new().route("/bucket", axum::routing::any(list)).route("/bucket/{*key}", axum::routing::any(object)).with_state(Arc::clone(&store));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                listener.set_nonblocking(true).expect("a listener");
                axum::serve(tokio::net::TcpListener::from_std(listener).expect("a listener"), app).await.expect("it serves");
            });
        });
        S3 { store, endpoint }
    }

    pub fn put(&self, key: &str, bytes: Vec<u8>) {
        self.store.objects.lock().expect("no panic").insert(key.into(), bytes.into());
    }

    /// Puts all files below a folder.
    pub fn put_all(&self, folder: &std::path::Path, prefix: &str) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let key = format!("{prefix}/{}", path.file_name().and_then(|n| n.to_str()).expect("a name"));
            if path.is_dir() { self.put_all(&path, &key) } else { self.put(&key, std::fs::read(&path).expect("a file")) }
        }
    }

    /// Refuses so many requests from now on.
    pub fn be_busy(&self, requests: u64) {
        self.store.busy.store(requests, Ordering::SeqCst);
    }

    pub fn sent(&self) -> u64 {
        self.store.sent.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> u64 {
        self.store.requests.load(Ordering::SeqCst)
    }

    /// What a client of Google Cloud Storage finds the store by.
    #[cfg(feature = "gcp")]
    pub fn environment_of_google(&self) -> [(&'static str, String); 2] {
        let key = serde_json::json!({"gcs_base_url": self.endpoint, "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""});
        [("GOOGLE_SERVICE_ACCOUNT_KEY", key.to_string()), ("GOOGLE_ALLOW_HTTP", "true".into())]
    }

    /// What a client of Azure finds the store by.
    #[cfg(feature = "azure")]
    pub fn environment_of_azure(&self) -> [(&'static str, String); 4] {
        [
            ("AZURE_STORAGE_ENDPOINT", self.endpoint.clone()),
            ("AZURE_ALLOW_HTTP", "true".into()),
            ("AZURE_STORAGE_ACCOUNT_NAME", "key".into()),
            ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0".into()),
        ]
    }

    /// What a client finds the store by.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT", self.endpoint.clone()),
            ("AWS_ALLOW_HTTP", "true".into()),
            ("AWS_ACCESS_KEY_ID", "key".into()),
            ("AWS_SECRET_ACCESS_KEY", "secret".into()),
            ("AWS_REGION", "eu-central-1".into()),
        ]
    }
}

impl Store {
    fn refuses(&self, headers: &HeaderMap) -> Option<Response> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let login = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let is_amazon = login.contains("Credential=key/") && login.contains("/s3/aws4_request");
        // Without OAuth, Google's clients do not say who they are.
        let is_known = is_amazon || login.starts_with("SharedKey key:") || (cfg!(feature = "gcp") && login.is_empty());
        if !is_known {
            return Some((StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>").into_response());
        }
        let busy = self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        busy.then(|| (StatusCode::SERVICE_UNAVAILABLE, "<Error><Code>SlowDown</Code></Error>").into_response())
    }
}

fn tag(bytes: &Bytes) -> String {
    format!("\"{:08x}-{}\"", crc32fast::hash(bytes), bytes.len())
}

async fn list(State(store): State<Arc<Store>>, Query(query): Query<HashMap<String, String>>, headers: HeaderMap) -> Response {
    if let Some(refused) = store.refuses(&headers) {
        return refused;
    }
    let is_azure = query.get("comp").is_some_and(|comp| comp == "list");
    let after = query.get(if is_azure { "marker" } else { "continuation-token" }).cloned().unwrap_or_default();
    let prefix = query.get("prefix").cloned().unwrap_or_default();
    let objects = store.objects.lock().expect("no panic");
    let mut keys = objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after).peekable();
    let (mut contents, mut last) = (String::new(), String::new());
    for (key, bytes) in keys.by_ref().take(PAGE) {
        let (tag, size) = (tag(bytes).replace('"', "&quot;"), bytes.len());
        let _ = if is_azure {
            write!(
                contents,
                "<Blob><Name>{key}</Name><Properties><Last-Modified>{MODIFIED}</Last-Modified><Etag>{tag}</Etag><Content-Length>{size}</Content-Length><Content-Type>x/y</Content-Type></Properties></Blob>"
            )
        } else {
            let modified = "2026-11-02T00:00:00.000Z";
            write!(contents, "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>{tag}</ETag><Size>{size}</Size></Contents>")
        };
        last.clone_from(key);
    }
    if is_azure {
        let next = keys.peek().map_or_else(String::new, |_| last.clone());
        let list = format!("<EnumerationResults><Blobs>{contents}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>");
        return ([(header::CONTENT_TYPE, "application/xml")], list).into_response();
    }
    let next = match keys.peek() {
        Some(_) => format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>"),
        None => "<IsTruncated>false</IsTruncated>".into(),
    };
    ([(header::CONTENT_TYPE, "application/xml")], format!("<ListBucketResult>{next}{contents}</ListBucketResult>")).into_response()
}

async fn object(State(store): State<Arc<Store>>, method: Method, Path(key): Path<String>, headers: HeaderMap) -> Response {
    if let Some(refused) = store.refuses(&headers) {
        return refused;
    }
    let Some(bytes) = store.objects.lock().expect("no panic").get(&key).cloned() else {
        return (StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>").into_response();
    };
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    if text(header::IF_MATCH).is_some_and(|wanted| wanted != tag(&bytes)) {
        return (StatusCode::PRECONDITION_FAILED, "<Error><Code>PreconditionFailed</Code></Error>").into_response();
    }
    let about = [(header::ETAG, tag(&bytes)), (header::LAST_MODIFIED, MODIFIED.into())];
    if method == Method::HEAD {
        return (about, [(header::CONTENT_LENGTH, bytes.len().to_string())]).into_response();
    }
    let range = text(header::RANGE).and_then(|r| r.strip_prefix("bytes=")?.split_once('-')).map(|(a, b)| (a.parse::<usize>(), b.parse::<usize>()));
    let Some((Ok(start), Ok(last))) = range else { return StatusCode::BAD_REQUEST.into_response() };
    let end = (last + 1).min(bytes.len());
    store.sent.fetch_add((end - start) as u64, Ordering::SeqCst);
    let of = format!("bytes {start}-{}/{}", end - 1, bytes.len());
    (StatusCode::PARTIAL_CONTENT, about, [(header::CONTENT_RANGE, of)], bytes.slice(start..end)).into_response()
}
