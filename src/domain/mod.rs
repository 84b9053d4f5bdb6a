//! The core: pure and synchronous. No I/O, no clock, no randomness; it knows neither HTTP nor storage.

pub mod access;
pub mod assertion;
pub mod audit;
pub mod blob;
pub mod bundle;
pub mod catalog;
pub mod fleet;
pub mod ident;
pub mod mail;
pub mod numbers;
pub mod review;
pub mod snap;
pub mod time;
pub mod vault;
mod yaml;
