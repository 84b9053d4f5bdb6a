//! What a new wave may say: its policy, and the revisions it names.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::index::State;
use super::waves::{NewWave, Source};
use super::{rollout, waves};
use crate::app::Refusal;
use crate::app::store::{SnapEntry, Snapshot};
use crate::domain::catalog::{Channel, Risk, Viewer};
use crate::domain::fleet::{Entry, Pin, ProductionMap};
use crate::domain::ident::{Architecture, SnapId, SnapName, StoreId, WaveName};
use crate::domain::time::Timestamp;

/// Revisions a wave may name.
const MOST_ENTRIES: usize = 10_000;
/// Steps a policy may have.
const MOST_STEPS: usize = 100;

/// Whether a policy can be followed.
///
/// # Errors
/// `invalid-policy`.
pub(super) fn check_policy(new: &NewWave) -> Result<(), Refusal> {
    let wrong = |why: &str| {
        Err(Refusal::invalid(
            "invalid-policy",
            format!("cannot make wave {}: {why}", new.name),
        ))
    };
    let policy = &new.policy;
    if !(1..=100).contains(&policy.success) || !(1..=100).contains(&policy.error.percent) {
        return wrong("percentages of its policy are from 1 to 100");
    }
    if policy.window.as_ref().is_some_and(|window| !window.is_sound()) {
        return wrong(
            "its window has days from 1 (Monday) to 7, hours `from` 0 to 23 and `to` 1 to 24, and an offset of at most 18 hours",
        );
    }
    if policy.steps.len() > MOST_STEPS {
        return wrong("its policy has more than 100 steps");
    }
    for step in &policy.steps {
        rollout::size(step.limit, step.percent).map_err(|error| waves::refused("make", &new.name, &error))?;
        if step.group.is_none() && step.limit.is_none() && step.percent.is_none() {
            return wrong("a step of its policy names neither a group nor a limit nor a percentage");
        }
    }
    Ok(())
}

/// What a wave may name.
pub(super) struct Shop<'a> {
    pub(super) catalog: &'a Snapshot,
    pub(super) store: &'a StoreId,
    pub(super) wave: &'a WaveName,
    pub(super) now: Timestamp,
}

impl Shop<'_> {
    /// A snap the store shows.
    pub(super) fn snap(&self, name: &SnapName) -> Result<&Arc<SnapEntry>, Refusal> {
        let found = self.catalog.by_name(name, Viewer::Of(self.store));
        found.ok_or_else(|| {
            Refusal::invalid(
                "unknown-snap",
                format!(
                    "cannot make wave {}: store {} shows no snap {name}",
                    self.wave, self.store
                ),
            )
        })
    }

    /// Snaps that shall be pinned no more.
    pub(super) fn pruned(&self, new: &NewWave) -> Result<BTreeSet<SnapId>, Refusal> {
        let ids = new
            .prune
            .iter()
            .map(|name| Ok(self.snap(name)?.record.id.clone()));
        ids.collect()
    }

    /// The revisions of the wave.
    pub(super) fn entries(&self, state: &State, new: &NewWave) -> Result<Vec<Entry>, Refusal> {
        let mut entries = Vec::new();
        match &new.source {
            Source::Wave(other) => {
                let found = state.wave(self.store, other).ok_or_else(|| {
                    Refusal::invalid(
                        "unknown-wave",
                        format!(
                            "cannot make wave {}: store {} has no wave {other}",
                            self.wave, self.store
                        ),
                    )
                })?;
                for entry in found.wave().entries() {
                    let known = self.catalog.by_id(&entry.pin.snap_id, Viewer::Of(self.store));
                    if known.is_none_or(|known| !known.revisions.contains_key(&entry.revision)) {
                        return Err(Refusal::invalid(
                            "unknown-revision",
                            format!(
                                "cannot make wave {}: revision {} of snap {}, which wave {other} has, is not there any more",
                                self.wave, entry.revision, entry.pin.snap_id
                            ),
                        ));
                    }
                    entries.push(entry.clone());
                }
            }
            Source::Snaps(snaps) => {
                for (name, revision) in snaps {
                    let entry = self.snap(name)?;
                    let channel = self.channel(new, entry);
                    match revision {
                        Some(revision) => entries.extend(self.explicit(entry, &channel, *revision)?),
                        None => {
                            let given = self.given(entry, &channel);
                            if given.is_empty() {
                                return Err(Refusal::invalid(
                                    "unknown-revision",
                                    format!(
                                        "cannot make wave {}: nothing of snap {name} is released in {channel}; \
                                         name a revision: {name}=REV",
                                        self.wave
                                    ),
                                ));
                            }
                            entries.extend(given);
                        }
                    }
                }
            }
            Source::Channel => {
                for entry in self.catalog.seen(Viewer::Of(self.store)) {
                    entries.extend(self.given(entry, &self.channel(new, entry)));
                }
            }
        }
        if entries.len() > MOST_ENTRIES {
            return Err(Refusal::invalid(
                "invalid-wave",
                format!(
                    "cannot make wave {}: it names more than {MOST_ENTRIES} revisions",
                    self.wave
                ),
            ));
        }
        Ok(entries)
    }

    fn channel(&self, new: &NewWave, entry: &SnapEntry) -> Channel {
        let default = || {
            let track = entry.record.default_track.clone().unwrap_or_default();
            Channel::new(track, Risk::Stable)
        };
        let mut channel = new.channel.clone().unwrap_or_else(default);
        channel.branch = None;
        channel
    }

    /// One revision, for what it runs on.
    fn explicit(&self, entry: &SnapEntry, channel: &Channel, revision: u64) -> Result<Vec<Entry>, Refusal> {
        let known = entry.revisions.get(&revision).ok_or_else(|| {
            Refusal::invalid(
                "unknown-revision",
                format!(
                    "cannot make wave {}: snap {} has no revision {revision} that was let through",
                    self.wave, entry.record.name
                ),
            )
        })?;
        let anywhere = known.architectures.contains(&Architecture::ANY);
        let on = Architecture::of_devices().filter(|one| anywhere || known.architectures.contains(one));
        Ok(on
            .map(|architecture| pinned(entry, channel, architecture, revision))
            .collect())
    }

    /// What the channel gives now.
    fn given(&self, entry: &SnapEntry, channel: &Channel) -> Vec<Entry> {
        let releases = &entry.record.releases;
        let given = Architecture::of_devices().filter_map(|architecture| {
            let found = releases.find(&architecture, channel, self.now, 1.0)?;
            Some(pinned(entry, channel, architecture, found.revision))
        });
        given.collect()
    }

    /// Devices must be able to read what they are sent back to.
    pub(super) fn check_epochs(&self, map: &ProductionMap, entries: &[Entry]) -> Result<(), Refusal> {
        for entry in entries {
            let (Some(published), Some(snap)) = (
                map.find(entry.pin.by_ref()),
                self.catalog.by_id(&entry.pin.snap_id, Viewer::Of(self.store)),
            ) else {
                continue;
            };
            let before = published.entry.revision;
            if let (Some(target), Some(current)) = (snap.epoch_of(entry.revision), snap.epoch_of(before))
                && !target.can_read(current)
            {
                return Err(Refusal::invalid(
                    "epoch-incompatible",
                    format!(
                        "cannot make wave {}: revision {} of snap {} cannot read what revision {before} wrote",
                        self.wave, entry.revision, snap.record.name
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn pinned(entry: &SnapEntry, channel: &Channel, architecture: Architecture, revision: u64) -> Entry {
    Entry {
        pin: Pin {
            snap_id: entry.record.id.clone(),
            channel: channel.clone(),
            architecture,
        },
        revision,
    }
}
