//! Who helps with a snap, on its page: who does, who was asked; asking somebody, and taking that back.

use maud::{Markup, html};

use super::account::secret;
use super::form::Form;
use super::frame::Page;
use super::members::email;
use super::parts::{Line, empty, facts, line, mark, post_button, post_form, table, time};
use super::route::{Outcome, Visit, Web, done_at};
use super::snaps::{below_snaps, of_snap};
use crate::app::catalog::sharing;
use crate::app::{App, Refusal, SnapCtx};
use crate::domain::access::Permission;
use crate::domain::catalog::{ShareInvite, ShareStatus};
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.act(
            "/brands/{brand}/snaps/{snap}/invites",
            P::CollaboratorManage,
            "Ask somebody to help with a snap",
            send,
        ),
        web.act(
            "/brands/{brand}/snaps/{snap}/invites/revoke",
            P::CollaboratorManage,
            "Take an invite to help with a snap back",
            revoke,
        ),
    ]
}

/// The part of the page of a snap about those who help with it; nothing for who may not say who does.
pub(super) async fn section(visit: &Visit<SnapCtx>) -> Result<Markup, Refusal> {
    let Visit {
        app, ctx, session, ..
    } = visit;
    if !ctx.may(Permission::CollaboratorManage) {
        return Ok(html! {});
    }
    let path = path(ctx);
    let now = app.clock.now();
    let found = sharing::list(app, ctx).await?;
    let mut invites = sharing::invites(app, ctx).await?;
    // Who waits for an answer comes first, then who was asked last.
    invites.sort_by_key(|invite| (!invite.is_open(now), std::cmp::Reverse(invite.created)));
    let take_back = |invite: &ShareInvite, label| {
        let email = invite.email.as_str();
        let action = format!("{path}/revoke");
        post_button(
            &session.mark,
            &action,
            label,
            email,
            "danger",
            &[("email", email)],
        )
    };
    let rows = html! {
        @for invite in &invites {
            @let status = invite.status(now);
            tr {
                th scope="row" { (invite.email) }
                td { (state(status)) }
                td { (time(invite.created)) }
                td { @if status == ShareStatus::Pending { (time(invite.expires)) } }
                td { @match status {
                    ShareStatus::Pending => (take_back(invite, "Revoke")),
                    ShareStatus::Accepted => (take_back(invite, "End their help")),
                    ShareStatus::Expired | ShareStatus::Rejected | ShareStatus::Revoked => {}
                } }
            }
        }
    };
    let names: Vec<&str> = found
        .collaborators
        .iter()
        .map(|one| one.account.username.as_str())
        .collect();
    Ok(html! {
        details class="more" { summary { h2 { "Who helps" } }
            @if names.is_empty() { (empty("Nobody helps with this snap.")) }
            @else { p { (names.join(", ")) " may upload, release and edit it." } }
            @if !invites.is_empty() {
                (table("Who was asked", &["E-mail address", "Answer", "Asked", "Good until", ""], rows))
            }
            (post_form(&session.mark, &path, html! {
                (line(Line { name: "email", label: "E-mail address", kind: "email", required: true, longest: 254,
                    hint: "You get a link to hand on, good for 30 days. Who was asked before is asked anew; the link of before is void.",
                    ..Line::default() }))
                button { "Ask to help" }
            }))
        }
    })
}

fn path(ctx: &SnapCtx) -> String {
    format!("{}/invites", of_snap(ctx.brand().brand(), &ctx.snap().name))
}

fn state(status: ShareStatus) -> Markup {
    match status {
        ShareStatus::Pending => mark("pending", "strong"),
        ShareStatus::Expired => mark("expired", ""),
        ShareStatus::Accepted => mark("accepted", ""),
        ShareStatus::Rejected => mark("rejected", ""),
        ShareStatus::Revoked => mark("revoked", ""),
    }
}

/// Shows what accepts the invite, this once.
async fn send(visit: Visit<SnapCtx, Form>) -> Outcome {
    let Visit { app, ctx, body, .. } = &visit;
    let sent = sharing::invite(app, ctx, &[email(body)?]).await?.pop();
    let sent = sent.ok_or_else(App::changed_meanwhile)?;
    let (name, invite) = (&ctx.snap().name, &sent.invite);
    let snap = of_snap(ctx.brand().brand(), name);
    let page = html! {
        @if sent.mailed {
            p { "A letter with the link is on its way to " strong { (invite.email) } ". If it does not arrive, hand on what is below: "
                "it is shown this once." }
        } @else {
            p { "Copy the link or the token now and hand it to " strong { (invite.email) } ": it is shown this once, and nothing is mailed." }
        }
        (secret("link", "Link", &sent.url(app)))
        (secret("invite", "Token", &sent.token))
        (facts(&[
            ("Snap", html! { (name) }),
            ("For", html! { (invite.email) }),
            ("Good until", time(invite.expires)),
            ("Accepted", html! { "with the link, or with the token and " code { "hallmark snap accept-invite" } }),
        ]))
        p { a href=(snap) { "To the snap" } }
    };
    let page = Page::new("Invite", page);
    Ok(below_snaps(&visit, page).below(snap, name.to_string()).into())
}

async fn revoke(visit: Visit<SnapCtx, Form>) -> Outcome {
    let Visit { app, ctx, body, .. } = &visit;
    sharing::revoke(app, ctx, &[email(body)?]).await?;
    Ok(done_at(
        &of_snap(ctx.brand().brand(), &ctx.snap().name),
        "unshared",
    ))
}
