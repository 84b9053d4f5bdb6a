//! The pure core of hallmark, built alone.

#[path = "../../src/domain/mod.rs"]
pub mod domain;
