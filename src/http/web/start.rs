//! The first page after signing in: which brands there are, and what there is to do.

use maud::{Markup, html};

use super::form::Form;
use super::frame::{Page, of_brand};
use super::parts::{Line, empty, facts, line, mark, post_form};
use super::route::{Outcome, Visit, Web, done_at};
use super::stores::of_store;
use crate::app::instance::{self, NewBrand};
use crate::app::login::{self, Identity};
use crate::app::{BrandCtx, InstanceCtx, OwnCtx, Place, Refusal, brands};
use crate::domain::access::{Brand, Permission};
use crate::domain::ident::{Email, StoreId};
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.page("/start", P::OwnRead, "Page: what there is to do", start),
        web.page("/brands/{brand}", P::BrandRead, "Page: a brand", overview),
        web.act("/brands", P::BrandManage, "Create a brand", create),
    ]
}

/// What a caller can do with a brand: (permission, last segment of the page, what for).
const TASKS: &[(Permission, &str, &str)] = &[
    (Permission::SnapPublish, "upload", "Upload a revision of a snap"),
    (
        Permission::SnapRead,
        "snaps",
        "See snaps, their channels and revisions",
    ),
    (
        Permission::SnapReview,
        "reviews",
        "Review what publishers uploaded",
    ),
    (
        Permission::StoreCreate,
        "stores",
        "Create a store for a product line or a partner",
    ),
    (
        Permission::MemberManage,
        "stores",
        "Give people roles (in a store, under Members)",
    ),
    (
        Permission::ModelManage,
        "models",
        "Let the vault serve a model, rotate its API keys, get its hook",
    ),
    (Permission::KeyManage, "keys", "Make and register signing keys"),
    (Permission::DeviceRead, "devices", "See devices and what they run"),
    (
        Permission::SerialRead,
        "serials",
        "Look into the log of issued serials",
    ),
    (Permission::AuditRead, "audit", "See who did what"),
];

async fn start(visit: Visit<OwnCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let Identity { memberships, .. } = login::whoami(app, ctx).await?;
    let mut shown = Vec::new();
    for brand in brands::list(app, ctx).await? {
        let leave = session
            .authorize::<BrandCtx>(app, Permission::BrandRead, Place::Brand(brand.id.clone()))
            .await;
        shown.push((brand, leave.ok()));
    }
    let makes_brands = session
        .authorize::<InstanceCtx>(app, Permission::BrandManage, Place::Unnamed)
        .await
        .is_ok();
    let body = html! {
        @if shown.is_empty() {
            (empty("You have no role in any brand yet. Ask an administrator of a brand to add you to one of its stores."))
        }
        @for (brand, leave) in &shown {
            @let own: Vec<&StoreId> = memberships
                .iter()
                .filter(|one| one.brand_id == brand.id && one.store_id != brand.base_store)
                .map(|one| &one.store_id)
                .collect();
            (card(brand, leave.as_ref(), &own))
        }
        @if makes_brands {
            section aria-labelledby="new-brand" {
                h2 id="new-brand" { "New brand" }
                (post_form(&session.mark, "/brands", html! {
                    (line(Line { name: "id", label: "Brand id", required: true, longest: 32,
                        hint: "2 to 28 of a-z, 0-9 and -; it stands in every model and serial and never changes.",
                        ..Line::default() }))
                    (line(Line { name: "name", label: "Name for people", longest: 128, ..Line::default() }))
                    (line(Line { name: "admin", label: "First administrator", kind: "email", longest: 254,
                        hint: "E-mail address of an account; you, if it is empty.", ..Line::default() }))
                    button { "Create brand" }
                    p class="hint" { "Three RSA-4096 keys are made: this takes some seconds." }
                }))
            }
        }
    };
    let name = &session.account.display_name;
    Ok(Page::new(format!("Welcome, {name}"), body).into())
}

/// A brand: what the caller can do with all of it, and the single stores they have a role in.
fn card(brand: &Brand, leave: Option<&BrandCtx>, stores: &[&StoreId]) -> Markup {
    html! {
        section class="card" aria-labelledby={ "brand-" (brand.id) } {
            h2 id={ "brand-" (brand.id) } {
                @if leave.is_some() {
                    a href=(of_brand(&brand.id, "")) { (brand.name) }
                } @else { (brand.name) }
                @if brand.name != brand.id.as_str() { " " span class="quiet" { (brand.id) } }
            }
            @if let Some(ctx) = leave { (tasks(ctx)) }
            @if !stores.is_empty() {
                p { "You have a role in " @for (place, store) in stores.iter().enumerate() {
                    @if place > 0 { ", " }
                    a href=(of_store(&brand.id, store)) { (store) }
                } "." }
            }
        }
    }
}

/// What the caller can do, as links.
fn tasks(ctx: &BrandCtx) -> Markup {
    html! {
        ul class="tasks" {
            @for (permission, segment, text) in TASKS {
                @if ctx.may(*permission) {
                    li { a href=(of_brand(ctx.brand(), segment)) { (text) } }
                }
            }
        }
    }
}

async fn overview(visit: Visit<BrandCtx>) -> Outcome {
    let Visit { app, ctx, .. } = &visit;
    let brand = brands::show(app, ctx).await?;
    let stores = brands::all_stores(app, ctx).await?.len();
    let root = if brand.delegated {
        "another root signs account and keys (delegated)"
    } else {
        "this instance"
    };
    let body = html! {
        (facts(&[
            ("Brand id", html! { code { (brand.id) } }),
            ("Base store", html! { code { (brand.base_store) } }),
            ("Stores", html! { (stores) }),
            ("Root of trust", html! { (root) @if brand.delegated { " " (mark("delegated", "")) } }),
            ("Address for devices and clients", html! { code { (app.settings.public_url) } }),
        ]))
        h2 { "What there is to do" }
        (tasks(ctx))
    };
    Ok(Page::new(brand.name, body).into())
}

async fn create(visit: Visit<InstanceCtx, Form>) -> Outcome {
    let Visit {
        app, ctx, body: form, ..
    } = &visit;
    let admin = form
        .text("admin")
        .map(Email::normal)
        .transpose()
        .map_err(Refusal::from)?;
    let new = NewBrand {
        id: form.need("id", "Brand id")?,
        name: form.text("name").map(str::to_owned),
        delegated: false,
        admin,
        factory: None,
    };
    let brand = instance::create_brand(app, ctx, new).await?;
    // The caller may have no role in it, and then no page of it.
    let leave = visit
        .session
        .authorize::<BrandCtx>(app, Permission::BrandRead, Place::Brand(brand.id.clone()))
        .await;
    let next = match leave {
        Ok(_) => of_brand(&brand.id, ""),
        Err(_) => "/start".to_owned(),
    };
    Ok(done_at(&next, "created"))
}
