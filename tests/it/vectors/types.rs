//! `types/` and `account-key/`: what each type asks of its headers.

use hallmark::domain::assertion::types::{compat_warnings, names, needed_format};
use hallmark::domain::assertion::{Assertion, AssertionType, DecodeError, Statement, StreamDecoder, decode};
use serde_json::Value as Json;

use super::{assert_complete, cases, files, json, read};

/// Refused by us, accepted by the reference: numbers that are not canonical (README of the vectors, "where an
/// implementation may deliberately differ").
pub(super) const STRICTER: &[&str] = &[
    "types/snap-revision/009-ok-revision-plus.assert",
    "types/validation-set/006-ok-sequence-plus.assert",
];

fn is_ours(group: &str) -> bool {
    group == "account-key" || group.starts_with("types/")
}

fn first_of_stream(file: &str) -> Result<Assertion, DecodeError> {
    StreamDecoder::new(read(file)).next().unwrap()
}

#[test]
fn both_decoders_judge_every_type_as_the_reference_does() {
    let mut used = Vec::new();
    let mut stricter = 0;
    for case in cases(is_ours) {
        let file = case["file"].as_str().unwrap();
        used.push(file.to_owned());
        let results = [decode(&read(file)), first_of_stream(file)];
        if STRICTER.contains(&file) {
            assert!(results.iter().all(Result::is_err), "{file} is not refused");
            stricter += 1;
            continue;
        }
        let refused = case["verdict"] == "reject-decode";
        for result in &results {
            assert_eq!(
                result.is_err(),
                refused,
                "{file} ({}): {:?}",
                case["note"],
                result.as_ref().err()
            );
        }
        if let Err(error) = &results[0] {
            assert_eq!(error.code(), case["decode"]["category"], "{file}: {error}");
        }
    }
    assert_eq!(stricter, STRICTER.len());
    assert_complete(
        "account-key",
        ".assert",
        used.iter()
            .filter(|file| file.starts_with("account-key/"))
            .cloned(),
    );
    for directory in std::fs::read_dir(super::path("types")).unwrap() {
        let directory = format!("types/{}", directory.unwrap().file_name().into_string().unwrap());
        let of_directory = used
            .iter()
            .filter(|file| file.starts_with(&format!("{directory}/")));
        assert_complete(&directory, ".assert", of_directory.cloned());
    }
}

#[test]
fn content_errors_name_a_header_the_reference_speaks_of() {
    // Problems of headers that are absent, of several together, or of the body: the reference words them differently.
    let mut named = 0;
    for case in cases(is_ours) {
        let file = case["file"].as_str().unwrap();
        let Err(DecodeError::Content { error, .. }) = decode(&read(file)) else {
            continue;
        };
        let Some(reference) = case["decode"]["error"].as_str() else {
            continue;
        };
        let quoted = reference.split('"').nth(1).unwrap_or_default();
        if error.header.split('/').any(|part| part == quoted) {
            named += 1;
        }
        assert!(
            !error.header.is_empty() && !error.problem.is_empty(),
            "{file}: {error}"
        );
    }
    assert!(
        named > 100,
        "only {named} errors named the header of the reference"
    );
}

#[test]
fn formats_needed_cover_the_features_used() {
    let mut formats = Vec::new();
    for file in files("valid", ".assert") {
        let assertion = decode(&read(&file)).unwrap();
        let needed = needed_format(assertion.kind(), assertion.headers());
        assert!(needed <= assertion.format(), "{file} needs {needed}");
        if assertion.kind() == AssertionType::SnapDeclaration {
            formats.push((needed, assertion.format()));
        }
    }
    assert_eq!(
        formats,
        [
            (0, 0),
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 3),
            (4, 4),
            (5, 5),
            (6, 6),
            (7, 7)
        ]
    );
}

#[test]
fn names_are_judged_as_in_the_reference() {
    let validators = json("validators.json");
    let mut judged = 0;
    for (pattern, list) in validators.as_object().unwrap() {
        let valid: fn(&str) -> bool = match pattern.as_str() {
            "account-id" => names::is_account_id,
            "account-key-name" => names::is_account_key_name,
            "alias" => names::is_alias,
            "app-name" => names::is_app,
            "channel-verbatim" => names::is_channel,
            "instance-name" => names::is_instance,
            "provenance" => names::is_provenance,
            "snap-id" => names::is_snap_id,
            "snap-name" => names::is_snap,
            "system-label" => names::is_system_label,
            "validation-set-name" => names::is_validation_set_name,
            other => panic!("no validator for {other}"),
        };
        for entry in list.as_array().unwrap() {
            let text = entry["in"].as_str().unwrap();
            assert_eq!(Json::from(valid(text)), entry["ok"], "{pattern} {text:?}");
            judged += 1;
        }
    }
    assert_eq!(
        judged,
        validators
            .as_object()
            .unwrap()
            .values()
            .map(|list| list.as_array().unwrap().len())
            .sum::<usize>()
    );
    assert_eq!(validators.as_object().unwrap().len(), 11);
}

#[test]
fn what_older_clients_refuse_is_warned_about() {
    let mut warned = 0;
    for case in cases(|_| true) {
        let file = case["file"].as_str().unwrap();
        let (Some(versions), Ok(assertion)) = (case["other-versions"].as_object(), decode(&read(file)))
        else {
            continue;
        };
        let warnings = compat_warnings(&assertion);
        for (version, verdict) in versions {
            let refused = verdict["decode"] != "ok" || verdict["check"] != "ok";
            // A signature made by a key the old version does not take is warned about at the key.
            let by_its_key = verdict["check"]
                .as_str()
                .is_some_and(|error| error.starts_with("no matching public key"));
            if case["verdict"] == "accept" && refused && !by_its_key {
                assert!(
                    warnings.iter().any(|warning| warning.contains(version)),
                    "{file}: {verdict}, {warnings:?}"
                );
                warned += 1;
            }
        }
    }
    assert!(warned > 30, "only {warned} refusals were compared");
}

#[test]
fn the_registry_knows_which_types_have_a_timestamp_their_key_must_cover() {
    let mut seen = std::collections::BTreeSet::new();
    for file in files("valid", ".assert") {
        let assertion = decode(&read(&file)).unwrap();
        let (kind, timestamp) = (assertion.kind(), assertion.typed().timestamp_in_key());
        assert_eq!(timestamp.is_some(), kind.info().timestamp_in_key, "{file}");
        if let Some(timestamp) = timestamp {
            assert_eq!(
                assertion.text("timestamp").unwrap().parse(),
                Ok(timestamp),
                "{file}"
            );
        }
        seen.insert(kind);
    }
    assert_eq!(seen.len(), 26);
}

#[test]
fn limits_that_would_vanish_when_written_are_refused() {
    let brand = super::key("brand");
    let constraint = |model: &str| format!(r#"[{{"headers": {{"type": "model", "model": {model}}}}}]"#);
    for (constraints, good) in [
        (constraint(r#""m-.*""#), true),
        (constraint("[]"), false),
        (constraint("{}"), false),
        ("[]".to_owned(), false),
    ] {
        let text = format!(
            r#"{{"type": "account-key", "format": "1", "authority-id": "testroot", "account-id": "brand-one",
               "public-key-sha3-384": "{}", "since": "2024-01-01T00:00:00Z", "constraints": {constraints},
               "body": {:?}}}"#,
            brand.public.id(),
            brand.public.encoded(),
        );
        let draft = Statement::from_json(&text).unwrap().draft(&brand.public);
        assert_eq!(draft.is_ok(), good, "{constraints}: {:?}", draft.err());
    }
}
