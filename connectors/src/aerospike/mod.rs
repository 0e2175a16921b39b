//! Aerospike: the shared store of profiles. [`record`] says what a record holds and which operations change it,
//! [`sink`] writes results, this file connects, checks the namespace and looks users up.

pub mod record;
pub mod sink;

use std::sync::Arc;
use std::time::Duration;

use aerospike::policy::{AdminPolicy, AuthMode, TlsPolicy};
use aerospike::{Bins, Client, ClientPolicy, Error, Key, ReadPolicy, ResultCode};

use record::Profile;

/// Where profiles are kept, and how.
#[derive(Clone)]
pub struct AerospikeOptions {
    /// `host:port`, several with commas between.
    pub hosts: String,
    /// The namespace.
    pub namespace: String,
    /// The set.
    pub set: String,
    /// How long a record lives after its last write.
    pub ttl: Duration,
    /// How long a call may take.
    pub timeout: Duration,
    /// User and password, if the cluster asks for them.
    pub login: Option<(String, String)>,
    /// How to encrypt, if so.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Users in a call.
    pub batch: usize,
    /// Calls at a time.
    pub in_flight: usize,
}

/// A call to Aerospike that failed.
#[derive(Debug, thiserror::Error)]
#[error("aerospike {hosts}: {message}")]
pub struct AerospikeProblem {
    /// Where.
    pub hosts: String,
    /// What is wrong.
    pub message: String,
    /// Whether it stays so, whatever is tried.
    pub fatal: bool,
}

/// A connection, made when it is first needed; clones share it.
#[derive(Clone)]
pub struct Aerospike {
    /// Where profiles are kept.
    pub options: AerospikeOptions,
    client: Arc<tokio::sync::OnceCell<Client>>,
}

/// Whether an error stays, whatever is tried: somebody has to change the configuration of the cluster, or ours.
pub(crate) fn is_fatal(code: ResultCode) -> bool {
    use ResultCode as C;
    matches!(
        code,
        C::InvalidNamespace
            | C::ParameterError
            | C::BinTypeError
            | C::RecordTooBig
            | C::AlwaysForbidden
            | C::FailForbidden
            | C::InvalidUser
            | C::InvalidPassword
            | C::ExpiredPassword
            | C::ForbiddenPassword
            | C::InvalidCredential
            | C::NotAuthenticated
            | C::RoleViolation
            | C::SecurityNotEnabled
            | C::SecurityNotSupported
    )
}

impl Aerospike {
    /// Where profiles are kept; connects later.
    pub fn new(options: AerospikeOptions) -> Self {
        Aerospike { options, client: Arc::default() }
    }

    pub(crate) fn problem(&self, message: impl Into<String>, fatal: bool) -> AerospikeProblem {
        AerospikeProblem { hosts: self.options.hosts.clone(), message: message.into(), fatal }
    }

    pub(crate) fn failed(&self, error: &Error) -> AerospikeProblem {
        // What made it fail may be further down.
        let codes = std::iter::successors(Some(error), |e| e.cause()).filter_map(Error::server_result_code);
        let fatal = codes.into_iter().any(is_fatal) || error.sub_errors().iter().filter_map(Error::server_result_code).any(is_fatal);
        let hint = if error.server_result_code() == Some(ResultCode::FailForbidden) {
            " (writes with a time to live are refused where nsup-period is 0: scripts/setup-aerospike-namespace.sh check says more)"
        } else {
            ""
        };
        self.problem(format!("{error}{hint}"), fatal)
    }

    /// The client, connected and with a namespace that was checked.
    ///
    /// # Errors
    /// When no host answers, or namespace or login are refused.
    pub async fn client(&self) -> Result<&Client, AerospikeProblem> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Client, AerospikeProblem> {
        let millis = u32::try_from(self.options.timeout.as_millis()).unwrap_or(u32::MAX);
        let mut policy = ClientPolicy { timeout: millis, max_conns_per_node: 2 * self.options.in_flight.max(8), ..ClientPolicy::default() };
        if let Some((user, password)) = &self.options.login {
            policy.auth_mode = AuthMode::Internal(user.clone(), password.clone());
        }
        policy.tls_policy = self.options.tls.clone().map(TlsPolicy::new);
        let connecting = Client::new(&policy, &self.options.hosts);
        let connected = tokio::time::timeout(self.options.timeout * 5, connecting).await;
        let client = connected.map_err(|_| self.problem("no host answers in time", false))?.map_err(|e| self.refused(&e))?;
        self.check(&client).await?;
        Ok(client)
    }

    /// Why a connection was not made. The code of a login that was refused is only in the text.
    fn refused(&self, error: &Error) -> AerospikeProblem {
        let problem = self.failed(error);
        let login = [51, 52, 60, 61, 62, 63, 65, 66, 80, 81].iter().any(|code| problem.message.contains(&format!("Error {code}")));
        if login && self.options.login.is_some() { self.problem(format!("login refused: {}", problem.message), true) } else { problem }
    }

    /// Whether the namespace is there and lets records expire.
    async fn check(&self, client: &Client) -> Result<(), AerospikeProblem> {
        let (namespace, command) = (&self.options.namespace, format!("namespace/{}", self.options.namespace));
        for node in client.nodes() {
            let answer = node.info(&AdminPolicy::default(), &[&command]).await.map_err(|e| self.failed(&e))?;
            let text = answer.get(&command).cloned().unwrap_or_default();
            if text.is_empty() || text.starts_with("ERROR") || text.starts_with("FAIL") || text.contains("type=unknown") {
                return Err(self.problem(format!("there is no namespace {namespace:?} on {}", node.name()), true));
            }
            let value = |key: &str| text.split(';').find_map(|pair| pair.split_once('=').filter(|(k, _)| *k == key).map(|(_, v)| v.to_string()));
            let cleans = value("nsup-period").is_none_or(|v| v != "0");
            let allowed = value("allow-ttl-without-nsup").is_some_and(|v| v == "true");
            if !cleans && !allowed {
                return Err(self.problem(
                    format!("namespace {namespace:?} has nsup-period 0: it refuses records with a time to live; set it, for instance, to 120"),
                    true,
                ));
            }
            if value("stop_writes").is_some_and(|v| v == "true") {
                tracing::warn!(namespace, node = node.name(), "aerospike: the namespace takes no writes (stop-writes): it is out of memory or storage");
            }
        }
        Ok(())
    }

    /// The key of a user's record.
    ///
    /// # Errors
    /// When the client takes no such key.
    pub(crate) fn key(&self, user: &str) -> Result<Key, AerospikeProblem> {
        Key::new(self.options.namespace.as_str(), self.options.set.as_str(), user.into()).map_err(|e| self.failed(&e))
    }

    /// A user's profile, if there is one.
    ///
    /// # Errors
    /// When no host answers in time, or it refuses.
    pub async fn get(&self, user: &str) -> Result<Option<Profile>, AerospikeProblem> {
        let client = self.client().await?;
        let mut policy = ReadPolicy::default();
        let millis = u32::try_from(self.options.timeout.as_millis()).unwrap_or(u32::MAX);
        (policy.base_policy.total_timeout, policy.base_policy.socket_timeout) = (millis, millis);
        policy.base_policy.max_retries = 2;
        match client.get(&policy, &self.key(user)?, Bins::All).await {
            Ok(record) => Ok(Some(record::profile(user, &record))),
            Err(error) if error.server_result_code() == Some(ResultCode::KeyNotFoundError) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }
}
