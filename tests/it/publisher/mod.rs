//! The API of publisher clients.

mod brand;
pub mod client;
mod credentials;
mod elsewhere;
mod featured;
mod gateway;
mod invites;
mod killed;
mod limits;
mod metadata;
mod names;
mod pushing;
mod releasing;
mod sharing;
mod signing;
mod snapcraft;
mod stores;
mod uploading;
mod whoami;
