//! Channels: `track/risk[/branch]` (device-api.md 16.6).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::ident::IdentError;

/// The track a snap has without being given one.
pub const LATEST: &str = "latest";

/// How much may break, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the words of the field")]
pub enum Risk {
    Stable,
    Candidate,
    Beta,
    Edge,
}

impl Risk {
    /// Every risk, the safest first.
    pub const ALL: [Self; 4] = [Self::Stable, Self::Candidate, Self::Beta, Self::Edge];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Candidate => "candidate",
            Self::Beta => "beta",
            Self::Edge => "edge",
        }
    }

    /// This risk and the safer ones, this one first: where a device looks when a channel is closed.
    pub fn and_safer(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().rev().filter(move |risk| *risk <= self)
    }
}

impl FromStr for Risk {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        let risk = Self::ALL.into_iter().find(|risk| risk.as_str() == text);
        risk.ok_or_else(|| IdentError::new("risk (stable, candidate, beta or edge)", text))
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A track: `latest`, `2.0`, `22-lts`. At most 28 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Track(
    /// Its text; none where it is `latest`, so that what nearly everybody follows costs nothing to copy.
    Option<Arc<str>>,
);

impl Track {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or(LATEST)
    }
}

impl PartialOrd for Track {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Track {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Track {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        if text == LATEST {
            return Ok(Self::default());
        }
        let good = is_word(text) && text.len() <= 28 && text.parse::<Risk>().is_err();
        good.then(|| Self(Some(text.into())))
            .ok_or_else(|| IdentError::new("track (1 to 28 of a-z, A-Z, 0-9 and inner . _ -, no risk)", text))
    }
}

/// A channel: where revisions are released to, and what devices follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// Its track.
    pub track: Track,
    /// Its risk.
    pub risk: Risk,
    /// Its branch: a short-lived channel beside it.
    pub branch: Option<Box<str>>,
}

impl Channel {
    /// The channel of a track and risk, without a branch.
    pub fn new(track: Track, risk: Risk) -> Self {
        Self {
            track,
            risk,
            branch: None,
        }
    }

    /// The name without the track where that is `latest`: `stable`, `2.0/stable`, `edge/fix`.
    pub fn short(&self) -> String {
        let long = self.to_string();
        match long.strip_prefix("latest/") {
            Some(short) => short.to_owned(),
            None => long,
        }
    }

    /// Reads a channel as people and clients write it. What leaves the track out means `default`; the second value
    /// says whether it did.
    pub fn parse(text: &str, default: &Track) -> Result<(Self, bool), IdentError> {
        let wrong = || IdentError::new("channel (track/risk/branch, e.g. latest/stable)", text);
        let mut parts = text.split('/');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
        let (track, risk, branch) = match parts {
            [Some(one), None, ..] => match one.parse::<Risk>() {
                Ok(risk) => (None, risk, None),
                Err(_) => (Some(one), Risk::Stable, None),
            },
            [Some(one), Some(two), None, _] => match one.parse::<Risk>() {
                Ok(risk) => (None, risk, Some(two)),
                Err(_) => (Some(one), two.parse().map_err(|_| wrong())?, None),
            },
            [Some(one), Some(two), Some(three), None] => {
                (Some(one), two.parse().map_err(|_| wrong())?, Some(three))
            }
            _more => return Err(wrong()),
        };
        if branch.is_some_and(|branch| !is_word(branch) || branch.len() > 128) {
            return Err(wrong());
        }
        let bare = track.is_none();
        let track = match track {
            Some(track) => track.parse().map_err(|_| wrong())?,
            None => default.clone(),
        };
        let branch = branch.map(Box::from);
        Ok((Self { track, risk, branch }, bare))
    }
}

impl fmt::Display for Channel {
    /// All parts: `latest/stable`, `2.0/edge/fix`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.track, self.risk)?;
        self.branch
            .as_ref()
            .map_or(Ok(()), |branch| write!(f, "/{branch}"))
    }
}

impl FromStr for Channel {
    type Err = IdentError;

    /// Reads a channel; without a track it is `latest`.
    fn from_str(text: &str) -> Result<Self, IdentError> {
        Self::parse(text, &Track::default()).map(|(channel, _)| channel)
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Track, Channel);

/// Letters, digits and inner `. _ -`, beginning with a letter or digit.
fn is_word(text: &str) -> bool {
    let ends_well = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_means_one_channel() {
        let default: Track = "2.0".parse().unwrap();
        for (text, long, with_default) in [
            ("stable", "latest/stable", "2.0/stable"),
            ("edge/fix-1", "latest/edge/fix-1", "2.0/edge/fix-1"),
            ("3.1", "3.1/stable", "3.1/stable"),
            ("3.1/beta", "3.1/beta", "3.1/beta"),
            ("latest/beta/x", "latest/beta/x", "latest/beta/x"),
        ] {
            assert_eq!(text.parse::<Channel>().unwrap().to_string(), long);
            assert_eq!(
                Channel::parse(text, &default).unwrap().0.to_string(),
                with_default
            );
        }
        assert_eq!("latest/stable".parse::<Channel>().unwrap().short(), "stable");
        assert_eq!("2/stable".parse::<Channel>().unwrap().short(), "2/stable");
    }

    #[test]
    fn what_is_no_channel_is_refused() {
        for bad in [
            "",
            "/",
            "a/b",
            "latest/stable/",
            "latest//x",
            "a/stable/b/c",
            "stable/edge/x",
            "la test/edge",
            "-a/edge",
            "x\n/edge",
            "é/edge",
        ] {
            assert!(bad.parse::<Channel>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_closed_risk_looks_at_the_safer_ones() {
        let words: Vec<_> = Risk::Beta.and_safer().map(Risk::as_str).collect();
        assert_eq!(words, ["beta", "candidate", "stable"]);
    }
}
