//! The configuration: defaults, then a TOML file, then `COHORT_SECTION__KEY` of the environment, then flags. Every
//! error names the key and where it was set.

pub mod formats;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Profile};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use cohort_connectors::file::follow::Files;
use cohort_connectors::kafka::Start;
use cohort_connectors::object::list::{Location, is_pattern, is_url};

use crate::catalog::redacted;
use formats::{FormatSection, RegistrySection};

/// A length of time, written `30s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub i64);

/// A number of bytes, written `512MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl Span {
    /// As the standard library has it.
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.max(0) as u64)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        crate::commands::duration(&text).map(Span).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        crate::commands::size(&text).map(|n| Size(n as u64)).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let unit = units.into_iter().find(|(ms, _)| self.0 != 0 && self.0 % ms == 0);
        s.serialize_str(&unit.map_or(format!("{}ms", self.0), |(ms, unit)| format!("{}{unit}", self.0 / ms)))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let unit = units.into_iter().find(|(bytes, _)| self.0 != 0 && self.0.is_multiple_of(*bytes));
        s.serialize_str(&unit.map_or(format!("{}", self.0), |(bytes, unit)| format!("{}{unit}", self.0 / bytes)))
    }
}

/// What a token may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Read,
    /// Change segments, send events.
    Write,
    /// Everything.
    Admin,
}

/// A bearer token; the secret itself comes from the environment or a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Who holds it, for the audit log.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Variable of the environment with the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// File with the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
}

/// Certificate and key, as PEM files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Address to speak PostgreSQL's protocol on; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<SocketAddr>,
    /// Who may do what; without tokens everyone may do everything.
    pub tokens: Vec<Token>,
    /// HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Origins whose pages may call the API; none by default.
    pub cors: Vec<String>,
    /// How long a request may take.
    pub request_timeout: Span,
    /// Where other members of the group find this one; the address to listen on, if not given.
    pub advertise: String,
}

/// Where events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// The embedded log.
    Embedded,
    /// Topics of Kafka.
    Kafka,
    /// Files of lines, read as they grow.
    File,
    /// Topics of Kafka with results of events that are evaluated elsewhere.
    Results,
}

impl SourceKind {
    /// Whether records come from Kafka, to the members of a group.
    pub fn is_kafka(self) -> bool {
        matches!(self, SourceKind::Kafka | SourceKind::Results)
    }
}

/// `[source.file]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// The files, in the order in which they are read; the last may grow.
    pub paths: Vec<PathBuf>,
    /// The topic of their events, for segments that read one; none by default.
    pub topic: String,
}

/// Properties of librdkafka by name; dots in names may also be written as tables.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Properties(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        fn flatten(prefix: &str, value: &serde_json::Value, into: &mut BTreeMap<String, String>) {
            match value {
                serde_json::Value::Object(fields) => {
                    for (key, value) in fields {
                        flatten(&format!("{prefix}.{key}"), value, into);
                    }
                }
                serde_json::Value::String(text) => drop(into.insert(prefix.to_string(), text.clone())),
                other => drop(into.insert(prefix.to_string(), other.to_string())),
            }
        }
        let mut properties = BTreeMap::new();
        for (key, value) in serde_json::Map::<String, serde_json::Value>::deserialize(d)? {
            flatten(&key, &value, &mut properties);
        }
        Ok(Properties(properties))
    }
}

impl Properties {
    /// The properties without what nobody should see.
    fn redacted(&self) -> Self {
        let secret = |key: &str| {
            ["pass", "secret", "jaas", "token", "credential", "sasl.oauthbearer.config", ".pem"].iter().any(|s| key.to_ascii_lowercase().contains(s))
        };
        Properties(self.0.iter().map(|(k, v)| (k.clone(), if secret(k) { "***".into() } else { v.clone() })).collect())
    }
}

/// `[source.kafka]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSource {
    /// `host:port`, several with commas between.
    pub brokers: String,
    /// The consumer group.
    pub group_id: String,
    /// Where reading begins of what the group has not read: `latest`, `earliest`, `-1h`, or a time.
    pub start: String,
    /// Whether the topics are written anew by user first, as their records have other keys or they are partitioned
    /// differently.
    pub rekey: bool,
    /// Anything librdkafka knows.
    pub properties: Properties,
}

/// `[source]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Which source.
    pub kind: SourceKind,
    /// The topics that events may have.
    pub topics: Vec<String>,
    /// Partitions of the embedded log.
    pub partitions: u32,
    /// How long the embedded log keeps events.
    pub retention: Span,
    /// How many bytes it keeps at most.
    pub retention_bytes: Size,
    /// Kafka, where that is the source.
    pub kafka: KafkaSource,
    /// Files, where those are the source.
    pub file: FileSource,
    /// What records are, of topics without a format of their own.
    pub format: FormatSection,
    /// What records of single topics are.
    pub formats: BTreeMap<String, FormatSection>,
    /// Where schemas come from.
    pub registry: RegistrySection,
}

/// `[time]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// How far the watermark lies behind the newest event.
    pub out_of_orderness: Span,
    /// How long after its end a window takes events.
    pub allowed_lateness: Span,
    /// How long a partition without events holds time back.
    pub idle_timeout: Span,
    /// How far ahead of the clock an event may be.
    pub max_future: Span,
}

/// `[engine]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// The most records of a micro-batch.
    pub batch_rows: usize,
    /// How long a micro-batch waits for more records.
    pub batch_linger: Span,
    /// Worker threads; 0 for one per core.
    pub workers: usize,
    /// The most memory that state may take.
    pub memory_limit: Size,
}

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Folder, as a `file:` URL.
    pub url: String,
    /// How often state is saved.
    pub interval: Span,
    /// How many checkpoints are kept.
    pub keep: usize,
}

/// `[catalog]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogSection {
    /// `sqlite:FILE` or `postgres://…`
    pub url: String,
    /// How often changes of other instances are looked for.
    pub refresh: Span,
}

/// `[rules]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// A feed of rules to follow; none by default.
    pub url: String,
    /// How often it is read.
    pub refresh: Span,
}

/// Where results go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// The embedded profile store alone.
    Embedded,
    /// Records of Aerospike.
    Aerospike,
    /// A topic of Kafka.
    Kafka,
    /// Nowhere but to those who ask this process.
    None,
}

/// `[sink.aerospike]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AerospikeSink {
    /// `host:port`, several with commas between.
    pub hosts: String,
    /// The namespace.
    pub namespace: String,
    /// The set.
    pub set: String,
    /// How long a record lives after its last write.
    pub ttl: Span,
    /// How long a call may take.
    pub timeout: Span,
    /// Users in a batch.
    pub batch: usize,
    /// Batches at a time.
    pub in_flight: usize,
    /// Whom to log in as.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Their password; better in `password_file`, or in COHORT_SINK__AEROSPIKE__PASSWORD.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// File with the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Encrypts the connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
}

impl Default for AerospikeSink {
    fn default() -> Self {
        AerospikeSink {
            hosts: "localhost:3000".into(),
            namespace: "segments".into(),
            set: "user_segments".into(),
            ttl: Span(3_600_000),
            timeout: Span(1_000),
            batch: 256,
            in_flight: 8,
            user: String::new(),
            password: String::new(),
            password_file: None,
            tls: None,
        }
    }
}

/// Certificates of a connection to another system, as PEM files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTls {
    /// Who signs the other side's certificate; the system's, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Our certificate chain, where the other side asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// `[sink.kafka]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSink {
    /// `host:port`, several with commas between; those of the source, if not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Anything librdkafka knows; a `transactional.id` makes each write a transaction.
    pub properties: Properties,
}

impl Default for KafkaSink {
    fn default() -> Self {
        KafkaSink { brokers: String::new(), topic: "segment_results".into(), properties: Properties::default() }
    }
}

/// `[sink]`, or one of `[[sinks]]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sink {
    /// Which sink.
    pub kind: SinkKind,
    /// How long after its last write a profile of the embedded store expires.
    pub ttl: Span,
    /// Aerospike, where that is the sink.
    pub aerospike: AerospikeSink,
    /// Kafka, where that is the sink.
    pub kafka: KafkaSink,
}

impl Default for Sink {
    fn default() -> Self {
        Sink { kind: SinkKind::Embedded, ttl: Span(3_600_000), aerospike: AerospikeSink::default(), kafka: KafkaSink::default() }
    }
}

/// `[dead_letters]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetters {
    /// Their topic.
    pub topic: String,
    /// How many are kept.
    pub keep: u64,
}

/// `[backtest]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backtest {
    /// URLs (`s3://bucket/prefix/`, `file:///folder/`) below which previews may read events; nothing by default.
    pub sources: Vec<String>,
}

/// `[telemetry]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// The OpenTelemetry collector that traces go to, for instance `http://localhost:4318`; when empty, the one of
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, if any.
    pub otlp_endpoint: String,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of the embedded stores.
    pub data: PathBuf,
    /// HTTP.
    pub server: Server,
    /// Events.
    pub source: Source,
    /// Time.
    pub time: Time,
    /// Evaluation.
    pub engine: Engine,
    /// State.
    pub checkpoint: Checkpoint,
    /// Segments.
    pub catalog: CatalogSection,
    /// A feed of rules.
    pub rules: Rules,
    /// Results.
    pub sink: Sink,
    /// Several sinks, instead of the one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<Sink>,
    /// Records that were not accepted.
    pub dead_letters: DeadLetters,
    /// Previews over files and objects.
    pub backtest: Backtest,
    /// Traces.
    pub telemetry: Telemetry,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data: "./cohort-data".into(),
            server: Server {
                listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
                postgres: None,
                tokens: vec![],
                tls: None,
                cors: vec![],
                request_timeout: Span(30_000),
                advertise: String::new(),
            },
            source: Source {
                kind: SourceKind::Embedded,
                topics: ["order_events", "activity_events", "install_events"].map(String::from).to_vec(),
                partitions: 2,
                retention: Span(86_400_000),
                retention_bytes: Size(4 << 30),
                kafka: KafkaSource {
                    brokers: "localhost:9092".into(),
                    group_id: "segment-processing-group".into(),
                    start: "latest".into(),
                    rekey: false,
                    properties: Properties::default(),
                },
                file: FileSource::default(),
                format: FormatSection::default(),
                formats: BTreeMap::new(),
                registry: RegistrySection::default(),
            },
            time: Time { out_of_orderness: Span(30_000), allowed_lateness: Span(0), idle_timeout: Span(30_000), max_future: Span(3_600_000) },
            engine: Engine { batch_rows: 65_536, batch_linger: Span(50), workers: 0, memory_limit: Size(1 << 30) },
            checkpoint: Checkpoint { url: String::new(), interval: Span(60_000), keep: 3 },
            catalog: CatalogSection { url: String::new(), refresh: Span(2_000) },
            rules: Rules { url: String::new(), refresh: Span(30_000) },
            sink: Sink::default(),
            sinks: vec![],
            dead_letters: DeadLetters { topic: "segment_dead_letters".into(), keep: 10_000 },
            backtest: Backtest::default(),
            telemetry: Telemetry::default(),
        }
    }
}

/// What is wrong with the configuration, all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

/// Where a value came from and what is wrong, for people.
fn explain(error: figment::Error) -> Vec<String> {
    let one = |e: figment::Error| {
        let key = e.path.join(".");
        let place = e.metadata.as_ref().map(|m| match &m.source {
            Some(figment::Source::File(path)) => format!(" in {}", path.display()),
            _ if m.name.contains("environment") => format!(" in the environment (COHORT_{})", e.path.join("__").to_uppercase()),
            _ => " on the command line".to_string(),
        });
        let what = match &e.kind {
            figment::error::Kind::UnknownField(field, known) => format!("unknown key {field:?}; keys here are {}", known.join(", ")),
            figment::error::Kind::UnknownVariant(found, known) => format!("{found:?} is not one of {}", known.join(", ")),
            figment::error::Kind::InvalidType(found, wanted) => format!("found {found}, expected {wanted}"),
            kind => kind.to_string(),
        };
        let key = if key.is_empty() { "configuration".to_string() } else { key };
        format!("{key}{}: {what}", place.unwrap_or_default())
    };
    error.into_iter().map(one).collect()
}

/// The keys that have keys below them.
fn tables(defaults: &Figment) -> Vec<String> {
    fn below(prefix: &str, dict: &Dict, into: &mut Vec<String>) {
        for (key, value) in dict {
            if let Some(dict) = value.as_dict() {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                below(&path, dict, into);
                into.push(path);
            }
        }
    }
    let mut tables = vec![];
    below("", &defaults.extract().unwrap_or_default(), &mut tables);
    tables
}

/// The tables for which a layer has something else. Found before a later layer takes its place, which would leave the
/// other keys of the table unset.
fn not_tables(layer: &Figment, tables: &[String], place: &str) -> Vec<String> {
    let wrong = |key: &String| {
        let value = layer.find_value(key).ok()?;
        value.as_dict().is_none().then(|| format!("{key}{place}: found {}, expected a table", value.to_actual()))
    };
    tables.iter().filter_map(wrong).collect()
}

/// What looks like a number or the like where the configuration has a text, as a password of digits does.
fn as_text(defaults: &Figment, key: &str, text: &str) -> Option<(String, Value)> {
    let is_text = defaults.find_value(key).is_ok_and(|default| default.as_str().is_some());
    let is_read_as_text = text.parse::<Value>().is_ok_and(|value| value.as_str().is_some());
    (is_text && !is_read_as_text).then(|| (key.to_string(), text.to_string().into()))
}

impl Config {
    /// Reads the layers. `flags` are dotted keys with their values.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Config, ConfigErrors> {
        let layers = Self::layers(file, flags)?;
        let mut config: Config = layers.select(Profile::Default).extract().map_err(|e| ConfigErrors(explain(e)))?;
        if config.source.kind == SourceKind::Results && config.source.topics == Config::default().source.topics {
            config.source.topics = vec![KafkaSink::default().topic];
        }
        if config.checkpoint.url.is_empty() {
            config.checkpoint.url = format!("file:{}", config.data.join("checkpoints").display());
        }
        if config.catalog.url.is_empty() {
            config.catalog.url = format!("sqlite:{}", config.data.join("catalog.db").display());
        }
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
    }

    /// Only what the layers say of records, for those who read them elsewhere.
    ///
    /// # Errors
    /// All that is wrong with that.
    pub fn load_source(file: Option<&Path>, flags: &[(String, String)]) -> Result<Source, ConfigErrors> {
        let config: Config = Self::layers(file, flags)?.select(Profile::Default).extract().map_err(|e| ConfigErrors(explain(e)))?;
        let problems = config.source.format_problems();
        if problems.is_empty() { Ok(config.source) } else { Err(ConfigErrors(problems)) }
    }

    fn layers(file: Option<&Path>, flags: &[(String, String)]) -> Result<Figment, ConfigErrors> {
        let defaults = Figment::from(Serialized::defaults(Config::default()));
        let (mut layers, mut wrong) = (defaults.clone(), vec![]);
        let tables = tables(&defaults);
        let mut add = |layers: Figment, layer: Figment, place: &str| {
            wrong.extend(not_tables(&layer, &tables, place));
            layers.merge(layer)
        };
        if let Some(file) = file {
            if !file.is_file() {
                return Err(ConfigErrors(vec![format!("--config {}: there is no such file", file.display())]));
            }
            layers = add(layers, Figment::from(Toml::file(file)), &format!(" in {}", file.display()));
        }
        // COHORT_TOKEN and the like are secrets by their own names, not keys.
        let environment = Env::prefixed("COHORT_").split("__").filter(|key| key == "data" || key.as_str().contains('.'));
        let texts: Vec<(String, Value)> = environment.iter().filter_map(|(key, text)| as_text(&defaults, key.as_str(), &text)).collect();
        layers = add(layers, Figment::from(environment), " in the environment");
        layers = texts.into_iter().fold(layers, Figment::merge);
        for (key, text) in flags {
            let value: Value = text.parse().unwrap_or_else(|_: std::convert::Infallible| text.clone().into());
            let value = as_text(&defaults, key, text).map_or(value, |(_, text)| text);
            layers = add(layers, Figment::from((key.as_str(), value)), " on the command line");
        }
        if wrong.is_empty() { Ok(layers) } else { Err(ConfigErrors(wrong)) }
    }

    /// What the types do not say.
    fn problems(&self) -> Vec<String> {
        let mut problems = vec![];
        let mut check = |bad: bool, message: String| {
            if bad {
                problems.push(message);
            }
        };
        let s = &self.server;
        let open = !s.listen.ip().is_loopback() && s.tokens.is_empty();
        check(open, format!("server.listen: {} can be reached from elsewhere, which needs server.tokens", s.listen));
        if let Some(address) = s.postgres.filter(|a| !a.ip().is_loopback() && s.tokens.is_empty()) {
            check(true, format!("server.postgres: {address} can be reached from elsewhere, which needs server.tokens"));
        }
        check(self.source.partitions == 0, "source.partitions: must be at least 1".into());
        check(self.source.partitions > 1024, "source.partitions: must be at most 1024".into());
        check(self.source.topics.is_empty(), "source.topics: name at least one topic".into());
        check(s.request_timeout.0 < 100, "server.request_timeout: must be at least 100ms".into());
        check(self.source.retention.0 < 1_000, "source.retention: must be at least 1s".into());
        check(self.engine.memory_limit.0 < 1 << 20, "engine.memory_limit: must be at least 1MiB".into());
        check(self.engine.batch_rows == 0, "engine.batch_rows: must be at least 1".into());
        check(self.checkpoint.keep == 0, "checkpoint.keep: must be at least 1".into());
        check(self.checkpoint.interval.0 < 100, "checkpoint.interval: must be at least 100ms".into());
        check(self.catalog.refresh.0 < 100, "catalog.refresh: must be at least 100ms".into());
        check(self.sink.ttl.0 < 1_000, "sink.ttl: must be at least 1s".into());
        if self.source.kind.is_kafka() {
            check(self.source.kafka.brokers.is_empty(), "source.kafka.brokers: name at least one".into());
            check(self.source.kafka.group_id.is_empty(), "source.kafka.group_id: must not be empty".into());
            if let Err(problem) = self.source.kafka.start() {
                check(true, format!("source.kafka.start: {problem}"));
            }
        }
        if self.source.kind == SourceKind::File
            && let Err(problem) = Files::new(&self.source.file.paths, &self.source.file.topic)
        {
            check(true, format!("source.file.paths: {problem}"));
        }
        self.source.format_problems().into_iter().chain(self.source.misplaced_formats()).for_each(|problem| check(true, problem));
        for sink in self.all_sinks() {
            let a = &sink.aerospike;
            let kind = sink.kind == SinkKind::Aerospike;
            check(kind && a.hosts.is_empty(), "sink.aerospike.hosts: name at least one".into());
            check(kind && a.ttl.0 < 1_000, "sink.aerospike.ttl: must be at least 1s".into());
            check(kind && a.timeout.0 < 1, "sink.aerospike.timeout: must be at least 1ms".into());
            check(kind && (a.batch == 0 || a.batch > 5_000), "sink.aerospike.batch: must be from 1 to 5000".into());
            check(kind && (a.in_flight == 0 || a.in_flight > 256), "sink.aerospike.in_flight: must be from 1 to 256".into());
            if let Err(problem) = a.login() {
                check(kind, format!("sink.aerospike.{problem}"));
            }
            let files = a.tls.iter().flat_map(|t| [("ca", &t.ca), ("certificate", &t.certificate), ("key", &t.key)]);
            for (key, file) in files.filter_map(|(key, file)| file.as_ref().map(|f| (key, f))) {
                check(kind && !file.is_file(), format!("sink.aerospike.tls.{key}: there is no file {}", file.display()));
            }
            check(sink.kind == SinkKind::Kafka && sink.kafka.topic.is_empty(), "sink.kafka.topic: must not be empty".into());
            let circle = self.source.kind == SourceKind::Results && sink.kind == SinkKind::Kafka && self.source.topics.contains(&sink.kafka.topic);
            let same = sink.kafka.brokers.is_empty() || sink.kafka.brokers == self.source.kafka.brokers;
            check(circle && same, format!("sink.kafka.topic: {} is what the source reads", sink.kafka.topic));
        }
        let known = ["file:", "s3:", "memory:"].iter().any(|scheme| self.checkpoint.url.starts_with(scheme));
        check(!known, format!("checkpoint.url: {:?} is none of file:, s3:", redacted(&self.checkpoint.url)));
        let known = self.catalog.url.starts_with("sqlite:") || self.catalog.url.starts_with("postgres");
        check(!known, format!("catalog.url: {:?} is neither sqlite:FILE nor postgres://…", redacted(&self.catalog.url)));
        for source in &self.backtest.sources {
            let shown = redacted(source);
            let is_prefix = is_url(source) && !is_pattern(source);
            check(!is_prefix, format!("backtest.sources: {shown:?} is no URL as s3://bucket/prefix/ or file:///folder/"));
            if let Some(problem) = Location::parse(source).err().filter(|_| is_prefix) {
                check(true, format!("backtest.sources: {problem}"));
            }
        }
        let web = |url: &str| url.is_empty() || url.starts_with("http://") || url.starts_with("https://");
        check(!web(&self.rules.url), "rules.url: must begin with http:// or https://".into());
        check(!web(&self.telemetry.otlp_endpoint), "telemetry.otlp_endpoint: must begin with http:// or https://".into());
        for (i, token) in s.tokens.iter().enumerate() {
            check(s.tokens[..i].iter().any(|t| t.name == token.name), format!("server.tokens: {:?} is there twice", token.name));
            if let Err(problem) = token.secret() {
                check(true, format!("server.tokens: {}: {problem}", token.name));
            }
        }
        for file in s.tls.iter().flat_map(|tls| [("certificate", &tls.certificate), ("key", &tls.key)]) {
            check(!file.1.is_file(), format!("server.tls.{}: there is no file {}", file.0, file.1.display()));
        }
        problems
    }

    /// Where results go: `[[sinks]]`, or the one `[sink]`.
    pub fn all_sinks(&self) -> &[Sink] {
        if self.sinks.is_empty() { std::slice::from_ref(&self.sink) } else { &self.sinks }
    }

    /// The configuration as TOML, without secrets.
    pub fn effective(&self) -> String {
        toml::to_string_pretty(&self.redacted()).unwrap_or_else(|e| e.to_string())
    }

    /// The configuration without secrets.
    pub fn redacted(&self) -> Config {
        let mut shown = self.clone();
        shown.catalog.url = redacted(&shown.catalog.url);
        shown.rules.url = redacted(&shown.rules.url);
        shown.checkpoint.url = redacted(&shown.checkpoint.url);
        shown.backtest.sources.iter_mut().for_each(|source| *source = redacted(source));
        shown.source.registry = shown.source.registry.redacted();
        shown.source.kafka.properties = shown.source.kafka.properties.redacted();
        for sink in shown.sinks.iter_mut().chain([&mut shown.sink]) {
            sink.kafka.properties = sink.kafka.properties.redacted();
            if !sink.aerospike.password.is_empty() {
                sink.aerospike.password = "***".into();
            }
        }
        shown.telemetry.otlp_endpoint = redacted(&shown.telemetry.otlp_endpoint);
        shown.server.advertise = redacted(&shown.server.advertise);
        shown
    }
}

impl KafkaSource {
    /// Where reading begins.
    ///
    /// # Errors
    /// When it is none of the forms.
    pub fn start(&self) -> Result<Start, String> {
        let text = self.start.trim();
        match text {
            "latest" => return Ok(Start::Latest),
            "earliest" => return Ok(Start::Earliest),
            _ => {}
        }
        if let Some(ago) = text.strip_prefix('-') {
            return crate::commands::duration(ago).map(|ms| Start::Ago(Span(ms).duration()));
        }
        let time = datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text).map(|ns| ns.div_euclid(1_000_000));
        time.map(Start::At).map_err(|_| format!("{text:?} is none of latest, earliest, -1h, 2026-01-31T12:00:00Z"))
    }
}

impl AerospikeSink {
    /// User and password, if there is a user.
    ///
    /// # Errors
    /// When there is no password for the user.
    pub fn login(&self) -> Result<Option<(String, String)>, String> {
        if self.user.is_empty() {
            return Ok(None);
        }
        let password = secret("password", &self.password, self.password_file.as_deref())?;
        let password = password.ok_or("password: is empty; give it in password_file or in COHORT_SINK__AEROSPIKE__PASSWORD")?;
        Ok(Some((self.user.clone(), password)))
    }
}

impl ClientTls {
    /// The files of our certificate chain and its key, if we have any.
    ///
    /// # Errors
    /// When there is one without the other.
    pub fn own(&self) -> Result<Option<(&Path, &Path)>, String> {
        match (&self.certificate, &self.key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            _ => Err("give certificate and key, or neither".into()),
        }
    }
}

/// A secret: what is in its file, if there is one, or what was given; none, when that is empty.
fn secret(key: &str, given: &str, file: Option<&Path>) -> Result<Option<String>, String> {
    let secret = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|e| format!("{key}_file: {}: {e}", path.display()))?.trim().to_string(),
        None => given.to_string(),
    };
    Ok(Some(secret).filter(|s| !s.is_empty()))
}

impl Token {
    /// The secret.
    ///
    /// # Errors
    /// When it is nowhere, or empty.
    pub fn secret(&self) -> Result<String, String> {
        let secret = match (&self.secret_env, &self.secret_file) {
            (Some(name), None) => std::env::var(name).map_err(|_| format!("secret_env: {name} is not in the environment"))?,
            (None, Some(path)) => std::fs::read_to_string(path).map_err(|e| format!("secret_file: {}: {e}", path.display()))?,
            _ => return Err("give either secret_env or secret_file".into()),
        };
        let secret = secret.trim().to_string();
        if secret.is_empty() { Err("the secret is empty".into()) } else { Ok(secret) }
    }
}
