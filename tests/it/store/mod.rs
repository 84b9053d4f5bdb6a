//! The store over real HTTP: what operators, administrators and publishers do with it.
#![allow(unreachable_pub, reason = "one test binary")]

mod cli;
mod curation;
mod delegated;
mod ingesting;
mod releasing;
mod shop;
