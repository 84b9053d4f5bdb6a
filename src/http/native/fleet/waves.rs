//! Waves: made, rolled out, looked at, ended.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::view::{RolloutView, StatusView, WaveView};
use super::{Input, Json, Long, Native, Outcome, names};
use crate::app::fleet::binding::{self, NewBinding};
use crate::app::fleet::rollout::{self, Rolled, Wanted};
use crate::app::fleet::status;
use crate::app::fleet::waves::{self, NewWave, Source};
use crate::app::{App, Refusal, StoreCtx};
use crate::domain::access::Permission;
use crate::domain::catalog::{Channel, Track};
use crate::domain::fleet::{Act, Policy, ProductionMap, WaveKind, WaveRecord, WaveStatus};
use crate::domain::ident::{
    Architecture, GroupName, KeyName, SetName, SnapId, SnapName, StoreId, Tag, WaveName,
};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;
use crate::http::native::Created;
use crate::http::reply;
use crate::http::typed::Raw;

/// What clients write for the open wave of a store that has one.
const ACTIVE: &str = "$active$";
/// Devices in a page of a list unless told otherwise, and at most.
const PAGE: usize = 10_000;
const MAX_PAGE: usize = 100_000;
/// Signed documents of a wave, with the chain of their key.
const MAX_SIGNATURES: usize = 1024 * 1024;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/stores/{store}/waves{?status,tag}",
            P::FleetRead,
            "List the waves of a store, the newest first",
            list,
        ),
        native.post(
            "/hallmark/v1/stores/{store}/waves",
            P::FleetManage,
            "Make a wave",
            init,
        ),
        native.get(
            "/hallmark/v1/stores/{store}/waves/{wave}",
            P::FleetRead,
            "Show a wave",
            show,
        ),
        native.get(
            "/hallmark/v1/stores/{store}/waves/{wave}/status{?offline-threshold}",
            P::FleetRead,
            "How far a wave has come",
            status_of,
        ),
        native.post(
            "/hallmark/v1/stores/{store}/waves/{wave}/rollouts",
            P::FleetManage,
            "Roll a wave out to more devices",
            roll_out,
        ),
        native.get(
            "/hallmark/v1/stores/{store}/waves/{wave}/rollouts/{rollout}/devices{?cursor,limit,names}",
            P::FleetRead,
            "List the devices of a rollout",
            devices,
        ),
        native.get(
            "/hallmark/v1/stores/{store}/waves/{wave}/documents",
            P::FleetRead,
            "Show the validation sets of a wave, to be signed",
            documents,
        ),
        native.post(
            "/hallmark/v1/stores/{store}/waves/{wave}/signatures",
            P::FleetManage,
            "Take the signed validation sets of a wave",
            sign,
        ),
        native.post(
            "/hallmark/v1/stores/{store}/waves/{wave}/halt",
            P::FleetManage,
            "Halt a wave",
            |app, ctx, input| act(app, ctx, input, Act::Halt),
        ),
        native.post(
            "/hallmark/v1/stores/{store}/waves/{wave}/resume",
            P::FleetManage,
            "Let a halted wave go on",
            |app, ctx, input| act(app, ctx, input, Act::Resume),
        ),
        native.post(
            "/hallmark/v1/stores/{store}/waves/{wave}/complete",
            P::FleetManage,
            "Publish a wave to all production devices of its tag",
            |app, ctx, input| act(app, ctx, input, Act::Complete),
        ),
        native.post(
            "/hallmark/v1/stores/{store}/waves/{wave}/cancel",
            P::FleetManage,
            "Withdraw a wave",
            |app, ctx, input| act(app, ctx, input, Act::Cancel),
        ),
        native.get(
            "/hallmark/v1/stores/{store}/tags",
            P::FleetRead,
            "List the tags that devices or waves have",
            tags,
        ),
        native.get(
            "/hallmark/v1/stores/{store}/tags/{tag}",
            P::FleetRead,
            "Show what is published for production devices of a tag",
            published,
        ),
    ]
}

async fn named<B>(app: &App, ctx: &StoreCtx, input: &Input<B>) -> Outcome<WaveName> {
    let text: String = input.variable("wave")?;
    if text == ACTIVE {
        return Ok(waves::active(app, ctx).await?);
    }
    Ok(input.variable("wave")?)
}

async fn view(app: &App, record: &WaveRecord) -> Outcome<WaveView> {
    Ok(WaveView::new(record, &*app.catalog.current(app).await?))
}

async fn list(app: App, ctx: StoreCtx, input: Input) -> Outcome<Json<Vec<WaveView>>> {
    let tag: Option<Tag> = input.query("tag")?;
    let status: Option<StatusWord> = input.query("status")?;
    let catalog = app.catalog.current(&app).await?;
    let waves = waves::list(&app, &ctx).await?;
    let waves = waves.iter().filter(|record| {
        tag.as_ref().is_none_or(|tag| record.wave.tag == *tag)
            && status
                .as_ref()
                .is_none_or(|status| status.fits(record.wave.status))
    });
    Ok(Json(
        waves.map(|record| WaveView::new(record, &catalog)).collect(),
    ))
}

/// A status to filter by; `active` is every open one, as fioctl means it, unless halted or draft is named.
#[derive(Clone, Copy, Debug)]
enum StatusWord {
    Open,
    Only(WaveStatus),
}

impl StatusWord {
    fn fits(self, status: WaveStatus) -> bool {
        match self {
            Self::Open => matches!(
                status,
                WaveStatus::Draft | WaveStatus::Active | WaveStatus::Halted
            ),
            Self::Only(only) => only == status,
        }
    }
}

impl std::str::FromStr for StatusWord {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "active" => Self::Open,
            "draft" => Self::Only(WaveStatus::Draft),
            "halted" => Self::Only(WaveStatus::Halted),
            "complete" => Self::Only(WaveStatus::Complete),
            "canceled" => Self::Only(WaveStatus::Canceled),
            _other => return Err("a status is active, draft, halted, complete or canceled"),
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct InitBody {
    name: WaveName,
    tag: Tag,
    #[serde(default = "forward")]
    kind: WaveKind,
    /// Snaps with their revisions; without one, what the channel gives.
    #[serde(default)]
    snaps: Vec<SnapBody>,
    /// Another wave whose revisions it has.
    #[serde(default)]
    from_wave: Option<WaveName>,
    /// All that the store shows and the channel gives.
    #[serde(default)]
    from_channel_map: bool,
    /// The channel its devices follow.
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    prune: Vec<SnapName>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    policy: Policy,
    /// Has it make validation sets too, by which devices hold themselves to it.
    #[serde(default)]
    binding: Option<BindingBody>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct BindingBody {
    /// The name of the sets; that of the tag's earlier waves, else the tag.
    #[serde(default)]
    set: Option<SetName>,
    /// The key of the brand that signs them; without one they are signed elsewhere.
    #[serde(default)]
    key: Option<KeyName>,
}

fn forward() -> WaveKind {
    WaveKind::Forward
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SnapBody {
    name: SnapName,
    #[serde(default)]
    revision: Option<u64>,
}

async fn init(app: App, ctx: StoreCtx, input: Input<Json<InitBody>>) -> Outcome<Created<WaveView>> {
    let Json(body) = input.body;
    let snaps = body
        .snaps
        .into_iter()
        .map(|snap| (snap.name, snap.revision))
        .collect::<Vec<_>>();
    let source = match (snaps.is_empty(), body.from_wave, body.from_channel_map) {
        (false, None, false) => Source::Snaps(snaps),
        (true, Some(wave), false) => Source::Wave(wave),
        (true, None, true) => Source::Channel,
        _ => {
            return Err(Refusal::invalid(
                "invalid-wave",
                "cannot make the wave: name snaps, or another wave, or take the channel map; one of the three",
            )
            .into());
        }
    };
    let channel = body.channel.map(|text| Channel::parse(&text, &Track::default()));
    let channel = channel
        .transpose()
        .map_err(Refusal::from)?
        .map(|(channel, _)| channel);
    let new = NewWave {
        name: body.name,
        tag: body.tag,
        kind: body.kind,
        source,
        channel,
        prune: body.prune,
        expires: body.expires_at,
        policy: body.policy,
        binding: body.binding.map(|binding| NewBinding {
            set: binding.set,
            key: binding.key,
        }),
    };
    let record = waves::init(&app, &ctx, new).await?;
    Ok(Created(view(&app, &record).await?))
}

async fn show(app: App, ctx: StoreCtx, input: Input) -> Outcome<Json<WaveView>> {
    let name = named(&app, &ctx, &input).await?;
    let record = waves::show(&app, &ctx, &name).await?;
    Ok(Json(view(&app, &record).await?))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DocumentsView {
    wave: Map<String, Value>,
    abort: Map<String, Value>,
}

/// The headers of both as `snap sign` takes them.
async fn documents(app: App, ctx: StoreCtx, input: Input) -> Outcome<Json<DocumentsView>> {
    let name = named(&app, &ctx, &input).await?;
    let [wave, abort] = binding::documents(&app, &ctx, &name).await?;
    Ok(Json(DocumentsView {
        wave: reply::unsigned(&wave),
        abort: reply::unsigned(&abort),
    }))
}

async fn sign(app: App, ctx: StoreCtx, input: Input<Raw<MAX_SIGNATURES>>) -> Outcome<Json<WaveView>> {
    let name = named(&app, &ctx, &input).await?;
    let Raw(stream) = input.body;
    let record = binding::sign(&app, &ctx, &name, stream).await?;
    Ok(Json(view(&app, &record).await?))
}

async fn status_of(app: App, ctx: StoreCtx, input: Input) -> Outcome<Json<StatusView>> {
    let name = named(&app, &ctx, &input).await?;
    let hours = input.query("offline-threshold")?.unwrap_or(status::ONLINE_HOURS);
    Ok(Json(status::status(&app, &ctx, &name, hours).await?.into()))
}

async fn act(app: App, ctx: StoreCtx, input: Input, act: Act) -> Outcome<Json<WaveView>> {
    let name = named(&app, &ctx, &input).await?;
    let record = waves::act(&app, &ctx, &name, act).await?;
    Ok(Json(view(&app, &record).await?))
}

/// Which devices (waves-and-registration.md A.3, A.4).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RolloutBody {
    #[serde(default)]
    group: Option<GroupName>,
    #[serde(default)]
    limit: Option<i64>,
    #[serde(default)]
    percentage: Option<i64>,
    /// Each a uuid, `MODEL/SERIAL`, or a serial that only one model has.
    #[serde(default)]
    uuids: Option<Vec<String>>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    return_uuids: bool,
    #[serde(default)]
    return_names: bool,
    #[serde(default)]
    skip_mismatch: bool,
    #[serde(default)]
    expect_eligible: Option<u64>,
    #[serde(default)]
    seed: Option<u64>,
    /// What the caller names this rollout: the same again is not another one.
    #[serde(default)]
    key: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct RolledView {
    wave: WaveName,
    dry_run: bool,
    #[serde(flatten)]
    rollout: RolloutView,
    device_num: u64,
    device_uuids: Vec<String>,
    device_names: Vec<String>,
    /// Named devices that were left out.
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Skipped {
    device: String,
    why: &'static str,
}

async fn roll_out(app: App, ctx: StoreCtx, input: Input<Long<RolloutBody>>) -> Outcome<Json<RolledView>> {
    let name = named(&app, &ctx, &input).await?;
    let Long(body) = input.body;
    let wanted = Wanted {
        group: body.group,
        limit: body.limit,
        percentage: body.percentage,
        devices: body.uuids.as_deref().map(names).transpose()?,
        skip_mismatch: body.skip_mismatch,
        expect_eligible: body.expect_eligible,
        seed: body.seed,
        dry_run: body.dry_run,
        key: body.key,
    };
    let rolled = rollout::rollout(&app, &ctx, &name, &wanted).await?;
    let Rolled {
        record,
        rollout,
        devices,
        skipped,
    } = rolled;
    let device_names = if body.return_names {
        named_devices(&app, &devices).await?
    } else {
        Vec::new()
    };
    let uuids = devices.iter().filter(|_| body.return_uuids).map(|id| uuid(*id));
    let skipped = skipped.into_iter().map(|(device, why)| Skipped {
        device: device.to_string(),
        why,
    });
    Ok(Json(RolledView {
        wave: record.wave.name.clone(),
        dry_run: body.dry_run,
        rollout: (&rollout).into(),
        device_num: rollout.selected,
        device_uuids: uuids.collect(),
        device_names,
        skipped: skipped.collect(),
    }))
}

fn uuid(id: u128) -> String {
    uuid::Uuid::from_u128(id).to_string()
}

/// `MODEL/SERIAL` of each; of those that are gone, their uuids.
async fn named_devices(app: &App, ids: &[u128]) -> Outcome<Vec<String>> {
    let found = rollout::names(app, ids).await?;
    let named = found.into_iter().zip(ids).map(|(device, id)| match device {
        Some(device) => format!("{}/{}", device.model, device.serial),
        None => uuid(*id),
    });
    Ok(named.collect())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DevicesView {
    uuids: Vec<String>,
    names: Vec<String>,
    /// Where the next page begins.
    next: Option<usize>,
}

async fn devices(app: App, ctx: StoreCtx, input: Input) -> Outcome<Json<DevicesView>> {
    let name = named(&app, &ctx, &input).await?;
    let cursor: usize = input.query("cursor")?.unwrap_or(0);
    let limit: usize = input.query("limit")?.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let with_names: bool = input.query("names")?.unwrap_or(false);
    let all = rollout::devices(&app, &ctx, &name, input.variable("rollout")?).await?;
    let page: Vec<u128> = all.iter().skip(cursor).take(limit).copied().collect();
    let end = cursor.saturating_add(page.len());
    Ok(Json(DevicesView {
        names: if with_names {
            named_devices(&app, &page).await?
        } else {
            Vec::new()
        },
        uuids: page.into_iter().map(uuid).collect(),
        next: (end < all.len()).then_some(end),
    }))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct TagView {
    tag: Tag,
    published: u64,
}

async fn tags(app: App, ctx: StoreCtx, _input: Input) -> Outcome<Json<Vec<TagView>>> {
    let tags = waves::tags(&app, &ctx).await?;
    let view = |(tag, published)| TagView { tag, published };
    Ok(Json(tags.into_iter().map(view).collect()))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PublishedView {
    store_id: StoreId,
    tag: Tag,
    published: u64,
    entries: Vec<PublishedEntry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PublishedEntry {
    name: Option<String>,
    snap_id: SnapId,
    channel: Channel,
    architecture: Architecture,
    revision: u64,
    sequence: u64,
}

async fn published(app: App, ctx: StoreCtx, input: Input) -> Outcome<Json<PublishedView>> {
    let map: Arc<ProductionMap> = waves::published(&app, &ctx, &input.variable("tag")?).await?;
    let catalog = app.catalog.current(&app).await?;
    let entries = map.entries().iter().map(|found| PublishedEntry {
        name: catalog.name_of(&found.entry.pin.snap_id).map(ToString::to_string),
        snap_id: found.entry.pin.snap_id.clone(),
        channel: found.entry.pin.channel.clone(),
        architecture: found.entry.pin.architecture.clone(),
        revision: found.entry.revision,
        sequence: found.sequence,
    });
    Ok(Json(PublishedView {
        store_id: map.store.clone(),
        tag: map.tag.clone(),
        published: map.published,
        entries: entries.collect(),
    }))
}
