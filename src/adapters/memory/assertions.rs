//! Assertions: per reference and format the newest revision.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Memory;
use crate::domain::assertion::{AssertionType, PrimaryKey, Ref};
use crate::ports::{AssertionFilter, AssertionStore, CommitOutcome, PutRule, StoreError, StoredAssertion};

type Formats = BTreeMap<u32, StoredAssertion>;

#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    by_reference: BTreeMap<Ref, Formats>,
}

impl Shelf {
    /// Those that are to be added, in order.
    pub(super) fn plan(
        &self,
        puts: Vec<(StoredAssertion, PutRule)>,
    ) -> Result<Vec<StoredAssertion>, CommitOutcome> {
        let mut planned: Vec<StoredAssertion> = Vec::new();
        for (assertion, rule) in puts {
            let stored = self
                .by_reference
                .get(&assertion.reference)
                .into_iter()
                .flat_map(BTreeMap::values);
            let ahead = planned
                .iter()
                .filter(|other| other.reference == assertion.reference);
            match stored.chain(ahead).map(|other| other.revision).max() {
                Some(stored) if stored >= assertion.revision => match rule {
                    PutRule::Newer => return Err(CommitOutcome::OldRevision { stored }),
                    PutRule::SkipOld => {}
                },
                Some(_) | None => planned.push(assertion),
            }
        }
        Ok(planned)
    }

    pub(super) fn apply(&mut self, plan: Vec<StoredAssertion>) {
        for assertion in plan {
            let formats = self.by_reference.entry(assertion.reference.clone()).or_default();
            formats.insert(assertion.format, assertion);
        }
    }

    /// All of them, ordered by type name, key and format.
    pub(super) fn export(&self) -> Vec<StoredAssertion> {
        let formats = self.by_reference.values().flat_map(BTreeMap::values);
        let mut all: Vec<StoredAssertion> = formats.cloned().collect();
        // The map orders types as they are listed; within one it is right already.
        all.sort_by_key(|assertion| assertion.reference.kind.name());
        all
    }

    /// Puts an assertion as it was elsewhere; false if there is one in this format.
    pub(super) fn import(&mut self, assertion: StoredAssertion) -> bool {
        let formats = self.by_reference.entry(assertion.reference.clone()).or_default();
        formats.insert(assertion.format, assertion).is_none()
    }

    fn starting_with<'a>(
        &'a self,
        kind: AssertionType,
        prefix: &'a [String],
    ) -> impl Iterator<Item = (&'a Ref, &'a Formats)> {
        let from = Ref {
            kind,
            key: PrimaryKey(prefix.to_vec()),
        };
        self.by_reference
            .range(from..)
            .take_while(move |(r, _)| r.kind == kind && r.key.0.starts_with(prefix))
    }
}

#[async_trait]
impl AssertionStore for Memory {
    async fn assertion(
        &self,
        reference: &Ref,
        max_format: u32,
    ) -> Result<Option<StoredAssertion>, StoreError> {
        Ok(self
            .lock()?
            .assertions
            .by_reference
            .get(reference)
            .and_then(|formats| newest(formats, max_format)))
    }

    async fn assertions(&self, filter: &AssertionFilter) -> Result<Vec<StoredAssertion>, StoreError> {
        let state = self.lock()?;
        let found = state.assertions.starting_with(filter.kind, &filter.key_prefix);
        Ok(found
            .filter_map(|(_, formats)| newest(formats, filter.max_format))
            .collect())
    }

    async fn sequence_member(
        &self,
        kind: AssertionType,
        sequence_key: &PrimaryKey,
        after: Option<u64>,
        max_format: u32,
    ) -> Result<Option<StoredAssertion>, StoreError> {
        let state = self.lock()?;
        let members: BTreeMap<u64, StoredAssertion> = state
            .assertions
            .starting_with(kind, &sequence_key.0)
            .filter(|(reference, _)| reference.key.0.len() == sequence_key.0.len() + 1)
            .filter_map(|(reference, formats)| {
                Some((
                    reference.key.0.last()?.parse().ok()?,
                    newest(formats, max_format)?,
                ))
            })
            .collect();
        Ok(match after {
            Some(after) => members.into_iter().find(|(number, _)| *number > after),
            None => members.into_iter().next_back(),
        }
        .map(|(_, assertion)| assertion))
    }
}

/// The highest revision among formats up to `max_format`.
fn newest(formats: &Formats, max_format: u32) -> Option<StoredAssertion> {
    formats
        .range(..=max_format)
        .map(|(_, assertion)| assertion)
        .max_by_key(|assertion| assertion.revision)
        .cloned()
}
