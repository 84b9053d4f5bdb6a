//! Which snaps the shop window shows first (admin-api.md 2.6).

use serde::{Deserialize, Serialize};

use super::schema::{Schema, SchemaList};
use super::{Created, Input, Outcome, Publisher};
use crate::app::catalog::featured;
use crate::app::{App, InstanceCtx};
use crate::domain::access::Permission;
use crate::domain::ident::SnapId;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.put(
            "/v1/snap/featured",
            P::FeaturedManage,
            "Say which snaps are featured, in this order",
            set,
        ),
        publisher.delete(
            "/v1/snap/featured",
            P::FeaturedManage,
            "Feature snaps no longer",
            remove,
        ),
    ]
}

/// Clients look at the status only.
#[derive(Debug, Serialize)]
struct Empty {}

async fn set(app: App, ctx: InstanceCtx, input: Input<SchemaList<SnapId>>) -> Outcome<Created<Empty>> {
    featured::set(&app, &ctx, &input.body.0).await?;
    Ok(Created(Empty {}))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveBody {
    packages: Vec<SnapId>,
}

async fn remove(app: App, ctx: InstanceCtx, input: Input<Schema<RemoveBody>>) -> Outcome<Created<Empty>> {
    featured::remove(&app, &ctx, &input.body.0.packages).await?;
    Ok(Created(Empty {}))
}
