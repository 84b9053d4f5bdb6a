//! What a grant carries that only its box may read: sealed to a key that follows from the secrets of the box.
//!
//! X25519 with a key of its own for each sealing, HKDF-SHA256 over the agreed secret bound to both public keys and to
//! what it is for, AES-256-GCM.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::{aead, hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::app::{App, Reason, Refusal, Secrets};

const KEY_LEN: usize = 32;
const LABEL: &[u8] = b"hallmark factory seal v1";

/// Something sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sealed {
    /// The public key it was sealed with, base64.
    pub public_key: String,
    /// The rest, base64.
    pub text: String,
}

fn broken(what: &str) -> Refusal {
    Refusal::new(Reason::Internal, "seal-failed", format!("cannot {what}"))
}

/// The box's own key; nothing of it is stored.
fn own(secrets: &Secrets) -> Result<PrivateKey, Refusal> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secrets.nonce_key));
    context.update(LABEL);
    PrivateKey::from_private_key(&X25519, context.sign().as_ref())
        .map_err(|_| broken("make the sealing key of this box"))
}

fn public(key: &PrivateKey) -> Result<Vec<u8>, Refusal> {
    let public = key.compute_public_key();
    let public = public.map_err(|_| broken("make a sealing key"))?;
    Ok(public.as_ref().to_vec())
}

/// The public half of the box's key, base64.
pub(super) fn public_key(app: &App) -> Result<String, Refusal> {
    Ok(BASE64.encode(public(&own(&app.secrets)?)?))
}

/// Whether this text is such a key.
pub(super) fn is_public_key(text: &str) -> bool {
    BASE64.decode(text).is_ok_and(|bytes| bytes.len() == KEY_LEN)
}

/// The key of one sealing. Each is used once, so its nonce may always be the same.
fn shared(
    mine: &PrivateKey,
    theirs: &[u8],
    sender: &[u8],
    receiver: &[u8],
    purpose: &str,
) -> Option<aead::LessSafeKey> {
    agree(mine, UnparsedPublicKey::new(&X25519, theirs), (), |secret| {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, LABEL);
        let info = [sender, receiver, purpose.as_bytes()];
        let extracted = salt.extract(secret);
        let expanded = extracted.expand(&info, &aead::AES_256_GCM).map_err(drop)?;
        Ok(aead::LessSafeKey::new(expanded.into()))
    })
    .ok()
}

fn nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

/// Seals `text` for the box with the key `to`; it opens only for the same `purpose`.
pub(super) fn seal(app: &App, to: &str, purpose: &str, text: &[u8]) -> Result<Sealed, Refusal> {
    let mut seed = Zeroizing::new([0; KEY_LEN]);
    app.entropy.fill(seed.as_mut());
    seal_with(&seed, to, purpose, text)
}

fn seal_with(seed: &[u8; KEY_LEN], to: &str, purpose: &str, text: &[u8]) -> Result<Sealed, Refusal> {
    let failed = || broken("seal the API keys for the box");
    let to = BASE64.decode(to).map_err(|_| failed())?;
    let once = PrivateKey::from_private_key(&X25519, seed).map_err(|_| failed())?;
    let public_key = public(&once)?;
    let key = shared(&once, &to, &public_key, &to, purpose).ok_or_else(failed)?;
    let mut text = text.to_vec();
    key.seal_in_place_append_tag(nonce(), aead::Aad::empty(), &mut text)
        .map_err(|_| failed())?;
    Ok(Sealed {
        public_key: BASE64.encode(public_key),
        text: BASE64.encode(text),
    })
}

/// Opens what was sealed for this box.
pub(super) fn open(app: &App, purpose: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    open_under(&app.secrets, purpose, sealed)
}

fn open_under(secrets: &Secrets, purpose: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let failed = || {
        Refusal::invalid(
            "not-for-this-box",
            "cannot open what the grant carries: it was sealed for another box, or for another grant",
        )
    };
    let mine = own(secrets)?;
    let (sender, text) = (BASE64.decode(&sealed.public_key), BASE64.decode(&sealed.text));
    let (Ok(sender), Ok(text)) = (sender, text) else {
        return Err(failed());
    };
    let key = shared(&mine, &sender, &sender, &public(&mine)?, purpose).ok_or_else(failed)?;
    let mut text = Zeroizing::new(text);
    let opened = key.open_in_place(nonce(), aead::Aad::empty(), &mut text);
    let length = opened.map_err(|_| failed())?.len();
    text.truncate(length);
    Ok(text)
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
    fn only_the_box_opens_what_was_sealed_for_it_and_only_for_its_purpose() {
        let to = BASE64.encode(public(&own(&secrets(1)).unwrap()).unwrap());
        assert!(is_public_key(&to));
        let sealed = seal_with(&[7; KEY_LEN], &to, "acme/ulm/1", b"a-secret-key").unwrap();
        let opened = open_under(&secrets(1), "acme/ulm/1", &sealed).unwrap();
        assert_eq!(&*opened, b"a-secret-key");
        assert!(
            !BASE64
                .decode(&sealed.text)
                .unwrap()
                .windows(6)
                .any(|part| part == b"secret")
        );
        assert!(open_under(&secrets(2), "acme/ulm/1", &sealed).is_err());
        assert!(open_under(&secrets(1), "acme/ulm/2", &sealed).is_err());
        let other = seal_with(&[8; KEY_LEN], &to, "acme/ulm/1", b"a-secret-key").unwrap();
        for mixed in [
            Sealed {
                public_key: other.public_key,
                ..sealed.clone()
            },
            Sealed {
                text: other.text,
                ..sealed.clone()
            },
            Sealed {
                public_key: String::new(),
                ..sealed.clone()
            },
            Sealed {
                text: "!".to_owned(),
                ..sealed
            },
        ] {
            assert!(open_under(&secrets(1), "acme/ulm/1", &mixed).is_err());
        }
    }
}
