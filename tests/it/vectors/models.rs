//! Models: everything derived from them, in the form of `derived-models.json`; and that deriving never fails badly.

use hallmark::domain::assertion::types::{Authorities, Model, ModelSnap, check_model};
use hallmark::domain::assertion::{Assertion, Headers, Typed, Value, decode};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{cases, files, read};

#[test]
fn models_are_completed_as_in_the_reference() {
    let expected = super::json("derived-models.json");
    let expected = expected.as_object().unwrap();
    let mut models = 0;
    for file in files("valid", ".assert") {
        let assertion = decode(&read(&file)).unwrap();
        if let Typed::Model(model) = assertion.typed() {
            assert_eq!(derived(&assertion, model), expected[&file], "{file}");
            models += 1;
        }
    }
    assert_eq!(models, expected.len());
}

fn derived(assertion: &Assertion, model: &Model) -> Json {
    let names =
        |snaps: &mut dyn Iterator<Item = &ModelSnap>| Json::from_iter(snaps.map(|snap| snap.name.clone()));
    let name = |snap: Option<&ModelSnap>| snap.map_or(String::new(), |snap| snap.name.clone());
    let track = |snap: Option<&ModelSnap>| {
        snap.and_then(|snap| snap.pinned_track.clone())
            .unwrap_or_default()
    };
    assert_eq!(assertion.text("brand-id"), Some(model.brand_id.as_str()));
    json!({
        "all-snaps": model.snaps.iter().map(snap).collect::<Vec<_>>(),
        "architecture": model.architecture.clone().unwrap_or_default(),
        "base": model.base.clone().unwrap_or_default(),
        "classic": model.classic,
        "display-name": model.display_name,
        "distribution": model.distribution.clone().unwrap_or_default(),
        "essential-snaps": names(&mut model.essential_snaps().iter()),
        "gadget": name(model.gadget()),
        "gadget-track": track(model.gadget()),
        "grade": model.grade.as_str(),
        "grade-code": model.grade.code(),
        "hybrid-classic": model.hybrid_classic(),
        "kernel": name(model.kernel()),
        "kernel-track": track(model.kernel()),
        "preseed-authority": model.preseed_authority,
        "required-with-essential": names(&mut model.required_snaps()),
        "serial-authority": model.serial_authority,
        "storage-safety": model.storage_safety.as_str(),
        "store": model.store.clone().unwrap_or_default(),
        "system-user-authority": match &model.system_user_authority {
            Authorities::Any => Json::Null,
            Authorities::Of(accounts) => json!(accounts),
        },
        "validation-sets": model.validation_sets.iter().map(|set| json!({
            "account-id": set.account_id,
            "mode": set.mode.as_str(),
            "name": set.name,
            "sequence": set.sequence.unwrap_or(0),
        })).collect::<Vec<_>>(),
    })
}

fn snap(snap: &ModelSnap) -> Json {
    let mut json = json!({
        "classic": snap.classic,
        "default-channel": snap.default_channel.clone().unwrap_or_default(),
        "id": snap.id.clone().unwrap_or_default(),
        "modes": snap.modes.to_vec(),
        "name": snap.name,
        "pinned-track": snap.pinned_track.clone().unwrap_or_default(),
        "presence": snap.presence.as_str(),
        "type": snap.kind.as_str(),
    });
    if !snap.components.is_empty() {
        json["components"] = Json::from_iter(snap.components.iter().map(|(name, component)| {
            (
                name.clone(),
                json!({"modes": component.modes.to_vec(), "presence": component.presence.as_str()}),
            )
        }));
    }
    json
}

#[test]
fn a_model_to_be_signed_is_judged_like_a_signed_one_and_the_header_is_named() {
    let mut judged = 0;
    for case in cases(|group| group.starts_with("types/model") || group == "valid") {
        let file = case["file"].as_str().unwrap();
        let bytes = read(file);
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let headers = hallmark::domain::assertion::parse_headers(&bytes[..end]).unwrap();
        if headers.text("type") != Some("model") {
            assert_eq!(check_model(&headers).unwrap_err().header, "type", "{file}");
            continue;
        }
        match (check_model(&headers), decode(&bytes)) {
            (Ok(_), Ok(_)) => {}
            (Err(error), Err(refused)) => assert_eq!(refused.header(), Some(error.header.as_str()), "{file}"),
            (ours, decoded) => panic!("{file}: {ours:?}, but decoding gives {decoded:?}"),
        }
        judged += 1;
    }
    assert!(judged > 100, "only {judged} models were judged");
}

/// A word that may stand anywhere in a model, right or wrong.
fn word() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "true",
        "false",
        "16",
        "0",
        "+1",
        "brand-one",
        "Brand",
        "core22",
        "core99",
        "pc",
        "pc=22",
        "pc=edge",
        "*",
        "/",
        "signed",
        "secured",
        "dangerous",
        "encrypted",
        "base",
        "kernel",
        "gadget",
        "snapd",
        "app",
        "core",
        "optional",
        "required",
        "run",
        "recover",
        "22/stable",
        "stable",
        "enforce",
        "aaaaaaaaaaBBBBBBBBBBccccccccccDD",
        "2024-05-01T10:00:00Z",
        "\u{e9}\u{0}",
        "amd64",
        "ubuntu",
    ];
    proptest::sample::select(words.to_vec()).prop_map(Value::from)
}

fn value() -> impl Strategy<Value = Value> {
    let keys = [
        "name",
        "id",
        "type",
        "presence",
        "modes",
        "default-channel",
        "classic",
        "components",
        "mode",
        "account-id",
        "sequence",
        "cc",
        "pc",
    ];
    word().prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Value::List),
            proptest::collection::btree_map(
                proptest::sample::select(keys.to_vec()).prop_map(str::to_owned),
                inner,
                1..6
            )
            .prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn any_headers_are_a_model_or_an_error_that_names_a_header(
        changes in proptest::collection::btree_map(
            proptest::sample::select(vec![
                "architecture", "authority-id", "base", "brand-id", "classic", "display-name", "distribution", "gadget", "grade",
                "kernel", "model", "preseed-authority", "required-snaps", "serial-authority", "snaps", "storage-safety", "store",
                "system-user-authority", "timestamp", "validation-sets", "format", "revision",
            ]),
            proptest::option::of(value()),
            1..6,
        ),
    ) {
        let mut headers = Headers::default();
        for (name, text) in [
            ("type", "model"), ("authority-id", "brand-one"), ("series", "16"), ("brand-id", "brand-one"), ("model", "m"),
            ("architecture", "amd64"), ("gadget", "pc"), ("kernel", "pc-kernel"), ("timestamp", "2024-05-01T10:00:00Z"),
        ] {
            headers.set(name, text);
        }
        prop_assert!(check_model(&headers).is_ok());
        for (name, value) in changes {
            match value {
                Some(value) => headers.set(name, value),
                None => drop(headers.remove(name)),
            }
        }
        match check_model(&headers) {
            Ok(model) => {
                prop_assert!(model.serial_authority.contains(&model.brand_id));
                prop_assert!(model.essential_snaps().len() <= 4 && model.required_snaps().count() <= model.snaps.len());
            }
            Err(error) => prop_assert!(!error.header.is_empty()),
        }
    }
}
