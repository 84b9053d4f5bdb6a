//! Interface rules (assertions.md 3.9): the `plugs` and `slots` of declarations, the device scope of rules and
//! delegations, and the matchers that account-key constraints share with them.
//!
//! Declarations are judged by devices; here the grammar is checked and the format iteration found that a device must
//! understand. Everything is linear in the size of the input.

mod attributes;
mod class;
mod installation;
mod regexp;
mod scope;
mod subrule;

use super::super::headers::Value;
use super::checks::{Checked, Fields};
pub(super) use attributes::{Budget, Matcher};
pub use installation::{Connection, Installation, installation};
pub use scope::DeviceScope;

/// Format iterations and what they brought.
mod format {
    pub(super) const RULES: u32 = 1;
    pub(super) const DOLLAR_ATTRIBUTES: u32 = 2;
    pub(super) const DEVICE_SCOPE: u32 = 3;
    pub(super) const NAMES: u32 = 4;
    pub(super) const ALTERNATIVES: u32 = 5;
    pub(super) const PUBLISHER_ID: u32 = 6;
    pub(super) const ON_CLASSIC_VARIANT: u32 = 7;
}

/// The highest format iteration that anything found so far needs.
#[derive(Debug, Default)]
struct Needed(u32);

impl Needed {
    fn raise(&mut self, format: u32) {
        self.0 = self.0.max(format);
    }
}

/// The side a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Side {
    /// What a snap uses.
    #[serde(rename = "plugs")]
    Plug,
    /// What it offers.
    #[serde(rename = "slots")]
    Slot,
}

impl Side {
    /// The header with the rules for it; also the field of `snap.yaml`.
    pub fn header(self) -> &'static str {
        match self {
            Self::Plug => "plugs",
            Self::Slot => "slots",
        }
    }

    /// Its word, in names of constraints and for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plug => "plug",
            Self::Slot => "slot",
        }
    }
}

/// Checks the headers `plugs` and `slots` and says which format iteration they need, 0 without either.
pub(super) fn check(fields: &Fields<'_>) -> Checked<u32> {
    let mut needed = Needed::default();
    for (header, side) in [("plugs", Side::Plug), ("slots", Side::Slot)] {
        let Some(rules) = fields.optional_map(header)? else {
            continue;
        };
        needed.raise(format::RULES);
        for (interface, rule) in rules.map() {
            check_rule(&rules, interface, rule, side, &mut needed)?;
        }
    }
    Ok(needed.0)
}

/// The rule for one interface: `true`, `false`, or a map with at least one subrule.
fn check_rule(
    rules: &Fields<'_>,
    interface: &str,
    rule: &Value,
    side: Side,
    needed: &mut Needed,
) -> Checked<()> {
    let map = match rule {
        Value::Text(text) if text == "true" || text == "false" => return Ok(()),
        Value::Map(map) => map,
        Value::Text(_) | Value::List(_) => return Err(rules.wrong(interface, "must be a map, true or false")),
    };
    let rule = Fields::nested(map, rules.path(interface));
    let mut found = false;
    for kind in subrule::KINDS {
        if let Some(value) = rule.get(kind.name) {
            found = true;
            subrule::check(&rule, kind, value, side, needed)?;
        }
    }
    if found {
        Ok(())
    } else {
        let known: Vec<&str> = subrule::KINDS.iter().map(|kind| kind.name).collect();
        Err(rules.wrong(
            interface,
            format!("must have at least one of {}", known.join(", ")),
        ))
    }
}
