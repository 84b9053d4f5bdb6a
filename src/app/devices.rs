//! Devices as operators see them: what was issued to them, and what they last reported.

use std::collections::HashSet;

use super::serials::{self, SerialQuery};
use super::{App, BrandCtx, Refusal};
use crate::domain::catalog::{DeviceReport, device_uuid};
use crate::domain::ident::{DeviceId, ModelName, SerialNumber};
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
}

/// A page of devices.
#[derive(Clone, Debug)]
pub struct DevicePage {
    /// The devices, those whose serial was issued last first.
    pub devices: Vec<DeviceStory>,
    /// Where the next page begins.
    pub next: Option<u64>,
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

/// Devices with a serial issued here, each once, with what they reported.
pub async fn list(app: &App, ctx: &BrandCtx, query: SerialQuery) -> Result<DevicePage, Refusal> {
    let page = serials::list(app, ctx, query).await?;
    let mut known = HashSet::new();
    let mut devices = Vec::new();
    for row in page.rows {
        if row.state != SerialState::Issued || !known.insert(row.device.clone()) {
            continue;
        }
        // A device of several revisions is listed with its newest one.
        let newest = app.storage.latest(&row.device).await?;
        if newest.is_some_and(|newest| newest.revision == row.revision) {
            devices.push(story(app, row.device.clone(), Some(row)).await?);
        }
    }
    Ok(DevicePage {
        devices,
        next: page.next,
    })
}

/// One device of the brand.
pub async fn show(app: &App, ctx: &BrandCtx, name: &DeviceName) -> Result<DeviceStory, Refusal> {
    let brand = ctx.brand();
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
            let found = found.map(|found| found.record.device);
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
    if !exists(app, &device).await? {
        return Err(absent());
    }
    let serial = app.storage.latest(&device).await?;
    story(app, device, serial).await
}

/// The uuid of a device.
pub fn uuid(device: &DeviceId) -> String {
    device_uuid(device).to_string()
}

async fn exists(app: &App, device: &DeviceId) -> Result<bool, Refusal> {
    Ok(app.storage.latest(device).await?.is_some() || report(app, device).await?.is_some())
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
        serial,
        device,
    })
}
