//! Assertions in tables: the newest per format, and the highest revision over all formats as the gate.

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::writer::Fault;
use super::{Postgres, corrupt, failed, signed, unsigned};
use crate::domain::assertion::{AssertionType, PrimaryKey, Ref};
use crate::ports::{AssertionFilter, AssertionStore, CommitOutcome, PutRule, StoreError, StoredAssertion};

pub(super) const COLUMNS: &str = "type, primary_key, format, revision, encoded";

#[async_trait]
impl AssertionStore for Postgres {
    async fn assertion(
        &self,
        reference: &Ref,
        max_format: u32,
    ) -> Result<Option<StoredAssertion>, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM assertion WHERE type = $1 AND primary_key = $2 AND format <= $3 \
                 ORDER BY revision DESC LIMIT 1"
            ))
            .await
            .map_err(failed)?;
        let row = client
            .query_opt(
                &statement,
                &[&reference.kind.name(), &reference.key.0, &format_of(max_format)],
            )
            .await
            .map_err(failed)?;
        row.as_ref().map(stored).transpose()
    }

    async fn assertions(&self, filter: &AssertionFilter) -> Result<Vec<StoredAssertion>, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!(
                "SELECT DISTINCT ON (primary_key) {COLUMNS} FROM assertion \
                 WHERE type = $1 AND primary_key[1:$2] = $3 AND format <= $4 ORDER BY primary_key, revision DESC"
            ))
            .await
            .map_err(failed)?;
        let parts = i32::try_from(filter.key_prefix.len()).map_err(corrupt)?;
        let rows = client
            .query(
                &statement,
                &[
                    &filter.kind.name(),
                    &parts,
                    &filter.key_prefix,
                    &format_of(filter.max_format),
                ],
            )
            .await
            .map_err(failed)?;
        rows.iter().map(stored).collect()
    }

    async fn sequence_member(
        &self,
        kind: AssertionType,
        sequence_key: &PrimaryKey,
        after: Option<u64>,
        max_format: u32,
    ) -> Result<Option<StoredAssertion>, StoreError> {
        let client = self.client().await?;
        let (order, above) = match after {
            Some(number) => ("ASC", signed(number)),
            None => ("DESC", -1),
        };
        let statement = client
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM assertion WHERE type = $1 AND sequence_key = $2 AND sequence > $3 \
                 AND format <= $4 ORDER BY sequence {order}, revision DESC LIMIT 1"
            ))
            .await
            .map_err(failed)?;
        let row = client
            .query_opt(
                &statement,
                &[&kind.name(), &sequence_key.0, &above, &format_of(max_format)],
            )
            .await
            .map_err(failed)?;
        row.as_ref().map(stored).transpose()
    }
}

fn format_of(format: u32) -> i32 {
    i32::try_from(format).unwrap_or(i32::MAX)
}

pub(super) fn stored(row: &Row) -> Result<StoredAssertion, StoreError> {
    let kind: &str = row.try_get(0).map_err(failed)?;
    let key: Vec<String> = row.try_get(1).map_err(failed)?;
    let format: i32 = row.try_get(2).map_err(failed)?;
    let revision: i64 = row.try_get(3).map_err(failed)?;
    let encoded: Vec<u8> = row.try_get(4).map_err(failed)?;
    Ok(StoredAssertion {
        reference: Ref {
            kind: kind.parse().map_err(corrupt)?,
            key: PrimaryKey(key),
        },
        format: u32::try_from(format).map_err(corrupt)?,
        revision: unsigned(revision),
        encoded: Bytes::from(encoded),
    })
}

/// Puts one assertion; the refusal if a stored revision is as high.
pub(super) async fn put(
    tx: &Transaction<'_>,
    assertion: &StoredAssertion,
    rule: PutRule,
) -> Result<Option<CommitOutcome>, Fault> {
    let Ref { kind, key } = &assertion.reference;
    let revision = assertion.revision;
    // The row lock of the head orders writers of the same assertion, in this process and others.
    let head = tx
        .prepare_cached(
            "INSERT INTO assertion_head (type, primary_key, revision) VALUES ($1, $2, $3) \
             ON CONFLICT (type, primary_key) DO UPDATE SET revision = EXCLUDED.revision \
             WHERE assertion_head.revision < EXCLUDED.revision",
        )
        .await?;
    if tx
        .execute(&head, &[&kind.name(), &key.0, &signed(revision)])
        .await?
        != 1
    {
        if rule == PutRule::SkipOld {
            return Ok(None);
        }
        let row = tx
            .query_one(
                "SELECT revision FROM assertion_head WHERE type = $1 AND primary_key = $2",
                &[&kind.name(), &key.0],
            )
            .await?;
        let revision: i64 = row.try_get(0)?;
        return Ok(Some(CommitOutcome::OldRevision {
            stored: unsigned(revision),
        }));
    }
    write(
        tx,
        assertion,
        "DO UPDATE SET revision = EXCLUDED.revision, encoded = EXCLUDED.encoded",
    )
    .await?;
    Ok(None)
}

/// Puts an assertion as it was elsewhere; false if there is one in this format.
pub(super) async fn import(tx: &Transaction<'_>, assertion: &StoredAssertion) -> Result<bool, Fault> {
    let Ref { kind, key } = &assertion.reference;
    let head = tx
        .prepare_cached(
            "INSERT INTO assertion_head AS h (type, primary_key, revision) VALUES ($1, $2, $3) \
             ON CONFLICT (type, primary_key) DO UPDATE SET revision = greatest(h.revision, EXCLUDED.revision)",
        )
        .await?;
    tx.execute(&head, &[&kind.name(), &key.0, &signed(assertion.revision)])
        .await?;
    write(tx, assertion, "DO NOTHING").await
}

/// Writes the row of an assertion; `otherwise` says what to do where there is one in this format. Whether it wrote.
async fn write(tx: &Transaction<'_>, assertion: &StoredAssertion, otherwise: &str) -> Result<bool, Fault> {
    let StoredAssertion {
        reference: Ref { kind, key },
        format,
        revision,
        encoded,
    } = assertion;
    let (sequence_key, sequence) = match key.0.split_last() {
        Some((last, rest)) if kind.info().sequence => {
            let number = last
                .parse::<i64>()
                .map_err(|e| Fault::Refused(corrupt(format!("sequence {last:?}: {e}"))))?;
            (Some(rest.to_vec()), Some(number))
        }
        Some(_) | None => (None, None),
    };
    let row = tx
        .prepare_cached(&format!(
            "INSERT INTO assertion (type, primary_key, format, revision, sequence_key, sequence, encoded) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (type, primary_key, format) {otherwise}"
        ))
        .await?;
    let encoded: &[u8] = encoded;
    let written = tx
        .execute(
            &row,
            &[
                &kind.name(),
                &key.0,
                &format_of(*format),
                &signed(*revision),
                &sequence_key,
                &sequence,
                &encoded,
            ],
        )
        .await?;
    Ok(written == 1)
}
