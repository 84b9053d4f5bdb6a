//! The audit log in tables.

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use super::writer::{Batch, Fault};
use super::{Postgres, failed, signed, unsigned};
use crate::domain::audit::{self, AuditEntry, AuditEvent, ChainHead, Checkpoint};
use crate::ports::{AuditFilter, AuditLog, StoreError};

pub(super) const COLUMNS: &str = "position, writer, sequence, previous, hash, event";

#[async_trait]
impl AuditLog for Postgres {
    async fn audit_entries(&self, filter: &AuditFilter) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM audit_entry WHERE ($1::text IS NULL OR brand = $1) \
                 AND ($2::text IS NULL OR starts_with(action, $2)) AND time >= $3 AND position > $4 \
                 ORDER BY position LIMIT $5"
            ))
            .await
            .map_err(failed)?;
        let brand = filter.brand.as_ref().map(|brand| brand.as_str());
        let since = filter.since.map_or(i64::MIN, |time| time.unix());
        let after = filter.after.map_or(-1, signed);
        let rows = client
            .query(
                &statement,
                &[
                    &brand,
                    &filter.action_prefix,
                    &since,
                    &after,
                    &limit(filter.limit),
                ],
            )
            .await
            .map_err(failed)?;
        rows.iter().map(entry).collect()
    }

    async fn chain(&self, writer: &str, from: u64, at_most: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM audit_entry WHERE writer = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3"
            ))
            .await
            .map_err(failed)?;
        let rows = client
            .query(&statement, &[&writer, &signed(from), &limit(at_most)])
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| entry(row).map(|(_, entry)| entry))
            .collect()
    }

    async fn heads(&self) -> Result<Vec<ChainHead>, StoreError> {
        let client = self.client().await?;
        // A loose index scan: one step per writer, not one per entry.
        let rows = client
            .query(
                "WITH RECURSIVE writers AS ( \
                     (SELECT writer FROM audit_entry ORDER BY writer LIMIT 1) \
                     UNION ALL \
                     SELECT (SELECT writer FROM audit_entry WHERE writer > w.writer ORDER BY writer LIMIT 1) \
                     FROM writers w WHERE w.writer IS NOT NULL \
                 ) SELECT w.writer, e.sequence, e.hash FROM writers w CROSS JOIN LATERAL \
                 (SELECT sequence, hash FROM audit_entry WHERE writer = w.writer ORDER BY sequence DESC LIMIT 1) e \
                 WHERE w.writer IS NOT NULL ORDER BY w.writer",
                &[],
            )
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let sequence: i64 = row.try_get(1)?;
                Ok(ChainHead {
                    writer: row.try_get(0)?,
                    sequence: unsigned(sequence),
                    hash: row.try_get(2)?,
                })
            })
            .collect::<Result<_, _>>()
            .map_err(failed)
    }

    async fn checkpoints(&self, after: u64, at_most: usize) -> Result<Vec<Checkpoint>, StoreError> {
        let client = self.client().await?;
        let rows = client
            .query(
                "SELECT doc FROM audit_checkpoint WHERE number > $1 ORDER BY number LIMIT $2",
                &[&signed(after), &limit(at_most)],
            )
            .await
            .map_err(failed)?;
        rows.iter().map(checkpoint).collect()
    }

    async fn last_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        let client = self.client().await?;
        let row = client
            .query_opt(
                "SELECT doc FROM audit_checkpoint ORDER BY number DESC LIMIT 1",
                &[],
            )
            .await
            .map_err(failed)?;
        row.as_ref().map(checkpoint).transpose()
    }
}

fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

pub(super) fn checkpoint(row: &Row) -> Result<Checkpoint, StoreError> {
    row.try_get::<_, Json<Checkpoint>>(0)
        .map(|json| json.0)
        .map_err(failed)
}

pub(super) fn entry(row: &Row) -> Result<(u64, AuditEntry), StoreError> {
    let read = || -> Result<_, tokio_postgres::Error> {
        let position: i64 = row.try_get(0)?;
        let sequence: i64 = row.try_get(2)?;
        Ok((
            unsigned(position),
            AuditEntry {
                writer: row.try_get(1)?,
                sequence: unsigned(sequence),
                previous: row.try_get(3)?,
                hash: row.try_get(4)?,
                event: row.try_get(5)?,
            },
        ))
    };
    read().map_err(failed)
}

/// Links `event` to this process's chain.
pub(super) async fn append(batch: &mut Batch<'_>, event: &AuditEvent) -> Result<(), Fault> {
    let entry = audit::link(&mut batch.head, event);
    let statement = batch
        .tx
        .prepare_cached(
            "INSERT INTO audit_entry (writer, sequence, previous, hash, event, time, brand, action) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .await?;
    let brand = event.brand.as_ref().map(|brand| brand.as_str());
    batch
        .tx
        .execute(
            &statement,
            &[
                &entry.writer,
                &signed(entry.sequence),
                &entry.previous,
                &entry.hash,
                &entry.event,
                &event.time.unix(),
                &brand,
                &event.action,
            ],
        )
        .await?;
    Ok(())
}

/// Stores the next checkpoint; false if another came first.
pub(super) async fn put_checkpoint(batch: &Batch<'_>, checkpoint: &Checkpoint) -> Result<bool, Fault> {
    let stored = batch
        .tx
        .execute(
            "INSERT INTO audit_checkpoint (number, doc) \
             SELECT $1::bigint, $2 WHERE $1::bigint = 1 + coalesce((SELECT max(number) FROM audit_checkpoint), 0) \
             ON CONFLICT DO NOTHING",
            &[&signed(checkpoint.number), &Json(checkpoint)],
        )
        .await?;
    Ok(stored == 1)
}
