//! What a snap says about itself: `meta/snap.yaml` and the words in it. Pure parsing; reading the file is
//! `adapters/squashfs`.

mod epoch;
mod kind;

pub use epoch::{Epoch, EpochError};
pub use kind::{ComponentType, Confinement, Grade, SnapType};
