//! A schema and a tree of paths → what is to be done with each part of a record.
//!
//! With a reader's schema, names and aliases are looked up in that one, and what the writer does not have takes the
//! reader's default; without one, in the writer's own.

use std::sync::Arc;

use serde_json::Value;

use super::schema::{Field, Kind, Schema};
use crate::formats::capture::Metadata;
use crate::formats::mapping::Tree;

/// What is to be done with a value of a type.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing.
    Skip(usize),
    /// It is kept.
    Value { of: usize, leaf: usize, text: bool },
    /// What kind of value is where the metadata should be; takes no bytes.
    Note(Metadata),
    /// A step for each field, and for fields that only the reader has, what the node in the tree gets.
    Record { fields: Vec<Step>, constants: Vec<Constant> },
    /// Steps for some keys.
    Map { values: usize, children: Vec<(Box<str>, Step)> },
    /// Each field is an entry of the metadata, by its name; or none.
    RecordEntries { fields: Vec<(usize, Option<Box<str>>)>, defaults: Vec<(Box<str>, Constant)> },
    /// So is each of the map.
    MapEntries { values: usize },
    /// A step for each branch.
    Union(Vec<Step>),
    /// Each of these, from the same place.
    Several(Vec<Step>),
}

/// A default of the reader's schema, of a type of it, for a node of the tree.
#[derive(Debug)]
pub(super) struct Constant {
    pub node: usize,
    pub of: usize,
    pub value: Value,
}

/// What is to be done with a record.
pub(in crate::formats) struct Plan {
    pub(super) schema: Arc<Schema>,
    pub(super) reader: Option<Arc<Schema>>,
    pub(super) root: Step,
}

impl Plan {
    /// For records that were written with a schema.
    pub fn new(schema: &Arc<Schema>, reader: Option<&Arc<Schema>>, tree: &Tree) -> Self {
        let planner = Planner { schema, reader: reader.map(|r| &**r), tree };
        let root = planner.step(schema.root, reader.map(|r| r.root), &[0]);
        Plan { schema: Arc::clone(schema), reader: reader.cloned(), root }
    }
}

struct Planner<'a> {
    schema: &'a Schema,
    reader: Option<&'a Schema>,
    tree: &'a Tree,
}

impl Planner<'_> {
    /// For a type of the writer, what the reader has there, and the nodes of the tree that are there.
    fn step(&self, of: usize, reader: Option<usize>, nodes: &[usize]) -> Step {
        if nodes.is_empty() {
            return Step::Skip(of);
        }
        if let Kind::Union(branches) = self.schema.kind(of) {
            return Step::Union(branches.iter().map(|b| self.step(*b, self.like(reader, *b), nodes)).collect());
        }
        let reader = self.like(reader, of);
        let mut steps = vec![];
        for node in nodes.iter().map(|n| &self.tree.nodes[*n]) {
            if let Some(leaf) = node.leaf {
                steps.push(Step::Value { of, leaf, text: node.text });
            }
            if node.metadata {
                self.metadata(of, reader, &mut steps);
            }
        }
        let children: Vec<(&str, usize)> = nodes.iter().flat_map(|n| &self.tree.nodes[*n].children).map(|(name, child)| (&**name, *child)).collect();
        match self.schema.kind(of) {
            Kind::Record(fields) if !children.is_empty() => steps.push(self.record(fields, reader, &children)),
            Kind::Map(values) if !children.is_empty() => {
                let step = |(name, child): &(&str, usize)| ((*name).into(), self.step(*values, None, &[*child]));
                steps.push(Step::Map { values: *values, children: children.iter().map(step).collect() });
            }
            _ => {}
        }
        if matches!(steps.last(), None | Some(Step::Note(_))) {
            steps.push(Step::Skip(of));
        }
        if steps.len() == 1 { steps.remove(0) } else { Step::Several(steps) }
    }

    fn metadata(&self, of: usize, reader: Option<usize>, steps: &mut Vec<Step>) {
        let kind = self.schema.kind(of);
        steps.push(Step::Note(match kind {
            Kind::Record(_) | Kind::Map(_) => Metadata::Object,
            Kind::Null => Metadata::None,
            _ => Metadata::Wrong,
        }));
        match kind {
            Kind::Map(values) if self.tree.entries => steps.push(Step::MapEntries { values: *values }),
            Kind::Record(fields) if self.tree.entries => {
                let known = self.fields_of(reader);
                let name = |f: &Field| known.map_or(Some(&f.name), |known| known.iter().find(|k| k.is_called(&f.name)).map(|k| &k.name)).cloned();
                let default = |k: &Field| Some((k.name.clone(), Constant { node: 0, of: k.kind, value: k.default.clone()? }));
                let absent = known.iter().flat_map(|known| known.iter()).filter(|k| !fields.iter().any(|f| k.is_called(&f.name)));
                let defaults = absent.filter_map(default).collect();
                steps.push(Step::RecordEntries { fields: fields.iter().map(|f| (f.kind, name(f))).collect(), defaults });
            }
            _ => {}
        }
    }

    fn record(&self, fields: &[Field], reader: Option<usize>, children: &[(&str, usize)]) -> Step {
        let mut nodes: Vec<Vec<usize>> = vec![vec![]; fields.len()];
        let mut readers: Vec<Option<usize>> = vec![None; fields.len()];
        let mut constants = vec![];
        for (name, child) in children {
            let known = match self.fields_of(reader) {
                None => named(fields, name),
                Some(known) => named(known, name).and_then(|k| {
                    let field = &known[k];
                    let found = fields.iter().position(|f| f.name == field.name).or_else(|| fields.iter().position(|f| field.is_called(&f.name)));
                    match (found, &field.default) {
                        (Some(found), _) => readers[found] = Some(field.kind),
                        (None, Some(value)) => constants.push(Constant { node: *child, of: field.kind, value: value.clone() }),
                        (None, None) => {}
                    }
                    found
                }),
            };
            if let Some(field) = known {
                nodes[field].push(*child);
            }
        }
        let step = |(i, field): (usize, &Field)| self.step(field.kind, readers[i], &nodes[i]);
        Step::Record { fields: fields.iter().enumerate().map(step).collect(), constants }
    }

    fn fields_of(&self, reader: Option<usize>) -> Option<&[Field]> {
        match self.reader?.kind(reader?) {
            Kind::Record(fields) => Some(fields),
            _ => None,
        }
    }

    /// The reader's type for one of the writer's: of a union, the record of that name, or else the first record.
    fn like(&self, reader: Option<usize>, of: usize) -> Option<usize> {
        let (schema, at) = (self.reader?, reader?);
        let Kind::Union(branches) = schema.kind(at) else { return Some(at) };
        let records = || branches.iter().copied().filter(|b| matches!(schema.kind(*b), Kind::Record(_)));
        let name = &self.schema.types[of].name;
        records().find(|b| schema.types[*b].name == *name).or_else(|| records().next())
    }
}

fn named(fields: &[Field], name: &str) -> Option<usize> {
    fields.iter().position(|f| *f.name == *name).or_else(|| fields.iter().position(|f| f.is_called(name)))
}
