//! The search of older clients and of web pages (admin-api.md 2.6): everything at once, and no link to a next page, since
//! some repeat the same question as long as there is one.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use warp::reply::Response;
use warp::{Filter, Reply as _};

use super::asking::{Asking, asking};
use super::catalogue::FEATURED;
use super::snap::icon_url;
use crate::app::App;
use crate::app::store::{self, Hit, Search};
use crate::domain::ident::{Architecture, SnapId};
use crate::http::endpoint::{Access, Endpoint, with};
use crate::http::fault::{DeviceDialect, Fault};
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
    vec![
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
    let fields: BTreeSet<&str> = query
        .one("fields")?
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    let packages: Vec<Value> = hits
        .iter()
        .map(|hit| {
            let mut all = package(app, hit);
            if !fields.is_empty() {
                // What it is is said always.
                all.retain(|name, _| name == "snap_id" || fields.contains(name.as_str()));
            }
            Value::Object(all)
        })
        .collect();
    let address = format!("{}/api/v1/snaps/search", app.settings.public_url);
    Ok(reply::json(&json!({
        "_embedded": {"clickindex:package": packages},
        "_links": {"self": {"href": address}},
    })))
}

/// Everything older clients can ask for of a snap.
fn package(app: &App, hit: &Hit) -> Map<String, Value> {
    let record = &hit.entry.record;
    let listing = &record.listing;
    let publisher = &hit.entry.publisher;
    let revision = hit.entry.revisions.get(&hit.revision);
    let icon = listing.icon.as_ref().map(|icon| icon_url(app, &record.id, icon));
    let media: Vec<Value> = icon
        .iter()
        .map(|url| json!({"type": "icon", "url": url, "width": null, "height": null}))
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
