//! What is released, as publishers are told it: what happened, and what each channel shows (publisher-api.md 6.10, 6.11).

use std::collections::{BTreeMap, BTreeSet};

use super::channel::{Channel, Risk, Track};
use super::releases::{ANY, Release, Releases};
use crate::domain::ident::Architecture;
use crate::domain::time::Timestamp;

/// Something that happened to a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// For this architecture, or `all`.
    pub architecture: Architecture,
    /// The channel.
    pub channel: Channel,
    /// What it holds since; none = it was closed.
    pub revision: Option<u64>,
    /// Only this part of the devices gets it, out of 100.
    pub percentage: Option<f64>,
    /// That part waited: no further device got it.
    pub paused: bool,
    /// When a branch closes by itself.
    pub expires: Option<Timestamp>,
    /// When it happened.
    pub when: Timestamp,
}

/// What a channel shows to the devices of one architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown<'r> {
    /// The channel.
    pub channel: Channel,
    /// What is there.
    pub holds: Holds<'r>,
}

/// What is in a channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Holds<'r> {
    /// Nothing, and nothing in the safer ones.
    Nothing,
    /// Nothing: devices get what a safer one holds.
    Safer,
    /// This.
    Release(&'r Release),
}

impl Releases {
    /// What happened, as far as it is remembered, the latest first. A branch whose time is over was closed then.
    pub fn events(&self, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let mut close = Vec::new();
        for past in &self.past {
            events.push(Event {
                architecture: past.architecture.clone(),
                channel: past.channel.clone(),
                revision: Some(past.revision),
                percentage: past.progressive.as_ref().map(|part| part.percentage),
                paused: past.progressive.as_ref().is_some_and(|part| part.paused),
                expires: None,
                when: past.from,
            });
            let same = |architecture: &Architecture, channel: &Channel, from: Timestamp| {
                *channel == past.channel
                    && from == past.until
                    && (*architecture == past.architecture || architecture.as_str() == ANY)
            };
            let followed = self
                .open
                .iter()
                .any(|open| same(&open.architecture, &open.channel, open.released))
                || self
                    .past
                    .iter()
                    .any(|next| next != past && same(&next.architecture, &next.channel, next.from));
            if !followed {
                close.push((past.architecture.clone(), past.channel.clone(), past.until));
            }
        }
        for open in &self.open {
            events.push(Event {
                architecture: open.architecture.clone(),
                channel: open.channel.clone(),
                revision: Some(open.revision),
                percentage: open.progressive.as_ref().map(|part| part.percentage),
                paused: open.progressive.as_ref().is_some_and(|part| part.paused),
                expires: open.expires,
                when: open.released,
            });
            if let Some(end) = open.expires.filter(|end| *end <= now) {
                close.push((open.architecture.clone(), open.channel.clone(), end));
            }
        }
        events.extend(close.into_iter().map(|(architecture, channel, when)| Event {
            architecture,
            channel,
            revision: None,
            percentage: None,
            paused: false,
            expires: None,
            when,
        }));
        // Of what happened at once the later one stands behind.
        events.sort_by_key(|event| event.when);
        events.reverse();
        events
    }

    /// Since when `revision` was what a channel held for all, before a progressive release of another one.
    pub fn held_since(&self, release: &Release, revision: u64) -> Timestamp {
        let before = self.past.iter().rev().find(|past| {
            past.architecture == release.architecture
                && past.channel == release.channel
                && past.revision == revision
                && past.progressive.is_none()
        });
        before.map_or(release.released, |past| past.from)
    }

    /// What the channels of a track show, by architecture: the four risks from the safest on, then branches.
    pub fn shown(&self, track: &Track, now: Timestamp) -> BTreeMap<Architecture, Vec<Shown<'_>>> {
        let open: Vec<&Release> = self
            .listed(now)
            .into_iter()
            .filter(|open| open.channel.track == *track)
            .collect();
        let names: BTreeSet<&Architecture> = open.iter().map(|open| &open.architecture).collect();
        let of = |name: &Architecture| {
            let risks = Risk::ALL.into_iter().map(|risk| {
                let channel = Channel::new(track.clone(), risk);
                let holds = match self.held(name, &channel, now) {
                    Some(release) => Holds::Release(release),
                    None if self.places(name, &channel, now).next().is_some() => Holds::Safer,
                    None => Holds::Nothing,
                };
                Shown { channel, holds }
            });
            let branches = open
                .iter()
                .copied()
                .filter(|open| open.channel.branch.is_some() && open.architecture == *name);
            let branches = branches.map(|open| Shown {
                channel: open.channel.clone(),
                holds: Holds::Release(open),
            });
            risks.chain(branches).collect()
        };
        names.into_iter().map(|name| (name.clone(), of(name))).collect()
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

    fn told(map: &Releases, now: i64) -> Vec<(String, String, Option<u64>, i64)> {
        let events = map.events(at(now)).into_iter();
        events
            .map(|event| {
                let Event {
                    architecture,
                    channel,
                    revision,
                    when,
                    ..
                } = event;
                (architecture.to_string(), channel.short(), revision, when.unix())
            })
            .collect()
    }

    #[test]
    fn what_happened_is_told_backwards() {
        let mut map = Releases::default();
        let (stable, branch) = ("stable".parse().unwrap(), "edge/fix".parse().unwrap());
        map.release(&[arch("amd64")], &stable, 1, None, at(10));
        map.release(&[arch("amd64")], &stable, 2, None, at(10));
        map.release(&[arch("amd64")], &branch, 2, None, at(15));
        map.close(&stable, &[], at(20));
        map.release(&[arch("amd64")], &stable, 1, Some(20.0), at(30));
        map.release(&[arch("all")], &stable, 3, None, at(40));
        let text = |name: &str| name.to_owned();
        assert_eq!(
            told(&map, 50),
            [
                (text("all"), text("stable"), Some(3), 40),
                (text("amd64"), text("stable"), Some(1), 30),
                (text("amd64"), text("stable"), None, 20),
                (text("amd64"), text("edge/fix"), Some(2), 15),
                (text("amd64"), text("stable"), Some(2), 10),
                (text("amd64"), text("stable"), Some(1), 10),
            ]
        );
        let end = 15 + super::super::BRANCH_LIFE;
        assert_eq!(told(&map, end)[0], (text("amd64"), text("edge/fix"), None, end));
    }

    #[test]
    fn channels_show_what_they_hold_or_follow() {
        let mut map = Releases::default();
        let amd64 = arch("amd64");
        map.release(
            std::slice::from_ref(&amd64),
            &"candidate".parse().unwrap(),
            1,
            None,
            at(0),
        );
        map.release(
            std::slice::from_ref(&amd64),
            &"candidate/x".parse().unwrap(),
            2,
            None,
            at(0),
        );
        map.release(&[arch("arm64")], &"2.0/edge".parse().unwrap(), 3, None, at(0));
        let shown = map.shown(&Track::default(), at(1));
        assert_eq!(shown.keys().collect::<Vec<_>>(), [&amd64]);
        let words: Vec<(String, &str)> = shown[&amd64]
            .iter()
            .map(|shown| {
                let word = match shown.holds {
                    Holds::Nothing => "nothing",
                    Holds::Safer => "safer",
                    Holds::Release(release) if release.revision == 1 => "1",
                    Holds::Release(_) => "2",
                };
                (shown.channel.short(), word)
            })
            .collect();
        let row = |channel: &str, word| (channel.to_owned(), word);
        assert_eq!(
            words,
            [
                row("stable", "nothing"),
                row("candidate", "1"),
                row("beta", "safer"),
                row("edge", "safer"),
                row("candidate/x", "2"),
            ]
        );
        assert_eq!(map.shown(&"2.0".parse().unwrap(), at(1)).len(), 1);
    }
}
