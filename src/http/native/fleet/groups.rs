//! Groups of devices, and the places of single devices.

use serde::{Deserialize, Serialize};

use super::{Input, Json, Long, Native, NoContent, Outcome, names};
use crate::app::devices::DeviceName;
use crate::app::fleet::{devices, groups};
use crate::app::{App, BrandCtx, StoreCtx};
use crate::domain::access::Permission;
use crate::domain::fleet::FleetDevice;
use crate::domain::ident::{AccountId, BrandId, GroupName, ModelName, SerialNumber, StoreId, Tag};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;
use crate::http::native::Created;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/stores/{store}/groups",
            P::FleetRead,
            "List the groups of devices of a store",
            list,
        ),
        native.post(
            "/hallmark/v1/stores/{store}/groups",
            P::FleetManage,
            "Make a group of devices",
            create,
        ),
        native.delete(
            "/hallmark/v1/stores/{store}/groups/{group}",
            P::FleetManage,
            "Delete a group without devices",
            delete,
        ),
        native.post(
            "/hallmark/v1/stores/{store}/groups/{group}/devices",
            P::FleetManage,
            "Put devices into a group",
            add,
        ),
        native.post(
            "/hallmark/v1/stores/{store}/ungrouped-devices",
            P::FleetManage,
            "Take devices out of their groups",
            remove,
        ),
        native.put(
            "/hallmark/v1/device-places/{device}",
            P::DeviceManage,
            "Change tag or group of a device by its uuid or serial",
            place,
        ),
        native.put(
            "/hallmark/v1/device-places/{model}/{serial}",
            P::DeviceManage,
            "Change tag or group of a device by its model and serial",
            place_of,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct GroupView {
    name: GroupName,
    store_id: StoreId,
    devices: u64,
    production_devices: u64,
    created_at: Timestamp,
    created_by: Option<AccountId>,
}

impl From<groups::GroupSize> for GroupView {
    fn from(sized: groups::GroupSize) -> Self {
        Self {
            name: sized.group.name,
            store_id: sized.group.store,
            devices: sized.devices,
            production_devices: sized.production,
            created_at: sized.group.created,
            created_by: sized.group.authorship.created_by,
        }
    }
}

async fn list(app: App, ctx: StoreCtx, _input: Input) -> Outcome<Json<Vec<GroupView>>> {
    let groups = groups::list(&app, &ctx).await?;
    Ok(Json(groups.into_iter().map(GroupView::from).collect()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CreateBody {
    name: GroupName,
}

async fn create(app: App, ctx: StoreCtx, input: Input<Json<CreateBody>>) -> Outcome<Created<GroupView>> {
    let Json(body) = input.body;
    let group = groups::create(&app, &ctx, body.name).await?;
    Ok(Created(
        groups::GroupSize {
            group,
            devices: 0,
            production: 0,
        }
        .into(),
    ))
}

async fn delete(app: App, ctx: StoreCtx, input: Input) -> Outcome<NoContent> {
    groups::delete(&app, &ctx, &input.variable("group")?).await?;
    Ok(NoContent)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct DevicesBody {
    /// Each a uuid, `MODEL/SERIAL`, or a serial that only one model has.
    devices: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Moved {
    devices: usize,
}

async fn add(app: App, ctx: StoreCtx, input: Input<Long<DevicesBody>>) -> Outcome<Json<Moved>> {
    let group: GroupName = input.variable("group")?;
    let names = names(&input.body.0.devices)?;
    let moved = devices::add_to_group(&app, &ctx, Some(&group), &names).await?;
    Ok(Json(Moved { devices: moved.len() }))
}

async fn remove(app: App, ctx: StoreCtx, input: Input<Long<DevicesBody>>) -> Outcome<Json<Moved>> {
    let names = names(&input.body.0.devices)?;
    let moved = devices::add_to_group(&app, &ctx, None, &names).await?;
    Ok(Json(Moved { devices: moved.len() }))
}

/// What is absent stays; null takes it away.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PlaceBody {
    #[serde(default, deserialize_with = "present")]
    tag: Option<Option<Tag>>,
    #[serde(default, deserialize_with = "present")]
    group: Option<Option<GroupName>>,
    #[serde(default)]
    production: Option<bool>,
    /// Offer again what the device came back from.
    #[serde(default)]
    retry: bool,
}

fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PlaceView {
    uuid: String,
    brand_id: BrandId,
    model: ModelName,
    serial: SerialNumber,
    store_id: StoreId,
    production: bool,
    tag: Option<Tag>,
    group: Option<GroupName>,
}

impl From<FleetDevice> for PlaceView {
    fn from(place: FleetDevice) -> Self {
        Self {
            uuid: crate::app::devices::uuid(&place.device),
            brand_id: place.device.brand,
            model: place.device.model,
            serial: place.device.serial,
            store_id: place.store,
            production: place.production,
            tag: place.tag,
            group: place.group,
        }
    }
}

async fn place(app: App, ctx: BrandCtx, input: Input<Json<PlaceBody>>) -> Outcome<Json<PlaceView>> {
    let name = input.variable("device")?;
    put(&app, &ctx, &name, input.body.0).await
}

async fn place_of(app: App, ctx: BrandCtx, input: Input<Json<PlaceBody>>) -> Outcome<Json<PlaceView>> {
    let name = DeviceName::Of(input.variable("model")?, input.variable("serial")?);
    put(&app, &ctx, &name, input.body.0).await
}

async fn put(app: &App, ctx: &BrandCtx, name: &DeviceName, body: PlaceBody) -> Outcome<Json<PlaceView>> {
    let change = devices::PlaceChange {
        tag: body.tag,
        group: body.group,
        production: body.production,
        retry: body.retry,
    };
    Ok(Json(devices::change(app, ctx, name, &change).await?.into()))
}
