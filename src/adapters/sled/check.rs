//! The deep check behind `hallmark doctor`: reads everything, follows every chain, counts every row.

use std::collections::BTreeMap;

use super::audit;
use super::decisions::{approval_row, standing_row};
use super::encoding::{Decoder, Key, Space};
use super::journal::Value;
use super::layers::{Order, View};
use super::registry;
use super::rows::{Counts, Place, Row, device_key, key_rows, read_device, row_key};
use super::{assertions, rows};
use crate::domain::access::{Account, Brand, Membership, StoreInvite, StoreRecord, Token};
use crate::domain::assertion::AssertionType;
use crate::domain::audit::{AuditEvent, ChainHead, entry_hash};
use crate::domain::bundle::BundleSource;
use crate::domain::catalog::{
    CatalogHead, DeltaRecord, DeviceReport, Inclusion, Override, PushRecord, RevisionRecord, ShareInvite,
    SnapRecord, UploadRecord,
};
use crate::domain::fleet::{Exposure, FleetDevice, Group, ProductionMap, WaveRecord};
use crate::domain::ident::{BrandId, DeviceId, ModelName};
use crate::domain::mail::OutgoingMail;
use crate::domain::numbers::SnapDay;
use crate::domain::review::{GrantRequest, ReviewRecord};
use crate::domain::vault::{
    FactoryBox, FactorySite, Instance, ModelRecord, RemodelRule, SerialState, SigningKey,
};
use crate::ports::{Kind, Record, StoreError};

/// One line per thing that is wrong.
pub(super) fn check(view: View<'_>) -> Result<Vec<String>, StoreError> {
    let mut wrong = Vec::new();
    for check in [
        records,
        stored_assertions,
        ledger,
        devices,
        smaller_things,
        chains,
    ] {
        check(view, &mut wrong)?;
    }
    Ok(wrong)
}

/// Goes through a space; what `read` refuses is written down and passed over.
fn each(
    view: View<'_>,
    space: Space,
    wrong: &mut Vec<String>,
    mut read: impl FnMut(&[u8], &Value) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for item in view.scan(&Key::new(space).bytes(), Order::Ascending) {
        let (key, value) = item?;
        if let Err(error) = read(&key, &value) {
            wrong.push(format!("{}: {error}", name(&key)));
        }
    }
    Ok(())
}

/// A key as people can read it.
fn name(key: &[u8]) -> String {
    let space = key.first().copied().map(char::from).unwrap_or_default();
    let rest = key.get(1..).unwrap_or_default();
    let readable: String = String::from_utf8_lossy(rest)
        .chars()
        .map(|c| {
            if c == '\0' {
                '/'
            } else if c.is_control() || c == '\u{fffd}' {
                '.'
            } else {
                c
            }
        })
        .collect();
    format!("entry {space}:{readable}")
}

fn corrupt(why: impl Into<String>) -> StoreError {
    StoreError::Corrupt(why.into())
}

fn records(view: View<'_>, wrong: &mut Vec<String>) -> Result<(), StoreError> {
    let mut claimed = BTreeMap::new();
    each(view, Space::Record, wrong, |key, value| {
        let found = Decoder::of_key(key, "key of a record")?.key_text()?;
        let kind = Kind::ALL.iter().find(|kind| kind.name() == found);
        let kind = *kind.ok_or_else(|| corrupt(format!("there is no kind {found}")))?;
        let uniques = registry::claimed_uniques(kind, &value.small)?;
        claimed.extend(uniques.into_iter().map(|unique| (unique, key.to_vec())));
        let json = view.large(value)?;
        match kind {
            Kind::Instance => parse::<Instance>(&json),
            Kind::Account => parse::<Account>(&json),
            Kind::Brand => parse::<Brand>(&json),
            Kind::Store => parse::<StoreRecord>(&json),
            Kind::Membership => parse::<Membership>(&json),
            Kind::StoreInvite => parse::<StoreInvite>(&json),
            Kind::Token => parse::<Token>(&json),
            Kind::SigningKey => parse::<SigningKey>(&json),
            Kind::Model => parse::<ModelRecord>(&json),
            Kind::RemodelRule => parse::<RemodelRule>(&json),
            Kind::FactorySite => parse::<FactorySite>(&json),
            Kind::FactoryBox => parse::<FactoryBox>(&json),
            Kind::Snap => parse::<SnapRecord>(&json),
            Kind::SnapRevision => parse::<RevisionRecord>(&json),
            Kind::Inclusion => parse::<Inclusion>(&json),
            Kind::Override => parse::<Override>(&json),
            Kind::Delta => parse::<DeltaRecord>(&json),
            Kind::Review => parse::<ReviewRecord>(&json),
            Kind::GrantRequest => parse::<GrantRequest>(&json),
            Kind::Upload => parse::<UploadRecord>(&json),
            Kind::Push => parse::<PushRecord>(&json),
            Kind::ShareInvite => parse::<ShareInvite>(&json),
            Kind::OutgoingMail => parse::<OutgoingMail>(&json),
            Kind::Device => parse::<DeviceReport>(&json),
            Kind::SnapDay => parse::<SnapDay>(&json),
            Kind::FleetDevice => parse::<FleetDevice>(&json),
            Kind::Group => parse::<Group>(&json),
            Kind::Wave => parse::<WaveRecord>(&json),
            Kind::ProductionMap => parse::<ProductionMap>(&json),
            Kind::Exposure => parse::<Exposure>(&json),
            Kind::BundleSource => parse::<BundleSource>(&json),
            Kind::Catalog => parse::<CatalogHead>(&json),
        }
    })?;
    let mut owned = 0;
    each(view, Space::Unique, wrong, |key, value| {
        owned += 1;
        if claimed.get(key) == Some(&value.small) {
            Ok(())
        } else {
            Err(corrupt("no record has this value"))
        }
    })?;
    if owned < claimed.len() {
        wrong.push(format!(
            "{} unique values cannot be looked up",
            claimed.len() - owned
        ));
    }
    Ok(())
}

fn parse<R: Record>(json: &[u8]) -> Result<(), StoreError> {
    serde_json::from_slice::<R>(json)
        .map(drop)
        .map_err(|error| corrupt(error.to_string()))
}

fn stored_assertions(view: View<'_>, wrong: &mut Vec<String>) -> Result<(), StoreError> {
    each(view, Space::Assertion, wrong, |key, value| {
        let kind: AssertionType = Decoder::of_key(key, "key of an assertion")?
            .key_text()?
            .parse()
            .map_err(|error| corrupt(format!("{error}")))?;
        assertions::read_key(kind, key)?;
        assertions::revision_of(value)?;
        view.large(value).map(drop)
    })
}

/// Rows, what leads to them, and the numbers about them.
fn ledger(view: View<'_>, wrong: &mut Vec<String>) -> Result<(), StoreError> {
    let mut counted: BTreeMap<(BrandId, ModelName), Counts> = BTreeMap::new();
    let mut last = 0;
    each(view, Space::Row, wrong, |key, value| {
        let mut decoder = Decoder::of_key(key, "key of a row")?;
        let (brand, model): (BrandId, ModelName) = (decoder.key_parsed()?, decoder.key_parsed()?);
        let position = decoder.key_number()?;
        last = last.max(position);
        let row = Row::decode(position, &value.small)?;
        *counted
            .entry((brand.clone(), model.clone()))
            .or_default()
            .of(row.state) += 1;
        let device = DeviceId {
            brand,
            model,
            serial: row.serial.clone(),
        };
        let about = |error: StoreError| corrupt(format!("revision {} of {device}: {error}", row.revision));
        let assertion = view.large(value).map_err(about)?;
        if assertion.is_empty() == (row.state == SerialState::Issued) {
            return Err(about(corrupt(
                "it is issued without assertion, or the other way round",
            )));
        }
        let place = view.get(&device_key(Space::Device, &device).number(row.revision).bytes())?;
        let place = place
            .map(|place| Place::decode(row.revision, &place.small))
            .transpose()?;
        if !place.is_some_and(|place| place.position == position && place.state == row.state) {
            return Err(about(corrupt("the device does not lead to it")));
        }
        let is_open = view
            .get(&device_key(Space::Open, &device).number(row.revision).bytes())?
            .is_some();
        if is_open != (row.state == SerialState::Reserved) {
            return Err(about(corrupt(
                "it is open though finished, or the other way round",
            )));
        }
        match view.get(&key_rows(&row.device_key).number(position).bytes())? {
            Some(_) => Ok(()),
            None => Err(about(corrupt("its device key does not lead to it"))),
        }
    })?;
    if rows::last_position(view)? < last {
        wrong.push(format!(
            "the serial ledger counts less than its last position, {last}"
        ));
    }
    count_serials(view, wrong, &mut counted)?;
    each(view, Space::Counts, wrong, |key, value| {
        let mut decoder = Decoder::of_key(key, "key of a count")?;
        let of = (decoder.key_parsed()?, decoder.key_parsed()?);
        let (kept, found) = (
            Counts::decode(Some(value))?,
            counted.remove(&of).unwrap_or_default(),
        );
        if kept == found {
            Ok(())
        } else {
            Err(corrupt(format!("{kept:?} is kept, {found:?} is there")))
        }
    })?;
    wrong.extend(
        counted
            .into_keys()
            .map(|(brand, model)| format!("{brand}/{model}: its rows are not counted")),
    );
    Ok(())
}

/// Adds the numbers of distinct serials.
fn count_serials(
    view: View<'_>,
    wrong: &mut Vec<String>,
    counted: &mut BTreeMap<(BrandId, ModelName), Counts>,
) -> Result<(), StoreError> {
    let mut counted_last = None;
    each(view, Space::Device, wrong, |key, value| {
        let (device, mut decoder) = read_device(key, "key of a device")?;
        let place = Place::decode(decoder.key_number()?, &value.small)?;
        if place.state != SerialState::Void && counted_last.as_ref() != Some(&device) {
            counted
                .entry((device.brand.clone(), device.model.clone()))
                .or_default()
                .serials += 1;
            counted_last = Some(device);
        }
        Ok(())
    })
}

/// Every place of a device has its row.
fn devices(view: View<'_>, wrong: &mut Vec<String>) -> Result<(), StoreError> {
    each(view, Space::Device, wrong, |key, value| {
        let (device, mut decoder) = read_device(key, "key of a device")?;
        let place = Place::decode(decoder.key_number()?, &value.small)?;
        match view.get(&row_key(&device, place.position))? {
            Some(_) => Ok(()),
            None => Err(corrupt("its row is missing")),
        }
    })
}

fn smaller_things(view: View<'_>, wrong: &mut Vec<String>) -> Result<(), StoreError> {
    each(view, Space::Standing, wrong, |key, value| {
        standing_row(key, value).map(drop)
    })?;
    each(view, Space::Approval, wrong, |key, value| {
        approval_row(key, value).map(drop)
    })?;
    each(view, Space::Open, wrong, |key, _| {
        let (device, mut decoder) = read_device(key, "key of a reservation")?;
        let revision = decoder.key_number()?;
        match view.get(&device_key(Space::Device, &device).number(revision).bytes())? {
            Some(_) => Ok(()),
            None => Err(corrupt("its row is missing")),
        }
    })
}

/// Every entry follows the one before, and every chain ends where it should.
fn chains(view: View<'_>, wrong: &mut Vec<String>) -> Result<(), StoreError> {
    let mut reached: BTreeMap<String, ChainHead> = BTreeMap::new();
    each(view, Space::Entry, wrong, |_, value| {
        let entry = audit::entry(view, value)?;
        let before = reached
            .remove(&entry.writer)
            .unwrap_or_else(|| ChainHead::new(entry.writer.clone()));
        let follows = entry.sequence == before.sequence + 1 && entry.previous == before.hash;
        let hash = entry_hash(&entry.previous, &entry.writer, entry.sequence, &entry.event);
        let here = ChainHead {
            writer: entry.writer.clone(),
            sequence: entry.sequence,
            hash: entry.hash,
        };
        let right = hash == here.hash;
        reached.insert(entry.writer, here);
        serde_json::from_str::<AuditEvent>(&entry.event).map_err(|error| corrupt(error.to_string()))?;
        if follows && right {
            Ok(())
        } else {
            Err(corrupt("it does not follow the audit entry before it"))
        }
    })?;
    for chain in audit::chains(view)? {
        if reached.remove(&chain.head.writer).as_ref() != Some(&chain.head) {
            wrong.push(format!(
                "the audit chain of {} does not end where it should",
                chain.head.writer
            ));
        }
    }
    wrong.extend(
        reached
            .into_keys()
            .map(|writer| format!("the audit chain of {writer} has no end")),
    );
    each(view, Space::Checkpoint, wrong, |_, value| {
        audit::checkpoint(view, value).map(drop)
    })
}
