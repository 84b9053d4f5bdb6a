//! Properties of the codec that must hold for any input: what is written is read back, nothing panics, limits hold.

use std::collections::BTreeMap;

use bytes::Bytes;
use hallmark::domain::assertion::{
    Assertion, AssertionType, Headers, Limits, Part, Statement, StreamDecoder, Value, append_header, decode,
    encode_stream, parse_headers,
};
use hallmark::domain::time::Timestamp;
use proptest::prelude::*;

use crate::fuzz_replay::checks;
use crate::vectors::{TestKey, cases, key, read};

fn header_name() -> impl Strategy<Value = String> {
    "[a-z](-?[a-z0-9]){0,8}"
}

/// Any header value a decoder can produce.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), "[ \\-:\n\r\ta-c]{0,12}"].prop_map(Value::Text);
    text.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..5).prop_map(Value::List),
            prop::collection::btree_map(header_name(), inner, 1..5).prop_map(Value::Map),
        ]
    })
}

fn block_of(headers: &BTreeMap<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in headers {
        append_header(&mut text, name, value);
    }
    text.split_off(1)
}

/// A device-session-request: the type with the fewest demands on its headers.
fn session_request(extra: &BTreeMap<String, Value>, body: &str) -> Statement {
    let mut headers = Headers::default();
    for (name, value) in extra {
        headers.set(&format!("x-{name}"), value.clone());
    }
    for (name, value) in [
        ("brand-id", "brand-one"),
        ("model", "m"),
        ("serial", "s"),
        ("nonce", "n"),
        ("timestamp", "2024-05-01T10:00:00Z"),
    ] {
        headers.set(name, value);
    }
    Statement::new(
        AssertionType::DeviceSessionRequest,
        headers,
        body.as_bytes().to_vec(),
    )
}

fn sign(statement: Statement, key: &TestKey) -> Assertion {
    let created = Timestamp::from_unix(1_735_689_600);
    let draft = statement.draft(&key.public).unwrap();
    let signature = key.sign(&draft.digest(created));
    draft.finish(created, &signature).unwrap()
}

/// One change of the bytes.
#[derive(Clone, Debug)]
enum Change {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Delete(prop::sample::Index, usize),
    Truncate(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let telling = prop::sample::select(b"\n\n\n :-+=0a\xff".to_vec());
    let byte = prop_oneof![any::<u8>(), telling];
    prop_oneof![
        (any::<prop::sample::Index>(), byte.clone()).prop_map(|(place, byte)| Change::Replace(place, byte)),
        (any::<prop::sample::Index>(), prop::collection::vec(byte, 1..4))
            .prop_map(|(place, bytes)| Change::Insert(place, bytes)),
        (any::<prop::sample::Index>(), 1..20_usize).prop_map(|(place, count)| Change::Delete(place, count)),
        any::<prop::sample::Index>().prop_map(Change::Truncate),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Replace(place, byte) => {
            let place = place.index(bytes.len());
            bytes[place] = *byte;
        }
        Change::Insert(place, new) => {
            let place = place.index(bytes.len());
            bytes.splice(place..place, new.iter().copied());
        }
        Change::Delete(place, count) => {
            let place = place.index(bytes.len());
            let end = (place + count).min(bytes.len());
            bytes.drain(place..end);
        }
        Change::Truncate(place) => bytes.truncate(place.index(bytes.len())),
    }
}

/// Real assertions of every type and size to start from.
fn samples() -> Vec<Bytes> {
    cases(|group| matches!(group, "valid" | "wire" | "crypto"))
        .iter()
        .map(|case| read(case["file"].as_str().unwrap()))
        .filter(|bytes| bytes.len() < 8192)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn written_header_blocks_read_back(headers in prop::collection::btree_map(header_name(), value(), 1..6)) {
        let block = block_of(&headers);
        let decoded = parse_headers(block.as_bytes()).unwrap();
        let decoded: BTreeMap<_, _> = decoded.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
        prop_assert_eq!(decoded, headers);
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(data in prop::collection::vec(any::<u8>(), 0..600)) {
        checks::stream(&data);
        checks::headers(&data);
        checks::public_key(&data);
        checks::statement(&data);
    }

    #[test]
    fn any_text_is_decoded_without_a_panic(text in "[a-c0-2:\\- \n\"{}\\[\\],\\\\u]{0,200}") {
        checks::stream(text.as_bytes());
        checks::headers(text.as_bytes());
        checks::statement(text.as_bytes());
    }

    #[test]
    fn times_read_back(seconds in -62_167_219_200_i64..253_402_300_800) {
        let time = Timestamp::from_unix(seconds);
        prop_assert_eq!(time.to_string().parse(), Ok(time));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_signed_decodes_to_what_was_stated(
        extra in prop::collection::btree_map(header_name(), value(), 0..4),
        body in any::<String>(),
    ) {
        let key = key("device-2048");
        let statement = session_request(&extra, &body);
        let (headers, body) = (statement.headers().clone(), statement.body().to_vec());
        let assertion = sign(statement, &key);
        prop_assert_eq!(assertion.body(), body);
        for (name, value) in headers.iter() {
            prop_assert_eq!(assertion.headers().get(name), Some(value));
        }
        let twice = [assertion.encoded().clone(), assertion.encoded().clone()];
        let decoded: Vec<_> = StreamDecoder::new(encode_stream(&twice)).map(Result::unwrap).collect();
        prop_assert_eq!(&decoded, &[assertion.clone(), assertion.clone()]);
        prop_assert_eq!(decode(assertion.encoded()), Ok(assertion));
    }
}

#[test]
fn a_changed_assertion_never_verifies_and_never_panics() {
    let samples = samples();
    assert!(samples.len() > 100);
    let keys = crate::vectors::keys();
    let strategy = (
        prop::sample::select(samples),
        prop::collection::vec(change(), 1..4),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&strategy, |(original, changes)| {
        let mut bytes = original.to_vec();
        changes.iter().for_each(|change| apply(&mut bytes, change));
        checks::stream(&bytes);
        // Some samples are assertions to one of the two decoders only.
        let signed: Vec<Vec<u8>> = StreamDecoder::new(original.clone())
            .map_while(Result::ok)
            .chain(decode(&original))
            .map(|assertion| assertion.content().to_vec())
            .collect();
        for assertion in StreamDecoder::new(bytes.into()).map_while(Result::ok) {
            let Some(key) = keys.get(assertion.sign_key().as_str()) else {
                continue;
            };
            if key.public.verify_assertion(&assertion).is_ok() {
                prop_assert!(signed.iter().any(|content| content == assertion.content()));
            }
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn each_limit_is_met_exactly() {
    let key = key("device-2048");
    let assertion = sign(session_request(&BTreeMap::new(), "a body"), &key);
    let encoded = assertion.encoded().clone();
    let headers = assertion.content().len() - assertion.body().len();
    let body = assertion.body().len();
    // At the end of the input the signature has no blank line after it; a second assertion makes it count.
    let two = encode_stream([&encoded, &encoded]);
    let signature = assertion.signature().len() + 1;
    let fits = Limits {
        headers,
        body,
        signature,
    };
    let decoded: Vec<_> = StreamDecoder::with_limits(two.clone(), fits).collect();
    assert_eq!(decoded, [Ok(assertion.clone()), Ok(assertion)]);
    for (limits, part, limit) in [
        (
            Limits {
                headers: headers - 1,
                ..fits
            },
            Part::Headers,
            headers - 1,
        ),
        (
            Limits {
                body: body - 1,
                ..fits
            },
            Part::Body,
            body - 1,
        ),
        (
            Limits {
                signature: signature - 1,
                ..fits
            },
            Part::Signature,
            signature - 1,
        ),
    ] {
        let mut decoder = StreamDecoder::with_limits(two.clone(), limits);
        let error = decoder.next().unwrap().unwrap_err();
        assert_eq!(
            error,
            hallmark::domain::assertion::DecodeError::TooLarge { part, limit }
        );
        assert!(decoder.next().is_none(), "the first error is final");
    }
}

#[test]
fn a_body_of_two_mebibytes_passes_and_one_more_byte_does_not() {
    let key = key("device-2048");
    let limit = Limits::default().body;
    let fits = sign(session_request(&BTreeMap::new(), &"x".repeat(limit)), &key);
    assert_eq!(
        StreamDecoder::new(fits.encoded().clone())
            .next()
            .unwrap()
            .unwrap(),
        fits
    );
    let above = sign(session_request(&BTreeMap::new(), &"x".repeat(limit + 1)), &key);
    let error = StreamDecoder::new(above.encoded().clone())
        .next()
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code(), "size-limit");
}
