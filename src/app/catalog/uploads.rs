//! Files that anybody may send before anybody says what they are for (publisher-api.md 5). They are kept apart from the
//! catalogue: a record names each of them until a push uses it or its time is over. How much one network may have coming
//! and waiting is bounded, and so is how much there is in all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::garbage;
use crate::app::lockout::network;
use crate::app::{App, Reason, Refusal};
use crate::domain::blob::{BlobDigest, BlobId};
use crate::domain::catalog::{PushRecord, UploadId, UploadRecord};
use crate::ports::{Change, Commit, CommitOutcome, Key, Staging, Versioned};

/// Files one network may send at a time.
const COMING_OF_ONE: usize = 64;
/// Files that may come in at a time; each holds up to 2 MiB of memory.
const COMING: usize = 256;
/// Files of one network that may wait.
const WAITING_OF_ONE: usize = 500;
/// Files that may wait.
const WAITING: usize = 5000;
/// Bytes one network may have coming and waiting, in files of the largest size.
const ROOM_OF_ONE: u64 = 2;
/// Bytes there may be coming and waiting in all, in files of the largest size.
const ROOM: u64 = 10;
/// Room is taken in steps of so many bytes.
const STEP: u64 = 8 << 20;
/// After how long a client is told to try again, in seconds: what comes now has arrived by then, mostly.
const TRY_AGAIN: i64 = 60;

/// What is coming in at this moment, by network; in memory, one per process.
#[derive(Debug, Default)]
pub struct Coming {
    now: Mutex<HashMap<String, Load>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    files: usize,
    bytes: u64,
}

impl Load {
    fn plus(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl Coming {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Load>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is coming in. Dropping it forgets what came.
#[derive(Debug)]
pub struct Receiving {
    app: App,
    staging: Box<dyn Staging>,
    size: u64,
    room: Room,
}

/// Room taken for a file that comes in; given back when this is dropped.
#[derive(Debug)]
struct Room {
    guard: Arc<crate::app::Guard>,
    network: String,
    /// What waited when the file began to come, of its network and in all.
    waiting: (Load, Load),
    taken: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut now = self.guard.uploads.lock();
        if let Some(load) = now.get_mut(&self.network) {
            load.files = load.files.saturating_sub(1);
            load.bytes = load.bytes.saturating_sub(self.taken);
            if load.files == 0 {
                now.remove(&self.network);
            }
        }
    }
}

impl Room {
    /// Takes room for one more file.
    fn take(app: &App, network: String, waiting: (Load, Load)) -> Result<Self, Refusal> {
        let mut now = app.guard.uploads.lock();
        let all: usize = now.values().map(|load| load.files).sum();
        let load = now.entry(network.clone()).or_default();
        let full = if load.files >= COMING_OF_ONE || waiting.0.files + load.files >= WAITING_OF_ONE {
            Some("too many files of yours are coming or waiting to be used")
        } else if all >= COMING || waiting.1.files + all >= WAITING {
            Some("too many files are coming or waiting to be used")
        } else {
            None
        };
        if let Some(why) = full {
            if load.files == 0 {
                now.remove(&network);
            }
            return Err(too_many(why));
        }
        load.files += 1;
        drop(now);
        Ok(Self {
            guard: Arc::clone(&app.guard),
            network,
            waiting,
            taken: 0,
        })
    }

    /// Whether what waits now leaves room for a file that has come. Others may have come to wait since this one began. To
    /// be asked before the record of the file is there, and before the room is given back: so none is left out.
    async fn suffices(&self, app: &App) -> Result<bool, Refusal> {
        let (own, all) = {
            let now = self.guard.uploads.lock();
            let all = now.values().fold(Load::default(), |all, load| all.plus(*load));
            (now.get(&self.network).copied().unwrap_or_default(), all)
        };
        let (own_waiting, all_waiting) = waiting_now(app, &self.network).await?;
        let fits = |load: Load, files: usize, room: u64| {
            let most = app.settings.limits.snap.saturating_mul(room).saturating_add(STEP);
            load.files <= files && load.bytes <= most
        };
        Ok(fits(own.plus(own_waiting), WAITING_OF_ONE, ROOM_OF_ONE)
            && fits(all.plus(all_waiting), WAITING, ROOM))
    }

    /// Takes room for a file that has come to `size` bytes.
    fn grow(&mut self, size: u64, limit: u64) -> Result<(), Refusal> {
        while self.taken < size {
            let mut now = self.guard.uploads.lock();
            let all = now.values().fold(self.waiting.1, |all, load| all.plus(*load));
            let load = now.entry(self.network.clone()).or_default();
            let own = self.waiting.0.plus(*load);
            if own.bytes.saturating_add(STEP) > limit.saturating_mul(ROOM_OF_ONE).saturating_add(STEP)
                || all.bytes.saturating_add(STEP) > limit.saturating_mul(ROOM).saturating_add(STEP)
            {
                return Err(too_many(TOO_MUCH));
            }
            load.bytes += STEP;
            self.taken += STEP;
        }
        Ok(())
    }
}

const TOO_MUCH: &str = "files that wait to be used take too much room";

fn too_many(why: &str) -> Refusal {
    Refusal::new(
        Reason::Locked,
        "too-many-uploads",
        format!("cannot take the file: {why}; try again later"),
    )
    .after(TRY_AGAIN)
}

impl Receiving {
    /// A file begins to come from `peer`.
    ///
    /// # Errors
    /// `too-many-uploads`, and trouble of the storage.
    pub async fn begin(app: &App, peer: Option<IpAddr>) -> Result<Self, Refusal> {
        let network = network(peer);
        let waiting = waiting_now(app, &network).await?;
        let room = Room::take(app, network, waiting)?;
        Ok(Self {
            app: app.clone(),
            staging: app.blobs.stage().await?,
            size: 0,
            room,
        })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// `snap-too-large`, `too-many-uploads`, and trouble of the storage.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Refusal> {
        let limit = self.app.settings.limits.snap;
        self.size += piece.len() as u64;
        if self.size > limit {
            return Err(super::ingest::too_large(limit));
        }
        self.room.grow(self.size, limit)?;
        self.staging.write(piece).await?;
        Ok(())
    }

    /// All of it came: it is kept, and named towards its client.
    ///
    /// # Errors
    /// `empty-file`, `too-many-uploads`, and trouble of the storage.
    pub async fn finish(self) -> Result<UploadId, Refusal> {
        if self.size == 0 {
            return Err(Refusal::invalid(
                "empty-file",
                "cannot take the file: it is empty",
            ));
        }
        let Self {
            app, staging, room, ..
        } = self;
        if !room.suffices(&app).await? {
            return Err(too_many(TOO_MUCH));
        }
        let staged = staging.finish().await?;
        let id = UploadId::generate(|buffer| app.entropy.fill(buffer));
        let record = UploadRecord {
            id_hash: id.hash(),
            file: staged.digest(),
            network: room.network.clone(),
            received: app.clock.now(),
            claimed_by: None,
        };
        staged.keep().await?;
        app.commit(Commit {
            records: vec![Change::create(&record)],
            ..Commit::default()
        })
        .await?;
        Ok(id)
    }
}

/// What waits, of a network and in all.
async fn waiting_now(app: &App, network: &str) -> Result<(Load, Load), Refusal> {
    let (mut own, mut all) = (Load::default(), Load::default());
    for found in app.storage.all::<UploadRecord>(Key(Vec::new())).await? {
        let one = Load {
            files: 1,
            bytes: found.record.file.size,
        };
        all = all.plus(one);
        if found.record.network == network {
            own = own.plus(one);
        }
    }
    Ok((own, all))
}

/// A file that waits, by what its client knows of it.
pub(super) async fn waiting(app: &App, id: &UploadId) -> Result<Option<Versioned<UploadRecord>>, Refusal> {
    let found = app.storage.find::<UploadRecord>([id.hash().as_str()]).await?;
    let now = app.clock.now();
    Ok(found.filter(|found| !found.record.is_stale(now)))
}

/// A file that waits or is worked on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    /// The file.
    pub blob: BlobId,
    /// Its size in bytes.
    pub size: u64,
}

impl From<BlobDigest> for Named {
    fn from(file: BlobDigest) -> Self {
        Self {
            blob: file.id,
            size: file.size,
        }
    }
}

/// The files that wait or are worked on: nothing clears them away.
pub(super) async fn named(app: &App) -> Result<Vec<Named>, Refusal> {
    let mut named = Vec::new();
    for found in app.storage.all::<UploadRecord>(Key(Vec::new())).await? {
        named.push(found.record.file.into());
    }
    for found in app.storage.all::<PushRecord>(Key(Vec::new())).await? {
        let push = found.record;
        if push.state.ended().is_none() {
            named.extend(push.files.iter().map(|file| Named::from(file.file)));
        }
    }
    Ok(named)
}

/// Forgets uploads nobody wants any more: those that waited too long, and those of pushes that were refused. Their files
/// go with all others that nothing names, which are looked for once. The records of pushes go too, once nobody asks for
/// them.
///
/// # Errors
/// If the storage is out of reach.
pub async fn sweep(app: &App) -> Result<(), Refusal> {
    let now = app.clock.now();
    let mut gone = 0;
    for found in app.storage.all::<UploadRecord>(Key(Vec::new())).await? {
        let over = match &found.record.claimed_by {
            None => found.record.is_stale(now),
            Some(push) => match app.storage.find::<PushRecord>([push.as_str()]).await? {
                None => true,
                Some(push) => push
                    .record
                    .state
                    .ended()
                    .is_some_and(|end| end.plus_seconds(garbage::GRACE) <= now),
            },
        };
        if over {
            let forget = Commit {
                records: vec![Change::delete(&found.record, found.version)],
                ..Commit::default()
            };
            // Somebody may claim it at this moment; then it stays.
            gone += usize::from(app.storage.commit(forget).await? == CommitOutcome::Done);
        }
    }
    if gone > 0 {
        garbage::collect(app).await?;
    }
    for found in app.storage.all::<PushRecord>(Key(Vec::new())).await? {
        if found.record.is_old(now) {
            let gone = Commit {
                records: vec![Change::delete(&found.record, found.version)],
                ..Commit::default()
            };
            app.storage.commit(gone).await?;
        }
    }
    Ok(())
}
