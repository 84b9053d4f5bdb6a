//! How devices and image builders come to a store.

use std::sync::Arc;

use hallmark::app::catalog::connect;
use hallmark::app::credentials::{self, Asked};
use hallmark::app::{App, AppState, Settings, StoreCtx};
use hallmark::domain::access::{Account, Membership, Role, Token, TokenText};
use hallmark::domain::ident::{AccountId, StoreId};
use hallmark::ports::{Change, Commit, CommitOutcome};

use super::Field;
use super::stock::{field, id};

#[tokio::test]
async fn devices_are_pointed_at_a_store_by_an_assertion_that_changes_only_with_the_address() {
    let field = field().await;
    let store: StoreId = "acme-store".parse().unwrap();
    assert_eq!(field.get("/v2/auth/store/assertions").await.status, 404);
    let first = connect::connect(&field.app, &local(&field.app, &store).await)
        .await
        .unwrap();
    let again = connect::connect(&field.app, &local(&field.app, &store).await)
        .await
        .unwrap();
    assert_eq!(first.assertions, again.assertions);
    assert_eq!(first.url, field.app.settings.public_url);
    for path in [
        "/v2/auth/store/assertions",
        "/v2/auth/store/assertions?store=acme-store",
    ] {
        assert_eq!(field.get(path).await.body, first.assertions, "{path}");
    }
    assert_eq!(
        field.get("/v2/auth/store/assertions?store=other").await.status,
        404
    );
    let moved = moved_to(&field.app, "https://store.acme.example");
    let next = connect::connect(&moved, &local(&moved, &store).await)
        .await
        .unwrap();
    assert_eq!(next.url, "https://store.acme.example");
    let served = field.get("/v2/assertions/store/acme-store").await;
    let served = hallmark::domain::assertion::decode(&served.body).unwrap();
    assert_eq!(
        (served.revision(), served.text("url")),
        (1, Some("https://store.acme.example"))
    );
    // Devices resolve some addresses relative to this one, which takes the last part of a path away.
    let moved = moved_to(&field.app, "https://acme.example/store");
    let next = connect::connect(&moved, &local(&moved, &store).await)
        .await
        .unwrap();
    assert_eq!(next.url, "https://acme.example/store/");
    let again = connect::connect(&moved, &local(&moved, &store).await)
        .await
        .unwrap();
    assert_eq!(next.assertions, again.assertions);
}

async fn local(app: &App, store: &StoreId) -> StoreCtx {
    StoreCtx::local(app, store).await.unwrap()
}

/// The same instance under another address.
fn moved_to(app: &App, public_url: &str) -> App {
    let mut state = AppState::clone(app);
    state.settings = Arc::new(Settings {
        public_url: public_url.to_owned(),
        ..Settings::clone(&app.settings)
    });
    App::from(state)
}

#[tokio::test]
async fn an_image_builder_sees_private_snaps_with_a_token_of_the_brand_only() {
    let field = field().await;
    let token = async |roles: &[Role]| builder(&field, roles).await;
    let status = async |authorization: &str, path: &str| {
        let headers = [
            ("authorization", authorization),
            ("snap-device-store", "acme-store"),
        ];
        field.call("GET", path, &headers, "").await.status
    };
    let good = token(&[Role::View]).await;
    let info = "/v2/snaps/info/secret?architecture=amd64";
    let file = format!("/download/{}_1.snap", id("secret"));
    for form in [
        format!("Bearer {good}"),
        format!("Macaroon {good}"),
        format!("Macaroon root=\"{good}\""),
    ] {
        assert_eq!(status(&form, info).await, 200, "{form}");
        assert_eq!(status(&form, &file).await, 200, "{form}");
    }
    // As `snap login` leaves it: macaroons, which may have been narrowed or have ended.
    let asked = Asked {
        words: Some(vec!["package_access".to_owned(), "package_purchase".to_owned()]),
        ..Asked::default()
    };
    let root = credentials::issue_root(&field.app, &asked).unwrap();
    let hash = TokenText::parse(&good).unwrap().hash();
    let known = field
        .app
        .storage
        .find_unique::<Token>("hash", &hash)
        .await
        .unwrap()
        .unwrap();
    let account = known.record.account_id;
    let account = field
        .app
        .storage
        .find::<Account>([account.as_str()])
        .await
        .unwrap()
        .unwrap();
    let email = account.record.email.to_string();
    let caveat = crate::publisher::client::caveat(&root).1;
    let discharge = credentials::log_in(&field.app, None, &caveat, &email, good.clone().into(), None)
        .await
        .unwrap()
        .text;
    let pair = crate::publisher::client::header(&root, &discharge);
    assert_eq!(status(&pair, info).await, 200);
    assert_eq!(status(&pair, &file).await, 200);
    let narrow = crate::publisher::client::narrowed(&root, "hallmark|only|{\"permissions\":[\"snap-read\"]}");
    assert_eq!(
        status(&crate::publisher::client::header(&narrow, &discharge), info).await,
        404
    );
    assert_eq!(
        status(
            &format!("Macaroon root=\"{root}\", discharge=\"{discharge}\""),
            info
        )
        .await,
        401
    );
    let none = token(&[]).await;
    assert_eq!(status(&format!("Macaroon {none}"), info).await, 404);
    assert_eq!(
        status(&format!("Macaroon {none}"), "/v2/snaps/info/agent").await,
        200
    );
    assert_eq!(
        status("Macaroon root=\"MDAy\", discharge=\"x\"", "/v2/snaps/info/agent").await,
        200
    );
    let mut forged = good.clone();
    forged.replace_range(6..8, "zz");
    assert!([401, 404].contains(&status(&format!("Macaroon {forged}"), info).await));
}

/// A token of a new account with these roles in acme.
async fn builder(field: &Field, roles: &[Role]) -> String {
    token_in(field, "acme", roles, &["image-build"]).await
}

/// A token for these permissions, of a new account with these roles in a store of acme.
pub(super) async fn token_in(field: &Field, store: &str, roles: &[Role], permissions: &[&str]) -> String {
    let now = field.app.clock.now();
    let mut bytes = [0; 16];
    field.app.entropy.fill(&mut bytes);
    let account_id: AccountId = hallmark::domain::audit::hex(&bytes).parse().unwrap();
    let name = format!("b{}", &account_id.as_str()[..8]);
    let text = TokenText::generate(|buffer| field.app.entropy.fill(buffer));
    let account = Account {
        id: account_id.clone(),
        email: format!("{name}@acme.example").parse().unwrap(),
        username: name.parse().unwrap(),
        display_name: name.clone(),
        password: None,
        unproven: false,
        operator: false,
        second_factor: None,
        provider: None,
        reset: None,
        disabled: false,
        created: now,
    };
    let token = Token {
        id: name,
        account_id: account_id.clone(),
        hash: text.hash(),
        description: String::new(),
        permissions: Some(permissions.iter().map(|&name| name.to_owned()).collect()),
        brand_id: None,
        words: Vec::new(),
        limits: Default::default(),
        publisher: false,
        person: false,
        created: now,
        expires: now.plus_seconds(3600),
    };
    let mut records = vec![Change::create(&account), Change::create(&token)];
    if !roles.is_empty() {
        records.push(Change::create(&Membership {
            brand_id: "acme".parse().unwrap(),
            store_id: store.parse().unwrap(),
            account_id,
            roles: roles.to_vec(),
            changed: now,
        }));
    }
    let commit = Commit {
        records,
        ..Commit::default()
    };
    assert_eq!(
        field.app.storage.commit(commit).await.unwrap(),
        CommitOutcome::Done
    );
    text.reveal().to_owned()
}
