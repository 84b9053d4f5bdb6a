//! What the rules of a declaration say about installing a snap with one of its plugs or slots (assertions.md 3.9).
//!
//! Devices decide; a store asks the same question before a reviewer does, without knowing the device. So what depends
//! on the device counts as allowed where some device would allow it, and as denied only where every one denies it.

use std::collections::BTreeMap;

use super::super::super::headers::{Headers, Value};
use super::super::checks::Fields;
use super::Side;
use super::attributes::matcher;
use super::regexp::Pattern;

/// Constraints about the device.
const DEVICE: [&str; 5] = [
    "on-store",
    "on-brand",
    "on-model",
    "on-classic",
    "on-core-desktop",
];

/// A plug or slot of a snap.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Which of the two.
    pub side: Side,
    /// Its interface.
    pub interface: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its attributes.
    pub attributes: &'a BTreeMap<String, Value>,
    /// The type of the snap as in rules: `app`, `gadget`, `kernel` or `core`.
    pub snap_type: &'a str,
    /// The snap.
    pub snap_id: &'a str,
}

/// What a declaration says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installation {
    /// Nothing: the rules devices were built with decide.
    Unsaid,
    /// It is allowed, at least on some devices.
    Allowed,
    /// No device installs it.
    Denied,
}

/// What the declaration with these headers says about installing a snap with this plug or slot.
pub fn installation(headers: &Headers, connection: &Connection<'_>) -> Installation {
    let rules = headers.get(connection.side.header()).and_then(Value::as_map);
    let rule = match rules.and_then(|rules| rules.get(connection.interface)) {
        None => return Installation::Unsaid,
        Some(rule) => rule,
    };
    let allowed = match rule {
        Value::Text(text) => text == "true",
        Value::Map(map) => {
            // What a rule leaves out it allows.
            let allows = map
                .get("allow-installation")
                .is_none_or(|value| holds(value, connection, |_| true));
            let everywhere = |constraints: &BTreeMap<String, Value>| {
                !DEVICE.iter().any(|name| constraints.contains_key(*name))
            };
            let denies = map
                .get("deny-installation")
                .is_some_and(|value| holds(value, connection, everywhere));
            allows && !denies
        }
        Value::List(_) => false,
    };
    if allowed {
        Installation::Allowed
    } else {
        Installation::Denied
    }
}

/// Whether a subrule holds: one of its alternatives does, and counts.
fn holds(
    value: &Value,
    connection: &Connection<'_>,
    counts: impl Fn(&BTreeMap<String, Value>) -> bool,
) -> bool {
    let one = |alternative: &Value| {
        alternative
            .as_map()
            .is_some_and(|constraints| counts(constraints) && fits(constraints, connection))
    };
    match value {
        Value::Text(text) => text == "true",
        Value::Map(_) => one(value),
        Value::List(alternatives) => alternatives.iter().any(one),
    }
}

fn fits(constraints: &BTreeMap<String, Value>, connection: &Connection<'_>) -> bool {
    let word = connection.side.word();
    let listed = |name: &str, wanted: &str| {
        constraints.get(&format!("{word}-{name}")).is_none_or(|list| {
            let items = list.as_list().unwrap_or_default();
            items.iter().any(|item| item.as_text() == Some(wanted))
        })
    };
    let named = constraints.get(&format!("{word}-names")).is_none_or(|list| {
        let patterns = list
            .as_list()
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_text);
        patterns.into_iter().any(|pattern| is_name(pattern, connection))
    });
    let attributes = format!("{word}-attributes");
    let has = constraints.get(&attributes).is_none_or(|wanted| {
        let fields = Fields::nested(constraints, String::new());
        matcher(&fields, &attributes, wanted)
            .is_some_and(|matcher| matcher.matches_map(connection.attributes))
    });
    listed("snap-type", connection.snap_type) && listed("snap-id", connection.snap_id) && named && has
}

fn is_name(pattern: &str, connection: &Connection<'_>) -> bool {
    match pattern {
        "$INTERFACE" => connection.name == connection.interface,
        marker if marker.starts_with('$') => false,
        pattern => Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(connection.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::assertion::Statement;

    fn headers(text: &str) -> Headers {
        let mut complement = Headers::default();
        complement.set("type", "snap-declaration");
        let mut statement = Statement::from_yaml_with(text, &complement).unwrap();
        statement.headers_mut().clone()
    }

    fn judge(rules: &str, name: &str, attributes: &[(&str, &str)]) -> Installation {
        let attributes = attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
            .collect();
        installation(
            &headers(rules),
            &Connection {
                side: Side::Plug,
                interface: "personal-files",
                name,
                attributes: &attributes,
                snap_type: "app",
                snap_id: "snapidsnapidsnapidsnapidsnapidsn",
            },
        )
    }

    #[test]
    fn a_rule_allows_what_it_leaves_out() {
        use Installation as I;
        for (rules, expected) in [
            ("aliases: []\nplugs: {other: 'true'}", I::Unsaid),
            ("slots: {personal-files: 'true'}", I::Unsaid),
            ("plugs: {personal-files: 'true'}", I::Allowed),
            ("plugs: {personal-files: 'false'}", I::Denied),
            (
                "plugs: {personal-files: {allow-auto-connection: 'false'}}",
                I::Allowed,
            ),
            (
                "plugs: {personal-files: {allow-installation: 'false'}}",
                I::Denied,
            ),
            ("plugs: {personal-files: {deny-installation: 'true'}}", I::Denied),
            (
                "plugs: {personal-files: {deny-installation: {on-store: [x]}}}",
                I::Allowed,
            ),
            (
                "plugs: {personal-files: {allow-installation: {on-store: [x]}}}",
                I::Allowed,
            ),
            (
                "plugs: {personal-files: {allow-installation: {plug-snap-type: [gadget]}}}",
                I::Denied,
            ),
            (
                "plugs: {personal-files: {allow-installation: [{plug-snap-type: [gadget]}, {plug-snap-type: [app]}]}}",
                I::Allowed,
            ),
            (
                "plugs: {personal-files: {allow-installation: {plug-snap-id: [snapidsnapidsnapidsnapidsnapidsn]}}}",
                I::Allowed,
            ),
        ] {
            assert_eq!(judge(rules, "dot", &[]), expected, "{rules}");
        }
    }

    #[test]
    fn names_and_attributes_are_compared() {
        use Installation as I;
        let rules = "plugs: {personal-files: {allow-installation: {plug-names: [dot-.*], plug-attributes: {read: '\\$HOME/\\.x'}}}}";
        assert_eq!(judge(rules, "dot-x", &[("read", "$HOME/.x")]), I::Allowed);
        assert_eq!(judge(rules, "other", &[("read", "$HOME/.x")]), I::Denied);
        assert_eq!(judge(rules, "dot-x", &[("read", "$HOME/.ssh")]), I::Denied);
        assert_eq!(judge(rules, "dot-x", &[]), I::Denied);
        let marker = "plugs: {personal-files: {allow-installation: {plug-names: [$INTERFACE]}}}";
        assert_eq!(judge(marker, "personal-files", &[]), I::Allowed);
        assert_eq!(judge(marker, "dot", &[]), I::Denied);
        let missing = "plugs: {personal-files: {allow-installation: {plug-attributes: {write: $MISSING}}}}";
        assert_eq!(judge(missing, "dot", &[]), I::Allowed);
        assert_eq!(judge(missing, "dot", &[("write", "x")]), I::Denied);
        // What compares with the other side cannot be known before it is there.
        let other = "plugs: {personal-files: {allow-installation: {plug-attributes: {write: $SLOT(write)}}}}";
        assert_eq!(judge(other, "dot", &[("write", "x")]), I::Denied);
    }
}
