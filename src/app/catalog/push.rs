//! Making revisions of files that came before (publisher-api.md 6.5, 6.6): what is asked for is written down, then worked
//! on in the background. A process that ends meanwhile leaves it to the next one, which takes it up again: the same files
//! are the same revision, so nothing happens twice.

mod standing;
mod taking_up;

pub use standing::{Standing, status};
pub use taking_up::{pushes, take_up};

use std::time::Duration;

use futures_util::StreamExt as _;

use super::ingest::{self, Upload};
use super::uploads;
use crate::app::{App, Caller, Place, Reason, Refusal, SnapCtx};
use crate::domain::access::Permission;
use crate::domain::blob::{BlobDigest, BlobId};
use crate::domain::catalog::{
    Channel, LEASE, PushRecord, PushState, PushedDelta, PushedFile, UploadId, UploadRecord,
};
use crate::ports::{Change, Commit, CommitOutcome, Staged, Versioned};

/// Pushes that are worked on at a time; the others wait.
pub const AT_ONCE: usize = 4;
/// How often temporary trouble is met before a push is given up.
const ATTEMPTS: u32 = 5;
/// How long is waited after temporary trouble.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a process says that it is still at work.
const RENEWAL: Duration = Duration::from_secs(LEASE as u64 / 4);

/// What limits the work; in memory, one per process.
#[derive(Debug)]
pub struct Desk(tokio::sync::Semaphore);

impl Default for Desk {
    fn default() -> Self {
        Self(tokio::sync::Semaphore::new(AT_ONCE))
    }
}

/// Files that shall become a revision.
#[derive(Clone, Debug)]
pub struct NewPush {
    /// The snap file.
    pub upload: UploadId,
    /// Its size, where the client said it.
    pub size: Option<u64>,
    /// The components, by name.
    pub components: Vec<(String, UploadId)>,
    /// Where the revision is released to at once.
    pub channels: Vec<Channel>,
    /// The snap file is a difference.
    pub delta: Option<NewDelta>,
}

impl NewPush {
    /// Whether this is what was asked for before.
    fn is(&self, known: &PushRecord) -> bool {
        let components = known.files.iter().filter_map(|file| {
            let name = file.component.as_deref()?;
            Some((name, file.upload.as_str()))
        });
        let wanted: Vec<(&str, String)> = self
            .components
            .iter()
            .map(|(name, id)| (name.as_str(), id.hash()))
            .collect();
        components.eq(wanted.iter().map(|(name, hash)| (*name, hash.as_str())))
            && self.channels == known.channels
            && self.delta.as_ref().map(NewDelta::pushed) == known.delta
    }
}

/// What a difference leads from and to.
#[derive(Clone, Debug)]
pub struct NewDelta {
    /// How it was made.
    pub format: String,
    /// Its own hash.
    pub delta: BlobId,
    /// The file it was made from.
    pub source: BlobId,
    /// The file it leads to.
    pub target: BlobId,
}

impl NewDelta {
    fn pushed(&self) -> PushedDelta {
        PushedDelta {
            format: self.format.clone(),
            source: self.source,
            target: self.target,
            delta: self.delta,
        }
    }
}

/// Writes down what shall be made of the files, and begins with it. Asking for the same again is fine.
///
/// # Errors
/// `upload-not-found`, `upload-claimed`, `size-differs`, `too-many-components`; what a token or role does not allow.
pub async fn accept(app: &App, ctx: &SnapCtx, new: &NewPush) -> Result<(), Refusal> {
    let snap = ctx.snap();
    if !new.channels.is_empty() {
        ctx.require(Permission::SnapRelease)?;
        ctx.brand().check_channels(&new.channels)?;
    }
    if new.components.len() > ingest::MAX_COMPONENTS {
        return Err(ingest::too_many_components());
    }
    let (account_id, token_id) = ctx.brand().identity().ok_or_else(|| {
        Refusal::invalid(
            "login-required",
            "cannot do this locally: `hallmark snap add` adds files",
        )
    })?;
    let key = new.upload.hash();
    for _ in 0..3 {
        let mut commit = Commit::default();
        if let Some(found) = app.storage.find::<PushRecord>([key.as_str()]).await? {
            let known = found.record;
            let same = known.snap_id == snap.id && known.account_id == *account_id && new.is(&known);
            return if same { Ok(()) } else { Err(claimed()) };
        }
        let mut files = Vec::new();
        let wanted = std::iter::once((None, &new.upload))
            .chain(new.components.iter().map(|(name, id)| (Some(name.clone()), id)));
        for (component, id) in wanted {
            let found = uploads::waiting(app, id).await?.ok_or_else(not_found)?;
            let mut record = found.record;
            if record.claimed_by.is_some()
                || files
                    .iter()
                    .any(|file: &PushedFile| file.upload == record.id_hash)
            {
                return Err(claimed());
            }
            files.push(PushedFile {
                upload: record.id_hash.clone(),
                file: record.file,
                component,
            });
            record.claimed_by = Some(key.clone());
            commit.records.push(Change::replace(&record, found.version));
        }
        let first = files.first().map(|file| file.file);
        if let (Some(said), Some(file)) = (new.size, first)
            && said != file.size
            && new.delta.is_none()
        {
            return Err(Refusal::invalid(
                "size-differs",
                format!(
                    "cannot take the upload: its size is said to be {said} bytes, {} arrived; upload it again",
                    file.size
                ),
            ));
        }
        let push = PushRecord {
            id_hash: key.clone(),
            snap_id: snap.id.clone(),
            name: snap.name.clone(),
            brand_id: snap.brand_id.clone(),
            account_id: account_id.clone(),
            token_id: token_id.to_owned(),
            presented: ctx.brand().presented(),
            files,
            delta: new.delta.as_ref().map(NewDelta::pushed),
            channels: new.channels.clone(),
            received: app.clock.now(),
            turns: 0,
            state: PushState::Working {
                until: app.clock.now().plus_seconds(LEASE),
            },
        };
        commit.records.push(Change::create(&push));
        match app.storage.commit(commit).await? {
            CommitOutcome::Done => {
                tokio::spawn(run(
                    app.clone(),
                    Versioned {
                        record: push,
                        version: 1,
                    },
                ));
                return Ok(());
            }
            CommitOutcome::Conflict { .. } => {}
            outcome => App::settle(&outcome)?,
        }
    }
    Err(App::changed_meanwhile())
}

fn not_found() -> Refusal {
    Refusal::invalid(
        "upload-not-found",
        "cannot find the uploaded file: its upload id is wrong, or it waited too long; upload it again",
    )
}

fn claimed() -> Refusal {
    Refusal::conflict(
        "upload-claimed",
        "cannot use the uploaded file: it is used already; upload it again",
    )
}

/// The lease of a push: who holds it works on it.
#[derive(Debug)]
struct Lease {
    app: App,
    push: Versioned<PushRecord>,
}

impl Lease {
    /// Says that it is worked on. False if somebody else took it over, or it is over.
    async fn renew(&mut self) -> bool {
        self.push.record.state = PushState::Working {
            until: self.app.clock.now().plus_seconds(LEASE),
        };
        let commit = Commit {
            records: vec![Change::replace(&self.push.record, self.push.version)],
            ..Commit::default()
        };
        match self.app.storage.commit(commit).await {
            Ok(CommitOutcome::Done) => self.push.version += 1,
            Ok(_) => {
                tracing::warn!(snap = %self.push.record.name, "an upload is not ours to work on any more");
                return false;
            }
            Err(error) => {
                tracing::error!(%error, snap = %self.push.record.name, "cannot say that an upload is worked on");
            }
        }
        true
    }

    /// Holds on to it until `work` is done; none if it was lost.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(RENEWAL, &mut work).await {
                return Some(done);
            }
            if !self.renew().await {
                return None;
            }
        }
    }
}

/// Works on one push until it is a revision or refused, and says so.
async fn run(app: App, push: Versioned<PushRecord>) {
    let mut lease = Lease {
        app: app.clone(),
        push,
    };
    let Some(_turn) = lease.during(app.guard.desk.0.acquire()).await else {
        return;
    };
    // Only now: who waits for a turn has not been begun with.
    lease.push.record.turns += 1;
    if !lease.renew().await {
        return;
    }
    let push = lease.push.record.clone();
    let Some(state) = lease.during(outcome(&app, &push)).await else {
        return;
    };
    if let Err(error) = settle(&app, lease.push, state).await {
        // Whoever looks for what nobody works on takes it up again.
        tracing::error!(%error, snap = %push.name, "cannot record what became of an upload");
    }
}

/// Records what became of it, unless the commit of its revision did. The files of what was refused are cleared away later.
async fn settle(app: &App, push: Versioned<PushRecord>, state: PushState) -> Result<(), Refusal> {
    let Versioned {
        record: mut push,
        version,
    } = push;
    let mut commit = Commit::default();
    if let PushState::Taken { revision, .. } = &state {
        let found = app.storage.find::<PushRecord>([push.id_hash.as_str()]).await?;
        if found.is_none_or(|found| found.record.state.ended().is_some()) {
            return Ok(());
        }
        fulfil(app, &push.id_hash, *revision, &mut commit).await?;
    } else {
        push.state = state;
        commit.records.push(Change::replace(&push, version));
    }
    app.commit(commit).await
}

/// Adds to the commit of a revision that its push is over. Its files need no records of their own any more.
///
/// # Errors
/// `changed-meanwhile`, if it is over already: somebody else took it over and was faster.
pub(super) async fn fulfil(app: &App, id: &str, revision: u64, commit: &mut Commit) -> Result<(), Refusal> {
    let found = app.storage.find::<PushRecord>([id]).await?;
    let found = found.filter(|found| found.record.state.ended().is_none());
    let found = found.ok_or_else(App::changed_meanwhile)?;
    let mut push = found.record;
    push.state = PushState::Taken {
        revision,
        at: app.clock.now(),
    };
    commit.records.push(Change::replace(&push, found.version));
    for file in &push.files {
        let found = app.storage.find::<UploadRecord>([file.upload.as_str()]).await?;
        commit
            .records
            .extend(found.map(|found| Change::delete(&found.record, found.version)));
    }
    Ok(())
}

async fn outcome(app: &App, push: &PushRecord) -> PushState {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let refusal = match revision(app, push).await {
            Ok(revision) => {
                return PushState::Taken {
                    revision,
                    at: app.clock.now(),
                };
            }
            Err(refusal) => refusal,
        };
        let temporary = matches!(refusal.reason, Reason::Unavailable | Reason::Locked);
        if !temporary || attempt == ATTEMPTS {
            return PushState::Refused {
                code: refusal.code.to_owned(),
                message: refusal.message,
                whole_file_helps: refusal.code == BAD_DELTA,
                at: app.clock.now(),
            };
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn revision(app: &App, push: &PushRecord) -> Result<u64, Refusal> {
    let caller = match &push.presented {
        Some(presented) => Caller::again(app, &push.token_id, presented).await?,
        None => Caller::named(app, &push.token_id).await?,
    };
    let place = Place::SnapId(push.snap_id.clone());
    let ctx: SnapCtx = caller.authorize(app, Permission::SnapPublish, place).await?;
    let mut staged = Vec::new();
    for file in &push.files {
        let difference = push.delta.as_ref().filter(|_| file.component.is_none());
        staged.push(match difference {
            Some(delta) => whole(app, push, &file.file, delta).await?,
            None => app.blobs.reopen(&file.file).await?.ok_or_else(|| {
                Refusal::invalid(
                    "upload-lost",
                    "cannot find the uploaded file any more: upload it again",
                )
            })?,
        });
    }
    let components = push.files.iter().filter_map(|file| file.component.clone());
    let upload = Upload {
        channels: push.channels.clone(),
        name: Some(push.name.clone()),
        components: components.collect(),
        push: Some(push.id_hash.clone()),
        ..Upload::default()
    };
    let ingested = ingest::ingest(app, &ctx, &upload, staged).await?;
    Ok(ingested.revision.revision)
}

/// The code of a difference that cannot be used; the whole file can.
const BAD_DELTA: &str = "delta-refused";

fn bad_delta(why: impl std::fmt::Display) -> Refusal {
    Refusal::invalid(
        BAD_DELTA,
        format!("cannot use the difference that was sent: {why}; send the whole file"),
    )
}

/// The file that a difference leads to.
async fn whole(
    app: &App,
    push: &PushRecord,
    file: &BlobDigest,
    wanted: &PushedDelta,
) -> Result<Box<dyn Staged>, Refusal> {
    let limit = app.settings.limits.delta;
    if wanted.format != app.deltas.format() {
        return Err(bad_delta(format!("its format is not {}", app.deltas.format())));
    }
    if wanted.delta != file.id {
        return Err(bad_delta("it is not the file its hash says"));
    }
    let catalog = app.catalog.current(app).await?;
    let source = catalog
        .any(&push.snap_id)
        .into_iter()
        .flat_map(|entry| entry.revisions.values())
        .find(|revision| revision.blob == wanted.source)
        .map(|revision| (revision.blob, revision.size));
    let (source, size) = source.ok_or_else(|| bad_delta("no revision is the file it was made from"))?;
    if size.max(file.size) > limit {
        return Err(bad_delta("the files are too large for it"));
    }
    let (source, delta) = (read(app, &source).await?, read(app, &file.id).await?);
    let deltas = std::sync::Arc::clone(&app.deltas);
    let applied = tokio::task::spawn_blocking(move || deltas.apply(&source, &delta, limit)).await;
    let target = applied
        .map_err(|error| error.to_string())
        .and_then(|applied| applied)
        .map_err(bad_delta)?;
    let mut staging = app.blobs.stage().await?;
    staging.write(target.into()).await?;
    let staged = staging.finish().await?;
    if staged.digest().id != wanted.target {
        return Err(bad_delta("it leads to another file than its hash says"));
    }
    Ok(staged)
}

/// A file in memory.
async fn read(app: &App, id: &BlobId) -> Result<Vec<u8>, Refusal> {
    let blob = app
        .blobs
        .open(id)
        .await?
        .ok_or_else(|| bad_delta("a file it needs is gone"))?;
    let mut bytes = Vec::with_capacity(usize::try_from(blob.size()).unwrap_or_default());
    let mut pieces = blob.stream(0, blob.size());
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}
