//! Update control: which production device sees which revision, when (waves-and-registration.md A). All of it is pure: what
//! is recorded comes in, what is decided goes out.

mod binding;
mod decide;
mod gate;
mod health;
mod pin;
mod position;
mod production;
mod record;
mod select;
mod wave;

#[cfg(test)]
mod invariants;

pub use binding::{Binding, Contents, Document, Listed, Part, SetRef, contents, newest_set};
pub use decide::{Decision, Rule, Running, Sight, decide};
pub use gate::{Counts, ErrorGate, Verdict, judge};
pub use health::{CheckIn, Patience, Progress, State};
pub use pin::{Entry, Pin, PinRef};
pub use position::{Position, position};
pub use production::{ProductionMap, Published};
pub use record::{
    Exposure, FleetDevice, FleetRule, Group, Notice, OnError, OnSuccess, Policy, ProductionRule, Rollout,
    Step, WaveRecord, Window,
};
pub use select::{Candidate, Selected, Size, select};
pub use wave::{Act, Wave, WaveError, WaveKind, WaveStatus};
