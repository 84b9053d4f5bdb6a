//! hallmark: the open brand store and serial vault for snap devices.
//!
//! Rooms, from the inside out (the direction is tested in `tests/it/architecture.rs`):
//! [`domain`] is the pure core, [`ports`] what the use cases need from the world, [`app`] the use cases,
//! [`adapters`] the engines behind the ports, [`http`] and [`cli`] the two faces.

pub mod adapters;
pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
mod outgoing;
pub mod ports;
pub mod telemetry;
