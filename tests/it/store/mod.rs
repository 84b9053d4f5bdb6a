//! The store over real HTTP: what operators, administrators and publishers do with it.
#![allow(unreachable_pub, reason = "one test binary")]

mod bad_files;
mod cli;
mod curation;
mod delegated;
mod gadgets;
mod ingesting;
mod killed;
mod releasing;
pub mod shop;
