//! Who calls: reads the `Authorization` header in all forms that clients send (publisher-api.md 2, admin-api.md 2.2);
//! [`crate::app::authorize`] judges it. A `Macaroons` header is not looked at: only exchange calls have a use for it.

use std::convert::Infallible;

use http::HeaderMap;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use warp::Filter;

use super::fault::{Dialect, Fault};
use crate::app::{Reason, Refusal};
use crate::domain::access::TokenText;

/// What the `Authorization` header holds.
#[derive(Clone, Debug)]
pub enum Presented {
    /// There is none.
    Nothing,
    /// A token that can be one of ours.
    Token(TokenText),
    /// Anything else: another scheme, a mistyped token, two headers.
    Unusable,
}

impl Presented {
    /// The token for [`crate::app::authorize`]; what is unusable is refused like an unknown token.
    pub fn token(&self) -> Result<Option<&TokenText>, Refusal> {
        match self {
            Self::Nothing => Ok(None),
            Self::Token(token) => Ok(Some(token)),
            Self::Unusable => Err(Refusal::new(
                Reason::Unauthenticated,
                "invalid-token",
                "cannot accept the token: `Authorization: Bearer hmk_…` with a whole token is expected",
            )),
        }
    }
}

/// What the caller presents; never rejects.
pub fn presented() -> impl Filter<Extract = (Presented,), Error = Infallible> + Clone + Send + Sync + 'static
{
    warp::header::headers_cloned().map(|headers: HeaderMap| read(&headers))
}

/// Adds the challenge a 401 has to carry.
pub fn challenge<D: Dialect>(fault: Fault<D>) -> Fault<D> {
    if fault.status() == http::StatusCode::UNAUTHORIZED {
        fault.with_header(WWW_AUTHENTICATE, "Bearer realm=\"hallmark\"")
    } else {
        fault
    }
}

fn read(headers: &HeaderMap) -> Presented {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Presented::Nothing,
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Presented::Unusable,
    };
    let token = value.to_str().ok().and_then(token);
    token.map_or(Presented::Unusable, Presented::Token)
}

/// A token in one of the forms: `Bearer hmk_…`, `Macaroon hmk_…`, `Macaroon root="hmk_…"`, with or without quotes, the
/// scheme and `root` in any case.
pub(super) fn token(header: &str) -> Option<TokenText> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") && !scheme.eq_ignore_ascii_case("macaroon") {
        return None;
    }
    let bare = parameter(rest, "root").unwrap_or(rest);
    TokenText::parse(unquoted(bare.trim()))
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
            assert_eq!(matches!(presented, Presented::Token(_)), usable, "{values:?}");
            assert_eq!(presented.token().is_ok(), usable);
        }
        assert!(matches!(read(&HeaderMap::new()), Presented::Nothing));
    }
}
