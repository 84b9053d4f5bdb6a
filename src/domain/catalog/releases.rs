//! What is released where: the channel map of one snap, and what was there before.

use serde::{Deserialize, Serialize};

use super::channel::{Channel, Risk, Track};
use super::past::Past;
use crate::domain::ident::Architecture;
use crate::domain::time::Timestamp;

/// Life of a branch after its last release, in seconds: 30 days.
pub const BRANCH_LIFE: i64 = 30 * 24 * 3600;
/// Channels a snap may have open at a time, over all architectures.
pub const MAX_OPEN: usize = 4096;
/// The architecture of what runs anywhere.
pub(super) const ANY: &str = "all";

/// A part of the devices gets a revision, the others what was there before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progressive {
    /// Of 100 devices this many get it; above 0, below 100.
    pub percentage: f64,
    /// What the others get; none = nothing here, so they look at the safer risks.
    pub otherwise: Option<u64>,
    /// What a part of the devices got here since that, before this revision: who has it keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<u64>,
    /// It waits: no further device gets it, whatever the percentage; who has it keeps it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// How far a release to a part of the devices goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Of 100 devices this many get it.
    pub percentage: f64,
    /// No further device gets it until it goes on.
    pub paused: bool,
}

/// One entry of the channel map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Release {
    /// The architecture, or `all`.
    pub architecture: Architecture,
    /// The channel.
    pub channel: Channel,
    /// What it holds.
    pub revision: u64,
    /// Only a part of the devices gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progressive: Option<Progressive>,
    /// Since when.
    pub released: Timestamp,
    /// When a branch closes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// The channel map of a snap, with its history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Releases {
    /// What is open: at most one entry per architecture and channel.
    pub open: Vec<Release>,
    /// What was, the latest last. Kept for [`super::MEMORY`]; of every channel the last entry of each revision that a device
    /// may have to step through is kept for ever (`keep`, see [`Releases::forget`]).
    #[serde(default)]
    pub past: Vec<Past>,
}

/// What a device following a channel gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<'m> {
    /// The entry that answers.
    pub release: &'m Release,
    /// The revision: that of the entry, or what stands in for it.
    pub revision: u64,
    /// The channel that answers: a safer one where the asked one is closed.
    pub channel: Channel,
}

impl Progressive {
    /// For this part of the devices, after what the channel held before.
    fn after(before: Option<&Release>, reach: Part) -> Self {
        let Part { percentage, paused } = reach;
        let part = before.and_then(|before| before.progressive.as_ref());
        let revision = before.map(|before| before.revision);
        let Some(part) = part else {
            return Self {
                percentage,
                otherwise: revision,
                given: Vec::new(),
                paused,
            };
        };
        let mut given = part.given.clone();
        given.extend(revision.filter(|revision| !part.given.contains(revision)));
        Self {
            percentage,
            otherwise: part.otherwise,
            given,
            paused,
        }
    }
}

impl Release {
    /// What stands in for a device at this place among all, if it is not of the part that gets the revision. Of what is
    /// paused no device is.
    pub fn beyond(&self, chance: f64) -> Option<&Progressive> {
        let part = self.progressive.as_ref()?;
        (part.paused || chance * 100.0 >= part.percentage).then_some(part)
    }

    /// What a device at this place gets here.
    fn revision_for(&self, chance: f64) -> Option<u64> {
        match self.beyond(chance) {
            Some(part) => part.otherwise,
            None => Some(self.revision),
        }
    }

    /// Where it stands in a list.
    fn place<'r>(&'r self, latest: &Track) -> impl Ord + use<'r> {
        let channel = &self.channel;
        (
            channel.track != *latest,
            &channel.track,
            channel.risk,
            &channel.branch,
            &self.architecture,
        )
    }
}

impl Releases {
    /// Puts `revision` into `channel` for these architectures. What was there before goes into the history. For `all`
    /// the entries of single architectures go, as the revision is meant for them too; with a percentage below 100 they
    /// get it like `all`, since each has something of its own that stands in.
    pub fn release(
        &mut self,
        architectures: &[Architecture],
        channel: &Channel,
        revision: u64,
        percentage: Option<f64>,
        now: Timestamp,
    ) {
        let part = percentage.map(|percentage| Part {
            percentage,
            paused: false,
        });
        self.release_part(architectures, channel, revision, part, now);
    }

    /// The same; what is for a part of the devices may be paused. What is for all cannot be.
    pub fn release_part(
        &mut self,
        architectures: &[Architecture],
        channel: &Channel,
        revision: u64,
        part: Option<Part>,
        now: Timestamp,
    ) {
        let part = part.filter(|part| part.percentage < 100.0);
        let everywhere = architectures.iter().any(|name| name.as_str() == ANY);
        let mut concerned = architectures.to_vec();
        if everywhere {
            let open = self.open.iter().filter(|open| open.channel == *channel);
            concerned.extend(open.map(|open| open.architecture.clone()));
            concerned.sort();
            concerned.dedup();
        }
        let entries: Vec<Release> = concerned
            .iter()
            .filter(|name| part.is_some() || architectures.contains(name))
            .map(|architecture| Release {
                architecture: architecture.clone(),
                channel: channel.clone(),
                revision,
                progressive: part.map(|part| Progressive::after(self.held(architecture, channel, now), part)),
                released: now,
                expires: channel.branch.as_ref().map(|_| now.plus_seconds(BRANCH_LIFE)),
            })
            .collect();
        self.take_out(now, |open| {
            open.channel == *channel && concerned.contains(&open.architecture)
        });
        self.open.extend(entries);
        self.open
            .sort_by(|a, b| (&a.channel, &a.architecture).cmp(&(&b.channel, &b.architecture)));
    }

    /// The percentage of a revision that is in a channel for a part of the devices only; none if it is not, also for one
    /// of these architectures. Where they differ, the lowest.
    pub fn percentage(
        &self,
        architectures: &[Architecture],
        channel: &Channel,
        revision: u64,
        now: Timestamp,
    ) -> Option<f64> {
        let parts = architectures.iter().map(|architecture| {
            let held = self.held(architecture, channel, now)?;
            let part = held.progressive.as_ref()?;
            (held.revision == revision).then_some(part.percentage)
        });
        let parts: Option<Vec<f64>> = parts.collect();
        parts?.into_iter().reduce(f64::min)
    }

    /// Closes a channel for these architectures (none given: for all). False if nothing was open.
    pub fn close(&mut self, channel: &Channel, architectures: &[Architecture], now: Timestamp) -> bool {
        let before = self.open.len();
        self.take_out(now, |open| {
            open.channel == *channel
                && (architectures.is_empty() || architectures.contains(&open.architecture))
        });
        self.open.len() < before
    }

    /// Closes branches whose time is over. False if there were none.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let before = self.open.len();
        self.take_out(now, |open| open.expires.is_some_and(|end| end <= now));
        self.open.len() < before
    }

    pub(super) fn take_out(&mut self, now: Timestamp, which: impl Fn(&Release) -> bool) {
        let past = &mut self.past;
        self.open.retain(|open| {
            let out = which(open);
            if out {
                past.push(Past {
                    architecture: open.architecture.clone(),
                    channel: open.channel.clone(),
                    revision: open.revision,
                    progressive: open.progressive.as_ref().map(|part| Progressive {
                        given: Vec::new(),
                        ..part.clone()
                    }),
                    from: open.released,
                    until: open.expires.map_or(now, |end| end.min(now)),
                });
            }
            !out
        });
    }

    /// What a device of `architecture` that follows `channel` gets. `chance`, from 0 up to 1, is the device's place among
    /// all: it gets a progressive release if it lies below the percentage; 1 = never.
    ///
    /// A branch that is closed or over answers with its channel; a closed risk with the next safer one of the track.
    pub fn find(
        &self,
        architecture: &Architecture,
        channel: &Channel,
        now: Timestamp,
        chance: f64,
    ) -> Option<Found<'_>> {
        let mut places = self.places(architecture, channel, now);
        places.find_map(|release| {
            Some(Found {
                release,
                revision: release.revision_for(chance)?,
                channel: release.channel.clone(),
            })
        })
    }

    /// Where a device looks that follows `channel`: there, then in the safer risks of the track, as far as they are open.
    pub fn places<'m>(
        &'m self,
        architecture: &Architecture,
        channel: &Channel,
        now: Timestamp,
    ) -> impl Iterator<Item = &'m Release> {
        let safer = channel.risk.and_safer();
        let safer = safer
            .map(|risk| Channel::new(channel.track.clone(), risk))
            .filter(move |safer| safer != channel);
        std::iter::once_with(move || self.held(architecture, channel, now))
            .chain(safer.map(move |safer| self.held(architecture, &safer, now)))
            .flatten()
    }

    /// The entry of a channel that is for an architecture.
    pub fn held(&self, architecture: &Architecture, channel: &Channel, now: Timestamp) -> Option<&Release> {
        let of = |name: &str| {
            self.open.iter().find(|open| {
                // The cheapest first: three of four entries end there.
                open.channel.risk == channel.risk
                    && open.architecture.as_str() == name
                    && open.channel == *channel
                    && open.expires.is_none_or(|end| now < end)
            })
        };
        of(architecture.as_str()).or_else(|| of(ANY))
    }

    /// What is open now, in the order people read it: tracks as they come (`latest` first), the safest risk first.
    pub fn listed(&self, now: Timestamp) -> Vec<&Release> {
        let mut open: Vec<&Release> = self
            .open
            .iter()
            .filter(|open| open.expires.is_none_or(|end| now < end))
            .collect();
        let latest = Track::default();
        open.sort_by(|one, other| one.place(&latest).cmp(&other.place(&latest)));
        open
    }

    /// Whether a part of the devices gets something else than the others anywhere.
    pub fn is_progressive(&self) -> bool {
        self.open.iter().any(|open| open.progressive.is_some())
    }

    /// Whether any channel of a track is open.
    pub fn has_track(&self, track: &Track) -> bool {
        self.open.iter().any(|open| open.channel.track == *track)
    }
}

/// The riskier channels of a track that show what `risk` holds, because they are closed.
pub fn followers(risk: Risk, is_open: impl Fn(Risk) -> bool) -> Vec<Risk> {
    Risk::ALL
        .into_iter()
        .filter(|other| *other > risk)
        .take_while(|other| !is_open(*other))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arch(name: &str) -> Architecture {
        name.parse().unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    fn find(map: &Releases, name: &str, channel: &str, now: i64, chance: f64) -> Option<(u64, String)> {
        map.find(&arch(name), &channel.parse().unwrap(), at(now), chance)
            .map(|found| (found.revision, found.channel.to_string()))
    }

    #[test]
    fn closed_channels_follow_the_safer_ones() {
        let mut map = Releases::default();
        map.release(&[arch("amd64")], &"stable".parse().unwrap(), 1, None, at(10));
        map.release(&[arch("amd64")], &"beta".parse().unwrap(), 2, None, at(20));
        assert_eq!(
            find(&map, "amd64", "edge", 30, 0.5),
            Some((2, "latest/beta".into()))
        );
        assert_eq!(
            find(&map, "amd64", "candidate", 30, 0.5),
            Some((1, "latest/stable".into()))
        );
        assert_eq!(find(&map, "arm64", "edge", 30, 0.5), None);
        assert_eq!(find(&map, "amd64", "2.0/edge", 30, 0.5), None);
        assert!(map.close(&"beta".parse().unwrap(), &[], at(40)));
        assert!(!map.close(&"beta".parse().unwrap(), &[], at(40)));
        assert_eq!(
            find(&map, "amd64", "edge", 50, 0.5),
            Some((1, "latest/stable".into()))
        );
        assert_eq!(map.history(&arch("amd64"), &"beta".parse().unwrap()), [2]);
    }

    #[test]
    fn a_branch_ends_by_itself() {
        let mut map = Releases::default();
        map.release(&[arch("all")], &"stable".parse().unwrap(), 1, None, at(0));
        map.release(&[arch("all")], &"stable/fix".parse().unwrap(), 2, None, at(0));
        let end = BRANCH_LIFE;
        assert_eq!(find(&map, "amd64", "stable/fix", end - 1, 0.5).unwrap().0, 2);
        assert_eq!(
            find(&map, "amd64", "stable/fix", end, 0.5),
            Some((1, "latest/stable".into()))
        );
        assert!(map.expire(at(end)));
        assert_eq!(map.open.len(), 1);
    }

    #[test]
    fn a_progressive_release_reaches_its_part() {
        let mut map = Releases::default();
        let stable: Channel = "stable".parse().unwrap();
        map.release(&[arch("amd64")], &stable, 1, None, at(0));
        map.release(&[arch("amd64")], &stable, 2, Some(20.0), at(10));
        assert_eq!(find(&map, "amd64", "stable", 20, 0.19).unwrap().0, 2);
        assert_eq!(find(&map, "amd64", "stable", 20, 0.2).unwrap().0, 1);
        // Raising the percentage keeps what stands in.
        map.release(&[arch("amd64")], &stable, 2, Some(60.0), at(30));
        assert_eq!(find(&map, "amd64", "stable", 40, 0.9).unwrap().0, 1);
        map.release(&[arch("amd64")], &stable, 2, Some(100.0), at(50));
        assert_eq!(find(&map, "amd64", "stable", 60, 0.99).unwrap().0, 2);
        // What all have stands in for itself; and each architecture keeps what it had.
        map.release(&[arch("amd64")], &stable, 2, Some(10.0), at(70));
        assert_eq!(find(&map, "amd64", "stable", 80, 0.9).unwrap().0, 2);
        map.release(&[arch("all")], &stable, 3, Some(10.0), at(90));
        assert_eq!(find(&map, "amd64", "stable", 100, 0.9).unwrap().0, 2);
        assert_eq!(find(&map, "amd64", "stable", 100, 0.05).unwrap().0, 3);
        assert_eq!(find(&map, "arm64", "stable", 100, 0.05).unwrap().0, 3);
        assert_eq!(find(&map, "arm64", "stable", 100, 0.9), None);
        map.release(&[arch("all")], &stable, 4, None, at(110));
        assert_eq!(map.open.len(), 1);
    }

    #[test]
    fn what_is_paused_is_remembered_and_goes_on_where_it_was() {
        let mut map = Releases::default();
        let stable: Channel = "stable".parse().unwrap();
        let both = [arch("amd64"), arch("arm64")];
        let part = |percentage, paused| Some(Part { percentage, paused });
        map.release(&both, &stable, 1, None, at(0));
        assert_eq!(map.percentage(&both, &stable, 1, at(1)), None, "for all");
        map.release(&both, &stable, 2, Some(60.0), at(10));
        map.release(&[arch("arm64")], &stable, 2, Some(20.0), at(11));
        assert_eq!(map.percentage(&both, &stable, 2, at(12)), Some(20.0));
        assert_eq!(map.percentage(&both[..1], &stable, 2, at(12)), Some(60.0));
        assert_eq!(map.percentage(&both, &stable, 1, at(12)), None);
        assert_eq!(map.percentage(&[arch("riscv64")], &stable, 2, at(12)), None);
        map.release_part(&both, &stable, 2, part(60.0, true), at(20));
        assert_eq!(find(&map, "amd64", "stable", 30, 0.0).unwrap().0, 1);
        assert_eq!(map.percentage(&both, &stable, 2, at(30)), Some(60.0));
        map.release_part(&both, &stable, 2, part(60.0, false), at(40));
        assert_eq!(find(&map, "amd64", "stable", 50, 0.5).unwrap().0, 2);
        assert_eq!(find(&map, "amd64", "stable", 50, 0.7).unwrap().0, 1);
        let told: Vec<bool> = map.events(at(60)).iter().map(|event| event.paused).collect();
        assert_eq!(told.iter().filter(|paused| **paused).count(), 2, "{told:?}");
        // What is not paused is written as it ever was.
        let text = |map: &Releases| serde_json::to_string(&map.open).unwrap();
        assert!(!text(&map).contains("paused"));
        map.release_part(&both, &stable, 2, part(60.0, true), at(70));
        let read: Vec<Release> = serde_json::from_str(&text(&map)).unwrap();
        assert_eq!(read, map.open);
        // For all means for all.
        map.release_part(&both, &stable, 2, part(100.0, true), at(80));
        assert_eq!(find(&map, "amd64", "stable", 90, 0.99).unwrap().0, 2);
    }

    #[test]
    fn a_revision_for_all_replaces_those_of_single_architectures() {
        let mut map = Releases::default();
        let stable: Channel = "stable".parse().unwrap();
        map.release(&[arch("amd64"), arch("arm64")], &stable, 1, None, at(0));
        map.release(&[arch("all")], &stable, 2, None, at(10));
        assert_eq!(find(&map, "arm64", "stable", 20, 0.5).unwrap().0, 2);
        map.release(&[arch("arm64")], &stable, 3, None, at(20));
        assert_eq!(find(&map, "arm64", "stable", 30, 0.5).unwrap().0, 3);
        assert_eq!(find(&map, "amd64", "stable", 30, 0.5).unwrap().0, 2);
    }

    #[test]
    fn closed_riskier_channels_follow() {
        assert_eq!(
            followers(Risk::Stable, |risk| risk == Risk::Beta),
            [Risk::Candidate]
        );
        assert_eq!(followers(Risk::Beta, |_| false), [Risk::Edge]);
    }

    proptest! {
        /// Whatever is released and closed: an answer comes from an open entry of the same track, at most as risky, and
        /// the riskiest of those; and `chance` only ever chooses between an entry and what stands in for it.
        #[test]
        fn the_riskiest_open_channel_answers(
            steps in proptest::collection::vec((0usize..4, 1u64..9, any::<bool>(), proptest::option::of(1.0f64..99.0)), 0..24),
            asked in 0usize..4,
            chance in 0.0f64..1.0,
        ) {
            let mut map = Releases::default();
            for (number, (risk, revision, close, percentage)) in steps.iter().enumerate() {
                let channel = Channel::new(Track::default(), Risk::ALL[*risk]);
                let now = at(number as i64);
                if *close {
                    map.close(&channel, &[], now);
                } else {
                    map.release(&[arch("amd64")], &channel, *revision, *percentage, now);
                }
            }
            let asked = Channel::new(Track::default(), Risk::ALL[asked]);
            let now = at(steps.len() as i64);
            match map.find(&arch("amd64"), &asked, now, chance) {
                None => {
                    let all = map.find(&arch("amd64"), &asked, now, 0.0);
                    prop_assert!(all.is_none_or(|found| found.release.progressive.is_some()));
                }
                Some(found) => {
                    prop_assert!(found.channel.risk <= asked.risk);
                    let release = found.release;
                    let otherwise = release.progressive.as_ref().and_then(|p| p.otherwise);
                    prop_assert!(found.revision == release.revision || Some(found.revision) == otherwise);
                    let skipped = map.open.iter().filter(|open| {
                        open.channel.risk <= asked.risk && open.channel.risk > found.channel.risk
                    });
                    for open in skipped {
                        // Only what this device does not get, with nothing standing in, is passed over.
                        let progressive = open.progressive.as_ref();
                        prop_assert!(progressive.is_some_and(|p| p.otherwise.is_none() && chance * 100.0 >= p.percentage));
                    }
                }
            }
            // A device further up among all never gets less than one further down.
            let low = map.find(&arch("amd64"), &asked, now, 0.0);
            if let Some(high) = map.find(&arch("amd64"), &asked, now, 1.0) {
                prop_assert!(low.is_some_and(|low| low.channel.risk >= high.channel.risk));
            }
        }
    }
}
