//! The store over real HTTP: what operators, administrators and publishers do with it.
#![allow(unreachable_pub, reason = "one test binary")]

mod bad_files;
mod bundles;
mod cli;
mod curation;
mod delegated;
mod expiring;
mod fioctl;
mod gadgets;
pub mod gate;
mod granting;
mod ingesting;
mod killed;
pub mod leave;
mod overriding;
mod releasing;
mod reviewing;
pub mod shop;
mod vouched;
mod waves;
