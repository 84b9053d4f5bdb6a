//! The store over real HTTP: what operators, administrators and publishers do with it.
#![allow(unreachable_pub, reason = "one test binary")]

mod bad_files;
mod cli;
mod curation;
mod delegated;
mod expiring;
mod gadgets;
mod granting;
mod ingesting;
mod killed;
mod releasing;
mod reviewing;
pub mod shop;
