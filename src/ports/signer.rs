//! Keys and signatures. The private half never crosses this port unsealed, except on import; that of a key in hardware
//! never does.

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::domain::ident::{AccountId, KeyId};
use crate::domain::vault::TokenUri;

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// All workers are busy and the queue is full; try again (503).
    #[error("cannot sign: too many signatures are waiting")]
    Saturated,
    /// The signer has no such key, or it was not loaded.
    #[error("cannot sign: key {0} is not loaded")]
    UnknownKey(KeyId),
    /// The key or its seal is broken, or the passphrase is another.
    #[error("cannot use the key: {0}")]
    Key(String),
    /// The signer failed or is out of reach.
    #[error("cannot sign: {0}")]
    Offline(String),
    /// A hardware token is out of reach, or does not let us in. Passes once somebody has seen to it; never is anything
    /// signed elsewhere instead (503).
    #[error("cannot use token {token}: {why}")]
    Token {
        /// Its label.
        token: String,
        /// What it, or the way to it, says.
        why: String,
    },
}

/// A private key on its way in.
#[derive(Clone)]
pub enum KeyMaterial {
    /// PEM: PKCS#8 or PKCS#1.
    Pem(Zeroizing<String>),
    /// ASCII-armoured OpenPGP secret key, perhaps with a passphrase.
    OpenPgp {
        /// The armoured text.
        armoured: Zeroizing<String>,
        /// Its passphrase.
        passphrase: Option<Zeroizing<String>>,
    },
    /// No material: the key is in a token and stays there.
    Token(TokenUri),
}

impl KeyMaterial {
    /// Tells the forms apart: armoured OpenPGP if the text says so, else PEM.
    pub fn from_text(text: Zeroizing<String>, passphrase: Option<Zeroizing<String>>) -> Self {
        if text.contains("-----BEGIN PGP ") {
            Self::OpenPgp {
                armoured: text,
                passphrase,
            }
        } else {
            Self::Pem(text)
        }
    }
}

impl std::fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyMaterial(…)")
    }
}

/// A key the signer made or took in.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// The encoded public key (assertions.md 2.1).
    pub public_key: String,
    /// Size of the modulus in bits.
    pub bits: usize,
    /// What to keep so that [`Signer::load`] finds it again: sealed material, or a reference into hardware.
    pub sealed: String,
}

/// A hardware token that the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenState {
    /// Its label.
    pub token: String,
    /// Why it could not be used when it was last asked; none = it answered, or was not asked yet.
    pub trouble: Option<String>,
}

/// A signing back end. Signing is bounded: a full queue answers [`SignError::Saturated`] at once.
#[async_trait]
pub trait Signer: std::fmt::Debug + Send + Sync {
    /// RSASSA-PKCS1-v1_5 over a SHA-512 digest; modulus-size bytes.
    async fn sign(&self, key: &KeyId, sha512: [u8; 64]) -> Result<Vec<u8>, SignError>;

    /// Whether [`Self::sign`] would find what it needs for this key: asked before something is spent on a signature that
    /// will not come. What is not known to be out of reach is taken to be there.
    async fn ready(&self, _key: &KeyId) -> Result<(), SignError> {
        Ok(())
    }

    /// Makes an RSA-4096 key for account `owner` and loads it: in `token` where one is named. In a token it is labelled
    /// with owner and `name`.
    async fn generate(
        &self,
        owner: &AccountId,
        name: &str,
        token: Option<&TokenUri>,
    ) -> Result<NewKey, SignError>;

    /// Takes a private key of account `owner` in and loads it. At least `min_bits` of modulus.
    async fn import(
        &self,
        owner: &AccountId,
        material: KeyMaterial,
        min_bits: usize,
    ) -> Result<NewKey, SignError>;

    /// Loads a key from what [`NewKey::sealed`] held. Owner and id are bound into the seal: others do not open it. With
    /// [`SignError::Token`] the key was taken note of all the same, if its token is one of ours: it signs as soon as that is
    /// back.
    async fn load(&self, owner: &AccountId, key: &KeyId, sealed: &str) -> Result<(), SignError>;

    /// Forgets a loaded key.
    async fn unload(&self, key: &KeyId);

    /// Forgets a key for good: one that [`Self::generate`] made in a token is destroyed there. What others put into a
    /// token stays.
    async fn destroy(&self, _owner: &AccountId, key: &KeyId, _sealed: &str) -> Result<(), SignError> {
        self.unload(key).await;
        Ok(())
    }

    /// The tokens the settings name, as they were when last asked.
    fn tokens(&self) -> Vec<TokenState> {
        Vec::new()
    }

    /// Asks every token whether it answers and lets us in.
    async fn ask_tokens(&self) -> Vec<TokenState> {
        self.tokens()
    }
}
