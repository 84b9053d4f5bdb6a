//! What a revision plugs into and offers, beside what the approved one before it does: what a reviewer looks at first.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::assertion::Value;
use crate::domain::assertion::types::InterfaceSide;
use crate::domain::snap::SnapYaml;

/// A plug or slot as one revision describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its interface.
    pub interface: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, Value>,
}

/// A plug or slot in two revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which of the two.
    pub side: InterfaceSide,
    /// Its name.
    pub name: String,
    /// In the revision before; none = it had none of this name.
    pub before: Option<Described>,
    /// In this revision; none = it is gone.
    pub after: Option<Described>,
}

impl Difference {
    /// Whether there is one.
    pub fn differs(&self) -> bool {
        self.before != self.after
    }
}

/// Every plug and slot of either revision, plugs first, by name.
pub fn difference(before: Option<&SnapYaml>, after: &SnapYaml) -> Vec<Difference> {
    let mut found = Vec::new();
    for side in [InterfaceSide::Plug, InterfaceSide::Slot] {
        let mut old = before.map(|yaml| described(yaml, side)).unwrap_or_default();
        let mut new = described(after, side);
        let names: BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
        found.extend(names.into_iter().map(|name| Difference {
            side,
            before: old.remove(&name),
            after: new.remove(&name),
            name,
        }));
    }
    found
}

fn described(yaml: &SnapYaml, side: InterfaceSide) -> BTreeMap<String, Described> {
    let interfaces = match side {
        InterfaceSide::Plug => &yaml.plugs,
        InterfaceSide::Slot => &yaml.slots,
    };
    let mut attributes = yaml.attributes(side);
    interfaces
        .iter()
        .map(|(name, interface)| {
            let described = Described {
                interface: interface.clone(),
                attributes: attributes.remove(name).unwrap_or_default(),
            };
            (name.clone(), described)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(connections: &str) -> SnapYaml {
        SnapYaml::parse(&format!("name: ab\nversion: 1\n{connections}")).unwrap()
    }

    #[test]
    fn what_comes_goes_and_changes_is_told_apart() {
        let before =
            yaml("plugs: {network: , files: {interface: system-files, read: [/etc/a]}, old: camera}\n");
        let after = yaml(
            "plugs: {network: , files: {interface: system-files, read: [/etc/b]}, new: camera}\nslots: {bus: dbus}\n",
        );
        let all = difference(Some(&before), &after);
        let told: Vec<(&str, bool, bool, bool)> = all
            .iter()
            .map(|one| {
                (
                    one.name.as_str(),
                    one.before.is_some(),
                    one.after.is_some(),
                    one.differs(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("files", true, true, true),
                ("network", true, true, false),
                ("new", false, true, true),
                ("old", true, false, true),
                ("bus", false, true, true),
            ]
        );
        assert_eq!(all[4].side, InterfaceSide::Slot);
        assert!(difference(None, &before).iter().all(Difference::differs));
        assert!(difference(Some(&after), &after).iter().all(|one| !one.differs()));
    }
}
