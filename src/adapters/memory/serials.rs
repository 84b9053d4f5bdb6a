//! The serial ledger: rows by position, with the devices, judgements and approvals beside them.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Memory, State};
use crate::domain::audit::AuditEvent;
use crate::domain::ident::{BrandId, DeviceId, KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::{Approval, ClaimVerdict, PresentedRequestId, SerialHistory, judge};
use crate::domain::vault::{ClaimOutcome, Reservation, SerialClaim, SerialRow, SerialState, Standing};
use crate::ports::{
    ApprovalRow, AskedRow, IssuedSerial, LedgerStats, Row, SerialFilter, SerialLedger, StandingRow,
    StoreError,
};

#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    last_position: u64,
    rows: BTreeMap<u64, SerialRow>,
    /// Open reservations by position, and the handle each belongs to.
    open: BTreeMap<u64, String>,
    /// Positions by device and revision.
    devices: BTreeMap<DeviceId, BTreeMap<u64, u64>>,
    standings: BTreeMap<DeviceId, StandingRow>,
    approvals: BTreeMap<(DeviceId, KeyId), Asked>,
    /// Spent request-ids and when they expire.
    spent: BTreeMap<[u8; 16], Timestamp>,
}

#[derive(Clone, Debug)]
struct Asked {
    approval: Approval,
    since: Timestamp,
    /// The request-id it was last asked with; none once a rejected one was answered.
    request: Option<[u8; 16]>,
}

impl Ledger {
    fn claim(&mut self, claim: SerialClaim, writer: &str) -> ClaimOutcome {
        // The clock may be set back a little, so spent ones outlive their time.
        self.spent
            .retain(|_, expires| expires.plus_seconds(CLOCK_SLACK) >= claim.now);
        let asker = (claim.device.clone(), claim.device_key.clone());
        let asked = self.approvals.get(&asker);
        let polls = asked.is_some_and(|asked| asked.request == Some(claim.request_id.nonce));
        if !polls && !self.is_fresh(&claim.request_id, claim.now) {
            return ClaimOutcome::StaleRequest;
        }
        let history = self.history_of(&claim, asked.map(|asked| asked.approval));
        let verdict = judge(&claim.rules, &history, &claim.device_key);
        self.spent
            .insert(claim.request_id.nonce, claim.request_id.expires);
        match verdict {
            ClaimVerdict::AwaitApproval => {
                let since = self.approvals.get(&asker).map_or(claim.now, |asked| asked.since);
                let request = Some(claim.request_id.nonce);
                self.approvals.insert(
                    asker,
                    Asked {
                        approval: Approval::Pending,
                        since,
                        request,
                    },
                );
                ClaimOutcome::AwaitingApproval
            }
            ClaimVerdict::Reserve(revision) => {
                self.approvals.remove(&asker);
                self.reserve(claim, revision, writer)
            }
            refusal @ (ClaimVerdict::Duplicate
            | ClaimVerdict::NotAllowed
            | ClaimVerdict::Denied
            | ClaimVerdict::QuotaReached) => {
                if let Some(asked) = self.approvals.get_mut(&asker) {
                    asked.request = None;
                }
                match refusal {
                    ClaimVerdict::NotAllowed => ClaimOutcome::NotAllowed,
                    ClaimVerdict::Denied => ClaimOutcome::Denied,
                    ClaimVerdict::QuotaReached => ClaimOutcome::QuotaReached {
                        quota: claim.rules.quota.unwrap_or_default(),
                    },
                    ClaimVerdict::Duplicate | ClaimVerdict::Reserve(_) | ClaimVerdict::AwaitApproval => {
                        ClaimOutcome::Duplicate
                    }
                }
            }
        }
    }

    fn is_fresh(&self, request: &PresentedRequestId, now: Timestamp) -> bool {
        now <= request.expires && !self.spent.contains_key(&request.nonce)
    }

    fn reserve(&mut self, claim: SerialClaim, revision: u64, writer: &str) -> ClaimOutcome {
        self.push(SerialRow {
            position: 0,
            device: claim.device.clone(),
            revision,
            device_key: claim.device_key.clone(),
            sign_key: None,
            created_at: claim.now,
            state: SerialState::Reserved,
            assertion: bytes::Bytes::new(),
        });
        self.open.insert(self.last_position, writer.to_owned());
        ClaimOutcome::Reserved(Reservation {
            device: claim.device,
            device_key: claim.device_key,
            revision,
            reserved_at: claim.now,
        })
    }

    /// Adds a row at the end, in the place of a void one if need be.
    fn push(&mut self, mut row: SerialRow) {
        self.last_position += 1;
        row.position = self.last_position;
        let revisions = self.devices.entry(row.device.clone()).or_default();
        if let Some(void) = revisions.insert(row.revision, row.position) {
            self.rows.remove(&void);
        }
        self.rows.insert(row.position, row);
    }

    /// Rows, judgements and requests, in the order of a copy.
    pub(super) fn export(&self) -> Vec<Row> {
        let mut serials: Vec<SerialRow> = self.rows.values().cloned().collect();
        serials.sort_by(|a, b| {
            let place = |row: &SerialRow| (row.device.brand.clone(), row.device.model.clone(), row.position);
            place(a).cmp(&place(b))
        });
        for row in &mut serials {
            if row.state == SerialState::Reserved {
                row.state = SerialState::Void;
            }
        }
        let asked = self.approvals.iter().map(|((device, device_key), asked)| {
            Row::Approval(AskedRow {
                row: ApprovalRow {
                    device: device.clone(),
                    device_key: device_key.clone(),
                    approval: asked.approval,
                    since: asked.since,
                },
                request: asked.request,
            })
        });
        let standings = self.standings.values().cloned().map(Row::Standing);
        serials
            .into_iter()
            .map(Row::Serial)
            .chain(standings)
            .chain(asked)
            .collect()
    }

    /// The spent request-ids.
    pub(super) fn spent(&self) -> impl Iterator<Item = (&[u8; 16], &Timestamp)> {
        self.spent.iter()
    }

    /// A request-id that was spent elsewhere.
    pub(super) fn import_spent(&mut self, nonce: [u8; 16], expires: Timestamp) {
        self.spent.insert(nonce, expires);
    }

    /// Puts a row as it was elsewhere; false if its place or revision is taken.
    pub(super) fn import(&mut self, row: SerialRow) -> bool {
        let revisions = self.devices.entry(row.device.clone()).or_default();
        if row.state == SerialState::Reserved
            || revisions.contains_key(&row.revision)
            || self.rows.contains_key(&row.position)
        {
            return false;
        }
        revisions.insert(row.revision, row.position);
        self.last_position = self.last_position.max(row.position);
        self.rows.insert(row.position, row);
        true
    }

    /// What is judged of a serial.
    pub(super) fn standing_of(&self, device: &DeviceId) -> Option<Standing> {
        self.standings.get(device).map(|row| row.standing)
    }

    /// Puts a judgement; false if there is one.
    pub(super) fn import_standing(&mut self, row: StandingRow) -> bool {
        self.standings.insert(row.device.clone(), row).is_none()
    }

    /// Puts a request; false if it is there.
    pub(super) fn import_asked(&mut self, AskedRow { row, request }: AskedRow) -> bool {
        let ApprovalRow {
            device,
            device_key,
            approval,
            since,
        } = row;
        let asked = Asked {
            approval,
            since,
            request,
        };
        self.approvals.insert((device, device_key), asked).is_none()
    }

    fn history_of(&self, claim: &SerialClaim, approval: Option<Approval>) -> SerialHistory {
        let device = &claim.device;
        // Counting is slow here, and only quotas ask for it.
        let serials = claim
            .rules
            .quota
            .map(|_| self.stats(&device.brand, Some(&device.model)).serials);
        let last = self.of_device(device).find(|row| is_live(row));
        SerialHistory {
            last_revision: self.of_device(device).next().map_or(0, |row| row.revision),
            last_key: last.map(|row| row.device_key.clone()),
            standing: self.standing_of(device),
            serials_of_model: serials.unwrap_or_default(),
            approval,
        }
    }

    /// The rows of a device, highest revision first.
    fn of_device(&self, device: &DeviceId) -> impl Iterator<Item = &SerialRow> {
        let positions = self
            .devices
            .get(device)
            .into_iter()
            .flat_map(|revisions| revisions.values().rev());
        positions.filter_map(|position| self.rows.get(position))
    }

    /// The row of a reservation, if it is still as it was when the place was taken.
    fn reserved(&mut self, reservation: &Reservation) -> Result<&mut SerialRow, StoreError> {
        let Reservation {
            device,
            device_key,
            revision,
            ..
        } = reservation;
        let position = self
            .devices
            .get(device)
            .and_then(|revisions| revisions.get(revision))
            .copied();
        let row = position.and_then(|position| self.rows.get_mut(&position));
        row.filter(|row| row.device_key == *device_key)
            .ok_or_else(|| StoreError::Refused(format!("revision {revision} of {device} is not reserved")))
    }

    fn stats(&self, brand: &BrandId, model: Option<&ModelName>) -> LedgerStats {
        let mut stats = LedgerStats::default();
        let of_brand = self
            .devices
            .iter()
            .filter(|(device, _)| device.brand == *brand && model.is_none_or(|model| device.model == *model));
        for (device, _) in of_brand {
            stats.serials += u64::from(self.of_device(device).any(is_live));
            self.of_device(device).for_each(|row| stats.count(row.state));
        }
        stats
    }

    fn matching<'a>(&'a self, filter: &'a SerialFilter) -> impl Iterator<Item = &'a SerialRow> {
        self.rows.values().rev().filter(move |row| {
            row.device.brand == filter.brand
                && (filter.models.is_empty() || filter.models.contains(&row.device.model))
                && filter
                    .serial_prefix
                    .as_ref()
                    .is_none_or(|p| row.device.serial.as_str().starts_with(p.as_str()))
                && filter
                    .device_key
                    .as_ref()
                    .is_none_or(|key| row.device_key == *key)
                && filter.since.is_none_or(|since| row.created_at >= since)
                && filter.until.is_none_or(|until| row.created_at < until)
        })
    }

    /// Adds finished rows, all or none.
    pub(super) fn load(&mut self, rows: Vec<SerialRow>) -> Result<(), StoreError> {
        let mut new = std::collections::BTreeSet::new();
        for row in &rows {
            let there = self
                .of_device(&row.device)
                .find(|there| there.revision == row.revision)
                .is_some_and(|there| (there.state, row.state) != (SerialState::Void, SerialState::Issued));
            if there || !new.insert((&row.device, row.revision)) {
                return Err(StoreError::Refused(format!(
                    "revision {} of {} is there already",
                    row.revision, row.device
                )));
            }
            if row.state == SerialState::Reserved {
                return Err(StoreError::Refused(format!(
                    "revision {} of {} is not finished",
                    row.revision, row.device
                )));
            }
        }
        rows.into_iter().for_each(|row| self.push(row));
        Ok(())
    }
}

#[async_trait]
impl SerialLedger for Memory {
    async fn claim(&self, claim: SerialClaim) -> Result<ClaimOutcome, StoreError> {
        Ok(self.lock()?.ledger.claim(claim, &self.writer))
    }

    async fn issue(
        &self,
        reservation: &Reservation,
        serial: IssuedSerial,
        audit: AuditEvent,
    ) -> Result<(), StoreError> {
        let mut state = self.lock()?;
        let row = state.ledger.reserved(reservation)?;
        if row.state != SerialState::Reserved {
            return Err(StoreError::Refused(format!(
                "revision {} of {} is closed",
                row.revision, row.device
            )));
        }
        row.state = SerialState::Issued;
        row.assertion = serial.assertion;
        row.sign_key = Some(serial.sign_key);
        row.created_at = serial.created_at;
        let position = row.position;
        state.ledger.open.remove(&position);
        state.journal.append(&self.writer, audit);
        Ok(())
    }

    async fn void(&self, reservation: &Reservation) -> Result<(), StoreError> {
        let mut state = self.lock()?;
        let row = state.ledger.reserved(reservation)?;
        if row.state == SerialState::Issued {
            return Err(StoreError::Refused(format!(
                "revision {} of {} was issued",
                row.revision, row.device
            )));
        }
        row.state = SerialState::Void;
        let position = row.position;
        state.ledger.open.remove(&position);
        Ok(())
    }

    async fn void_abandoned(&self, limit: usize) -> Result<Vec<Reservation>, StoreError> {
        let mut state = self.lock()?;
        let State { ledger, handles, .. } = &mut *state;
        let abandoned: Vec<u64> = ledger
            .open
            .iter()
            .filter(|(_, writer)| !handles.contains(*writer))
            .map(|(position, _)| *position)
            .take(limit)
            .collect();
        Ok(abandoned
            .into_iter()
            .filter_map(|position| {
                ledger.open.remove(&position);
                let row = ledger.rows.get_mut(&position)?;
                row.state = SerialState::Void;
                Some(Reservation {
                    device: row.device.clone(),
                    device_key: row.device_key.clone(),
                    revision: row.revision,
                    reserved_at: row.created_at,
                })
            })
            .collect())
    }

    async fn serials(&self, filter: &SerialFilter) -> Result<Vec<SerialRow>, StoreError> {
        let state = self.lock()?;
        let rows = state
            .ledger
            .matching(filter)
            .filter(|row| filter.before.is_none_or(|before| row.position < before));
        Ok(rows.take(filter.limit).cloned().collect())
    }

    async fn count_serials(&self, filter: &SerialFilter) -> Result<u64, StoreError> {
        Ok(self.lock()?.ledger.matching(filter).map(|_| 1).sum())
    }

    async fn history(&self, device: &DeviceId) -> Result<Vec<SerialRow>, StoreError> {
        Ok(self.lock()?.ledger.of_device(device).cloned().collect())
    }

    async fn latest(&self, device: &DeviceId) -> Result<Option<SerialRow>, StoreError> {
        Ok(self
            .lock()?
            .ledger
            .of_device(device)
            .find(|row| row.state == SerialState::Issued)
            .cloned())
    }

    async fn stats(&self, brand: &BrandId, model: Option<&ModelName>) -> Result<LedgerStats, StoreError> {
        Ok(self.lock()?.ledger.stats(brand, model))
    }

    async fn set_standing(
        &self,
        brand: &BrandId,
        model: &ModelName,
        serials: &[SerialNumber],
        standing: Option<Standing>,
        now: Timestamp,
        audit: AuditEvent,
    ) -> Result<(), StoreError> {
        let mut state = self.lock()?;
        for serial in serials {
            let device = DeviceId {
                brand: brand.clone(),
                model: model.clone(),
                serial: serial.clone(),
            };
            state.changes.note_standing(&device);
            match standing {
                Some(standing) => {
                    let row = StandingRow {
                        device: device.clone(),
                        standing,
                        since: now,
                    };
                    state.ledger.standings.insert(device, row);
                }
                None => drop(state.ledger.standings.remove(&device)),
            }
        }
        state.journal.append(&self.writer, audit);
        Ok(())
    }

    async fn standing(&self, device: &DeviceId) -> Result<Option<Standing>, StoreError> {
        Ok(self.lock()?.ledger.standing_of(device))
    }

    async fn standings(
        &self,
        brand: &BrandId,
        model: &ModelName,
        after: Option<&SerialNumber>,
        limit: usize,
    ) -> Result<Vec<StandingRow>, StoreError> {
        let state = self.lock()?;
        let of_model = state.ledger.standings.values().filter(|row| {
            row.device.brand == *brand
                && row.device.model == *model
                && after.is_none_or(|after| row.device.serial > *after)
        });
        Ok(of_model.take(limit).cloned().collect())
    }

    async fn approvals(&self, brand: &BrandId) -> Result<Vec<ApprovalRow>, StoreError> {
        let state = self.lock()?;
        let mut waiting: Vec<ApprovalRow> = state
            .ledger
            .approvals
            .iter()
            .filter(|((device, _), asked)| device.brand == *brand && asked.approval == Approval::Pending)
            .map(|((device, device_key), asked)| ApprovalRow {
                device: device.clone(),
                device_key: device_key.clone(),
                approval: asked.approval,
                since: asked.since,
            })
            .collect();
        waiting.sort_by_key(|row| row.since);
        Ok(waiting)
    }

    async fn decide(
        &self,
        device: &DeviceId,
        device_key: &KeyId,
        approval: Approval,
        audit: AuditEvent,
    ) -> Result<bool, StoreError> {
        let mut state = self.lock()?;
        match state
            .ledger
            .approvals
            .get_mut(&(device.clone(), device_key.clone()))
        {
            Some(asked) if asked.approval != Approval::Approved => asked.approval = approval,
            Some(_) | None => return Ok(false),
        }
        state.journal.append(&self.writer, audit);
        Ok(true)
    }

    async fn load(&self, rows: Vec<SerialRow>) -> Result<(), StoreError> {
        self.lock()?.ledger.load(rows)
    }
}

/// How far back the clock may be set without a spent request-id becoming fresh again, in seconds.
const CLOCK_SLACK: i64 = 7200;

/// Whether a row counts as a serial that exists: not given up.
fn is_live(row: &SerialRow) -> bool {
    row.state != SerialState::Void
}
