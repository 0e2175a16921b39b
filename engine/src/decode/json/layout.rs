//! Speculation on the layout of records: those of one producer have the same keys in the same order, so all that lies
//! between their values is known before it is read.
//!
//! [`Layouts`] keeps the layouts of records that the full parser accepted, as a tree: a node is the text up to a
//! value, and what kind of value stands there; its children are what followed so far. A record that runs along the
//! tree to a leaf is one that the full parser would accept, with the same fields, as each value is checked on the way
//! and the rest is the same to the byte. Any other goes to the full parser, and may be learnt from.
//!
//! After Li et al., "Mison: A Fast JSON Parser for Data Analytics" (VLDB 2017), which predicts where fields are from the
//! records before; here the texts between them are compared as well, so nothing is taken on trust.

use wide::u8x16;

use super::scan::{Number, Scanner};
use crate::decode::MAX_USER_ID_BYTES;

/// Most nodes, values of a record and bytes between two values.
const MAX_NODES: usize = 1_024;
const MAX_VALUES: usize = 64;
const MAX_LITERAL: usize = 256;
/// Records that are learnt from without further ado, and then every how many.
const EAGER: u32 = 1_024;
const RARELY: u32 = 256;

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// It is checked only.
    None,
    User,
    EventType,
    Time,
    Value,
    Session,
    /// Of a projected metadata key.
    Key(u16),
}

/// A value of a record.
#[derive(Debug, Clone, Copy)]
pub enum Found {
    /// From and to, in the record.
    Text(u32, u32),
    Number(Number),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A string without escapes; the quotes belong to the texts around it.
    Text,
    Number,
    /// The record has ended.
    End,
}

/// A text, and what follows it.
struct Node {
    /// The first 32 bytes of the text, and which of their bits count.
    start: [(u128, u128); 2],
    literal: Vec<u8>,
    kind: Kind,
    field: Field,
    next: Vec<u16>,
}

/// The layouts seen so far.
#[derive(Default)]
pub struct Layouts {
    nodes: Vec<Node>,
    roots: Vec<u16>,
    /// Records that ran along no layout.
    misses: u32,
}

impl Layouts {
    /// Runs a record `data[start..end]` along the tree, with what it finds on the way. What is found of a record that is
    /// not known (false) means nothing.
    #[inline]
    pub fn walk(&self, data: &[u8], start: usize, end: usize, mut found: impl FnMut(Field, Found)) -> bool {
        let (mut at, mut options) = (start, &self.roots);
        'values: loop {
            for &option in options {
                let node = &self.nodes[usize::from(option)];
                let Some(from) = node.after(data, at) else { continue };
                match node.kind {
                    Kind::End => return from == end,
                    Kind::Text => {
                        let Some(to) = text_end(data, from) else { continue };
                        if node.field != Field::None {
                            found(node.field, Found::Text((from - start) as u32, (to - start) as u32));
                        }
                        at = to;
                    }
                    Kind::Number => {
                        let Some(number) = Number::at(data, from) else { continue };
                        at = number.end();
                        if node.field != Field::None {
                            found(node.field, Found::Number(number.moved(start)));
                        }
                    }
                }
                options = &node.next;
                continue 'values;
            }
            return false;
        }
    }

    /// Takes note of the layout of a record that the full parser accepted. `key` tells the field of a metadata key.
    #[cold]
    pub fn learn(&mut self, record: &[u8], key: impl Fn(&[u8]) -> Field) {
        self.misses = self.misses.wrapping_add(1);
        if self.misses > EAGER && !self.misses.is_multiple_of(RARELY) {
            return;
        }
        let Some(steps) = Outline::of(record, key) else { return };
        if self.nodes.len() + steps.len() > MAX_NODES {
            *self = Layouts { misses: self.misses, ..Layouts::default() };
        }
        let mut parent: Option<u16> = None;
        for (literal, kind, field) in steps {
            let options = parent.map_or(&self.roots, |p| &self.nodes[usize::from(p)].next);
            let known = options.iter().copied().find(|&o| {
                let node = &self.nodes[usize::from(o)];
                node.literal == literal && node.kind == kind && node.field == field
            });
            parent = Some(known.unwrap_or_else(|| self.add(parent, Node::new(literal, kind, field))));
        }
    }

    fn add(&mut self, parent: Option<u16>, node: Node) -> u16 {
        let index = self.nodes.len() as u16;
        self.nodes.push(node);
        match parent {
            None => self.roots.push(index),
            Some(parent) => self.nodes[usize::from(parent)].next.push(index),
        }
        index
    }
}

impl Node {
    fn new(literal: &[u8], kind: Kind, field: Field) -> Self {
        let part = |from: usize| {
            let bytes = literal.get(from..).unwrap_or_default();
            let (mut text, mut mask) = ([0; 16], [0; 16]);
            for (i, byte) in bytes.iter().take(16).enumerate() {
                (text[i], mask[i]) = (*byte, u8::MAX);
            }
            (u128::from_le_bytes(text), u128::from_le_bytes(mask))
        };
        Node { start: [part(0), part(16)], literal: literal.to_vec(), kind, field, next: vec![] }
    }

    /// Where the text ends, if it stands at `at`.
    #[inline]
    fn after(&self, data: &[u8], at: usize) -> Option<usize> {
        let length = self.literal.len();
        let differs = |part: usize| {
            let from = at + part * 16;
            sixteen(data, from).map(|bytes| (u128::from_le_bytes(bytes) ^ self.start[part].0) & self.start[part].1 != 0)
        };
        let same = match differs(0) {
            Some(true) => false,
            Some(false) if length <= 16 => true,
            Some(false) => match differs(1) {
                Some(true) => false,
                Some(false) if length <= 32 => true,
                _ => data.get(at + 16..at + length)? == &self.literal[16..],
            },
            None => data.get(at..at + length)? == &self.literal[..],
        };
        same.then_some(at + length)
    }
}

#[inline]
fn sixteen(data: &[u8], at: usize) -> Option<[u8; 16]> {
    data.get(at..at + 16)?.try_into().ok()
}

/// Where the string that began at `at` has its closing quote; none if there are escapes or control characters before.
#[inline]
fn text_end(data: &[u8], mut at: usize) -> Option<usize> {
    while let Some(bytes) = sixteen(data, at) {
        let block = u8x16::new(bytes);
        let quotes = block.simd_eq(u8x16::splat(b'"')).to_bitmask();
        let stops = quotes | (block.simd_eq(u8x16::splat(b'\\')) | block.simd_lt(u8x16::splat(0x20))).to_bitmask();
        if stops != 0 {
            let first = stops.trailing_zeros();
            return (quotes >> first & 1 == 1).then_some(at + first as usize);
        }
        at += 16;
    }
    let rest = data.get(at..)?;
    let first = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20))?;
    (rest[first] == b'"').then_some(at + first)
}

/// Cuts a record that is known to be valid into what lies between its values.
struct Outline<'a, F> {
    record: &'a [u8],
    scanner: Scanner<'a>,
    key: F,
    /// Where the text that goes on began.
    from: usize,
    steps: Vec<(&'a [u8], Kind, Field)>,
    seen: Vec<Field>,
    metadata: bool,
}

impl<'a, F: Fn(&[u8]) -> Field> Outline<'a, F> {
    /// None for what can't be foretold: escapes, fields that come twice, values that are no texts or numbers where a
    /// field wants one.
    fn of(record: &'a [u8], key: F) -> Option<Vec<(&'a [u8], Kind, Field)>> {
        let mut outline = Outline { record, scanner: Scanner::new(record), key, from: 0, steps: vec![], seen: vec![], metadata: false };
        outline.scanner.skip_space();
        outline.object(0)?;
        outline.step(record.len(), Kind::End, Field::None)?;
        Some(outline.steps)
    }

    fn step(&mut self, to: usize, kind: Kind, field: Field) -> Option<()> {
        let literal = &self.record[self.from..to];
        let again = field != Field::None && self.seen.contains(&field);
        if again || literal.len() > MAX_LITERAL || self.steps.len() == MAX_VALUES {
            return None;
        }
        self.seen.push(field);
        self.steps.push((literal, kind, field));
        Some(())
    }

    /// `depth` is 0 for the record, 1 for its metadata, 2 for anything else.
    fn object(&mut self, depth: usize) -> Option<()> {
        self.scanner.bump();
        let mut first = true;
        while self.scanner.next_member(&mut first).ok()? {
            let token = self.scanner.string().ok()?;
            self.scanner.colon().ok()?;
            if token.escaped {
                return None;
            }
            let field = match (depth, &self.record[token.start..token.end]) {
                (0, b"userId") => Field::User,
                (0, b"eventType") => Field::EventType,
                (0, b"timestamp") => Field::Time,
                (0, b"value") => Field::Value,
                (0, b"sessionId") => Field::Session,
                (0, b"metadata") => {
                    if std::mem::replace(&mut self.metadata, true) {
                        return None;
                    }
                    if self.scanner.peek() == Some(b'{') {
                        self.object(1)?;
                        continue;
                    }
                    Field::None
                }
                (1, key) => (self.key)(key),
                _ => Field::None,
            };
            self.value(field)?;
        }
        Some(())
    }

    fn value(&mut self, field: Field) -> Option<()> {
        match self.scanner.peek()? {
            b'"' => {
                let token = self.scanner.string().ok().filter(|t| !t.escaped)?;
                self.step(token.start, Kind::Text, field)?;
                self.from = token.end;
            }
            b'-' | b'0'..=b'9' => {
                let start = self.scanner.position();
                self.scanner.number().ok()?;
                self.step(start, Kind::Number, field)?;
                self.from = self.scanner.position();
            }
            // Null leaves a field as if it were not there, if it comes once.
            b'n' if field == Field::None || !self.seen.contains(&field) => {
                self.seen.push(field);
                self.scanner.skip_value(0).ok()?;
            }
            _ if field != Field::None => return None,
            b'{' => self.object(2)?,
            b'[' => self.array()?,
            _ => self.scanner.skip_value(0).ok()?,
        }
        Some(())
    }

    fn array(&mut self) -> Option<()> {
        self.scanner.bump();
        self.scanner.skip_space();
        if self.scanner.peek()? == b']' {
            self.scanner.bump();
            return Some(());
        }
        loop {
            self.value(Field::None)?;
            self.scanner.skip_space();
            let end = self.scanner.peek()? == b']';
            self.scanner.bump();
            if end {
                return Some(());
            }
            self.scanner.skip_space();
        }
    }
}

/// Whether a text can be a user id.
#[inline]
pub fn is_user_id(length: usize) -> bool {
    (1..=MAX_USER_ID_BYTES).contains(&length)
}
