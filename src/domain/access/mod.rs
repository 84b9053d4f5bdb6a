//! Who may do what: accounts, memberships, roles and the one permission table.

pub mod account;
pub mod authorship;
pub mod invite;
pub mod limits;
pub mod permission;
pub mod provider;
pub mod reset;
pub mod secret;
pub mod vocabulary;

pub use account::{Account, Brand, Membership, Presented, ReviewPolicy, SecondFactor, StoreRecord, Token};
pub use authorship::Authorship;
pub use invite::{InviteAction, InviteStatus, StoreInvite};
pub use limits::{Limits, Pattern};
pub use permission::{Permission, Role, Scope};
pub use provider::{Admission, NotAdmitted, ProviderIdentity, admit};
pub use reset::{PasswordReset, RESET_LIFE};
pub use secret::{InviteText, ResetText, TokenText};
