//! Why the database refuses.

use super::super::envelope::Ref;
use super::super::registry::AssertionType;
use super::super::signature::SignatureError;
use super::super::types::Validity;
use crate::domain::ident::KeyId;
use crate::domain::time::Timestamp;

/// Why an assertion is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// A format iteration newer than this version understands.
    #[error("{reference} has format {format}, but {supported} is the latest supported")]
    UnsupportedFormat {
        /// The assertion.
        reference: Ref,
        /// Its format.
        format: u32,
        /// The highest format understood.
        supported: u32,
    },
    /// The account-key that would have signed it is not known.
    #[error("no account-key {key} is known for the signature of {authority:?}: add the account-key first")]
    KeyUnknown {
        /// The key id.
        key: KeyId,
        /// The authority.
        authority: String,
    },
    /// The key belongs to another account than the authority.
    #[error("key {key} belongs to {owner:?}, but the authority is {authority:?}")]
    KeyOfOther {
        /// The key id.
        key: KeyId,
        /// Whose key it is.
        owner: String,
        /// The authority.
        authority: String,
    },
    /// The key is not valid yet, or no more: expired or revoked.
    #[error("key {key} of {authority:?} is valid {validity}, but now it is {now}")]
    KeyNotValid {
        /// The key id.
        key: KeyId,
        /// The authority.
        authority: String,
        /// When it may sign.
        validity: Validity,
        /// The present.
        now: Timestamp,
    },
    /// The key may sign only other assertions.
    #[error("the constraints of key {key} of {authority:?} do not allow it to sign this")]
    KeyConstraints {
        /// The key id.
        key: KeyId,
        /// The authority.
        authority: String,
    },
    /// A type the database cannot check: its signature is verified by whoever it is meant for.
    #[error(
        "{0} assertions cannot be checked here: they are signed by a device and verified by the service they are for"
    )]
    NotCheckable(AssertionType),
    /// The device key it is signed with is not known.
    #[error("no {0} is known, whose device key would have signed this")]
    DeviceUnknown(Ref),
    /// It is signed with another key than that of the device.
    #[error("it is not signed with the device key of {0}")]
    OtherDeviceKey(Ref),
    /// The signature is not good.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Its own timestamp lies outside the validity of the key.
    #[error("its timestamp {timestamp} lies outside the validity of the signing key, {validity}")]
    TimestampOutsideKey {
        /// The timestamp.
        timestamp: Timestamp,
        /// When the key may sign.
        validity: Validity,
    },
    /// Only a root of trust may sign it.
    #[error("{reference} must be signed by a trusted root, not by {authority:?}")]
    NotByRoot {
        /// The assertion.
        reference: Ref,
        /// Who signed it.
        authority: String,
    },
    /// Its authority has no right to sign it.
    #[error("{authority:?} may not sign {reference}: {why}")]
    NotAuthorized {
        /// The assertion.
        reference: Ref,
        /// Who signed it.
        authority: String,
        /// The rule, as a sentence.
        why: &'static str,
    },
    /// Something it rests on is not known.
    #[error("{reference} needs {missing}, which is not known: add that first")]
    Missing {
        /// The assertion.
        reference: Ref,
        /// What is not known.
        missing: Ref,
    },
    /// The account has another key of that name.
    #[error("account {account:?} already has a key named {name:?}: {other}")]
    KeyNameTaken {
        /// The account.
        account: String,
        /// The name.
        name: String,
        /// The other key.
        other: KeyId,
    },
}

impl CheckError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedFormat { .. } => "unsupported-format",
            Self::KeyUnknown { .. } => "key-unknown",
            Self::KeyOfOther { .. } => "key-other-account",
            Self::KeyNotValid { .. } => "key-expired",
            Self::KeyConstraints { .. } => "key-constraints",
            Self::NotCheckable(_) => "not-checkable",
            Self::DeviceUnknown(_) | Self::OtherDeviceKey(_) => "signer-lookup",
            Self::Signature(error) => error.code(),
            Self::TimestampOutsideKey { .. } => "timestamp-outside-key",
            Self::NotByRoot { .. } | Self::NotAuthorized { .. } => "authority-policy",
            Self::Missing { .. } | Self::KeyNameTaken { .. } => "consistency",
        }
    }
}

/// Why an assertion was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// A type without primary key.
    #[error("{0} assertions cannot be stored")]
    NotStorable(AssertionType),
    /// It does not hold.
    #[error(transparent)]
    Check(CheckError),
    /// A format iteration newer than this version understands.
    #[error("{reference} has format {format}, but {supported} is the latest supported")]
    UnsupportedFormat {
        /// The assertion.
        reference: Ref,
        /// Its format.
        format: u32,
        /// The highest format understood.
        supported: u32,
        /// Whether an earlier revision was there, and still is.
        kept: bool,
    },
    /// The trusted or predefined set has one of the same type and primary key.
    #[error("{0} is built in and cannot be replaced")]
    Predefined(Ref),
    /// An equal or higher revision is there already.
    #[error("revision {offered} is not newer than the current revision {current}")]
    Revision {
        /// The revision that is there.
        current: u64,
        /// The revision that was to be added.
        offered: u64,
    },
}

impl AddError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotStorable(_) => "not-storable",
            Self::Check(error) => error.code(),
            Self::UnsupportedFormat { .. } => "unsupported-format",
            Self::Predefined(_) => "predefined",
            Self::Revision { .. } => "revision",
        }
    }
}

/// Why a question to the database makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// A part of the primary key is not given.
    #[error("cannot look for {kind} assertions without header {header:?}, a part of the primary key")]
    KeyMissing {
        /// The type.
        kind: AssertionType,
        /// The header.
        header: &'static str,
    },
    /// A format iteration this version does not know.
    #[error("cannot look for {kind} assertions of format {asked}: {supported} is the latest supported")]
    FormatTooHigh {
        /// The type.
        kind: AssertionType,
        /// The format asked for.
        asked: u32,
        /// The highest format understood.
        supported: u32,
    },
    /// A type that forms no sequences.
    #[error("{0} assertions form no sequence")]
    NoSequence(AssertionType),
}

/// An assertion in the trusted set that cannot be a root of trust.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only account and account-key assertions can be trusted, not {0}")]
pub struct WrongTrusted(pub Ref);
