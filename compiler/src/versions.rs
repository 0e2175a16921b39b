//! Two versions of segments in one program: those of the older one are called otherwise, and so are the names by which
//! they read one another, so that both run over the same scan, windows and slots.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Query, TableAlias, TableFactor, VisitMut, VisitorMut};
use rustc_hash::FxHashMap;

/// The name that a segment of the older version has in a program of two versions.
pub fn older(name: &str) -> String {
    format!("{name} (before)")
}

/// Has a query read other segments: `names` leads from what it says to what is meant. What it says stays the qualifier
/// of columns.
pub(crate) fn rename(query: &mut Query, names: &FxHashMap<String, String>) {
    let _ = query.visit(&mut Rename { names });
}

struct Rename<'a> {
    names: &'a FxHashMap<String, String>,
}

impl VisitorMut for Rename<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        let [ObjectNamePart::Identifier(said)] = name.0.as_slice() else { return ControlFlow::Continue(()) };
        let text = if said.quote_style.is_some() { said.value.clone() } else { said.value.to_lowercase() };
        let Some(meant) = self.names.get(&text) else { return ControlFlow::Continue(()) };
        let said = said.clone();
        *name = ObjectName::from(vec![Ident { value: meant.clone(), quote_style: Some('"'), span: said.span }]);
        alias.get_or_insert(TableAlias { explicit: true, name: said, columns: vec![], at: None });
        ControlFlow::Continue(())
    }
}
