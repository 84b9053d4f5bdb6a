//! Invites to help with a snap: sending and taking back, for its publisher; answering, for who was asked.

use serde::{Deserialize, Serialize};

use super::accounts::email;
use super::{Created, Input, Json, Native, Outcome};
use crate::app::catalog::sharing::{self, Offer};
use crate::app::{App, OwnCtx, Refusal, SnapCtx};
use crate::domain::access::Permission;
use crate::domain::catalog::{ShareInvite, ShareStatus, SnapRecord};
use crate::domain::ident::{AccountId, BrandId, Email, SnapId, SnapName};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/snaps/{snap}/invites",
            P::CollaboratorManage,
            "List who was asked to help with a snap",
            list,
        ),
        native.post(
            "/hallmark/v1/snaps/{snap}/invites",
            P::CollaboratorManage,
            "Ask somebody to help with a snap; answers with what accepts it",
            send,
        ),
        native.post(
            "/hallmark/v1/snaps/{snap}/invites/{email}/revoke",
            P::CollaboratorManage,
            "Take an invite back; who accepted it helps no more",
            revoke,
        ),
        native.post(
            "/hallmark/v1/snap-invites/show",
            P::OwnAccount,
            "Show an invite to help with a snap to who was asked",
            show,
        ),
        native.post(
            "/hallmark/v1/snap-invites/accept",
            P::OwnAccount,
            "Accept an invite to help with a snap",
            accept,
        ),
        native.post(
            "/hallmark/v1/snap-invites/reject",
            P::OwnAccount,
            "Reject an invite to help with a snap",
            reject,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct InviteView {
    snap_id: SnapId,
    snap_name: SnapName,
    brand_id: BrandId,
    email: Email,
    status: ShareStatus,
    invited_by: AccountId,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl InviteView {
    fn of(app: &App, invite: ShareInvite, snap: &SnapRecord) -> Self {
        Self {
            status: invite.status(app.clock.now()),
            snap_id: invite.snap_id,
            snap_name: snap.name.clone(),
            brand_id: invite.brand_id,
            email: invite.email,
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
    token: String,
    /// The address of the page that answers it.
    url: String,
    /// Whether it was mailed to its receiver.
    mailed: bool,
}

async fn list(app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<Vec<InviteView>>> {
    let found = sharing::invites(&app, &ctx).await?.into_iter();
    let views = found.map(|invite| InviteView::of(&app, invite, ctx.snap()));
    Ok(Json(views.collect()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SendBody {
    email: String,
}

async fn send(app: App, ctx: SnapCtx, input: Input<Json<SendBody>>) -> Outcome<Created<SentView>> {
    let email = Email::normal(&input.body.0.email).map_err(Refusal::from)?;
    let asked = sharing::invite(&app, &ctx, &[email]).await?.pop();
    let asked = asked.ok_or_else(App::changed_meanwhile)?;
    Ok(Created(SentView {
        url: asked.url(&app).to_string(),
        token: asked.token.to_string(),
        mailed: asked.mailed,
        invite: InviteView::of(&app, asked.invite, ctx.snap()),
    }))
}

async fn revoke(app: App, ctx: SnapCtx, input: Input) -> Outcome<Json<InviteView>> {
    let email = email(&input)?;
    sharing::revoke(&app, &ctx, std::slice::from_ref(&email)).await?;
    let mut all = sharing::invites(&app, &ctx).await?.into_iter();
    let invite = all.find(|invite| invite.email == email);
    let invite = invite.ok_or_else(App::changed_meanwhile)?;
    Ok(Json(InviteView::of(&app, invite, ctx.snap())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    token: String,
}

async fn show(app: App, ctx: OwnCtx, input: Input<Json<TokenBody>>) -> Outcome<Json<InviteView>> {
    let Offer { invite, snap, .. } = sharing::preview(&app, &ctx, &input.body.0.token).await?;
    Ok(Json(InviteView::of(&app, invite, &snap)))
}

async fn accept(app: App, ctx: OwnCtx, input: Input<Json<TokenBody>>) -> Outcome<Json<InviteView>> {
    answer(&app, &ctx, &input.body.0.token, true).await
}

async fn reject(app: App, ctx: OwnCtx, input: Input<Json<TokenBody>>) -> Outcome<Json<InviteView>> {
    answer(&app, &ctx, &input.body.0.token, false).await
}

async fn answer(app: &App, ctx: &OwnCtx, token: &str, accept: bool) -> Outcome<Json<InviteView>> {
    let (invite, snap) = sharing::answer(app, ctx, None, token, accept).await?;
    Ok(Json(InviteView::of(app, invite, &snap)))
}
