//! Numbers of long ago go, and the parts of a day that is over become one.

use crate::app::{App, Refusal};
use crate::domain::ident::SnapId;
use crate::domain::numbers::{KEPT, REACH, SnapDay};
use crate::domain::time::Day;
use crate::ports::{Change, Commit, CommitOutcome, Key, Record as _, StoreError, Versioned};

/// How many days of a snap are looked at together.
const PAGE: usize = 64;
/// After the parts of every day: no name of a part begins like this.
const END: &str = "~";
/// Days that are over but lately, whose parts are merged. What no server was there to merge stays in parts.
const LATELY: i64 = 7;

/// Upkeep: once a day. For every snap of which there are numbers, only the oldest and those of the last days are read.
///
/// # Errors
/// Those of the storage; the next time goes on with what was left.
pub async fn sweep(app: &App) -> Result<(), Refusal> {
    let today = Day::of(app.clock.now());
    let mut after: Option<Key> = None;
    loop {
        let next = app
            .storage
            .page::<SnapDay>(Key(Vec::new()), after.as_ref(), 1)
            .await?;
        let Some(found) = next.into_iter().next() else {
            return Ok(());
        };
        let snap = found.record.snap_id;
        drop_old(app, &snap, today.plus(-KEPT - REACH)).await?;
        merge(app, &snap, today).await?;
        after = Some(Key::from([snap.as_str(), END, END]));
    }
}

/// What comes before all parts of a day.
pub(super) fn before(snap: &SnapId, day: Day) -> Key {
    Key::from([snap.as_str(), &day.to_string(), ""])
}

/// Writes, unless another process was faster: then there is nothing left to do, or it is done the next day.
async fn write(app: &App, records: Vec<Change>) -> Result<bool, StoreError> {
    let commit = Commit {
        records,
        ..Commit::default()
    };
    Ok(app.storage.commit(commit).await? == CommitOutcome::Done)
}

async fn drop_old(app: &App, snap: &SnapId, oldest: Day) -> Result<(), StoreError> {
    loop {
        let found = app.storage.page::<SnapDay>([snap.as_str()], None, PAGE).await?;
        let old = found.iter().filter(|found| found.record.day < oldest);
        let records: Vec<Change> = old
            .map(|found| Change::delete(&found.record, found.version))
            .collect();
        if records.is_empty() || !write(app, records).await? {
            return Ok(());
        }
    }
}

/// Not those of yesterday: reports of its last minutes may still be on their way. Whoever writes to a part that was merged
/// begins a new one.
async fn merge(app: &App, snap: &SnapId, today: Day) -> Result<(), StoreError> {
    let mut from = before(snap, today.plus(-LATELY));
    let mut day: Vec<Versioned<SnapDay>> = Vec::new();
    loop {
        let found = app
            .storage
            .page::<SnapDay>([snap.as_str()], Some(&from), PAGE)
            .await?;
        let next = found.last().map(|last| last.record.key());
        for part in found {
            if day
                .first()
                .is_some_and(|first| first.record.day != part.record.day)
            {
                merge_day(app, std::mem::take(&mut day)).await?;
            }
            if today.since(part.record.day) > 1 {
                day.push(part);
            }
        }
        match next {
            Some(next) => from = next,
            None => return merge_day(app, day).await,
        }
    }
}

async fn merge_day(app: &App, parts: Vec<Versioned<SnapDay>>) -> Result<(), StoreError> {
    let Some(first) = parts.first().filter(|_| parts.len() > 1) else {
        return Ok(());
    };
    let (snap, day) = (first.record.snap_id.clone(), first.record.day);
    let mut whole = SnapDay::new(snap, day, SnapDay::WHOLE.to_owned());
    let mut records = Vec::new();
    let mut version = None;
    for part in parts {
        if part.record.part == SnapDay::WHOLE {
            version = Some(part.version);
        } else {
            records.push(Change::delete(&part.record, part.version));
        }
        whole.merge(part.record);
    }
    records.push(match version {
        Some(version) => Change::replace(&whole, version),
        None => Change::create(&whole),
    });
    write(app, records).await?;
    Ok(())
}
