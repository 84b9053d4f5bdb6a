//! Invites into stores.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::accounts::email;
use super::brands::MemberView;
use super::{Created, Input, Json, Native, Outcome};
use crate::app::invites::{self, Newcomer, Preview, Sent, Takes};
use crate::app::members::Assignment;
use crate::app::{App, Password, Refusal, StoreCtx};
use crate::domain::access::{InviteAction, InviteStatus, Permission, Role, StoreInvite};
use crate::domain::ident::{AccountId, Email, StoreId, Username};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/stores/{store}/invites",
            P::MemberManage,
            "List who was invited into a store",
            list,
        ),
        native.post(
            "/hallmark/v1/stores/{store}/invites",
            P::MemberManage,
            "Invite somebody into a store; answers with what accepts it",
            send,
        ),
        native.post(
            "/hallmark/v1/stores/{store}/invites/{email}/{action}",
            P::MemberManage,
            "Resend, revoke or open an invite",
            act,
        ),
        native.open_post(
            "/hallmark/v1/invites/show",
            "Show an invite to who holds its text",
            show,
        ),
        native.open_post(
            "/hallmark/v1/invites/accept",
            "Accept an invite; makes the account where there is none",
            accept,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct InviteView {
    store_id: StoreId,
    email: Email,
    roles: BTreeSet<Role>,
    status: InviteStatus,
    invited_by: Option<AccountId>,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl InviteView {
    fn of(invite: StoreInvite, now: Timestamp) -> Self {
        Self {
            status: invite.status(now),
            store_id: invite.store_id,
            email: invite.email,
            roles: invite.roles,
            invited_by: invite.invited_by,
            created_at: invite.created,
            expires_at: invite.expires,
        }
    }
}

/// An invite with what accepts it, which is shown only now.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SentView {
    #[serde(flatten)]
    invite: InviteView,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// The address of the page that accepts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Whether it was mailed to its receiver.
    mailed: bool,
}

impl SentView {
    fn of(app: &App, sent: Sent) -> Self {
        let now = app.clock.now();
        Self {
            url: sent.url(app).map(|url| url.to_string()),
            mailed: sent.mailed,
            invite: InviteView::of(sent.invite, now),
            token: sent.secret.map(|secret| secret.reveal().to_owned()),
        }
    }
}

async fn list(app: App, ctx: StoreCtx, _input: Input) -> Outcome<Json<Vec<InviteView>>> {
    let now = app.clock.now();
    let all = invites::list(&app, &ctx).await?;
    Ok(Json(
        all.into_iter()
            .map(|invite| InviteView::of(invite, now))
            .collect(),
    ))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SendBody {
    email: String,
    roles: BTreeSet<Role>,
}

async fn send(app: App, ctx: StoreCtx, input: Input<Json<SendBody>>) -> Outcome<Created<SentView>> {
    let Json(SendBody { email, roles }) = input.body;
    let wanted = Assignment {
        email: Email::normal(&email).map_err(Refusal::from)?,
        roles,
    };
    let sent = invites::send(&app, &ctx, &[wanted]).await?.pop();
    let sent = sent.ok_or_else(App::changed_meanwhile)?;
    Ok(Created(SentView::of(&app, sent)))
}

async fn act(app: App, ctx: StoreCtx, input: Input) -> Outcome<Json<SentView>> {
    let (email, action): (_, InviteAction) = (email(&input)?, input.variable("action")?);
    let sent = invites::act(&app, &ctx, &[(email, action)]).await?.pop();
    let sent = sent.ok_or_else(App::changed_meanwhile)?;
    Ok(Json(SentView::of(&app, sent)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowBody {
    token: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PreviewView {
    store_id: StoreId,
    store_name: String,
    email: Email,
    roles: BTreeSet<Role>,
    expires_at: Timestamp,
    /// Without one, accepting takes a password for a new one.
    has_account: bool,
    /// Whether accepting takes a password: a new one, or that of an account whose e-mail address is not proven.
    takes_password: bool,
}

async fn show(app: App, input: Input<Json<ShowBody>>) -> Outcome<Json<PreviewView>> {
    let Preview {
        invite,
        store,
        known,
        takes,
    } = invites::preview(&app, &input.body.0.token).await?;
    Ok(Json(PreviewView {
        store_id: store.id,
        store_name: store.name,
        email: invite.email,
        roles: invite.roles,
        expires_at: invite.expires,
        has_account: known,
        takes_password: takes != Takes::Nothing,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AcceptBody {
    token: String,
    #[serde(default)]
    password: Option<Password>,
    #[serde(default)]
    username: Option<Username>,
    #[serde(default)]
    display_name: Option<String>,
}

async fn accept(app: App, input: Input<Json<AcceptBody>>) -> Outcome<Json<MemberView>> {
    let Json(AcceptBody {
        token,
        password,
        username,
        display_name,
    }) = input.body;
    let newcomer = Newcomer {
        password,
        username,
        display_name,
    };
    Ok(Json(
        invites::accept(&app, input.peer, &token, newcomer).await?.into(),
    ))
}
