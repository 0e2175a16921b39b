//! What the folders of an object say of the time of its events: `date=2026-11-01/hour=03`, `dt=…`,
//! `year=2026/month=11/day=01/hour=03`. Times are UTC.
//!
//! A folder's name says when its events begin, and not when they end: `minute=30` may hold a quarter of an hour, `hour=00` six. So what
//! is in a folder reaches to where the next one of the same series begins ([`series`]).

use datafusion::arrow::temporal_conversions::MILLISECONDS_IN_DAY;

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;

/// Names of folders that say a time.
const TIMES: [&str; 14] = ["date", "dt", "ds", "day", "dd", "year", "yyyy", "month", "mm", "hour", "hh", "hr", "minute", "min"];

/// What was read of a path so far.
#[derive(Debug, Default)]
struct Said {
    /// A day, in days since the epoch, and an hour if that was said along.
    date: Option<(i64, Option<i64>)>,
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    hour: Option<i64>,
    minute: Option<i64>,
}

/// The first moment and the first moment after of an object's events, ms since the epoch; none, where its folders don't
/// say.
pub fn times(path: &str) -> Option<(i64, i64)> {
    let mut said = Said::default();
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    for (key, value) in folders.split('/').filter_map(|folder| folder.split_once('=')) {
        match key.to_ascii_lowercase().as_str() {
            "date" | "dt" | "ds" | "day" if value.len() > 2 => said.date = Some(date(value)?),
            "year" | "yyyy" => said.year = Some(number(value, 1, 9_999)?),
            "month" | "mm" => said.month = Some(number(value, 1, 12)?),
            "day" | "dd" => said.day = Some(number(value, 1, 31)?),
            "hour" | "hh" | "hr" => said.hour = Some(number(value, 0, 23)?),
            "minute" | "min" => said.minute = Some(number(value, 0, 59)?),
            _ => {}
        }
    }
    said.times()
}

/// The folders of a path without the times that they say: the same for those that follow one another.
pub fn series(path: &str) -> String {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    let without = |folder: &str| match folder.split_once('=') {
        Some((key, _)) if TIMES.contains(&key.to_ascii_lowercase().as_str()) => format!("{key}="),
        _ => folder.to_string(),
    };
    folders.split('/').map(without).collect::<Vec<_>>().join("/")
}

impl Said {
    fn times(self) -> Option<(i64, i64)> {
        let (days, hour) = match (self.date, self.year, self.month, self.day) {
            (Some((days, hour)), ..) => (days, hour.or(self.hour)),
            (None, Some(year), Some(month), Some(day)) => (days(year, month, day)?, self.hour),
            (None, Some(year), Some(month), None) => {
                let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                return Some((days(year, month, 1)? * MILLISECONDS_IN_DAY, days(next_year, next, 1)? * MILLISECONDS_IN_DAY));
            }
            (None, Some(year), None, None) => return Some((days(year, 1, 1)? * MILLISECONDS_IN_DAY, days(year + 1, 1, 1)? * MILLISECONDS_IN_DAY)),
            _ => return None,
        };
        let start = days * MILLISECONDS_IN_DAY;
        Some(match (hour, self.minute) {
            (None, _) => (start, start + MILLISECONDS_IN_DAY),
            (Some(hour), None) => (start + hour * HOUR, start + (hour + 1) * HOUR),
            (Some(hour), Some(minute)) => (start + hour * HOUR + minute * MINUTE, start + hour * HOUR + (minute + 1) * MINUTE),
        })
    }
}

fn number(text: &str, least: i64, most: i64) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && (least..=most).contains(n))
}

/// `2026-11-01` or `20261101`, alone or with an hour behind: `2026-11-01-03`, `2026-11-01T03`, `2026110103`.
fn date(text: &str) -> Option<(i64, Option<i64>)> {
    let (year, month, day, rest) = if text.as_bytes().get(4) == Some(&b'-') {
        (text.get(..4)?, text.get(5..7).filter(|_| text.as_bytes().get(7) == Some(&b'-'))?, text.get(8..10)?, text.get(10..)?)
    } else {
        (text.get(..4)?, text.get(4..6)?, text.get(6..8)?, text.get(8..)?)
    };
    let days = days(number(year, 1, 9_999)?, number(month, 1, 12)?, number(day, 1, 31)?)?;
    let hour = rest.trim_start_matches(['-', '_', 'T', ' ']);
    if rest.is_empty() { Some((days, None)) } else { Some((days, Some(number(hour, 0, 23).filter(|_| hour.len() == 2)?))) }
}

/// Days since the epoch of a date; none, if there is no such day.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let text = format!("{year:04}-{month:02}-{day:02}");
    let time = datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(&text).ok();
    // Nanoseconds reach from 1677 to 2262, as events of any use do.
    time.map(|ns| ns.div_euclid(1_000_000 * MILLISECONDS_IN_DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text).map_or(i64::MIN, |ns| ns / 1_000_000)
    }

    #[test]
    fn folders_say_when() {
        let cases = [
            ("e/date=2026-11-01/a.parquet", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"),
            ("e/date=2026-11-01/hour=03/a.parquet", "2026-11-01T03:00:00Z", "2026-11-01T04:00:00Z"),
            ("dt=20261231/hour=23/x", "2026-12-31T23:00:00Z", "2027-01-01T00:00:00Z"),
            ("e/dt=2026-11-01-07/x", "2026-11-01T07:00:00Z", "2026-11-01T08:00:00Z"),
            ("e/dt=2026-11-01T07/minute=30/x", "2026-11-01T07:30:00Z", "2026-11-01T07:31:00Z"),
            ("year=2024/month=2/x", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("year=2026/month=12/day=31/hour=9/x", "2026-12-31T09:00:00Z", "2026-12-31T10:00:00Z"),
            ("region=eu/year=2026/x", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ];
        for (path, from, to) in cases {
            assert_eq!(times(path), Some((at(from), at(to))), "{path}");
        }
    }

    #[test]
    fn folders_that_follow_one_another_are_a_series() {
        assert_eq!(series("e/region=eu/date=2026-11-01/hour=03/a.parquet"), "e/region=eu/date=/hour=");
        assert_eq!(series("e/region=eu/date=2026-11-02/hour=04/b.parquet"), "e/region=eu/date=/hour=");
        assert_ne!(series("e/region=us/date=2026-11-01/hour=03/a.parquet"), "e/region=eu/date=/hour=");
        assert_ne!(series("e/region=eu/date=2026-11-01/a.parquet"), "e/region=eu/date=/hour=");
        assert_eq!(series("a.parquet"), "");
    }

    #[test]
    fn folders_that_do_not_say_when() {
        let paths = [
            "a.parquet",
            "date=2026-11-01",
            "e/date=__HIVE_DEFAULT_PARTITION__/x",
            "e/date=2026-13-01/x",
            "e/hour=03/x",
            "e/date=2026-11-01/hour=25/x",
            "e/dt=today/x",
            "e/date=2026-02-30/x",
        ];
        for path in paths {
            assert_eq!(times(path), None, "{path}");
        }
    }
}
