//! What people decided about serials: judgements and approvals.

use super::audit;
use super::encoding::{Decoder, Encoder, Key, Space, after_prefix, key_bytes};
use super::journal::Value;
use super::layers::{Order, View};
use super::rows::{device_key, read_device};
use super::writer::{Answer, Transaction};
use crate::domain::audit::AuditEvent;
use crate::domain::ident::{BrandId, DeviceId, KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::Standing;
use crate::domain::vault::claim::Approval;
use crate::ports::{ApprovalRow, AskedRow, StandingRow, StoreError};

const STANDING_LAYOUT: u8 = 1;
const APPROVAL_LAYOUT: u8 = 1;

pub(super) fn standing_key(device: &DeviceId) -> Vec<u8> {
    device_key(Space::Standing, device).bytes()
}

/// The judgement in a value under [`standing_key`].
pub(super) fn standing(value: Option<Value>) -> Result<Option<Standing>, StoreError> {
    value
        .map(|value| read_standing(&value).map(|(standing, _)| standing))
        .transpose()
}

fn read_standing(value: &Value) -> Result<(Standing, Timestamp), StoreError> {
    let mut decoder = Decoder::new(&value.small, STANDING_LAYOUT, "judgement")?;
    let standing = match decoder.byte()? {
        b'a' => Standing::Allowed,
        b'd' => Standing::Denied,
        _ => return Err(decoder.corrupt("says nothing known")),
    };
    Ok((standing, decoder.time()?))
}

pub(super) fn set_standing(
    tx: &mut Transaction<'_>,
    devices: &[DeviceId],
    standing: Option<Standing>,
    now: Timestamp,
    event: &AuditEvent,
) -> Result<Answer<()>, StoreError> {
    for device in devices {
        match standing {
            None => tx.delete(standing_key(device)),
            Some(standing) => {
                write_standing(tx, device, standing, now);
            }
        }
    }
    audit::append(tx, event)?;
    Ok(Answer::Durable(()))
}

fn write_standing(tx: &mut Transaction<'_>, device: &DeviceId, standing: Standing, since: Timestamp) {
    let byte = match standing {
        Standing::Allowed => b'a',
        Standing::Denied => b'd',
    };
    let small = Encoder::new(STANDING_LAYOUT).byte(byte).time(since).bytes();
    tx.put_small(standing_key(device), small);
}

/// Puts a judgement as it was elsewhere; false if there is one.
pub(super) fn import_standing(tx: &mut Transaction<'_>, row: &StandingRow) -> Result<bool, StoreError> {
    let is_new = tx.get(&standing_key(&row.device))?.is_none();
    write_standing(tx, &row.device, row.standing, row.since);
    Ok(is_new)
}

/// Puts a request as it was elsewhere; false if it is there.
pub(super) fn import_asked(tx: &mut Transaction<'_>, asked: &AskedRow) -> Result<bool, StoreError> {
    let AskedRow { row, request } = asked;
    let is_new = Asked::read(tx, &row.device, &row.device_key)?.is_none();
    let asked = Asked {
        approval: row.approval,
        since: row.since,
        request: *request,
    };
    asked.write(tx, &row.device, &row.device_key);
    Ok(is_new)
}

/// The request as it is copied elsewhere.
pub(super) fn export_asked(key: &[u8], value: &Value) -> Result<AskedRow, StoreError> {
    Ok(AskedRow {
        row: approval_row(key, value)?,
        request: Asked::decode(value)?.request,
    })
}

pub(super) fn standings(
    view: View<'_>,
    brand: &BrandId,
    model: &ModelName,
    after: Option<&SerialNumber>,
    limit: usize,
) -> Result<Vec<StandingRow>, StoreError> {
    let of_model = Key::new(Space::Standing)
        .text(brand.as_str())
        .text(model.as_str());
    let whole = of_model.clone().bytes();
    let from = match after {
        None => whole.clone(),
        // No key lies between that of a serial and this one.
        Some(serial) => of_model.text(serial.as_str()).raw(&[0]).bytes(),
    };
    let found = view
        .scan_range(from, after_prefix(&whole), Order::Ascending)
        .take(limit);
    found
        .map(|item| item.and_then(|(key, value)| standing_row(&key, &value)))
        .collect()
}

pub(super) fn standing_row(key: &[u8], value: &Value) -> Result<StandingRow, StoreError> {
    let (device, _) = read_device(key, "key of a judgement")?;
    let (standing, since) = read_standing(value)?;
    Ok(StandingRow {
        device,
        standing,
        since,
    })
}

/// A request for approval.
pub(super) struct Asked {
    pub(super) approval: Approval,
    pub(super) since: Timestamp,
    /// The request-id it was last asked with; none once a rejected one was answered.
    pub(super) request: Option<[u8; 16]>,
}

impl Asked {
    fn key(device: &DeviceId, key: &KeyId) -> Vec<u8> {
        device_key(Space::Approval, device).raw(&key_bytes(key)).bytes()
    }

    pub(super) fn read(
        tx: &Transaction<'_>,
        device: &DeviceId,
        key: &KeyId,
    ) -> Result<Option<Self>, StoreError> {
        tx.get(&Self::key(device, key))?
            .map(|value| Self::decode(&value))
            .transpose()
    }

    pub(super) fn write(&self, tx: &mut Transaction<'_>, device: &DeviceId, key: &KeyId) {
        let approval = match self.approval {
            Approval::Pending => b'p',
            Approval::Approved => b'a',
            Approval::Rejected => b'r',
        };
        let value = Encoder::new(APPROVAL_LAYOUT).byte(approval).time(self.since);
        let value = self
            .request
            .iter()
            .fold(value, |value, request| value.raw(request));
        tx.put_small(Self::key(device, key), value.bytes());
    }

    pub(super) fn delete(tx: &mut Transaction<'_>, device: &DeviceId, key: &KeyId) {
        tx.delete(Self::key(device, key));
    }

    pub(super) fn decode(value: &Value) -> Result<Self, StoreError> {
        let mut decoder = Decoder::new(&value.small, APPROVAL_LAYOUT, "request for approval")?;
        let approval = match decoder.byte()? {
            b'p' => Approval::Pending,
            b'a' => Approval::Approved,
            b'r' => Approval::Rejected,
            _ => return Err(decoder.corrupt("stands nowhere known")),
        };
        let since = decoder.time()?;
        let request = if decoder.left() > 0 {
            Some(decoder.array()?)
        } else {
            None
        };
        Ok(Self {
            approval,
            since,
            request,
        })
    }
}

/// Pending requests, oldest first.
pub(super) fn approvals(view: View<'_>, brand: &BrandId) -> Result<Vec<ApprovalRow>, StoreError> {
    let mut waiting = Vec::new();
    for item in view.scan(
        &Key::new(Space::Approval).text(brand.as_str()).bytes(),
        Order::Ascending,
    ) {
        let (key, value) = item?;
        let row = approval_row(&key, &value)?;
        if row.approval == Approval::Pending {
            waiting.push(row);
        }
    }
    waiting.sort_by_key(|row| row.since);
    Ok(waiting)
}

pub(super) fn approval_row(key: &[u8], value: &Value) -> Result<ApprovalRow, StoreError> {
    let (device, mut decoder) = read_device(key, "key of a request for approval")?;
    let device_key = decoder.key_id()?;
    let Asked { approval, since, .. } = Asked::decode(value)?;
    Ok(ApprovalRow {
        device,
        device_key,
        approval,
        since,
    })
}

pub(super) fn decide(
    tx: &mut Transaction<'_>,
    device: &DeviceId,
    key: &KeyId,
    approval: Approval,
    event: &AuditEvent,
) -> Result<Answer<bool>, StoreError> {
    match Asked::read(tx, device, key)? {
        Some(asked) if asked.approval != Approval::Approved => {
            Asked { approval, ..asked }.write(tx, device, key);
            audit::append(tx, event)?;
            Ok(Answer::Durable(true))
        }
        Some(_) | None => Ok(Answer::Unchanged(false)),
    }
}
