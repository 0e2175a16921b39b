//! A program as a graph that a person can read: what each segment needs, and what they share.
//!
//! Nodes are the scan, the distinct filters, the families (filter and window) with their slots, and the
//! segments; arrows go from what is read to what reads it. The graph is the one source of the tree, the
//! indented text, JSON and Graphviz.

use std::fmt::Write as _;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::program::{Having, MatchBy, Program, SegmentKind};
use crate::share::field_name;

/// How to print a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A tree with lines.
    Tree,
    /// One line a node, indented.
    Indent,
    /// Nodes and edges.
    Json,
    /// DOT.
    Graphviz,
}

/// One operator or segment.
#[derive(Debug, Clone, Serialize)]
pub struct Node {
    /// Its name in edges.
    pub id: String,
    /// `scan`, `filter`, `window` or `segment`.
    pub kind: &'static str,
    /// A line for people.
    pub label: String,
    /// Further lines.
    pub details: Vec<String>,
    /// How many segments use it, themselves or through others; a segment uses itself.
    pub shared: usize,
    /// Their names; of very many some.
    pub segments: Vec<String>,
    /// Rows and time, when it was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// What an operator did in a run.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Measured {
    /// Rows that left it.
    pub rows: u64,
    /// Nanoseconds spent in it, over all threads.
    pub nanos: u64,
    /// Members, of a segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<u64>,
}

/// An arrow.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Edge {
    /// From what is read.
    pub from: String,
    /// To what reads it.
    pub to: String,
}

/// A program, drawn.
#[derive(Debug, Clone, Serialize)]
pub struct Graph {
    /// What is shared, in numbers.
    pub summary: String,
    /// Nodes, each after those it reads.
    pub nodes: Vec<Node>,
    /// Arrows.
    pub edges: Vec<Edge>,
}

impl Graph {
    /// The graph of a program; with `only`, of one segment and what it needs.
    pub fn new(program: &Program, only: Option<&str>) -> Graph {
        let mut graph = Graph { summary: summary(program), nodes: vec![], edges: vec![] };
        let wanted = wanted(program, only);
        graph.scan(program);
        let mut filters = FxHashSet::default();
        for (i, family) in program.families.iter().enumerate() {
            let readers: Vec<_> = family.segments.iter().filter(|s| wanted[**s as usize]).collect();
            if readers.is_empty() {
                continue;
            }
            if filters.insert(family.filter_id) {
                graph.node(format!("filter{}", family.filter_id), "filter", format!("Filter: {}", family.filter), vec![]);
                graph.edge("scan".into(), format!("filter{}", family.filter_id));
            }
            let slots: Vec<&str> = family.slot_names.iter().map(String::as_str).chain(family.general.iter().map(|g| g.aggregate.name())).collect();
            let details = vec![format!("slots: {}", if slots.is_empty() { "none".into() } else { slots.join(", ") })];
            graph.node(format!("window{i}"), "window", format!("Aggregate: by user_id, {}", family.window), details);
            graph.edge(format!("filter{}", family.filter_id), format!("window{i}"));
        }
        for (i, segment) in program.segments.iter().enumerate().filter(|(i, _)| wanted[*i]) {
            let mut details = vec![format!("emit {}: {}", format!("{:?}", segment.emit).to_uppercase(), segment.emit_reason)];
            let (label, reads) = match &segment.kind {
                SegmentKind::Base { family, having, .. } => {
                    let how = match having {
                        Having::Always => "no HAVING",
                        Having::Threshold(_) => "threshold index",
                        Having::Expression(_) => "expression",
                    };
                    details.insert(0, format!("having ({how}): {}", segment.condition));
                    (format!("Segment: {}", segment.name), vec![format!("window{family}")])
                }
                SegmentKind::Derived(d) => {
                    let by = if d.by == MatchBy::Window { "same user and window" } else { "same user: current membership" };
                    details.insert(0, format!("condition ({by}): {}", segment.condition));
                    (format!("Derived segment: {}", segment.name), d.inputs.iter().map(|s| format!("segment{s}")).collect())
                }
            };
            graph.node(format!("segment{i}"), "segment", label, details);
            for from in reads {
                graph.edge(from, format!("segment{i}"));
            }
        }
        graph.share(program);
        graph
    }

    /// Says of each node which segments use it, whether they are drawn or not.
    fn share(&mut self, program: &Program) {
        let users = users(program);
        let mut left = MAX_NAMES;
        for node in &mut self.nodes {
            let Some((shared, segments)) = users.get(&node.id) else { continue };
            node.shared = *shared;
            if node.kind == "window" {
                node.details.push(format!("shared by {shared} segment{}", if *shared == 1 { "" } else { "s" }));
            }
            node.segments = segments.iter().take(left).map(|&id| program.segments[id as usize].name.clone()).collect();
            left -= node.segments.len();
        }
    }

    fn node(&mut self, id: String, kind: &'static str, label: String, details: Vec<String>) {
        self.nodes.push(Node { id, kind, label, details, shared: 0, segments: vec![], measured: None });
    }

    fn edge(&mut self, from: String, to: String) {
        self.edges.push(Edge { from, to });
    }

    fn scan(&mut self, program: &Program) {
        let mut columns = vec!["user_id".to_string(), "event_time".into()];
        columns.extend(program.scan.value.then(|| "value".to_string()));
        columns.extend(program.scan.texts.iter().map(|t| field_name(&t.field)));
        columns.extend(program.scan.metadata.then(|| "metadata".to_string()));
        let by_text = program.matched.iter().flat_map(|m| &m.conditions).map(|c| format!("condition decided once for each text: {}", c.text));
        let masks = by_text.chain(program.masks.iter().map(|m| format!("condition evaluated once a batch: {}", m.text)));
        self.node("scan".into(), "scan", "Scan: events".into(), std::iter::once(format!("columns: {}", columns.join(", "))).chain(masks).collect());
    }

    /// Sets what a node did.
    pub fn measure(&mut self, id: &str, measured: Measured) {
        if let Some(node) = self.nodes.iter_mut().find(|n| n.id == id) {
            node.measured = Some(measured);
        }
    }

    /// The graph as text.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Json => serde_json::to_string_pretty(self).unwrap_or_default(),
            Format::Graphviz => self.graphviz(),
            Format::Tree => self.outline(true),
            Format::Indent => self.outline(false),
        }
    }

    fn graphviz(&self) -> String {
        let escape = |s: &str| s.replace('\\', "\\\\").replace('"', "\\\"");
        let mut out = String::from("digraph cohort {\n  rankdir=BT;\n  node [shape=box, fontname=\"sans-serif\"];\n");
        for node in &self.nodes {
            let label: Vec<String> = std::iter::once(&node.label).chain(&node.details).map(|l| escape(l)).collect();
            let _ = writeln!(out, "  {} [label=\"{}{}\"];", node.id, label.join("\\n"), node.measured.map_or(String::new(), |m| format!("\\n{}", shown(m))));
        }
        for edge in &self.edges {
            let _ = writeln!(out, "  {} -> {};", edge.from, edge.to);
        }
        out.push_str("}\n");
        out
    }

    /// From the scan outward; a segment that several read stands under the first and is named at the others.
    fn outline(&self, lines: bool) -> String {
        let mut out = format!("{}\n", self.summary);
        let nodes: FxHashMap<&str, &Node> = self.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
        let mut children: FxHashMap<&str, Vec<&str>> = FxHashMap::default();
        self.edges.iter().for_each(|e| children.entry(&e.from).or_default().push(&e.to));
        let (mut seen, mut last) = (FxHashSet::default(), vec![]);
        // Without recursion: chains of segments may be long.
        let mut stack = vec![("scan", 0, true)];
        while let Some((id, depth, is_last)) = stack.pop() {
            let Some(node) = nodes.get(id) else { continue };
            last.truncate(depth.max(1) - 1);
            last.extend((depth > 0).then_some(is_last));
            let again = !seen.insert(id);
            let measured = node.measured.map_or(String::new(), |m| format!("  [{}]", shown(m)));
            let _ = writeln!(out, "{}{}{}{}", indent(&last, lines, true), node.label, measured, if again { " (above)" } else { "" });
            if again {
                continue;
            }
            for detail in &node.details {
                let _ = writeln!(out, "{}  {detail}", indent(&last, lines, false));
            }
            let below = children.get(id).map_or(&[][..], Vec::as_slice);
            stack.extend(below.iter().enumerate().rev().map(|(i, child)| (*child, depth + 1, i + 1 == below.len())));
        }
        out
    }
}

/// What stands before a node (`own`) or its details; `last` says for each level whether its node is the last there.
fn indent(last: &[bool], lines: bool, own: bool) -> String {
    if !lines {
        return "  ".repeat(last.len() + usize::from(!own));
    }
    let level = |(i, is_last): (usize, &bool)| match (own && i + 1 == last.len(), is_last) {
        (true, false) => "├─ ",
        (true, true) => "└─ ",
        (false, false) => "│  ",
        (false, true) => "   ",
    };
    last.iter().enumerate().map(level).collect()
}

fn shown(m: Measured) -> String {
    let members = m.members.map_or(String::new(), |n| format!(", members={n}"));
    let time = if m.nanos == 0 { String::new() } else { format!(", time={:.3} ms", m.nanos as f64 / 1e6) };
    format!("rows={}{members}{time}", m.rows)
}

/// Names of segments that a node has at most, and all nodes together.
const NAMES: usize = 1_000;
const MAX_NAMES: usize = 100_000;

/// How many segments use each node, and the first of them, without those that are hidden.
fn users(program: &Program) -> FxHashMap<String, (usize, Vec<u32>)> {
    let mut of_segments: Vec<Vec<u32>> = vec![vec![]; program.segments.len()];
    let mut users: FxHashMap<String, Vec<u32>> = FxHashMap::default();
    let mut few = FxHashMap::default();
    let mut keep = |node: String, mut segments: Vec<u32>| {
        let shared = segments.len();
        segments.truncate(NAMES);
        few.insert(node, (shared, segments));
    };
    // Inputs come before their readers, so all readers of one are known when it is its turn.
    for (i, segment) in program.segments.iter().enumerate().rev() {
        let mut own = std::mem::take(&mut of_segments[i]);
        own.extend((!segment.hidden).then_some(i as u32));
        tidy(&mut own);
        match &segment.kind {
            SegmentKind::Base { family, .. } => {
                let filter = format!("filter{}", program.families[*family as usize].filter_id);
                ["scan".into(), filter, format!("window{family}")].into_iter().for_each(|node| users.entry(node).or_default().extend(&own));
            }
            SegmentKind::Derived(d) => d.inputs.iter().for_each(|&input| of_segments[input as usize].extend(&own)),
        }
        keep(format!("segment{i}"), own);
    }
    for (node, mut segments) in users {
        tidy(&mut segments);
        keep(node, segments);
    }
    few
}

fn tidy(segments: &mut Vec<u32>) {
    segments.sort_unstable();
    segments.dedup();
}

/// Which segments to draw: all, or one and all that it reads.
fn wanted(program: &Program, only: Option<&str>) -> Vec<bool> {
    let Some(name) = only else { return vec![true; program.segments.len()] };
    let mut wanted: Vec<bool> = program.segments.iter().map(|s| s.name == name).collect();
    // Inputs come before their readers.
    for i in (0..wanted.len()).rev() {
        if let (true, SegmentKind::Derived(d)) = (wanted[i], &program.segments[i].kind) {
            d.inputs.iter().for_each(|&input| wanted[input as usize] = true);
        }
    }
    wanted
}

/// "10,000 segments → 1 scan, 12 filters, …".
pub fn summary(program: &Program) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let thresholds = program.segments.iter().filter(|s| matches!(&s.kind, SegmentKind::Base { having: Having::Threshold(_), .. })).count();
    let derived = program.segments.iter().filter(|s| matches!(s.kind, SegmentKind::Derived(_))).count();
    let expressions = program.segments.len() - thresholds - derived;
    let slots: usize = program.families.iter().map(|f| f.slots.len() + f.general.len()).sum();
    let mut windows: Vec<_> = program.families.iter().map(|f| f.window).collect();
    windows.sort_unstable();
    windows.dedup();
    let parts = [
        "1 scan".to_string(),
        count(program.filters.len(), "filter"),
        count(windows.len(), "window kind"),
        count(program.families.len(), "aggregation"),
        count(slots, "slot"),
        count(thresholds, "threshold"),
        count(expressions, "other condition"),
        count(derived, "derived segment"),
    ];
    format!("{} → {}", count(program.segments.len(), "segment"), parts.join(", "))
}
