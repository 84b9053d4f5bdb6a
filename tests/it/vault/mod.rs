//! The vault over real HTTP: what devices and factory tools see, and what operators do (serial-vault.md 17, 19).
#![allow(unreachable_pub, reason = "one test binary")]

mod admin;
mod cli;
pub mod factory;
mod issuing;
mod policy;
mod remodel;
mod sites;
mod trouble;
mod wire;
