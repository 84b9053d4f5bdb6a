//! How a wave binds devices themselves: by validation sets, signed where the server has no part (waves-and-registration.md A.7,
//! level 2). A wave has two of them. As a device only ever takes a higher number of a sequence, what takes the wave back
//! is signed together with it, under the next number: nobody needs the key in the middle of an incident.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::pin::{Entry, PinRef};
use super::production::ProductionMap;
use super::wave::{Wave, WaveError, WaveKind, WaveStatus};
use crate::domain::ident::{AccountId, SetName, SnapId, SnapName};

/// The validation sets that waves of a tag make: a sequence of its own for every tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SetRef {
    /// Whose they are, and who signs them: the brand.
    pub account: AccountId,
    /// Their name.
    pub name: SetName,
}

/// The validation sets of a wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Binding {
    /// Of which sequence.
    pub set: SetRef,
    /// What the wave says, under its number.
    pub wave: Document,
    /// What was before, under the next number.
    pub abort: Document,
}

/// A validation set, signed or to be signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Document {
    /// Its number.
    pub sequence: u64,
    /// What it says, ordered by the names of the snaps.
    pub snaps: Vec<Listed>,
    /// The assertion, once it is signed.
    pub assertion: Option<String>,
}

/// A snap of a validation set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// Its name.
    pub name: SnapName,
    /// Its id.
    pub id: SnapId,
    /// Whether devices must have it. A device refuses a set of which it lacks such a snap.
    pub required: bool,
    /// The only revision it may have; none = any.
    pub revision: Option<u64>,
}

impl Binding {
    /// Whether both are signed.
    pub fn is_signed(&self) -> bool {
        self.wave.assertion.is_some() && self.abort.assertion.is_some()
    }

    /// The one of this number.
    pub fn document(&self, sequence: u64) -> Option<&Document> {
        [&self.wave, &self.abort]
            .into_iter()
            .find(|document| document.sequence == sequence)
    }

    /// The same, to be signed.
    pub fn document_mut(&mut self, sequence: u64) -> Option<&mut Document> {
        [&mut self.wave, &mut self.abort]
            .into_iter()
            .find(|document| document.sequence == sequence)
    }
}

impl Document {
    /// Whether it holds a snap to this revision.
    pub fn holds(&self, snap: impl Fn(&Listed) -> bool, revision: u64) -> bool {
        self.snaps
            .iter()
            .any(|listed| listed.revision == Some(revision) && snap(listed))
    }
}

/// What the two documents of a wave say of each snap: the wave's, then the abort's.
pub type Contents = (BTreeMap<SnapId, Option<u64>>, BTreeMap<SnapId, Option<u64>>);

/// What the documents of a wave say over what is published. Snaps that the wave is the first to name are free in the abort, and
/// those of which devices may have kept something newer from a wave that was cancelled (`kept`, its revisions) are free in both:
/// no set takes anybody back who was not meant to go.
///
/// # Errors
/// [`WaveError::SeveralRevisions`]: a validation set knows neither channels nor architectures.
pub fn contents(
    map: &ProductionMap,
    (kind, entries): (WaveKind, &[Entry]),
    prune: &BTreeSet<SnapId>,
    kept: &[Entry],
) -> Result<Contents, WaveError> {
    let published = || map.entries().iter().map(|published| &published.entry);
    let by_pin = |entry: &'_ Entry| -> (SnapId, u64) { (entry.pin.snap_id.clone(), entry.revision) };
    let mut over: BTreeMap<PinRef<'_>, &Entry> = BTreeMap::new();
    let stays = published().filter(|entry| !prune.contains(&entry.pin.snap_id));
    for entry in stays.chain(entries) {
        over.insert(entry.pin.by_ref(), entry);
    }
    let mut wave = one_each(over.into_values().map(by_pin))?;
    let mut abort = one_each(published().map(by_pin))?;
    for entry in entries {
        abort.entry(entry.pin.snap_id.clone()).or_insert(None);
    }
    let back: BTreeSet<&SnapId> = match kind {
        WaveKind::Forward => BTreeSet::new(),
        WaveKind::Rollback => entries.iter().map(|entry| &entry.pin.snap_id).collect(),
    };
    for entry in kept {
        let snap = &entry.pin.snap_id;
        let free = |said: &mut BTreeMap<SnapId, Option<u64>>| {
            if let Some(revision) = said.get_mut(snap)
                && revision.is_some_and(|revision| revision < entry.revision)
            {
                *revision = None;
            }
        };
        if !back.contains(snap) {
            free(&mut wave);
        }
        free(&mut abort);
    }
    Ok((wave, abort))
}

fn one_each(said: impl Iterator<Item = (SnapId, u64)>) -> Result<BTreeMap<SnapId, Option<u64>>, WaveError> {
    let mut each = BTreeMap::new();
    for (snap, revision) in said {
        match each.insert(snap.clone(), Some(revision)) {
            Some(Some(other)) if other != revision => {
                return Err(WaveError::SeveralRevisions {
                    snap,
                    revisions: (other.min(revision), other.max(revision)),
                });
            }
            _ => {}
        }
    }
    Ok(each)
}

/// What a device has to do with a wave of its tag that has documents.
#[derive(Clone, Copy, Debug)]
pub struct Part<'w, U> {
    /// The wave.
    pub wave: &'w Wave,
    /// Whether it is told of it now, if it is exposed: see [`super::Sight::told`].
    pub told: bool,
    /// Whether it is exposed to it.
    pub exposed: bool,
    /// Whether it runs what the wave says; none = it has not said so since the wave was over. Asked only where it decides.
    pub updated: U,
}

/// The number of the newest validation set a device may see, out of the last one that is published (0 = none) and those
/// of the waves of its tag, the newest wave first. A device that was told of a wave which was cancelled sees what takes that
/// back once it said that it does not run the wave: who runs it, and has not said so yet, stays where it is.
pub fn newest_set<'w, U: FnOnce() -> Option<bool>>(
    published: u64,
    waves: impl IntoIterator<Item = Part<'w, U>>,
) -> u64 {
    for part in waves {
        let wave = part.wave;
        if wave.sequence <= published {
            break;
        }
        match wave.status {
            WaveStatus::Active if part.exposed && part.told => return wave.sequence,
            WaveStatus::Canceled if part.exposed => {
                return match (part.updated)() {
                    Some(false) => wave.abort_sequence(),
                    Some(true) | None => wave.sequence,
                };
            }
            WaveStatus::Draft
            | WaveStatus::Active
            | WaveStatus::Halted
            | WaveStatus::Complete
            | WaveStatus::Canceled => {}
        }
    }
    published
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Act, Pin, WaveKind};
    use super::*;
    use crate::domain::time::Timestamp;

    fn entry(letter: &str, architecture: &str, revision: u64) -> Entry {
        Entry {
            pin: Pin {
                snap_id: letter.repeat(32).parse().unwrap(),
                channel: "latest/stable".parse().unwrap(),
                architecture: architecture.parse().unwrap(),
            },
            revision,
        }
    }

    fn id(letter: &str) -> SnapId {
        letter.repeat(32).parse().unwrap()
    }

    fn wave(sequence: u64, entries: Vec<Entry>) -> Wave {
        Wave::draft(
            "acme".parse().unwrap(),
            "main".parse().unwrap(),
            "w".parse().unwrap(),
            sequence,
            WaveKind::Forward,
            entries,
            Timestamp::from_unix(9),
        )
        .unwrap()
    }

    fn published(entries: Vec<Entry>) -> ProductionMap {
        let mut map = ProductionMap::new("acme".parse().unwrap(), "main".parse().unwrap());
        let sequence = map.reserve();
        map.publish(&wave(sequence, entries));
        map
    }

    #[test]
    fn documents_say_what_comes_and_what_was() {
        let map = published(vec![entry("a", "amd64", 1), entry("b", "amd64", 2)]);
        let (comes, was) = contents(
            &map,
            (
                WaveKind::Forward,
                &[entry("a", "amd64", 5), entry("c", "amd64", 7)],
            ),
            &BTreeSet::from([id("b")]),
            &[],
        )
        .unwrap();
        assert_eq!(comes, [(id("a"), Some(5)), (id("c"), Some(7))].into());
        assert_eq!(
            was,
            [(id("a"), Some(1)), (id("b"), Some(2)), (id("c"), None)].into()
        );
    }

    #[test]
    fn what_a_cancelled_wave_left_behind_is_not_taken_back() {
        let map = published(vec![entry("a", "amd64", 1), entry("b", "amd64", 2)]);
        let kept = [entry("a", "amd64", 3)];
        let said =
            |kind, entries: &[Entry]| contents(&map, (kind, entries), &BTreeSet::new(), &kept).unwrap();
        let (comes, was) = said(WaveKind::Forward, &[entry("b", "amd64", 4)]);
        assert_eq!(comes, [(id("a"), None), (id("b"), Some(4))].into());
        assert_eq!(was, [(id("a"), None), (id("b"), Some(2))].into());
        let (comes, _) = said(WaveKind::Forward, &[entry("a", "amd64", 3)]);
        assert_eq!(comes[&id("a")], Some(3));
        let (comes, _) = said(WaveKind::Forward, &[entry("a", "amd64", 2)]);
        assert_eq!(comes[&id("a")], None);
        let (comes, was) = said(WaveKind::Rollback, &[entry("a", "amd64", 1)]);
        assert_eq!((comes[&id("a")], was[&id("a")]), (Some(1), None));
    }

    #[test]
    fn one_snap_has_one_revision_in_a_set() {
        let map = published(vec![entry("a", "amd64", 1), entry("a", "arm64", 1)]);
        let both = [entry("a", "amd64", 5), entry("a", "arm64", 5)];
        let said = |map: &ProductionMap, entries: &[Entry]| {
            contents(map, (WaveKind::Forward, entries), &BTreeSet::new(), &[])
        };
        assert!(said(&map, &both).is_ok());
        let error = said(&map, &both[..1]).unwrap_err();
        assert_eq!(error.code(), "several-revisions");
        let map = published(vec![entry("a", "amd64", 1), entry("a", "arm64", 2)]);
        assert!(said(&map, &both).is_err(), "the abort, too");
    }

    #[derive(Clone, Copy, Debug)]
    struct Seen {
        status: WaveStatus,
        told: bool,
        exposed: bool,
        updated: Option<bool>,
    }

    fn seen() -> impl Strategy<Value = Seen> {
        use WaveStatus::{Active, Canceled, Draft, Halted};
        (
            prop::sample::select(vec![Draft, Active, Halted, Canceled]),
            any::<(bool, bool, Option<bool>)>(),
        )
            .prop_map(|(status, (told, exposed, updated))| Seen {
                status,
                told,
                exposed,
                updated,
            })
    }

    fn newest(published: u64, waves: &[Seen]) -> u64 {
        let built: Vec<(Wave, Seen)> = (0..)
            .zip(waves)
            .map(|(number, seen)| {
                let mut wave = wave(1 + 2 * number, vec![entry("a", "amd64", 1)]);
                wave.status = seen.status;
                (wave, *seen)
            })
            .collect();
        newest_set(
            published,
            built.iter().rev().map(|(wave, seen)| Part {
                wave,
                told: seen.told,
                exposed: seen.exposed,
                updated: || seen.updated,
            }),
        )
    }

    proptest! {
        /// Nobody sees less than what is published, and nobody who is not exposed sees more.
        #[test]
        fn who_is_not_exposed_sees_what_is_published(waves in prop::collection::vec(seen(), 0..6), done in 0u64..12) {
            let sequence = newest(done, &waves);
            prop_assert!(sequence >= done);
            if !waves.iter().any(|seen| seen.exposed) {
                prop_assert_eq!(sequence, done);
            }
        }

        /// A number above what is published is that of a wave which is told now, or of one that was cancelled.
        #[test]
        fn a_higher_number_is_told_or_taken_back(waves in prop::collection::vec(seen(), 1..6), done in 0u64..12) {
            let sequence = newest(done, &waves);
            if sequence > done {
                let (number, abort) = ((sequence - 1) / 2, sequence.is_multiple_of(2));
                let seen = waves[usize::try_from(number).unwrap()];
                prop_assert!(seen.exposed);
                prop_assert_eq!(abort, seen.status == WaveStatus::Canceled && seen.updated == Some(false));
                prop_assert!(seen.status == WaveStatus::Canceled || (seen.status == WaveStatus::Active && seen.told));
            }
        }

        /// Cancelling moves who has not got the wave to a higher number, and leaves who has it where it is.
        #[test]
        fn cancelling_takes_back_from_who_has_not_got_it(
            earlier in prop::collection::vec(seen(), 0..4),
            updated in any::<Option<bool>>(),
        ) {
            let mut waves = earlier;
            let told = Seen { status: WaveStatus::Active, told: true, exposed: true, updated };
            waves.push(told);
            let during = newest(0, &waves);
            waves.pop();
            waves.push(Seen { status: WaveStatus::Canceled, ..told });
            let after = newest(0, &waves);
            prop_assert_eq!(after, if updated == Some(false) { during + 1 } else { during });
        }
    }

    #[test]
    fn a_wave_without_its_signatures_is_not_rolled_out() {
        let mut wave = wave(1, vec![entry("a", "amd64", 1)]);
        let now = Timestamp::from_unix(1);
        for act in [Act::Rollout, Act::Complete, Act::Halt, Act::Resume] {
            assert_eq!(wave.act(act, now), Err(WaveError::NotEnoughSignatures), "{act:?}");
        }
        wave.act(Act::Sign, now).unwrap();
        wave.act(Act::Rollout, now).unwrap();
    }
}
