//! Deltas between revisions (device-api.md 8.2): what a device that has one revision needs to make the next.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::releases::Releases;
use crate::domain::blob::BlobId;
use crate::domain::ident::SnapId;
use crate::domain::time::Timestamp;

/// A delta is only worth its name if it is at most this part of the whole file, in hundredths.
pub const WORTHWHILE: u64 = 80;

/// A delta that was made, or tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeltaRecord {
    /// The snap.
    pub snap_id: SnapId,
    /// What the device has.
    pub source: u64,
    /// What it gets.
    pub target: u64,
    /// As clients name it: `xdelta3`.
    pub format: String,
    /// The file; none if it would not have been worthwhile, which need not be tried again.
    pub file: Option<DeltaFile>,
    /// When it was made.
    pub created: Timestamp,
}

/// The file of a delta.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeltaFile {
    /// The file.
    pub blob: BlobId,
    /// Its size in bytes.
    pub size: u64,
}

/// Whether a delta of `size` bytes saves enough of a file of `whole` bytes.
pub fn is_worthwhile(size: u64, whole: u64) -> bool {
    u128::from(size) * 100 <= u128::from(whole) * u128::from(WORTHWHILE)
}

/// The steps (source, target) that devices are likely to take: to what each open channel holds, from the `last`
/// revisions it held before, for each architecture.
pub fn likely_steps(releases: &Releases, last: usize) -> BTreeSet<(u64, u64)> {
    let mut steps = BTreeSet::new();
    for open in &releases.open {
        let history = releases.history(&open.architecture, &open.channel);
        let before = history
            .into_iter()
            .filter(|revision| *revision != open.revision)
            .take(last);
        steps.extend(before.map(|source| (source, open.revision)));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lead_from_the_last_revisions_of_a_channel_to_its_present_one() {
        let mut releases = Releases::default();
        let amd64 = ["amd64".parse().unwrap()];
        for (number, (channel, revision)) in [
            ("stable", 1),
            ("edge", 2),
            ("stable", 2),
            ("stable", 4),
            ("stable", 3),
        ]
        .into_iter()
        .enumerate()
        {
            let now = Timestamp::from_unix(number as i64);
            releases.release(&amd64, &channel.parse().unwrap(), revision, None, now);
        }
        assert_eq!(likely_steps(&releases, 2), [(2, 3), (4, 3)].into());
        assert_eq!(likely_steps(&releases, 9), [(1, 3), (2, 3), (4, 3)].into());
        assert_eq!(likely_steps(&releases, 0), BTreeSet::new());
    }

    #[test]
    fn small_savings_are_not_worthwhile() {
        assert!(is_worthwhile(80, 100));
        assert!(!is_worthwhile(81, 100));
        assert!(!is_worthwhile(u64::MAX, u64::MAX));
        assert!(is_worthwhile(0, 0));
    }
}
