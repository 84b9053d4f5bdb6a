//! The audit log: entries by position, chains, checkpoints. One process writes at a time, so the entries of a chain
//! have consecutive positions, unless they were copied from elsewhere.

use super::encoding::{Decoder, Encoder, Key, Space};
use super::journal::{Large, Value};
use super::layers::{Order, View};
use super::writer::Transaction;
use crate::domain::audit::{AuditEntry, AuditEvent, ChainHead, Checkpoint, hex, link};
use crate::domain::time::Timestamp;
use crate::ports::{AuditFilter, AuditRow, StoreError};

const ENTRY_LAYOUT: u8 = 1;
const CHAIN_LAYOUT: u8 = 1;
/// A chain from elsewhere: entries of others may lie between its own.
const SCATTERED_LAYOUT: u8 = 2;
const COUNTER_LAYOUT: u8 = 1;

fn entry_key(position: u64) -> Vec<u8> {
    Key::new(Space::Entry).number(position).bytes()
}

fn last_position_key() -> Vec<u8> {
    Key::new(Space::Meta).text("audit-entries").bytes()
}

fn checkpoint_key(number: u64) -> Vec<u8> {
    Key::new(Space::Checkpoint).number(number).bytes()
}

/// A chain as the index knows it.
pub(super) struct Chain {
    pub(super) head: ChainHead,
    /// Position of its first entry.
    pub(super) first: u64,
    /// Position of its last entry, if others may lie between.
    scattered: Option<u64>,
}

impl Chain {
    fn key(writer: &str) -> Vec<u8> {
        Key::new(Space::Chain).text(writer).bytes()
    }

    pub(super) fn decode(key: &[u8], value: &Value) -> Result<Self, StoreError> {
        let writer = Decoder::of_key(key, "key of a chain")?.key_text()?;
        let scattered = value.small.first() == Some(&SCATTERED_LAYOUT);
        let layout = if scattered { SCATTERED_LAYOUT } else { CHAIN_LAYOUT };
        let mut decoder = Decoder::new(&value.small, layout, "chain")?;
        let (first, sequence) = (decoder.number()?, decoder.number()?);
        let hash = decoder.text()?.to_owned();
        Ok(Self {
            head: ChainHead {
                writer,
                sequence,
                hash,
            },
            first,
            scattered: scattered.then(|| decoder.number()).transpose()?,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let layout = if self.scattered.is_some() {
            SCATTERED_LAYOUT
        } else {
            CHAIN_LAYOUT
        };
        let chain = Encoder::new(layout)
            .number(self.first)
            .number(self.head.sequence)
            .text(&self.head.hash);
        self.scattered.into_iter().fold(chain, Encoder::number).bytes()
    }
}

/// Reads a number kept under `key`, 0 if there is none.
pub(super) fn counter(value: Option<Value>) -> Result<u64, StoreError> {
    value.map_or(Ok(0), |value| {
        Decoder::new(&value.small, COUNTER_LAYOUT, "counter")?.number()
    })
}

pub(super) fn put_counter(tx: &mut Transaction<'_>, key: Vec<u8>, number: u64) {
    tx.put_small(key, Encoder::new(COUNTER_LAYOUT).number(number).bytes());
}

/// Links `event` to the end of this process's chain.
pub(super) fn append(tx: &mut Transaction<'_>, event: &AuditEvent) -> Result<(), StoreError> {
    let position = counter(tx.get(&last_position_key())?)? + 1;
    let key = Chain::key(tx.writer);
    let mut chain = match tx.get(&key)? {
        Some(value) => Chain::decode(&key, &value)?,
        None => Chain {
            head: ChainHead::new(tx.writer.to_owned()),
            first: position,
            scattered: None,
        },
    };
    let entry = link(&mut chain.head, event);
    put_entry(tx, position, &entry, event)?;
    tx.put_small(key, chain.encode());
    put_counter(tx, last_position_key(), position);
    Ok(())
}

fn put_entry(
    tx: &mut Transaction<'_>,
    position: u64,
    entry: &AuditEntry,
    event: &AuditEvent,
) -> Result<(), StoreError> {
    let brand = event.brand.as_ref().map_or("", |brand| brand.as_str());
    let small = Encoder::new(ENTRY_LAYOUT)
        .time(event.time)
        .text(brand)
        .text(&event.action)
        .bytes();
    let large = Encoder::new(ENTRY_LAYOUT)
        .text(&entry.writer)
        .number(entry.sequence)
        .raw(&unhex(&entry.previous)?)
        .raw(&unhex(&entry.hash)?)
        .text(&entry.event)
        .bytes();
    tx.put(
        entry_key(position),
        Value {
            small,
            large: Some(Large::New(large.into())),
        },
    );
    Ok(())
}

/// Puts an entry as it was elsewhere; false if it does not follow what is there.
pub(super) fn import(tx: &mut Transaction<'_>, row: &AuditRow) -> Result<bool, StoreError> {
    let AuditRow { position, entry } = row;
    let event: AuditEvent = serde_json::from_str(&entry.event)
        .map_err(|error| StoreError::Refused(format!("audit entry {position}: {error}")))?;
    let key = Chain::key(&entry.writer);
    let mut chain = match tx.get(&key)? {
        Some(value) => Chain::decode(&key, &value)?,
        None => Chain {
            head: ChainHead::new(entry.writer.clone()),
            first: *position,
            scattered: None,
        },
    };
    if chain.head.sequence + 1 != entry.sequence || tx.get(&entry_key(*position))?.is_some() {
        return Ok(false);
    }
    put_entry(tx, *position, entry, &event)?;
    chain.head.sequence = entry.sequence;
    chain.head.hash.clone_from(&entry.hash);
    chain.scattered = Some(*position);
    tx.put_small(key, chain.encode());
    let last = counter(tx.get(&last_position_key())?)?;
    put_counter(tx, last_position_key(), last.max(*position));
    Ok(true)
}

/// The entry as it is copied elsewhere.
pub(super) fn export(view: View<'_>, key: &[u8], value: &Value) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        position: Decoder::of_key(key, "key of an audit entry")?.key_number()?,
        entry: entry(view, value)?,
    })
}

pub(super) fn entry(view: View<'_>, value: &Value) -> Result<AuditEntry, StoreError> {
    let large = view.large(value)?;
    let mut decoder = Decoder::new(&large, ENTRY_LAYOUT, "audit entry")?;
    Ok(AuditEntry {
        writer: decoder.text()?.to_owned(),
        sequence: decoder.number()?,
        previous: hex(&decoder.array::<32>()?),
        hash: hex(&decoder.array::<32>()?),
        event: decoder.text()?.to_owned(),
    })
}

pub(super) fn entries(view: View<'_>, filter: &AuditFilter) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
    let mut found = Vec::new();
    let Some(first) = filter.after.unwrap_or(0).checked_add(1) else {
        return Ok(found);
    };
    for item in view.scan_range(entry_key(first), Some(after_entries()), Order::Ascending) {
        if found.len() >= filter.limit {
            break;
        }
        let (key, value) = item?;
        if is_wanted(filter, &value)? {
            let position = Decoder::of_key(&key, "key of an audit entry")?.key_number()?;
            found.push((position, entry(view, &value)?));
        }
    }
    Ok(found)
}

fn is_wanted(filter: &AuditFilter, value: &Value) -> Result<bool, StoreError> {
    let mut decoder = Decoder::new(&value.small, ENTRY_LAYOUT, "audit entry")?;
    let time: Timestamp = decoder.time()?;
    let (brand, action) = (decoder.text()?, decoder.text()?);
    Ok(filter
        .brand
        .as_ref()
        .is_none_or(|wanted| wanted.as_str() == brand)
        && filter
            .action_prefix
            .as_ref()
            .is_none_or(|prefix| action.starts_with(prefix.as_str()))
        && filter.since.is_none_or(|since| time >= since))
}

/// The end of the entries' keys.
fn after_entries() -> Vec<u8> {
    vec![Space::Entry as u8 + 1]
}

pub(super) fn chain(
    view: View<'_>,
    writer: &str,
    from: u64,
    limit: usize,
) -> Result<Vec<AuditEntry>, StoreError> {
    let key = Chain::key(writer);
    let Some(value) = view.get(&key)? else {
        return Ok(Vec::new());
    };
    let chain = Chain::decode(&key, &value)?;
    if let Some(last) = chain.scattered {
        let range = view.scan_range(
            entry_key(chain.first),
            Some(entry_key(last.saturating_add(1))),
            Order::Ascending,
        );
        let mut found = Vec::new();
        for item in range {
            let entry = entry(view, &item?.1)?;
            if entry.writer == writer && entry.sequence >= from {
                found.push(entry);
            }
            if found.len() >= limit {
                break;
            }
        }
        return Ok(found);
    }
    let position = |sequence: u64| chain.first.saturating_add(sequence.saturating_sub(1));
    let end = position(chain.head.sequence.saturating_add(1));
    let range = view.scan_range(
        entry_key(position(from.max(1))),
        Some(entry_key(end)),
        Order::Ascending,
    );
    range
        .take(limit)
        .map(|item| item.and_then(|(_, value)| entry(view, &value)))
        .collect()
}

pub(super) fn chains(view: View<'_>) -> Result<Vec<Chain>, StoreError> {
    let found = view.scan(&Key::new(Space::Chain).bytes(), Order::Ascending);
    found
        .map(|item| item.and_then(|(key, value)| Chain::decode(&key, &value)))
        .collect()
}

pub(super) fn checkpoints(view: View<'_>, after: u64, limit: usize) -> Result<Vec<Checkpoint>, StoreError> {
    let Some(first) = after.checked_add(1) else {
        return Ok(Vec::new());
    };
    let end = Some(vec![Space::Checkpoint as u8 + 1]);
    let found = view
        .scan_range(checkpoint_key(first), end, Order::Ascending)
        .take(limit);
    found
        .map(|item| item.and_then(|(_, value)| checkpoint(view, &value)))
        .collect()
}

pub(super) fn last_checkpoint(view: View<'_>) -> Result<Option<Checkpoint>, StoreError> {
    let last = view
        .scan(&Key::new(Space::Checkpoint).bytes(), Order::Descending)
        .next()
        .transpose()?;
    last.map(|(_, value)| checkpoint(view, &value)).transpose()
}

pub(super) fn checkpoint(view: View<'_>, value: &Value) -> Result<Checkpoint, StoreError> {
    let json = view.large(value)?;
    serde_json::from_slice(&json)
        .map_err(|error| StoreError::Corrupt(format!("an audit checkpoint: {error}")))
}

/// Adds `checkpoint` if its number follows the last one's.
pub(super) fn put_checkpoint(tx: &mut Transaction<'_>, checkpoint: &Checkpoint) -> Result<bool, StoreError> {
    let last = tx
        .scan(&Key::new(Space::Checkpoint).bytes(), Order::Descending)
        .next()
        .transpose()?;
    let last = match last {
        Some((key, _)) => Decoder::of_key(&key, "key of a checkpoint")?.key_number()?,
        None => 0,
    };
    if last.checked_add(1) != Some(checkpoint.number) {
        return Ok(false);
    }
    let json = serde_json::to_vec(checkpoint).map_err(|error| StoreError::Refused(error.to_string()))?;
    let value = Value {
        small: Vec::new(),
        large: Some(Large::New(json.into())),
    };
    tx.put(checkpoint_key(checkpoint.number), value);
    Ok(true)
}

fn unhex(text: &str) -> Result<[u8; 32], StoreError> {
    let corrupt = || StoreError::Corrupt("the hash of an audit entry is none".to_owned());
    let mut bytes = [0; 32];
    for (number, byte) in bytes.iter_mut().enumerate() {
        let digits = text.get(2 * number..2 * number + 2).ok_or_else(corrupt)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| corrupt())?;
    }
    Ok(bytes)
}
