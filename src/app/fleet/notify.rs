//! What happens to waves, told to a listener of the operator's (a webhook). A message is recorded in the same step as what it
//! tells of, and sent again and again until it is taken: what was promised survives a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::json;
use zeroize::Zeroizing;

use super::follow::{Tries, look};
use super::{act, status, waves};
use crate::app::gauges::Queue;
use crate::app::{App, Refusal};
use crate::domain::audit::hex;
use crate::domain::fleet::{Notice, WaveRecord};
use crate::domain::ident::{StoreId, WaveName};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, Courier};

/// How often messages are looked for.
const EVERY: Duration = Duration::from_secs(2);
/// The first pause after a failure, and the longest, in seconds.
const PAUSES: (i64, i64) = (5, 600);
/// How long a message is left to the process that took it on, in seconds.
const CLAIM: i64 = 60;
/// How long a message is tried, in seconds: three days.
const GIVE_UP: i64 = 3 * 24 * 3600;
/// Messages of a wave that wait; the oldest is dropped where there are more.
const MOST: usize = 100;

/// Where messages go.
#[derive(Clone)]
pub struct Hook {
    courier: Arc<dyn Courier>,
    secret: Arc<Zeroizing<String>>,
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook")
            .field("courier", &self.courier)
            .finish_non_exhaustive()
    }
}

impl Hook {
    /// Messages are taken by `courier`, signed with `secret`.
    pub fn new(courier: Arc<dyn Courier>, secret: Zeroizing<String>) -> Self {
        Self {
            courier,
            secret: Arc::new(secret),
        }
    }

    /// `sha256=` and the HMAC-SHA256 of the body, in lower-case hex.
    fn signature(&self, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        format!("sha256={}", hex(hmac::sign(&key, body).as_ref()))
    }
}

/// Adds to a wave that is about to be recorded what the listener shall be told.
pub(super) fn tell(app: &App, record: &mut WaveRecord, event: &str) {
    if app.hook.is_none() {
        return;
    }
    record.noticed += 1;
    record.notices.push(Notice {
        number: record.noticed,
        event: event.to_owned(),
        why: record.why.clone(),
        at: app.clock.now(),
    });
    let surplus = record.notices.len().saturating_sub(MOST);
    record.notices.drain(..surplus);
}

/// What waits to be told.
pub(in crate::app) fn untold(app: &App) -> Queue {
    let mut queue = Queue::default();
    let state = app.fleet.read();
    for notice in state.all_waves().flat_map(|shown| &shown.record.notices) {
        queue.add(notice.at);
    }
    queue
}

/// Sends what waits, until `stop` is ready.
pub async fn deliver(app: App, stop: impl Future<Output = ()>) {
    let Some(hook) = app.hook.clone() else { return };
    let mut stop = std::pin::pin!(stop);
    let mut pauses: Pauses = HashMap::new();
    loop {
        if tokio::time::timeout(EVERY, &mut stop).await.is_ok() {
            return;
        }
        if let Err(error) = round(&app, &hook, &mut pauses).await {
            tracing::error!(%error, "cannot tell what happened to waves");
        }
    }
}

/// What was not taken.
#[derive(Clone, Copy, Debug)]
struct Pause {
    /// When it is tried next, and the pause after that.
    next: (Timestamp, i64),
    /// Until when it is left to this process.
    claimed: Option<Timestamp>,
}

/// The waves whose messages were not taken.
type Pauses = HashMap<(StoreId, WaveName), Pause>;

/// Sends what waits and is due.
///
/// # Errors
/// If the database is out of reach.
async fn round(app: &App, hook: &Hook, pauses: &mut Pauses) -> Result<(), Refusal> {
    look(app).await?;
    let waiting: Vec<(StoreId, WaveName)> = {
        let state = app.fleet.read();
        let waiting = state.all_waves().filter(|shown| !shown.record.notices.is_empty());
        waiting
            .map(|shown| (shown.wave().store.clone(), shown.wave().name.clone()))
            .collect()
    };
    for place in waiting {
        let now = app.clock.now();
        if pauses.get(&place).is_some_and(|pause| now < pause.next.0) {
            continue;
        }
        let Some(record) = claim(app, &place, pauses, now).await? else {
            continue;
        };
        let Some(notice) = record.notices.first() else {
            continue;
        };
        let id = format!("{}/{}/{}", place.0, place.1, notice.number);
        let body = message(app, &record, notice, &id);
        let signature = hook.signature(&body);
        match hook.courier.deliver(&id, &signature, body).await {
            Ok(()) => {
                pauses.remove(&place);
                forget(app, &place, notice.number).await?;
            }
            Err(error) if notice.at.plus_seconds(GIVE_UP) < now => {
                tracing::error!(%error, id, "a message to the webhook is given up");
                forget(app, &place, notice.number).await?;
            }
            Err(error) => {
                let pause = pauses.get(&place).map_or(PAUSES.0, |pause| pause.next.1);
                tracing::warn!(%error, id, pause, "cannot reach the webhook, trying again");
                let claimed = record.telling;
                let next = (now.plus_seconds(pause), (pause * 2).min(PAUSES.1));
                pauses.insert(place, Pause { next, claimed });
            }
        }
    }
    Ok(())
}

fn message(app: &App, record: &WaveRecord, notice: &Notice, id: &str) -> Vec<u8> {
    let wave = &record.wave;
    let counts = {
        let state = app.fleet.read();
        state.wave(&wave.store, &wave.name).map(|shown| {
            let now = status::of(&state, shown, app.clock.now(), status::ONLINE_HOURS);
            json!({
                "total-devices": now.total, "updated-devices": now.updated,
                "scheduled-devices": now.scheduled, "unscheduled-devices": now.unscheduled,
                "devices": now.devices,
            })
        })
    };
    json!({
        "id": id, "event": notice.event, "at": notice.at, "why": notice.why,
        "store-id": wave.store, "wave": wave.name, "tag": wave.tag, "status": wave.status,
        "counts": counts,
    })
    .to_string()
    .into_bytes()
}

/// The wave, if it is this process that tells the listener: where there are several, that is written down first.
async fn claim(
    app: &App,
    (store, name): &(StoreId, WaveName),
    pauses: &Pauses,
    now: Timestamp,
) -> Result<Option<Arc<WaveRecord>>, Refusal> {
    if !app.fleet.following.is_shared() {
        return waves::find(app, store, name).map(|(record, _)| Some(record));
    }
    let _one_at_a_time = act(app).await?;
    let (found, version) = waves::find(app, store, name)?;
    let ours = pauses
        .get(&(store.clone(), name.clone()))
        .is_some_and(|pause| pause.claimed == found.telling);
    if found.notices.is_empty() || (!ours && found.telling.is_some_and(|until| now < until)) {
        return Ok(None);
    }
    let mut record = WaveRecord::clone(&found);
    record.telling = Some(now.plus_seconds(CLAIM));
    match replace(app, record, version).await {
        Ok(record) => Ok(Some(record)),
        // Another process was faster, with this or with something else.
        Err(refusal) if refusal.code == "changed-meanwhile" => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// A message was taken, or is given up.
async fn forget(app: &App, (store, name): &(StoreId, WaveName), number: u32) -> Result<(), Refusal> {
    let _one_at_a_time = act(app).await?;
    let mut tries = Tries::default();
    loop {
        let (found, version) = waves::find(app, store, name)?;
        let mut record = WaveRecord::clone(&found);
        record.notices.retain(|notice| notice.number != number);
        record.telling = None;
        let refusal = match replace(app, record, version).await {
            Err(refusal) => refusal,
            Ok(_) => return Ok(()),
        };
        if !tries.again(app, &refusal).await? {
            return Err(refusal);
        }
    }
}

async fn replace(app: &App, record: WaveRecord, version: u64) -> Result<Arc<WaveRecord>, Refusal> {
    app.commit(Commit {
        records: vec![Change::replace(&record, version)],
        ..Commit::default()
    })
    .await?;
    let record = Arc::new(record);
    app.fleet
        .write(|state| state.put_wave(Arc::clone(&record), version + 1));
    Ok(record)
}
