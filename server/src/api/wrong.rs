//! What is wrong with a record that was not accepted, in words.

use serde_json::Value;

use cohort_engine::decode::{MAX_DEPTH, MAX_USER_ID_BYTES};

/// Records up to here are looked into.
const LOOKED_INTO: usize = 64 << 10;

/// What is wrong with a record, by its reason and what is in it. `at` is when it was found, ms since the epoch; `plain`,
/// whether it should have been a plain JSON event.
pub fn in_words(reason: &str, raw: &[u8], at: i64, plain: bool) -> String {
    let field = match reason {
        "missing_user_id" | "invalid_user_id" | "empty_user_id" | "user_id_too_long" => "userId",
        "missing_event_type" | "invalid_event_type" | "empty_event_type" => "eventType",
        "missing_timestamp" | "invalid_timestamp" | "future_timestamp" => "timestamp",
        "invalid_value" => "value",
        "invalid_session_id" => "sessionId",
        "invalid_metadata" => "metadata",
        _ => return of_record(reason, raw),
    };
    if !plain {
        let what = reason.replace('_', " ");
        return format!("{what}: {field} is where source.format in the configuration says");
    }
    let record = (raw.len() <= LOOKED_INTO && reason != "too_deep").then(|| serde_json::from_slice::<Value>(raw).ok()).flatten();
    let value = record.as_ref().and_then(|r| r.get(field));
    match (reason, value) {
        (_, None) if reason.starts_with("missing") => format!("{field} is missing"),
        (_, Some(Value::Null)) => format!("{field} is null"),
        (_, Some(Value::String(text))) if text.is_empty() => format!("{field} is empty"),
        ("user_id_too_long", Some(Value::String(text))) => format!("userId has {} bytes, and at most {MAX_USER_ID_BYTES} are accepted", text.len()),
        ("future_timestamp", Some(time)) => {
            let ahead = time.as_i64().unwrap_or(at).saturating_sub(at);
            format!("timestamp is {} s ahead of the clock; is it in milliseconds?", ahead / 1_000)
        }
        ("invalid_timestamp", Some(Value::Number(n))) => format!("timestamp is {n}, and must be whole milliseconds since the epoch"),
        (_, Some(value)) => format!("{field} is {}, and must be {}", shown(value), wanted(field)),
        (_, None) => format!("{field} is not {}", wanted(field)),
    }
}

/// What is wrong with a record as a whole.
fn of_record(reason: &str, raw: &[u8]) -> String {
    match reason {
        "not_framed" => "it does not begin with a zero byte and the id of its schema".into(),
        "unknown_schema" => format!("the registry does not know its schema{}", id(raw)),
        "unusable_schema" => format!("its schema{} cannot be used: it is of another kind than source.format says, or broken", id(raw)),
        "not_avro" => "it is not what its Avro schema says, or cut".into(),
        "not_protobuf" => "it is not what its Protobuf message says, or cut".into(),
        "not_utf8" => {
            let valid = std::str::from_utf8(raw).map_or_else(|e| e.valid_up_to(), str::len);
            format!("it is not UTF-8 text from byte {valid} on")
        }
        "not_json" if raw.len() <= LOOKED_INTO => match serde_json::from_slice::<serde::de::IgnoredAny>(raw) {
            Err(error) => format!("it is not JSON: {error}"),
            Ok(_) => "it is not JSON".into(),
        },
        "not_json" => "it is not JSON".into(),
        "not_object" if raw.len() <= LOOKED_INTO => {
            let value = serde_json::from_slice::<Value>(raw).map_or_else(|_| "something else".into(), |v| shown(&v));
            format!("it is {value}, and must be an object")
        }
        "not_object" => "it is not an object".into(),
        "too_deep" => format!("it is nested deeper than {MAX_DEPTH} levels"),
        "too_large" => format!("it is larger than records may be: {} bytes", raw.len()),
        "late" => "it came after a window that it belongs to had closed; it counts in those that were open".into(),
        other => other.replace('_', " "),
    }
}

/// The id of a record's schema.
fn id(raw: &[u8]) -> String {
    match raw {
        [0, a, b, c, d, ..] => format!(" {}", u32::from_be_bytes([*a, *b, *c, *d])),
        _ => String::new(),
    }
}

fn wanted(field: &str) -> &'static str {
    match field {
        "timestamp" => "whole milliseconds since the epoch",
        "value" => "a finite number",
        "metadata" => "an object",
        _ => "a text",
    }
}

/// A value, short.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    let short: String = text.chars().take(40).collect();
    let short = if short.len() < text.len() { format!("{short}…") } else { short };
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Number(_) => format!("the number {short}"),
        Value::String(_) => format!("the text {short}"),
        Value::Array(_) => format!("the list {short}"),
        Value::Object(_) => format!("the object {short}"),
    }
}
