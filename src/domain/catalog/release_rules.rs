//! What may be released where: the rules a release is judged by before it is made.

use regex::RegexBuilder;

use super::channel::{Channel, Risk, Track};
use super::releases::{MAX_OPEN, Releases};
use super::snap::{RevisionRecord, SnapRecord};
use crate::domain::ident::Architecture;
use crate::domain::review::ReviewState;
use crate::domain::snap::{Confinement, Epoch};

/// The architecture of what runs anywhere.
const ANY: &str = "all";
/// Largest compiled size of a guardrail pattern, in bytes.
const PATTERN_SIZE: usize = 64 * 1024;

/// Why a revision may not be released to a channel. Reads as the end of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseRefusal {
    /// The track was not made.
    #[error("the snap has no track {0}")]
    NoTrack(Track),
    /// No reviewer let it through yet.
    #[error("it is {0}; only approved revisions are released")]
    NotApproved(ReviewState),
    /// A development build for everybody.
    #[error("a revision with {what} may only be released to edge and beta, not to {channel}")]
    NotStable {
        /// What says so: `grade devel` or `confinement devmode`.
        what: &'static str,
        /// The channel.
        channel: Channel,
    },
    /// Devices that follow the channel could not go on: they would stay with what they have for ever.
    #[error(
        "it cannot read the data (epoch {held}) of revision {revision} in {channel}: release a revision in between \
         that can, or close the channel first"
    )]
    Epoch {
        /// The channel.
        channel: Channel,
        /// What is there.
        revision: u64,
        /// Its epoch.
        held: Epoch,
    },
    /// Not a part of all devices.
    #[error("a percentage lies above 0 and is at most 100, not {0}")]
    Percentage(String),
    /// Too many at once.
    #[error("the snap would have more than {MAX_OPEN} channels open")]
    TooMany,
}

/// The architectures a revision is released for: `all` alone where it runs anywhere.
pub fn released_for(revision: &RevisionRecord) -> Vec<Architecture> {
    match revision.architectures.iter().find(|name| name.as_str() == ANY) {
        Some(any) => vec![any.clone()],
        None => revision.architectures.iter().cloned().collect(),
    }
}

/// Whether `revision` of `snap` may be released to `channel`. `epoch_of` knows the epochs of what is there.
pub fn may_release(
    snap: &SnapRecord,
    revision: &RevisionRecord,
    channel: &Channel,
    percentage: Option<f64>,
    epoch_of: impl Fn(u64) -> Option<Epoch>,
) -> Result<(), ReleaseRefusal> {
    if !revision.review.is_approved() {
        return Err(ReleaseRefusal::NotApproved(revision.review));
    }
    if channel.track != Track::default() && !snap.tracks.contains(&channel.track) {
        return Err(ReleaseRefusal::NoTrack(channel.track.clone()));
    }
    if channel.risk <= Risk::Candidate {
        let what = match (revision.grade.as_deref(), revision.confinement) {
            (Some("devel"), _) => Some("grade devel"),
            (_, Confinement::Devmode) => Some("confinement devmode"),
            _ => None,
        };
        if let Some(what) = what {
            let channel = channel.clone();
            return Err(ReleaseRefusal::NotStable { what, channel });
        }
    }
    // Written so that what is no number fails too.
    if let Some(percentage) = percentage
        && !(percentage > 0.0 && percentage <= 100.0)
    {
        return Err(ReleaseRefusal::Percentage(percentage.to_string()));
    }
    let architectures = released_for(revision);
    for held in held_there(&snap.releases, &architectures, channel) {
        if let Some(epoch) = epoch_of(held)
            && !revision.epoch.can_read(&epoch)
        {
            return Err(ReleaseRefusal::Epoch {
                channel: channel.clone(),
                revision: held,
                held: epoch,
            });
        }
    }
    let known = |name: &Architecture| {
        let mut open = snap.releases.open.iter();
        open.any(|open| open.channel == *channel && open.architecture == *name)
    };
    let new = architectures.iter().filter(|name| !known(name)).count();
    if snap.releases.open.len() + new > MAX_OPEN {
        return Err(ReleaseRefusal::TooMany);
    }
    Ok(())
}

/// The revisions that devices get from a channel for these architectures: what it holds, what stands in, and what a part
/// of the devices keeps.
pub fn held_there(releases: &Releases, architectures: &[Architecture], channel: &Channel) -> Vec<u64> {
    let everywhere = architectures.iter().any(|name| name.as_str() == ANY);
    let concerned = releases.open.iter().filter(|open| {
        let any = open.architecture.as_str() == ANY;
        open.channel == *channel && (everywhere || any || architectures.contains(&open.architecture))
    });
    let mut held: Vec<u64> = concerned
        .flat_map(|open| {
            let part = open.progressive.iter();
            let others = part.flat_map(|part| part.otherwise.into_iter().chain(part.given.iter().copied()));
            std::iter::once(open.revision).chain(others)
        })
        .collect();
    held.sort_unstable();
    held.dedup();
    held
}

/// Why a pattern cannot guard tracks. Reads as the end of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no regular expression (or a too large one): {0}")]
pub struct PatternError(String);

/// Whether one of the patterns covers the whole name of `track`. A pattern that is none covers nothing.
pub fn guarded(patterns: &[String], track: &Track) -> bool {
    patterns
        .iter()
        .any(|pattern| compiled(pattern).is_ok_and(|regex| regex.is_match(track.as_str())))
}

/// Whether `pattern` can guard tracks.
pub fn check_pattern(pattern: &str) -> Result<(), PatternError> {
    compiled(pattern).map(|_| ())
}

fn compiled(pattern: &str) -> Result<regex::Regex, PatternError> {
    // Alone first: a pattern like `a)(b` would only hold between our brackets.
    let make = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(PATTERN_SIZE)
            .build()
            .map_err(|error| PatternError(error.to_string()))
    };
    make(pattern)?;
    make(&format!("^(?:{pattern})$"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::domain::blob::BlobId;
    use crate::domain::catalog::Listing;
    use crate::domain::snap::SnapType;
    use crate::domain::time::Timestamp;

    fn snap() -> SnapRecord {
        SnapRecord {
            id: "a".repeat(32).parse().unwrap(),
            name: "gizmo".parse().unwrap(),
            brand_id: "acme".parse().unwrap(),
            store_id: "acme".parse().unwrap(),
            publisher_id: "acme".parse().unwrap(),
            collaborators: BTreeSet::new(),
            kind: Some(SnapType::App),
            private: false,
            revoked: false,
            listing: Listing::default(),
            tracks: BTreeSet::from(["2.0".parse().unwrap()]),
            guardrails: Vec::new(),
            default_track: None,
            aliases: BTreeSet::new(),
            refresh_control: BTreeSet::new(),
            newest_revision: 9,
            newest_components: BTreeMap::new(),
            releases: Releases::default(),
            featured: None,
            created: Timestamp::from_unix(0),
        }
    }

    pub(in super::super) fn revision(number: u64, epoch: &str) -> RevisionRecord {
        RevisionRecord {
            snap_id: snap().id,
            revision: number,
            blob: BlobId::of(b""),
            size: 0,
            sha512: String::new(),
            version: "1".into(),
            kind: SnapType::App,
            base: None,
            architectures: BTreeSet::from(["amd64".parse().unwrap()]),
            confinement: Confinement::Strict,
            epoch: epoch.parse().unwrap(),
            grade: None,
            provenance: "global-upload".into(),
            snap_yaml: String::new(),
            common_ids: Vec::new(),
            apps: Vec::new(),
            hooks: BTreeSet::new(),
            components: Vec::new(),
            developer_id: "acme".parse().unwrap(),
            created: Timestamp::from_unix(0),
            review: Default::default(),
        }
    }

    fn judge(snap: &SnapRecord, new: &RevisionRecord, channel: &str) -> Result<(), ReleaseRefusal> {
        let channel = channel.parse().unwrap();
        let epochs =
            |number: u64| (number < 5).then(|| ["0", "0", "1*", "1", "2"][number as usize].parse().unwrap());
        may_release(snap, new, &channel, None, epochs)
    }

    #[test]
    fn tracks_must_be_there_and_builds_be_fit() {
        let (snap, mut new) = (snap(), revision(1, "0"));
        assert_eq!(judge(&snap, &new, "2.0/edge"), Ok(()));
        assert_eq!(
            judge(&snap, &new, "3.0/edge"),
            Err(ReleaseRefusal::NoTrack("3.0".parse().unwrap()))
        );
        new.grade = Some("devel".into());
        assert_eq!(judge(&snap, &new, "beta"), Ok(()));
        assert!(judge(&snap, &new, "candidate").is_err());
        new.grade = Some("stable".into());
        assert_eq!(judge(&snap, &new, "stable/fix"), Ok(()));
        new.confinement = Confinement::Devmode;
        assert!(judge(&snap, &new, "stable/fix").is_err());
    }

    #[test]
    fn only_what_is_approved_is_released() {
        for state in ReviewState::ALL {
            let mut new = revision(1, "0");
            new.review = state;
            let refusal = ReleaseRefusal::NotApproved(state);
            let expected = if state.is_approved() { Ok(()) } else { Err(refusal) };
            assert_eq!(judge(&snap(), &new, "edge"), expected);
        }
    }

    #[test]
    fn devices_are_not_left_behind_by_an_epoch() {
        let mut snap = snap();
        let stable: Channel = "stable".parse().unwrap();
        let amd64 = ["amd64".parse().unwrap()];
        snap.releases
            .release(&amd64, &stable, 1, None, Timestamp::from_unix(1));
        assert!(matches!(
            judge(&snap, &revision(3, "1"), "stable"),
            Err(ReleaseRefusal::Epoch { revision: 1, .. })
        ));
        assert_eq!(judge(&snap, &revision(3, "1"), "beta"), Ok(()));
        assert_eq!(judge(&snap, &revision(2, "1*"), "stable"), Ok(()));
        snap.releases
            .release(&amd64, &stable, 2, Some(50.0), Timestamp::from_unix(2));
        // Half of the devices still have revision 1.
        assert!(judge(&snap, &revision(3, "1"), "stable").is_err());
        snap.releases
            .release(&amd64, &stable, 2, None, Timestamp::from_unix(3));
        assert_eq!(judge(&snap, &revision(3, "1"), "stable"), Ok(()));
    }

    #[test]
    fn a_revision_for_all_is_released_for_all() {
        let mut new = revision(1, "0");
        new.architectures.insert("all".parse().unwrap());
        assert_eq!(released_for(&new), ["all".parse().unwrap()]);
    }

    #[test]
    fn patterns_cover_whole_names() {
        let guard = |pattern: &str, track: &str| guarded(&[pattern.to_owned()], &track.parse().unwrap());
        assert!(guard(r"[0-9]+\.[0-9]+", "2.0"));
        assert!(!guard(r"[0-9]+", "2.0"));
        assert!(guard("a|bc", "bc"));
        assert!(!guard("a)|(b", "b"));
        assert!(check_pattern("(").is_err());
        assert!(check_pattern("a{1000}{1000}").is_err());
    }

    proptest! {
        #[test]
        fn a_percentage_is_a_part(percentage in prop::num::f64::ANY) {
            let good = percentage > 0.0 && percentage <= 100.0;
            let verdict = may_release(
                &snap(), &revision(1, "0"), &"stable".parse().unwrap(), Some(percentage), |_| None,
            );
            prop_assert_eq!(verdict.is_ok(), good);
        }

        /// Whatever is open: what is refused for its epoch could not be read, and what passes reads all of it.
        #[test]
        fn what_passes_reads_all_that_is_there(
            steps in prop::collection::vec((1u64..5, 0usize..2, prop::option::of(1.0f64..99.0)), 0..8),
            new in 1u64..5,
        ) {
            let epochs = ["0", "0", "1*", "1", "2"];
            let mut snap = snap();
            let stable: Channel = "stable".parse().unwrap();
            let architectures: [Architecture; 2] = ["amd64".parse().unwrap(), "all".parse().unwrap()];
            for (number, (revision, architecture, part)) in steps.iter().enumerate() {
                let now = Timestamp::from_unix(number as i64);
                snap.releases.release(&architectures[*architecture..=*architecture], &stable, *revision, *part, now);
            }
            let passes = judge(&snap, &revision(new, epochs[new as usize]), "stable").is_ok();
            let epoch: Epoch = epochs[new as usize].parse().unwrap();
            let held = held_there(&snap.releases, &architectures[..1], &stable);
            let reads = held.iter().all(|held| epoch.can_read(&epochs[*held as usize].parse().unwrap()));
            prop_assert_eq!(passes, reads);
        }
    }
}
