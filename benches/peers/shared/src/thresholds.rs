use anyhow::{Result, bail};
use serde::Deserialize;

/// How far a sum may be from the threshold of EQ and still equal it.
const SUM_TOLERANCE: f64 = 0.001;

/// A SegmentRule, as in the JSON that Cohort reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    pub id: String,
    pub event_type: String,
    pub attribute: String,
    pub operator: String,
    pub threshold: f64,
    pub window_minutes: i64,
}

/// The rules on one value, so that those which hold are found without looking at the others.
#[derive(Default)]
pub struct Thresholds {
    /// Hold from a value on. The smallest comes first.
    lower: Vec<(f64, u32)>,
    /// Hold up to a value. The largest comes first.
    upper: Vec<(f64, u32)>,
    /// Hold from one value to another. The smallest comes first.
    equal: Vec<(f64, f64, u32)>,
}

impl Thresholds {
    /// Rules with the numbers that they are told by.
    pub fn new(rules: &[(u32, &Rule)]) -> Result<Self> {
        let mut some = Self::default();
        for &(number, rule) in rules {
            let threshold = rule.threshold;
            let tolerance = if rule.attribute == "sum" { SUM_TOLERANCE } else { 0.0 };
            match rule.operator.as_str() {
                "GT" => some.lower.push((threshold.next_up(), number)),
                "GTE" => some.lower.push((threshold, number)),
                "LT" => some.upper.push((threshold.next_down(), number)),
                "LTE" => some.upper.push((threshold, number)),
                "EQ" => some.equal.push((threshold - tolerance, threshold + tolerance, number)),
                "NEQ" => {
                    some.lower.push(((threshold + tolerance).next_up(), number));
                    some.upper.push(((threshold - tolerance).next_down(), number));
                }
                other => bail!("rule {} has an unknown operator: {other}", rule.id),
            }
        }
        some.lower.sort_by(|one, other| one.0.total_cmp(&other.0));
        some.upper.sort_by(|one, other| other.0.total_cmp(&one.0));
        some.equal.sort_by(|one, other| one.0.total_cmp(&other.0));
        Ok(some)
    }

    pub fn is_empty(&self) -> bool {
        self.lower.is_empty() && self.upper.is_empty() && self.equal.is_empty()
    }

    /// The rules that hold for a value.
    pub fn holding(&self, value: f64) -> impl Iterator<Item = u32> {
        let lower = self.lower.iter().take_while(move |&&(low, _)| low <= value).map(|&(_, rule)| rule);
        let upper = self.upper.iter().take_while(move |&&(high, _)| high >= value).map(|&(_, rule)| rule);
        let first = self.equal.partition_point(|&(low, _, _)| low < value - 2.0 * SUM_TOLERANCE);
        let near = self.equal[first..].iter().take_while(move |&&(low, _, _)| low <= value);
        let equal = near.filter(move |&&(_, high, _)| value <= high).map(|&(_, _, rule)| rule);
        lower.chain(upper).chain(equal)
    }
}
