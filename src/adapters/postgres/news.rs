//! What other processes changed: every commit that caches care for is announced in its own transaction (NOTIFY), and every
//! process listens on a connection of its own. While nobody listens nothing may be cached; whoever begins to listen again looks
//! at everything anew, so a lost announcement is never missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::task::JoinHandle;
use tokio_postgres::AsyncMessage;

use super::address::Address;
use super::failed;
use crate::ports::{Commit, Kind, StoreError};

/// Where changes are announced. PostgreSQL keeps channels apart by database.
pub(super) const ANNOUNCE: &str = "NOTIFY hallmark_changes";
const LISTEN: &str = "LISTEN hallmark_changes";
/// How often it is asked whether the connection still works: a machine that vanished does not say so.
const PULSE: Duration = Duration::from_secs(3);
/// How long an answer to that may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pause before the next attempt to connect.
const AGAIN: Duration = Duration::from_millis(500);

/// Whether a commit changes what caches hold. What devices cause at every contact does not: announcements stand in one line,
/// and would make all commits of all processes wait for each other.
pub(super) fn matters(commit: &Commit) -> bool {
    let passing = |kind: Kind| {
        matches!(
            kind,
            Kind::Device
                | Kind::SnapDay
                | Kind::FleetDevice
                | Kind::Exposure
                | Kind::Upload
                | Kind::Push
                | Kind::OutgoingMail
        )
    };
    !commit.assertions.is_empty() || commit.records.iter().any(|change| !passing(change.kind))
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct News {
    listening: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl News {
    /// Begins to listen on the database at `address`; `commits` grows with every announcement.
    pub(super) fn start(address: Address, commits: Arc<AtomicU64>) -> Self {
        let listening = Arc::<AtomicBool>::default();
        let ear = Arc::clone(&listening);
        let task = tokio::spawn(async move {
            loop {
                let ended = listen(&address, &commits, &ear).await;
                let listened = ear.swap(false, Ordering::AcqRel);
                if listened && let Err(error) = ended {
                    tracing::warn!(%error, "cannot hear what other processes change; everything is read anew until then");
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
        Self { listening, task }
    }

    /// Whether every change of others is heard now.
    pub(super) fn listens(&self) -> bool {
        self.listening.load(Ordering::Acquire)
    }

    /// Waits a moment for the first connection: without it everything works, only slower.
    pub(super) async fn wait(&self) {
        for _ in 0..100 {
            if self.listens() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops listening.
    pub(super) fn stop(&self) {
        self.task.abort();
        self.listening.store(false, Ordering::Release);
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Listens on one connection until it ends.
async fn listen(address: &Address, commits: &AtomicU64, listening: &AtomicBool) -> Result<(), StoreError> {
    let Address { config, tls } = address;
    let (client, mut connection) = config.connect(tls.clone()).await.map_err(failed)?;
    let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
    let talk = async {
        client.batch_execute(LISTEN).await.map_err(failed)?;
        // Whatever was announced before is looked at now.
        commits.fetch_add(1, Ordering::AcqRel);
        listening.store(true, Ordering::Release);
        loop {
            tokio::time::sleep(PULSE).await;
            let pulse = tokio::time::timeout(PATIENCE, client.simple_query("")).await;
            pulse
                .map_err(|_| StoreError::Unavailable("the database does not answer".to_owned()))?
                .map_err(failed)?;
        }
    };
    let hear = async {
        while let Some(message) = messages.next().await {
            if let AsyncMessage::Notification(_) = message.map_err(failed)? {
                commits.fetch_add(1, Ordering::AcqRel);
            }
        }
        Err(StoreError::Unavailable("the connection was closed".to_owned()))
    };
    tokio::select! {
        ended = talk => ended,
        ended = hear => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Change, Expect, Key};

    fn commit(kinds: &[Kind]) -> Commit {
        let change = |kind: &Kind| Change {
            kind: *kind,
            key: Key(vec!["key".to_owned()]),
            expect: Expect::Absent,
            json: None,
            unique: Vec::new(),
        };
        Commit {
            records: kinds.iter().map(change).collect(),
            ..Commit::default()
        }
    }

    #[test]
    fn what_a_device_causes_is_no_news() {
        // A report with its numbers; the first time a device is shown a wave.
        for kinds in [
            &[Kind::Device, Kind::SnapDay][..],
            &[Kind::Exposure],
            &[Kind::FleetDevice],
        ] {
            assert!(!matters(&commit(kinds)), "{kinds:?}");
        }
        for kind in [
            Kind::Catalog,
            Kind::Model,
            Kind::SigningKey,
            Kind::Brand,
            Kind::Wave,
        ] {
            assert!(matters(&commit(&[Kind::Device, kind])), "{kind:?}");
        }
        assert!(!matters(&Commit::default()));
    }
}
