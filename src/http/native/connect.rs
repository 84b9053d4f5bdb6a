//! Pointing devices at a store.

use serde::Serialize;

use super::{Input, Json, Native, Outcome};
use crate::app::catalog::connect;
use crate::app::{App, StoreCtx};
use crate::domain::access::Permission;
use crate::domain::ident::StoreId;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    vec![native.post(
        "/hallmark/v1/stores/{store}/connect",
        Permission::StoreManage,
        "Sign what points devices at a store",
        connect_devices,
    )]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ConnectionView {
    store: StoreId,
    url: String,
    assertions: String,
}

async fn connect_devices(app: App, ctx: StoreCtx, _input: Input) -> Outcome<Json<ConnectionView>> {
    let found = connect::connect(&app, &ctx).await?;
    Ok(Json(ConnectionView {
        store: found.store,
        url: found.url,
        assertions: String::from_utf8_lossy(&found.assertions).into_owned(),
    }))
}
