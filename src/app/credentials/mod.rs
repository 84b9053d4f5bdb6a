//! Credentials of publisher clients (publisher-api.md 3 and 4). Everything they present names a stored token, which can
//! be listed and revoked; macaroons only narrow it:
//!
//! * a **root** is stateless: anybody may ask for one. It says what is wanted ([`Asked`]) and has a third-party caveat
//!   that a log-in here discharges.
//! * a **discharge** names the token that the log-in made, or the token that was given instead of a password.
//! * a **single** macaroon names a token and what root and discharge left of it.

mod discharge;
mod json;
mod root;
mod seal;
mod verify;

pub use discharge::{Discharged, exchange, exchange_secret, log_in, refresh};
pub use root::{Asked, MAX_LIFE, issue_root};
pub(super) use verify::{Resolution, is_ours, resolve};

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::app::{Reason, Refusal};
use crate::domain::access::limits::common;
use crate::domain::access::{Limits, Token, TokenText};

/// What a caller presents.
#[derive(Clone)]
pub enum Credential {
    /// A token.
    Token(TokenText),
    /// One macaroon.
    Single(Zeroizing<String>),
    /// A root and what discharges it.
    Pair {
        /// The root macaroon.
        root: Zeroizing<String>,
        /// The discharge.
        discharge: Zeroizing<String>,
    },
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Credential::Token(…)",
            Self::Single(_) => "Credential::Single(…)",
            Self::Pair { .. } => "Credential::Pair(…)",
        })
    }
}

impl From<TokenText> for Credential {
    fn from(token: TokenText) -> Self {
        Self::Token(token)
    }
}

/// Whether a discharge has to be bound to its root. One call takes it as the log-in gave it (admin-api.md 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// It has to be.
    Bound,
    /// It may be as it came from the log-in.
    Any,
}

/// What macaroons take away from a token. Several of them leave what each leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Narrowing {
    /// Only these permissions, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions: Option<BTreeSet<String>>,
    /// The words that were asked for, as the client knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    words: Vec<String>,
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    limits: Limits,
}

impl Narrowing {
    /// What a token leaves.
    fn of(token: &Token) -> Self {
        Self {
            permissions: token.permissions.clone().map(|names| names.into_iter().collect()),
            words: token.words.clone(),
            limits: token.limits.clone(),
        }
    }

    fn apply(&self, token: &mut Token) {
        let own = token.permissions.take().map(|names| names.into_iter().collect());
        let left = common(own, self.permissions.as_ref());
        token.permissions = left.map(|names: BTreeSet<String>| names.into_iter().collect());
        token.limits = std::mem::take(&mut token.limits).and(&self.limits);
        if !self.words.is_empty() {
            token.words.clone_from(&self.words);
        }
    }
}

/// What cannot be accepted, without a word about why: a hint would help only who guesses.
fn unusable() -> Refusal {
    Refusal::new(
        Reason::Unauthenticated,
        "invalid-token",
        "cannot accept the credentials: they are unknown, changed, not bound to each other, or were revoked",
    )
}

fn expired() -> Refusal {
    Refusal::new(
        Reason::Unauthenticated,
        "token-expired",
        "cannot accept the credentials: they have expired; log in again",
    )
}

/// The client only has to ask for a fresh discharge.
fn needs_refresh() -> Refusal {
    Refusal::new(
        Reason::Unauthenticated,
        "macaroon-needs-refresh",
        "cannot accept the credentials: the discharge has expired; refresh it",
    )
}
