//! How many devices have a snap, counted by the day (publisher-api.md 6.17): without ever looking at all devices.
//!
//! A device counts for a day (UTC) on which it reported the snap, once, as what it said last on that day. For a span of
//! days it counts if it reported the snap on one of them, as what it said last in them. Of every day is kept who reported
//! on it ([`SnapDay::active`]), and when those were there last before ([`SnapDay::back`]). From these numbers those of any
//! span of up to [`WEEK`] days follow, by exact subtraction, and how many devices two weeks have in common.

mod device;
mod metric;
mod tally;
mod window;

pub use device::{Before, Counted, Gone, Step, count};
pub use metric::Metric;
pub use tally::{Seen, SnapDay, Split, Tally};
pub use window::{Changes, History};

/// Days of the longer span.
pub const WEEK: i64 = 7;

/// How many days back the last report of a device matters: two spans of a week are compared.
pub const REACH: i64 = 2 * WEEK - 1;

/// How many days are kept.
pub const KEPT: i64 = 400;
