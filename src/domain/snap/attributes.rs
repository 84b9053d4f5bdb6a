//! The attributes of plugs and slots, as rules of declarations compare them.

use std::collections::BTreeMap;

use super::yaml::SnapYaml;
use crate::domain::assertion::Value;
use crate::domain::assertion::types::InterfaceSide;
use crate::domain::yaml::{self, Node};

/// Entries of a plug or slot that are no attributes.
const OWN: [&str; 2] = ["interface", "label"];

impl SnapYaml {
    /// The attributes of each plug or slot that has some, by its name.
    pub fn attributes(&self, side: InterfaceSide) -> BTreeMap<String, BTreeMap<String, Value>> {
        let Ok(Node::Map(document)) = yaml::parse(&self.text) else {
            return BTreeMap::new();
        };
        let section = document.into_iter().find(|(name, _)| name == side.header());
        let Some((_, Node::Map(connections))) = section else {
            return BTreeMap::new();
        };
        let described = connections.into_iter().filter_map(|(name, node)| match node {
            Node::Map(entries) => {
                let entries = entries
                    .into_iter()
                    .filter(|(name, _)| !OWN.contains(&name.as_str()));
                Some((name, entries.filter_map(value_of).collect()))
            }
            Node::Null | Node::Text(_) | Node::List(_) => None,
        });
        described.collect()
    }
}

fn value_of((name, node): (String, Node)) -> Option<(String, Value)> {
    value(node).map(|value| (name, value))
}

fn value(node: Node) -> Option<Value> {
    match node {
        Node::Null => None,
        Node::Text(text) => Some(Value::Text(text)),
        Node::List(items) => Some(Value::List(items.into_iter().filter_map(value).collect())),
        Node::Map(entries) => Some(Value::Map(entries.into_iter().filter_map(value_of).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_has_attributes() {
        let text = "name: gizmo\nversion: '1'\nplugs:\n  network:\n  short: content\n  long: {interface: content, label: L, \
                    target: $SNAP/x, deep: {list: [a, 1, true, null]}}\n";
        let snap = SnapYaml::parse(text).unwrap();
        let plugs = snap.attributes(InterfaceSide::Plug);
        assert_eq!(plugs.keys().collect::<Vec<_>>(), ["long"]);
        let long = &plugs["long"];
        assert_eq!(long.keys().collect::<Vec<_>>(), ["deep", "target"]);
        let list = long["deep"].as_map().unwrap()["list"].as_list().unwrap();
        let texts: Vec<_> = list.iter().filter_map(Value::as_text).collect();
        assert_eq!(texts, ["a", "1", "true"]);
        assert!(snap.attributes(InterfaceSide::Slot).is_empty());
    }
}
