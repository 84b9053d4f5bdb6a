//! Ranges of serials, as a site is given: `A-000100..A-000999`, or everything that begins with `FACT7-`. A range is also
//! a pattern in the syntax of RE2, for the constraints of an account-key: both say the same of every serial.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::ident::{IdentError, SerialNumber};

/// Most digits that are counted with; more would not fit 64 bits.
const MAX_DIGITS: usize = 18;
const WHAT: &str = "range of serials (A-000100..A-000999: the same text, then as many digits on both sides; or FACT7-* \
                    for all that begin so)";

/// A range of serials. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SerialRange {
    /// `prefix`, then a number from `from` to `to` in exactly `digits` digits. The prefix does not end in a digit, so
    /// a serial can be read in one way only.
    Numbers {
        /// What all of them begin with; may be empty.
        prefix: String,
        /// How many digits follow.
        digits: usize,
        /// The first number.
        from: u64,
        /// The last number.
        to: u64,
    },
    /// Everything that begins with this and has at least one character more.
    Prefix(String),
}

/// The text before the digits a serial ends with, and those digits.
fn split(serial: &str) -> (&str, &str) {
    let head = serial.trim_end_matches(|c: char| c.is_ascii_digit());
    serial.split_at(head.len())
}

impl SerialRange {
    /// Whether the serial lies in it.
    pub fn contains(&self, serial: &SerialNumber) -> bool {
        let serial = serial.as_str();
        match self {
            Self::Prefix(prefix) => serial.len() > prefix.len() && serial.starts_with(prefix.as_str()),
            Self::Numbers {
                prefix,
                digits,
                from,
                to,
            } => {
                let (head, tail) = split(serial);
                head == prefix
                    && tail.len() == *digits
                    && tail
                        .parse::<u64>()
                        .is_ok_and(|number| (*from..=*to).contains(&number))
            }
        }
    }

    /// Whether some serial could lie in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(one), Self::Prefix(two)) => {
                one.starts_with(two.as_str()) || two.starts_with(one.as_str())
            }
            (Self::Prefix(all), numbers @ Self::Numbers { .. })
            | (numbers @ Self::Numbers { .. }, Self::Prefix(all)) => numbers.reaches(all),
            (
                Self::Numbers {
                    prefix,
                    digits,
                    from,
                    to,
                },
                Self::Numbers {
                    prefix: other_prefix,
                    digits: other_digits,
                    from: other_from,
                    to: other_to,
                },
            ) => prefix == other_prefix && digits == other_digits && from <= other_to && other_from <= to,
        }
    }

    /// Whether one of the numbers, written out, begins with `start` and goes on.
    fn reaches(&self, start: &str) -> bool {
        let Self::Numbers {
            prefix,
            digits,
            from,
            to,
        } = self
        else {
            return false;
        };
        let Some(first) = start.strip_prefix(prefix.as_str()) else {
            return prefix.starts_with(start);
        };
        if first.is_empty() {
            return true;
        }
        let (Ok(number), true) = (
            first.parse::<u64>(),
            first.len() < *digits && first.bytes().all(|b| b.is_ascii_digit()),
        ) else {
            return false;
        };
        let rest = u32::try_from(digits - first.len()).unwrap_or(u32::MAX);
        let size = 10_u64.saturating_pow(rest);
        let low = number.saturating_mul(size);
        low <= *to && *from <= low.saturating_add(size - 1)
    }

    /// What every serial in it begins with; may be empty.
    pub fn common_prefix(&self) -> String {
        match self {
            Self::Prefix(prefix) => prefix.clone(),
            Self::Numbers {
                prefix,
                digits,
                from,
                to,
            } => {
                let (first, last) = (padded(*from, *digits), padded(*to, *digits));
                let same = first
                    .bytes()
                    .zip(last.bytes())
                    .take_while(|(a, b)| a == b)
                    .count();
                format!("{prefix}{}", first.get(..same).unwrap_or_default())
            }
        }
    }

    /// The pattern that matches exactly these serials, in the syntax of RE2; devices match it from start to end.
    pub fn pattern(&self) -> String {
        match self {
            Self::Prefix(prefix) => format!("{}.+", quoted(prefix)),
            Self::Numbers {
                prefix,
                digits,
                from,
                to,
            } => {
                let numbers = between(&padded(*from, *digits), &padded(*to, *digits));
                format!("{}({})", quoted(prefix), numbers.join("|"))
            }
        }
    }
}

/// The pattern that matches what any of the ranges matches.
pub fn pattern_of(ranges: &[SerialRange]) -> String {
    ranges
        .iter()
        .map(SerialRange::pattern)
        .collect::<Vec<_>>()
        .join("|")
}

fn padded(number: u64, digits: usize) -> String {
    format!("{number:0digits$}")
}

/// `text` as a pattern that matches nothing else.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\.+*?()|[]{}^$".contains(letter) {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted
}

/// Patterns for the numbers from `low` to `high`, which have the same number of digits: the digits they share, then each
/// next digit with as much freedom as the bounds leave to those behind it.
fn between(low: &str, high: &str) -> Vec<String> {
    let (Some(first), Some(last)) = (low.chars().next(), high.chars().next()) else {
        return vec![String::new()];
    };
    let (low_rest, high_rest) = (
        low.get(1..).unwrap_or_default(),
        high.get(1..).unwrap_or_default(),
    );
    if first == last {
        return after(first, between(low_rest, high_rest));
    }
    let (zeros, nines) = ("0".repeat(low_rest.len()), "9".repeat(low_rest.len()));
    let mut patterns = Vec::new();
    // The digits whose numbers are all inside, whatever follows.
    let (mut start, mut end) = (first as u32, last as u32);
    if low_rest != zeros {
        patterns.extend(after(first, between(low_rest, &nines)));
        start += 1;
    }
    let mut tail = Vec::new();
    if high_rest != nines {
        tail = after(last, between(&zeros, high_rest));
        end -= 1;
    }
    if let (true, Some(start), Some(end)) = (start <= end, char::from_u32(start), char::from_u32(end)) {
        let digit = if start == end {
            start.to_string()
        } else {
            format!("[{start}-{end}]")
        };
        patterns.push(match low_rest.len() {
            0 => digit,
            1 => format!("{digit}[0-9]"),
            more => format!("{digit}[0-9]{{{more}}}"),
        });
    }
    patterns.extend(tail);
    patterns
}

fn after(digit: char, patterns: Vec<String>) -> Vec<String> {
    patterns
        .into_iter()
        .map(|pattern| format!("{digit}{pattern}"))
        .collect()
}

impl FromStr for SerialRange {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        let wrong = || IdentError::new(WHAT, text);
        if let Some(prefix) = text.strip_suffix('*') {
            // What can go on to a serial: an outer space or a slash never could.
            let example: Result<SerialNumber, _> = format!("{prefix}0").parse();
            return if !prefix.is_empty() && !prefix.contains('*') && !prefix.contains("..") && example.is_ok()
            {
                Ok(Self::Prefix(prefix.to_owned()))
            } else {
                Err(wrong())
            };
        }
        let (first, last) = text.split_once("..").ok_or_else(wrong)?;
        let ok = |end: &str| end.parse::<SerialNumber>().is_ok();
        let ((prefix, low), (other, high)) = (split(first), split(last));
        let same = prefix == other && low.len() == high.len();
        let countable = !low.is_empty() && low.len() <= MAX_DIGITS;
        if !same || !countable || !ok(first) || !ok(last) || prefix.contains('*') {
            return Err(wrong());
        }
        let (from, to) = (
            low.parse().map_err(|_| wrong())?,
            high.parse().map_err(|_| wrong())?,
        );
        if from > to {
            return Err(wrong());
        }
        Ok(Self::Numbers {
            prefix: prefix.to_owned(),
            digits: low.len(),
            from,
            to,
        })
    }
}

impl fmt::Display for SerialRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Numbers {
                prefix,
                digits,
                from,
                to,
            } => write!(
                f,
                "{prefix}{}..{prefix}{}",
                padded(*from, *digits),
                padded(*to, *digits)
            ),
        }
    }
}

impl Serialize for SerialRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SerialRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn range(text: &str) -> SerialRange {
        text.parse().unwrap()
    }

    /// As devices match it.
    fn matches(range: &SerialRange, serial: &str) -> bool {
        Regex::new(&format!("^({})$", range.pattern()))
            .unwrap()
            .is_match(serial)
    }

    #[test]
    fn ranges_are_read_and_written_alike() {
        for text in [
            "A-000100..A-000999",
            "0..9",
            "7..7",
            "FACT7-*",
            "a.b+(c)*",
            "S é01..S é99",
            "000000000000000000..999999999999999999",
        ] {
            assert_eq!(range(text).to_string(), text);
        }
        for bad in [
            "",
            "*",
            "A-1",
            "A-1..B-2",
            "A-01..A-2",
            "A-9..A-1",
            "A..B",
            "A-1..A-2*",
            "a*b*",
            "a/*",
            " A*",
            "A*1..A*2",
            "0000000000000000000..9999999999999999999",
        ] {
            assert!(bad.parse::<SerialRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_are_short_and_as_a_person_would_write_them() {
        for (text, pattern) in [
            ("A-000100..A-000999", "A-(000[1-9][0-9]{2})"),
            ("A-0..A-9", "A-([0-9])"),
            ("A-7..A-7", "A-(7)"),
            ("A-08..A-13", "A-(0[8-9]|1[0-3])"),
            ("X.1-000..X.1-999", "X\\.1-([0-9][0-9]{2})"),
            ("$F*", "\\$F.+"),
        ] {
            assert_eq!(range(text).pattern(), pattern, "{text}");
        }
    }

    /// Serials near the edges of ranges, and odd ones.
    fn serials() -> impl Strategy<Value = String> {
        prop_oneof![
            "[AB]?-?[0-9]{1,5}",
            "[0-9]{1,5}",
            "A-[0-9]{1,4}[xé]?",
            "A[-.][A0-9]{0,3}"
        ]
    }

    fn ranges() -> impl Strategy<Value = SerialRange> {
        let numbers =
            ("(A|A-|B\\.|)", 1usize..5, any::<u64>(), any::<u64>()).prop_map(|(prefix, digits, a, b)| {
                let top = 10u64.pow(u32::try_from(digits).unwrap());
                let (from, to) = ((a % top).min(b % top), (a % top).max(b % top));
                SerialRange::Numbers {
                    prefix,
                    digits,
                    from,
                    to,
                }
            });
        let prefixes = "[AB][-.]?[0-9]{0,3}".prop_map(SerialRange::Prefix);
        prop_oneof![3 => numbers, 1 => prefixes]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_pattern_matches_exactly_the_range(range in ranges(), serial in serials()) {
            if let Ok(number) = serial.parse::<SerialNumber>() {
                prop_assert_eq!(matches(&range, &serial), range.contains(&number), "{} {}", range, serial);
            }
        }

        #[test]
        fn the_edges_are_inside_and_their_neighbours_are_not(prefix in "[A-Z]{0,2}[-.+*$]", digits in 1usize..7, a in any::<u64>(), b in any::<u64>()) {
            let top = 10u64.pow(u32::try_from(digits).unwrap());
            let (from, to) = ((a % top).min(b % top), (a % top).max(b % top));
            let range = SerialRange::Numbers { prefix: prefix.clone(), digits, from, to };
            let text = |number: u64| format!("{prefix}{}", padded(number, digits));
            for inside in [from, to, from.midpoint(to)] {
                prop_assert!(matches(&range, &text(inside)));
                prop_assert!(range.contains(&text(inside).parse().unwrap()));
            }
            let mut outside = vec![format!("{}0", text(from)), format!("x{}", text(from)), format!("{prefix}{from}x")];
            outside.extend((from > 0).then(|| text(from - 1)));
            outside.extend((to + 1 < top).then(|| text(to + 1)));
            for serial in outside {
                prop_assert!(!matches(&range, &serial), "{} {}", range, serial);
                prop_assert!(!range.contains(&serial.parse().unwrap()), "{} {}", range, serial);
            }
        }

        #[test]
        fn ranges_overlap_if_some_serial_is_in_both(one in ranges(), two in ranges(), serial in serials()) {
            prop_assert_eq!(one.overlaps(&two), two.overlaps(&one));
            prop_assert!(one.overlaps(&one));
            if let Ok(serial) = serial.parse::<SerialNumber>()
                && one.contains(&serial) && two.contains(&serial)
            {
                prop_assert!(one.overlaps(&two), "{} {} {}", one, two, serial);
            }
            // The other way round, by looking at every number of a small range.
            if let SerialRange::Numbers { prefix, digits, from, to } = &one
                && *digits < 4
            {
                let meets = (*from..=*to).any(|number| {
                    two.contains(&format!("{prefix}{}", padded(number, *digits)).parse().unwrap())
                });
                prop_assert_eq!(one.overlaps(&two), meets, "{} {}", one, two);
            }
        }

        #[test]
        fn every_serial_of_a_range_begins_with_its_common_prefix(range in ranges(), serial in serials()) {
            if let Ok(number) = serial.parse::<SerialNumber>()
                && range.contains(&number)
            {
                prop_assert!(serial.starts_with(&range.common_prefix()));
            }
        }
    }
}
