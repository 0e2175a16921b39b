//! LIKE with a pattern that is known. DataFusion's own expression makes a regular expression of a pattern with `_`, or with `%` in its middle, for
//! each batch anew, which in a small batch takes most of the time; here a pattern is taken apart once. All other
//! patterns (`x%`, `%x`, `%x%`), those that ignore case, and those that are not known stay as they are.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, BooleanArray, StringArray};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{LikeExpr, Literal};

/// A part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// This byte.
    Byte(u8),
    /// Any character: `_`.
    One,
    /// Any text: `%`.
    Any,
}

/// A pattern of LIKE, as Arrow reads it: a backslash takes its meaning from the character after it, and means itself at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

impl Pattern {
    /// Takes a pattern apart.
    pub fn new(pattern: &str) -> Self {
        let (mut parts, mut chars) = (vec![], pattern.chars());
        while let Some(c) = chars.next() {
            let literal = match c {
                '%' => {
                    parts.push(Part::Any);
                    continue;
                }
                '_' => {
                    parts.push(Part::One);
                    continue;
                }
                '\\' => chars.next().unwrap_or('\\'),
                c => c,
            };
            parts.extend(literal.encode_utf8(&mut [0; 4]).bytes().map(Part::Byte));
        }
        Pattern(parts)
    }

    /// Whether a text is of the pattern. Where it stops to be, the last `%` takes in one character more, and all after it is tried anew.
    pub fn matches(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let (mut part, mut at) = (0, 0);
        // The part after the last `%`, and where in the text it was tried.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let fits = match self.0.get(part) {
                Some(Part::Any) => {
                    part += 1;
                    if part == self.0.len() {
                        return true;
                    }
                    retry = Some((part, at));
                    continue;
                }
                Some(Part::Byte(byte)) => (text.get(at) == Some(byte)).then_some(at + 1),
                Some(Part::One) => (at < text.len()).then(|| next_char(text, at)),
                None if at == text.len() => return true,
                None => None,
            };
            match (fits, &mut retry) {
                (Some(next), _) => (part, at) = (part + 1, next),
                (None, Some((from, tried))) if *tried < text.len() => {
                    *tried = next_char(text, *tried);
                    (part, at) = (*from, *tried);
                }
                (None, _) => return false,
            }
        }
    }
}

/// Where the character after the one at `at` begins.
fn next_char(text: &[u8], at: usize) -> usize {
    (at + 1..text.len()).find(|&next| text[next] & 0xc0 != 0x80).unwrap_or(text.len())
}

/// `text LIKE pattern`, or NOT LIKE.
#[derive(Debug)]
struct Like {
    /// What DataFusion made of it, for texts that are not of Arrow's usual type.
    original: Arc<dyn PhysicalExpr>,
    text: Arc<dyn PhysicalExpr>,
    pattern: Pattern,
    negated: bool,
}

/// An expression in which LIKE with patterns that would become regular expressions is this module's.
///
/// # Errors
/// When the expression cannot be made anew.
pub fn with_known_patterns(expression: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let known = |e: Arc<dyn PhysicalExpr>| {
        Ok(match e.downcast_ref::<LikeExpr>().and_then(|like| Like::of(like, &e)) {
            Some(like) => Transformed::yes(Arc::new(like) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(e),
        })
    };
    expression.transform_up(known).map(|transformed| transformed.data)
}

impl Like {
    fn of(like: &LikeExpr, original: &Arc<dyn PhysicalExpr>) -> Option<Like> {
        let ScalarValue::Utf8(Some(pattern)) = like.pattern().downcast_ref::<Literal>()?.value() else { return None };
        let inner = pattern.strip_prefix('%').unwrap_or(pattern);
        let is_regular = inner.strip_suffix('%').unwrap_or(inner).contains(['%', '_', '\\']);
        (is_regular && !like.case_insensitive()).then(|| Like {
            original: Arc::clone(original),
            text: Arc::clone(like.expr()),
            pattern: Pattern::new(pattern),
            negated: like.negated(),
        })
    }
}

impl PartialEq for Like {
    fn eq(&self, other: &Self) -> bool {
        self.original.eq(&other.original)
    }
}

impl Eq for Like {}

impl Hash for Like {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.original.hash(state);
    }
}

impl fmt::Display for Like {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.original.fmt(f)
    }
}

impl PhysicalExpr for Like {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.original.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.original.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let ColumnarValue::Array(texts) = self.text.evaluate(batch)? else { return self.original.evaluate(batch) };
        let Some(texts) = texts.as_any().downcast_ref::<StringArray>() else { return self.original.evaluate(batch) };
        let matches = |text: Option<&str>| text.map(|text| self.pattern.matches(text) != self.negated);
        Ok(ColumnarValue::Array(Arc::new(texts.iter().map(matches).collect::<BooleanArray>())))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.original.children()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let original = Arc::clone(&self.original).with_new_children(children)?;
        let like = original.downcast_ref::<LikeExpr>().and_then(|like| Like::of(like, &original));
        Ok(like.map_or(original, |like| Arc::new(like)))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.original.fmt_sql(f)
    }
}
