//! The one integration test binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../conformance/mod.rs"]
mod conformance;

mod architecture;
mod edge;
mod fuzz_replay;
mod harness;
mod keys;
mod postgres;
mod properties;
mod storage;
mod vectors;
mod templates;
