//! What is released where: channel maps, releases, closing (publisher-api.md 6.7-6.11). Some clients forbid keys they do
//! not know, so objects have exactly the keys of the tables.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::push::channels;
use super::{Input, Json, Outcome, Publisher};
use crate::app::catalog::releases::{self, NewRelease, Step};
use crate::app::catalog::{overview, snaps};
use crate::app::store::SnapEntry;
use crate::app::{App, Refusal, SnapCtx, UnplacedCtx};
use crate::domain::access::Permission;
use crate::domain::catalog::{Channel, Event, Holds, Release, RevisionRecord, Risk, SnapRecord, Track};
use crate::domain::ident::{Architecture, SnapName};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

/// Most releases of the past that are told at once.
const MAX_EVENTS: usize = 1000;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.post(
            "/dev/api/snap-release",
            P::SnapRelease,
            "Release a revision",
            release,
        ),
        publisher.post(
            "/dev/api/snaps/{snap-id}/close",
            P::SnapRelease,
            "Close channels",
            close,
        ),
        publisher.get(
            "/dev/api/snaps/{snap-id}/state",
            P::SnapRead,
            "Show what each channel holds or follows",
            state,
        ),
        publisher.get(
            "/api/v2/snaps/{snap}/channel-map",
            P::SnapRead,
            "Show what is released where",
            channel_map,
        ),
        publisher.get(
            "/api/v2/snaps/{snap}/releases",
            P::SnapRead,
            "List revisions and what was released",
            history,
        ),
        publisher.get(
            "/api/v2/snaps/{snap-id}/revisions/{revision}",
            P::SnapRead,
            "Show one revision",
            revision,
        ),
    ]
}

/// How far a release goes; clients want all three keys.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PhasingView {
    paused: Option<bool>,
    percentage: Option<f64>,
    current_percentage: Option<f64>,
}

impl PhasingView {
    fn of(percentage: Option<f64>, paused: bool) -> Self {
        Self {
            paused: percentage.map(|_| paused),
            percentage,
            current_percentage: None,
        }
    }
}

/// One entry of a channel map.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MapView {
    architecture: Architecture,
    channel: String,
    expiration_date: Option<Timestamp>,
    progressive: PhasingView,
    revision: u64,
    when: Timestamp,
}

/// What is open: what part of the devices gets stands beside what all others get.
pub(super) fn map_of(snap: &SnapRecord, now: Timestamp) -> Vec<MapView> {
    let mut map = Vec::new();
    for open in snap.releases.listed(now) {
        let part = open.progressive.as_ref();
        let paused = part.is_some_and(|part| part.paused);
        let view = |revision, percentage, when| MapView {
            architecture: open.architecture.clone(),
            channel: open.channel.to_string(),
            expiration_date: open.expires,
            progressive: PhasingView::of(percentage, paused),
            revision,
            when,
        };
        if let Some(otherwise) = otherwise(open) {
            map.push(view(otherwise, None, snap.releases.held_since(open, otherwise)));
        }
        let percentage = part.map(|part| part.percentage);
        map.push(view(open.revision, percentage, open.released));
    }
    map
}

fn otherwise(open: &Release) -> Option<u64> {
    open.progressive.as_ref().and_then(|part| part.otherwise)
}

/// The revisions a channel map names.
pub(super) fn mapped<'e>(entry: &'e SnapEntry, map: &[MapView]) -> Vec<&'e RevisionRecord> {
    let numbers: BTreeSet<u64> = map.iter().map(|view| view.revision).collect();
    numbers
        .iter()
        .filter_map(|number| entry.revisions.get(number))
        .collect()
}

/// A channel of a snap.
#[derive(Debug, Serialize)]
pub(super) struct ChannelView {
    name: String,
    track: String,
    risk: Risk,
    branch: Option<String>,
    /// What devices get where nothing is in it.
    fallback: Option<String>,
}

/// All channels of a snap: the four of each track, and the branches that are open.
pub(super) fn channels_of(snap: &SnapRecord, now: Timestamp) -> Vec<ChannelView> {
    let latest = Track::default();
    let tracks = std::iter::once(&latest).chain(&snap.tracks);
    let risks = tracks.flat_map(|track| {
        let channel = |risk| Channel::new(track.clone(), risk);
        Risk::ALL.into_iter().map(move |risk| {
            let safer = risk.and_safer().nth(1);
            let fallback = safer.map(|safer| channel(safer).to_string());
            (channel(risk), fallback)
        })
    });
    let open = snap.releases.listed(now).into_iter();
    let branches: BTreeSet<&Channel> = open
        .map(|open| &open.channel)
        .filter(|channel| channel.branch.is_some())
        .collect();
    let branches = branches.into_iter().map(|channel| {
        let parent = Channel::new(channel.track.clone(), channel.risk);
        (channel.clone(), Some(parent.to_string()))
    });
    risks
        .chain(branches)
        .map(|(channel, fallback)| ChannelView {
            name: channel.to_string(),
            track: channel.track.to_string(),
            risk: channel.risk,
            branch: channel.branch.as_deref().map(str::to_owned),
            fallback,
        })
        .collect()
}

fn tracks_of(snap: &SnapRecord) -> Vec<Value> {
    let latest = Track::default();
    let tracks = std::iter::once(&latest).chain(&snap.tracks);
    tracks
        .map(|track| {
            let default = snap.default_track.as_ref() == Some(track);
            json!({
                "name": track.as_str(),
                "status": if default { "default" } else { "active" },
                "creation-date": null,
                "version-pattern": null,
            })
        })
        .collect()
}

/// The word for where a revision stands (publisher-api.md 6.10).
pub(super) fn status(snap: &SnapRecord, revision: &RevisionRecord, now: Timestamp) -> &'static str {
    let mut open = snap.releases.listed(now).into_iter();
    let number = revision.revision;
    let released = open.any(|open| open.revision == number || otherwise(open) == Some(number));
    revision.review.status(released)
}

/// What is known of a revision, under the keys that all lists of them have in common.
pub(super) fn facts(revision: &RevisionRecord) -> Map<String, Value> {
    let facts = json!({
        "revision": revision.revision,
        "version": revision.version,
        "architectures": revision.architectures,
        "confinement": revision.confinement,
        // Where a snap says nothing it is stable.
        "grade": revision.grade.as_deref().unwrap_or("stable"),
        "base": revision.base,
        "sha3-384": revision.blob,
        "size": revision.size,
        "attributes": {},
        "epoch": revision.epoch,
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

/// The same with further keys.
pub(super) fn facts_with(revision: &RevisionRecord, more: Value) -> Value {
    let mut facts = facts(revision);
    if let Value::Object(more) = more {
        facts.extend(more);
    }
    facts.into()
}

/// One thing that happened to a channel; exactly these keys.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct EventView {
    architecture: Architecture,
    branch: Option<String>,
    channel: String,
    expiration_date: Option<Timestamp>,
    progressive: PhasingView,
    revision: Option<u64>,
    risk: Risk,
    track: String,
    when: Timestamp,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let Event {
            architecture,
            channel,
            revision,
            percentage,
            paused,
            expires,
            when,
        } = event;
        Self {
            architecture,
            branch: channel.branch.as_deref().map(str::to_owned),
            channel: channel.to_string(),
            expiration_date: expires,
            progressive: PhasingView::of(percentage, paused),
            revision,
            risk: channel.risk,
            track: channel.track.to_string(),
            when,
        }
    }
}

/// What happened, the latest first.
pub(super) fn events_of(snap: &SnapRecord, now: Timestamp) -> Vec<EventView> {
    let events = snap.releases.events(now).into_iter();
    events.take(MAX_EVENTS).map(EventView::from).collect()
}

/// What each channel holds or follows, by track, series and architecture.
fn tree(entry: &SnapEntry, now: Timestamp) -> Value {
    let snap = &entry.record;
    let latest = Track::default();
    let tracks = std::iter::once(&latest).chain(&snap.tracks);
    let tree: BTreeMap<&str, Value> = tracks
        .map(|track| {
            let shown = snap.releases.shown(track, now).into_iter();
            let series: BTreeMap<Architecture, Vec<Value>> = shown
                .map(|(architecture, rows)| {
                    let rows = rows.into_iter();
                    let rows = rows.map(|row| tree_row(entry, &row.channel, row.holds));
                    (architecture, rows.collect())
                })
                .collect();
            (track.as_str(), json!({ "16": series }))
        })
        .collect();
    json!(tree)
}

fn tree_row(entry: &SnapEntry, channel: &Channel, holds: Holds<'_>) -> Value {
    let name = match &channel.branch {
        Some(branch) => format!("{}/{branch}", channel.risk),
        None => channel.risk.to_string(),
    };
    let release = match holds {
        Holds::Nothing => return json!({"channel": name, "info": "none"}),
        Holds::Safer => return json!({"channel": name, "info": "tracking"}),
        Holds::Release(release) => release,
    };
    // What all devices get; a part of them may be ahead.
    let revision = otherwise(release).unwrap_or(release.revision);
    let version = entry.revisions.get(&revision).map(|found| found.version.as_str());
    let mut row = json!({"channel": name, "info": "specific", "revision": revision, "version": version});
    if channel.branch.is_some()
        && let Some(row) = row.as_object_mut()
    {
        row.insert("info".to_owned(), "branch".into());
        row.insert("expires_at".to_owned(), json!(release.expires));
    }
    row
}

#[derive(Debug, Deserialize)]
struct ReleaseBody {
    name: String,
    revision: Number,
    channels: Vec<String>,
    #[serde(default)]
    progressive: Option<ProgressiveBody>,
}

/// Clients send revisions as text; a number is as good.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

impl Number {
    fn read(&self) -> Result<u64, Refusal> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => Some(text)
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse().ok()),
        }
        .filter(|number| *number > 0)
        .ok_or_else(|| {
            Refusal::invalid(
                "invalid-revision",
                "cannot release this: the revision must be a number from 1 on",
            )
        })
    }
}

/// How far a release goes, as clients send it.
#[derive(Debug, Deserialize)]
pub(super) struct ProgressiveBody {
    #[serde(default)]
    percentage: Option<f64>,
    #[serde(default)]
    paused: Option<bool>,
}

impl ProgressiveBody {
    /// The percentage, and whether it waits. Clients say `false` beside all they release; only with a percentage of its own
    /// it is about a part of the devices.
    pub(super) fn read(self) -> (Option<f64>, Option<bool>) {
        let pause = self.paused.filter(|paused| *paused || self.percentage.is_some());
        (self.percentage, pause)
    }
}

async fn release(app: App, ctx: UnplacedCtx, input: Input<Json<ReleaseBody>>) -> Outcome<Json<Value>> {
    let Json(body) = input.body;
    let name: SnapName = body
        .name
        .parse()
        .map_err(|_| Refusal::not_found("cannot find the snap: this is no name of a snap"))?;
    let ctx = ctx.snap(&app, &name).await?;
    let (percentage, pause) = body.progressive.map(ProgressiveBody::read).unwrap_or_default();
    let new = NewRelease {
        revision: body.revision.read()?,
        channels: channels(&body.channels)?,
        percentage,
        pause,
    };
    let done = releases::change(&app, ctx.brand(), &name, &[Step::Release(new)]).await?;
    let entry = overview::entry(&app, &ctx).await?;
    let now = app.clock.now();
    Ok(Json(json!({
        "success": true,
        "opened_channels": short(&done.opened),
        "channel_map": map_of(&entry.record, now),
        "channel_map_tree": tree(&entry, now),
    })))
}

fn short(channels: &[Channel]) -> Vec<String> {
    channels.iter().map(Channel::short).collect()
}

#[derive(Debug, Deserialize)]
struct CloseBody {
    channels: Vec<String>,
}

/// Of several channels those are closed that are open; it is a mistake if none is.
async fn close(app: App, ctx: SnapCtx, input: Input<Json<CloseBody>>) -> Outcome<Json<Value>> {
    let wanted = channels(&input.body.0.channels)?;
    if wanted.is_empty() {
        return Err(Refusal::invalid("channel-required", "cannot close no channel: name one or more").into());
    }
    let now = app.clock.now();
    let releases = &ctx.snap().releases;
    let is_open = |channel: &&Channel| {
        let mut open = releases.listed(now).into_iter();
        open.any(|open| open.channel == **channel)
    };
    let mut open: Vec<&Channel> = wanted.iter().filter(is_open).collect();
    if open.is_empty() {
        open = wanted.iter().take(1).collect();
    }
    open.sort();
    open.dedup();
    let steps: Vec<Step> = open
        .into_iter()
        .map(|channel| Step::Close(channel.clone(), Vec::new()))
        .collect();
    let done = releases::change(&app, ctx.brand(), &ctx.snap().name, &steps).await?;
    let entry = overview::entry(&app, &ctx).await?;
    Ok(Json(json!({
        "closed_channels": short(&done.closed),
        "channel_map_tree": tree(&entry, now),
    })))
}

async fn state(app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<Value>> {
    let entry = overview::entry(&app, &ctx).await?;
    Ok(Json(json!({"channel_map_tree": tree(&entry, app.clock.now())})))
}

async fn channel_map(app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<Value>> {
    let (entry, now) = (overview::entry(&app, &ctx).await?, app.clock.now());
    let snap = &entry.record;
    let map = map_of(snap, now);
    let revisions: Vec<Value> = mapped(&entry, &map)
        .into_iter()
        .map(|found| facts_with(found, json!({"build-url": null, "created-at": found.created})))
        .collect();
    Ok(Json(json!({
        "channel-map": map,
        "revisions": revisions,
        "snap": {
            "id": snap.id,
            "name": snap.name,
            "private": snap.private,
            "default-track": snap.default_track.as_ref().map(Track::as_str),
            "channels": channels_of(snap, now),
            "tracks": tracks_of(snap),
        },
    })))
}

/// Spelt with underscores here, which the oldest client insists on.
fn row(snap: &SnapRecord, revision: &RevisionRecord, now: Timestamp) -> Value {
    let status = status(snap, revision, now);
    let more = json!({"build_url": null, "created_at": revision.created, "status": status});
    facts_with(revision, more)
}

async fn history(app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<Value>> {
    let (shown, now) = (snaps::show(&app, &ctx).await?, app.clock.now());
    let rows = shown.revisions.iter();
    let rows: Vec<Value> = rows.map(|found| row(&shown.snap, found, now)).collect();
    Ok(Json(json!({
        "releases": events_of(&shown.snap, now),
        "revisions": rows,
    })))
}

async fn revision(app: App, ctx: SnapCtx, input: Input) -> Outcome<Json<Value>> {
    let number: u64 = input.variable("revision")?;
    let (shown, now) = (snaps::show(&app, &ctx).await?, app.clock.now());
    let mut revisions = shown.revisions.iter();
    let found = revisions.find(|found| found.revision == number).ok_or_else(|| {
        Refusal::not_found(format!(
            "cannot find revision {number} of snap {}",
            shown.snap.name
        ))
    })?;
    Ok(Json(json!({"revision": row(&shown.snap, found, now)})))
}
