//! Which revision a device gets (device-api.md 16): channel, cohort, progressive releases and epochs meet here.

use aws_lc_rs::digest;

use super::channel::Channel;
use super::releases::Releases;
use crate::domain::ident::{Architecture, DeviceId, SnapId};
use crate::domain::snap::Epoch;
use crate::domain::time::Timestamp;

/// What decides about the revision.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The architecture of the device.
    pub architecture: &'a Architecture,
    /// The channel it follows.
    pub channel: &'a Channel,
    /// When its cohort key was made.
    pub cohort: Option<Timestamp>,
    /// What it has: the epoch that the new revision must be able to read. None on installation.
    pub epoch: Option<&'a Epoch>,
    /// The place of the device among all, for progressive releases; see [`chance`].
    pub chance: f64,
    /// Now.
    pub now: Timestamp,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The revision.
    pub revision: u64,
    /// The channel it comes from: a safer one where the asked one is closed.
    pub channel: Channel,
}

/// The revision for who asks; none if nothing of the snap is released there. `epoch_of` knows the epochs of revisions.
///
/// Where the channel holds what a device cannot read yet, the newest revision the channel ever held that it can read,
/// and that brings it further, is offered: devices step through epochs one after the other.
pub fn offer<'e>(
    releases: &Releases,
    ask: Ask<'_>,
    epoch_of: impl Fn(u64) -> Option<&'e Epoch>,
) -> Option<Offer> {
    let found = releases.find(ask.architecture, ask.channel, ask.now, ask.chance);
    let cohort = ask
        .cohort
        .and_then(|time| releases.find_at(ask.architecture, ask.channel, time));
    let (revision, channel) = match (cohort, found) {
        (Some(held), _) => held,
        (None, Some(found)) => (found.revision, found.channel),
        (None, None) => return None,
    };
    let readable = |revision: u64| match (ask.epoch, epoch_of(revision)) {
        (Some(current), Some(epoch)) => epoch.can_read(current),
        (None, Some(_)) => true,
        (_, None) => false,
    };
    let revision = if readable(revision) {
        revision
    } else {
        let mut steps = releases.history(ask.architecture, &channel).into_iter();
        steps.find(|step| readable(*step))?
    };
    Some(Offer { revision, channel })
}

/// The place of a device among all, from 0 up to 1: fixed for this snap, different from snap to snap, so that the same
/// devices are not always first.
pub fn chance(device: &DeviceId, snap: &SnapId) -> f64 {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [
        device.brand.as_str(),
        device.model.as_str(),
        device.serial.as_str(),
        snap.as_str(),
    ] {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    let digest = context.finish();
    let first = digest.as_ref().first_chunk::<4>();
    let number = first.map_or(0, |bytes| u32::from_be_bytes(*bytes));
    f64::from(number) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amd64() -> Architecture {
        "amd64".parse().unwrap()
    }

    fn epoch(read: &[u32], write: &[u32]) -> Epoch {
        Epoch::new(read.to_vec(), write.to_vec()).unwrap()
    }

    #[test]
    fn devices_step_through_epochs() {
        let stable: Channel = "stable".parse().unwrap();
        let epochs = [epoch(&[0], &[0]), epoch(&[0, 1], &[1]), epoch(&[1, 2], &[2])];
        let mut releases = Releases::default();
        for revision in 1..=3 {
            let now = Timestamp::from_unix(revision as i64);
            releases.release(&[amd64()], &stable, revision, None, now);
        }
        let get = |current: Option<&Epoch>| {
            let ask = Ask {
                architecture: &amd64(),
                channel: &stable,
                cohort: None,
                epoch: current,
                chance: 0.5,
                now: Timestamp::from_unix(10),
            };
            offer(&releases, ask, |revision| epochs.get(revision as usize - 1)).map(|offer| offer.revision)
        };
        assert_eq!(get(None), Some(3));
        assert_eq!(get(Some(&epochs[0])), Some(2));
        assert_eq!(get(Some(&epochs[1])), Some(3));
        assert_eq!(get(Some(&epoch(&[9], &[9]))), None);
    }

    #[test]
    fn a_cohort_keeps_what_there_was() {
        let stable: Channel = "stable".parse().unwrap();
        let zero = Epoch::default();
        let mut releases = Releases::default();
        releases.release(&[amd64()], &stable, 1, None, Timestamp::from_unix(10));
        releases.release(&[amd64()], &stable, 2, None, Timestamp::from_unix(20));
        let get = |cohort: Option<i64>| {
            let ask = Ask {
                architecture: &amd64(),
                channel: &stable,
                cohort: cohort.map(Timestamp::from_unix),
                epoch: None,
                chance: 0.5,
                now: Timestamp::from_unix(30),
            };
            offer(&releases, ask, |_| Some(&zero)).map(|offer| offer.revision)
        };
        assert_eq!(get(Some(15)), Some(1));
        assert_eq!(get(Some(25)), Some(2));
        assert_eq!(get(Some(5)), Some(2));
        assert_eq!(get(None), Some(2));
    }

    proptest! {
        /// Whatever was released, an offered revision can be read by the device, and was in the channel that is named.
        #[test]
        fn no_offer_is_unreadable(
            steps in proptest::collection::vec((1u64..6, 0usize..3), 1..12),
            current in 0usize..4,
        ) {
            let risks = ["stable", "beta", "edge"];
            let epochs = [epoch(&[0], &[0]), epoch(&[0, 1], &[1]), epoch(&[1, 2], &[2]), epoch(&[2], &[2]), epoch(&[3], &[3])];
            let mut releases = Releases::default();
            for (number, (revision, risk)) in steps.iter().enumerate() {
                let channel = risks[*risk].parse().unwrap();
                releases.release(&[amd64()], &channel, *revision, None, Timestamp::from_unix(number as i64));
            }
            let channel: Channel = "edge".parse().unwrap();
            let current = &epochs[current];
            let ask = Ask {
                architecture: &amd64(), channel: &channel, cohort: None, epoch: Some(current), chance: 0.3,
                now: Timestamp::from_unix(99),
            };
            if let Some(found) = offer(&releases, ask, |revision| epochs.get(revision as usize - 1)) {
                prop_assert!(epochs[found.revision as usize - 1].can_read(current));
                prop_assert!(releases.history(&amd64(), &found.channel).contains(&found.revision));
            }
        }

        #[test]
        fn places_are_spread_evenly(seed in any::<u32>()) {
            let id: SnapId = format!("{seed:032}").parse().unwrap();
            let below = (0..400).filter(|number| {
                let device = DeviceId {
                    brand: "acme".parse().unwrap(),
                    model: "gate".parse().unwrap(),
                    serial: format!("SN{number}").parse().unwrap(),
                };
                let place = chance(&device, &id);
                assert!((0.0..1.0).contains(&place));
                place < 0.25
            });
            let below = below.count();
            prop_assert!((50..=150).contains(&below), "{below}");
        }
    }
}
