//! The checks of a remodelling: a device that has a serial of one model asks for one of another
//! (serial-vault.md 6.1, with hallmark's rules).

use std::sync::Arc;

use super::vault_cache::{ServedModel, VaultCache};
use super::{App, IssueError, remodel_rules};
use crate::domain::assertion::types::{Original, Serial};
use crate::domain::assertion::{Assertion, Typed};
use crate::domain::ident::{BrandId, DeviceId, KeyId, ModelName};
use crate::domain::vault::{RemodelRule, SerialState};

/// A remodelling that holds together: its old serial is ours and a rule allows it.
#[derive(Debug)]
pub(super) struct Remodel {
    /// What the device was.
    pub original: DeviceId,
    /// The old model as it is served.
    pub original_model: Arc<ServedModel>,
    /// The rule that allows it.
    pub rule: RemodelRule,
}

/// What a remodelling device sent.
#[derive(Debug)]
pub(super) struct RemodelRequest<'r> {
    /// The `original-*` headers; all three are there.
    pub original: &'r Original,
    /// The brand of the request.
    pub brand: &'r BrandId,
    /// The model it wants to become.
    pub model: &'r ModelName,
    /// Its device key.
    pub device_key: &'r KeyId,
    /// The new model's assertion, where it was sent. Verified before.
    pub model_assertion: Option<&'r Assertion>,
    /// The old serial, where it was sent.
    pub old_serial: Option<&'r Assertion>,
}

/// Checks a remodelling: everything but the API key and the request-id.
pub(super) async fn check(
    app: &App,
    cache: &VaultCache,
    request: RemodelRequest<'_>,
) -> Result<Remodel, IssueError> {
    let refuse = |why: &str| IssueError::InvalidRemodel(why.to_owned());
    let new_model = request
        .model_assertion
        .ok_or_else(|| refuse("the new model assertion is missing"))?;
    let old_serial = request
        .old_serial
        .ok_or_else(|| refuse("the old serial assertion is missing"))?;
    let original = device_of(request.original)?;
    if original.brand != *request.brand {
        return Err(refuse("the old and the new model are of different brands"));
    }
    let original_model = cache
        .by_name(app, &original.brand, &original.model)
        .await?
        .ok_or_else(|| refuse("the old model is not one of this vault"))?;
    let rule = remodel_rules::matching(
        app,
        request.brand,
        &original.model,
        request.model,
        &original.serial,
    )
    .await?
    .ok_or(IssueError::NoRemodelRule)?;
    if let Some(store) = &rule.store
        && new_model.text("store") != Some(store.as_str())
    {
        return Err(refuse("the rule is for a new model of another store"));
    }
    let Typed::Serial(serial) = old_serial.typed() else {
        return Err(refuse("the third assertion is no serial"));
    };
    if !serial.device().is_ok_and(|device| device == original) {
        return Err(refuse(
            "the old serial and the original-* headers name different devices",
        ));
    }
    if serial.device_key.id() != request.device_key {
        return Err(refuse("the old serial is bound to another device key"));
    }
    verify_old(app, cache, old_serial, serial, &original).await?;
    Ok(Remodel {
        original,
        original_model,
        rule,
    })
}

fn device_of(original: &Original) -> Result<DeviceId, IssueError> {
    let wrong = |e| IssueError::InvalidRemodel(format!("the original-* headers name no device: {e}"));
    Ok(DeviceId {
        brand: original.brand_id.parse().map_err(wrong)?,
        model: original.model.parse().map_err(wrong)?,
        serial: original.serial.parse().map_err(wrong)?,
    })
}

/// The old serial must be signed by a key the brand has or ever had, and be one this vault issued: a leaked key that
/// was disabled since cannot make old serials up (serial-vault.md 17, S1).
async fn verify_old(
    app: &App,
    cache: &VaultCache,
    assertion: &Assertion,
    serial: &Serial,
    original: &DeviceId,
) -> Result<(), IssueError> {
    let refuse = |why: String| IssueError::InvalidRemodel(why);
    if assertion.authority_id() != Some(original.brand.as_str()) {
        return Err(refuse("the old serial is not issued by the brand".to_owned()));
    }
    let key = cache
        .brand_key(app, &original.brand, assertion.sign_key())
        .await?
        .ok_or_else(|| {
            refuse(format!(
                "the brand never had key {}, which signed the old serial",
                assertion.sign_key()
            ))
        })?;
    key.verify_assertion(assertion)
        .map_err(|e| refuse(format!("the old serial: {e}")))?;
    let rows = app.storage.history(original).await?;
    let known = rows.iter().any(|row| {
        row.state == SerialState::Issued
            && row.revision == assertion.revision()
            && row.device_key == *serial.device_key.id()
            // Rows that came from another vault's log have no assertion: revision and device key must do.
            && (row.assertion.is_empty() || row.assertion == *assertion.encoded())
    });
    if known {
        Ok(())
    } else {
        Err(refuse("the old serial is not in this vault's log".to_owned()))
    }
}
