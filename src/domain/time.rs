//! Points in time as assertions write them.

use std::fmt;
use std::str::FromStr;

use crate::domain::ident::IdentError;

const DAY: i64 = 86_400;

/// A point in time (UTC). Written as `YYYY-MM-DDThh:mm:ssZ`; parsed with the laxity of the reference
/// (assertions.md 1.5), so sub-second digits survive comparison but are never written.
///
/// The laxity: a one-digit hour, a comma before the fraction, offsets up to 24 hours and 60 minutes. Nothing that the
/// reference accepts is refused, since devices judge with the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// The time `seconds` after 1970-01-01T00:00:00Z.
    pub const fn from_unix(seconds: i64) -> Self {
        Self { seconds, nanos: 0 }
    }

    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub fn unix(self) -> i64 {
        self.seconds
    }

    /// This time moved by `seconds` (may be negative).
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self {
            seconds: self.seconds.saturating_add(seconds),
            nanos: self.nanos,
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.seconds.div_euclid(DAY));
        let second = self.seconds.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

impl FromStr for Timestamp {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| IdentError::new("RFC 3339 time", text))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A calendar day (UTC). Written as `YYYY-MM-DD`, of the years 0 to 9999, so that days are ordered as their texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    const FIRST: i64 = days_from_civil(0, 1, 1);
    const LAST: i64 = days_from_civil(9999, 12, 31);

    /// The day of a point in time; what is beyond the years that can be written becomes the first or last day.
    pub fn of(time: Timestamp) -> Self {
        Self(time.seconds.div_euclid(DAY).clamp(Self::FIRST, Self::LAST))
    }

    /// This day moved by `days` (may be negative).
    pub fn plus(self, days: i64) -> Self {
        Self(self.0.saturating_add(days).clamp(Self::FIRST, Self::LAST))
    }

    /// How many days this one is after `other`; negative if it is before.
    pub fn since(self, other: Self) -> i64 {
        self.0 - other.0
    }

    /// This day and those up to `last`.
    pub fn to(self, last: Self) -> impl Iterator<Item = Self> {
        (self.0..=last.0).map(Self)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = (text.len() == 10).then(|| parse(&format!("{text}T00:00:00Z")));
        time.flatten()
            .map(Self::of)
            .ok_or_else(|| IdentError::new("day (YYYY-MM-DD)", text))
    }
}

impl serde::Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let mut scanner = Scanner(text.as_bytes());
    let year = scanner.digits(4)?;
    scanner.literal(b'-')?;
    let month = scanner.digits(2)?;
    scanner.literal(b'-')?;
    let day = scanner.digits(2)?;
    scanner.literal(b'T')?;
    let hour = scanner.digits(2).or_else(|| scanner.digits(1))?;
    scanner.literal(b':')?;
    let minute = scanner.digits(2)?;
    scanner.literal(b':')?;
    let second = scanner.digits(2)?;
    let nanos = scanner.fraction()?;
    let offset = scanner.offset()?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && scanner.0.is_empty();
    let seconds = days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    in_range.then_some(Timestamp { seconds, nanos })
}

/// What is left to read.
struct Scanner<'a>(&'a [u8]);

impl Scanner<'_> {
    fn literal(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// Exactly `count` digits; reads nothing if there are fewer.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let number = digits.iter().try_fold(0, |number, digit| {
            digit
                .is_ascii_digit()
                .then(|| number * 10 + i64::from(digit - b'0'))
        })?;
        self.0 = rest;
        Some(number)
    }

    /// Nanoseconds of a fraction, 0 where there is none. Digits after the ninth do not count.
    fn fraction(&mut self) -> Option<u32> {
        let Some((b'.' | b',', rest)) = self.0.split_first() else {
            return Some(0);
        };
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = rest
            .split_at_checked(length)
            .filter(|(digits, _)| !digits.is_empty())?;
        self.0 = rest;
        let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
        Some(padded.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0')))
    }

    /// Seconds east of UTC.
    fn offset(&mut self) -> Option<i64> {
        let (sign, rest) = self.0.split_first()?;
        self.0 = rest;
        let sign = match sign {
            b'Z' => return Some(0),
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let hours = self.digits(2).filter(|hours| *hours <= 24)?;
        self.literal(b':')?;
        let minutes = self.digits(2).filter(|minutes| *minutes <= 60)?;
        Some(sign * (hours * 3600 + minutes * 60))
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar; years of 400-year eras start in March.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn times_are_written_in_utc_with_whole_seconds() {
        for (from, to) in [
            ("2024-05-01T10:00:00Z", "2024-05-01T10:00:00Z"),
            ("2024-05-01T10:00:00+05:30", "2024-05-01T04:30:00Z"),
            ("2024-05-01T10:00:00-11:00", "2024-05-01T21:00:00Z"),
            ("2024-02-29T23:59:59.999999999Z", "2024-02-29T23:59:59Z"),
            ("2024-05-01T10:00:00,5Z", "2024-05-01T10:00:00Z"),
            ("2024-05-01T1:00:00Z", "2024-05-01T01:00:00Z"),
            ("2024-05-01T10:00:00+24:00", "2024-04-30T10:00:00Z"),
            ("2024-05-01T10:00:00+00:60", "2024-05-01T09:00:00Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(time(from).to_string(), to, "{from}");
        }
    }

    #[test]
    fn what_the_reference_refuses_is_refused() {
        for text in [
            "",
            "2024-05-01",
            "2024-05-01T10:00:00",
            "2024-05-01T10:00Z",
            "2024-05-01t10:00:00Z",
            "2024-05-01T10:00:00z",
            "2024-05-01 10:00:00Z",
            "2024-05-01T24:00:00Z",
            "2024-05-01T10:60:00Z",
            "2024-05-01T10:00:60Z",
            "2024-02-30T10:00:00Z",
            "2023-02-29T10:00:00Z",
            "2024-13-01T10:00:00Z",
            "2024-00-01T10:00:00Z",
            "2024-05-00T10:00:00Z",
            "12024-05-01T10:00:00Z",
            " 2024-05-01T10:00:00Z",
            "2024-05-01T10:00:00Z ",
            "2024-05-01T10:00:00.Z",
            "2024-05-01T10:00:00+0530",
            "2024-05-01T10:00:00+25:00",
            "2024-05-01T10:00:00+00:61",
            "2024-05-01T10:0:00Z",
            "+024-05-01T10:00:00Z",
            "２024-05-01T10:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn fractions_order_times_within_a_second() {
        assert!(time("2024-05-01T10:00:00.1Z") < time("2024-05-01T10:00:00.12Z"));
        assert!(time("2024-05-01T10:00:00.1234567891Z") == time("2024-05-01T10:00:00.1234567899Z"));
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for days in -150_000..150_000 {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
            let text = Timestamp::from_unix(days * DAY).to_string();
            assert_eq!(text.parse(), Ok(Timestamp::from_unix(days * DAY)), "{text}");
        }
    }

    #[test]
    fn days_are_written_read_and_ordered() {
        let day: Day = "2026-02-28".parse().unwrap();
        assert_eq!(day.plus(1).to_string(), "2026-03-01");
        assert_eq!(day.plus(1).since(day), 1);
        assert_eq!(day.to(day.plus(2)).count(), 3);
        assert_eq!(day.plus(1).to(day).count(), 0);
        let midnight = "2026-03-01T00:00:00Z".parse::<Timestamp>().unwrap();
        assert_eq!(Day::of(midnight), day.plus(1));
        assert_eq!(Day::of(midnight.plus_seconds(-1)), day);
        for wrong in [
            "2026-02-29",
            "2026-2-28",
            "",
            "2026-02-28T",
            "26-02-2028",
            "+026-02-28",
        ] {
            assert!(wrong.parse::<Day>().is_err(), "{wrong}");
        }
        for seconds in [i64::MIN, i64::MAX] {
            let end = Day::of(Timestamp::from_unix(seconds));
            assert_eq!(end.to_string().parse(), Ok(end));
            assert_eq!(end.plus(seconds), end);
        }
    }

    #[test]
    fn the_ends_of_time_can_be_written() {
        for seconds in [i64::MIN, i64::MAX] {
            assert!(!Timestamp::from_unix(seconds).to_string().is_empty());
        }
    }
}
