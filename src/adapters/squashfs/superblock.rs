//! The first 96 bytes of an image: where its tables are. Everything is checked before anything else is read.

use super::codec::Codec;
use super::image::{Fault, Source, bad};

pub(super) const SIZE: u64 = 96;
pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"hsqs");
/// A table that is not there.
pub(super) const ABSENT: u64 = u64::MAX;
pub(super) const MIN_BLOCK: u32 = 4 << 10;
pub(super) const MAX_BLOCK: u32 = 1 << 20;
/// Largest piece of metadata, decompressed.
pub(super) const METADATA_BLOCK: usize = 8 << 10;
/// Most files and directories of an image. The largest snaps have some hundred thousand.
const MAX_INODES: u32 = 4_000_000;
/// An upper bound of what any codec makes of a byte of metadata, and the smallest inode: no image that a tool has
/// written promises more inodes than that.
const MAX_METADATA_RATIO: u64 = METADATA_BLOCK as u64;
const MIN_INODE: u64 = 20;

/// What the superblock says, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Superblock {
    pub(super) codec: Codec,
    pub(super) block_size: u32,
    /// Block and offset of the root directory's inode.
    pub(super) root: u64,
    /// From here up to `directories` lie the inodes.
    pub(super) inodes: u64,
    /// From here up to `directories_end` lie the directories.
    pub(super) directories: u64,
    pub(super) directories_end: u64,
    pub(super) fragments: u64,
    pub(super) fragment_count: u32,
    /// The length of the image; the file may be padded.
    pub(super) end: u64,
}

/// Little-endian numbers of a few bytes.
pub(super) struct Numbers<'a>(pub(super) &'a [u8]);

impl Numbers<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or_else(truncated)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.take().map(u64::from_le_bytes)
    }
}

fn truncated() -> Fault {
    bad("it ends too early")
}

impl Superblock {
    pub(super) fn read(source: &dyn Source) -> Result<Self, Fault> {
        let len = source.len()?;
        let mut head = [0; SIZE as usize];
        if len < SIZE {
            return Err(bad("it is no squashfs image"));
        }
        source.read_at(&mut head, 0)?;
        let mut numbers = Numbers(&head);
        if numbers.u32()? != MAGIC {
            return Err(bad("it is no squashfs image"));
        }
        let inode_count = numbers.u32()?;
        let _modified = numbers.u32()?;
        let block_size = numbers.u32()?;
        let fragment_count = numbers.u32()?;
        let compressor = numbers.u16()?;
        let block_log = numbers.u16()?;
        let _flags = numbers.u16()?;
        let id_count = numbers.u16()?;
        let version = (numbers.u16()?, numbers.u16()?);
        let root = numbers.u64()?;
        let end = numbers.u64()?;
        let ids = numbers.u64()?;
        let attributes = numbers.u64()?;
        let inodes = numbers.u64()?;
        let directories = numbers.u64()?;
        let fragments = numbers.u64()?;
        let exports = numbers.u64()?;

        if version != (4, 0) {
            let (major, minor) = version;
            return Err(bad(format!("it is squashfs {major}.{minor}, not 4.0")));
        }
        let codec = Codec::of_number(compressor).map_err(Fault::Bad)?;
        if !block_size.is_power_of_two()
            || !(MIN_BLOCK..=MAX_BLOCK).contains(&block_size)
            || 1_u32.checked_shl(u32::from(block_log)) != Some(block_size)
        {
            return Err(bad(format!("it has an impossible block size, {block_size}")));
        }
        if end > len {
            return Err(bad(format!("it is cut off: {len} of {end} bytes are there")));
        }
        let within = |table: u64| (SIZE..end).contains(&table);
        let optional = |table: u64| table == ABSENT || within(table);
        let tables_fit = within(inodes)
            && within(directories)
            && inodes < directories
            && within(ids)
            && directories < ids
            && optional(attributes)
            && optional(exports)
            && (fragment_count == 0 || within(fragments));
        if !tables_fit {
            return Err(bad("it has a table that lies outside of it"));
        }
        let index = u64::from(fragment_count).div_ceil(512) * 8;
        if fragment_count > 0 && end.checked_sub(fragments).is_none_or(|room| room < index) {
            return Err(bad("it has a table that lies outside of it"));
        }
        if id_count == 0 || inode_count == 0 {
            return Err(bad("it is empty"));
        }
        let room = (directories - inodes).saturating_mul(MAX_METADATA_RATIO) / MIN_INODE;
        if inode_count > MAX_INODES || u64::from(inode_count) > room {
            return Err(bad(format!("it claims to have {inode_count} files")));
        }
        // Whatever comes next; the tables after the directories begin with blocks of their own, checked as they are read.
        let later = [ids, attributes, fragments, exports].into_iter();
        let directories_end = later.filter(|table| *table > directories).min();
        Ok(Self {
            codec,
            block_size,
            root,
            inodes,
            directories,
            directories_end: directories_end.unwrap_or(end).min(end),
            fragments,
            fragment_count,
            end,
        })
    }
}
