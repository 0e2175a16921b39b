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

#[cfg(test)]
mod tests {
    use crate::program::SegmentKind;
    use crate::{CompileCache, CompileOptions, Program, SourceKind, SourceText, compile_versions};

    const NEWER: &str = "
CREATE SEGMENT spenders AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
GROUP BY user_id, window_start, window_end HAVING sum(value) > 500;
CREATE SEGMENT rich AS SELECT spenders.user_id, Spenders.value FROM Spenders WHERE spenders.value > 1000;
CREATE SEGMENT others AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
GROUP BY user_id, window_start, window_end;";

    fn compiled(newer: &str, older: &str) -> Result<Program, crate::Diagnostics> {
        let text = |name: &str, text: &str| SourceText { name: name.into(), kind: SourceKind::Sql, text: text.into(), id: None };
        compile_versions(&[text("newer", newer), text("older", older)], 1, &CompileOptions::default(), &mut CompileCache::default())
    }

    fn reads(program: &Program, name: &str) -> Vec<String> {
        let segment = program.segments.iter().find(|s| s.name == name).expect(name);
        let SegmentKind::Derived(derived) = &segment.kind else { panic!("{name} is derived") };
        derived.inputs.iter().map(|&i| program.segments[i as usize].name.clone()).collect()
    }

    #[test]
    fn versions_share_their_windows_and_read_their_own() {
        let older = NEWER.replace("500", "100").replace("CREATE SEGMENT others", "CREATE SEGMENT gone");
        let program = compiled(NEWER, &older).expect("both compile");
        let names: Vec<(&str, bool)> = program.segments.iter().map(|s| (s.name.as_str(), s.older)).collect();
        let of = |is_older: bool| names.iter().filter(|n| n.1 == is_older).map(|n| n.0).collect::<Vec<_>>();
        assert_eq!(of(false), ["spenders", "rich", "others"]);
        assert_eq!(of(true), ["spenders (before)", "rich (before)", "gone (before)"]);
        assert_eq!(
            (program.families.len(), reads(&program, "rich"), reads(&program, "rich (before)")),
            (1, vec!["spenders".into()], vec!["spenders (before)".into()])
        );
        // What has no older version is read as it is.
        let program = compiled(NEWER, "CREATE SEGMENT rich AS SELECT s.user_id FROM spenders s JOIN others o USING (user_id);").expect("both compile");
        assert_eq!(reads(&program, "rich (before)"), ["spenders", "others"]);
    }

    #[test]
    fn what_is_wrong_is_said_of_its_own_text() {
        let found = compiled(NEWER, "CREATE SEGMENT rich AS\nSELECT user_id, nothing FROM spenders;").expect_err("it is wrong");
        assert_eq!(found.0.iter().map(|d| (d.file.as_str(), d.line)).collect::<Vec<_>>(), [("older", 2)]);
        let clash = format!("{NEWER} CREATE SEGMENT \"spenders (before)\" AS SELECT user_id FROM others;");
        assert!(compiled(&clash, NEWER).err().is_some_and(|found| found.to_string().contains("the older version of spenders")));
        assert_eq!(compiled(NEWER, "").map(|p| p.segments.len()).ok(), Some(3));
    }
}
