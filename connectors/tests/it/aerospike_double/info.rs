//! What a node tells about itself and its cluster, and who may ask.

use std::sync::atomic::Ordering;

use super::message::{self, Malformed, Reader, code};
use super::{Member, Session, Shared, add, lock};

const PARTITIONS: usize = 4096;
const LOGIN: u8 = 20;
const AUTHENTICATE: u8 = 0;
const FIELD_USER: u8 = 0;
const FIELD_CREDENTIAL: u8 = 3;
const FIELD_TOKEN: u8 = 5;
const FIELD_TTL: u8 = 6;
const SESSION_SECONDS: u32 = 24 * 3600;
/// How every password hash that clients send begins: the kind of hash, its cost, and the salt all of them use.
const CREDENTIAL_PREFIX: &str = "$2a$10$7EqJtq98hPqEX7fNZaFWoO";

impl Session<'_> {
    /// Answers each name of an info message.
    pub(crate) fn info(&self, body: &[u8]) -> Vec<u8> {
        let shared = &self.node.shared;
        add(&shared.counters.infos, 1);
        let asked = String::from_utf8_lossy(body);
        let mut out = String::new();
        for name in asked.split('\n').filter(|name| !name.is_empty()) {
            let value = if self.authenticated { self.tell(name) } else { format!("ERROR:{}:not authenticated", code::NOT_AUTHENTICATED) };
            out += &format!("{name}\t{value}\n");
        }
        message::framed(message::KIND_INFO, out.as_bytes())
    }

    fn tell(&self, name: &str) -> String {
        let shared = &self.node.shared;
        let (members, options) = (shared.members(), shared.options().clone());
        let me = &members[self.node.id];
        let generation = || shared.generation.load(Ordering::Relaxed).to_string();
        match name {
            "node" => me.name.clone(),
            "status" => "ok".into(),
            "build" => options.build,
            "version" | "edition" => "Aerospike Enterprise Edition".into(),
            "cluster-name" => options.cluster_name.unwrap_or_else(|| "null".into()),
            "namespaces" => options.namespace,
            "partitions" => PARTITIONS.to_string(),
            "partition-generation" | "peers-generation" | "rebalance-generation" => generation(),
            "features" => "batch-any;batch-index;blob-bits;cdt-list;cdt-map;cluster-stable;peers;pipelining;pscans;query-show".into(),
            "peers-clear-std" | "peers-clear-alt" | "peers-tls-std" | "peers-tls-alt" => peers(&members, self.node.id, &generation()),
            "service" | "service-clear-std" | "service-clear-alt" => me.address.to_string(),
            "service-tls-std" | "service-tls-alt" => String::new(),
            "services" | "services-alternate" => join(others(&members, self.node.id).map(|member| member.address.to_string()), ";"),
            "rack-ids" => format!("{}:0", options.namespace),
            "replicas" => replicas(&options.namespace, &members, self.node.id),
            "statistics" => format!("cluster_size={};cluster_integrity=true;client_connections={}", up(&members).count(), shared.open()),
            _ => shared.tell_namespace(name),
        }
    }

    /// Answers a message of the login protocol.
    pub(crate) fn secure(&mut self, body: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut reader = Reader::new(body);
        let (_, _, command, count) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
        reader.take(12)?;
        let (mut user, mut credential, mut token) = (&[][..], &[][..], &[][..]);
        for _ in 0..count {
            let size = (reader.u32()? as usize).checked_sub(1).ok_or(Malformed)?;
            match (reader.u8()?, reader.take(size)?) {
                (FIELD_USER, data) => user = data,
                (FIELD_CREDENTIAL, data) => credential = data,
                (FIELD_TOKEN, data) => token = data,
                _ => {}
            }
        }
        let shared = &self.node.shared;
        let code = match command {
            _ if shared.options().user.is_none() => code::SECURITY_NOT_ENABLED,
            LOGIN => shared.check_password(user, credential),
            AUTHENTICATE if lock(&shared.tokens).iter().any(|issued| issued == token) => code::OK,
            AUTHENTICATE => code::EXPIRED_SESSION,
            _ => code::INVALID_COMMAND,
        };
        self.authenticated |= code == code::OK;
        let token = (command == LOGIN && code == code::OK).then(|| shared.issue_token());
        Ok(security_answer(code, token))
    }
}

impl Shared {
    fn open(&self) -> u64 {
        self.counters.open_connections.load(Ordering::Relaxed)
    }

    fn tell_namespace(&self, name: &str) -> String {
        let options = self.options();
        let config = [
            ("nsup-period", options.nsup_period.to_string()),
            ("default-ttl", options.default_ttl.to_string()),
            ("allow-ttl-without-nsup", options.allow_ttl_without_nsup.to_string()),
            ("storage-engine", options.storage_engine.clone()),
            ("replication-factor", "2".into()),
            ("strong-consistency", "false".into()),
            ("max-record-size", options.max_record_size.to_string()),
        ];
        let state = [
            ("ns_cluster_size", up(&self.members()).count().to_string()),
            ("objects", lock(&self.store).live(self.now()).count().to_string()),
            ("clock_skew_stop_writes", "false".into()),
            ("stop_writes", options.stop_writes.to_string()),
            ("hwm_breached", "false".into()),
        ];
        let mut told: Vec<(String, String)> = Vec::new();
        match name.split_once('/') {
            Some(("namespace", namespace)) if namespace == options.namespace => told.extend(state.map(owned)),
            Some(("namespace", _)) => return "type=unknown".into(),
            None if name.starts_with("user-agent-set:") => return "ok".into(),
            None if is_get_config(name, &options.namespace) => {}
            _ => return format!("ERROR:{}:unrecognized command", code::PARAMETER),
        }
        told.extend(config.map(owned));
        for (name, value) in &options.namespace_info {
            told.retain(|(other, _)| other != name);
            told.push((name.clone(), value.clone()));
        }
        join(told.iter().map(|(name, value)| format!("{name}={value}")), ";")
    }

    fn check_password(&self, user: &[u8], credential: &[u8]) -> u8 {
        add(&self.counters.logins, 1);
        let Some((name, password)) = self.options().user.clone() else { return code::SECURITY_NOT_ENABLED };
        if user != name.as_bytes() {
            return code::INVALID_USER;
        }
        if lock(&self.credential).as_deref() == Some(credential) {
            return code::OK;
        }
        let sent = String::from_utf8_lossy(credential);
        if !sent.starts_with(CREDENTIAL_PREFIX) || !bcrypt::verify(&password, &sent).unwrap_or(false) {
            return code::INVALID_CREDENTIAL;
        }
        *lock(&self.credential) = Some(credential.to_vec());
        code::OK
    }

    fn issue_token(&self) -> Vec<u8> {
        let mut tokens = lock(&self.tokens);
        let token = format!("session-{}", tokens.len()).into_bytes();
        tokens.push(token.clone());
        token
    }
}

fn owned((name, value): (&str, String)) -> (String, String) {
    (name.to_owned(), value)
}

fn join(parts: impl Iterator<Item = String>, separator: &str) -> String {
    parts.collect::<Vec<_>>().join(separator)
}

fn is_get_config(name: &str, namespace: &str) -> bool {
    let Some(params) = name.strip_prefix("get-config:") else { return false };
    let has = |wanted: String| params.split(';').any(|param| param == wanted);
    has("context=namespace".into()) && (has(format!("id={namespace}")) || has(format!("namespace={namespace}")))
}

fn security_answer(code: u8, token: Option<Vec<u8>>) -> Vec<u8> {
    let mut body = vec![0; 16];
    body[1] = code;
    if let Some(token) = token {
        body[3] = 2;
        write_field(FIELD_TOKEN, &token, &mut body);
        write_field(FIELD_TTL, &SESSION_SECONDS.to_be_bytes(), &mut body);
    }
    message::framed(message::KIND_SECURITY, &body)
}

fn write_field(kind: u8, data: &[u8], out: &mut Vec<u8>) {
    out.extend((data.len() as u32 + 1).to_be_bytes());
    out.push(kind);
    out.extend(data);
}

fn up(members: &[Member]) -> impl Iterator<Item = (usize, &Member)> {
    members.iter().enumerate().filter(|(_, member)| member.up)
}

fn others(members: &[Member], me: usize) -> impl Iterator<Item = &Member> {
    up(members).filter(move |(id, _)| *id != me).map(|(_, member)| member)
}

fn peers(members: &[Member], me: usize, generation: &str) -> String {
    let port = members[me].address.port();
    let peers = others(members, me).map(|member| format!("[{},,[{}]]", member.name, member.address));
    format!("{generation},{port},[{}]", join(peers, ","))
}

/// Which partitions this node is the master of, and of which it has the other copy, as bits.
fn replicas(namespace: &str, members: &[Member], me: usize) -> String {
    let up: Vec<usize> = up(members).map(|(id, _)| id).collect();
    let copies = up.len().clamp(1, 2);
    let owned = |copy: usize| {
        let mut bits = vec![0u8; PARTITIONS / 8];
        for partition in 0..PARTITIONS {
            if up.get((partition + copy) % up.len().max(1)) == Some(&me) {
                bits[partition / 8] |= 0x80 >> (partition % 8);
            }
        }
        base64(&bits)
    };
    format!("{namespace}:0,{copies},{}", join((0..copies).map(owned), ","))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().chain([&0, &0]).take(3).fold(0, |group, byte| group << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = ALPHABET[group >> (18 - 6 * place) & 63];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}
