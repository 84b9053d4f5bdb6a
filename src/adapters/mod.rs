//! The engines behind the ports, one folder or file each. No adapter knows another; `cli` picks and wires them.

pub mod archive;
pub mod blobs_file;
#[cfg(feature = "s3")]
pub mod blobs_s3;
pub mod memory;
pub mod oidc;
pub mod passphrase;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod seal;
pub mod sled;
pub mod smtp;
pub mod softkey;
pub mod squashfs;
pub mod system;
pub mod vcdiff;
pub mod webhook;
