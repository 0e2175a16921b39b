//! Interning: the normal forms of all segments → one [`Program`] in which equal filters, groups,
//! aggregates and dictionary look-ups exist once. `share/route.rs` decides how events reach the groups.

mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::scalar::ScalarValue;
use rustc_hash::{FxHashMap, FxHashSet};

use self::route::Routing;
use crate::catalog;
use crate::diagnostic::{Finding, Position};
use crate::like;
use crate::normalize::{BaseQuery, metadata_column, metadata_key};
use crate::program::*;
use crate::window::WindowSpec;

type Shared<T> = Result<T, Finding>;

/// Collects base segments, then builds the parts of a program that they share.
#[derive(Default)]
pub struct Sharing {
    columns: Vec<(Field, BTreeSet<String>, bool, bool)>,
    column_of: FxHashMap<Field, usize>,
    families: Vec<FamilyParts>,
    family_of: FxHashMap<(Vec<Expr>, WindowSpec), u32>,
    filters: Vec<Vec<Expr>>,
    filter_of: FxHashMap<Vec<Expr>, u32>,
    arguments: Vec<Expr>,
    argument_of: FxHashMap<Expr, u32>,
    used: BTreeSet<String>,
    residual_columns: BTreeSet<String>,
    /// Expressions over events that DataFusion can run; many segments have the same.
    valid: FxHashSet<Expr>,
    types: FxHashMap<Expr, DataType>,
}

#[derive(Default)]
struct FamilyParts {
    filter: Vec<Expr>,
    filter_id: u32,
    window: Option<WindowSpec>,
    slots: Vec<Slot>,
    slot_names: Vec<String>,
    slot_keys: Vec<String>,
    slot_of: FxHashMap<(Slot, u32, Vec<Expr>), u32>,
    general: Vec<Expr>,
    general_of: FxHashMap<Expr, u32>,
    outputs: Vec<(Output, DataType)>,
    output_of: FxHashMap<Output, usize>,
    /// Updates by the additional (FILTER) condition under which they happen.
    ops: BTreeMap<String, (Vec<Expr>, Vec<Op>)>,
    segments: Vec<SegmentId>,
}

/// What a base segment became.
pub struct SharedBase {
    /// Its family.
    pub family: u32,
    /// HAVING.
    pub having: PendingHaving,
    /// Value.
    pub value: PendingValue,
}

/// A HAVING whose expression is made physical when the family's outputs are known.
pub enum PendingHaving {
    /// Nothing asked.
    Always,
    /// One threshold.
    Threshold(Threshold),
    /// Over the family's outputs.
    Expression(Expr),
}

/// A value whose expression is made physical when the family's outputs are known.
pub enum PendingValue {
    /// None.
    None,
    /// A view.
    View(View),
    /// Over the family's outputs.
    Expression(Expr),
}

fn failed(e: datafusion::common::DataFusionError) -> Finding {
    Finding::new(Position::default(), crate::bind::plain_message(&e))
}

/// The schema of all canonical columns that `names` use.
fn schema_of(names: &BTreeSet<String>) -> SchemaRef {
    let fields = catalog::event_fields();
    let columns = names.iter().map(|name| match fields.iter().find(|f| f.name() == name) {
        Some(field) => field.clone(),
        None => ArrowField::new(name, DataType::Utf8, true),
    });
    Arc::new(Schema::new(columns.collect::<Vec<_>>()))
}

/// An expression without the functions, coalesce among them, that exist only until they are simplified. Nothing else
/// is simplified: DataFusion's rules for IN take `x NOT IN ('a') OR x NOT IN ('b')` for true, and it is null where x is.
fn simplified(expr: Expr, schema: &Arc<DFSchema>) -> Shared<Expr> {
    let context = SimplifyContext::builder().with_schema(Arc::clone(schema)).build();
    let simpler = expr.transform_up(|e| match e {
        Expr::ScalarFunction(f) => match f.func.simplify(f.args, &context)? {
            ExprSimplifyResult::Simplified(e) => Ok(Transformed::yes(e)),
            ExprSimplifyResult::Original(args) => Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func: f.func, args }))),
        },
        e => Ok(Transformed::no(e)),
    });
    simpler.map(|t| t.data).map_err(failed)
}

fn physical(expr: &Expr, schema: &SchemaRef) -> Shared<Arc<dyn PhysicalExpr>> {
    let df = Arc::new(DFSchema::try_from(Arc::clone(schema)).map_err(failed)?);
    let simplified = simplified(expr.clone(), &df)?;
    let expression = create_physical_expr(&simplified, &df, &ExecutionProps::new(), &PhysicalPlanningContext::default());
    expression.and_then(like::with_known_patterns).map_err(failed)
}

/// An expression made physical over a schema.
pub fn physical_over(expr: &Expr, schema: &SchemaRef) -> Shared<Arc<dyn PhysicalExpr>> {
    physical(expr, schema)
}

fn names_of(expr: &Expr) -> BTreeSet<String> {
    expr.column_refs().into_iter().map(|c| c.name.clone()).collect()
}

fn data_type(expr: &Expr) -> Shared<DataType> {
    let schema = DFSchema::try_from(schema_of(&names_of(expr))).map_err(failed)?;
    expr.get_type(&schema).map_err(failed)
}

impl Sharing {
    /// Adds a base segment.
    pub fn add(&mut self, id: SegmentId, query: &BaseQuery) -> Shared<SharedBase> {
        let mut filter = query.filter.clone();
        filter.sort_by_cached_key(|e| e.to_string());
        filter.dedup();
        for e in &filter {
            self.validate(e)?;
        }
        let family = self.family(filter, query.window);
        self.families[family as usize].segments.push(id);
        let having = match &query.having {
            None => PendingHaving::Always,
            Some(expr) => match self.threshold(family, expr)? {
                Some(threshold) => PendingHaving::Threshold(threshold),
                None => PendingHaving::Expression(self.over_outputs(family, expr)?),
            },
        };
        let value = match &query.value {
            None => PendingValue::None,
            Some(expr) => match self.view(family, expr)? {
                Some(view) => PendingValue::View(view),
                None => PendingValue::Expression(self.over_outputs(family, expr)?),
            },
        };
        Ok(SharedBase { family, having, value })
    }

    /// Fails where DataFusion can't run an expression over events.
    fn validate(&mut self, expr: &Expr) -> Shared<()> {
        if !self.valid.contains(expr) {
            physical(expr, &schema_of(&names_of(expr)))?;
            self.valid.insert(expr.clone());
        }
        Ok(())
    }

    fn data_type(&mut self, expr: &Expr) -> Shared<DataType> {
        if let Some(known) = self.types.get(expr) {
            return Ok(known.clone());
        }
        let found = data_type(expr)?;
        self.types.insert(expr.clone(), found.clone());
        Ok(found)
    }

    fn family(&mut self, filter: Vec<Expr>, window: WindowSpec) -> u32 {
        if let Some(&family) = self.family_of.get(&(filter.clone(), window)) {
            return family;
        }
        let filter_id = match self.filter_of.get(&filter) {
            Some(&id) => id,
            None => {
                let id = self.filters.len() as u32;
                self.filters.push(filter.clone());
                self.filter_of.insert(filter.clone(), id);
                id
            }
        };
        let family = self.families.len() as u32;
        self.families.push(FamilyParts { filter: filter.clone(), filter_id, window: Some(window), ..Default::default() });
        self.family_of.insert((filter, window), family);
        family
    }

    fn argument(&mut self, expr: &Expr) -> u32 {
        if let Some(&i) = self.argument_of.get(expr) {
            return i;
        }
        let i = self.arguments.len() as u32;
        self.arguments.push(expr.clone());
        self.argument_of.insert(expr.clone(), i);
        i
    }

    fn slot(&mut self, family: u32, slot: Slot, kind: OpKind, argument: Option<&Expr>, condition: &[Expr]) -> u32 {
        let argument_id = argument.map_or(u32::MAX, |a| self.argument(a));
        let family = &mut self.families[family as usize];
        let key = (slot, argument_id, condition.to_vec());
        if let Some(&i) = family.slot_of.get(&key) {
            return i;
        }
        let i = family.slots.len() as u32;
        family.slots.push(slot);
        family.slot_names.push(slot_name(slot, argument, condition));
        let argument_key = argument.map_or("*".to_string(), |a| format!("{a}"));
        family.slot_keys.push(format!("{kind:?}({argument_key}) FILTER ({})", key_of(condition)));
        family.slot_of.insert(key, i);
        family.op(condition, Op { kind, slot: i, argument: argument_id });
        i
    }

    /// The view that an expression is, when it is one.
    fn view(&mut self, family: u32, expr: &Expr) -> Shared<Option<View>> {
        let expr = match expr {
            Expr::Cast(c)
                if c.field.data_type().is_numeric()
                    && matches!(c.expr.as_ref(), Expr::AggregateFunction(f) if f.func.name() == "count")
                    && *c.field.data_type() == DataType::Float64 =>
            {
                c.expr.as_ref()
            }
            other => other,
        };
        match expr {
            Expr::AggregateFunction(_) => self.aggregate_view(family, expr),
            Expr::ScalarFunction(f) if f.func.name() == "coalesce" => match f.args.as_slice() {
                [inner, Expr::Literal(zero, _)] if is_zero(zero) => Ok(match self.view(family, inner)? {
                    Some(View::Sum(slot)) => Some(View::SumOrZero(slot)),
                    _ => None,
                }),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn aggregate_view(&mut self, family: u32, expr: &Expr) -> Shared<Option<View>> {
        let Expr::AggregateFunction(f) = expr else { return Ok(None) };
        let p = &f.params;
        if p.distinct || !p.order_by.is_empty() || p.null_treatment.is_some() || p.args.len() != 1 {
            return Ok(None);
        }
        let condition = match &p.filter {
            Some(filter) => {
                self.validate(filter)?;
                sorted_conjuncts(filter)
            }
            None => vec![],
        };
        let arg = &p.args[0];
        if f.func.name() == "count" && matches!(arg, Expr::Literal(v, _) if !v.is_null()) {
            return Ok(Some(View::Count(self.slot(family, Slot::Count, OpKind::Count, None, &condition))));
        }
        if arg.any_column_refs() {
            self.validate(arg)?;
        }
        if f.func.name() == "count" && arg.any_column_refs() {
            return Ok(Some(View::Count(self.slot(family, Slot::Count, OpKind::CountArgument, Some(arg), &condition))));
        }
        if !arg.any_column_refs() || self.data_type(arg)? != DataType::Float64 {
            return Ok(None);
        }
        let is_value = matches!(arg, Expr::Column(c) if c.name == "value");
        Ok(match f.func.name() {
            "sum" => Some(View::Sum(self.slot(family, Slot::Sum, OpKind::Sum, Some(arg), &condition))),
            "avg" => Some(View::Avg {
                sum: self.slot(family, Slot::Sum, OpKind::Sum, Some(arg), &condition),
                count: self.slot(family, Slot::Count, OpKind::CountArgument, Some(arg), &condition),
            }),
            "min" if is_value => Some(View::Min(self.slot(family, Slot::Min, OpKind::Min, Some(arg), &condition))),
            "max" if is_value => Some(View::Max(self.slot(family, Slot::Max, OpKind::Max, Some(arg), &condition))),
            _ => None,
        })
    }

    fn threshold(&mut self, family: u32, expr: &Expr) -> Shared<Option<Threshold>> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return Ok(None) };
        let Some(compare) = compare_of(*op) else { return Ok(None) };
        let (side, value, compare) = match (number(left), number(right)) {
            (None, Some(value)) => (left.as_ref(), value, compare),
            (Some(value), None) => (right.as_ref(), value, flip(compare)),
            _ => return Ok(None),
        };
        if let Some((inner, centre)) = distance(side) {
            let compare = match compare {
                Compare::Lt => Compare::Eq,
                Compare::Gte => Compare::Neq,
                _ => return Ok(None),
            };
            let view = if value > 0.0 { self.view(family, inner)? } else { None };
            return Ok(view.map(|view| Threshold { view, compare, value: centre, tolerance: value }));
        }
        let view = self.view(family, side)?;
        Ok(view.map(|view| Threshold { view, compare, value, tolerance: 0.0 }))
    }

    /// Rewrites an expression over aggregates into one over the family's output columns `a{i}`.
    fn over_outputs(&mut self, family: u32, expr: &Expr) -> Shared<Expr> {
        let mut problem = None;
        let rewritten = expr.clone().transform_down(|e| {
            if !matches!(e, Expr::AggregateFunction(_)) {
                return Ok(Transformed::no(e));
            }
            match self.output(family, &e) {
                Ok(i) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(format!("a{i}"))))),
                Err(finding) => {
                    problem.get_or_insert(finding);
                    Ok(Transformed::no(e))
                }
            }
        });
        match problem {
            Some(finding) => Err(finding),
            None => rewritten.map(|t| t.data).map_err(failed),
        }
    }

    fn output(&mut self, family: u32, aggregate: &Expr) -> Shared<usize> {
        let (output, data_type) = match self.aggregate_view(family, aggregate)? {
            Some(view @ View::Count(_)) => (Output::View(view), DataType::Int64),
            Some(view) => (Output::View(view), DataType::Float64),
            None => {
                let general = self.general(family, aggregate)?;
                (Output::General(general), self.data_type(aggregate)?)
            }
        };
        let family = &mut self.families[family as usize];
        if let Some(&i) = family.output_of.get(&output) {
            return Ok(i);
        }
        family.outputs.push((output, data_type));
        family.output_of.insert(output, family.outputs.len() - 1);
        Ok(family.outputs.len() - 1)
    }

    fn general(&mut self, family: u32, aggregate: &Expr) -> Shared<u32> {
        let Expr::AggregateFunction(f) = aggregate else { return Err(Finding::new(Position::default(), "not an aggregate")) };
        let mut plain = f.clone();
        let condition = match plain.params.filter.take() {
            Some(filter) => {
                self.validate(&filter)?;
                sorted_conjuncts(&filter)
            }
            None => vec![],
        };
        let names = names_of(aggregate);
        let slot = general_slot(&Expr::AggregateFunction(plain), &schema_of(&names))?;
        // Whether DataFusion has an accumulator of this form shows only when one is made.
        slot.aggregate.create_accumulator().map_err(failed)?;
        self.used.extend(names);
        let family = &mut self.families[family as usize];
        if let Some(&i) = family.general_of.get(aggregate) {
            return Ok(i);
        }
        let i = family.general.len() as u32;
        family.general.push(aggregate.clone());
        family.general_of.insert(aggregate.clone(), i);
        family.op(&condition, Op { kind: OpKind::General, slot: i, argument: u32::MAX });
        Ok(i)
    }
}

impl FamilyParts {
    fn op(&mut self, condition: &[Expr], op: Op) {
        let key = text_of(condition);
        self.ops.entry(key).or_insert_with(|| (condition.to_vec(), vec![])).1.push(op);
    }
}

fn general_slot(aggregate: &Expr, schema: &SchemaRef) -> Shared<GeneralSlot> {
    let df = DFSchema::try_from(Arc::clone(schema)).map_err(failed)?;
    let (props, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    let shared = Arc::new(df.clone());
    let Expr::AggregateFunction(f) = aggregate else { return Err(Finding::new(Position::default(), "not an aggregate")) };
    let mut simpler = f.clone();
    for argument in &mut simpler.params.args {
        // Parameters of an aggregate must be literals.
        *argument = if argument.column_refs().is_empty() {
            let context = SimplifyContext::builder().with_schema(Arc::clone(&shared)).build();
            ExprSimplifier::new(context).simplify(argument.clone()).map_err(failed)?
        } else {
            simplified(argument.clone(), &shared)?
        };
    }
    let simpler = Expr::AggregateFunction(simpler);
    let lowered = LoweredAggregateBuilder::new(&simpler, &df, schema, &props, &context).build().map_err(failed)?;
    let mut arguments = lowered.aggregate.expressions();
    arguments.extend(lowered.aggregate.order_bys().iter().map(|s| Arc::clone(&s.expr)));
    Ok(GeneralSlot { key: aggregate.to_string(), aggregate: lowered.aggregate, arguments })
}

fn slot_name(slot: Slot, argument: Option<&Expr>, condition: &[Expr]) -> String {
    let function = match slot {
        Slot::Count => "count",
        Slot::Sum => "sum",
        Slot::Min => "min",
        Slot::Max => "max",
    };
    let argument = argument.map_or("*".to_string(), |a| a.human_display().to_string());
    if condition.is_empty() { format!("{function}({argument})") } else { format!("{function}({argument}) FILTER ({})", text_of(condition)) }
}

fn text_of(conjuncts: &[Expr]) -> String {
    conjuncts.iter().map(|e| e.human_display().to_string()).collect::<Vec<_>>().join(" AND ")
}

/// The conditions with the types of their literals, which [`text_of`] leaves out.
fn key_of(conjuncts: &[Expr]) -> String {
    conjuncts.iter().map(Expr::to_string).collect::<Vec<_>>().join(" AND ")
}

fn sorted_conjuncts(filter: &Expr) -> Vec<Expr> {
    let mut conjuncts = datafusion::logical_expr::utils::split_conjunction_owned(filter.clone());
    conjuncts.sort_by_cached_key(|e| e.to_string());
    conjuncts.dedup();
    conjuncts
}

pub(crate) fn is_zero(value: &ScalarValue) -> bool {
    matches!(value.cast_to(&DataType::Float64), Ok(ScalarValue::Float64(Some(x))) if x == 0.0)
}

/// The number that a literal is.
pub(crate) fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Literal(value, _) if value.data_type().is_numeric() => match value.cast_to(&DataType::Float64) {
            Ok(ScalarValue::Float64(x)) => x.filter(|x| x.is_finite()).map(|x| x + 0.0),
            _ => None,
        },
        _ => None,
    }
}

/// `abs(x - 5)` → (x, 5).
pub(crate) fn distance(expr: &Expr) -> Option<(&Expr, f64)> {
    let Expr::ScalarFunction(f) = expr else { return None };
    let [Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right })] = f.args.as_slice() else { return None };
    (f.func.name() == "abs").then_some((left.as_ref(), number(right)?))
}

pub(crate) fn compare_of(op: Operator) -> Option<Compare> {
    Some(match op {
        Operator::Gt => Compare::Gt,
        Operator::GtEq => Compare::Gte,
        Operator::Lt => Compare::Lt,
        Operator::LtEq => Compare::Lte,
        Operator::Eq => Compare::Eq,
        Operator::NotEq => Compare::Neq,
        _ => return None,
    })
}

pub(crate) fn flip(compare: Compare) -> Compare {
    match compare {
        Compare::Gt => Compare::Lt,
        Compare::Gte => Compare::Lte,
        Compare::Lt => Compare::Gt,
        Compare::Lte => Compare::Gte,
        other => other,
    }
}

pub(crate) fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(_))
}

pub(crate) fn text_literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

/// The shared parts of a program.
pub struct SharedParts {
    /// What is decoded.
    pub scan: Scan,
    /// Schema of masks, arguments and general aggregates.
    pub event_schema: SchemaRef,
    /// Conditions decided by text.
    pub matched: Vec<Matched>,
    /// Conditions decided by event.
    pub masks: Vec<Mask>,
    /// Arguments of fixed slots.
    pub arguments: Vec<Argument>,
    /// Look-ups.
    pub routers: Vec<Router>,
    /// Families.
    pub families: Vec<Family>,
    /// Texts of the distinct filters.
    pub filters: Vec<String>,
}

impl Sharing {
    /// Builds the shared parts of the program.
    pub fn finish(mut self) -> Shared<SharedParts> {
        let mut guarded = self.guarded();
        self.dictionaries(&guarded);
        let groups = self.router_groups(&mut guarded);
        for g in &guarded {
            for e in &g.residual {
                self.residual_columns.extend(names_of(e));
            }
        }
        for e in &self.arguments {
            self.used.extend(names_of(e));
        }
        let residual = std::mem::take(&mut self.residual_columns);
        self.used.extend(residual);
        let event_schema = schema_of(&self.used);
        let scan = self.scan();
        let Routing { routers, matched, masks } = self.routing(&groups, &guarded, &scan, &event_schema)?;
        let arguments = self.arguments.iter().map(|e| match e {
            Expr::Column(c) if c.name == "value" => Ok(Argument::Value),
            other => physical(other, &event_schema).map(Argument::Expression),
        });
        let arguments = arguments.collect::<Shared<_>>()?;
        let filters = self.filters.iter().map(|f| filter_text(f)).collect();
        let families = std::mem::take(&mut self.families).into_iter().map(|f| f.finish(&event_schema)).collect::<Shared<_>>()?;
        Ok(SharedParts { scan, event_schema, matched, masks, arguments, routers, families, filters })
    }

    fn column(&mut self, field: &Field) -> usize {
        if let Some(&i) = self.column_of.get(field) {
            return i;
        }
        self.columns.push((field.clone(), BTreeSet::new(), false, false));
        self.column_of.insert(field.clone(), self.columns.len() - 1);
        self.columns.len() - 1
    }

    fn scan(&mut self) -> Scan {
        let used = self.used.clone();
        let mut scan = Scan::default();
        for name in &used {
            match name.as_str() {
                "value" => scan.value = true,
                "metadata" => scan.metadata = true,
                "user_id" | "event_time" => scan.keys = true,
                other => {
                    let field = match other {
                        "event_type" => Field::EventType,
                        "session_id" => Field::SessionId,
                        "topic" => Field::Topic,
                        other => Field::Metadata(metadata_key(other).unwrap_or(other).to_string()),
                    };
                    let i = self.column(&field);
                    self.columns[i].3 = true;
                }
            }
        }
        scan.texts = self
            .columns
            .iter()
            .map(|(field, dictionary, routed, text)| TextColumn {
                field: field.clone(),
                dictionary: dictionary.iter().cloned().collect(),
                routed: *routed,
                text: *text,
            })
            .collect();
        scan
    }
}

fn filter_text(filter: &[Expr]) -> String {
    if filter.is_empty() { "all events".to_string() } else { text_of(filter) }
}

impl FamilyParts {
    fn finish(self, event_schema: &SchemaRef) -> Shared<Family> {
        let general = self.general.iter().map(|e| {
            let Expr::AggregateFunction(f) = e else { return Err(Finding::new(Position::default(), "not an aggregate")) };
            let mut plain = f.clone();
            plain.params.filter = None;
            general_slot(&Expr::AggregateFunction(plain), event_schema).map(|slot| GeneralSlot { key: e.to_string(), ..slot })
        });
        let general = general.collect::<Shared<Vec<_>>>()?;
        let mut fields = vec![
            ArrowField::new("user_id", DataType::Utf8, false),
            ArrowField::new("window_start", catalog::timestamp_type(), false),
            ArrowField::new("window_end", catalog::timestamp_type(), false),
        ];
        fields.extend(self.outputs.iter().enumerate().map(|(i, (_, t))| ArrowField::new(format!("a{i}"), t.clone(), true)));
        let window = self.window.unwrap_or(WindowSpec::Tumble { size: 0 });
        Ok(Family {
            key: format!("{} WHERE {}", window, key_of(&self.filter)),
            filter: filter_text(&self.filter),
            filter_id: self.filter_id,
            window,
            slots: self.slots,
            slot_names: self.slot_names,
            slot_keys: self.slot_keys,
            general,
            outputs: self.outputs.into_iter().map(|(o, _)| o).collect(),
            output_schema: Arc::new(Schema::new(fields)),
            segments: self.segments,
        })
    }
}

/// The canonical column of a field, for messages and EXPLAIN.
pub fn field_name(field: &Field) -> String {
    match field {
        Field::EventType => "event_type".into(),
        Field::SessionId => "session_id".into(),
        Field::Topic => "topic".into(),
        Field::Metadata(key) => metadata_column(key),
    }
}
