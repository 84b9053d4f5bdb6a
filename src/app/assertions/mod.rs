//! Assertions other than by issuing them: serving them to devices, taking in those others signed, giving them out.

mod lookup;

pub use lookup::{Lookup, LookupError, Sequence, find};
