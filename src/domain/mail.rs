//! Letters that wait to be sent: when each is tried, by whom, and when it is given up.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// How soon a letter that was not taken is tried again, in seconds; twice as long each time.
const FIRST_PAUSE: i64 = 60;
/// The longest time between two tries, in seconds.
const LONGEST_PAUSE: i64 = 3600;
/// How long who tries to send a letter has for it before another may, in seconds.
const CLAIM: i64 = 120;
/// When a letter that nobody takes is given up, in seconds: five days (RFC 5321, section 4.5.4.1).
const GIVEN_UP: i64 = 5 * 86_400;

/// A letter that no mail server has taken yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OutgoingMail {
    /// When it was written, and something random: in order of time.
    pub id: String,
    /// To whom, and what it says; sealed.
    pub sealed: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Not before this.
    pub next: Timestamp,
    /// Until then somebody is trying to send it.
    pub claimed: Option<Timestamp>,
    /// After this it is no use.
    pub until: Timestamp,
    /// When it was written.
    pub created: Timestamp,
}

impl OutgoingMail {
    /// A letter written at `now` that is of use until `until`. `random` tells it from others of the same second.
    pub fn new(random: &str, sealed: String, now: Timestamp, until: Timestamp) -> Self {
        Self {
            id: Self::id_at(random, now),
            sealed,
            attempts: 0,
            next: now,
            claimed: None,
            until: until.min(now.plus_seconds(GIVEN_UP)),
            created: now,
        }
    }

    /// The id of a letter written at `now`.
    pub fn id_at(random: &str, now: Timestamp) -> String {
        format!("{:012}-{random}", now.unix().max(0))
    }

    /// Whether it is no use any more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until <= now
    }

    /// Whether it is to be tried now; with `soon`, also before its time. Not while somebody else tries.
    pub fn is_due(&self, now: Timestamp, soon: bool) -> bool {
        self.claimed.is_none_or(|until| until <= now) && (soon || self.next <= now)
    }

    /// Somebody tries to send it from `now` on.
    pub fn claim(&mut self, now: Timestamp) {
        self.attempts = self.attempts.saturating_add(1);
        self.claimed = Some(now.plus_seconds(CLAIM));
    }

    /// It was not taken; it is tried again later.
    pub fn put_off(&mut self, now: Timestamp) {
        let doublings = self.attempts.saturating_sub(1).min(6);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        self.claimed = None;
        self.next = now.plus_seconds(pause);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_780_000_000 + seconds)
    }

    #[test]
    fn a_letter_is_tried_at_once_then_later_and_later_and_given_up() {
        let mut mail = OutgoingMail::new("x", String::new(), at(0), at(30 * 86_400));
        assert_eq!(mail.id, "001780000000-x");
        assert!(mail.is_due(at(0), false));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            mail.claim(at(0));
            mail.put_off(at(0));
            pauses.push(mail.next.unix() - at(0).unix());
        }
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
        assert!(!mail.is_due(at(3599), false) && mail.is_due(at(3600), false));
        assert!(mail.is_due(at(0), true), "before its time, if asked");
        assert!(!mail.is_over(at(GIVEN_UP - 1)) && mail.is_over(at(GIVEN_UP)));
        let short = OutgoingMail::new("x", String::new(), at(0), at(60));
        assert!(short.is_over(at(60)));
    }

    #[test]
    fn who_has_claimed_a_letter_has_it_for_a_while() {
        let mut mail = OutgoingMail::new("x", String::new(), at(0), at(60_000));
        mail.claim(at(0));
        for soon in [false, true] {
            assert!(!mail.is_due(at(CLAIM - 1), soon) && mail.is_due(at(CLAIM), soon));
        }
    }

    proptest! {
        #[test]
        fn ids_are_in_order_of_time(one in 0i64..4_000_000_000, other in 0i64..4_000_000_000) {
            let id = |time| OutgoingMail::id_at("r", Timestamp::from_unix(time));
            prop_assert_eq!(one.cmp(&other), id(one).cmp(&id(other)));
        }
    }
}
