//! Random cases: many segments over one stream of events, and the options to run them with.
//!
//! Strategies draw *recipes*, small independent choices, and [`Case`]s are built from them. Names
//! and references between segments come about in the building, so every shrunken case is valid.
//!
//! Numbers lie on a grid of quarters, so that sums are exact in any order and no result hangs on
//! a rounding error. Only the [`Profile::Extreme`] profile leaves the grid, and asks only for what
//! is exact there.

use crate::model::{
    Agg, Attribute, Base, Bool, Cmp, Content, Emit, Event, Filter, FoldOp, Func, Having, HavingTest, InputLine, Join, JoinKind, MINUTE, Millis, Num, On, Op,
    Predicate, Query, Rule, SECOND, Segment, SetOp, Test, Text, Window, api_segments_json, rule_list_json, sql_text,
};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeMap;

/// What a case concentrates on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Profile {
    /// All windows and aggregates, values on the grid.
    Ordinary,
    /// Huge, tiny and negative-zero values; TUMBLE windows and aggregates that are exact.
    Extreme,
    /// Ordinary, with many lines that are no events.
    Hostile,
}

/// Segments, input, and the options of one run.
#[derive(Clone)]
pub struct Case {
    pub segments: Vec<Segment>,
    pub lines: Vec<InputLine>,
    pub partitions: u32,
    pub batch_rows: u32,
    pub workers: u32,
    /// The input is two files, of which the first has this many lines.
    pub split: Option<usize>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "partitions {}, batch rows {}, workers {}, split {:?}", self.partitions, self.batch_rows, self.workers, self.split)?;
        writeln!(f, "{}", sql_text(&self.segments))?;
        writeln!(f, "{}", rule_list_json(&self.segments))?;
        writeln!(f, "{}", api_segments_json(&self.segments))?;
        self.lines.iter().try_for_each(|l| writeln!(f, "{l:?}"))
    }
}

/// A random case.
pub fn case(profile: Profile) -> impl Strategy<Value = Case> {
    let options = (select(vec![1_u32, 2, 5]), select(vec![1_u32, 7, 100, 65_536]), select(vec![1_u32, 2]), weighted(0.3, any::<Index>()));
    (segments(profile), lines(profile), options).prop_map(|(segments, lines, (partitions, batch_rows, workers, split))| Case {
        split: split.map(|at| at.index(lines.len() + 1)),
        segments,
        lines,
        partitions,
        batch_rows,
        workers,
    })
}

// ---------------------------------------------------------------------------------------------
// Words
// ---------------------------------------------------------------------------------------------

const EVENT_TYPES: [&str; 6] = ["purchase", "view", "install", "add_to_cart", "View", "été 🙂"];
/// Names in rules: event types and aliases of them.
const RULE_EVENT_TYPES: [&str; 8] = ["purchase", "view", "orders", "clicks", "views", "installs", "addToCart", "add_to_cart"];
const KEYS: [&str; 3] = ["category", "productId", "clé d'or"];
/// Metadata values and how they are written in JSON. A scalar keeps its text.
const SCALARS: [(&str, &str); 9] = [
    ("toys", r#""toys""#),
    ("electronics", r#""electronics""#),
    ("beauty", r#""be\u0061uty""#),
    ("it's", r#""it's""#),
    ("50%", r#""50%""#),
    ("", r#""""#),
    ("1.50", "1.50"),
    ("-7", "-7"),
    ("true", "true"),
];
const SESSIONS: [&str; 3] = ["session_1", "session_2", ""];
const PATTERNS: [&str; 8] = ["%", "", "t%", "%e%", "_oys", "%s", "be_u%", "%é 🙂"];

fn users() -> Vec<String> {
    let long = "x".repeat(256);
    ["user_1", "user_2", "ünï", "用户", "🙂", "quote\"back\\slash/", "tab\tline\n", " ", &long, "0"].map(str::to_owned).to_vec()
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

fn cmp() -> impl Strategy<Value = Cmp> {
    select(Cmp::ALL.to_vec())
}

/// A multiple of a quarter.
fn grid(range: std::ops::RangeInclusive<i32>) -> BoxedStrategy<f64> {
    (range.start() * 4..=range.end() * 4).prop_map(|quarters| f64::from(quarters) / 4.0).boxed()
}

const EXTREME_VALUES: [f64; 8] = [1e300, -1e300, 3e299, -0.0, 5e-324, -1e-300, 0.1, 123_456_789.123_456_78];

// ---------------------------------------------------------------------------------------------
// Expressions
// ---------------------------------------------------------------------------------------------

/// Mostly a leaf, else a small tree of them.
fn boolean<L: Clone + std::fmt::Debug + 'static>(leaf: impl Strategy<Value = L> + 'static) -> BoxedStrategy<Bool<L>> {
    let leaf = leaf.prop_map(Bool::Leaf);
    leaf.prop_recursive(2, 5, 3, |inner| {
        prop_oneof![
            4 => inner.clone(),
            2 => vec(inner.clone(), 2..=3).prop_map(Bool::And),
            2 => vec(inner.clone(), 2..=3).prop_map(Bool::Or),
            1 => inner.prop_map(|x| Bool::Not(Box::new(x))),
        ]
    })
    .boxed()
}

/// A column with a text that it may hold.
fn column_and_text() -> impl Strategy<Value = (Text, String)> {
    let texts: Vec<&'static str> = SCALARS.iter().map(|(text, _)| *text).collect();
    prop_oneof![
        4 => word(&EVENT_TYPES).prop_map(|t| (Text::EventType, t)),
        3 => (word(&KEYS), select(texts)).prop_map(|(k, t)| (Text::Metadata(k), t.to_owned())),
        1 => word(&SESSIONS).prop_map(|t| (Text::SessionId, t)),
    ]
}

fn column() -> impl Strategy<Value = Text> {
    column_and_text().prop_map(|(column, _)| column)
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let negated = || prop::bool::weighted(0.3);
    prop_oneof![
        6 => (column_and_text(), negated()).prop_map(|((column, text), negated)| {
            Predicate::Equals { column, negated, text }
        }),
        2 => (column_and_text(), vec(column_and_text(), 0..=2), negated()).prop_map(
            |((column, text), more, negated)| {
                let more = more.into_iter().map(|(_, text)| text);
                let texts = std::iter::once(text).chain(more).collect();
                Predicate::In { column, negated, texts }
            }
        ),
        1 => (column(), word(&PATTERNS), negated()).prop_map(|(column, pattern, negated)| {
            Predicate::Like { column, negated, pattern }
        }),
        1 => (column(), any::<bool>()).prop_map(|(column, negated)| {
            Predicate::IsNull { column, negated }
        }),
        2 => (cmp(), grid(-10..=200)).prop_map(|(cmp, x)| Predicate::Value(cmp, x)),
        1 => any::<bool>().prop_map(|negated| Predicate::ValueIsNull { negated }),
    ]
}

fn filter() -> BoxedStrategy<Filter> {
    boolean(predicate())
}

fn func(profile: Profile) -> BoxedStrategy<Func> {
    let exact = prop_oneof![
        4 => Just(Func::CountAll),
        2 => Just(Func::CountValue),
        5 => Just(Func::Sum),
        2 => Just(Func::SumOrZero),
        2 => Just(Func::Min),
        2 => Just(Func::Max),
        2 => column().prop_map(Func::CountDistinct),
    ];
    if profile == Profile::Extreme {
        return exact.boxed();
    }
    let rounded = prop_oneof![
        2 => Just(Func::Avg),
        1 => Just(Func::Stddev),
        1 => Just(Func::VarPop),
        1 => Just(Func::Median),
    ];
    prop_oneof![3 => exact, 1 => rounded].boxed()
}

fn agg(profile: Profile) -> impl Strategy<Value = Agg> {
    (func(profile), weighted(0.3, filter())).prop_map(|(func, filter)| Agg { func, filter })
}

/// Whether ways to compute the aggregate differ by rounding errors even on the grid.
fn is_rounded(agg: &Agg) -> bool {
    matches!(agg.func, Func::Stddev | Func::VarPop)
}

/// A literal that the aggregate may be near of.
fn threshold(profile: Profile, agg: &Agg) -> BoxedStrategy<f64> {
    match agg.func {
        Func::CountAll | Func::CountValue | Func::CountDistinct(_) => prop_oneof![
            5 => (0..=6).prop_map(f64::from),
            1 => Just(2.5),
        ]
        .boxed(),
        _ if profile == Profile::Extreme => {
            // Adding zero makes the negative zero, which has no literal, a positive one.
            let extreme = EXTREME_VALUES.map(|x| x + 0.0).to_vec();
            prop_oneof![Just(0.0), select(extreme), grid(-10..=500)].boxed()
        }
        // Off the grid: no standard deviation is within rounding of it.
        Func::Stddev | Func::VarPop => grid(0..=100).prop_map(|x| x + 0.123_456_7).boxed(),
        Func::Sum | Func::SumOrZero => grid(-20..=600).boxed(),
        _ => grid(-20..=200).boxed(),
    }
}

/// Arithmetic of aggregates that are exact on the grid.
fn arithmetic(profile: Profile) -> BoxedStrategy<Num<Agg>> {
    let leaf = |func| Num::Leaf(Agg::of(func));
    let range = Num::arith(leaf(Func::Max), Op::Sub, leaf(Func::Min));
    let nulls = Num::arith(leaf(Func::CountAll), Op::Sub, leaf(Func::CountValue));
    let fixed = prop_oneof![Just(range), Just(nulls)];
    if profile == Profile::Extreme {
        return fixed.boxed();
    }
    let filtered = |func: Func| weighted(0.5, filter()).prop_map(move |filter| Num::Leaf(Agg { func: func.clone(), filter }));
    let per_event = filtered(Func::Sum).prop_map(move |sum| Num::arith(sum, Op::Div, Num::Leaf(Agg::of(Func::CountAll))));
    let weighted_sum = (filtered(Func::SumOrZero), filtered(Func::CountAll)).prop_map(|(sum, count)| {
        let bonus = Num::arith(count, Op::Mul, Num::Lit(2.5));
        Num::arith(sum, Op::Add, bonus)
    });
    prop_oneof![2 => fixed, 1 => per_event, 1 => weighted_sum].boxed()
}

fn having_test(profile: Profile) -> BoxedStrategy<HavingTest> {
    let with_threshold = move || agg(profile).prop_flat_map(move |agg| (threshold(profile, &agg), Just(Num::Leaf(agg))));
    let compared = (with_threshold(), cmp()).prop_map(|((x, agg), cmp)| HavingTest::Number(Test::Cmp(agg, cmp, Num::Lit(x))));
    let between = (with_threshold(), 0..=200_i32, prop::bool::weighted(0.3))
        .prop_map(|((low, subject), width, negated)| HavingTest::Number(Test::Between { subject, negated, low, high: low + f64::from(width) }));
    let near = with_threshold().prop_map(|(x, agg)| {
        let distance = Num::Abs(Box::new(Num::arith(agg, Op::Sub, Num::Lit(x))));
        HavingTest::Number(Test::Cmp(distance, Cmp::Lt, Num::Lit(0.001)))
    });
    let computed = (arithmetic(profile), cmp(), grid(0..=100)).prop_map(|(a, cmp, x)| HavingTest::Number(Test::Cmp(a, cmp, Num::Lit(x))));
    let pair = (arithmetic(profile), cmp(), arithmetic(profile)).prop_map(|(a, cmp, b)| HavingTest::Number(Test::Cmp(a, cmp, b)));
    let any_value = (cmp(), grid(0..=200), weighted(0.3, filter())).prop_map(|(cmp, x, filter)| HavingTest::AnyValue(cmp, x, filter));
    prop_oneof![
        10 => compared,
        2 => between,
        1 => near,
        2 => computed,
        1 => pair,
        1 => any_value,
    ]
    .boxed()
}

/// Half of them lower bounds on one aggregate, which have early results by default.
fn having(profile: Profile) -> BoxedStrategy<Having> {
    let lower_bound = prop_oneof![(0..=4).prop_map(|n| (Func::CountAll, f64::from(n))), grid(0..=300).prop_map(|x| (Func::Sum, x)),].prop_map(|(func, x)| {
        let agg = Num::Leaf(Agg::of(func));
        Bool::Leaf(HavingTest::Number(Test::Cmp(agg, Cmp::Ge, Num::Lit(x))))
    });
    prop_oneof![lower_bound, boolean(having_test(profile))].boxed()
}

// ---------------------------------------------------------------------------------------------
// Segments
// ---------------------------------------------------------------------------------------------

fn window(profile: Profile) -> BoxedStrategy<Window> {
    let seconds = |n: i64| n * SECOND;
    let tumble = prop_oneof![select(vec![1, 10, 30, 60, 90, 300]).prop_map(seconds), (1..=300_i64).prop_map(seconds),].prop_map(|size| Window::Tumble { size });
    if profile == Profile::Extreme {
        return tumble.boxed();
    }
    let hop =
        prop_oneof![select(vec![(10, 30), (20, 50), (7, 30), (60, 300), (45, 60)]), (5..=40_i64).prop_flat_map(|slide| (Just(slide), slide..=8 * slide)),]
            .prop_map(move |(slide, size)| Window::Hop { slide: seconds(slide), size: seconds(size) });
    let cumulate = (select(vec![5, 15, 60]), 1..=6_i64).prop_map(move |(step, steps)| Window::Cumulate { step: seconds(step), size: seconds(step * steps) });
    let session = select(vec![1, 5, 12, 45]).prop_map(move |gap| Window::Session { gap: seconds(gap) });
    prop_oneof![3 => tumble, 2 => hop, 1 => cumulate, 2 => session].boxed()
}

#[derive(Clone, Debug)]
struct Options {
    emit: Option<Emit>,
    retain: Option<Millis>,
}

fn options() -> impl Strategy<Value = Options> {
    let emit = weighted(0.4, select(vec![Emit::Changes, Emit::Final]));
    let retain = weighted(0.25, select(vec![10, 60, 90, 300, 3_600]));
    (emit, retain).prop_map(|(emit, retain)| Options { emit, retain: retain.map(|seconds| seconds * SECOND) })
}

#[derive(Clone, Debug)]
struct BaseRecipe {
    window: Index,
    shorthand: bool,
    filter: Option<Filter>,
    value: Option<Num<Agg>>,
    having: Option<Having>,
    options: Options,
}

fn base_recipe(profile: Profile) -> impl Strategy<Value = BaseRecipe> {
    let value = prop_oneof![
        4 => agg(profile).prop_map(Num::Leaf),
        1 => arithmetic(profile),
    ];
    (any::<Index>(), prop::bool::weighted(0.2), weighted(0.8, filter()), weighted(0.9, value), weighted(0.9, having(profile)), options())
        .prop_map(|(window, shorthand, filter, value, having, options)| BaseRecipe { window, shorthand, filter, value, having, options })
}

#[derive(Clone, Debug)]
enum ValueRecipe {
    Column(usize),
    Scaled(usize),
    Pair(usize, Op, usize),
}

#[derive(Clone, Debug)]
enum DerivedRecipe {
    Join { on: On, kinds: Vec<JoinKind>, tests: Vec<(usize, Cmp, f64)>, value: Option<ValueRecipe> },
    Set { op: SetOp, branches: usize, with_value: bool },
}

type DerivedParts = (DerivedRecipe, Vec<Index>, Options);

/// A derived segment of up to three others, which the indices pick.
fn derived_recipe(profile: Profile) -> impl Strategy<Value = DerivedParts> {
    let table = || 0..3_usize;
    let kind = prop_oneof![
        2 => Just(JoinKind::Inner),
        1 => Just(JoinKind::Anti),
        1 => Just(JoinKind::NotExists),
    ];
    let ops = match profile {
        // A product of huge values is infinite, which no result can say.
        Profile::Extreme => vec![Op::Add, Op::Sub],
        Profile::Ordinary | Profile::Hostile => vec![Op::Add, Op::Sub, Op::Mul],
    };
    let value = prop_oneof![
        2 => table().prop_map(ValueRecipe::Column),
        1 => table().prop_map(ValueRecipe::Scaled),
        2 => (table(), select(ops), table())
            .prop_map(|(a, op, b)| ValueRecipe::Pair(a, op, b)),
    ];
    let test = (table(), cmp(), grid(0..=100));
    let tests = prop_oneof![3 => Just(Vec::new()), 1 => vec(test, 1..=2)];
    let on = prop_oneof![Just(On::Window), Just(On::User)];
    let join = (on, vec(kind, 1..=2), tests, weighted(0.8, value)).prop_map(|(on, kinds, tests, value)| DerivedRecipe::Join { on, kinds, tests, value });
    let op = select(vec![SetOp::Union, SetOp::Except, SetOp::Intersect]);
    let set = (op, 2..=3_usize, any::<bool>()).prop_map(|(op, branches, valued)| DerivedRecipe::Set { op, branches, with_value: valued && op == SetOp::Union });
    let recipe = prop_oneof![3 => join, 1 => set];
    (recipe, vec(any::<Index>(), 3), options())
}

#[derive(Clone, Debug)]
struct RulesRecipe {
    api: bool,
    rules: Vec<Rule>,
    /// All rules have the window of the first.
    same_window: bool,
}

fn rules_recipe() -> impl Strategy<Value = RulesRecipe> {
    let attribute = prop_oneof![(0..=6).prop_map(|n| (Attribute::Count, f64::from(n))), grid(-20..=400).prop_map(|x| (Attribute::Sum, x)),];
    let rule = (word(&RULE_EVENT_TYPES), attribute, cmp(), select(vec![1, 2, 5]))
        .prop_map(|(event_type, (attribute, threshold), operator, minutes)| Rule { event_type, attribute, operator, threshold, minutes })
        .boxed();
    let rules = prop_oneof![1 => vec(rule.clone(), 1), 2 => vec(rule, 2..=3)];
    (any::<bool>(), rules, any::<bool>()).prop_map(|(api, rules, same_window)| RulesRecipe { api, rules, same_window })
}

#[derive(Clone, Debug)]
struct FoldRecipe {
    minutes: i64,
    dependencies: Vec<(FoldOp, Index)>,
    expression: Option<Bool<Index>>,
}

fn fold_recipe() -> impl Strategy<Value = FoldRecipe> {
    let op = select(vec![FoldOp::And, FoldOp::Or, FoldOp::Not]);
    (select(vec![1, 2, 5]), vec((op, any::<Index>()), 1..=3), weighted(0.5, boolean(any::<Index>())))
        .prop_map(|(minutes, dependencies, expression)| FoldRecipe { minutes, dependencies, expression })
}

fn segments(profile: Profile) -> impl Strategy<Value = Vec<Segment>> {
    (
        vec(window(profile), 1..=4),
        vec(base_recipe(profile), 1..=14),
        vec(derived_recipe(profile), 0..=6),
        vec(rules_recipe(), 0..=5),
        vec(fold_recipe(), 0..=3),
        any::<bool>(),
    )
        .prop_map(|(windows, bases, derived, rules, folds, backwards)| {
            let mut builder = Builder::default();
            for recipe in bases {
                builder.base(recipe, &windows);
            }
            for recipe in derived {
                builder.derived(recipe);
            }
            let mut json = Builder::default();
            for recipe in rules {
                json.rules(recipe);
            }
            for recipe in folds {
                json.fold(recipe);
            }
            // JSON segments may come in any order, SQL ones follow those that they read.
            if backwards {
                json.made.reverse();
            }
            let made = builder.made.into_iter().chain(json.made);
            made.map(|made| made.segment).collect()
        })
}

/// A segment, and what those derived from it must know.
struct Made {
    segment: Segment,
    /// `None` if it is joined by user, and so has no windows to compare.
    window: Option<Window>,
    rounded: bool,
}

/// Names segments and resolves the references of recipes among those already made.
#[derive(Default)]
struct Builder {
    made: Vec<Made>,
}

impl Builder {
    fn push(&mut self, prefix: &str, query: Query, options: Option<Options>, window: Option<Window>, rounded: bool) {
        let mut segment = Segment::new(format!("{prefix}_{}", self.made.len()), query);
        if let Some(options) = options {
            segment.emit = options.emit;
            segment.retain = options.retain;
        }
        self.made.push(Made { segment, window, rounded });
    }

    fn base(&mut self, recipe: BaseRecipe, windows: &[Window]) {
        let window = *recipe.window.get(windows);
        let rounded = recipe.value.as_ref().is_some_and(|v| v.any(&is_rounded));
        let base = Base { window, shorthand: recipe.shorthand, filter: recipe.filter, value: recipe.value, having: recipe.having };
        let options = Some(recipe.options);
        self.push("base", Query::Base(base), options, Some(window), rounded);
    }

    /// Up to `count` different segments that are joinable to the first; the first has a window.
    fn pick(&self, picks: &[Index], count: usize, on: On) -> Vec<&Made> {
        let mut left: Vec<&Made> = self.made.iter().collect();
        let mut picked: Vec<&Made> = Vec::new();
        for pick in &picks[..count.min(picks.len())] {
            match (on, picked.first().map(|first| first.window)) {
                (On::User, _) => {}
                (On::Window, None) => left.retain(|made| made.window.is_some()),
                (On::Window, Some(window)) => left.retain(|made| made.window == window),
            }
            if left.is_empty() {
                break;
            }
            picked.push(left.remove(pick.index(left.len())));
        }
        picked
    }

    fn derived(&mut self, (recipe, picks, options): DerivedParts) {
        let (count, on) = match &recipe {
            DerivedRecipe::Join { on, kinds, .. } => (kinds.len() + 1, *on),
            DerivedRecipe::Set { branches, .. } => (*branches, On::Window),
        };
        let picked = self.pick(&picks, count, on);
        if picked.len() < 2 {
            return;
        }
        let names: Vec<String> = picked.iter().map(|m| m.segment.name.clone()).collect();
        let rounded = picked.iter().any(|made| made.rounded);
        let window = picked[0].window.filter(|_| on == On::Window);
        let query = match recipe {
            DerivedRecipe::Set { op, with_value, .. } => Query::Set { op, branches: names, with_value },
            DerivedRecipe::Join { kinds, tests, value, .. } => Query::Join(build_join(on, &names, &kinds, &tests, value, rounded)),
        };
        self.push("derived", query, Some(options), window, rounded);
    }

    fn rules(&mut self, recipe: RulesRecipe) {
        let mut rules = recipe.rules;
        let minutes = rules[0].minutes;
        if recipe.same_window {
            rules.iter_mut().for_each(|rule| rule.minutes = minutes);
        }
        let equal = rules.iter().all(|rule| rule.minutes == minutes);
        let size = minutes * MINUTE;
        let window = equal.then_some(Window::Tumble { size });
        let api = recipe.api;
        self.push("rules", Query::Rules { rules, api }, None, window, false);
    }

    fn fold(&mut self, recipe: FoldRecipe) {
        let size = recipe.minutes * MINUTE;
        let window = Some(Window::Tumble { size });
        let mut left: Vec<&Made> = self.made.iter().filter(|m| m.window == window).collect();
        let mut dependencies = Vec::new();
        for (op, pick) in recipe.dependencies {
            if !left.is_empty() {
                let made = left.remove(pick.index(left.len()));
                dependencies.push((op, made.segment.name.clone()));
            }
        }
        if dependencies.is_empty() {
            return;
        }
        let name = |pick: &Index| pick.get(&dependencies).1.clone();
        let expression = recipe.expression.map(|e| map_leaves(&e, &name));
        // One that holds for users who are in no segment has no windows to hold in.
        let expression = expression.filter(|e| e.truth(&|_| Some(false)) == Some(false));
        let query = Query::Fold { minutes: recipe.minutes, dependencies, expression };
        self.push("fold", query, None, window, false);
    }
}

fn build_join(on: On, names: &[String], kinds: &[JoinKind], tests: &[(usize, Cmp, f64)], value: Option<ValueRecipe>, rounded: bool) -> Join {
    let rest: Vec<_> = kinds.iter().copied().zip(names[1..].iter().cloned()).collect();
    let inner = (1..=rest.len()).filter(|i| rest[i - 1].0 == JoinKind::Inner);
    let tables: Vec<usize> = std::iter::once(0).chain(inner).collect();
    let column = |i: usize| Num::Leaf(tables[i % tables.len()]);
    let off_grid = if rounded { 0.123_456_7 } else { 0.0 };
    let tests = tests.iter().map(|(i, cmp, x)| Bool::Leaf(Test::Cmp(column(*i), *cmp, Num::Lit(x + off_grid))));
    let mut tests: Vec<_> = tests.collect();
    let filter = match tests.len() {
        0 | 1 => tests.pop(),
        _ => Some(Bool::Or(tests)),
    };
    let value = value.map(|value| match value {
        ValueRecipe::Column(i) => column(i),
        ValueRecipe::Scaled(i) => Num::arith(column(i), Op::Mul, Num::Lit(0.5)),
        ValueRecipe::Pair(i, op, j) => Num::arith(column(i), op, column(j)),
    });
    Join { on, first: names[0].clone(), rest, filter, value }
}

fn map_leaves<A, B>(expression: &Bool<A>, leaf: &dyn Fn(&A) -> B) -> Bool<B> {
    let all = |xs: &[Bool<A>]| xs.iter().map(|x| map_leaves(x, leaf)).collect();
    match expression {
        Bool::Leaf(l) => Bool::Leaf(leaf(l)),
        Bool::Not(x) => Bool::Not(Box::new(map_leaves(x, leaf))),
        Bool::And(xs) => Bool::And(all(xs)),
        Bool::Or(xs) => Bool::Or(all(xs)),
    }
}

// ---------------------------------------------------------------------------------------------
// Lines
// ---------------------------------------------------------------------------------------------

/// The largest absolute time of an event.
const TIME_LIMIT: Millis = 8_640_000_000_000_000;

#[derive(Clone, Debug)]
struct EventRecipe {
    user: Index,
    event_type: String,
    /// By how much the stream advances before this event.
    step: Millis,
    /// By how much this event lags behind the stream.
    lag: Millis,
    /// Its time is a multiple of this.
    align: Millis,
    value: Option<f64>,
    session_id: Option<String>,
    metadata: Vec<(String, (&'static str, &'static str))>,
    style: u32,
}

fn event_recipe(profile: Profile) -> impl Strategy<Value = EventRecipe> {
    let step = prop_oneof![
        2 => Just(0),
        12 => 0..=4_000_i64,
        4 => 0..=15_000_i64,
        1 => 30_000..=400_000_i64,
    ];
    let lag = prop_oneof![
        12 => Just(0),
        4 => 0..=30_000_i64,
        3 => 30_000..=120_000_i64,
        1 => 0..=1_000_000_i64,
    ];
    let align = prop_oneof![3 => Just(1), 1 => Just(SECOND), 1 => Just(10 * SECOND)];
    let value = match profile {
        Profile::Extreme => prop_oneof![
            1 => grid(-10..=200),
            1 => select(EXTREME_VALUES.to_vec()),
        ]
        .boxed(),
        Profile::Ordinary | Profile::Hostile => prop_oneof![4 => grid(0..=200), 1 => grid(-50..=2)].boxed(),
    };
    let event_type = prop_oneof![
        3 => word(&EVENT_TYPES[..2]),
        1 => word(&EVENT_TYPES),
    ];
    (
        (any::<Index>(), event_type, step, lag, align),
        weighted(0.85, value),
        weighted(0.7, word(&SESSIONS)),
        vec((word(&KEYS), select(SCALARS.to_vec())), 0..=3),
        any::<u32>(),
    )
        .prop_map(|((user, event_type, step, lag, align), value, session_id, metadata, style)| EventRecipe {
            user,
            event_type,
            step,
            lag,
            align,
            value,
            session_id,
            metadata,
            style,
        })
}

#[derive(Clone, Debug)]
enum LineRecipe {
    Event(EventRecipe),
    /// The same line as an earlier one, again.
    Repeat(Index),
    Broken(EventRecipe, Breakage),
    Blank(&'static str),
}

fn line_recipe(profile: Profile) -> impl Strategy<Value = LineRecipe> {
    let (events, others) = match profile {
        Profile::Ordinary | Profile::Extreme => (60, 1),
        Profile::Hostile => (4, 1),
    };
    prop_oneof![
        events => event_recipe(profile).prop_map(LineRecipe::Event),
        others => any::<Index>().prop_map(LineRecipe::Repeat),
        2 * others => (event_recipe(profile), breakage())
            .prop_map(|(event, breakage)| LineRecipe::Broken(event, breakage)),
        others => select(vec!["", " ", "\t  ", "\r"]).prop_map(LineRecipe::Blank),
    ]
}

/// Lines of input: a stream that starts somewhere in time, rarely with a leap to the end of it.
fn lines(profile: Profile) -> impl Strategy<Value = Vec<InputLine>> {
    let start = prop_oneof![
        4 => Just(1_691_233_200_000),
        1 => Just(-90_000),
        1 => Just(-1_000_000_000_007),
        1 => Just(TIME_LIMIT - 120_000),
        1 => Just(-TIME_LIMIT),
    ];
    let leap = weighted(0.1, (any::<Index>(), select(vec![TIME_LIMIT, -TIME_LIMIT, 0])));
    (start, 1..=users().len(), vec(line_recipe(profile), 0..=160), leap).prop_map(|(start, user_count, recipes, leap)| {
        let users = &users()[..user_count];
        let mut now = start;
        let mut lines: Vec<InputLine> = Vec::new();
        let leap = leap.map(|(at, time)| (at.index(recipes.len() + 1), time));
        for (i, recipe) in recipes.into_iter().enumerate() {
            let time = leap.filter(|(at, _)| *at == i).map(|(_, time)| time);
            lines.extend(match recipe {
                LineRecipe::Event(recipe) => {
                    let event = build_event(&recipe, users, &mut now, time);
                    Some(event_line(event, &recipe))
                }
                LineRecipe::Repeat(pick) => (!lines.is_empty()).then(|| pick.get(&lines).clone()),
                LineRecipe::Broken(recipe, breakage) => {
                    let event = build_event(&recipe, users, &mut now, None);
                    Some(broken_line(&event, &recipe, &breakage))
                }
                LineRecipe::Blank(space) => Some(InputLine { bytes: space.into(), content: Content::Blank }),
            });
        }
        lines
    })
}

/// The recipe's event; `time` replaces the time that it would have.
fn build_event(recipe: &EventRecipe, users: &[String], now: &mut Millis, time: Option<Millis>) -> Event {
    *now += recipe.step;
    let own = (*now - recipe.lag).div_euclid(recipe.align) * recipe.align;
    let metadata = recipe.metadata.iter();
    Event {
        user_id: recipe.user.get(users).clone(),
        event_type: recipe.event_type.clone(),
        time: time.unwrap_or(own).clamp(-TIME_LIMIT, TIME_LIMIT),
        value: recipe.value,
        session_id: recipe.session_id.clone(),
        metadata: metadata.map(|(key, (text, _))| (key.clone(), (*text).to_owned())).collect::<BTreeMap<_, _>>(),
    }
}

fn event_line(event: Event, recipe: &EventRecipe) -> InputLine {
    let fields = fields(&event, recipe);
    InputLine { bytes: object(&fields, recipe.style).into_bytes(), content: Content::Event(event) }
}

/// A name and the JSON text of its value.
type Field = (&'static str, String);

/// The fields of the event, with the quirks that the style asks for, none of which matter.
fn fields(event: &Event, recipe: &EventRecipe) -> Vec<Field> {
    let style = |bit: u32| recipe.style >> bit & 1 == 1;
    let rarely = |bits: u32| recipe.style >> bits & 7 == 0;
    let mut fields: Vec<Field> =
        vec![("userId", string(&event.user_id, style(0))), ("eventType", string(&event.event_type, style(1))), ("timestamp", event.time.to_string())];
    match event.value {
        Some(x) if style(2) && x.fract() == 0.0 && x.abs() < 1e9 && x.is_sign_positive() => {
            fields.push(("value", format!("{x:.0}")));
        }
        Some(x) => fields.push(("value", format!("{x:?}"))),
        None if style(2) => fields.push(("value", "null".to_owned())),
        None => {}
    }
    match &event.session_id {
        Some(session) => fields.push(("sessionId", string(session, style(3)))),
        None if style(3) => fields.push(("sessionId", "null".to_owned())),
        None => {}
    }
    // With its duplicate keys: the last one counts.
    let metadata: Vec<_> = recipe.metadata.iter().map(|(key, (_, json))| format!("{}:{json}", string(key, style(4)))).collect();
    match metadata.is_empty() {
        false => fields.push(("metadata", format!("{{{}}}", metadata.join(",")))),
        true if style(4) => fields.push(("metadata", "null".to_owned())),
        true => {}
    }
    let turn = (recipe.style >> 5) as usize % fields.len();
    fields.rotate_left(turn);
    if rarely(8) {
        let unknown = r#"[{"userId":"not me","a":[1,2.5e-3,"\\\"]}"]},false]"#;
        fields.insert(turn.min(2), ("extra", unknown.to_owned()));
    }
    if rarely(11) {
        fields.insert(0, ("userId", r#""overwritten""#.to_owned()));
    }
    if rarely(14) {
        fields.insert(0, ("timestamp", "null".to_owned()));
    }
    if rarely(17) && event.value.is_some() {
        fields.insert(0, ("value", r#""overwritten""#.to_owned()));
    }
    fields
}

fn object(fields: &[Field], style: u32) -> String {
    let (before, colon, comma) = match style >> 20 & 3 {
        0 => (" ", " : ", " ,\t"),
        1 => ("", ": ", ", "),
        _ => ("", ":", ","),
    };
    let fields: Vec<_> = fields.iter().map(|(name, json)| format!("\"{name}\"{colon}{json}")).collect();
    let after = if style >> 22 & 15 == 0 { "\r" } else { before };
    format!("{before}{{{}}}{after}", fields.join(comma))
}

/// A JSON string; `escaped` writes every character as \u escapes.
fn string(text: &str, escaped: bool) -> String {
    if !escaped || text.len() > 100 {
        return serde_json::to_string(text).expect("a string");
    }
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
    format!("\"{}\"", units.collect::<String>())
}

// ---------------------------------------------------------------------------------------------
// Dead letters
// ---------------------------------------------------------------------------------------------

/// A field that breaks a rule: the reason, the field, and its text (`None`: it is left out).
type Defect = (&'static str, &'static str, Option<String>);

/// Defects in the order in which they are reported.
fn defects() -> Vec<Defect> {
    let table: [(&str, &str, &[&str]); 12] = [
        ("missing_user_id", "userId", &["null"]),
        ("invalid_user_id", "userId", &["5", "true", "{}", r#"["u"]"#]),
        ("empty_user_id", "userId", &[r#""""#]),
        ("user_id_too_long", "userId", &[]),
        ("missing_event_type", "eventType", &["null"]),
        ("invalid_event_type", "eventType", &["7", "false", "[]"]),
        ("empty_event_type", "eventType", &[r#""""#]),
        ("missing_timestamp", "timestamp", &["null"]),
        (
            "invalid_timestamp",
            "timestamp",
            &["1.0", "1e3", r#""1691233200000""#, "true", "{}", "8640000000000001", "-8640000000000001", "99999999999999999999"],
        ),
        ("invalid_value", "value", &[r#""3""#, "true", "{}", "[1]", "1e999", "-1e999"]),
        ("invalid_session_id", "sessionId", &["5", "true", "{}", "[]"]),
        ("invalid_metadata", "metadata", &[r#""x""#, "5", "true", "[]"]),
    ];
    let mut defects: Vec<Defect> = Vec::new();
    for (reason, field, texts) in table {
        if reason.starts_with("missing") {
            defects.push((reason, field, None));
        }
        if reason == "user_id_too_long" {
            defects.push((reason, field, Some(format!("\"{}\"", "x".repeat(257)))));
            defects.push((reason, field, Some(format!("\"{}\"", "é".repeat(129)))));
        }
        let texts = texts.iter().map(|t| (reason, field, Some((*t).to_owned())));
        defects.extend(texts);
    }
    defects
}

#[derive(Clone, Debug)]
enum Breakage {
    /// Positions in [`defects`].
    Fields(Vec<usize>),
    /// A valid object, but for the text that takes the place of its last brace.
    End(&'static str, &'static str),
    /// Another line altogether.
    Line(&'static str, Vec<u8>),
}

fn breakage() -> impl Strategy<Value = Breakage> {
    let not_json_ends = [
        "",
        ",}",
        "}}",
        "} x",
        r#","x":01}"#,
        r#","x":tru}"#,
        r#","x":NaN}"#,
        r#","x":.5}"#,
        r#","x":+1}"#,
        r#","x":1.}"#,
        r#","x" 1}"#,
        r#","x":"\q"}"#,
        ",\"x\":\"\u{1}\"}",
        r#","x":[1,]}"#,
        r#",x:1}"#,
        r#","x":'1'}"#,
    ];
    let not_json = ["{", "nul", "{'userId':'u'}", "userId=u", "}", "\"u"];
    let not_object = ["[]", "[{}]", r#""text""#, "17", "null", "true", " -1.5e3 "];
    let deep_array = "[".repeat(200) + &"]".repeat(200);
    let deep_object = r#"{"a":"#.repeat(200) + "1" + &"}".repeat(200);
    let other_lines = [deep_array.into_bytes(), deep_object.into_bytes()]
        .map(|bytes| ("too_deep", bytes))
        .into_iter()
        .chain(not_json.map(|text| ("not_json", text.into())))
        .chain(not_object.map(|text| ("not_object", text.into())))
        .chain([
            ("not_utf8", b"\xff\xfe".to_vec()),
            ("not_utf8", b"{\"userId\":\"\xc3\"}".to_vec()),
            ("not_utf8", b"{\"userId\":\"u\",\"x\":\"\xf0\x9f\"}".to_vec()),
        ]);
    let other_lines: Vec<(&'static str, Vec<u8>)> = other_lines.collect();
    prop_oneof![
        6 => vec(0..defects().len(), 1..=3).prop_map(Breakage::Fields),
        3 => select(not_json_ends.to_vec()).prop_map(|end| Breakage::End("not_json", end)),
        1 => Just(Breakage::End("too_deep", TOO_DEEP)),
        3 => select(other_lines).prop_map(|(reason, bytes)| Breakage::Line(reason, bytes)),
    ]
}

/// Ends an object with a field that is nested too deeply.
const TOO_DEEP: &str = "too deep";

fn broken_line(event: &Event, recipe: &EventRecipe, breakage: &Breakage) -> InputLine {
    let mut fields = fields(event, recipe);
    let (reason, bytes) = match breakage {
        Breakage::Line(reason, bytes) => (*reason, bytes.clone()),
        Breakage::End(reason, end) => {
            let line = object(&fields, 0xff << 20);
            let line = line.strip_suffix('}').expect("an object").to_owned();
            let deep = format!(r#","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
            let end = if *end == TOO_DEEP { &deep } else { *end };
            (*reason, (line + end).into_bytes())
        }
        Breakage::Fields(picks) => {
            let all = defects();
            // One defect a field: the first in the order of reports.
            let mut picks = picks.clone();
            picks.sort_unstable();
            picks.dedup_by_key(|pick| all[*pick].1);
            for pick in &picks {
                let (_, name, text) = &all[*pick];
                fields.retain(|(field, _)| field != name);
                fields.extend(text.clone().map(|text| (*name, text)));
            }
            let line = object(&fields, recipe.style);
            (all[picks[0]].0, line.into_bytes())
        }
    };
    InputLine { bytes, content: Content::Broken(reason) }
}
