//! Inodes: what one file or directory is and where its content lies.

use super::image::{Fault, Image, bad};
use super::metadata::Cursor;
use super::superblock::{METADATA_BLOCK, Numbers};

/// Where an inode is: its block within the inode table in the upper 48 bits, its offset there in the lower 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InodeRef(pub(super) u64);

/// A file or directory.
#[derive(Clone, Debug)]
pub(super) enum Inode {
    File(FileInode),
    Directory(DirectoryInode),
    /// Anything else, in words.
    Other(&'static str),
}

#[derive(Clone, Debug)]
pub(super) struct FileInode {
    pub(super) size: u64,
    /// Where the first block lies in the image.
    pub(super) start: u64,
    /// The fragment with the file's last part, and the offset there.
    pub(super) fragment: Option<(u32, u32)>,
    /// The size words of the blocks; left out when the file is larger than the reader asked for.
    pub(super) blocks: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct DirectoryInode {
    pub(super) block: u32,
    pub(super) offset: u16,
    /// The length of the listing.
    pub(super) len: u32,
}

/// No fragment.
const NONE: u32 = u32::MAX;

impl Inode {
    /// Reads an inode. The list of a file's blocks is read only up to files of `limit` bytes.
    pub(super) fn read(image: &Image<'_>, place: InodeRef, limit: u64) -> Result<Self, Fault> {
        let table = (image.head.inodes, image.head.directories);
        let offset = (place.0 & 0xffff) as u16;
        if usize::from(offset) >= METADATA_BLOCK {
            return Err(bad("it refers to metadata outside of it"));
        }
        let mut cursor = Cursor::new(image, table, place.0 >> 16, offset)?;
        let head = cursor.take(16)?;
        let kind = Numbers(&head).u16()?;
        match kind {
            1 => {
                let bytes = cursor.take(16)?;
                let mut numbers = Numbers(&bytes);
                let (block, _links) = (numbers.u32()?, numbers.u32()?);
                let (len, offset) = (numbers.u16()?, numbers.u16()?);
                directory(block, offset, u32::from(len))
            }
            8 => {
                let bytes = cursor.take(24)?;
                let mut numbers = Numbers(&bytes);
                let (_links, len, block, _parent) =
                    (numbers.u32()?, numbers.u32()?, numbers.u32()?, numbers.u32()?);
                let (_indexes, offset) = (numbers.u16()?, numbers.u16()?);
                directory(block, offset, len)
            }
            2 => {
                let bytes = cursor.take(16)?;
                let mut numbers = Numbers(&bytes);
                let (start, fragment, offset, size) =
                    (numbers.u32()?, numbers.u32()?, numbers.u32()?, numbers.u32()?);
                let file = FileInode {
                    size: u64::from(size),
                    start: u64::from(start),
                    fragment: (fragment != NONE).then_some((fragment, offset)),
                    blocks: Vec::new(),
                };
                file.with_blocks(image, &mut cursor, limit)
            }
            9 => {
                let bytes = cursor.take(40)?;
                let mut numbers = Numbers(&bytes);
                let (start, size, _sparse) = (numbers.u64()?, numbers.u64()?, numbers.u64()?);
                let (_links, fragment, offset) = (numbers.u32()?, numbers.u32()?, numbers.u32()?);
                let file = FileInode {
                    size,
                    start,
                    fragment: (fragment != NONE).then_some((fragment, offset)),
                    blocks: Vec::new(),
                };
                file.with_blocks(image, &mut cursor, limit)
            }
            3 | 10 => Ok(Self::Other("a symbolic link")),
            4 | 5 | 11 | 12 => Ok(Self::Other("a device")),
            6 | 7 | 13 | 14 => Ok(Self::Other("a pipe or socket")),
            _ => Err(bad("it has an entry of an unknown kind")),
        }
    }
}

fn directory(block: u32, offset: u16, len: u32) -> Result<Inode, Fault> {
    if usize::from(offset) >= METADATA_BLOCK {
        return Err(bad("it refers to metadata outside of it"));
    }
    Ok(Inode::Directory(DirectoryInode { block, offset, len }))
}

impl FileInode {
    fn with_blocks(
        mut self,
        image: &Image<'_>,
        cursor: &mut Cursor<'_, '_>,
        limit: u64,
    ) -> Result<Inode, Fault> {
        if self.size <= limit {
            let block_size = u64::from(image.head.block_size);
            let count = match self.fragment {
                Some(_) => self.size / block_size,
                None => self.size.div_ceil(block_size),
            };
            let count = usize::try_from(count).map_err(|_| bad("it has a file that is too large"))?;
            let bytes = cursor.take(count.saturating_mul(4))?;
            let words = bytes.as_chunks::<4>().0;
            self.blocks = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        }
        Ok(Inode::File(self))
    }
}
