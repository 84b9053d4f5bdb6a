//! What a store answers (device-api.md): who asks and which store that means, which snaps they see, which revision they
//! get. Reads only; [`view`] keeps the catalogue in memory for them.

mod asker;
mod away;
mod browse;
mod cohort;
mod delta_work;
pub mod download;
mod entry;
mod fetch;
mod follow;
mod gate;
mod index;
mod kept;
mod recent;
mod refresh;
mod reports;
mod sets;
pub mod view;

pub use asker::{Asker, Presence};
pub use browse::{FEATURED, Hit, Search, Shown, categories, channel_map, details, find, names};
pub use cohort::create as create_cohorts;
pub use delta_work::{Made, deltas, make_deltas};
pub use download::File;
pub(in crate::app) use entry::publisher;
pub use entry::{Publisher, SnapEntry, Text};
pub(crate) use fetch::known_to;
pub use fetch::{Group, GroupAnswer, GroupError, Wanted, WantedKey, fetch};
pub use gate::{Gates, NotValidated};
pub use refresh::{Action, ActionError, Context, Found, Installed, Kind, SnapAction, refresh};
pub use reports::{Reports, Telling, flush as flush_reports, reports};
pub(crate) use sets::assertion as assertion_for;
pub use sets::{KnownSets, vouched};
pub use view::{AHEAD, Catalog, Snapshot};
