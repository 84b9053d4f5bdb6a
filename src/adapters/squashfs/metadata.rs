//! Metadata: a chain of blocks, each with a two-byte head, decompressing to at most 8 KiB.

use super::image::{Fault, Image, bad};
use super::superblock::METADATA_BLOCK;

/// Set in the head of a block that is not compressed.
const PLAIN: u16 = 1 << 15;

/// A place in a table from which bytes are read in order.
pub(super) struct Cursor<'i, 's> {
    image: &'i Image<'s>,
    /// The next block, and where the table ends.
    next: u64,
    end: u64,
    block: Vec<u8>,
    at: usize,
}

impl<'i, 's> Cursor<'i, 's> {
    /// The place `offset` bytes into the block that begins `block` bytes into the table from `table` to `end`.
    pub(super) fn new(
        image: &'i Image<'s>,
        (table, end): (u64, u64),
        block: u64,
        offset: u16,
    ) -> Result<Self, Fault> {
        let next = table
            .checked_add(block)
            .ok_or_else(|| bad("it refers to metadata outside of it"))?;
        let mut cursor = Self {
            image,
            next,
            end,
            block: Vec::new(),
            at: 0,
        };
        cursor.load()?;
        cursor.at = usize::from(offset);
        if cursor.at > cursor.block.len() {
            return Err(bad("it refers to metadata outside of it"));
        }
        Ok(cursor)
    }

    /// Reads `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::with_capacity(len.min(METADATA_BLOCK));
        while bytes.len() < len {
            let rest = self.block.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                self.load()?;
                continue;
            }
            let part = rest.get(..len - bytes.len()).unwrap_or(rest);
            bytes.extend_from_slice(part);
            self.at += part.len();
        }
        Ok(bytes)
    }

    fn load(&mut self) -> Result<(), Fault> {
        let outside = || bad("it refers to metadata outside of it");
        let data = self
            .next
            .checked_add(2)
            .filter(|data| *data <= self.end)
            .ok_or_else(outside)?;
        let mut head = [0; 2];
        self.image.source.read_at(&mut head, self.next)?;
        let head = u16::from_le_bytes(head);
        let len = head & !PLAIN;
        if len == 0 || usize::from(len) > METADATA_BLOCK {
            return Err(bad("it has a damaged piece of metadata"));
        }
        let next = data
            .checked_add(u64::from(len))
            .filter(|next| *next <= self.end)
            .ok_or_else(outside)?;
        self.image.spend()?;
        let raw = self.image.read(data, u32::from(len))?;
        self.block = if head & PLAIN == 0 {
            let block = self.image.head.codec.decompress(&raw, METADATA_BLOCK);
            block.ok_or_else(|| bad("it has a damaged piece of metadata"))?
        } else {
            raw
        };
        if self.block.is_empty() {
            return Err(bad("it has a damaged piece of metadata"));
        }
        self.next = next;
        self.at = 0;
        Ok(())
    }
}
