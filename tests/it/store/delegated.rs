//! Brands whose snaps another root declares: what was imported decides, and the brand signs what it was left to sign.

use hallmark::app::InstanceCtx;
use hallmark::app::catalog::connect;
use hallmark::domain::assertion::{Assertion, AssertionType as T, Headers, Value as Header, encode_stream};
use hallmark::domain::blob::BlobId;
use hallmark::domain::vault::SigningKey;
use serde_json::{Value, json};

use super::shop::*;
use crate::vault::factory::{START, TestKey, headers};

const BRAND: &str = "deleg";
const SNAP_ID: &str = "abcdefghijklmnopqrstuvwxyz012345";

/// A root elsewhere.
struct Upstream(TestKey);

impl Upstream {
    fn sign(&self, kind: T, pairs: &[(&str, &str)], more: &[(&str, Header)], body: &[u8]) -> Assertion {
        let mut headers: Headers = headers(pairs);
        headers.set("authority-id", "upstream");
        if kind != T::AccountKey {
            headers.set("timestamp", START);
        }
        for (name, value) in more {
            headers.set(name, value.clone());
        }
        self.0.sign(kind, headers, body, START.parse().unwrap())
    }

    fn account(&self, id: &str) -> Assertion {
        let pairs = [
            ("account-id", id),
            ("display-name", id),
            ("username", id),
            ("validation", "verified"),
        ];
        self.sign(T::Account, &pairs, &[], b"")
    }

    fn key(&self, id: &str, account: &str, name: &str, encoded: &str) -> Assertion {
        let pairs = [
            ("public-key-sha3-384", id),
            ("account-id", account),
            ("name", name),
            ("since", "2020-01-01T00:00:00Z"),
        ];
        self.sign(T::AccountKey, &pairs, &[], encoded.as_bytes())
    }

    fn declaration(&self, revision: &str, more: &[(&str, Header)]) -> Assertion {
        let pairs = [
            ("series", "16"),
            ("snap-id", SNAP_ID),
            ("snap-name", "gizmo"),
            ("publisher-id", BRAND),
            ("revision", revision),
        ];
        self.sign(T::SnapDeclaration, &pairs, more, b"")
    }
}

async fn import(shop: &Shop, assertions: &[&Assertion]) {
    let stream = encode_stream(assertions.iter().map(|assertion| assertion.encoded()));
    let ctx = hallmark::app::BrandCtx::local(BRAND.parse().unwrap());
    hallmark::app::assertions::import(&shop.app, &ctx, stream)
        .await
        .unwrap();
}

/// A root that is trusted, and a brand whose snaps it declares.
async fn delegated(shop: &Shop) -> Upstream {
    let upstream = Upstream(TestKey::new("other"));
    let (id, encoded) = (
        upstream.0.public.id().to_string(),
        upstream.0.public.encoded().to_owned(),
    );
    let root = [
        upstream.account("upstream"),
        upstream.key(&id, "upstream", "root", &encoded),
    ];
    let stream = encode_stream(root.iter().map(|assertion| assertion.encoded()));
    hallmark::app::trust::import(&shop.app, &InstanceCtx::local(), stream)
        .await
        .unwrap();
    let brand = json!({"id": BRAND, "delegated": true});
    shop.call("operator", "POST", "/brands", brand).await.ok();
    import(shop, &[&upstream.account(BRAND)]).await;
    upstream
}

#[tokio::test]
async fn another_roots_snaps_need_what_it_signed() {
    let shop = Shop::new().await;
    let upstream = delegated(&shop).await;
    let file = |version: &str, provenance: &str| {
        let more = if provenance.is_empty() {
            String::new()
        } else {
            format!("provenance: {provenance}\n")
        };
        snap_file("gizmo", version, &more)
    };
    let add = async |file: &[u8]| {
        let answer = shop
            .send("operator", "brand=deleg&publisher=deleg", file.to_vec())
            .await;
        (answer.status, answer.code().to_owned(), answer.body)
    };
    let refused = async |file: &[u8]| {
        let (status, code, body) = add(file).await;
        assert_eq!(status, 409, "{body}");
        code
    };
    assert_eq!(refused(&file("1", "")).await, "declaration-required");
    import(&shop, &[&upstream.declaration("0", &[])]).await;
    assert_eq!(refused(&file("1", "")).await, "assertion-required");

    // A revision that was imported keeps its number.
    let first = file("1", "");
    let digest = BlobId::of(&first).to_base64url();
    let size = first.len().to_string();
    let pairs = [
        ("snap-sha3-384", digest.as_str()),
        ("snap-id", SNAP_ID),
        ("snap-size", &size),
        ("snap-revision", "7"),
        ("developer-id", BRAND),
    ];
    import(&shop, &[&upstream.sign(T::SnapRevision, &pairs, &[], b"")]).await;
    let (status, _, body) = add(&first).await;
    assert_eq!(
        (status, &body["revision"]["revision"]),
        (201, &json!(7)),
        "{body}"
    );
    assert_eq!(body["snap"]["snap-id"], SNAP_ID);

    // Others need the brand's key, and that the declaration delegates to it.
    let second = file("2", "prod");
    assert_eq!(refused(&second).await, "assertion-required");
    let key = json!({"name": "snap-revision", "purposes": ["snap-revision"]});
    // Who makes a brand is its first administrator and acts for it.
    shop.call("operator", "POST", "/keys?brand=deleg", key).await.ok();
    let stored = shop
        .app
        .storage
        .find::<SigningKey>([BRAND, "snap-revision"])
        .await
        .unwrap();
    let stored = stored.unwrap().record;
    assert_eq!(refused(&second).await, "key-not-registered");
    import(
        &shop,
        &[&upstream.key(stored.key_id.as_str(), BRAND, "snap-revision", &stored.public_key)],
    )
    .await;
    assert_eq!(refused(&second).await, "not-delegated");
    let text = |text: &str| Header::from(text);
    let delegation = Header::Map(
        [
            ("account-id".to_owned(), text(BRAND)),
            ("provenance".to_owned(), Header::List(vec![text("prod")])),
            ("min-revision".to_owned(), text("20")),
        ]
        .into(),
    );
    let delegation = [("revision-authority", Header::List(vec![delegation]))];
    import(&shop, &[&upstream.declaration("1", &delegation)]).await;
    let (status, _, body) = add(&second).await;
    assert_eq!(
        (status, &body["revision"]["revision"]),
        (201, &json!(20)),
        "{body}"
    );
    let digest = BlobId::of(&second).to_base64url();
    let signed = shop.assertion(T::SnapRevision, [&digest, "prod"]).await.unwrap();
    assert_eq!(
        (signed.authority_id(), signed.text("provenance")),
        (Some(BRAND), Some("prod"))
    );
    assert_eq!(refused(&file("3", "test")).await, "not-delegated");
    let (_, _, body) = add(&file("4", "prod")).await;
    assert_eq!(body["revision"]["revision"], 21);

    // A newer declaration is followed at once.
    let alias = [
        ("name".to_owned(), text("gz")),
        ("target".to_owned(), text("gizmo")),
    ];
    let aliases = ("aliases", Header::List(vec![Header::Map(alias.into())]));
    let (older, newer) = (
        upstream.declaration("2", &[]),
        upstream.declaration("3", &[aliases]),
    );
    import(&shop, &[&newer, &older]).await;
    assert_eq!(shop.snap("gizmo").await.aliases, ["gz".to_owned()].into());

    // Our root declares nothing here.
    let declare = json!({"text": "plugs: {home: {allow-auto-connection: true}}"});
    let declared = shop
        .call("operator", "PUT", "/snaps/gizmo/declaration?brand=deleg", declare)
        .await;
    assert_eq!(declared.refusal(), (409, "declaration-imported"));
    let findings = hallmark::app::doctor::examine(&shop.app).await.unwrap();
    assert_eq!(findings.problems, [""; 0]);
    assert_eq!(
        shop.call("admin", "GET", "/snaps?brand=deleg", Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn what_another_root_says_anew_is_followed_at_once() {
    let shop = Shop::new().await;
    let upstream = delegated(&shop).await;
    let file = snap_file("gizmo", "1", "");
    let digest = BlobId::of(&file).to_base64url();
    let size = file.len().to_string();
    let revision = [
        ("snap-sha3-384", digest.as_str()),
        ("snap-id", SNAP_ID),
        ("snap-size", &size),
        ("snap-revision", "1"),
        ("developer-id", BRAND),
    ];
    let revision = upstream.sign(T::SnapRevision, &revision, &[], b"");
    import(&shop, &[&upstream.declaration("0", &[]), &revision]).await;
    let query = "brand=deleg&publisher=deleg&release=stable";
    shop.send("operator", query, file).await.ok();
    let get = async |path: &str| {
        let request = shop.http.get(format!("http://{}{path}", shop.address));
        answer(request.header("snap-device-store", BRAND)).await
    };
    let info = async || get("/v2/snaps/info/gizmo").await;
    assert_eq!(info().await.ok()["snap"]["publisher"]["display-name"], BRAND);

    let account = [
        ("account-id", BRAND),
        ("display-name", "Renamed"),
        ("username", BRAND),
        ("validation", "starred"),
        ("revision", "1"),
    ];
    import(&shop, &[&upstream.sign(T::Account, &account, &[], b"")]).await;
    let publisher = &info().await.ok()["snap"]["publisher"];
    assert_eq!(
        (&publisher["display-name"], &publisher["validation"]),
        (&json!("Renamed"), &json!("starred"))
    );

    // Revoked, it is gone for everybody; what says so stays, for those who have it.
    let declaration = format!("/v2/assertions/snap-declaration/16/{SNAP_ID}");
    let download = format!("/download/{SNAP_ID}_1.snap");
    for private in [false, true] {
        let edit = json!({"private": private});
        shop.call("operator", "PUT", "/snaps/gizmo?brand=deleg", edit)
            .await
            .ok();
        let (revoking, again) = if private { ("3", "4") } else { ("1", "2") };
        let nameless = [("snap-name", Header::from(""))];
        import(&shop, &[&upstream.declaration(revoking, &nameless)]).await;
        assert_eq!(info().await.refusal(), (404, "resource-not-found"));
        assert_eq!(get(&download).await.status, 404);
        let catalog = shop.app.catalog.current(&shop.app).await.unwrap();
        let store = BRAND.parse().unwrap();
        let own = hallmark::domain::catalog::Viewer::Of(&store);
        assert!(catalog.by_name(&"gizmo".parse().unwrap(), own).is_none());
        assert_eq!(catalog.seen(own).count(), 0);
        assert!(catalog.may_know(SNAP_ID, own));
        assert_eq!(get(&declaration).await.status, if private { 404 } else { 200 });
        let shown = shop.call("operator", "GET", "/snaps/gizmo?brand=deleg", Value::Null);
        assert_eq!(shown.await.ok()["revoked"], true);

        import(&shop, &[&upstream.declaration(again, &[])]).await;
        let catalog = shop.app.catalog.current(&shop.app).await.unwrap();
        assert!(catalog.by_name(&"gizmo".parse().unwrap(), own).is_some());
    }
}

#[tokio::test]
async fn an_imported_store_assertion_may_name_the_address_with_a_slash() {
    let shop = Shop::new().await;
    let upstream = delegated(&shop).await;
    let url = shop.app.settings.public_url.clone() + "/";
    let pairs = [("store", BRAND), ("operator-id", BRAND), ("url", url.as_str())];
    import(&shop, &[&upstream.sign(T::Store, &pairs, &[], b"")]).await;
    let ctx = hallmark::app::StoreCtx::local(&shop.app, &BRAND.parse().unwrap())
        .await
        .unwrap();
    let connected = connect::connect(&shop.app, &ctx).await;
    assert_eq!(connected.unwrap().url, url);
}
