//! One's own account: who one is, the password, tokens for programs.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::form::Form;
use super::frame::Page;
use super::parts::{Cut, Line, at, choice, empty, facts, line, mark, post_button, post_form, table, time};
use super::route::{Outcome, Visit, Web, done_at, status_of};
use super::sign_in::wrong;
use crate::app::catalog::sharing::PAGE as INVITE;
use crate::app::login::{self, Identity};
use crate::app::tokens::{self, NewToken, Use};
use crate::app::{OwnCtx, Password, Refusal, brands};
use crate::domain::access::{Brand, Limits, Pattern, Permission, Role, Token};
use crate::domain::ident::{SnapName, StoreId};
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.page("/account", P::OwnRead, "Page: one's own account", show),
        web.act(
            "/account/password",
            P::OwnCredentials,
            "Change one's own password",
            password,
        ),
        web.page("/account/tokens", P::OwnAccount, "Page: one's tokens", list),
        web.act(
            "/account/tokens",
            P::OwnCredentials,
            "Make a token for programs",
            create,
        ),
        web.act(
            "/account/tokens/{token}/revoke",
            P::OwnAccount,
            "Revoke one of one's tokens",
            revoke,
        ),
    ]
}

async fn show(visit: Visit<OwnCtx>) -> Outcome {
    Ok(own(&visit, html! {}).await?.into())
}

async fn own<B>(visit: &Visit<OwnCtx, B>, wrong: Markup) -> Result<Page, Refusal> {
    let Identity {
        account, memberships, ..
    } = login::whoami(&visit.app, &visit.ctx).await?;
    let rows = html! {
        @for one in &memberships {
            tr {
                th scope="row" { (one.brand_id) }
                td { (one.store_id) }
                td { (roles(&one.roles)) }
            }
        }
    };
    let body = html! {
        (facts(&[
            ("E-mail address", html! { (account.email) }),
            ("Username", html! { code { (account.username) } }),
            ("Account id", html! { code { (account.id) } }),
            ("Since", time(account.created)),
            ("Rank", html! { @if account.operator { (mark("operator", "strong")) } @else { "no operator of this instance" } }),
        ]))
        h2 { "Roles" }
        @if memberships.is_empty() {
            (empty("You have no role in any store. An administrator gives roles under Stores, Members."))
        } @else {
            (table("Your roles", &["Brand", "Store", "Roles"], rows))
        }
        p { "Were you asked to help with a snap? " a href=(INVITE) { "Answer the invite" } "." }
        h2 { "Password" }
        (wrong)
        (post_form(&visit.session.mark, "/account/password", html! {
            (line(Line { name: "current", label: "Present password", kind: "password", required: true,
                complete: "current-password", longest: 1024, ..Line::default() }))
            (line(Line { name: "new", label: "New password", kind: "password", required: true,
                complete: "new-password", longest: 1024, hint: "12 characters or more. Your other log-ins end.",
                ..Line::default() }))
            (line(Line { name: "again", label: "New password once more", kind: "password", required: true,
                complete: "new-password", longest: 1024, ..Line::default() }))
            button { "Change password" }
        }))
    };
    Ok(Page::new(account.display_name, body))
}

/// Roles as people call them.
pub(super) fn roles(roles: &[Role]) -> String {
    roles
        .iter()
        .map(|role| role.label())
        .collect::<Vec<_>>()
        .join(", ")
}

async fn password(visit: Visit<OwnCtx, Form>) -> Outcome {
    let form = &visit.body;
    let changed = if form.raw("new") == form.raw("again") {
        let (current, new) = (form.raw("current").to_owned(), form.raw("new").to_owned());
        let (current, new) = (Password::from(current), Password::from(new));
        login::change_password(&visit.app, &visit.ctx, visit.peer, current, new).await
    } else {
        Err(Refusal::invalid(
            "passwords-differ",
            "cannot change the password: the new one was typed in two ways",
        ))
    };
    match changed {
        Ok(()) => Ok(done_at("/account", "password")),
        Err(refusal) => {
            let page = own(&visit, wrong(&refusal)).await?;
            Ok(page.with_status(status_of(&refusal)).into())
        }
    }
}

async fn list(visit: Visit<OwnCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let tokens = tokens::list(app, ctx).await?;
    let brands = brands::list(app, ctx).await?;
    let (cut, part) = Cut::of(tokens, visit.page());
    let rows = html! {
        @for token in &part {
            tr {
                th scope="row" { (token.description) @if token.id == ctx.token().id { " " (mark("this log-in", "strong")) } }
                td { (kind(token)) }
                td { (scopes(token)) }
                td { (token.brand_id.as_ref().map_or("all", |brand| brand.as_str())) }
                td { (time(token.created)) }
                td { (time(token.expires)) }
                td {
                    @if token.id != ctx.token().id {
                        (post_button(&session.mark, &at(&["account", "tokens", &token.id, "revoke"]), "Revoke",
                            &format!("{} ({})", token.description, token.id), "danger", &[]))
                    }
                }
            }
        }
    };
    let body = html! {
        p { "A token lets a program act for you, with no more rights than you have. Your log-ins stand here too." }
        (table("Your tokens", &["Description", "Kind", "May", "Brand", "Made", "Ends", ""], rows))
        (cut.links("/account/tokens", &[]))
        h2 { "New token" }
        (post_form(&session.mark, "/account/tokens", new_token(&brands)))
    };
    Ok(Page::new("Tokens", body).into())
}

fn kind(token: &Token) -> &'static str {
    match (token.person, token.publisher) {
        (true, _) => "log-in",
        (false, true) => "publisher client",
        (false, false) => "program",
    }
}

fn scopes(token: &Token) -> Markup {
    let Limits {
        packages,
        channels,
        stores,
    } = &token.limits;
    let only = |what: &str, names: Vec<String>| html! { div { "only " (what) " " (names.join(", ")) } };
    html! {
        @match &token.permissions {
            None => "all that you may",
            Some(names) if names.is_empty() => "nothing",
            Some(names) => details { summary { (names.len()) " permissions" } (names.join(", ")) }
        }
        @if let Some(names) = packages { (only("snaps", names.iter().map(ToString::to_string).collect())) }
        @for patterns in channels { (only("channels", patterns.iter().map(ToString::to_string).collect())) }
        @if let Some(ids) = stores { (only("stores", ids.iter().map(ToString::to_string).collect())) }
    }
}

fn new_token(brands: &[Brand]) -> Markup {
    let mut options = vec![("", "all my brands")];
    options.extend(
        brands
            .iter()
            .map(|brand| (brand.id.as_str(), brand.name.as_str())),
    );
    html! {
        (line(Line { name: "description", label: "Description", longest: 200,
            hint: "For yourself: where the token is used.", ..Line::default() }))
        (choice("for", "For", "", &[
            ("ci", "continuous integration: read, upload, release"),
            ("prepare-image", "building images: read models, assertions and snaps"),
            ("admin", "everything I may, except what needs a person"),
        ], "ci"))
        (choice("brand", "Brand", "", &options, ""))
        (line(Line { name: "days", label: "Days until it ends", kind: "number", value: "90", longest: 5, ..Line::default() }))
        details {
            summary { "Only for some snaps, channels or stores" }
            (line(Line { name: "packages", label: "Only these snaps", longest: 4000, hint: "Names, separated by blanks.", ..Line::default() }))
            (line(Line { name: "channels", label: "Only these channels", longest: 4000,
                hint: "Patterns, separated by blanks: edge, */beta.", ..Line::default() }))
            (line(Line { name: "stores", label: "Only these stores", longest: 4000, hint: "Store ids, separated by blanks.", ..Line::default() }))
        }
        p { button { "Create token" } }
    }
}

async fn create(visit: Visit<OwnCtx, Form>) -> Outcome {
    let form = &visit.body;
    let purpose: Use = form.need("for", "For")?;
    let days: Option<i64> = form.parse("days", "Days until it ends")?;
    let new = NewToken {
        purpose,
        description: form.text("description").unwrap_or(purpose.name()).to_owned(),
        brand: form.parse("brand", "Brand")?,
        life: days.map(|days| days.saturating_mul(86_400)),
        limits: limits(form)?,
    };
    let (token, text) = tokens::create(&visit.app, &visit.ctx, new).await?;
    let body = html! {
        p { "Copy the token now: it is shown this once and kept nowhere." }
        (secret("token", "Token", text.reveal()))
        (facts(&[
            ("Description", html! { (token.description) }),
            ("Ends", time(token.expires)),
            ("Use", html! { code { "Authorization: Bearer hmk_…" } ", or " code { "HALLMARK_TOKEN" } " for the command line" }),
        ]))
        p { a href="/account/tokens" { "To your tokens" } }
    };
    Ok(Page::new("Your new token", body)
        .below("/account/tokens".to_owned(), "Tokens")
        .into())
}

/// What a token is limited to besides; an empty line is no limit.
fn limits(form: &Form) -> Result<Limits, Refusal> {
    let packages: BTreeSet<SnapName> = form.list("packages", "Only these snaps")?;
    let channels: BTreeSet<Pattern> = form.list("channels", "Only these channels")?;
    let stores: BTreeSet<StoreId> = form.list("stores", "Only these stores")?;
    Ok(Limits {
        packages: Some(packages).filter(|names| !names.is_empty()),
        channels: Some(channels)
            .filter(|names| !names.is_empty())
            .into_iter()
            .collect(),
        stores: Some(stores).filter(|ids| !ids.is_empty()),
    })
}

/// Something to be copied.
pub(super) fn secret(id: &str, label: &str, text: &str) -> Markup {
    html! {
        div class="field" {
            label for=(id) { (label) }
            div class="copied" {
                input type="text" id=(id) value=(text) readonly autocomplete="off" spellcheck="false";
                button type="button" class="plain copy" data-copy=(id) hidden { "Copy" }
            }
        }
    }
}

async fn revoke(visit: Visit<OwnCtx, Form>) -> Outcome {
    let id: String = visit.variable("token")?;
    tokens::revoke(&visit.app, &visit.ctx, &id).await?;
    Ok(done_at("/account/tokens", "revoked"))
}
