//! Snaps: names, what people read about them, tracks, releases, declarations.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Created, Input, Json, Native, Nothing, Outcome};
use crate::app::catalog::declare::{self, Mode};
use crate::app::catalog::register::{self, NewSnap};
use crate::app::catalog::releases::{self, NewRelease};
use crate::app::catalog::snaps::{self, Detail, Edit};
use crate::app::catalog::tracks;
use crate::app::{App, BrandCtx, Refusal, SnapCtx};
use crate::domain::access::Permission;
use crate::domain::blob::BlobId;
use crate::domain::catalog::{Channel, Component, Release, RevisionRecord, Screenshot, SnapRecord, Track};
use crate::domain::ident::{AccountId, Architecture, BrandId, SnapId, SnapName, StoreId};
use crate::domain::review::ReviewState;
use crate::domain::snap::{ComponentType, Confinement, Epoch, SnapType};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/snaps",
            P::SnapRead,
            "List the snaps of a brand",
            list,
        ),
        native.post(
            "/hallmark/v1/snaps",
            P::SnapRegister,
            "Register the name of a snap",
            create,
        ),
        native.get(
            "/hallmark/v1/snaps/{snap}",
            P::SnapRead,
            "Show a snap with its revisions",
            show,
        ),
        native.put(
            "/hallmark/v1/snaps/{name}",
            P::SnapEdit,
            "Edit what people read about a snap",
            edit,
        ),
        native.post(
            "/hallmark/v1/snaps/{name}/releases",
            P::SnapRelease,
            "Release a revision to channels",
            release,
        ),
        native.post(
            "/hallmark/v1/snaps/{name}/close",
            P::SnapRelease,
            "Close a channel",
            close,
        ),
        native.put(
            "/hallmark/v1/snaps/{name}/declaration",
            P::SnapDeclare,
            "Declare what a snap may do",
            declare,
        ),
        native.put(
            "/hallmark/v1/snaps/{name}/tracks/{track}",
            P::SnapEdit,
            "Make a track of a snap",
            add_track,
        ),
        native.delete(
            "/hallmark/v1/snaps/{name}/tracks/{track}",
            P::SnapEdit,
            "Remove a track of a snap",
            remove_track,
        ),
        native.put(
            "/hallmark/v1/snaps/{name}/guardrails",
            P::TrackManage,
            "Say which tracks the publisher may make",
            guard,
        ),
    ]
}

/// One open channel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ChannelView {
    channel: Channel,
    architecture: Architecture,
    revision: u64,
    /// Of 100 devices this many get it; null = all.
    percentage: Option<f64>,
    /// What the others get.
    otherwise: Option<u64>,
    /// No further device gets it until it goes on.
    paused: bool,
    released_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl From<&Release> for ChannelView {
    fn from(release: &Release) -> Self {
        let part = release.progressive.as_ref();
        Self {
            channel: release.channel.clone(),
            architecture: release.architecture.clone(),
            revision: release.revision,
            percentage: part.map(|part| part.percentage),
            otherwise: part.and_then(|part| part.otherwise),
            paused: part.is_some_and(|part| part.paused),
            released_at: release.released,
            expires_at: release.expires,
        }
    }
}

/// A snap as the API shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SnapView {
    snap_id: SnapId,
    name: SnapName,
    brand_id: BrandId,
    store_id: StoreId,
    publisher_id: AccountId,
    collaborators: BTreeSet<AccountId>,
    #[serde(rename = "type")]
    kind: Option<SnapType>,
    private: bool,
    /// Its declaration takes it away from everybody.
    revoked: bool,
    title: Option<String>,
    summary: String,
    description: String,
    license: Option<String>,
    website: Option<String>,
    contact: Option<String>,
    links: BTreeMap<String, Vec<String>>,
    categories: BTreeSet<String>,
    /// Somebody edited title, summary...: revisions no longer change them.
    edited: bool,
    icon_sha3_384: Option<BlobId>,
    screenshots: Vec<ScreenshotView>,
    tracks: Vec<Track>,
    guardrails: Vec<String>,
    default_track: Option<Track>,
    newest_revision: u64,
    channels: Vec<ChannelView>,
    created_at: Timestamp,
}

impl SnapView {
    /// As it is at `now`: branches whose time is over are closed.
    pub(super) fn of(snap: SnapRecord, now: Timestamp) -> Self {
        let channels = snap
            .releases
            .listed(now)
            .into_iter()
            .map(ChannelView::from)
            .collect();
        let listing = snap.listing;
        Self {
            snap_id: snap.id,
            name: snap.name,
            brand_id: snap.brand_id,
            store_id: snap.store_id,
            publisher_id: snap.publisher_id,
            collaborators: snap.collaborators,
            kind: snap.kind,
            private: snap.private,
            revoked: snap.revoked,
            title: listing.title,
            summary: listing.summary,
            description: listing.description,
            license: listing.license,
            website: listing.website,
            contact: listing.contact,
            links: listing.links,
            categories: listing.categories,
            edited: listing.edited,
            icon_sha3_384: listing.icon.map(|icon| icon.blob),
            screenshots: listing
                .screenshots
                .into_iter()
                .map(ScreenshotView::from)
                .collect(),
            tracks: std::iter::once(Track::default()).chain(snap.tracks).collect(),
            guardrails: snap.guardrails,
            default_track: snap.default_track,
            newest_revision: snap.newest_revision,
            channels,
            created_at: snap.created,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ScreenshotView {
    sha3_384: BlobId,
    media_type: String,
    size: u64,
    width: u32,
    height: u32,
}

impl From<Screenshot> for ScreenshotView {
    fn from(shot: Screenshot) -> Self {
        Self {
            sha3_384: shot.blob,
            media_type: shot.media,
            size: shot.size,
            width: shot.width,
            height: shot.height,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ComponentView {
    name: String,
    #[serde(rename = "type")]
    kind: ComponentType,
    revision: u64,
    version: Option<String>,
    sha3_384: BlobId,
    size: u64,
}

impl From<Component> for ComponentView {
    fn from(component: Component) -> Self {
        Self {
            name: component.name,
            kind: component.kind,
            revision: component.revision,
            version: component.version,
            sha3_384: component.blob,
            size: component.size,
        }
    }
}

/// A revision as the API shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RevisionView {
    revision: u64,
    version: String,
    #[serde(rename = "type")]
    kind: SnapType,
    base: Option<String>,
    architectures: BTreeSet<Architecture>,
    confinement: Confinement,
    grade: Option<String>,
    epoch: Epoch,
    provenance: String,
    hooks: BTreeSet<String>,
    sha3_384: BlobId,
    size: u64,
    components: Vec<ComponentView>,
    developer_id: AccountId,
    /// Whether it may go to devices.
    review: ReviewState,
    created_at: Timestamp,
}

impl From<RevisionRecord> for RevisionView {
    fn from(revision: RevisionRecord) -> Self {
        Self {
            revision: revision.revision,
            version: revision.version,
            kind: revision.kind,
            base: revision.base,
            architectures: revision.architectures,
            confinement: revision.confinement,
            grade: revision.grade,
            epoch: revision.epoch,
            provenance: revision.provenance,
            hooks: revision.hooks,
            sha3_384: revision.blob,
            size: revision.size,
            components: revision.components.into_iter().map(ComponentView::from).collect(),
            developer_id: revision.developer_id,
            review: revision.review,
            created_at: revision.created,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DetailView {
    #[serde(flatten)]
    snap: SnapView,
    /// Public name of the publisher.
    publisher: Option<String>,
    revisions: Vec<RevisionView>,
}

async fn list(app: App, ctx: BrandCtx, _input: Input) -> Outcome<Json<Vec<SnapView>>> {
    let now = app.clock.now();
    let snaps = snaps::list(&app, &ctx).await?;
    Ok(Json(
        snaps.into_iter().map(|snap| SnapView::of(snap, now)).collect(),
    ))
}

async fn show(app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<DetailView>> {
    let Detail {
        snap,
        publisher,
        revisions,
    } = snaps::show(&app, &ctx).await?;
    Ok(Json(DetailView {
        snap: SnapView::of(snap, app.clock.now()),
        publisher,
        revisions: revisions.into_iter().map(RevisionView::from).collect(),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RegisterBody {
    name: SnapName,
    /// The base store; that of the brand when absent.
    #[serde(default)]
    store: Option<StoreId>,
    /// Username, e-mail address or id of an account, or the brand; the caller when absent.
    #[serde(default)]
    publisher: Option<String>,
    #[serde(default)]
    private: bool,
}

async fn create(app: App, ctx: BrandCtx, input: Input<Json<RegisterBody>>) -> Outcome<Created<SnapView>> {
    let Json(RegisterBody {
        name,
        store,
        publisher,
        private,
    }) = input.body;
    let new = NewSnap {
        name,
        store,
        publisher,
        private,
    };
    let snap = register::register(&app, &ctx, &new).await?;
    Ok(Created(SnapView::of(snap, app.clock.now())))
}

/// What is absent stays; an empty text takes the field away. `default-track` null is `latest`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct EditBody {
    #[serde(default)]
    private: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    default_track: Option<Option<Track>>,
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
    categories: Option<BTreeSet<String>>,
    /// Take all of that from the next revision again.
    #[serde(default)]
    from_snap: bool,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Track>>, D::Error> {
    Option::<Track>::deserialize(deserializer).map(Some)
}

async fn edit(app: App, ctx: BrandCtx, input: Input<Json<EditBody>>) -> Outcome<Json<SnapView>> {
    let name = input.variable("name")?;
    let Json(body) = input.body;
    let edit = Edit {
        private: body.private,
        default_track: body.default_track,
        title: body.title,
        summary: body.summary,
        description: body.description,
        license: body.license,
        website: body.website,
        contact: body.contact,
        categories: body.categories,
        from_snap: body.from_snap,
        by_tools: false,
    };
    let snap = snaps::edit(&app, &ctx, &name, &edit).await?;
    Ok(Json(SnapView::of(snap, app.clock.now())))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ReleaseBody {
    revision: u64,
    channels: Vec<Channel>,
    #[serde(default)]
    percentage: Option<f64>,
    /// Whether the part waits or goes on; without a percentage that of before.
    #[serde(default)]
    pause: Option<bool>,
}

async fn release(app: App, ctx: BrandCtx, input: Input<Json<ReleaseBody>>) -> Outcome<Json<SnapView>> {
    let name = input.variable("name")?;
    let Json(body) = input.body;
    let new = NewRelease {
        revision: body.revision,
        channels: body.channels,
        percentage: body.percentage,
        pause: body.pause,
    };
    let snap = releases::release(&app, &ctx, &name, &new).await?;
    Ok(Json(SnapView::of(snap, app.clock.now())))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CloseBody {
    channel: Channel,
    /// Only for these; for all when absent.
    #[serde(default)]
    architectures: Vec<Architecture>,
}

async fn close(app: App, ctx: BrandCtx, input: Input<Json<CloseBody>>) -> Outcome<Json<SnapView>> {
    let name = input.variable("name")?;
    let Json(body) = input.body;
    let snap = releases::close(&app, &ctx, &name, &body.channel, &body.architectures).await?;
    Ok(Json(SnapView::of(snap, app.clock.now())))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct DeclareBody {
    /// The declaration, YAML or JSON.
    text: String,
    #[serde(default)]
    mode: Mode,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DeclaredView {
    name: SnapName,
    revision: u64,
    format: u32,
    assertion: String,
    /// What older clients would trip over.
    warnings: Vec<String>,
}

async fn declare(app: App, ctx: BrandCtx, input: Input<Json<DeclareBody>>) -> Outcome<Json<DeclaredView>> {
    let name: SnapName = input.variable("name")?;
    let Json(DeclareBody { text, mode }) = input.body;
    let declared = declare::declare(&app, &ctx, &name, &text, mode).await?;
    Ok(Json(DeclaredView {
        name,
        revision: declared.assertion.revision(),
        format: declared.assertion.format(),
        assertion: String::from_utf8_lossy(declared.assertion.encoded()).into_owned(),
        warnings: declared.warnings,
    }))
}

async fn add_track(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<SnapView>> {
    let snap = tracks::add(&app, &ctx, &input.variable("name")?, &track(&input)?).await?;
    Ok(Json(SnapView::of(snap, app.clock.now())))
}

async fn remove_track(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<SnapView>> {
    let snap = tracks::remove(&app, &ctx, &input.variable("name")?, &track(&input)?).await?;
    Ok(Json(SnapView::of(snap, app.clock.now())))
}

/// A track in the path: what is none is a mistake of the request, not a thing that is missing.
fn track(input: &Input<Nothing>) -> Outcome<Track> {
    let text: String = input.variable("track")?;
    Ok(text.parse().map_err(Refusal::from)?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardBody {
    patterns: Vec<String>,
}

async fn guard(app: App, ctx: BrandCtx, input: Input<Json<GuardBody>>) -> Outcome<Json<SnapView>> {
    let name = input.variable("name")?;
    let snap = tracks::guard(&app, &ctx, &name, &input.body.0.patterns).await?;
    Ok(Json(SnapView::of(snap, app.clock.now())))
}
