//! Devices as operators see them: what was issued to them, and what they last reported.

use std::collections::HashSet;

use super::serials::{self, MAX_PAGE, PAGE, SerialQuery};
use super::{App, BrandCtx, Refusal, fleet};
use crate::domain::catalog::{DeviceReport, device_uuid};
use crate::domain::fleet::FleetDevice;
use crate::domain::ident::{BrandId, DeviceId, ModelName, SerialNumber};
use crate::domain::vault::{ModelRecord, SerialRow, SerialState, Standing};

/// A device.
#[derive(Clone, Debug)]
pub struct DeviceStory {
    /// Which one.
    pub device: DeviceId,
    /// The newest serial issued to it here; none if another vault made it.
    pub serial: Option<SerialRow>,
    /// How operators judge it.
    pub standing: Option<Standing>,
    /// What it last reported.
    pub report: Option<DeviceReport>,
    /// Its place in the fleet.
    pub place: Option<FleetDevice>,
}

/// A page of devices.
#[derive(Clone, Debug)]
pub struct DevicePage {
    /// The devices: those whose serial was issued last first, then those of other vaults by model and serial.
    pub devices: Vec<DeviceStory>,
    /// Where the next page begins.
    pub next: Option<Place>,
}

/// Where a page of devices begins.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Place {
    /// Below this position of the signing log.
    Log(u64),
    /// With this device of another vault: its `MODEL/SERIAL`.
    Of(String),
}

impl std::str::FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(position) => Ok(Self::Log(position)),
            Err(_) if text.contains('/') => Ok(Self::Of(text.to_owned())),
            Err(_) => Err("no page begins there"),
        }
    }
}

/// How people name a device: its uuid, `MODEL/SERIAL`, or its serial where that is unambiguous (decisions.md 12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// By its uuid.
    Uuid(uuid::Uuid),
    /// By model and serial.
    Of(ModelName, SerialNumber),
    /// By its serial.
    Serial(SerialNumber),
}

impl std::str::FromStr for DeviceName {
    type Err = crate::domain::ident::IdentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(uuid) = uuid::Uuid::try_parse(text) {
            return Ok(Self::Uuid(uuid));
        }
        match text.split_once('/') {
            Some((model, serial)) => Ok(Self::Of(model.parse()?, serial.parse()?)),
            None => text.parse().map(Self::Serial),
        }
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Of(model, serial) => write!(f, "{model}/{serial}"),
            Self::Serial(serial) => serial.fmt(f),
        }
    }
}

/// Devices with a serial issued here, each once, with what they reported; then those with a serial of another vault that
/// have reported. When the latter were issued is not known: a query for a time leaves them out.
pub async fn list(
    app: &App,
    ctx: &BrandCtx,
    mut query: SerialQuery,
    from: Option<Place>,
) -> Result<DevicePage, Refusal> {
    let limit = query.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let timed = query.since.is_some() || query.until.is_some();
    let mut devices = Vec::new();
    let first = match from {
        Some(Place::Of(first)) => first,
        Some(Place::Log(position)) => {
            query.before = Some(position);
            String::new()
        }
        None => String::new(),
    };
    let (models, prefix) = (query.models.clone(), query.serial_prefix.clone());
    if first.is_empty() {
        let page = serials::list(app, ctx, query).await?;
        devices = issued(app, page.rows).await?;
        if page.next.is_some() || timed {
            let next = page.next.map(Place::Log);
            return Ok(DevicePage { devices, next });
        }
    }
    let mut others = reported(app, ctx.brand(), &models, prefix.as_deref().unwrap_or_default()).await?;
    others.retain(|(name, _)| *name >= first);
    for (name, report) in others {
        if app.storage.latest(&report.device).await?.is_some() {
            continue;
        }
        if devices.len() >= limit {
            let next = Some(Place::Of(name));
            return Ok(DevicePage { devices, next });
        }
        devices.push(DeviceStory {
            standing: app.storage.standing(&report.device).await?,
            place: place(app, &report.device).await?,
            device: report.device.clone(),
            serial: None,
            report: Some(report),
        });
    }
    Ok(DevicePage { devices, next: None })
}

/// The devices that rows of the signing log are about.
async fn issued(app: &App, rows: Vec<SerialRow>) -> Result<Vec<DeviceStory>, Refusal> {
    let mut known = HashSet::new();
    let mut devices = Vec::new();
    for row in rows {
        if row.state != SerialState::Issued || !known.insert(row.device.clone()) {
            continue;
        }
        // A device of several revisions is listed with its newest one.
        let newest = app.storage.latest(&row.device).await?;
        if newest.is_some_and(|newest| newest.revision == row.revision) {
            devices.push(story(app, row.device.clone(), Some(row)).await?);
        }
    }
    Ok(devices)
}

/// What devices of these models (of none = of all) with such serials reported, by their `MODEL/SERIAL`.
async fn reported(
    app: &App,
    brand: &BrandId,
    models: &[ModelName],
    prefix: &str,
) -> Result<Vec<(String, DeviceReport)>, Refusal> {
    let all = app.storage.all::<DeviceReport>([brand.as_str()]).await?;
    let mut reports: Vec<_> = all
        .into_iter()
        .map(|found| found.record)
        .filter(|report| models.is_empty() || models.contains(&report.device.model))
        .filter(|report| report.device.serial.as_str().starts_with(prefix))
        .map(|report| {
            (
                format!("{}/{}", report.device.model, report.device.serial),
                report,
            )
        })
        .collect();
    reports.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(reports)
}

/// One device of the brand.
pub async fn show(app: &App, ctx: &BrandCtx, name: &DeviceName) -> Result<DeviceStory, Refusal> {
    let device = find(app, ctx.brand(), name).await?;
    let serial = app.storage.latest(&device).await?;
    story(app, device, serial).await
}

/// The device of the brand that is meant.
///
/// # Errors
/// `ambiguous-device`; absent.
pub(in crate::app) async fn find(app: &App, brand: &BrandId, name: &DeviceName) -> Result<DeviceId, Refusal> {
    let absent = || Refusal::not_found("cannot find the device: the brand has none of this name");
    let device = match name {
        DeviceName::Of(model, serial) => DeviceId {
            brand: brand.clone(),
            model: model.clone(),
            serial: serial.clone(),
        },
        DeviceName::Uuid(uuid) => {
            let uuid = uuid.to_string();
            let found = app.storage.find_unique::<DeviceReport>("uuid", &uuid).await?;
            let mut found = found.map(|found| found.record.device);
            if found.is_none() {
                let placed = app.storage.find_unique::<FleetDevice>("uuid", &uuid).await?;
                found = placed.map(|found| found.record.device);
            }
            found.filter(|device| device.brand == *brand).ok_or_else(|| {
                Refusal::not_found(
                    "cannot find the device: none of this uuid has reported yet; name it as MODEL/SERIAL",
                )
            })?
        }
        DeviceName::Serial(serial) => {
            let models = app.storage.all::<ModelRecord>([brand.as_str()]).await?;
            let mut found = Vec::new();
            for model in models {
                let device = DeviceId {
                    brand: brand.clone(),
                    model: model.record.name,
                    serial: serial.clone(),
                };
                if exists(app, &device).await? {
                    found.push(device);
                }
            }
            if found.is_empty() {
                // Of another vault, and a model that has no record here.
                let reports = reported(app, brand, &[], serial.as_str()).await?;
                let devices = reports.into_iter().map(|(_, report)| report.device);
                found.extend(devices.filter(|device| device.serial == *serial));
            }
            if found.len() > 1 {
                let names: Vec<String> = found
                    .iter()
                    .map(|device| format!("{}/{}", device.model, device.serial))
                    .collect();
                return Err(Refusal::conflict(
                    "ambiguous-device",
                    format!("cannot tell which device is meant: {}", names.join(", ")),
                ));
            }
            found.pop().ok_or_else(absent)?
        }
    };
    if exists(app, &device).await? {
        Ok(device)
    } else {
        Err(absent())
    }
}

/// The uuid of a device.
pub fn uuid(device: &DeviceId) -> String {
    device_uuid(device).to_string()
}

async fn exists(app: &App, device: &DeviceId) -> Result<bool, Refusal> {
    Ok(app.storage.latest(device).await?.is_some()
        || report(app, device).await?.is_some()
        || fleet::devices::find(app, device).await?.is_some())
}

async fn place(app: &App, device: &DeviceId) -> Result<Option<FleetDevice>, Refusal> {
    let found = fleet::devices::find(app, device).await?;
    Ok(found.map(|found| found.record))
}

async fn report(app: &App, device: &DeviceId) -> Result<Option<DeviceReport>, Refusal> {
    let found = app
        .storage
        .find::<DeviceReport>(DeviceReport::key_of(device))
        .await?;
    Ok(found.map(|found| found.record))
}

async fn story(app: &App, device: DeviceId, serial: Option<SerialRow>) -> Result<DeviceStory, Refusal> {
    Ok(DeviceStory {
        standing: app.storage.standing(&device).await?,
        report: report(app, &device).await?,
        place: place(app, &device).await?,
        serial,
        device,
    })
}
