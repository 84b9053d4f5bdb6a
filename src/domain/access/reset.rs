//! Links that set a new password, once.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// Life of a link, in seconds: 24 hours.
pub const RESET_LIFE: i64 = 86_400;

/// A link that is out. An account has one at most: a new one takes the place of the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PasswordReset {
    /// SHA-256 of its secret, lower-case hex.
    pub hash: String,
    /// When it stops being good.
    pub expires: Timestamp,
}

impl PasswordReset {
    /// A link with this hash, made at `now`.
    pub fn new(hash: String, now: Timestamp) -> Self {
        Self {
            hash,
            expires: now.plus_seconds(RESET_LIFE),
        }
    }

    /// Whether it was made within the `seconds` before `now`.
    pub fn is_younger(&self, seconds: i64, now: Timestamp) -> bool {
        now < self.expires.plus_seconds(seconds - RESET_LIFE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_an_age_of_at_most_a_day() {
        let at = Timestamp::from_unix;
        let reset = PasswordReset::new("h".to_owned(), at(1000));
        assert_eq!(reset.expires, at(1000 + 86_400));
        assert!(reset.is_younger(60, at(1000)) && reset.is_younger(60, at(1059)));
        assert!(!reset.is_younger(60, at(1060)) && !reset.is_younger(0, at(1000)));
    }
}
