//! What a device gets that follows a channel. Most ask for what is the same for all: that is worked out only once.

use std::borrow::Cow;

use super::entry::{Offered, Question, SnapEntry};
use crate::domain::catalog::{Ask, Channel, Offer, Pins, offer};
use crate::domain::ident::Architecture;
use crate::domain::snap::Epoch;
use crate::domain::time::Timestamp;

/// What decides about the next revision of a snap that a device has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follower<'a> {
    /// What it runs on.
    pub(super) architecture: &'a Architecture,
    /// What it follows.
    pub(super) channel: &'a Channel,
    /// When its cohort key was made.
    pub(super) cohort: Option<Timestamp>,
    /// What it has.
    pub(super) revision: u64,
    /// The epoch of that.
    pub(super) epoch: &'a Epoch,
    /// Its place among all.
    pub(super) chance: f64,
    /// Now.
    pub(super) now: Timestamp,
    /// What its store pins of the snap.
    pub(super) pins: Option<&'a Pins>,
}

/// What it gets; none if nothing is released there.
pub(super) fn next<'e>(entry: &'e SnapEntry, follower: &Follower<'_>) -> Option<Cow<'e, Offer>> {
    let as_all = follower.cohort.is_none() && follower.pins.is_none() && entry.same_for_all();
    let common = as_all.then(|| held(entry, follower));
    let readable = common
        .flatten()
        .filter(|held| held.epoch.can_read(follower.epoch));
    match readable {
        Some(Cow::Borrowed(held)) => Some(Cow::Borrowed(&held.offer)),
        Some(Cow::Owned(held)) => Some(Cow::Owned(held.offer)),
        None => by_rule(entry, follower).map(Cow::Owned),
    }
}

/// What the channel holds, whoever asks: only where it is the same for all.
fn held<'e>(entry: &'e SnapEntry, follower: &Follower<'_>) -> Option<Cow<'e, Offered>> {
    let Follower {
        architecture,
        channel,
        ..
    } = *follower;
    let question = Question::Follows(architecture.clone(), channel.clone());
    entry.offered(&question, || {
        let releases = &entry.record.releases;
        let found = releases.find(architecture, channel, follower.now, follower.chance)?;
        Some(Offer {
            revision: found.revision,
            channel: found.channel,
        })
    })
}

fn by_rule(entry: &SnapEntry, follower: &Follower<'_>) -> Option<Offer> {
    let ask = Ask {
        architecture: follower.architecture,
        channel: follower.channel,
        cohort: follower.cohort,
        installed: Some(follower.revision),
        epoch: Some(follower.epoch),
        chance: follower.chance,
        now: follower.now,
        pins: follower.pins,
    };
    offer(&entry.record.releases, ask, |revision| entry.epoch_of(revision))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::app::store::Publisher;
    use crate::domain::blob::BlobId;
    use crate::domain::catalog::{Releases, RevisionRecord, SnapRecord};
    use crate::domain::snap::{Confinement, SnapType};

    fn entry(releases: Releases, epochs: &[Epoch]) -> SnapEntry {
        let created = Timestamp::from_unix(0);
        let record = SnapRecord {
            id: "a".repeat(32).parse().unwrap(),
            name: "gizmo".parse().unwrap(),
            brand_id: "acme".parse().unwrap(),
            store_id: "acme".parse().unwrap(),
            publisher_id: "acme".parse().unwrap(),
            collaborators: Default::default(),
            kind: Some(SnapType::App),
            private: false,
            revoked: false,
            listing: Default::default(),
            tracks: Default::default(),
            guardrails: Vec::new(),
            default_track: None,
            aliases: Default::default(),
            refresh_control: Default::default(),
            newest_revision: 0,
            newest_components: Default::default(),
            releases,
            featured: None,
            created,
        };
        let revision = |(number, epoch): (usize, &Epoch)| {
            let revision = number as u64 + 1;
            let record = RevisionRecord {
                snap_id: record.id.clone(),
                revision,
                blob: BlobId::of(b""),
                size: 0,
                sha512: String::new(),
                version: String::new(),
                kind: SnapType::App,
                base: None,
                architectures: ["all".parse().unwrap()].into(),
                confinement: Confinement::Strict,
                epoch: epoch.clone(),
                grade: None,
                provenance: String::new(),
                snap_yaml: String::new(),
                common_ids: Vec::new(),
                apps: Vec::new(),
                hooks: Default::default(),
                components: Vec::new(),
                developer_id: "acme".parse().unwrap(),
                created,
                review: Default::default(),
            };
            (revision, record)
        };
        let revisions: BTreeMap<u64, RevisionRecord> = epochs.iter().enumerate().map(revision).collect();
        let publisher = Publisher {
            id: "acme".parse().unwrap(),
            username: "acme".to_owned(),
            display_name: "Acme".to_owned(),
            validation: "unproven".to_owned(),
        };
        SnapEntry::new(record, revisions, Vec::new(), publisher)
    }

    proptest! {
        /// Whatever is released, and in whatever order devices ask: what is kept for the next one is what the rule says,
        /// also where a release names a revision that is not known.
        #[test]
        fn an_answer_that_is_kept_is_that_of_the_rule(
            steps in proptest::collection::vec(
                (0usize..5, 0usize..2, 1u64..7, any::<bool>(), proptest::option::weighted(0.1, 1.0f64..99.0)), 0..10),
            askers in proptest::collection::vec(
                (0usize..8, 0usize..2, 0u64..7, 0usize..4, 0.0f64..1.0, proptest::option::weighted(0.2, 0i64..20)), 1..20),
        ) {
            let epoch = |read: &[u32], write: &[u32]| Epoch::new(read.to_vec(), write.to_vec()).unwrap();
            let epochs = [epoch(&[0], &[0]), epoch(&[0, 1], &[1]), epoch(&[1], &[1]), epoch(&[1, 2], &[2])];
            let channels = ["stable", "candidate", "latest/beta", "edge", "stable/fix", "2.0/edge", "2.0", "beta"]
                .map(|channel| channel.parse::<Channel>().unwrap());
            let architectures: [Architecture; 2] = ["amd64".parse().unwrap(), "all".parse().unwrap()];
            let mut releases = Releases::default();
            for (number, (channel, architecture, revision, close, percentage)) in steps.into_iter().enumerate() {
                let channel = channels[channel].clone();
                let now = Timestamp::from_unix(number as i64);
                if close {
                    releases.close(&channel, &[], now);
                } else {
                    let architecture = [architectures[architecture].clone()];
                    releases.release(&architecture, &channel, revision, percentage, now);
                }
            }
            let entry = entry(releases, &epochs);
            prop_assert_eq!(entry.progressive, entry.record.releases.is_progressive());
            let devices: [Architecture; 2] = ["amd64".parse().unwrap(), "arm64".parse().unwrap()];
            // A search leaves something behind that no device must get.
            let shown = Offer { revision: 6, channel: channels[0].clone() };
            entry.offered(&Question::Shows(devices[0].clone(), None), || Some(shown));
            for (channel, device, revision, epoch, chance, cohort) in askers {
                let follower = Follower {
                    architecture: &devices[device],
                    channel: &channels[channel],
                    cohort: cohort.map(Timestamp::from_unix),
                    revision,
                    epoch: &epochs[epoch],
                    chance,
                    now: Timestamp::from_unix(20),
                    pins: None,
                };
                let rule = by_rule(&entry, &follower);
                prop_assert_eq!(next(&entry, &follower).map(Cow::into_owned), rule);
            }
        }
    }
}
