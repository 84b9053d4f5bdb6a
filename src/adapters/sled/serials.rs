//! Reads of the serial ledger: lists, counts, histories.

use std::collections::BinaryHeap;

use super::encoding::{Key, Space, after_prefix};
use super::journal::Value;
use super::layers::{Order, Scan, View};
use super::rows::{Counts, Place, Places, Row, counts_of, key_rows, model_rows, row_at};
use crate::domain::ident::{DeviceId, ModelName};
use crate::domain::vault::{SerialRow, SerialState};
use crate::ports::{SerialFilter, StoreError};

/// Serials with a given start are looked up one by one up to this number; if there are more, reading rows from the
/// newest on meets them soon enough.
const FEW: usize = 2000;

pub(super) fn history(view: View<'_>, device: &DeviceId) -> Result<Vec<SerialRow>, StoreError> {
    Places::of(view, device)
        .map(|place| row_at(view, device, place?))
        .collect()
}

pub(super) fn latest(view: View<'_>, device: &DeviceId) -> Result<Option<SerialRow>, StoreError> {
    let issued = |place: &Result<Place, _>| {
        place
            .as_ref()
            .map_or(true, |place| place.state == SerialState::Issued)
    };
    Places::of(view, device)
        .find(issued)
        .map(|place| row_at(view, device, place?))
        .transpose()
}

pub(super) fn serials(view: View<'_>, filter: &SerialFilter) -> Result<Vec<SerialRow>, StoreError> {
    let mut rows = Vec::new();
    if filter.limit == 0 {
        return Ok(rows);
    }
    for item in candidates(view, filter, filter.before)? {
        let (model, position, value) = item?;
        let row = Row::decode(position, &value.small)?;
        if is_wanted(filter, &row) {
            rows.push(row.full(&filter.brand, &model, view.large(&value)?));
            if rows.len() == filter.limit {
                break;
            }
        }
    }
    Ok(rows)
}

pub(super) fn count(view: View<'_>, filter: &SerialFilter) -> Result<u64, StoreError> {
    let any = filter.serial_prefix.is_none() && filter.device_key.is_none();
    if any && filter.since.is_none() && filter.until.is_none() {
        let counts = models(view, filter)?;
        return Ok(counts.into_iter().map(|(_, counts)| counts.rows()).sum());
    }
    let mut count = 0;
    for item in candidates(view, filter, None)? {
        let (_, position, value) = item?;
        count += u64::from(is_wanted(filter, &Row::decode(position, &value.small)?));
    }
    Ok(count)
}

fn is_wanted(filter: &SerialFilter, row: &Row) -> bool {
    filter
        .serial_prefix
        .as_ref()
        .is_none_or(|prefix| row.serial.as_str().starts_with(prefix.as_str()))
        && filter
            .device_key
            .as_ref()
            .is_none_or(|key| row.device_key == *key)
        && filter.since.is_none_or(|since| row.created_at >= since)
        && filter.until.is_none_or(|until| row.created_at < until)
}

/// The models a filter asks for, as far as they have rows.
fn models(view: View<'_>, filter: &SerialFilter) -> Result<Vec<(ModelName, Counts)>, StoreError> {
    let mut models = counts_of(view, &filter.brand)?;
    models.retain(|(model, _)| filter.models.is_empty() || filter.models.contains(model));
    Ok(models)
}

/// Model, position and value of a row.
type Candidate = Result<(ModelName, u64, Value), StoreError>;

/// Rows among which are all that the filter wants, newest first.
fn candidates<'a>(
    view: View<'a>,
    filter: &SerialFilter,
    before: Option<u64>,
) -> Result<Box<dyn Iterator<Item = Candidate> + 'a>, StoreError> {
    let models: Vec<ModelName> = models(view, filter)?
        .into_iter()
        .map(|(model, _)| model)
        .collect();
    if filter.device_key.is_some() {
        return by_device_key(view, filter, models, before);
    }
    if let Some(prefix) = filter.serial_prefix.as_ref().filter(|prefix| !prefix.is_empty())
        && let Some(few) = few_by_serial(view, filter, &models, prefix, before)?
    {
        let brand = filter.brand.clone();
        return Ok(Box::new(few.into_iter().map(move |(position, model)| {
            let value = view.get(&model_rows(&brand, &model).number(position).bytes())?;
            let value = value.ok_or_else(|| missing(position))?;
            Ok((model, position, value))
        })));
    }
    Ok(Box::new(Merged::new(view, filter, models, before)?))
}

fn missing(position: u64) -> StoreError {
    StoreError::Corrupt(format!("row {position} of the serial ledger is missing"))
}

fn by_device_key<'a>(
    view: View<'a>,
    filter: &SerialFilter,
    models: Vec<ModelName>,
    before: Option<u64>,
) -> Result<Box<dyn Iterator<Item = Candidate> + 'a>, StoreError> {
    let Some(key) = &filter.device_key else {
        return Ok(Box::new(std::iter::empty()));
    };
    let of_key = key_rows(key);
    let from = of_key.clone().bytes();
    let to = before.map_or_else(
        || after_prefix(&from),
        |before| Some(of_key.number(before).bytes()),
    );
    let prefixes: Vec<_> = models
        .into_iter()
        .map(|m| (model_rows(&filter.brand, &m).bytes(), m))
        .collect();
    let rows = view
        .scan_range(from, to, Order::Descending)
        .filter_map(move |item| {
            let (key, of_model) = match item {
                Ok((key, value)) => (key, value.small),
                Err(error) => return Some(Err(error)),
            };
            let (_, model) = prefixes.iter().find(|(prefix, _)| *prefix == of_model)?;
            let position = u64::from_be_bytes(*key.last_chunk()?);
            let row = [of_model.as_slice(), &position.to_be_bytes()].concat();
            let value = view
                .get(&row)
                .and_then(|value| value.ok_or_else(|| missing(position)));
            Some(value.map(|value| (model.clone(), position, value)))
        });
    Ok(Box::new(rows))
}

/// Positions of the rows whose serial starts with `prefix`, newest first; none if there are more than a few.
fn few_by_serial(
    view: View<'_>,
    filter: &SerialFilter,
    models: &[ModelName],
    prefix: &str,
    before: Option<u64>,
) -> Result<Option<Vec<(u64, ModelName)>>, StoreError> {
    let mut few = Vec::new();
    let mut looked_at = 0;
    for model in models {
        let start = Key::new(Space::Device)
            .text(filter.brand.as_str())
            .text(model.as_str())
            .text_prefix(prefix);
        for item in view.scan(&start.bytes(), Order::Ascending) {
            looked_at += 1;
            if looked_at > FEW {
                return Ok(None);
            }
            let position = Place::decode(0, &item?.1.small)?.position;
            if before.is_none_or(|before| position < before) {
                few.push((position, model.clone()));
            }
        }
    }
    few.sort_by(|(a, _), (b, _)| b.cmp(a));
    Ok(Some(few))
}

/// The rows of several models, newest first.
struct Merged {
    models: Vec<(ModelName, Scan, Option<Value>)>,
    /// Position of the next row of each model, and the model's place in `models`.
    next: BinaryHeap<(u64, usize)>,
}

impl Merged {
    fn new(
        view: View<'_>,
        filter: &SerialFilter,
        models: Vec<ModelName>,
        before: Option<u64>,
    ) -> Result<Self, StoreError> {
        let mut merged = Self {
            models: Vec::new(),
            next: BinaryHeap::new(),
        };
        for (number, model) in models.into_iter().enumerate() {
            let rows = model_rows(&filter.brand, &model);
            let from = rows.clone().bytes();
            let to = before.map_or_else(|| after_prefix(&from), |before| Some(rows.number(before).bytes()));
            merged
                .models
                .push((model, view.scan_range(from, to, Order::Descending), None));
            merged.advance(number)?;
        }
        Ok(merged)
    }

    /// Reads the next row of a model.
    fn advance(&mut self, number: usize) -> Result<(), StoreError> {
        let Some((_, scan, row)) = self.models.get_mut(number) else {
            return Ok(());
        };
        if let Some((key, value)) = scan.next().transpose()? {
            let position = key
                .last_chunk()
                .map(|bytes| u64::from_be_bytes(*bytes))
                .unwrap_or_default();
            *row = Some(value);
            self.next.push((position, number));
        }
        Ok(())
    }
}

impl Iterator for Merged {
    type Item = Candidate;

    fn next(&mut self) -> Option<Candidate> {
        let (position, number) = self.next.pop()?;
        let (model, _, row) = self.models.get_mut(number)?;
        let (model, row) = (model.clone(), row.take()?);
        Some(self.advance(number).map(|()| (model, position, row)))
    }
}
