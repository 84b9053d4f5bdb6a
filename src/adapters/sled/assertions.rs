//! Assertions: per reference and format the newest revision; members of sequences in the order of their numbers.

use super::encoding::{Decoder, Encoder, Key, Space, after_prefix};
use super::journal::{Large, Value};
use super::layers::{Order, View};
use super::writer::Transaction;
use crate::domain::assertion::{AssertionType, PrimaryKey, Ref};
use crate::ports::{AssertionFilter, CommitOutcome, PutRule, StoreError, StoredAssertion};

const LAYOUT: u8 = 1;

/// The start of the keys of all formats of an assertion.
fn reference_key(kind: AssertionType, parts: &[String]) -> Key {
    Key::new(Space::Assertion)
        .text(kind.name())
        .texts(parts.iter().map(String::as_str))
}

fn sequence_key(kind: AssertionType, parts: &[String]) -> Key {
    Key::new(Space::Sequence)
        .text(kind.name())
        .texts(parts.iter().map(String::as_str))
}

/// Adds one assertion; later ones of a commit see it.
pub(super) fn put(
    tx: &mut Transaction<'_>,
    assertion: StoredAssertion,
    rule: PutRule,
) -> Result<Result<(), CommitOutcome>, StoreError> {
    let Ref { kind, key } = &assertion.reference;
    let revision = assertion.revision;
    let place = reference_key(*kind, &key.0);
    let mut newest = None;
    for item in tx.scan(&place.clone().bytes(), Order::Ascending) {
        newest = newest.max(Some(revision_of(&item?.1)?));
    }
    if let Some(stored) = newest.filter(|stored| *stored >= revision) {
        return Ok(match rule {
            PutRule::Newer => Err(CommitOutcome::OldRevision { stored }),
            PutRule::SkipOld => Ok(()),
        });
    }
    write(tx, assertion);
    Ok(Ok(()))
}

/// Puts an assertion as it was elsewhere; false if there is one in this format.
pub(super) fn import(tx: &mut Transaction<'_>, assertion: StoredAssertion) -> Result<bool, StoreError> {
    let Ref { kind, key } = &assertion.reference;
    let place = reference_key(*kind, &key.0).small(assertion.format).bytes();
    let is_new = tx.get(&place)?.is_none();
    if is_new {
        write(tx, assertion);
    }
    Ok(is_new)
}

fn write(tx: &mut Transaction<'_>, assertion: StoredAssertion) {
    let StoredAssertion {
        reference: Ref { kind, key },
        format,
        revision,
        encoded,
    } = assertion;
    if let Some((number, sequence)) = key.0.split_last().filter(|_| kind.info().sequence) {
        // A number that is none is found by its key only.
        if let Ok(place) = number.parse() {
            let member = sequence_key(kind, sequence).number(place).text(number).bytes();
            tx.put_small(member, Vec::new());
        }
    }
    let value = Value {
        small: Encoder::new(LAYOUT).number(revision).bytes(),
        large: Some(Large::New(encoded)),
    };
    tx.put(reference_key(kind, &key.0).small(format).bytes(), value);
}

/// The assertion as it is copied elsewhere.
pub(super) fn export(view: View<'_>, key: &[u8], value: &Value) -> Result<StoredAssertion, StoreError> {
    let name = Decoder::of_key(key, "key of an assertion")?.key_text()?;
    let kind = name
        .parse()
        .map_err(|error| StoreError::Corrupt(format!("{error}")))?;
    let (reference, format) = read_key(kind, key)?;
    Ok(StoredAssertion {
        reference,
        format,
        revision: revision_of(value)?,
        encoded: view.large(value)?,
    })
}

pub(super) fn assertion(
    view: View<'_>,
    reference: &Ref,
    max_format: u32,
) -> Result<Option<StoredAssertion>, StoreError> {
    let mut best = Newest::default();
    for item in view.scan(
        &reference_key(reference.kind, &reference.key.0).bytes(),
        Order::Ascending,
    ) {
        let (key, value) = item?;
        best.offer(reference, &key, value, max_format)?;
    }
    best.found(view)
}

pub(super) fn assertions(
    view: View<'_>,
    filter: &AssertionFilter,
) -> Result<Vec<StoredAssertion>, StoreError> {
    let mut found = Vec::new();
    let mut current = None;
    let mut best = Newest::default();
    for item in view.scan(
        &reference_key(filter.kind, &filter.key_prefix).bytes(),
        Order::Ascending,
    ) {
        let (key, value) = item?;
        let (reference, _) = read_key(filter.kind, &key)?;
        if current.as_ref() != Some(&reference) {
            found.extend(std::mem::take(&mut best).found(view)?);
        }
        best.offer(&reference, &key, value, filter.max_format)?;
        current = Some(reference);
    }
    found.extend(best.found(view)?);
    Ok(found)
}

pub(super) fn sequence_member(
    view: View<'_>,
    kind: AssertionType,
    sequence: &PrimaryKey,
    after: Option<u64>,
    max_format: u32,
) -> Result<Option<StoredAssertion>, StoreError> {
    let prefix = sequence_key(kind, &sequence.0);
    let whole = prefix.clone().bytes();
    let members = match after {
        None => view.scan(&whole, Order::Descending),
        Some(after) => {
            let Some(next) = after.checked_add(1) else {
                return Ok(None);
            };
            view.scan_range(
                prefix.number(next).bytes(),
                after_prefix(&whole),
                Order::Ascending,
            )
        }
    };
    for item in members {
        let key = item?.0;
        let mut decoder = Decoder::of_key(
            key.get(whole.len() - 1..).unwrap_or_default(),
            "member of a sequence",
        )?;
        decoder.key_number()?;
        let mut parts = sequence.0.clone();
        parts.push(decoder.key_text()?);
        let reference = Ref {
            kind,
            key: PrimaryKey(parts),
        };
        if let Some(found) = assertion(view, &reference, max_format)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The highest revision of one reference among the formats wanted.
#[derive(Default)]
struct Newest(Option<(Ref, u32, u64, Value)>);

impl Newest {
    fn offer(
        &mut self,
        reference: &Ref,
        key: &[u8],
        value: Value,
        max_format: u32,
    ) -> Result<(), StoreError> {
        let (_, format) = read_key(reference.kind, key)?;
        let revision = revision_of(&value)?;
        if format <= max_format && self.0.as_ref().is_none_or(|(_, _, best, _)| revision > *best) {
            self.0 = Some((reference.clone(), format, revision, value));
        }
        Ok(())
    }

    fn found(self, view: View<'_>) -> Result<Option<StoredAssertion>, StoreError> {
        let Some((reference, format, revision, value)) = self.0 else {
            return Ok(None);
        };
        Ok(Some(StoredAssertion {
            reference,
            format,
            revision,
            encoded: view.large(&value)?,
        }))
    }
}

/// Reference and format in a key.
pub(super) fn read_key(kind: AssertionType, key: &[u8]) -> Result<(Ref, u32), StoreError> {
    let mut decoder = Decoder::of_key(key, "key of an assertion")?;
    decoder.key_text()?;
    let mut parts = Vec::new();
    while decoder.left() > size_of::<u32>() {
        parts.push(decoder.key_text()?);
    }
    Ok((
        Ref {
            kind,
            key: PrimaryKey(parts),
        },
        decoder.key_small()?,
    ))
}

pub(super) fn revision_of(value: &Value) -> Result<u64, StoreError> {
    Decoder::new(&value.small, LAYOUT, "assertion")?.number()
}
