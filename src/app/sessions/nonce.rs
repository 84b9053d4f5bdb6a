//! Session nonces: stateless like request-ids, so giving one out writes nothing. Whoever spends one is remembered by
//! the storage until it expires.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::app::{App, Secrets};
use crate::domain::time::Timestamp;

/// How long a nonce is good, in seconds. Devices use it at once.
const LIFE: i64 = 300;
const RANDOM: usize = 16;
const EXPIRY: usize = 8;

/// A nonce of ours: its random part and when it stops being good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonce {
    pub(super) random: [u8; RANDOM],
    pub(super) expires: Timestamp,
}

/// A fresh nonce.
pub(super) fn issue(app: &App) -> String {
    let mut random = [0; RANDOM];
    app.entropy.fill(&mut random);
    Nonce {
        random,
        expires: app.clock.now().plus_seconds(LIFE),
    }
    .seal(&app.secrets)
}

impl Nonce {
    fn seal(&self, secrets: &Secrets) -> String {
        let mut text = self.random.to_vec();
        text.extend_from_slice(&self.expires.unix().to_be_bytes());
        let tag = mac(secrets, &text);
        text.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(text)
    }

    /// The nonce in `text`, if this instance made it. Its age is the caller's to judge.
    pub(super) fn open(secrets: &Secrets, text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, tag) = bytes.split_at_checked(RANDOM + EXPIRY)?;
        constant_time::verify_slices_are_equal(mac(secrets, signed).as_ref(), tag).ok()?;
        let (random, expires) = signed.split_first_chunk::<RANDOM>()?;
        let expires = Timestamp::from_unix(i64::from_be_bytes(expires.try_into().ok()?));
        Some(Self {
            random: *random,
            expires,
        })
    }
}

fn mac(secrets: &Secrets, signed: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secrets.nonce_key));
    context.update(b"hallmark session-nonce v1\0");
    context.update(signed);
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(byte: u8) -> Secrets {
        Secrets {
            nonce_key: [byte; 32],
            session_key: [0; 32],
            audit_seed: [0; 32],
        }
    }

    #[test]
    fn a_nonce_opens_only_where_it_was_made_and_unchanged() {
        let nonce = Nonce {
            random: [7; 16],
            expires: Timestamp::from_unix(1000),
        };
        let text = nonce.seal(&secrets(1));
        assert_eq!(Nonce::open(&secrets(1), &text), Some(nonce));
        assert_eq!(Nonce::open(&secrets(2), &text), None);
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(Nonce::open(&secrets(1), &changed), None, "{place}");
        }
        for bad in ["", "x", &text[1..], "NONCE-0"] {
            assert_eq!(Nonce::open(&secrets(1), bad), None);
        }
    }
}
