//! What is measured for whoever watches the server: queues, ends of validity, whether the database answers. It is taken in
//! the background now and then; who asks is told what was found last, so that asking costs nothing and waits for nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{App, Refusal, fleet};
use crate::domain::catalog::{PushRecord, PushState};
use crate::domain::ident::{AccountId, KeyName};
use crate::domain::mail::OutgoingMail;
use crate::domain::time::Timestamp;
use crate::domain::vault::{KeyState, SigningKey};
use crate::ports::{Key, Versioned};

/// How often the database is asked whether it answers.
const EVERY: Duration = Duration::from_secs(15);
/// How long it may take to.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often keys and letters are looked at, in rounds of [`EVERY`]: once a minute.
const LOOK_EVERY: u32 = 4;

/// What waits to be worked on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// How much.
    pub waiting: u64,
    /// Since when the oldest of it does.
    pub oldest: Option<Timestamp>,
}

impl Queue {
    /// One more, that waits since `since`.
    pub fn add(&mut self, since: Timestamp) {
        self.waiting += 1;
        self.oldest = Some(self.oldest.map_or(since, |oldest| oldest.min(since)));
    }
}

/// The end of a key's validity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEnd {
    /// Whose key it is.
    pub account: AccountId,
    /// Its name.
    pub name: KeyName,
    /// When it ends.
    pub until: Timestamp,
}

/// What was found last.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Whether the database answered; none = not asked yet.
    pub database: Option<bool>,
    /// The keys that sign and will not for ever.
    pub keys: Vec<KeyEnd>,
    /// Files that become revisions.
    pub pushes: Queue,
    /// Deltas to be made.
    pub deltas: Queue,
    /// Letters.
    pub mail: Queue,
    /// Messages to the webhook.
    pub webhook: Queue,
}

/// What was measured; in memory, one per process.
#[derive(Debug, Default)]
pub struct Gauges(Mutex<Found>);

impl Gauges {
    /// What was found last.
    pub fn found(&self) -> Found {
        self.lock().clone()
    }

    /// What waits of the files that become revisions; told by who looks through them anyway.
    pub(super) fn pushes(&self, queue: Queue) {
        self.lock().pushes = queue;
    }

    /// What waits of the deltas; told by who makes them.
    pub(super) fn deltas(&self, queue: Queue) {
        self.lock().deltas = queue;
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pushes that are not done yet.
pub(super) fn pushes_waiting(all: &[Versioned<PushRecord>]) -> Queue {
    let mut queue = Queue::default();
    for Versioned { record, .. } in all {
        if matches!(record.state, PushState::Working { .. }) {
            queue.add(record.received);
        }
    }
    queue
}

/// Measures until `stop` is ready.
pub async fn measure(app: App, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    for round in 0u32.. {
        let work = async {
            let up = answers(&app).await;
            if up
                && round % LOOK_EVERY == 0
                && let Err(error) = look(&app).await
            {
                tracing::warn!(%error, "cannot measure what waits and what ends");
            }
        };
        tokio::select! {
            () = &mut stop => return,
            () = work => {}
        }
        if tokio::time::timeout(EVERY, &mut stop).await.is_ok() {
            return;
        }
    }
}

/// Asks the database whether it answers, and notes that.
pub async fn answers(app: &App) -> bool {
    let asked = tokio::time::timeout(PATIENCE, app.storage.ping()).await;
    let up = matches!(asked, Ok(Ok(())));
    app.gauges.lock().database = Some(up);
    up
}

/// Looks at keys, letters and messages once.
///
/// # Errors
/// If the database is out of reach.
pub async fn look(app: &App) -> Result<(), Refusal> {
    let all = app.storage.all::<SigningKey>(Key(Vec::new())).await?;
    let keys = all.into_iter().filter_map(|found| {
        let key = found.record;
        let until = key.until.filter(|_| key.state == KeyState::Active)?;
        Some(KeyEnd {
            account: key.account_id,
            name: key.name,
            until,
        })
    });
    let keys = keys.collect();
    let mut mail = Queue::default();
    for found in app.storage.all::<OutgoingMail>(Key(Vec::new())).await? {
        mail.add(found.record.created);
    }
    let webhook = fleet::untold(app);
    let mut found = app.gauges.lock();
    (found.keys, found.mail, found.webhook) = (keys, mail, webhook);
    Ok(())
}
