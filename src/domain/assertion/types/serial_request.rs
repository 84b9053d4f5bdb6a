//! `serial-request`: a device asks for a serial. Signed by the device key it carries; never stored.

use super::super::headers::Value;
use super::super::public_key::PublicKey;
use super::Parts;
use super::checks::Checked;
use super::serial::model_name;

/// A well-formed serial-request. Its signature is not checked yet: verify it with `device_key`.
#[derive(Clone, Debug)]
pub struct SerialRequest {
    /// The brand the device says it is of; free text.
    pub brand_id: String,
    /// The model the device says it is.
    pub model: String,
    /// The request-id the device was given before.
    pub request_id: String,
    /// The serial the device proposes. May be any text, `/` included: check it before use.
    pub serial: Option<String>,
    /// The key of the device; its id is the signing key id.
    pub device_key: PublicKey,
    /// What the device was before, if it remodels.
    pub original: Option<Original>,
}

/// The `original-*` headers of a remodelling device, as it wrote them; each may be missing or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Original {
    /// `original-brand-id`.
    pub brand_id: String,
    /// `original-model`.
    pub model: String,
    /// `original-serial`.
    pub serial: String,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<SerialRequest> {
    let fields = &parts.fields;
    let brand_id = fields.filled("brand-id")?.to_owned();
    let model = model_name(fields)?;
    let request_id = fields.filled("request-id")?.to_owned();
    let serial = fields.optional_filled("serial")?.map(str::to_owned);
    let device_key = fields.public_key("device-key")?;
    if device_key.id() != parts.sign_key {
        return Err(fields.wrong("device-key", "is not the key that \"sign-key-sha3-384\" names"));
    }
    // Devices put no limits on these three; what is no text counts as missing.
    let before = |name: &str| {
        fields
            .get(name)
            .and_then(Value::as_text)
            .unwrap_or_default()
            .to_owned()
    };
    let original = Original {
        brand_id: before("original-brand-id"),
        model: before("original-model"),
        serial: before("original-serial"),
    };
    Ok(SerialRequest {
        brand_id,
        model,
        request_id,
        serial,
        device_key,
        original: (original != Original::default()).then_some(original),
    })
}
