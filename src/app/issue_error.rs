//! Why a device got no request-id or no serial: one variant per decision.

use crate::domain::ident::KeyName;
use crate::domain::time::Timestamp;
use crate::domain::vault::{ProposalError, SiteName};
use crate::ports::{SignError, StoreError};

/// Why no request-id, serial or model was handed out. The wire codes are chosen in `http::vault`.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// No API key where one is needed, or one that no model in force has.
    #[error("cannot accept the API key: it is missing, unknown, expired or not for this brand")]
    InvalidApiKey,
    /// Nothing was sent.
    #[error("cannot read the request: its body is empty")]
    EmptyData,
    /// An assertion of the stream does not decode.
    #[error("cannot decode assertion {number} of the request: {reason}")]
    Undecodable {
        /// Its place, from 1.
        number: usize,
        /// The decoder's words.
        reason: String,
    },
    /// The first assertion is something else.
    #[error("cannot issue a serial: the first assertion is of type {0}, not serial-request")]
    NotASerialRequest(&'static str),
    /// The second or third assertion is of the wrong type.
    #[error("cannot issue a serial: assertion {number} is of type {found}, not {wanted}")]
    WrongAncillary {
        /// Its place.
        number: usize,
        /// Its type.
        found: &'static str,
        /// The type expected there.
        wanted: &'static str,
    },
    /// More than three assertions.
    #[error("cannot issue a serial: something follows the third assertion")]
    TrailingData,
    /// The serial-request is not signed by the device key it carries.
    #[error("cannot verify the serial-request: {0}")]
    RequestSignature(String),
    /// The model assertion is of another brand or model than the request.
    #[error("cannot issue a serial: the model assertion and the serial-request name different models")]
    MismatchedModel,
    /// The model assertion is not signed by the brand.
    #[error("cannot verify the model assertion: {0}")]
    UnverifiedModel(String),
    /// An old serial came with a request that is no remodelling.
    #[error("cannot issue a serial: a serial assertion is only taken with all three original-* headers")]
    UnexpectedSerial,
    /// A remodelling that does not hold together.
    #[error("cannot remodel: {0}")]
    InvalidRemodel(String),
    /// No rule lets this device become the new model.
    #[error("cannot remodel: no rule lets this device become the new model")]
    NoRemodelRule,
    /// The request-id is not ours, not for this API key, expired, or spent.
    #[error("cannot accept the request-id: it is unknown, expired or used already; ask for a new one")]
    StaleRequest,
    /// No brand of this name.
    #[error("cannot find this brand")]
    UnknownBrand,
    /// No such model for this API key, or it is disabled.
    #[error("cannot find a model in force with this brand, name and API key")]
    UnknownModel,
    /// The model's signing key may not sign serials now.
    #[error("cannot sign serials of this model: {0}")]
    UnusableKey(String),
    /// The request names no usable serial.
    #[error("cannot issue a serial: {0}")]
    Proposal(#[from] ProposalError),
    /// What would be signed is no valid serial assertion.
    #[error("cannot make the serial assertion: {0}")]
    Unsignable(String),
    /// The serial was issued before and the model's policy refuses another.
    #[error("cannot issue this serial again: the model's policy forbids it")]
    Duplicate,
    /// Not on the model's allow-list.
    #[error("cannot issue this serial: it is not on the model's allow-list")]
    NotAllowed,
    /// A person refused it.
    #[error("cannot issue this serial: it was denied")]
    Denied,
    /// The model's quota is used up.
    #[error("cannot issue this serial: the model's quota of {0} serials is used up")]
    QuotaReached(u64),
    /// The serial lies in what was given to a site.
    #[error("cannot issue this serial here: it is one of site {site}, until {until} at least")]
    GivenAway {
        /// The site.
        site: SiteName,
        /// Until when.
        until: Timestamp,
    },
    /// The signing key is for other serials.
    #[error("cannot issue this serial: the account-key of key {0} is for others")]
    OutOfRange(KeyName),
    /// The model request is no JSON of the right shape.
    #[error("cannot read the request: {0}")]
    InvalidJson(String),
    /// The vault holds no assertion of the model, or its chain is not complete.
    #[error("cannot serve the model: {0}")]
    NoModelAssertion(String),
    /// Too many failures with this API key from this address; passes with time.
    #[error("cannot answer now: too many wrong API keys from this address; wait a little")]
    LockedOut,
    /// The signer failed; the device may try again.
    #[error("cannot sign the serial: {0}")]
    Signer(SignError),
    /// The signature was made but did not verify, or the signing task broke off.
    #[error("cannot sign the serial: the signing step broke off")]
    SigningBroke,
    /// The reservation could not be completed in the ledger.
    #[error("cannot record the serial: the database is out of reach")]
    Unrecorded(StoreError),
    /// The database is out of reach.
    #[error("cannot answer now: the database is out of reach")]
    Store(#[from] StoreError),
}
