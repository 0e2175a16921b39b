//! An Aerospike server for tests: it listens on loopback ports, speaks the protocol of the real clients, keeps its records in
//! memory, and fails in the ways real servers and networks do, when told so.
//!
//! It answers as server 8.1 does, checked against that server's source. Filters, functions, queries, transactions, compression, TLS,
//! HyperLogLog and bit operations it does not have; it answers them with "unsupported feature", or closes the connection.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

mod cdt;
mod faults;
mod info;
mod message;
mod store;
mod value;

pub use faults::{Faults, Hang};
pub use message::{Digest, code};
pub use store::Record;
pub use value::{List, Map, MapOrder, Value};

use faults::Fate;
use message::{Answer, Batch, BatchAnswer, Malformed, Message, Request};
use store::Store;

/// The start of 2010, from which void times count.
const EPOCH: u64 = 1_262_304_000;
const REBIND_PAUSE: Duration = Duration::from_millis(20);
const REBIND_ATTEMPTS: usize = 250;

/// What a server is and how it is configured.
#[derive(Clone, Debug)]
pub struct Options {
    pub namespace: String,
    /// Zero: nothing removes expired records, and records must not be given a time to live.
    pub nsup_period: u32,
    /// In seconds; zero for never.
    pub default_ttl: u32,
    pub allow_ttl_without_nsup: bool,
    pub stop_writes: bool,
    pub storage_engine: String,
    /// More of what `namespace/…` answers, or other values for what it answers anyway.
    pub namespace_info: Vec<(String, String)>,
    /// The user and password to log in with; without, no login is needed.
    pub user: Option<(String, String)>,
    pub cluster_name: Option<String>,
    pub build: String,
    /// Nodes that share the records, each the master of its part of them.
    pub nodes: usize,
    /// Connections to a node; more are closed at once. Zero for no limit.
    pub max_connections: usize,
    /// Records of a batch; zero for no limit.
    pub batch_max_requests: u32,
    /// Bytes of all values of a record; zero for no limit.
    pub max_record_size: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            namespace: "test".into(),
            nsup_period: 120,
            default_ttl: 0,
            allow_ttl_without_nsup: false,
            stop_writes: false,
            storage_engine: "memory".into(),
            namespace_info: Vec::new(),
            user: None,
            cluster_name: None,
            build: "8.1.2.0".into(),
            nodes: 1,
            max_connections: 0,
            batch_max_requests: 5000,
            max_record_size: 1 << 20,
        }
    }
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections: u64,
    pub open_connections: u64,
    pub logins: u64,
    pub infos: u64,
    /// Messages for one record or a batch.
    pub messages: u64,
    pub batches: u64,
    pub batch_records: u64,
    /// Records created, changed or deleted.
    pub records_written: u64,
    /// Bytes of messages for one record or a batch, their heads too.
    pub record_bytes: u64,
    /// Answers with a code other than success, of records and of messages.
    pub errors: u64,
}

#[derive(Default)]
struct Counters {
    connections: AtomicU64,
    open_connections: AtomicU64,
    logins: AtomicU64,
    infos: AtomicU64,
    messages: AtomicU64,
    batches: AtomicU64,
    batch_records: AtomicU64,
    records_written: AtomicU64,
    record_bytes: AtomicU64,
    errors: AtomicU64,
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// A lock that a panic elsewhere does not close.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running server. It ends when dropped.
pub struct Server {
    shared: Arc<Shared>,
    nodes: Vec<Arc<Node>>,
}

struct Shared {
    options: RwLock<Options>,
    store: Mutex<Store>,
    faults: Faults,
    counters: Counters,
    /// How far the clock is ahead, in seconds.
    ahead: AtomicU64,
    /// Changes of which nodes are up.
    generation: AtomicU64,
    members: RwLock<Vec<Member>>,
    tokens: Mutex<Vec<Vec<u8>>>,
    /// Of a password known to be right, so that not every login has to hash it.
    credential: Mutex<Option<Vec<u8>>>,
}

/// A node as the others know it.
#[derive(Clone)]
struct Member {
    name: String,
    address: SocketAddr,
    up: bool,
}

struct Node {
    id: usize,
    shared: Arc<Shared>,
    life: Mutex<Option<Life>>,
}

/// A node's time between coming up and going down.
struct Life {
    alive: Arc<AtomicBool>,
    connections: Arc<Connections>,
    listener: JoinHandle<()>,
}

#[derive(Default)]
struct Connections {
    streams: Mutex<HashMap<u64, TcpStream>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Server {
    /// Starts a server on free ports of the loopback address.
    ///
    /// # Panics
    /// When it cannot listen.
    #[allow(clippy::expect_used, reason = "a test without its server is to end")]
    pub fn start(options: Options) -> Self {
        let listeners: Vec<TcpListener> = (0..options.nodes.max(1)).map(|_| listen(0).expect("a free port")).collect();
        let members = listeners.iter().enumerate().map(|(id, listener)| Member {
            name: format!("BB9{:012X}", 0xA000 + id),
            address: listener.local_addr().expect("the address of a listener"),
            up: true,
        });
        let shared = Arc::new(Shared {
            members: RwLock::new(members.collect()),
            options: RwLock::new(options),
            store: Mutex::default(),
            faults: Faults::default(),
            counters: Counters::default(),
            ahead: AtomicU64::new(0),
            generation: AtomicU64::new(1),
            tokens: Mutex::default(),
            credential: Mutex::default(),
        });
        let nodes = listeners.into_iter().enumerate().map(|(id, listener)| {
            let node = Arc::new(Node { id, shared: shared.clone(), life: Mutex::new(None) });
            node.run(listener);
            node
        });
        Server { nodes: nodes.collect(), shared }
    }

    /// The port of the first node.
    pub fn port(&self) -> u16 {
        self.ports()[0]
    }

    pub fn ports(&self) -> Vec<u16> {
        self.shared.members().iter().map(|member| member.address.port()).collect()
    }

    /// The host and port of the first node, as a client takes them.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Closes the ports and every connection, and keeps the records. Nothing is applied any more when it returns.
    pub fn down(&self) {
        (0..self.nodes.len()).for_each(|id| self.down_node(id));
    }

    /// Opens the same ports again.
    ///
    /// # Panics
    /// When another process has taken a port meanwhile.
    pub fn up(&self) {
        (0..self.nodes.len()).for_each(|id| self.up_node(id));
    }

    /// Takes one node down; the others own its records from now on.
    pub fn down_node(&self, id: usize) {
        self.shared.set_up(id, false);
        self.nodes[id].stop();
    }

    /// # Panics
    /// When another process has taken the port meanwhile.
    #[allow(clippy::expect_used, reason = "a test without its server is to end")]
    pub fn up_node(&self, id: usize) {
        if lock(&self.nodes[id].life).is_some() {
            return;
        }
        let listener = relisten(self.ports()[id]).expect("the port of before");
        self.shared.set_up(id, true);
        self.nodes[id].run(listener);
    }

    /// Changes the configuration while running.
    pub fn configure(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.shared.options.write().unwrap_or_else(PoisonError::into_inner));
        *lock(&self.shared.credential) = None;
    }

    /// Moves the server's clock ahead.
    pub fn advance(&self, by: Duration) {
        self.shared.ahead.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    /// The server's time, in seconds since 1970.
    pub fn now(&self) -> u64 {
        u64::from(self.shared.now()) + EPOCH
    }

    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connections: get(&counters.connections),
            open_connections: get(&counters.open_connections),
            logins: get(&counters.logins),
            infos: get(&counters.infos),
            messages: get(&counters.messages),
            batches: get(&counters.batches),
            batch_records: get(&counters.batch_records),
            records_written: get(&counters.records_written),
            record_bytes: get(&counters.record_bytes),
            errors: get(&counters.errors),
        }
    }

    /// The records that have not expired, by set and user key. A record whose key no client has sent has its digest for one, in hex.
    pub fn records(&self) -> BTreeMap<(String, String), Record> {
        let name = |record: &Record| match &record.key {
            Some(Value::String(key)) => key.clone(),
            Some(Value::Int(key)) => key.to_string(),
            _ => record.digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let store = lock(&self.shared.store);
        store.live(self.shared.now()).map(|record| ((record.set.clone(), name(record)), record.clone())).collect()
    }

    /// A record by the key that a client has sent with it.
    pub fn record(&self, set: &str, key: &str) -> Option<Record> {
        let store = lock(&self.shared.store);
        store.live(self.shared.now()).find(|record| record.set == set && record.key.as_ref().and_then(Value::as_str) == Some(key)).cloned()
    }

    pub fn record_by_digest(&self, digest: &Digest) -> Option<Record> {
        lock(&self.shared.store).get(digest, self.shared.now()).cloned()
    }

    /// Seconds until a record expires; none when it never does.
    pub fn ttl(&self, record: &Record) -> Option<u32> {
        (record.void_time != 0).then(|| record.void_time.saturating_sub(self.shared.now()))
    }

    pub fn clear(&self) {
        lock(&self.shared.store).clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.nodes.iter().for_each(|node| node.stop());
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn relisten(port: u16) -> io::Result<TcpListener> {
    for _ in 1..REBIND_ATTEMPTS {
        if let Ok(listener) = listen(port) {
            return Ok(listener);
        }
        thread::sleep(REBIND_PAUSE);
    }
    listen(port)
}

impl Shared {
    fn options(&self) -> RwLockReadGuard<'_, Options> {
        self.options.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn members(&self) -> Vec<Member> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_up(&self, id: usize, up: bool) {
        self.members.write().unwrap_or_else(PoisonError::into_inner)[id].up = up;
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Seconds since the epoch of void times.
    fn now(&self) -> u32 {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        (real.saturating_sub(EPOCH) + self.ahead.load(Ordering::Relaxed)) as u32
    }

    /// Applies a request, or lets it fail as the faults have it.
    fn apply(&self, request: &Request, digest: &Digest, fate: Fate) -> Answer {
        let failure = fate.code.or_else(|| self.faults.record(digest, request.is_write()));
        let answer = match failure {
            Some(code) => Answer::failed(code),
            None => lock(&self.store).apply(request, digest, &self.options(), self.now()),
        };
        if answer.code != code::OK {
            add(&self.counters.errors, 1);
        } else if request.is_write() {
            add(&self.counters.records_written, 1);
        }
        answer
    }

    fn apply_batch(&self, batch: &Batch, fate: Fate) -> Vec<u8> {
        add(&self.counters.batches, 1);
        add(&self.counters.batch_records, batch.rows.len());
        if let Some(code) = self.refusal(batch) {
            add(&self.counters.errors, 1);
            return message::refused_batch(code);
        }
        let mut answers = BatchAnswer::default();
        for row in &batch.rows {
            let request = &batch.requests[row.request];
            if request.namespace != self.options().namespace.as_bytes() {
                add(&self.counters.errors, 1);
                answers.fail(code::PARAMETER);
                break;
            }
            let answer = self.apply(request, &row.digest, fate);
            // Without all keys asked for, the answers end with the block of the error; the rows after it are done nevertheless.
            if !batch.respond_all_keys && !matches!(answer.code, code::OK | code::KEY_NOT_FOUND | code::FILTERED_OUT) {
                answers.fail(answer.code);
            }
            answers.push(row.index, &answer);
        }
        answers.finish()
    }

    /// Why a batch is not done at all, if so.
    fn refusal(&self, batch: &Batch) -> Option<u8> {
        let limit = self.options().batch_max_requests;
        if batch.count == 0 {
            return Some(code::PARAMETER);
        }
        if limit != 0 && batch.count > limit {
            return Some(code::BATCH_MAX_REQUESTS);
        }
        self.faults.batch()
    }
}

impl Node {
    fn run(self: &Arc<Self>, listener: TcpListener) {
        let alive = Arc::new(AtomicBool::new(true));
        let connections = Arc::new(Connections::default());
        let (node, running, open) = (self.clone(), alive.clone(), connections.clone());
        let listener = thread::spawn(move || node.accept(&listener, &running, &open));
        *lock(&self.life) = Some(Life { alive, connections, listener });
    }

    /// Ends the node's life: the port is closed, and so is every connection.
    fn stop(&self) {
        let Some(life) = lock(&self.life).take() else { return };
        life.alive.store(false, Ordering::SeqCst);
        let address = self.shared.members()[self.id].address;
        // The listener waits for a connection; this is its last one.
        let _woken = TcpStream::connect(address);
        let _ended = life.listener.join();
        for stream in lock(&life.connections.streams).values() {
            let _closed = stream.shutdown(Shutdown::Both);
        }
        self.shared.faults.wake();
        let threads: Vec<JoinHandle<()>> = lock(&life.connections.threads).drain(..).collect();
        threads.into_iter().for_each(|thread| _ = thread.join());
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener, alive: &Arc<AtomicBool>, connections: &Arc<Connections>) {
        let mut next = 0;
        while let Ok((stream, _)) = listener.accept() {
            if !alive.load(Ordering::SeqCst) {
                return;
            }
            let limit = self.shared.options().max_connections;
            let full = limit != 0 && lock(&connections.streams).len() >= limit;
            let Ok(kept) = stream.try_clone() else { continue };
            if full {
                continue;
            }
            next += 1;
            add(&self.shared.counters.connections, 1);
            add(&self.shared.counters.open_connections, 1);
            lock(&connections.streams).insert(next, kept);
            let (node, alive, open, id) = (self.clone(), alive.clone(), connections.clone(), next);
            let mut threads = lock(&connections.threads);
            threads.retain(|thread| !thread.is_finished());
            threads.push(thread::spawn(move || node.serve(stream, &alive, &open, id)));
        }
    }

    fn serve(&self, mut stream: TcpStream, alive: &AtomicBool, connections: &Connections, id: u64) {
        let _unset = stream.set_nodelay(true);
        let mut session = Session { node: self, alive, authenticated: self.shared.options().user.is_none() };
        while alive.load(Ordering::SeqCst) && session.exchange(&mut stream).is_some() {}
        let _closed = stream.shutdown(Shutdown::Both);
        lock(&connections.streams).remove(&id);
        self.shared.counters.open_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection's side of the talk.
struct Session<'a> {
    node: &'a Node,
    alive: &'a AtomicBool,
    authenticated: bool,
}

impl Session<'_> {
    /// Reads a message and answers it. None ends the connection.
    fn exchange(&mut self, stream: &mut TcpStream) -> Option<()> {
        let mut head = [0; 8];
        stream.read_exact(&mut head).ok()?;
        let (kind, size) = message::head(head).ok()?;
        let mut body = Vec::new();
        let read = stream.take(size as u64).read_to_end(&mut body).ok()?;
        if read < size {
            return None;
        }
        let faults = &self.node.shared.faults;
        faults.wait(kind == message::KIND_RECORD, self.alive)?;
        let answer = match kind {
            message::KIND_INFO => self.info(&body),
            message::KIND_SECURITY => self.secure(&body).ok()?,
            message::KIND_RECORD => return self.record(&body, stream),
            _ => return None,
        };
        stream.write_all(&answer).ok()
    }

    fn record(&self, body: &[u8], stream: &mut TcpStream) -> Option<()> {
        let shared = &self.node.shared;
        add(&shared.counters.messages, 1);
        add(&shared.counters.record_bytes, 8 + body.len());
        let fate = shared.faults.message()?;
        let answer = self.answer(body, fate).ok()?;
        shared.faults.delay(self.alive)?;
        if fate.lost {
            return None;
        }
        stream.write_all(&answer).ok()
    }

    fn answer(&self, body: &[u8], fate: Fate) -> Result<Vec<u8>, Malformed> {
        let shared = &self.node.shared;
        let parsed = Message::parse(body)?;
        let refused = match &parsed {
            _ if !self.authenticated => Some(code::NOT_AUTHENTICATED),
            Message::Refused(code) => Some(*code),
            _ => None,
        };
        Ok(match (refused, parsed) {
            (None, Message::Single(digest, request)) => message::single(&shared.apply(&request, &digest, fate)),
            (None, Message::Batch(batch)) => shared.apply_batch(&batch, fate),
            (code, parsed) => {
                add(&shared.counters.errors, 1);
                let code = code.unwrap_or(code::PARAMETER);
                if matches!(parsed, Message::Batch(_)) { message::refused_batch(code) } else { message::single(&Answer::failed(code)) }
            }
        })
    }
}
