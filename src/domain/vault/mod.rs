//! What the vault knows of brands, models, keys and devices, and the rules for issuing serials.

pub mod claim;
pub mod instance;
pub mod key;
pub mod model;
pub mod throwaway;
mod proposed_serial;

pub use claim::{
    ClaimOutcome, ClaimRules, Reissue, Reservation, SerialClaim, SerialRow, SerialState, Standing,
};
pub use instance::{Instance, Kdf, is_reserved};
pub use key::{KeyPurpose, KeyRefusal, KeyState, SigningKey};
pub use model::{ApiKey, DeviceAuth, ModelRecord, RemodelRule, SerialPolicy};
pub use throwaway::is_throwaway;
pub use proposed_serial::{ProposalError, proposed_serial};
