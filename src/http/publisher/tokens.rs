//! Credentials of publisher clients: roots, log-in, refresh and exchange (publisher-api.md 3, admin-api.md 2.2).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Input, Json, Outcome, Publisher};
use crate::app::credentials::{self, Asked, Binding, MAX_LIFE};
use crate::app::{App, Caller, OwnCtx, Password, Place, Reason, Refusal, SnapCtx, login};
use crate::domain::access::limits::MAX_ENTRIES;
use crate::domain::access::vocabulary::Vocabulary;
use crate::domain::access::{Limits, Permission};
use crate::domain::ident::{SnapId, SnapName};
use crate::domain::time::Timestamp;
use crate::http::auth;
use crate::http::endpoint::Endpoint;
use crate::http::fault::{Fault, PublisherDialect};

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    vec![
        publisher.open_post("/dev/api/acl", "Ask for a root macaroon", root),
        publisher.open_post("/api/v2/tokens", "Ask for a root macaroon", root),
        publisher.open_post("/v1/tokens", "Ask for a root macaroon", root),
        publisher.open_post("/v1/tokens/usso", "Ask for a root macaroon", root),
        publisher.open_get("/v1/tokens", "Ask for a root macaroon without limits", whole_root),
        publisher.open_post(
            "/dev/api/acl/verify",
            "Say what credentials in the body are good for",
            verify,
        ),
        publisher.open_post(
            "/api/v2/tokens/discharge",
            "Log in: discharge a root macaroon with a password or a token",
            discharge,
        ),
        publisher.open_post("/api/v2/tokens/refresh", "Refresh a discharge", refresh),
        publisher.open_post(
            "/api/v2/tokens/exchange",
            "Exchange macaroons for one text",
            exchange,
        ),
        publisher.open_post("/v1/tokens/exchange", "Exchange macaroons for one text", exchange),
        publisher.open_post(
            "/v1/tokens/dashboard/exchange",
            "Exchange macaroons for one text",
            exchange,
        ),
        publisher.open_post(
            "/v1/tokens/usso/exchange",
            "Exchange macaroons, the discharge as it is, for one text",
            exchange_unbound,
        ),
        publisher.open_post(
            "/v1/tokens/offline/exchange",
            "Exchange a secret for a text",
            exchange_secret,
        ),
        publisher.get(
            "/dev/api/agreement",
            Permission::OwnRead,
            "Say that there is nothing to agree to",
            agreement,
        ),
        publisher.post(
            "/dev/api/agreement",
            Permission::OwnRead,
            "Take an agreement to nothing",
            agree,
        ),
    ]
}

/// One text that clients keep.
#[derive(Debug, Serialize)]
struct MacaroonView {
    macaroon: String,
}

/// What a client wants to be able to do. Other fields are let pass.
#[derive(Debug, Deserialize)]
struct AclRequest {
    permissions: Option<Vec<String>>,
    description: Option<String>,
    /// A time, in one of the forms clients take from their users.
    expires: Option<String>,
    /// Life in seconds.
    ttl: Option<i64>,
    packages: Option<Vec<PackageRef>>,
    channels: Option<Vec<String>>,
    #[serde(alias = "store-ids")]
    store_ids: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct PackageRef {
    name: String,
}

/// `POST /dev/api/acl/` and its kin.
async fn root(app: App, input: Input<Json<AclRequest>>) -> Outcome<Json<MacaroonView>> {
    let Json(request) = input.body;
    let macaroon = credentials::issue_root(&app, &asked(&app, request)?)?;
    Ok(Json(MacaroonView { macaroon }))
}

/// `GET /v1/tokens`.
async fn whole_root(app: App, _input: Input) -> Outcome<Json<MacaroonView>> {
    let macaroon = credentials::issue_root(&app, &Asked::default())?;
    Ok(Json(MacaroonView { macaroon }))
}

fn asked(app: &App, request: AclRequest) -> Result<Asked, Refusal> {
    let packages = request
        .packages
        .map(|all| all.into_iter().map(|one| one.name).collect());
    let expires = match (request.expires, request.ttl) {
        (Some(text), None) => Some(moment(&text)?),
        (None, Some(ttl)) if (1..=MAX_LIFE).contains(&ttl) => Some(app.clock.now().plus_seconds(ttl)),
        (None, None) => None,
        (Some(_), Some(_)) => {
            return Err(Refusal::invalid(
                "invalid-expiry",
                "cannot give credentials: `expires` and `ttl` exclude each other",
            ));
        }
        (None, Some(_)) => {
            return Err(Refusal::invalid(
                "invalid-expiry",
                "cannot give credentials: `ttl` is to be 1 second to ten years",
            ));
        }
    };
    Ok(Asked {
        words: request.permissions,
        limits: Limits {
            packages: listed("packages", packages)?,
            channels: listed("channels", request.channels)?.into_iter().collect(),
            stores: listed("store_ids", request.store_ids)?,
        },
        expires,
        description: request.description,
    })
}

/// A list of limits. An empty one would mean nothing at all, which nobody asks for.
fn listed<T>(what: &str, texts: Option<Vec<String>>) -> Result<Option<BTreeSet<T>>, Refusal>
where
    T: std::str::FromStr + Ord,
    T::Err: std::fmt::Display,
{
    let Some(texts) = texts else { return Ok(None) };
    if texts.is_empty() || texts.len() > MAX_ENTRIES {
        return Err(Refusal::invalid(
            "invalid-request",
            format!("cannot limit {what}: name 1 to {MAX_ENTRIES} of them, or leave the field out"),
        ));
    }
    texts
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|error| Refusal::invalid("invalid-request", format!("cannot limit {what}: {error}")))
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// A time as users of clients write it: with or without a zone (UTC then), with a blank for the `T`, or a day.
fn moment(text: &str) -> Result<Timestamp, Refusal> {
    let text = text.trim();
    let joined = text.replacen(' ', "T", 1);
    let tries = [
        joined.clone(),
        format!("{joined}Z"),
        format!("{joined}T00:00:00Z"),
    ];
    tries.iter().find_map(|text| text.parse().ok()).ok_or_else(|| {
        Refusal::invalid(
            "invalid-expiry",
            format!(
                "cannot read the time {:?}: write 2027-06-01T12:00:00Z",
                text.chars().take(64).collect::<String>()
            ),
        )
    })
}

#[derive(Debug, Deserialize)]
struct Login {
    email: String,
    password: Password,
    caveat_id: String,
    otp: Option<String>,
}

#[derive(Debug, Serialize)]
struct DischargeView {
    discharge_macaroon: String,
}

/// `POST /api/v2/tokens/discharge`: some clients look for code and message beside the list, in capitals.
async fn discharge(app: App, input: Input<Json<Login>>) -> Outcome<Json<DischargeView>> {
    let Json(Login {
        email,
        password,
        caveat_id,
        otp,
    }) = input.body;
    match credentials::log_in(&app, input.peer, &caveat_id, &email, password, otp.as_deref()).await {
        Ok(discharged) => Ok(Json(DischargeView {
            discharge_macaroon: discharged.text,
        })),
        Err(refusal) => {
            let code = refusal.code.to_ascii_uppercase().replace('-', "_");
            let message = refusal.message.clone();
            Err(Fault::from(refusal)
                .with_member("code", code)
                .with_member("message", message))
        }
    }
}

#[derive(Debug, Deserialize)]
struct OldDischarge {
    discharge_macaroon: String,
}

/// `POST /api/v2/tokens/refresh`.
async fn refresh(app: App, input: Input<Json<OldDischarge>>) -> Outcome<Json<DischargeView>> {
    let Json(OldDischarge { discharge_macaroon }) = input.body;
    let discharged = credentials::refresh(&app, &discharge_macaroon).await?;
    Ok(Json(DischargeView {
        discharge_macaroon: discharged.text,
    }))
}

/// Whatever clients put into the body of an exchange: it has no meaning here.
#[derive(Debug, Deserialize)]
struct Anything {}

/// `POST /v1/tokens/exchange` and its kin: macaroons come in `Authorization`, or as a list in `Macaroons`.
async fn exchange(app: App, input: Input<Json<Anything>>) -> Outcome<Json<MacaroonView>> {
    exchange_as(&app, input, Binding::Bound).await
}

/// `POST /v1/tokens/usso/exchange`: the discharge may be as the log-in gave it (admin-api.md 2.2).
async fn exchange_unbound(app: App, input: Input<Json<Anything>>) -> Outcome<Json<MacaroonView>> {
    exchange_as(&app, input, Binding::Any).await
}

async fn exchange_as(
    app: &App,
    input: Input<Json<Anything>>,
    binding: Binding,
) -> Outcome<Json<MacaroonView>> {
    let Json(Anything {}) = input.body;
    let credential = input.presented.credential()?;
    let macaroon = credentials::exchange(app, credential, binding).await?;
    Ok(Json(MacaroonView { macaroon }))
}

#[derive(Deserialize)]
struct Secret {
    macaroon: String,
}

/// `POST /v1/tokens/offline/exchange`: the secret an administrator gave to a publisher is one of their tokens.
async fn exchange_secret(app: App, input: Input<Json<Secret>>) -> Outcome<Json<MacaroonView>> {
    let Json(Secret { macaroon }) = input.body;
    let macaroon = credentials::exchange_secret(&app, &macaroon).await?;
    Ok(Json(MacaroonView { macaroon }))
}

#[derive(Deserialize)]
struct VerifyRequest {
    auth_data: AuthData,
}

#[derive(Deserialize)]
struct AuthData {
    authorization: String,
}

#[derive(Debug, Default, Serialize)]
struct Verdict {
    allowed: bool,
    refresh_required: bool,
    account: Option<VerifiedAccount>,
    permissions: Option<Vec<String>>,
    snap_ids: Option<Vec<SnapId>>,
    channels: Option<Vec<String>>,
    expires: Option<String>,
}

#[derive(Debug, Serialize)]
struct VerifiedAccount {
    email: String,
    displayname: String,
    openid: String,
    verified: bool,
}

/// `POST /dev/api/acl/verify/`: what is no good is no error, but an answer.
async fn verify(app: App, input: Input<Json<VerifyRequest>>) -> Outcome<Json<Verdict>> {
    let Json(VerifyRequest {
        auth_data: AuthData { authorization },
    }) = input.body;
    let Some(credential) = auth::credential(&authorization) else {
        return Ok(Json(Verdict::default()));
    };
    let caller = match Caller::identify(&app, Some(&credential)).await {
        Ok(caller) => caller,
        Err(refusal) if refusal.reason == Reason::Unauthenticated => {
            return Ok(Json(Verdict {
                refresh_required: refusal.code == "macaroon-needs-refresh",
                ..Verdict::default()
            }));
        }
        Err(other) => return Err(other.into()),
    };
    let ctx: OwnCtx = caller.authorize(&app, Permission::OwnRead, None).await?;
    let account = login::whoami(&app, &ctx).await?.account;
    let token = caller.token();
    let snap_ids = match &token.limits.packages {
        Some(names) => Some(ids(&app, &caller, names).await?),
        None => None,
    };
    let words = super::whoami::words(token, Vocabulary::Dashboard);
    Ok(Json(Verdict {
        allowed: true,
        refresh_required: false,
        account: Some(VerifiedAccount {
            email: account.email.to_string(),
            displayname: account.display_name,
            openid: account.id.to_string(),
            verified: true,
        }),
        permissions: words,
        snap_ids,
        channels: super::whoami::channels(token),
        expires: Some(super::whoami::without_zone(token.expires)),
    }))
}

/// The ids of those of these snaps that the caller can do something with.
async fn ids(app: &App, caller: &Caller, names: &BTreeSet<SnapName>) -> Result<Vec<SnapId>, Refusal> {
    use Permission as P;
    let mut ids = Vec::new();
    for name in names {
        for permission in [P::SnapRead, P::SnapPublish, P::SnapEdit, P::SnapRelease] {
            let place = Place::Snap(name.clone());
            match caller.authorize::<SnapCtx>(app, permission, place).await {
                Ok(ctx) => {
                    ids.push(ctx.snap().id.clone());
                    break;
                }
                Err(refusal) if refusal.reason == Reason::NotFound => {}
                Err(other) => return Err(other),
            }
        }
    }
    Ok(ids)
}

#[derive(Debug, Serialize)]
struct AgreementView {
    content: &'static str,
    latest_tos_accepted: bool,
}

/// Who has an account has agreed to what its operator asks for.
const AGREED: AgreementView = AgreementView {
    content: "",
    latest_tos_accepted: true,
};

/// `GET /dev/api/agreement/`.
async fn agreement(_app: App, _ctx: OwnCtx, _input: Input) -> Outcome<Json<AgreementView>> {
    Ok(Json(AGREED))
}

#[derive(Debug, Deserialize)]
struct Agreement {
    latest_tos_accepted: bool,
}

/// `POST /dev/api/agreement/`.
async fn agree(_app: App, _ctx: OwnCtx, input: Input<Json<Agreement>>) -> Outcome<Json<AgreementView>> {
    let Json(Agreement { latest_tos_accepted }) = input.body;
    if latest_tos_accepted {
        return Ok(Json(AGREED));
    }
    Err(Fault::<PublisherDialect>::invalid(
        "invalid-request",
        "cannot take this: there is no agreement to withdraw",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_users_write_them() {
        for (text, time) in [
            ("2027-11-21T16:57:19+00:00", "2027-11-21T16:57:19Z"),
            ("2027-06-01 00:00:00", "2027-06-01T00:00:00Z"),
            ("2027-06-01T12:00:00", "2027-06-01T12:00:00Z"),
            ("2027-06-01T12:00:00Z", "2027-06-01T12:00:00Z"),
            ("2027-06-01T12:00:00+02:00", "2027-06-01T10:00:00Z"),
            ("2027-06-01", "2027-06-01T00:00:00Z"),
        ] {
            assert_eq!(moment(text).unwrap().to_string(), time, "{text}");
        }
        for bad in ["", "tomorrow", "2027-13-01", "2027-06-01T12", "2027-06-01Z"] {
            assert_eq!(moment(bad).unwrap_err().code, "invalid-expiry", "{bad}");
        }
    }
}
