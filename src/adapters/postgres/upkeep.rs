//! What a database gathers and nobody needs any more: request-ids that expired, changes of the fleet that every process knows.
//! Cleared away beside everything else and within a time: while a standby is awaited that is gone, a commit does not end, and
//! nothing that a device asks for may stand behind it.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, Pool};

use super::{connect, failed};
use crate::ports::StoreError;

/// How often, and how much of each at a time.
const EVERY: Duration = Duration::from_secs(60);
const NONCES: usize = 10_000;
const CHANGES: usize = 200_000;
/// How long it may take.
const LIMIT: Duration = Duration::from_secs(15);

/// The task that does it, until it is dropped.
#[derive(Debug)]
pub(super) struct Upkeep(tokio::task::JoinHandle<()>);

impl Upkeep {
    pub(super) fn start(pool: Pool) -> Self {
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                if let Err(error) = clear_within(&pool).await {
                    tracing::warn!(%error, "cannot clear away what the database does not need any more");
                }
            }
        }))
    }

    pub(super) fn stop(&self) {
        self.0.abort();
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(super) async fn clear_within(pool: &Pool) -> Result<(), StoreError> {
    let mut client = connect(pool).await?;
    match tokio::time::timeout(LIMIT, clear(&mut client)).await {
        Ok(cleared) => cleared,
        Err(_) => {
            drop(Object::take(client));
            Err(StoreError::Unavailable(format!(
                "the database did not answer within {} s",
                LIMIT.as_secs()
            )))
        }
    }
}

/// One process at a time. Changes that a snapshot of now may not see stay, so that who took it never has to read everything anew.
async fn clear(client: &mut ClientWrapper) -> Result<(), StoreError> {
    let tx = client.transaction().await.map_err(failed)?;
    let alone: bool = tx
        .query_one("SELECT pg_try_advisory_xact_lock(7234091502)", &[])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    if alone {
        let nonces = format!(
            "DELETE FROM spent_nonce WHERE nonce IN \
             (SELECT nonce FROM spent_nonce WHERE expires < extract(epoch FROM now())::bigint - 3600 LIMIT {NONCES})"
        );
        tx.execute(&nonces, &[]).await.map_err(failed)?;
        let changes = format!(
            "WITH gone AS (DELETE FROM fleet_change WHERE ctid IN (SELECT ctid FROM fleet_change \
             WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) AND at < now() - interval '1 hour' \
             ORDER BY xid LIMIT {CHANGES}) RETURNING xid) \
             UPDATE fleet_change_gone SET xid = greatest(xid, (SELECT g.xid FROM gone g ORDER BY g.xid DESC LIMIT 1)) \
             WHERE EXISTS (SELECT 1 FROM gone)"
        );
        tx.execute(&changes, &[]).await.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)
}
