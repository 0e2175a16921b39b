//! Window kinds: their arithmetic, and how they are written in SQL.
//!
//! Windows are `[start, end)`, aligned to the epoch, with times in milliseconds. Aligned windows (all but
//! sessions) are unions of *panes* of one width, so that an event updates one pane however many windows
//! overlap it (Li et al., "No pane, no gain", SIGMOD Record 2005).

use std::fmt;

/// Shortest window, in milliseconds.
pub const MIN_WINDOW_MS: i64 = 1_000;
/// Most windows that an event can be in.
pub const MAX_OVERLAP: i64 = 100_000;
/// Longest window, in milliseconds.
pub const MAX_WINDOW_MS: i64 = 30 * 86_400_000;

/// A window kind with its sizes in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WindowSpec {
    /// Windows side by side.
    Tumble {
        /// Length.
        size: i64,
    },
    /// Windows of `size` that start every `slide`.
    Hop {
        /// Distance between starts.
        slide: i64,
        /// Length.
        size: i64,
    },
    /// Windows that start every `size` and end at each `step` within it.
    Cumulate {
        /// Distance between ends.
        step: i64,
        /// Greatest length.
        size: i64,
    },
    /// A user's events less than `gap` apart.
    Session {
        /// Silence that ends a session.
        gap: i64,
    },
}

impl WindowSpec {
    /// The greatest length of a window; the gap of a session.
    pub fn size(self) -> i64 {
        match self {
            WindowSpec::Tumble { size } | WindowSpec::Hop { size, .. } | WindowSpec::Cumulate { size, .. } => size,
            WindowSpec::Session { gap } => gap,
        }
    }

    /// Distance between the ends of successive windows; how long membership lasts after a window's end.
    pub fn step(self) -> i64 {
        match self {
            WindowSpec::Tumble { size } => size,
            WindowSpec::Hop { slide, .. } => slide,
            WindowSpec::Cumulate { step, .. } => step,
            WindowSpec::Session { gap } => gap,
        }
    }

    /// Width of the panes that all windows are unions of; 0 for sessions.
    pub fn pane(self) -> i64 {
        match self {
            WindowSpec::Tumble { size } => size,
            WindowSpec::Hop { slide, size } => gcd(slide, size),
            WindowSpec::Cumulate { step, .. } => step,
            WindowSpec::Session { .. } => 0,
        }
    }

    /// The end of the first window that ends after `time` (for a hop whose slide exceeds its size, the
    /// window need not contain `time`).
    pub fn next_end(self, time: i64) -> i64 {
        match self {
            WindowSpec::Tumble { size } => floor(time, size) + size,
            // Ends are at j * slide + size.
            WindowSpec::Hop { slide, size } => floor(time - size, slide) + slide + size,
            WindowSpec::Cumulate { step, .. } => floor(time, step) + step,
            WindowSpec::Session { gap } => time + gap,
        }
    }

    /// The start of the window that ends at `end`.
    pub fn start_of(self, end: i64) -> i64 {
        match self {
            WindowSpec::Tumble { size } | WindowSpec::Hop { size, .. } => end - size,
            WindowSpec::Cumulate { size, .. } => floor(end - 1, size),
            WindowSpec::Session { gap } => end - gap,
        }
    }

    /// The end of the last window that contains `time`.
    pub fn last_end(self, time: i64) -> i64 {
        match self {
            WindowSpec::Tumble { size } | WindowSpec::Cumulate { size, .. } => floor(time, size) + size,
            WindowSpec::Hop { slide, size } => floor(time, slide) + size,
            WindowSpec::Session { gap } => time + gap,
        }
    }

    /// What is wrong with the sizes, if anything.
    pub fn problem(self) -> Option<String> {
        let in_range = |name: &str, ms: i64| {
            (!(MIN_WINDOW_MS..=MAX_WINDOW_MS).contains(&ms)).then(|| format!("the {name} of a window is from 1 second to 30 days, not {}", Millis(ms)))
        };
        match self {
            WindowSpec::Tumble { size } => in_range("size", size),
            WindowSpec::Session { gap } => in_range("gap", gap),
            WindowSpec::Hop { slide, size } => in_range("slide", slide).or(in_range("size", size)).or_else(|| {
                let windows = size / slide;
                if windows > MAX_OVERLAP {
                    return Some(format!("each event would be in {windows} windows; {MAX_OVERLAP} are possible: choose a longer slide"));
                }
                (slide > size)
                    .then(|| format!("the slide ({}) must not exceed the size ({}), or events between windows would be lost", Millis(slide), Millis(size)))
            }),
            WindowSpec::Cumulate { step, size } => in_range("step", step)
                .or(in_range("size", size))
                .or_else(|| (size % step != 0).then(|| format!("the size ({}) must be a multiple of the step ({})", Millis(size), Millis(step)))),
        }
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            WindowSpec::Tumble { size } => write!(f, "TUMBLE {}", Millis(size)),
            WindowSpec::Hop { slide, size } => write!(f, "HOP {} by {}", Millis(size), Millis(slide)),
            WindowSpec::Cumulate { step, size } => write!(f, "CUMULATE {} by {}", Millis(size), Millis(step)),
            WindowSpec::Session { gap } => write!(f, "SESSION gap {}", Millis(gap)),
        }
    }
}

/// Milliseconds, shown in the largest unit that is exact.
pub struct Millis(pub i64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (ms, unit) in [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")] {
            if self.0 != 0 && self.0 % ms == 0 {
                let n = self.0 / ms;
                return write!(f, "{n} {unit}{}", if n == 1 { "" } else { "s" });
            }
        }
        write!(f, "{} ms", self.0)
    }
}

/// Parses a duration such as `5m`, `1 hour` or `2 days 3 hours` into milliseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let mut total = 0i64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?.trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match rest.get(..letters)?.to_ascii_lowercase().as_str() {
            "ms" | "millisecond" | "milliseconds" => 1.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1e3,
            "m" | "min" | "mins" | "minute" | "minutes" => 60e3,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600e3,
            "d" | "day" | "days" => 86_400e3,
            "w" | "week" | "weeks" => 604_800e3,
            _ => return None,
        };
        let ms = number * unit;
        if !ms.is_finite() || ms > 1e15 {
            return None;
        }
        total += ms as i64;
        rest = rest.get(letters..)?.trim_start();
    }
    Some(total)
}

/// The greatest multiple of `unit` that is not above `time`.
#[inline]
pub fn floor(time: i64, unit: i64) -> i64 {
    time.div_euclid(unit) * unit
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_starts_agree_far_from_the_epoch() {
        let specs = [WindowSpec::Tumble { size: 7_000 }, WindowSpec::Hop { slide: 4_000, size: 10_000 }, WindowSpec::Cumulate { step: 5_000, size: 20_000 }];
        for spec in specs {
            for time in [-8_640_000_000_000_000, -10_001, -1, 0, 1, 6_999, 7_000, 8_640_000_000_000_000] {
                let mut end = spec.next_end(time);
                assert!(end > time);
                while end <= spec.last_end(time) {
                    assert!(spec.start_of(end) <= time && time < end, "{spec} {time} {end}");
                    end = spec.next_end(end);
                }
                assert!(spec.start_of(end) > time, "{spec} {time} {end}");
            }
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1 hour"), Some(3_600_000));
        assert_eq!(parse_duration("30s"), Some(30_000));
        assert_eq!(parse_duration("1 day 2 hours"), Some(93_600_000));
        assert_eq!(parse_duration("soon"), None);
        assert_eq!(parse_duration(""), None);
    }
}
