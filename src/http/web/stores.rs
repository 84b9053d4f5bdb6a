//! Stores of a brand: making them, their settings, what they show.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::form::Form;
use super::frame::{Page, of_brand};
use super::parts::{
    Cut, Line, at, choice, empty, facts, field, line, mark, post_button, post_form, search, table, tick, time,
};
use super::route::{Outcome, Visit, Web, done_at};
use super::snaps::of_snap;
use crate::app::catalog::inclusions::{self, Because, Shown};
use crate::app::catalog::stores::{self, NewStore, StoreSettings};
use crate::app::{BrandCtx, FormMark, InstanceCtx, Place, Refusal, StoreCtx, brands};
use crate::domain::access::{Permission, ReviewPolicy, StoreRecord};
use crate::domain::catalog::{SnapPrefix, StoreKind};
use crate::domain::ident::{BrandId, SnapName, StoreId};
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.page(
            "/brands/{brand}/stores",
            P::BrandRead,
            "Page: stores of a brand",
            list,
        ),
        web.act("/brands/{brand}/stores", P::StoreCreate, "Create a store", create),
        web.page(
            "/brands/{brand}/stores/{store}",
            P::BrandRead,
            "Page: a store and what it shows",
            show,
        ),
        web.act(
            "/brands/{brand}/stores/{store}/settings",
            P::StoreManage,
            "Change settings of a store",
            configure,
        ),
        web.act(
            "/brands/{brand}/stores/{store}/sources",
            P::StoreProvision,
            "Say where a store takes snaps from (operator)",
            provision,
        ),
        web.act(
            "/brands/{brand}/stores/{store}/include",
            P::InclusionManage,
            "Include a snap in a store",
            include,
        ),
        web.act(
            "/brands/{brand}/stores/{store}/exclude",
            P::InclusionManage,
            "Exclude a snap from a store",
            exclude,
        ),
    ]
}

/// The path of the page of a store.
pub(super) fn of_store(brand: &BrandId, store: &StoreId) -> String {
    at(&["brands", brand.as_str(), "stores", store.as_str()])
}

/// The page below the list of stores.
pub(super) fn below_stores<B>(visit: &Visit<StoreCtx, B>, page: Page) -> Page {
    visit.below_brand(page, Permission::BrandRead, "stores", "Stores")
}

fn kind(store: &StoreRecord) -> &'static str {
    match (&store.parent, store.kind) {
        (None, _) => "base store",
        (Some(_), Some(StoreKind::Ecosystem)) => "ecosystem",
        (Some(_), Some(StoreKind::Product) | None) => "product",
    }
}

fn policy(policy: ReviewPolicy) -> (&'static str, &'static str) {
    match policy {
        ReviewPolicy::Allow => ("allow", "the automatic checks decide"),
        ReviewPolicy::Avoid => ("avoid", "nothing waits for a person"),
        ReviewPolicy::Require => ("require", "everything waits for a person"),
    }
}

async fn list(visit: Visit<BrandCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let path = of_brand(ctx.brand(), "stores");
    let all = brands::all_stores(app, ctx).await?;
    let bases: Vec<StoreRecord> = all
        .iter()
        .filter(|store| store.parent.is_none())
        .cloned()
        .collect();
    let (cut, part) = Cut::of(all, visit.page());
    let rows = html! {
        @for store in &part {
            tr {
                th scope="row" { a href=(of_store(ctx.brand(), &store.id)) { (store.name) } }
                td { code { (store.id) } }
                td { (kind(store)) }
                td { (store.parent.as_ref().map_or("", |parent| parent.as_str())) }
                td { @if store.private { (mark("unlisted", "")) } @else { "listed" } }
                td { (policy(store.review_policy).1) }
            }
        }
    };
    let body = html! {
        (table("Stores", &["Name", "Id", "Kind", "View of", "Listing", "Review"], rows))
        (cut.links(&path, &[]))
        @if ctx.may(Permission::StoreCreate) {
            h2 { "New store" }
            (post_form(&session.mark, &path, new_store(ctx, &bases)))
        }
    };
    Ok(Page::new("Stores", body).into())
}

fn new_store(ctx: &BrandCtx, bases: &[StoreRecord]) -> Markup {
    let mut parents: Vec<(&str, &str)> = bases
        .iter()
        .map(|store| (store.id.as_str(), store.name.as_str()))
        .collect();
    if ctx.may(Permission::StoreProvision) {
        parents.push(("", "none: a base store of its own"));
    }
    let first = parents.first().map_or("", |(id, _)| *id);
    html! {
        (line(Line { name: "id", label: "Store id", required: true, longest: 64,
            hint: "Letters, digits, - and _. Models name it; it never changes.", ..Line::default() }))
        (line(Line { name: "name", label: "Name", required: true, longest: 128, ..Line::default() }))
        (choice("parent", "View of", "The base store whose snaps an administrator may put in.", &parents, first))
        (choice("kind", "Kind", "", &[
            ("product", "product: for one product line of the brand"),
            ("ecosystem", "ecosystem: for a partner"),
        ], "product"))
        button class="main" { "Create store" }
        p class="hint" { "Settings, members and what the store shows come on its own page." }
    }
}

async fn create(visit: Visit<BrandCtx, Form>) -> Outcome {
    let form = &visit.body;
    let parent: Option<StoreId> = form.parse("parent", "View of")?;
    let kind = match form.raw("kind") {
        "product" => StoreKind::Product,
        "ecosystem" => StoreKind::Ecosystem,
        _ => {
            return Err(Refusal::invalid(
                "invalid-kind",
                "cannot create the store: its kind is product or ecosystem",
            ));
        }
    };
    let id = form.need("id", "Store id")?;
    let new = NewStore {
        kind: parent.is_some().then_some(kind),
        parent,
        ..NewStore::new(id, form.text("name").unwrap_or_default().to_owned())
    };
    let store = stores::create(&visit.app, &visit.ctx, new).await?;
    Ok(done_at(&of_store(visit.ctx.brand(), &store.id), "created"))
}

async fn show(visit: Visit<StoreCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let (store, brand) = (ctx.store(), ctx.brand().brand());
    let path = of_store(brand, &store.id);
    let shown = if ctx.may(Permission::SnapRead) {
        inclusions::contents(app, ctx).await?
    } else {
        Vec::new()
    };
    let parent = store.parent.as_ref().filter(|_| visit.whole.is_some());
    let link = parent.map(|parent| of_store(brand, parent));
    let body = html! {
        (facts(&[
            ("Store id", html! { code { (store.id) } }),
            ("Kind", html! { (kind(store)) }),
            ("View of", html! { @match (&store.parent, &link) {
                (Some(parent), Some(link)) => { a href=(link) { (parent) } }
                (Some(parent), None) => { (parent) }
                (None, _) => { span class="quiet" { "nothing: names are registered here" } }
            } }),
            ("Uploads", html! { (policy(store.review_policy).1) }),
            ("Since", time(store.created)),
        ]))
        p class="inline" {
            @if ctx.may(Permission::MemberRead) { a class="button" href={ (path) "/members" } { "Members" } " " }
            @if store.parent.is_none() && ctx.may(Permission::SnapRead) { a class="button" href={ (path) "/reviews" } { "Reviews" } }
        }
        h2 { "What it shows" }
        @if ctx.may(Permission::SnapRead) { (contents(&visit, &path, shown)) }
        @if ctx.may(Permission::StoreManage) { (settings(&session.mark, store, &path)) }
        @if ctx.may(Permission::StoreProvision) { (sources(&session.mark, store, &path)) }
    };
    Ok(below_stores(&visit, Page::new(store.name.clone(), body)).into())
}

fn contents(visit: &Visit<StoreCtx>, path: &str, mut shown: Vec<Shown>) -> Markup {
    let (ctx, session) = (&visit.ctx, &visit.session);
    let (store, brand) = (ctx.store(), ctx.brand().brand());
    let wanted = visit.query("q").to_lowercase();
    shown.retain(|one| one.snap.name.as_str().contains(&wanted));
    let (cut, part) = Cut::of(shown, visit.page());
    let include = ctx.may(Permission::InclusionManage) && store.parent.is_some();
    let rows = html! {
        @for Shown { snap, because } in &part {
            tr {
                th scope="row" {
                    @if snap.brand_id == *brand && ctx.may_see(snap) { a href=(of_snap(brand, &snap.name)) { (snap.name) } }
                    @else { (snap.name) }
                }
                td { (snap.kind.map_or_else(|| "no revision yet".to_owned(), |kind| kind.to_string())) }
                td { (snap.store_id) }
                td { (why(*because)) @if snap.private { " " (mark("private", "strong")) } }
                td {
                    @if include && *because == Because::Included {
                        (post_button(&session.mark, &format!("{path}/exclude"), "Exclude",
                            snap.name.as_str(), "danger", &[("snap", snap.name.as_str())]))
                    }
                }
            }
        }
    };
    html! {
        (search(path, "Name of a snap", visit.query("q"), &[]))
        @if part.is_empty() {
            (empty(if include {
                "Nothing here yet. Put a snap in below, by its name."
            } else {
                "No snap fits. Snaps registered in a base store are shown there by themselves."
            }))
        } @else {
            (table("Snaps the store shows", &["Snap", "Type", "Registered in", "Why", ""], rows))
        }
        (cut.links(path, &[("q", visit.query("q"))]))
        @if include {
            (post_form(&session.mark, &format!("{path}/include"), html! {
                (line(Line { name: "snap", label: "Include a snap", required: true, longest: 40,
                    hint: "Its name. It may come from the stores this one takes snaps from.", ..Line::default() }))
                button { "Include" }
            }))
        }
    }
}

fn why(because: Because) -> &'static str {
    match because {
        Because::Essential => "in every store",
        Because::Own => "registered here",
        Because::WholeStore => "all of its store is here",
        Because::Included => "included",
    }
}

fn settings(mark: &FormMark, store: &StoreRecord, path: &str) -> Markup {
    let policies = [ReviewPolicy::Allow, ReviewPolicy::Avoid, ReviewPolicy::Require].map(policy);
    html! {
        h2 { "Settings" }
        (post_form(mark, &format!("{path}/settings"), html! {
            (line(Line { name: "name", label: "Name", value: &store.name, required: true, longest: 128, ..Line::default() }))
            (choice("policy", "After the automatic checks of an upload", "", &policies, policy(store.review_policy).0))
            p { (tick("private", "yes", "Unlisted: not shown to who names no store", store.private)) }
            button { "Save settings" }
        }))
    }
}

fn sources(mark: &FormMark, store: &StoreRecord, path: &str) -> Markup {
    let ids = |ids: &BTreeSet<StoreId>| ids.iter().map(StoreId::as_str).collect::<Vec<_>>().join(" ");
    let (sources, targets, whole) = (
        ids(&store.inclusion_sources),
        ids(&store.inclusion_targets),
        ids(&store.whole_stores),
    );
    let prefixes: Vec<String> = store
        .name_prefixes
        .iter()
        .map(|known| format!("{}{}", known.prefix, if known.inheritable { "+" } else { "" }))
        .collect();
    html! {
        h2 { "Where snaps come from" }
        p class="hint" { "Decided by the operator of the instance. Lists of store ids, separated by blanks." }
        (post_form(mark, &format!("{path}/sources"), html! {
            (line(Line { name: "sources", label: "Single snaps may be taken from", value: &sources, longest: 4000, ..Line::default() }))
            (line(Line { name: "targets", label: "Stores that may take snaps from here", value: &targets, longest: 4000,
                hint: "Empty: every store that names this one above.", ..Line::default() }))
            (line(Line { name: "whole", label: "Stores that are here as a whole", value: &whole, longest: 4000, ..Line::default() }))
            @if store.parent.is_none() {
                (field("f-prefixes", "Names registered here begin with", html! {
                    input type="text" id="f-prefixes" name="prefixes" value=(prefixes.join(" ")) maxlength="4000"
                        aria-describedby="f-prefixes-hint" autocomplete="off" spellcheck="false";
                }, "Empty: anyhow. A + behind one lets stores below take it over."))
            }
            button { "Save" }
        }))
    }
}

async fn configure(visit: Visit<StoreCtx, Form>) -> Outcome {
    let (brand, id) = (visit.ctx.brand(), &visit.ctx.store().id);
    let form = &visit.body;
    let review_policy = match form.raw("policy") {
        "allow" => ReviewPolicy::Allow,
        "avoid" => ReviewPolicy::Avoid,
        "require" => ReviewPolicy::Require,
        _ => {
            return Err(Refusal::invalid(
                "invalid-policy",
                "cannot change the settings: the review policy is allow, avoid or require",
            ));
        }
    };
    let settings = StoreSettings {
        name: Some(form.text("name").unwrap_or_default().to_owned()),
        private: Some(form.ticked("private")),
        review_policy: Some(review_policy),
        ..StoreSettings::default()
    };
    stores::configure(&visit.app, &visit.ctx, settings).await?;
    Ok(done_at(&of_store(brand.brand(), id), "saved"))
}

async fn provision(visit: Visit<InstanceCtx, Form>) -> Outcome {
    let place = Place::Store(visit.variable("store")?);
    let ctx: StoreCtx = visit
        .session
        .authorize(&visit.app, Permission::StoreManage, place)
        .await?;
    let (brand, id) = (ctx.brand(), &ctx.store().id);
    let form = &visit.body;
    let prefixes: Vec<String> = form.list("prefixes", "Names registered here begin with")?;
    let prefixes = prefixes.into_iter().map(|text| SnapPrefix {
        inheritable: text.ends_with('+'),
        prefix: text.trim_end_matches('+').to_owned(),
    });
    let settings = StoreSettings {
        inclusion_sources: Some(form.list::<StoreId, _>("sources", "Single snaps may be taken from")?),
        inclusion_targets: Some(form.list::<StoreId, _>("targets", "Stores that may take snaps from here")?),
        whole_stores: Some(form.list::<StoreId, _>("whole", "Stores that are here as a whole")?),
        name_prefixes: Some(prefixes.collect()),
        ..StoreSettings::default()
    };
    stores::configure(&visit.app, &ctx, settings).await?;
    Ok(done_at(&of_store(brand.brand(), id), "saved"))
}

async fn include(visit: Visit<StoreCtx, Form>) -> Outcome {
    let (brand, id) = (visit.ctx.brand(), &visit.ctx.store().id);
    let snap: SnapName = visit.body.need("snap", "Include a snap")?;
    inclusions::include(&visit.app, &visit.ctx, &snap).await?;
    Ok(done_at(&of_store(brand.brand(), id), "included"))
}

async fn exclude(visit: Visit<StoreCtx, Form>) -> Outcome {
    let (brand, id) = (visit.ctx.brand(), &visit.ctx.store().id);
    let snap: SnapName = visit.body.need("snap", "Snap")?;
    inclusions::exclude(&visit.app, &visit.ctx, &snap).await?;
    Ok(done_at(&of_store(brand.brand(), id), "excluded"))
}
