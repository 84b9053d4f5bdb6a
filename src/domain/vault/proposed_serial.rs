//! The serial a device asks for: header `serial` of its request, else key `serial` of the request's body.

use crate::domain::ident::SerialNumber;
use crate::domain::yaml::{self, Node};

/// Why a request names no serial that can be issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// Neither header nor body has one.
    #[error(
        "the request names no serial: set registration.proposed-serial, or `serial` in registration.body"
    )]
    Missing,
    /// The body, where the serial would be, is no YAML or too much of it.
    #[error("the request's body {0}")]
    Unreadable(String),
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
        Some(_) | None => serial_in_body(body)?.ok_or(ProposalError::Missing)?,
    };
    text.parse()
        .map_err(|_| ProposalError::Unusable(text.chars().take(64).collect()))
}

/// The text of key `serial` at the top level of a YAML (or JSON) body; none if there is no such scalar. Every other key
/// may hold whatever it likes, within the bounds of the reader.
fn serial_in_body(body: &[u8]) -> Result<Option<String>, ProposalError> {
    let refuse = |why: String| ProposalError::Unreadable(why);
    let text = str::from_utf8(body).map_err(|_| refuse("is not UTF-8".to_owned()))?;
    let Node::Map(entries) = yaml::parse(text).map_err(refuse)? else {
        return Ok(None);
    };
    let serial = entries.into_iter().find(|(name, _)| name == "serial");
    Ok(match serial {
        Some((_, Node::Text(text))) if !text.is_empty() => Some(text),
        _ => None,
    })
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
        ] {
            assert_eq!(
                proposed_serial(None, body.as_bytes()),
                Err(ProposalError::Missing),
                "{body}"
            );
        }
    }

    #[test]
    fn a_body_that_cannot_be_read_is_refused_and_says_why() {
        let mut bomb = String::from("serial: S1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        for (body, why) in [
            (bomb.as_str(), "there is too much of it, with what aliases repeat"),
            (&format!("serial: {}", "[".repeat(1000)), "is nested too deeply"),
            (&format!("serial: S1\nx: {}", "x".repeat(300_000)), "300014 bytes"),
            ("serial: [", "is not valid YAML"),
            ("\u{0}", "is not valid YAML"),
            ("serial: x\n---\nserial: y", "is not valid YAML"),
            ("serial: x\nserial: y", "the key \"serial\" stands there twice"),
        ] {
            let started = std::time::Instant::now();
            let refused = proposed_serial(None, body.as_bytes()).unwrap_err();
            assert!(matches!(refused, ProposalError::Unreadable(_)), "{refused:?}");
            assert!(refused.to_string().contains(why), "{refused}");
            assert!(started.elapsed() < std::time::Duration::from_secs(3), "{why}");
        }
        let refused = proposed_serial(None, b"serial: \xff").unwrap_err();
        assert_eq!(refused.to_string(), "the request's body is not UTF-8");
        // What is not read cannot hurt.
        assert!(proposed_serial(Some("H"), bomb.as_bytes()).is_ok());
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
