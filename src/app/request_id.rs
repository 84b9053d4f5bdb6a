//! Request-ids: proof that a serial-request was made just now for this API key (serial-vault.md 4.1, decisions.md 5).
//!
//! They are stateless: 16 random bytes and the expiry, authenticated under the instance's secret together with the
//! hash of the API key they were given to. Issuing one writes nothing. The ledger remembers spent ones.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::api_keys::ApiKeyHash;
use super::{App, Secrets};
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::PresentedRequestId;

const NONCE: usize = 16;
const EXPIRY: usize = 8;
const MAC: usize = 32;
/// Characters of a request-id.
pub const LENGTH: usize = (NONCE + EXPIRY + MAC) * 4 / 3 + 1;

/// A fresh request-id for the holder of `credential`.
pub fn issue(app: &App, credential: &ApiKeyHash) -> String {
    let mut nonce = [0; NONCE];
    app.entropy.fill(&mut nonce);
    let expires = app.clock.now().plus_seconds(app.settings.request_id_life);
    seal(&app.secrets, credential, &nonce, expires)
}

fn seal(secrets: &Secrets, credential: &ApiKeyHash, nonce: &[u8; NONCE], expires: Timestamp) -> String {
    let mut token = Vec::with_capacity(NONCE + EXPIRY + MAC);
    token.extend_from_slice(nonce);
    token.extend_from_slice(&expires.unix().to_be_bytes());
    let tag = mac(secrets, credential, &token).sign();
    token.extend_from_slice(tag.as_ref());
    URL_SAFE_NO_PAD.encode(token)
}

/// Opens a request-id: none if this instance did not give it to this `credential`.
/// Whether it is fresh is the ledger's to say, because a request that waits for a person outlives its expiry.
pub fn open(secrets: &Secrets, credential: &ApiKeyHash, text: &str) -> Option<PresentedRequestId> {
    if text.len() != LENGTH {
        return None;
    }
    let token = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (signed, tag) = token.split_at_checked(NONCE + EXPIRY)?;
    let (nonce, expires) = signed.split_at_checked(NONCE)?;
    let expected = mac(secrets, credential, signed).sign();
    subtle::ConstantTimeEq::ct_eq(expected.as_ref(), tag)
        .unwrap_u8()
        .eq(&1)
        .then_some(())?;
    Some(PresentedRequestId {
        nonce: nonce.try_into().ok()?,
        expires: Timestamp::from_unix(i64::from_be_bytes(expires.try_into().ok()?)),
    })
}

fn mac(secrets: &Secrets, credential: &ApiKeyHash, signed: &[u8]) -> hmac::Context {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secrets.nonce_key));
    context.update(b"hallmark request-id v1\0");
    context.update(credential.bytes());
    context.update(signed);
    context
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
    fn a_request_id_opens_only_for_the_key_and_instance_it_was_given_to() {
        let (ours, theirs) = (secrets(1), secrets(2));
        let key = ApiKeyHash::of(&ours, "key-number-one");
        let other = ApiKeyHash::of(&ours, "key-number-two");
        let id = seal(&ours, &key, &[7; 16], Timestamp::from_unix(1000));
        assert_eq!(id.len(), LENGTH);
        let opened = open(&ours, &key, &id);
        assert_eq!(
            opened,
            Some(PresentedRequestId {
                nonce: [7; 16],
                expires: Timestamp::from_unix(1000)
            })
        );
        assert_eq!(open(&ours, &other, &id), None);
        assert_eq!(open(&ours, &ApiKeyHash::none(), &id), None);
        assert_eq!(open(&theirs, &key, &id), None);
    }

    #[test]
    fn no_single_character_can_be_changed() {
        let ours = secrets(1);
        let key = ApiKeyHash::of(&ours, "key-number-one");
        let id = seal(&ours, &key, &[7; 16], Timestamp::from_unix(1000));
        for place in 0..id.len() {
            let mut changed: Vec<char> = id.chars().collect();
            changed[place] = if changed[place] == 'A' { 'B' } else { 'A' };
            assert_eq!(
                open(&ours, &key, &changed.iter().collect::<String>()),
                None,
                "{place}"
            );
        }
        for bad in [
            "",
            "REQ-0001",
            &format!("{id}="),
            &id[1..],
            &format!("{id}A"),
            "é",
        ] {
            assert_eq!(open(&ours, &key, bad), None, "{bad}");
        }
    }
}
