//! What people decide about serials, and finished rows that come from elsewhere. Runs inside the writer's transaction.

use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::claims::{Counts, approval_name, device_values, standing_name, state_name};
use super::signed;
use super::writer::{Batch, Fault};
use crate::domain::ident::{BrandId, DeviceId, KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::Approval;
use crate::domain::vault::{SerialRow, SerialState, Standing};
use crate::ports::StoreError;

/// Judges serials of a model.
pub(super) async fn set_standing(
    batch: &Batch<'_>,
    brand: &BrandId,
    model: &ModelName,
    serials: &[SerialNumber],
    standing: Option<Standing>,
    now: Timestamp,
) -> Result<(), Fault> {
    let serials: Vec<&str> = serials.iter().map(SerialNumber::as_str).collect();
    match standing {
        Some(standing) => {
            batch
                .tx
                .execute(
                    "INSERT INTO standing (brand_id, model, serial, standing, since) \
                     SELECT DISTINCT $1, $2, serial, $4, $5::bigint FROM unnest($3::text[]) serial \
                     ON CONFLICT (brand_id, model, serial) \
                     DO UPDATE SET standing = EXCLUDED.standing, since = EXCLUDED.since",
                    &[
                        &brand.as_str(),
                        &model.as_str(),
                        &serials,
                        &standing_name(standing),
                        &now.unix(),
                    ],
                )
                .await?
        }
        None => {
            batch
                .tx
                .execute(
                    "DELETE FROM standing WHERE brand_id = $1 AND model = $2 AND serial = ANY($3::text[])",
                    &[&brand.as_str(), &model.as_str(), &serials],
                )
                .await?
        }
    };
    Ok(())
}

/// Decides a request that is pending or was rejected; false if there is none.
pub(super) async fn decide(
    batch: &Batch<'_>,
    device: &DeviceId,
    device_key: &KeyId,
    approval: Approval,
) -> Result<bool, Fault> {
    let [brand, model, serial] = device_values(device);
    let decided = batch
        .tx
        .execute(
            "UPDATE approval SET approval = $5 WHERE brand_id = $1 AND model = $2 AND serial = $3 \
             AND device_key = $4 AND approval <> 'approved'",
            &[
                &brand,
                &model,
                &serial,
                &device_key.as_str(),
                &approval_name(approval),
            ],
        )
        .await?;
    Ok(decided == 1)
}

/// Writes finished rows as they are.
pub(super) async fn load(batch: &mut Batch<'_>, rows: &[SerialRow]) -> Result<(), Fault> {
    if let Some(row) = rows.iter().find(|row| row.state == SerialState::Reserved) {
        let why = format!("revision {} of {} is not finished", row.revision, row.device);
        return Err(Fault::Refused(StoreError::Refused(why)));
    }
    batch.tx.batch_execute("SAVEPOINT one_load").await?;
    let before = batch.counts.clone();
    for row in rows {
        if row.state == SerialState::Issued {
            remove_void(batch.tx, row, &mut batch.counts).await?;
        }
        if !load_row(batch.tx, row, None, &mut batch.counts).await? {
            batch.counts = before;
            batch.tx.batch_execute("ROLLBACK TO SAVEPOINT one_load").await?;
            let why = format!("revision {} of {} is there already", row.revision, row.device);
            return Err(Fault::Refused(StoreError::Refused(why)));
        }
    }
    batch.tx.batch_execute("RELEASE SAVEPOINT one_load").await?;
    Ok(())
}

/// Makes room for `row` where a void one has its revision.
async fn remove_void(tx: &Transaction<'_>, row: &SerialRow, counts: &mut Counts) -> Result<(), Fault> {
    let [brand, model, serial] = device_values(&row.device);
    let delete = tx
        .prepare_cached(
            "DELETE FROM serial WHERE brand_id = $1 AND model = $2 AND serial = $3 AND revision = $4 AND state = 'void'",
        )
        .await?;
    if tx
        .execute(&delete, &[&brand, &model, &serial, &signed(row.revision)])
        .await?
        == 1
    {
        counts.add(brand, model, [0, 0, -1]);
    }
    Ok(())
}

/// Puts a row as it was elsewhere; false if its place or revision is taken.
pub(super) async fn import(
    tx: &Transaction<'_>,
    row: &SerialRow,
    counts: &mut Counts,
) -> Result<bool, Fault> {
    let finished = row.state != SerialState::Reserved;
    Ok(finished && load_row(tx, row, Some(signed(row.position)), counts).await?)
}

/// Writes a finished row, at the next position or at `position`; false if it is there already.
async fn load_row(
    tx: &Transaction<'_>,
    row: &SerialRow,
    position: Option<i64>,
    counts: &mut Counts,
) -> Result<bool, Fault> {
    let [brand, model, serial] = device_values(&row.device);
    let live = row.state != SerialState::Void;
    // The head's key is that of the highest live revision; a void row only pushes the revision up.
    let head = tx
        .prepare_cached(
            "INSERT INTO serial_head AS h (brand_id, model, serial, last_revision, last_key) \
             VALUES ($1, $2, $3, $4, CASE WHEN $6 THEN $5 END) ON CONFLICT (brand_id, model, serial) DO UPDATE SET \
             last_revision = greatest(h.last_revision, EXCLUDED.last_revision), \
             last_key = CASE WHEN $6 AND NOT EXISTS (SELECT 1 FROM serial WHERE brand_id = $1 AND model = $2 \
             AND serial = $3 AND state <> 'void' AND revision > $4) THEN $5 ELSE h.last_key END",
        )
        .await?;
    let known = tx
        .prepare_cached(
            "SELECT last_key IS NOT NULL FROM serial_head WHERE brand_id = $1 AND model = $2 AND serial = $3",
        )
        .await?;
    let counted = match tx.query_opt(&known, &[&brand, &model, &serial]).await? {
        Some(row) => row.try_get::<_, bool>(0)?,
        None => false,
    };
    let revision = signed(row.revision);
    let device_key = row.device_key.as_str();
    tx.execute(&head, &[&brand, &model, &serial, &revision, &device_key, &live])
        .await?;
    let insert = tx
        .prepare_cached(
            "INSERT INTO serial \
             (brand_id, model, serial, revision, device_key, sign_key, created_at, state, assertion, position) \
             OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, \
             coalesce($10, nextval(pg_get_serial_sequence('serial', 'position')))) ON CONFLICT DO NOTHING",
        )
        .await?;
    let sign_key = row.sign_key.as_ref().map(KeyId::as_str);
    let assertion: &[u8] = &row.assertion;
    let created = row.created_at.unix();
    let state = state_name(row.state);
    let values: [&(dyn ToSql + Sync); 10] = [
        &brand,
        &model,
        &serial,
        &revision,
        &device_key,
        &sign_key,
        &created,
        &state,
        &assertion,
        &position,
    ];
    if tx.execute(&insert, &values).await? != 1 {
        return Ok(false);
    }
    counts.add(
        brand,
        model,
        [i64::from(live && !counted), i64::from(live), i64::from(!live)],
    );
    Ok(true)
}
