//! `hallmark assertion verify`: its verdicts are those of the golden vectors, its output the documented one.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use bytes::Bytes;
use hallmark::app::verify::{Judgement, Known, decode_all, verify};
use hallmark::domain::assertion::encode_stream;
use hallmark::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::vectors::wire::{OTHER_CODE, STRICTER_DECODE, STRICTER_SIGNATURE, in_these_groups};
use crate::vectors::{cases, json as read_json, path, read};

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn listed(name: &str) -> Vec<String> {
    let index = read_json("index.json");
    index[name]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file.as_str().unwrap().to_owned())
        .collect()
}

fn trusted() -> Known {
    let trusted = listed("trusted")
        .into_iter()
        .flat_map(|file| decode_all(read(&file)).unwrap());
    Known::new(trusted.collect(), now()).unwrap()
}

fn preloaded() -> Known {
    let mut known = trusted();
    for file in listed("preload") {
        for assertion in decode_all(read(&file)).unwrap() {
            known
                .add(assertion)
                .unwrap_or_else(|error| panic!("{file}: {error}"));
        }
    }
    known
}

fn stage_and_code(judgement: &Judgement) -> Option<(&'static str, &'static str)> {
    judgement
        .refused
        .as_ref()
        .map(|objection| (objection.stage.name(), objection.code))
}

#[test]
fn verdicts_are_those_of_the_reference() {
    let known = preloaded();
    let mut judged = 0;
    for case in cases(in_these_groups) {
        let file = case["file"].as_str().unwrap();
        let judgements = verify(read(file), Some(known.clone()));
        // Nothing at all is an end, not an error, for a stream.
        let Some(first) = judgements.first() else {
            assert_eq!(case["stream"][0]["eof"], true, "{file}");
            continue;
        };
        let category = case["check"]["category"].as_str();
        let expected = match case["verdict"].as_str().unwrap() {
            _ if STRICTER_DECODE.contains(&file) => {
                stage_and_code(first).filter(|(stage, _)| *stage == "decode")
            }
            _ if STRICTER_SIGNATURE.contains(&file) => Some(("check", "signature-format")),
            "accept" => None,
            "stream-only" | "reject-check" | "unsupported-format" => {
                category.map(|category| ("check", category))
            }
            "reject-decode" | "oneshot-only" => {
                let other = OTHER_CODE
                    .iter()
                    .find(|(other, _)| *other == file)
                    .map(|(_, code)| *code);
                other
                    .or(case["stream"][0]["category"].as_str())
                    .map(|code| ("decode", code))
            }
            other => panic!("{file}: unknown verdict {other}"),
        };
        assert_eq!(stage_and_code(first), expected, "{file}: {first:?}");
        if STRICTER_DECODE.contains(&file) {
            assert!(first.refused.is_some(), "{file}");
        }
        judged += 1;
    }
    assert!(judged > 210, "only {judged} cases");
}

#[test]
fn a_stream_is_judged_as_a_device_would_take_it_in() {
    // Model first, then the key that signed it, then the account of the key.
    let chain = read("stream/011-model-chain.stream");
    let judgements = verify(chain.clone(), Some(trusted()));
    assert_eq!(
        judgements.iter().map(stage_and_code).collect::<Vec<_>>(),
        [None, None, None]
    );
    let nobody = Known::new(Vec::new(), now()).unwrap();
    let judgements = verify(chain.clone(), Some(nobody));
    assert_eq!(
        judgements.iter().map(stage_and_code).collect::<Vec<_>>(),
        vec![Some(("check", "key-unknown")); 3]
    );
    // What cannot be decoded comes last, after all that could.
    let model = decode_all(chain).unwrap().remove(0);
    let judgements = verify(encode_stream([model.encoded(), &Bytes::from_static(b"x")]), None);
    assert_eq!(
        judgements.iter().map(stage_and_code).collect::<Vec<_>>(),
        [None, Some(("decode", "wire-unexpected-eof"))]
    );
}

fn hallmark(arguments: &[&str], stdin: &[u8]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_hallmark"))
        .args(["assertion", "verify"])
        .args(arguments)
        .current_dir(directory.path())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may close it first.
    let _closed = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        0,
        "it left files behind"
    );
    output
}

fn file(name: &str) -> String {
    path(name).into_os_string().into_string().unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn json_output_is_one_document_of_the_documented_shape() {
    let root = [
        file("valid/001-account-root.assert"),
        file("valid/002-account-key-root.assert"),
    ];
    let with = [
        file("valid/003-account-brand.assert"),
        file("valid/006-account-key-brand.assert"),
    ];
    let mut arguments = vec!["--format", "json"];
    for name in &root {
        arguments.extend(["--trusted", name]);
    }
    for name in &with {
        arguments.extend(["--with", name]);
    }
    arguments.push("-");
    let output = hallmark(&arguments, &read("wire/001-ok-baseline.assert"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let expected = json!([{
        "type": "model",
        "primary-key": {"series": "16", "brand-id": "brand-one", "model": "wire-m"},
        "verdict": "ok", "stage": null, "code": null, "message": null,
    }]);
    assert_eq!(document(&output), expected);

    let output = hallmark(&arguments, &read("crypto/024-wrong-key.assert"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let row = document(&output)[0].clone();
    assert_eq!(
        (&row["verdict"], &row["stage"], &row["code"]),
        (&json!("refused"), &json!("check"), &json!("signature-invalid"))
    );
    assert!(row["message"].as_str().unwrap().contains("does not match"));

    let output = hallmark(&arguments, &read("stream/012-truncated-header.stream"));
    assert_eq!(output.status.code(), Some(1));
    let rows = document(&output);
    assert_eq!(
        (&rows[0]["verdict"], &rows[1]["verdict"]),
        (&json!("ok"), &json!("refused"))
    );
    assert_eq!(
        (&rows[1]["type"], &rows[1]["primary-key"]),
        (&Value::Null, &json!({}))
    );
    assert_eq!(
        (&rows[1]["stage"], &rows[1]["code"]),
        (&json!("decode"), &json!("wire-unexpected-eof"))
    );
}

#[test]
fn without_a_trusted_set_only_the_text_can_be_good() {
    let model = file("valid/024-model-uc18.assert");
    let output = hallmark(&[&model], b"");
    assert_eq!(output.status.code(), Some(1));
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(out.contains("refused") && out.contains("[key-unknown]"), "{out}");
    assert!(err.contains("--trusted"), "{err}");
    let output = hallmark(&["--decode-only", &model], b"");
    assert_eq!(output.status.code(), Some(0));
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(
        out.contains("16/brand-one/core18-m") && out.contains("ok"),
        "{out}"
    );
}

#[test]
fn what_cannot_be_used_is_named() {
    let root = file("valid/001-account-root.assert");
    let model = file("valid/024-model-uc18.assert");
    for (arguments, message) in [
        (vec!["no-such-file"], "error: cannot read no-such-file: "),
        (
            vec!["-"],
            "error: cannot verify standard input: there is no assertion in it",
        ),
        (
            vec!["--trusted", &model, &root],
            "error: cannot use the trusted set: ",
        ),
        (
            vec!["--trusted", &root, "--with", &model, &root],
            "error: cannot use assertion 1 of ",
        ),
        (
            vec!["--with", "-", &root],
            "error: cannot read assertions from standard input: there is none in it",
        ),
    ] {
        let output = hallmark(&arguments, b"");
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {err}");
        assert!(
            err.lines().any(|line| line.starts_with(message)),
            "{arguments:?}: {err}"
        );
    }
    assert_eq!(hallmark(&[], b"").status.code(), Some(2));
}
