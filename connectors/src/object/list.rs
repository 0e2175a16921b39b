//! A URL, a folder or a pattern → the objects with events, in groups, in the order of their events.
//!
//! Objects are ordered by the time that their folders say, then by name. Those of the same time are one group, as their
//! events lie side by side and not one after the other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt};
use reqwest::Url;
use tokio::runtime::Handle;

use super::{Object, Tally, folders, store};
use crate::between::Between;
use crate::error::ConnectorError;

/// The most objects that are read side by side.
pub const MOST_TOGETHER: usize = 256;

/// Ends of names of files with events, before `.gz` and `.zst`.
const EVENTS: [&str; 7] = ["json", "jsonl", "ndjson", "log", "txt", "parquet", "avro"];

const MATCHING: MatchOptions = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Where objects are: one, those below a prefix, or those that a pattern fits.
#[derive(Clone)]
pub struct Location {
    store: Arc<dyn ObjectStore>,
    /// What is before a path in an object's URL.
    root: String,
    /// What the objects' paths begin with.
    prefix: Path,
    /// What follows it.
    pattern: Option<Pattern>,
    /// As it was given.
    text: String,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Objects with events.
    pub objects: Vec<Object>,
    /// URLs of those that are none by their names.
    pub left_out: Vec<String>,
    /// Whether it is one object that was named.
    pub is_named: bool,
}

/// Whether a text is a URL and not the path of a file.
pub fn is_url(text: &str) -> bool {
    text.starts_with("file:") || text.split_once("://").is_some_and(|(scheme, _)| scheme.len() > 1 && scheme.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Whether a part of a path is a pattern.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn failed(what: &str) -> impl FnOnce(String) -> ConnectorError {
    let what = what.to_string();
    move |message| ConnectorError::Object { what, message }
}

impl Location {
    /// A location of a store.
    pub fn new(store: Arc<dyn ObjectStore>, root: &str, path: &str) -> Result<Self, ConnectorError> {
        let text = format!("{root}/{path}");
        let (prefix, pattern) = split(path).map_err(failed(&text))?;
        let prefix = Path::parse(prefix.join("/")).map_err(|e| failed(&text)(e.to_string()))?;
        Ok(Location { store, root: root.to_string(), prefix, pattern, text })
    }

    /// The location of a URL, or of a path of this machine.
    ///
    /// # Errors
    /// When there is no such store, or the URL is none.
    pub fn parse(text: &str) -> Result<Self, ConnectorError> {
        if text.split('/').any(|part| part == "..") && is_url(text) {
            return Err(failed(text)("a URL leads nowhere with \"..\"".into()));
        }
        match text.strip_prefix("file:") {
            Some(path) => Self::local(path.strip_prefix("//").unwrap_or(path), text),
            None if is_url(text) => Self::remote(text),
            None => Self::local(text, text),
        }
    }

    fn local(path: &str, text: &str) -> Result<Self, ConnectorError> {
        let wrong = |e: &dyn std::fmt::Display| failed(text)(e.to_string());
        let absolute = std::path::absolute(path).map_err(|e| wrong(&e))?;
        let absolute = absolute.to_str().ok_or_else(|| wrong(&"the path is not UTF-8"))?;
        let (prefix, pattern) = split(absolute).map_err(|e| wrong(&e))?;
        let prefix = Path::from_absolute_path(format!("/{}", prefix.join("/"))).map_err(|e| wrong(&e))?;
        Ok(Location { store: store::local(), root: "file://".into(), prefix, pattern, text: text.into() })
    }

    fn remote(text: &str) -> Result<Self, ConnectorError> {
        let wrong = |message: String| failed(&shown(text))(message);
        // What is a pattern to us is a query to a URL.
        let url: Url = text.replace('?', "%3F").parse().map_err(|_| wrong("is no URL".into()))?;
        let (store, path) = store::to_read(&url).map_err(wrong)?;
        let (prefix, pattern) = split(path.as_ref()).map_err(wrong)?;
        let prefix = Path::parse(prefix.join("/")).map_err(|e| wrong(e.to_string()))?;
        Ok(Location { store, root: store::root_of(&url), prefix, pattern, text: text.into() })
    }

    /// Whether all that it leads to is below another location.
    pub fn is_within(&self, other: &Location) -> bool {
        self.root == other.root && other.pattern.is_none() && self.prefix.prefix_matches(&other.prefix)
    }

    /// What there is. An object that was named is one of events whatever its name.
    ///
    /// # Errors
    /// When the store does not answer, or there is nothing.
    pub fn list(&self, runtime: &Handle) -> Result<Found, ConnectorError> {
        let wrong = |e: Error| failed(&self.text)(e.to_string());
        if self.pattern.is_none() && !self.text.ends_with('/') && !self.prefix.is_root() {
            match runtime.block_on(self.store.head(&self.prefix)) {
                Ok(meta) => return Ok(Found { objects: vec![self.object(meta)], left_out: vec![], is_named: true }),
                Err(Error::NotFound { .. }) => {}
                // A folder of this machine is no object, which not every system calls "not found".
                Err(_) if self.root == "file://" => {}
                Err(error) => return Err(wrong(error)),
            }
        }
        let prefix = (!self.prefix.is_root()).then_some(&self.prefix);
        let listed: Vec<ObjectMeta> = runtime.block_on(self.store.list(prefix).try_collect()).map_err(wrong)?;
        let mut found = Found::default();
        for meta in listed.into_iter().filter(|meta| self.fits(&meta.location)) {
            let has_events = meta.size > 0 && self.below(&meta.location).is_some_and(|below| is_of_events(&below));
            let object = self.object(meta);
            if has_events { found.objects.push(object) } else { found.left_out.push(object.url) }
        }
        if found.objects.is_empty() {
            let but = if found.left_out.is_empty() { String::new() } else { format!(", only {}", found.left_out[..found.left_out.len().min(3)].join(", ")) };
            return Err(failed(&self.text)(format!("there are no files of events here{but}")));
        }
        found.left_out.sort();
        Ok(found)
    }

    /// The part of a path after the prefix.
    fn below(&self, path: &Path) -> Option<String> {
        let parts: Vec<String> = path.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_string()).collect();
        Some(parts.join("/"))
    }

    fn fits(&self, path: &Path) -> bool {
        let Some(pattern) = &self.pattern else { return true };
        // A pattern that ends at a folder stands for what is below it.
        let below = self.below(path).unwrap_or_default();
        let ends = below.match_indices('/').map(|(at, _)| at).chain([below.len()]);
        ends.into_iter().any(|end| pattern.matches_with(&below[..end], MATCHING))
    }

    fn object(&self, meta: ObjectMeta) -> Object {
        let times = folders::times(meta.location.as_ref());
        Object { store: Arc::clone(&self.store), url: format!("{}/{}", self.root, meta.location), path: meta.location, size: meta.size, tag: meta.e_tag, times }
    }
}

/// A URL without what it may hold of secrets.
fn shown(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        _ => text.to_string(),
    }
}

/// Folders before the first that is a pattern, and the pattern from there on.
fn split(path: &str) -> Result<(Vec<String>, Option<Pattern>), String> {
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(String::from).collect();
    let Some(at) = parts.iter().position(|part| is_pattern(part)) else { return Ok((parts, None)) };
    let pattern = Pattern::new(&parts[at..].join("/")).map_err(|e| format!("is no pattern: {e}"))?;
    Ok((parts[..at].to_vec(), Some(pattern)))
}

/// Whether a name below the prefix is that of a file of events: no marker, nothing hidden, and either of a known kind or
/// without any, as some writers leave it.
fn is_of_events(below: &str) -> bool {
    if below.split('/').any(|part| part.starts_with(['_', '.'])) {
        return false;
    }
    let name = below.rsplit('/').next().unwrap_or(below).to_ascii_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    name.rsplit_once('.').is_none_or(|(_, end)| EVENTS.contains(&end))
}

/// Leaves out objects whose folders lie outside a time, give or take `slack` ms, by which events may be in a folder beside
/// theirs. A folder reaches to where the next of its series begins, as nothing else says how long it is; the last one has no end.
pub fn prune(objects: Vec<Object>, between: &Between, slack: i64, tally: &Tally) -> Vec<Object> {
    let mut starts: HashMap<String, BTreeSet<i64>> = HashMap::new();
    for object in &objects {
        if let Some((first, _)) = object.times {
            starts.entry(folders::series(&object.url)).or_default().insert(first);
        }
    }
    let may_have = |o: &Object| {
        o.times.is_none_or(|(first, end)| {
            let next = starts.get(&folders::series(&o.url)).and_then(|starts| starts.range(first + 1..).next());
            let reach = next.map_or(i64::MAX, |next| end.max(*next));
            between.may_have(first.saturating_sub(slack), reach.saturating_add(slack) - 1)
        })
    };
    let (kept, skipped): (Vec<_>, Vec<_>) = objects.into_iter().partition(may_have);
    Tally::add(&tally.objects_skipped, skipped.len() as u64);
    Tally::add(&tally.bytes_skipped, skipped.iter().map(|o| o.size).sum());
    kept
}

/// Puts objects in order, those of overlapping times together, at most [`MOST_TOGETHER`] of them.
pub fn groups(mut objects: Vec<Object>) -> Vec<Vec<Object>> {
    objects.sort_by(|a, b| (a.times.map(|t| t.0), &a.url).cmp(&(b.times.map(|t| t.0), &b.url)));
    objects.dedup_by(|a, b| a.url == b.url);
    let mut groups: Vec<(i64, Vec<Object>)> = vec![];
    for object in objects {
        match (groups.last_mut(), object.times) {
            (Some((until, group)), Some((first, end))) if first < *until && group.len() < MOST_TOGETHER => {
                *until = end.max(*until);
                group.push(object);
            }
            (_, times) => groups.push((times.map_or(i64::MIN, |t| t.1), vec![object])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(path: &str) -> Object {
        Object { store: store::local(), path: Path::from(path), url: path.into(), size: 1, tag: None, times: folders::times(path) }
    }

    #[test]
    fn what_is_of_events() {
        for name in ["a.jsonl", "x/b.JSON.gz", "d=1/part-0.snappy.parquet", "e.avro", "firehose-1-2026-11-01-03", "a.ndjson.zst"] {
            assert!(is_of_events(name), "{name}");
        }
        for name in ["_SUCCESS", "_temporary/0/a.parquet", ".a.parquet.crc", "x/.hidden/a.jsonl", "readme.md", "table.csv.gz", "d=1/_metadata"] {
            assert!(!is_of_events(name), "{name}");
        }
    }

    #[test]
    fn a_folder_reaches_to_the_next_of_its_series() {
        const HOUR: i64 = 3_600_000;
        let day = folders::times("date=2026-11-01/x").map_or(0, |t| t.0);
        let read = |paths: &[&str], from: i64, to: i64| {
            let objects = paths.iter().map(|path| object(path)).collect();
            let between = Between { from: Some(day + from * HOUR), to: Some(day + to * HOUR), lead_in: 0 };
            prune(objects, &between, 0, &Tally::default()).into_iter().map(|o| o.url).collect::<Vec<_>>()
        };
        let six_hours = ["a/date=2026-11-01/hour=00/x", "a/date=2026-11-01/hour=06/x", "a/date=2026-11-01/hour=12/x"];
        assert_eq!(read(&six_hours, 3, 4), [six_hours[0]]);
        assert_eq!(read(&six_hours, 7, 13), six_hours[1..]);
        assert_eq!(read(&six_hours, 30, 31), six_hours[2..], "nothing says where the last one ends");
        let quarters = ["a/date=2026-11-01/hour=00/minute=30/x", "a/date=2026-11-01/hour=00/minute=45/x", "a/date=2026-11-01/hour=01/minute=00/x"];
        assert_eq!(read(&quarters, 1, 2), quarters[2..]);
        let of_two_widths = ["eu/date=2026-11-01/x", "eu/date=2026-11-08/x", "us/date=2026-11-01/x", "us/date=2026-11-02/x", "us/date=2026-11-09/x"];
        assert_eq!(read(&of_two_widths, 72, 73), [of_two_widths[0], of_two_widths[3]]);
    }

    #[test]
    fn time_before_name_and_the_same_time_together() {
        let paths = [
            "e/b/date=2026-11-02/x",
            "e/a/date=2026-11-10/x",
            "e/a/date=2026-11-02/x",
            "e/z",
            "e/a/date=2026-11-02/hour=9/x",
            "e/a/date=2026-11-01/hour=10/x",
            "e/a/date=2026-11-01/hour=9/x",
        ];
        let found: Vec<Vec<String>> = groups(paths.map(object).to_vec()).into_iter().map(|g| g.into_iter().map(|o| o.url).collect()).collect();
        let one = |s: &str| vec![s.to_string()];
        let together = ["e/a/date=2026-11-02/x", "e/b/date=2026-11-02/x", "e/a/date=2026-11-02/hour=9/x"].map(String::from).to_vec();
        assert_eq!(found, [one("e/z"), one("e/a/date=2026-11-01/hour=9/x"), one("e/a/date=2026-11-01/hour=10/x"), together, one("e/a/date=2026-11-10/x")]);
    }

    #[test]
    fn patterns_and_urls() {
        let at = |path: &str| Location::new(store::local(), "file://", path).expect("a location");
        let fits = |pattern: &str, path: &str| at(pattern).fits(&Path::from(path));
        assert!(fits("e/*/a.jsonl", "e/x/a.jsonl") && !fits("e/*/a.jsonl", "e/x/y/a.jsonl"));
        assert!(fits("e/**/a.jsonl", "e/x/y/a.jsonl") && fits("e/date=2026-1?-*", "e/date=2026-11-01/hour=3/a.jsonl"));
        let within = |url: &str| Location::parse(url).is_ok_and(|l| l.is_within(&Location::parse("file:///data/events/").expect("a location")));
        assert!(within("file:///data/events/x/*.jsonl") && within("file:/data/events") && within("file:///data/events/date=2026-11-01/"));
        for url in ["file:///data/events-secret/", "file:///data/*/x", "file:///data/events/../x", "file:///data", "s3://data/events/"] {
            assert!(!within(url), "{url}");
        }
        assert!(is_url("s3://b/k") && is_url("file:x") && !is_url("events.jsonl") && !is_url("C:/x"));
        let problem = Location::parse("s3://key:secret@bucket/x").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(problem.contains("environment") && !problem.contains("secret"), "{problem}");
        let problem = Location::parse("gs://bucket/x").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(cfg!(feature = "gcp") || problem.contains("built without gs://"), "{problem}");
    }
}
