//! `store`: a brand store, who runs it and where it answers.

use super::Parts;
use super::checks::{Checked, Fields};
use crate::domain::time::Timestamp;

/// A well-formed store assertion.
#[derive(Clone, Debug)]
pub struct Store {
    /// The store id; free text on the wire.
    pub store: String,
    /// The account that runs it.
    pub operator_id: String,
    /// Where it answers, if not at the default store.
    pub url: Option<String>,
    /// Stores whose device-scoped rules count here too.
    pub friendly_stores: Vec<String>,
    /// Free text.
    pub location: Option<String>,
    /// When it was issued.
    pub timestamp: Timestamp,
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<Store> {
    let fields = &parts.fields;
    Ok(Store {
        store: fields.filled("store")?.to_owned(),
        operator_id: fields.filled("operator-id")?.to_owned(),
        url: url(fields)?,
        friendly_stores: fields.texts("friendly-stores")?,
        location: fields.optional_filled("location")?.map(str::to_owned),
        timestamp: fields.time("timestamp")?,
    })
}

/// `url`: http or https with a host, without query and fragment. Checked by hand because URL libraries repair what
/// devices refuse (`https:///path`).
fn url(fields: &Fields<'_>) -> Checked<Option<String>> {
    let Some(url) = fields.optional_filled("url")? else {
        return Ok(None);
    };
    let wrong = |problem: &str| fields.wrong("url", problem);
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(wrong("must start with https:// or http://"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !query.is_empty() {
        return Err(wrong("must not have a query"));
    }
    if !fragment.is_empty() {
        return Err(wrong("must not have a fragment"));
    }
    let rest = rest.strip_prefix("//").unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_user, host)| host);
    if host.is_empty() {
        return Err(wrong("must have a host"));
    }
    let port = host
        .rsplit_once(']')
        .map_or(host, |(_v6, port)| port)
        .split_once(':')
        .map_or("", |(_, port)| port);
    let bad_host = |c: char| c.is_ascii_control() || c.is_whitespace() || "<>\"\\^`{}|".contains(c);
    if host.contains(bad_host)
        || path.contains(|c: char| c.is_ascii_control())
        || !port.bytes().all(|b| b.is_ascii_digit())
        || !percent_escapes_are_whole(path)
    {
        return Err(wrong("must be a valid URL"));
    }
    Ok(Some(url.to_owned()))
}

fn percent_escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let mut bytes = rest.bytes();
        let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        hex(bytes.next()) && hex(bytes.next())
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::headers::Headers;
    use super::*;

    #[test]
    fn a_url_needs_scheme_and_host_and_nothing_after_the_path() {
        let check = |text: &str| {
            let mut headers = Headers::default();
            headers.set("url", text);
            url(&Fields::of(&headers))
        };
        for good in [
            "https://x",
            "http://x:8080/a/b",
            "HTTPS://[::1]:80/",
            "https://u:p@h/%20",
            "https://x/?",
            "https://x#",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        assert_eq!(check("").ok(), Some(None));
        for bad in [
            "x.com",
            "ftp://x",
            "https:x",
            "https:///p",
            "https://",
            "https://x?a=b",
            "https://x#f",
            "https://a b/",
            "https://x:y/",
            "https://x/%zz",
            "https://x/\n",
            "://x",
            "https://u@/",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
