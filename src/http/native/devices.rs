//! Devices: what was issued to them, and what they last reported.

use serde::Serialize;

use super::{Input, Json, Native, Outcome};
use crate::app::devices::{self, DeviceName, DeviceStory};
use crate::app::serials::SerialQuery;
use crate::app::{App, BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::catalog::ReportedSnap;
use crate::domain::ident::{BrandId, ModelName, SerialNumber, SnapId};
use crate::domain::time::Timestamp;
use crate::domain::vault::Standing;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/devices{?model,serial,since,until,before,limit}",
            P::DeviceRead,
            "List devices and when they were last seen",
            list,
        ),
        native.get(
            "/hallmark/v1/devices/{device}",
            P::DeviceRead,
            "Show a device by its uuid or serial",
            show,
        ),
        native.get(
            "/hallmark/v1/devices/{model}/{serial}",
            P::DeviceRead,
            "Show a device by its model and serial",
            show_of,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DeviceView {
    uuid: String,
    brand_id: BrandId,
    model: ModelName,
    serial: SerialNumber,
    revision: Option<u64>,
    issued_at: Option<Timestamp>,
    standing: Option<Standing>,
    store: Option<String>,
    architecture: Option<String>,
    client: Option<String>,
    last_seen: Option<Timestamp>,
    snaps: Vec<SnapView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SnapView {
    name: Option<String>,
    #[serde(flatten)]
    snap: ReportedSnap,
}

/// The view of a device; names of snaps only where the catalogue knows them.
async fn view(app: &App, story: DeviceStory) -> Outcome<DeviceView> {
    let catalog = app.catalog.current(app).await?;
    let DeviceStory {
        device,
        serial,
        standing,
        report,
    } = story;
    let named = |snap: &ReportedSnap| {
        let id: SnapId = snap.snap_id.parse().ok()?;
        catalog.name_of(&id).map(ToString::to_string)
    };
    let snaps = report.iter().flat_map(|report| &report.snaps);
    let snaps = snaps.map(|snap| SnapView {
        name: named(snap),
        snap: snap.clone(),
    });
    Ok(DeviceView {
        uuid: devices::uuid(&device),
        snaps: snaps.collect(),
        brand_id: device.brand,
        model: device.model,
        serial: device.serial,
        revision: serial.as_ref().map(|row| row.revision),
        issued_at: serial.as_ref().map(|row| row.created_at),
        standing,
        store: report.as_ref().and_then(|report| report.store.clone()),
        architecture: report.as_ref().map(|report| report.architecture.to_string()),
        client: report.as_ref().and_then(|report| report.client.clone()),
        last_seen: report.map(|report| report.seen),
    })
}

async fn list(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<serde_json::Value>> {
    let models = input.query_all("model").map(|text| text.parse::<ModelName>());
    let query = SerialQuery {
        models: models.collect::<Result<_, _>>().map_err(Refusal::from)?,
        serial_prefix: input.query("serial")?,
        since: input.query("since")?,
        until: input.query("until")?,
        limit: input.query("limit")?,
        ..SerialQuery::default()
    };
    let page = devices::list(&app, &ctx, query, input.query("before")?).await?;
    let mut views = Vec::with_capacity(page.devices.len());
    for story in page.devices {
        views.push(view(&app, story).await?);
    }
    Ok(Json(serde_json::json!({ "devices": views, "next": page.next })))
}

async fn show(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<DeviceView>> {
    let name: DeviceName = input.variable("device")?;
    Ok(Json(view(&app, devices::show(&app, &ctx, &name).await?).await?))
}

async fn show_of(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<DeviceView>> {
    let name = DeviceName::Of(input.variable("model")?, input.variable("serial")?);
    Ok(Json(view(&app, devices::show(&app, &ctx, &name).await?).await?))
}
