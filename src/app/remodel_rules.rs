//! Remodel rules: which devices of one model may become another (serial-vault.md 6, admin-api.md 1.6).

use serde_json::json;

use super::{App, BrandCtx, Refusal, models, vault_event};
use crate::domain::ident::{BrandId, ModelName, SerialNumber, StoreId};
use crate::domain::vault::RemodelRule;
use crate::ports::{Change, Commit, CommitOutcome, Key, Record as _, Versioned};

/// Longest note, in characters.
pub const MAX_NOTE: usize = 140;

/// A rule to be made.
#[derive(Clone, Debug)]
pub struct NewRule {
    /// The model the device has.
    pub from_model: ModelName,
    /// The model it may become.
    pub to_model: ModelName,
    /// Only this serial; none = every serial.
    pub from_serial: Option<SerialNumber>,
    /// The store the new model must name, if any.
    pub store: Option<StoreId>,
    /// A note for people.
    pub note: String,
}

/// All rules of the brand, ordered by models and serial.
pub async fn list(app: &App, ctx: &BrandCtx) -> Result<Vec<RemodelRule>, Refusal> {
    let rules = app.storage.all::<RemodelRule>([ctx.brand().as_str()]).await?;
    Ok(rules.into_iter().map(|rule| rule.record).collect())
}

/// Adds a rule. The old model must be one of this vault; the new one need not be: then the old model's policy
/// signs the new serials.
pub async fn add(app: &App, ctx: &BrandCtx, new: NewRule) -> Result<RemodelRule, Refusal> {
    models::find(app, ctx, &new.from_model).await?;
    if new.from_model == new.to_model {
        return Err(Refusal::invalid(
            "same-model",
            "cannot add the remodel rule: both models are the same",
        ));
    }
    if new.note.chars().count() > MAX_NOTE {
        return Err(Refusal::invalid(
            "note-too-long",
            format!("cannot add the remodel rule: its note has more than {MAX_NOTE} characters"),
        ));
    }
    if new
        .from_serial
        .as_ref()
        .is_some_and(|serial| serial.as_str() == "*")
    {
        return Err(Refusal::invalid(
            "invalid-serial",
            "cannot add the remodel rule: leave the serial out to mean every serial",
        ));
    }
    let rule = RemodelRule {
        brand_id: ctx.brand().clone(),
        from_model: new.from_model,
        to_model: new.to_model,
        from_serial: new.from_serial,
        store: new.store,
        note: new.note,
        created: app.clock.now(),
    };
    let detail = json!({ "store": rule.store.as_ref().map(StoreId::as_str), "note": rule.note });
    let event = vault_event(app, ctx, "remodel.add", &subject(&rule), &detail);
    let commit = Commit {
        records: vec![Change::create(&rule)],
        audit: vec![event],
        ..Commit::default()
    };
    match app.storage.commit(commit).await? {
        CommitOutcome::Done => Ok(rule),
        CommitOutcome::Conflict { .. } | CommitOutcome::Taken { .. } | CommitOutcome::OldRevision { .. } => {
            Err(Refusal::conflict(
                "already-exists",
                format!("cannot add the remodel rule {}: it is there", subject(&rule)),
            ))
        }
    }
}

/// Removes a rule.
pub async fn remove(
    app: &App,
    ctx: &BrandCtx,
    from_model: &ModelName,
    to_model: &ModelName,
    from_serial: Option<&SerialNumber>,
) -> Result<RemodelRule, Refusal> {
    let key = key(ctx.brand().as_str(), from_model, to_model, from_serial);
    let Versioned {
        record: rule,
        version,
    } = app.storage.find::<RemodelRule>(key).await?.ok_or_else(|| {
        Refusal::not_found(format!(
            "cannot find a remodel rule from {from_model} to {to_model} for that serial"
        ))
    })?;
    let event = vault_event(app, ctx, "remodel.remove", &subject(&rule), &json!({}));
    let commit = Commit {
        records: vec![Change::delete(&rule, version)],
        audit: vec![event],
        ..Commit::default()
    };
    match app.storage.commit(commit).await? {
        CommitOutcome::Done => Ok(rule),
        CommitOutcome::Conflict { .. } | CommitOutcome::Taken { .. } | CommitOutcome::OldRevision { .. } => {
            Err(Refusal::conflict(
                "changed-meanwhile",
                "cannot remove the remodel rule: it was changed; try again",
            ))
        }
    }
}

/// The rule that lets `serial` of `from_model` become `to_model`: the one for this serial, else the one for all.
pub(super) async fn matching(
    app: &App,
    brand: &BrandId,
    from_model: &ModelName,
    to_model: &ModelName,
    serial: &SerialNumber,
) -> Result<Option<RemodelRule>, crate::ports::StoreError> {
    if let Some(rule) = app
        .storage
        .find::<RemodelRule>(key(brand.as_str(), from_model, to_model, Some(serial)))
        .await?
    {
        return Ok(Some(rule.record));
    }
    Ok(app
        .storage
        .find::<RemodelRule>(key(brand.as_str(), from_model, to_model, None))
        .await?
        .map(|rule| rule.record))
}

fn key(brand: &str, from_model: &ModelName, to_model: &ModelName, serial: Option<&SerialNumber>) -> Key {
    Key::from([
        brand,
        from_model.as_str(),
        to_model.as_str(),
        serial.map_or("*", SerialNumber::as_str),
    ])
}

fn subject(rule: &RemodelRule) -> String {
    rule.key().0.join("/")
}
