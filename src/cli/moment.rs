//! Times and spans as people type them: `2026-01-31`, `2026-01-31T10:00:00Z`, `7d` (ago).

use crate::adapters::system::SystemClock;
use crate::domain::time::Timestamp;
use crate::ports::Clock as _;

/// A point in time: RFC 3339, a date (its start in UTC), or a span before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// This point.
    At(Timestamp),
    /// This many seconds before now.
    Ago(i64),
}

impl Moment {
    /// As RFC 3339, seen from `now`.
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(seconds) => now.plus_seconds(-seconds),
        }
    }
}

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seconds) = span(text) {
            return Ok(Self::Ago(seconds));
        }
        text.parse()
            .or_else(|_| format!("{text}T00:00:00Z").parse())
            .map(Self::At)
            .map_err(|_| {
                "a time is expected: 2026-01-31, 2026-01-31T10:00:00Z, or how long ago: 7d, 12h".to_owned()
            })
    }
}

/// `90d`, `12h`, `30m`, `45s` in seconds; never zero.
pub fn span(text: &str) -> Result<i64, String> {
    let wrong = || "a number and a unit are expected: 90d, 12h, 30m".to_owned();
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let unit = match unit {
        "d" => 86_400,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => return Err(wrong()),
    };
    let number: i64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(unit)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(wrong)
}

/// Now, by this machine's clock.
pub fn now() -> Timestamp {
    SystemClock.now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_need_a_number_and_a_unit() {
        assert_eq!(span("90d"), Ok(7_776_000));
        assert_eq!(span("12h"), Ok(43_200));
        for bad in ["", "d", "90", "-1d", "0d", "1w", "9999999999999999d", "é"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_are_times_dates_or_spans() {
        let at = |text: &str| {
            text.parse::<Moment>()
                .unwrap()
                .from(Timestamp::from_unix(1_000_000))
                .to_string()
        };
        assert_eq!(at("2026-01-31"), "2026-01-31T00:00:00Z");
        assert_eq!(at("2026-01-31T10:00:00+02:00"), "2026-01-31T08:00:00Z");
        assert_eq!(at("1h"), Timestamp::from_unix(996_400).to_string());
        assert!("yesterday".parse::<Moment>().is_err());
    }
}
