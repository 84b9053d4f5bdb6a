//! Buffers that long answers are written into. They are used again, the last one first: it still is in the processor's cache,
//! where a fresh one of this size comes from memory, and is waited for when it is written to and when it is sent.

use std::cell::RefCell;

use bytes::Bytes;

/// Most buffers each thread keeps for later.
const SPARE: usize = 16;
/// Largest buffer that is kept, in bytes: few answers are longer.
const LARGEST: usize = 256 << 10;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer to write into that goes back to the thread that drops it.
#[derive(Debug)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// An empty buffer with room for at least `size` bytes.
    pub fn with_room(size: usize) -> Self {
        let free = FREE.with(|free| free.borrow_mut().pop());
        let mut bytes = free.unwrap_or_default();
        bytes.reserve(size);
        Self(bytes)
    }

    /// What is written so far; more can follow.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        Self::from_owner(buffer)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0);
        if bytes.capacity() > LARGEST {
            return;
        }
        bytes.clear();
        // Where the thread ends at this moment nothing is kept.
        let _ = FREE.try_with(|free| {
            if let Ok(mut free) = free.try_borrow_mut()
                && free.len() < SPARE
            {
                free.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty() {
        let mut first = Buffer::with_room(100);
        first.bytes().extend_from_slice(b"somebody's answer");
        let place = first.0.as_ptr();
        let sent = Bytes::from(first);
        assert_eq!(&sent[..], b"somebody's answer");
        let other = Buffer::with_room(10);
        assert_ne!(other.0.as_ptr(), place, "it is still being sent");
        drop(sent);
        let again = Buffer::with_room(10);
        assert_eq!(again.0.as_ptr(), place);
        assert!(again.as_ref().is_empty());
    }

    #[test]
    fn very_large_ones_are_not_kept() {
        let large = Buffer::with_room(LARGEST + 1);
        let capacity = large.0.capacity();
        drop(large);
        assert!(Buffer::with_room(0).0.capacity() < capacity);
    }
}
