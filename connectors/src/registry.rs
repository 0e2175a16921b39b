//! A schema registry that speaks Confluent's protocol: schemas by the ids that records carry, with all that they name.
//!
//! Several addresses are tried in turn. Only an answer that says so means that there is no such schema; whatever else
//! goes wrong, the schema is [`Away`] and asked for again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Once};
use std::time::Duration;

use cohort_engine::formats::Away;
use cohort_engine::formats::schemas::{Registered, SchemaKind, SchemaSource};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Certificate, Client, Identity, StatusCode, Url};
use serde::Deserialize;
use tokio::runtime::Handle;

/// The largest answer that is read, in bytes.
const LARGEST: usize = 8 << 20;
/// The most schemas that one may name, and those in turn.
const MOST: usize = 256;
/// Codes of the registry for a schema, a version or a subject that is not there.
const NOT_THERE: [u32; 3] = [40401, 40402, 40403];

/// Who asks.
#[derive(Clone, Default)]
pub enum Login {
    /// Anybody.
    #[default]
    None,
    /// A user with a password.
    Basic(String, String),
    /// Who holds a token.
    Bearer(String),
}

/// How to reach a registry.
#[derive(Clone, Default)]
pub struct RegistryOptions {
    /// Its addresses, tried in turn.
    pub urls: Vec<String>,
    /// How long a schema may take to come.
    pub timeout: Duration,
    /// Who asks.
    pub login: Login,
    /// Who signs the registry's certificate, as PEM; the system's, if not given.
    pub ca: Option<Vec<u8>>,
    /// Our certificate chain and its key, as PEM, where the registry asks for one.
    pub identity: Option<Vec<u8>>,
}

/// A registry that cannot be asked, whatever is tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// An address that is none.
    #[error("{0:?} is no address: it begins with http:// or https://, and holds no password")]
    Url(String),
    /// Certificates or a login that cannot be used.
    #[error("{0}")]
    Client(String),
}

/// A registry. Its requests run on a runtime of their own threads; who asks waits.
pub struct Registry {
    asker: Arc<Asker>,
    handle: Handle,
    timeout: Duration,
}

struct Asker {
    client: Client,
    urls: Vec<Url>,
    login: Option<HeaderValue>,
    /// Which address is tried first.
    first: AtomicUsize,
}

/// A schema as the registry tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    schema: String,
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

/// A schema that another names.
#[derive(Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

#[derive(Deserialize)]
struct Refusal {
    error_code: u32,
}

/// What came of a question.
enum Answer {
    Told(Told),
    NotThere,
}

fn install_provider() {
    static ONCE: Once = Once::new();
    // Another part may have installed it already.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

impl RegistryOptions {
    /// Whether a registry can be asked with these.
    ///
    /// # Errors
    /// When an address, a certificate or the login cannot be used.
    pub fn check(&self) -> Result<(), RegistryError> {
        Asker::new(self).map(drop)
    }
}

impl Registry {
    /// A registry, asked on a runtime.
    ///
    /// # Errors
    /// When an address, a certificate or the login cannot be used.
    pub fn new(options: &RegistryOptions, handle: Handle) -> Result<Self, RegistryError> {
        Ok(Registry { asker: Arc::new(Asker::new(options)?), handle, timeout: options.timeout })
    }
}

impl Asker {
    fn new(options: &RegistryOptions) -> Result<Self, RegistryError> {
        install_provider();
        if options.urls.is_empty() {
            return Err(RegistryError::Client("name at least one".into()));
        }
        let urls = options.urls.iter().map(|url| parse(url)).collect::<Result<_, _>>()?;
        let failed = |error: reqwest::Error| RegistryError::Client(error.without_url().to_string());
        // So that all are tried within the time, though one never answers.
        let mut builder = Client::builder().timeout(options.timeout / u32::try_from(options.urls.len()).unwrap_or(u32::MAX));
        if let Some(pem) = &options.ca {
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(pem).map_err(failed)?);
        }
        if let Some(pem) = &options.identity {
            builder = builder.identity(Identity::from_pem(pem).map_err(failed)?);
        }
        let client = builder.build().map_err(failed)?;
        let login = header(&client, &options.login)?;
        Ok(Asker { client, urls, login, first: AtomicUsize::new(0) })
    }
}

fn parse(url: &str) -> Result<Url, RegistryError> {
    let wrong = || RegistryError::Url(url.to_string());
    let parsed: Url = url.parse().map_err(|_| wrong())?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(wrong());
    }
    if parsed.password().is_some() || !parsed.username().is_empty() {
        return Err(RegistryError::Url(format!("{}://…@{}", parsed.scheme(), parsed.host_str().unwrap_or_default())));
    }
    Ok(parsed)
}

/// The header of a login, which is not shown in logs.
fn header(client: &Client, login: &Login) -> Result<Option<HeaderValue>, RegistryError> {
    let request = client.get("http://registry");
    let request = match login {
        Login::None => return Ok(None),
        Login::Basic(user, password) => request.basic_auth(user, Some(password)),
        Login::Bearer(token) => request.bearer_auth(token),
    };
    let request = request.build().map_err(|_| RegistryError::Client("the login has characters that no header may have".into()))?;
    Ok(request.headers().get(AUTHORIZATION).cloned())
}

impl SchemaSource for Registry {
    fn fetch(&self, id: u32) -> Result<Option<Registered>, Away> {
        let (done, outcome) = sync_channel(1);
        let asker = Arc::clone(&self.asker);
        let task = self.handle.spawn(async move { drop(done.send(asker.ask(id).await)) });
        let outcome = outcome.recv_timeout(self.timeout).unwrap_or_else(|_| Err(format!("no answer within {:?}", self.timeout)));
        task.abort();
        let told = match &outcome {
            Ok(Some(_)) => "found",
            Ok(None) => "unknown",
            Err(_) => "failed",
        };
        metrics::counter!("cohort_schema_requests_total", "outcome" => told).increment(1);
        outcome.map_err(|why| Away { id, why })
    }
}

impl Asker {
    /// Asks one address after the other, beginning with the one that answered last.
    async fn ask(&self, id: u32) -> Result<Option<Registered>, String> {
        let (mut failures, first) = (vec![], self.first.load(Ordering::Relaxed));
        for turn in 0..self.urls.len() {
            let at = (first + turn) % self.urls.len();
            // Should the time end here, the next is tried first next time.
            self.first.store((at + 1) % self.urls.len(), Ordering::Relaxed);
            match self.whole(&self.urls[at], id).await {
                Ok(found) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(found);
                }
                Err(why) => failures.push(format!("{}: {why}", self.urls[at])),
            }
        }
        Err(failures.join("; "))
    }

    /// A schema and all that it names.
    async fn whole(&self, url: &Url, id: u32) -> Result<Option<Registered>, String> {
        let Answer::Told(told) = self.get(url, &["schemas", "ids", &id.to_string()]).await? else { return Ok(None) };
        let kind = match told.schema_type.as_deref().unwrap_or("AVRO") {
            "AVRO" => SchemaKind::Avro,
            "PROTOBUF" => SchemaKind::Protobuf,
            "JSON" => SchemaKind::Json,
            _ => SchemaKind::Other,
        };
        let mut references = vec![];
        // Those to be looked at, the last first; one whose own references are done is put down.
        let mut open: Vec<Step> = told.references.into_iter().rev().map(Step::Ask).collect();
        let mut seen = HashSet::new();
        while let Some(step) = open.pop() {
            let reference = match step {
                Step::Put(name, text) => {
                    references.push((name, text));
                    continue;
                }
                Step::Ask(reference) => reference,
            };
            if !seen.insert(reference.name.clone()) {
                continue;
            }
            if seen.len() > MOST {
                return Err(format!("schema {id} names more than {MOST} others"));
            }
            let version = reference.version.to_string();
            let Answer::Told(told) = self.get(url, &["subjects", &reference.subject, "versions", &version]).await? else {
                return Err(format!("schema {id} names version {version} of {}, which is not there", reference.subject));
            };
            open.push(Step::Put(reference.name, told.schema));
            open.extend(told.references.into_iter().rev().map(Step::Ask));
        }
        Ok(Some(Registered { kind, text: told.schema, references }))
    }

    async fn get(&self, url: &Url, path: &[&str]) -> Result<Answer, String> {
        let mut url = url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.client.get(url).header(ACCEPT, "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(login) = &self.login {
            request = request.header(AUTHORIZATION, login);
        }
        let mut response = request.send().await.map_err(told_of)?;
        let status = response.status();
        let mut body = vec![];
        while let Some(chunk) = response.chunk().await.map_err(told_of)? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                return Err(format!("the answer is larger than {LARGEST} bytes"));
            }
        }
        if status == StatusCode::NOT_FOUND && serde_json::from_slice(&body).is_ok_and(|r: Refusal| NOT_THERE.contains(&r.error_code)) {
            return Ok(Answer::NotThere);
        }
        if !status.is_success() {
            return Err(format!("answered {status}"));
        }
        serde_json::from_slice(&body).map(Answer::Told).map_err(|e| format!("the answer is no schema: {e}"))
    }
}

enum Step {
    Ask(Reference),
    Put(String, String),
}

/// An error with its causes, without the address.
fn told_of(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
