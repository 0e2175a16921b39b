//! The settings of a session that clients set and ask for. Only `statement_timeout` changes what the service does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::errors::problem;
use crate::api::problem::{ApiResult, Problem};
use crate::service::query::MAX_TIME;

/// The version of PostgreSQL whose clients feel at home.
pub const VERSION: &str = "16.6";

/// What is known, and what it is.
pub const DEFAULTS: [(&str, &str); 46] = [
    ("application_name", ""),
    ("backslash_quote", "safe_encoding"),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("DateStyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("enable_bitmapscan", "on"),
    ("enable_hashjoin", "on"),
    ("enable_indexscan", "on"),
    ("enable_mergejoin", "on"),
    ("enable_nestloop", "on"),
    ("enable_seqscan", "on"),
    ("escape_string_warning", "on"),
    ("extra_float_digits", "1"),
    ("geqo", "on"),
    ("idle_in_transaction_session_timeout", "0"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("IntervalStyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("lc_messages", "C"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("quote_all_identifiers", "off"),
    ("row_security", "off"),
    ("search_path", "public"),
    ("server_encoding", "UTF8"),
    ("server_version", VERSION),
    ("server_version_num", "160006"),
    ("session_authorization", ""),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("synchronous_commit", "on"),
    ("TimeZone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "off"),
    ("work_mem", "4MB"),
];

/// What clients are told at the start, and when it changes.
pub const REPORTED: [&str; 12] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

/// Settings whose values stay, whatever clients set: they say how values are written.
const FIXED: [&str; 5] = ["datestyle", "intervalstyle", "timezone", "bytea_output", "client_encoding"];
const READ_ONLY: [&str; 10] = [
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "lc_collate",
    "lc_ctype",
    "max_identifier_length",
    "max_index_keys",
    "server_encoding",
    "server_version",
    "server_version_num",
];
const MAX_VALUE: usize = 1_000;

/// The settings of a session, by names in lower case.
#[derive(Debug, Clone)]
pub struct Settings(pub Arc<BTreeMap<String, String>>);

impl Default for Settings {
    fn default() -> Self {
        Settings(Arc::new(DEFAULTS.iter().map(|(name, value)| (name.to_lowercase(), value.to_string())).collect()))
    }
}

fn unknown(name: &str) -> Problem {
    problem("42704", format!("unrecognized configuration parameter {name:?}")).hint("SHOW ALL lists those that are known; SHOW SEGMENTS lists segments")
}

impl Settings {
    /// The value of a setting.
    ///
    /// # Errors
    /// When there is no such setting.
    pub fn get(&self, name: &str) -> ApiResult<&str> {
        self.0.get(&name.to_lowercase()).map(String::as_str).ok_or_else(|| unknown(name))
    }

    /// Changes a setting.
    ///
    /// # Errors
    /// When there is no such setting, or it cannot have the value.
    pub fn set(&mut self, name: &str, value: &str) -> ApiResult<()> {
        let (key, value) = (name.to_lowercase(), value.trim_matches('\''));
        if !self.0.contains_key(&key) {
            return Err(unknown(name));
        }
        if READ_ONLY.contains(&key.as_str()) {
            return Err(problem("55P02", format!("{name} cannot be changed")));
        }
        if value.len() > MAX_VALUE {
            return Err(problem("22023", format!("the value of {name} is longer than {MAX_VALUE} bytes")));
        }
        if key == "client_encoding" && !["utf8", "utf-8", "unicode", "sql_ascii", "default"].contains(&value.to_lowercase().as_str()) {
            return Err(problem("22023", format!("client_encoding cannot be {value:?}")).hint("texts are UTF8"));
        }
        if key == "statement_timeout" && milliseconds(value).is_none() {
            return Err(problem("22023", format!("{value:?} is no time")).hint("for instance 5000 (milliseconds), '5s' or 0 for the service's own limit"));
        }
        if !FIXED.contains(&key.as_str()) {
            let default = || DEFAULTS.iter().find(|(n, _)| n.to_lowercase() == key).map_or("", |(_, v)| v);
            let value = if value.eq_ignore_ascii_case("default") { default() } else { value };
            Arc::make_mut(&mut self.0).insert(key, value.to_string());
        }
        Ok(())
    }

    /// How long a statement may take: what the client says, but no longer than the service allows.
    pub fn limit(&self) -> Duration {
        let wanted = self.0.get("statement_timeout").and_then(|v| milliseconds(v)).filter(|ms| *ms > 0);
        wanted.map_or(MAX_TIME, |ms| Duration::from_millis(ms).min(MAX_TIME))
    }
}

fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("default") {
        return Some(0);
    }
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let scale = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_set_and_asked_for() {
        let mut settings = Settings::default();
        assert!(settings.set("Application_Name", "psql").is_ok());
        assert_eq!(settings.get("application_name").ok(), Some("psql"));
        for (name, value) in [("nothing", "1"), ("server_version", "9"), ("client_encoding", "LATIN1"), ("statement_timeout", "soon")] {
            assert!(settings.set(name, value).is_err(), "{name}");
        }
        assert!(settings.set("TimeZone", "Europe/Berlin").is_ok());
        assert_eq!(settings.get("timezone").ok(), Some("UTC"), "times are written in UTC");
        assert_eq!(settings.limit(), MAX_TIME);
        for (value, limit) in [("250", 250), ("2s", 2_000), ("1h", 10_000), ("default", 10_000)] {
            assert!(settings.set("statement_timeout", value).is_ok());
            assert_eq!(settings.limit(), Duration::from_millis(limit), "{value}");
        }
    }
}
