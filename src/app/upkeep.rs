//! What a server does besides answering: audit checkpoints, and clearing away tokens and branches that have expired and
//! reservations of other processes that ended badly.

use std::time::Duration;

use super::audit::{CHECKPOINT_EVERY, Checkpoints};
use super::catalog::{expiry, garbage, releases};
use super::{App, Refusal, mail, numbers, serial_job, tokens};

/// How often expired tokens and branches are cleared away, in rounds of [`CHECKPOINT_EVERY`]: once an hour.
const SWEEP_EVERY: u32 = 60;

/// How often files that nothing names are cleared away, in sweeps: once a day.
const COLLECT_EVERY: u32 = 24;

/// Runs until `stop` is ready: a checkpoint every minute while audit entries come in, and a last one at the end.
/// The server makes `stop` ready when the last request has been answered, and waits for this before it closes
/// the storage.
pub async fn upkeep(app: App, stop: impl Future<Output = ()>) {
    rounds(app, stop, CHECKPOINT_EVERY).await;
}

/// Forgets revisions that the settings of stores do not keep. Where some went, and once a day, the files that nothing names
/// are removed too. Not at the start: who restored the wrong backup has an hour to notice.
async fn clear_away(app: &App, collect: bool) -> Result<(), Refusal> {
    let gone = expiry::expire(app).await?;
    if gone > 0 {
        tracing::info!(revisions = gone, "forgot unreleased revisions");
    }
    if gone > 0 || collect {
        let files = garbage::collect(app).await?;
        if files > 0 {
            tracing::info!(files, "cleared files away that nothing names");
        }
    }
    Ok(())
}

async fn rounds(app: App, stop: impl Future<Output = ()>, every: Duration) {
    let mut checkpoints = Checkpoints::default();
    let mut stop = std::pin::pin!(stop);
    for round in 0u32.. {
        if round % SWEEP_EVERY == 0 {
            if let Err(error) = tokens::sweep(&app).await {
                tracing::error!(%error, "cannot clear expired tokens away");
            }
            if let Err(error) = mail::sweep(&app).await {
                tracing::error!(%error, "cannot clear letters away that are no use");
            }
            if let Err(error) = releases::expire(&app).await {
                tracing::error!(%error, "cannot close branches whose time is over");
            }
            let daily = round / SWEEP_EVERY % COLLECT_EVERY == 1;
            if daily && let Err(error) = numbers::sweep(&app).await {
                tracing::error!(%error, "cannot clear old numbers of devices away");
            }
            if let Err(error) = clear_away(&app, daily).await {
                tracing::error!(%error, "cannot clear away what nobody needs");
            }
        }
        if let Err(error) = serial_job::void_abandoned(&app).await {
            tracing::error!(%error, "cannot look for reservations that were left open");
        }
        let stopped = tokio::time::timeout(every, &mut stop).await.is_ok();
        if let Err(error) = checkpoints.make(&app).await {
            tracing::error!(%error, "cannot make an audit checkpoint");
        }
        if stopped {
            return;
        }
    }
}
