//! The pure core of hallmark and the reader of snap files, built alone.

#[path = "../../src/domain/mod.rs"]
pub mod domain;

/// What the reader of snap files needs of its port.
#[path = "."]
pub mod ports {
    #[path = "../../src/ports/snap_files.rs"]
    mod snap_files;

    pub use snap_files::{Description, Icon, IconKind, SnapContents, SnapFileError, SnapFiles};
}

/// The reader of snap files.
#[path = "."]
pub mod adapters {
    #[path = "../../src/adapters/squashfs/mod.rs"]
    pub mod squashfs;
}
