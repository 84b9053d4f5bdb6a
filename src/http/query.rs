//! Query strings. A key given twice is refused with 400 unless the endpoint takes a list: last-one-wins hides typing
//! errors and lets two readers of one request disagree. Unknown keys are ignored, since clients send fields of later
//! versions; native endpoints refuse them with [`Query::only`].

use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;

use url::form_urlencoded;
use warp::Filter;

use super::fault::{Dialect, Fault};

/// The decoded pairs of a query string, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

/// The query of the request; empty where there is none.
pub fn query() -> impl Filter<Extract = (Query,), Error = Infallible> + Clone + Send + Sync + 'static {
    warp::query::raw()
        .or(warp::any().map(String::new))
        .unify()
        .map(|raw: String| Query(form_urlencoded::parse(raw.as_bytes()).into_owned().collect()))
}

impl Query {
    /// The value of `name`; refused if it is given more than once.
    pub fn one<D: Dialect>(&self, name: &str) -> Result<Option<&str>, Fault<D>> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Fault::invalid(
                "invalid-request",
                format!("cannot read the query: {name:?} is given twice"),
            )),
        }
    }

    /// The value of `name` as `T`; refused if it is given more than once or does not parse.
    pub fn parse<T, D>(&self, name: &str) -> Result<Option<T>, Fault<D>>
    where
        T: FromStr,
        T::Err: Display,
        D: Dialect,
    {
        self.one(name)?
            .map(|text| {
                text.parse().map_err(|e| {
                    Fault::invalid("invalid-request", format!("cannot read the query: {name:?}: {e}"))
                })
            })
            .transpose()
    }

    /// All values of `name`, for endpoints that take several.
    pub fn all<'q>(&'q self, name: &str) -> impl Iterator<Item = &'q str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of `name`; empty where it is missing or given twice. For pages, which show then what there is without it.
    pub fn once(&self, name: &str) -> &str {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => value,
            (None, _) | (Some(_), Some(_)) => "",
        }
    }

    /// Refuses keys other than `names`.
    pub fn only<D: Dialect>(&self, names: &[&str]) -> Result<(), Fault<D>> {
        let unknown = self.0.iter().find(|(key, _)| !names.contains(&key.as_str()));
        let Some((key, _)) = unknown else { return Ok(()) };
        let why = if names.is_empty() {
            format!("this path takes none, but there is {key:?}")
        } else {
            format!("{key:?} is not one of {}", names.join(", "))
        };
        Err(Fault::invalid(
            "invalid-request",
            format!("cannot read the query: {why}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::NativeDialect;
    use super::*;

    #[test]
    fn a_key_given_twice_is_refused_unless_a_list_is_wanted() {
        let query = Query(form_urlencoded::parse(b"a=1&b=x%20y&a=2").into_owned().collect());
        assert!(query.one::<NativeDialect>("a").is_err());
        assert_eq!(query.one::<NativeDialect>("b").unwrap(), Some("x y"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert!(query.parse::<u32, NativeDialect>("b").is_err());
        assert!(query.only::<NativeDialect>(&["a"]).is_err());
    }
}
