//! Overrides as clients of on-premises stores read and make them (admin-api.md 4.1): answers have exactly the members that
//! those expect. The header `Snap-Device-Store` says which store is meant; without it, the only one the caller
//! administers.

use serde::{Deserialize, Serialize};

use super::schema::SchemaList;
use super::{Input, Json, Outcome, Publisher};
use crate::app::catalog::overrides::{self, Row, Wanted};
use crate::app::{App, Reason, Refusal, StoreCtx, UnplacedCtx};
use crate::domain::access::Permission;
use crate::domain::catalog::Channel;
use crate::domain::ident::{Architecture, SnapId, SnapName};
use crate::http::endpoint::Endpoint;

/// The one series there is.
const SERIES: &str = "16";

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.get(
            "/v2/metadata/overrides/{snap}",
            P::OverrideManage,
            "List the revisions of a snap that a store pins on channels",
            list,
        ),
        publisher.post(
            "/v2/metadata/overrides",
            P::OverrideManage,
            "Pin revisions on channels for a store, or no longer",
            set,
        ),
    ]
}

#[derive(Debug, Serialize)]
struct Listed {
    overrides: Vec<RowView>,
}

#[derive(Debug, Serialize)]
struct RowView {
    snap_id: SnapId,
    snap_name: SnapName,
    revision: Option<u64>,
    upstream_revision: Option<u64>,
    channel: String,
    architecture: Architecture,
    series: &'static str,
}

impl From<Vec<Row>> for Listed {
    fn from(rows: Vec<Row>) -> Self {
        let rows = rows.into_iter().map(|row| RowView {
            snap_id: row.snap_id,
            snap_name: row.snap_name,
            revision: row.revision,
            upstream_revision: row.upstream,
            channel: row.channel.short(),
            architecture: row.architecture,
            series: SERIES,
        });
        Self {
            overrides: rows.collect(),
        }
    }
}

async fn list(app: App, ctx: UnplacedCtx, input: Input) -> Outcome<Json<Listed>> {
    let name: SnapName = input.variable("snap")?;
    let store = store(&app, &ctx, input.store.as_deref(), &name).await?;
    Ok(Json(overrides::list(&app, &store, &name).await?.into()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedBody {
    snap_name: SnapName,
    // Named even where there is none: what is left out by mistake must not delete.
    #[serde(deserialize_with = "Option::deserialize")]
    revision: Option<u64>,
    channel: Channel,
    series: String,
}

async fn set(app: App, ctx: UnplacedCtx, input: Input<SchemaList<WantedBody>>) -> Outcome<Json<Listed>> {
    let wrong = |why: &str| Refusal::invalid("api-error", format!("cannot read the request body: {why}"));
    let SchemaList(body) = input.body;
    let first = body.first().ok_or_else(|| wrong("the list is empty"))?;
    let store = store(&app, &ctx, input.store.as_deref(), &first.snap_name).await?;
    let mut wanted = Vec::new();
    for one in body {
        if one.series != SERIES {
            return Err(wrong("series is \"16\"").into());
        }
        if one.revision == Some(0) {
            return Err(wrong("revision is a number from 1 on, or null").into());
        }
        wanted.push(Wanted {
            snap: one.snap_name,
            channel: one.channel,
            revision: one.revision,
        });
    }
    Ok(Json(overrides::set(&app, &store, &wanted).await?.into()))
}

/// The store that is meant. One that is not the caller's answers like a snap that is not there.
async fn store(
    app: &App,
    ctx: &UnplacedCtx,
    named: Option<&str>,
    snap: &SnapName,
) -> Result<StoreCtx, Refusal> {
    let absent = || overrides::absent(snap);
    let Some(named) = named else {
        return ctx.only_store(app).await?.ok_or_else(absent);
    };
    let id = named.parse().map_err(|_| absent())?;
    let found = ctx.store(app, &id).await;
    found.map_err(|refusal| match (refusal.reason, refusal.limit.is_some()) {
        (Reason::NotFound, false) => absent(),
        _ => refusal,
    })
}
