//! `request-message` and `response-message`: what operators ask of devices from afar, and what devices answer.

use std::collections::BTreeSet;

use super::Parts;
use super::account_key::Validity;
use super::checks::{Checked, Fields, shown};
use super::names;
use crate::domain::time::Timestamp;

/// A device as messages and clusters name it: `SERIAL.MODEL.BRAND`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName {
    /// The serial.
    pub serial: String,
    /// The model; upper case is allowed here.
    pub model: String,
    /// The brand.
    pub brand_id: String,
}

impl DeviceName {
    /// Parses `text`; the error is what is wrong, as the end of a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.rsplitn(3, '.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(brand), Some(model), Some(serial))
                if names::is_strict_serial(serial)
                    && names::is_provenance(model)
                    && names::is_account_id(brand) =>
            {
                Ok(Self {
                    serial: serial.to_owned(),
                    model: model.to_owned(),
                    brand_id: brand.to_owned(),
                })
            }
            (_, _, _) => Err(format!("must be SERIAL.MODEL.BRAND, not {:?}", shown(text))),
        }
    }
}

/// A well-formed request-message.
#[derive(Clone, Debug)]
pub struct RequestMessage {
    /// On whose behalf it is sent.
    pub account_id: String,
    /// Its id, with the number in a series of messages.
    pub message_id: String,
    /// What kind of request the body holds.
    pub message_kind: String,
    /// The devices it is for; never empty.
    pub devices: Vec<DeviceName>,
    /// What devices must be able to do.
    pub assumes: Vec<String>,
    /// When it may be acted upon.
    pub validity: Validity,
    /// When it was issued.
    pub timestamp: Timestamp,
}

pub(super) fn assemble_request(parts: &Parts<'_>) -> Checked<RequestMessage> {
    let fields = &parts.fields;
    let account_id = fields.named("account-id", "an account id", names::is_account_id)?;
    let message_id = message_id(fields)?;
    let message_kind = fields.named("message-kind", "lower-case words joined by dashes", is_kind)?;
    let devices = devices(fields)?;
    let assumes = assumes(fields)?;
    let (since, until) = (fields.time("valid-since")?, fields.time("valid-until")?);
    fields.in_order("valid-until", since, Some(until))?;
    let timestamp = fields.time("timestamp")?;
    if parts.body.is_empty() {
        return Err(fields.wrong("body", "must not be empty"));
    }
    Ok(RequestMessage {
        account_id: account_id.to_owned(),
        message_id,
        message_kind: message_kind.to_owned(),
        devices,
        assumes,
        validity: Validity {
            since,
            until: Some(until),
        },
        timestamp,
    })
}

/// A well-formed response-message. Its signature is not checked yet: verify it with the device key of the serial.
#[derive(Clone, Debug)]
pub struct ResponseMessage {
    /// Whose request it answers.
    pub account_id: String,
    /// The id of the request.
    pub message_id: String,
    /// The device that answers.
    pub device: DeviceName,
    /// `success`, `error`, `unauthorized` or `rejected`.
    pub status: String,
    /// When the device answered, by its own clock.
    pub timestamp: Timestamp,
}

pub(super) fn assemble_response(parts: &Parts<'_>) -> Checked<ResponseMessage> {
    let fields = &parts.fields;
    let account_id = fields
        .named("account-id", "an account id", names::is_account_id)?
        .to_owned();
    let message_id = message_id(fields)?;
    let device =
        DeviceName::parse(fields.filled("device")?).map_err(|problem| fields.wrong("device", problem))?;
    fields.filled("status")?;
    let status = fields
        .choice("status", &["success", "error", "unauthorized", "rejected"])?
        .unwrap_or_default();
    Ok(ResponseMessage {
        account_id,
        message_id,
        device,
        status: status.to_owned(),
        timestamp: fields.time("timestamp")?,
    })
}

/// 4 to 16 letters and digits, perhaps followed by `-N` with N of at least 1.
fn message_id(fields: &Fields<'_>) -> Checked<String> {
    let text = fields.filled("message-id")?;
    let (id, number) = match text.split_once('-') {
        Some((id, number)) => (id, Some(number)),
        None => (text, None),
    };
    let good_id = (4..=16).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    let good_number = number.is_none_or(|number| {
        number.bytes().all(|b| b.is_ascii_digit()) && number.parse::<i64>().is_ok_and(|number| number >= 1)
    });
    if good_id && good_number {
        Ok(text.to_owned())
    } else {
        Err(fields.not_a("message-id", "4 to 16 letters and digits, perhaps with -N", text))
    }
}

fn devices(fields: &Fields<'_>) -> Checked<Vec<DeviceName>> {
    let mut seen = BTreeSet::new();
    let mut devices = Vec::new();
    for text in fields.texts("devices")? {
        devices.push(DeviceName::parse(&text).map_err(|problem| fields.wrong("devices", problem))?);
        if let Some(again) = seen.replace(text) {
            return Err(fields.wrong("devices", format!("lists {:?} a second time", shown(&again))));
        }
    }
    if devices.is_empty() {
        return Err(fields.wrong("devices", "must not be empty"));
    }
    Ok(devices)
}

/// `assumes`: features, `snapdX.Y`, `isa-ARCH-VALUE`.
fn assumes(fields: &Fields<'_>) -> Checked<Vec<String>> {
    let valid = |text: &str| {
        text.strip_prefix("snapd").is_some_and(starts_with_version)
            || match text.strip_prefix("isa-") {
                Some(rest) => rest.contains('-'),
                None => text.split('-').all(|part| {
                    !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                }),
            }
    };
    fields.names("assumes", "features such as snapd2.70", valid)
}

fn starts_with_version(text: &str) -> bool {
    text.starts_with(|c: char| matches!(c, '1'..='9'))
}

fn is_kind(text: &str) -> bool {
    text.split('-')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase()))
}
