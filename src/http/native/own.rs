//! One's own account: log-in, password, tokens.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::accounts::AccountView;
use super::{Created, Input, Json, Native, NoContent, Outcome};
use crate::app::login::{self, Identity, Session};
use crate::app::terminal::{self, Invitation};
use crate::app::tokens::{self, NewToken, Use};
use crate::app::{App, OwnCtx, Password};
use crate::domain::access::{Limits, Membership, Pattern, Permission, Role, Token};
use crate::domain::ident::{AccountId, BrandId, Email, SnapName, StoreId};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.open_post(
            "/hallmark/v1/login",
            "Log in with a password; answers with a token",
            log_in,
        ),
        native.open_post(
            "/hallmark/v1/login/web",
            "Ask to be let in by who is signed in with a browser",
            ask,
        ),
        native.post(
            "/hallmark/v1/logout",
            P::OwnRead,
            "End the token of this request",
            log_out,
        ),
        native.get(
            "/hallmark/v1/whoami",
            P::OwnRead,
            "Show who is calling, and with which roles",
            whoami,
        ),
        native.put(
            "/hallmark/v1/password",
            P::OwnCredentials,
            "Change one's own password",
            password,
        ),
        native.get(
            "/hallmark/v1/tokens",
            P::OwnAccount,
            "List one's tokens",
            list_tokens,
        ),
        native.post(
            "/hallmark/v1/tokens",
            P::OwnCredentials,
            "Make a token for programs",
            create_token,
        ),
        native.delete(
            "/hallmark/v1/tokens/{token}",
            P::OwnAccount,
            "Revoke one of one's tokens",
            revoke_token,
        ),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Credentials {
    email: String,
    password: Password,
    /// A code of the second factor, or a recovery code.
    #[serde(default)]
    otp: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SessionView {
    token: String,
    expires: Timestamp,
    id: AccountId,
    email: Email,
}

async fn log_in(app: App, input: Input<Json<Credentials>>) -> Outcome<Created<SessionView>> {
    let Json(Credentials {
        email,
        password,
        otp,
        description,
    }) = input.body;
    let description = description.as_deref().unwrap_or("log-in");
    let Session { account, token, text } =
        login::login(&app, input.peer, &email, password, otp.as_deref(), description).await?;
    let (id, email, expires) = (account.id, account.email, token.expires);
    Ok(Created(SessionView {
        token: text.reveal().to_owned(),
        expires,
        id,
        email,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TerminalRequest {
    /// SHA-256 of the token the program has made, lower-case hex.
    hash: String,
    #[serde(default)]
    description: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct InvitationView {
    url: String,
    expires: Timestamp,
}

async fn ask(app: App, input: Input<Json<TerminalRequest>>) -> Outcome<Created<InvitationView>> {
    let Json(TerminalRequest { hash, description }) = input.body;
    let description = description.as_deref().unwrap_or("terminal");
    let Invitation { url, expires } = terminal::ask(&app, input.peer, &hash, description)?;
    Ok(Created(InvitationView { url, expires }))
}

async fn log_out(app: App, ctx: OwnCtx, _input: Input) -> Outcome<NoContent> {
    login::logout(&app, &ctx).await?;
    Ok(NoContent)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct IdentityView {
    #[serde(flatten)]
    account: AccountView,
    memberships: Vec<MembershipView>,
    token: TokenView,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct MembershipView {
    brand_id: BrandId,
    store_id: StoreId,
    roles: Vec<Role>,
}

async fn whoami(app: App, ctx: OwnCtx, _input: Input) -> Outcome<Json<IdentityView>> {
    let Identity {
        account,
        memberships,
        token,
    } = login::whoami(&app, &ctx).await?;
    let view = |Membership {
                    brand_id,
                    store_id,
                    roles,
                    ..
                }| MembershipView {
        brand_id,
        store_id,
        roles,
    };
    let memberships = memberships.into_iter().map(view).collect();
    Ok(Json(IdentityView {
        account: account.into(),
        memberships,
        token: token.into(),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    current: Password,
    new: Password,
}

async fn password(app: App, ctx: OwnCtx, input: Input<Json<PasswordChange>>) -> Outcome<NoContent> {
    let Json(PasswordChange { current, new }) = input.body;
    login::change_password(&app, &ctx, input.peer, current, new).await?;
    Ok(NoContent)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct TokenView {
    id: String,
    description: String,
    /// `log-in`, `publisher` (a log-in of a publisher client) or `program`.
    kind: &'static str,
    permissions: Option<Vec<String>>,
    /// What it is limited to besides; null = not.
    packages: Option<BTreeSet<SnapName>>,
    channels: Option<BTreeSet<Pattern>>,
    store_ids: Option<BTreeSet<StoreId>>,
    brand_id: Option<BrandId>,
    created_at: Timestamp,
    expires: Timestamp,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        Self {
            id: token.id,
            description: token.description,
            kind: match (token.person, token.publisher) {
                (true, _) => "log-in",
                (false, true) => "publisher",
                (false, false) => "program",
            },
            permissions: token.permissions,
            packages: token.limits.packages,
            channels: token.limits.channels.into_iter().next(),
            store_ids: token.limits.stores,
            brand_id: token.brand_id,
            created_at: token.created,
            expires: token.expires,
        }
    }
}

async fn list_tokens(app: App, ctx: OwnCtx, _input: Input) -> Outcome<Json<Vec<TokenView>>> {
    Ok(Json(
        tokens::list(&app, &ctx)
            .await?
            .into_iter()
            .map(TokenView::from)
            .collect(),
    ))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TokenRequest {
    #[serde(rename = "for")]
    purpose: Use,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    brand_id: Option<BrandId>,
    /// Life in seconds.
    #[serde(default)]
    ttl: Option<i64>,
    /// Only for these snaps.
    #[serde(default)]
    packages: Option<BTreeSet<SnapName>>,
    /// Only for channels that one of these patterns fits.
    #[serde(default)]
    channels: Option<BTreeSet<Pattern>>,
    /// Only for these stores.
    #[serde(default)]
    store_ids: Option<BTreeSet<StoreId>>,
}

#[derive(Serialize)]
struct NewTokenView {
    #[serde(flatten)]
    record: TokenView,
    token: String,
}

async fn create_token(
    app: App,
    ctx: OwnCtx,
    input: Input<Json<TokenRequest>>,
) -> Outcome<Created<NewTokenView>> {
    let Json(TokenRequest {
        purpose,
        description,
        brand_id,
        ttl,
        packages,
        channels,
        store_ids,
    }) = input.body;
    let description = description.unwrap_or_else(|| purpose.name().to_owned());
    let new = NewToken {
        purpose,
        description,
        brand: brand_id,
        life: ttl,
        limits: Limits {
            packages,
            channels: channels.into_iter().collect(),
            stores: store_ids,
        },
    };
    let (record, text) = tokens::create(&app, &ctx, new).await?;
    Ok(Created(NewTokenView {
        record: record.into(),
        token: text.reveal().to_owned(),
    }))
}

async fn revoke_token(app: App, ctx: OwnCtx, input: Input) -> Outcome<NoContent> {
    tokens::revoke(&app, &ctx, &input.variable::<String>("token")?).await?;
    Ok(NoContent)
}
