//! What a store is sent by people who mean harm: JSON of every shape, and macaroons that are none of ours.

use std::time::{Duration, Instant};

use libmacaroon::{Format, Macaroon, MacaroonKey};
use serde_json::{Value, json};

use super::stock::{field, id, installed, refresh_action};
use super::{Answer, Field};

/// Longest time one request may take; builds for tests are slow.
const LONG: Duration = Duration::from_secs(5);

async fn ask(field: &Field, session: &str, body: &str) -> Answer {
    let headers = [
        ("snap-device-authorization", session),
        ("snap-device-architecture", "amd64"),
    ];
    let started = Instant::now();
    let answer = field.call("POST", "/v2/snaps/refresh", &headers, body).await;
    assert!(started.elapsed() < LONG, "{}", start(body));
    assert_eq!(answer.header("content-type"), "application/json");
    answer
}

fn start(body: &str) -> String {
    body.chars().take(100).collect()
}

async fn sequence(field: &Field) -> u64 {
    field.app.catalog.current(&field.app).await.unwrap().sequence()
}

#[tokio::test]
async fn json_of_any_shape_is_refused_or_answered_and_changes_nothing() {
    let field = field().await;
    let session = field.session().await;
    let before = sequence(&field).await;
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(50_000), close.repeat(50_000));
    let context = |entry: &str| format!("{{\"context\": [{entry}], \"actions\": []}}");
    let action = |entry: &str| format!("{{\"context\": [], \"actions\": [{entry}]}}");
    let huge = action(&format!("{{\"action\": \"{}\"}}", "x".repeat(5 << 20)));
    let good = json!({
        "context": [installed("agent", 1, "stable")], "actions": [refresh_action("agent")], "fields": ["name"],
    })
    .to_string();
    let too_many = |entry: Value| vec![entry; 2001];
    let mut cases: Vec<(String, (u16, &str))> = vec![(huge, (413, "request-too-large"))];
    let malformed = [
        "null".to_owned(),
        "7".to_owned(),
        "\"text\"".to_owned(),
        "{}{}".to_owned(),
        "{\"context\": [], \"actions\": [],}".to_owned(),
        "{'context': []}".to_owned(),
        "\u{feff}{}".to_owned(),
        "{\"context\": NaN}".to_owned(),
        nested("[", "]"),
        nested("{\"context\":", "}"),
        context(&nested("[", "]")),
        action(&format!("{{\"action\": \"install\", \"epoch\": {}}}", nested("{\"read\":", "}"))),
        // Of two that contradict each other neither is believed.
        "{\"actions\": [], \"actions\": []}".to_owned(),
        action("{\"action\": \"install\", \"action\": \"refresh\", \"instance-key\": \"a\"}"),
        context("{\"snap-id\": \"a\", \"snap-id\": \"b\", \"instance-key\": \"a\", \"revision\": 1}"),
        context("{\"snap-id\": \"a\", \"instance-key\": \"a\"}"),
        context("{\"snap-id\": \"a\", \"instance-key\": \"a\", \"revision\": \"1\"}"),
        context("{\"snap-id\": \"a\", \"instance-key\": \"a\", \"revision\": 1e999}"),
        context("{\"snap-id\": \"a\", \"instance-key\": \"a\", \"revision\": 99999999999999999999}"),
        context("{\"snap-id\": \"\\ud800\", \"instance-key\": \"a\", \"revision\": 1}"),
        context("{\"snap-id\": \"a\", \"instance-key\": \"a\", \"revision\": 1, \"epoch\": \"5**\"}"),
        context("null"),
        action("[]"),
        action("{}"),
        action("{\"action\": \"refresh\", \"revision\": -1}"),
        action("{\"action\": \"refresh\", \"instance-key\": {}}"),
        action("{\"action\": \"fetch-assertions\", \"assertions\": {}}"),
        action("{\"action\": \"fetch-assertions\", \"assertions\": [{\"type\": \"model\", \"primary-key\": [1]}]}"),
        json!({"actions": [], "assertion-max-formats": {"model": -1}}).to_string(),
        json!({"context": too_many(json!({"snap-id": "a", "instance-key": "a", "revision": 1}))}).to_string(),
        json!({"actions": too_many(json!({"action": "dance"}))}).to_string(),
        json!({"actions": [{"action": "fetch-assertions", "key": "k", "assertions": vec![json!({"type": "model"}); 4001]}]})
            .to_string(),
    ];
    let cut_off = (1..good.len()).map(|end| good[..end].to_owned());
    let bad = malformed.into_iter().chain(cut_off);
    cases.extend(bad.map(|body| (body, (400, "invalid-request"))));
    for (body, expected) in cases {
        let answer = ask(&field, &session, &body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            expected,
            "{}",
            start(&body)
        );
        let message = answer.json()["error-list"][0]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.starts_with("cannot ") && message.len() < 500, "{message}");
    }
    assert_eq!(field.app.reports.waiting(), 0, "what is refused is no report");

    // What is not known is passed over, however deep it is.
    let unknown = format!("{{\"actions\": [], \"unknown\": {}}}", nested("[", "]"));
    assert_eq!(ask(&field, &session, &unknown).await.status, 200);

    // What is JSON and makes no sense is an error of its own, beside the answers to the rest.
    let mut wrong = Vec::new();
    for (action, code) in [
        (
            json!({"action": "install", "instance-key": "i"}),
            "name-not-found",
        ),
        (
            json!({"action": "install", "instance-key": "i", "name": "\u{0}"}),
            "name-not-found",
        ),
        (
            json!({"action": "install", "instance-key": "i", "name": "x".repeat(100_000)}),
            "name-not-found",
        ),
        (
            json!({"action": "install", "name": "agent", "channel": "a/b/c/d/e", "instance-key": "i"}),
            "invalid-channel",
        ),
        (
            json!({"action": "refresh", "instance-key": id("stranger"), "snap-id": id("secret")}),
            "invalid-snap-id",
        ),
        (
            json!({"action": "refresh", "instance-key": "strange", "snap-id": "strange"}),
            "invalid-instance-key",
        ),
        (
            json!({"action": "refresh", "instance-key": "other"}),
            "invalid-instance-key",
        ),
        (
            json!({"action": "download", "instance-key": "d", "name": "agent", "revision": u64::MAX}),
            "revision-not-found",
        ),
        (json!({"action": "", "instance-key": null}), "invalid-action"),
    ] {
        let context = [
            installed("agent", 1, "stable"),
            installed("stranger", 7, "stable"),
        ];
        let body = json!({"context": context, "actions": [action, refresh_action("agent")]}).to_string();
        let answer = ask(&field, &session, &body).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let results = &answer.json()["results"];
        if results[0]["error"]["code"] != code {
            wrong.push(format!("{action}: {}", results[0]));
        }
        assert_eq!(results[1]["result"], "refresh");
    }
    assert_eq!(wrong, [""; 0]);
    // As many as may be, and none of them is known.
    let many: Vec<String> = (0..2000).map(|number| format!("unknown{number}")).collect();
    let context: Vec<Value> = many.iter().map(|name| installed(name, 1, "stable")).collect();
    let actions: Vec<Value> = many.iter().map(|name| refresh_action(name)).collect();
    let answer = ask(
        &field,
        &session,
        &json!({"context": context, "actions": actions}).to_string(),
    )
    .await;
    let results = answer.json()["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), 2000);
    assert!(
        results
            .iter()
            .all(|result| result["error"]["code"] == "id-not-found"),
        "{}",
        results[0]
    );
    assert_eq!(sequence(&field).await, before);
}

/// The caveats of a macaroon of ours, as text.
fn caveats(macaroon: &Macaroon) -> Vec<String> {
    let first_party = |caveat: &libmacaroon::Caveat| match caveat {
        libmacaroon::Caveat::FirstParty(caveat) => String::from_utf8(caveat.predicate().to_vec()).unwrap(),
        libmacaroon::Caveat::ThirdParty(_) => panic!("we make none"),
    };
    macaroon.caveats().iter().map(first_party).collect()
}

/// A macaroon with these caveats, of somebody who does not know our key.
fn forged(identifier: &[u8], caveats: &[String], format: Format) -> String {
    let key = MacaroonKey::generate(b"somebody else");
    let mut macaroon = Macaroon::create(Some("https://store.example"), &key, identifier).unwrap();
    for caveat in caveats {
        macaroon.add_first_party_caveat(caveat.as_str()).unwrap();
    }
    macaroon.serialize(format).unwrap()
}

#[tokio::test]
async fn macaroons_that_are_no_session_of_this_store_open_nothing() {
    let field = field().await;
    let session = field.session().await;
    let text = session.split('"').nth(1).unwrap().to_owned();
    let macaroon = Macaroon::deserialize(&text).unwrap();
    let said = caveats(&macaroon);
    let narrowed = |caveat: &str| {
        let mut macaroon = macaroon.clone();
        macaroon.add_first_party_caveat(caveat).unwrap();
        macaroon.serialize(Format::V2).unwrap()
    };
    let third_party = {
        let mut macaroon = macaroon.clone();
        let key = MacaroonKey::generate(b"login");
        macaroon
            .add_third_party_caveat("https://login.example", &key, "who")
            .unwrap();
        macaroon.serialize(Format::V2).unwrap()
    };
    let swapped: Vec<String> = said.iter().map(|caveat| caveat.replace("SN 1", "SN 2")).collect();
    let mut bad: Vec<String> = vec![
        forged(macaroon.identifier(), &said, Format::V2),
        forged(macaroon.identifier(), &said, Format::V1),
        forged(macaroon.identifier(), &said, Format::V2JSON),
        forged(macaroon.identifier(), &swapped, Format::V2),
        forged(macaroon.identifier(), &[], Format::V2),
        forged(b"other", &said, Format::V2),
        // Ours, with something added that we would not say.
        narrowed("store = other"),
        narrowed("brand-id = other"),
        narrowed("serial = SN 2"),
        narrowed("expires = 2000-01-01T00:00:00Z"),
        narrowed("expires = never"),
        narrowed("anything"),
        narrowed("unknown = x"),
        third_party,
        "x".to_owned(),
        "A".repeat(7000),
        format!("{text}{text}"),
        // Far above what is looked at.
        "A".repeat(20_000),
    ];
    bad.extend((0..text.len()).step_by(7).map(|end| text[..end].to_owned()));
    let mut flipped = text.clone().into_bytes();
    for at in (0..flipped.len()).step_by(11) {
        let was = flipped[at];
        flipped[at] = if was == b'A' { b'B' } else { b'A' };
        bad.push(String::from_utf8(flipped.clone()).unwrap());
        flipped[at] = was;
    }
    let headers = bad
        .iter()
        .map(|macaroon| format!("Macaroon root=\"{macaroon}\""))
        .chain([
            text.clone(),
            format!("Bearer {text}"),
            "Macaroon".to_owned(),
            "\"".to_owned(),
        ]);
    let refused = async |header: &str| {
        for (method, path, name, body) in [
            (
                "POST",
                "/v2/snaps/refresh",
                "snap-device-authorization",
                "{\"actions\": []}",
            ),
            ("GET", "/v2/snaps/find?q=agent", "x-device-authorization", ""),
        ] {
            let started = Instant::now();
            let answer = field.call(method, path, &[(name, header)], body).await;
            assert!(started.elapsed() < LONG);
            assert_eq!(answer.status, 401, "{path} {header}: {:?}", answer.body);
            let challenge = answer.header("www-authenticate");
            assert!(challenge.contains("refresh_device_session=1"), "{challenge}");
            assert_eq!(answer.header("content-type"), "application/json");
            assert!(!answer.code().is_empty(), "{:?}", answer.body);
        }
    };
    for header in headers {
        refused(&header).await;
    }
    let private = format!("/download/{}_1.snap", id("secret"));
    let get = async |session: &str| {
        let headers = [("snap-device-authorization", session)];
        field.call("GET", &private, &headers, "").await.status
    };
    assert_eq!(get(&format!("Macaroon root=\"{}\"", bad[0])).await, 401);
    assert_eq!(
        field.app.reports.waiting(),
        0,
        "nobody was believed to be a device"
    );
    assert_eq!(get(&session).await, 200);
    // An end that a holder puts later is none.
    let longer = format!("Macaroon root=\"{}\"", narrowed("expires = 2100-01-01T00:00:00Z"));
    assert_eq!(get(&longer).await, 200);
    field.clock.advance(24 * 3600);
    refused(&session).await;
    refused(&longer).await;
}
