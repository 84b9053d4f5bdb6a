//! Following other processes on the same storage: what they change of the fleet is applied to what is kept in memory, in the order
//! of versions. Where only one process can have the storage open, nothing here does anything.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex as Lock, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tokio::sync::Mutex;

use super::load::{Batch, reload};
use super::start;
use crate::app::{App, Reason, Refusal};
use crate::ports::{Mark, StoreError};

/// How often it is asked what others changed.
const EVERY: Duration = Duration::from_millis(250);
/// How long somebody waits for the answer. It comes all the same, for those who ask later.
const PATIENCE: Duration = Duration::from_secs(2);
/// For how long devices are answered by what was known last. After that they are told to come back later: a wave that others
/// have cancelled must not go on.
const MOST_BEHIND: Duration = Duration::from_secs(5);
/// Devices that are remembered to have no place; when there are more, all are asked for again.
const MOST_STRANGERS: usize = 1_000_000;
/// How often an operator looks again who was not the fastest.
const TRIES: u32 = 16;

/// How far this process has followed the others.
#[derive(Debug)]
pub(super) struct Following {
    /// Whether there may be others.
    shared: AtomicBool,
    turn: Mutex<Turn>,
    began: Instant,
    /// Up to when all changes are known, in milliseconds since `began`.
    known: AtomicU64,
    /// Whether the last attempt failed.
    failing: AtomicBool,
    /// Devices that have no place in the fleet, as the storage said when they asked.
    strangers: Lock<HashSet<u128, RandomState>>,
}

/// Where to go on.
#[derive(Debug, Default)]
struct Turn {
    mark: Option<Mark>,
    /// When the last successful look began.
    begun: Option<Instant>,
}

impl Default for Following {
    fn default() -> Self {
        Self {
            shared: AtomicBool::default(),
            turn: Mutex::default(),
            began: Instant::now(),
            known: AtomicU64::default(),
            failing: AtomicBool::default(),
            strangers: Lock::default(),
        }
    }
}

impl Following {
    /// Whether other processes may change the fleet.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Acquire)
    }

    /// All is known that was committed before `begun`; what comes after it is found from `mark` on.
    pub(super) async fn begin(&self, mark: Option<Mark>, begun: Instant) {
        let shared = mark.is_some();
        *self.turn.lock().await = Turn {
            mark,
            begun: Some(begun),
        };
        self.knows(begun);
        self.shared.store(shared, Ordering::Release);
    }

    fn knows(&self, until: Instant) {
        let known = until.duration_since(self.began).as_millis();
        self.known
            .store(u64::try_from(known).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// How old what is known is.
    fn behind(&self) -> Duration {
        let known = Duration::from_millis(self.known.load(Ordering::Acquire));
        self.began.elapsed().saturating_sub(known)
    }

    /// Whether a device was found to have no place.
    pub(super) fn is_stranger(&self, id: u128) -> bool {
        self.strangers().contains(&id)
    }

    /// A device has no place. Who gets one, or a rule that gives one, is heard of like any other change.
    pub(super) fn add_stranger(&self, id: u128) {
        let mut strangers = self.strangers();
        if strangers.len() >= MOST_STRANGERS {
            strangers.clear();
        }
        strangers.insert(id);
    }

    fn strangers(&self) -> std::sync::MutexGuard<'_, HashSet<u128, RandomState>> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle<T>(&self, outcome: Result<T, StoreError>) -> Result<T, Refusal> {
        match outcome {
            Ok(done) => {
                if self.failing.swap(false, Ordering::AcqRel) {
                    tracing::info!("what other processes change of the fleet is known again");
                }
                Ok(done)
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::AcqRel) {
                    tracing::error!(%error, "cannot tell what other processes change of the fleet");
                }
                Err(away())
            }
        }
    }
}

fn away() -> Refusal {
    Refusal::new(
        Reason::Unavailable,
        "storage-unavailable",
        "cannot reach the database: try again later",
    )
}

/// Follows until `stop` is ready.
pub async fn follow(app: App, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    loop {
        if tokio::time::timeout(EVERY, &mut stop).await.is_ok() {
            return;
        }
        if !app.fleet.following.is_shared() {
            return stop.await;
        }
        // What fails is told once, and tried again.
        let _tried = catch_up(&app).await;
    }
}

/// How old what this process knows of the others' changes is; none where there are no others.
pub fn behind(app: &App) -> Option<Duration> {
    let following = &app.fleet.following;
    following.is_shared().then(|| following.behind())
}

/// What this process knows is good enough for devices.
///
/// # Errors
/// If the storage was out of reach for too long, and is.
pub async fn current(app: &App) -> Result<(), Refusal> {
    let following = &app.fleet.following;
    if !following.is_shared() || following.behind() < MOST_BEHIND {
        return Ok(());
    }
    catch_up(app).await
}

/// The fleet is in memory, with everything that was committed before this was called.
///
/// # Errors
/// If the storage is out of reach.
pub(super) async fn look(app: &App) -> Result<(), Refusal> {
    start(app).await?;
    catch_up(app).await
}

/// Everything is known that was committed before this was called. Those who wait for each other share one look.
///
/// # Errors
/// If the storage is out of reach.
pub(super) async fn catch_up(app: &App) -> Result<(), Refusal> {
    let following = &app.fleet.following;
    if !following.is_shared() {
        return Ok(());
    }
    // On its own: where much changed, reading it takes longer than anybody here waits, and given up it would begin anew for ever.
    let advancing = tokio::spawn(advance(app.clone(), Instant::now()));
    match tokio::time::timeout(PATIENCE, advancing).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) | Err(_) => Err(away()),
    }
}

/// Reads what was committed until `asked`, and applies it.
async fn advance(app: App, asked: Instant) -> Result<(), Refusal> {
    let (app, following) = (&app, &app.fleet.following);
    let Ok(mut turn) = tokio::time::timeout(PATIENCE, following.turn.lock()).await else {
        return Err(away());
    };
    if turn.begun.is_some_and(|begun| begun >= asked) {
        return Ok(());
    }
    let Some(since) = turn.mark.clone() else {
        return Ok(());
    };
    let begun = Instant::now();
    let changes = match following.settle(app.storage.changes(&since).await)? {
        Some(changes) => changes,
        None => {
            tracing::warn!("too much of the fleet changed unheard: all of it is read anew");
            let mark = following.settle(app.storage.mark().await)?;
            reload(app).await?;
            *turn = Turn {
                mark,
                begun: Some(begun),
            };
            following.strangers().clear();
            following.knows(begun);
            return Ok(());
        }
    };
    let mark = changes.mark.clone();
    let batch = following.settle(Batch::try_from(changes))?;
    if batch.has_rules() {
        following.strangers().clear();
    }
    if !batch.is_empty() {
        app.fleet.write(|state| batch.apply(state));
    }
    *turn = Turn {
        mark: Some(mark),
        begun: Some(begun),
    };
    following.knows(begun);
    Ok(())
}

/// Attempts of an operator, where another process may be faster.
#[derive(Debug)]
pub(super) struct Tries(u32);

impl Default for Tries {
    fn default() -> Self {
        Self(TRIES)
    }
}

impl Tries {
    /// Whether what was refused is worth another attempt, since another process was faster; what that did is known then.
    ///
    /// # Errors
    /// If the storage is out of reach.
    pub(super) async fn again(&mut self, app: &App, refusal: &Refusal) -> Result<bool, Refusal> {
        let lost = refusal.code == "changed-meanwhile" && app.fleet.following.is_shared();
        if !lost || self.0 == 0 {
            return Ok(false);
        }
        self.0 -= 1;
        catch_up(app).await?;
        Ok(true)
    }
}
