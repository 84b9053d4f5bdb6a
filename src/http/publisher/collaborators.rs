//! Who helps with a snap, and invites to (admin-api.md 2.6, publisher-api.md 6.18).

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Created, Input, Json, NoContent, Outcome, Publisher};
use crate::app::catalog::sharing::{self, Sharing};
use crate::app::{App, OwnCtx, Refusal, SnapCtx};
use crate::domain::access::{Account, Permission};
use crate::domain::catalog::{ShareAct, ShareInvite};
use crate::domain::ident::Email;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.get(
            "/v1/snap/{snap}/collaborators",
            P::SnapRead,
            "Show who helps with a snap",
            list,
        ),
        publisher.get(
            "/v1/snap/{snap}/collaborators/invites",
            P::CollaboratorManage,
            "List invites to help with a snap",
            invites,
        ),
        publisher.post(
            "/v1/snap/{snap}/collaborators/invites",
            P::CollaboratorManage,
            "Invite people to help with a snap",
            invite,
        ),
        publisher.post(
            "/v1/snap/{snap}/collaborators/invites/revoke",
            P::CollaboratorManage,
            "Take invites back; who accepted one helps no more",
            revoke,
        ),
        publisher.post(
            "/v1/snap/{name}/collaborators/invites/accept",
            P::OwnAccount,
            "Accept an invite to help with a snap",
            accept,
        ),
        publisher.post(
            "/v1/snap/{name}/collaborators/invites/reject",
            P::OwnAccount,
            "Reject an invite to help with a snap",
            reject,
        ),
        // A client leaves `snap` out here.
        publisher.post(
            "/v1/{name}/collaborators/invites/reject",
            P::OwnAccount,
            "Reject an invite to help with a snap, as an existing client spells it",
            reject,
        ),
    ]
}

fn person(account: &Account) -> Value {
    json!({
        "id": account.id, "email": account.email, "username": account.username,
        "display-name": account.display_name, "validation": "unproven",
    })
}

fn render(sharing: &Sharing) -> Value {
    let collaborators: Vec<Value> = sharing
        .collaborators
        .iter()
        .map(|one| {
            let since = one
                .invite
                .as_ref()
                .and_then(|invite| invite.done(ShareAct::Accept));
            json!({
                "account": person(&one.account),
                "created-at": since.map(|end| end.at),
                "created-by": one.invite.as_ref().map(|invite| &invite.invited_by),
                "permissions": ["package-collaborator"],
                "updated-at": null,
            })
        })
        .collect();
    json!({
        "collaborators": collaborators,
        "publisher": sharing.publisher.as_ref().map(person),
    })
}

async fn list(app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<Value>> {
    Ok(Json(render(&sharing::list(&app, &ctx).await?)))
}

fn invite_view(invite: &ShareInvite) -> Value {
    let done = |how| invite.done(how);
    let (accepted, revoked) = (done(ShareAct::Accept), done(ShareAct::Revoke));
    json!({
        "email": invite.email,
        "created-at": invite.created,
        "created-by": invite.invited_by,
        "expires-at": invite.expires,
        "accepted-at": accepted.map(|end| end.at),
        "accepted-by": accepted.map(|end| &end.by),
        "revoked-at": revoked.map(|end| end.at),
        "revoked-by": revoked.map(|end| &end.by),
        "invite-type": "collaborator",
    })
}

/// Those that were rejected are of no more use to anybody.
async fn invites(app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<Value>> {
    let mut found = sharing::invites(&app, &ctx).await?;
    found.retain(|invite| invite.done(ShareAct::Reject).is_none());
    let found: Vec<Value> = found.iter().map(invite_view).collect();
    Ok(Json(json!({ "invites": found })))
}

#[derive(Debug, Deserialize)]
struct EmailsBody {
    invites: Vec<EmailBody>,
}

#[derive(Debug, Deserialize)]
struct EmailBody {
    email: String,
}

impl EmailsBody {
    fn read(&self) -> Result<Vec<Email>, Refusal> {
        let emails = self.invites.iter().map(|invite| Email::normal(&invite.email));
        Ok(emails.collect::<Result<_, _>>()?)
    }
}

/// The tokens are told to who invites, to hand them on: only they can accept.
async fn invite(app: App, ctx: SnapCtx, input: Input<Json<EmailsBody>>) -> Outcome<Created<Value>> {
    let emails = input.body.0.read()?;
    let asked = sharing::invite(&app, &ctx, &emails).await?;
    let told: Vec<Value> = asked
        .iter()
        .map(|one| json!({"email": one.invite.email, "token": one.token.as_str()}))
        .collect();
    Ok(Created(json!({ "tokens": told })))
}

async fn revoke(app: App, ctx: SnapCtx, input: Input<Json<EmailsBody>>) -> Outcome<NoContent> {
    sharing::revoke(&app, &ctx, &input.body.0.read()?).await?;
    Ok(NoContent)
}

#[derive(Debug, Deserialize)]
struct TokenBody {
    token: String,
}

async fn accept(app: App, ctx: OwnCtx, input: Input<Json<TokenBody>>) -> Outcome<NoContent> {
    let name: String = input.variable("name")?;
    sharing::answer(&app, &ctx, Some(&name), &input.body.0.token, true).await?;
    Ok(NoContent)
}

async fn reject(app: App, ctx: OwnCtx, input: Input<Json<TokenBody>>) -> Outcome<NoContent> {
    let name: String = input.variable("name")?;
    sharing::answer(&app, &ctx, Some(&name), &input.body.0.token, false).await?;
    Ok(NoContent)
}
