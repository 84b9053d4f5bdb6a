//! Snaps as the publisher gateway shows them: `/v1/snap` (publisher-api.md 6.4-6.11, admin-api.md 2.6).

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use warp::reply::Response;

use super::push::{channels, errors, upload_id};
use super::releases::{ProgressiveBody, channels_of, events_of, facts_with, map_of, mapped, status};
use super::{Created, Input, Json, List, Outcome, Publisher};
use crate::app::catalog::names::{self, NameTrouble, Wanted};
use crate::app::catalog::overview;
use crate::app::catalog::push::{self, NewPush, Standing};
use crate::app::catalog::releases::{self, NewRelease, Step};
use crate::app::catalog::snaps::{self, Edit};
use crate::app::catalog::{register, tracks};
use crate::app::store::SnapEntry;
use crate::app::{App, OwnCtx, Refusal, SnapCtx, UnplacedCtx};
use crate::domain::access::Permission;
use crate::domain::catalog::{Channel, Track};
use crate::domain::ident::SnapName;
use crate::domain::snap::SnapType;
use crate::http::endpoint::Endpoint;
use crate::http::reply;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.get(
            "/v1/snap{?include-collaborations}",
            P::OwnRead,
            "List one's snaps",
            list,
        ),
        publisher.post(
            "/v1/snap",
            P::SnapRegister,
            "Register the name of a snap",
            register,
        ),
        publisher.get(
            "/v1/snap/{snap}",
            P::SnapRead,
            "Show what people read about a snap",
            show,
        ),
        publisher.patch(
            "/v1/snap/{snap}",
            P::SnapEdit,
            "Edit what people read about a snap",
            edit,
        ),
        publisher.delete(
            "/v1/snap/{snap}",
            P::SnapRegister,
            "Give back the name of a snap that has no revision",
            unregister,
        ),
        publisher.post(
            "/v1/snap/{snap}/revisions",
            P::SnapPublish,
            "Make a revision of an uploaded file",
            upload,
        ),
        publisher.get(
            "/v1/snap/{snap}/revisions{?revision}",
            P::SnapRead,
            "List the revisions of a snap",
            revisions,
        ),
        publisher.get(
            "/v1/snap/{snap}/revisions/review{?upload-id}",
            P::SnapRead,
            "Tell what became of an upload",
            review,
        ),
        publisher.get(
            "/v1/snap/{snap}/releases",
            P::SnapRead,
            "Show what is released where",
            released,
        ),
        publisher.post(
            "/v1/snap/{snap}/releases",
            P::SnapRelease,
            "Release revisions and close channels, all or none",
            release,
        ),
        publisher.post("/v1/snap/{snap}/tracks", P::SnapEdit, "Make tracks", make_tracks),
    ]
}

/// A name as the gateway lists it.
fn listed(entry: &SnapEntry) -> Value {
    let (snap, publisher) = (&entry.record, &entry.publisher);
    let listing = &snap.listing;
    let mut links: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (kind, targets) in &listing.links {
        links.insert(kind, targets.iter().map(String::as_str).collect());
    }
    let latest = Track::default();
    let tracks = std::iter::once(&latest).chain(&snap.tracks).map(|track| {
        json!({
            "name": track.as_str(), "created-at": snap.created, "version-pattern": null,
            "automatic-phasing-percentage": null,
        })
    });
    let guardrails = snap.guardrails.iter();
    let guardrails = guardrails.map(|pattern| json!({"pattern": pattern, "created-at": snap.created}));
    let empty = entry.revisions.is_empty();
    json!({
        "id": snap.id,
        "name": snap.name,
        "private": snap.private,
        "publisher": {
            "id": publisher.id, "username": publisher.username, "display-name": publisher.display_name,
            "validation": publisher.validation,
        },
        "status": if empty { "registered" } else { "published" },
        "store": snap.store_id,
        "type": "snap",
        "authority": null,
        "contact": listing.contact,
        "default-track": snap.default_track.as_ref().map(Track::as_str),
        "description": listing.description,
        "links": links,
        "media": [],
        "summary": listing.summary,
        "title": listing.title.as_deref().unwrap_or(snap.name.as_str()),
        "website": listing.website,
        "track-guardrails": guardrails.collect::<Vec<_>>(),
        "tracks": tracks.collect::<Vec<_>>(),
    })
}

async fn list(app: App, ctx: OwnCtx, input: Input) -> Outcome<Json<Value>> {
    let all = matches!(
        input.query::<String>("include-collaborations")?.as_deref(),
        Some("true" | "True" | "1")
    );
    let mut snaps = overview::snaps(&app, &ctx).await?;
    snaps.retain(|entry| all || !entry.record.collaborators.contains(ctx.account()));
    snaps.sort_by(|one, other| one.record.name.cmp(&other.record.name));
    let results: Vec<Value> = snaps.iter().map(|entry| listed(entry)).collect();
    Ok(Json(json!({ "results": results })))
}

#[derive(Debug, Deserialize)]
struct NameBody {
    name: String,
    #[serde(default)]
    private: Option<bool>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// The base store, for who has a part in several brands.
    #[serde(default)]
    store: Option<String>,
}

async fn register(app: App, ctx: UnplacedCtx, input: Input<Json<NameBody>>) -> Outcome<Created<Value>> {
    let Json(body) = input.body;
    let brand = super::account::registering(&app, &ctx, body.store.as_deref()).await?;
    if body.kind.as_deref().is_some_and(|kind| kind != "snap") {
        return Err(
            Refusal::invalid("invalid", "cannot register the name: this store has snaps only").into(),
        );
    }
    let name: SnapName = body
        .name
        .parse()
        .map_err(|error| Refusal::invalid("invalid", format!("cannot register the name: {error}")))?;
    let wanted = Wanted {
        name,
        store: body.store.and_then(|store| store.parse().ok()),
        private: body.private.unwrap_or(false),
        dry_run: false,
    };
    let snap = names::claim(&app, &brand, &wanted).await;
    let snap = snap.map_err(|why: NameTrouble| super::account::trouble(&app, wanted.name.as_str(), why))?;
    Ok(Created(json!({"id": snap.map(|snap| snap.id)})))
}

async fn show(app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<Value>> {
    let entry = overview::entry(&app, &ctx).await?;
    Ok(Json(json!({"metadata": listed(&entry)})))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct EditBody {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    license: Option<String>,
    #[serde(default)]
    website: Option<String>,
    #[serde(default)]
    contact: Option<String>,
    #[serde(default)]
    private: Option<bool>,
    #[serde(default)]
    default_track: Option<Track>,
}

async fn edit(app: App, ctx: SnapCtx, input: Input<Json<EditBody>>) -> Outcome<Json<Value>> {
    let Json(body) = input.body;
    let edit = Edit {
        private: body.private,
        default_track: body.default_track.map(Some),
        title: body.title,
        summary: body.summary,
        description: body.description,
        license: body.license,
        website: body.website,
        contact: body.contact,
        ..Edit::default()
    };
    snaps::edit(&app, ctx.brand(), &ctx.snap().name, &edit).await?;
    let entry = overview::entry(&app, &ctx).await?;
    Ok(Json(json!({"metadata": listed(&entry)})))
}

async fn unregister(app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<Value>> {
    register::unregister(&app, &ctx).await?;
    Ok(Json(json!({"package-id": ctx.snap().id})))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UploadBody {
    upload_id: String,
    #[serde(default)]
    channels: Option<Vec<String>>,
}

/// The status is told as a path, which clients put behind the address they know.
async fn upload(app: App, ctx: SnapCtx, input: Input<Json<UploadBody>>) -> Outcome<Json<Value>> {
    let Json(body) = input.body;
    let new = NewPush {
        upload: upload_id(&body.upload_id)?,
        size: None,
        components: Vec::new(),
        channels: channels(&body.channels.unwrap_or_default())?,
        delta: None,
    };
    push::accept(&app, &ctx, &new).await?;
    let path = format!(
        "/v1/snap/{}/revisions/review?upload-id={}",
        ctx.snap().name,
        new.upload.reveal()
    );
    Ok(Json(json!({"status-url": path})))
}

async fn review(app: App, ctx: SnapCtx, input: Input) -> Outcome<Json<Value>> {
    let text: String = input.query("upload-id")?.unwrap_or_default();
    let absent =
        || Refusal::not_found("cannot find the upload: there is none of this id, or it is long over");
    let id = text.parse().map_err(|_| absent())?;
    let found = push::status(&app, &ctx.snap().id, &id).await?;
    let (_, standing) = found.ok_or_else(absent)?;
    Ok(Json(json!({"revisions": [reviewed(&text, standing)]})))
}

/// Clients wait for ever for anything but `approved` and `rejected`. So a revision that a reviewer looks at is told in the
/// errors; asked again later, it is approved, or rejected for good.
fn reviewed(upload: &str, standing: Standing) -> Value {
    let entry = |status: &str, revision: Option<u64>, errors: Value| json!({"upload-id": upload, "status": status, "revision": revision, "errors": errors});
    match standing {
        Standing::Working => entry("new", None, Value::Null),
        Standing::Ready { revision } => entry("approved", Some(revision), Value::Null),
        Standing::Held { revision, waits_for } => {
            let errors = errors(vec![("need-manual-review".to_owned(), waits_for)]);
            entry("rejected", Some(revision), errors.into())
        }
        Standing::Refused {
            revision, reasons, ..
        } => entry("rejected", revision, errors(reasons).into()),
    }
}

async fn revisions(app: App, ctx: SnapCtx, input: Input) -> Outcome<Json<Value>> {
    let only: Option<u64> = input.query("revision")?;
    let (shown, now) = (snaps::show(&app, &ctx).await?, app.clock.now());
    let snap = &shown.snap;
    let wanted = shown.revisions.iter();
    let wanted = wanted.filter(|found| only.is_none_or(|only| only == found.revision));
    let revisions: Vec<Value> = wanted
        .map(|found| {
            let status = status(snap, found, now);
            facts_with(
                found,
                json!({"build-url": null, "created-at": found.created, "status": status}),
            )
        })
        .collect();
    Ok(Json(
        json!({"revisions": revisions, "releases": events_of(snap, now)}),
    ))
}

/// Clients do not know the older word for the operating system's snap.
fn kind(kind: SnapType) -> String {
    match kind {
        SnapType::Os => "base".to_owned(),
        kind => kind.to_string(),
    }
}

async fn released(app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<Value>> {
    let (entry, now) = (overview::entry(&app, &ctx).await?, app.clock.now());
    let snap = &entry.record;
    let map = map_of(snap, now);
    let revisions: Vec<Value> = mapped(&entry, &map)
        .into_iter()
        .map(|found| {
            facts_with(
                found,
                json!({
                    "build-url": null, "created-at": found.created, "created-by": found.developer_id,
                    "status": status(snap, found, now), "type": kind(found.kind), "apps": found.apps,
                }),
            )
        })
        .collect();
    // Channels of snaps have no base; one client wants to hear it.
    let map: Vec<Value> = map
        .iter()
        .map(|view| {
            let mut view = json!(view);
            if let Some(view) = view.as_object_mut() {
                view.insert("base".to_owned(), Value::Null);
            }
            view
        })
        .collect();
    Ok(Json(json!({
        "channel-map": map,
        "package": {"channels": channels_of(snap, now)},
        "revisions": revisions,
    })))
}

#[derive(Debug, Deserialize)]
struct ReleaseBody {
    channel: String,
    /// None closes the channel.
    revision: Option<u64>,
    #[serde(default)]
    progressive: Option<ProgressiveBody>,
}

async fn release(app: App, ctx: SnapCtx, input: Input<List<ReleaseBody>>) -> Outcome<Json<Value>> {
    let List(wanted) = input.body;
    if wanted.is_empty() {
        return Err(Refusal::invalid("channel-required", "cannot release nothing: name a channel").into());
    }
    let mut steps = Vec::new();
    let mut told = Vec::new();
    for one in wanted {
        let channel: Channel = one.channel.parse().map_err(Refusal::from)?;
        told.push(json!({"channel": channel.to_string(), "revision": one.revision}));
        let (percentage, pause) = one.progressive.map(ProgressiveBody::read).unwrap_or_default();
        steps.push(match one.revision {
            Some(revision) => Step::Release(NewRelease {
                revision,
                channels: vec![channel],
                percentage,
                pause,
            }),
            None => Step::Close(channel, Vec::new()),
        });
    }
    releases::change(&app, ctx.brand(), &ctx.snap().name, &steps).await?;
    Ok(Json(json!({ "released": told })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TrackBody {
    name: Track,
    #[serde(default)]
    version_pattern: Option<String>,
    #[serde(default)]
    automatic_phasing_percentage: Option<f64>,
}

async fn make_tracks(app: App, ctx: SnapCtx, input: Input<List<TrackBody>>) -> Outcome<Response> {
    let List(wanted) = input.body;
    if wanted
        .iter()
        .any(|track| track.version_pattern.is_some() || track.automatic_phasing_percentage.is_some())
    {
        return Err(Refusal::invalid(
            "not-supported",
            "cannot make the tracks: version patterns and automatic phasing are not known here; leave them out",
        )
        .into());
    }
    let wanted: Vec<Track> = wanted.into_iter().map(|track| track.name).collect();
    let made = tracks::add_all(&app, ctx.brand(), &ctx.snap().name, &wanted).await?;
    let answer = json!({"num-tracks-created": made});
    Ok(reply::json_with(StatusCode::CREATED, &answer))
}
