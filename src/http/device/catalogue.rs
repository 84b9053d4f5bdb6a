//! Looking around: info, find, categories, sections, names, cohorts (device-api.md 7).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use warp::reply::Response;
use warp::{Filter, Reply as _};

use super::asking::{Asking, asking, not_found};
use super::snap::{self, Publisher};
use crate::app::App;
use crate::app::store::{self, Asker, Search, SnapEntry, Snapshot};
use crate::domain::catalog::Pins;
use crate::domain::ident::{Architecture, SnapId, SnapName};
use crate::domain::snap::Confinement;
use crate::http::body;
use crate::http::endpoint::{Access, BodyShape, Endpoint, with};
use crate::http::fault::{DeviceDialect, Fault};
use crate::http::fields;
use crate::http::path;
use crate::http::query::{Query, query};
use crate::http::reply;

pub(super) use store::FEATURED;

/// Clients compare it whole.
const HAL: &str = "application/hal+json";

type Outcome = Result<Response, Fault<DeviceDialect>>;

pub(super) fn endpoints(app: &App) -> Vec<Endpoint> {
    let info = warp::path!("v2" / "snaps" / "info" / ..)
        .and(path::segment::<String>())
        .and(warp::path::end())
        .and(query())
        .and(asking())
        .and(with(app.clone()))
        .then(
            |name: String, query: Query, asking: Asking, app: App| async move {
                answered(info(&app, &asking, &name, &query).await)
            },
        )
        .boxed();
    let find =
        warp::path!("v2" / "snaps" / "find")
            .and(query())
            .and(asking())
            .and(with(app.clone()))
            .then(|query: Query, asking: Asking, app: App| async move {
                answered(find(&app, &asking, &query).await)
            })
            .boxed();
    let categories = warp::path!("v2" / "snaps" / "categories")
        .and(asking())
        .and(with(app.clone()))
        .then(|asking: Asking, app: App| async move { answered(categories(&app, &asking).await) })
        .boxed();
    let sections = warp::path!("api" / "v1" / "snaps" / "sections")
        .and(asking())
        .and(with(app.clone()))
        .then(|asking: Asking, app: App| async move { answered(sections(&app, &asking).await) })
        .boxed();
    let names =
        warp::path!("api" / "v1" / "snaps" / "names")
            .and(query())
            .and(asking())
            .and(with(app.clone()))
            .then(|query: Query, asking: Asking, app: App| async move {
                answered(names(&app, &asking, &query).await)
            })
            .boxed();
    let cohorts =
        warp::path!("v2" / "cohorts")
            .and(body::up_to(app.settings.limits.json))
            .and(asking())
            .and(with(app.clone()))
            .then(|body: Bytes, asking: Asking, app: App| async move {
                answered(cohorts(&app, &asking, &body).await)
            })
            .boxed();
    let open = Access::Open;
    vec![
        Endpoint::get(
            "/v2/snaps/info/{name}",
            open,
            "Show a snap and its channels",
            info,
        )
        .with_query(vec!["architecture", "fields"]),
        Endpoint::get("/v2/snaps/find", open, "Search the store", find).with_query(vec![
            "q",
            "name",
            "common-id",
            "category",
            "private",
            "channel",
            "confinement",
            "architecture",
            "fields",
        ]),
        Endpoint::get(
            "/v2/snaps/categories",
            open,
            "List the categories of snaps",
            categories,
        ),
        Endpoint::get(
            "/api/v1/snaps/sections",
            open,
            "List the categories of snaps, as older clients ask",
            sections,
        ),
        Endpoint::get(
            "/api/v1/snaps/names",
            open,
            "List all snaps that can be installed, with their applications",
            names,
        )
        .with_query(vec!["confinement"]),
        Endpoint::post(
            "/v2/cohorts",
            open,
            "Make keys that hold their users at the revisions of now",
            cohorts,
        )
        .with_body(Some(BodyShape {
            media: "application/json",
            fields: fields::of::<Cohorts>(),
        })),
    ]
}

fn answered(outcome: Outcome) -> Response {
    outcome.unwrap_or_else(Fault::into_response)
}

/// What an answer says besides the revisions.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Info<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    default_track: Option<String>,
    snap: InfoSnap<'a>,
    name: &'a str,
    snap_id: &'a SnapId,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct InfoSnap<'a> {
    name: &'a str,
    publisher: Publisher<'a>,
    snap_id: &'a SnapId,
    title: &'a str,
    summary: &'a str,
}

impl<'a> InfoSnap<'a> {
    fn new(entry: &'a SnapEntry) -> Self {
        let record = &entry.record;
        Self {
            name: record.name.as_str(),
            publisher: Publisher::from(&entry.publisher),
            snap_id: &record.id,
            title: record.listing.title.as_deref().unwrap_or(record.name.as_str()),
            summary: &record.listing.summary,
        }
    }
}

async fn info(app: &App, asking: &Asking, name: &str, query: &Query) -> Outcome {
    let (catalog, asker) = asking.enter(app).await?;
    let asked = query.parse::<Architecture, _>("architecture")?;
    let absent = || {
        not_found(format!(
            "cannot find snap {:?}",
            name.chars().take(64).collect::<String>()
        ))
    };
    let name: SnapName = name.parse().map_err(|_| absent())?;
    let entry = catalog.by_name(&name, asker.viewer()).ok_or_else(absent)?;
    let architectures = match asked {
        Some(one) => vec![one],
        None if asking.names_architecture() => vec![asker.architecture.clone()],
        None => all_architectures(entry, &asker),
    };
    let now = app.clock.now();
    let mut answer = Written::new("channel-map");
    for architecture in &architectures {
        for shown in store::channel_map(entry, &asker, architecture, now) {
            let channel = shown.channel;
            answer.entry();
            answer.revision(app, entry, shown.revision.revision)?;
            answer.member(
                "channel",
                &json!({
                    "architecture": architecture,
                    "name": channel.short(),
                    "released-at": shown.since,
                    "risk": channel.risk,
                    "track": channel.track,
                }),
            )?;
            answer.out.push(b'}');
        }
    }
    let record = &entry.record;
    answer.end(&Info {
        default_track: record.default_track.as_ref().map(ToString::to_string),
        snap: InfoSnap::new(entry),
        name: record.name.as_str(),
        snap_id: &record.id,
    })
}

/// An answer with a list of revisions, written as it grows: the text of a revision is there already, and need not be
/// taken apart and put together again.
struct Written {
    out: Vec<u8>,
}

impl Written {
    /// The beginning, up to the list.
    fn new(list: &str) -> Self {
        Self {
            out: format!("{{\"{list}\":[").into_bytes(),
        }
    }

    /// Before an entry of the list.
    fn entry(&mut self) {
        if self.out.last() != Some(&b'[') {
            self.out.push(b',');
        }
    }

    /// A revision, still without its closing brace.
    fn revision(&mut self, app: &App, entry: &SnapEntry, revision: u64) -> Result<(), Fault<DeviceDialect>> {
        let text = snap::text(app, entry, revision).map_err(|error| Fault::internal(&error))?;
        let text = text.ok_or_else(|| Fault::internal(&"a channel holds a revision that is not there"))?;
        self.out.extend_from_slice(text.bare().as_bytes());
        Ok(())
    }

    /// One more member of an object.
    fn member(&mut self, name: &str, value: &impl Serialize) -> Result<(), Fault<DeviceDialect>> {
        self.out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        serde_json::to_writer(&mut self.out, value).map_err(|error| Fault::internal(&error))
    }

    /// The end: what comes after the list.
    fn end(mut self, rest: &impl Serialize) -> Outcome {
        let rest = serde_json::to_vec(rest).map_err(|error| Fault::internal(&error))?;
        self.out.extend_from_slice(b"],");
        self.out.extend_from_slice(rest.get(1..).unwrap_or_default());
        Ok(reply::bytes(StatusCode::OK, "application/json", self.out))
    }
}

/// The architectures something was released for, or that the asker's store pins something for.
fn all_architectures(entry: &SnapEntry, asker: &Asker) -> Vec<Architecture> {
    let open = entry.record.releases.open.iter();
    let pins = asker.pins(&entry.record.id).into_iter().flat_map(Pins::iter);
    let mut names: Vec<Architecture> = open
        .map(|open| open.architecture.clone())
        .chain(pins.map(|pin| pin.architecture.clone()))
        .collect();
    names.sort();
    names.dedup();
    names
}

async fn find(app: &App, asking: &Asking, query: &Query) -> Outcome {
    let (catalog, mut asker) = asking.enter(app).await?;
    if let Some(architecture) = query.parse::<Architecture, _>("architecture")? {
        asker.architecture = architecture;
    }
    let text = |name| {
        Ok::<_, Fault<DeviceDialect>>(
            query
                .one(name)?
                .filter(|text| !text.is_empty())
                .map(str::to_owned),
        )
    };
    let search = Search {
        words: text("q")?,
        name: text("name")?,
        common_id: text("common-id")?,
        category: text("category")?.or(text("section")?),
        private: query.one("private")? == Some("true"),
        risk: query.parse("channel")?,
        confinement: confinements(query)?,
    };
    let hits = store::find(&catalog, &asker, &search, app.clock.now());
    let mut answer = Written::new("results");
    for hit in &hits {
        let entry = &*hit.entry;
        answer.entry();
        answer.out.extend_from_slice(b"{\"revision\":");
        answer.revision(app, entry, hit.revision)?;
        answer.member("channel", &hit.channel.short())?;
        answer.out.push(b'}');
        answer.member("snap", &InfoSnap::new(entry))?;
        answer.member("name", &entry.record.name)?;
        answer.member("snap-id", &entry.record.id)?;
        answer.out.push(b'}');
    }
    answer.end(&json!({"error-list": []}))
}

/// Words of other clients are ignored: what is not one of ours excludes nothing.
pub(super) fn confinements(query: &Query) -> Result<Vec<Confinement>, Fault<DeviceDialect>> {
    let text = query.one("confinement")?.unwrap_or_default();
    Ok(text.split(',').filter_map(|word| word.parse().ok()).collect())
}

async fn category_names(app: &App, asking: &Asking) -> Result<Vec<Value>, Fault<DeviceDialect>> {
    let (catalog, asker) = asking.enter(app).await?;
    let names = store::categories(&catalog, &asker);
    Ok(names.into_iter().map(|name| json!({"name": name})).collect())
}

async fn categories(app: &App, asking: &Asking) -> Outcome {
    Ok(reply::json(
        &json!({"categories": category_names(app, asking).await?}),
    ))
}

async fn sections(app: &App, asking: &Asking) -> Outcome {
    let names = category_names(app, asking).await?;
    hal(&json!({"_embedded": {"clickindex:sections": names}}))
}

#[derive(Serialize)]
struct Package<'a> {
    package_name: &'a str,
    version: &'a str,
    summary: &'a str,
    aliases: Vec<Value>,
    apps: &'a [String],
}

async fn names(app: &App, asking: &Asking, query: &Query) -> Outcome {
    let (catalog, asker): (Arc<Snapshot>, Asker) = asking.enter(app).await?;
    let hits = store::names(&catalog, &asker, &confinements(query)?, app.clock.now());
    let packages: Vec<Package<'_>> = hits
        .iter()
        .filter_map(|hit| {
            let record = &hit.entry.record;
            let revision = hit.entry.revisions.get(&hit.revision)?;
            Some(Package {
                package_name: record.name.as_str(),
                version: &revision.version,
                summary: &record.listing.summary,
                aliases: record.aliases.iter().map(|name| json!({"name": name})).collect(),
                apps: &revision.apps,
            })
        })
        .collect();
    // snapd reads this as a stream that begins with exactly these members.
    let packages = HashMap::from([("clickindex:package", packages)]);
    hal(&HashMap::from([("_embedded", packages)]))
}

fn hal(value: &impl Serialize) -> Outcome {
    let body = serde_json::to_vec(value).map_err(|error| Fault::internal(&error))?;
    Ok(reply::bytes(StatusCode::OK, HAL, body))
}

#[derive(Debug, Deserialize)]
struct Cohorts {
    snaps: Vec<String>,
}

async fn cohorts(app: &App, asking: &Asking, body: &[u8]) -> Outcome {
    let request: Cohorts = body::json(body)?;
    let (catalog, asker) = asking.enter(app).await?;
    let keys = store::create_cohorts(app, &catalog, &asker, &request.snaps)?;
    Ok(reply::json(&json!({"cohort-keys": keys})))
}
