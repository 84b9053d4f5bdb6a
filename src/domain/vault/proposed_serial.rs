//! The serial a device asks for: header `serial` of its request, else key `serial` of the request's body.

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::domain::ident::SerialNumber;

/// Why a request names no serial that can be issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// Neither header nor body has one.
    #[error(
        "the request names no serial: set registration.proposed-serial, or `serial` in registration.body"
    )]
    Missing,
    /// It has one that cannot be a serial.
    #[error(
        "{0:?} cannot be a serial: at most 200 bytes, no `/`, no control characters, no spaces at the ends"
    )]
    Unusable(String),
}

/// The serial a request asks for. The header wins: where it is there and not empty the body is not even read, as in
/// older vaults. In the body every YAML scalar counts by its source text, so `serial: 0012345` stays `0012345`.
pub fn proposed_serial(header: Option<&str>, body: &[u8]) -> Result<SerialNumber, ProposalError> {
    let text = match header {
        Some(text) if !text.is_empty() => text.to_owned(),
        Some(_) | None => serial_in_body(body).ok_or(ProposalError::Missing)?,
    };
    text.parse()
        .map_err(|_| ProposalError::Unusable(text.chars().take(64).collect()))
}

/// The text of key `serial` at the top level of a YAML (or JSON) body; none if there is no such scalar.
fn serial_in_body(body: &[u8]) -> Option<String> {
    if body.is_empty() {
        return None;
    }
    let Top(serial) = serde_yaml::from_slice(body).ok()?;
    serial.filter(|text| !text.is_empty())
}

/// The top level of the body: only `serial` is looked at. Every other key may hold whatever it likes.
struct Top(Option<String>);

impl<'de> Deserialize<'de> for Top {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top, A::Error> {
        let mut serial = None;
        while let Some(Name(is_serial)) = map.next_key()? {
            if is_serial {
                // `Option` sees a plain null, `String` takes any other scalar by its source text.
                serial = map.next_value::<Option<String>>()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Top(serial))
    }
}

/// Whether a key is `serial`; keys that are no scalars are none of ours.
struct Name(bool);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self(name == "serial"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_body(body: &str) -> Option<String> {
        proposed_serial(None, body.as_bytes())
            .ok()
            .map(|serial| serial.to_string())
    }

    #[test]
    fn yaml_scalars_count_by_their_source_text() {
        for (body, serial) in [
            ("serial: 12345\n", "12345"),
            ("serial: 0012345\n", "0012345"),
            ("serial: 0x1F", "0x1F"),
            ("serial: 1e3", "1e3"),
            ("serial: 1_000", "1_000"),
            ("serial: 12.50", "12.50"),
            ("serial: true", "true"),
            ("serial: 99999999999999999999999999", "99999999999999999999999999"),
            ("serial: -7", "-7"),
            ("serial: 'A B'", "A B"),
            ("serial: \"0012\"\nmac: 00:11", "0012"),
            ("mac: [1, {a: b}]\nserial: S1\nother: ~", "S1"),
            ("{\"serial\": \"J1\", \"x\": [1,2]}", "J1"),
            ("{\"serial\": 77}", "77"),
            ("1: x\nserial: S2", "S2"),
        ] {
            assert_eq!(from_body(body).as_deref(), Some(serial), "{body}");
        }
    }

    #[test]
    fn a_body_without_a_scalar_serial_names_none() {
        for body in [
            "",
            "serial:",
            "serial: ~",
            "serial: null",
            "serial: ''",
            "serial: [1]",
            "serial: {a: b}",
            "- serial",
            "plain text",
            "mac: 00",
            "serial: [",
            "\u{0}",
            "a: &a [*a]\nserial: x\n---\nserial: y",
        ] {
            assert_eq!(from_body(body), None, "{body}");
            assert_eq!(
                proposed_serial(None, body.as_bytes()),
                Err(ProposalError::Missing),
                "{body}"
            );
        }
    }

    #[test]
    fn the_header_wins_and_an_empty_one_does_not_count() {
        assert_eq!(
            proposed_serial(Some("H"), b"serial: B").map(|s| s.to_string()),
            Ok("H".to_owned())
        );
        assert_eq!(
            proposed_serial(Some(""), b"serial: B").map(|s| s.to_string()),
            Ok("B".to_owned())
        );
    }

    #[test]
    fn what_cannot_be_a_primary_key_is_refused() {
        for bad in ["a/b", "a\nb", " a", "a ", &"x".repeat(201)] {
            assert!(
                matches!(proposed_serial(Some(bad), b""), Err(ProposalError::Unusable(_))),
                "{bad}"
            );
        }
        assert!(proposed_serial(Some("SN 1 é"), b"").is_ok());
    }
}
