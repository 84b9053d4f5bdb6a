//! Writing the serial ledger: claims, completions, judgements. All of it runs inside the writer's transaction.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::audit;
use super::writer::{Batch, Fault, Op};
use super::{corrupt, signed, unsigned};
use crate::domain::audit::AuditEvent;
use crate::domain::ident::{DeviceId, KeyId};
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::{self, Approval, ClaimVerdict, SerialHistory};
use crate::domain::vault::{ClaimOutcome, Reservation, SerialClaim, SerialState, Standing};
use crate::ports::{IssuedSerial, StoreError};

pub(super) fn state_name(state: SerialState) -> &'static str {
    match state {
        SerialState::Reserved => "reserved",
        SerialState::Issued => "issued",
        SerialState::Void => "void",
    }
}

pub(super) fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Allowed => "allowed",
        Standing::Denied => "denied",
    }
}

pub(super) fn approval_name(approval: Approval) -> &'static str {
    match approval {
        Approval::Pending => "pending",
        Approval::Approved => "approved",
        Approval::Rejected => "rejected",
    }
}

pub(super) fn approval_of(name: &str) -> Option<Approval> {
    [Approval::Pending, Approval::Approved, Approval::Rejected]
        .into_iter()
        .find(|a| approval_name(*a) == name)
}

pub(super) fn standing_of(name: &str) -> Option<Standing> {
    [Standing::Allowed, Standing::Denied]
        .into_iter()
        .find(|s| standing_name(*s) == name)
}

/// brand, model, serial as statement parameters.
pub(super) fn device_values(device: &DeviceId) -> [&str; 3] {
    [
        device.brand.as_str(),
        device.model.as_str(),
        device.serial.as_str(),
    ]
}

/// Makes claims and losses of one serial wait for each other until the commit, also across processes, so that what is
/// read of the device still holds then.
async fn lock_device(tx: &Transaction<'_>, device: &DeviceId) -> Result<(), tokio_postgres::Error> {
    let [brand, model, serial] = device_values(device);
    let lock = tx
        .prepare_cached("SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2 || '/' || $3, 7001))")
        .await?;
    tx.query_one(&lock, &[&brand, &model, &serial]).await.map(drop)
}

/// Decides a claim.
pub(super) async fn claim(batch: &mut Batch<'_>, claim: &SerialClaim) -> Result<ClaimOutcome, Fault> {
    let tx = batch.tx;
    lock_device(tx, &claim.device).await?;

    let asked = asked(tx, claim).await?;
    let polls = asked
        .as_ref()
        .is_some_and(|(_, nonce)| *nonce == Some(claim.request_id.nonce));
    if !polls && (claim.now > claim.request_id.expires || is_spent(tx, &claim.request_id.nonce).await?) {
        return Ok(ClaimOutcome::StaleRequest);
    }
    let history = history(batch, claim, asked.map(|(approval, _)| approval)).await?;
    let spent = spend(batch, &claim.request_id.nonce, claim.request_id.expires).await?;
    if !spent && !polls {
        // Another process spent it for another device between our look and our insert.
        return Ok(ClaimOutcome::StaleRequest);
    }
    let outcome = match claim::judge(&claim.rules, &history, &claim.device_key) {
        ClaimVerdict::AwaitApproval => return await_approval(batch, claim).await,
        ClaimVerdict::Reserve(revision) => {
            if history.approval.is_some() {
                forget_approval(tx, claim).await?;
            }
            reserve(batch, claim, revision, history.last_key.is_none()).await?;
            return Ok(ClaimOutcome::Reserved(Reservation {
                device: claim.device.clone(),
                device_key: claim.device_key.clone(),
                revision,
                reserved_at: claim.now,
            }));
        }
        ClaimVerdict::Duplicate => ClaimOutcome::Duplicate,
        ClaimVerdict::NotAllowed => ClaimOutcome::NotAllowed,
        ClaimVerdict::Denied => ClaimOutcome::Denied,
        ClaimVerdict::QuotaReached => ClaimOutcome::QuotaReached {
            quota: claim.rules.quota.unwrap_or_default(),
        },
    };
    if history.approval.is_some() {
        answer_approval(tx, claim).await?;
    }
    Ok(outcome)
}

/// The request of this device key for an approval, with the request-id it was last asked with (none once refused).
async fn asked(
    tx: &Transaction<'_>,
    claim: &SerialClaim,
) -> Result<Option<(Approval, Option<[u8; 16]>)>, Fault> {
    let [brand, model, serial] = device_values(&claim.device);
    let statement = tx
        .prepare_cached(
            "SELECT approval, nonce FROM approval \
             WHERE brand_id = $1 AND model = $2 AND serial = $3 AND device_key = $4",
        )
        .await?;
    let Some(row) = tx
        .query_opt(&statement, &[&brand, &model, &serial, &claim.device_key.as_str()])
        .await?
    else {
        return Ok(None);
    };
    let name: &str = row.try_get(0)?;
    let nonce: Option<&[u8]> = row.try_get(1)?;
    let approval = approval_of(name).ok_or_else(|| Fault::Refused(corrupt(format!("approval {name:?}"))))?;
    let nonce = nonce
        .map(<[u8; 16]>::try_from)
        .transpose()
        .map_err(|e| Fault::Refused(corrupt(format!("approval nonce: {e}"))))?;
    Ok(Some((approval, nonce)))
}

async fn is_spent(tx: &Transaction<'_>, nonce: &[u8; 16]) -> Result<bool, Fault> {
    let statement = tx
        .prepare_cached("SELECT 1 FROM spent_nonce WHERE nonce = $1")
        .await?;
    Ok(tx.query_opt(&statement, &[&nonce.as_slice()]).await?.is_some())
}

/// Remembers a nonce until it expires; false if it was known. The unique index decides between processes.
pub(super) async fn spend(batch: &Batch<'_>, nonce: &[u8; 16], expires: Timestamp) -> Result<bool, Fault> {
    let statement = batch
        .tx
        .prepare_cached("INSERT INTO spent_nonce (nonce, expires) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .await?;
    Ok(batch
        .tx
        .execute(&statement, &[&nonce.as_slice(), &expires.unix()])
        .await?
        == 1)
}

/// What the rules need to know; the model's counter is locked only where a quota asks for it.
async fn history(
    batch: &Batch<'_>,
    claim: &SerialClaim,
    approval: Option<Approval>,
) -> Result<SerialHistory, Fault> {
    let tx = batch.tx;
    let [brand, model, serial] = device_values(&claim.device);
    let statement = tx
        .prepare_cached(
            "SELECT h.last_revision, h.last_key, s.standing FROM (VALUES ($1::text, $2::text, $3::text)) d (b, m, n) \
             LEFT JOIN serial_head h ON h.brand_id = b AND h.model = m AND h.serial = n \
             LEFT JOIN standing s ON s.brand_id = b AND s.model = m AND s.serial = n",
        )
        .await?;
    let row = tx.query_one(&statement, &[&brand, &model, &serial]).await?;
    let last_revision: Option<i64> = row.try_get(0)?;
    let last_key: Option<&str> = row.try_get(1)?;
    let standing: Option<&str> = row.try_get(2)?;
    let serials_of_model = if claim.rules.quota.is_some() {
        unsigned(lock_count(tx, brand, model).await? + batch.counts.serials(brand, model))
    } else {
        0
    };
    Ok(SerialHistory {
        last_revision: last_revision.map_or(0, unsigned),
        last_key: last_key
            .map(|key| key.parse::<KeyId>().map_err(|e| Fault::Refused(corrupt(e))))
            .transpose()?,
        standing: standing.and_then(standing_of),
        serials_of_model,
        approval,
    })
}

/// Serials of a model so far; nobody else counts any until the commit.
async fn lock_count(tx: &Transaction<'_>, brand: &str, model: &str) -> Result<i64, tokio_postgres::Error> {
    // The row must exist to be locked, else two first claims would both see an empty model.
    let insert = tx
        .prepare_cached("INSERT INTO model_counter (brand_id, model) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .await?;
    tx.execute(&insert, &[&brand, &model]).await?;
    let select = tx
        .prepare_cached("SELECT serials FROM model_counter WHERE brand_id = $1 AND model = $2 FOR UPDATE")
        .await?;
    tx.query_one(&select, &[&brand, &model]).await?.try_get(0)
}

/// A new request for approval, or another poll of the one that waits.
async fn await_approval(batch: &Batch<'_>, claim: &SerialClaim) -> Result<ClaimOutcome, Fault> {
    let [brand, model, serial] = device_values(&claim.device);
    let statement = batch
        .tx
        .prepare_cached(
            "INSERT INTO approval (brand_id, model, serial, device_key, approval, nonce, since) \
             VALUES ($1, $2, $3, $4, 'pending', $5, $6) ON CONFLICT (brand_id, model, serial, device_key) \
             DO UPDATE SET nonce = EXCLUDED.nonce, approval = 'pending'",
        )
        .await?;
    let nonce = claim.request_id.nonce.as_slice();
    batch
        .tx
        .execute(
            &statement,
            &[
                &brand,
                &model,
                &serial,
                &claim.device_key.as_str(),
                &nonce,
                &claim.now.unix(),
            ],
        )
        .await?;
    Ok(ClaimOutcome::AwaitingApproval)
}

/// The request was refused: its request-id is no longer kept alive.
async fn answer_approval(tx: &Transaction<'_>, claim: &SerialClaim) -> Result<(), Fault> {
    let [brand, model, serial] = device_values(&claim.device);
    let statement = tx
        .prepare_cached(
            "UPDATE approval SET nonce = NULL WHERE brand_id = $1 AND model = $2 AND serial = $3 AND device_key = $4",
        )
        .await?;
    tx.execute(&statement, &[&brand, &model, &serial, &claim.device_key.as_str()])
        .await?;
    Ok(())
}

async fn forget_approval(tx: &Transaction<'_>, claim: &SerialClaim) -> Result<(), Fault> {
    let [brand, model, serial] = device_values(&claim.device);
    let statement = tx
        .prepare_cached(
            "DELETE FROM approval WHERE brand_id = $1 AND model = $2 AND serial = $3 AND device_key = $4",
        )
        .await?;
    tx.execute(&statement, &[&brand, &model, &serial, &claim.device_key.as_str()])
        .await?;
    Ok(())
}

async fn reserve(
    batch: &mut Batch<'_>,
    claim: &SerialClaim,
    revision: u64,
    first: bool,
) -> Result<(), Fault> {
    let tx = batch.tx;
    let [brand, model, serial] = device_values(&claim.device);
    set_head(tx, &claim.device, revision, &claim.device_key).await?;
    let row = tx
        .prepare_cached(
            "INSERT INTO serial (brand_id, model, serial, revision, device_key, created_at, state, assertion, owner) \
             VALUES ($1, $2, $3, $4, $5, $6, 'reserved', '', $7)",
        )
        .await?;
    tx.execute(
        &row,
        &[
            &brand,
            &model,
            &serial,
            &signed(revision),
            &claim.device_key.as_str(),
            &claim.now.unix(),
            &batch.owner,
        ],
    )
    .await?;
    if first {
        batch.counts.add(brand, model, [1, 0, 0]);
    }
    Ok(())
}

/// Moves what the next claim sees.
async fn set_head(tx: &Transaction<'_>, device: &DeviceId, revision: u64, key: &KeyId) -> Result<(), Fault> {
    let [brand, model, serial] = device_values(device);
    let statement = tx
        .prepare_cached(
            "INSERT INTO serial_head (brand_id, model, serial, last_revision, last_key) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (brand_id, model, serial) \
             DO UPDATE SET last_revision = EXCLUDED.last_revision, last_key = EXCLUDED.last_key \
             WHERE serial_head.last_revision < EXCLUDED.last_revision",
        )
        .await?;
    tx.execute(
        &statement,
        &[&brand, &model, &serial, &signed(revision), &key.as_str()],
    )
    .await?;
    Ok(())
}

/// What is to be added to the numbers of serials, issued and void of models. Written as the last of a transaction, in one order:
/// all that register devices of a model write its row, so it is held for as short as can be, and two processes whose devices
/// are of the same models do not wait for each other in a circle.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(BTreeMap<(String, String), [i64; 3]>);

impl Counts {
    pub(super) fn add(&mut self, brand: &str, model: &str, add: [i64; 3]) {
        let sums = self.0.entry((brand.to_owned(), model.to_owned())).or_default();
        for (sum, add) in sums.iter_mut().zip(add) {
            *sum += add;
        }
    }

    /// Serials of a model that are not written yet.
    fn serials(&self, brand: &str, model: &str) -> i64 {
        let found = self.0.get(&(brand.to_owned(), model.to_owned()));
        found.map_or(0, |[serials, ..]| *serials)
    }

    pub(super) async fn write(&self, tx: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let statement = tx
            .prepare_cached(
                "INSERT INTO model_counter AS c (brand_id, model, serials, issued, void) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (brand_id, model) DO UPDATE SET serials = c.serials + EXCLUDED.serials, \
                 issued = c.issued + EXCLUDED.issued, void = c.void + EXCLUDED.void",
            )
            .await?;
        for ((brand, model), [serials, issued, void]) in &self.0 {
            tx.execute(&statement, &[brand, model, serials, issued, void])
                .await?;
        }
        Ok(())
    }
}

/// Where a claim has a quota, the number of its model is asked for before the end: then all rows that the batch will write are
/// taken now, in the order in which everybody does.
pub(super) async fn lock_counts<'o>(
    tx: &Transaction<'_>,
    ops: impl Iterator<Item = &'o Op>,
) -> Result<(), tokio_postgres::Error> {
    let (mut models, mut limited) = (BTreeSet::new(), false);
    for op in ops {
        let devices: Vec<&DeviceId> = match op {
            Op::Claim(claim) => {
                limited |= claim.rules.quota.is_some();
                vec![&claim.device]
            }
            Op::Issue { reservation, .. } | Op::Void(reservation) => vec![&reservation.device],
            Op::Load(rows) => rows.iter().map(|row| &row.device).collect(),
            Op::Commit(commit) => commit.serials.iter().map(|row| &row.device).collect(),
            Op::Spend { .. }
            | Op::Checkpoint(_)
            | Op::Standing { .. }
            | Op::Decide { .. }
            | Op::VoidAbandoned(_) => Vec::new(),
        };
        models.extend(devices.into_iter().map(|device| (&device.brand, &device.model)));
    }
    if limited {
        for (brand, model) in models {
            lock_count(tx, brand.as_str(), model.as_str()).await?;
        }
    }
    Ok(())
}

/// Completes a reservation.
pub(super) async fn issue(
    batch: &mut Batch<'_>,
    reservation: &Reservation,
    serial: &IssuedSerial,
    event: &AuditEvent,
) -> Result<(), Fault> {
    let [brand, model, number] = device_values(&reservation.device);
    let statement = batch
        .tx
        .prepare_cached(
            "UPDATE serial SET state = 'issued', sign_key = $5, created_at = $6, assertion = $7, owner = NULL \
             WHERE brand_id = $1 AND model = $2 AND serial = $3 AND revision = $4 AND state = 'reserved'",
        )
        .await?;
    let assertion: &[u8] = &serial.assertion;
    let revision = signed(reservation.revision);
    let created = serial.created_at.unix();
    let values: [&(dyn ToSql + Sync); 7] = [
        &brand,
        &model,
        &number,
        &revision,
        &serial.sign_key.as_str(),
        &created,
        &assertion,
    ];
    if batch.tx.execute(&statement, &values).await? != 1 {
        return Err(not_open(reservation, "not reserved"));
    }
    batch.counts.add(brand, model, [0, 1, 0]);
    audit::append(batch, event).await
}

fn not_open(reservation: &Reservation, why: &str) -> Fault {
    let Reservation { device, revision, .. } = reservation;
    Fault::Refused(StoreError::Refused(format!(
        "revision {revision} of {device} is {why}"
    )))
}

/// Gives a reservation up.
pub(super) async fn void(batch: &mut Batch<'_>, reservation: &Reservation) -> Result<(), Fault> {
    lock_device(batch.tx, &reservation.device).await?;
    let [brand, model, serial] = device_values(&reservation.device);
    let revision = signed(reservation.revision);
    let statement = batch
        .tx
        .prepare_cached(
            "UPDATE serial SET state = 'void', owner = NULL \
             WHERE brand_id = $1 AND model = $2 AND serial = $3 AND revision = $4 AND state = 'reserved'",
        )
        .await?;
    if batch
        .tx
        .execute(&statement, &[&brand, &model, &serial, &revision])
        .await?
        != 1
    {
        let row = batch
            .tx
            .query_opt(
                "SELECT state FROM serial WHERE brand_id = $1 AND model = $2 AND serial = $3 AND revision = $4",
                &[&brand, &model, &serial, &revision],
            )
            .await?;
        let state: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
        return match state.as_deref() {
            Some("void") => Ok(()),
            Some(_) => Err(not_open(reservation, "issued")),
            None => Err(not_open(reservation, "not reserved")),
        };
    }
    // The key of a void row binds nothing: the one before counts again.
    let head = batch
        .tx
        .prepare_cached(
            "UPDATE serial_head SET last_key = (SELECT device_key FROM serial \
             WHERE brand_id = $1 AND model = $2 AND serial = $3 AND state <> 'void' \
             ORDER BY revision DESC LIMIT 1) WHERE brand_id = $1 AND model = $2 AND serial = $3 RETURNING last_key",
        )
        .await?;
    let last_key: Option<String> = batch
        .tx
        .query_one(&head, &[&brand, &model, &serial])
        .await?
        .try_get(0)?;
    batch
        .counts
        .add(brand, model, [if last_key.is_none() { -1 } else { 0 }, 0, 1]);
    Ok(())
}
