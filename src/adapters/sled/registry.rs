//! Records and their unique values.

use super::encoding::{Decoder, Encoder, Key as Bytes, Space, after_prefix};
use super::journal::{Large, Value};
use super::layers::{Order, View};
use super::writer::Transaction;
use crate::ports::{Change, CommitOutcome, Expect, Key, Kind, RecordRow, StoreError, StoredRecord};

const LAYOUT: u8 = 1;

fn record_key(kind: Kind, key: &Key) -> Vec<u8> {
    Bytes::new(Space::Record)
        .text(kind.name())
        .texts(key.0.iter().map(String::as_str))
        .bytes()
}

fn unique_key(kind: Kind, field: &str, value: &str) -> Vec<u8> {
    Bytes::new(Space::Unique)
        .text(kind.name())
        .text(field)
        .text(value)
        .bytes()
}

/// What the index knows of a record.
struct Head {
    version: u64,
    /// Its unique values: field, value.
    unique: Vec<(String, String)>,
}

impl Head {
    fn decode(small: &[u8]) -> Result<Self, StoreError> {
        let mut decoder = Decoder::new(small, LAYOUT, "record")?;
        let version = decoder.number()?;
        let mut unique = Vec::new();
        while decoder.left() > 0 {
            unique.push((decoder.text()?.to_owned(), decoder.text()?.to_owned()));
        }
        Ok(Self { version, unique })
    }

    fn encode<F: AsRef<str>>(version: u64, unique: &[(F, String)]) -> Vec<u8> {
        let head = Encoder::new(LAYOUT).number(version);
        unique
            .iter()
            .fold(head, |head, (field, value)| head.text(field.as_ref()).text(value))
            .bytes()
    }
}

/// Applies one change; later changes of a commit see it.
pub(super) fn apply(
    tx: &mut Transaction<'_>,
    change: &Change,
) -> Result<Result<(), CommitOutcome>, StoreError> {
    let (kind, key) = (change.kind, &change.key);
    let place = record_key(kind, key);
    let current = tx
        .get(&place)?
        .map(|value| Head::decode(&value.small))
        .transpose()?;
    let version = current.as_ref().map_or(0, |head| head.version);
    let expected = match change.expect {
        Expect::Absent => 0,
        Expect::Version(version) => version.max(1),
    };
    if version != expected {
        return Ok(Err(CommitOutcome::Conflict {
            kind,
            key: key.clone(),
        }));
    }
    for (field, value) in current.iter().flat_map(|head| &head.unique) {
        tx.delete(unique_key(kind, field, value));
    }
    for (field, value) in &change.unique {
        let unique = unique_key(kind, field, value);
        if tx.get(&unique)?.is_some_and(|owner| owner.small != place) {
            return Ok(Err(CommitOutcome::Taken { kind, field }));
        }
        tx.put_small(unique, place.clone());
    }
    match &change.json {
        Some(json) => {
            let small = Head::encode(version + 1, &change.unique);
            tx.put(
                place,
                Value {
                    small,
                    large: Some(Large::New(json.clone().into())),
                },
            );
        }
        None => tx.delete(place),
    }
    Ok(Ok(()))
}

pub(super) fn record(view: View<'_>, kind: Kind, key: &Key) -> Result<Option<StoredRecord>, StoreError> {
    at(view, &record_key(kind, key))
}

pub(super) fn by_unique(
    view: View<'_>,
    kind: Kind,
    field: &str,
    value: &str,
) -> Result<Option<StoredRecord>, StoreError> {
    let Some(owner) = view.get(&unique_key(kind, field, value))? else {
        return Ok(None);
    };
    at(view, &owner.small)
}

pub(super) fn records(view: View<'_>, kind: Kind, prefix: &Key) -> Result<Vec<StoredRecord>, StoreError> {
    let found = view.scan(&record_key(kind, prefix), Order::Ascending);
    found
        .map(|item| item.and_then(|(key, value)| stored(view, &key, &value)))
        .collect()
}

pub(super) fn records_after(
    view: View<'_>,
    kind: Kind,
    prefix: &Key,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<StoredRecord>, StoreError> {
    let place = record_key(kind, prefix);
    let end = after_prefix(&place);
    let first = match after {
        // The next key there can be.
        Some(after) => [record_key(kind, after).as_slice(), b"\0"].concat(),
        None => place,
    };
    let found = view.scan_range(first, end, Order::Ascending);
    found
        .take(limit)
        .map(|item| item.and_then(|(key, value)| stored(view, &key, &value)))
        .collect()
}

fn at(view: View<'_>, place: &[u8]) -> Result<Option<StoredRecord>, StoreError> {
    view.get(place)?
        .map(|value| stored(view, place, &value))
        .transpose()
}

fn stored(view: View<'_>, place: &[u8], value: &Value) -> Result<StoredRecord, StoreError> {
    let version = Head::decode(&value.small)?.version;
    Ok(StoredRecord {
        key: read_key(place)?.1,
        version,
        json: view.large(value)?.into(),
    })
}

/// The name of the kind, and the key.
fn read_key(place: &[u8]) -> Result<(String, Key), StoreError> {
    let mut decoder = Decoder::of_key(place, "key of a record")?;
    let kind = decoder.key_text()?;
    let mut parts = Vec::new();
    while decoder.left() > 0 {
        parts.push(decoder.key_text()?);
    }
    Ok((kind, Key(parts)))
}

/// What the keys of all records of a kind start with.
pub(super) fn kind_prefix(kind: Kind) -> Vec<u8> {
    record_key(kind, &Key(Vec::new()))
}

/// The record as it is copied elsewhere.
pub(super) fn export(view: View<'_>, place: &[u8], value: &Value) -> Result<RecordRow, StoreError> {
    let (name, key) = read_key(place)?;
    let kind = Kind::ALL.iter().find(|kind| kind.name() == name);
    let kind = *kind.ok_or_else(|| StoreError::Corrupt(format!("there is no kind of record {name}")))?;
    let Head { version, mut unique } = Head::decode(&value.small)?;
    unique.sort();
    let json = String::from_utf8(view.large(value)?.into())
        .map_err(|error| StoreError::Corrupt(format!("{name} {}: {error}", key.0.join("/"))))?;
    Ok(RecordRow {
        kind,
        key,
        version,
        unique,
        json,
    })
}

/// Puts a record as it was elsewhere; false if it, or one of its unique values, is there.
pub(super) fn import(tx: &mut Transaction<'_>, row: RecordRow) -> Result<bool, StoreError> {
    let place = record_key(row.kind, &row.key);
    if tx.get(&place)?.is_some() {
        return Ok(false);
    }
    for (field, value) in &row.unique {
        let unique = unique_key(row.kind, field, value);
        if tx.get(&unique)?.is_some() {
            return Ok(false);
        }
        tx.put_small(unique, place.clone());
    }
    let value = Value {
        small: Head::encode(row.version, &row.unique),
        large: Some(Large::New(row.json.into())),
    };
    tx.put(place, value);
    Ok(true)
}

/// The unique values a record claims, as keys of the index; for the deep check.
pub(super) fn claimed_uniques(kind: Kind, small: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    let head = Head::decode(small)?;
    Ok(head
        .unique
        .iter()
        .map(|(field, value)| unique_key(kind, field, value))
        .collect())
}
