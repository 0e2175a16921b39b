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

/// What was found of a record that ran along a layout.
#[derive(Debug, Default)]
pub struct Fields {
    /// From and to, in the data, of the texts of [`Fields::USER`], [`Fields::EVENT_TYPE`], [`Fields::SESSION`] and then of each projected metadata
    /// key; (0, 0) where there is none, as a text comes after a brace. The last is of any other text.
    pub texts: Vec<(u32, u32)>,
    /// The timestamp, if there was one.
    pub time: Option<i64>,
    /// The value, if there was one.
    pub value: Option<f64>,
}

impl Fields {
    /// Which of the texts are these.
    pub const USER: usize = 0;
    pub const EVENT_TYPE: usize = 1;
    pub const SESSION: usize = 2;
    /// Which is that of the first metadata key.
    pub const KEYS: usize = 3;

    /// For so many metadata keys.
    pub fn new(keys: usize) -> Self {
        Fields { texts: vec![(0, 0); Self::KEYS + keys + 1], time: None, value: None }
    }

    /// Forgets a record.
    #[inline]
    fn clear(&mut self) {
        self.texts.fill((0, 0));
        (self.time, self.value) = (None, None);
    }

    /// Which of so many texts is a field's.
    fn place(field: Field, texts: usize) -> usize {
        match field {
            Field::User => Self::USER,
            Field::EventType => Self::EVENT_TYPE,
            Field::Session => Self::SESSION,
            Field::Key(key) => Self::KEYS + usize::from(key),
            Field::None | Field::Time | Field::Value => texts - 1,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A string without escapes; the quotes belong to the texts around it.
    Text,
    Number,
    /// The record has ended.
    End,
}

/// No node.
const NONE: u16 = u16::MAX;

/// A text, and what follows it.
struct Node {
    /// The first 32 bytes of the text, and which of their bytes count.
    start: [u8x16; 2],
    counts: [u32; 2],
    length: usize,
    kind: Kind,
    field: Field,
    /// Where in [`Fields::texts`] the value is noted.
    place: usize,
    /// What may follow: the first, and in each what may stand in its place.
    first: u16,
    other: u16,
    literal: Vec<u8>,
}

/// The layouts seen so far.
pub struct Layouts {
    nodes: Vec<Node>,
    /// What a record may begin with.
    first: u16,
    /// Records that ran along no layout.
    misses: u32,
}

impl Default for Layouts {
    fn default() -> Self {
        Layouts { nodes: vec![], first: NONE, misses: 0 }
    }
}

impl Layouts {
    /// Runs a record `data[start..end]` along the tree and notes what it finds on the way. What is found of a record that is
    /// not known (false) means nothing.
    #[inline]
    pub fn walk(&self, data: &[u8], start: usize, end: usize, fields: &mut Fields) -> bool {
        fields.clear();
        let (mut at, mut option) = (start, self.first);
        while let Some(node) = self.nodes.get(usize::from(option)) {
            let next = node.after(data, at).and_then(|from| match node.kind {
                Kind::Text => {
                    let to = text_end(data, from)?;
                    *fields.texts.get_mut(node.place)? = (from as u32, to as u32);
                    Some(to)
                }
                Kind::Number => number_end(node, data, from, fields),
                Kind::End => (from == end).then_some(end),
            });
            option = match next {
                Some(_) if node.kind == Kind::End => return true,
                Some(next) => {
                    at = next;
                    node.first
                }
                None => node.other,
            };
        }
        false
    }

    /// Takes note of the layout of a record that the full parser accepted. `key` tells the field of a metadata key; `texts` is the number of
    /// [`Fields::texts`].
    #[cold]
    pub fn learn(&mut self, record: &[u8], key: impl Fn(&[u8]) -> Field, texts: usize) {
        self.misses = self.misses.wrapping_add(1);
        if self.misses > EAGER && !self.misses.is_multiple_of(RARELY) {
            return;
        }
        let Some(steps) = Outline::of(record, key) else { return };
        if self.nodes.len() + steps.len() > MAX_NODES {
            *self = Layouts { misses: self.misses, ..Layouts::default() };
        }
        let mut parent = NONE;
        for (literal, kind, field) in steps {
            let mut last = NONE;
            let mut option = self.nodes.get(usize::from(parent)).map_or(self.first, |node| node.first);
            while let Some(node) = self.nodes.get(usize::from(option)) {
                if node.literal == literal && node.kind == kind && node.field == field {
                    break;
                }
                (last, option) = (option, node.other);
            }
            if option == NONE {
                option = self.nodes.len() as u16;
                self.nodes.push(Node::new(literal, kind, field, Fields::place(field, texts)));
                self.link(parent, last, option);
            }
            parent = option;
        }
    }

    /// Has a node stand after the last of those that may follow `parent`.
    fn link(&mut self, parent: u16, last: u16, node: u16) {
        let known = usize::from(if last == NONE { parent } else { last });
        match self.nodes.get_mut(known) {
            Some(known) if last == NONE => known.first = node,
            Some(known) => known.other = node,
            None => self.first = node,
        }
    }
}

impl Node {
    fn new(literal: &[u8], kind: Kind, field: Field, place: usize) -> Self {
        let part = |from: usize| {
            let bytes = literal.get(from..).unwrap_or_default();
            let mut text = [0; 16];
            text.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
            (u8x16::new(text), (1 << bytes.len().min(16)) - 1)
        };
        let (first, second) = (part(0), part(16));
        let (start, counts) = ([first.0, second.0], [first.1, second.1]);
        Node { start, counts, length: literal.len(), kind, field, place, first: NONE, other: NONE, literal: literal.to_vec() }
    }

    /// Where the text ends, if it stands at `at`.
    #[inline]
    fn after(&self, data: &[u8], at: usize) -> Option<usize> {
        let same = match sixteen(data, at) {
            None => data.get(at..at + self.length)? == &self.literal[..],
            Some(bytes) => self.is_part(bytes, 0) && (self.length <= 16 || self.is_rest(data, at + 16)),
        };
        same.then_some(at + self.length)
    }

    #[inline]
    fn is_part(&self, bytes: u8x16, part: usize) -> bool {
        !bytes.simd_eq(self.start[part]).to_bitmask() & self.counts[part] == 0
    }

    /// Whether what comes after the first sixteen bytes stands at `at`.
    #[inline]
    fn is_rest(&self, data: &[u8], at: usize) -> bool {
        match sixteen(data, at) {
            Some(bytes) if self.length <= 32 => self.is_part(bytes, 1),
            _ => data.get(at..at + self.length - 16) == self.literal.get(16..),
        }
    }
}

#[inline]
fn sixteen(data: &[u8], at: usize) -> Option<u8x16> {
    Some(u8x16::new(*data.get(at..)?.first_chunk()?))
}

/// Where the string that began at `at` has its closing quote; none if there are escapes or control characters before.
#[inline]
fn text_end(data: &[u8], mut at: usize) -> Option<usize> {
    while let Some(block) = sixteen(data, at) {
        let is_control = block.min(u8x16::splat(0x1f)).simd_eq(block);
        let stops = (block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\')) | is_control).to_bitmask();
        if stops != 0 {
            at += stops.trailing_zeros() as usize;
            return (*data.get(at)? == b'"').then_some(at);
        }
        at += 16;
    }
    let rest = data.get(at..)?;
    let first = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20))?;
    (rest[first] == b'"').then_some(at + first)
}

/// Where the number ends that begins at `from`, noted as what the node says.
#[inline]
fn number_end(node: &Node, data: &[u8], from: usize, fields: &mut Fields) -> Option<usize> {
    let number = Number::at(data, from)?;
    match node.field {
        Field::Time => fields.time = Some(number.integer()?),
        Field::Value => fields.value = Some(number.float(data)?),
        _ => *fields.texts.get_mut(node.place)? = (from as u32, number.end() as u32),
    }
    Some(number.end())
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
