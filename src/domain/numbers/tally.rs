//! The numbers of one snap and day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::WEEK;
use super::device::{Before, Step};
use crate::domain::ident::{Architecture, SnapId};
use crate::domain::time::Day;

/// By what devices are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The version of what they run; not those whose revision nobody knows.
    Version,
    /// The channel they follow; not those that do not say.
    Channel,
    /// Their architecture.
    Architecture,
    /// Their operating system; not those whose client does not say.
    System,
}

/// As what a device counts for a snap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seen {
    /// What it runs.
    pub revision: u64,
    /// What it follows, with all parts of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Its architecture.
    pub architecture: Architecture,
    /// Its operating system, `name/version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

/// Numbers of devices. A number may be below 0 in one part of a day, never in all parts together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Tally {
    /// All of them.
    pub devices: i64,
    /// By revision.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub revisions: BTreeMap<u64, i64>,
    /// By channel.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<String, i64>,
    /// By architecture.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub architectures: BTreeMap<String, i64>,
    /// By operating system.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub systems: BTreeMap<String, i64>,
}

/// Adds to a number; what is 0 is left out.
fn add<K: Ord>(numbers: &mut BTreeMap<K, i64>, key: K, count: i64) {
    match numbers.entry(key) {
        std::collections::btree_map::Entry::Vacant(free) => {
            if count != 0 {
                free.insert(count);
            }
        }
        std::collections::btree_map::Entry::Occupied(mut taken) => {
            *taken.get_mut() += count;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

impl Tally {
    /// Counts a device in (1) or out (-1), by what it is.
    fn mark(&mut self, seen: &Seen, count: i64) {
        add(&mut self.revisions, seen.revision, count);
        if let Some(channel) = &seen.channel {
            add(&mut self.channels, channel.clone(), count);
        }
        add(&mut self.architectures, seen.architecture.to_string(), count);
        if let Some(system) = &seen.system {
            add(&mut self.systems, system.clone(), count);
        }
    }

    fn merge(&mut self, other: Self) {
        let sum = |into: &mut BTreeMap<String, i64>, from: BTreeMap<String, i64>| {
            from.into_iter().for_each(|(key, count)| add(into, key, count));
        };
        self.devices += other.devices;
        for (revision, count) in other.revisions {
            add(&mut self.revisions, revision, count);
        }
        sum(&mut self.channels, other.channels);
        sum(&mut self.architectures, other.architectures);
        sum(&mut self.systems, other.systems);
    }
}

/// What one process counted of a snap on one day. The parts of a day add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapDay {
    /// The snap.
    pub snap_id: SnapId,
    /// The day.
    pub day: Day,
    /// Which part of the day's numbers this is: the name of a process, or [`SnapDay::WHOLE`].
    pub part: String,
    /// The versions of revisions that were counted: the revisions themselves may be forgotten.
    #[serde(default)]
    pub versions: BTreeMap<u64, String>,
    /// Devices that reported the snap.
    pub active: Tally,
    /// Of these, who had reported it before, by how many days earlier the last time was: as what they were counted then.
    /// Of those that were away longer than a week ago there is only the number.
    #[serde(default)]
    pub back: BTreeMap<i64, Tally>,
}

impl SnapDay {
    /// The part that others were merged into.
    pub const WHOLE: &'static str = "all";

    /// A day on which nothing was counted yet.
    pub fn new(snap_id: SnapId, day: Day, part: String) -> Self {
        Self {
            snap_id,
            day,
            part,
            versions: BTreeMap::new(),
            active: Tally::default(),
            back: BTreeMap::new(),
        }
    }

    /// Counts a report in, of this snap and day. `version` is that of the revision, where it is known.
    pub fn apply(&mut self, step: &Step, version: Option<&str>) {
        if let Some(version) = version {
            let known = self.versions.get(&step.now.revision);
            if known.is_none_or(|known| known != version) {
                self.versions.insert(step.now.revision, version.to_owned());
            }
        }
        match &step.before {
            Before::Today(was) => self.active.mark(was, -1),
            Before::Nothing => self.active.devices += 1,
            Before::Earlier { days, seen } => {
                self.active.devices += 1;
                let back = self.back.entry(*days).or_default();
                back.devices += 1;
                if *days < WEEK {
                    back.mark(seen, 1);
                }
            }
        }
        self.active.mark(&step.now, 1);
    }

    /// Adds another part of the same day.
    pub fn merge(&mut self, other: Self) {
        self.versions.extend(other.versions);
        self.active.merge(other.active);
        for (days, tally) in other.back {
            self.back.entry(days).or_default().merge(tally);
        }
    }
}
