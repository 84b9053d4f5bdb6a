//! What a snap's channels held before: for cohorts, and for devices that must step through it.

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::releases::{ANY, Releases};
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

    /// What [`Self::find`] would have answered at `time`, as far as it is remembered; `chance` as there. For cohorts.
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
            [architecture.as_str(), ANY]
                .iter()
                .find_map(|name| self.held_at(name, &channel, time))
                .map(|revision| (revision, channel.clone()))
        })
    }

    fn held_at(&self, architecture: &str, channel: &Channel, time: Timestamp) -> Option<u64> {
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
                .map(|open| open.revision)
        };
        past.map(|past| past.revision).or_else(open)
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
    use super::*;

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
}
