//! Review of uploads (admin-api.md 1.3): what the automatic checks find in a snap, which interfaces need a grant and how
//! grants stand in a snap-declaration, and the states a revision goes through. Pure rules and the records they work on.

mod checks;
mod difference;
mod grant;
mod interfaces;
mod record;
mod state;

pub use checks::{Connected, Finding, Outcome, Severity, Standing, Upload, check, connected, outcome};
pub use difference::{Described, Difference, difference};
pub use grant::{Attribute, GrantRefusal, Granted, Scope, disable, enable, grants, newly_guarded};
pub use interfaces::{Class, Interface, class, slot_is_free};
pub use record::{GrantRequest, MAX_COMMENT, MAX_STEPS, ReviewRecord, Step};
pub use state::{Act, ActRefusal, ReviewState, decide, next};

pub use crate::domain::assertion::types::InterfaceSide as Side;
