//! The deep check behind `hallmark doctor`: what the constraints of the schema cannot say.

use deadpool_postgres::ClientWrapper;

use super::{failed, ledger};
use crate::ports::StoreError;

/// (what it means, a query that finds such rows as one text column)
const QUERIES: &[(&str, &str)] = &[
    (
        "a serial's head is not its highest revision",
        "SELECT h.brand_id || '/' || h.model || '/' || h.serial FROM serial_head h LEFT JOIN LATERAL \
         (SELECT max(revision) AS top FROM serial s WHERE s.brand_id = h.brand_id AND s.model = h.model \
         AND s.serial = h.serial) s ON true WHERE s.top IS DISTINCT FROM h.last_revision",
    ),
    (
        "a model's counters do not match its serials",
        "SELECT brand_id || '/' || model FROM \
         (SELECT brand_id, model, count(DISTINCT serial) FILTER (WHERE state <> 'void') AS serials, count(*) FILTER (WHERE state = 'issued') AS issued, \
         count(*) FILTER (WHERE state = 'void') AS void FROM serial GROUP BY brand_id, model) s \
         FULL JOIN model_counter c USING (brand_id, model) \
         WHERE coalesce(s.serials, 0) <> coalesce(c.serials, 0) OR coalesce(s.issued, 0) <> coalesce(c.issued, 0) \
         OR coalesce(s.void, 0) <> coalesce(c.void, 0)",
    ),
    (
        "an assertion is newer than its head",
        "SELECT a.type || ' ' || array_to_string(a.primary_key, '/') FROM assertion a \
         JOIN assertion_head h USING (type, primary_key) WHERE a.revision > h.revision",
    ),
    (
        "an audit chain has a gap",
        "SELECT writer FROM audit_entry GROUP BY writer HAVING max(sequence) <> count(*)",
    ),
];

pub(super) async fn check(client: &ClientWrapper) -> Result<Vec<String>, StoreError> {
    let mut wrong = Vec::new();
    for (meaning, query) in QUERIES {
        for row in client.query(*query, &[]).await.map_err(failed)? {
            let what: String = row.try_get(0).map_err(failed)?;
            wrong.push(format!("{meaning}: {what}"));
        }
    }
    unreadable_serials(client, &mut wrong).await?;
    Ok(wrong)
}

/// Every row must parse; read in pieces so that memory stays small.
async fn unreadable_serials(client: &ClientWrapper, wrong: &mut Vec<String>) -> Result<(), StoreError> {
    let mut after = 0_i64;
    loop {
        let rows = client
            .query(
                "SELECT position, brand_id, model, serial, revision, device_key, sign_key, created_at, state, assertion \
                 FROM serial WHERE position > $1 ORDER BY position LIMIT 1000",
                &[&after],
            )
            .await
            .map_err(failed)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.try_get(0).map_err(failed)?;
        for row in &rows {
            if let Err(error) = ledger::serial_row(row) {
                wrong.push(format!("a serial row cannot be read: {error}"));
            }
        }
    }
}
