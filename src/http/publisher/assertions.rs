//! Keys, and what publishers sign with them: builds, validations, validation sets (publisher-api.md 6.13-6.15). Some
//! clients forbid keys they do not know, so headers are told by a list.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use warp::reply::Response;

use super::{Created, Input, Json, Outcome, Publisher, Raw};
use crate::app::catalog::vouching::{self, Approval, Named, Which};
use crate::app::{App, OwnCtx, Refusal, SnapCtx, own_keys};
use crate::domain::access::Permission;
use crate::domain::assertion::Assertion;
use crate::domain::ident::SnapName;
use crate::http::endpoint::Endpoint;
use crate::http::reply;

/// Longest assertion that is taken, in bytes.
pub(super) const MAX_ASSERTION: usize = 1024 * 1024;
/// Most snaps of one validation set.
const MAX_SNAPS: usize = 1000;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.post(
            "/dev/api/account/account-key",
            P::OwnKeys,
            "Register a key of one's own",
            register_key,
        ),
        publisher.post(
            "/dev/api/snaps/{snap-id}/builds",
            P::SnapPublish,
            "Keep a snap-build",
            add_build,
        ),
        publisher.get(
            "/dev/api/snaps/{snap-id}/validations{?include_revoked}",
            P::SnapRead,
            "List the revisions of other snaps that a snap lets through",
            validations,
        ),
        publisher.put(
            "/dev/api/snaps/{snap-id}/validations",
            P::SnapEdit,
            "Keep a validation",
            add_validation,
        ),
        publisher.get(
            "/api/v2/validation-sets{?sequence}",
            P::OwnRead,
            "List one's validation sets",
            sets,
        ),
        publisher.get(
            "/api/v2/validation-sets/{name}{?sequence}",
            P::OwnRead,
            "Show one of one's validation sets",
            sets,
        ),
        publisher.post(
            "/api/v2/validation-sets/build-assertion",
            P::OwnRead,
            "Complete the headers of a validation set that is to be signed",
            build_set,
        ),
        publisher.post(
            "/api/v2/validation-sets",
            P::OwnVouch,
            "Keep a signed validation set",
            add_set,
        ),
    ]
}

#[derive(Debug, Deserialize)]
struct KeyBody {
    account_key_request: String,
}

async fn register_key(app: App, ctx: OwnCtx, input: Input<Json<KeyBody>>) -> Outcome<Created<Value>> {
    let key = own_keys::register(&app, &ctx, &input.body.0.account_key_request).await?;
    Ok(Created(json!({
        "account-key": String::from_utf8_lossy(key.encoded()),
        "public-key-sha3-384": key.text("public-key-sha3-384"),
    })))
}

#[derive(Debug, Deserialize)]
struct AssertionBody {
    assertion: String,
}

async fn add_build(app: App, ctx: SnapCtx, input: Input<Json<AssertionBody>>) -> Outcome<Created<Value>> {
    vouching::add_build(&app, &ctx, &input.body.0.assertion).await?;
    Ok(Created(json!({"success": true})))
}

/// The headers of an assertion that clients know, and no others.
pub(super) fn headers(assertion: &Assertion, known: &[&str]) -> Map<String, Value> {
    let header = |name: &&str| {
        let value = assertion.headers().get(name)?;
        Some(((*name).to_owned(), reply::header(value)))
    };
    known.iter().filter_map(header).collect()
}

fn approval(approval: &Approval) -> Value {
    let mut told = headers(
        &approval.assertion,
        &[
            "type",
            "authority-id",
            "series",
            "snap-id",
            "approved-snap-id",
            "approved-snap-revision",
            "timestamp",
            "revoked",
            "revision",
            "sign-key-sha3-384",
        ],
    );
    let name = approval.approved.as_ref().map(ToString::to_string);
    told.insert("approved-snap-name".to_owned(), name.unwrap_or_default().into());
    told.insert("required".to_owned(), true.into());
    told.into()
}

async fn validations(app: App, ctx: SnapCtx, input: Input) -> Outcome<Json<Vec<Value>>> {
    let revoked = input.query::<String>("include_revoked")?;
    let revoked = matches!(revoked.as_deref(), Some("1" | "true" | "True"));
    let found = vouching::validations(&app, &ctx, revoked).await?;
    Ok(Json(found.iter().map(approval).collect()))
}

async fn add_validation(app: App, ctx: SnapCtx, input: Input<Json<AssertionBody>>) -> Outcome<Json<Value>> {
    let assertion = vouching::add_validation(&app, &ctx, &input.body.0.assertion).await?;
    Ok(Json(approval(&Approval {
        assertion,
        approved: None,
    })))
}

fn set(assertion: &Assertion) -> Value {
    json!({"headers": headers(assertion, &[
        "type", "authority-id", "series", "account-id", "name", "sequence", "revision", "timestamp", "snaps",
        "sign-key-sha3-384",
    ])})
}

async fn sets(app: App, ctx: OwnCtx, input: Input) -> Outcome<Json<Value>> {
    let name: String = input.variable("name").unwrap_or_default();
    let which = match input.query::<String>("sequence")?.as_deref() {
        None | Some("latest") => Which::Latest,
        Some("all") => Which::All,
        Some(number) => match number.parse() {
            Ok(number) => Which::One(number),
            Err(_) => {
                return Err(Refusal::invalid(
                    "invalid-request",
                    "cannot read the query: sequence is a number, latest or all",
                )
                .into());
            }
        },
    };
    let name = Some(name.as_str()).filter(|name| !name.is_empty());
    let found = vouching::validation_sets(&app, &ctx, name, which).await?;
    let assertions: Vec<Value> = found.iter().map(set).collect();
    Ok(Json(json!({ "assertions": assertions })))
}

/// Clients send numbers as numbers or as text.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

impl Number {
    fn read(&self) -> Result<u64, Refusal> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
        .filter(|number| *number > 0)
        .ok_or_else(|| {
            Refusal::invalid(
                "invalid-request",
                "cannot make the validation set: sequence and revisions are numbers from 1 on",
            )
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SetBody {
    account_id: String,
    name: String,
    sequence: Number,
    snaps: Vec<SetSnapBody>,
}

#[derive(Debug, Deserialize)]
struct SetSnapBody {
    name: SnapName,
    #[serde(default)]
    presence: Option<String>,
    #[serde(default)]
    revision: Option<Number>,
    #[serde(default)]
    components: Option<Map<String, Value>>,
}

/// Scalars come out as text, as assertions have them.
async fn build_set(app: App, ctx: OwnCtx, input: Input<Json<SetBody>>) -> Outcome<Json<Value>> {
    let Json(body) = input.body;
    let sequence = body.sequence.read()?;
    if body.snaps.is_empty() || body.snaps.len() > MAX_SNAPS {
        return Err(Refusal::invalid(
            "invalid-request",
            format!("cannot make the validation set: it has 1 to {MAX_SNAPS} snaps"),
        )
        .into());
    }
    let mut named = Vec::new();
    for snap in &body.snaps {
        named.push(Named {
            name: snap.name.clone(),
            revision: snap.revision.as_ref().map(Number::read).transpose()?,
        });
    }
    let draft = vouching::draft_set(&app, &ctx, &body.account_id, &body.name, sequence, &named).await?;
    let mut snaps = Vec::new();
    for ((snap, named), id) in body.snaps.into_iter().zip(named).zip(draft.snaps) {
        let mut told = Map::new();
        told.insert("id".to_owned(), json!(id));
        told.insert("name".to_owned(), json!(named.name));
        if let Some(presence) = snap.presence {
            told.insert("presence".to_owned(), presence.into());
        }
        if let Some(revision) = named.revision {
            told.insert("revision".to_owned(), revision.to_string().into());
        }
        if let Some(components) = snap.components.filter(|components| !components.is_empty()) {
            told.insert("components".to_owned(), as_text(Value::Object(components)));
        }
        snaps.push(Value::Object(told));
    }
    Ok(Json(json!({
        "type": "validation-set",
        "authority-id": draft.account,
        "series": "16",
        "account-id": draft.account,
        "name": body.name,
        "sequence": sequence.to_string(),
        "revision": draft.revision.to_string(),
        "timestamp": app.clock.now(),
        "snaps": snaps,
    })))
}

/// Scalars as text, which is all that assertions know.
pub(super) fn as_text(value: Value) -> Value {
    match value {
        Value::Number(number) => number.to_string().into(),
        Value::Bool(flag) => flag.to_string().into(),
        Value::Object(map) => {
            let entries = map.into_iter().map(|(name, value)| (name, as_text(value)));
            Value::Object(entries.collect())
        }
        Value::Array(items) => items.into_iter().map(as_text).collect(),
        Value::Null | Value::String(_) => value,
    }
}

async fn add_set(app: App, ctx: OwnCtx, input: Input<Raw<MAX_ASSERTION>>) -> Outcome<Response> {
    let Raw(text) = input.body;
    let assertion = vouching::add_set(&app, &ctx, &text).await?;
    let answer = json!({"assertions": [set(&assertion)]});
    Ok(reply::json_with(StatusCode::CREATED, &answer))
}
