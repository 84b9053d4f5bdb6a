//! The external key manager (assertions.md 5.3, decisions.md 16): signing for `snap sign` and its kin with keys that
//! were opened to it, never with serial or root keys. Every signature is logged before it is given out.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::sign::{public_key, raw, record};
use super::{App, Reason, Refusal};
use crate::domain::assertion::{Draft, decode};
use crate::domain::audit::{Actor, AuditEvent, hex};
use crate::domain::ident::{BrandId, KeyName};
use crate::domain::vault::{KeyPurpose, SigningKey};
use crate::ports::{Commit, Key};

/// What precedes a SHA-512 digest in what RSASSA-PKCS1-v1_5 signs (RFC 8017, 9.2).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00,
    0x04, 0x40,
];
/// A signature block for looking at content that has none yet; only its being there is checked by the decoder.
const NO_SIGNATURE: &[u8] = b"\n\nAA==\n";

/// The names by which tools may ask for keys: `NAME`, or `BRAND/NAME` where several brands have a key of that name.
pub async fn names(app: &App, brand: Option<&BrandId>) -> Result<Vec<String>, Refusal> {
    let keys = open_keys(app, brand).await?;
    Ok(keys.iter().map(|key| shown_name(key, &keys)).collect())
}

/// The DER SubjectPublicKeyInfo of a key.
pub async fn public_der(app: &App, brand: Option<&BrandId>, name: &str) -> Result<Vec<u8>, Refusal> {
    Ok(public_key(&find(app, brand, name).await?)?.to_spki_der())
}

/// `RSA-PKCS`: signs a DigestInfo of SHA-512. What it stands for cannot be seen, so it is only logged.
pub async fn sign_digest(
    app: &App,
    brand: Option<&BrandId>,
    name: &str,
    info: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let key = find(app, brand, name).await?;
    let sha512: [u8; 64] = info
        .strip_prefix(&DIGEST_INFO)
        .and_then(|rest| rest.try_into().ok())
        .ok_or_else(|| {
            Refusal::invalid(
                "invalid-digest",
                "cannot sign: RSA-PKCS takes a DigestInfo of SHA-512 (83 bytes) and nothing else",
            )
        })?;
    let signature = raw(app, &key.key_id, sha512).await?;
    let mut event = event(app, &key, "key.sign-digest");
    event.detail.insert("sha512".to_owned(), hex(&sha512).into());
    log(app, event).await?;
    Ok(signature)
}

/// `OPENPGP`: signs the content of an assertion, if it is one this key may sign. Gives a binary detached signature.
pub async fn sign_content(
    app: &App,
    brand: Option<&BrandId>,
    name: &str,
    content: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let key = find(app, brand, name).await?;
    let invalid = |why: &dyn std::fmt::Display| {
        Refusal::invalid(
            "invalid-statement",
            format!("cannot sign: this is not the content of an assertion: {why}"),
        )
    };
    let unsigned = decode(&[content, NO_SIGNATURE].concat()).map_err(|e| invalid(&e))?;
    if *unsigned.sign_key() != key.key_id {
        return Err(invalid(&format!(
            "its sign-key-sha3-384 is not that of key {}",
            key.name
        )));
    }
    let now = app.clock.now();
    key.may_sign(unsigned.kind(), unsigned.headers(), now)?;
    let draft = Draft::of_content(content.to_vec(), &public_key(&key)?);
    let signature = raw(app, &key.key_id, draft.digest(now)).await?;
    let assertion = draft.finish(now, &signature).map_err(|e| invalid(&e))?;
    let mut event = record(event(app, &key, ""), &assertion);
    event.detail.insert("key".to_owned(), key.name.as_str().into());
    let sha512 = digest::digest(&digest::SHA512, content);
    event
        .detail
        .insert("content-sha512".to_owned(), hex(sha512.as_ref()).into());
    log(app, event).await?;
    packet(assertion.signature())
}

/// The bare packet inside a signature block: base64 of a format octet and the packet.
fn packet(block: &[u8]) -> Result<Vec<u8>, Refusal> {
    let text: Vec<u8> = block
        .iter()
        .filter(|b| !b.is_ascii_whitespace())
        .copied()
        .collect();
    let bytes = BASE64.decode(text).ok().filter(|bytes| !bytes.is_empty());
    bytes.map(|mut bytes| bytes.split_off(1)).ok_or_else(|| {
        Refusal::new(
            Reason::Internal,
            "internal-error",
            "cannot sign: the signature cannot be read",
        )
    })
}

/// Keys opened to the key manager, of one brand or all, ordered by brand and name.
async fn open_keys(app: &App, brand: Option<&BrandId>) -> Result<Vec<SigningKey>, Refusal> {
    let prefix = Key(brand.iter().map(ToString::to_string).collect());
    let now = app.clock.now();
    let keys = app
        .storage
        .all::<SigningKey>(prefix)
        .await?
        .into_iter()
        .map(|found| found.record);
    Ok(keys
        .filter(|key| key.external && !barred(key) && key.usable(now).is_ok())
        .collect())
}

/// Serial and root keys are out of reach, whatever their record says.
fn barred(key: &SigningKey) -> bool {
    key.purposes
        .iter()
        .any(|purpose| matches!(purpose, KeyPurpose::Serial | KeyPurpose::Root))
}

fn shown_name(key: &SigningKey, all: &[SigningKey]) -> String {
    let alone = all.iter().filter(|other| other.name == key.name).count() == 1;
    if alone {
        key.name.to_string()
    } else {
        format!("{}/{}", key.account_id, key.name)
    }
}

async fn find(app: &App, brand: Option<&BrandId>, name: &str) -> Result<SigningKey, Refusal> {
    let keys = open_keys(app, brand).await?;
    let (owner, plain) = name
        .split_once('/')
        .map_or((None, name), |(owner, plain)| (Some(owner), plain));
    let fits = |key: &&SigningKey| {
        key.name.as_str() == plain && owner.is_none_or(|owner| key.account_id.as_str() == owner)
    };
    let mut found = keys.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(key.clone()),
        (Some(_), Some(_)) => Err(Refusal::conflict(
            "ambiguous-key",
            format!(
                "cannot choose key {plain:?}: several brands have one; say BRAND/{plain} or set HALLMARK_BRAND"
            ),
        )),
        (None, _) => {
            // Only a name that could be one is repeated.
            let shown = plain
                .parse::<KeyName>()
                .map_or_else(|_| "of this name".to_owned(), |name| name.to_string());
            Err(Refusal::not_found(format!(
                "cannot find key {shown}: no usable key of this name is open to the external key manager \
                 (see `hallmark key external`)"
            )))
        }
    }
}

fn event(app: &App, key: &SigningKey, action: &str) -> AuditEvent {
    let mut detail = serde_json::Map::new();
    detail.insert("through".to_owned(), "external key manager".into());
    detail.insert("sign-key-sha3-384".to_owned(), key.key_id.as_str().into());
    AuditEvent {
        time: app.clock.now(),
        actor: Actor::Local,
        brand: Some(key.account_id.clone()),
        action: action.to_owned(),
        subject: format!("{}/{}", key.account_id, key.name),
        detail,
    }
}

async fn log(app: &App, event: AuditEvent) -> Result<(), Refusal> {
    app.commit(Commit {
        audit: vec![event],
        ..Commit::default()
    })
    .await
}
