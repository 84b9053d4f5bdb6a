//! Logging in as publisher clients do, and everything that must not be a log-in.

use http::header::WWW_AUTHENTICATE;
use libmacaroon::{Caveat, Macaroon, MacaroonKey, Verifier};
use serde_json::{Value, json};

use super::client::{
    PASSWORD, bound, caveat, discharge, discharged, header, logged_in, narrowed, post, root, text, whoami,
    with, with_password,
};
use crate::office::{Answer, BRAND, Office};

const WHO: &str = "jo@acme.example";
const DAY: i64 = 86_400;

async fn office() -> Office {
    let office = Office::new().await;
    with_password(&office, WHO).await;
    office
        .add_member(BRAND, WHO, &[hallmark::domain::access::Role::Access])
        .await;
    office
}

fn all() -> Value {
    json!({"permissions": ["package_access", "package_release"], "description": "snapcraft@host"})
}

/// Refused, without a hint that a refresh would help.
fn refused(answer: &Answer, code: &str, what: &str) {
    assert_eq!(
        (answer.status, answer.code()),
        (401, code),
        "{what}: {}",
        answer.body
    );
    assert_eq!(
        answer.headers[WWW_AUTHENTICATE], "Bearer realm=\"hallmark\"",
        "{what}"
    );
}

#[tokio::test]
async fn a_client_logs_in_and_is_limited_to_what_it_asked_for() {
    let office = office().await;
    let asked = json!({
        "permissions": ["package_access", "package_push"], "description": "snapcraft@host",
        "expires": "2026-08-01T00:00:00+00:00", "packages": [{"name": "thing", "series": "16"}],
        "channels": ["edge", "beta"],
    });
    let root = root(&office, asked).await;
    assert_eq!(caveat(&root).0, "127.0.0.1:8380");
    let discharge = discharged(&office, &root, WHO, PASSWORD).await;
    for form in [
        header(&root, &discharge),
        format!(
            "macaroon root=\"{root}\", discharge=\"{}\"",
            bound(&root, &discharge)
        ),
        format!("MACAROON Discharge={},ROOT={root}", bound(&root, &discharge)),
    ] {
        let answer = whoami(&office, &form).await;
        assert_eq!(answer.status, 200, "{form} {}", answer.body);
        assert_eq!(answer.body["account"]["email"], WHO);
        assert_eq!(
            answer.body["permissions"],
            json!(["package_access", "package_push"])
        );
        assert_eq!(
            answer.body["packages"],
            json!([{"type": "snap", "name": "thing"}])
        );
        assert_eq!(answer.body["channels"], json!(["beta", "edge"]));
        assert_eq!(answer.body["expires"], "2026-08-01T00:00:00");
    }
    let verify = json!({"auth_data": {"authorization": header(&root, &discharge)}});
    let answer = post(&office, "/dev/api/acl/verify/", verify).await;
    assert_eq!(
        (&answer.body["allowed"], &answer.body["refresh_required"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        answer.body["permissions"],
        json!(["package_access", "package_push"])
    );
    assert_eq!(answer.body["snap_ids"], json!([]));
    let agreement = with(
        &office,
        "POST",
        "/dev/api/agreement/",
        &header(&root, &discharge),
        json!({"latest_tos_accepted": true}),
    )
    .await;
    assert_eq!(
        (agreement.status, &agreement.body["latest_tos_accepted"]),
        (200, &json!(true))
    );

    // It is listed and can be revoked like any token.
    let person = format!("Bearer {}", office.token(WHO).await);
    let listed = with(&office, "GET", "/hallmark/v1/tokens", &person, Value::Null).await;
    let token = listed
        .body
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["kind"] == "publisher")
        .unwrap();
    assert_eq!(token["description"], "snapcraft@host");
    assert_eq!(token["packages"], json!(["thing"]));
    assert_eq!(token["expires"], "2026-08-01T00:00:00Z");
    let path = format!("/hallmark/v1/tokens/{}", token["id"].as_str().unwrap());
    assert_eq!(
        with(&office, "DELETE", &path, &person, Value::Null).await.status,
        204
    );
    refused(
        &whoami(&office, &header(&root, &discharge)).await,
        "invalid-token",
        "revoked",
    );
    let answer = post(
        &office,
        "/api/v2/tokens/refresh",
        json!({"discharge_macaroon": discharge}),
    )
    .await;
    refused(&answer, "invalid-token", "refresh of a revoked one");
}

#[tokio::test]
async fn the_words_and_limits_of_a_root_are_checked_at_the_edge() {
    let office = office().await;
    for (body, code) in [
        (
            json!({"permissions": ["package_everything"]}),
            "invalid-permission",
        ),
        (json!({"permissions": []}), "invalid-permission"),
        (
            json!({"permissions": vec!["package_access"; 300]}),
            "invalid-permission",
        ),
        (json!({"permissions": "package_access"}), "invalid-request"),
        (
            json!({"permissions": ["package_access"], "expires": "soon"}),
            "invalid-expiry",
        ),
        (
            json!({"permissions": ["package_access"], "expires": "2020-01-01"}),
            "invalid-expiry",
        ),
        (
            json!({"permissions": ["package_access"], "expires": "2099-01-01"}),
            "invalid-expiry",
        ),
        (
            json!({"permissions": ["package_access"], "ttl": 0}),
            "invalid-expiry",
        ),
        (
            json!({"permissions": ["package_access"], "ttl": i64::MAX}),
            "invalid-expiry",
        ),
        (
            json!({"permissions": ["package_access"], "ttl": 60, "expires": "2027-01-01"}),
            "invalid-expiry",
        ),
        (
            json!({"permissions": ["package_access"], "packages": []}),
            "invalid-request",
        ),
        (
            json!({"permissions": ["package_access"], "packages": [{"name": "../x"}]}),
            "invalid-request",
        ),
        (
            json!({"permissions": ["package_access"], "channels": ["a b"]}),
            "invalid-request",
        ),
        (
            json!({"permissions": ["package_access"], "store_ids": ["<b>"]}),
            "invalid-request",
        ),
        (json!(["package_access"]), "invalid-request"),
        (
            json!({"permissions": ["package_access"], "channels": (0..150).map(|n| format!("{n}/{}", "x".repeat(150))).collect::<Vec<_>>()}),
            "too-many-limits",
        ),
    ] {
        let answer = post(&office, "/dev/api/acl/", body.clone()).await;
        assert_eq!((answer.status, answer.code()), (400, code), "{body}");
    }
    for (method, path, body) in [
        ("POST", "/dev/api/acl", json!({"permissions": ["package_access"]})),
        ("POST", "/api/v2/tokens", json!({"permissions": ["store_admin"]})),
        ("GET", "/v1/tokens", Value::Null),
        (
            "POST",
            "/publishergw/v1/tokens/",
            json!({"permissions": ["account-view-packages"], "description": "x", "ttl": 3600}),
        ),
        (
            "POST",
            "/v1/tokens/usso",
            json!({"permissions": ["store-admin"], "ttl": 3600, "packages": [{"type": "snap", "name": "thing"}]}),
        ),
    ] {
        let answer = office.call(method, path, None, body).await;
        let root = answer.body["macaroon"].as_str().unwrap();
        assert!(
            !root.contains(['=', '+', '/']),
            "URL-safe without padding: {root}"
        );
        assert!(caveat(root).1.is_ascii());
    }
}

#[tokio::test]
async fn snap_logs_in_where_it_looks_for_the_caveat() {
    let office = office().await;
    let root = root(
        &office,
        json!({"permissions": ["package_access", "package_purchase"]}),
    )
    .await;
    assert_eq!(caveat(&root).0, "login.ubuntu.com");
    let discharge = discharged(&office, &root, WHO, PASSWORD).await;
    assert_eq!(whoami(&office, &header(&root, &discharge)).await.status, 200);
}

#[tokio::test]
async fn wrong_passwords_unknown_names_and_foreign_caveats_are_refused_and_lock() {
    let office = office().await;
    let root = root(&office, all()).await;
    for (email, password) in [
        (WHO, "wrong password"),
        ("nobody@nowhere.example", PASSWORD),
        ("", ""),
    ] {
        let answer = discharge(&office, &root, email, password).await;
        refused(&answer, "invalid-credentials", email);
        assert_eq!(answer.body["code"], "INVALID_CREDENTIALS");
        assert!(answer.body["message"].is_string());
    }
    for id in [
        "",
        "cav-0001",
        "e30.AAAAAAAAAAAAAAAAAAAAAA",
        &format!("{}x", caveat(&root).1),
    ] {
        let body = json!({"email": WHO, "password": PASSWORD, "caveat_id": id});
        let answer = post(&office, "/api/v2/tokens/discharge", body).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid-caveat"), "{id}");
    }
    for _ in 0..9 {
        discharge(&office, &root, WHO, "wrong password").await;
    }
    let answer = discharge(&office, &root, WHO, PASSWORD).await;
    assert_eq!((answer.status, answer.code()), (429, "too-many-failures"));
}

#[tokio::test]
async fn a_token_stands_in_for_the_password_and_stays_what_it_is() {
    let office = office().await;
    let narrow = office
        .token_with(WHO, |token| {
            token.person = false;
            token.permissions = Some(vec!["snap-read".to_owned(), "snap-edit".to_owned()]);
        })
        .await;
    let root = root(
        &office,
        json!({"permissions": ["package_access", "package_release"]}),
    )
    .await;
    refused(
        &discharge(&office, &root, "admin@acme.example", &narrow).await,
        "invalid-credentials",
        "whose",
    );
    let unknown = hallmark::domain::access::TokenText::generate(|buffer| buffer.fill(3));
    refused(
        &discharge(&office, &root, WHO, unknown.reveal()).await,
        "invalid-credentials",
        "unknown",
    );

    let discharge = discharged(&office, &root, WHO, &narrow).await;
    let answer = whoami(&office, &header(&root, &discharge)).await;
    // What both leave: reading.
    assert_eq!(answer.status, 200, "{}", answer.body);
    let person = format!("Bearer {}", office.token(WHO).await);
    let listed = with(&office, "GET", "/hallmark/v1/tokens", &person, Value::Null).await;
    assert_eq!(
        listed.body.as_array().unwrap().len(),
        2,
        "no token was made: {}",
        listed.body
    );
    office.advance(3601);
    refused(
        &whoami(&office, &header(&root, &discharge)).await,
        "token-expired",
        "ends with the token",
    );
}

#[tokio::test]
async fn a_discharge_ends_after_a_month_and_is_refreshed_while_its_token_is_good() {
    let office = office().await;
    let root = root(
        &office,
        json!({"permissions": ["package_access"], "expires": "2026-08-01"}),
    )
    .await;
    let discharge = discharged(&office, &root, WHO, PASSWORD).await;
    office.advance(30 * DAY - 1);
    assert_eq!(whoami(&office, &header(&root, &discharge)).await.status, 200);
    office.advance(1);
    let answer = whoami(&office, &header(&root, &discharge)).await;
    assert_eq!((answer.status, answer.code()), (401, "macaroon-needs-refresh"));
    assert_eq!(answer.headers[WWW_AUTHENTICATE], "Macaroon needs_refresh=1");
    let verify = json!({"auth_data": {"authorization": header(&root, &discharge)}});
    let verdict = post(&office, "/dev/api/acl/verify/", verify).await;
    assert_eq!(
        (&verdict.body["allowed"], &verdict.body["refresh_required"]),
        (&json!(false), &json!(true))
    );

    let answer = post(
        &office,
        "/api/v2/tokens/refresh",
        json!({"discharge_macaroon": discharge}),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let fresh = answer.body["discharge_macaroon"].as_str().unwrap();
    assert_eq!(whoami(&office, &header(&root, fresh)).await.status, 200);
    for (old, what) in [
        (bound(&root, &discharge), "bound"),
        (
            narrowed(&discharge, "hallmark|expires|2026-06-02T00:00:00Z"),
            "narrowed",
        ),
        (root.clone(), "a root"),
        ("nonsense".to_owned(), "nonsense"),
    ] {
        let answer = post(
            &office,
            "/api/v2/tokens/refresh",
            json!({"discharge_macaroon": old}),
        )
        .await;
        refused(&answer, "invalid-token", what);
    }
    // With the root's end a refresh does not help any more, and nobody says it would.
    office.advance(32 * DAY);
    refused(
        &whoami(&office, &header(&root, fresh)).await,
        "token-expired",
        "root",
    );
    let answer = post(
        &office,
        "/api/v2/tokens/refresh",
        json!({"discharge_macaroon": fresh}),
    )
    .await;
    refused(&answer, "token-expired", "refresh after the end");
}

#[tokio::test]
async fn nothing_that_was_changed_replayed_or_left_out_is_a_credential() {
    let office = office().await;
    let mine = root(&office, all()).await;
    let other = root(&office, all()).await;
    assert_ne!(mine, other, "no two roots are alike");
    let proof = discharged(&office, &mine, WHO, PASSWORD).await;
    let good = bound(&mine, &proof);
    assert_eq!(whoami(&office, &header(&mine, &proof)).await.status, 200);
    let cut = |text: &str| text[..text.len() - 8].to_owned();
    let mut cases = vec![
        (format!("Macaroon root={mine}"), "root alone"),
        (format!("Macaroon {mine}"), "root as a text"),
        (format!("Macaroon {proof}"), "discharge as a text"),
        (format!("Macaroon root={mine}, discharge={proof}"), "not bound"),
        (format!("Macaroon root={other}, discharge={good}"), "another root"),
        (header(&other, &proof), "bound to another root"),
        (
            format!("Macaroon root={good}, discharge={mine}"),
            "the wrong way round",
        ),
        (
            format!("Macaroon root={}, discharge={good}", cut(&mine)),
            "root cut off",
        ),
        (
            format!("Macaroon root={mine}, discharge={}", cut(&good)),
            "discharge cut off",
        ),
        (format!("Bearer root={mine}, discharge={good}"), "another scheme"),
        (format!("Macaroon root={mine}, discharge="), "empty discharge"),
        (
            format!("Macaroon root={}, discharge={good}", "A".repeat(60_000)),
            "too long",
        ),
    ];
    // A macaroon with our identifier, signed by somebody else.
    let identifier = Macaroon::deserialize(&mine).unwrap().identifier().to_vec();
    let forged = Macaroon::create(None, &MacaroonKey::generate(b"guess"), &identifier).unwrap();
    cases.push((
        format!("Macaroon root={}, discharge={good}", text(&forged)),
        "forged",
    ));
    // Caveats that say more, in the place of ours.
    for (from, to) in [
        ("snap-release", "model-manages"),
        ("|expires|2027", "|expires|2036"),
    ] {
        let bytes = Macaroon::deserialize(&mine).unwrap();
        let raw = base64_of(&text(&bytes));
        let changed = replaced(&raw, from.as_bytes(), to.as_bytes());
        cases.push((
            format!("Macaroon root={}, discharge={good}", to_base64(&changed)),
            "widened",
        ));
    }
    cases.push((
        format!("Macaroon root={}, discharge={good}", swapped(&mine)),
        "reordered",
    ));
    for predicate in [
        "hallmark|token|other",
        "hallmark|colour|red",
        "anything",
        "hallmark|only|{\"more\":1}",
    ] {
        let root = narrowed(&mine, predicate);
        cases.push((header(&root, &proof), "an unknown caveat"));
        let proof = narrowed(&proof, predicate);
        cases.push((header(&mine, &proof), "an unknown caveat in the discharge"));
    }
    for (authorization, what) in cases {
        refused(&whoami(&office, &authorization).await, "invalid-token", what);
    }
    office.put_disabled(WHO).await;
    refused(
        &whoami(&office, &header(&mine, &proof)).await,
        "invalid-token",
        "disabled account",
    );
}

fn base64_of(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .unwrap()
}

fn to_base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// `bytes` with the first `from` replaced by a text of the same length.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let to = &to[..from.len()];
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// The first two caveats of a macaroon in the other order.
fn swapped(macaroon: &str) -> String {
    let bytes = base64_of(macaroon);
    let mut packets = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..4]).unwrap(), 16).unwrap();
        let (packet, after) = rest.split_at(length);
        packets.push(packet);
        rest = after;
    }
    packets.swap(2, 3);
    to_base64(&packets.concat())
}

#[tokio::test]
async fn holders_narrow_what_they_hand_on() {
    let office = office().await;
    let mine = root(&office, all()).await;
    let proof = discharged(&office, &mine, WHO, PASSWORD).await;
    let narrow = narrowed(
        &mine,
        "hallmark|only|{\"permissions\":[\"snap-read\",\"model-manage\"]}",
    );
    let narrow = narrowed(&narrow, "hallmark|expires|2026-06-02T00:00:00Z");
    let answer = whoami(&office, &header(&narrow, &proof)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["expires"], "2026-06-02T00:00:00");
    let verify = format!("/hallmark/v1/models?brand={BRAND}");
    let admin = with(&office, "GET", &verify, &header(&narrow, &proof), Value::Null).await;
    assert_eq!(admin.status, 404, "{}", admin.body);
    let later = narrowed(&mine, "hallmark|expires|2036-06-02T00:00:00Z");
    let answer = whoami(&office, &header(&later, &proof)).await;
    assert_eq!(
        answer.body["expires"], "2027-06-01T00:00:00",
        "a later end says nothing"
    );
    office.advance(DAY);
    refused(
        &whoami(&office, &header(&narrow, &proof)).await,
        "token-expired",
        "its end",
    );
}

#[tokio::test]
async fn what_leaked_with_a_request_is_not_exchanged_for_something_that_lasts() {
    let office = office().await;
    let mine = root(&office, all()).await;
    let proof = discharged(&office, &mine, WHO, PASSWORD).await;
    let leaked = header(&mine, &proof);
    let unbound = format!("Macaroon root={mine}, discharge={proof}");
    let exchanged =
        async |path: &str, authorization: &str| with(&office, "POST", path, authorization, json!({})).await;
    for path in [
        "/v1/tokens/exchange",
        "/v1/tokens/dashboard/exchange",
        "/api/v2/tokens/exchange",
    ] {
        refused(&exchanged(path, &unbound).await, "invalid-token", path);
    }
    let mut singles = Vec::new();
    for (path, authorization, lasts) in [
        ("/v1/tokens/exchange", &leaked, false),
        ("/v1/tokens/dashboard/exchange", &leaked, false),
        ("/api/v2/tokens/exchange", &leaked, false),
        ("/v1/tokens/usso/exchange", &leaked, false),
        ("/v1/tokens/usso/exchange", &unbound, true),
    ] {
        let answer = exchanged(path, authorization).await;
        let single = answer.body["macaroon"].as_str().unwrap().to_owned();
        singles.push((path, single, lasts));
    }
    // One of them again, for itself: it ends no later.
    let again = exchanged("/v1/tokens/exchange", &format!("Macaroon {}", singles[0].1)).await;
    let again = again.body["macaroon"].as_str().unwrap().to_owned();
    singles.push(("again", again, false));
    office.advance(30 * DAY - 1);
    for (path, single, _) in &singles {
        assert_eq!(
            whoami(&office, &format!("Macaroon {single}")).await.status,
            200,
            "{path}"
        );
    }
    office.advance(1);
    for (path, single, lasts) in &singles {
        let answer = whoami(&office, &format!("Macaroon {single}")).await;
        match lasts {
            true => assert_eq!(answer.status, 200, "{path}"),
            false => refused(&answer, "token-expired", path),
        }
    }
}

#[tokio::test]
async fn credentials_are_exchanged_for_one_text_that_is_worth_no_more() {
    let office = office().await;
    let mine = root(&office, all()).await;
    let proof = discharged(&office, &mine, WHO, PASSWORD).await;
    let unbound = format!("Macaroon root={mine}, discharge={proof}");
    let pair = header(&mine, &proof);
    let mut texts = Vec::new();
    for (path, authorization) in [
        ("/v1/tokens/usso/exchange", &unbound),
        ("/v1/tokens/usso/exchange", &pair),
        ("/v1/tokens/dashboard/exchange", &pair),
        ("/v1/tokens/exchange", &pair),
        ("/api/v2/tokens/exchange", &pair),
    ] {
        let answer = with(
            &office,
            "POST",
            path,
            authorization,
            json!({"client-description": "x"}),
        )
        .await;
        assert_eq!(answer.status, 200, "{path} {}", answer.body);
        texts.push(answer.body["macaroon"].as_str().unwrap().to_owned());
    }
    for single in &texts {
        for scheme in ["Macaroon", "macaroon", "Bearer"] {
            let answer = whoami(&office, &format!("{scheme} {single}")).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_eq!(answer.body["permissions"], all()["permissions"]);
        }
        let again = with(
            &office,
            "POST",
            "/v1/tokens/exchange",
            &format!("Macaroon {single}"),
            json!({}),
        )
        .await;
        assert_eq!(again.status, 200, "{}", again.body);
    }
    refused(
        &with(&office, "POST", "/v1/tokens/exchange", "Macaroon abc", json!({})).await,
        "invalid-token",
        "",
    );
    let answer = post(&office, "/v1/tokens/dashboard/exchange", json!({})).await;
    refused(&answer, "login-required", "nothing");
    let changed = narrowed(&texts[0], "hallmark|token|other");
    refused(
        &whoami(&office, &format!("Macaroon {changed}")).await,
        "invalid-token",
        "another token",
    );

    // The secret an administrator hands out.
    let secret = office
        .token_with(WHO, |token| {
            token.permissions = Some(vec!["snap-release".to_owned()])
        })
        .await;
    let answer = post(
        &office,
        "/publishergw/v1/tokens/offline/exchange",
        json!({"macaroon": secret}),
    )
    .await;
    let single = answer.body["macaroon"].as_str().unwrap().to_owned();
    let answer = with(
        &office,
        "GET",
        "/v1/tokens/whoami",
        &format!("macaroon {single}"),
        Value::Null,
    )
    .await;
    assert_eq!(answer.body["permissions"], json!(["package-manage-releases"]));
    for bad in ["", "hmk_no", &mine, "opaque"] {
        let answer = post(&office, "/v1/tokens/offline/exchange", json!({"macaroon": bad})).await;
        refused(&answer, "invalid-token", bad);
    }
    // Handed on, nothing is a person's log-in any more.
    let person = office.token(WHO).await;
    let answer = post(
        &office,
        "/v1/tokens/offline/exchange",
        json!({"macaroon": person}),
    )
    .await;
    let single = format!("Macaroon {}", answer.body["macaroon"].as_str().unwrap());
    let answer = with(
        &office,
        "POST",
        "/hallmark/v1/tokens",
        &single,
        json!({"for": "ci"}),
    )
    .await;
    assert_eq!(answer.status, 404, "{}", answer.body);
}

#[tokio::test]
async fn a_list_of_macaroons_is_taken_in_its_own_header() {
    use base64::Engine as _;
    let office = office().await;
    let mine = root(&office, all()).await;
    let proof = discharged(&office, &mine, WHO, PASSWORD).await;
    let json_form = |text: &str| -> Value {
        let macaroon = Macaroon::deserialize(text).unwrap();
        serde_json::from_str(&macaroon.serialize(libmacaroon::Format::V2JSON).unwrap()).unwrap()
    };
    // As Python clients write them.
    let json_form_1 = |text: &str| -> Value {
        let macaroon = Macaroon::deserialize(text).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let caveats = macaroon.caveats().iter().map(|caveat| match caveat {
            Caveat::FirstParty(own) => json!({"cid": text(own.predicate())}),
            Caveat::ThirdParty(other) => json!({
                "cid": text(other.id()), "cl": other.location(),
                "vid": base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(other.verifier_id()),
            }),
        });
        let signature: &[u8] = macaroon.signature().as_ref();
        json!({
            "identifier": text(macaroon.identifier()), "location": macaroon.location(),
            "caveats": caveats.collect::<Vec<Value>>(),
            "signature": signature.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        })
    };
    let lists = [
        json!([mine, bound(&mine, &proof)]),
        json!([json_form(&mine), json_form(&bound(&mine, &proof))]),
        json!([json_form_1(&mine), json_form_1(&bound(&mine, &proof))]),
    ];
    let unbound = json!([json_form_1(&mine), json_form_1(&proof)]);
    let unbound = base64::engine::general_purpose::URL_SAFE.encode(unbound.to_string());
    refused(
        &office.call_listed("GET", "/v1/tokens/whoami", &unbound).await,
        "invalid-token",
        "unbound",
    );
    for list in lists {
        let list = base64::engine::general_purpose::URL_SAFE.encode(list.to_string());
        let answer = office.call_listed("GET", "/v1/tokens/whoami", &list).await;
        assert_eq!(
            (answer.status, &answer.body["account"]["email"]),
            (200, &json!(WHO))
        );
        let answer = office.call_listed("POST", "/v1/tokens/exchange", &list).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let single = format!("Macaroon {}", answer.body["macaroon"].as_str().unwrap());
        assert_eq!(whoami(&office, &single).await.status, 200);
    }
    for (list, code) in [
        ("DISCHARGED", "invalid-token"),
        ("", "login-required"),
        ("W10=", "invalid-token"),
    ] {
        refused(
            &office.call_listed("POST", "/v1/tokens/exchange", list).await,
            code,
            list,
        );
    }
}

#[tokio::test]
async fn a_hundred_log_ins_of_clients_are_kept() {
    let office = office().await;
    let mine = root(&office, all()).await;
    let first = discharged(&office, &mine, WHO, PASSWORD).await;
    let account = office.account(WHO).await.id;
    for n in 0..100 {
        office.advance(1);
        office
            .token_with(WHO, |token| {
                (token.person, token.publisher) = (false, true);
                token.description = format!("{account} {n}");
                token.expires = token.created.plus_seconds(DAY);
            })
            .await;
    }
    logged_in(&office, WHO, all()).await;
    refused(
        &whoami(&office, &header(&mine, &first)).await,
        "invalid-token",
        "the oldest",
    );
}

#[test]
fn the_library_reads_and_binds_the_known_macaroons() {
    let page = include_str!("macaroon-vectors.txt");
    let value = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    let root_text = value("root serialized");
    let root = Macaroon::deserialize(&root_text).unwrap();
    let discharge_text = value("discharge serialized");
    let discharge = Macaroon::deserialize(&discharge_text).unwrap();
    assert_eq!(
        (text(&root), text(&discharge)),
        (root_text.clone(), discharge_text.clone())
    );
    assert_eq!(
        caveat(&root_text),
        ("login.example".to_owned(), "cav-0001".to_owned())
    );
    assert_eq!(
        hallmark::domain::audit::hex(root.signature().as_ref()),
        value("root signature (hex)")
    );
    assert_eq!(bound(&root_text, &discharge_text), value("bound discharge"));
    let mut verifier = Verifier::default();
    verifier.satisfy_exact("store.example|expires|2027-01-01T00:00:00Z");
    verifier.satisfy_exact("login.example|account|acct-1");
    let key = MacaroonKey::generate(b"root-secret");
    let bound = Macaroon::deserialize(bound(&root_text, &discharge_text)).unwrap();
    verifier.verify(&root, &key, &[bound]).unwrap();
    verifier.verify(&root, &key, &[discharge]).unwrap_err();
    // What we make looks the same: made from the same parts, it is the same discharge.
    let mut made = Macaroon::create(
        Some("login.example"),
        &MacaroonKey::generate(b"caveat-secret"),
        "cav-0001",
    )
    .unwrap();
    made.add_first_party_caveat("login.example|account|acct-1")
        .unwrap();
    assert_eq!(text(&made), discharge_text);
}
