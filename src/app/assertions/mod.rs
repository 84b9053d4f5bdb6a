//! Assertions other than by issuing them: serving them to devices, taking in those others signed, giving them out.

mod check;
mod export;
mod import;
mod lookup;

pub use check::check;
pub(super) use check::{check_with, database, keys_of};
pub use export::{Search, export};
pub use import::{Imported, MAX_IMPORT, import};
pub(super) use import::{not_of_waves, read as read_stream};
pub use lookup::{Lookup, LookupError, Sequence, find};
