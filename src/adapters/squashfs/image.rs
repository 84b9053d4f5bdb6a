//! An image as a tree: from a path to the bytes of a file.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::directory::{self, Named};
use super::inode::{FileInode, Inode, InodeRef};
use super::superblock::{Numbers, Superblock};
use crate::ports::SnapFileError;

/// Most pieces of metadata (8 KiB each) that are read of one image.
const METADATA_BUDGET: u32 = 4096;
/// Set in the size of a block that is not compressed.
const PLAIN: u32 = 1 << 24;
/// Entries of the fragment table in one piece of metadata, and the size of one.
const FRAGMENTS_PER_BLOCK: u32 = 512;
const FRAGMENT_ENTRY: usize = 16;

/// Where an image is read from.
pub trait Source {
    /// Its length in bytes.
    ///
    /// # Errors
    /// If it cannot be told.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is nothing in it.
    ///
    /// # Errors
    /// If it cannot be told.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// If there is not so much; or it cannot be read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Source for File {
    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl Source for [u8] {
    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let found = usize::try_from(offset)
            .ok()
            .and_then(|from| self.get(from..)?.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Why an image could not be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// Reading failed.
    Io(io::Error),
    /// It is not as it should be. The end of a sentence about the file.
    Bad(String),
}

pub(super) fn bad(why: impl Into<String>) -> Fault {
    Fault::Bad(why.into())
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => bad("it ends too early"),
            _ => Self::Io(error),
        }
    }
}

impl From<Fault> for SnapFileError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io(error) => Self::Unreadable(error.to_string()),
            Fault::Bad(why) => Self::Refused(why),
        }
    }
}

/// An open image.
pub(super) struct Image<'s> {
    pub(super) source: &'s dyn Source,
    pub(super) head: Superblock,
    budget: Cell<u32>,
}

/// What a path leads to.
pub(super) enum Found {
    Nothing,
    File(FileInode),
    Directory(Vec<Named>),
    /// Something else there, in words.
    Other(&'static str),
}

impl<'s> Image<'s> {
    pub(super) fn open(source: &'s dyn Source) -> Result<Self, Fault> {
        Ok(Self {
            source,
            head: Superblock::read(source)?,
            budget: Cell::new(METADATA_BUDGET),
        })
    }

    /// Counts one piece of metadata.
    pub(super) fn spend(&self) -> Result<(), Fault> {
        let left = self.budget.get().checked_sub(1);
        self.budget
            .set(left.ok_or_else(|| bad("it has too much metadata around what a store looks at"))?);
        Ok(())
    }

    /// Bytes of the image.
    pub(super) fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>, Fault> {
        let end = offset.checked_add(u64::from(len));
        if end.is_none_or(|end| end > self.head.end) {
            return Err(bad("it refers to data outside of it"));
        }
        let mut bytes = vec![0; len as usize];
        self.source.read_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// What is at `path`; of files at most `limit` bytes can be read then.
    pub(super) fn find(&self, path: &str, limit: u64) -> Result<Found, Fault> {
        let mut place = InodeRef(self.head.root);
        let mut above: Vec<InodeRef> = Vec::new();
        let mut parts = path.split('/');
        loop {
            let directory = match Inode::read(self, place, limit)? {
                Inode::Directory(directory) => directory,
                Inode::File(_) | Inode::Other(_) if above.is_empty() => {
                    return Err(bad("its root is not a directory"));
                }
                Inode::File(file) => {
                    return Ok(match parts.next() {
                        None => Found::File(file),
                        Some(_) => Found::Other("in a file"),
                    });
                }
                Inode::Other(what) => return Ok(Found::Other(what)),
            };
            if above.contains(&place) {
                return Err(bad("it has a directory that contains itself"));
            }
            above.push(place);
            let mut names = directory::list(self, &directory)?;
            let Some(part) = parts.next() else {
                return Ok(Found::Directory(names));
            };
            match names.binary_search_by(|named| named.name.as_slice().cmp(part.as_bytes())) {
                Ok(index) => place = names.swap_remove(index).inode,
                Err(_) => return Ok(Found::Nothing),
            }
        }
    }

    /// The content of a file that [`Self::find`] gave for this `limit`. None if it is larger.
    pub(super) fn content(&self, file: &FileInode, limit: u64) -> Result<Option<Vec<u8>>, Fault> {
        if file.size > limit {
            return Ok(None);
        }
        let block_size = self.head.block_size as usize;
        let size = usize::try_from(file.size).map_err(|_| bad("it has a file that is too large"))?;
        let mut content = Vec::with_capacity(size);
        let mut at = file.start;
        for word in &file.blocks {
            let expected = block_size.min(size - content.len());
            let len = word & (PLAIN - 1);
            if len == 0 {
                content.resize(content.len() + expected, 0); // a hole
                continue;
            }
            let block = self.block(at, *word, expected)?;
            if block.len() != expected {
                return Err(bad("it has a damaged file"));
            }
            content.extend_from_slice(&block);
            at = at.saturating_add(u64::from(len));
        }
        if let Some((fragment, offset)) = file.fragment {
            let missing = size - content.len();
            let (start, word) = self.fragment(fragment)?;
            let block = self.block(start, word, block_size)?;
            let part = usize::try_from(offset)
                .ok()
                .and_then(|offset| block.get(offset..)?.get(..missing));
            content.extend_from_slice(part.ok_or_else(|| bad("it has a damaged file"))?);
        }
        Ok(Some(content))
    }

    /// One block of data of at most `limit` bytes.
    fn block(&self, at: u64, word: u32, limit: usize) -> Result<Vec<u8>, Fault> {
        let len = word & (PLAIN - 1);
        if len > self.head.block_size || word & !(PLAIN | (PLAIN - 1)) != 0 {
            return Err(bad("it has a damaged file"));
        }
        let raw = self.read(at, len)?;
        if word & PLAIN != 0 {
            return Ok(raw);
        }
        let block = self.head.codec.decompress(&raw, limit);
        block.ok_or_else(|| bad("it has a damaged file"))
    }

    /// Where a fragment lies, and its size word.
    fn fragment(&self, number: u32) -> Result<(u64, u32), Fault> {
        if number >= self.head.fragment_count {
            return Err(bad("it refers to a fragment that is not there"));
        }
        let index = self.head.fragments + u64::from(number / FRAGMENTS_PER_BLOCK) * 8;
        let block = Numbers(&self.read(index, 8)?).u64()?;
        let offset = (number % FRAGMENTS_PER_BLOCK) as usize * FRAGMENT_ENTRY;
        let offset = u16::try_from(offset).map_err(|_| bad("it refers to a fragment that is not there"))?;
        let mut cursor = super::metadata::Cursor::new(self, (0, self.head.end), block, offset)?;
        let entry = cursor.take(FRAGMENT_ENTRY)?;
        let mut numbers = Numbers(&entry);
        Ok((numbers.u64()?, numbers.u32()?))
    }
}
