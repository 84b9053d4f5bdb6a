//! What a snap says about itself: `meta/snap.yaml` and the words in it, `meta/gadget.yaml`. Pure parsing; reading the file is
//! `adapters/squashfs`.

mod attributes;
mod epoch;
mod fields;
mod gadget;
mod kind;
mod names;
mod yaml;

pub use epoch::{Epoch, EpochError};
pub use fields::SnapYamlError;
pub use gadget::check_gadget_yaml;
pub use kind::{ComponentType, Confinement, Grade, SnapType};
pub use names::{is_connection, is_hook};
pub use yaml::{App, ComponentYaml, DeclaredComponent, SnapYaml};
