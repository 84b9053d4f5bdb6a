//! Writes of the serial ledger: claims, completions, loading.

use bytes::Bytes;

use super::audit;
use super::decisions::Asked;
use super::encoding::{Decoder, Key, Space};
use super::journal::{Large, Value};
use super::layers::{Order, View};
use super::rows::{
    Counts, Place, Places, Row, device_key, found, key_rows, last_position_key, model_rows, read_device,
    row_key,
};
use super::writer::{Answer, Transaction};
use crate::domain::audit::AuditEvent;
use crate::domain::ident::DeviceId;
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::{Approval, ClaimVerdict, PresentedRequestId, SerialHistory, judge};
use crate::domain::vault::{ClaimOutcome, Reservation, SerialClaim, SerialRow, SerialState};
use crate::ports::{IssuedSerial, SpentRow, StoreError};

/// How long a spent request-id is remembered beyond its expiry, in seconds: clocks get set back.
const CLOCK_SLACK: i64 = 7200;
/// Spent ones forgotten at once, at most.
const PURGE: usize = 256;

fn spent_key(request: &PresentedRequestId) -> Vec<u8> {
    Key::new(Space::SpentRequest)
        .time(request.expires)
        .raw(&request.nonce)
        .bytes()
}

pub(super) fn claim(
    tx: &mut Transaction<'_>,
    claim: SerialClaim,
) -> Result<Answer<ClaimOutcome>, StoreError> {
    let SerialClaim {
        device,
        device_key,
        request_id,
        rules,
        now,
    } = claim;
    let asked = Asked::read(tx, &device, &device_key)?;
    let polls = asked
        .as_ref()
        .is_some_and(|asked| asked.request == Some(request_id.nonce));
    if !polls && (now > request_id.expires || tx.get(&spent_key(&request_id))?.is_some()) {
        return Ok(Answer::Unchanged(ClaimOutcome::StaleRequest));
    }
    let (history, is_new) = history(tx, &device, asked.as_ref().map(|asked| asked.approval))?;
    let verdict = judge(&rules, &history, &device_key);
    tx.put_small(spent_key(&request_id), Vec::new());
    // About one claim in 64 pays for forgetting.
    if request_id.nonce.first().is_some_and(|byte| byte & 0x3f == 0) {
        forget(tx, Space::SpentRequest, now.plus_seconds(-CLOCK_SLACK))?;
    }
    let refusal = match verdict {
        ClaimVerdict::AwaitApproval => {
            if polls {
                return Ok(Answer::Unchanged(ClaimOutcome::AwaitingApproval));
            }
            let since = asked.map_or(now, |asked| asked.since);
            let asked = Asked {
                approval: Approval::Pending,
                since,
                request: Some(request_id.nonce),
            };
            asked.write(tx, &device, &device_key);
            return Ok(Answer::Durable(ClaimOutcome::AwaitingApproval));
        }
        ClaimVerdict::Reserve(revision) => {
            if asked.is_some() {
                Asked::delete(tx, &device, &device_key);
            }
            let reservation = Reservation {
                device,
                device_key,
                revision,
                reserved_at: now,
            };
            reserve(tx, &reservation, is_new)?;
            return Ok(Answer::Early(ClaimOutcome::Reserved(reservation)));
        }
        ClaimVerdict::Duplicate => ClaimOutcome::Duplicate,
        ClaimVerdict::NotAllowed => ClaimOutcome::NotAllowed,
        ClaimVerdict::Denied => ClaimOutcome::Denied,
        ClaimVerdict::QuotaReached => ClaimOutcome::QuotaReached {
            quota: rules.quota.unwrap_or_default(),
        },
    };
    if let Some(asked) = asked.filter(|asked| asked.request.is_some()) {
        Asked {
            request: None,
            ..asked
        }
        .write(tx, &device, &device_key);
    }
    Ok(Answer::Durable(refusal))
}

/// What the rules need to know of a device, and whether it has no row that counts yet.
fn history(
    tx: &Transaction<'_>,
    device: &DeviceId,
    approval: Option<Approval>,
) -> Result<(SerialHistory, bool), StoreError> {
    let mut last_revision = 0;
    let mut live = None;
    for place in Places::in_transaction(tx, device) {
        let place = place?;
        last_revision = last_revision.max(place.revision);
        if place.state != SerialState::Void {
            live = Some(place);
            break;
        }
    }
    let last_key = match live {
        Some(place) => {
            let value = found(tx.get(&row_key(device, place.position))?, device)?;
            Some(Row::decode(place.position, &value.small)?.device_key)
        }
        None => None,
    };
    let standing = super::decisions::standing(tx.get(&super::decisions::standing_key(device))?)?;
    let counts = Counts::decode(tx.get(&Counts::key(&device.brand, &device.model))?.as_ref())?;
    let history = SerialHistory {
        last_revision,
        last_key,
        standing,
        serials_of_model: counts.serials,
        approval,
    };
    Ok((history, live.is_none()))
}

fn reserve(tx: &mut Transaction<'_>, reservation: &Reservation, is_new: bool) -> Result<(), StoreError> {
    let Reservation {
        device,
        device_key: key,
        revision,
        reserved_at,
    } = reservation;
    let row = Row {
        position: next_position(tx)?,
        serial: device.serial.clone(),
        revision: *revision,
        state: SerialState::Reserved,
        created_at: *reserved_at,
        device_key: key.clone(),
        sign_key: None,
    };
    add(tx, device, &row, None, is_new)?;
    tx.put_small(open_key(device, *revision), Vec::new());
    Ok(())
}

/// Adds a row with everything that leads to it.
fn add(
    tx: &mut Transaction<'_>,
    device: &DeviceId,
    row: &Row,
    assertion: Option<Bytes>,
    is_new: bool,
) -> Result<(), StoreError> {
    let place = Place {
        revision: row.revision,
        position: row.position,
        state: row.state,
    };
    tx.put_small(place_key(device, row.revision), place.encode());
    let of_key = key_rows(&row.device_key).number(row.position).bytes();
    tx.put_small(of_key, model_rows(&device.brand, &device.model).bytes());
    tx.put(
        row_key(device, row.position),
        Value {
            small: row.encode(),
            large: assertion.map(Large::New),
        },
    );
    count(tx, device, |counts| {
        *counts.of(row.state) += 1;
        counts.serials += u64::from(is_new && row.state != SerialState::Void);
    })
}

fn next_position(tx: &mut Transaction<'_>) -> Result<u64, StoreError> {
    let position = audit::counter(tx.get(&last_position_key())?)? + 1;
    audit::put_counter(tx, last_position_key(), position);
    Ok(position)
}

fn count(
    tx: &mut Transaction<'_>,
    device: &DeviceId,
    change: impl FnOnce(&mut Counts),
) -> Result<(), StoreError> {
    let key = Counts::key(&device.brand, &device.model);
    let mut counts = Counts::decode(tx.get(&key)?.as_ref())?;
    change(&mut counts);
    tx.put_small(key, counts.encode());
    Ok(())
}

fn place_key(device: &DeviceId, revision: u64) -> Vec<u8> {
    device_key(Space::Device, device).number(revision).bytes()
}

fn open_key(device: &DeviceId, revision: u64) -> Vec<u8> {
    device_key(Space::Open, device).number(revision).bytes()
}

/// The row of a reservation, whatever became of it.
fn row_of(tx: &Transaction<'_>, reservation: &Reservation) -> Result<Row, StoreError> {
    let Reservation {
        device,
        device_key,
        revision,
        ..
    } = reservation;
    let unknown = || StoreError::Refused(format!("revision {revision} of {device} is not reserved"));
    let value = tx.get(&place_key(device, *revision))?.ok_or_else(unknown)?;
    let place = Place::decode(*revision, &value.small)?;
    let value = found(tx.get(&row_key(device, place.position))?, device)?;
    let row = Row::decode(place.position, &value.small)?;
    if row.device_key == *device_key {
        Ok(row)
    } else {
        Err(unknown())
    }
}

/// Turns a reserved row into a finished one.
fn finish(
    tx: &mut Transaction<'_>,
    device: &DeviceId,
    row: &Row,
    assertion: Option<Bytes>,
) -> Result<(), StoreError> {
    let place = Place {
        revision: row.revision,
        position: row.position,
        state: row.state,
    };
    tx.put_small(place_key(device, row.revision), place.encode());
    tx.put(
        row_key(device, row.position),
        Value {
            small: row.encode(),
            large: assertion.map(Large::New),
        },
    );
    tx.delete(open_key(device, row.revision));
    let mut lost = 0;
    if row.state == SerialState::Void && !has_live(tx, device)? {
        lost = 1;
    }
    count(tx, device, |counts| {
        counts.reserved = counts.reserved.saturating_sub(1);
        *counts.of(row.state) += 1;
        counts.serials = counts.serials.saturating_sub(lost);
    })
}

fn has_live(tx: &Transaction<'_>, device: &DeviceId) -> Result<bool, StoreError> {
    for place in Places::in_transaction(tx, device) {
        if place?.state != SerialState::Void {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn issue(
    tx: &mut Transaction<'_>,
    reservation: &Reservation,
    serial: IssuedSerial,
    event: &AuditEvent,
) -> Result<Answer<()>, StoreError> {
    let mut row = row_of(tx, reservation)?;
    if row.state != SerialState::Reserved {
        let Reservation { device, revision, .. } = reservation;
        return Err(StoreError::Refused(format!(
            "revision {revision} of {device} is closed"
        )));
    }
    row.state = SerialState::Issued;
    row.created_at = serial.created_at;
    row.sign_key = Some(serial.sign_key);
    finish(tx, &reservation.device, &row, Some(serial.assertion))?;
    audit::append(tx, event)?;
    Ok(Answer::Awaited(()))
}

pub(super) fn void(tx: &mut Transaction<'_>, reservation: &Reservation) -> Result<Answer<()>, StoreError> {
    let mut row = row_of(tx, reservation)?;
    match row.state {
        SerialState::Void => return Ok(Answer::Unchanged(())),
        SerialState::Issued => {
            let Reservation { device, revision, .. } = reservation;
            return Err(StoreError::Refused(format!(
                "revision {revision} of {device} was issued"
            )));
        }
        SerialState::Reserved => {}
    }
    row.state = SerialState::Void;
    finish(tx, &reservation.device, &row, None)?;
    Ok(Answer::Awaited(()))
}

/// Voids open reservations whose rows do not lie beyond position `before`, at most `limit`.
pub(super) fn void_earlier(
    tx: &mut Transaction<'_>,
    before: u64,
    limit: usize,
) -> Result<Answer<Vec<Reservation>>, StoreError> {
    let mut earlier = Vec::new();
    for item in tx.scan(&Key::new(Space::Open).bytes(), Order::Ascending) {
        let (key, _) = item?;
        let (device, mut decoder) = read_device(&key, "key of a reservation")?;
        let revision = decoder.key_number()?;
        let value = found(tx.get(&place_key(&device, revision))?, &device)?;
        let position = Place::decode(revision, &value.small)?.position;
        if position <= before {
            earlier.push((position, device));
        }
    }
    earlier.sort();
    earlier.truncate(limit);
    let mut voided = Vec::new();
    for (position, device) in earlier {
        let value = found(tx.get(&row_key(&device, position))?, &device)?;
        let mut row = Row::decode(position, &value.small)?;
        row.state = SerialState::Void;
        finish(tx, &device, &row, None)?;
        voided.push(Reservation {
            device,
            device_key: row.device_key,
            revision: row.revision,
            reserved_at: row.created_at,
        });
    }
    Ok(if voided.is_empty() {
        Answer::Unchanged(voided)
    } else {
        Answer::Durable(voided)
    })
}

pub(super) fn load(tx: &mut Transaction<'_>, rows: Vec<SerialRow>) -> Result<Answer<()>, StoreError> {
    for mut row in rows {
        let SerialRow { device, revision, .. } = &row;
        if let Some(value) = tx.get(&place_key(device, *revision))? {
            let place = Place::decode(*revision, &value.small)?;
            if (place.state, row.state) != (SerialState::Void, SerialState::Issued) {
                return Err(StoreError::Refused(format!(
                    "revision {revision} of {device} is there already"
                )));
            }
            remove_void(tx, device, place.position)?;
        }
        if row.state == SerialState::Reserved {
            return Err(StoreError::Refused(format!(
                "revision {revision} of {device} is not finished"
            )));
        }
        row.position = next_position(tx)?;
        write(tx, row)?;
    }
    Ok(Answer::Durable(()))
}

/// Makes room for a row of the same revision, which is written next: only that makes the place lead somewhere again.
fn remove_void(tx: &mut Transaction<'_>, device: &DeviceId, position: u64) -> Result<(), StoreError> {
    let key = row_key(device, position);
    let row = Row::decode(position, &found(tx.get(&key)?, device)?.small)?;
    tx.delete(key);
    tx.delete(key_rows(&row.device_key).number(position).bytes());
    count(tx, device, |counts| counts.void = counts.void.saturating_sub(1))
}

/// Writes a finished row at its position.
fn write(tx: &mut Transaction<'_>, row: SerialRow) -> Result<(), StoreError> {
    let SerialRow {
        position,
        device,
        revision,
        device_key,
        sign_key,
        created_at,
        state,
        assertion,
    } = row;
    let is_new = !has_live(tx, &device)?;
    let serial = device.serial.clone();
    let row = Row {
        position,
        serial,
        revision,
        state,
        created_at,
        device_key,
        sign_key,
    };
    let assertion = Some(assertion).filter(|assertion| !assertion.is_empty());
    add(tx, &device, &row, assertion, is_new)
}

/// Remembers `nonce`; false if it was known.
pub(super) fn spend(
    tx: &mut Transaction<'_>,
    nonce: [u8; 16],
    expires: Timestamp,
) -> Result<Answer<bool>, StoreError> {
    if tx.get(&nonce_key(&nonce))?.is_some() {
        return Ok(Answer::Unchanged(false));
    }
    put_nonce(tx, &nonce, expires);
    if nonce.first().is_some_and(|byte| byte & 0x3f == 0) {
        // The time is not known here. No nonce is good for more than a day, so this one tells it well enough.
        forget(tx, Space::NonceExpiry, expires.plus_seconds(-2 * 86_400))?;
    }
    Ok(Answer::Durable(true))
}

fn put_nonce(tx: &mut Transaction<'_>, nonce: &[u8; 16], expires: Timestamp) {
    tx.put_small(nonce_key(nonce), Vec::new());
    tx.put_small(
        Key::new(Space::NonceExpiry).time(expires).raw(nonce).bytes(),
        Vec::new(),
    );
}

/// Spends what was spent elsewhere: not every engine tells request-ids from nonces.
pub(super) fn import_spent(tx: &mut Transaction<'_>, row: &SpentRow) {
    let SpentRow { nonce, expires } = *row;
    tx.put_small(spent_key(&PresentedRequestId { nonce, expires }), Vec::new());
    put_nonce(tx, &nonce, expires);
}

/// What was spent, as it is copied elsewhere: of [`Space::SpentRequest`] or [`Space::NonceExpiry`].
pub(super) fn export_spent(key: &[u8]) -> Result<SpentRow, StoreError> {
    let mut decoder = Decoder::of_key(key, "key of a nonce")?;
    Ok(SpentRow {
        expires: decoder.key_time()?,
        nonce: decoder.array()?,
    })
}

/// Puts a row as it was elsewhere; false if its place or revision is taken.
pub(super) fn import(tx: &mut Transaction<'_>, row: SerialRow) -> Result<bool, StoreError> {
    let (device, position) = (&row.device, row.position);
    let taken =
        tx.get(&place_key(device, row.revision))?.is_some() || tx.get(&row_key(device, position))?.is_some();
    if taken || row.state == SerialState::Reserved {
        return Ok(false);
    }
    write(tx, row)?;
    let last = audit::counter(tx.get(&last_position_key())?)?;
    audit::put_counter(tx, last_position_key(), last.max(position));
    Ok(true)
}

/// The row as it is copied elsewhere: nobody will complete what is only reserved.
pub(super) fn export(view: View<'_>, key: &[u8], value: &Value) -> Result<SerialRow, StoreError> {
    let mut decoder = Decoder::of_key(key, "key of a row")?;
    let (brand, model) = (decoder.key_parsed()?, decoder.key_parsed()?);
    let row = Row::decode(decoder.key_number()?, &value.small)?;
    let mut row = row.full(&brand, &model, view.large(value)?);
    if row.state == SerialState::Reserved {
        row.state = SerialState::Void;
    }
    Ok(row)
}

fn nonce_key(nonce: &[u8]) -> Vec<u8> {
    Key::new(Space::SpentNonce).raw(nonce).bytes()
}

/// Forgets some of what expired before `time`.
fn forget(tx: &mut Transaction<'_>, space: Space, time: Timestamp) -> Result<(), StoreError> {
    let expired = tx.scan_range(Key::new(space).bytes(), Key::new(space).time(time).bytes());
    let keys: Result<Vec<_>, _> = expired.take(PURGE).map(|item| item.map(|(key, _)| key)).collect();
    for key in keys? {
        if space == Space::NonceExpiry {
            let mut decoder = Decoder::of_key(&key, "key of a nonce")?;
            decoder.key_number()?;
            tx.delete(nonce_key(&decoder.array::<16>()?));
        }
        tx.delete(key);
    }
    Ok(())
}
