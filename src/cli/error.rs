//! How a command fails, and the exit status that says so.

use std::io;

use crate::app::Refusal;
use crate::ports::StoreError;

/// Why a command did not do what it was asked. Messages read `cannot <do what>: <why>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CliError {
    /// Refused or failed: status 1.
    #[error("{0}")]
    Failed(String),
    /// The result, already printed, is bad news (a refused assertion, a broken audit log): status 1, no message.
    #[error("failed")]
    Reported,
    /// The arguments make no sense together: status 2.
    #[error("{0}")]
    Usage(String),
    /// The server cannot be reached: status 3.
    #[error("{0}")]
    Unreachable(String),
    /// Nobody reads our output any more: status 0.
    #[error("the output was closed")]
    Closed,
}

impl CliError {
    /// A failure of `what`, e.g. `cannot read x.json`, because of `why`.
    pub fn failed(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {why}"))
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Failed(_) | Self::Reported => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }

    /// What to tell the user, if anything.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Failed(text) | Self::Usage(text) | Self::Unreachable(text) => Some(text),
            Self::Reported | Self::Closed => None,
        }
    }

    /// An error of writing to stdout or stderr.
    pub fn writing(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal.message)
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}
