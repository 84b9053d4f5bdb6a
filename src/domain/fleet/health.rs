//! How a device takes a wave, as far as its own reports tell (waves-and-registration.md A.8): an unmodified snapd says what runs,
//! and what ran before.

use serde::{Deserialize, Serialize};

use super::position::Position;
use crate::domain::time::Timestamp;

/// Where a device is on its way through a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It was selected and has not asked since.
    Staged,
    /// It was told.
    Offered,
    /// It fetched something of it.
    Downloading,
    /// It runs some of its revisions.
    Partial,
    /// It runs all that concern it.
    Updated,
    /// And has for long enough.
    Healthy,
    /// It ran them, or some, and does not any more.
    Reverted,
    /// It fetched and has not installed them.
    Failed,
    /// Its owner holds its snaps.
    Held,
    /// It has not been seen since it ran them, for too long.
    Silent,
}

impl State {
    /// Its word, as it is written everywhere.
    pub fn word(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Offered => "offered",
            Self::Downloading => "downloading",
            Self::Partial => "partial",
            Self::Updated => "updated",
            Self::Healthy => "healthy",
            Self::Reverted => "reverted",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Silent => "silent",
        }
    }
}

/// What a device has to do to count as healthy, and for how long it may do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Patience {
    /// Check-ins after it was updated.
    pub checks: u16,
    /// Or time since it was updated, in seconds.
    pub soak: i64,
    /// Check-ins with what it fetched not installed until that is a failure.
    pub failed_checks: u16,
    /// Or time since it fetched, in seconds.
    pub failed_after: i64,
    /// Time without a check-in after which an updated device is silent, in seconds.
    pub silent_after: i64,
}

impl Default for Patience {
    /// Two check-ins or 6 hours; three or 24 hours; 4 hours.
    fn default() -> Self {
        Self {
            checks: 2,
            soak: 6 * 3600,
            failed_checks: 3,
            failed_after: 24 * 3600,
            silent_after: 4 * 3600,
        }
    }
}

/// What a check-in told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckIn {
    /// When.
    pub at: Timestamp,
    /// Where the device stands towards the wave.
    pub position: Position,
    /// Whether it runs some of its revisions.
    pub some: bool,
    /// Whether a snap of the wave is held by its owner.
    pub held: bool,
    /// Whether it was told of the wave in answer.
    pub offered: bool,
}

/// What is known of one device that is exposed to a wave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    offered: bool,
    held: bool,
    some: bool,
    reverted: bool,
    /// When it first fetched something of the wave.
    fetched: Option<Timestamp>,
    /// Since when it runs all of it.
    updated: Option<Timestamp>,
    /// Check-ins since it fetched, while it is not updated; since it was updated, after that.
    checks: u16,
    seen: Option<Timestamp>,
}

impl Progress {
    /// What is recorded, with what was `noticed` of the device and is not recorded yet.
    pub fn with(&self, noticed: &Self) -> Self {
        let mut whole = *self;
        whole.offered |= noticed.offered;
        if let Some(fetched) = noticed.fetched
            && self.seen.is_none_or(|seen| seen <= fetched)
        {
            whole.fetch(fetched);
        }
        whole
    }

    /// Whether the device was heard of since `other`.
    pub fn is_later_than(&self, other: &Self) -> bool {
        self.seen > other.seen
    }

    /// It was told of the wave.
    pub fn offer(&mut self) {
        self.offered = true;
    }

    /// Whether it was told of the wave.
    pub fn was_offered(&self) -> bool {
        self.offered
    }

    /// Whether it fetched something of it.
    pub fn was_fetched(&self) -> bool {
        self.fetched.is_some()
    }

    /// It fetched a file of the wave; ranges of one count once.
    pub fn fetch(&mut self, at: Timestamp) {
        if self.fetched.is_none() {
            self.fetched = Some(at);
            self.checks = 0;
        }
    }

    /// It asked.
    pub fn check_in(&mut self, told: CheckIn) {
        let (ran, runs) = (
            self.updated.is_some() || self.some,
            told.position.is_updated() || told.some,
        );
        if told.position.is_updated() {
            if self.updated.is_none() {
                self.updated = Some(told.at);
                self.checks = 0;
            } else {
                self.checks = self.checks.saturating_add(1);
            }
            self.reverted = false;
        } else {
            // What it fell back from it may try again later: then it fetches anew.
            if self.updated.is_some() || (ran && !runs) {
                self.reverted = true;
                self.fetched = None;
                self.checks = 0;
            } else {
                self.checks = self.checks.saturating_add(1);
            }
            self.updated = None;
        }
        self.some = told.some;
        self.held = told.held;
        self.offered |= told.offered;
        self.seen = Some(told.at);
    }

    /// Where it is.
    pub fn state(&self, patience: &Patience, now: Timestamp) -> State {
        let past = |since: Timestamp, seconds: i64| since.plus_seconds(seconds) <= now;
        if let Some(updated) = self.updated {
            // Time counts only as far as it was seen.
            let lasted = self
                .seen
                .is_some_and(|seen| updated.plus_seconds(patience.soak) <= seen);
            if lasted || self.checks >= patience.checks {
                return State::Healthy;
            }
            if self.seen.is_some_and(|seen| past(seen, patience.silent_after)) {
                return State::Silent;
            }
            return State::Updated;
        }
        if self.reverted {
            return State::Reverted;
        }
        if self.held {
            return State::Held;
        }
        if self.some {
            return State::Partial;
        }
        match self.fetched {
            Some(fetched)
                if self.checks >= patience.failed_checks || past(fetched, patience.failed_after) =>
            {
                State::Failed
            }
            Some(_) => State::Downloading,
            None if self.offered => State::Offered,
            None => State::Staged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_unix(1_000_000 + hours * HOUR)
    }

    fn told(hours: i64, position: Position) -> CheckIn {
        CheckIn {
            at: at(hours),
            position,
            some: false,
            held: false,
            offered: true,
        }
    }

    fn state(progress: &Progress, hours: i64) -> State {
        progress.state(&Patience::default(), at(hours))
    }

    #[test]
    fn a_device_that_takes_it_becomes_healthy() {
        let mut progress = Progress::default();
        assert_eq!(state(&progress, 0), State::Staged);
        progress.check_in(told(0, Position::Before));
        assert_eq!(state(&progress, 0), State::Offered);
        progress.fetch(at(1));
        assert_eq!(state(&progress, 1), State::Downloading);
        progress.check_in(CheckIn {
            some: true,
            ..told(2, Position::Before)
        });
        assert_eq!(state(&progress, 2), State::Partial);
        progress.check_in(told(3, Position::On));
        assert_eq!(state(&progress, 3), State::Updated);
        progress.check_in(told(4, Position::On));
        assert_eq!(state(&progress, 4), State::Updated);
        progress.check_in(told(5, Position::On));
        assert_eq!(state(&progress, 5), State::Healthy);
        // Once healthy it may be switched off.
        assert_eq!(state(&progress, 500), State::Healthy);
    }

    #[test]
    fn what_was_noticed_is_added_to_what_is_recorded() {
        let mut recorded = Progress::default();
        recorded.check_in(told(1, Position::Before));
        let mut noticed = recorded;
        noticed.fetch(at(2));
        let whole = recorded.with(&noticed);
        assert_eq!(state(&whole, 2), State::Downloading);
        assert_eq!(whole.with(&noticed), whole);
        // Somebody else heard what came of it meanwhile.
        recorded.fetch(at(2));
        recorded.check_in(told(3, Position::On));
        recorded.check_in(told(4, Position::Before));
        assert_eq!(state(&recorded.with(&noticed), 4), State::Reverted);
        assert!(recorded.with(&noticed).fetched.is_none());
        assert!(recorded.is_later_than(&noticed) && !noticed.is_later_than(&recorded));
    }

    #[test]
    fn time_counts_only_where_it_is_seen() {
        let mut progress = Progress::default();
        progress.check_in(told(0, Position::On));
        assert_eq!(state(&progress, 3), State::Updated);
        assert_eq!(state(&progress, 4), State::Silent);
        assert_eq!(state(&progress, 400), State::Silent);
        progress.check_in(told(400, Position::On));
        assert_eq!(state(&progress, 400), State::Healthy);
    }

    #[test]
    fn falling_back_is_a_revert_until_it_is_updated_again() {
        let mut progress = Progress::default();
        progress.fetch(at(0));
        progress.check_in(told(1, Position::On));
        progress.check_in(told(2, Position::Before));
        assert_eq!(state(&progress, 2), State::Reverted);
        progress.check_in(told(3, Position::Before));
        assert_eq!(state(&progress, 300), State::Reverted);
        progress.check_in(told(301, Position::Beyond));
        assert_eq!(state(&progress, 301), State::Updated);
        // One snap of the set that goes back counts too.
        let mut progress = Progress::default();
        progress.check_in(CheckIn {
            some: true,
            ..told(1, Position::Before)
        });
        progress.check_in(told(2, Position::Before));
        assert_eq!(state(&progress, 2), State::Reverted);
    }

    #[test]
    fn what_is_fetched_and_not_installed_is_a_failure_but_for_the_held() {
        let mut progress = Progress::default();
        progress.check_in(told(0, Position::Before));
        progress.check_in(told(1, Position::Before));
        progress.check_in(told(2, Position::Before));
        progress.check_in(told(3, Position::Before));
        assert_eq!(state(&progress, 3), State::Offered, "it only was not in the mood");
        progress.fetch(at(3));
        progress.fetch(at(5));
        assert_eq!(state(&progress, 26), State::Downloading);
        assert_eq!(state(&progress, 27), State::Failed);
        for hour in 4..7 {
            assert_eq!(state(&progress, hour), State::Downloading);
            progress.check_in(told(hour, Position::Before));
        }
        assert_eq!(state(&progress, 7), State::Failed);
        progress.check_in(CheckIn {
            held: true,
            ..told(8, Position::Before)
        });
        assert_eq!(state(&progress, 8), State::Held);
    }
}
