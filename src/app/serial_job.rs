//! Reserve, sign, record: the steps of issuing a serial that must be carried to an end once begun
//! (serial-vault.md 4.3, steps 15 to 17, and 4.4).

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tracing::Instrument as _;

use super::brand_key::BrandKey;
use super::issue_serial::Vault;
use super::vault_cache::ServedModel;
use super::{App, IssueError, factory, fleet};
use crate::domain::assertion::types::SerialRequest;
use crate::domain::assertion::{Assertion, AssertionType, Headers, Statement, Typed};
use crate::domain::audit::{Actor, AuditEvent, hex};
use crate::domain::ident::DeviceId;
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::PresentedRequestId;
use crate::domain::vault::{ClaimOutcome, ClaimRules, DeviceAuth, Reservation, SerialClaim};
use crate::ports::{IssuedSerial, SignError, StoreError};

/// Pauses between attempts while the signer's queue is full; then the device is told to come back.
const SIGNER_PAUSES: [u64; 6] = [20, 50, 100, 200, 400, 800];

/// A claim that passed every check, ready to be carried out.
pub(super) struct Job {
    pub claim: SerialClaim,
    pub served: Arc<ServedModel>,
    pub request: Assertion,
    pub actor: String,
    pub remodelled: Option<DeviceId>,
}

impl Vault {
    /// Steps 15 to 17: reserve, sign, record. None: a person has to decide first.
    pub(super) async fn carry_out(&self, job: Job) -> Result<Option<Assertion>, IssueError> {
        self.void_leftovers().await;
        let key = job
            .served
            .key
            .as_ref()
            .map_err(|why| IssueError::UnusableKey(why.clone()))?;
        // A key in a token that is away: no request-id and no revision is spent on a signature that will not come.
        self.app
            .signer
            .ready(&key.record.key_id)
            .await
            .map_err(IssueError::Signer)?;
        let claim = self.app.storage.claim(job.claim.clone());
        let claim = claim.instrument(tracing::debug_span!(target: "hallmark::traces", "reserve"));
        let reservation = match claim.await? {
            ClaimOutcome::Reserved(reservation) => reservation,
            ClaimOutcome::AwaitingApproval => return Ok(None),
            ClaimOutcome::StaleRequest => return Err(IssueError::StaleRequest),
            ClaimOutcome::Duplicate => return Err(IssueError::Duplicate),
            ClaimOutcome::NotAllowed => return Err(IssueError::NotAllowed),
            ClaimOutcome::Denied => return Err(IssueError::Denied),
            ClaimOutcome::QuotaReached { quota } => return Err(IssueError::QuotaReached(quota)),
        };
        let completed = async {
            // Whoever gives serials away writes that down and looks at the ledger then; here it is the other way round:
            // of two at the same time one sees the other.
            let sites = factory::sites(&self.app, &reservation.device.brand).await?;
            factory::ours(&sites, &reservation.device, job.claim.now)?;
            self.complete(&job, key, &reservation).await
        };
        match completed.await {
            Ok(serial) => Ok(Some(serial)),
            Err(error) => {
                tracing::error!(%error, device = %reservation.device, revision = reservation.revision, "serial not issued");
                self.void(reservation).await;
                Err(error)
            }
        }
    }

    async fn complete(
        &self,
        job: &Job,
        key: &BrandKey,
        reservation: &Reservation,
    ) -> Result<Assertion, IssueError> {
        let now = job.claim.now;
        let statement = serial_statement(job, key, reservation, now);
        let sign = tracing::debug_span!(target: "hallmark::traces", "sign", key = %key.record.key_id);
        let serial = self.sign(key, statement, now).instrument(sign).await?;
        let issued = IssuedSerial {
            assertion: serial.encoded().clone(),
            sign_key: key.record.key_id.clone(),
            created_at: now,
        };
        let event = serial_event(job, key, reservation, &serial);
        let record = tracing::debug_span!(target: "hallmark::traces", "record");
        self.app
            .storage
            .issue(reservation, issued, event)
            .instrument(record)
            .await
            .map_err(IssueError::Unrecorded)?;
        // What the device becomes is fixed before it has its serial.
        fleet::devices::registered(&self.app, &reservation.device)
            .await
            .map_err(|error| IssueError::Unrecorded(StoreError::Unavailable(error.to_string())))?;
        Ok(serial)
    }

    /// Signs; what comes back was decoded again and its signature verified. A full queue is waited for a little,
    /// since a revision is already taken.
    async fn sign(
        &self,
        key: &BrandKey,
        statement: Statement,
        now: Timestamp,
    ) -> Result<Assertion, IssueError> {
        let unsignable = |e: &dyn std::fmt::Display| IssueError::Unsignable(e.to_string());
        key.check(statement.kind(), statement.headers(), now)
            .map_err(|why| IssueError::UnusableKey(why.to_string()))?;
        let draft = statement.draft(&key.public).map_err(|e| unsignable(&e))?;
        let digest = draft.digest(now);
        let mut pauses = SIGNER_PAUSES.iter();
        let raw = loop {
            match self.app.signer.sign(&key.record.key_id, digest).await {
                Ok(raw) => break raw,
                Err(SignError::Saturated) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(Duration::from_millis(*pause)).await,
                    None => return Err(IssueError::Signer(SignError::Saturated)),
                },
                Err(error) => return Err(IssueError::Signer(error)),
            }
        };
        draft.finish(now, &raw).map_err(|error| {
            tracing::error!(%error, key = %key.record.key_id, "the signature does not verify");
            IssueError::SigningBroke
        })
    }

    /// Gives a reservation up, now or as soon as the database answers. False if that is not yet done.
    async fn void(&self, reservation: Reservation) -> bool {
        let Err(error) = self.app.storage.void(&reservation).await else {
            return true;
        };
        let device = &reservation.device;
        match error {
            // It was recorded after all: the answer of the database got lost, not the serial.
            StoreError::Refused(_) => {
                tracing::warn!(%error, %device, "a serial was recorded that its device did not get");
                true
            }
            StoreError::Unavailable(_) | StoreError::Corrupt(_) | StoreError::Saturated => {
                tracing::error!(%error, %device, "cannot void a reservation now, trying again later");
                self.leftovers().push(reservation);
                false
            }
        }
    }

    /// Gives up what could not be given up before. Stops at the first that still cannot be: a database that is out
    /// of reach is asked once, however much has piled up.
    async fn void_leftovers(&self) {
        loop {
            let Some(reservation) = self.leftovers().pop() else {
                return;
            };
            if !self.void(reservation).await {
                return;
            }
        }
    }

    fn leftovers(&self) -> MutexGuard<'_, Vec<Reservation>> {
        self.shared
            .leftovers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reservations voided in one step.
const ABANDONED: usize = 256;

/// Voids some of the reservations that processes which are gone left open; how many, and whether there may be more.
pub(super) async fn void_abandoned(app: &App) -> Result<(usize, bool), StoreError> {
    let voided = app.storage.void_abandoned(ABANDONED).await?;
    for reservation in &voided {
        let Reservation { device, revision, .. } = reservation;
        tracing::warn!(%device, revision, "voided a reservation that was left open");
    }
    Ok((voided.len(), voided.len() >= ABANDONED))
}

/// The claim for `device` under the rules of its model.
pub(super) fn claim(
    app: &App,
    served: &ServedModel,
    device: DeviceId,
    request: &SerialRequest,
    request_id: PresentedRequestId,
    now: Timestamp,
) -> SerialClaim {
    let model = &served.model;
    let floor = factory::floor(&served.sites, &device);
    SerialClaim {
        device,
        device_key: request.device_key.id().clone(),
        request_id,
        rules: ClaimRules {
            reissue: model.reissue,
            allow_list: model.allow_list || model.auth == DeviceAuth::AllowList,
            quota: model.quota,
            revision_floor: app.revision_floor.max(floor),
        },
        now,
    }
}

/// The serial of serial-vault.md 4.4. The body is copied byte for byte.
fn serial_statement(job: &Job, key: &BrandKey, reservation: &Reservation, now: Timestamp) -> Statement {
    let device = &reservation.device;
    let mut headers = Headers::default();
    headers.set("authority-id", device.brand.as_str());
    headers.set("revision", reservation.revision.to_string());
    headers.set("brand-id", device.brand.as_str());
    headers.set("model", device.model.as_str());
    headers.set("serial", device.serial.as_str());
    if let Typed::SerialRequest(request) = job.request.typed() {
        headers.set("device-key", request.device_key.encoded());
        headers.set("device-key-sha3-384", request.device_key.id().as_str());
    }
    headers.set("timestamp", now.to_string());
    headers.set("sign-key-sha3-384", key.record.key_id.as_str());
    Statement::new(AssertionType::Serial, headers, job.request.body().to_vec())
}

fn serial_event(job: &Job, key: &BrandKey, reservation: &Reservation, serial: &Assertion) -> AuditEvent {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, serial.content());
    let mut detail = serde_json::Map::new();
    detail.insert("revision".to_owned(), json!(reservation.revision));
    detail.insert(
        "device-key-sha3-384".to_owned(),
        json!(reservation.device_key.as_str()),
    );
    detail.insert("sign-key-sha3-384".to_owned(), json!(key.record.key_id.as_str()));
    detail.insert("content-sha512".to_owned(), json!(hex(digest.as_ref())));
    if let Some(original) = &job.remodelled {
        detail.insert("remodelled-from".to_owned(), json!(original.to_string()));
    }
    AuditEvent {
        time: job.claim.now,
        actor: Actor::Device(job.actor.clone()),
        brand: Some(reservation.device.brand.clone().into()),
        action: "serial.sign".to_owned(),
        subject: reservation.device.to_string(),
        detail,
    }
}
