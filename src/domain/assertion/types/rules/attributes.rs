//! Attribute constraints: nested maps of patterns that attributes (or headers, for account-key constraints) must match.

use std::collections::BTreeMap;

use super::super::super::headers::{Headers, Value};
use super::super::checks::{Checked, Fields, shown};
use super::regexp::Pattern;
use super::{Needed, format};

/// What a value must be like.
#[derive(Clone, Debug)]
pub(in super::super) enum Matcher {
    /// A map whose entries match these.
    Map(Vec<(String, Matcher)>),
    /// At least one of these.
    AnyOf(Vec<Matcher>),
    /// Not there at all.
    Missing,
    /// Text that matches.
    Pattern(Pattern),
}

/// Bounds the work of compiling the patterns of one assertion.
#[derive(Debug)]
pub(in super::super) struct Budget {
    left: usize,
}

impl Budget {
    /// The size of all patterns of one assertion together, in states of the compiled automata; some milliseconds.
    const STATES: usize = 20_000;

    /// A full budget.
    pub(in super::super) fn new() -> Self {
        Self { left: Self::STATES }
    }

    fn spend(&mut self, states: usize) -> bool {
        let enough = states <= self.left;
        self.left = self.left.saturating_sub(states);
        enough
    }
}

impl Matcher {
    /// The matcher of an account-key constraint: `wanted` names headers and what they must be like. Patterns are
    /// compiled when a key is used, which happens only to keys a root has signed: decoding a stranger's stays cheap.
    pub(in super::super) fn of_headers(wanted: &Fields<'_>, budget: &mut Budget) -> Checked<Self> {
        let mut dollars = |text: &str| (text == "$MISSING").then_some(Matcher::Missing);
        let mut patterns = |text: &str| {
            let pattern = Pattern::new(text)?;
            if !budget.spend(pattern.states()) {
                return Err("is too large".to_owned());
            }
            Ok(pattern)
        };
        Reader {
            dollars: &mut dollars,
            patterns: &mut patterns,
            alternatives: &mut || (),
        }
        .map(wanted)
    }

    /// Whether the headers of an assertion match.
    pub(in super::super) fn matches_headers(&self, headers: &Headers) -> bool {
        match self {
            Self::Map(entries) => entries
                .iter()
                .all(|(name, matcher)| matcher.matches_entry(headers.get(name))),
            Self::AnyOf(_) | Self::Missing | Self::Pattern(_) => false,
        }
    }

    /// Whether the headers of an assertion match, that named `open` left aside.
    pub(in super::super) fn matches_headers_but(&self, headers: &Headers, open: &str) -> bool {
        match self {
            Self::Map(entries) => entries
                .iter()
                .filter(|(name, _)| name != open)
                .all(|(name, matcher)| matcher.matches_entry(headers.get(name))),
            Self::AnyOf(_) | Self::Missing | Self::Pattern(_) => false,
        }
    }

    /// Whether the attributes of a plug or slot match.
    pub(super) fn matches_map(&self, attributes: &BTreeMap<String, Value>) -> bool {
        match self {
            Self::Map(entries) => entries
                .iter()
                .all(|(name, matcher)| matcher.matches_entry(attributes.get(name))),
            Self::AnyOf(alternatives) => alternatives.iter().any(|one| one.matches_map(attributes)),
            Self::Missing | Self::Pattern(_) => false,
        }
    }

    fn matches_entry(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Missing, value) => value.is_none(),
            (Self::Map(_) | Self::AnyOf(_) | Self::Pattern(_), None) => false,
            (Self::Map(_) | Self::AnyOf(_) | Self::Pattern(_), Some(value)) => self.matches(value),
        }
    }

    fn matches(&self, value: &Value) -> bool {
        if let (Self::Map(_) | Self::AnyOf(_) | Self::Pattern(_), Value::List(items)) = (self, value) {
            return items.iter().all(|item| self.matches(item));
        }
        match (self, value) {
            (Self::Map(entries), Value::Map(map)) => entries
                .iter()
                .all(|(name, matcher)| matcher.matches_entry(map.get(name))),
            (Self::AnyOf(alternatives), value) => alternatives.iter().any(|matcher| matcher.matches(value)),
            (Self::Pattern(pattern), Value::Text(text)) => pattern.matches(text),
            (Self::Map(_) | Self::Missing | Self::Pattern(_), _) => false,
        }
    }
}

/// The matcher of attribute constraint `name` of an interface rule, for one snap alone: none where the constraint cannot be
/// read, or compares with the other side.
pub(super) fn matcher(fields: &Fields<'_>, name: &str, value: &Value) -> Option<Matcher> {
    let mut budget = Budget::new();
    let mut reader = Reader {
        dollars: &mut |text| (text == "$MISSING").then_some(Matcher::Missing),
        patterns: &mut |text| {
            let pattern = Pattern::new(text)?;
            if !budget.spend(pattern.states()) {
                return Err("is too large".to_owned());
            }
            Ok(pattern)
        },
        alternatives: &mut || (),
    };
    reader.value(fields, name, value, Above::Nothing).ok()
}

/// Checks attribute constraint `name` of an interface rule.
pub(super) fn check_attributes(
    fields: &Fields<'_>,
    name: &str,
    value: &Value,
    needed: &mut Needed,
) -> Checked<()> {
    let mut wants = Needed::default();
    let mut alternatives = false;
    let mut dollars = |text: &str| {
        wants.raise(dollar_format(text)?);
        Some(Matcher::Missing)
    };
    let mut reader = Reader {
        dollars: &mut dollars,
        patterns: &mut Pattern::new,
        alternatives: &mut || alternatives = true,
    };
    reader.value(fields, name, value, Above::Nothing)?;
    needed.raise(wants.0);
    if alternatives {
        needed.raise(format::ALTERNATIVES);
    }
    Ok(())
}

/// The format iteration a `$...` constraint needs; none if there is no such constraint.
fn dollar_format(text: &str) -> Option<u32> {
    match text {
        "$MISSING" => return Some(format::DOLLAR_ATTRIBUTES),
        "$PLUG_PUBLISHER_ID" | "$SLOT_PUBLISHER_ID" => return Some(format::PUBLISHER_ID),
        _ => {}
    }
    let (operation, argument) = text.strip_prefix('$')?.split_once('(')?;
    let argument = argument.strip_suffix(')')?;
    let known = matches!(operation, "PLUG" | "SLOT" | "PLUG_COMPAT" | "SLOT_COMPAT");
    (known && !argument.is_empty() && !argument.contains(',')).then_some(format::DOLLAR_ATTRIBUTES)
}

/// What stands above a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Above {
    /// Nothing: it is the constraint as a whole.
    Nothing,
    /// A list of alternatives that is the constraint as a whole.
    TopAlternatives,
    /// A map, so that text is a pattern.
    Key,
    /// A list of alternatives below a map.
    Alternatives,
}

/// Reads constraints; the two users differ in what they make of `$...` and of patterns.
struct Reader<'r> {
    dollars: &'r mut dyn FnMut(&str) -> Option<Matcher>,
    patterns: &'r mut dyn FnMut(&str) -> Result<Pattern, String>,
    alternatives: &'r mut dyn FnMut(),
}

impl Reader<'_> {
    fn map(&mut self, fields: &Fields<'_>) -> Checked<Matcher> {
        let mut entries = Vec::with_capacity(fields.map().len());
        for (name, value) in fields.map() {
            entries.push((name.clone(), self.value(fields, name, value, Above::Key)?));
        }
        Ok(Matcher::Map(entries))
    }

    fn value(&mut self, fields: &Fields<'_>, name: &str, value: &Value, above: Above) -> Checked<Matcher> {
        match (value, above) {
            (Value::Map(map), _) => self.map(&Fields::nested(map, fields.path(name))),
            (Value::List(_), Above::Alternatives | Above::TopAlternatives) => {
                Err(fields.wrong(name, "must not have alternatives directly inside alternatives"))
            }
            (Value::List(items), Above::Nothing | Above::Key) => {
                (self.alternatives)();
                let inner = if above == Above::Key {
                    Above::Alternatives
                } else {
                    Above::TopAlternatives
                };
                let read = |(place, item): (usize, &Value)| {
                    self.value(fields, &format!("{name}/{place}"), item, inner)
                };
                items
                    .iter()
                    .enumerate()
                    .map(read)
                    .collect::<Checked<Vec<_>>>()
                    .map(Matcher::AnyOf)
            }
            (Value::Text(_), Above::Nothing | Above::TopAlternatives) => {
                Err(fields.wrong(name, "must be a map of attributes"))
            }
            (Value::Text(text), Above::Key | Above::Alternatives) => {
                let read = if text.starts_with('$') {
                    (self.dollars)(text).ok_or_else(|| "is no $ constraint allowed here".to_owned())
                } else {
                    (self.patterns)(text).map(Matcher::Pattern)
                };
                read.map_err(|problem| fields.wrong(name, format!("{problem}: {:?}", shown(text))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map<const N: usize>(entries: [(&str, Value); N]) -> BTreeMap<String, Value> {
        entries
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn matcher(wanted: &BTreeMap<String, Value>) -> Checked<Matcher> {
        Matcher::of_headers(
            &Fields::nested(wanted, "constraints/0/headers".to_owned()),
            &mut Budget::new(),
        )
    }

    fn list(items: &[&str]) -> Value {
        Value::List(items.iter().map(|item| Value::from(*item)).collect())
    }

    #[test]
    fn every_header_named_must_match_and_lists_in_every_part() {
        let wanted = map([
            ("model", "gate-[0-9]+".into()),
            ("stores", list(&["a", "b"])),
            ("gone", "$MISSING".into()),
            ("deep", Value::Map(map([("x", "1|2".into())]))),
        ]);
        let matcher = matcher(&wanted).unwrap();
        let good = map([
            ("model", "gate-22".into()),
            ("stores", list(&["b", "a"])),
            (
                "deep",
                Value::List(vec![
                    Value::Map(map([("x", "1".into())])),
                    Value::Map(map([("x", "2".into())])),
                ]),
            ),
            ("other", "is not looked at".into()),
        ]);
        assert!(matcher.matches_headers(&Headers(good.clone())));
        for (name, value) in [
            ("model", "gate-22x".into()),
            ("model", list(&["gate-1", "x"])),
            ("model", Value::Map(map([]))),
            ("stores", list(&["a", "c"])),
            ("gone", "".into()),
            ("deep", "1".into()),
        ] {
            let mut bad = good.clone();
            bad.insert(name.to_owned(), value);
            assert!(!matcher.matches_headers(&Headers(bad)), "{name}");
        }
        let mut absent = good;
        absent.remove("model");
        assert!(!matcher.matches_headers(&Headers(absent)));
    }

    #[test]
    fn patterns_of_a_key_are_bounded_together() {
        assert!(matcher(&map([("a", "x{900}".into())])).is_ok());
        assert!(matcher(&map([("a", "(\\pL{30}){30}".into())])).is_err());
        let many = Value::List((0..40).map(|_| Value::from("[a-z]{100}")).collect());
        assert!(matcher(&map([("a", many)])).is_err());
    }

    fn value(text: &'static str) -> impl Strategy<Value = Value> {
        text.prop_map(Value::from).prop_recursive(4, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                proptest::collection::btree_map("[a-c]", inner, 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_constraints_are_read_and_matched_without_panic(
            wanted in proptest::collection::btree_map("[a-c]", value("[$A-C().*|ab{}0-9]{0,8}|\\$MISSING|\\$SLOT\\(a\\)"), 0..4),
            headers in proptest::collection::btree_map("[a-c]", value("[ab.é]{0,4}"), 0..4),
        ) {
            if let Ok(matcher) = matcher(&wanted) {
                let _ = matcher.matches_headers(&Headers(headers));
            }
            let whole = Value::Map(wanted.clone());
            let fields = Fields::nested(&wanted, String::new());
            let _ = check_attributes(&fields, "plug-attributes", &whole, &mut Needed::default());
        }
    }
}
