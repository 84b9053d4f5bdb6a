//! The API of publisher clients.

pub mod client;
mod credentials;
mod limits;
mod whoami;
