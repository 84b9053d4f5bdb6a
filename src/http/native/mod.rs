//! The native API below `/hallmark/v1`: what our CLI and programs use. Its routes are made by [`typed`].

mod accounts;
mod assertions;
mod audit;
mod brands;
mod connect;
mod devices;
pub mod factories;
pub mod fleet;
mod grants;
mod invites;
mod keys;
mod models;
mod own;
mod remodel;
mod reviews;
mod second_factor;
mod serials;
mod sharing;
mod snap_upload;
mod snaps;
mod stores;
mod validation_sets;

pub use super::typed::{Answer, Body, Created, Json, NoContent, Nothing, Raw, Streamed};

use super::endpoint::Endpoint;
use super::fault::{Fault, NativeDialect};
use super::typed;
use crate::app::App;

/// Makes native endpoints.
pub type Native = typed::Maker<NativeDialect>;

/// What native handlers are given.
pub type Input<B = Nothing> = typed::Input<NativeDialect, B>;

/// What a native handler returns; `?` turns refusals and storage errors into faults.
pub type Outcome<T> = Result<T, Fault<NativeDialect>>;

/// Every native endpoint.
pub fn endpoints(app: &App) -> Vec<Endpoint> {
    let native = Native::new(app);
    [
        own::endpoints(&native),
        second_factor::endpoints(&native),
        accounts::endpoints(&native),
        brands::endpoints(&native),
        invites::endpoints(&native),
        keys::endpoints(&native),
        assertions::endpoints(&native),
        audit::endpoints(&native),
        models::endpoints(&native),
        remodel::endpoints(&native),
        serials::endpoints(&native),
        factories::endpoints(&native),
        devices::endpoints(&native),
        fleet::endpoints(&native),
        connect::endpoints(&native),
        stores::endpoints(&native),
        snaps::endpoints(&native),
        sharing::endpoints(&native),
        snap_upload::endpoints(&native),
        reviews::endpoints(&native),
        grants::endpoints(&native),
        validation_sets::endpoints(&native),
    ]
    .concat()
}
