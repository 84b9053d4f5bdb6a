//! What a snap says about itself: `meta/snap.yaml` and the words in it. Pure parsing; reading the file is
//! `adapters/squashfs`.

mod epoch;
mod fields;
mod kind;
mod names;
mod yaml;

pub use epoch::{Epoch, EpochError};
pub use fields::SnapYamlError;
pub use kind::{ComponentType, Confinement, Grade, SnapType};
pub use yaml::{App, ComponentYaml, DeclaredComponent, SnapYaml};
