//! Rows of the serial ledger, and how one is found: by brand, model and position; by device and revision.

use bytes::Bytes;

use super::audit;
use super::encoding::{Decoder, Encoder, Key, Space, key_bytes};
use super::journal::Value;
use super::layers::{Order, Scan, View};
use super::writer::Transaction;
use crate::domain::ident::{BrandId, DeviceId, KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::{SerialRow, SerialState};
use crate::ports::{LedgerStats, StoreError};

const ROW_LAYOUT: u8 = 1;
const PLACE_LAYOUT: u8 = 1;
const COUNTS_LAYOUT: u8 = 1;

/// Keys of all rows of a model start with this.
pub(super) fn model_rows(brand: &BrandId, model: &ModelName) -> Key {
    Key::new(Space::Row).text(brand.as_str()).text(model.as_str())
}

pub(super) fn row_key(device: &DeviceId, position: u64) -> Vec<u8> {
    model_rows(&device.brand, &device.model).number(position).bytes()
}

/// The key of the last position given to a row.
pub(super) fn last_position_key() -> Vec<u8> {
    Key::new(Space::Meta).text("serial-rows").bytes()
}

/// The last position given to a row; 0 if there is none.
pub(super) fn last_position(view: View<'_>) -> Result<u64, StoreError> {
    audit::counter(view.get(&last_position_key())?)
}

/// Keys of a device in `space` start with this.
pub(super) fn device_key(space: Space, device: &DeviceId) -> Key {
    Key::new(space)
        .text(device.brand.as_str())
        .text(device.model.as_str())
        .text(device.serial.as_str())
}

/// Keys of the rows of a device key start with this; others may, too.
pub(super) fn key_rows(key: &KeyId) -> Key {
    let [a, b, c, d, e, f, g, h, ..] = key_bytes(key);
    Key::new(Space::DeviceKey).raw(&[a, b, c, d, e, f, g, h])
}

/// Brand, model and serial of a key made by [`device_key`]; the decoder is behind them.
pub(super) fn read_device<'a>(
    key: &'a [u8],
    what: &'static str,
) -> Result<(DeviceId, Decoder<'a>), StoreError> {
    let mut decoder = Decoder::of_key(key, what)?;
    let (brand, model, serial) = (
        decoder.key_parsed()?,
        decoder.key_parsed()?,
        decoder.key_parsed()?,
    );
    Ok((DeviceId { brand, model, serial }, decoder))
}

/// What the index holds of a row; the assertion is fetched apart.
pub(super) struct Row {
    pub(super) position: u64,
    pub(super) serial: SerialNumber,
    pub(super) revision: u64,
    pub(super) state: SerialState,
    pub(super) created_at: Timestamp,
    pub(super) device_key: KeyId,
    pub(super) sign_key: Option<KeyId>,
}

impl Row {
    pub(super) fn decode(position: u64, small: &[u8]) -> Result<Self, StoreError> {
        let mut decoder = Decoder::new(small, ROW_LAYOUT, "row of the serial ledger")?;
        let state = state_of(&mut decoder)?;
        let (revision, created_at, device_key) = (decoder.number()?, decoder.time()?, decoder.key_id()?);
        let sign_key = match decoder.byte()? {
            0 => None,
            _ => Some(decoder.key_id()?),
        };
        Ok(Self {
            position,
            serial: decoder.parsed()?,
            revision,
            state,
            created_at,
            device_key,
            sign_key,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let row = Encoder::new(ROW_LAYOUT)
            .byte(state_byte(self.state))
            .number(self.revision)
            .time(self.created_at)
            .key_id(&self.device_key);
        let row = match &self.sign_key {
            None => row.byte(0),
            Some(key) => row.byte(1).key_id(key),
        };
        row.text(self.serial.as_str()).bytes()
    }

    /// The row in full.
    pub(super) fn full(self, brand: &BrandId, model: &ModelName, assertion: Bytes) -> SerialRow {
        SerialRow {
            position: self.position,
            device: DeviceId {
                brand: brand.clone(),
                model: model.clone(),
                serial: self.serial,
            },
            revision: self.revision,
            device_key: self.device_key,
            sign_key: self.sign_key,
            created_at: self.created_at,
            state: self.state,
            assertion,
        }
    }
}

/// Where a revision of a device has its row.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) revision: u64,
    pub(super) position: u64,
    pub(super) state: SerialState,
}

impl Place {
    pub(super) fn decode(revision: u64, small: &[u8]) -> Result<Self, StoreError> {
        let mut decoder = Decoder::new(small, PLACE_LAYOUT, "place of a device")?;
        Ok(Self {
            revision,
            state: state_of(&mut decoder)?,
            position: decoder.number()?,
        })
    }

    pub(super) fn encode(self) -> Vec<u8> {
        Encoder::new(PLACE_LAYOUT)
            .byte(state_byte(self.state))
            .number(self.position)
            .bytes()
    }
}

/// The places of a device, from a descending scan of [`device_key`]: highest revision first.
pub(super) struct Places(Scan);

impl Places {
    pub(super) fn of(view: View<'_>, device: &DeviceId) -> Self {
        Self(view.scan(&device_key(Space::Device, device).bytes(), Order::Descending))
    }

    pub(super) fn in_transaction(tx: &Transaction<'_>, device: &DeviceId) -> Self {
        Self(tx.scan(&device_key(Space::Device, device).bytes(), Order::Descending))
    }
}

impl Iterator for Places {
    type Item = Result<Place, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.0.next()?;
        Some(item.and_then(|(key, value)| {
            let revision = key
                .last_chunk()
                .map(|bytes| u64::from_be_bytes(*bytes))
                .unwrap_or_default();
            Place::decode(revision, &value.small)
        }))
    }
}

/// The row at a place.
pub(super) fn row_at(view: View<'_>, device: &DeviceId, place: Place) -> Result<SerialRow, StoreError> {
    let value = found(view.get(&row_key(device, place.position))?, device)?;
    let row = Row::decode(place.position, &value.small)?;
    Ok(row.full(&device.brand, &device.model, view.large(&value)?))
}

/// A row that another key promised.
pub(super) fn found(value: Option<Value>, device: &DeviceId) -> Result<Value, StoreError> {
    value.ok_or_else(|| StoreError::Corrupt(format!("a row of {device} is missing")))
}

/// The numbers of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) issued: u64,
    pub(super) void: u64,
    pub(super) reserved: u64,
    /// Distinct serials with a row that is not void.
    pub(super) serials: u64,
}

impl Counts {
    pub(super) fn key(brand: &BrandId, model: &ModelName) -> Vec<u8> {
        Key::new(Space::Counts)
            .text(brand.as_str())
            .text(model.as_str())
            .bytes()
    }

    pub(super) fn decode(value: Option<&Value>) -> Result<Self, StoreError> {
        let Some(value) = value else {
            return Ok(Self::default());
        };
        let mut decoder = Decoder::new(&value.small, COUNTS_LAYOUT, "count")?;
        let (issued, void) = (decoder.number()?, decoder.number()?);
        Ok(Self {
            issued,
            void,
            reserved: decoder.number()?,
            serials: decoder.number()?,
        })
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let numbers = [self.issued, self.void, self.reserved, self.serials];
        numbers
            .into_iter()
            .fold(Encoder::new(COUNTS_LAYOUT), Encoder::number)
            .bytes()
    }

    /// How many rows have `state`.
    pub(super) fn of(&mut self, state: SerialState) -> &mut u64 {
        match state {
            SerialState::Reserved => &mut self.reserved,
            SerialState::Issued => &mut self.issued,
            SerialState::Void => &mut self.void,
        }
    }

    pub(super) fn rows(self) -> u64 {
        self.issued + self.void + self.reserved
    }
}

/// Numbers of each model of a brand.
pub(super) fn counts_of(view: View<'_>, brand: &BrandId) -> Result<Vec<(ModelName, Counts)>, StoreError> {
    let found = view.scan(
        &Key::new(Space::Counts).text(brand.as_str()).bytes(),
        Order::Ascending,
    );
    found
        .map(|item| {
            let (key, value) = item?;
            let mut decoder = Decoder::of_key(&key, "key of a count")?;
            decoder.key_text()?;
            Ok((decoder.key_parsed()?, Counts::decode(Some(&value))?))
        })
        .collect()
}

pub(super) fn stats(
    view: View<'_>,
    brand: &BrandId,
    model: Option<&ModelName>,
) -> Result<LedgerStats, StoreError> {
    let counts = match model {
        Some(model) => vec![Counts::decode(view.get(&Counts::key(brand, model))?.as_ref())?],
        None => counts_of(view, brand)?
            .into_iter()
            .map(|(_, counts)| counts)
            .collect(),
    };
    Ok(counts
        .iter()
        .fold(LedgerStats::default(), |sum, counts| LedgerStats {
            issued: sum.issued + counts.issued,
            void: sum.void + counts.void,
            serials: sum.serials + counts.serials,
        }))
}

fn state_byte(state: SerialState) -> u8 {
    match state {
        SerialState::Reserved => b'r',
        SerialState::Issued => b'i',
        SerialState::Void => b'v',
    }
}

fn state_of(decoder: &mut Decoder<'_>) -> Result<SerialState, StoreError> {
    match decoder.byte()? {
        b'r' => Ok(SerialState::Reserved),
        b'i' => Ok(SerialState::Issued),
        b'v' => Ok(SerialState::Void),
        _ => Err(decoder.corrupt("has a state that is none")),
    }
}
