//! The one integration test binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test fails by panicking and says what it did not run; the modules of this binary are private"
)]

mod administrators;
mod airgap;
mod airgap_factory;
mod architecture;
mod assertion_verify;
mod backup;
mod blobs;
#[cfg(feature = "s3")]
mod bucket;
mod cli;
#[path = "../conformance/mod.rs"]
mod conformance;
mod crash;
mod crowd;
mod damage;
mod device;
mod earlier;
mod edge;
mod fuzz_replay;
#[cfg(feature = "pkcs11")]
mod hardware_keys;
mod harness;
mod instance_cli;
mod key_roll;
mod keys;
mod monitoring;
mod office;
mod owner;
mod people;
mod permissions;
mod plant;
mod postgres;
mod properties;
mod publisher;
mod second_factor;
mod small_disk;
mod squashfs;
mod storage;
mod storage_crash;
mod store;
mod templates;
mod tls;
mod traces;
mod vault;
mod vectors;
mod web;
