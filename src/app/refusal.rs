//! Why an administrative use case did not do what it was asked.

use crate::domain::access::Permission;
use crate::domain::ident::IdentError;
use crate::ports::{SignError, StoreError};

/// The class of a refusal; decides the HTTP status and the CLI's exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request is wrong (400).
    Invalid,
    /// Nobody is logged in, or the credential is no good (401).
    Unauthenticated,
    /// Absent, or not the caller's to see (404).
    NotFound,
    /// Something is missing that the caller can see to (403).
    Forbidden,
    /// It contradicts what is there (409).
    Conflict,
    /// Larger than the limit (413).
    TooLarge,
    /// Too many failures; wait (429; never on device paths).
    Locked,
    /// Temporary: try again (503).
    Unavailable,
    /// Our fault (500).
    Internal,
}

/// A refusal: class, stable code, and a message safe to show (`cannot <do what>: <why>`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The class.
    pub reason: Reason,
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// The limit of the caller's token that stands against it, where nothing else does. Dialects that have no word for
    /// that answer as if it were not there.
    pub limit: Option<Box<TokenLimit>>,
    /// Seconds until it may work, where that is known.
    pub retry_after: Option<u32>,
}

/// A limit of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenLimit {
    /// It is not for this.
    Permission(Permission),
    /// It is for other snaps.
    Package,
    /// It is for other stores.
    Store,
    /// It is for channels that fit these patterns.
    Channels(Vec<String>),
}

impl Refusal {
    /// A refusal of class `reason`.
    pub fn new(reason: Reason, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            code,
            message: message.into(),
            limit: None,
            retry_after: None,
        }
    }

    /// The same, with the seconds until it may work; at least one.
    #[must_use]
    pub fn after(mut self, seconds: i64) -> Self {
        self.retry_after = Some(u32::try_from(seconds.max(1)).unwrap_or(u32::MAX));
        self
    }

    /// The same, said of a token that is too limited.
    #[must_use]
    pub fn limited(mut self, limit: TokenLimit) -> Self {
        self.limit = Some(Box::new(limit));
        self
    }

    /// The request is wrong.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Reason::Invalid, code, message)
    }

    /// Absent, or not the caller's to see: both answer alike.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Reason::NotFound, "resource-not-found", message)
    }

    /// It contradicts what is there.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Reason::Conflict, code, message)
    }
}

impl From<IdentError> for Refusal {
    fn from(error: IdentError) -> Self {
        Self::invalid("invalid-request", format!("cannot use this value: {error}"))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "storage failed");
        let message = match error {
            StoreError::Corrupt(_) => {
                "cannot read the database: a part of it is damaged; the log has the place, `hallmark doctor` looks at the rest"
            }
            StoreError::Unavailable(_) | StoreError::Saturated | StoreError::Refused(_) => {
                "cannot reach the database: try again later"
            }
        };
        Self::new(Reason::Unavailable, "storage-unavailable", message)
    }
}

impl From<SignError> for Refusal {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Saturated => Self::new(Reason::Unavailable, "signer-busy", error.to_string()),
            SignError::UnknownKey(_) => Self::new(Reason::Unavailable, "key-not-loaded", error.to_string()),
            SignError::Token { .. } => {
                tracing::error!(%error, "token failed");
                Self::new(Reason::Unavailable, "token-unavailable", error.to_string())
            }
            SignError::Key(_) => Self::new(Reason::Invalid, "invalid-key", error.to_string()),
            SignError::Offline(_) => {
                tracing::error!(%error, "signer failed");
                Self::new(
                    Reason::Unavailable,
                    "signer-offline",
                    "cannot sign: the signer is out of reach",
                )
            }
        }
    }
}
