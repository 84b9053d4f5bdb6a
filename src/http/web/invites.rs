//! Invites into a store: who was invited, inviting, taking back; and the page on which an invite is accepted.

use http::{Method, StatusCode};
use maud::{Markup, html};
use warp::Filter;
use warp::reply::Response;

use super::account::{roles, secret};
use super::form::Form;
use super::frame::{Frame, Page};
use super::members::{asked, email, of_members};
use super::parts::{Cut, Line, empty, facts, line, mark, post_button, post_form, search, table, time};
use super::route::{self, Outcome, Request, Visit, Web, done_at, status_of};
use super::sign_in::{self, wrong};
use super::stores::{below_stores, of_store};
use crate::app::invites::{self, Newcomer, PAGE as ACCEPT, Preview, Sent, Takes};
use crate::app::members::{Assignment, Member};
use crate::app::{App, FormMark, Password, Refusal, StoreCtx};
use crate::domain::access::{InviteAction, InviteStatus, Permission, Role, StoreInvite};
use crate::domain::ident::Username;
use crate::domain::time::Timestamp;
use crate::http::endpoint::{Access, BodyShape, Endpoint};

pub(super) fn endpoints(web: &Web, app: &App) -> Vec<Endpoint> {
    use Permission as P;
    let (shown, sent) = (app.clone(), app.clone());
    let show = route::request(Method::GET, ACCEPT)
        .then(move |request| {
            let app = shown.clone();
            async move { come(&app, request).await }
        })
        .boxed();
    let accept = route::request(Method::POST, ACCEPT)
        .then(move |request| {
            let app = sent.clone();
            async move { answer(&app, request).await }
        })
        .boxed();
    let body = BodyShape {
        media: "application/x-www-form-urlencoded",
        fields: &[
            "mark", "invite", "accept", "password", "again", "username", "name",
        ],
    };
    vec![
        web.page(
            "/brands/{brand}/stores/{store}/invites",
            P::MemberManage,
            "Page: who was invited into a store",
            list,
        ),
        web.act(
            "/brands/{brand}/stores/{store}/invites",
            P::MemberManage,
            "Invite somebody into a store",
            send,
        ),
        web.act(
            "/brands/{brand}/stores/{store}/invites/{action}",
            P::MemberManage,
            "Resend, revoke or open an invite",
            act,
        ),
        Endpoint::get(ACCEPT, Access::Open, "Page: accept an invite", show).with_query(vec!["text"]),
        Endpoint::post(ACCEPT, Access::Open, "Accept an invite", accept).with_body(Some(body)),
    ]
}

/// The path of the page of the invites into the store `ctx` is about.
pub(super) fn of_invites(ctx: &StoreCtx) -> String {
    format!("{}/invites", of_store(ctx.brand().brand(), &ctx.store().id))
}

/// A table of invites, each with what can be done to it.
pub(super) fn rows(mark: &FormMark, path: &str, invites: &[StoreInvite], now: Timestamp) -> Markup {
    let button = |invite: &StoreInvite, action: InviteAction, label, class| {
        let email = invite.email.as_str();
        post_button(
            mark,
            &format!("{path}/{}", action.name()),
            label,
            email,
            class,
            &[("email", email)],
        )
    };
    let rows = html! {
        @for invite in invites {
            tr {
                th scope="row" { (invite.email) }
                td { (labels(invite)) }
                td { (status(invite.status(now))) }
                td { (time(invite.expires)) }
                td {
                    @match invite.status(now) {
                        InviteStatus::Pending => {
                            (button(invite, InviteAction::Resend, "New text", ""))
                            (button(invite, InviteAction::Revoke, "Revoke", "danger"))
                        }
                        InviteStatus::Expired | InviteStatus::Revoked => {
                            (button(invite, InviteAction::Open, "Open again", ""))
                        }
                    }
                }
            }
        }
    };
    table(
        "Invites",
        &["E-mail address", "Roles", "Status", "Good until", ""],
        rows,
    )
}

fn status(status: InviteStatus) -> Markup {
    let class = match status {
        InviteStatus::Pending => "strong",
        InviteStatus::Expired | InviteStatus::Revoked => "",
    };
    mark(&status.name().to_lowercase(), class)
}

fn labels(invite: &StoreInvite) -> String {
    roles(&invite.roles.iter().copied().collect::<Vec<Role>>())
}

async fn list(visit: Visit<StoreCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let path = of_invites(ctx);
    let wanted = visit.query("q").to_lowercase();
    let mut all = invites::list(app, ctx).await?;
    all.retain(|invite| invite.email.as_str().contains(&wanted));
    let (cut, part) = Cut::of(all, visit.page());
    let body = html! {
        p { "Who accepts an invite becomes a member, and is no longer listed here." }
        (search(&path, "E-mail address", visit.query("q"), &[]))
        @if part.is_empty() {
            (empty("No invite fits. People are invited on the page of the members."))
        } @else { (rows(&session.mark, &path, &part, app.clock.now())) }
        (cut.links(&path, &[("q", visit.query("q"))]))
        p { a href=(of_members(ctx)) { "To the members" } }
    };
    Ok(below_members(
        &visit,
        Page::new(format!("Invites into {}", ctx.store().name), body),
    )
    .into())
}

fn below_members<B>(visit: &Visit<StoreCtx, B>, page: Page) -> Page {
    let ctx = &visit.ctx;
    let (store, brand) = (ctx.store(), ctx.brand().brand());
    below_stores(visit, page)
        .below(of_store(brand, &store.id), store.name.clone())
        .below(of_members(ctx), "Members")
}

async fn send(visit: Visit<StoreCtx, Form>) -> Outcome {
    let wanted = Assignment {
        email: email(&visit.body)?,
        roles: asked(&visit.body)?,
    };
    let sent = invites::send(&visit.app, &visit.ctx, &[wanted]).await?;
    shown(&visit, sent)
}

async fn act(visit: Visit<StoreCtx, Form>) -> Outcome {
    let action: InviteAction = visit.variable("action")?;
    let sent = invites::act(&visit.app, &visit.ctx, &[(email(&visit.body)?, action)]).await?;
    shown(&visit, sent)
}

/// Shows the text of an invite, this once; what has none was taken back.
fn shown(visit: &Visit<StoreCtx, Form>, mut sent: Vec<Sent>) -> Outcome {
    let one = sent.pop().ok_or_else(App::changed_meanwhile)?;
    let url = one.url(&visit.app);
    let Sent {
        invite,
        secret: Some(text),
        mailed,
    } = one
    else {
        return Ok(done_at(&of_members(&visit.ctx), "invite-revoked"));
    };
    let body = html! {
        @if mailed {
            p { "A letter with the link is on its way to " strong { (invite.email) } ". If it does not arrive, hand on what is below: "
                "it is shown this once." }
        } @else {
            p { "Copy the link or the text now and hand it to " strong { (invite.email) } ": it is shown this once, and nothing is mailed." }
        }
        @if let Some(url) = &url { (secret("link", "Link", url)) }
        (secret("invite", "Invite", text.reveal()))
        (facts(&[
            ("For", html! { (invite.email) }),
            ("Roles", html! { (labels(&invite)) }),
            ("Good until", time(invite.expires)),
            ("Accepted", html! { "with the link, or with the text and " code { "hallmark member accept" } }),
        ]))
        p { a href=(of_members(&visit.ctx)) { "To the members" } }
    };
    Ok(below_members(visit, Page::new("Invite", body)).into())
}

/// The page a link leads to shows its invite. Opening it spends nothing: programs look at links in mail.
async fn come(app: &App, request: Request) -> Response {
    let text = request.asked("text");
    if text.is_empty() {
        return ask(app, &request, &html! {}, StatusCode::OK);
    }
    match invites::preview(app, text).await {
        Ok(preview) => offer(app, &request, (text, &preview), &Entered::default(), None),
        Err(refusal) => ask(app, &request, &wrong(&refusal), status_of(&refusal)),
    }
}

/// The page that asks for the text of an invite, with what was wrong the last time.
fn ask(app: &App, request: &Request, trouble: &Markup, status: StatusCode) -> Response {
    sign_in::for_visitor(app, request, |mark| {
        let body = html! {
            p { "Somebody invited you into a store and gave you a text that begins with " code { "hmi_" } "." }
            (trouble)
            div class="narrow" {
                (post_form(mark, ACCEPT, html! {
                    (line(Line { name: "invite", label: "Text of the invite", required: true, longest: 200, ..Line::default() }))
                    button class="main" { "Look at the invite" }
                }))
            }
            p class="quiet" { "You are a member already? " a href="/login" { "Sign in" } "." }
        };
        Page::new("Accept an invite", body).with_status(status)
    })
}

/// What was entered about a new account, to be shown again.
#[derive(Debug, Default)]
struct Entered {
    username: String,
    name: String,
}

/// The page that shows what the invite is for, and asks for what accepting it takes.
fn offer(
    app: &App,
    request: &Request,
    (text, preview): (&str, &Preview),
    entered: &Entered,
    again: Option<&Refusal>,
) -> Response {
    let Preview {
        invite, store, takes, ..
    } = preview;
    sign_in::for_visitor(app, request, |mark| {
        let body = html! {
            (facts(&[
                ("Store", html! { (store.name) @if store.name != store.id.as_str() { " " span class="quiet" { (store.id) } } }),
                ("For", html! { (invite.email) }),
                ("Roles", html! { (labels(invite)) }),
                ("Good until", time(invite.expires)),
            ]))
            @if let Some(refusal) = again { (wrong(refusal)) }
            div class="narrow" {
                (post_form(mark, ACCEPT, html! {
                    input type="hidden" name="invite" value=(text);
                    input type="hidden" name="accept" value="yes";
                    @if *takes == Takes::Own {
                        p { "Nobody has shown yet that this e-mail address is theirs: accepting takes the password of its account. "
                            "Is that not yours, ask whoever runs this server for a new one." }
                        (line(Line { name: "password", label: "Password", kind: "password", required: true,
                            complete: "current-password", longest: 1024, ..Line::default() }))
                    }
                    @if *takes == Takes::New {
                        p { "You have no account here yet: accepting makes one." }
                        (line(Line { name: "password", label: "Password", kind: "password", required: true,
                            complete: "new-password", longest: 1024, hint: "12 characters or more.", ..Line::default() }))
                        (line(Line { name: "again", label: "Password once more", kind: "password", required: true,
                            complete: "new-password", longest: 1024, ..Line::default() }))
                        (line(Line { name: "username", label: "Public name", value: &entered.username, longest: 28,
                            complete: "username", hint: "Empty: made from the e-mail address.", ..Line::default() }))
                        (line(Line { name: "name", label: "Name for people", value: &entered.name, longest: 128,
                            complete: "name", ..Line::default() }))
                    }
                    button class="main" { "Accept" }
                }))
            }
        };
        let status = again.map_or(StatusCode::OK, status_of);
        Page::new("Accept an invite", body).with_status(status)
    })
}

async fn answer(app: &App, mut request: Request) -> Response {
    let form = match sign_in::form_of(&mut request).await {
        Ok(form) => form,
        Err(answer) => return *answer,
    };
    if !sign_in::is_of_visitor(app, &request, &form) {
        let old = html! { p class="wrong" role="alert" {
            "This form was too old, or your browser sends no cookies. Enter the text once more."
        } };
        return ask(app, &request, &old, StatusCode::FORBIDDEN);
    }
    let text = form.raw("invite").trim();
    let preview = match invites::preview(app, text).await {
        Ok(preview) => preview,
        Err(refusal) => return ask(app, &request, &wrong(&refusal), status_of(&refusal)),
    };
    let entered = Entered {
        username: form.raw("username").trim().to_owned(),
        name: form.raw("name").trim().to_owned(),
    };
    if !form.ticked("accept") {
        return offer(app, &request, (text, &preview), &entered, None);
    }
    let accepted = match newcomer(&form, &preview, &entered) {
        Ok(newcomer) => invites::accept(app, request.address(), text, newcomer).await,
        Err(refusal) => Err(refusal),
    };
    match accepted {
        Ok(member) => welcome(&member, &preview),
        Err(refusal) => offer(app, &request, (text, &preview), &entered, Some(&refusal)),
    }
}

fn newcomer(form: &Form, preview: &Preview, entered: &Entered) -> Result<Newcomer, Refusal> {
    let password = Some(Password::from(form.raw("password").to_owned()));
    match preview.takes {
        Takes::Nothing => return Ok(Newcomer::default()),
        Takes::Own => {
            return Ok(Newcomer {
                password,
                ..Newcomer::default()
            });
        }
        Takes::New => {}
    }
    if form.raw("password") != form.raw("again") {
        return Err(Refusal::invalid(
            "passwords-differ",
            "cannot accept the invite: the password was typed in two ways",
        ));
    }
    let username = Some(&entered.username).filter(|text| !text.is_empty());
    Ok(Newcomer {
        password,
        username: username.map(|text| text.parse::<Username>()).transpose()?,
        display_name: Some(entered.name.clone()).filter(|text| !text.is_empty()),
    })
}

fn welcome(member: &Member, preview: &Preview) -> Response {
    let Member { account, membership } = member;
    let body = html! {
        p class="done" role="status" {
            (account.email) " is now " (roles(&membership.roles)) " in " (preview.store.name) "."
        }
        p { a class="button main" href="/login" { "Sign in" } }
    };
    Frame::default().around(Page::new("Accepted", body))
}
