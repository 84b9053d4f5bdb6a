//! Snaps: their names, what people read about them, their revisions.

use maud::{Markup, html};

use super::form::Form;
use super::frame::{Page, of_brand};
use super::parts::{
    Cut, Line, at, choice, empty, facts, field, line, mark, post_form, search, size, table, tick, time,
};
use super::reviews::{of_revision, state};
use super::route::{Outcome, Visit, Web, done_at};
use super::{channels, collaborators};
use crate::app::catalog::register::{self, NewSnap};
use crate::app::catalog::snaps::{self, Detail, Edit};
use crate::app::catalog::tracks;
use crate::app::{BrandCtx, SnapCtx, brands};
use crate::domain::access::Permission;
use crate::domain::catalog::{RevisionRecord, SnapRecord, Track};
use crate::domain::ident::{BrandId, SnapName};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.page(
            "/brands/{brand}/snaps",
            P::SnapRead,
            "Page: snaps of a brand",
            list,
        ),
        web.act(
            "/brands/{brand}/snaps",
            P::SnapPublish,
            "Register the name of a snap",
            create,
        ),
        web.page(
            "/brands/{brand}/snaps/{snap}",
            P::SnapRead,
            "Page: a snap and its channels",
            show,
        ),
        web.act(
            "/brands/{brand}/snaps/{snap}/listing",
            P::SnapPublish,
            "Edit what people read about a snap",
            edit,
        ),
        web.page(
            "/brands/{brand}/snaps/{snap}/revisions",
            P::SnapRead,
            "Page: revisions of a snap",
            revisions,
        ),
        web.act(
            "/brands/{brand}/snaps/{snap}/tracks",
            P::SnapPublish,
            "Make a track of a snap",
            add_track,
        ),
        web.act(
            "/brands/{brand}/snaps/{snap}/guardrails",
            P::TrackManage,
            "Say which tracks the publisher may make",
            guard,
        ),
    ]
}

/// The page below the list of snaps.
pub(super) fn below_snaps<B>(visit: &Visit<SnapCtx, B>, page: Page) -> Page {
    visit.below_brand(page, Permission::SnapRead, "snaps", "Snaps")
}

/// The path of the page of a snap.
pub(super) fn of_snap(brand: &BrandId, name: &SnapName) -> String {
    at(&["brands", brand.as_str(), "snaps", name.as_str()])
}

async fn list(visit: Visit<BrandCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let path = of_brand(ctx.brand(), "snaps");
    let now = app.clock.now();
    let wanted = visit.query("q").to_lowercase();
    let mut found = snaps::list(app, ctx).await?;
    let none = found.is_empty();
    found.retain(|snap| {
        snap.name.as_str().contains(&wanted) || snap.listing.summary.to_lowercase().contains(&wanted)
    });
    let (cut, part) = Cut::of(found, visit.page());
    let rows = html! {
        @for snap in &part {
            tr {
                th scope="row" { a href=(of_snap(ctx.brand(), &snap.name)) { (snap.name) } }
                td { (snap.kind.map_or_else(|| "-".to_owned(), |kind| kind.to_string())) @if snap.private { " " (mark("private", "strong")) } }
                td class="number" { (snap.newest_revision) }
                td { (open(snap, now)) }
                td class="long" { (snap.listing.summary) }
            }
        }
    };
    let bases: Vec<_> = brands::all_stores(app, ctx)
        .await?
        .into_iter()
        .filter(|store| store.parent.is_none())
        .collect();
    let body = html! {
        @if ctx.may(Permission::SnapPublish) {
            p { a class="button main" href=(of_brand(ctx.brand(), "upload")) { "Upload a revision" } }
        }
        @if none {
            (empty(if ctx.may(Permission::SnapPublish) {
                "No snap yet. Upload one: its name is registered with the first revision. Or register a name below."
            } else {
                "No snap that you may see. A publisher uploads them, with snapcraft or here."
            }))
        } @else {
            (search(&path, "Name or summary", visit.query("q"), &[]))
            @if part.is_empty() { (empty("No snap fits; look for less.")) } @else {
                (table("Snaps", &["Name", "Type", "Newest", "Open channels", "Summary"], rows))
            }
            (cut.links(&path, &[("q", visit.query("q"))]))
        }
        @if ctx.may(Permission::SnapPublish) {
            h2 { "Register a name" }
            (post_form(&session.mark, &path, html! {
                (line(Line { name: "name", label: "Name", required: true, longest: 40,
                    hint: "2 to 40 of a-z, 0-9 and inner single dashes.", ..Line::default() }))
                @if bases.len() > 1 {
                    @let options: Vec<(&str, &str)> = bases.iter().map(|store| (store.id.as_str(), store.name.as_str())).collect();
                    (choice("store", "Base store", "", &options, ""))
                }
                @if ctx.operates() {
                    (line(Line { name: "publisher", label: "Publisher", longest: 254,
                        hint: "Username, e-mail address or id of an account, or the brand; you, if it is empty.",
                        ..Line::default() }))
                }
                p { (tick("private", "yes", "Private: only for devices and people of the stores that show it", false)) }
                button { "Register" }
            }))
        }
    };
    Ok(Page::new("Snaps", body).into())
}

/// The open channels, in short.
fn open(snap: &SnapRecord, now: Timestamp) -> String {
    let mut names: Vec<String> = snap
        .releases
        .listed(now)
        .into_iter()
        .map(|release| release.channel.short())
        .collect();
    names.dedup();
    let more = names.len().saturating_sub(4);
    names.truncate(4);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

async fn create(visit: Visit<BrandCtx, Form>) -> Outcome {
    let form = &visit.body;
    let new = NewSnap {
        name: form.need("name", "Name")?,
        store: form.parse("store", "Base store")?,
        publisher: form.text("publisher").map(str::to_owned),
        private: form.ticked("private"),
    };
    let snap = register::register(&visit.app, &visit.ctx, &new).await?;
    Ok(done_at(&of_snap(visit.ctx.brand(), &snap.name), "registered"))
}

async fn show(visit: Visit<SnapCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let brand = ctx.brand().brand();
    let Detail {
        snap,
        publisher,
        revisions,
    } = snaps::show(app, ctx).await?;
    let path = of_snap(brand, &snap.name);
    let publishes = ctx.may(Permission::SnapPublish);
    let collaborators = collaborators::section(&visit).await?;
    let tracks: Vec<String> = std::iter::once(Track::default())
        .chain(snap.tracks.iter().cloned())
        .map(|track| track.to_string())
        .collect();
    let body = html! {
        p { (snap.listing.summary) }
        (facts(&[
            ("Publisher", html! { (publisher.as_deref().unwrap_or(snap.publisher_id.as_str())) }),
            ("Type", html! {
                (snap.kind.map_or_else(|| "known with the first revision".to_owned(), |kind| kind.to_string()))
                @if snap.private { " " (mark("private", "strong")) }
                @if snap.revoked { " " (mark("revoked", "bad")) }
            }),
            ("Registered in", html! { (snap.store_id) }),
            ("Snap id", html! { code { (snap.id) } }),
            ("Tracks", html! { (tracks.join(", ")) }),
        ]))
        p class="inline" {
            a class="button" href={ (path) "/revisions" } { "Revisions (" (revisions.len()) ")" } " "
            @if ctx.takes_part() { a class="button" href={ (path) "/grants" } { "Grants" } " " }
            @if publishes { a class="button" href=(of_brand(brand, "upload")) { "Upload a revision" } }
        }
        h2 { "Channels" }
        (channels::map(&visit, &snap, &revisions, &path))
        @if publishes {
            details class="more" { summary { h2 { "Tracks" } }
            (post_form(&session.mark, &format!("{path}/tracks"), html! {
                (line(Line { name: "track", label: "New track", required: true, longest: 28,
                    hint: &allowed(&snap.guardrails), ..Line::default() }))
                button { "Make track" }
            })) }
            details class="more" { summary { h2 { "What people read" } }
            (post_form(&session.mark, &format!("{path}/listing"), listing(&snap))) }
        }
        (collaborators)
        @if ctx.may(Permission::TrackManage) {
            details class="more" { summary { h2 { "Tracks the publisher may make" } }
            (post_form(&session.mark, &format!("{path}/guardrails"), html! {
                (field("f-patterns", "Patterns", html! {
                    textarea id="f-patterns" name="patterns" rows="3" aria-describedby="f-patterns-hint" spellcheck="false" {
                        (snap.guardrails.join("\n"))
                    }
                }, "One regular expression a line, over the whole name of a track."))
                button { "Save patterns" }
            })) }
        }
    };
    Ok(below_snaps(&visit, Page::new(snap.name.to_string(), body)).into())
}

fn allowed(patterns: &[String]) -> String {
    if patterns.is_empty() {
        "An administrator has to set a pattern for tracks first.".to_owned()
    } else {
        format!("It must fit {}.", patterns.join(" or "))
    }
}

fn listing(snap: &SnapRecord) -> Markup {
    let now = &snap.listing;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (title, license, website, contact) = (
        text(&now.title),
        text(&now.license),
        text(&now.website),
        text(&now.contact),
    );
    html! {
        div class="two" {
            (line(Line { name: "title", label: "Title", value: &title, longest: 40, ..Line::default() }))
            (line(Line { name: "summary", label: "Summary", value: &now.summary, longest: 128, ..Line::default() }))
            (line(Line { name: "license", label: "Licence", value: &license, longest: 500, ..Line::default() }))
            (line(Line { name: "website", label: "Website", value: &website, longest: 500, ..Line::default() }))
            (line(Line { name: "contact", label: "Contact", value: &contact, longest: 500, ..Line::default() }))
        }
        (field("f-description", "Description", html! {
            textarea id="f-description" name="description" rows="6" maxlength="4096" { (now.description) }
        }, ""))
        p {
            (tick("private", "yes", "Private: only for devices and people of the stores that show it", snap.private))
            (tick("from-snap", "yes", "Take all of this from the next revision again", false))
        }
        button { "Save" }
    }
}

async fn edit(visit: Visit<SnapCtx, Form>) -> Outcome {
    let (brand, name) = (visit.ctx.brand(), &visit.ctx.snap().name);
    let form = &visit.body;
    let line = |name: &str| Some(form.text(name).unwrap_or_default().to_owned());
    let edit = Edit {
        private: Some(form.ticked("private")),
        title: line("title"),
        summary: line("summary"),
        description: Some(form.raw("description").replace("\r\n", "\n")),
        license: line("license"),
        website: line("website"),
        contact: line("contact"),
        from_snap: form.ticked("from-snap"),
        ..Edit::default()
    };
    snaps::edit(&visit.app, brand, name, &edit).await?;
    Ok(done_at(&of_snap(brand.brand(), name), "saved"))
}

async fn revisions(visit: Visit<SnapCtx>) -> Outcome {
    let Visit { app, ctx, .. } = &visit;
    let brand = ctx.brand().brand();
    let Detail { snap, revisions, .. } = snaps::show(app, ctx).await?;
    let path = of_snap(brand, &snap.name);
    let now = app.clock.now();
    let places = |number: u64| {
        let mut names: Vec<String> = snap
            .releases
            .listed(now)
            .into_iter()
            .filter(|release| release.revision == number)
            .map(|release| release.channel.short())
            .collect();
        names.dedup();
        names.join(", ")
    };
    let (cut, part) = Cut::of(revisions, visit.page());
    let rows = html! {
        @for one in &part {
            tr {
                th scope="row" class="number" { @if ctx.takes_part() {
                    a href=(of_revision(brand, &snap.name, one.revision)) { (one.revision) }
                } @else { (one.revision) } }
                td { (state(one.review)) }
                td { (one.version) }
                td { (architectures(one)) }
                td { (one.confinement) @if let Some(grade) = &one.grade { ", " (grade) } }
                td { (places(one.revision)) }
                td class="number" { (size(one.size)) }
                td { (time(one.created)) }
                td { details { summary { "More" } (more(one)) } }
            }
        }
    };
    let body = html! {
        @if part.is_empty() {
            (empty("No revision yet. Upload one, with snapcraft or under Upload."))
        } @else {
            (table("Revisions, the newest first",
                &["Revision", "State", "Version", "Architectures", "Confinement", "Released to", "Size", "Uploaded", "Details"], rows))
        }
        (cut.links(&format!("{path}/revisions"), &[]))
    };
    let page = Page::new(format!("Revisions of {}", snap.name), body);
    Ok(below_snaps(&visit, page)
        .below(path, snap.name.to_string())
        .into())
}

pub(super) fn architectures(revision: &RevisionRecord) -> String {
    revision
        .architectures
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn more(revision: &RevisionRecord) -> Markup {
    let components: Vec<String> = revision
        .components
        .iter()
        .map(|one| format!("{} {} ({})", one.name, one.revision, size(one.size)))
        .collect();
    let hooks: Vec<&str> = revision.hooks.iter().map(String::as_str).collect();
    facts(&[
        ("SHA3-384", html! { code class="long" { (revision.blob) } }),
        ("Type", html! { (revision.kind) }),
        ("Base", html! { (revision.base.as_deref().unwrap_or("none")) }),
        ("Epoch", html! { (revision.epoch) }),
        ("Applications", html! { (revision.apps.join(", ")) }),
        ("Hooks", html! { (hooks.join(", ")) }),
        ("Components", html! { (components.join(", ")) }),
        ("Provenance", html! { (revision.provenance) }),
        ("Uploaded by", html! { code { (revision.developer_id) } }),
    ])
}

async fn add_track(visit: Visit<SnapCtx, Form>) -> Outcome {
    let (brand, name) = (visit.ctx.brand(), &visit.ctx.snap().name);
    let track: Track = visit.body.need("track", "New track")?;
    tracks::add(&visit.app, brand, name, &track).await?;
    Ok(done_at(&of_snap(brand.brand(), name), "track"))
}

async fn guard(visit: Visit<SnapCtx, Form>) -> Outcome {
    let (brand, name) = (visit.ctx.brand(), &visit.ctx.snap().name);
    let patterns: Vec<String> = visit
        .body
        .raw("patterns")
        .lines()
        .map(str::trim)
        .filter(|pattern| !pattern.is_empty())
        .map(str::to_owned)
        .collect();
    tracks::guard(&visit.app, brand, name, &patterns).await?;
    Ok(done_at(&of_snap(brand.brand(), name), "saved"))
}
