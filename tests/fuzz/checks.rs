//! What must hold for any bytes whatever. Used by the fuzz targets and, with their corpus, by `cargo test`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use hallmark::adapters::squashfs::inspect_image;
use hallmark::domain::assertion::{
    Assertion, Limits, PublicKey, SignatureBlock, Statement, StreamDecoder, Value, append_header, decode,
    encode_stream, parse_headers,
};
use hallmark::domain::snap::{ComponentYaml, SnapYaml, check_gadget_yaml};
use hallmark::ports::{Icon, SnapFileError};

/// A throw-away key of the test vectors: `device-2048`.
static KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    let text = include_str!("device-2048.pub");
    PublicKey::decode(text).unwrap()
});

/// Limits small enough that fuzzed input meets them.
const SMALL: Limits = Limits {
    headers: 400,
    body: 50,
    signature: 100,
};

/// Both decoders, and that what they accept is kept as it came.
pub(crate) fn stream(data: &[u8]) {
    let input = Bytes::copy_from_slice(data);
    let mut accepted = Vec::new();
    let mut consumed = 0;
    for result in StreamDecoder::new(input.clone()) {
        let Ok(assertion) = result else { break };
        let encoded = assertion.encoded();
        let kept = encoded
            .strip_suffix(b"\n")
            .unwrap_or_else(|| panic!("no final line feed"));
        let rest = &input[consumed..];
        assert!(rest.starts_with(kept), "the bytes were changed");
        // One blank line, or less at the end.
        consumed += encoded.len().min(rest.len()) + 1;
        parts_make_the_whole(&assertion);
        accepted.push(assertion);
    }
    if accepted
        .iter()
        .all(|assertion| !assertion.signature().trim_ascii().is_empty())
    {
        let again = encode_stream(accepted.iter().map(|assertion| assertion.encoded()));
        let decoded: Vec<_> = StreamDecoder::new(again).map(Result::unwrap).collect();
        assert_eq!(decoded, accepted, "the encoded stream decodes to something else");
    }
    for assertion in StreamDecoder::with_limits(input, SMALL).map_while(Result::ok) {
        let head = assertion.content().len() - assertion.body().len();
        assert!(head <= SMALL.headers);
        assert!(assertion.body().len() <= SMALL.body);
        assert!(assertion.signature().len() <= SMALL.signature);
    }
    if let Ok(assertion) = decode(data) {
        parts_make_the_whole(&assertion);
        let again = decode(assertion.encoded()).unwrap();
        assert_eq!(again, assertion);
        assert_eq!(again.headers(), assertion.headers());
    }
}

fn parts_make_the_whole(assertion: &Assertion) {
    let whole = [assertion.content(), b"\n\n", assertion.signature()].concat();
    assert_eq!(whole.trim_ascii_end(), assertion.encoded().trim_ascii_end());
    assert!(assertion.content().ends_with(assertion.body()));
    let key = &assertion.primary_key().0;
    assert_eq!(key.len(), assertion.kind().info().primary_key.len());
    assert!(key.iter().all(|part| !part.is_empty() && !part.contains('/')));
    // Nobody here knows the private key.
    assert!(KEY.verify_assertion(assertion).is_err() || KEY.id() == assertion.sign_key());
}

/// The header grammar: what is accepted is written and read again unchanged.
pub(crate) fn headers(data: &[u8]) {
    let Ok(headers) = parse_headers(data) else { return };
    let mut text = String::new();
    for (name, value) in headers.iter() {
        assert!(!has_empty_part(value), "{name} has an empty list or map");
        append_header(&mut text, name, value);
    }
    let again = parse_headers(text.trim_start_matches('\n').as_bytes()).unwrap();
    assert_eq!(again, headers);
}

fn has_empty_part(value: &Value) -> bool {
    match value {
        Value::Text(_) => false,
        Value::List(items) => items.is_empty() || items.iter().any(has_empty_part),
        Value::Map(entries) => entries.is_empty() || entries.values().any(has_empty_part),
    }
}

/// Public keys and signature packets: what is accepted has one canonical form.
pub(crate) fn public_key(data: &[u8]) {
    if let Ok(key) = PublicKey::from_spki_der(data) {
        canonical(&key);
        assert_eq!(PublicKey::from_spki_der(&key.to_spki_der()), Ok(key));
    }
    if let Ok(signature) = SignatureBlock::from_binary(data) {
        assert!(signature.verify(b"content", &KEY).is_err());
    }
    if let Ok(signature) = SignatureBlock::decode(data) {
        assert!(signature.verify(b"content", &KEY).is_err());
    }
    if let Some(key) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| PublicKey::decode(text).ok())
    {
        canonical(&key);
    }
}

fn canonical(key: &PublicKey) {
    let again = PublicKey::decode(key.encoded()).unwrap();
    assert_eq!(again.id(), key.id());
    assert_eq!(again.encoded(), key.encoded());
    assert_eq!(again.components(), key.components());
    assert!((2048..=8192).contains(&key.bits()));
}

/// Statements: what can be drafted, decodes to the headers that were asked for.
pub(crate) fn statement(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for statement in [Statement::from_json(text), Statement::from_yaml(text)]
        .into_iter()
        .flatten()
    {
        let mut asked: BTreeMap<String, Value> = statement
            .headers()
            .iter()
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect();
        let (kind, body) = (statement.kind(), statement.body().to_vec());
        let Ok(draft) = statement.draft(&KEY) else {
            continue;
        };
        let whole = [draft.content(), b"\n\nAA==\n"].concat();
        let mut decoded: Vec<_> = StreamDecoder::new(whole.into()).map(Result::unwrap).collect();
        let assertion = decoded.pop().unwrap();
        assert!(decoded.is_empty(), "one statement became several assertions");
        assert_eq!(assertion.kind(), kind);
        assert_eq!(assertion.body(), body);
        assert_eq!(assertion.sign_key(), KEY.id());
        let mut got: BTreeMap<String, Value> = assertion
            .headers()
            .iter()
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect();
        for set_by_us in ["type", "body-length", "sign-key-sha3-384"] {
            asked.remove(set_by_us);
            got.remove(set_by_us);
        }
        for zero in ["revision", "format"] {
            if asked.get(zero).and_then(Value::as_text) == Some("0") {
                asked.remove(zero);
            }
        }
        for (name, default) in kind.info().optional {
            asked
                .entry((*name).to_owned())
                .or_insert_with(|| Value::from(*default));
        }
        let asked: BTreeMap<_, _> = asked
            .into_iter()
            .filter_map(|(name, value)| Some((name, pruned(value)?)))
            .collect();
        assert_eq!(got, asked);
    }
}

/// The value as the wire can say it: empty lists and maps vanish.
fn pruned(value: Value) -> Option<Value> {
    match value {
        Value::Text(_) => Some(value),
        Value::List(items) => {
            if items.is_empty() {
                None
            } else {
                Some(Value::List(items.into_iter().filter_map(pruned).collect()))
            }
        }
        Value::Map(entries) => {
            if entries.is_empty() {
                return None;
            }
            let entries = entries
                .into_iter()
                .filter_map(|(key, entry)| Some((key, pruned(entry)?)));
            Some(Value::Map(entries.collect()))
        }
    }
}

/// `snap.yaml` and `component.yaml`: what is accepted is kept verbatim and keeps the rules.
pub(crate) fn snap_yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(snap) = SnapYaml::parse(text) {
        assert_eq!(snap.text, text);
        assert!(!snap.architectures.is_empty() && !snap.version.is_empty());
        assert!(snap.epoch.can_read(&snap.epoch));
        assert!(snap.title.is_none_or(|title| title.chars().count() <= 40));
        assert!(!snap.plugs.values().any(String::is_empty));
    }
    if let Err(error) = check_gadget_yaml(text) {
        assert_eq!(error.document, "gadget.yaml");
    }
    if let Ok(component) = ComponentYaml::parse(text) {
        assert!(text.contains(&format!("{}+{}", component.snap, component.component)));
    }
}

/// Snap files: bytes are to blame for whatever is wrong, and what is taken keeps its limits.
pub(crate) fn snap_file(data: &[u8]) {
    match inspect_image(data) {
        Ok(contents) => {
            assert!(contents.hooks.is_sorted());
            assert!(
                contents
                    .icon
                    .is_none_or(|icon| icon.bytes.len() <= Icon::MAX_BYTES)
            );
        }
        Err(SnapFileError::Refused(why)) => assert!(!why.is_empty()),
        Err(SnapFileError::Unreadable(why)) => panic!("unreadable: {why}"),
    }
}
