//! Another provider of log-ins (OpenID Connect): sends people there and says who came back.

use async_trait::async_trait;
use zeroize::Zeroizing;

/// What one sign-in is bound to. None of it but `state` and a hash of `verifier` leaves before the person comes back.
#[derive(Clone)]
pub struct Errand {
    /// Comes back with the person; tells one sign-in from another.
    pub state: String,
    /// Has to be in what the provider signs.
    pub nonce: Zeroizing<String>,
    /// Proves to the provider that who redeems the code is who asked for it (PKCE, RFC 7636): 43 to 128 characters.
    pub verifier: Zeroizing<String>,
    /// Where the person comes back to.
    pub back: String,
}

impl std::fmt::Debug for Errand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Errand(…)")
    }
}

/// Who the provider says came back. Signature, audience, age and nonce were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The provider.
    pub issuer: String,
    /// Who, for this provider; never given to somebody else.
    pub subject: String,
    /// Their e-mail address, where the provider says one and vouches for it.
    pub email: Option<String>,
    /// For people.
    pub name: Option<String>,
}

/// Why nobody came back.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The provider is out of reach, or does not answer as one.
    #[error("cannot reach the provider: {0}")]
    Unreachable(String),
    /// It does not take the code: used before, too old, made for somebody else; or it does not know us.
    #[error("the provider refused: {0}")]
    Refused(String),
    /// What it said does not hold: signature, audience, age, nonce.
    #[error("what the provider said does not hold: {0}")]
    Untrusted(String),
}

/// A provider of log-ins.
#[async_trait]
pub trait IdentityProvider: std::fmt::Debug + Send + Sync {
    /// How it is called on buttons.
    fn label(&self) -> &str;

    /// Its identifier.
    fn issuer(&self) -> &str;

    /// Where to send the person's browser.
    async fn begin(&self, errand: &Errand) -> Result<String, IdentityError>;

    /// Who came back with `code`. A code is good once.
    async fn redeem(&self, errand: &Errand, code: &str) -> Result<Claimed, IdentityError>;
}
