//! What `fioctl waves` calls, below `/ota/factories/{store}` (waves-and-registration.md A.4): a store is what it calls a
//! factory. Shapes and names are its own; what happens is what happens at the native API. Fields of requests are read
//! strictly: one that is not understood could have narrowed a rollout.

mod view;
mod waves;

pub use super::typed::{Answer, Json};

use super::endpoint::Endpoint;
use super::fault::{FactoryDialect, Fault};
use super::typed;
use crate::app::App;

/// Makes endpoints of this family.
pub type Factory = typed::Maker<FactoryDialect>;

/// What handlers are given.
pub type Input<B = typed::Nothing> = typed::Input<FactoryDialect, B>;

/// What a handler returns; `?` turns refusals and storage errors into faults.
pub type Outcome<T> = Result<T, Fault<FactoryDialect>>;

/// Every endpoint of this family.
pub fn endpoints(app: &App) -> Vec<Endpoint> {
    waves::endpoints(&Factory::new(app))
}
