//! Path segments, decoded. Warp hands over `x%20y%2Fz` as it is: use [`segment`] instead of `warp::path::param`.

use std::convert::Infallible;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use warp::Filter;

use crate::domain::ident::BrandId;

/// One path segment, percent-decoded and parsed; one that does not parse does not match (404):
/// `warp::path!("hallmark" / "v1" / "models" / ..).and(segment::<ModelName>()).and(warp::path::end())`.
pub fn segment<T>() -> impl Filter<Extract = (T,), Error = warp::Rejection> + Copy + Send + Sync + 'static
where
    T: FromStr + Send + 'static,
{
    warp::path::param().map(|Segment(value): Segment<T>| value)
}

struct Segment<T>(T);

impl<T: FromStr> FromStr for Segment<T> {
    type Err = ();

    fn from_str(raw: &str) -> Result<Self, ()> {
        decode(raw)
            .and_then(|text| text.parse().ok())
            .map(Segment)
            .ok_or(())
    }
}

/// All remaining segments, decoded; at least one, none empty but for a final slash. For `{key...}` paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest(pub Vec<String>);

/// The remaining segments of the path.
pub fn rest() -> impl Filter<Extract = (Rest,), Error = warp::Rejection> + Copy + Send + Sync + 'static {
    warp::path::tail().and_then(|tail: warp::path::Tail| {
        let raw = tail.as_str();
        let segments: Option<Vec<String>> = raw
            .strip_suffix('/')
            .unwrap_or(raw)
            .split('/')
            .map(|part| decode(part).filter(|p| !p.is_empty()))
            .collect();
        std::future::ready(segments.map(Rest).ok_or_else(warp::reject::not_found))
    })
}

/// The brand in front of a vault path (`/{brand}/v1/serial`), where there was one. The router takes it off before
/// the path is matched, so filters only ever see `/v1/...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrandPrefix(pub BrandId);

/// The brand prefix of a vault path, if any.
pub fn brand_prefix() -> impl Filter<Extract = (Option<BrandPrefix>,), Error = Infallible> + Copy {
    warp::ext::optional::<BrandPrefix>()
}

fn decode(raw: &str) -> Option<String> {
    percent_decode_str(raw)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ident::{ModelName, SerialNumber};

    #[test]
    fn segments_are_decoded_before_they_are_parsed() {
        assert_eq!(
            "SN%201%C3%A9"
                .parse::<Segment<SerialNumber>>()
                .unwrap()
                .0
                .as_str(),
            "SN 1é"
        );
        assert!("a%2Fb".parse::<Segment<SerialNumber>>().is_err());
        assert!("%FF".parse::<Segment<String>>().is_err());
        assert!("Model".parse::<Segment<ModelName>>().is_err());
    }
}
