//! When a wave stops by itself, and when it has done well (waves-and-registration.md A.8).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::health::State;

/// How many devices are in which state.
pub type Counts = BTreeMap<State, u64>;

/// When too many fall back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ErrorGate {
    /// Part of the devices with a verdict, out of 100; this many trip it.
    pub percent: u8,
    /// But not before so many have one.
    pub min_devices: u64,
    /// What counts as an error.
    pub kinds: BTreeSet<State>,
}

impl Default for ErrorGate {
    /// 5 of 100, of at least 10.
    fn default() -> Self {
        Self {
            percent: 5,
            min_devices: 10,
            kinds: [State::Reverted, State::Failed, State::Silent].into(),
        }
    }
}

/// What the devices say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Too few have said anything, or nothing is decided by what they said.
    Open,
    /// Too many fell back.
    #[serde(rename_all = "kebab-case")]
    Bad {
        /// So many.
        errors: u64,
        /// Of so many with a verdict.
        judged: u64,
    },
    /// Enough are healthy.
    #[serde(rename_all = "kebab-case")]
    Good {
        /// So many.
        healthy: u64,
        /// Of so many that are exposed.
        exposed: u64,
    },
}

/// Judges. A device has a verdict once it is healthy or counts as an error: who is on the way, held or switched off neither
/// blocks nor trips the gate. Good is when `success` of 100 exposed devices are healthy; errors go before.
pub fn judge(counts: &Counts, gate: &ErrorGate, success: u8) -> Verdict {
    let of = |state: State| counts.get(&state).copied().unwrap_or(0);
    let healthy = of(State::Healthy);
    let errors: u64 = gate.kinds.iter().map(|kind| of(*kind)).sum();
    let judged = healthy.saturating_add(errors);
    let reaches = |part: u64, whole: u64, percent: u8| {
        u128::from(part) * 100 >= u128::from(whole) * u128::from(percent)
    };
    if errors > 0 && judged >= gate.min_devices && reaches(errors, judged, gate.percent) {
        return Verdict::Bad { errors, judged };
    }
    let exposed = counts.values().sum();
    if exposed > 0 && reaches(healthy, exposed, success) {
        return Verdict::Good { healthy, exposed };
    }
    Verdict::Open
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(pairs: &[(State, u64)]) -> Counts {
        pairs.iter().copied().collect()
    }

    #[test]
    fn too_many_that_fall_back_stop_it() {
        use State::{Failed, Healthy, Held, Offered, Reverted, Silent, Staged};
        let gate = ErrorGate::default();
        for (pairs, expected) in [
            (&[][..], Verdict::Open),
            (&[(Reverted, 9)], Verdict::Open),
            (
                &[(Reverted, 10)],
                Verdict::Bad {
                    errors: 10,
                    judged: 10,
                },
            ),
            (
                &[(Reverted, 1), (Healthy, 9)],
                Verdict::Bad {
                    errors: 1,
                    judged: 10,
                },
            ),
            (&[(Reverted, 1), (Healthy, 20), (Staged, 100)], Verdict::Open),
            (
                &[
                    (Reverted, 1),
                    (Failed, 1),
                    (Silent, 1),
                    (Healthy, 57),
                    (Staged, 9000),
                ],
                Verdict::Bad {
                    errors: 3,
                    judged: 60,
                },
            ),
            // Who is on the way, held or away counts for nothing.
            (&[(Held, 500), (Offered, 500)], Verdict::Open),
            (
                &[(Healthy, 90), (Staged, 10)],
                Verdict::Good {
                    healthy: 90,
                    exposed: 100,
                },
            ),
            (&[(Healthy, 89), (Staged, 11)], Verdict::Open),
        ] {
            assert_eq!(judge(&counts(pairs), &gate, 90), expected, "{pairs:?}");
        }
    }

    proptest! {
        /// One more error never makes a bad verdict better, one more healthy device never a good one worse.
        #[test]
        fn verdicts_follow_the_devices(
            healthy in 0u64..400, reverted in 0u64..40, staged in 0u64..400, percent in 1u8..=100, success in 1u8..=100,
        ) {
            let gate = ErrorGate { percent, ..ErrorGate::default() };
            let ask = |healthy, reverted| {
                judge(&counts(&[(State::Healthy, healthy), (State::Reverted, reverted), (State::Staged, staged)]), &gate, success)
            };
            let is_bad = |verdict| matches!(verdict, Verdict::Bad { .. });
            let is_good = |verdict| matches!(verdict, Verdict::Good { .. });
            if is_bad(ask(healthy, reverted)) {
                prop_assert!(is_bad(ask(healthy, reverted + 1)));
            }
            if is_good(ask(healthy, reverted)) {
                prop_assert!(!is_bad(ask(healthy + 1, reverted)));
                prop_assert!(is_good(ask(healthy + 1, reverted)));
            }
        }
    }
}
