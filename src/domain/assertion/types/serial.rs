//! `serial`: binds a device identity to the device's public key.

use super::super::public_key::PublicKey;
use super::Parts;
use super::checks::{Checked, Fields};
use super::names;
use crate::domain::ident::{DeviceId, IdentError};
use crate::domain::time::Timestamp;

/// A well-formed serial assertion.
#[derive(Clone, Debug)]
pub struct Serial {
    /// The brand.
    pub brand_id: String,
    /// The model.
    pub model: String,
    /// The serial; any text without `/`.
    pub serial: String,
    /// The key of the device.
    pub device_key: PublicKey,
    /// When it was issued.
    pub timestamp: Timestamp,
}

impl Serial {
    /// The device, under the stricter rules hallmark has for names.
    pub fn device(&self) -> Result<DeviceId, IdentError> {
        Ok(DeviceId {
            brand: self.brand_id.parse()?,
            model: self.model.parse()?,
            serial: self.serial.parse()?,
        })
    }
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<Serial> {
    let fields = &parts.fields;
    let brand_id = fields
        .named("brand-id", "an account id", names::is_account_id)?
        .to_owned();
    let model = model_name(fields)?;
    let device_key = fields.public_key("device-key")?;
    if fields.filled("device-key-sha3-384")? != device_key.id().as_str() {
        return Err(fields.wrong(
            "device-key-sha3-384",
            "is not the id of the key in \"device-key\"",
        ));
    }
    Ok(Serial {
        brand_id,
        model,
        serial: fields.filled("serial")?.to_owned(),
        device_key,
        timestamp: fields.time("timestamp")?,
    })
}

/// The `model` header, which many types share.
pub(super) fn model_name(fields: &Fields<'_>) -> Checked<String> {
    fields
        .named(
            "model",
            "a model name (lower-case letters and digits, joined by single dashes)",
            names::is_model,
        )
        .map(str::to_owned)
}
