//! Voiding what writers that are gone left open.

use super::ledger::{COLUMNS, serial_row};
use super::writer::{Batch, Fault};
use super::{claims, signed};
use crate::domain::vault::{Reservation, SerialRow};

/// Voids open reservations of writers whose lock is free, at most `limit`. The locks are held until the commit, so two
/// processes do not void for one writer at the same time; neither waits for the other.
pub(super) async fn void(batch: &mut Batch<'_>, limit: usize) -> Result<Vec<Reservation>, Fault> {
    let mut gone = Vec::new();
    let owners = batch
        .tx
        .prepare_cached(
            "SELECT owner FROM serial WHERE state = 'reserved' AND owner IS DISTINCT FROM $1 GROUP BY owner",
        )
        .await?;
    for row in batch.tx.query(&owners, &[&batch.owner]).await? {
        let owner: Option<i64> = row.try_get(0)?;
        let is_gone = match owner {
            None => true,
            Some(owner) => {
                let lock = batch
                    .tx
                    .prepare_cached("SELECT pg_try_advisory_xact_lock($1)")
                    .await?;
                batch.tx.query_one(&lock, &[&owner]).await?.try_get(0)?
            }
        };
        if is_gone {
            gone.push(owner);
        }
    }
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    // Read again: they may have been completed until their writer's lock was ours.
    let rows = batch
        .tx
        .query(
            &format!(
                "SELECT {COLUMNS} FROM serial WHERE state = 'reserved' AND \
                 (owner = ANY($1) OR (owner IS NULL AND array_position($1, NULL) IS NOT NULL)) \
                 ORDER BY position LIMIT $2"
            ),
            &[&gone, &signed(limit as u64)],
        )
        .await?;
    let mut voided = Vec::new();
    for row in &rows {
        let SerialRow {
            device,
            device_key,
            revision,
            created_at,
            ..
        } = serial_row(row).map_err(Fault::Refused)?;
        let reservation = Reservation {
            device,
            device_key,
            revision,
            reserved_at: created_at,
        };
        match claims::void(batch, &reservation).await {
            Ok(()) => voided.push(reservation),
            // Its writer is alive after all, and was quicker.
            Err(Fault::Refused(_)) => {}
            Err(Fault::Engine(error)) => return Err(Fault::Engine(error)),
        }
    }
    Ok(voided)
}
