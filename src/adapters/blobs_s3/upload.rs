//! Uploading: small files in one request, others in parts. An object appears with the last request, or not at all.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};

use super::Inner;
use super::notes::random_name;
use super::trouble::{trouble, unavailable, within};
use crate::domain::blob::BlobDigest;
use crate::ports::BlobError;

/// Larger files are uploaded in parts of this size, or of larger ones if there would be too many.
const PART: u64 = 8 << 20;
/// Most parts; S3 allows ten thousand.
const PARTS: u64 = 9_000;
/// Parts of one file on their way at a time.
const AT_ONCE: usize = 3;
/// For clearing away what is left of an upload.
const CLEARING: Duration = Duration::from_secs(10);

const UPLOADING: &str = "upload a file to the bucket";

impl Inner {
    /// Uploads a staged file, in place of what may be there, and looks whether all of it is there then.
    pub(super) async fn upload(&self, digest: &BlobDigest, staged: &FilePath) -> Result<(), BlobError> {
        let staged = staged.to_owned();
        let opened = tokio::task::spawn_blocking(move || File::open(staged)).await;
        let file = match opened {
            Ok(file) => Arc::new(file.map_err(|error| unavailable("read a staged file", error.to_string()))?),
            Err(stopped) => return Err(unavailable("read a staged file", stopped.to_string())),
        };
        if digest.size <= PART {
            let _turn = self.turn().await?;
            let content = read(file, 0, digest.size).await?;
            let path = self.keys.blob(&digest.id);
            let put = self.uploads.put(&path, PutPayload::from_bytes(content));
            put.await.map_err(|error| trouble(UPLOADING, &error))?;
        } else {
            self.upload_in_parts(digest, file).await?;
        }
        match self.look(&digest.id).await? {
            Some(meta) if meta.size == digest.size => Ok(()),
            Some(_) => Err(unavailable(UPLOADING, "the bucket has another length of it")),
            None => Err(unavailable(UPLOADING, "the bucket took it and has not got it")),
        }
    }

    async fn upload_in_parts(&self, digest: &BlobDigest, file: Arc<File>) -> Result<(), BlobError> {
        let path = self.keys.blob(&digest.id);
        let begun = self.uploads.create_multipart(&path).await;
        let upload = begun.map_err(|error| trouble(UPLOADING, &error))?;
        let note = self.keys.uploading(&digest.id, &random_name()?);
        // Should this process end, whoever clears the bucket up finds the upload by its note.
        let mut cleared = Abandoned {
            store: self.bucket.clone(),
            path: path.clone(),
            upload: Some(upload.clone()),
            note: note.clone(),
        };
        let noted = self.uploads.put(&note, PutPayload::from(upload.clone()));
        noted.await.map_err(|error| trouble(UPLOADING, &error))?;
        let length = part_length(digest.size);
        let parts = (0..)
            .map(|number| (number, number as u64 * length))
            .take_while(|(_, from)| *from < digest.size);
        let parts: Vec<PartId> = futures_util::stream::iter(parts)
            .map(|(number, from)| {
                let (path, upload, file) = (&path, &upload, Arc::clone(&file));
                async move {
                    let _turn = self.turn().await?;
                    let content = read(file, from, length.min(digest.size - from)).await?;
                    let put = self
                        .uploads
                        .put_part(path, upload, number, PutPayload::from_bytes(content));
                    put.await.map_err(|error| trouble(UPLOADING, &error))
                }
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let completed = self.uploads.complete_multipart(&path, &upload, parts).await;
        completed.map_err(|error| trouble(UPLOADING, &error))?;
        cleared.upload = None;
        Ok(())
    }

    /// A part's place in memory.
    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, BlobError> {
        self.parts
            .acquire()
            .await
            .map_err(|error| unavailable(UPLOADING, error.to_string()))
    }
}

/// Ends an upload in parts, whatever became of it; in the background, since the one who uploads may be gone.
struct Abandoned {
    store: object_store::aws::AmazonS3,
    path: Path,
    /// None once it is complete.
    upload: Option<String>,
    note: Path,
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (store, path, note) = (self.store.clone(), self.path.clone(), self.note.clone());
        let upload = self.upload.take();
        runtime.spawn(async move {
            const CLEARING_UP: &str = "clear an upload away";
            let clear = async {
                if let Some(upload) = upload {
                    within(CLEARING, CLEARING_UP, store.abort_multipart(&path, &upload)).await?;
                }
                within(CLEARING, CLEARING_UP, store.delete(&note)).await
            };
            if let Err(error) = clear.await {
                tracing::warn!(%error, "the next clearing of the bucket does it");
            }
        });
    }
}

/// So that there are not too many parts, in whole MiB.
fn part_length(size: u64) -> u64 {
    size.div_ceil(PARTS).next_multiple_of(1 << 20).max(PART)
}

async fn read(file: Arc<File>, from: u64, length: u64) -> Result<Bytes, BlobError> {
    const READING: &str = "read a staged file";
    let length = usize::try_from(length).map_err(|error| unavailable(READING, error.to_string()))?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut content = vec![0; length];
        file.read_exact_at(&mut content, from)?;
        Ok::<_, std::io::Error>(content.into())
    });
    match reading.await {
        Ok(content) => content.map_err(|error| unavailable(READING, error.to_string())),
        Err(stopped) => Err(unavailable(READING, stopped.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_too_many_parts() {
        for size in [PART + 1, 10 << 30, 1 << 40] {
            let length = part_length(size);
            assert!(length >= PART && length.is_multiple_of(1 << 20));
            assert!(size.div_ceil(length) <= 10_000, "{size}");
        }
        assert_eq!(part_length(10 << 30), PART);
    }
}
