//! Grants: what a snap-declaration allows an interface, turned on and off one by one (admin-api.md 1.3, 2.7).
//!
//! Two things of devices make this less plain than it looks. A rule for an interface takes the place of the rule devices
//! were built with; and what a rule leaves out it allows. So a rule made here says both things it knows of, wherever
//! leaving one out would allow more than was granted, and a rule that grants nothing any more goes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::interfaces::{Class, Interface, class};
use crate::domain::assertion::types::InterfaceSide;
use crate::domain::assertion::{Headers, Value};
use crate::domain::ident::StoreId;

const INSTALLATION: &str = "allow-installation";
const CONNECTION: &str = "allow-connection";
const AUTO_CONNECTION: &str = "allow-auto-connection";
const ON_STORE: &str = "on-store";

/// What is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attribute {
    /// Devices connect it without a person.
    AutoConnection,
    /// Devices install a snap that has it.
    Installation,
}

impl Attribute {
    /// Its word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AutoConnection => "auto-connection",
            Self::Installation => "installation",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::AutoConnection => AUTO_CONNECTION,
            Self::Installation => INSTALLATION,
        }
    }
}

/// The stores a grant is for; empty = all.
pub type Scope = BTreeSet<StoreId>;

/// Why a grant cannot be changed so. Reads as the end of a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    /// It is as wanted.
    #[error("the declaration says so already")]
    Unchanged,
    /// Devices install snaps with such a plug anyway.
    #[error("no grant is needed to install a snap with it; auto-connection can be granted")]
    NotNeeded,
    /// It is granted on devices of all stores, so it cannot be taken from some.
    #[error("it is granted on all stores; disable it as a whole first")]
    Everywhere,
    /// Its constraints are not of the kind that is made here.
    #[error("its constraints were written by hand; change them with `hallmark snap declare`")]
    ByHand,
}

/// A grant as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Plug or slot.
    pub side: InterfaceSide,
    /// The interface, as the declaration names it.
    pub interface: String,
    /// What is granted.
    pub attribute: Attribute,
    /// Only on devices of these stores; none = of all.
    pub on_store: Option<BTreeSet<String>>,
    /// There are constraints besides, or instead.
    pub constrained: bool,
}

/// Whether devices refuse to install such a plug or slot unless the declaration allows it.
fn is_guarded(side: InterfaceSide, interface: &Interface) -> bool {
    side == InterfaceSide::Slot || class(interface) == Class::C
}

/// The rule for an interface after `attribute` was granted on devices of these stores, besides those before.
///
/// # Errors
/// What [`GrantRefusal`] says.
pub fn enable(
    rule: Option<&Value>,
    side: InterfaceSide,
    interface: &Interface,
    attribute: Attribute,
    scope: &Scope,
) -> Result<Value, GrantRefusal> {
    let guarded = is_guarded(side, interface);
    let mut entries = opened(rule, guarded);
    if attribute == Attribute::Installation && !guarded {
        return Err(GrantRefusal::NotNeeded);
    }
    let mut touched = vec![attribute.key()];
    // Connected it must be installed.
    if guarded && attribute == Attribute::AutoConnection {
        touched.push(INSTALLATION);
    }
    for key in touched {
        let wider = widened(&said(&entries, key), scope);
        entries.insert(key.to_owned(), wider);
    }
    let after = Value::Map(entries);
    if opened(rule, guarded) == opened(Some(&after), guarded) {
        return Err(GrantRefusal::Unchanged);
    }
    Ok(after)
}

/// The rule for an interface after `attribute` was taken back on devices of these stores; none if no rule is needed any
/// more.
///
/// # Errors
/// What [`GrantRefusal`] says.
pub fn disable(
    rule: Option<&Value>,
    side: InterfaceSide,
    interface: &Interface,
    attribute: Attribute,
    scope: &Scope,
) -> Result<Option<Value>, GrantRefusal> {
    let guarded = is_guarded(side, interface);
    let Some(found) = rule else {
        return Err(GrantRefusal::Unchanged);
    };
    if attribute == Attribute::Installation && !guarded {
        return Err(GrantRefusal::NotNeeded);
    }
    let mut entries = opened(Some(found), guarded);
    let key = attribute.key();
    let narrower = narrowed(&said(&entries, key), scope)?;
    if narrower == said(&entries, key) {
        return Err(GrantRefusal::Unchanged);
    }
    entries.insert(key.to_owned(), narrower);
    let grants_nothing = entries.iter().all(|(key, value)| match key.as_str() {
        AUTO_CONNECTION => is(value, "false"),
        INSTALLATION => is(value, if guarded { "false" } else { "true" }),
        _ => false,
    });
    Ok((!grants_nothing).then_some(Value::Map(entries)))
}

/// All that the declaration with these headers grants, by side, interface and attribute.
pub fn grants(headers: &Headers) -> Vec<Granted> {
    let mut found = Vec::new();
    for side in [InterfaceSide::Plug, InterfaceSide::Slot] {
        let rules = headers.get(side.header()).and_then(Value::as_map);
        for (name, rule) in rules.into_iter().flatten() {
            let guarded = name
                .parse::<Interface>()
                .map_or(true, |interface| is_guarded(side, &interface));
            let entries = opened(Some(rule), guarded);
            for attribute in [Attribute::AutoConnection, Attribute::Installation] {
                let said = said(&entries, attribute.key());
                if is(&said, "false") || (attribute == Attribute::Installation && !guarded) {
                    continue;
                }
                let (on_store, constrained) = scope_of(&said);
                found.push(Granted {
                    side,
                    interface: name.clone(),
                    attribute,
                    on_store,
                    constrained,
                });
            }
        }
    }
    found
}

/// The plugs of class C for which `after` allows something that it did not allow in the same words in `before`.
pub fn newly_guarded(before: &Headers, after: &Headers) -> Vec<String> {
    let rules = |headers: &Headers| headers.get("plugs").and_then(Value::as_map).cloned();
    let (before, after) = (
        rules(before).unwrap_or_default(),
        rules(after).unwrap_or_default(),
    );
    let dangerous = |(name, rule): &(String, Value)| {
        let guarded = name
            .parse::<Interface>()
            .is_ok_and(|interface| class(&interface) == Class::C);
        guarded
            && before.get(name) != Some(rule)
            && !is(&said(&opened(Some(rule), true), INSTALLATION), "false")
    };
    after
        .into_iter()
        .filter(dangerous)
        .map(|(name, _)| name)
        .collect()
}

/// A rule as a map that says all that may be granted. Where there is none, nothing is.
fn opened(rule: Option<&Value>, guarded: bool) -> BTreeMap<String, Value> {
    let mut entries = match rule {
        Some(Value::Map(entries)) => entries.clone(),
        Some(Value::Text(all)) => [INSTALLATION, CONNECTION, AUTO_CONNECTION]
            .map(|key| (key.to_owned(), Value::Text(all.clone())))
            .into(),
        Some(Value::List(_)) => BTreeMap::new(),
        None => {
            let mut nothing = BTreeMap::from([(AUTO_CONNECTION.to_owned(), Value::from("false"))]);
            if guarded {
                nothing.insert(INSTALLATION.to_owned(), Value::from("false"));
            }
            nothing
        }
    };
    for key in [Some(AUTO_CONNECTION), guarded.then_some(INSTALLATION)]
        .into_iter()
        .flatten()
    {
        entries
            .entry(key.to_owned())
            .or_insert_with(|| Value::from("true"));
    }
    entries
}

/// What a rule says of `key`; what it leaves out it allows.
fn said(entries: &BTreeMap<String, Value>, key: &str) -> Value {
    entries.get(key).cloned().unwrap_or_else(|| Value::from("true"))
}

fn is(value: &Value, text: &str) -> bool {
    value.as_text() == Some(text)
}

fn on_stores(stores: impl Iterator<Item = String>) -> Value {
    let list: Vec<Value> = stores.map(Value::Text).collect();
    Value::Map(BTreeMap::from([(ON_STORE.to_owned(), Value::List(list))]))
}

/// The stores, of a constraint that names stores and nothing else.
fn stores(constraint: &Value) -> Option<BTreeSet<String>> {
    let map = constraint.as_map().filter(|map| map.len() == 1)?;
    let list = map.get(ON_STORE)?.as_list()?;
    list.iter()
        .map(|item| item.as_text().map(str::to_owned))
        .collect()
}

fn alternatives(value: &Value) -> Vec<Value> {
    match value {
        Value::List(list) => list.clone(),
        Value::Map(_) => vec![value.clone()],
        Value::Text(_) => Vec::new(),
    }
}

fn joined(mut alternatives: Vec<Value>) -> Value {
    match (alternatives.pop(), alternatives.is_empty()) {
        (None, _) => Value::from("false"),
        (Some(only), true) => only,
        (Some(last), false) => {
            alternatives.push(last);
            Value::List(alternatives)
        }
    }
}

fn widened(said: &Value, scope: &Scope) -> Value {
    if scope.is_empty() || is(said, "true") {
        return Value::from("true");
    }
    let mut alternatives = alternatives(said);
    let mut all: BTreeSet<String> = scope.iter().map(ToString::to_string).collect();
    alternatives.retain(|alternative| match stores(alternative) {
        Some(known) => {
            all.extend(known);
            false
        }
        None => true,
    });
    alternatives.push(on_stores(all.into_iter()));
    joined(alternatives)
}

fn narrowed(said: &Value, scope: &Scope) -> Result<Value, GrantRefusal> {
    if scope.is_empty() || is(said, "false") {
        return Ok(Value::from("false"));
    }
    if is(said, "true") {
        return Err(GrantRefusal::Everywhere);
    }
    let mut left = Vec::new();
    for alternative in alternatives(said) {
        let known = stores(&alternative).ok_or(GrantRefusal::ByHand)?;
        let rest: Vec<String> = known
            .into_iter()
            .filter(|store| !scope.iter().any(|gone| gone.as_str() == store))
            .collect();
        if !rest.is_empty() {
            left.push(on_stores(rest.into_iter()));
        }
    }
    Ok(joined(left))
}

/// The stores of a grant (none = all), and whether there are constraints of another kind.
fn scope_of(said: &Value) -> (Option<BTreeSet<String>>, bool) {
    let alternatives = alternatives(said);
    if alternatives.is_empty() {
        return (None, false);
    }
    let known: Vec<Option<BTreeSet<String>>> = alternatives.iter().map(stores).collect();
    let constrained = known.iter().any(Option::is_none);
    let all: BTreeSet<String> = known.into_iter().flatten().flatten().collect();
    (Some(all), constrained)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STORES: [&str; 3] = ["acme", "kiosk", "lab"];

    fn scope(bits: u8) -> Scope {
        let named = STORES
            .iter()
            .enumerate()
            .filter(|(place, _)| bits & (1 << place) != 0);
        named.map(|(_, name)| name.parse().unwrap()).collect()
    }

    /// What a device of this store would do, by the rules of devices: a rule in the declaration stands for all, and
    /// allows what it leaves out.
    fn device(rule: Option<&Value>, key: &str, store: &str, guarded: bool) -> bool {
        let Some(rule) = rule else {
            return key == INSTALLATION && !guarded;
        };
        match rule {
            Value::Text(text) => text == "true",
            Value::List(_) => false,
            Value::Map(entries) => entries.get(key).is_none_or(|value| {
                is(value, "true")
                    || alternatives(value)
                        .iter()
                        .any(|one| stores(one).is_some_and(|known| known.contains(store)))
            }),
        }
    }

    #[test]
    fn what_is_left_out_is_not_granted_by_the_way() {
        let plug = InterfaceSide::Plug;
        let control: Interface = "snapd-control".parse().unwrap();
        let rule = enable(None, plug, &control, Attribute::Installation, &scope(1)).unwrap();
        assert!(device(Some(&rule), INSTALLATION, "acme", true));
        assert!(!device(Some(&rule), AUTO_CONNECTION, "acme", true));
        assert!(!device(Some(&rule), INSTALLATION, "lab", true));
        let camera: Interface = "camera".parse().unwrap();
        assert_eq!(
            enable(None, plug, &camera, Attribute::Installation, &scope(1)),
            Err(GrantRefusal::NotNeeded)
        );
        let rule = enable(None, plug, &camera, Attribute::AutoConnection, &scope(0)).unwrap();
        assert_eq!(
            disable(Some(&rule), plug, &camera, Attribute::AutoConnection, &scope(1)),
            Err(GrantRefusal::Everywhere)
        );
        assert_eq!(
            disable(Some(&rule), plug, &camera, Attribute::AutoConnection, &scope(0)),
            Ok(None)
        );
        assert_eq!(
            disable(None, plug, &camera, Attribute::AutoConnection, &scope(0)),
            Err(GrantRefusal::Unchanged)
        );
    }

    #[test]
    fn constraints_of_people_stay() {
        let files: Interface = "personal-files".parse().unwrap();
        let attributes = BTreeMap::from([("read".to_owned(), Value::from("x"))]);
        let by_hand = Value::Map(BTreeMap::from([(
            "plug-attributes".to_owned(),
            Value::Map(attributes),
        )]));
        let rule = Value::Map(BTreeMap::from([
            (INSTALLATION.to_owned(), by_hand.clone()),
            (AUTO_CONNECTION.to_owned(), Value::from("false")),
        ]));
        let wider = enable(
            Some(&rule),
            InterfaceSide::Plug,
            &files,
            Attribute::Installation,
            &scope(2),
        )
        .unwrap();
        let said = said(wider.as_map().unwrap(), INSTALLATION);
        assert_eq!(said.as_list().unwrap()[0], by_hand);
        let refused = disable(
            Some(&wider),
            InterfaceSide::Plug,
            &files,
            Attribute::Installation,
            &scope(2),
        );
        assert_eq!(refused, Err(GrantRefusal::ByHand));
        let whole = disable(
            Some(&wider),
            InterfaceSide::Plug,
            &files,
            Attribute::Installation,
            &scope(0),
        );
        assert_eq!(whole, Ok(None));
    }

    #[test]
    fn grants_are_listed_and_new_ones_found() {
        let mut before = Headers::default();
        let mut after = Headers::default();
        let control: Interface = "snapd-control".parse().unwrap();
        let camera: Interface = "camera".parse().unwrap();
        let rule = |interface: &Interface| {
            enable(
                None,
                InterfaceSide::Plug,
                interface,
                Attribute::AutoConnection,
                &scope(3),
            )
            .unwrap()
        };
        let plugs = BTreeMap::from([
            ("camera".to_owned(), rule(&camera)),
            ("snapd-control".to_owned(), rule(&control)),
        ]);
        after.set("plugs", plugs);
        let listed: Vec<(String, Attribute)> = grants(&after)
            .into_iter()
            .map(|grant| {
                assert_eq!(grant.on_store.unwrap().len(), 2);
                (grant.interface, grant.attribute)
            })
            .collect();
        assert_eq!(
            listed,
            [
                ("camera".to_owned(), Attribute::AutoConnection),
                ("snapd-control".to_owned(), Attribute::AutoConnection),
                ("snapd-control".to_owned(), Attribute::Installation),
            ]
        );
        assert_eq!(newly_guarded(&before, &after), ["snapd-control"]);
        assert_eq!(newly_guarded(&after, &after), [""; 0]);
        before.set(
            "plugs",
            BTreeMap::from([("snapd-control".to_owned(), Value::from("false"))]),
        );
        assert_eq!(newly_guarded(&after, &before), [""; 0]);
    }

    proptest! {
        /// Whatever is turned on and off: a device does exactly what was granted on its store, and when nothing is left
        /// the rules devices were built with are back.
        #[test]
        fn devices_do_what_was_granted(
            name in prop::sample::select(vec!["camera", "snapd-control"]), slot: bool,
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), 1u8..8), 0..10),
        ) {
            let side = if slot { InterfaceSide::Slot } else { InterfaceSide::Plug };
            let interface: Interface = name.parse().unwrap();
            let guarded = is_guarded(side, &interface);
            let mut rule: Option<Value> = None;
            let mut granted: BTreeMap<&str, BTreeSet<&str>> =
                [(AUTO_CONNECTION, BTreeSet::new()), (INSTALLATION, BTreeSet::new())].into();
            for (on, auto, bits) in steps {
                let attribute = if auto { Attribute::AutoConnection } else { Attribute::Installation };
                let scope = scope(bits);
                let named = || STORES.iter().copied().filter(|store| scope.iter().any(|one| one.as_str() == *store));
                let after = if on {
                    enable(rule.as_ref(), side, &interface, attribute, &scope).map(Some)
                } else {
                    disable(rule.as_ref(), side, &interface, attribute, &scope)
                };
                match after {
                    Ok(after) => {
                        rule = after;
                        let touched = granted.get_mut(attribute.key()).unwrap();
                        if on { touched.extend(named()) } else { named().for_each(|store| { touched.remove(store); }) }
                        if on && auto && guarded {
                            granted.get_mut(INSTALLATION).unwrap().extend(named());
                        }
                    }
                    Err(GrantRefusal::NotNeeded) => prop_assert!(!auto && !guarded),
                    Err(why) => prop_assert_eq!(why, GrantRefusal::Unchanged),
                }
                for store in STORES {
                    prop_assert_eq!(device(rule.as_ref(), AUTO_CONNECTION, store, guarded),
                        granted[AUTO_CONNECTION].contains(store), "{:?}", rule);
                    prop_assert_eq!(device(rule.as_ref(), INSTALLATION, store, guarded),
                        !guarded || granted[INSTALLATION].contains(store), "{:?}", rule);
                }
                prop_assert_eq!(rule.is_none(), granted.values().all(BTreeSet::is_empty));
            }
        }
    }
}
