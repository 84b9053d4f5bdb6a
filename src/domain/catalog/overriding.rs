//! Overrides (admin-api.md 4.1): a store pins which revision a channel gives to all who see the catalogue through it. The
//! channel map stays the publisher's; what is pinned stands in front of it, as if the channel held it for everybody.

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::releases::ANY;
use crate::domain::ident::{Architecture, SnapId, StoreId};
use crate::domain::time::Timestamp;

/// A revision that a store pins on a channel of a snap, for one architecture of the revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Override {
    /// The store.
    pub store_id: StoreId,
    /// The snap.
    pub snap_id: SnapId,
    /// The channel.
    pub channel: Channel,
    /// The architecture, or `all` where the revision runs anywhere.
    pub architecture: Architecture,
    /// What the channel gives.
    pub revision: u64,
    /// Since when it gives this one.
    pub since: Timestamp,
}

/// One entry of [`Pins`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The channel.
    pub channel: Channel,
    /// The architecture, or `all`.
    pub architecture: Architecture,
    /// What the channel gives.
    pub revision: u64,
    /// Since when.
    pub since: Timestamp,
}

/// All that one store pins of one snap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(Vec<Pin>);

impl Pins {
    /// Adds what `pinned` says; whose store and snap that is, is the caller's to know.
    pub fn add(&mut self, pinned: Override) {
        let Override {
            channel,
            architecture,
            revision,
            since,
            ..
        } = pinned;
        self.0.push(Pin {
            channel,
            architecture,
            revision,
            since,
        });
    }

    /// Every entry.
    pub fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.0.iter()
    }

    /// What a channel is pinned to for an architecture; what is for it alone before what is for all.
    pub fn held(&self, architecture: &Architecture, channel: &Channel) -> Option<&Pin> {
        let of = |name: &str| {
            let mut pins = self.0.iter();
            pins.find(|pin| pin.architecture.as_str() == name && pin.channel == *channel)
        };
        of(architecture.as_str()).or_else(|| of(ANY))
    }

    /// What answers who follows a channel instead of `without`, which is what would answer without pins and where: the
    /// first pin on the way from the followed channel over the safer risks of its track, up to where `without` is.
    pub fn instead(
        &self,
        architecture: &Architecture,
        followed: &Channel,
        without: Option<(u64, Channel)>,
    ) -> Option<(u64, Channel)> {
        let safer = followed.risk.and_safer();
        let safer = safer.map(|risk| Channel::new(followed.track.clone(), risk));
        let branch = followed.branch.as_ref().map(|_| followed.clone());
        for place in branch.into_iter().chain(safer) {
            if let Some(pin) = self.held(architecture, &place) {
                return Some((pin.revision, place));
            }
            if without.as_ref().is_some_and(|(_, channel)| *channel == place) {
                break;
            }
        }
        without
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::catalog::{Ask, Offer, Releases, Risk, Track, offer};
    use crate::domain::snap::Epoch;

    fn arch(name: &str) -> Architecture {
        name.parse().unwrap()
    }

    fn pins(list: &[(&str, &str, u64)]) -> Pins {
        let mut pins = Pins::default();
        for (channel, architecture, revision) in list {
            pins.add(Override {
                store_id: "acme".parse().unwrap(),
                snap_id: "a".repeat(32).parse().unwrap(),
                channel: channel.parse().unwrap(),
                architecture: arch(architecture),
                revision: *revision,
                since: Timestamp::from_unix(0),
            });
        }
        pins
    }

    #[test]
    fn a_pin_stands_in_front_of_the_channel_and_of_those_that_follow_it() {
        let pins = pins(&[
            ("stable", "all", 5),
            ("stable", "arm64", 6),
            ("2.0/edge", "amd64", 9),
        ]);
        let get = |name: &str, followed: &str, without: Option<(u64, &str)>| {
            let without = without.map(|(revision, channel)| (revision, channel.parse().unwrap()));
            let found = pins.instead(&arch(name), &followed.parse().unwrap(), without);
            found.map(|(revision, channel)| (revision, channel.short()))
        };
        let stable = |revision| Some((revision, "stable".to_owned()));
        assert_eq!(get("amd64", "stable", Some((1, "stable"))), stable(5));
        assert_eq!(get("arm64", "stable", Some((1, "stable"))), stable(6));
        // What is closed looks at the safer risks, and finds the pin there.
        assert_eq!(get("amd64", "edge", Some((1, "stable"))), stable(5));
        assert_eq!(get("amd64", "stable/fix", Some((1, "stable"))), stable(5));
        assert_eq!(get("amd64", "edge", None), stable(5));
        // What is open before the pin answers itself.
        assert_eq!(
            get("amd64", "edge", Some((2, "beta"))),
            Some((2, "beta".to_owned()))
        );
        assert_eq!(
            get("amd64", "2.0/edge", Some((2, "2.0/edge"))),
            Some((9, "2.0/edge".to_owned()))
        );
        assert_eq!(get("arm64", "2.0/edge", None), None);
        assert_eq!(get("amd64", "2.0/beta", None), None);
    }

    /// A channel map after random releases, and the epochs of revisions 1 to 8.
    fn world() -> impl Strategy<Value = (Releases, Vec<Epoch>)> {
        let kinds = [
            (vec![0], vec![0]),
            (vec![0, 1], vec![1]),
            (vec![1, 2], vec![2]),
            (vec![3], vec![3]),
        ];
        let kinds = kinds.map(|(read, write)| Epoch::new(read, write).unwrap());
        let step = (
            0usize..4,
            any::<bool>(),
            1u64..9,
            proptest::option::weighted(0.4, 1.0f64..99.0),
        );
        (
            proptest::collection::vec(step, 0..12),
            proptest::collection::vec(0usize..4, 8),
        )
            .prop_map(move |(steps, epochs)| {
                let mut releases = Releases::default();
                for (number, (risk, all, revision, part)) in steps.into_iter().enumerate() {
                    let channel = Channel::new(Track::default(), Risk::ALL[risk]);
                    let architecture = arch(if all { "all" } else { "amd64" });
                    let now = Timestamp::from_unix(number as i64);
                    releases.release(&[architecture], &channel, revision, part, now);
                }
                (
                    releases,
                    epochs.into_iter().map(|kind| kinds[kind].clone()).collect(),
                )
            })
    }

    proptest! {
        /// Whatever is released, pinned and installed: nobody is told what they cannot read; where the followed channel is
        /// pinned to what they can read, they get that, whatever their place, cohort or revision; and pins of other
        /// tracks and architectures change nothing.
        #[test]
        fn pins_decide_where_they_are_and_nowhere_else(
            (releases, epochs) in world(),
            pinned in proptest::collection::vec((0usize..4, 0usize..3, 1u64..10), 0..4),
            followed in 0usize..4,
            installed in proptest::option::of(1u64..9),
            cohort in proptest::option::weighted(0.3, 0i64..12),
            chance in 0.0f64..1.0,
        ) {
            let names = ["amd64", "arm64", "all"];
            let pins = {
                let list: Vec<(&str, &str, u64)> = pinned
                    .iter()
                    .map(|(risk, name, revision)| (Risk::ALL[*risk].as_str(), names[*name], *revision))
                    .collect();
                pins(&list)
            };
            let channel = Channel::new(Track::default(), Risk::ALL[followed]);
            let amd64 = arch("amd64");
            let epoch_of = |revision: u64| epochs.get(usize::try_from(revision).ok()?.checked_sub(1)?);
            let ask = |pins| Ask {
                architecture: &amd64,
                channel: &channel,
                cohort: cohort.map(Timestamp::from_unix),
                installed,
                epoch: installed.and_then(epoch_of),
                chance,
                now: Timestamp::from_unix(100),
                pins,
            };
            let without = offer(&releases, ask(None), epoch_of);
            let with = offer(&releases, ask(Some(&pins)), epoch_of);
            if let Some(Offer { revision, .. }) = &with {
                let epoch = epoch_of(*revision);
                prop_assert!(epoch.is_some());
                if let (Some(own), Some(epoch)) = (installed.and_then(epoch_of), epoch) {
                    prop_assert!(epoch.can_read(own) || installed == Some(*revision));
                }
            }
            let on_the_way = |pin: &&Pin| pin.channel.risk <= channel.risk && pin.architecture.as_str() != "arm64";
            if pins.iter().find(on_the_way).is_none() {
                prop_assert_eq!(&with, &without);
            }
            if let Some(pin) = pins.held(&amd64, &channel) {
                let readable = match (installed.and_then(epoch_of), epoch_of(pin.revision)) {
                    (Some(own), Some(epoch)) => epoch.can_read(own),
                    (None, Some(_)) => true,
                    (_, None) => false,
                };
                if readable {
                    prop_assert_eq!(with, Some(Offer { revision: pin.revision, channel: channel.clone() }));
                } else if let Some(Offer { revision, .. }) = with {
                    // A step towards it, or what there is.
                    prop_assert!(installed == Some(revision) || installed < Some(revision) && revision < pin.revision);
                }
            }
        }
    }
}
