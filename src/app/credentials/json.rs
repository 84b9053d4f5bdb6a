//! Macaroons in JSON, as clients of candid log-ins send them in lists: in format 1 and 2, as the libraries for Go and
//! Python write them. They are made into the binary format 1, which the macaroon library reads.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::app::audit::unhex;

/// Longest packet of the binary format, in bytes.
const MAX_PACKET: usize = 0xffff;

/// Either format; each leaves out the members of the other.
#[derive(Deserialize)]
struct Sent {
    location: Option<String>,
    identifier: Option<String>,
    #[serde(default)]
    caveats: Vec<Caveat1>,
    signature: Option<String>,
    l: Option<String>,
    i: Option<String>,
    i64: Option<String>,
    #[serde(default)]
    c: Vec<Caveat2>,
    s64: Option<String>,
}

#[derive(Deserialize)]
struct Caveat1 {
    cid: String,
    vid: Option<String>,
    cl: Option<String>,
}

#[derive(Deserialize)]
struct Caveat2 {
    i: Option<String>,
    i64: Option<String>,
    v64: Option<String>,
    l: Option<String>,
}

/// The same macaroon in the binary format 1; none if it is in neither JSON format.
pub(super) fn binary(text: &str) -> Option<Vec<u8>> {
    let sent: Sent = serde_json::from_str(text).ok()?;
    let mut out = Vec::new();
    let location = sent.location.or(sent.l);
    if let Some(location) = &location {
        packet(&mut out, "location", location.as_bytes())?;
    }
    let (identifier, signature) = match sent.identifier {
        Some(identifier) => (identifier.into_bytes(), unhex::<32>(&sent.signature?)?.to_vec()),
        None => (field(sent.i, sent.i64)?, decoded(&sent.s64?)?),
    };
    packet(&mut out, "identifier", &identifier)?;
    for Caveat1 { cid, vid, cl } in sent.caveats {
        let vid = match vid {
            Some(vid) => Some(decoded(&vid)?),
            None => None,
        };
        caveat(&mut out, cid.as_bytes(), vid, cl)?;
    }
    for Caveat2 { i, i64, v64, l } in sent.c {
        let vid = match v64 {
            Some(vid) => Some(decoded(&vid)?),
            None => None,
        };
        caveat(&mut out, &field(i, i64)?, vid, l)?;
    }
    packet(&mut out, "signature", &signature)?;
    Some(out)
}

fn caveat(out: &mut Vec<u8>, id: &[u8], verifier: Option<Vec<u8>>, location: Option<String>) -> Option<()> {
    packet(out, "cid", id)?;
    if let Some(verifier) = verifier {
        packet(out, "vid", &verifier)?;
        packet(out, "cl", location.unwrap_or_default().as_bytes())?;
    }
    Some(())
}

/// A member that is text, or base64 of anything.
fn field(text: Option<String>, base64: Option<String>) -> Option<Vec<u8>> {
    match (text, base64) {
        (Some(text), None) => Some(text.into_bytes()),
        (None, Some(base64)) => decoded(&base64),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

fn decoded(base64: &str) -> Option<Vec<u8>> {
    let text = base64.trim_end_matches('=');
    URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .ok()
}

/// Four hexadecimal digits of its whole length, name, blank, value, line feed.
fn packet(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Option<()> {
    let length = 4 + name.len() + 1 + value.len() + 1;
    (length <= MAX_PACKET).then_some(())?;
    out.extend_from_slice(format!("{length:04x}{name} ").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
    Some(())
}

#[cfg(test)]
mod tests {
    use libmacaroon::{Caveat, Macaroon, MacaroonKey};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::app::credentials::seal::read;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn sample() -> Macaroon {
        let key = MacaroonKey::generate(b"a key");
        let mut sample = Macaroon::create(Some("acme.example"), &key, "an id").unwrap();
        sample.add_first_party_caveat("expires 2027-01-01").unwrap();
        sample
            .add_third_party_caveat("login.acme.example", &MacaroonKey::generate(b"other"), "a caveat")
            .unwrap();
        sample
    }

    fn both_formats(sample: &Macaroon) -> [Value; 2] {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signature: &[u8] = sample.signature().as_ref();
        let (first, second): (Vec<Value>, Vec<Value>) = sample
            .caveats()
            .iter()
            .map(|caveat| match caveat {
                Caveat::FirstParty(own) => (
                    json!({"cid": text(own.predicate())}),
                    json!({"i64": encoded(own.predicate())}),
                ),
                Caveat::ThirdParty(other) => (
                    json!({"cid": text(other.id()), "vid": encoded(other.verifier_id()), "cl": other.location()}),
                    json!({"i": text(other.id()), "v64": encoded(other.verifier_id()), "l": other.location()}),
                ),
            })
            .unzip();
        let id = text(sample.identifier());
        [
            json!({"location": sample.location(), "identifier": id, "signature": hex(signature), "caveats": first}),
            json!({"l": sample.location(), "i": id, "s64": encoded(signature), "c": second}),
        ]
    }

    #[test]
    fn both_formats_give_the_macaroon() {
        let sample = sample();
        for sent in both_formats(&sample) {
            assert_eq!(read(&sent.to_string()), Some(sample.clone()), "{sent}");
        }
    }

    #[test]
    fn what_is_in_neither_format_is_none() {
        let [first, second] = both_formats(&sample());
        let without = |sent: &Value, name: &str| {
            let mut sent = sent.clone();
            sent.as_object_mut().unwrap().remove(name);
            sent
        };
        let with = |sent: &Value, name: &str, value: Value| {
            let mut sent = sent.clone();
            sent[name] = value;
            sent
        };
        for sent in [
            without(&first, "signature"),
            without(&first, "identifier"),
            without(&second, "s64"),
            without(&second, "i"),
            with(&first, "signature", json!("00")),
            with(&first, "signature", json!("zz".repeat(32))),
            with(&first, "caveats", json!([{"cid": "x", "vid": "?", "cl": "y"}])),
            with(&first, "caveats", json!([{"cid": "x".repeat(MAX_PACKET)}])),
            with(&second, "i64", json!("aWQ")),
            json!({}),
        ] {
            assert_eq!(read(&sent.to_string()), None, "{sent}");
        }
        assert_eq!(read("{"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\{.{0,200}\\}") {
            let _ = binary(&text);
        }
    }
}
