//! Who has which role in a store.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::account::roles;
use super::form::Form;
use super::frame::Page;
use super::invites::{self, of_invites};
use super::parts::{Cut, Line, ROWS, empty, line, mark, post_button, post_form, search, table, tick, time};
use super::route::{Outcome, Visit, Web, done_at};
use super::stores::{below_stores, of_store};
use crate::app::members::{self, Confirmed, Member};
use crate::app::{Refusal, StoreCtx};
use crate::domain::access::{Permission, Role, StoreInvite, StoreRecord};
use crate::domain::ident::Email;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.page(
            "/brands/{brand}/stores/{store}/members",
            P::MemberRead,
            "Page: members of a store",
            list,
        ),
        web.act(
            "/brands/{brand}/stores/{store}/members",
            P::MemberManage,
            "Give an account these roles in a store, in place of those it had",
            set,
        ),
        web.act(
            "/brands/{brand}/stores/{store}/members/remove",
            P::MemberManage,
            "Take all roles in a store away from an account",
            remove,
        ),
    ]
}

async fn list(visit: Visit<StoreCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let (store, brand) = (ctx.store(), ctx.brand().brand());
    let path = of_members(ctx);
    let wanted = visit.query("q").to_lowercase();
    let mut all = members::list(app, ctx).await?;
    all.retain(|Member { account, .. }| {
        account.email.as_str().contains(&wanted)
            || account.username.as_str().contains(&wanted)
            || account.display_name.to_lowercase().contains(&wanted)
    });
    let manages = ctx.may(Permission::MemberManage);
    let all_invites = if manages {
        crate::app::invites::list(app, ctx).await?
    } else {
        Vec::new()
    };
    let (cut, part) = Cut::of(all, visit.page());
    let rows = html! {
        @for Member { account, membership } in &part {
            tr {
                th scope="row" { (account.email) @if account.disabled { " " (mark("switched off", "bad")) } }
                td { (account.display_name) }
                td { (roles(&membership.roles)) }
                td { (time(membership.changed)) }
                @if manages {
                    td {
                        details {
                            summary { "Change" span class="hidden" { " roles of " (account.email) } }
                            (post_form(&session.mark, &path, html! {
                                input type="hidden" name="email" value=(account.email);
                                (boxes(ctx, store, &membership.roles))
                                button { "Save roles" }
                            }))
                        }
                        (post_button(&session.mark, &format!("{path}/remove"), "Remove",
                            account.email.as_str(), "danger", &[("email", account.email.as_str())]))
                    }
                }
            }
        }
    };
    let heads: &[&str] = if manages {
        &["E-mail address", "Name", "Roles", "Since", ""]
    } else {
        &["E-mail address", "Name", "Roles", "Since"]
    };
    let body = html! {
        @if store.parent.is_none() {
            p { "This is a base store: roles here hold for the whole brand." }
        }
        (search(&path, "Name or e-mail address", visit.query("q"), &[]))
        @if part.is_empty() {
            (empty("Nobody fits. Add a member below, by the e-mail address of their account."))
        } @else { (table("Members", heads, rows)) }
        (cut.links(&path, &[("q", visit.query("q"))]))
        @if manages {
            h2 { "Add a member" }
            (post_form(&session.mark, &path, html! {
                (line(Line { name: "email", label: "E-mail address", kind: "email", required: true,
                    longest: 254, ..Line::default() }))
                (boxes(ctx, store, &[]))
                button class="main" { "Add member" }
                " "
                button formaction=(of_invites(ctx)) { "Invite" }
                p class="hint" {
                    "Who has an account is added at once. Who has none is invited: you get a text to hand on, and \
                     accepting it makes the account."
                }
            }))
            (invited(&visit, &all_invites))
        }
    };
    let page = Page::new(format!("Members of {}", store.name), body);
    Ok(below_stores(&visit, page)
        .below(of_store(brand, &store.id), store.name.clone())
        .into())
}

/// The first invites, for who may manage members.
fn invited(visit: &Visit<StoreCtx>, all: &[StoreInvite]) -> Markup {
    let path = of_invites(&visit.ctx);
    html! {
        h2 { "Invites" }
        @if all.is_empty() {
            (empty("Nobody is invited whose answer is missing."))
        } @else {
            (invites::rows(&visit.session.mark, &path, all.get(..ROWS).unwrap_or(all), visit.app.clock.now()))
            @if all.len() > ROWS { p { a href=(path) { "All " (all.len()) " invites" } } }
        }
    }
}

/// A box for each role; what the caller may not grant here is left out.
fn boxes(ctx: &StoreCtx, store: &StoreRecord, held: &[Role]) -> Markup {
    html! {
        fieldset {
            legend { "Roles" }
            @for role in Role::ALL {
                @let holds = held.contains(role);
                @if *role != Role::Brand || (store.parent.is_none() && ctx.may(Permission::BrandRoleGrant)) {
                    (tick("role", role.wire(), role.label(), holds))
                } @else if holds {
                    // It stays: taking it away is not the caller's either.
                    input type="hidden" name="role" value=(role.wire());
                }
            }
        }
    }
}

async fn set(visit: Visit<StoreCtx, Form>) -> Outcome {
    let email = email(&visit.body)?;
    let wanted = asked(&visit.body)?;
    let confirmed = Confirmed {
        brand_account: visit.body.ticked("confirm-brand-account"),
    };
    members::set(&visit.app, &visit.ctx, &email, &wanted, confirmed).await?;
    Ok(done_at(&of_members(&visit.ctx), "member-set"))
}

async fn remove(visit: Visit<StoreCtx, Form>) -> Outcome {
    members::remove(&visit.app, &visit.ctx, &email(&visit.body)?).await?;
    Ok(done_at(&of_members(&visit.ctx), "member-removed"))
}

/// The roles that are ticked.
pub(super) fn asked(form: &Form) -> Result<BTreeSet<Role>, Refusal> {
    let mut wanted = BTreeSet::new();
    for text in form.all("role") {
        wanted.insert(text.parse::<Role>()?);
    }
    Ok(wanted)
}

/// The path of the page of the members of the store `ctx` is about.
pub(super) fn of_members(ctx: &StoreCtx) -> String {
    format!("{}/members", of_store(ctx.brand().brand(), &ctx.store().id))
}

/// The e-mail address a form is about.
pub(super) fn email(form: &Form) -> Result<Email, Refusal> {
    Ok(Email::normal(form.raw("email"))?)
}
