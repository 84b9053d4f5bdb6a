//! The states of a revision on its way to devices, and who may move it on (admin-api.md 1.3, publisher-api.md 6.10).

use serde::{Deserialize, Serialize};

use super::checks::Outcome;
use crate::domain::access::ReviewPolicy;

/// Where a revision stands. Wire words of publisher-api.md 6.10.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReviewState {
    /// It may be released. What was there before reviews is.
    #[default]
    #[serde(rename = "approved")]
    Approved,
    /// It waits for a reviewer.
    ManualReviewPending,
    /// A reviewer asked; it waits for the publisher.
    NeedsInformation,
    /// A reviewer refused it.
    Rejected,
    /// The automatic checks refused it.
    AutomaticallyRejected,
}

impl ReviewState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Approved,
        Self::ManualReviewPending,
        Self::NeedsInformation,
        Self::Rejected,
        Self::AutomaticallyRejected,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::ManualReviewPending => "ManualReviewPending",
            Self::NeedsInformation => "NeedsInformation",
            Self::Rejected => "Rejected",
            Self::AutomaticallyRejected => "AutomaticallyRejected",
        }
    }

    /// Whether the revision may go to devices.
    pub fn is_approved(&self) -> bool {
        *self == Self::Approved
    }

    /// Whether somebody has to do something: it stands in the queue.
    pub fn is_open(self) -> bool {
        matches!(self, Self::ManualReviewPending | Self::NeedsInformation)
    }

    /// The status of a revision as publishers read it (publisher-api.md 6.10): an approved one is `Published` while a
    /// channel holds it, else `Unpublished`.
    pub fn status(self, released: bool) -> &'static str {
        match (self, released) {
            (Self::Approved, true) => "Published",
            (Self::Approved, false) => "Unpublished",
            (other, _) => other.as_str(),
        }
    }
}

impl std::fmt::Display for ReviewState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What somebody does to a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// The automatic checks of the upload.
    Check,
    /// A reviewer lets it through.
    Approve,
    /// A reviewer refuses it.
    Reject,
    /// A reviewer asks the publisher something.
    AskInformation,
    /// A reviewer has the automatic checks look again, after a change of the declaration or the policy.
    Rerun,
    /// The publisher answers.
    Answer,
    /// The publisher uploaded another revision instead of an answer.
    Supersede,
}

impl Act {
    /// Its word on the wire and in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::AskInformation => "ask-information",
            Self::Rerun => "rerun",
            Self::Answer => "answer",
            Self::Supersede => "supersede",
        }
    }
}

/// Why an act is not possible. Reads as the end of a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActRefusal {
    /// It was decided.
    #[error("it is {0} already")]
    Decided(ReviewState),
    /// Nobody asked.
    #[error("nobody asked: it is {0}")]
    NotAsked(ReviewState),
    /// The automatic checks found what no reviewer can let through.
    #[error(
        "the automatic checks refuse it; what they found must be put right by another upload or declaration"
    )]
    Unfit,
}

/// Where an upload goes by the policy of its store and what the automatic checks came to.
pub fn decide(policy: ReviewPolicy, outcome: Outcome) -> ReviewState {
    match (outcome, policy) {
        (Outcome::Reject, _) | (Outcome::Hold, ReviewPolicy::Avoid) => ReviewState::AutomaticallyRejected,
        (Outcome::Hold, ReviewPolicy::Allow) | (_, ReviewPolicy::Require) => ReviewState::ManualReviewPending,
        (Outcome::Pass, ReviewPolicy::Allow | ReviewPolicy::Avoid) => ReviewState::Approved,
    }
}

/// The state after `act`. `outcome` is what the automatic checks say now.
///
/// # Errors
/// What cannot be done in this state. An approved revision stays approved: its snap-revision is signed.
pub fn next(
    state: ReviewState,
    act: Act,
    policy: ReviewPolicy,
    outcome: Outcome,
) -> Result<ReviewState, ActRefusal> {
    use ReviewState as S;
    match (act, state) {
        (Act::Check, _) => Ok(decide(policy, outcome)),
        (_, S::Approved) => Err(ActRefusal::Decided(state)),
        (Act::Approve, _) if outcome == Outcome::Reject => Err(ActRefusal::Unfit),
        (Act::Approve, _) => Ok(S::Approved),
        (Act::Rerun, _) => Ok(decide(policy, outcome)),
        (Act::Reject, S::ManualReviewPending | S::NeedsInformation | S::AutomaticallyRejected)
        | (Act::Supersede, S::NeedsInformation) => Ok(S::Rejected),
        (Act::AskInformation, S::ManualReviewPending | S::NeedsInformation) => Ok(S::NeedsInformation),
        (Act::Answer, S::NeedsInformation) => Ok(S::ManualReviewPending),
        (Act::Answer | Act::Supersede, _) => Err(ActRefusal::NotAsked(state)),
        (Act::Reject | Act::AskInformation, _) => Err(ActRefusal::Decided(state)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn act() -> impl Strategy<Value = Act> {
        prop::sample::select(vec![
            Act::Approve,
            Act::Reject,
            Act::AskInformation,
            Act::Rerun,
            Act::Answer,
            Act::Supersede,
        ])
    }

    fn policy() -> impl Strategy<Value = ReviewPolicy> {
        prop::sample::select(vec![
            ReviewPolicy::Allow,
            ReviewPolicy::Avoid,
            ReviewPolicy::Require,
        ])
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop::sample::select(vec![Outcome::Pass, Outcome::Hold, Outcome::Reject])
    }

    #[test]
    fn words_are_those_of_the_wire() {
        for state in ReviewState::ALL {
            assert_eq!(
                serde_json::to_string(&state).unwrap(),
                format!("\"{}\"", state.as_str())
            );
        }
        assert_eq!(ReviewState::Approved.status(true), "Published");
        assert_eq!(ReviewState::Approved.status(false), "Unpublished");
        assert_eq!(ReviewState::Rejected.status(true), "Rejected");
        assert_eq!(ReviewState::default(), ReviewState::Approved);
    }

    #[test]
    fn nobody_asked() {
        let answer = |state| next(state, Act::Answer, ReviewPolicy::Allow, Outcome::Hold);
        assert_eq!(
            answer(ReviewState::NeedsInformation),
            Ok(ReviewState::ManualReviewPending)
        );
        assert_eq!(
            answer(ReviewState::Rejected),
            Err(ActRefusal::NotAsked(ReviewState::Rejected))
        );
    }

    proptest! {
        /// The policies as admin-api.md 1.3 has them: nothing waits under `avoid`, everything that may pass waits under
        /// `require`, and what the checks refuse never waits or passes.
        #[test]
        fn policies_keep_their_promise(policy in policy(), outcome in outcome()) {
            let state = decide(policy, outcome);
            prop_assert_eq!(state == ReviewState::AutomaticallyRejected,
                outcome == Outcome::Reject || (outcome == Outcome::Hold && policy == ReviewPolicy::Avoid));
            prop_assert!(!(policy == ReviewPolicy::Avoid && state.is_open()));
            prop_assert!(!(policy == ReviewPolicy::Require && state.is_approved()));
            prop_assert_eq!(policy == ReviewPolicy::Allow && outcome == Outcome::Pass,
                policy == ReviewPolicy::Allow && state.is_approved());
        }

        /// Whatever is done in whatever order: approved is for ever, is reached only by a reviewer or by checks that pass,
        /// and never while the checks refuse.
        #[test]
        fn only_reviewers_and_passing_checks_approve(
            policy in policy(), first in outcome(), acts in prop::collection::vec((act(), outcome()), 0..12),
        ) {
            let mut state = decide(policy, first);
            for (act, outcome) in acts {
                match next(state, act, policy, outcome) {
                    Ok(after) => {
                        prop_assert!(!state.is_approved());
                        if after.is_approved() {
                            prop_assert!(act == Act::Approve && outcome != Outcome::Reject
                                || act == Act::Rerun && outcome == Outcome::Pass);
                        }
                        state = after;
                    }
                    Err(_) => prop_assert!(state.is_approved() || act != Act::Rerun),
                }
            }
        }
    }
}
