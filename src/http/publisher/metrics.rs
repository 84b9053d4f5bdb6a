//! Numbers about snaps (publisher-api.md 6.17). What devices report is kept as their last word only, so there is no past
//! that could be told: the answer is `NO DATA`, which clients show as nothing.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Input, Json, Outcome, Publisher};
use crate::app::{App, Refusal, UnplacedCtx};
use crate::domain::access::Permission;
use crate::domain::ident::SnapId;
use crate::http::endpoint::Endpoint;

/// Most questions at once.
const MAX_FILTERS: usize = 50;
/// Longest name of a metric.
const MAX_NAME: usize = 64;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    vec![publisher.post(
        "/dev/api/snaps/metrics",
        Permission::SnapRead,
        "Tell numbers about snaps, as far as there are any",
        metrics,
    )]
}

#[derive(Debug, Deserialize)]
struct MetricsBody {
    filters: Vec<FilterBody>,
}

#[derive(Debug, Deserialize)]
struct FilterBody {
    snap_id: String,
    metric_name: String,
}

async fn metrics(app: App, ctx: UnplacedCtx, input: Input<Json<MetricsBody>>) -> Outcome<Json<Value>> {
    let filters = input.body.0.filters;
    if filters.is_empty() || filters.len() > MAX_FILTERS {
        return Err(Refusal::invalid(
            "invalid-request",
            format!("cannot tell numbers: ask for 1 to {MAX_FILTERS} at once"),
        )
        .into());
    }
    let mut told = Vec::new();
    for filter in filters {
        let id: SnapId = filter
            .snap_id
            .parse()
            .map_err(|_| Refusal::not_found("cannot find the snap: this is no id of a snap"))?;
        ctx.snap_of_id(&app, &id).await?;
        let known = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        if filter.metric_name.len() > MAX_NAME || !filter.metric_name.bytes().all(known) {
            return Err(
                Refusal::invalid("invalid-request", "cannot tell numbers: there is no such metric").into(),
            );
        }
        told.push(json!({
            "status": "NO DATA", "snap_id": id, "metric_name": filter.metric_name, "buckets": [], "series": [],
        }));
    }
    Ok(Json(json!({ "metrics": told })))
}
