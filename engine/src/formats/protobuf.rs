//! Protobuf messages, by descriptors that are compiled when they are first needed.
//!
//! A message is decoded by prost-reflect, which bounds lengths and nesting; a plan says which fields lead to what.

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, FileDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::capture::{Captured, Captures, Metadata, NO_TEXT, from_json};
use super::mapping::Tree;
use crate::decode::Reason;

/// Descriptors that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Protobuf schema: {0}")]
pub struct SchemaError(String);

fn wrong(error: impl std::fmt::Display) -> SchemaError {
    SchemaError(error.to_string())
}

/// The messages of a file, and of what it imports.
#[derive(Debug, Clone)]
pub struct Messages {
    pool: DescriptorPool,
    /// The files themselves, without what they import; of a registry just one, in which message indexes count.
    files: Vec<FileDescriptor>,
}

/// Files by their names, as imports have them.
struct Named(Vec<(String, String)>);

impl FileResolver for Named {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.iter().find(|(known, _)| known == name) {
            Some((_, text)) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// The name of a file that has none.
const MAIN: &str = "cohort-main.proto";

impl Messages {
    /// Compiles the text of a file; `imports` are files that it names, with their names.
    ///
    /// # Errors
    /// When it, or one of those, does not compile.
    pub fn compile(text: &str, imports: &[(String, String)]) -> Result<Self, SchemaError> {
        let mut files = imports.to_vec();
        files.push((MAIN.into(), text.into()));
        let mut resolver = ChainFileResolver::new();
        resolver.add(Named(files));
        resolver.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true).open_file(MAIN).map_err(wrong)?;
        Ok(Messages::of(&compiler))
    }

    /// Compiles files, whose imports are looked for in folders.
    ///
    /// # Errors
    /// When one cannot be read, or does not compile.
    pub fn open(files: &[std::path::PathBuf], includes: &[std::path::PathBuf]) -> Result<Self, SchemaError> {
        let mut compiler = protox::Compiler::new(includes).map_err(wrong)?;
        compiler.include_imports(true).open_files(files).map_err(wrong)?;
        Ok(Messages::of(&compiler))
    }

    fn of(compiler: &protox::Compiler) -> Self {
        let pool = compiler.descriptor_pool();
        let files = compiler.files().filter(|f| !f.is_import()).filter_map(|f| pool.get_file_by_name(f.name())).collect();
        Messages { pool, files }
    }

    /// Reads a descriptor set, as `protoc --include_imports --descriptor_set_out` writes it.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(set: &[u8]) -> Result<Self, SchemaError> {
        let pool = DescriptorPool::decode(set).map_err(wrong)?;
        Ok(Messages { files: pool.files().collect(), pool })
    }

    /// The message of a full name.
    pub fn named(&self, name: &str) -> Option<Message> {
        self.pool.get_message_by_name(name).map(Message)
    }

    /// The only message of the files, if there is just one that lies in no other.
    pub fn only(&self) -> Option<Message> {
        let mut all = self.files.iter().filter(|f| !f.name().starts_with("google/protobuf/")).flat_map(FileDescriptor::messages);
        all.next().filter(|_| all.next().is_none()).map(Message)
    }

    /// The message at a place: its index in the file, then in the message before.
    pub fn at(&self, indexes: &[u32]) -> Option<Message> {
        let (first, nested) = indexes.split_first().unwrap_or((&0, &[]));
        let outer = self.files.first()?.messages().nth(*first as usize)?;
        nested.iter().try_fold(outer, |message, index| message.child_messages().nth(*index as usize)).map(Message)
    }
}

/// What a message's bytes say.
#[derive(Debug, Clone, PartialEq)]
pub struct Message(MessageDescriptor);

#[cfg(test)]
impl Message {
    /// What it consists of.
    pub fn descriptor(&self) -> &MessageDescriptor {
        &self.0
    }
}

/// What is to be done with a message.
pub(super) struct Plan {
    message: MessageDescriptor,
    root: Place,
}

/// A node of the tree, with the fields of a message that lead on.
struct Place {
    node: usize,
    /// Whether what is not told from its absence counts as absent.
    required: bool,
    fields: Vec<(FieldDescriptor, Place)>,
}

impl Plan {
    /// For messages of a descriptor.
    pub fn new(message: &Message, tree: &Tree) -> Self {
        let required: Vec<usize> = [&tree.user, &tree.event_type, &tree.time].into_iter().flatten().copied().collect();
        Plan { root: place(tree, 0, Some(&message.0), &required), message: message.0.clone() }
    }

    /// Reads a message into `found`.
    pub fn read(&self, bytes: &[u8], tree: &Tree, found: &mut Captures) -> Result<(), Reason> {
        found.reset(tree.leaves);
        let message = DynamicMessage::decode(self.message.clone(), bytes).map_err(|_| Reason::NotProtobuf)?;
        Reader { tree, found }.message(&self.root, &message);
        Ok(())
    }
}

fn place(tree: &Tree, node: usize, message: Option<&MessageDescriptor>, required: &[usize]) -> Place {
    let field = |(name, child): &(Box<str>, usize)| {
        let message = message?;
        let field = message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))?;
        let inner = if field.is_list() || field.is_map() { None } else { field.kind().as_message().cloned() };
        let place = place(tree, *child, inner.as_ref(), required);
        Some((field, place))
    };
    let at = &tree.nodes[node];
    Place { node, required: at.leaf.is_some_and(|leaf| required.contains(&leaf)), fields: at.children.iter().filter_map(field).collect() }
}

struct Reader<'a> {
    tree: &'a Tree,
    found: &'a mut Captures,
}

impl Reader<'_> {
    fn message(&mut self, place: &Place, message: &DynamicMessage) {
        let tree = self.tree;
        let node = &tree.nodes[place.node];
        if node.metadata {
            self.found.metadata = Metadata::Object;
            if tree.entries {
                self.entries(message);
            }
        }
        for (field, place) in &place.fields {
            let absent = if field.supports_presence() { !message.has_field(field) } else { place.required && !message.has_field(field) };
            if !absent {
                self.value(place, field, &message.get_field(field));
            }
        }
    }

    fn value(&mut self, place: &Place, field: &FieldDescriptor, value: &Value) {
        let tree = self.tree;
        let node = &tree.nodes[place.node];
        if let Value::Message(message) = value
            && is_json(message)
        {
            // A google.protobuf.Struct is what its JSON is.
            return from_json(self.found, tree, place.node, &json_of(message));
        }
        if let Some(leaf) = node.leaf {
            let captured = self.capture(field, value, node.text);
            self.found.values[leaf] = captured;
        }
        match value {
            Value::Message(message) => self.message(place, message),
            Value::Map(map) => self.map(place.node, &field.kind(), map),
            _ if node.metadata => self.found.metadata = Metadata::Wrong,
            _ => {}
        }
    }

    fn map(&mut self, node: usize, kind: &Kind, map: &std::collections::HashMap<MapKey, Value>) {
        let tree = self.tree;
        let node = &tree.nodes[node];
        let Some(values) = kind.as_message().map(MessageDescriptor::map_entry_value_field) else { return };
        if node.metadata {
            self.found.metadata = Metadata::Object;
            if tree.entries {
                let mut keys: Vec<(String, &Value)> = map.iter().map(|(key, value)| (key_text(key), value)).collect();
                keys.sort_by(|a, b| a.0.cmp(&b.0));
                for (key, value) in keys {
                    let key = self.found.keep(key.as_bytes());
                    let value = self.capture(&values, value, true);
                    self.found.entries.push((key, value));
                }
            }
        }
        for (name, child) in &node.children {
            let Some(value) = map.iter().find(|(key, _)| key_text(key) == **name).map(|(_, value)| value) else { continue };
            let inner = values.kind();
            let place = place(tree, *child, inner.as_message(), &[]);
            self.value(&place, &values, value);
        }
    }

    fn entries(&mut self, message: &DynamicMessage) {
        for field in message.descriptor().fields() {
            if field.supports_presence() && !message.has_field(&field) {
                continue;
            }
            let key = self.found.keep(field.name().as_bytes());
            let value = self.capture(&field, &message.get_field(&field), true);
            self.found.entries.push((key, value));
        }
    }

    fn capture(&mut self, field: &FieldDescriptor, value: &Value, text: bool) -> Captured {
        match value {
            Value::Bool(b) => Captured::Bool(*b),
            Value::I32(n) => self.found.integer(i64::from(*n), text),
            Value::U32(n) => self.found.integer(i64::from(*n), text),
            Value::I64(n) => self.found.integer(*n, text),
            Value::U64(n) => match i64::try_from(*n) {
                Ok(n) => self.found.integer(n, text),
                Err(_) => Captured::Number { float: *n as f64, integer: None, text: self.found.keep_shown(n) },
            },
            Value::F32(x) => {
                let text = if text { self.found.keep_shown(format_args!("{x:?}")) } else { NO_TEXT };
                Captured::Number { float: f64::from(*x), integer: None, text }
            }
            Value::F64(x) => self.found.float(*x, text),
            Value::String(s) => Captured::Text(self.found.keep(s.as_bytes())),
            Value::EnumNumber(number) => {
                let kind = field.kind();
                match kind.as_enum().and_then(|of| of.get_value(*number)) {
                    Some(symbol) => Captured::Text(self.found.keep(symbol.name().as_bytes())),
                    None => self.found.integer(i64::from(*number), text),
                }
            }
            Value::Message(message) => self.capture_message(message, text),
            Value::Bytes(_) | Value::List(_) | Value::Map(_) if !text => Captured::Nested(NO_TEXT),
            Value::Bytes(bytes) => Captured::Nested(self.found.keep(bytes.iter().map(|b| char::from(*b)).collect::<String>().as_bytes())),
            Value::List(_) | Value::Map(_) => Captured::Nested(self.found.keep_shown(json(field, value))),
        }
    }

    fn capture_message(&mut self, message: &DynamicMessage, text: bool) -> Captured {
        let descriptor = message.descriptor();
        let number = |name: &str| message.get_field_by_name(name).and_then(|v| v.as_i64().or_else(|| v.as_i32().map(i64::from))).unwrap_or(0);
        match descriptor.full_name() {
            "google.protobuf.Timestamp" => {
                let millis = number("seconds").saturating_mul(1_000).saturating_add(number("nanos").div_euclid(1_000_000));
                let text = if text { self.found.keep_shown(json_text(message)) } else { NO_TEXT };
                Captured::Instant { millis, text }
            }
            name if is_wrapper(name) => match descriptor.get_field_by_name("value") {
                Some(field) => self.capture(&field, &message.get_field(&field), text),
                None => Captured::Null,
            },
            _ if text => Captured::Nested(self.found.keep_shown(json_text(message))),
            _ => Captured::Nested(NO_TEXT),
        }
    }
}

/// Messages that stand for one value, which may be absent.
fn is_wrapper(name: &str) -> bool {
    let kind = name.strip_prefix("google.protobuf.").and_then(|name| name.strip_suffix("Value"));
    kind.is_some_and(|kind| matches!(kind, "Double" | "Float" | "Int64" | "UInt64" | "Int32" | "UInt32" | "Bool" | "String" | "Bytes"))
}

fn is_json(message: &DynamicMessage) -> bool {
    matches!(message.descriptor().full_name(), "google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.ListValue")
}

/// A message as JSON, by Protobuf's own mapping; null, when it has none.
fn json_of(message: &DynamicMessage) -> serde_json::Value {
    serde_json::to_value(message).unwrap_or_default()
}

/// The same as text: that of a text without its quotes.
fn json_text(message: &DynamicMessage) -> String {
    match json_of(message) {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(b) => b.to_string(),
        MapKey::I32(n) => n.to_string(),
        MapKey::I64(n) => n.to_string(),
        MapKey::U32(n) => n.to_string(),
        MapKey::U64(n) => n.to_string(),
        MapKey::String(s) => s.clone(),
    }
}

fn json(field: &FieldDescriptor, value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Value::Bool(b) => (*b).into(),
        Value::I32(n) => (*n).into(),
        Value::I64(n) => (*n).into(),
        Value::U32(n) => (*n).into(),
        Value::U64(n) => (*n).into(),
        Value::F32(x) => serde_json::Number::from_f64(f64::from(*x)).map_or(Json::Null, Json::Number),
        Value::F64(x) => serde_json::Number::from_f64(*x).map_or(Json::Null, Json::Number),
        Value::String(s) => s.as_str().into(),
        Value::Bytes(bytes) => bytes.iter().map(|b| char::from(*b)).collect::<String>().into(),
        Value::EnumNumber(n) => match field.kind().as_enum().and_then(|of| of.get_value(*n)) {
            Some(symbol) => symbol.name().into(),
            None => (*n).into(),
        },
        Value::Message(message) => json_of(message),
        Value::List(items) => items.iter().map(|item| json(field, item)).collect(),
        Value::Map(map) => {
            let values = field.kind().as_message().map(MessageDescriptor::map_entry_value_field);
            let mut entries: Vec<(String, Json)> = map.iter().map(|(k, v)| (key_text(k), json(values.as_ref().unwrap_or(field), v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(entries.into_iter().collect())
        }
    }
}
