//! The audit log: entries by position, one chain per writer, checkpoints.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Memory;
use crate::domain::audit::{AuditEntry, AuditEvent, ChainHead, Checkpoint, entry_hash, link};
use crate::ports::{AuditFilter, AuditLog, AuditRow, Row, StoreError};

#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    /// By position.
    entries: BTreeMap<u64, (AuditEvent, AuditEntry)>,
    heads: BTreeMap<String, ChainHead>,
    checkpoints: Vec<Checkpoint>,
}

impl Journal {
    pub(super) fn append(&mut self, writer: &str, event: AuditEvent) {
        let head = self
            .heads
            .entry(writer.to_owned())
            .or_insert_with(|| ChainHead::new(writer.to_owned()));
        let entry = link(head, &event);
        let last = self.entries.last_key_value();
        let position = last.map_or(0, |(position, _)| *position) + 1;
        self.entries.insert(position, (event, entry));
    }

    /// The entries, oldest first, then the checkpoints.
    pub(super) fn export(&self) -> impl Iterator<Item = Row> {
        let entries = self.entries.iter().map(|(position, (_, entry))| {
            Row::Audit(AuditRow {
                position: *position,
                entry: entry.clone(),
            })
        });
        entries.chain(self.checkpoints.iter().cloned().map(Row::Checkpoint))
    }

    /// Puts an entry as it was elsewhere; false if it does not follow what is there.
    pub(super) fn import(&mut self, AuditRow { position, entry }: AuditRow) -> Result<bool, StoreError> {
        let event = serde_json::from_str(&entry.event)
            .map_err(|error| StoreError::Refused(format!("audit entry {position}: {error}")))?;
        let head = self
            .heads
            .entry(entry.writer.clone())
            .or_insert_with(|| ChainHead::new(entry.writer.clone()));
        if head.sequence + 1 != entry.sequence || self.entries.contains_key(&position) {
            return Ok(false);
        }
        head.sequence = entry.sequence;
        head.hash.clone_from(&entry.hash);
        self.entries.insert(position, (event, entry));
        Ok(true)
    }

    pub(super) fn put_checkpoint(&mut self, checkpoint: Checkpoint) -> bool {
        let last = self.checkpoints.last().map_or(0, |last| last.number);
        let next = checkpoint.number == last + 1;
        if next {
            self.checkpoints.push(checkpoint);
        }
        next
    }

    pub(super) fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (_, entry) in self.entries.values() {
            if entry_hash(&entry.previous, &entry.writer, entry.sequence, &entry.event) != entry.hash {
                wrong.push(format!(
                    "audit entry {} of {} has another hash",
                    entry.sequence, entry.writer
                ));
            }
        }
        wrong
    }
}

#[async_trait]
impl AuditLog for Memory {
    async fn audit_entries(&self, filter: &AuditFilter) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
        let state = self.lock()?;
        let from = filter.after.unwrap_or_default();
        let wanted = |event: &AuditEvent| {
            filter
                .brand
                .as_ref()
                .is_none_or(|brand| event.brand.as_ref() == Some(brand))
                && filter
                    .action_prefix
                    .as_ref()
                    .is_none_or(|prefix| event.action.starts_with(prefix.as_str()))
                && filter.since.is_none_or(|since| event.time >= since)
        };
        let entries = state
            .journal
            .entries
            .iter()
            .filter(|(position, (event, _))| **position > from && wanted(event));
        Ok(entries
            .take(filter.limit)
            .map(|(position, (_, entry))| (*position, entry.clone()))
            .collect())
    }

    async fn chain(&self, writer: &str, from: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let state = self.lock()?;
        let entries = state.journal.entries.values().map(|(_, entry)| entry);
        Ok(entries
            .filter(|entry| entry.writer == writer && entry.sequence >= from)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn heads(&self) -> Result<Vec<ChainHead>, StoreError> {
        Ok(self.lock()?.journal.heads.values().cloned().collect())
    }

    async fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<Checkpoint>, StoreError> {
        let state = self.lock()?;
        Ok(state
            .journal
            .checkpoints
            .iter()
            .filter(|checkpoint| checkpoint.number > after)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn last_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.lock()?.journal.checkpoints.last().cloned())
    }
}
