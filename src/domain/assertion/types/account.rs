//! `account`: names an account and says how far its identity was verified.

use super::Parts;
use super::checks::Checked;
use crate::domain::time::Timestamp;

/// A well-formed account assertion.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its id; free text on the wire.
    pub account_id: String,
    /// The public user name, where it has one.
    pub username: Option<String>,
    /// The name shown to people.
    pub display_name: String,
    /// How far the identity was verified: `unproven`, `starred`, `verified` or another word. `certified` is the old
    /// word for `verified` and read as such.
    pub validation: String,
    /// When it was issued.
    pub timestamp: Timestamp,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<Account> {
    let fields = &parts.fields;
    let display_name = fields.filled("display-name")?.to_owned();
    let validation = match fields.filled("validation")? {
        "certified" => "verified",
        other => other,
    };
    Ok(Account {
        account_id: fields.filled("account-id")?.to_owned(),
        username: fields.optional_filled("username")?.map(str::to_owned),
        display_name,
        validation: validation.to_owned(),
        timestamp: fields.time("timestamp")?,
    })
}
