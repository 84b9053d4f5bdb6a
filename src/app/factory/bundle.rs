//! What goes between centre and box, as signed manifests without files.

use aws_lc_rs::digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::{App, Reason, Refusal, bundles};
use crate::domain::audit::hex;
use crate::domain::bundle::{BundleSigner, SignedManifest};
use crate::domain::ident::BrandId;

/// The kind of a box's request.
pub const REQUEST: &str = "factory-request";
/// The kind of a grant.
pub const GRANT: &str = "factory";
/// The kind of a log.
pub const LOG: &str = "factory-log";

fn invalid(why: impl std::fmt::Display) -> Refusal {
    Refusal::invalid("invalid-bundle", format!("cannot take the bundle: {why}"))
}

/// Who signs bundles of this instance.
pub(super) fn own_signer(app: &App) -> Result<BundleSigner, Refusal> {
    let key = ed25519_dalek::SigningKey::from_bytes(&app.secrets.audit_seed).verifying_key();
    hex(&key.to_bytes()).parse().map_err(|why: String| {
        Refusal::new(
            Reason::Internal,
            "internal-error",
            format!("cannot tell who signs bundles here: {why}"),
        )
    })
}

/// Signs `body` as a bundle of this instance.
pub(super) async fn sign(
    app: &App,
    kind: &str,
    brand: &BrandId,
    body: &impl Serialize,
) -> Result<SignedManifest, Refusal> {
    let body = serde_json::to_value(body).map_err(|error| {
        Refusal::new(
            Reason::Internal,
            "internal-error",
            format!("cannot make the bundle: {error}"),
        )
    })?;
    bundles::sign(app, kind, Some(brand.clone()), body, Vec::new()).await
}

/// What a bundle of this kind says, and who signed it.
///
/// # Errors
/// `invalid-bundle`.
pub(super) fn open<B: DeserializeOwned>(
    signed: &SignedManifest,
    kind: &str,
) -> Result<(B, BundleSigner), Refusal> {
    let manifest = signed.open().map_err(invalid)?;
    if manifest.kind != kind || !manifest.files.is_empty() {
        return Err(invalid(format!(
            "it is a bundle of kind {}, not {kind}",
            manifest.kind
        )));
    }
    let body = serde_json::from_value(manifest.body).map_err(invalid)?;
    Ok((body, signed.signer()))
}

/// Whether `signer` is the one who signed before, where anybody has.
///
/// # Errors
/// `wrong-signer`.
pub(super) fn by(known: Option<&BundleSigner>, signer: BundleSigner, what: &str) -> Result<(), Refusal> {
    match known {
        Some(known) if *known != signer => Err(Refusal::conflict(
            "wrong-signer",
            format!("cannot take the bundle: {signer} signed it, and {what} are signed by {known}"),
        )),
        Some(_) | None => Ok(()),
    }
}

/// The digest of what is signed.
pub(super) fn digest(signed: &SignedManifest) -> String {
    sha256(&signed.manifest)
}

/// In hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}
