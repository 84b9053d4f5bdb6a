//! The assertion database: what may be added, and how things are found (assertions.md 4).
//!
//! Pure and synchronous. Stores that answer later fetch what [`needs`] names into a [`MemoryBackstore`] and check
//! against that.

mod batch;
mod check;
mod consistency;
mod error;
mod memory;
mod needs;

use std::sync::Arc;

pub use batch::{Batch, BatchError};
pub use error::{AddError, CheckError, FindError, WrongTrusted};
pub use memory::MemoryBackstore;
pub use needs::{Need, needs, prerequisites};

use super::decode::Assertion;
use super::envelope::{Envelope, PrimaryKey, Ref};
use super::registry::AssertionType;
use super::types::Typed;
use crate::domain::time::Timestamp;

/// A place assertions are kept in. Of each reference it holds the newest revision per format.
pub trait Backstore {
    /// The highest revision with format at most `max_format`.
    fn get(&self, reference: &Ref, max_format: u32) -> Option<Assertion>;

    /// Like [`Self::get`] for every reference of type `kind`, as far as all of `headers` are equal.
    fn search(&self, kind: AssertionType, headers: &[(&str, &str)], max_format: u32) -> Vec<Assertion>;

    /// The member of a sequence with the smallest number above `after` (none: the largest number). `sequence_key` is
    /// the primary key without its last part.
    fn sequence_member(
        &self,
        kind: AssertionType,
        sequence_key: &PrimaryKey,
        after: Option<u64>,
        max_format: u32,
    ) -> Option<Assertion>;

    /// Keeps `assertion`. The database asks for this only if its revision is higher than what is kept.
    fn put(&mut self, assertion: Assertion);
}

/// What adding did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// Nothing of this reference was there before.
    New,
    /// It took the place of this revision.
    Replaced(u64),
}

/// A database: what is trusted, what is built in, and a store on top.
#[derive(Clone, Debug)]
pub struct Database<S> {
    trusted: Arc<MemoryBackstore>,
    predefined: Arc<MemoryBackstore>,
    store: S,
}

impl<S: Backstore> Database<S> {
    /// A database over `store`. `trusted` holds the accounts and account-keys that are the root of trust,
    /// `predefined` what else is known from the start; neither is checked, neither can be replaced.
    pub fn new(
        trusted: impl IntoIterator<Item = Assertion>,
        predefined: impl IntoIterator<Item = Assertion>,
        store: S,
    ) -> Result<Self, WrongTrusted> {
        let mut roots = MemoryBackstore::default();
        for assertion in trusted {
            if !matches!(
                assertion.kind(),
                AssertionType::Account | AssertionType::AccountKey
            ) {
                return Err(WrongTrusted(assertion.reference()));
            }
            roots.put(assertion);
        }
        let mut known = MemoryBackstore::default();
        predefined.into_iter().for_each(|assertion| known.put(assertion));
        Ok(Self {
            trusted: Arc::new(roots),
            predefined: Arc::new(known),
            store,
        })
    }

    /// The store underneath.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store underneath, on its own.
    pub fn into_store(self) -> S {
        self.store
    }

    /// Whether `account` belongs to the root of trust.
    pub fn is_trusted_account(&self, account: &str) -> bool {
        let reference = Ref::new(AssertionType::Account, [account]);
        self.trusted
            .get(&reference, AssertionType::Account.info().max_format)
            .is_some()
    }

    /// Whether the trusted or predefined set has `reference`.
    pub fn is_predefined(&self, reference: &Ref) -> bool {
        let format = reference.kind.info().max_format;
        self.trusted.get(reference, format).is_some() || self.predefined.get(reference, format).is_some()
    }

    /// The newest revision of `reference` that this version understands: trusted first, then predefined, then stored.
    pub fn resolve(&self, reference: &Ref) -> Option<Assertion> {
        self.get(reference, reference.kind.info().max_format)
    }

    fn get(&self, reference: &Ref, max_format: u32) -> Option<Assertion> {
        self.trusted
            .get(reference, max_format)
            .or_else(|| self.predefined.get(reference, max_format))
            .or_else(|| self.store.get(reference, max_format))
    }

    /// Checks `assertion` and keeps it, unless that is refused (assertions.md 4.2).
    pub fn add(&mut self, assertion: Assertion, now: Timestamp) -> Result<Added, AddError> {
        let reference = assertion.reference();
        if reference.key.0.is_empty() {
            return Err(AddError::NotStorable(assertion.kind()));
        }
        match self.check(&assertion, now) {
            Ok(()) => {}
            Err(CheckError::UnsupportedFormat {
                reference,
                format,
                supported,
            }) => {
                let kept = self.resolve(&reference).is_some();
                return Err(AddError::UnsupportedFormat {
                    reference,
                    format,
                    supported,
                    kept,
                });
            }
            Err(error) => return Err(AddError::Check(error)),
        }
        if self.is_predefined(&reference) {
            return Err(AddError::Predefined(reference));
        }
        let current = self.store.get(&reference, reference.kind.info().max_format);
        let replaced = current.map(|current| current.revision());
        match replaced {
            Some(current) if current >= assertion.revision() => Err(AddError::Revision {
                current,
                offered: assertion.revision(),
            }),
            Some(current) => {
                self.store.put(assertion);
                Ok(Added::Replaced(current))
            }
            None => {
                self.store.put(assertion);
                Ok(Added::New)
            }
        }
    }

    /// The assertion of type `kind` whose headers are equal to all of `headers`, the primary key among them (optional
    /// parts may be left out); the highest revision of format at most `max_format`, or of any format understood.
    pub fn find(
        &self,
        kind: AssertionType,
        headers: &[(&str, &str)],
        max_format: Option<u32>,
    ) -> Result<Option<Assertion>, FindError> {
        let max_format = format_limit(kind, max_format)?;
        let key = key_from(kind, kind.info().primary_key, headers)?;
        let found = self.get(&Ref { kind, key }, max_format);
        Ok(found.filter(|assertion| has_headers(assertion, headers)))
    }

    /// All assertions of type `kind` whose headers are equal to all of `headers`.
    pub fn find_many(&self, kind: AssertionType, headers: &[(&str, &str)]) -> Vec<Assertion> {
        let format = kind.info().max_format;
        let mut found = self.trusted.search(kind, headers, format);
        found.extend(self.predefined.search(kind, headers, format));
        found.extend(self.store.search(kind, headers, format));
        found
    }

    /// The member with the smallest number above `after` (none: the largest number) of the sequence that `headers`
    /// name: the primary key without its last part.
    pub fn find_sequence(
        &self,
        kind: AssertionType,
        headers: &[(&str, &str)],
        after: Option<u64>,
        max_format: Option<u32>,
    ) -> Result<Option<Assertion>, FindError> {
        let info = kind.info();
        let Some((_number, prefix)) = info.primary_key.split_last().filter(|_| info.sequence) else {
            return Err(FindError::NoSequence(kind));
        };
        let max_format = format_limit(kind, max_format)?;
        let key = key_from(kind, prefix, headers)?;
        let found = [
            self.trusted.sequence_member(kind, &key, after, max_format),
            self.predefined.sequence_member(kind, &key, after, max_format),
            self.store.sequence_member(kind, &key, after, max_format),
        ];
        let found = found.into_iter().flatten();
        Ok(match after {
            None => found.max_by_key(|member| sequence_number(member)),
            Some(_) => found.min_by_key(|member| sequence_number(member)),
        })
    }
}

/// The number of a member of a sequence.
pub fn sequence_number(assertion: &Envelope) -> Option<u64> {
    let last = assertion
        .primary_key()
        .0
        .last()
        .filter(|_| assertion.kind().info().sequence);
    last.and_then(|number| number.parse().ok())
}

/// Whether all of `headers` are there and equal; optional parts of the primary key count with their default.
pub(super) fn has_headers(assertion: &Assertion, headers: &[(&str, &str)]) -> bool {
    headers
        .iter()
        .all(|(name, value)| assertion.text(name) == Some(*value))
}

fn format_limit(kind: AssertionType, asked: Option<u32>) -> Result<u32, FindError> {
    let supported = kind.info().max_format;
    match asked {
        Some(asked) if asked > supported => Err(FindError::FormatTooHigh {
            kind,
            asked,
            supported,
        }),
        Some(asked) => Ok(asked),
        None => Ok(supported),
    }
}

fn key_from(
    kind: AssertionType,
    names: &[&'static str],
    headers: &[(&str, &str)],
) -> Result<PrimaryKey, FindError> {
    let given = |name: &&'static str| {
        let value = headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| *value);
        let default = || {
            kind.info()
                .optional
                .iter()
                .find(|(optional, _)| optional == name)
                .map(|(_, value)| *value)
        };
        match value.filter(|value| !value.is_empty()).or_else(default) {
            Some(value) => Ok(value.to_owned()),
            None => Err(FindError::KeyMissing { kind, header: name }),
        }
    };
    names
        .iter()
        .map(given)
        .collect::<Result<Vec<_>, _>>()
        .map(PrimaryKey)
}

/// The account key an assertion of this type is, if it is one.
fn as_account_key(assertion: &Assertion) -> Option<&super::types::AccountKey> {
    if let Typed::AccountKey(key) = assertion.typed() {
        Some(key)
    } else {
        None
    }
}
