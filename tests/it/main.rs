//! The one integration test binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod architecture;
#[path = "../conformance/mod.rs"]
mod conformance;
mod edge;
mod fuzz_replay;
mod harness;
mod keys;
mod properties;
mod storage;
mod vectors;
