//! Which revisions of a snap nobody needs any more.

use std::collections::BTreeSet;

use super::releases::Releases;
use super::snap::RevisionRecord;

/// The revisions that go where the newest `keep` unreleased ones are kept. What a channel holds, or held within its
/// memory, what `named` has, and what waits for a decision is no matter of counting: it stays.
pub fn expired<'r>(
    releases: &Releases,
    revisions: impl Iterator<Item = &'r RevisionRecord>,
    keep: usize,
    named: &BTreeSet<u64>,
) -> BTreeSet<u64> {
    let mut needed = named.clone();
    let parts = releases
        .open
        .iter()
        .map(|open| (open.revision, &open.progressive));
    let past = releases
        .past
        .iter()
        .map(|past| (past.revision, &past.progressive));
    for (revision, part) in parts.chain(past) {
        needed.insert(revision);
        if let Some(part) = part {
            needed.extend(part.otherwise);
            needed.extend(&part.given);
        }
    }
    let unneeded: BTreeSet<u64> = revisions
        .filter(|revision| !revision.review.is_open() && !needed.contains(&revision.revision))
        .map(|revision| revision.revision)
        .collect();
    let kept = unneeded.iter().rev().take(keep).copied().collect();
    unneeded.difference(&kept).copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::release_rules::tests::revision;
    use super::*;
    use crate::domain::review::ReviewState;
    use crate::domain::time::Timestamp;

    proptest! {
        /// Whatever is released how: what devices may get or roll through stays, so does what is named and what waits, and
        /// of the rest exactly the newest ones.
        #[test]
        fn only_the_oldest_of_what_nobody_needs_go(
            newest in 1u64..12, keep in 0usize..6, named in prop::collection::btree_set(1u64..12, 0..3),
            steps in prop::collection::vec((1u64..12, prop::option::of(1.0f64..99.0)), 0..6),
            waiting in prop::collection::btree_set(1u64..12, 0..3),
        ) {
            let mut releases = Releases::default();
            let mut released = BTreeSet::new();
            for (number, (revision, part)) in steps.into_iter().enumerate() {
                let channel = "stable".parse().unwrap();
                let now = Timestamp::from_unix(number as i64);
                releases.release(&["amd64".parse().unwrap()], &channel, revision, part, now);
                released.insert(revision);
            }
            let revisions: Vec<RevisionRecord> = (1..=newest)
                .map(|number| {
                    let mut revision = revision(number, "0");
                    if waiting.contains(&number) {
                        revision.review = ReviewState::ManualReviewPending;
                    }
                    revision
                })
                .collect();
            let gone = expired(&releases, revisions.iter(), keep, &named);
            let free: Vec<u64> = (1..=newest)
                .filter(|number| !released.contains(number) && !named.contains(number) && !waiting.contains(number))
                .collect();
            let expected: BTreeSet<u64> = free.iter().rev().skip(keep).copied().collect();
            prop_assert_eq!(gone, expected);
        }
    }
}
