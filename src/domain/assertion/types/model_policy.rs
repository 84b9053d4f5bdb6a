//! Who may sign for a model besides its brand, and the validation sets it follows.

use std::collections::BTreeSet;

use super::super::headers::Value;
use super::checks::{Checked, Fields};
use super::names;

/// Who may sign something for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorities {
    /// Any account.
    Any,
    /// These accounts.
    Of(Vec<String>),
}

impl Authorities {
    /// Whether `account` is among them.
    pub fn include(&self, account: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Of(accounts) => accounts.iter().any(|listed| listed == account),
        }
    }
}

/// How a model holds its devices to a validation set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetMode {
    /// It is enforced and nobody can switch that off.
    Enforce,
    /// It is enforced at first; the owner may stop it.
    PreferEnforce,
}

impl SetMode {
    /// Its word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::PreferEnforce => "prefer-enforce",
        }
    }
}

/// A validation set a model follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelValidationSet {
    /// The account that issues it.
    pub account_id: String,
    /// Its name.
    pub name: String,
    /// The point of the sequence the model is bound to; none = the latest.
    pub sequence: Option<u64>,
    /// How devices are held to it.
    pub mode: SetMode,
}

/// A list of account ids in header `name`, to which the brand always belongs.
pub(super) fn authority(fields: &Fields<'_>, name: &str, brand: &str) -> Checked<Vec<String>> {
    let mut listed = fields.names(name, "account ids", names::is_account_id)?;
    if !listed.iter().any(|account| account == brand) {
        listed.insert(0, brand.to_owned());
    }
    Ok(listed)
}

/// `system-user-authority`: a list of account ids, or `*`.
pub(super) fn system_user_authority(fields: &Fields<'_>, brand: &str) -> Checked<Authorities> {
    const NAME: &str = "system-user-authority";
    match fields.get(NAME) {
        Some(Value::Text(text)) if text == "*" => Ok(Authorities::Any),
        Some(Value::Text(_) | Value::Map(_)) => {
            Err(fields.wrong(NAME, "must be '*' or a list of account ids"))
        }
        Some(Value::List(_)) | None => authority(fields, NAME, brand).map(Authorities::Of),
    }
}

/// `validation-sets`.
pub(super) fn validation_sets(fields: &Fields<'_>, brand: &str) -> Checked<Vec<ModelValidationSet>> {
    let mut seen = BTreeSet::new();
    let mut sets = Vec::new();
    for entry in fields.maps("validation-sets")? {
        let name = entry.named("name", "a validation set name", names::is_validation_set_name)?;
        let account = entry.optional_filled("account-id")?.unwrap_or(brand);
        let sequence = entry.optional_positive("sequence")?;
        let mode = match entry.choice("mode", &["enforce", "prefer-enforce"])? {
            Some("enforce") => SetMode::Enforce,
            Some(_) => SetMode::PreferEnforce,
            None => {
                entry.filled("mode")?;
                return Err(entry.wrong("mode", "is mandatory"));
            }
        };
        if !seen.insert((account, name)) {
            return Err(entry.wrong(
                "name",
                format!("lists validation set {account}/{name} a second time"),
            ));
        }
        sets.push(ModelValidationSet {
            account_id: account.to_owned(),
            name: name.to_owned(),
            sequence,
            mode,
        });
    }
    Ok(sets)
}
