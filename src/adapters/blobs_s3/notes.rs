//! Keeping, removing and listing without a lock.
//!
//! Who keeps a blob: notes the time; looks whether somebody is removing it, and waits until that is over; uploads.
//! Who removes one: looks at the time; notes that it is about to be removed; looks at the time again; removes it.
//! So either the second look sees the new time, or whoever keeps it sees that it is being removed and uploads it afterwards.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _, PutPayload};
use tokio::time::Instant;

use super::keys::Named;
use super::trouble::{trouble, unavailable, within, within_if_there};
use super::{Inner, LOOKING};
use crate::domain::blob::{BlobDigest, BlobId};
use crate::domain::time::Timestamp;
use crate::ports::{BlobEntry, BlobError};

/// A removal is over within this time from its note on, or does not happen.
const REMOVAL: Duration = Duration::from_secs(15);
/// Whoever sees the note of a removal for this long takes it for one whose process has ended.
const ENDED: Duration = Duration::from_secs(40);
/// How often somebody who waits for a removal looks.
const LOOK: Duration = Duration::from_millis(200);
/// A file that was kept within this time, in seconds, is as good as kept now.
const RECENT: i64 = 60;
/// Rounds of an upload that takes longer than that.
const ROUNDS: u32 = 5;
/// Notes older than this, in seconds, are of processes that have ended.
const LITTER: i64 = 24 * 3600;

/// What a listing shows of one blob: the object, and when it was kept by which notes.
type Seen = (Option<ObjectMeta>, Vec<(Timestamp, Path)>);

const NOTING: &str = "note in the bucket that a file is kept";
const REMOVING: &str = "remove a file from the bucket";
const LISTING: &str = "list the bucket";

/// What is noted of one blob.
#[derive(Debug, Default)]
struct Notes {
    kept: Vec<(Timestamp, Path)>,
    removals: Vec<Path>,
}

impl Notes {
    fn kept_at(&self) -> Option<Timestamp> {
        self.kept.iter().map(|(at, _)| *at).max()
    }
}

impl Inner {
    async fn notes(&self, id: &BlobId) -> Result<Notes, BlobError> {
        let below = self.keys.notes(id);
        let listing = self.bucket.list(Some(&below)).try_collect::<Vec<ObjectMeta>>();
        let mut notes = Notes::default();
        for object in within(self.patience, LOOKING, listing).await? {
            match self.keys.read(&object.location) {
                Some(Named::Kept(_, at)) => notes.kept.push((at, object.location)),
                Some(Named::Removing(_)) => notes.removals.push(object.location),
                Some(Named::Blob(_) | Named::Uploading(_)) | None => {}
            }
        }
        Ok(notes)
    }

    /// Keeps a staged file. One that was `fetched` from the bucket is uploaded only if it is not there any more.
    pub(super) async fn keep(
        &self,
        digest: &BlobDigest,
        staged: &FilePath,
        fetched: bool,
    ) -> Result<(), BlobError> {
        let id = &digest.id;
        let mut there = fetched;
        for _ in 0..ROUNDS {
            let began = self.clock.now();
            let note = self.keys.kept(id, began);
            let noting = self.uploads.put(&note, PutPayload::new());
            noting.await.map_err(|error| trouble(NOTING, &error))?;
            let notes = self.when_not_removed(id).await?;
            if there {
                let found = self.look(id).await?;
                there = found.is_some_and(|meta| meta.size == digest.size);
            }
            if !there {
                self.upload(digest, staged).await?;
                there = true;
            }
            if self.clock.now() <= began.plus_seconds(RECENT) {
                self.forget(
                    notes
                        .kept
                        .into_iter()
                        .filter(|(at, _)| *at < began)
                        .map(|(_, path)| path),
                )
                .await;
                return Ok(());
            }
            // It took so long that its time has to be noted anew, and it may have been removed by that.
        }
        Err(unavailable(NOTING, "uploading it takes too long again and again"))
    }

    /// What is noted of a blob at a moment when nobody is removing it.
    async fn when_not_removed(&self, id: &BlobId) -> Result<Notes, BlobError> {
        let since = Instant::now();
        loop {
            let notes = self.notes(id).await?;
            if notes.removals.is_empty() {
                return Ok(notes);
            }
            if since.elapsed() > ENDED {
                for removal in &notes.removals {
                    within(self.patience, NOTING, self.bucket.delete(removal)).await?;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) async fn remove(&self, id: &BlobId, unless_kept_since: Timestamp) -> Result<bool, BlobError> {
        let (found, notes) = (self.look(id).await?, self.notes(id).await?);
        let kept_at = notes.kept_at().or(found.as_ref().map(modified));
        let Some(kept_at) = kept_at.filter(|_| found.is_some()) else {
            return Ok(false);
        };
        if kept_at >= unless_kept_since {
            return Ok(false);
        }
        let began = Instant::now();
        let removing = self.keys.removing(id, &random_name()?);
        within(
            self.patience,
            REMOVING,
            self.bucket.put(&removing, PutPayload::new()),
        )
        .await?;
        let left = REMOVAL.saturating_sub(began.elapsed());
        let removal = async {
            let kept_at = self.notes(id).await?.kept_at();
            if kept_at.is_some_and(|kept_at| kept_at >= unless_kept_since) {
                return Ok(false);
            }
            let gone = self.bucket.delete(&self.keys.blob(id)).await;
            gone.map(|()| true).map_err(|error| trouble(REMOVING, &error))
        };
        // What was cut off may still be done by the bucket. Its note stays: whoever keeps the blob meanwhile waits.
        let removed = tokio::time::timeout(left, removal)
            .await
            .map_err(|_| unavailable(REMOVING, "the bucket does not answer in time"))??;
        let older = notes
            .kept
            .into_iter()
            .filter(|(at, _)| removed && *at < unless_kept_since);
        self.forget(older.map(|(_, path)| path).chain([removing])).await;
        Ok(removed)
    }

    /// Removes notes that mean nothing any more; what stays is found by the next listing.
    async fn forget(&self, notes: impl IntoIterator<Item = Path>) {
        for note in notes {
            let deleting = self.bucket.delete(&note);
            if let Err(error) = within_if_there(self.patience, "remove a note", deleting).await {
                tracing::warn!(%error, "a note stays in the bucket");
            }
        }
    }

    /// All blobs. What processes that have ended left in the bucket is cleared away on the way.
    pub(super) async fn list(&self) -> Result<Vec<BlobEntry>, BlobError> {
        let mut blobs = BTreeMap::<BlobId, Seen>::new();
        let mut litter = Vec::new();
        let newest = self.clock.now().plus_seconds(-LITTER);
        let mut listing = self.bucket.list(Some(self.keys.prefix()));
        while let Some(object) = within(self.patience, LISTING, listing.try_next()).await? {
            match self.keys.read(&object.location) {
                Some(Named::Blob(id)) => blobs.entry(id).or_default().0 = Some(object),
                Some(Named::Kept(id, at)) => blobs.entry(id).or_default().1.push((at, object.location)),
                Some(Named::Removing(_)) if modified(&object) < newest => litter.push(object.location),
                Some(Named::Uploading(id)) if modified(&object) < newest => {
                    match self.abort(&id, &object.location).await {
                        Ok(()) => litter.push(object.location),
                        Err(error) => {
                            tracing::warn!(%error, "an upload that was broken off stays in the bucket")
                        }
                    }
                }
                Some(Named::Removing(_) | Named::Uploading(_)) | None => {}
            }
        }
        let mut entries = Vec::new();
        for (id, (blob, kept)) in blobs {
            let kept_at = kept.iter().map(|(at, _)| *at).max();
            match blob {
                Some(blob) => {
                    entries.push(BlobEntry {
                        id,
                        size: blob.size,
                        kept_at: kept_at.unwrap_or_else(|| modified(&blob)),
                    });
                    let older = kept
                        .into_iter()
                        .filter(|(at, _)| Some(*at) < kept_at && *at < newest);
                    litter.extend(older.map(|(_, path)| path));
                }
                None => litter.extend(
                    kept.into_iter()
                        .filter(|(at, _)| *at < newest)
                        .map(|(_, path)| path),
                ),
            }
        }
        self.forget(litter).await;
        Ok(entries)
    }

    /// Ends an upload in parts that its note names; fine if it is over.
    async fn abort(&self, id: &BlobId, note: &Path) -> Result<(), BlobError> {
        const ENDING: &str = "end an upload that was broken off";
        let upload = within(self.patience, ENDING, async {
            self.bucket.get(note).await?.bytes().await
        })
        .await?;
        let upload = String::from_utf8_lossy(&upload).into_owned();
        let path = self.keys.blob(id);
        within_if_there(self.patience, ENDING, self.bucket.abort_multipart(&path, &upload)).await?;
        Ok(())
    }
}

/// When the bucket says an object was written; for blobs that somebody copied there.
fn modified(object: &ObjectMeta) -> Timestamp {
    Timestamp::from_unix(object.last_modified.timestamp())
}

pub(super) fn random_name() -> Result<String, BlobError> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| unavailable("name a note", "no randomness"))?;
    Ok(uuid::Builder::from_random_bytes(random).into_uuid().to_string())
}
