//! Featured snaps: what the shop window shows first. The operator chooses; who does not see a snap does not see it there
//! either.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::changes::apply;
use crate::app::{App, InstanceCtx, Refusal};
use crate::domain::catalog::{Changed, SnapRecord};
use crate::domain::ident::SnapId;
use crate::ports::{Change, Commit, CommitOutcome, Key, Kind, Versioned};

/// Most snaps that can be featured.
pub const MAX_FEATURED: usize = 250;
/// How often a change is tried again because a snap was changed meanwhile.
const ATTEMPTS: usize = 20;

/// Features these snaps, in this order, in place of those of before.
///
/// # Errors
/// `too-many-featured`, `duplicate-snap`; unknown snaps are not found, and nothing changes.
pub async fn set(app: &App, ctx: &InstanceCtx, wanted: &[SnapId]) -> Result<(), Refusal> {
    check(wanted)?;
    change(app, ctx, wanted, |places, id, _| places.get(id).copied()).await
}

/// Features these snaps no longer; those that were not featured stay so.
///
/// # Errors
/// As for [`set`].
pub async fn remove(app: &App, ctx: &InstanceCtx, unwanted: &[SnapId]) -> Result<(), Refusal> {
    check(unwanted)?;
    change(app, ctx, unwanted, |places, id, now| {
        now.filter(|_| !places.contains_key(id))
    })
    .await
}

fn check(named: &[SnapId]) -> Result<(), Refusal> {
    if named.len() > MAX_FEATURED {
        return Err(Refusal::invalid(
            "too-many-featured",
            format!("cannot feature more than {MAX_FEATURED} snaps"),
        ));
    }
    let distinct: BTreeSet<&SnapId> = named.iter().collect();
    if distinct.len() < named.len() {
        return Err(Refusal::invalid(
            "duplicate-snap",
            "cannot feature snaps: one is named twice",
        ));
    }
    Ok(())
}

/// Gives every snap the place that `place` tells from those named, its id and its place of now.
async fn change(
    app: &App,
    ctx: &InstanceCtx,
    named: &[SnapId],
    place: impl Fn(&BTreeMap<&SnapId, u32>, &SnapId, Option<u32>) -> Option<u32>,
) -> Result<(), Refusal> {
    let places: BTreeMap<&SnapId, u32> = named.iter().zip(1..).collect();
    for _ in 0..ATTEMPTS {
        let snaps = app.storage.all::<SnapRecord>(Key(Vec::new())).await?;
        let known: BTreeSet<&SnapId> = snaps.iter().map(|found| &found.record.id).collect();
        if let Some(unknown) = named.iter().find(|id| !known.contains(id)) {
            return Err(Refusal::not_found(format!(
                "cannot find snap {unknown}: there is none"
            )));
        }
        let mut commit = Commit::default();
        let mut changed = Vec::new();
        let mut featured = Vec::new();
        for Versioned { mut record, version } in snaps {
            let next = place(&places, &record.id, record.featured);
            featured.extend(next.map(|place| (place, record.id.clone())));
            if next != record.featured {
                record.featured = next;
                changed.push(Changed::Snap(record.id.clone()));
                commit.records.push(Change::replace(&record, version));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        featured.sort();
        let ids: Vec<SnapId> = featured.into_iter().map(|(_, id)| id).collect();
        let mut event = ctx.event(app.clock.now(), "featured.set", "");
        event.detail.insert("snaps".to_owned(), json!(ids));
        commit.audit.push(event);
        match apply(app, commit, &changed).await? {
            CommitOutcome::Conflict { kind: Kind::Snap, .. } => {}
            outcome => return App::settle(&outcome),
        }
    }
    Err(App::changed_meanwhile())
}
