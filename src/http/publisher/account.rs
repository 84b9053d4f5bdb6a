//! What an account has, and names (publisher-api.md 6.2, 6.3; admin-api.md 2.4).

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use warp::reply::Response;

use super::{Created, Fault, Input, Json, Outcome, Publisher};
use crate::app::catalog::names::{self, NameTrouble, Wanted};
use crate::app::catalog::overview::{self, Overview};
use crate::app::store::SnapEntry;
use crate::app::{App, BrandCtx, OwnCtx, Refusal, SnapCtx, UnplacedCtx};
use crate::domain::access::{Permission, Role};
use crate::domain::assertion::Assertion;
use crate::domain::ident::{SnapName, StoreId};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;
use crate::http::reply;

/// The one series, as clients ask for it.
const SERIES: &str = "16";

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.get(
            "/dev/api/account",
            P::OwnRead,
            "Show an account with its keys, stores and snaps",
            account,
        ),
        publisher.post(
            "/dev/api/register-name{?dry_run}",
            P::SnapRegister,
            "Register the name of a snap",
            register,
        ),
        publisher.post(
            "/dev/api/register-name-dispute",
            P::OwnAccount,
            "Claim the name of somebody else's snap",
            dispute,
        ),
        publisher.get(
            "/dev/api/snaps/info/{snap}",
            P::SnapRead,
            "Show where a snap is registered",
            info,
        ),
    ]
}

/// An account-key as account clients read it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct KeyView {
    name: String,
    #[serde(rename = "public-key-sha3-384")]
    id: String,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    constraints: Option<Value>,
}

impl KeyView {
    fn of(key: &Assertion) -> Self {
        let text = |name: &str| key.text(name).unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            id: text("public-key-sha3-384"),
            since: text("since"),
            until: key.text("until").map(str::to_owned),
            constraints: key.headers().get("constraints").map(reply::header),
        }
    }
}

/// Clients of different age read different spellings of the same.
fn render(found: &Overview, now: Timestamp) -> Value {
    let account = &found.account;
    let keys: Vec<KeyView> = found.keys.iter().map(KeyView::of).collect();
    let stores: Vec<Value> = found
        .stores
        .iter()
        .map(|(store, roles)| {
            let roles = roles.iter().filter(|role| **role != Role::Brand);
            let roles: Vec<&str> = roles.map(|role| role.wire()).collect();
            json!({"id": store.id, "name": store.name, "roles": roles})
        })
        .collect();
    let snaps: BTreeMap<&SnapName, Value> = found
        .snaps
        .iter()
        .map(|entry| {
            let store = &entry.record.store_id;
            let store = found
                .store_names
                .get(store)
                .map_or(store.as_str(), String::as_str);
            (&entry.record.name, snap(entry, store, now))
        })
        .collect();
    json!({
        "id": account.id,
        "account_id": account.id,
        "email": account.email,
        "username": account.username,
        "short_namespace": account.username,
        "displayname": account.display_name,
        "display-name": account.display_name,
        "validation": found.validation,
        "account_keys": keys,
        "account-keys": keys,
        "stores": stores,
        "snaps": { SERIES: snaps },
    })
}

fn snap(entry: &SnapEntry, store: &str, now: Timestamp) -> Value {
    let (snap, publisher) = (&entry.record, &entry.publisher);
    let latest = entry.revisions.values().next_back().map(|revision| {
        let released = snap.releases.listed(now).into_iter();
        let channels: Vec<String> = released
            .filter(|open| open.revision == revision.revision)
            .map(|open| open.channel.short())
            .collect();
        json!({
            "architectures": revision.architectures,
            "channels": channels,
            "revision": revision.revision,
            "since": revision.created,
            "status": super::releases::status(snap, revision, now),
            "version": revision.version,
        })
    });
    json!({
        "snap-id": snap.id,
        // What its declaration takes away from everybody is not there for its publisher either.
        "status": if snap.revoked { "Revoked" } else { "Approved" },
        "private": snap.private,
        "unlisted": false,
        "since": snap.created,
        "price": null,
        "icon_url": null,
        "store": store,
        "latest_revisions": latest.into_iter().collect::<Vec<_>>(),
        "latest_comments": [],
        "publisher": {
            "id": publisher.id,
            "username": publisher.username,
            "display-name": publisher.display_name,
            "validation": publisher.validation,
        },
    })
}

async fn account(app: App, ctx: OwnCtx, _input: Input) -> Outcome<Json<Value>> {
    let found = overview::overview(&app, &ctx).await?;
    Ok(Json(render(&found, app.clock.now())))
}

#[derive(Debug, Deserialize)]
struct RegisterBody {
    snap_name: String,
    #[serde(default)]
    is_private: Option<bool>,
    #[serde(default)]
    store: Option<String>,
    #[serde(default)]
    series: Option<String>,
}

/// Where somebody can do something about a name.
fn names_url(app: &App) -> String {
    format!("{}/", app.settings.public_url)
}

impl Fault {
    /// Clients look in both places.
    fn everywhere(self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.with_extra(name, value.clone()).with_member(name, value)
    }
}

pub(super) fn trouble(app: &App, name: &str, trouble: NameTrouble) -> Fault {
    let conflict = |code, why: &str| {
        let message = format!("cannot register {name}: {why}");
        Fault::new(StatusCode::CONFLICT, code, message).everywhere("register_name_url", names_url(app))
    };
    match trouble {
        NameTrouble::Owned => conflict("already_owned", "you have this name already"),
        NameTrouble::Taken => conflict(
            "already_registered",
            "somebody else has registered this name; choose another one, or dispute it",
        ),
        NameTrouble::Reserved => conflict(
            "reserved_name",
            "it is reserved: only the operator of this store hosts it",
        ),
        NameTrouble::Window { retry_after } => Fault::new(
            StatusCode::TOO_MANY_REQUESTS,
            "register_window",
            format!(
                "cannot register {name}: you registered many names lately; try again in {retry_after} seconds"
            ),
        )
        .everywhere("register_name_url", names_url(app))
        .everywhere("retry_after", retry_after)
        .wait(u32::try_from(retry_after).ok()),
        NameTrouble::Refused(refusal) => refusal.into(),
    }
}

/// Leave to register names in a store, or in the only brand of the caller.
pub(super) async fn registering(app: &App, ctx: &UnplacedCtx, store: Option<&str>) -> Outcome<BrandCtx> {
    let store: Option<StoreId> = match store.map(str::parse) {
        None => None,
        Some(Ok(store)) => Some(store),
        Some(Err(_)) => {
            return Err(Refusal::not_found("cannot find the store: this is no id of a store").into());
        }
    };
    Ok(names::place(app, ctx, store.as_ref()).await?)
}

async fn register(app: App, ctx: UnplacedCtx, input: Input<Json<RegisterBody>>) -> Outcome<Response> {
    let dry_run = matches!(
        input.query::<String>("dry_run")?.as_deref(),
        Some("1" | "true" | "True")
    );
    let Json(body) = input.body;
    let brand = registering(&app, &ctx, body.store.as_deref()).await?;
    if body.series.as_deref().is_some_and(|series| series != SERIES) {
        return Err(
            Refusal::invalid("invalid", "cannot register the name: there is no series but 16").into(),
        );
    }
    let name: SnapName = body
        .snap_name
        .parse()
        .map_err(|error| Refusal::invalid("invalid", format!("cannot register the name: {error}")))?;
    let wanted = Wanted {
        name,
        store: body.store.and_then(|store| store.parse().ok()),
        private: body.is_private.unwrap_or(false),
        dry_run,
    };
    let taken = names::claim(&app, &brand, &wanted).await;
    let snap = taken.map_err(|why| trouble(&app, wanted.name.as_str(), why))?;
    let status = if snap.is_some() {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let answer = json!({"snap_id": snap.map(|snap| snap.id), "snap_name": wanted.name});
    Ok(reply::json_with(status, &answer))
}

#[derive(Debug, Deserialize)]
struct DisputeBody {
    snap_name: String,
    #[serde(default)]
    comment: Option<String>,
}

async fn dispute(app: App, ctx: OwnCtx, input: Input<Json<DisputeBody>>) -> Outcome<Created<Value>> {
    let Json(body) = input.body;
    let name: SnapName = body
        .snap_name
        .parse()
        .map_err(|error| Refusal::invalid("invalid", format!("cannot dispute the name: {error}")))?;
    names::dispute(&app, &ctx, &name, &body.comment.unwrap_or_default()).await?;
    Ok(Created(json!({
        "snap_name": name,
        "status": "recorded",
        "message": "recorded for the administrators of the store, who decide about it",
    })))
}

async fn info(_app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<Value>> {
    let snap = ctx.snap();
    Ok(Json(json!({
        "snap_id": snap.id,
        "snap_name": snap.name,
        "store": snap.store_id,
        "title": snap.listing.title.as_deref().unwrap_or(snap.name.as_str()),
    })))
}
