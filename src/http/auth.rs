//! Who calls: reads the `Authorization` header in all forms that clients send (publisher-api.md 2, admin-api.md 2.2);
//! [`crate::app::authorize`] judges it. Where there is none, macaroons may come as a list in a `Macaroons` header. `fioctl`
//! has a header of its own.

use std::convert::Infallible;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use warp::Filter;
use zeroize::Zeroizing;

use super::fault::{Dialect, Fault};
use crate::app::credentials::Credential;
use crate::app::{Reason, Refusal};
use crate::domain::access::TokenText;

/// What the caller's headers hold.
#[derive(Clone, Debug)]
pub enum Presented {
    /// There is none.
    Nothing,
    /// Something that can be ours.
    Credential(Credential),
    /// Anything else: another scheme, a mistyped token, two headers.
    Unusable,
}

impl Presented {
    /// The credential for [`crate::app::authorize`]; what is unusable is refused like an unknown token.
    pub fn credential(&self) -> Result<Option<&Credential>, Refusal> {
        match self {
            Self::Nothing => Ok(None),
            Self::Credential(credential) => Ok(Some(credential)),
            Self::Unusable => Err(Refusal::new(
                Reason::Unauthenticated,
                "invalid-token",
                "cannot accept the token: `Authorization: Bearer hmk_…` with a whole token is expected, or macaroons",
            )),
        }
    }
}

/// What the caller presents, where clients of the dialect put it; never rejects.
pub fn presented<D: Dialect>()
-> impl Filter<Extract = (Presented,), Error = Infallible> + Clone + Send + Sync + 'static {
    warp::header::headers_cloned().map(|headers: HeaderMap| D::presented(&headers))
}

/// Adds the challenge a 401 has to carry.
pub fn challenge<D: Dialect>(fault: Fault<D>) -> Fault<D> {
    if fault.status() == http::StatusCode::UNAUTHORIZED {
        // Clients compare the whole header.
        let value = match fault.code() {
            "macaroon-needs-refresh" => "Macaroon needs_refresh=1",
            _ => "Bearer realm=\"hallmark\"",
        };
        fault.with_header(WWW_AUTHENTICATE, value)
    } else {
        fault
    }
}

/// What `fioctl` presents (waves-and-registration.md A.4): a token in a header of its own, else base64 of one behind
/// `Bearer`. The former is what it was told on the command line and counts where there are both.
pub(super) fn of_fioctl(headers: &HeaderMap) -> Presented {
    let mut values = headers.get_all("osf-token").iter();
    let token = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(|text| TokenText::parse(text.trim())),
        (Some(_), Some(_)) => None,
        (None, _) => {
            let mut values = headers.get_all(AUTHORIZATION).iter();
            return match (values.next().and_then(wrapped), values.next()) {
                (Some(token), None) => Presented::Credential(Credential::Token(token)),
                (_, _) => read(headers),
            };
        }
    };
    token.map_or(Presented::Unusable, |token| {
        Presented::Credential(Credential::Token(token))
    })
}

/// The token in `Bearer <base64 of a token>`.
fn wrapped(header: &HeaderValue) -> Option<TokenText> {
    let (scheme, rest) = header.to_str().ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let bytes = Zeroizing::new(STANDARD.decode(rest.trim()).ok()?);
    TokenText::parse(std::str::from_utf8(&bytes).ok()?)
}

pub(super) fn read(headers: &HeaderMap) -> Presented {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return listed(headers),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Presented::Unusable,
    };
    let credential = value.to_str().ok().and_then(credential);
    credential.map_or(Presented::Unusable, Presented::Credential)
}

/// The `Macaroons` header; an empty one is none.
fn listed(headers: &HeaderMap) -> Presented {
    let Some(value) = headers.get("macaroons") else {
        return Presented::Nothing;
    };
    match value.to_str().map(str::trim) {
        Ok("") => Presented::Nothing,
        Ok(text) => list(text).map_or(Presented::Unusable, Presented::Credential),
        Err(_) => Presented::Unusable,
    }
}

/// The macaroons of a `Macaroons` header: base64 of a JSON list, the root first. Each is a text, or an object in the
/// JSON form of macaroons.
fn list(header: &str) -> Option<Credential> {
    let text = header.trim_end_matches('=');
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .ok()?;
    let list: Vec<Value> = serde_json::from_slice(&bytes).ok()?;
    let mut texts = list.iter().map(|one| match one {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    match (texts.next(), texts.next(), texts.next()) {
        (Some(single), None, _) => Some(Credential::Single(single.into())),
        (Some(root), Some(discharge), None) => Some(Credential::Pair {
            root: root.into(),
            discharge: discharge.into(),
        }),
        (_, _, _) => None,
    }
}

/// A credential in one of the forms, the scheme and names of parameters in any case, with or without quotes:
/// `Bearer hmk_…`, `Macaroon hmk_…`, `Macaroon root="hmk_…"`, `Macaroon root="…", discharge="…"`, `Macaroon …`.
pub(super) fn credential(header: &str) -> Option<Credential> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    let is_macaroon = scheme.eq_ignore_ascii_case("macaroon");
    if !is_macaroon && !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let root = parameter(rest, "root");
    let first = unquoted(root.unwrap_or(rest).trim());
    if let Some(token) = TokenText::parse(first) {
        return Some(Credential::Token(token));
    }
    // An opaque text of ours came from an exchange; clients put it behind either scheme.
    let text = |text: &str| good_text(text).then(|| text.to_owned().into());
    match (root, parameter(rest, "discharge")) {
        (Some(_), Some(discharge)) if is_macaroon => Some(Credential::Pair {
            root: text(first)?,
            discharge: text(unquoted(discharge))?,
        }),
        (Some(_), None) if is_macaroon => Some(Credential::Single(text(first)?)),
        (None, None) if !first.starts_with("hmk_") => Some(Credential::Single(text(first)?)),
        (Some(_) | None, _) => None,
    }
}

/// Whether this can be base64, of whichever alphabet.
fn good_text(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_+/=".contains(&byte))
}

/// The value of a parameter in `name=value, name="value"`.
fn parameter<'h>(parameters: &'h str, name: &str) -> Option<&'h str> {
    parameters.split(',').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_token_is_read_in_all_forms() {
        let token = TokenText::generate(|buffer| buffer.fill(9));
        let token = token.reveal();
        let good = format!("bearer {token}");
        let form = |form: &str| form.replace('T', token);
        let forms = [
            "Bearer T",
            "Macaroon T",
            "macaroon T",
            "MACAROON  T",
            "Macaroon \"T\"",
            "Macaroon root=T",
            "macaroon root=\"T\"",
            "Macaroon Root=\"T\", discharge=\"x\"",
            "Macaroon discharge=x, root=T",
        ]
        .map(form);
        let bad = [
            "Basic T",
            "T",
            "BearerT",
            "Macaroon root=\"T",
            "Macaroon root=",
            "Macaroon T T",
        ]
        .map(form);
        let forms = forms.iter().map(|form| (vec![form.as_str()], true));
        let bad = bad.iter().map(|form| (vec![form.as_str()], false));
        for (values, usable) in forms.chain(bad).chain([
            (vec!["Bearer hmk_short"], false),
            (vec!["Basic YTpi"], false),
            (vec!["hmk_"], false),
            (vec![""], false),
            (vec![good.as_str(), good.as_str()], false),
        ]) {
            let headers = values
                .iter()
                .map(|value| (AUTHORIZATION, value.parse().unwrap()))
                .collect();
            let presented = read(&headers);
            assert_eq!(
                matches!(presented, Presented::Credential(Credential::Token(_))),
                usable,
                "{values:?}"
            );
        }
        assert!(matches!(read(&HeaderMap::new()), Presented::Nothing));
    }

    #[test]
    fn fioctl_has_a_header_of_its_own_or_wraps_its_token() {
        let token = |byte| {
            TokenText::generate(|buffer| buffer.fill(byte))
                .reveal()
                .to_owned()
        };
        let (one, other) = (token(9), token(8));
        let bearer = |text: &str| format!("Bearer {text}");
        let wrapped = bearer(&STANDARD.encode(&one));
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: [Case<'_>; 12] = [
            (&[("osf-token", &one)], Some(&one)),
            (&[("authorization", &wrapped)], Some(&one)),
            (
                &[("authorization", &wrapped.replace("Bearer", "bearer"))],
                Some(&one),
            ),
            (&[("authorization", &bearer(&other))], Some(&other)),
            (
                &[("osf-token", &other), ("authorization", &wrapped)],
                Some(&other),
            ),
            // Nothing is tried after what was meant.
            (&[("osf-token", "hmk_short"), ("authorization", &wrapped)], None),
            (&[("osf-token", ""), ("authorization", &wrapped)], None),
            (&[("osf-token", &one), ("osf-token", &one)], None),
            (&[("authorization", &wrapped), ("authorization", &wrapped)], None),
            (&[("authorization", &wrapped.replace("Bearer", "Basic"))], None),
            (&[("authorization", &bearer(&STANDARD.encode("hmk_short")))], None),
            (&[], None),
        ];
        for (headers, expected) in cases {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(
                    http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    value.parse().unwrap(),
                );
            }
            let found = match of_fioctl(&map) {
                Presented::Credential(Credential::Token(token)) => Some(token.reveal().to_owned()),
                _ => None,
            };
            assert_eq!(found.as_deref(), expected, "{headers:?}");
            // Elsewhere that header says nothing.
            if headers.iter().all(|(name, _)| *name == "osf-token") {
                assert!(matches!(read(&map), Presented::Nothing), "{headers:?}");
            }
        }
    }

    #[test]
    fn lists_of_macaroons_are_read_in_either_base64() {
        let text = r#"["root??>", {"i":"discharge"}]"#;
        for header in [
            STANDARD_NO_PAD.encode(text),
            URL_SAFE_NO_PAD.encode(text),
            format!("{}==", STANDARD_NO_PAD.encode(text)),
        ] {
            let Some(Credential::Pair { root, discharge }) = list(&header) else {
                panic!("a pair");
            };
            assert_eq!(
                (root.as_str(), discharge.as_str()),
                ("root??>", r#"{"i":"discharge"}"#)
            );
        }
        for bad in ["[]", "{}", "[1,2,3]", "x"] {
            assert!(list(&STANDARD_NO_PAD.encode(bad)).is_none(), "{bad}");
        }
        assert!(list("DISCHARGED").is_none());
    }

    #[test]
    fn the_list_counts_where_there_is_no_other_credential() {
        let token = TokenText::generate(|buffer| buffer.fill(9));
        let header = |authorization: Option<&str>, list: &str| {
            let mut headers = HeaderMap::new();
            if let Some(value) = authorization {
                headers.insert(AUTHORIZATION, value.parse().unwrap());
            }
            headers.insert("macaroons", list.parse().unwrap());
            read(&headers)
        };
        let one = URL_SAFE_NO_PAD.encode(r#"["abc"]"#);
        assert!(matches!(header(None, ""), Presented::Nothing));
        assert!(matches!(header(None, "x"), Presented::Unusable));
        assert!(matches!(
            header(None, &one),
            Presented::Credential(Credential::Single(_))
        ));
        let bearer = format!("Bearer {}", token.reveal());
        assert!(matches!(
            header(Some(&bearer), &one),
            Presented::Credential(Credential::Token(_))
        ));
        assert!(matches!(header(Some("Basic x"), &one), Presented::Unusable));
    }
}
