//! Which revision a device gets (device-api.md 16): channel, cohort, progressive releases and epochs meet here.

use aws_lc_rs::digest;

use super::channel::Channel;
use super::overriding::Pins;
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
    /// The revision it has. None on installation.
    pub installed: Option<u64>,
    /// What it has: the epoch that the new revision must be able to read. None on installation.
    pub epoch: Option<&'a Epoch>,
    /// The place of the device among all, for progressive releases; see [`chance`].
    pub chance: f64,
    /// Now.
    pub now: Timestamp,
    /// What the store through which the asker sees the snap pins of it.
    pub pins: Option<&'a Pins>,
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
/// Where the channel holds what a device cannot read yet, it gets the newest revision of the channel's history that it can
/// read and that lies between what it has and what the channel holds: devices step through epochs one after the other,
/// never back, never past what the channel was moved back to. What only a part of the devices is to get is no step for
/// the others. Where there is no step, a device keeps what it has.
///
/// What a store pins on a channel answers for it, to whoever asks: percentages, cohorts and the publisher's releases do not
/// matter there, epochs do.
pub fn offer<'e>(
    releases: &Releases,
    ask: Ask<'_>,
    epoch_of: impl Fn(u64) -> Option<&'e Epoch>,
) -> Option<Offer> {
    let cohort = ask
        .cohort
        .and_then(|time| releases.find_at(ask.architecture, ask.channel, time));
    let held = cohort.or_else(|| held_now(releases, &ask));
    let (revision, channel) = match ask.pins {
        Some(pins) => pins.instead(ask.architecture, ask.channel, held),
        None => held,
    }?;
    let readable = |revision: u64| match (ask.epoch, epoch_of(revision)) {
        (Some(current), Some(epoch)) => epoch.can_read(current),
        (None, Some(_)) => true,
        (_, None) => false,
    };
    if readable(revision) {
        return Some(Offer { revision, channel });
    }
    let place = if ask.cohort.is_some() { 1.0 } else { ask.chance };
    let open = releases.held(ask.architecture, &channel, ask.now);
    let withheld = open.and_then(|open| Some((open.revision, open.beyond(place)?)));
    let is_step = |step: u64| {
        let part = withheld.filter(|(open, part)| *open == step || part.given.contains(&step));
        ask.installed < Some(step) && step < revision && part.is_none() && readable(step)
    };
    let mut steps = releases.history(ask.architecture, &channel).into_iter();
    let own = || ask.installed.filter(|own| epoch_of(*own).is_some());
    let revision = steps.find(|step| is_step(*step)).or_else(own)?;
    Some(Offer { revision, channel })
}

/// What the channel holds for a device. One that a progressive release does not reach gets what stands in, but keeps
/// what an earlier one, or a larger part of this one, gave it: nobody goes back because something newer begins, or because
/// this one is paused. Where
/// nothing stands in, it looks at the safer channels, and gets the newer of what they hold and what it has.
fn held_now(releases: &Releases, ask: &Ask<'_>) -> Option<(u64, Channel)> {
    let found = releases.find(ask.architecture, ask.channel, ask.now, ask.chance);
    let found = found.map(|found| (found.revision, found.channel));
    let Some(installed) = ask.installed else {
        return found;
    };
    for release in releases.places(ask.architecture, ask.channel, ask.now) {
        let Some(part) = release.beyond(ask.chance) else {
            break;
        };
        if installed == release.revision || part.given.contains(&installed) {
            let newer = found.filter(|(revision, _)| part.otherwise.is_none() && *revision > installed);
            return newer.or_else(|| Some((installed, release.channel.clone())));
        }
        if part.otherwise.is_some() {
            break;
        }
    }
    found
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
    use crate::domain::catalog::{Part, Risk};

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
                installed: None,
                epoch: current,
                chance: 0.5,
                now: Timestamp::from_unix(10),
                pins: None,
            };
            offer(&releases, ask, |revision| epochs.get(revision as usize - 1)).map(|offer| offer.revision)
        };
        assert_eq!(get(None), Some(3));
        assert_eq!(get(Some(&epochs[0])), Some(2));
        assert_eq!(get(Some(&epochs[1])), Some(3));
        assert_eq!(get(Some(&epoch(&[9], &[9]))), None);
    }

    /// What a device is offered from stable that has a revision of these.
    fn stepped(releases: &Releases, epochs: &[Epoch], installed: u64, chance: f64) -> Option<u64> {
        let channel = "stable".parse().unwrap();
        let ask = Ask {
            architecture: &amd64(),
            channel: &channel,
            cohort: None,
            installed: Some(installed),
            epoch: epochs.get(installed as usize - 1),
            chance,
            now: Timestamp::from_unix(1000),
            pins: None,
        };
        offer(releases, ask, |revision| epochs.get(revision as usize - 1)).map(|offer| offer.revision)
    }

    #[test]
    fn a_step_is_never_a_step_back() {
        // 3 reads nothing that 2 writes, and 1 can be read by who has 2.
        let epochs = [epoch(&[0, 1], &[0]), epoch(&[0, 1], &[1]), epoch(&[2], &[2])];
        let mut releases = released(&[("stable", 1, 100.0), ("stable", 3, 100.0)]);
        assert_eq!(stepped(&releases, &epochs, 2, 0.5), Some(2));
        assert_eq!(stepped(&releases, &epochs, 1, 0.5), Some(1));
        // Nor past what the channel was moved back to.
        let back = [epoch(&[0], &[0]), epoch(&[0, 1], &[1]), epoch(&[1, 2], &[2])];
        releases = released(&[("stable", 3, 100.0), ("stable", 1, 100.0)]);
        assert_eq!(stepped(&releases, &back, 2, 0.5), Some(2));
        // A revision that is not known here cannot be offered.
        let local = Ask {
            architecture: &amd64(),
            channel: &"stable".parse().unwrap(),
            cohort: None,
            installed: Some(0),
            epoch: Some(&epoch(&[9], &[9])),
            chance: 0.5,
            now: Timestamp::from_unix(1000),
            pins: None,
        };
        let none = offer(&releases, local, |revision| {
            back.get((revision as usize).checked_sub(1)?)
        });
        assert_eq!(none, None);
    }

    #[test]
    fn what_a_device_is_not_to_get_is_no_step() {
        // 2 stands in and cannot be read by who has 1; 3 and 4 could.
        let epochs = [
            epoch(&[0], &[0]),
            epoch(&[2], &[2]),
            epoch(&[0, 2], &[2]),
            epoch(&[0, 2], &[2]),
            epoch(&[5], &[5]),
        ];
        let releases = released(&[("stable", 2, 100.0), ("stable", 3, 60.0), ("stable", 4, 20.0)]);
        assert_eq!(stepped(&releases, &epochs, 1, 0.1), Some(4));
        assert_eq!(stepped(&releases, &epochs, 1, 0.5), Some(1));
        assert_eq!(stepped(&releases, &epochs, 1, 0.9), Some(1));
        // Also where what stands in is the newer one by its number.
        let releases = released(&[("stable", 5, 100.0), ("stable", 3, 60.0), ("stable", 4, 20.0)]);
        assert_eq!(stepped(&releases, &epochs, 1, 0.1), Some(4));
        assert_eq!(stepped(&releases, &epochs, 1, 0.5), Some(1));
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
                installed: None,
                epoch: None,
                chance: 0.5,
                now: Timestamp::from_unix(30),
                pins: None,
            };
            offer(&releases, ask, |_| Some(&zero)).map(|offer| offer.revision)
        };
        assert_eq!(get(Some(15)), Some(1));
        assert_eq!(get(Some(25)), Some(2));
        assert_eq!(get(Some(5)), Some(2));
        assert_eq!(get(None), Some(2));
    }

    /// What a device that has `installed` is offered from a channel, where every revision is known and readable.
    fn offered(
        releases: &Releases,
        channel: &str,
        installed: Option<u64>,
        chance: f64,
    ) -> Option<(u64, String)> {
        let (zero, channel) = (Epoch::default(), channel.parse().unwrap());
        let ask = Ask {
            architecture: &amd64(),
            channel: &channel,
            cohort: None,
            installed,
            epoch: installed.map(|_| &zero),
            chance,
            now: Timestamp::from_unix(1000),
            pins: None,
        };
        offer(releases, ask, |_| Some(&zero)).map(|offer| (offer.revision, offer.channel.to_string()))
    }

    /// Releases of a revision to a part of the devices, one after the other, in `channel`.
    fn released(steps: &[(&str, u64, f64)]) -> Releases {
        let mut releases = Releases::default();
        for (number, (channel, revision, percentage)) in steps.iter().enumerate() {
            let now = Timestamp::from_unix(number as i64);
            let channel = channel.parse().unwrap();
            releases.release(&[amd64()], &channel, *revision, Some(*percentage), now);
        }
        releases
    }

    #[test]
    fn what_a_progressive_release_gave_is_kept_when_the_next_begins() {
        let stable = |revision: u64| Some((revision, "latest/stable".to_owned()));
        let mut releases = released(&[("stable", 1, 100.0), ("stable", 2, 60.0), ("stable", 3, 20.0)]);
        let get = |releases: &Releases, installed, chance| offered(releases, "stable", installed, chance);
        assert_eq!(get(&releases, Some(2), 0.5), stable(2));
        assert_eq!(get(&releases, Some(3), 0.5), stable(3));
        assert_eq!(get(&releases, Some(2), 0.1), stable(3));
        // Who has none of them gets what stands in, and so does who comes anew or has something of elsewhere.
        assert_eq!(get(&releases, Some(1), 0.5), stable(1));
        assert_eq!(get(&releases, None, 0.5), stable(1));
        assert_eq!(get(&releases, Some(9), 0.5), stable(1));

        let lowered = released(&[("stable", 1, 100.0), ("stable", 2, 60.0), ("stable", 2, 10.0)]);
        assert_eq!(get(&lowered, Some(2), 0.5), stable(2));
        assert_eq!(get(&lowered, None, 0.5), stable(1));

        // The channel is moved back on purpose: so are the devices, also when something else begins afterwards.
        let channel = "stable".parse().unwrap();
        releases.release(&[amd64()], &channel, 1, None, Timestamp::from_unix(10));
        assert_eq!(get(&releases, Some(2), 0.5), stable(1));
        releases.release(&[amd64()], &channel, 4, Some(10.0), Timestamp::from_unix(11));
        assert_eq!(get(&releases, Some(2), 0.5), stable(1));
        assert_eq!(get(&releases, Some(4), 0.5), stable(4));
    }

    #[test]
    fn where_nothing_stands_in_the_newer_of_what_was_given_and_the_safer_channel_is_offered() {
        let steps = [("stable", 1, 100.0), ("beta", 3, 60.0), ("beta", 4, 20.0)];
        let get = |releases: &Releases, installed| offered(releases, "edge", installed, 0.5);
        let mut releases = released(&steps);
        assert_eq!(get(&releases, None), Some((1, "latest/stable".to_owned())));
        assert_eq!(get(&releases, Some(3)), Some((3, "latest/beta".to_owned())));
        releases.release(
            &[amd64()],
            &"stable".parse().unwrap(),
            5,
            None,
            Timestamp::from_unix(10),
        );
        assert_eq!(get(&releases, Some(3)), Some((5, "latest/stable".to_owned())));
        // A channel that was closed begins anew.
        let mut closed = released(&steps);
        closed.close(&"beta".parse().unwrap(), &[], Timestamp::from_unix(10));
        assert_eq!(get(&closed, Some(3)), Some((1, "latest/stable".to_owned())));
        closed.release(
            &[amd64()],
            &"beta".parse().unwrap(),
            6,
            Some(20.0),
            Timestamp::from_unix(11),
        );
        assert_eq!(get(&closed, Some(3)), Some((1, "latest/stable".to_owned())));
    }

    proptest! {
        /// Channels that only go forward never take a device back: not by a new progressive release, not by a lower
        /// percentage, not by a pause, not by a release for anything over those for single architectures, and not by time that
        /// passes.
        #[test]
        fn no_device_that_follows_every_offer_goes_down(
            steps in proptest::collection::vec(
                (0usize..4, any::<bool>(), any::<bool>(), (prop_oneof![1.0f64..99.0, Just(100.0)], any::<bool>()), 0i64..40), 1..24),
            followed in 0usize..4,
            chance in 0.0f64..1.0,
        ) {
            let channel = Channel::new(crate::domain::catalog::Track::default(), Risk::ALL[followed]);
            let zero = Epoch::default();
            let mut releases = Releases::default();
            let (mut revision, mut days) = (1, 0);
            let mut installed = None;
            for (risk, newer, all, (percentage, paused), wait) in steps {
                revision += u64::from(newer);
                days += wait;
                let now = Timestamp::from_unix(days * 24 * 3600);
                let architecture = if all { "all".parse().unwrap() } else { amd64() };
                let to = Channel::new(crate::domain::catalog::Track::default(), Risk::ALL[risk]);
                releases.forget(now, |_| false);
                releases.release_part(&[architecture], &to, revision, Some(Part { percentage, paused }), now);
                let ask = Ask {
                    architecture: &amd64(), channel: &channel, cohort: None, installed,
                    epoch: installed.map(|_| &zero), chance, now, pins: None,
                };
                let found = offer(&releases, ask, |_| Some(&zero)).map(|offer| offer.revision);
                prop_assert!(found >= installed, "{installed:?} became {found:?} by {releases:#?}");
                installed = found;
            }
        }

        /// What is paused reaches nobody new, takes nothing from who has it, and when it goes on it is where it would be had
        /// it not been paused.
        #[test]
        fn a_pause_gives_to_nobody_and_takes_from_nobody(
            steps in proptest::collection::vec((0usize..2, any::<bool>(), 1.0f64..99.0, any::<bool>()), 1..12),
            first in any::<bool>(),
            chance in 0.0f64..1.0,
            resumed in 1.0f64..99.0,
        ) {
            let channels: [Channel; 2] = ["stable".parse().unwrap(), "beta".parse().unwrap()];
            let mut releases = Releases::default();
            if first {
                releases.release(&[amd64()], &channels[0], 1, None, Timestamp::from_unix(0));
            }
            let (mut revision, mut installed) = (2, None);
            for (number, (risk, newer, percentage, paused)) in steps.into_iter().enumerate() {
                revision += u64::from(newer);
                let now = Timestamp::from_unix(number as i64 + 1);
                let part = Some(Part { percentage, paused });
                releases.release_part(&[amd64()], &channels[risk], revision, part, now);
                let before = installed;
                let get = |releases: &Releases, has| offered(releases, &channels[risk].to_string(), has, chance);
                if paused {
                    // Every other device gets what it would if it were behind all, or keeps what it has.
                    let fresh = get(&releases, None).map(|(revision, _)| revision);
                    let behind = offered(&releases, &channels[risk].to_string(), None, 1.0);
                    if risk == 0 {
                        prop_assert_eq!(fresh, behind.map(|(revision, _)| revision));
                    }
                    let open = releases.held(&amd64(), &channels[risk], now).unwrap();
                    prop_assert!(fresh != Some(revision) || open.progressive.as_ref().unwrap().otherwise == fresh
                        || releases.open.iter().any(|other| other.channel != open.channel && other.revision == revision));
                    // Who has it keeps it, also as the first of all.
                    let kept = offered(&releases, &channels[risk].to_string(), Some(revision), chance);
                    prop_assert_eq!(kept.map(|(revision, _)| revision), Some(revision));
                    // It goes on: who lies below the percentage gets it, the others what they had while it was paused.
                    let mut after = releases.clone();
                    let part = Some(Part { percentage: resumed, paused: false });
                    after.release_part(&[amd64()], &channels[risk], revision, part, now);
                    let went_on = get(&after, before);
                    if chance * 100.0 < resumed {
                        prop_assert_eq!(went_on.map(|(revision, _)| revision), Some(revision));
                    } else {
                        prop_assert_eq!(went_on, get(&releases, before));
                    }
                }
                let found = get(&releases, before).map(|(revision, _)| revision);
                if risk == 0 {
                    installed = found;
                }
            }
        }

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
                architecture: &amd64(), channel: &channel, cohort: None, installed: None, epoch: Some(current), chance: 0.3,
                now: Timestamp::from_unix(99),
                pins: None,
            };
            if let Some(found) = offer(&releases, ask, |revision| epochs.get(revision as usize - 1)) {
                prop_assert!(epochs[found.revision as usize - 1].can_read(current));
                prop_assert!(releases.history(&amd64(), &found.channel).contains(&found.revision));
            }
        }

        /// Whatever was released, and whatever can be read by whom: no step leads back, none leads past what the channel
        /// holds, a device beyond every percentage gets nothing that is not for all, and who has a known revision is
        /// told at least to keep it.
        #[test]
        fn steps_lead_forward(
            steps in proptest::collection::vec(
                (1u64..7, prop_oneof![1.0f64..99.0, Just(100.0)]), 1..12),
            kinds in proptest::collection::vec(0usize..5, 6),
            installed in 1u64..7,
            chance in 0.0f64..1.0,
        ) {
            let kind = [epoch(&[0], &[0]), epoch(&[0, 1], &[1]), epoch(&[1, 2], &[2]), epoch(&[2], &[2]), epoch(&[0, 3], &[0, 3])];
            let epochs: Vec<Epoch> = kinds.iter().map(|number| kind[*number].clone()).collect();
            let steps: Vec<(&str, u64, f64)> = steps
                .iter()
                .map(|(revision, percentage)| ("stable", *revision, *percentage))
                .collect();
            let releases = released(&steps);
            let stable = "stable".parse().unwrap();
            let found = releases.find(&amd64(), &stable, Timestamp::from_unix(1000), chance);
            let Some(found) = found.map(|found| found.revision) else { return Ok(()) };
            let get = stepped(&releases, &epochs, installed, chance).unwrap();
            let own = &epochs[installed as usize - 1];
            prop_assert!(epochs[get as usize - 1].can_read(own));
            if get != found && get != installed {
                prop_assert!(installed < get && get < found, "{installed} -> {get} -> {found}");
            }
            if get != installed && let Some(part) = releases.open[0].beyond(chance) {
                prop_assert!(Some(get) == part.otherwise || get != releases.open[0].revision && !part.given.contains(&get));
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
