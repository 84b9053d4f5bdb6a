//! Directories: lists of names, in groups that share a block of inodes.

use super::image::{Fault, Image, bad};
use super::inode::{DirectoryInode, InodeRef};
use super::metadata::Cursor;
use super::superblock::Numbers;

/// Longest listing, in bytes: some fifty thousand entries. What a store looks into is far smaller.
const MAX_LISTING: u32 = 2 << 20;
/// Most entries of one group.
const MAX_GROUP: u32 = 256;
/// A listing's length counts three bytes that are not there, for `.` and `..`.
const PHANTOM: u32 = 3;

/// A name in a directory.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: Vec<u8>,
    pub(super) inode: InodeRef,
}

/// All names of a directory, in their order. They must be in order, which also tells that none is there twice: a
/// device finds one of two, and nobody knows which.
pub(super) fn list(image: &Image<'_>, directory: &DirectoryInode) -> Result<Vec<Named>, Fault> {
    let mut left = directory.len.saturating_sub(PHANTOM);
    let mut names: Vec<Named> = Vec::new();
    if left == 0 {
        return Ok(names);
    }
    if left > MAX_LISTING {
        return Err(bad("it has a directory with too many entries"));
    }
    let table = (image.head.directories, image.head.directories_end);
    let mut cursor = Cursor::new(image, table, u64::from(directory.block), directory.offset)?;
    let mut take = |cursor: &mut Cursor<'_, '_>, len: u32| {
        left = left
            .checked_sub(len)
            .ok_or_else(|| bad("it has a damaged directory"))?;
        cursor.take(len as usize).map(|bytes| (bytes, left))
    };
    loop {
        let (group, _) = take(&mut cursor, 12)?;
        let mut numbers = Numbers(&group);
        let (count, block, _first) = (numbers.u32()?, numbers.u32()?, numbers.u32()?);
        if count >= MAX_GROUP {
            return Err(bad("it has a damaged directory"));
        }
        let mut rest = 0;
        for _ in 0..=count {
            let (entry, _) = take(&mut cursor, 8)?;
            let mut numbers = Numbers(&entry);
            let (offset, _number, _kind, len) =
                (numbers.u16()?, numbers.u16()?, numbers.u16()?, numbers.u16()?);
            let (name, after) = take(&mut cursor, u32::from(len) + 1)?;
            rest = after;
            if !is_name(&name) {
                return Err(bad(format!(
                    "it has an entry with the name {:?}",
                    String::from_utf8_lossy(&name)
                )));
            }
            if names.last().is_some_and(|before| before.name >= name) {
                return Err(bad(format!(
                    "it has a directory in which {:?} stands twice or out of order",
                    String::from_utf8_lossy(&name)
                )));
            }
            let inode = InodeRef(u64::from(block) << 16 | u64::from(offset));
            names.push(Named { name, inode });
        }
        if rest == 0 {
            return Ok(names);
        }
    }
}

/// One part of a path.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}
