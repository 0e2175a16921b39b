//! Which fields of a record are what of an event, and the tree of their paths, by which readers find them in one pass.

use crate::decode::{Projection, TextField};

/// The longest path, in names.
pub const MAX_PATH: usize = 32;

/// Names that lead from the record to a value; none, for the record itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(Vec<Box<str>>);

impl Path {
    /// A path as it is written: names with dots between, `/` before each where names have dots (a JSON pointer), or
    /// `.` for the record itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let names: Vec<Box<str>> = match text.strip_prefix('/') {
            _ if text == "." => vec![],
            Some(pointer) => pointer.split('/').map(|n| n.replace("~1", "/").replace("~0", "~").into()).collect(),
            None => text.split('.').map(Into::into).collect(),
        };
        if names.iter().any(|n| n.is_empty()) {
            return Err(format!("{text:?} has an empty name; a path is names with dots between, as user.id, or with / before each, as /user.name/id"));
        }
        if names.len() > MAX_PATH {
            return Err(format!("{text:?} has more than {MAX_PATH} names"));
        }
        Ok(Path(names))
    }

    fn is_record(&self) -> bool {
        self.0.is_empty()
    }

    /// The field of the record that it leads into; none, when it is the record itself.
    pub fn field(&self) -> Option<&str> {
        self.0.first().map(|name| &**name)
    }

    /// Whether it leads to a field of the record and no further.
    pub fn is_field(&self) -> bool {
        self.0.len() == 1
    }
}

/// What a number or text that is an event's time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeUnit {
    /// Seconds since the epoch, with a fraction or without.
    Seconds,
    /// An integer of milliseconds.
    #[default]
    Millis,
    /// An integer of microseconds.
    Micros,
    /// An integer of nanoseconds.
    Nanos,
    /// A text of RFC 3339.
    Rfc3339,
}

/// Where an event's columns are in a record. Of several paths the first that leads to something other than null counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// The user.
    pub user_id: Vec<Path>,
    /// The type.
    pub event_type: Vec<Path>,
    /// The type of records that have none; `{topic}` in it stands for the topic.
    pub event_type_default: Option<String>,
    /// The time.
    pub event_time: Vec<Path>,
    /// What the time's number or text means, where the record's schema does not say.
    pub event_time_unit: TimeUnit,
    /// The value.
    pub value: Vec<Path>,
    /// The session.
    pub session_id: Vec<Path>,
    /// An object, record or map whose fields are the metadata.
    pub metadata: Option<Path>,
    /// Single entries of the metadata, which win over those of `metadata`.
    pub attributes: Vec<(String, Vec<Path>)>,
}

impl Default for Mapping {
    /// The fields of plain JSON events.
    fn default() -> Self {
        let one = |name: &str| vec![Path(vec![name.into()])];
        Mapping {
            user_id: one("userId"),
            event_type: one("eventType"),
            event_type_default: None,
            event_time: one("timestamp"),
            event_time_unit: TimeUnit::Millis,
            value: one("value"),
            session_id: one("sessionId"),
            metadata: Some(Path(vec!["metadata".into()])),
            attributes: vec![],
        }
    }
}

impl Mapping {
    /// The fields of a record that something is in; none, when all of them may be.
    pub fn fields(&self) -> Option<Vec<&str>> {
        let lists = [&self.user_id, &self.event_type, &self.event_time, &self.value, &self.session_id];
        let attributes = self.attributes.iter().map(|(_, paths)| paths);
        lists.into_iter().chain(attributes).flatten().chain(&self.metadata).map(Path::field).collect()
    }
}

/// A place in the tree of paths.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// Names that lead on, with their places.
    pub children: Vec<(Box<str>, usize)>,
    /// Where what is here is captured.
    pub leaf: Option<usize>,
    /// Whether it is wanted as text, whatever it is.
    pub text: bool,
    /// Whether the metadata are here.
    pub metadata: bool,
}

/// All paths of a mapping that a projection needs. Place 0 is the record.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub nodes: Vec<Node>,
    /// Whether each field of the metadata is an entry.
    pub entries: bool,
    pub user: Vec<usize>,
    pub event_type: Vec<usize>,
    pub time: Vec<usize>,
    pub value: Vec<usize>,
    pub session: Vec<usize>,
    /// Text columns of metadata, with what they are read from.
    pub keys: Vec<(usize, Vec<usize>)>,
    /// Entries of the whole metadata that have paths of their own.
    pub attributes: Vec<(Box<str>, Vec<usize>)>,
    /// Number of leaves.
    pub leaves: usize,
}

impl Tree {
    pub fn new(mapping: &Mapping, projection: &Projection) -> Self {
        let mut tree = Tree {
            nodes: vec![Node::default()],
            entries: projection.metadata,
            user: vec![],
            event_type: vec![],
            time: vec![],
            value: vec![],
            session: vec![],
            keys: vec![],
            attributes: vec![],
            leaves: 0,
        };
        tree.user = tree.all(&mapping.user_id, true);
        tree.event_type = tree.all(&mapping.event_type, true);
        tree.time = tree.all(&mapping.event_time, false);
        tree.value = tree.all(&mapping.value, false);
        tree.session = tree.all(&mapping.session_id, true);
        if let Some(path) = &mapping.metadata {
            let node = tree.node(path);
            tree.nodes[node].metadata = true;
        }
        for (column, text) in projection.texts.iter().enumerate() {
            if let TextField::Metadata(key) = &text.field {
                let own = mapping.attributes.iter().find(|(name, _)| name == key).map(|(_, paths)| paths.clone());
                let paths = own.unwrap_or_else(|| mapping.metadata.iter().map(|path| path.to(key)).collect());
                let leaves = tree.all(&paths, true);
                tree.keys.push((column, leaves));
            }
        }
        if projection.metadata {
            for (name, paths) in &mapping.attributes {
                let leaves = tree.all(paths, true);
                tree.attributes.push((name.as_str().into(), leaves));
            }
        }
        tree
    }

    fn all(&mut self, paths: &[Path], text: bool) -> Vec<usize> {
        paths.iter().map(|path| self.leaf(path, text)).collect()
    }

    fn leaf(&mut self, path: &Path, text: bool) -> usize {
        let node = self.node(path);
        self.nodes[node].text |= text;
        let next = self.leaves;
        let leaf = *self.nodes[node].leaf.get_or_insert(next);
        self.leaves = self.leaves.max(leaf + 1);
        leaf
    }

    fn node(&mut self, path: &Path) -> usize {
        let mut at = 0;
        for name in &path.0 {
            let known = self.nodes[at].children.iter().find(|(n, _)| n == name).map(|(_, node)| *node);
            at = known.unwrap_or_else(|| {
                self.nodes.push(Node::default());
                let node = self.nodes.len() - 1;
                self.nodes[at].children.push((name.clone(), node));
                node
            });
        }
        at
    }
}

impl Path {
    fn to(&self, name: &str) -> Path {
        let mut path = self.clone();
        path.0.push(name.into());
        path
    }
}

impl Mapping {
    /// Whether the whole record would be a text or a number, which it never is: the first such key.
    pub fn misplaced(&self) -> Option<&'static str> {
        let keys = [
            ("user_id", &self.user_id),
            ("event_type", &self.event_type),
            ("event_time", &self.event_time),
            ("value", &self.value),
            ("session_id", &self.session_id),
        ];
        keys.into_iter().find(|(_, paths)| paths.iter().any(Path::is_record)).map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_names_with_dots_or_pointers() {
        let names = |text: &str| Path::parse(text).map(|p| p.0.iter().map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(names("user.id"), Ok(vec!["user".into(), "id".into()]));
        assert_eq!(names("/user.name/a~1b~0"), Ok(vec!["user.name".into(), "a/b~".into()]));
        assert_eq!(names("."), Ok(vec![]));
        for wrong in ["", "a..b", "a.", "/", "/a/", &vec!["a"; MAX_PATH + 1].join(".")] {
            assert!(names(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_that_two_need_is_captured_once() {
        let same = || vec![Path(vec!["id".into()])];
        let mapping = Mapping { user_id: same(), session_id: same(), ..Mapping::default() };
        let tree = Tree::new(&mapping, &Projection::default());
        assert_eq!((&tree.user, tree.leaves), (&tree.session, 4));
        assert_eq!(tree.nodes[0].children.len(), 5);
    }
}
