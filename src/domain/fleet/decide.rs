//! The decision at a refresh: which revision of a snap a production device is told (waves-and-registration.md A.8).

use super::pin::PinRef;
use super::production::ProductionMap;
use super::wave::{Wave, WaveKind};

/// What a device can see of its tag.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// What is published.
    pub map: &'a ProductionMap,
    /// The open wave of the tag, if the device is exposed to it.
    pub wave: Option<&'a Wave>,
    /// Whether that wave is told now: it is active, in its time and in its window.
    pub told: bool,
}

/// A snap on the device. What is looked up with effort is asked only where it decides.
#[derive(Clone, Copy, Debug)]
pub struct Running<S, R> {
    /// Its revision.
    pub revision: u64,
    /// The sequence of the newest wave by which the device may have got it, complete or exposed to it; 0 = by none.
    pub since: S,
    /// Whether the device came back from a revision by itself.
    pub reverted: R,
}

/// Why a device sees a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing is pinned here: the channel decides.
    Channel,
    /// It is published; by the wave of this sequence.
    Production(u64),
    /// The wave of this sequence, which the device is exposed to.
    Wave(u64),
    /// It has what the wave of this sequence brought, which is halted, expired or outside of its window, and keeps it.
    HaltedWave(u64),
    /// What is pinned is lower than what it has, and no rollback since then names it.
    NoDowngrade,
    /// It came back from what is pinned by itself.
    Reverted,
}

/// Which revision a device sees, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The revision; none = the channel decides. What it has = there is no update.
    pub revision: Option<u64>,
    /// Why.
    pub rule: Rule,
}

impl Decision {
    /// The channel decides.
    pub fn channel() -> Self {
        Self {
            revision: None,
            rule: Rule::Channel,
        }
    }
}

/// Decides for one snap of a production device.
pub fn decide<S: FnOnce() -> u64, R: FnOnce(u64) -> bool>(
    sight: &Sight<'_>,
    pin: PinRef<'_>,
    running: Option<Running<S, R>>,
) -> Decision {
    let published = sight.map.find(pin);
    let has = running.as_ref().map(|running| running.revision);
    let waved = sight.wave.and_then(|wave| Some((wave, wave.revision(pin)?)));
    let (revision, rule, allowed) = match waved {
        Some((wave, revision)) if sight.told => {
            let back = wave.kind == WaveKind::Rollback;
            let before = published.map_or(0, |published| published.rollback);
            (
                revision,
                Rule::Wave(wave.sequence),
                if back { wave.sequence } else { before },
            )
        }
        Some((wave, revision)) if has == Some(revision) && wave.is_open() => {
            return Decision {
                revision: has,
                rule: Rule::HaltedWave(wave.sequence),
            };
        }
        _ => match published {
            Some(found) => (
                found.entry.revision,
                Rule::Production(found.sequence),
                found.rollback,
            ),
            None => {
                return Decision::channel();
            }
        },
    };
    let Some(running) = running else {
        return Decision {
            revision: Some(revision),
            rule,
        };
    };
    let has = running.revision;
    let keep = |rule| Decision {
        revision: Some(has),
        rule,
    };
    if revision < running.revision && allowed <= (running.since)() {
        keep(Rule::NoDowngrade)
    } else if revision != running.revision && (running.reverted)(revision) {
        keep(Rule::Reverted)
    } else {
        Decision {
            revision: Some(revision),
            rule,
        }
    }
}
