//! Reading blobs: one request for what is asked for, taken as fast as the reader takes it. When the connection breaks, the
//! rest is asked for anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::{GetOptions, GetRange, ObjectStore as _};

use super::Inner;
use super::trouble::{trouble, unavailable, within_if_there};
use crate::domain::blob::BlobId;
use crate::ports::{Blob, BlobError, BlobStream};

/// A stream that breaks this many times without anything in between is given up.
const TRIES: u32 = 4;
/// The first pause before the rest is asked for; it doubles.
const PAUSE: Duration = Duration::from_millis(200);

const READING: &str = "read a file of the bucket";

/// A blob of the bucket.
#[derive(Debug)]
pub(super) struct S3Blob {
    store: Arc<Inner>,
    id: BlobId,
    size: u64,
}

impl S3Blob {
    pub(super) fn new(store: Arc<Inner>, id: BlobId, size: u64) -> Self {
        Self { store, id, size }
    }
}

impl Blob for S3Blob {
    fn size(&self) -> u64 {
        self.size
    }

    fn stream(&self, offset: u64, len: u64) -> BlobStream {
        let reading = Reading {
            store: Arc::clone(&self.store),
            id: self.id,
            size: self.size,
            offset,
            end: offset.saturating_add(len).min(self.size),
            body: None,
            failures: 0,
        };
        futures_util::stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            let piece = reading.next().await?;
            let rest = piece.is_ok().then_some(reading);
            Some((piece, rest))
        })
        .boxed()
    }
}

struct Reading {
    store: Arc<Inner>,
    id: BlobId,
    size: u64,
    offset: u64,
    end: u64,
    body: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    /// Since the last piece.
    failures: u32,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Bytes, BlobError>> {
        loop {
            let left = self.end.checked_sub(self.offset).filter(|left| *left > 0)?;
            let piece = match &mut self.body {
                Some(body) => body.next().await,
                None => {
                    match self.ask().await {
                        Ok(body) => self.body = Some(body),
                        Err(error) => return Some(Err(error)),
                    }
                    continue;
                }
            };
            let error = match piece {
                Some(Ok(piece)) if piece.is_empty() => continue,
                Some(Ok(mut piece)) => {
                    piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    self.offset += piece.len() as u64;
                    self.failures = 0;
                    return Some(Ok(piece));
                }
                Some(Err(error)) => trouble(READING, &error),
                None => unavailable(READING, "the bucket sent less than it said"),
            };
            self.body = None;
            self.failures += 1;
            if self.failures == TRIES {
                return Some(Err(error));
            }
            tracing::info!(%error, blob = %self.id, at = self.offset, "a file is read on from here");
            tokio::time::sleep(PAUSE * 2_u32.pow(self.failures)).await;
        }
    }

    /// Asks for what is left.
    async fn ask(&mut self) -> Result<BoxStream<'static, object_store::Result<Bytes>>, BlobError> {
        let id = self.id;
        let damaged = |why| BlobError::Damaged { id, why };
        let options = GetOptions {
            range: Some(GetRange::Bounded(self.offset..self.end)),
            ..GetOptions::default()
        };
        let path = self.store.keys.blob(&self.id);
        let asking = self.store.bucket.get_opts(&path, options);
        let found = within_if_there(self.store.patience, READING, asking).await?;
        let found = found.ok_or_else(|| damaged("it is gone"))?;
        if found.meta.size != self.size {
            return Err(damaged("its length is another one now"));
        }
        Ok(found.into_stream())
    }
}
