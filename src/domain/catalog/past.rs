//! What a snap's channels held before: for cohorts, and for devices that must step through it.

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::releases::{ANY, Progressive, Releases};
use crate::domain::ident::Architecture;
use crate::domain::time::Timestamp;

/// How long it is remembered what a channel held, in seconds: 90 days, the life of a cohort key.
pub const MEMORY: i64 = 90 * 24 * 3600;

/// What a channel held for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Past {
    /// The architecture, or `all`.
    pub architecture: Architecture,
    /// The channel.
    pub channel: Channel,
    /// What it held.
    pub revision: u64,
    /// Only a part of the devices got it. What they had been given before is not told again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progressive: Option<Progressive>,
    /// From then...
    pub from: Timestamp,
    /// ...until then.
    pub until: Timestamp,
}

impl Releases {
    /// Forgets what ended more than [`MEMORY`] ago, but not the last entry of a revision for which `keep` holds: one
    /// that devices far behind may still have to step through (epochs).
    pub fn forget(&mut self, now: Timestamp, keep: impl Fn(u64) -> bool) {
        let oldest = now.plus_seconds(-MEMORY);
        let kept: Vec<Past> = self
            .past
            .iter()
            .enumerate()
            .filter(|(at, past)| {
                let later = || {
                    self.past.iter().skip(at + 1).any(|later| {
                        later.revision == past.revision
                            && later.channel == past.channel
                            && later.architecture == past.architecture
                    })
                };
                past.until >= oldest || (keep(past.revision) && !later())
            })
            .map(|(_, past)| past.clone())
            .collect();
        self.past = kept;
    }

    /// What [`Self::find`] would have answered at `time` to a device beyond every percentage, as far as it is remembered.
    /// For cohorts: who holds a key is not first by that.
    pub fn find_at(
        &self,
        architecture: &Architecture,
        channel: &Channel,
        time: Timestamp,
    ) -> Option<(u64, Channel)> {
        let branch = channel.branch.as_ref().map(|_| channel.clone());
        let risks = channel.risk.and_safer();
        let channels = branch
            .into_iter()
            .chain(risks.map(|risk| Channel::new(channel.track.clone(), risk)));
        channels.into_iter().find_map(|channel| {
            let mut names = [architecture.as_str(), ANY].into_iter();
            let (revision, part) = names.find_map(|name| self.held_at(name, &channel, time))?;
            let revision = part.map_or(Some(revision), |part| part.otherwise)?;
            Some((revision, channel))
        })
    }

    fn held_at(
        &self,
        architecture: &str,
        channel: &Channel,
        time: Timestamp,
    ) -> Option<(u64, Option<&Progressive>)> {
        let past = self.past.iter().rev().find(|past| {
            past.architecture.as_str() == architecture
                && past.channel == *channel
                && past.from <= time
                && time < past.until
        });
        let open = || {
            self.open
                .iter()
                .find(|open| {
                    open.architecture.as_str() == architecture
                        && open.channel == *channel
                        && open.released <= time
                        && open.expires.is_none_or(|end| time < end)
                })
                .map(|open| (open.revision, open.progressive.as_ref()))
        };
        past.map(|past| (past.revision, past.progressive.as_ref()))
            .or_else(open)
    }

    /// Everything a channel held for an architecture, the newest first, each revision once.
    pub fn history(&self, architecture: &Architecture, channel: &Channel) -> Vec<u64> {
        let fits = |name: &Architecture| name == architecture || name.as_str() == ANY;
        let mut revisions = Vec::new();
        let open = self
            .open
            .iter()
            .filter(|open| fits(&open.architecture) && open.channel == *channel)
            .map(|open| open.revision);
        let past = self
            .past
            .iter()
            .rev()
            .filter(|past| fits(&past.architecture) && past.channel == *channel)
            .map(|past| past.revision);
        for revision in open.chain(past) {
            if !revisions.contains(&revision) {
                revisions.push(revision);
            }
        }
        revisions
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::catalog::{Risk, Track};

    fn arch(name: &str) -> Architecture {
        name.parse().unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    #[test]
    fn the_past_is_remembered_for_cohorts_and_then_forgotten() {
        let mut map = Releases::default();
        let stable: Channel = "stable".parse().unwrap();
        for (revision, time) in [(1, 100), (2, 200), (3, 300)] {
            map.release(&[arch("amd64")], &stable, revision, None, at(time));
        }
        let then = |time| map.find_at(&arch("amd64"), &"edge".parse().unwrap(), at(time));
        assert_eq!(then(50), None);
        assert_eq!(then(150), Some((1, stable.clone())));
        assert_eq!(then(200), Some((2, stable.clone())));
        assert_eq!(then(999), Some((3, stable.clone())));
        let mut later = map.clone();
        later.forget(at(300 + MEMORY + 1), |revision| revision == 1);
        let kept: Vec<u64> = later.past.iter().map(|past| past.revision).collect();
        assert_eq!(kept, [1]);
    }

    #[test]
    fn a_cohort_is_beyond_every_percentage() {
        let mut map = Releases::default();
        let (stable, edge): (Channel, Channel) = ("stable".parse().unwrap(), "edge".parse().unwrap());
        map.release(&[arch("amd64")], &stable, 1, None, at(100));
        map.release(&[arch("amd64")], &stable, 2, Some(60.0), at(200));
        map.release(&[arch("amd64")], &edge, 3, Some(60.0), at(200));
        let then = |map: &Releases, time| map.find_at(&arch("amd64"), &edge, at(time));
        assert_eq!(then(&map, 250), Some((1, stable.clone())));
        map.release(&[arch("amd64")], &stable, 2, None, at(300));
        map.close(&edge, &[], at(300));
        assert_eq!(then(&map, 250), Some((1, stable.clone())));
        assert_eq!(then(&map, 350), Some((2, stable.clone())));
    }

    #[test]
    fn what_was_written_before_percentages_were_remembered_is_read() {
        let old = r#"{"architecture":"amd64","channel":"latest/stable","revision":7,"from":"1970-01-01T00:00:10Z","until":"1970-01-01T00:00:20Z"}"#;
        let past: Past = serde_json::from_str(old).unwrap();
        assert_eq!((past.revision, &past.progressive), (7, &None));
        assert_eq!(serde_json::to_string(&past).unwrap(), old);
    }

    proptest! {
        /// A cohort gets what a device beyond every percentage got at the time, whatever came later.
        #[test]
        fn the_past_is_as_it_was(
            steps in proptest::collection::vec(
                (0usize..6, any::<bool>(), 1u64..9, 0u8..4, proptest::option::of(1.0f64..99.0), 1i64..20), 1..24),
            asked in 0usize..6,
        ) {
            let channels: Vec<Channel> = Risk::ALL
                .into_iter()
                .map(|risk| Channel::new(Track::default(), risk))
                .chain(["stable/fix".parse().unwrap(), "edge/try".parse().unwrap()])
                .collect();
            let mut map = Releases::default();
            let (mut days, mut seen) = (0, Vec::new());
            for (channel, all, revision, what, percentage, pause) in steps {
                days += pause;
                let now = at(days * 24 * 3600);
                let architecture = [arch(if all { "all" } else { "amd64" })];
                match what {
                    0 => drop(map.close(&channels[channel], &[], now)),
                    1 => drop(map.expire(now)),
                    _ => map.release(&architecture, &channels[channel], revision, percentage, now),
                }
                let found = map.find(&arch("amd64"), &channels[asked], now, 1.0);
                seen.push((now, found.map(|found| (found.revision, found.channel))));
            }
            for (then, found) in seen {
                prop_assert_eq!(map.find_at(&arch("amd64"), &channels[asked], then), found);
            }
        }
    }
}
