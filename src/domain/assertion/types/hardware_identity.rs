//! `hardware-identity`: a manufacturer vouches for a key built into hardware.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::Parts;
use super::checks::Checked;
use super::{names, spki};

/// A well-formed hardware-identity.
#[derive(Clone, Debug)]
pub struct HardwareIdentity {
    /// Who issued it; the authority.
    pub issuer_id: String,
    /// Who made the hardware.
    pub manufacturer: String,
    /// What the hardware is called.
    pub hardware_name: String,
    /// What the hardware calls itself.
    pub hardware_id: String,
    /// The key, as DER SubjectPublicKeyInfo.
    pub key: Vec<u8>,
    /// What kind of key it is.
    pub key_kind: spki::KeyKind,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<HardwareIdentity> {
    const KEY: &str = "hardware-id-key";
    const DIGEST: &str = "hardware-id-key-sha3-384";
    let fields = &parts.fields;
    let issuer_id = fields.named("issuer-id", "an account id", names::is_account_id)?;
    if fields.filled("authority-id")? != issuer_id {
        return Err(fields.wrong("issuer-id", "must equal \"authority-id\""));
    }
    let manufacturer = fields.filled("manufacturer")?;
    let hardware_name = fields.named(
        "hardware-name",
        "letters and digits joined by single dashes",
        names::is_provenance,
    )?;
    let hardware_id = fields.filled("hardware-id")?;
    let text = fields.filled(KEY)?;
    let joined: String = text.split_ascii_whitespace().collect();
    let key = STANDARD
        .decode(joined)
        .map_err(|_| fields.wrong(KEY, "must be the base64 lines of a PEM public key"))?;
    let key_kind = spki::key_kind(&key)
        .ok_or_else(|| fields.wrong(KEY, "must be a DER public key (RSA, ECDSA or Ed25519)"))?;
    let digest = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA3_384, text.as_bytes()));
    if fields.filled(DIGEST)? != digest {
        return Err(fields.wrong(DIGEST, "is not the digest of \"hardware-id-key\""));
    }
    Ok(HardwareIdentity {
        issuer_id: issuer_id.to_owned(),
        manufacturer: manufacturer.to_owned(),
        hardware_name: hardware_name.to_owned(),
        hardware_id: hardware_id.to_owned(),
        key,
        key_kind,
    })
}
