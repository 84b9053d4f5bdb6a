//! Reading blobs. What is in the page cache is read at once, without a detour over another thread; only what has to
//! come from the disk is read where it may block. Buffers are used again: fresh ones cost as much as the copy.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt as _;
use rustix::io::ReadWriteFlags;

use super::{blocking, unavailable};
use crate::domain::blob::BlobId;
use crate::ports::{Blob, BlobError, BlobStream};

/// Largest piece a stream gives. Every piece costs a turn of the sender, so not smaller; a piece should still be in the
/// processor's cache when it is sent, so not larger.
const PIECE: usize = 256 << 10;
/// Most buffers that are kept for later: one for each of as many downloads at once.
const SPARE: usize = 256;

const READING: &str = "read a file of the store";

/// Buffers of [`PIECE`] bytes nobody uses at the moment.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Box<[u8]>>>);

impl Buffers {
    fn take(self: &Arc<Self>) -> Buffer {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer {
            bytes: spare.unwrap_or_else(|| vec![0; PIECE].into()),
            filled: 0,
            home: Arc::clone(self),
        }
    }
}

/// A buffer that goes back when it is dropped.
struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// An open blob.
#[derive(Debug)]
pub(super) struct FileBlob {
    id: BlobId,
    file: Arc<File>,
    size: u64,
    buffers: Arc<Buffers>,
}

impl FileBlob {
    pub(super) fn new(id: BlobId, file: File, buffers: Arc<Buffers>) -> io::Result<Self> {
        Ok(Self {
            id,
            size: file.metadata()?.len(),
            file: Arc::new(file),
            buffers,
        })
    }
}

impl Blob for FileBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn stream(&self, offset: u64, len: u64) -> BlobStream {
        let end = offset.saturating_add(len).min(self.size);
        let reading = Reading {
            id: self.id,
            file: Arc::clone(&self.file),
            buffers: Arc::clone(&self.buffers),
            offset,
            end,
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
    id: BlobId,
    file: Arc<File>,
    buffers: Arc<Buffers>,
    offset: u64,
    end: u64,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Bytes, BlobError>> {
        let left = self.end.checked_sub(self.offset).filter(|left| *left > 0)?;
        let want = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        Some(self.read(want).await)
    }

    async fn read(&mut self, want: usize) -> Result<Bytes, BlobError> {
        let offset = self.offset;
        let mut buffer = self.buffers.take();
        let buffer = match fill_from_cache(&self.file, &mut buffer, offset, want) {
            Some(filled) => {
                filled.map_err(|error| unavailable(READING, &error))?;
                buffer
            }
            None => {
                let file = Arc::clone(&self.file);
                blocking(READING, move || {
                    let place = buffer.bytes.get_mut(..want).unwrap_or_default();
                    buffer.filled = file.read_at(place, offset)?;
                    Ok(buffer)
                })
                .await?
            }
        };
        if buffer.filled == 0 {
            return Err(BlobError::Damaged {
                id: self.id,
                why: "it became shorter",
            });
        }
        self.offset += buffer.filled as u64;
        Ok(Bytes::from_owner(buffer))
    }
}

/// Fills the buffer if that needs no waiting for the disk. None if it would, or cannot be known.
fn fill_from_cache(file: &File, buffer: &mut Buffer, offset: u64, want: usize) -> Option<io::Result<()>> {
    let place = buffer.bytes.get_mut(..want)?;
    let mut places = [IoSliceMut::new(place)];
    match rustix::io::preadv2(file, &mut places, offset, ReadWriteFlags::NOWAIT) {
        Ok(filled) => {
            buffer.filled = filled;
            Some(Ok(()))
        }
        Err(
            rustix::io::Errno::AGAIN
            | rustix::io::Errno::INTR
            | rustix::io::Errno::OPNOTSUPP
            | rustix::io::Errno::NOSYS
            | rustix::io::Errno::INVAL,
        ) => None,
        Err(error) => Some(Err(error.into())),
    }
}
