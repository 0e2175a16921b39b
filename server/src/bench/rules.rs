//! Classic rules: one threshold on a count or a sum of one type of event in tumbling windows.
//!
//! [`ClassicRule`] is the SegmentRule JSON; the scenario `classic-rules` writes lists of it and the
//! yardsticks read them.

use serde::{Deserialize, Serialize};

/// How far a sum may be from the threshold of `EQ` and still equal it.
const SUM_TOLERANCE: f64 = 0.001;

/// What a rule compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attribute {
    /// The number of events.
    Count,
    /// The sum of their values.
    Sum,
}

/// How a rule compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operator {
    /// More than the threshold.
    Gt,
    /// At least the threshold.
    Gte,
    /// Less than the threshold.
    Lt,
    /// At most the threshold.
    Lte,
    /// The threshold; of a sum, to within 0.001.
    Eq,
    /// Not that.
    Neq,
}

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 6] = [Self::Gt, Self::Gte, Self::Lt, Self::Lte, Self::Eq, Self::Neq];

    /// Whether the rule emits as soon as it holds (EMIT CHANGES), as more events can't undo it.
    pub const fn is_lower_bound(self) -> bool {
        matches!(self, Self::Gt | Self::Gte)
    }
}

/// A SegmentRule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassicRule {
    /// The rule's id.
    pub id: String,
    /// The id of its segment.
    pub segment_id: String,
    /// The type of the events it reads.
    pub event_type: String,
    /// What it compares.
    pub attribute: Attribute,
    /// How.
    pub operator: Operator,
    /// With what.
    pub threshold: f64,
    /// The size of its tumbling window, in minutes.
    pub window_minutes: u32,
}

impl ClassicRule {
    /// The size of the window, in milliseconds.
    pub const fn window_ms(&self) -> i64 {
        self.window_minutes as i64 * 60_000
    }

    /// Whether a group of events qualifies.
    #[inline]
    pub fn holds(&self, count: u32, sum: f64) -> bool {
        let (value, tolerance) = match self.attribute {
            Attribute::Count => (f64::from(count), 0.0),
            Attribute::Sum => (sum, SUM_TOLERANCE),
        };
        match self.operator {
            Operator::Gt => value > self.threshold,
            Operator::Gte => value >= self.threshold,
            Operator::Lt => value < self.threshold,
            Operator::Lte => value <= self.threshold,
            Operator::Eq => (value - self.threshold).abs() <= tolerance,
            Operator::Neq => (value - self.threshold).abs() > tolerance,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn json_is_that_of_segment_rules() {
        let text = r#"{"id":"rule_0","segmentId":"segment_0","eventType":"view","attribute":"sum","operator":"GTE","threshold":1036.3,"windowMinutes":5}"#;
        let rule: ClassicRule = serde_json::from_str(text).unwrap();
        assert_eq!((rule.operator, rule.attribute), (Operator::Gte, Attribute::Sum));
        assert_eq!(rule.window_ms(), 300_000);
        assert_eq!(serde_json::to_string(&rule).unwrap(), text);
    }

    #[test]
    fn sums_are_equal_within_a_tolerance() {
        let rule = |operator, attribute| ClassicRule {
            id: String::new(),
            segment_id: String::new(),
            event_type: String::new(),
            attribute,
            operator,
            threshold: 2.0,
            window_minutes: 5,
        };
        assert!(rule(Operator::Eq, Attribute::Sum).holds(9, 2.0009));
        assert!(!rule(Operator::Neq, Attribute::Sum).holds(9, 2.0009));
        assert!(!rule(Operator::Eq, Attribute::Sum).holds(2, 2.0011));
        assert!(rule(Operator::Eq, Attribute::Count).holds(2, 0.0));
        assert!(rule(Operator::Lte, Attribute::Count).holds(2, 0.0));
        assert!(!rule(Operator::Gt, Attribute::Count).holds(2, 0.0));
    }
}
