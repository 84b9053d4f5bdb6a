//! `sign/`: statements as they are fed to `snap sign`, and the content it makes of them.

use hallmark::domain::assertion::{Headers, Statement, StatementError};
use hallmark::domain::time::Timestamp;

use super::{assert_complete, from_json, json, key, read_text};

/// The reference signs these and makes text no decoder accepts; we refuse (assertions.md 5.1, 8).
const STRICTER: &[&str] = &["sign/026-bad-header-name.json", "sign/027-bad-map-key.json"];

#[test]
fn statements_become_the_content_of_the_reference() {
    let created = Timestamp::from_unix(1_735_689_600);
    let mut used = Vec::new();
    for case in json("sign/index.json").as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let key = key(case["key"].as_str().unwrap());
        let mut complement = Headers::default();
        for (name, value) in case
            .get("complement")
            .and_then(|value| value.as_object())
            .into_iter()
            .flatten()
        {
            complement.set(name, from_json(value));
        }
        let draft = Statement::from_json_with(&read_text(file), &complement)
            .and_then(|statement| statement.draft(&key.public));
        match (case["ok"].as_bool().unwrap() && !STRICTER.contains(&file), draft) {
            (true, Ok(draft)) => {
                assert_eq!(
                    std::str::from_utf8(draft.content()).unwrap(),
                    case["content"],
                    "{file}"
                );
                let signature = key.sign(&draft.digest(created));
                let assertion = draft.finish(created, &signature).unwrap();
                assert_eq!(
                    assertion.content(),
                    case["content"].as_str().unwrap().as_bytes(),
                    "{file}"
                );
            }
            (true, Err(error)) => panic!("{file} is refused: {error}"),
            (false, Ok(_)) => panic!("{file} should be refused: {}", case["error"]),
            (false, Err(error)) => assert!(!error.to_string().is_empty()),
        }
        used.push(file.to_owned());
    }
    used.push("sign/index.json".to_owned());
    assert_complete("sign", ".json", used);
}

#[test]
fn yaml_says_the_same_as_json() {
    let yaml = "type: model\nauthority-id: brand-one\nseries: 16\nbrand-id: brand-one\nmodel: s-m\nrevision: 3\n\
                architecture: amd64\ngadget: pc\nkernel: pc-kernel\ntimestamp: 2024-05-01T10:00:00Z\n\
                required-snaps: [a, b]\nclassic: false\nbody: |\n  some\n  text\n";
    let json = r#"{"type":"model","authority-id":"brand-one","series":"16","brand-id":"brand-one","model":"s-m",
        "revision":"3","architecture":"amd64","gadget":"pc","kernel":"pc-kernel","timestamp":"2024-05-01T10:00:00Z",
        "required-snaps":["a","b"],"classic":"false","body":"some\ntext\n"}"#;
    assert_eq!(Statement::from_yaml(yaml), Statement::from_json(json));
}

#[test]
fn a_name_with_a_line_feed_cannot_smuggle_a_header_in() {
    let key = key("brand");
    let text = r#"{"type":"model","authority-id":"brand-one","series":"16","brand-id":"brand-one","model":"s-m",
        "architecture":"amd64","gadget":"pc","kernel":"pc-kernel","timestamp":"2024-05-01T10:00:00Z",
        "aa: x\nstore":"evil"}"#;
    let error = Statement::from_json(text)
        .unwrap()
        .draft(&key.public)
        .unwrap_err();
    assert_eq!(error.code(), "header-name");
    let nested = text.replace("\"aa: x\\nstore\":\"evil\"", "\"aa\":[{\"b: x\\n    c\":\"d\"}]");
    let error = Statement::from_json(&nested)
        .unwrap()
        .draft(&key.public)
        .unwrap_err();
    assert_eq!((error.code(), error.header()), ("header-name", Some("aa")));
}

#[test]
fn an_empty_list_does_not_stand_for_the_default_of_a_primary_key() {
    let key = key("root");
    let text = read_text("sign/036-ok-snap-revision-other-provenance.json");
    let mut statement = Statement::from_json(&text).unwrap();
    statement.headers_mut().set("provenance", Vec::new());
    let error = statement.draft(&key.public).unwrap_err();
    assert_eq!((error.code(), error.header()), ("content", Some("provenance")));
}

#[test]
fn a_signature_by_another_key_is_not_let_out() {
    let (brand, other) = (key("brand"), key("other"));
    let created = Timestamp::from_unix(1_735_689_600);
    let draft = Statement::from_json(&read_text("sign/001-ok.json"))
        .unwrap()
        .draft(&brand.public)
        .unwrap();
    let signature = other.sign(&draft.digest(created));
    let error = draft.clone().finish(created, &signature).unwrap_err();
    assert_eq!(error.code(), "signature-invalid");
    for short in [&signature[..0], &signature[..100]] {
        assert!(matches!(
            draft.clone().finish(created, short),
            Err(StatementError::Signature(_))
        ));
    }
}

#[test]
fn a_time_the_packet_cannot_hold_is_refused() {
    let brand = key("brand");
    let draft = Statement::from_json(&read_text("sign/001-ok.json"))
        .unwrap()
        .draft(&brand.public)
        .unwrap();
    for seconds in [-1, i64::from(u32::MAX) + 1, i64::MIN, i64::MAX] {
        let created = Timestamp::from_unix(seconds);
        let signature = brand.sign(&draft.digest(created));
        let error = draft.clone().finish(created, &signature).unwrap_err();
        assert_eq!(error.code(), "creation-time");
    }
}
