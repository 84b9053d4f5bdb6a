//! What older clients and web pages ask (admin-api.md 2.6): a search, which answers with everything at once and has no link
//! to a next page, since some repeat the same question as long as there is one; one snap; numbers of installations.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use warp::reply::Response;
use warp::{Filter, Reply as _};

use super::asking::{Asking, asking, not_found};
use super::catalogue::FEATURED;
use super::snap::{picture_url, screenshots};
use crate::app::store::{self, Hit, Search};
use crate::app::{App, Refusal};
use crate::domain::catalog::Channel;
use crate::domain::ident::{Architecture, SnapId, SnapName};
use crate::http::body;
use crate::http::endpoint::{Access, Endpoint, with};
use crate::http::fault::{DeviceDialect, Fault};
use crate::http::path;
use crate::http::query::{Query, query};
use crate::http::reply;

/// What `arch=wide` looks through.
const ARCHITECTURES: [&str; 7] = ["amd64", "arm64", "armhf", "i386", "ppc64el", "riscv64", "s390x"];

pub(super) fn endpoints(app: &App) -> Vec<Endpoint> {
    let search = warp::path!("api" / "v1" / "snaps" / "search")
        .and(query())
        .and(asking())
        .and(with(app.clone()))
        .then(|query: Query, asking: Asking, app: App| async move {
            search(&app, &asking, &query)
                .await
                .unwrap_or_else(Fault::into_response)
        })
        .boxed();
    let details = warp::path!("api" / "v1" / "snaps" / "details" / ..)
        .and(path::segment::<String>())
        .and(warp::path::end())
        .and(query())
        .and(asking())
        .and(with(app.clone()))
        .then(
            |name: String, query: Query, asking: Asking, app: App| async move {
                details(&app, &asking, &name, &query)
                    .await
                    .unwrap_or_else(Fault::into_response)
            },
        )
        .boxed();
    let metrics = warp::path!("api" / "v1" / "snaps" / "metrics")
        .and(body::up_to(app.settings.limits.json))
        .then(|body: Bytes| std::future::ready(metrics(&body).unwrap_or_else(Fault::into_response)))
        .boxed();
    vec![
        Endpoint::get(
            "/api/v1/snaps/details/{name}",
            Access::Open,
            "Show a snap in one channel, as older clients and web pages ask",
            details,
        )
        .with_query(vec!["channel", "fields"]),
        Endpoint::post(
            "/api/v1/snaps/metrics",
            Access::Open,
            "Ask how often snaps are installed, which is told to their publishers only",
            metrics,
        ),
        Endpoint::get(
            "/api/v1/snaps/search",
            Access::Open,
            "Search the store, as older clients and web pages do",
            search,
        )
        .with_query(vec![
            "q",
            "section",
            "arch",
            "confinement",
            "fields",
            "scope",
            "size",
            "page",
            "promoted",
            "exclude_non_free",
        ]),
    ]
}

async fn search(app: &App, asking: &Asking, query: &Query) -> Result<Response, Fault<DeviceDialect>> {
    let (catalog, mut asker) = asking.enter(app).await?;
    let text = |name| {
        let text = query.one(name)?.filter(|text| !text.is_empty());
        Ok::<_, Fault<DeviceDialect>>(text.map(str::to_owned))
    };
    let wanted = Search {
        words: text("q")?,
        category: text("section")?,
        confinement: super::catalogue::confinements(query)?,
        ..Search::default()
    };
    let architectures: Vec<Architecture> = match query.one("arch")?.filter(|name| !name.is_empty()) {
        Some("wide") => ARCHITECTURES
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect(),
        Some(name) => name.parse().into_iter().collect(),
        None => vec![asker.architecture.clone()],
    };
    let mut seen: BTreeSet<SnapId> = BTreeSet::new();
    let mut hits: Vec<Hit> = Vec::new();
    for architecture in architectures {
        asker.architecture = architecture;
        for hit in store::find(&catalog, &asker, &wanted, app.clock.now()) {
            if seen.insert(hit.entry.record.id.clone()) {
                hits.push(hit);
            }
        }
    }
    if wanted.category.as_deref() == Some(FEATURED) {
        // Who administers the shop window wants to know what is in it, and nothing else.
        hits.retain(|hit| hit.entry.record.featured.is_some());
        hits.sort_by_key(|hit| hit.entry.record.featured);
    }
    let fields = fields(query)?;
    let packages: Vec<Value> = hits.iter().map(|hit| part(app, hit, &fields)).collect();
    let address = format!("{}/api/v1/snaps/search", app.settings.public_url);
    Ok(reply::json(&json!({
        "_embedded": {"clickindex:package": packages},
        "_links": {"self": {"href": address}},
    })))
}

async fn details(
    app: &App,
    asking: &Asking,
    name: &str,
    query: &Query,
) -> Result<Response, Fault<DeviceDialect>> {
    let (catalog, mut asker) = asking.enter(app).await?;
    let shown: String = name.chars().take(64).collect();
    let absent = || not_found(format!("cannot find snap {shown:?}"));
    let name: SnapName = name.parse().map_err(|_| absent())?;
    let channel: Option<Channel> = match query.one("channel")?.filter(|text| !text.is_empty()) {
        Some(text) => Some(text.parse().map_err(Refusal::from)?),
        None => None,
    };
    let now = app.clock.now();
    let found = if asking.names_architecture() {
        store::details(&catalog, &asker, &name, channel.as_ref(), now)
    } else {
        // Web pages are no machine: any will do.
        ARCHITECTURES.iter().find_map(|known| {
            asker.architecture = known.parse().ok()?;
            store::details(&catalog, &asker, &name, channel.as_ref(), now)
        })
    };
    let hit = found.ok_or_else(absent)?;
    Ok(reply::json(&part(app, &hit, &fields(query)?)))
}

/// The fields that are asked for; none = all.
fn fields(query: &Query) -> Result<BTreeSet<&str>, Fault<DeviceDialect>> {
    let names = query.one("fields")?.unwrap_or_default().split(',');
    Ok(names.map(str::trim).filter(|name| !name.is_empty()).collect())
}

/// These fields of a snap. What it is is said always.
fn part(app: &App, hit: &Hit, fields: &BTreeSet<&str>) -> Value {
    let mut all = package(app, hit);
    if !fields.is_empty() {
        all.retain(|name, _| name == "snap_id" || fields.contains(name.as_str()));
    }
    Value::Object(all)
}

/// Questions about numbers that are answered at a time.
const MAX_QUESTIONS: usize = 100;

#[derive(Debug, Deserialize)]
struct Question {
    snap_id: SnapId,
    metric_name: String,
}

/// Where a brand's devices are and how many there are is nobody else's business, so there are no data for everybody;
/// publishers ask `/dev/api/snaps/metrics`.
fn metrics(body: &[u8]) -> Result<Response, Fault<DeviceDialect>> {
    let asked: Vec<Question> = serde_json::from_slice(body).map_err(|error| {
        Fault::invalid(
            "invalid-request",
            format!("cannot read the request body as a JSON list: {error}"),
        )
    })?;
    if asked.len() > MAX_QUESTIONS {
        return Err(Fault::from(Refusal::invalid(
            "too-many-questions",
            format!("cannot answer more than {MAX_QUESTIONS} questions at once: ask in parts"),
        )));
    }
    let answers: Vec<Value> = asked
        .into_iter()
        .map(|Question { snap_id, metric_name }| {
            json!({
                "snap_id": snap_id, "metric_name": metric_name,
                "status": "NO DATA", "buckets": [], "series": [],
            })
        })
        .collect();
    Ok(reply::json(&answers))
}

/// Everything older clients can ask for of a snap.
fn package(app: &App, hit: &Hit) -> Map<String, Value> {
    let record = &hit.entry.record;
    let listing = &record.listing;
    let publisher = &hit.entry.publisher;
    let revision = hit.entry.revisions.get(&hit.revision);
    let icon = listing
        .icon
        .as_ref()
        .map(|icon| picture_url(app, &record.id, icon.blob));
    let media: Vec<Value> = icon
        .iter()
        .map(|url| json!({"type": "icon", "url": url, "width": null, "height": null}))
        .chain(screenshots(app, record).map(|shot| json!(shot)))
        .collect();
    let sections: Vec<Value> = listing
        .categories
        .iter()
        .map(|name| json!({"name": name, "featured": false}))
        .chain(
            record
                .featured
                .map(|_| json!({"name": FEATURED, "featured": true})),
        )
        .collect();
    let all = json!({
        "snap_id": record.id,
        "package_name": record.name,
        "name": record.name,
        "title": listing.title.as_deref().unwrap_or(record.name.as_str()),
        "summary": listing.summary,
        "description": listing.description,
        "license": listing.license,
        "website": listing.website,
        "contact": listing.contact,
        "architecture": revision.map(|revision| &revision.architectures),
        "version": revision.map(|revision| &revision.version),
        "revision": hit.revision,
        "confinement": revision.map(|revision| revision.confinement),
        "base": revision.and_then(|revision| revision.base.as_deref()),
        "content": revision.map(|revision| revision.kind),
        "channel": hit.channel.short(),
        "apps": revision.map(|revision| &revision.apps),
        "common_ids": revision.map(|revision| &revision.common_ids),
        "binary_filesize": revision.map(|revision| revision.size),
        "private": record.private,
        "origin": publisher.username,
        "publisher": publisher.display_name,
        "developer_id": publisher.id,
        "developer_name": publisher.display_name,
        "developer_username": publisher.username,
        "developer_validation": publisher.validation,
        "icon_url": icon,
        "media": media,
        "sections": sections,
    });
    match all {
        Value::Object(all) => all,
        _ => Map::new(),
    }
}
