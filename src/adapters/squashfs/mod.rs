//! Snap files: squashfs 4.0 images, read and written by our own code (D-24).
//!
//! The reader opens only the paths a store needs. It trusts nothing: every length is checked against a limit before
//! anything is allocated or read, nothing is followed that is not a plain directory or file, and the metadata read
//! for one file is bounded. The writer makes small images, the same bytes for the same input.

mod codec;
mod contents;
#[cfg(test)]
mod crafted;
mod directory;
mod image;
mod inode;
mod metadata;
mod superblock;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

pub use self::contents::inspect_image;
pub use self::image::Source;
pub use self::writer::{BuildError, Content, Entry, build, entries_of};
use crate::ports::{SnapContents, SnapFileError, SnapFiles};

/// Most files looked into at the same time; each may need a few MiB.
const AT_ONCE: usize = 4;

/// Looks into squashfs images.
#[derive(Clone, Debug)]
pub struct Squashfs {
    places: Arc<Semaphore>,
}

impl Default for Squashfs {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

#[async_trait]
impl SnapFiles for Squashfs {
    async fn inspect(&self, path: &Path) -> Result<SnapContents, SnapFileError> {
        let unreadable = |why: String| SnapFileError::Unreadable(why);
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|closed| unreadable(closed.to_string()))?;
        let path = path.to_owned();
        let inspected = tokio::task::spawn_blocking(move || {
            let _place = place;
            let file = File::open(&path).map_err(|error| unreadable(error.to_string()))?;
            inspect_image(&file)
        });
        match inspected.await {
            Ok(contents) => contents,
            // A decompressor met something nobody thought of: the file is to blame.
            Err(stopped) if stopped.is_panic() => {
                Err(SnapFileError::Refused("it cannot be decompressed".to_owned()))
            }
            Err(stopped) => Err(unreadable(stopped.to_string())),
        }
    }
}
