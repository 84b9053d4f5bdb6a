//! The one way the catalogue changes: with every commit goes the next [`CatalogHead`], so that readers can follow.

use std::time::Duration;

use tracing::Instrument as _;

use crate::app::{App, Refusal};
use crate::domain::catalog::{CatalogHead, Changed};
use crate::ports::{Change, Commit, CommitOutcome, Key, Kind, Record as _};

/// How often a change is tried again because somebody changed another part of the catalogue.
const ATTEMPTS: u64 = 100;
/// The longest pause before the next attempt, in milliseconds.
const LONGEST_PAUSE: u64 = 20;

/// Applies `commit`, which changes these parts of the catalogue, atomically with the next head. Where only the head was
/// changed meanwhile, it is read again and the commit retried; every other outcome is the caller's to judge.
pub(crate) async fn apply(app: &App, commit: Commit, changed: &[Changed]) -> Result<CommitOutcome, Refusal> {
    for attempt in 0..ATTEMPTS {
        let mut commit = commit.clone();
        let head = app.storage.find::<CatalogHead>(head_key()).await?;
        commit.records.push(match head {
            Some(head) => Change::replace(&head.record.after(changed.iter().cloned()), head.version),
            None => Change::create(&CatalogHead::default().after(changed.iter().cloned())),
        });
        let span = tracing::debug_span!(target: "hallmark::traces", "commit");
        match app.storage.commit(commit).instrument(span).await? {
            CommitOutcome::Conflict {
                kind: Kind::Catalog, ..
            } => tokio::time::sleep(Duration::from_millis(attempt.min(LONGEST_PAUSE))).await,
            outcome => return Ok(outcome),
        }
    }
    Err(App::changed_meanwhile())
}

/// Like [`apply`]; anything but success is a refusal.
pub(super) async fn apply_all(app: &App, commit: Commit, changed: &[Changed]) -> Result<(), Refusal> {
    App::settle(&apply(app, commit, changed).await?)
}

fn head_key() -> Key {
    CatalogHead::default().key()
}
