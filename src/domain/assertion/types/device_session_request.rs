//! `device-session-request`: a device asks for a session with the store. Signed by the device key.

use super::Parts;
use super::checks::Checked;
use super::serial::model_name;
use crate::domain::ident::{DeviceId, IdentError};
use crate::domain::time::Timestamp;

/// A well-formed device-session-request. Its signature is not checked yet: verify it with the device key of the
/// serial assertion it names.
#[derive(Clone, Debug)]
pub struct DeviceSessionRequest {
    /// The brand.
    pub brand_id: String,
    /// The model.
    pub model: String,
    /// The serial.
    pub serial: String,
    /// The nonce the device was given before.
    pub nonce: String,
    /// When the device asked, by its own clock.
    pub timestamp: Timestamp,
}

impl DeviceSessionRequest {
    /// The device, under the stricter rules hallmark has for names.
    pub fn device(&self) -> Result<DeviceId, IdentError> {
        Ok(DeviceId {
            brand: self.brand_id.parse()?,
            model: self.model.parse()?,
            serial: self.serial.parse()?,
        })
    }
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<DeviceSessionRequest> {
    let fields = &parts.fields;
    Ok(DeviceSessionRequest {
        brand_id: fields.filled("brand-id")?.to_owned(),
        model: model_name(fields)?,
        serial: fields.filled("serial")?.to_owned(),
        nonce: fields.filled("nonce")?.to_owned(),
        timestamp: fields.time("timestamp")?,
    })
}
