//! Who calls a native path: `Authorization: Bearer hmk_…`. Reads the header; [`crate::app::authorize`] judges it.

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
    let token = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .and_then(|(scheme, rest)| {
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| TokenText::parse(rest.trim()))
                .flatten()
        });
    token.map_or(Presented::Unusable, Presented::Token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_bearer_token_is_usable() {
        let token = TokenText::generate(|buffer| buffer.fill(9));
        let good = format!("bearer {}", token.reveal());
        for (values, usable) in [
            (vec![good.as_str()], true),
            (vec!["Bearer hmk_short"], false),
            (vec!["Basic YTpi"], false),
            (vec!["hmk_"], false),
            (vec![""], false),
            (vec![good.as_str(), good.as_str()], false),
        ] {
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
