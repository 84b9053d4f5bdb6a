//! Devices: what was issued to them, and what they last reported.

use serde::Serialize;

use super::{Input, Json, Native, Outcome};
use crate::app::devices::{self, DeviceName, DeviceStory};
use crate::app::fleet::explain;
use crate::app::serials::SerialQuery;
use crate::app::{App, BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::catalog::ReportedSnap;
use crate::domain::fleet::State;
use crate::domain::ident::{BrandId, GroupName, ModelName, SerialNumber, SnapId, Tag, WaveName};
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
    production: bool,
    tag: Option<Tag>,
    group: Option<GroupName>,
    snaps: Vec<SnapView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SnapView {
    name: Option<String>,
    #[serde(flatten)]
    snap: ReportedSnap,
    #[serde(flatten)]
    sees: Option<SeesView>,
}

/// Which revision a device is told at its next refresh, and why.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SeesView {
    /// None: what the channel gives.
    sees_revision: Option<u64>,
    rule: &'static str,
    why: String,
}

/// A device with what it sees of waves.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct StandingView {
    #[serde(flatten)]
    device: DeviceView,
    /// The open wave of its tag.
    wave: Option<WaveName>,
    /// Whether that was rolled out to it.
    rolled_out: bool,
    /// How it takes it.
    wave_state: Option<State>,
}

/// The same of one device, and why it sees which revision.
async fn full(app: &App, story: DeviceStory) -> Outcome<StandingView> {
    let standing = explain::standing(app, &story.device, story.report.as_ref()).await?;
    let mut device = view(app, story).await?;
    for (snap, seen) in device.snaps.iter_mut().zip(standing.snaps) {
        snap.sees = Some(SeesView {
            sees_revision: seen.revision,
            rule: seen.rule,
            why: seen.why,
        });
    }
    let (wave, rolled_out) = standing.wave.unzip();
    Ok(StandingView {
        device,
        wave,
        rolled_out: rolled_out.unwrap_or(false),
        wave_state: standing.state,
    })
}

/// The view of a device; names of snaps only where the catalogue knows them.
async fn view(app: &App, story: DeviceStory) -> Outcome<DeviceView> {
    let catalog = app.catalog.current(app).await?;
    let DeviceStory {
        device,
        serial,
        standing,
        report,
        place,
    } = story;
    let named = |snap: &ReportedSnap| {
        let id: SnapId = snap.snap_id.parse().ok()?;
        catalog.name_of(&id).map(ToString::to_string)
    };
    let snaps = report.iter().flat_map(|report| &report.snaps);
    let snaps = snaps.map(|snap| SnapView {
        name: named(snap),
        snap: snap.clone(),
        sees: None,
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
        production: place.as_ref().is_some_and(|place| place.production),
        tag: place.as_ref().and_then(|place| place.tag.clone()),
        group: place.and_then(|place| place.group),
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

async fn show(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<StandingView>> {
    let name: DeviceName = input.variable("device")?;
    Ok(Json(full(&app, devices::show(&app, &ctx, &name).await?).await?))
}

async fn show_of(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<StandingView>> {
    let name = DeviceName::Of(input.variable("model")?, input.variable("serial")?);
    Ok(Json(full(&app, devices::show(&app, &ctx, &name).await?).await?))
}
