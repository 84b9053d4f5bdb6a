//! The one integration test binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../conformance/mod.rs"]

mod architecture;
mod conformance;
mod edge;
mod fuzz_replay;
mod harness;
mod keys;
mod properties;
mod storage;
mod vectors;
