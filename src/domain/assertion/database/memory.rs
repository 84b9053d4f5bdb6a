//! Assertions in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::super::decode::Assertion;
use super::super::envelope::{PrimaryKey, Ref};
use super::super::registry::AssertionType;
use super::{Backstore, has_headers, sequence_number};

/// A store in memory: by reference, then by format.
#[derive(Clone, Debug, Default)]
pub struct MemoryBackstore {
    kept: BTreeMap<Ref, BTreeMap<u32, Assertion>>,
}

impl MemoryBackstore {
    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The newest revision of every reference, in order of type and primary key.
    pub fn iter(&self) -> impl Iterator<Item = &Assertion> {
        self.kept.values().filter_map(|formats| newest(formats, u32::MAX))
    }

    /// The newest revisions of the references of type `kind` whose primary key starts with `prefix`.
    fn of_kind(
        &self,
        kind: AssertionType,
        prefix: &[String],
        max_format: u32,
    ) -> impl Iterator<Item = &Assertion> {
        let start = Ref {
            kind,
            key: PrimaryKey(prefix.to_vec()),
        };
        self.kept
            .range((Bound::Included(start), Bound::Unbounded))
            .take_while(move |(reference, _)| reference.kind == kind && reference.key.0.starts_with(prefix))
            .filter_map(move |(_, formats)| newest(formats, max_format))
    }
}

impl Backstore for MemoryBackstore {
    fn get(&self, reference: &Ref, max_format: u32) -> Option<Assertion> {
        self.kept
            .get(reference)
            .and_then(|formats| newest(formats, max_format))
            .cloned()
    }

    fn search(&self, kind: AssertionType, headers: &[(&str, &str)], max_format: u32) -> Vec<Assertion> {
        let given = |name: &&str| {
            headers
                .iter()
                .find(|(given, _)| given == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let prefix: Vec<String> = kind.info().primary_key.iter().map_while(given).collect();
        self.of_kind(kind, &prefix, max_format)
            .filter(|assertion| has_headers(assertion, headers))
            .cloned()
            .collect()
    }

    fn sequence_member(
        &self,
        kind: AssertionType,
        sequence_key: &PrimaryKey,
        after: Option<u64>,
        max_format: u32,
    ) -> Option<Assertion> {
        let numbered = self
            .of_kind(kind, &sequence_key.0, max_format)
            .filter_map(|member| sequence_number(member).map(|number| (number, member)));
        let found = match after {
            None => numbered.max_by_key(|(number, _)| *number),
            Some(after) => numbered
                .filter(|(number, _)| *number > after)
                .min_by_key(|(number, _)| *number),
        };
        found.map(|(_, member)| member.clone())
    }

    fn put(&mut self, assertion: Assertion) {
        let format = assertion.format();
        self.kept
            .entry(assertion.reference())
            .or_default()
            .insert(format, assertion);
    }
}

impl Extend<Assertion> for MemoryBackstore {
    fn extend<I: IntoIterator<Item = Assertion>>(&mut self, assertions: I) {
        assertions.into_iter().for_each(|assertion| self.put(assertion));
    }
}

impl FromIterator<Assertion> for MemoryBackstore {
    fn from_iter<I: IntoIterator<Item = Assertion>>(assertions: I) -> Self {
        let mut store = Self::default();
        store.extend(assertions);
        store
    }
}

fn newest(formats: &BTreeMap<u32, Assertion>, max_format: u32) -> Option<&Assertion> {
    formats
        .range(..=max_format)
        .map(|(_, assertion)| assertion)
        .max_by_key(|assertion| assertion.revision())
}
