//! The channel map of a snap: what is where, releasing, closing, promoting.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::form::Form;
use super::parts::{Line, choice, empty, line, mark, post_button, post_form, table, time};
use super::route::{Outcome, Visit, Web, done_at};
use super::snaps::of_snap;
use crate::app::catalog::releases::{self, NewRelease};
use crate::app::{Refusal, SnapCtx};
use crate::domain::access::Permission;
use crate::domain::catalog::{Channel, Release, RevisionRecord, Risk, SnapRecord};
use crate::http::endpoint::Endpoint;

/// Revisions that are offered for a release; others are reached by their number.
const OFFERED: usize = 200;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.act(
            "/brands/{brand}/snaps/{snap}/release",
            P::SnapRelease,
            "Release a revision to channels",
            release,
        ),
        web.act(
            "/brands/{brand}/snaps/{snap}/close",
            P::SnapRelease,
            "Close a channel",
            close,
        ),
        web.act(
            "/brands/{brand}/snaps/{snap}/promote",
            P::SnapRelease,
            "Release what a channel holds to another",
            promote,
        ),
    ]
}

/// The map, with what the caller may do to it.
pub(super) fn map(
    visit: &Visit<SnapCtx>,
    snap: &SnapRecord,
    revisions: &[RevisionRecord],
    path: &str,
) -> Markup {
    let (ctx, mark) = (&visit.ctx, &visit.session.mark);
    let releases = ctx.may(Permission::SnapRelease);
    let versions: BTreeMap<u64, &str> = revisions
        .iter()
        .map(|one| (one.revision, one.version.as_str()))
        .collect();
    // Entries of a channel follow each other.
    let mut channels: Vec<(&Channel, Vec<&Release>)> = Vec::new();
    for entry in snap.releases.listed(visit.app.clock.now()) {
        match channels.last_mut() {
            Some((channel, entries)) if **channel == entry.channel => entries.push(entry),
            Some(_) | None => channels.push((&entry.channel, vec![entry])),
        }
    }
    let rows = html! {
        @for (channel, entries) in &channels {
            @let name = channel.to_string();
            tr {
                th scope="row" { (name) @if channel.branch.is_some() { " " (self::mark("branch", "")) } }
                td { @for entry in entries { div { (held(entry, &versions)) } } }
                @if releases {
                    td class="acts" {
                        @if let Some(safer) = safer(channel) {
                            @let label = format!("Promote to {}", safer.risk);
                            (post_button(mark, &format!("{path}/promote"), &label, &name, "",
                                &[("from", &name), ("to", &safer.to_string())]))
                        }
                        @for (revision, paused) in parts(entries) {
                            @let revision = revision.to_string();
                            @let (label, word) = if paused { ("Resume", "no") } else { ("Pause", "yes") };
                            (post_button(mark, &format!("{path}/release"), &format!("{label} {revision}"), &name, "",
                                &[("revision", &revision), ("channels", &name), ("pause", word)]))
                        }
                        (post_button(mark, &format!("{path}/close"), "Close", &name, "danger",
                            &[("channel", &name)]))
                    }
                }
                td { @for entry in entries { div { (time(entry.released)) } } }
            }
        }
    };
    let heads: &[&str] = if releases {
        &["Channel", "Holds", "", "Since"]
    } else {
        &["Channel", "Holds", "Since"]
    };
    html! {
        @if channels.is_empty() {
            (empty(if revisions.is_empty() {
                "Nothing is released: there is no revision yet."
            } else if !revisions.iter().any(|one| one.review.is_approved()) {
                "Nothing is released: no revision is approved yet. See Revisions for what they wait for."
            } else {
                "Nothing is released, so devices find nothing to install. Release a revision to a channel."
            }))
        } @else { (table("Channels", heads, rows)) }
        @if releases && revisions.iter().any(|one| one.review.is_approved()) { (post_form(mark, &format!("{path}/release"), new_release(snap, revisions))) }
    }
}

/// The revisions of a channel that are for a part of the devices, and whether they are paused.
fn parts(entries: &[&Release]) -> BTreeMap<u64, bool> {
    let parts = entries.iter().filter_map(|entry| {
        let part = entry.progressive.as_ref()?;
        Some((entry.revision, part.paused))
    });
    parts.collect()
}

fn held(entry: &Release, versions: &BTreeMap<u64, &str>) -> Markup {
    html! {
        (entry.architecture) ": " strong { (entry.revision) }
        @if let Some(version) = versions.get(&entry.revision) { " (" (version) ")" }
        @if let Some(part) = &entry.progressive {
            " " (mark(&format!("{} %", part.percentage), "strong"))
            @if part.paused { " " (mark("paused", "strong")) }
            " others: " @match part.otherwise { Some(other) => (other), None => "what the safer risks hold" }
        }
        @if let Some(end) = entry.expires { " until " (time(end)) }
    }
}

/// The next safer channel of the track; branches have none.
fn safer(channel: &Channel) -> Option<Channel> {
    let at = Risk::ALL.iter().position(|risk| *risk == channel.risk)?;
    let risk = Risk::ALL.get(at.checked_sub(1)?)?;
    channel
        .branch
        .is_none()
        .then(|| Channel::new(channel.track.clone(), *risk))
}

fn new_release(snap: &SnapRecord, revisions: &[RevisionRecord]) -> Markup {
    let names: Vec<(String, String)> = revisions
        .iter()
        .filter(|one| one.review.is_approved())
        .take(OFFERED)
        .map(|one| {
            let architectures: Vec<String> = one.architectures.iter().map(ToString::to_string).collect();
            let text = format!(
                "{}: version {}, {}",
                one.revision,
                one.version,
                architectures.join(" ")
            );
            (one.revision.to_string(), text)
        })
        .collect();
    let options: Vec<(&str, &str)> = names
        .iter()
        .map(|(value, text)| (value.as_str(), text.as_str()))
        .collect();
    let hint = if snap.tracks.is_empty() {
        "For example edge, or stable candidate; beta/fix-1 is a branch for 30 days.".to_owned()
    } else {
        "For example edge, or 2.0/stable 2.0/candidate; beta/fix-1 is a branch for 30 days.".to_owned()
    };
    html! {
        h3 { "Release a revision" }
        (choice("revision", "Revision", "", &options, ""))
        (line(Line { name: "channels", label: "To the channels", required: true, longest: 1000, hint: &hint, ..Line::default() }))
        (line(Line { name: "percentage", label: "Only for a part of the devices, in %", kind: "number", longest: 6,
            hint: "Empty: for all. The others keep what the channel holds now.", ..Line::default() }))
        button class="main" { "Release" }
    }
}

async fn release(visit: Visit<SnapCtx, Form>) -> Outcome {
    let (brand, name) = (visit.ctx.brand(), &visit.ctx.snap().name);
    let form = &visit.body;
    let pause = match form.raw("pause") {
        "" => None,
        "yes" => Some(true),
        "no" => Some(false),
        // Not taken for nothing: that would be a release to all.
        _ => {
            return Err(Refusal::invalid(
                "invalid-request",
                "cannot release this: pause is yes or no",
            ));
        }
    };
    let new = NewRelease {
        revision: form.need("revision", "Revision")?,
        channels: form.list("channels", "To the channels")?,
        percentage: form.parse("percentage", "Only for a part of the devices")?,
        pause,
    };
    releases::release(&visit.app, brand, name, &new).await?;
    let word = match pause {
        Some(true) => "paused",
        Some(false) => "resumed",
        None => "released",
    };
    Ok(done_at(&of_snap(brand.brand(), name), word))
}

async fn close(visit: Visit<SnapCtx, Form>) -> Outcome {
    let (brand, name) = (visit.ctx.brand(), &visit.ctx.snap().name);
    let channel: Channel = visit.body.need("channel", "Channel")?;
    releases::close(&visit.app, brand, name, &channel, &[]).await?;
    Ok(done_at(&of_snap(brand.brand(), name), "closed"))
}

async fn promote(visit: Visit<SnapCtx, Form>) -> Outcome {
    let (brand, name) = (visit.ctx.brand(), &visit.ctx.snap().name);
    let (from, to): (Channel, Channel) = (visit.body.need("from", "From")?, visit.body.need("to", "To")?);
    if from == to {
        return Err(Refusal::invalid(
            "invalid-request",
            "cannot promote a channel to itself: name another one",
        ));
    }
    releases::promote(&visit.app, brand, name, &from, &to).await?;
    Ok(done_at(&of_snap(brand.brand(), name), "promoted"))
}
