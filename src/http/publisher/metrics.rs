//! Numbers about snaps (publisher-api.md 6.17). What nobody knows is `NO DATA`, which clients show as nothing: countries,
//! which no device tells, days without reports.

use serde::{Deserialize, Serialize};

use super::{Input, Json, Outcome, Publisher};
use crate::app::numbers::{self, Answer, Question};
use crate::app::{App, Refusal, UnplacedCtx};
use crate::domain::access::Permission;
use crate::domain::ident::SnapId;
use crate::domain::time::Day;
use crate::http::endpoint::Endpoint;

/// Most questions at once.
const MAX_FILTERS: usize = 50;
/// Longest name of a metric.
const MAX_NAME: usize = 64;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    vec![publisher.post(
        "/dev/api/snaps/metrics",
        Permission::SnapRead,
        "Tell how many devices have snaps",
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
    /// Yesterday where it is left out, as with the clients.
    start: Option<String>,
    end: Option<String>,
}

#[derive(Debug, Serialize)]
struct MetricsAnswer {
    metrics: Vec<Metric>,
}

/// Clients refuse members they do not know, and null.
#[derive(Debug, Serialize)]
struct Metric {
    status: &'static str,
    snap_id: SnapId,
    metric_name: String,
    buckets: Vec<Day>,
    series: Vec<Series>,
}

#[derive(Debug, Serialize)]
struct Series {
    name: String,
    values: Vec<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currently_released: Option<bool>,
}

impl Metric {
    fn new(snap_id: SnapId, metric_name: String, answer: Option<Answer>) -> Self {
        let (status, buckets, series) = match answer {
            Some(answer) => ("OK", answer.days, answer.series),
            None => ("NO DATA", Vec::new(), Vec::new()),
        };
        let series = series.into_iter().map(|series| Series {
            name: series.name,
            values: series.values,
            currently_released: series.released,
        });
        Self {
            status,
            snap_id,
            metric_name,
            buckets,
            series: series.collect(),
        }
    }
}

async fn metrics(
    app: App,
    ctx: UnplacedCtx,
    input: Input<Json<MetricsBody>>,
) -> Outcome<Json<MetricsAnswer>> {
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
        let snap = ctx.snap_of_id(&app, &id).await?;
        let known = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        if filter.metric_name.len() > MAX_NAME || !filter.metric_name.bytes().all(known) {
            return Err(
                Refusal::invalid("invalid-request", "cannot tell numbers: there is no such metric").into(),
            );
        }
        let yesterday = Day::of(app.clock.now()).plus(-1);
        let day = |text: Option<String>| {
            text.map_or(Ok(yesterday), |text| text.parse())
                .map_err(|error| Refusal::invalid("invalid-request", format!("cannot tell numbers: {error}")))
        };
        let question = Question {
            metric: filter.metric_name,
            first: day(filter.start)?,
            last: day(filter.end)?,
        };
        let answer = numbers::tell(&app, &snap, &question).await?;
        told.push(Metric::new(id, question.metric, answer));
    }
    Ok(Json(MetricsAnswer { metrics: told }))
}
