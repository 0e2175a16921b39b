//! PostgreSQL's protocol: psql and BI tools read what SELECT reads, and run the statements of segments. A statement means what it means
//! over HTTP: both run it through `api::sql` and `service::query`.

mod catalog;
mod errors;
mod rewrite;
mod session;
mod settings;
mod values;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pgwire::messages::PgWireBackendMessage as Message;
use pgwire::messages::ProtocolVersion;
use pgwire::messages::response::{ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::api::App;
use crate::api::auth::{Caller, Tokens};
use session::{Block, Session};
use settings::{REPORTED, Settings};
use wire::{Hello, Request, Wire};

/// Clients at a time; others are refused.
const MAX_CONNECTIONS: usize = 64;
/// Clients at a time that are told so, or that cancel a statement.
const MAX_REFUSED: usize = 16;
/// Time to say who one is.
const STARTUP: Duration = Duration::from_secs(10);
/// Time for statements to end when the service stops.
const GRACE: Duration = Duration::from_secs(1);
/// After which a client that is silent is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);
const VERSION_3_0: u32 = 3 << 16;

/// What all connections share.
struct Server {
    app: App,
    tokens: Arc<Tokens>,
    tls: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
    /// Who cancels a statement names its connection and a secret.
    clients: Mutex<HashMap<(i32, i32), Arc<Notify>>>,
    last: AtomicI32,
}

/// What the endpoint needs.
pub struct Options {
    /// The service.
    pub app: App,
    /// Who may do what.
    pub tokens: Arc<Tokens>,
    /// The certificate of the HTTP API, if it has one.
    pub tls: Option<Arc<ServerConfig>>,
    /// Turns true when the service stops.
    pub stop: watch::Receiver<bool>,
}

/// Serves clients until the service stops.
pub async fn serve(listener: TcpListener, options: Options) {
    let Options { app, tokens, tls, mut stop } = options;
    let tls = tls.map(|config| {
        let mut config = ServerConfig::clone(&config);
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    });
    let server = Arc::new(Server { app, tokens, tls, stop: stop.clone(), clients: Mutex::default(), last: AtomicI32::new(0) });
    let (places, refusals) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), Arc::new(Semaphore::new(MAX_REFUSED)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                note(ended);
                continue;
            }
            () = stopped(&mut stop) => break,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "postgres: accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (place, full) = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => (place, false),
            Err(_) => match Arc::clone(&refusals).try_acquire_owned() {
                Ok(place) => (place, true),
                Err(_) => continue,
            },
        };
        let server = Arc::clone(&server);
        connections.spawn(async move {
            let _place = place;
            server.connection(socket, peer, full).await
        });
    }
    drop(listener);
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            note(ended)
        }
    };
    if tokio::time::timeout(2 * GRACE, ended).await.is_err() {
        tracing::warn!("postgres: connections that do not end are dropped");
    }
}

fn note(ended: Result<io::Result<()>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "postgres: a connection ended"),
        Err(error) => tracing::error!(%error, "postgres: a connection failed"),
    }
}

/// Waits until the service stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Without a sender there is nobody left who could say so.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn count(outcome: &'static str) {
    metrics::counter!("cohort_postgres_connections_total", "outcome" => outcome).increment(1);
}

/// Counts a client while it is there.
struct Open;

impl Open {
    fn new() -> Open {
        metrics::gauge!("cohort_postgres_connections").increment(1.0);
        Open
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("cohort_postgres_connections").decrement(1.0);
    }
}

/// A connection that can be cancelled, while it is there.
struct Registered {
    server: Arc<Server>,
    key: (i32, i32),
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.server.clients().remove(&self.key);
    }
}

impl Server {
    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<(i32, i32), Arc<Notify>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, full: bool) -> io::Result<()> {
        socket.set_nodelay(true)?;
        SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
        let until = tokio::time::Instant::now() + STARTUP;
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let mut wire = Wire::new(socket);
        loop {
            match tokio::time::timeout_at(until, wire.hello()).await.map_err(late)?? {
                Hello::Tls => match &self.tls {
                    None => wire.byte(b'N').await?,
                    Some(tls) => {
                        wire.byte(b'S').await?;
                        let socket = tokio::time::timeout_at(until, tls.accept(wire.into_socket()?)).await.map_err(late)??;
                        let mut wire = Wire::new(socket);
                        let hello = tokio::time::timeout_at(until, wire.hello()).await.map_err(late)??;
                        return self.begin(wire, hello, peer, full, until).await;
                    }
                },
                Hello::Gss => wire.byte(b'N').await?,
                hello @ Hello::Startup(..) if self.tls.is_some() => {
                    drop(hello);
                    count("refused");
                    wire.tell(errors::fatal("28000", "this service is spoken to over TLS only: connect with sslmode=require")).await?;
                    wire.close().await;
                    return Ok(());
                }
                hello => return self.begin(wire, hello, peer, full, until).await,
            }
        }
    }

    async fn begin<S>(self: Arc<Self>, mut wire: Wire<S>, hello: Hello, peer: SocketAddr, full: bool, until: tokio::time::Instant) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (version, asked) = match hello {
            Hello::Startup(version, asked) => (version, asked),
            Hello::Cancel(pid, secret) => {
                if let Some(client) = self.clients().get(&(pid, secret)) {
                    client.notify_waiters();
                }
                return Ok(());
            }
            Hello::Tls | Hello::Gss => return Ok(()),
        };
        let asked: BTreeMap<String, String> = asked.into_iter().collect();
        let refused = if full {
            Some(errors::fatal("53300", format!("there are {MAX_CONNECTIONS} connections, and no more are accepted")))
        } else if version >> 16 != 3 {
            Some(errors::fatal("0A000", format!("protocol {}.{} is not spoken here, but 3.0", version >> 16, version & 0xffff)))
        } else {
            None
        };
        if let Some(refused) = refused {
            count("refused");
            wire.tell(refused).await?;
            wire.close().await;
            return Ok(());
        }
        if version != VERSION_3_0 || asked.keys().any(|k| k.starts_with("_pq_.")) {
            let unknown = asked.keys().filter(|k| k.starts_with("_pq_.")).cloned().collect();
            let negotiate = NegotiateProtocolVersion::new(ProtocolVersion::PROTOCOL3_0.into(), unknown);
            wire.send(Message::NegotiateProtocolVersion(negotiate)).await?;
        }
        let user = asked.get("user").cloned().unwrap_or_default();
        let caller = match tokio::time::timeout_at(until, self.identify(&mut wire)).await {
            Ok(caller) => caller?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        let Some(caller) = caller else {
            count("unauthorized");
            tracing::warn!(%peer, user, "postgres: a password is not known");
            wire.tell(errors::fatal("28P01", format!("password authentication failed for user {user:?}: passwords are the tokens of the API"))).await?;
            wire.close().await;
            return Ok(());
        };
        self.welcome(wire, caller, user, &asked).await
    }

    /// Who the client is: its password is a token.
    async fn identify<S: AsyncRead + AsyncWrite + Unpin>(&self, wire: &mut Wire<S>) -> io::Result<Option<Caller>> {
        if let Some(anyone) = self.tokens.anyone() {
            return Ok(Some(anyone));
        }
        wire.send(Message::Authentication(Authentication::CleartextPassword)).await?;
        wire.flush().await?;
        match wire.next(false).await? {
            Some(Request::Password(password)) => Ok(self.tokens.holder(password.trim())),
            Some(_) => Ok(None),
            // psql goes to ask its user for the password.
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    async fn welcome<S>(self: Arc<Self>, mut wire: Wire<S>, caller: Caller, user: String, asked: &BTreeMap<String, String>) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut settings = Settings::default();
        Arc::make_mut(&mut settings.0).insert("session_authorization".into(), user.clone());
        // As of PGOPTIONS='-c statement_timeout=5s'.
        let options = asked.get("options").map_or("", String::as_str).split("-c").filter_map(|o| o.trim().trim_start_matches('-').split_once('='));
        let named = asked.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in named.filter(|(name, _)| !matches!(*name, "user" | "database" | "options" | "replication")).chain(options) {
            // What is not known here would not be used either.
            if let Err(problem) = settings.set(name, value)
                && name == "client_encoding"
            {
                count("refused");
                wire.tell(errors::fatal("22023", problem.detail)).await?;
                wire.close().await;
                return Ok(());
            }
        }
        let (pid, secret) = (self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1), rand::random::<i32>());
        let cancel = Arc::new(Notify::new());
        self.clients().insert((pid, secret), Arc::clone(&cancel));
        let _registered = Registered { server: Arc::clone(&self), key: (pid, secret) };
        wire.send(Message::Authentication(Authentication::Ok)).await?;
        for name in REPORTED {
            let value = settings.get(name).unwrap_or_default().to_string();
            wire.send(Message::ParameterStatus(ParameterStatus::new(name.into(), value))).await?;
        }
        wire.send(Message::BackendKeyData(BackendKeyData::new(pid, SecretKey::I32(secret)))).await?;
        wire.send(Message::ReadyForQuery(ReadyForQuery::new(TransactionStatus::Idle))).await?;
        wire.flush().await?;
        count("accepted");
        let _open = Open::new();
        let session = Session {
            wire,
            app: Arc::clone(&self.app),
            caller,
            user,
            pid,
            settings,
            cancel,
            stop: self.stop.clone(),
            block: Block::default(),
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
        };
        session.serve().await
    }
}
