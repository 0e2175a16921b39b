//! JSON records of another shape: one strict pass over the bytes, as for plain events, led by the tree of paths.

use super::capture::{Captured, Captures, Metadata, Span};
use super::mapping::Tree;
use crate::decode::json::fault;
use crate::decode::json::scan::{Fault, Scanner, Token, unescape};
use crate::decode::{MAX_DEPTH, Reason};

/// Reads a record into `found`.
pub(super) fn read(record: &[u8], tree: &Tree, found: &mut Captures) -> Result<(), Reason> {
    found.reset(tree.leaves);
    std::str::from_utf8(record).map_err(|_| Reason::NotUtf8)?;
    let mut scanner = Scanner::new(record);
    scanner.skip_space();
    if scanner.peek() != Some(b'{') {
        scanner.skip_value(0).and_then(|()| scanner.end()).map_err(fault)?;
        return Err(Reason::NotObject);
    }
    Reader { scanner, tree, found, name: vec![] }.whole().map_err(fault)
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    tree: &'a Tree,
    found: &'a mut Captures,
    /// Room for a key with escapes.
    name: Vec<u8>,
}

impl Reader<'_> {
    fn whole(&mut self) -> Result<(), Fault> {
        self.value(0, 0)?;
        self.scanner.end()
    }

    /// A value at a node of the tree, that lies inside `depth` arrays and objects.
    fn value(&mut self, node: usize, depth: usize) -> Result<(), Fault> {
        let tree = self.tree;
        let node = &tree.nodes[node];
        let start = self.scanner.position();
        let is_object = self.scanner.peek() == Some(b'{');
        let entries = node.metadata && tree.entries;
        let enter = is_object && (entries || !node.children.is_empty());
        // Of repeated keys the last counts, whatever was below an earlier one.
        node.children.iter().for_each(|(_, child)| self.forget(*child));
        if node.metadata {
            self.found.entries.clear();
        }
        if node.leaf.is_some() || !enter {
            let captured = self.capture(depth)?;
            if let Some(leaf) = node.leaf {
                self.found.values[leaf] = captured;
            }
            if node.metadata {
                self.found.metadata = if captured == Captured::Null { Metadata::None } else { Metadata::Wrong };
            }
        }
        if node.metadata && is_object {
            self.found.metadata = Metadata::Object;
        }
        if !enter {
            return Ok(());
        }
        self.scanner.seek(start);
        self.members(&node.children, entries, depth + 1)
    }

    fn members(&mut self, children: &[(Box<str>, usize)], entries: bool, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        self.scanner.bump();
        let mut first = true;
        while self.scanner.next_member(&mut first)? {
            let key = self.scanner.string()?;
            self.scanner.colon()?;
            let child = self.child(children, key)?;
            let start = self.scanner.position();
            match child {
                Some(child) => self.value(child, depth)?,
                None if entries => {}
                None => self.scanner.skip_value(depth)?,
            }
            if entries {
                self.scanner.seek(start);
                let key = self.text(key)?;
                let value = self.capture(depth)?;
                self.found.entries.push((key, value));
            }
        }
        Ok(())
    }

    fn child(&mut self, children: &[(Box<str>, usize)], key: Token) -> Result<Option<usize>, Fault> {
        let mut name = &self.scanner.bytes()[key.start..key.end];
        if key.escaped {
            self.name.clear();
            unescape(name, &mut self.name)?;
            name = &self.name;
        }
        Ok(children.iter().find(|(n, _)| n.as_bytes() == name).map(|(_, child)| *child))
    }

    fn forget(&mut self, node: usize) {
        let tree = self.tree;
        let node = &tree.nodes[node];
        if let Some(leaf) = node.leaf {
            self.found.values[leaf] = Captured::Absent;
        }
        if node.metadata {
            self.found.metadata = Metadata::None;
            self.found.entries.clear();
        }
        node.children.iter().for_each(|(_, child)| self.forget(*child));
    }

    fn text(&mut self, token: Token) -> Result<Span, Fault> {
        if !token.escaped {
            return Ok(Span::Record(token.start as u32, token.end as u32));
        }
        let start = self.found.scratch.len() as u32;
        unescape(&self.scanner.bytes()[token.start..token.end], &mut self.found.scratch)?;
        Ok(Span::Scratch(start, self.found.scratch.len() as u32))
    }

    /// Steps over a value, and tells what it is.
    fn capture(&mut self, depth: usize) -> Result<Captured, Fault> {
        let start = self.scanner.position();
        match self.scanner.peek() {
            Some(b'"') => {
                let token = self.scanner.string()?;
                return self.text(token).map(Captured::Text);
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = self.scanner.number()?;
                let (from, to) = (start as u32, self.scanner.position() as u32);
                let float = number.float(self.scanner.bytes()).unwrap_or(f64::INFINITY);
                return Ok(Captured::Number { float, integer: number.integer(), text: Span::Record(from, to) });
            }
            _ => self.scanner.skip_value(depth)?,
        }
        let end = self.scanner.position();
        Ok(match &self.scanner.bytes()[start..end] {
            b"null" => Captured::Null,
            b"true" => Captured::Bool(true),
            b"false" => Captured::Bool(false),
            _ => Captured::Nested(Span::Record(start as u32, end as u32)),
        })
    }
}
