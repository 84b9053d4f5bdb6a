//! Points in time as assertions write them.

use std::fmt;

/// A point in time (UTC). Written as `YYYY-MM-DDThh:mm:ssZ`; parsed with the laxity of the reference
/// (assertions.md 1.5), so sub-second digits survive comparison but are never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// The time `seconds` after 1970-01-01T00:00:00Z.
    pub fn from_unix(seconds: i64) -> Self {
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
        match chrono::DateTime::from_timestamp(self.seconds, 0) {
            Some(time) => write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%SZ")),
            None => f.write_str("0000-00-00T00:00:00Z"),
        }
    }
}

impl std::str::FromStr for Timestamp {
    type Err = crate::domain::ident::IdentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = chrono::DateTime::parse_from_rfc3339(text)
            .map_err(|_| crate::domain::ident::IdentError::new("RFC 3339 time", text))?;
        Ok(Self {
            seconds: time.timestamp(),
            nanos: time.timestamp_subsec_nanos(),
        })
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
