//! `account-key` and `account-key-request`: a public key, whose it is, when and for what it may sign.

use super::super::headers::Headers;
use super::super::public_key::PublicKey;
use super::Parts;
use super::checks::{Checked, Fields};
use super::names;
use super::rules::Matcher;
use crate::domain::time::Timestamp;

/// From when until when a key may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub since: Timestamp,
    /// The first moment no more; none = for ever. Equal to `since` = never valid, which is how a key is revoked.
    pub until: Option<Timestamp>,
}

impl Validity {
    /// Whether `time` lies inside: `since <= time < until`.
    pub fn covers(&self, time: Timestamp) -> bool {
        self.since <= time && self.until.is_none_or(|until| time < until)
    }
}

impl std::fmt::Display for Validity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.until {
            Some(until) => write!(f, "from {} until {until}", self.since),
            None => write!(f, "from {}", self.since),
        }
    }
}

/// A well-formed account-key assertion.
#[derive(Clone, Debug)]
pub struct AccountKey {
    /// Whose key it is.
    pub account_id: String,
    /// Its name within the account; keys from before names existed have none.
    pub name: Option<String>,
    /// When it may sign.
    pub validity: Validity,
    /// The key.
    pub public_key: PublicKey,
    /// What it may sign; empty = everything.
    constraints: Vec<Matcher>,
}

impl AccountKey {
    /// Whether the key is limited to some assertions.
    pub fn is_constrained(&self) -> bool {
        !self.constraints.is_empty()
    }

    /// Whether the key may sign an assertion with these headers (`type` among them): it has no constraints, or at
    /// least one of them matches.
    pub fn may_sign(&self, headers: &Headers) -> bool {
        self.constraints.is_empty()
            || self
                .constraints
                .iter()
                .any(|matcher| matcher.matches_headers(headers))
    }

    /// Whether there could be a value of header `open`, which is not known yet, with which the key may sign an assertion
    /// with these headers.
    pub fn may_sign_with_some(&self, headers: &Headers, open: &str) -> bool {
        self.constraints.is_empty()
            || self
                .constraints
                .iter()
                .any(|matcher| matcher.matches_headers_but(headers, open))
    }
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<AccountKey> {
    let fields = &parts.fields;
    let account_id = fields.filled("account-id")?.to_owned();
    let name = if fields.has("name") {
        Some(key_name(fields)?)
    } else {
        None
    };
    Ok(AccountKey {
        account_id,
        name,
        validity: validity(fields)?,
        public_key: key_in_body(parts)?,
        constraints: constraints(fields)?,
    })
}

/// A well-formed account-key-request: an account asks for a key of its own to be registered. Signed by that key.
#[derive(Clone, Debug)]
pub struct AccountKeyRequest {
    /// Who asks.
    pub account_id: String,
    /// The name the key shall have.
    pub name: String,
    /// When the key shall be valid.
    pub validity: Validity,
    /// The key.
    pub public_key: PublicKey,
}

pub(super) fn assemble_request(parts: &Parts<'_>) -> Checked<AccountKeyRequest> {
    let fields = &parts.fields;
    Ok(AccountKeyRequest {
        account_id: fields.filled("account-id")?.to_owned(),
        name: key_name(fields)?,
        validity: validity(fields)?,
        public_key: key_in_body(parts)?,
    })
}

/// The format iteration that account-key headers need: 1 with constraints, else 0.
pub(super) fn needed_format(headers: &Headers) -> u32 {
    u32::from(headers.get("constraints").is_some())
}

fn key_name(fields: &Fields<'_>) -> Checked<String> {
    fields
        .named(
            "name",
            "a key name (lower-case words joined by dashes)",
            names::is_account_key_name,
        )
        .map(str::to_owned)
}

fn validity(fields: &Fields<'_>) -> Checked<Validity> {
    let since = fields.time("since")?;
    let until = fields.optional_time("until")?;
    fields.in_order("until", since, until)?;
    Ok(Validity { since, until })
}

fn key_in_body(parts: &Parts<'_>) -> Checked<PublicKey> {
    const ID: &str = "public-key-sha3-384";
    let body = std::str::from_utf8(parts.body).unwrap_or_default();
    let key = parts.fields.decode_key(ID, body)?;
    if parts.fields.filled(ID)? == key.id().as_str() {
        Ok(key)
    } else {
        Err(parts
            .fields
            .wrong(ID, "is not the id of the public key in the body"))
    }
}

/// `constraints`: a list of maps, each with the headers an assertion must have. `type` is among them, as plain text.
fn constraints(fields: &Fields<'_>) -> Checked<Vec<Matcher>> {
    const NAME: &str = "constraints";
    if !fields.has(NAME) {
        return Ok(Vec::new());
    }
    let entries = fields.maps(NAME)?;
    if entries.is_empty() {
        return Err(fields.wrong(NAME, "must not be empty"));
    }
    let mut budget = super::rules::Budget::new();
    entries
        .iter()
        .map(|entry| {
            let wanted = entry
                .optional_map("headers")?
                .ok_or_else(|| entry.wrong("headers", "is mandatory"))?;
            let kind = wanted.text("type")?;
            if kind.contains(|c: char| "\\.+*?()|[]{}^$".contains(c)) {
                return Err(wanted.wrong("type", "must be plain text, not a pattern"));
            }
            Matcher::of_headers(&wanted, &mut budget)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_covers_its_first_moment_but_not_its_last(since in -1000i64..1000, length in 0i64..1000, at in -3000i64..3000) {
            let start = Timestamp::from_unix(since);
            let end = start.plus_seconds(length);
            let bounded = Validity { since: start, until: Some(end) };
            let open = Validity { since: start, until: None };
            let time = Timestamp::from_unix(at);
            prop_assert_eq!(bounded.covers(time), since <= at && at < since + length);
            prop_assert_eq!(open.covers(time), since <= at);
            prop_assert!(!bounded.covers(end));
            prop_assert_eq!(bounded.covers(start), length > 0);
        }
    }
}
