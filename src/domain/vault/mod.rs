//! What the vault knows of brands, models, keys and devices, and the rules for issuing serials.

pub mod claim;
pub mod factory;
pub mod instance;
pub mod key;
pub mod model;
mod proposed_serial;
pub mod serial_range;
pub mod throwaway;
pub mod token_uri;

pub use claim::{
    ClaimOutcome, ClaimRules, Reissue, Reservation, SerialClaim, SerialRow, SerialState, Standing,
};
pub use factory::{FactoryBox, FactorySite, SiteClaim, SiteGrant, SiteName};
pub use instance::{Instance, Kdf, RESERVED, is_reserved};
pub use key::{KeyPurpose, KeyRefusal, KeyState, SigningKey};
pub use model::{ApiKey, DeviceAuth, ModelRecord, RemodelRule, SerialPolicy};
pub use proposed_serial::{ProposalError, proposed_serial};
pub use serial_range::SerialRange;
pub use throwaway::is_throwaway;
pub use token_uri::{TokenUri, TokenUriError};
