//! The API of publisher clients.

mod brand;
pub mod client;
mod credentials;
mod featured;
mod invites;
mod limits;
mod stores;
mod whoami;
