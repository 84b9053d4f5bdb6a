//! What a token is limited to besides permissions: snaps, channels, stores (publisher-api.md 3.6).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::domain::catalog::Channel;
use crate::domain::ident::{IdentError, SnapName, StoreId};

/// Most entries of one list.
pub const MAX_ENTRIES: usize = 200;
/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 200;

/// What a token is good for; nothing said = everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Limits {
    /// Only these snaps, by name; they need not exist yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<BTreeSet<SnapName>>,
    /// Only channels that one pattern of each list fits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<BTreeSet<Pattern>>,
    /// Only these stores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stores: Option<BTreeSet<StoreId>>,
}

impl Limits {
    /// Whether every list holds something, and not too much. An empty one would leave nothing at all, which nobody wants.
    pub fn is_sensible(&self) -> bool {
        let sizes = [
            self.packages.as_ref().map(BTreeSet::len),
            self.stores.as_ref().map(BTreeSet::len),
        ];
        let channels = self.channels.iter().map(BTreeSet::len);
        sizes
            .into_iter()
            .flatten()
            .chain(channels)
            .all(|size| (1..=MAX_ENTRIES).contains(&size))
    }

    /// Whether nothing is said.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is about snaps or channels, so that it leaves nothing but what is done with snaps.
    pub fn only_snaps(&self) -> bool {
        self.packages.is_some() || !self.channels.is_empty()
    }

    /// Whether it leaves this snap.
    pub fn allows_package(&self, name: &SnapName) -> bool {
        self.packages.as_ref().is_none_or(|names| names.contains(name))
    }

    /// Whether it leaves this store.
    pub fn allows_store(&self, store: &StoreId) -> bool {
        self.stores.as_ref().is_none_or(|stores| stores.contains(store))
    }

    /// Whether it leaves this channel. Patterns are about its name with or without `latest/`.
    pub fn allows_channel(&self, channel: &Channel) -> bool {
        let (long, short) = (channel.to_string(), channel.short());
        self.channels.iter().all(|patterns| {
            patterns
                .iter()
                .any(|pattern| pattern.fits(&long) || pattern.fits(&short))
        })
    }

    /// What both leave.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.packages = common(self.packages, other.packages.as_ref());
        self.stores = common(self.stores, other.stores.as_ref());
        for patterns in &other.channels {
            if !self.channels.contains(patterns) {
                self.channels.push(patterns.clone());
            }
        }
        self
    }
}

/// What is in both sets; one that is missing leaves everything.
pub fn common<T: Ord + Clone>(mine: Option<BTreeSet<T>>, other: Option<&BTreeSet<T>>) -> Option<BTreeSet<T>> {
    match (mine, other) {
        (Some(mine), Some(other)) => Some(mine.intersection(other).cloned().collect()),
        (Some(mine), None) => Some(mine),
        (None, other) => other.cloned(),
    }
}

/// A pattern over names of channels, as shells have them: `*` is any text, `?` any letter, `[abc]` one of these,
/// `[!abc]` none of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Box<str>);

impl Pattern {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` as a whole fits. Costs the product of both lengths at most.
    pub fn fits(&self, text: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut here) = (0, 0);
        // Where the last `*` was, and how much of the text it holds by now.
        let mut star: Option<(usize, usize)> = None;
        while here < text.len() {
            if pattern.get(at) == Some(&'*') {
                star = Some((at, here));
                at += 1;
                continue;
            }
            let one = text.get(here).copied().unwrap_or_default();
            if let Some(next) = one_letter(&pattern, at, one) {
                (at, here) = (next, here + 1);
            } else if let Some((back, held)) = star {
                star = Some((back, held + 1));
                (at, here) = (back + 1, held + 1);
            } else {
                return false;
            }
        }
        pattern
            .get(at..)
            .is_some_and(|rest| rest.iter().all(|c| *c == '*'))
    }
}

/// The place in the pattern after what takes `letter`; none if nothing there does.
fn one_letter(pattern: &[char], at: usize, letter: char) -> Option<usize> {
    match pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => {
            let negated = pattern.get(at + 1) == Some(&'!');
            let first = at + 1 + usize::from(negated);
            // A `]` that comes first is a letter like others.
            let length = pattern.get(first + 1..)?.iter().position(|c| *c == ']');
            let Some(length) = length else {
                return (letter == '[').then_some(at + 1);
            };
            let end = first + 1 + length;
            let set = pattern.get(first..end)?;
            (in_set(set, letter) != negated).then_some(end + 1)
        }
        other => (*other == letter).then_some(at + 1),
    }
}

/// Whether a set like `a-z_` holds `letter`.
fn in_set(mut set: &[char], letter: char) -> bool {
    loop {
        set = match set {
            [] => return false,
            [low, '-', high, rest @ ..] => {
                if (*low..=*high).contains(&letter) {
                    return true;
                }
                rest
            }
            [one, rest @ ..] => {
                if *one == letter {
                    return true;
                }
                rest
            }
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Pattern {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        let good = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | ',');
        if text.is_empty() || text.len() > MAX_PATTERN || !text.chars().all(good) {
            return Err(IdentError::new(
                "pattern of channels (such as edge, 2.0/* or */stable)",
                text,
            ));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Pattern {
    type Error = IdentError;

    fn try_from(text: String) -> Result<Self, IdentError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set<T: std::str::FromStr<Err = IdentError> + Ord>(texts: &[&str]) -> BTreeSet<T> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn patterns_are_those_of_shells() {
        for (pattern, fits, not) in [
            ("edge", vec!["edge"], vec!["edges", "xedge", ""]),
            ("*", vec!["", "edge", "2.0/edge/fix"], vec![]),
            (
                "*/edge",
                vec!["latest/edge", "2.0/edge", "a/b/edge"],
                vec!["edge", "latest/edge/fix"],
            ),
            (
                "2.?/*",
                vec!["2.0/stable", "2.1/edge/x"],
                vec!["2./stable", "2.10/stable"],
            ),
            ("[a-c]x", vec!["ax", "cx"], vec!["dx", "x"]),
            ("[!a-c]x", vec!["dx"], vec!["ax"]),
            ("[]]x", vec!["]x"], vec!["x"]),
            ("[ab", vec!["[ab"], vec!["a"]),
            ("*a*b*", vec!["ab", "xaxbx", "aab"], vec!["ba", "a"]),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            for text in fits {
                assert!(parsed.fits(text), "{pattern} {text}");
            }
            for text in not {
                assert!(!parsed.fits(text), "{pattern} {text}");
            }
        }
        for bad in ["", "a b", "a,b", "a\"", "é", &"x".repeat(MAX_PATTERN + 1)] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn channels_are_judged_with_and_without_latest() {
        let limits = Limits {
            channels: vec![set(&["edge", "2.*/stable"])],
            ..Limits::default()
        };
        for (channel, allowed) in [
            ("edge", true),
            ("latest/edge", true),
            ("2.0/stable", true),
            ("2.0/edge", false),
            ("stable", false),
            ("edge/fix", false),
        ] {
            assert_eq!(
                limits.allows_channel(&channel.parse().unwrap()),
                allowed,
                "{channel}"
            );
        }
    }

    fn any_limits() -> impl Strategy<Value = Limits> {
        let names = || proptest::collection::btree_set("[a-c]", 0..3);
        let patterns = proptest::collection::btree_set("(edge|stable|\\*|beta|\\?dge)", 0..3);
        (
            proptest::option::of(names()),
            proptest::collection::vec(patterns, 0..2),
            proptest::option::of(names()),
        )
            .prop_map(|(packages, channels, stores)| {
                fn read<T: std::str::FromStr<Err = IdentError> + Ord>(
                    texts: &BTreeSet<String>,
                ) -> BTreeSet<T> {
                    texts
                        .iter()
                        .map(|text| format!("{text}{text}").parse().unwrap())
                        .collect()
                }
                Limits {
                    packages: packages.as_ref().map(read),
                    channels: channels
                        .into_iter()
                        .map(|set| set.iter().map(|text| text.parse().unwrap()).collect())
                        .collect(),
                    stores: stores.as_ref().map(read),
                }
            })
    }

    proptest! {
        #[test]
        fn limits_together_leave_exactly_what_each_leaves(a in any_limits(), b in any_limits()) {
            let both = a.clone().and(&b);
            for name in ["aa", "bb", "cc", "dd"] {
                let snap = name.parse().unwrap();
                prop_assert_eq!(both.allows_package(&snap), a.allows_package(&snap) && b.allows_package(&snap));
                let store = name.parse().unwrap();
                prop_assert_eq!(both.allows_store(&store), a.allows_store(&store) && b.allows_store(&store));
            }
            for channel in ["edge", "stable", "beta", "2.0/edge"] {
                let channel = channel.parse().unwrap();
                prop_assert_eq!(both.allows_channel(&channel), a.allows_channel(&channel) && b.allows_channel(&channel));
            }
            let kept: Limits = serde_json::from_str(&serde_json::to_string(&both).unwrap()).unwrap();
            prop_assert_eq!(kept, both);
        }
    }
}
