//! Taking up what a process that ended left behind, and clearing away what nobody wants.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::run;
use crate::app::catalog::uploads;
use crate::app::{App, Refusal, gauges};
use crate::domain::catalog::{LEASE, MOST_TURNS, PushRecord, PushState};
use crate::ports::{Change, Commit, CommitOutcome, Key, Versioned};

/// How often it is looked for pushes that nobody works on: at first, when the process before may have just ended.
const LOOK_AT_FIRST: Duration = Duration::from_secs(10);
/// And later.
const LOOK: Duration = Duration::from_secs(60);
/// How often what nobody wants is cleared away.
const SWEEP: Duration = Duration::from_secs(30 * 60);

/// Takes up what nobody works on: the process that did has ended. Returns how many that were.
///
/// # Errors
/// If the storage is out of reach.
pub async fn take_up(app: &App) -> Result<usize, Refusal> {
    let now = app.clock.now();
    let mut taken = 0;
    let all = app.storage.all::<PushRecord>(Key(Vec::new())).await?;
    app.gauges.pushes(gauges::pushes_waiting(&all));
    for found in all {
        let Versioned {
            record: mut push,
            version,
        } = found;
        if !push.is_abandoned(now) {
            continue;
        }
        let given_up = push.turns >= MOST_TURNS;
        push.state = if given_up {
            tracing::error!(snap = %push.name, "an upload is given up: whoever worked on it ended");
            PushState::Refused {
                code: "upload-given-up".to_owned(),
                message: "cannot make a revision of the file: the server ended each time it tried; ask its operator".to_owned(),
                whole_file_helps: false,
                at: now,
            }
        } else {
            PushState::Working {
                until: now.plus_seconds(LEASE),
            }
        };
        let commit = Commit {
            records: vec![Change::replace(&push, version)],
            ..Commit::default()
        };
        if app.storage.commit(commit).await? == CommitOutcome::Done && !given_up {
            taken += 1;
            tokio::spawn(run(
                app.clone(),
                Versioned {
                    record: push,
                    version: version + 1,
                },
            ));
        }
    }
    Ok(taken)
}

/// Takes up what was left behind, and clears away what nobody wants, until `stop` is ready. The latter may take long where
/// much was sent; the former does not wait for it.
pub async fn pushes(app: App, stop: impl Future<Output = ()>) {
    let stop = stop.shared();
    tokio::join!(taking_up(&app, stop.clone()), clearing_away(&app, stop));
}

async fn taking_up(app: &App, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    for round in 0u32.. {
        if let Err(error) = take_up(app).await {
            tracing::error!(%error, "cannot look for uploads that nobody works on");
        }
        let pause = if round < 6 { LOOK_AT_FIRST } else { LOOK };
        if tokio::time::timeout(pause, &mut stop).await.is_ok() {
            return;
        }
    }
}

async fn clearing_away(app: &App, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    loop {
        if let Err(error) = uploads::sweep(app).await {
            tracing::error!(%error, "cannot clear away uploads that nobody wants");
        }
        if tokio::time::timeout(SWEEP, &mut stop).await.is_ok() {
            return;
        }
    }
}
