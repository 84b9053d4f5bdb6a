//! API keys of models: how they are made, checked and remembered: as a keyed hash to check them by, and sealed, for who
//! may replace them.

use aws_lc_rs::{aead, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::{App, Reason, Refusal, Secrets};
use crate::domain::audit::hex;
use crate::domain::ident::{BrandId, ModelName};

/// What every generated key starts with, so that people and scanners recognise a leaked one.
pub const PREFIX: &str = "hmv_";
/// A given key must be longer than this (serial-vault.md 10.4).
pub const MIN_LENGTH: usize = 10;
/// Longest key that is looked at.
pub const MAX_LENGTH: usize = 200;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The keyed hash of an API key: HMAC-SHA256 under the instance's own secret, so that a stolen table
/// of hashes is of no use for guessing keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApiKeyHash([u8; 32]);

impl ApiKeyHash {
    /// The hash of `key`; white space around it does not count.
    pub fn of(secrets: &Secrets, key: &str) -> Self {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secrets.nonce_key));
        context.update(b"hallmark api-key v1\0");
        context.update(key.trim().as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        Self(hash)
    }

    /// Stands for "no key": what keyless registration is bound to.
    pub fn none() -> Self {
        Self([0; 32])
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Lower-case hex, as stored.
    pub fn text(&self) -> String {
        hex(&self.0)
    }
}

/// Whose key is sealed: bound into the seal, so that one cannot stand in for another.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The brand.
    pub brand: &'a BrandId,
    /// The model.
    pub model: &'a ModelName,
    /// The public name of the key.
    pub id: &'a str,
}

impl Owner<'_> {
    fn associated(&self) -> aead::Aad<Vec<u8>> {
        // None of the parts can contain a slash.
        let text = format!(
            "hallmark api-key seal v1/{}/{}/{}",
            self.brand, self.model, self.id
        );
        aead::Aad::from(text.into_bytes())
    }
}

fn sealing_key(secrets: &Secrets) -> Result<aead::LessSafeKey, Refusal> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secrets.nonce_key));
    context.update(b"hallmark api-key seal v1\0");
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, context.sign().as_ref());
    Ok(aead::LessSafeKey::new(key.map_err(|_| broken())?))
}

fn broken() -> Refusal {
    tracing::error!("cannot seal or open an API key");
    Refusal::new(
        Reason::Internal,
        "api-key-damaged",
        "cannot read the API key: what is kept of it is damaged; replace it",
    )
}

/// Seals a key under the instance's own secrets, which are themselves sealed under the passphrase: the database alone does
/// not give it away.
pub fn seal(app: &App, owner: Owner<'_>, key: &str) -> Result<String, Refusal> {
    let mut nonce = [0; aead::NONCE_LEN];
    app.entropy.fill(&mut nonce);
    seal_under(&app.secrets, nonce, owner, key)
}

fn seal_under(
    secrets: &Secrets,
    nonce: [u8; aead::NONCE_LEN],
    owner: Owner<'_>,
    key: &str,
) -> Result<String, Refusal> {
    let mut text = key.as_bytes().to_vec();
    let sealed = sealing_key(secrets)?.seal_in_place_append_tag(
        aead::Nonce::assume_unique_for_key(nonce),
        owner.associated(),
        &mut text,
    );
    sealed.map_err(|_| broken())?;
    Ok(BASE64.encode([nonce.as_slice(), &text].concat()))
}

/// Opens what [`seal`] made for the same owner.
pub fn open(app: &App, owner: Owner<'_>, sealed: &str) -> Result<Zeroizing<String>, Refusal> {
    open_under(&app.secrets, owner, sealed)
}

fn open_under(secrets: &Secrets, owner: Owner<'_>, sealed: &str) -> Result<Zeroizing<String>, Refusal> {
    let bytes = BASE64.decode(sealed).map_err(|_| broken())?;
    let (nonce, text) = bytes
        .split_first_chunk::<{ aead::NONCE_LEN }>()
        .ok_or_else(broken)?;
    let mut text = Zeroizing::new(text.to_vec());
    let opened = sealing_key(secrets)?.open_in_place(
        aead::Nonce::assume_unique_for_key(*nonce),
        owner.associated(),
        &mut text,
    );
    let opened = opened.map_err(|_| broken())?;
    let opened = std::str::from_utf8(opened).map_err(|_| broken())?;
    Ok(Zeroizing::new(opened.to_owned()))
}

/// A new key: 256 random bits behind [`PREFIX`], digits and lower-case letters only.
pub fn generate(app: &App) -> Zeroizing<String> {
    let mut random = Zeroizing::new([0u8; 52]);
    app.entropy.fill(random.as_mut());
    let mut key = Zeroizing::new(String::with_capacity(PREFIX.len() + random.len()));
    key.push_str(PREFIX);
    for byte in random.iter() {
        // Five bits a character: 52 of them carry 260 bits.
        let letter = ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'0');
        key.push(char::from(letter));
    }
    key
}

/// Takes a key chosen by a person. Blanks are removed, as older vaults do.
pub fn given(text: &str) -> Result<Zeroizing<String>, Refusal> {
    let key: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).collect());
    if key.len() <= MIN_LENGTH || key.len() > MAX_LENGTH {
        return Err(Refusal::invalid(
            "invalid-api-key",
            format!(
                "cannot use this API key: it must have {} to {MAX_LENGTH} characters",
                MIN_LENGTH + 1
            ),
        ));
    }
    if !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Refusal::invalid(
            "invalid-api-key",
            "cannot use this API key: it travels in an HTTP header, so only visible ASCII characters are possible",
        ));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_keys_must_be_long_and_fit_a_header() {
        assert_eq!(
            given(" abc def ghi jk ").map(|k| k.to_string()).ok(),
            Some("abcdefghijk".to_owned())
        );
        for bad in ["", "0123456789", "abcdefghijké", &"x".repeat(201)] {
            assert!(given(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sealed_key_opens_for_its_owner_only() {
        let secrets = |byte| Secrets {
            nonce_key: [byte; 32],
            session_key: [0; 32],
            audit_seed: [0; 32],
        };
        let (brand, model) = ("acme".parse().unwrap(), "gate-1".parse().unwrap());
        let (other_brand, other_model) = ("globex".parse().unwrap(), "gate-2".parse().unwrap());
        let owner = |brand, model, id| Owner { brand, model, id };
        let own = owner(&brand, &model, "ak-1");
        let sealed = seal_under(&secrets(1), [7; aead::NONCE_LEN], own, "a-secret-key").unwrap();
        assert!(!sealed.contains("secret"));
        assert_eq!(*open_under(&secrets(1), own, &sealed).unwrap(), "a-secret-key");
        for (byte, owner) in [
            (2, own),
            (1, owner(&other_brand, &model, "ak-1")),
            (1, owner(&brand, &other_model, "ak-1")),
            (1, owner(&brand, &model, "ak-2")),
        ] {
            assert!(open_under(&secrets(byte), owner, &sealed).is_err());
        }
        let mut damaged = sealed.into_bytes();
        damaged[20] ^= 1;
        let damaged = String::from_utf8_lossy(&damaged).into_owned();
        for text in [damaged.as_str(), "", "AAAA", "not base64!"] {
            assert!(open_under(&secrets(1), own, text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_hash_depends_on_the_instance_and_the_key() {
        let secrets = |byte| Secrets {
            nonce_key: [byte; 32],
            session_key: [0; 32],
            audit_seed: [0; 32],
        };
        let one = ApiKeyHash::of(&secrets(1), "key-number-one");
        assert_eq!(one, ApiKeyHash::of(&secrets(1), " key-number-one\n"));
        assert_ne!(one, ApiKeyHash::of(&secrets(2), "key-number-one"));
        assert_ne!(one, ApiKeyHash::of(&secrets(1), "key-number-two"));
        assert_eq!(one.text().len(), 64);
    }
}
