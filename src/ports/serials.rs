//! The serial ledger: every serial ever reserved, and what operators decided about serials.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::domain::audit::AuditEvent;
use crate::domain::ident::{BrandId, DeviceId, KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::Approval;
use crate::domain::vault::{ClaimOutcome, Reservation, SerialClaim, SerialRow, SerialState, Standing};

/// A signed serial, ready to be recorded.
#[derive(Clone, Debug)]
pub struct IssuedSerial {
    /// The serial assertion, verbatim.
    pub assertion: Bytes,
    /// The key that signed it.
    pub sign_key: KeyId,
    /// Its timestamp.
    pub created_at: Timestamp,
}

/// Which rows of the ledger are wanted. All given conditions must hold.
#[derive(Clone, Debug)]
pub struct SerialFilter {
    /// The brand.
    pub brand: BrandId,
    /// Only these models; empty = all.
    pub models: Vec<ModelName>,
    /// Serials that start with this text.
    pub serial_prefix: Option<String>,
    /// Only this device key.
    pub device_key: Option<KeyId>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Only positions below this one (keyset paging, newest first).
    pub before: Option<u64>,
    /// At most this many rows.
    pub limit: usize,
}

/// Numbers about a brand's ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerStats {
    /// Issued rows.
    pub issued: u64,
    /// Void rows.
    pub void: u64,
    /// Distinct serials with a row that is not void; what quotas count.
    pub serials: u64,
}

/// A serial operators have judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StandingRow {
    /// The device.
    #[serde(flatten)]
    pub device: DeviceId,
    /// The judgement.
    pub standing: Standing,
    /// Since when.
    pub since: Timestamp,
}

/// A request that waits, or waited, for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ApprovalRow {
    /// The device.
    #[serde(flatten)]
    pub device: DeviceId,
    /// The device key that asks.
    pub device_key: KeyId,
    /// Where it stands.
    pub approval: Approval,
    /// Since when it asks.
    pub since: Timestamp,
}

/// The ledger.
#[async_trait]
pub trait SerialLedger: Send + Sync {
    /// Spends the request-id, asks [`crate::domain::vault::claim::judge`], and takes a place, as one atomic step:
    /// N racing claims for one serial get N distinct, dense revisions.
    ///
    /// A request-id is fresh if `now <= expires` and it was never spent, or if it is the one the approval of the same
    /// device and device key was last asked with (then its age does not matter). A request-id always comes with the
    /// same `expires`: its MAC covers both. A spent one is remembered for two hours beyond, as clocks get set back.
    /// An approval is used up by the reservation of its device key; a rejected one stays, and keeps refusing that
    /// key until it is decided anew.
    /// A refusal and a spent request-id are durable before the answer; a reservation need only be durable together
    /// with its completion: losing it in a crash loses nothing that left the process.
    async fn claim(&self, claim: SerialClaim) -> Result<ClaimOutcome, StoreError>;

    /// Completes a reservation and writes `audit`, as one step, durable before `Ok`. Only then may the signature leave.
    /// [`StoreError::Refused`] if the reservation is not open: completed or given up before, or unknown.
    async fn issue(
        &self,
        reservation: &Reservation,
        serial: IssuedSerial,
        audit: AuditEvent,
    ) -> Result<(), StoreError>;

    /// Gives a reservation up: it becomes a void row. Nothing happens if it is void already;
    /// [`StoreError::Refused`] if it was completed.
    async fn void(&self, reservation: &Reservation) -> Result<(), StoreError>;

    /// Voids open reservations that nobody will complete any more, oldest first, at most `limit`, as one step, durable
    /// before the answer; returns them.
    ///
    /// A reservation belongs to the process that made it, for as long as that lives; more exactly, to one opening of
    /// the storage, until it is closed or dropped. Those of this opening are never touched, nor those of other
    /// processes on the same database. A process that was cut off from the database counts as gone; should it come
    /// back, its [`Self::issue`] of a voided reservation is refused like any other. So none is completed and voided,
    /// and no revision is given twice, whoever is wrong about who lives.
    async fn void_abandoned(&self, limit: usize) -> Result<Vec<Reservation>, StoreError>;

    /// Newest first.
    async fn serials(&self, filter: &SerialFilter) -> Result<Vec<SerialRow>, StoreError>;

    /// How many rows match `filter` (its paging left aside).
    async fn count_serials(&self, filter: &SerialFilter) -> Result<u64, StoreError>;

    /// All rows of one device, highest revision first.
    async fn history(&self, device: &DeviceId) -> Result<Vec<SerialRow>, StoreError>;

    /// The issued row of the highest revision. Costs the same however many serials there are.
    async fn latest(&self, device: &DeviceId) -> Result<Option<SerialRow>, StoreError>;

    /// Numbers about a brand, or one of its models.
    async fn stats(&self, brand: &BrandId, model: Option<&ModelName>) -> Result<LedgerStats, StoreError>;

    /// Judges serials of a model (none takes the judgement back) and writes `audit`; atomic and durable.
    async fn set_standing(
        &self,
        brand: &BrandId,
        model: &ModelName,
        serials: &[SerialNumber],
        standing: Option<Standing>,
        now: Timestamp,
        audit: AuditEvent,
    ) -> Result<(), StoreError>;

    /// How a device's serial is judged.
    async fn standing(&self, device: &DeviceId) -> Result<Option<Standing>, StoreError>;

    /// Judged serials of a model, ordered by serial, after `after`, at most `limit`.
    async fn standings(
        &self,
        brand: &BrandId,
        model: &ModelName,
        after: Option<&SerialNumber>,
        limit: usize,
    ) -> Result<Vec<StandingRow>, StoreError>;

    /// Requests that wait for a person (only `Pending` ones), oldest first.
    async fn approvals(&self, brand: &BrandId) -> Result<Vec<ApprovalRow>, StoreError>;

    /// Decides a request that is pending or was rejected, and writes `audit`; false if there is none, and nothing is
    /// written. Atomic and durable.
    async fn decide(
        &self,
        device: &DeviceId,
        device_key: &KeyId,
        approval: Approval,
        audit: AuditEvent,
    ) -> Result<bool, StoreError>;

    /// Writes finished rows as they are (restore, import, benchmarks): positions are given anew in the order of
    /// `rows`, counters follow. An issued row takes the place of a void one of before, which stands for no signature.
    /// [`StoreError::Refused`], and nothing is written, if a (device, revision) is there already in any other way or a
    /// row is only reserved. Atomic, durable before `Ok`. No audit entries. A thousand rows at a time is a good size.
    async fn load(&self, rows: Vec<SerialRow>) -> Result<(), StoreError>;
}

/// What a state means for the counters of [`LedgerStats`].
impl LedgerStats {
    /// Counts one row.
    pub fn count(&mut self, state: SerialState) {
        match state {
            SerialState::Issued => self.issued += 1,
            SerialState::Void => self.void += 1,
            SerialState::Reserved => {}
        }
    }
}
