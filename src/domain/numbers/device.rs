//! What a report of a device means for the numbers, given what it was counted as before. What it is counted as is written
//! in the same step as the numbers, so nobody is counted twice and nobody is lost.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

use super::REACH;
use super::tally::Seen;
use crate::domain::catalog::{Channel, DeviceReport, ReportedSnap};
use crate::domain::ident::SnapId;
use crate::domain::time::Day;

/// Snaps that a device had lately and has not any more that are remembered, the latest ones. Of more, one that comes back
/// counts as new.
const MOST_GONE: usize = 64;
/// Longest name of an operating system with its version.
const LONGEST_SYSTEM: usize = 64;

/// As what a device was counted with the report it is part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counted {
    /// The day.
    pub day: Day,
    /// Which of the reported snaps were counted, by their places: as what the report says of them.
    pub snaps: Vec<usize>,
    /// Snaps that were counted in earlier reports and are not in this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone>,
}

/// A snap that a device has not any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gone {
    /// The snap.
    pub snap_id: SnapId,
    /// The day on which it was counted last.
    pub day: Day,
    /// As what.
    #[serde(flatten)]
    pub seen: Seen,
}

/// One change of the numbers: a device reported a snap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The snap.
    pub snap_id: SnapId,
    /// The day.
    pub day: Day,
    /// As what it counts now.
    pub now: Seen,
    /// As what it counted before.
    pub before: Before,
}

/// As what a device was counted for a snap before a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Not at all, as far as it matters.
    Nothing,
    /// Earlier on the same day.
    Today(Seen),
    /// On an earlier day.
    Earlier {
        /// How many days earlier; 1 to [`REACH`].
        days: i64,
        /// As what.
        seen: Seen,
    },
}

/// What follows for the numbers from `next`, the report of a device after `before`; `next` is marked as counted. Only snaps
/// count that are `ours`, and each once, however many instances of it there are.
pub fn count(
    before: Option<&DeviceReport>,
    next: &mut DeviceReport,
    ours: impl Fn(&SnapId) -> bool,
) -> Vec<Step> {
    let day = Day::of(next.seen);
    let mut known = before.map(last_words).unwrap_or_default();
    let mut lines: BTreeMap<SnapId, usize> = BTreeMap::new();
    for (place, snap) in next.snaps.iter().enumerate() {
        let Ok(id) = snap.snap_id.parse::<SnapId>() else {
            continue;
        };
        match lines.entry(id) {
            // What is not one of several instances speaks for all of them.
            Entry::Occupied(mut line) if snap.instance.is_none() => drop(line.insert(place)),
            Entry::Occupied(_) => {}
            Entry::Vacant(free) if ours(free.key()) => drop(free.insert(place)),
            Entry::Vacant(_) => {}
        }
    }
    let mut counted = Counted {
        day,
        snaps: lines.values().copied().collect(),
        gone: Vec::new(),
    };
    counted.snaps.sort_unstable();
    let mut steps = Vec::new();
    for (snap_id, place) in lines {
        let Some(snap) = next.snaps.get(place) else {
            continue;
        };
        let now = seen(next, snap);
        let before = match known.remove(&snap_id) {
            Some((last, was)) if day <= last && was == now => continue,
            Some((last, was)) if day <= last => Before::Today(was),
            Some((last, was)) if day.since(last) <= REACH => Before::Earlier {
                days: day.since(last),
                seen: was,
            },
            _ => Before::Nothing,
        };
        steps.push(Step {
            snap_id,
            day,
            now,
            before,
        });
    }
    let gone = known
        .into_iter()
        .filter(|(_, (last, _))| day.since(*last) <= REACH);
    counted.gone = gone
        .map(|(snap_id, (day, seen))| Gone { snap_id, day, seen })
        .collect();
    counted.gone.sort_by_key(|gone| Reverse(gone.day));
    counted.gone.truncate(MOST_GONE);
    next.counted = (!counted.snaps.is_empty() || !counted.gone.is_empty()).then_some(counted);
    steps
}

/// As what a device was counted last, for every snap.
fn last_words(report: &DeviceReport) -> BTreeMap<SnapId, (Day, Seen)> {
    let Some(counted) = &report.counted else {
        return BTreeMap::new();
    };
    let gone = counted.gone.iter();
    let gone = gone.map(|gone| (gone.snap_id.clone(), (gone.day, gone.seen.clone())));
    let snaps = counted.snaps.iter().filter_map(|place| {
        let snap = report.snaps.get(*place)?;
        Some((snap.snap_id.parse().ok()?, (counted.day, seen(report, snap))))
    });
    gone.chain(snaps).collect()
}

/// As what a device counts for a snap: nothing but what the report says, so that it can be worked out again.
fn seen(report: &DeviceReport, snap: &ReportedSnap) -> Seen {
    let channel = snap.channel.as_deref().map(str::parse::<Channel>);
    Seen {
        revision: snap.revision,
        channel: channel.and_then(Result::ok).map(|channel| channel.to_string()),
        architecture: report.architecture.clone(),
        system: report.client.as_deref().and_then(system).map(str::to_owned),
    }
}

/// The operating system that a client names: `ubuntu/22.04` in `snapd/2.63 (series 16) ubuntu/22.04 (amd64) linux/5.15`
/// (device-api.md 2).
fn system(client: &str) -> Option<&str> {
    let mut words = client.strip_prefix("snapd/")?.split(' ');
    // The parenthesis about the client itself comes first, and may have spaces in it.
    words.by_ref().find(|word| word.ends_with(')'))?;
    let word = words.find(|word| word.contains('/'))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"./-_+~".contains(&byte);
    let (name, version) = word.split_once('/')?;
    let told = |text: &str| !text.is_empty() && text != "unknown";
    let followed = words.next().is_some_and(|next| next.starts_with('('));
    (followed && told(name) && told(version) && word.len() <= LONGEST_SYSTEM && word.bytes().all(plain))
        .then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operating_systems_are_what_the_client_says() {
        for (client, expected) in [
            (
                "snapd/2.57.6 (series 16; classic) ubuntu/22.04 (amd64) linux/5.15.0-91-generic",
                Some("ubuntu/22.04"),
            ),
            (
                "snapd/2.77.1 (series 16) ubuntu-core/24 (arm64)",
                Some("ubuntu-core/24"),
            ),
            (
                "snapd/2.77.1 (series 16; devmode; testing) snap debian/12 (amd64) linux/6",
                Some("debian/12"),
            ),
            ("snapd/2.77.1 (series 16) debian/unknown (amd64)", None),
            ("snapd/2.77.1 (series 16) debian (amd64) linux/6", None),
            ("snapd/2.77.1 (series 16) debian/12", None),
            ("snapd/2.77.1 (series 16) <b>/12 (amd64)", None),
            ("snapd/2.77.1", None),
            ("curl/8.0 (series 16) debian/12 (amd64)", None),
            ("", None),
        ] {
            assert_eq!(system(client), expected, "{client}");
        }
    }
}
