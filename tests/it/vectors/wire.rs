//! `wire/`, `crypto/` and `valid/`: both decoders on every case, and the signature where the key is at hand.

use hallmark::domain::assertion::{Assertion, DecodeError, StreamDecoder, decode};
use serde_json::Value as Json;

use super::{assert_complete, cases, json, keys, read, to_json};

/// Refused by us at decode, accepted by the reference: integers that are not canonical, and the `$builtin` marker
/// (README of the vectors, "where an implementation may deliberately differ").
pub(crate) const STRICTER_DECODE: &[&str] = &[
    "wire/022-ok-revision-plus.assert",
    "wire/024-ok-revision-minus-zero.assert",
    "wire/027-ok-revision-plus-zeros.assert",
    "wire/040-ok-format-plus.assert",
    "wire/044-ok-body-plus.assert",
    "wire/128-builtin-signature-with-key.assert",
];

/// Signatures refused by us, accepted by the reference (same place).
pub(crate) const STRICTER_SIGNATURE: &[&str] = &[
    "crypto/012-ok-sigtype-01.assert",
    "crypto/013-ok-sigtype-13.assert",
    "crypto/016-ok-hash-sha224.assert",
    "crypto/017-weak-hash-sha1.assert",
    "crypto/018-weak-hash-md5.assert",
    "crypto/031-ok-indeterminate-length.assert",
    "crypto/034-ok-inner-trailing.assert",
];

/// Refused by both, but we name the reason better.
pub(crate) const OTHER_CODE: &[(&str, &str)] = &[
    ("wire/048-body-length-negative.assert", "meta-integer"),
    ("wire/049-body-length-very-negative.assert", "meta-integer"),
];

/// Refusals for what only the database knows; the signature itself is good.
const DATABASE_CATEGORIES: &[&str] = &[
    "authority-policy",
    "consistency",
    "key-constraints",
    "key-expired",
    "key-other-account",
    "key-unknown",
    "not-checkable",
    "timestamp-outside-key",
    "unsupported-format",
];

struct Outcome {
    one_shot: Result<Assertion, DecodeError>,
    stream: Vec<Result<Assertion, DecodeError>>,
}

impl Outcome {
    fn of(file: &str) -> Self {
        let bytes = read(file);
        Self {
            one_shot: decode(&bytes),
            stream: StreamDecoder::new(bytes).collect(),
        }
    }

    fn first(&self) -> Option<&Assertion> {
        self.one_shot
            .as_ref()
            .ok()
            .or_else(|| self.stream.first()?.as_ref().ok())
    }

    fn decode_verdict(&self) -> &'static str {
        match (&self.one_shot, matches!(self.stream.first(), Some(Ok(_)))) {
            (Ok(_), true) => "both",
            (Ok(_), false) => "oneshot-only",
            (Err(_), true) => "stream-only",
            (Err(_), false) => "reject-decode",
        }
    }
}

/// The verdict of the reference as far as decoding goes.
fn expected_decode_verdict(case: &Json) -> &str {
    match case["verdict"].as_str().unwrap() {
        "accept" | "reject-check" | "unsupported-format" => "both",
        other => other,
    }
}

pub(crate) fn in_these_groups(group: &str) -> bool {
    matches!(group, "wire" | "crypto" | "valid")
}

#[test]
fn both_decoders_judge_every_file_as_the_reference_does() {
    let mut used = Vec::new();
    for case in cases(in_these_groups) {
        let file = case["file"].as_str().unwrap();
        let outcome = Outcome::of(file);
        if STRICTER_DECODE.contains(&file) {
            assert_eq!(outcome.decode_verdict(), "reject-decode", "{file} is not refused");
        } else {
            assert_eq!(
                outcome.decode_verdict(),
                expected_decode_verdict(&case),
                "{file}: {:?}",
                outcome.one_shot.err()
            );
        }
        used.push(file.to_owned());
    }
    for directory in ["wire", "crypto", "valid"] {
        let of_directory = used.iter().filter(|file| file.starts_with(directory)).cloned();
        assert_complete(directory, ".assert", of_directory);
    }
}

#[test]
fn refusals_name_the_reason_the_reference_names() {
    let code_of = |file: &str, category: &Json| match OTHER_CODE.iter().find(|(other, _)| *other == file) {
        Some((_, code)) => Json::from(*code),
        None => category.clone(),
    };
    for case in cases(in_these_groups) {
        let file = case["file"].as_str().unwrap();
        if STRICTER_DECODE.contains(&file) {
            continue;
        }
        let outcome = Outcome::of(file);
        if let Err(error) = &outcome.one_shot {
            let expected = code_of(file, &case["decode"]["category"]);
            assert_eq!(error.code(), expected, "{file} one-shot: {error}");
        }
        let events = case["stream"].as_array().unwrap();
        let end = usize::from(events.last().unwrap().get("eof").is_some());
        assert_eq!(
            outcome.stream.len(),
            events.len() - end,
            "{file}: {:?}",
            outcome.stream
        );
        for (result, event) in outcome.stream.iter().zip(events) {
            match result {
                Ok(assertion) => {
                    assert_eq!(assertion.kind().name(), event["type"], "{file} stream");
                    assert_eq!(assertion.body().len(), event["body-length"], "{file} stream");
                }
                Err(error) => {
                    assert_eq!(
                        error.code(),
                        code_of(file, &event["category"]),
                        "{file} stream: {error}"
                    );
                }
            }
        }
    }
}

#[test]
fn decoded_parts_are_those_of_the_reference() {
    let decoded = json("decoded.json");
    let mut compared = 0;
    for case in cases(in_these_groups) {
        let file = case["file"].as_str().unwrap();
        let Some(assertion) = Outcome::of(file).first().cloned() else {
            continue;
        };
        assert_eq!(assertion.kind().name(), case["type"], "{file}");
        assert_eq!(
            Json::from(assertion.primary_key().0.clone()),
            case["primary-key"],
            "{file}"
        );
        assert_eq!(assertion.revision(), case["revision"], "{file}");
        assert_eq!(assertion.format(), case["format"], "{file}");
        assert_eq!(assertion.body().len(), case["body-length"], "{file}");
        assert_eq!(assertion.content().len(), case["content-length"], "{file}");
        assert_eq!(
            assertion.authority_id().unwrap_or_default(),
            case["authority-id"].as_str().unwrap_or_default(),
            "{file}"
        );
        let supported = assertion.format() <= assertion.kind().info().max_format;
        assert_eq!(supported, case["supported-format"], "{file}");
        if let Some(expected) = decoded.get(file) {
            let headers: Json = assertion
                .headers()
                .iter()
                .map(|(name, value)| (name, to_json(value)))
                .collect();
            assert_eq!(headers, *expected, "{file}");
            compared += 1;
        }
    }
    let stricter = STRICTER_DECODE
        .iter()
        .filter(|file| decoded.get(**file).is_some())
        .count();
    assert_eq!(compared + stricter, decoded.as_object().unwrap().len());
}

#[test]
fn signatures_are_judged_as_in_the_reference() {
    let keys = keys();
    let mut judged = 0;
    for case in cases(in_these_groups) {
        let file = case["file"].as_str().unwrap();
        let category = case["check"]["category"].as_str();
        let Some(assertion) = Outcome::of(file).first().cloned() else {
            continue;
        };
        let Some(key) = keys.get(assertion.sign_key().as_str()) else {
            assert_eq!(category, Some("key-unknown"), "{file} names an unknown key");
            continue;
        };
        let result = key.public.verify_assertion(&assertion);
        let expected = match category {
            _ if STRICTER_SIGNATURE.contains(&file) => Err("signature-format"),
            None => Ok(()),
            Some(category) if DATABASE_CATEGORIES.contains(&category) => Ok(()),
            Some(category) => Err(category),
        };
        assert_eq!(result.map_err(|error| error.code()), expected, "{file}");
        judged += 1;
    }
    assert!(judged > 140, "only {judged} signatures were judged");
}
