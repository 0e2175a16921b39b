//! Avro schemas: JSON → types in an arena, names resolved, so that a record type may hold itself.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// A schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Avro schema: {0}")]
pub struct SchemaError(String);

/// Types by number; names are resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    pub(super) types: Vec<Type>,
    pub(super) root: usize,
}

/// What a type says of its bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Boolean,
    /// `int` and `long`, which are encoded alike.
    Integer,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<Box<str>>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<Field>),
}

/// What a type's values stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logical {
    None,
    /// An integer with so many digits after the point.
    Decimal(u32),
    /// A time since the epoch, of which so many units are a second.
    Timestamp(i64),
    /// Days since the epoch.
    Date,
    /// Sixteen bytes that are a UUID.
    Uuid,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Type {
    pub kind: Kind,
    pub logical: Logical,
    /// The full name of a record, enum or fixed.
    pub name: Option<Box<str>>,
    /// Whether its values take no bytes.
    pub empty: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub name: Box<str>,
    pub aliases: Vec<Box<str>>,
    pub kind: usize,
    pub default: Option<Value>,
}

impl Field {
    pub fn is_called(&self, name: &str) -> bool {
        *self.name == *name || self.aliases.iter().any(|alias| **alias == *name)
    }
}

#[derive(Default)]
struct Parser {
    types: Vec<Type>,
    names: HashMap<String, usize>,
}

impl Schema {
    /// Parses a schema; `references` are those that it names, each after those that it names itself.
    ///
    /// # Errors
    /// When it, or one of those, is not an Avro schema, or has arrays of items without bytes.
    pub fn parse(text: &str, references: &[&str]) -> Result<Self, SchemaError> {
        let mut parser = Parser::default();
        let mut root = 0;
        for text in references.iter().chain(&[text]) {
            let value: Value = serde_json::from_str(text).map_err(|e| SchemaError(format!("not JSON: {e}")))?;
            root = parser.parse(&value, "")?;
        }
        let mut schema = Schema { types: parser.types, root };
        schema.find_empty()?;
        Ok(schema)
    }

    pub(super) fn kind(&self, of: usize) -> &Kind {
        &self.types[of].kind
    }

    /// Finds the types whose values take no bytes. A record in itself takes some, or there would be no end of it.
    fn find_empty(&mut self) -> Result<(), SchemaError> {
        loop {
            let is_empty = |of: &Type| match &of.kind {
                Kind::Null | Kind::Fixed(0) => true,
                Kind::Record(fields) => fields.iter().all(|f| self.types[f.kind].empty),
                _ => false,
            };
            let Some(found) = self.types.iter().position(|of| !of.empty && is_empty(of)) else { break };
            self.types[found].empty = true;
        }
        let endless = self.types.iter().any(|of| matches!(of.kind, Kind::Array(items) if self.types[items].empty));
        if endless { Err(SchemaError("has an array of items that take no bytes".into())) } else { Ok(()) }
    }
}

impl Parser {
    fn add(&mut self, kind: Kind, logical: Logical, name: Option<&str>) -> usize {
        self.types.push(Type { kind, logical, name: name.map(Into::into), empty: false });
        self.types.len() - 1
    }

    fn parse(&mut self, value: &Value, space: &str) -> Result<usize, SchemaError> {
        match value {
            Value::String(name) => self.named(name, space, Logical::None),
            Value::Array(branches) => {
                let branches = branches.iter().map(|b| self.parse(b, space)).collect::<Result<Vec<_>, _>>()?;
                if branches.is_empty() {
                    return Err(SchemaError("has a union of nothing".into()));
                }
                Ok(self.add(Kind::Union(branches), Logical::None, None))
            }
            Value::Object(object) => self.object(object, space),
            other => Err(SchemaError(format!("{other} is no type"))),
        }
    }

    fn named(&mut self, name: &str, space: &str, logical: Logical) -> Result<usize, SchemaError> {
        let kind = match name {
            "null" => Kind::Null,
            "boolean" => Kind::Boolean,
            "int" | "long" => Kind::Integer,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "bytes" => Kind::Bytes,
            "string" => Kind::String,
            _ => {
                let known = self.names.get(&full(name, space)).or_else(|| self.names.get(name));
                return known.copied().ok_or_else(|| SchemaError(format!("names a type {name:?} that is not there")));
            }
        };
        Ok(self.add(kind, logical, None))
    }

    fn object(&mut self, object: &Map<String, Value>, space: &str) -> Result<usize, SchemaError> {
        let kind = match object.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(nested) => return self.parse(nested, space),
            None => return Err(SchemaError("has a type without \"type\"".into())),
        };
        match kind {
            "record" | "error" => self.record(object, space),
            "enum" => {
                let symbols = texts(object.get("symbols")).ok_or_else(|| SchemaError("has an enum without symbols".into()))?;
                self.define(object, space, Kind::Enum(symbols), Logical::None).map(|(at, _)| at)
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
                let size = size.ok_or_else(|| SchemaError("has a fixed without a size".into()))?;
                self.define(object, space, Kind::Fixed(size), logical(object, kind, size)).map(|(at, _)| at)
            }
            "array" | "map" => {
                let key = if kind == "array" { "items" } else { "values" };
                let inner = object.get(key).ok_or_else(|| SchemaError(format!("has an {kind} without {key}")))?;
                let inner = self.parse(inner, space)?;
                Ok(self.add(if kind == "array" { Kind::Array(inner) } else { Kind::Map(inner) }, Logical::None, None))
            }
            name => self.named(name, space, logical(object, name, 0)),
        }
    }

    /// A type with a name; returns the namespace inside it too.
    fn define(&mut self, object: &Map<String, Value>, space: &str, kind: Kind, logical: Logical) -> Result<(usize, String), SchemaError> {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let name = text("name").filter(|n| !n.is_empty()).ok_or_else(|| SchemaError("has a record, enum or fixed without a name".into()))?;
        let name = full(name, text("namespace").unwrap_or(space));
        let inside = name.rsplit_once('.').map_or("", |(space, _)| space).to_string();
        let at = self.add(kind, logical, Some(&name));
        if self.names.insert(name.clone(), at).is_some() {
            return Err(SchemaError(format!("defines {name:?} twice")));
        }
        Ok((at, inside))
    }

    fn record(&mut self, object: &Map<String, Value>, space: &str) -> Result<usize, SchemaError> {
        let (at, inside) = self.define(object, space, Kind::Record(vec![]), Logical::None)?;
        let fields = object.get("fields").and_then(Value::as_array).ok_or_else(|| SchemaError("has a record without fields".into()))?;
        let mut known = vec![];
        for field in fields {
            let name = field.get("name").and_then(Value::as_str).ok_or_else(|| SchemaError("has a field without a name".into()))?;
            let kind = field.get("type").ok_or_else(|| SchemaError(format!("has a field {name:?} without a type")))?;
            let kind = self.parse(kind, &inside)?;
            let aliases = texts(field.get("aliases")).unwrap_or_default();
            known.push(Field { name: name.into(), aliases, kind, default: field.get("default").cloned() });
        }
        self.types[at].kind = Kind::Record(known);
        Ok(at)
    }
}

fn texts(value: Option<&Value>) -> Option<Vec<Box<str>>> {
    value?.as_array()?.iter().map(|t| t.as_str().map(Into::into)).collect()
}

fn full(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_string() } else { format!("{space}.{name}") }
}

/// A logical type that does not go with its type is passed over, as the specification has it.
fn logical(object: &Map<String, Value>, kind: &str, size: usize) -> Logical {
    let scale = object.get("scale").map_or(Some(0), Value::as_u64).filter(|s| *s <= 38);
    match (object.get("logicalType").and_then(Value::as_str), kind, scale) {
        (Some("decimal"), "bytes" | "fixed", Some(scale)) => Logical::Decimal(scale as u32),
        (Some("uuid"), "fixed", _) if size == 16 => Logical::Uuid,
        (Some("date"), "int", _) => Logical::Date,
        (Some("timestamp-millis" | "local-timestamp-millis"), "long", _) => Logical::Timestamp(1_000),
        (Some("timestamp-micros" | "local-timestamp-micros"), "long", _) => Logical::Timestamp(1_000_000),
        (Some("timestamp-nanos" | "local-timestamp-nanos"), "long", _) => Logical::Timestamp(1_000_000_000),
        _ => Logical::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Schema::parse(text, &[]).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn names_are_found_in_their_namespace() {
        let text = r#"{"type":"record","name":"a.b.R","fields":[{"name":"next","type":["null","R"]},{"name":"same","type":["null","a.b.R"]},
            {"name":"e","type":{"type":"enum","name":"E","symbols":["X"]}},{"name":"f","type":"a.b.E"}]}"#;
        let schema = Schema::parse(text, &[]);
        let schema = schema.as_ref().map(|s| s.kind(s.root));
        let Ok(Kind::Record(fields)) = schema else { panic!("{schema:?}") };
        assert_eq!(fields.len(), 4);
        assert_eq!(fields[2].kind, fields[3].kind);
    }

    #[test]
    fn references_are_known_by_name() {
        let user = r#"{"type":"record","name":"User","namespace":"x","fields":[{"name":"id","type":"string"}]}"#;
        let event = r#"{"type":"record","name":"Event","namespace":"x","fields":[{"name":"user","type":"User"}]}"#;
        assert!(Schema::parse(event, &[user]).is_ok());
        assert!(wrong(event).contains("\"User\""), "{}", wrong(event));
    }

    #[test]
    fn what_is_no_schema_is_said() {
        for (text, said) in [
            ("{", "not JSON"),
            ("7", "no type"),
            ("[]", "union of nothing"),
            (r#"{"type":"record","name":"R"}"#, "without fields"),
            (r#"{"type":"fixed","name":"F"}"#, "without a size"),
            (r#"{"type":"array"}"#, "without items"),
            (r#"{"type":"array","items":"null"}"#, "take no bytes"),
            (r#"{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"n","type":"null"}]}}"#, "take no bytes"),
            (r#"[{"type":"fixed","name":"F","size":1},{"type":"fixed","name":"F","size":2}]"#, "twice"),
        ] {
            assert!(wrong(text).contains(said), "{text}: {}", wrong(text));
        }
    }
}
