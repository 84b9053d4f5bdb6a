//! API keys of models: how they are made, checked and remembered. Only a keyed hash is ever stored.

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::{App, Refusal, Secrets};
use crate::domain::audit::hex;

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
