//! The checks every type is made of: reading the entries of a map (the headers, or one within them) as text,
//! number, time, list..., and saying by path which entry is wrong.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::headers::{HeaderError, Headers, Value};
use super::super::public_key::PublicKey;
use crate::domain::time::Timestamp;

/// Shows at most this much of a refused value.
const SHOWN: usize = 64;

/// The result of reading a header.
pub(super) type Checked<T> = Result<T, HeaderError>;

/// The entries of one map, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    map: &'a BTreeMap<String, Value>,
    /// Path of the map, empty for the headers.
    at: String,
}

impl<'a> Fields<'a> {
    /// The headers of an assertion.
    pub(super) fn of(headers: &'a Headers) -> Self {
        Self {
            map: &headers.0,
            at: String::new(),
        }
    }

    /// The entries of `map`, which stands at `at`.
    pub(super) fn nested(map: &'a BTreeMap<String, Value>, at: String) -> Self {
        Self { map, at }
    }

    /// The map itself.
    pub(super) fn map(&self) -> &'a BTreeMap<String, Value> {
        self.map
    }

    /// The path of entry `name`.
    pub(super) fn path(&self, name: &str) -> String {
        if self.at.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.at)
        }
    }

    /// An error about entry `name`.
    pub(super) fn wrong(&self, name: &str, problem: impl Into<String>) -> HeaderError {
        HeaderError::new(self.path(name), problem)
    }

    /// An error about the map as a whole.
    pub(super) fn wrong_here(&self, problem: impl Into<String>) -> HeaderError {
        HeaderError::new(self.at.clone(), problem)
    }

    /// Whether entry `name` is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// Entry `name` as it is.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    /// Refuses entry `name`, with `reason` as the end of a sentence.
    pub(super) fn absent(&self, name: &str, reason: &str) -> Checked<()> {
        if self.has(name) {
            Err(self.wrong(name, reason))
        } else {
            Ok(())
        }
    }

    /// A string that may be left out.
    pub(super) fn optional(&self, name: &str) -> Checked<Option<&'a str>> {
        match self.map.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::List(_) | Value::Map(_)) => Err(self.wrong(name, "must be a string")),
        }
    }

    /// A string that may be left out or empty, both meaning none.
    pub(super) fn optional_filled(&self, name: &str) -> Checked<Option<&'a str>> {
        Ok(self.optional(name)?.filter(|text| !text.is_empty()))
    }

    /// A string, perhaps empty.
    pub(super) fn text(&self, name: &str) -> Checked<&'a str> {
        self.optional(name)?
            .ok_or_else(|| self.wrong(name, "is mandatory"))
    }

    /// A string that is not empty.
    pub(super) fn filled(&self, name: &str) -> Checked<&'a str> {
        let text = self.text(name)?;
        if text.is_empty() {
            Err(self.wrong(name, "must not be empty"))
        } else {
            Ok(text)
        }
    }

    /// A string that `valid` accepts; `what` names what it should be.
    pub(super) fn named(&self, name: &str, what: &str, valid: fn(&str) -> bool) -> Checked<&'a str> {
        let text = self.filled(name)?;
        if valid(text) {
            Ok(text)
        } else {
            Err(self.not_a(name, what, text))
        }
    }

    /// One of `choices`; none where it is left out or empty.
    pub(super) fn choice(&self, name: &str, choices: &[&str]) -> Checked<Option<&'a str>> {
        match self.optional_filled(name)? {
            Some(text) if !choices.contains(&text) => Err(self.wrong(
                name,
                format!("must be one of {}, not {:?}", choices.join(", "), shown(text)),
            )),
            found => Ok(found),
        }
    }

    /// `true` or `false`; left out means false.
    pub(super) fn flag(&self, name: &str) -> Checked<bool> {
        match self.map.get(name).map(Value::as_text) {
            None => Ok(false),
            Some(Some("true")) => Ok(true),
            Some(Some("false")) => Ok(false),
            Some(Some(_) | None) => Err(self.wrong(name, "must be 'true' or 'false'")),
        }
    }

    /// A whole number of at least 1 in canonical form (assertions.md 1.5, refusing `+3` and the like).
    pub(super) fn positive(&self, name: &str) -> Checked<u64> {
        positive(self.filled(name)?).map_err(|problem| self.wrong(name, problem))
    }

    /// Like [`Self::positive`], where the entry may be left out.
    pub(super) fn optional_positive(&self, name: &str) -> Checked<Option<u64>> {
        if self.has(name) {
            self.positive(name).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A whole number of at least 0 in canonical form.
    pub(super) fn unsigned(&self, name: &str) -> Checked<u64> {
        unsigned(self.filled(name)?).map_err(|problem| self.wrong(name, problem))
    }

    /// An RFC 3339 time.
    pub(super) fn time(&self, name: &str) -> Checked<Timestamp> {
        let text = self.filled(name)?;
        text.parse()
            .map_err(|_| self.not_a(name, "an RFC 3339 time such as 2026-01-31T10:00:00Z", text))
    }

    /// An RFC 3339 time that may be left out.
    pub(super) fn optional_time(&self, name: &str) -> Checked<Option<Timestamp>> {
        if self.has(name) {
            self.time(name).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A SHA3-384 digest: unpadded base64url of 48 bytes.
    pub(super) fn digest(&self, name: &str) -> Checked<&'a str> {
        let text = self.filled(name)?;
        match URL_SAFE_NO_PAD.decode(text) {
            Ok(bytes) if bytes.len() == 48 => Ok(text),
            Ok(_) | Err(_) => Err(self.not_a(name, "a SHA3-384 digest (64 characters of base64url)", text)),
        }
    }

    /// A list of strings; empty where it is left out.
    pub(super) fn texts(&self, name: &str) -> Checked<Vec<String>> {
        self.list(name)?
            .iter()
            .map(|item| item.as_text().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| self.wrong(name, "must be a list of strings"))
    }

    /// A list of strings that `valid` accepts; `what` names what each should be.
    pub(super) fn names(&self, name: &str, what: &str, valid: fn(&str) -> bool) -> Checked<Vec<String>> {
        let texts = self.texts(name)?;
        match texts.iter().find(|text| !valid(text)) {
            Some(text) => Err(self.wrong(
                name,
                format!("must be a list of {what}, but has {:?}", shown(text)),
            )),
            None => Ok(texts),
        }
    }

    /// A list; empty where it is left out.
    pub(super) fn list(&self, name: &str) -> Checked<&'a [Value]> {
        match self.map.get(name) {
            None => Ok(&[]),
            Some(Value::List(list)) => Ok(list),
            Some(Value::Text(_) | Value::Map(_)) => Err(self.wrong(name, "must be a list")),
        }
    }

    /// A list of maps; empty where it is left out.
    pub(super) fn maps(&self, name: &str) -> Checked<Vec<Fields<'a>>> {
        let item = |(place, value): (usize, &'a Value)| match value {
            Value::Map(map) => Ok(Fields::nested(map, self.path(&format!("{name}/{place}")))),
            Value::Text(_) | Value::List(_) => Err(self.wrong(name, "must be a list of maps")),
        };
        self.list(name)?.iter().enumerate().map(item).collect()
    }

    /// A list of maps that must be there.
    pub(super) fn mandatory_maps(&self, name: &str) -> Checked<Vec<Fields<'a>>> {
        if self.has(name) {
            self.maps(name)
        } else {
            Err(self.wrong(name, "is mandatory"))
        }
    }

    /// A map that may be left out.
    pub(super) fn optional_map(&self, name: &str) -> Checked<Option<Fields<'a>>> {
        match self.map.get(name) {
            None => Ok(None),
            Some(Value::Map(map)) => Ok(Some(Fields::nested(map, self.path(name)))),
            Some(Value::Text(_) | Value::List(_)) => Err(self.wrong(name, "must be a map")),
        }
    }

    /// An RSA public key in the encoding of assertions.md 2.1.
    pub(super) fn public_key(&self, name: &str) -> Checked<PublicKey> {
        self.decode_key(name, self.filled(name)?)
    }

    /// Decodes `encoded` as the public key that entry `name` stands for.
    pub(super) fn decode_key(&self, name: &str, encoded: &str) -> Checked<PublicKey> {
        PublicKey::decode(encoded).map_err(|error| self.wrong(name, format!("is not usable: {error}")))
    }

    /// Refuses a start after the end, the latter being entry `until`.
    pub(super) fn in_order(&self, until: &str, start: Timestamp, end: Option<Timestamp>) -> Checked<()> {
        match end {
            Some(end) if end < start => Err(self.wrong(until, "must not be before the start of validity")),
            Some(_) | None => Ok(()),
        }
    }

    /// "entry must be `what`, not ...".
    pub(super) fn not_a(&self, name: &str, what: &str, text: &str) -> HeaderError {
        self.wrong(name, format!("must be {what}, not {:?}", shown(text)))
    }
}

/// A whole number of at least 1, canonical, at most 2^63 - 1.
pub(super) fn positive(text: &str) -> Result<u64, String> {
    match unsigned(text)? {
        0 => Err("must be at least 1".to_owned()),
        number if number > i64::MAX as u64 => Err(format!("is out of range: {text}")),
        number => Ok(number),
    }
}

/// A whole number of at least 0, canonical: digits only, no leading zeros.
pub(super) fn unsigned(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("must be a whole number, not {:?}", shown(text)));
    }
    if text.starts_with('0') && text != "0" {
        return Err(format!("must not have leading zeros: {:?}", shown(text)));
    }
    text.parse()
        .map_err(|_| format!("is out of range: {:?}", shown(text)))
}

/// Whether `value` is, or has inside, an empty list or map, which cannot be written.
pub(super) fn has_empty_part(value: &Value) -> bool {
    match value {
        Value::Text(_) => false,
        Value::List(items) => items.is_empty() || items.iter().any(has_empty_part),
        Value::Map(entries) => entries.is_empty() || entries.values().any(has_empty_part),
    }
}

/// A refused value, cut to a length that fits a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_in_their_canonical_form_only() {
        assert_eq!(unsigned("0"), Ok(0));
        assert_eq!(unsigned("18446744073709551615"), Ok(u64::MAX));
        for bad in [
            "",
            "+1",
            "-1",
            "-0",
            "01",
            "00",
            "1.0",
            "0x1",
            "1_0",
            " 3",
            "18446744073709551616",
            "١",
        ] {
            assert!(unsigned(bad).is_err(), "{bad:?}");
        }
        assert_eq!(positive("9223372036854775807"), Ok(i64::MAX as u64));
        assert!(positive("0").is_err());
        assert!(positive("9223372036854775808").is_err());
    }
}
