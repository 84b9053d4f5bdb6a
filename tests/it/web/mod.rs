//! The pages, over real HTTP, as browsers without a script see them.

mod browser;
mod escaping;
mod invites;
mod mail_killed;
mod mailing;
mod oidc_double;
mod provider;
mod reset;
mod reviewing;
mod roles;
mod signing_in;
mod smtp_double;
mod snaps;
mod terminal;
mod text;
mod uploading;
mod vault;
