//! Files of snaps on their way: from one store of files into another, and as something to read from.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use tokio::runtime::Handle;

use crate::domain::blob::BlobId;
use crate::ports::{BlobStream, Blobs};

/// Pieces of this size are read.
const PIECE: usize = 256 * 1024;

/// Copies a file, unless it is there; whether it was copied. A file that is not what its name says is refused.
pub(in crate::cli) async fn copy(from: &dyn Blobs, to: &dyn Blobs, id: &BlobId) -> io::Result<bool> {
    let there = to.open(id).await.map_err(io::Error::other)?;
    let blob = from.open(id).await.map_err(io::Error::other)?;
    let blob = blob.ok_or_else(|| io::Error::other(format!("the file {id} is missing")))?;
    if there.is_some_and(|there| there.size() == blob.size()) {
        return Ok(false);
    }
    let mut staging = to.stage().await.map_err(io::Error::other)?;
    let mut pieces = blob.stream(0, blob.size());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(io::Error::other)?;
        staging.write(piece).await.map_err(io::Error::other)?;
    }
    keep(staging, id).await?;
    Ok(true)
}

/// Puts a file that is read from `content` into a store of files, from a thread that may wait; see [`copy`].
pub(in crate::cli) fn put(
    runtime: &Handle,
    to: &dyn Blobs,
    id: &BlobId,
    size: u64,
    content: &mut dyn Read,
) -> io::Result<bool> {
    let there = runtime.block_on(to.open(id)).map_err(io::Error::other)?;
    if there.is_some_and(|there| there.size() == size) {
        io::copy(content, &mut io::sink())?;
        return Ok(false);
    }
    let mut staging = runtime.block_on(to.stage()).map_err(io::Error::other)?;
    loop {
        let mut piece = vec![0; PIECE];
        let read = content.read(&mut piece)?;
        if read == 0 {
            break;
        }
        piece.truncate(read);
        runtime
            .block_on(staging.write(Bytes::from(piece)))
            .map_err(io::Error::other)?;
    }
    runtime.block_on(keep(staging, id))?;
    Ok(true)
}

async fn keep(staging: Box<dyn crate::ports::Staging>, id: &BlobId) -> io::Result<()> {
    let staged = staging.finish().await.map_err(io::Error::other)?;
    if staged.digest().id != *id {
        return Err(io::Error::other(format!(
            "the file {id} is damaged: its digest is another"
        )));
    }
    staged.keep().await.map_err(io::Error::other)?;
    Ok(())
}

/// A stream of pieces as something to read from, on a thread that may wait.
pub(in crate::cli) struct Reading {
    pieces: BlobStream,
    piece: Bytes,
    runtime: Handle,
}

impl Reading {
    pub(in crate::cli) fn new(pieces: BlobStream, runtime: Handle) -> Self {
        Self {
            pieces,
            piece: Bytes::new(),
            runtime,
        }
    }
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.pieces.next()) {
                Some(piece) => self.piece = piece.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(buffer.len());
        let (to, _) = buffer.split_at_mut(length);
        self.piece.copy_to_slice(to);
        Ok(length)
    }
}
