//! The one integration test binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking and says what it did; the modules of this binary are private"
)]

mod architecture;
mod assertion_verify;
mod cli;
#[path = "../conformance/mod.rs"]
mod conformance;
mod crash;
mod device;
mod edge;
mod fuzz_replay;
mod harness;
mod keys;
mod office;
mod owner;
mod people;
mod permissions;
mod postgres;
mod properties;
mod storage;
mod storage_crash;
mod templates;
mod vault;
mod vectors;
