//! `POST /v2/snaps/refresh`: install, refresh, download, fetch-assertions (device-api.md 5).

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::StatusCode;
use serde::Deserialize;
use serde::Serialize;
use serde_json::{Value, json};
use warp::reply::Response;
use warp::{Filter, Reply as _};

use super::asking::{Asking, asking};
use super::snap;
use crate::app::store::{
    AHEAD, Action, ActionError, Asker, Context, Found, Gates, Group, GroupAnswer, GroupError, Installed,
    Kind, KnownSets, NotValidated, SnapAction, Snapshot, Telling, Wanted, WantedKey, fetch, refresh, vouched,
};
use crate::app::{App, Reason};
use crate::domain::catalog::Channel;
use crate::domain::snap::Epoch;
use crate::http::body::{self, Text};
use crate::http::buffer::Buffer;
use crate::http::endpoint::{Access, BodyShape, Endpoint, with};
use crate::http::fault::{DeviceDialect, Fault};
use crate::http::fields;
use crate::http::reply;

/// Snaps a device may have, and actions it may ask for, at a time.
const MOST: usize = 2_000;
/// Assertions asked about at a time, over all groups.
const MOST_ASSERTIONS: usize = 4_000;
/// A session with less than this left, in seconds, is renewed by the device while it gets its answer.
const SOON: i64 = 2 * 3600;

pub(super) fn endpoints(app: &App) -> Vec<Endpoint> {
    let refresh = warp::path!("v2" / "snaps" / "refresh")
        .and(body::up_to(app.settings.limits.refresh))
        .and(asking())
        .and(with(app.clone()))
        .then(|body: Bytes, asking: Asking, app: App| async move {
            answer(&app, &asking, &body)
                .await
                .unwrap_or_else(Fault::into_response)
        })
        .boxed();
    vec![
        Endpoint::post(
            "/v2/snaps/refresh",
            Access::Open,
            "Find what to install, refresh and download, and newer assertions",
            refresh,
        )
        .with_body(Some(BodyShape {
            media: "application/json",
            fields: fields::of::<RequestBody<'static>>(),
        })),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RequestBody<'a> {
    #[serde(default, borrow)]
    context: Option<Vec<ContextEntry<'a>>>,
    #[serde(default, borrow)]
    actions: Option<Vec<ActionEntry<'a>>>,
    #[serde(default)]
    assertion_max_formats: Option<HashMap<String, u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ContextEntry<'a> {
    #[serde(borrow)]
    snap_id: Text<'a>,
    #[serde(borrow)]
    instance_key: Text<'a>,
    revision: i64,
    #[serde(default, borrow)]
    tracking_channel: Option<Text<'a>>,
    #[serde(default)]
    epoch: Option<Epoch>,
    #[serde(default, borrow)]
    cohort_key: Option<Text<'a>>,
    #[serde(default)]
    ignore_validation: Option<bool>,
    #[serde(default)]
    held: Option<Held>,
}

/// Who holds a snap back.
#[derive(Debug, Deserialize)]
struct Held {
    #[serde(default)]
    by: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ActionEntry<'a> {
    #[serde(borrow)]
    action: Text<'a>,
    #[serde(default, borrow)]
    instance_key: Option<Text<'a>>,
    #[serde(default, borrow)]
    name: Option<Text<'a>>,
    #[serde(default, borrow)]
    snap_id: Option<Text<'a>>,
    #[serde(default, borrow)]
    channel: Option<Text<'a>>,
    #[serde(default)]
    revision: Option<u64>,
    #[serde(default, borrow)]
    cohort_key: Option<Text<'a>>,
    #[serde(default)]
    epoch: Option<Epoch>,
    #[serde(default)]
    ignore_validation: Option<bool>,
    /// The validation sets that hold the device to what it asks for: series, account, name and number of each.
    #[serde(default)]
    validation_sets: Vec<Vec<String>>,
    #[serde(default, borrow)]
    key: Option<Text<'a>>,
    #[serde(default)]
    assertions: Option<Vec<AssertionEntry>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct AssertionEntry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    primary_key: Option<Vec<String>>,
    #[serde(default)]
    sequence_key: Option<Vec<String>>,
    #[serde(default)]
    sequence: Option<u64>,
    #[serde(default)]
    if_newer_than: Option<i64>,
    #[serde(default)]
    if_sequence_equal_or_newer_than: Option<u64>,
    #[serde(default)]
    if_sequence_newer_than: Option<u64>,
}

async fn answer(app: &App, asking: &Asking, body: &[u8]) -> Result<Response, Fault<DeviceDialect>> {
    let request: RequestBody<'_> = body::json(body)?;
    let (catalog, asker) = asking.enter(app).await?;
    let max_formats = request.assertion_max_formats.unwrap_or_default();
    let context = context(request.context.as_deref().unwrap_or_default())?;
    let mut actions = actions(request.actions.as_deref().unwrap_or_default())?;
    report(app, asking, &asker, &context, &actions);
    let gates = Gates::new(&catalog, &asker, &context);
    let sight = asker.sight(app, &context).await?;
    if sight.is_some() {
        vouch(app, &catalog, &asker, &context, &mut actions).await?;
    }
    let mut waved = false;
    // Written piece by piece: a device with many snaps has a long answer, and none of it is needed twice.
    let mut buffer = Buffer::with_room(512 + actions.len() * 3072);
    let out = buffer.bytes();
    out.extend_from_slice(b"{\"results\":[");
    let mut held = Vec::new();
    for (number, action) in actions.iter().enumerate() {
        if number % AHEAD == 0 {
            let next = actions.iter().skip(number).take(AHEAD);
            catalog.look_ahead(next.filter_map(|action| match action {
                Action::Snap(action) => action.snap_id,
                Action::Fetch(_) | Action::Unknown(..) => None,
            }));
        }
        let before = out.len();
        if out.last() != Some(&b'[') {
            out.push(b',');
        }
        match action {
            Action::Snap(action) => {
                let answer = match refresh(app, &catalog, &asker, sight.as_ref(), &context, action) {
                    Ok(found) => match gates.pass(app, &context, action, found).await? {
                        Ok(found) => {
                            waved |= found.waved;
                            Ok(found)
                        }
                        Err(why) => {
                            // Not even an error of its own: see there.
                            out.truncate(before);
                            held.push(why);
                            continue;
                        }
                    },
                    Err(error) => Err(error),
                };
                snap_result(out, app, asking, action, &answer)?;
            }
            Action::Fetch(group) => {
                let answer = group_answer(app, &catalog, &asker, group, &max_formats).await?;
                write(out, &answer)?;
            }
            Action::Unknown(name, key) => write(
                out,
                &json!({
                    "result": "error",
                    "instance-key": key,
                    "error": {"code": "invalid-action", "message": format!("cannot do {name:?}: there is no such action")},
                }),
            )?,
        }
    }
    if let Some(sight) = sight.filter(|_| waved) {
        sight.was_offered(app);
    }
    out.extend_from_slice(b"],\"error-list\":");
    write(out, &notices(app, &asker, &held))?;
    out.push(b'}');
    Ok(reply::bytes(StatusCode::OK, "application/json", buffer))
}

/// Finds out what validation sets hold a production device to: for others every revision can be had by its number.
async fn vouch<'r>(
    app: &App,
    catalog: &Snapshot,
    asker: &Asker,
    context: &Context<'_>,
    actions: &mut [Action<'r>],
) -> Result<(), Fault<DeviceDialect>> {
    let mut known = KnownSets::new();
    for action in actions {
        if let Action::Snap(action) = action
            && action.revision.is_some()
            && !action.sets.is_empty()
        {
            action.vouched = vouched(app, catalog, asker, context, action, &mut known).await?;
        }
    }
    Ok(())
}

fn write(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Fault<DeviceDialect>> {
    serde_json::to_writer(out, value).map_err(|error| Fault::internal(&error))
}

/// Keeps what the device said of itself. Calls for assertions alone name no snaps, and installations may not either.
fn report(app: &App, asking: &Asking, asker: &Asker, context: &Context<'_>, actions: &[Action<'_>]) {
    let Some(session) = &asker.session else { return };
    let refreshes = actions
        .iter()
        .any(|action| matches!(action, Action::Snap(action) if action.kind == Kind::Refresh));
    let telling = Telling {
        device: &session.device,
        store: session.store.as_deref(),
        architecture: &asker.architecture,
        client: asking.client.as_deref(),
        seen: app.clock.now(),
        told: refreshes || !context.is_empty(),
    };
    app.reports.note(&telling, context);
}

/// What the device should do or know besides: renew a session that ends soon (device-api.md 5.6), what is held back.
fn notices(app: &App, asker: &Asker, held: &[NotValidated]) -> Vec<Value> {
    let held = held
        .iter()
        .map(|why| json!({"code": "not-validated", "message": why.to_string()}));
    let ends = asker.session.as_ref().map(|session| session.expires);
    let soon = ends.is_some_and(|ends| ends < app.clock.now().plus_seconds(SOON));
    soon.then(|| {
        json!({
            "code": "device-authorization-needs-refresh",
            "message": "the device session ends soon",
        })
    })
    .into_iter()
    .chain(held)
    .collect()
}

fn context<'r>(entries: &'r [ContextEntry<'_>]) -> Result<Context<'r>, Fault<DeviceDialect>> {
    if entries.len() > MOST {
        return Err(too_many("context", MOST));
    }
    let installed = entries.iter().map(|entry| Installed {
        snap_id: &entry.snap_id,
        instance_key: &entry.instance_key,
        // Local revisions are negative: nothing of ours is equal to them.
        revision: u64::try_from(entry.revision).unwrap_or_default(),
        tracking_channel: said(entry.tracking_channel.as_ref()),
        epoch: entry.epoch.clone().unwrap_or_default(),
        cohort_key: said(entry.cohort_key.as_ref()),
        ignore_validation: entry.ignore_validation.unwrap_or_default(),
        held: entry.held.as_ref().is_some_and(|held| !held.by.is_empty()),
    });
    Context::new(installed).map_err(|key| {
        Fault::invalid(
            "invalid-request",
            format!("cannot read the context: instance-key {key:?} is there twice"),
        )
    })
}

/// What is not empty: clients leave a field empty where it does not apply.
fn said<'r>(text: Option<&'r Text<'_>>) -> Option<&'r str> {
    text.map(|text| &**text).filter(|text| !text.is_empty())
}

fn actions<'r>(entries: &'r [ActionEntry<'_>]) -> Result<Vec<Action<'r>>, Fault<DeviceDialect>> {
    if entries.len() > MOST {
        return Err(too_many("actions", MOST));
    }
    let mut assertions = 0;
    let mut keys = HashSet::with_capacity_and_hasher(entries.len(), RandomState::default());
    let mut actions = Vec::with_capacity(entries.len());
    for entry in entries {
        let kind = match &*entry.action {
            "install" => Some(Kind::Install),
            "download" => Some(Kind::Download),
            "refresh" => Some(Kind::Refresh),
            _other => None,
        };
        let instance_key = entry.instance_key.as_deref();
        if let Some(key) = instance_key
            && !keys.insert(key)
        {
            return Err(Fault::invalid(
                "invalid-request",
                format!("cannot read the actions: instance-key {key:?} is there twice"),
            ));
        }
        actions.push(match kind {
            Some(kind) => Action::Snap(SnapAction {
                kind,
                instance_key: instance_key.unwrap_or_default(),
                name: entry.name.as_deref(),
                snap_id: entry.snap_id.as_deref(),
                channel: said(entry.channel.as_ref()),
                revision: entry.revision.filter(|revision| *revision > 0),
                cohort_key: said(entry.cohort_key.as_ref()),
                epoch: entry.epoch.clone(),
                ignore_validation: entry.ignore_validation,
                sets: &entry.validation_sets,
                vouched: None,
            }),
            None if &*entry.action == "fetch-assertions" => {
                let wanted = entry.assertions.as_deref().unwrap_or_default();
                assertions += wanted.len();
                if assertions > MOST_ASSERTIONS {
                    return Err(too_many("assertions", MOST_ASSERTIONS));
                }
                Action::Fetch(Group {
                    key: entry.key.as_deref().unwrap_or_default().to_owned(),
                    wanted: wanted.iter().cloned().map(Wanted::from).collect(),
                })
            }
            None => Action::Unknown(entry.action.chars().take(64).collect(), instance_key),
        });
    }
    Ok(actions)
}

fn too_many(what: &str, most: usize) -> Fault<DeviceDialect> {
    Fault::of(
        Reason::Invalid,
        "invalid-request",
        format!("cannot answer: more than {most} {what}"),
    )
}

impl From<AssertionEntry> for Wanted {
    fn from(entry: AssertionEntry) -> Self {
        let key = match (entry.primary_key, entry.sequence_key) {
            (None, Some(key)) => WantedKey::Sequence {
                key,
                number: entry.sequence,
                at_least: entry.if_sequence_equal_or_newer_than,
                above: entry.if_sequence_newer_than,
            },
            (primary, _) => WantedKey::Primary(primary.unwrap_or_default()),
        };
        Self {
            kind: entry.kind,
            key,
            // Negative: the device has none.
            newer_than: entry.if_newer_than.and_then(|known| u64::try_from(known).ok()),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SnapResult<'a> {
    result: &'static str,
    instance_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    snap_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_channel: Option<&'a Channel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_channel: Option<&'a Channel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

/// Writes the result of an action.
fn snap_result(
    out: &mut Vec<u8>,
    app: &App,
    asking: &Asking,
    action: &SnapAction<'_>,
    answer: &Result<Found<'_>, ActionError>,
) -> Result<(), Fault<DeviceDialect>> {
    let mut text = None;
    let mut result = SnapResult {
        result: match action.kind {
            Kind::Install => "install",
            Kind::Download => "download",
            Kind::Refresh => "refresh",
        },
        instance_key: action.instance_key,
        snap_id: action.snap_id,
        name: action.name,
        effective_channel: None,
        redirect_channel: None,
        error: None,
    };
    match answer {
        Ok(found) => {
            let (entry, formats) = (found.entry, &asking.delta_formats);
            let made = snap::text_from(app, entry, found.revision, found.installed, formats);
            text = made.map_err(|error| Fault::internal(&error))?;
            if text.is_some() {
                // They are in the text.
                (result.snap_id, result.name) = (None, None);
                result.effective_channel = found.effective.as_deref();
                result.redirect_channel = found.redirect.as_ref();
            } else {
                // A release names a revision that is not there: the catalogue is damaged.
                let name = &entry.record.name;
                tracing::error!(snap = %name, revision = found.revision, "a release names an unknown revision");
                result.result = "error";
                result.error = Some(json!({
                    "code": "revision-not-found",
                    "message": "no snap revision available as specified",
                }));
            }
        }
        Err(error) => {
            result.result = "error";
            if let Some((id, name)) = &error.snap {
                result.snap_id = Some(id.as_str());
                result.name = Some(name.as_str());
            }
            result.error = Some(action_error(error));
        }
    }
    write(out, &result)?;
    if let Some(text) = text {
        // In place of the closing brace.
        out.pop();
        out.push(b',');
        out.extend_from_slice(text.names().as_bytes());
        out.extend_from_slice(b",\"snap\":");
        out.extend_from_slice(text.whole().as_bytes());
        out.push(b'}');
    }
    Ok(())
}

fn action_error(error: &ActionError) -> Value {
    let releases: Vec<Value> = error
        .releases
        .iter()
        .map(|(architecture, channel)| json!({"architecture": architecture, "channel": channel}))
        .collect();
    if releases.is_empty() {
        json!({"code": error.code, "message": error.message})
    } else {
        json!({"code": error.code, "message": error.message, "extra": {"releases": releases}})
    }
}

async fn group_answer(
    app: &App,
    catalog: &Snapshot,
    asker: &Asker,
    group: &Group,
    max_formats: &HashMap<String, u32>,
) -> Result<Value, Fault<DeviceDialect>> {
    let max_format = |kind: &str| max_formats.get(kind).copied().unwrap_or_default();
    let GroupAnswer { paths, errors } = fetch(app, catalog, asker, group, max_format).await?;
    let urls: Vec<String> = paths
        .into_iter()
        .map(|path| format!("{}{path}", app.settings.public_url))
        .collect();
    Ok(json!({
        "result": "fetch-assertions",
        "key": group.key,
        "assertion-stream-urls": urls,
        "error-list": errors.iter().map(group_error).collect::<Vec<_>>(),
    }))
}

fn group_error(error: &GroupError) -> Value {
    let (name, key) = match &error.wanted.key {
        WantedKey::Primary(key) => ("primary-key", key),
        WantedKey::Sequence { key, .. } => ("sequence-key", key),
    };
    json!({
        "code": error.code,
        "message": error.message,
        "type": error.wanted.kind,
        name: key,
    })
}
