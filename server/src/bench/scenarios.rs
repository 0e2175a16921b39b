//! The named workloads of `cohort bench`: segments and the events they are run over.
//!
//! [`build`] gives, for a number of rules *R*, users and events, the segments as text and the
//! configuration of the generator. The thresholds come from the tails of the distributions that
//! those very events have, so that the number of results doesn't depend on *R*: about one result
//! row per event in total, *N / R* per rule. What a row is, see [`super::calibrate`].
//!
//! How the thresholds are found: the events are generated once, as numbers, and folded into groups
//! of user and window. Each rule in turn asks the distribution of its groups for the threshold that
//! gives its share of the rows still to be had, times a factor of 1/4 to 5/2 (average 1) so that
//! rules on the same aggregate differ. What one rule can't take, as its groups are too few or its
//! values too coarse, is left to the next ones; so the least adaptable rules come first.
//!
//! - `classic-rules`: SegmentRules over all of event type × count|sum × six operators × 5, 30 and
//!   60 minutes, without sums over installs, which are always zero. Some rules can't be rare: NEQ
//!   holds for nearly every group, and LT and LTE on a count hold either for every user with a
//!   single event or for nobody. When the least that such a rule gives is more than twice its share
//!   it is *heavy*; heavy rules together get a fifth of the rows, the other combinations take the
//!   place of those that do not fit.
//!   With large *R* there are more rules than distinct counts: thresholds on counts then repeat,
//!   those on sums get dense. Sums are compared half a cent off the values there are, except by EQ
//!   and NEQ, so that no result depends on how a sum was rounded.
//! - `metadata-rules`: conditions on the type and the metadata, mostly equality; with *R* = 10,000
//!   there are thousands of distinct ones. Below 50 rules all are on two large categories each, as
//!   narrower ones have too few events.
//! - `derived-rules`: *R* segments by JOIN, UNION and LEFT ANTI JOIN on the same window, over
//!   *R* / 10 base segments (at least 2); every fifth reads another derived one.
//! - `hop`: HOP of 60 minutes by 5. `long-hop`: 30 days by 1 hour, over 32 days. `tumble`: the
//!   same rules as `long-hop`, each in 5 minutes, over the same events; give both the same
//!   [`Params::span_ms`] to compare them over another span.
//! - `session`: SESSION with a gap of 5 minutes. `distinct`: count(DISTINCT productId).
//!
//! In `long-hop` a user who qualifies does so in some 720 windows at once, over 1,400 rows: with
//! large *R* most rules have no results and a few have one or two users.
//!
//! Events get denser neither with *N* nor with *R*: the span grows with *N* beyond 3 hours, so that
//! the cost of an event and the state don't depend on how long a benchmark runs. Beyond
//! [`SAMPLE`] events thresholds come from the first of them, which the constant density allows;
//! only `long-hop`, whose windows need 30 days, reads all. Calibration needs some 100 to 300 bytes
//! of memory for each event it reads: where peak memory is measured, do it in another process.

mod classic;
mod derived;
mod segments;

use anyhow::{Result, bail};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::calibrate::{Measure, Pick, Table, Window};
use crate::generate::GeneratorConfig;
use classic::classic;
use derived::derived;
use segments::{distinct_query, metadata_query, simple, sql};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The sizes of tumbling windows, in milliseconds.
const SIZES: [i64; 3] = [5 * MINUTE, 30 * MINUTE, 60 * MINUTE];

/// The largest number of events that thresholds are taken from.
pub const SAMPLE: u64 = 2_000_000;

/// A scenario's name and what it is about.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The name, as on the command line.
    pub name: &'static str,
    /// One line for `--list`.
    pub about: &'static str,
    build: fn(&Params) -> Result<Workload>,
}

/// Every scenario.
pub const SCENARIOS: [Scenario; 8] = [
    Scenario { name: "classic-rules", about: "event type x count|sum x six operators x 5, 30, 60 minutes, as JSON rules", build: classic },
    Scenario {
        name: "metadata-rules",
        about: "conditions on event type and metadata, mostly equality",
        build: |params| {
            let query = |index, rng: &mut _| metadata_query(params.rules, index, rng);
            Ok(sql(params, mixed(params), query))
        },
    },
    Scenario {
        name: "derived-rules",
        about: "JOIN, UNION and LEFT ANTI JOIN on the same window, over R/10 base segments",
        build: |params| Ok(derived(params)),
    },
    Scenario {
        name: "hop",
        about: "HOP of 60 minutes by 5 minutes",
        build: |params| {
            let window = Window::Hop { slide: 5 * MINUTE, size: HOUR };
            Ok(sql(params, mixed(params), |index, _| simple(index, window)))
        },
    },
    Scenario {
        name: "long-hop",
        about: "HOP of 30 days by 1 hour",
        build: |params| {
            let window = Window::Hop { slide: HOUR, size: 30 * DAY };
            Ok(sql(params, long(params), |index, _| simple(index, window)))
        },
    },
    Scenario {
        name: "tumble",
        about: "the events and aggregates of long-hop in windows of 5 minutes",
        build: |params| {
            let window = Window::Tumble(5 * MINUTE);
            Ok(sql(params, long(params), |index, _| simple(index, window)))
        },
    },
    Scenario {
        name: "session",
        about: "SESSION with a gap of 5 minutes",
        build: |params| {
            let window = Window::Session(5 * MINUTE);
            Ok(sql(params, mixed(params), |index, _| simple(index, window)))
        },
    },
    Scenario { name: "distinct", about: "count(DISTINCT productId) in 5, 30, 60 minutes", build: |params| Ok(sql(params, mixed(params), distinct_query)) },
];

/// How large a workload to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Number of rules (for `derived-rules`: of derived segments).
    pub rules: usize,
    /// Number of events.
    pub events: u64,
    /// Number of users.
    pub users: u64,
    /// The seed of events and rules.
    pub seed: u64,
    /// The span of the events in milliseconds, instead of the scenario's own.
    pub span_ms: Option<i64>,
}

impl Default for Params {
    fn default() -> Self {
        Self { rules: 100, events: 1_000_000, users: 10_000, seed: 1, span_ms: None }
    }
}

/// What a workload's segments are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CREATE SEGMENT statements.
    Sql,
    /// A list of SegmentRules.
    Json,
}

/// Segments and the events they are run over.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What the segments are written in.
    pub kind: Kind,
    /// The segments.
    pub text: String,
    /// Number of segments in the text.
    pub segments: usize,
    /// The events.
    pub generator: GeneratorConfig,
    /// Result rows to expect, exits included.
    pub expected_results: u64,
}

/// Builds a scenario.
///
/// # Errors
/// When there is no scenario of that name.
pub fn build(name: &str, params: &Params) -> Result<Workload> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let Some(scenario) = found else {
        let names = SCENARIOS.map(|scenario| scenario.name).join(", ");
        bail!("unknown scenario '{name}': expected one of {names}");
    };
    (scenario.build)(params)
}

// ---- events -----------------------------------------------------------------------------------

/// Events of all kinds over 3 hours or, when they are more than a million, proportionally longer.
fn mixed(params: &Params) -> GeneratorConfig {
    let events = i64::try_from(params.events).unwrap_or(i64::MAX);
    let span = (3 * HOUR).max((events / 1_000).saturating_mul(3 * HOUR / 1_000));
    GeneratorConfig { events: params.events, users: params.users, seed: params.seed, span_ms: params.span_ms.unwrap_or(span), ..GeneratorConfig::default() }
}

/// Events over 32 days, so that windows of 30 days also end.
fn long(params: &Params) -> GeneratorConfig {
    GeneratorConfig { span_ms: params.span_ms.unwrap_or(32 * DAY), ..mixed(params) }
}

/// The numbers that rules are drawn with, apart from those of the events.
fn rule_numbers(params: &Params) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(params.seed ^ 0x7275_6c65)
}

fn table(config: &GeneratorConfig, window: Option<Window>) -> Table {
    let limit = match window {
        // The panes of 30 days are needed whole.
        Some(Window::Hop { size, .. }) if size > DAY => u64::MAX,
        _ => SAMPLE,
    };
    Table::generate(config, limit)
}

// ---- sharing out the rows ---------------------------------------------------------------------

/// The result rows that rules still have to give.
struct Budget {
    rows: f64,
    rules: usize,
    /// Rows of the whole stream for each one counted.
    scale: f64,
    rng: ChaCha8Rng,
    given: f64,
}

impl Budget {
    fn new(params: &Params, scale: f64) -> Self {
        Self { rows: params.events as f64 / scale, rules: params.rules, scale, rng: rule_numbers(params), given: 0.0 }
    }

    /// The rows that the next rule should give.
    fn target(&mut self) -> f64 {
        let share = (self.rows / self.rules.max(1) as f64).max(0.0);
        if self.rules > 1 { share * self.factor() } else { share }
    }

    /// A factor of 1/4 to 5/2, 0.98 on average.
    fn factor(&mut self) -> f64 {
        0.25 * 10_f64.powf(self.rng.random())
    }

    fn spend(&mut self, rows: u64) {
        self.rows -= rows as f64;
        self.rules = self.rules.saturating_sub(1);
        self.given += rows as f64;
    }

    /// One of the thresholds that give the same rows.
    fn any_of(&mut self, pick: Pick) -> i64 {
        self.rng.random_range(pick.least..=pick.most.max(pick.least))
    }

    fn expected_results(&self) -> u64 {
        (self.given * self.scale).round() as u64
    }
}

/// The threshold of "more than" that lies above `value` and below any larger one.
fn above(measure: Measure, value: i64) -> f64 {
    match measure {
        Measure::Count | Measure::Products => value as f64,
        Measure::Sum => (value as f64 + 0.5) / 100.0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::derived::Combine;
    use super::*;
    use crate::bench::rules::ClassicRule;
    use crate::bench::yardsticks::{floor, naive};
    use crate::generate::Generator;

    fn params(rules: usize, events: u64) -> Params {
        Params { rules, events, ..Params::default() }
    }

    fn lines(config: &GeneratorConfig) -> Vec<u8> {
        let (mut generator, mut out) = (Generator::new(config.clone()), Vec::new());
        while generator.write_event(&mut out) {}
        out
    }

    fn classic_rules(params: &Params) -> (Workload, Vec<ClassicRule>) {
        let workload = build("classic-rules", params).unwrap();
        assert_eq!(workload.kind, Kind::Json);
        let rules = serde_json::from_str(&workload.text).unwrap();
        (workload, rules)
    }

    #[test]
    fn classic_rules_give_about_one_result_per_event() {
        for rules in [10, 100, 1_000, 10_000] {
            let (workload, list) = classic_rules(&params(rules, 200_000));
            assert_eq!((list.len(), workload.segments), (rules, rules));
            let found = floor(&lines(&workload.generator), &list).unwrap();
            let per_event = found.results() as f64 / found.events as f64;
            assert!((0.5..2.0).contains(&per_event), "{rules}: {per_event}");
            let error = workload.expected_results as f64 / found.results() as f64;
            assert!((0.9..1.1).contains(&error), "{rules}: {workload:?} {found:?}");
        }
    }

    #[test]
    fn both_yardsticks_find_the_same() {
        for (rules, events) in [(10, 50_000), (100, 50_000), (1_000, 10_000)] {
            let mut params = params(rules, events);
            params.users = 500;
            let (workload, list) = classic_rules(&params);
            let lines = lines(&workload.generator);
            let found = floor(&lines, &list).unwrap();
            assert_eq!(found, naive(&lines, &list).unwrap());
            assert!(found.crossings > 0 && found.finals > 0 && found.exits > 0);
        }
    }

    #[test]
    fn classic_rules_are_of_all_combinations() {
        let (_, list) = classic_rules(&params(1_000, 200_000));
        let of = |key: fn(&ClassicRule) -> String| {
            let keys: BTreeSet<String> = list.iter().map(key).collect();
            keys.len()
        };
        assert_eq!(of(|rule| rule.event_type.clone()), 3);
        assert_eq!(of(|rule| format!("{:?}", rule.attribute)), 2);
        assert_eq!(of(|rule| format!("{:?}", rule.operator)), 6);
        assert_eq!(of(|rule| rule.window_minutes.to_string()), 3);
        assert!(of(|rule| rule.threshold.to_string()) > 500);
    }

    #[test]
    fn every_scenario_has_its_rows_and_its_segments() {
        for scenario in &SCENARIOS {
            for rules in [10, 300] {
                let workload = build(scenario.name, &params(rules, 40_000)).unwrap();
                let per_event = workload.expected_results as f64 / 40_000.0;
                let name = scenario.name;
                assert!((0.5..2.0).contains(&per_event), "{name} {rules}: {per_event}");
                if workload.kind == Kind::Sql {
                    let statements = workload.text.matches("CREATE SEGMENT ").count();
                    assert_eq!(statements, workload.segments, "{name}");
                }
                assert!(workload.segments >= rules);
                assert_eq!(workload.generator.events, 40_000);
            }
        }
    }

    #[test]
    fn scenarios_are_the_same_for_a_seed() {
        for scenario in &SCENARIOS {
            let text = |params: &Params| build(scenario.name, params).unwrap().text;
            let small = params(50, 20_000);
            assert_eq!(text(&small), text(&small), "{}", scenario.name);
        }
        assert!(build("clasic-rules", &Params::default()).is_err());
    }

    #[test]
    fn hardly_any_events_or_rules_are_no_problem() {
        for scenario in &SCENARIOS {
            for (rules, events) in [(0, 0), (0, 100), (3, 0), (1, 1), (40, 10)] {
                let workload = build(scenario.name, &params(rules, events)).unwrap();
                assert!(workload.segments >= rules, "{}", scenario.name);
            }
        }
    }

    #[test]
    fn large_workloads_of_metadata_have_many_filters() {
        let text = build("metadata-rules", &params(10_000, 100_000)).unwrap().text;
        let filters: BTreeSet<&str> = text.lines().filter(|line| line.starts_with("WHERE")).collect();
        assert!(filters.len() > 2_000, "{}", filters.len());
    }

    #[test]
    fn statements_read_like_hand_written_ones() {
        let mut text = String::new();
        metadata_query(100, 0, &mut rule_numbers(&Params::default())).write(&mut text, "s", 1, 9_950);
        simple(0, Window::Session(5 * MINUTE)).write(&mut text, "t", 0, 12_345);
        Combine::AntiJoin.write(&mut text, "u", "s", "t");
        let expected = "\
CREATE SEGMENT s AS
SELECT user_id, sum(value) AS value
FROM TUMBLE(events, event_time, INTERVAL '60 minutes')
WHERE event_type = 'view' AND metadata['productId'] = 'prod_1660'
GROUP BY user_id, window_start, window_end
HAVING sum(value) >= 99.505;

CREATE SEGMENT t AS
SELECT user_id, sum(value) AS value
FROM SESSION(events, event_time, INTERVAL '5 minutes')
WHERE event_type = 'purchase'
GROUP BY user_id, window_start, window_end
HAVING sum(value) > 123.455;

CREATE SEGMENT u AS
SELECT a.user_id, a.value
FROM s a LEFT ANTI JOIN t b USING (user_id, window_start, window_end)
EMIT FINAL;

";
        assert_eq!(text, expected);
    }
}
