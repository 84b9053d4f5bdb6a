//! Snaps as people see and edit them.

use std::collections::BTreeSet;

use serde_json::json;

use super::changes::apply;
use super::{publishers, snap};
use crate::app::{App, BrandCtx, Refusal, SnapCtx, vault_event};
use crate::domain::access::Permission;
use crate::domain::catalog::{Changed, RevisionRecord, SnapRecord, Track, revision_key};
use crate::domain::ident::SnapName;
use crate::ports::{Change, Commit, CommitOutcome, Key, Kind, Versioned};

/// How often a change of a snap is tried again because somebody changed it at the same time.
pub(super) const ATTEMPTS: usize = 20;
/// Longest title, in characters.
const MAX_TITLE: usize = 40;
/// Longest summary, in characters.
const MAX_SUMMARY: usize = 128;
/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 4096;
/// Longest licence, link or contact, in characters.
const MAX_LINE: usize = 500;
/// Most categories.
const MAX_CATEGORIES: usize = 10;

/// A snap with what belongs to it.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The snap.
    pub snap: SnapRecord,
    /// Public name of the publisher, where it is known.
    pub publisher: Option<String>,
    /// Its revisions, the newest first.
    pub revisions: Vec<RevisionRecord>,
}

/// What somebody edits; what is none stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Only for those who prove to belong to a store that shows it.
    pub private: Option<bool>,
    /// What a channel without a track means on installation; `Some(None)` = `latest`.
    pub default_track: Option<Option<Track>>,
    /// At most 40 characters.
    pub title: Option<String>,
    /// At most 128 characters.
    pub summary: Option<String>,
    /// At most 4096 characters.
    pub description: Option<String>,
    /// An SPDX expression.
    pub license: Option<String>,
    /// The main page.
    pub website: Option<String>,
    /// Where to ask.
    pub contact: Option<String>,
    /// Names of categories.
    pub categories: Option<BTreeSet<String>>,
    /// Take the listing from the next revision again.
    pub from_snap: bool,
    /// A tool of the publisher edits, not a person.
    pub by_tools: bool,
}

/// The snaps of the brand that the caller may see, by name.
pub async fn list(app: &App, ctx: &BrandCtx) -> Result<Vec<SnapRecord>, Refusal> {
    let all = app.storage.all::<SnapRecord>(Key(Vec::new())).await?;
    let mut snaps: Vec<SnapRecord> = all
        .into_iter()
        .map(|found| found.record)
        .filter(|snap| ctx.may_with(snap, Permission::SnapRead))
        .collect();
    snaps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(snaps)
}

/// One snap with its revisions; who has no part in it sees those that devices may get, and not who helps with it.
pub async fn show(app: &App, ctx: &SnapCtx) -> Result<Detail, Refusal> {
    let mut snap = ctx.snap().clone();
    let mut revisions: Vec<RevisionRecord> = app
        .storage
        .all::<RevisionRecord>([snap.id.as_str()])
        .await?
        .into_iter()
        .map(|found| found.record)
        .filter(|revision| ctx.takes_part() || revision.review.is_approved())
        .collect();
    revisions.reverse();
    if !ctx.takes_part() {
        snap.collaborators.clear();
        snap.newest_revision = revisions.first().map_or(0, |newest| newest.revision);
    }
    let publisher = publishers::username(app, &snap.publisher_id).await?;
    Ok(Detail {
        snap,
        publisher,
        revisions,
    })
}

/// A revision of a snap.
pub(super) async fn revision(
    app: &App,
    snap: &SnapRecord,
    revision: u64,
) -> Result<Option<RevisionRecord>, Refusal> {
    let key = [snap.id.as_str(), &revision_key(revision)];
    let found = app.storage.find::<RevisionRecord>(key).await?;
    Ok(found.map(|found| found.record))
}

/// Edits what people read about a snap, and who gets it. An edited listing is no longer taken from the revisions.
///
/// # Errors
/// `invalid-listing`, `no-such-track`, `private-essential`.
pub async fn edit(app: &App, ctx: &BrandCtx, name: &SnapName, edit: &Edit) -> Result<SnapRecord, Refusal> {
    edit_if(app, ctx, name, edit, |_| Ok(())).await
}

/// The same if `judge` has nothing against it, which sees the snap as it is when it is edited.
pub(super) async fn edit_if<E: From<Refusal>>(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    edit: &Edit,
    judge: impl Fn(&SnapRecord) -> Result<(), E>,
) -> Result<SnapRecord, E> {
    check(edit)?;
    for _ in 0..ATTEMPTS {
        let mut found = snap(app, ctx, name, Permission::SnapEdit).await?;
        judge(&found.record)?;
        apply_edit(&mut found.record, edit)?;
        let detail = json!({
            "private": edit.private,
            "default-track": edit.default_track.as_ref().map(|track| json!(track)),
            "listing": edit.touches_listing().then_some(true),
        });
        if let Some(done) = replace(app, ctx, found, "snap.edit", &detail).await? {
            return Ok(done);
        }
    }
    Err(App::changed_meanwhile().into())
}

impl Edit {
    fn touches_listing(&self) -> bool {
        self.from_snap
            || self.categories.is_some()
            || [&self.title, &self.summary, &self.description, &self.license]
                .into_iter()
                .chain([&self.website, &self.contact])
                .any(Option::is_some)
    }
}

fn apply_edit(snap: &mut SnapRecord, edit: &Edit) -> Result<(), Refusal> {
    if let Some(private) = edit.private {
        if private && snap.placed().essential() {
            return Err(Refusal::invalid(
                "private-essential",
                format!("cannot make {} private: it is in every store", snap.name),
            ));
        }
        snap.private = private;
    }
    if let Some(track) = &edit.default_track {
        if let Some(track) = track
            && !snap.tracks.contains(track)
            && *track != Track::default()
        {
            return Err(Refusal::invalid(
                "no-such-track",
                format!(
                    "cannot make {track} the default track of {}: it has no such track",
                    snap.name
                ),
            ));
        }
        snap.default_track.clone_from(track);
    }
    if !edit.touches_listing() {
        return Ok(());
    }
    let listing = &mut snap.listing;
    // An empty text takes the line away.
    let line = |to: &mut Option<String>, from: &Option<String>| {
        if let Some(text) = from {
            *to = (!text.is_empty()).then(|| text.clone());
        }
    };
    line(&mut listing.title, &edit.title);
    line(&mut listing.license, &edit.license);
    line(&mut listing.website, &edit.website);
    line(&mut listing.contact, &edit.contact);
    if let Some(summary) = &edit.summary {
        listing.summary.clone_from(summary);
    }
    if let Some(description) = &edit.description {
        listing.description.clone_from(description);
    }
    if let Some(categories) = &edit.categories {
        listing.categories.clone_from(categories);
    }
    listing.edited = !edit.from_snap;
    listing.by_tools = listing.edited && edit.by_tools;
    Ok(())
}

fn check(edit: &Edit) -> Result<(), Refusal> {
    let refuse = |what: &str, why: String| {
        let message = format!("cannot use this {what}: {why}");
        Err(Refusal::invalid("invalid-listing", message))
    };
    let lines = [
        ("title", &edit.title, MAX_TITLE),
        ("summary", &edit.summary, MAX_SUMMARY),
        ("license", &edit.license, MAX_LINE),
        ("website", &edit.website, MAX_LINE),
        ("contact", &edit.contact, MAX_LINE),
    ];
    for (what, text, longest) in lines {
        if let Some(text) = text {
            if text.chars().count() > longest {
                return refuse(what, format!("it has more than {longest} characters"));
            }
            if text.chars().any(char::is_control) {
                return refuse(what, "it must be one line without control characters".to_owned());
            }
        }
    }
    for (what, link) in [("website", &edit.website), ("contact", &edit.contact)] {
        if let Some(link) = link.as_deref().filter(|link| !link.is_empty())
            && !["https://", "http://", "mailto:"]
                .iter()
                .any(|known| link.starts_with(known))
        {
            return refuse(what, "it must begin with https://, http:// or mailto:".to_owned());
        }
    }
    if let Some(text) = &edit.description
        && text.chars().count() > MAX_DESCRIPTION
    {
        return refuse(
            "description",
            format!("it has more than {MAX_DESCRIPTION} characters"),
        );
    }
    if let Some(categories) = &edit.categories {
        let word = |text: &String| {
            (1..=40).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if categories.len() > MAX_CATEGORIES || !categories.iter().all(word) {
            return refuse(
                "list of categories",
                format!("it has at most {MAX_CATEGORIES}, each of a-z, 0-9 and -"),
            );
        }
    }
    Ok(())
}

/// Replaces the record of a snap; none if somebody changed it meanwhile.
pub(super) async fn replace(
    app: &App,
    ctx: &BrandCtx,
    changed: Versioned<SnapRecord>,
    action: &str,
    detail: &serde_json::Value,
) -> Result<Option<SnapRecord>, Refusal> {
    let snap = changed.record;
    let commit = Commit {
        records: vec![Change::replace(&snap, changed.version)],
        audit: vec![vault_event(app, ctx, action, snap.name.as_str(), detail)],
        ..Commit::default()
    };
    match apply(app, commit, &[Changed::Snap(snap.id.clone())]).await? {
        CommitOutcome::Conflict { kind: Kind::Snap, .. } => Ok(None),
        outcome => App::settle(&outcome).map(|()| Some(snap)),
    }
}
