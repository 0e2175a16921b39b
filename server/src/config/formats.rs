//! What records are: `[source.format]`, `[source.formats.TOPIC]` and `[source.registry]`, and the
//! [`Formats`] that they make.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cohort_connectors::registry::{Login, Registry, RegistryOptions};
use cohort_engine::formats::avro::Schema;
use cohort_engine::formats::mapping::{Path as FieldPath, TimeUnit};
use cohort_engine::formats::protobuf::{Message, Messages};
use cohort_engine::formats::schemas::{Registered, SchemaSource};
use cohort_engine::formats::{Away, Encoding, Format, Formats, Framing, Mapping, SchemaCache, Writer};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::runtime::Handle;

use super::{ClientTls, Source, SourceKind, Span, secret};

/// What records are encoded in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatKind {
    /// JSON.
    #[default]
    Json,
    /// JSON with the id of its JSON Schema before it.
    JsonSchema,
    /// Avro.
    Avro,
    /// Protobuf.
    Protobuf,
}

/// What stands before a record's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FramingKind {
    /// A zero and a schema's id.
    Confluent,
    /// Avro's single-object encoding.
    SingleObject,
    /// Nothing.
    None,
}

/// What a time's number or text means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[default]
    #[serde(rename = "ms")]
    Millis,
    /// Microseconds.
    #[serde(rename = "us")]
    Micros,
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanos,
    /// A text.
    #[serde(rename = "rfc3339")]
    Rfc3339,
}

/// One text or several.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Several(pub Vec<String>);

impl<'de> Deserialize<'de> for Several {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a text, or a list of texts")]
        enum Written {
            One(String),
            List(Vec<String>),
        }
        Ok(match Written::deserialize(d)? {
            Written::One(text) if text.is_empty() => Several(vec![]),
            Written::One(text) => Several(vec![text]),
            Written::List(texts) => Several(texts),
        })
    }
}

/// `fields` of a format: the paths of an event's columns in its records. Of several the first with something in it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// The user.
    pub user_id: Several,
    /// The type.
    pub event_type: Several,
    /// The type of records without one; `{topic}` stands for their topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type_default: Option<String>,
    /// The time.
    pub event_time: Several,
    /// What the time's number or text means.
    pub event_time_unit: Unit,
    /// The value.
    pub value: Several,
    /// The session.
    pub session_id: Several,
    /// An object whose fields are the metadata; `.` for the record itself.
    pub metadata: String,
    /// Single entries of the metadata, by name.
    pub attributes: BTreeMap<String, Several>,
}

impl Default for Fields {
    fn default() -> Self {
        let one = |name: &str| Several(vec![name.into()]);
        Fields {
            user_id: one("userId"),
            event_type: one("eventType"),
            event_type_default: None,
            event_time: one("timestamp"),
            event_time_unit: Unit::Millis,
            value: one("value"),
            session_id: one("sessionId"),
            metadata: "metadata".into(),
            attributes: BTreeMap::new(),
        }
    }
}

/// `[source.format]`, or one of `[source.formats]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FormatSection {
    /// What records are encoded in.
    pub kind: FormatKind,
    /// What stands before their bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub framing: Option<FramingKind>,
    /// The schema of all records, instead of the registry's: an Avro schema, `.proto` files, or a descriptor set.
    #[serde(skip_serializing_if = "is_empty")]
    pub schema: Several,
    /// An Avro schema whose names, aliases and defaults `fields` go by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader_schema: Option<PathBuf>,
    /// The full name of the Protobuf message, where `schema` has several.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Folders in which `.proto` files look for what they import.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub includes: Vec<PathBuf>,
    /// Where an event's columns are, where they have other names than in plain events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
}

fn is_empty(several: &Several) -> bool {
    several.0.is_empty()
}

/// `[source.registry]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySection {
    /// Its address, several with commas between; none by default.
    pub url: String,
    /// How long a schema may take to come, until it is asked for again.
    pub timeout: Span,
    /// Whom to log in as.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Their password; better in `password_file`, or in COHORT_SOURCE__REGISTRY__PASSWORD.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// File with the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// A bearer token, instead of a user; better in `token_file`, or in COHORT_SOURCE__REGISTRY__TOKEN.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// File with the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Certificates of https.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
}

impl Default for RegistrySection {
    fn default() -> Self {
        RegistrySection {
            url: String::new(),
            timeout: Span(5_000),
            user: String::new(),
            password: String::new(),
            password_file: None,
            token: String::new(),
            token_file: None,
            tls: None,
        }
    }
}

impl RegistrySection {
    /// The section without secrets.
    pub(super) fn redacted(&self) -> Self {
        let hidden = |secret: &str| if secret.is_empty() { String::new() } else { "***".into() };
        let url = self.url.split(',').map(crate::catalog::redacted).collect::<Vec<_>>().join(",");
        RegistrySection { url, password: hidden(&self.password), token: hidden(&self.token), ..self.clone() }
    }

    fn login(&self) -> Result<Login, String> {
        let password = secret("password", &self.password, self.password_file.as_deref())?;
        let token = secret("token", &self.token, self.token_file.as_deref())?;
        match (self.user.is_empty(), password, token) {
            (true, None, None) => Ok(Login::None),
            (true, None, Some(token)) => Ok(Login::Bearer(token)),
            (false, Some(password), None) => Ok(Login::Basic(self.user.clone(), password)),
            (false, None, None) => Err("password: is empty; give it in password_file or in COHORT_SOURCE__REGISTRY__PASSWORD".into()),
            (true, Some(_), _) => Err("user: is empty, and there is a password".into()),
            (false, _, Some(_)) => Err("token: give either a user or a token".into()),
        }
    }

    fn options(&self) -> Result<RegistryOptions, String> {
        let read = |key: &str, path: &Path| std::fs::read(path).map_err(|e| format!("tls.{key}: {}: {e}", path.display()));
        let tls = self.tls.clone().unwrap_or_default();
        let ca = tls.ca.as_deref().map(|path| read("ca", path)).transpose()?;
        let identity = match tls.own().map_err(|e| format!("tls: {e}"))? {
            None => None,
            Some((certificate, key)) => Some([read("key", key)?, read("certificate", certificate)?].join(&b'\n')),
        };
        if self.timeout.0 < 1 {
            return Err("timeout: must be at least 1ms".into());
        }
        let urls = self.url.split(',').map(|url| url.trim().to_string()).filter(|url| !url.is_empty()).collect();
        Ok(RegistryOptions { urls, timeout: self.timeout.duration(), login: self.login()?, ca, identity })
    }
}

impl Fields {
    /// The mapping of these paths.
    fn mapping(&self) -> Result<Mapping, String> {
        let paths = |key: &str, several: &Several| {
            let parsed = several.0.iter().map(|text| FieldPath::parse(text)).collect::<Result<Vec<_>, _>>();
            parsed.map_err(|e| format!("fields.{key}: {e}"))
        };
        let mut attributes = vec![];
        for (name, several) in &self.attributes {
            attributes.push((name.clone(), paths(&format!("attributes.{name}"), several)?));
        }
        let metadata = Some(&self.metadata).filter(|m| !m.is_empty()).map(|m| FieldPath::parse(m).map_err(|e| format!("fields.metadata: {e}")));
        let mapping = Mapping {
            user_id: paths("user_id", &self.user_id)?,
            event_type: paths("event_type", &self.event_type)?,
            event_type_default: self.event_type_default.clone(),
            event_time: paths("event_time", &self.event_time)?,
            event_time_unit: match self.event_time_unit {
                Unit::Seconds => TimeUnit::Seconds,
                Unit::Millis => TimeUnit::Millis,
                Unit::Micros => TimeUnit::Micros,
                Unit::Nanos => TimeUnit::Nanos,
                Unit::Rfc3339 => TimeUnit::Rfc3339,
            },
            value: paths("value", &self.value)?,
            session_id: paths("session_id", &self.session_id)?,
            metadata: metadata.transpose()?,
            attributes,
        };
        if let Some(key) = mapping.misplaced() {
            return Err(format!("fields.{key}: \".\" is the whole record, which is no single value"));
        }
        if mapping.user_id.is_empty() {
            return Err("fields.user_id: name a path".into());
        }
        if mapping.event_time.is_empty() {
            return Err("fields.event_time: name a path".into());
        }
        if mapping.event_type.is_empty() && mapping.event_type_default.is_none() {
            return Err("fields.event_type: name a path, or give event_type_default".into());
        }
        if mapping.event_type_default.as_deref() == Some("") {
            return Err("fields.event_type_default: must not be empty".into());
        }
        Ok(mapping)
    }
}

impl FormatSection {
    /// The format; `cache` has the schemas of the registry, if there is one.
    fn format(&self, cache: Option<&Arc<SchemaCache>>) -> Result<Format, String> {
        let encoding = match self.kind {
            FormatKind::Json | FormatKind::JsonSchema => self.json()?,
            FormatKind::Avro => self.avro(cache)?,
            FormatKind::Protobuf => self.protobuf(cache)?,
        };
        let mapping = self.fields.as_ref().map(Fields::mapping).transpose()?;
        Ok(Format { encoding, mapping: mapping.filter(|m| *m != Mapping::default()) })
    }

    /// Refuses keys that are of other kinds.
    fn only(&self, allowed: &[&str]) -> Result<(), String> {
        let given = [
            ("schema", !self.schema.0.is_empty()),
            ("reader_schema", self.reader_schema.is_some()),
            ("message", !self.message.is_empty()),
            ("includes", !self.includes.is_empty()),
        ];
        match given.into_iter().find(|(key, given)| *given && !allowed.contains(key)) {
            Some((key, _)) => Err(format!("{key}: is not of this kind of format")),
            None => Ok(()),
        }
    }

    fn json(&self) -> Result<Encoding, String> {
        self.only(&[])?;
        let framed = self.kind == FormatKind::JsonSchema;
        match self.framing {
            None => Ok(Encoding::Json { framed }),
            Some(FramingKind::Confluent) if framed => Ok(Encoding::Json { framed }),
            Some(FramingKind::None) if !framed => Ok(Encoding::Json { framed }),
            Some(_) => Err("framing: json has none, and json_schema that of confluent".into()),
        }
    }

    /// What a registry would be asked for: schemas by the ids in Confluent's framing.
    fn registry<T>(&self, cache: Option<&Arc<SchemaCache>>) -> Result<Writer<T>, String> {
        if self.framing.is_some_and(|framing| framing != FramingKind::Confluent) {
            return Err("schema: records do not say which schema they have; name it".into());
        }
        cache.map(|cache| Writer::Registry(Arc::clone(cache))).ok_or_else(|| "schema: name it, or a registry in source.registry.url".into())
    }

    fn framing(&self) -> Framing {
        match self.framing {
            None | Some(FramingKind::Confluent) => Framing::Confluent,
            Some(FramingKind::SingleObject) => Framing::SingleObject,
            Some(FramingKind::None) => Framing::None,
        }
    }

    fn avro(&self, cache: Option<&Arc<SchemaCache>>) -> Result<Encoding, String> {
        self.only(&["schema", "reader_schema"])?;
        let writer = match &self.schema.0[..] {
            [] => self.registry(cache)?,
            [file] => Writer::Local(Arc::new(avro_schema("schema", Path::new(file))?)),
            _ => return Err("schema: records have one Avro schema, in one file".into()),
        };
        Ok(Encoding::Avro { framing: self.framing(), writer, reader: self.reader()? })
    }

    /// The schema that paths and defaults go by.
    fn reader(&self) -> Result<Option<Arc<Schema>>, String> {
        self.reader_schema.as_deref().map(|file| avro_schema("reader_schema", file).map(Arc::new)).transpose()
    }

    fn protobuf(&self, cache: Option<&Arc<SchemaCache>>) -> Result<Encoding, String> {
        self.only(&["schema", "message", "includes"])?;
        let writer = if self.schema.0.is_empty() {
            if !self.message.is_empty() || !self.includes.is_empty() {
                return Err("message: is of the files in schema; records from a registry say which they are".into());
            }
            self.registry(cache)?
        } else {
            Writer::Local(self.message()?)
        };
        match self.framing() {
            Framing::SingleObject => Err("framing: single_object is Avro's".into()),
            framing => Ok(Encoding::Protobuf { framing, writer }),
        }
    }

    /// The message of the files.
    fn message(&self) -> Result<Message, String> {
        let files: Vec<PathBuf> = self.schema.0.iter().map(PathBuf::from).collect();
        if let Some(file) = files.iter().find(|f| !f.is_file()) {
            return Err(format!("schema: there is no file {}", file.display()));
        }
        let failed = |e: &dyn std::fmt::Display| format!("schema: {e}");
        let messages = match &files[..] {
            [set] if set.extension().is_none_or(|e| e != "proto") => {
                let bytes = std::fs::read(set).map_err(|e| format!("schema: {}: {e}", set.display()))?;
                Messages::decode(&bytes).map_err(|e| failed(&e))?
            }
            _ => {
                let folder = |file: &PathBuf| file.parent().map(|p| if p.as_os_str().is_empty() { PathBuf::from(".") } else { p.to_path_buf() });
                let includes = if self.includes.is_empty() { files.iter().filter_map(folder).collect() } else { self.includes.clone() };
                Messages::open(&files, &includes).map_err(|e| failed(&e))?
            }
        };
        if self.message.is_empty() {
            return messages.only().ok_or_else(|| "message: name it, as there is not just one in schema".into());
        }
        messages.named(&self.message).ok_or_else(|| format!("message: there is no {:?} in schema", self.message))
    }
}

fn avro_schema(key: &str, file: &Path) -> Result<Schema, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{key}: {}: {e}", file.display()))?;
    Schema::parse(&text, &[]).map_err(|e| format!("{key}: {}: {e}", file.display()))
}

/// Stands for a registry while a configuration is looked at.
struct NotAsked;

impl SchemaSource for NotAsked {
    fn fetch(&self, id: u32) -> Result<Option<Registered>, Away> {
        Err(Away { id, why: "not asked".into() })
    }
}

impl FormatSection {
    /// Whether it is that of plain JSON events.
    pub fn is_plain(&self) -> bool {
        self.kind == FormatKind::Json && self.fields.is_none()
    }
}

impl Source {
    /// What records of a topic are.
    pub fn format_of(&self, topic: &str) -> &FormatSection {
        self.formats.get(topic).unwrap_or(&self.format)
    }

    /// The formats of all topics. Requests to the registry run on `handle`.
    ///
    /// # Errors
    /// What is wrong, with its key.
    pub fn formats(&self, handle: &Handle) -> Result<Arc<Formats>, String> {
        if self.registry.url.is_empty() {
            return self.formats_with(None);
        }
        let options = self.registry.options().map_err(|e| format!("source.registry.{e}"))?;
        let registry = Registry::new(&options, handle.clone()).map_err(|e| format!("source.registry.url: {e}"))?;
        self.formats_with(Some(&Arc::new(SchemaCache::new(Box::new(registry)))))
    }

    fn formats_with(&self, cache: Option<&Arc<SchemaCache>>) -> Result<Arc<Formats>, String> {
        let default = self.format.format(cache).map_err(|e| format!("source.format.{e}"))?;
        let topic =
            |(topic, section): (&String, &FormatSection)| section.format(cache).map(|f| (topic.clone(), f)).map_err(|e| format!("source.formats.{topic}.{e}"));
        Ok(Arc::new(Formats { default, topics: self.formats.iter().map(topic).collect::<Result<_, _>>()? }))
    }

    /// What files of a topic's events are read by: their mapping, and the schema that paths and defaults of Avro go by.
    ///
    /// # Errors
    /// What is wrong, with its key.
    pub fn of_files(&self, topic: Option<&str>) -> Result<(Option<Mapping>, Option<Arc<Schema>>), String> {
        let (key, section) = match topic.and_then(|topic| self.formats.get_key_value(topic)) {
            Some((topic, section)) => (format!("source.formats.{topic}"), section),
            None => ("source.format".to_string(), &self.format),
        };
        if matches!(section.kind, FormatKind::JsonSchema | FormatKind::Protobuf) {
            return Err(format!("{key}.kind: files hold lines of JSON, Parquet, or Avro (an object container file)"));
        }
        let mapping = section.fields.as_ref().map(Fields::mapping).transpose().map_err(|e| format!("{key}.{e}"))?;
        let reader = section.reader().map_err(|e| format!("{key}.{e}"))?;
        Ok((mapping.filter(|m| *m != Mapping::default()), reader))
    }

    /// What is wrong with formats and registry, first of all by themselves.
    pub(super) fn format_problems(&self) -> Vec<String> {
        let mut problems = vec![];
        if !self.registry.url.is_empty() {
            let options = self.registry.options().map_err(|e| format!("source.registry.{e}"));
            problems.extend(options.and_then(|o| o.check().map_err(|e| format!("source.registry.url: {e}"))).err());
        }
        let cache = (!self.registry.url.is_empty()).then(|| Arc::new(SchemaCache::new(Box::new(NotAsked))));
        problems.extend(self.formats_with(cache.as_ref()).err());
        problems
    }

    /// What does not go with the kind of source.
    pub(super) fn misplaced_formats(&self) -> Vec<String> {
        let sections = || std::iter::once(("format".to_string(), &self.format)).chain(self.formats.iter().map(|(t, f)| (format!("formats.{t}"), f)));
        let plain = FormatSection::default();
        let mut problems = vec![];
        for (key, section) in sections() {
            let wrong = match self.kind {
                SourceKind::Embedded if *section != plain => {
                    "the embedded log holds plain JSON events; other formats are for source.kind = \"kafka\" and \"file\""
                }
                SourceKind::File if section.kind != FormatKind::Json => {
                    "files that are followed hold lines of JSON; cohort replay reads Avro object container files"
                }
                _ => continue,
            };
            problems.push(format!("source.{key}: {wrong}"));
        }
        let known = |topic: &String| self.topics.contains(topic) || (self.kind == SourceKind::File && self.file.topic == *topic);
        let unknown = self.formats.keys().filter(|topic| !known(topic));
        problems.extend(unknown.map(|topic| format!("source.formats.{topic}: {topic:?} is none of source.topics")));
        problems
    }
}

#[cfg(test)]
mod tests;
