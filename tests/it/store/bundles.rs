//! Stores that travel as bundles: out of one instance, into another that has no connection to it, to the devices there.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use hallmark::adapters::memory::Memory;
use hallmark::app::bundles::store_in::{self, SnapState};
use hallmark::app::bundles::store_out::{self, Wanted};
use hallmark::app::bundles::{Bundle, Trust};
use hallmark::app::catalog::inclusions;
use hallmark::app::catalog::stores::{self, StoreSettings};
use hallmark::app::instance::{self, NewBrand, NewInstance};
use hallmark::app::trust::{self, Sizes};
use hallmark::app::{InstanceCtx, Refusal, StoreCtx};
use hallmark::domain::access::{Brand, StoreRecord};
use hallmark::domain::bundle::SignedManifest;
use hallmark::domain::bundle::store::{BundleScope, SHARED, StoreBody, assertions_of, records_of};
use hallmark::domain::catalog::{Inclusion, RevisionRecord};
use hallmark::ports::{Key, Storage};
use serde_json::{Value, json};

use super::shop::*;
use crate::harness::{TestClock, acme, instance_on, parts, quick_kdf, vector_key};

/// An instance of its own with brand `boxer`; its root is that key of the vectors.
async fn elsewhere(authority: &str, root: &str) -> Shop {
    made(authority, root, "boxer").await
}

async fn made(authority: &str, root: &str, brand: &str) -> Shop {
    let (storage, kdf, clock): (Arc<dyn Storage>, _, _) =
        (Arc::new(Memory::new()), quick_kdf(), TestClock::new());
    let new = NewInstance {
        authority: Some(authority.parse().unwrap()),
        root: Some(vector_key(root)),
        brand: NewBrand {
            id: brand.parse().unwrap(),
            name: None,
            delegated: false,
            admin: None,
            factory: None,
        },
        ..acme(&kdf)
    };
    let parts = parts(storage, "p", &kdf, &clock, true);
    let app = instance::create(parts, new, &|_| ()).await.unwrap();
    Shop::serving(app, clock).await
}

/// Trusts the root of `source` at `here`.
async fn trust_root(source: &Shop, here: &Shop) {
    let ctx = InstanceCtx::local();
    let sizes = Sizes {
        account: None,
        key: None,
    };
    let root = trust::export(&source.app, &ctx, sizes).await.unwrap();
    let stream = hallmark::domain::assertion::encode_stream(root.iter().map(|assertion| assertion.encoded()));
    trust::import(&here.app, &ctx, stream).await.unwrap();
}

fn scope(channels: &[&str]) -> BundleScope {
    BundleScope {
        channels: channels.iter().map(|text| text.parse().unwrap()).collect(),
        ..BundleScope::default()
    }
}

async fn export(shop: &Shop, store: &str, scope: BundleScope) -> Bundle {
    let wanted = Wanted {
        store: store.parse().unwrap(),
        scope,
    };
    store_out::export(&shop.app, &InstanceCtx::local(), &wanted)
        .await
        .unwrap()
}

fn body(bundle: &Bundle) -> StoreBody {
    serde_json::from_value(bundle.signed().open().unwrap().body).unwrap()
}

/// Brings the files of a bundle over.
async fn carry(bundle: &Bundle, from: &Shop, to: &Shop) {
    let manifest = bundle.signed().open().unwrap();
    for file in manifest
        .files
        .iter()
        .filter(|file| file.name.starts_with("blobs/"))
    {
        let blob = from.app.blobs.open(&file.sha3_384).await.unwrap().unwrap();
        assert_eq!(blob.size(), file.size, "{}", file.name);
        let mut staging = to.app.blobs.stage().await.unwrap();
        let mut pieces = blob.stream(0, blob.size());
        while let Some(piece) = pieces.next().await {
            staging.write(piece.unwrap()).await.unwrap();
        }
        staging.finish().await.unwrap().keep().await.unwrap();
    }
}

fn signer(bundle: &Bundle) -> Trust {
    Trust {
        signer: Some(bundle.signature.public_key),
        ..Trust::default()
    }
}

/// The bundle with these texts only.
fn part(bundle: &Bundle, names: &[String]) -> Bundle {
    let mut part = bundle.clone();
    part.texts.retain(|name, _| names.contains(name));
    part
}

/// All steps of an import; what became of each snap by name, and whether anything changed.
async fn import(
    shop: &Shop,
    bundle: &Bundle,
    trust: &Trust,
) -> Result<(BTreeMap<String, SnapState>, bool), Refusal> {
    let ctx = InstanceCtx::local();
    let app = &shop.app;
    let checked = store_in::check(app, &ctx, bundle, trust).await?;
    let shared = part(bundle, &[SHARED.to_owned()]);
    let mut changed = store_in::shared(app, &ctx, &shared, trust).await?;
    let mut states = BTreeMap::new();
    for snap in &checked.snaps {
        let own = part(bundle, &[records_of(&snap.id), assertions_of(&snap.id)]);
        let state = store_in::snap(app, &ctx, &own, &snap.id, trust).await?;
        assert_eq!(state, snap.state, "{}", snap.name);
        changed |= matches!(state, SnapState::New | SnapState::Changed);
        states.insert(snap.name.to_string(), state);
    }
    changed |= store_in::finish(app, &ctx, &part(bundle, &[]), trust).await? > 0;
    Ok((states, changed))
}

/// What a device of the store gets that follows a channel; it is downloaded.
async fn device(shop: &Shop, store: &str, name: &str, channel: &str) -> Result<(u64, Vec<u8>), String> {
    let action =
        json!({"action": "install", "instance-key": "i", "name": name, "channel": channel, "epoch": null});
    let fields = ["revision", "download"];
    let request = shop
        .http
        .post(format!("http://{}/v2/snaps/refresh", shop.address))
        .header("snap-device-store", store)
        .header("snap-device-architecture", "amd64")
        .body(json!({"context": [], "actions": [action], "fields": fields}).to_string());
    let result = answer(request).await.ok()["results"][0].clone();
    if let Some(code) = result["error"]["code"].as_str() {
        return Err(code.to_owned());
    }
    let url = result["snap"]["download"]["url"].as_str().unwrap();
    let path = url.split_once("/download/").unwrap().1;
    let url = format!("http://{}/download/{path}", shop.address);
    let file = shop
        .http
        .get(url)
        .header("snap-device-store", store)
        .send()
        .await
        .unwrap();
    assert_eq!(file.status(), 200);
    let revision = result["snap"]["revision"].as_u64().unwrap();
    Ok((revision, file.bytes().await.unwrap().to_vec()))
}

/// What anybody gets under this path of the assertions.
async fn assertion(shop: &Shop, path: &str) -> u16 {
    let url = format!("http://{}/v2/assertions/{path}", shop.address);
    shop.http.get(url).send().await.unwrap().status().as_u16()
}

/// All that is stored and of interest, as text.
async fn state(shop: &Shop) -> String {
    let mut rows = shop.app.storage.export().await.unwrap();
    let mut text = String::new();
    while let Some(piece) = rows.next().await {
        for row in piece.unwrap() {
            text.push_str(&serde_json::to_string(&row).unwrap());
            text.push('\n');
        }
    }
    text
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> &'static str {
    result.unwrap_err().code
}

/// A store below acme's with one snap of its own brand; gizmo 1 in stable, 2 in edge.
async fn source() -> (Shop, Vec<u8>, Vec<u8>) {
    let (app, clock) = instance_on(Arc::new(Memory::new())).await;
    let shop = Shop::serving(app, clock).await;
    let (one, two) = (snap_file("gizmo", "1", ""), snap_file("gizmo", "2", ""));
    shop.send("operator", "publisher=acme&release=stable", one.clone())
        .await
        .ok();
    shop.send("operator", "publisher=acme&release=edge", two.clone())
        .await
        .ok();
    shop.send(
        "operator",
        "publisher=acme&release=stable",
        snap_file("widget", "1", ""),
    )
    .await
    .ok();
    let view = json!({"id": "line", "name": "Line", "parent": "acme"});
    shop.call("admin", "POST", "/stores", view).await.ok();
    shop.call("admin", "PUT", "/stores/line/snaps/gizmo", Value::Null)
        .await
        .ok();
    (shop, one, two)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_to_an_instance_with_another_root_and_on_to_its_devices() {
    let (source, one, two) = source().await;
    let here = elsewhere("boxroot", "other").await;
    let bundle = export(&source, "acme", scope(&["stable"])).await;
    let listed = body(&bundle);
    assert_eq!(listed.snaps.len(), 2);
    let trust = signer(&bundle);

    // Nothing is taken whose root is not trusted, or whose signer was not named; nothing changes by that.
    let before = state(&here).await;
    assert_eq!(
        code(import(&here, &bundle, &Trust::default()).await),
        "signer-required"
    );
    let wrong = Trust {
        signer: Some(
            export(&here, "boxer", scope(&["stable"]))
                .await
                .signature
                .public_key,
        ),
        ..Trust::default()
    };
    let before_wrong = state(&here).await;
    assert_eq!(code(import(&here, &bundle, &wrong).await), "wrong-signer");
    assert_eq!(code(import(&here, &bundle, &trust).await), "missing-prerequisite");
    assert_eq!(state(&here).await, before_wrong);
    assert_ne!(before, before_wrong, "an export is audited");

    trust_root(&source, &here).await;
    let before = state(&here).await;
    let ctx = InstanceCtx::local();
    let checked = store_in::check(&here.app, &ctx, &bundle, &trust).await.unwrap();
    assert!(checked.changes);
    assert_eq!(state(&here).await, before, "looking changes nothing");

    // Without the files no snap is taken in: an import that was cut goes on where it was.
    assert_eq!(code(import(&here, &bundle, &trust).await), "file-missing");
    assert_eq!(
        device(&here, "acme", "gizmo", "stable").await.unwrap_err(),
        "name-not-found"
    );
    carry(&bundle, &source, &here).await;
    let gizmo = &listed
        .snaps
        .iter()
        .find(|snap| snap.name.as_str() == "gizmo")
        .unwrap()
        .id;
    let own = part(&bundle, &[records_of(gizmo), assertions_of(gizmo)]);
    store_in::snap(&here.app, &ctx, &own, gizmo, &trust)
        .await
        .unwrap();
    assert_eq!(device(&here, "acme", "gizmo", "stable").await.unwrap().0, 1);
    assert_eq!(
        device(&here, "acme", "widget", "stable").await.unwrap_err(),
        "name-not-found"
    );
    let (states, changed) = import(&here, &bundle, &trust).await.unwrap();
    assert!(changed);
    assert_eq!(
        (states["gizmo"], states["widget"]),
        (SnapState::Same, SnapState::New)
    );
    let brand = here
        .app
        .storage
        .find::<Brand>(["acme"])
        .await
        .unwrap()
        .unwrap()
        .record;
    assert!(brand.delegated);
    assert_eq!(
        device(&here, "acme", "gizmo", "stable").await.unwrap(),
        (1, one.clone())
    );
    assert_eq!(
        device(&here, "acme", "gizmo", "edge").await.unwrap().0,
        1,
        "edge did not come along"
    );
    let digest = here.snap("gizmo").await.releases.open[0].revision;
    assert_eq!(digest, 1);
    let id = here.snap("gizmo").await.id;
    assert_eq!(assertion(&here, &format!("snap-declaration/16/{id}")).await, 200);
    assert_eq!(assertion(&here, "account/acme").await, 200);
    let revision: RevisionRecord = here
        .app
        .storage
        .all::<RevisionRecord>([id.as_str()])
        .await
        .unwrap()
        .remove(0)
        .record;
    let path = format!("snap-revision/{}", revision.blob.to_base64url());
    assert_eq!(assertion(&here, &path).await, 200);
    assert_eq!(
        hallmark::app::doctor::examine(&here.app)
            .await
            .unwrap()
            .problems
            .len(),
        0
    );

    // The same again changes nothing; the signer needs no naming any more.
    let before = state(&here).await;
    let (states, changed) = import(&here, &bundle, &Trust::default()).await.unwrap();
    assert!(
        !changed && states.values().all(|state| *state == SnapState::Same),
        "{states:?}"
    );
    assert_eq!(state(&here).await, before);

    // A newer one moves on, an older one does not come back unless it is meant.
    source.clock.advance(60);
    here.clock.advance(60);
    let release = json!({"revision": 2, "channels": ["stable"]});
    source
        .call("operator", "POST", "/snaps/gizmo/releases", release)
        .await
        .ok();
    let newer = export(&source, "acme", scope(&["stable"])).await;
    carry(&newer, &source, &here).await;
    let (states, _) = import(&here, &newer, &Trust::default()).await.unwrap();
    assert_eq!(
        (states["gizmo"], states["widget"]),
        (SnapState::Changed, SnapState::Same)
    );
    assert_eq!(device(&here, "acme", "gizmo", "stable").await.unwrap(), (2, two));
    assert_eq!(
        code(import(&here, &bundle, &Trust::default()).await),
        "older-bundle"
    );
    assert_eq!(device(&here, "acme", "gizmo", "stable").await.unwrap().0, 2);
    let back = Trust {
        force: true,
        ..Trust::default()
    };
    import(&here, &bundle, &back).await.unwrap();
    assert_eq!(device(&here, "acme", "gizmo", "stable").await.unwrap(), (1, one));

    // Whoever signs for that instance now is not who signed before.
    let mut forged = newer.clone();
    let manifest = newer.signed().open().unwrap();
    let signed = SignedManifest::sign(&manifest, &[9; 32]).unwrap();
    forged.signature = signed.signature;
    assert_eq!(
        code(import(&here, &forged, &signer(&forged)).await),
        "wrong-signer"
    );
    let mut tampered = newer;
    let text = tampered.texts.get_mut(SHARED).unwrap();
    *text = text.replacen("display-name: Acme", "display-name: Acne", 1);
    assert_eq!(
        code(import(&here, &tampered, &Trust::default()).await),
        "invalid-bundle"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_root_may_have_instances_on_both_sides() {
    let source = made("rooty", "root", "acme").await;
    let here = made("rooty", "root", "boxer").await;
    source
        .send(
            "operator",
            "brand=acme&publisher=acme&release=stable",
            snap_file("gizmo", "1", ""),
        )
        .await
        .ok();
    let bundle = export(&source, "acme", scope(&["stable"])).await;
    carry(&bundle, &source, &here).await;
    import(&here, &bundle, &signer(&bundle)).await.unwrap();
    assert_eq!(device(&here, "acme", "gizmo", "stable").await.unwrap().0, 1);
    let brand = here
        .app
        .storage
        .find::<Brand>(["acme"])
        .await
        .unwrap()
        .unwrap()
        .record;
    assert!(!brand.delegated, "our root signed its account");
    // An instance does not take its own bundles.
    assert_eq!(
        code(import(&source, &bundle, &signer(&bundle)).await),
        "own-bundle"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_here_already_is_not_replaced_by_accident() {
    let (source, ..) = source().await;
    let bundle = export(&source, "acme", scope(&["stable"])).await;
    let trust = signer(&bundle);

    // A brand of another root.
    let own = made("otherroot", "other", "acme").await;
    trust_root(&source, &own).await;
    let before = state(&own).await;
    assert_eq!(code(import(&own, &bundle, &trust).await), "signed-elsewhere");
    assert_eq!(state(&own).await, before);

    // A snap of another id with the name.
    let here = elsewhere("boxroot", "other").await;
    trust_root(&source, &here).await;
    here.send(
        "operator",
        "brand=boxer&publisher=boxer&release=stable",
        snap_file("gizmo", "7", ""),
    )
    .await
    .ok();
    let before = state(&here).await;
    assert_eq!(code(import(&here, &bundle, &trust).await), "name-taken");
    assert_eq!(state(&here).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_brings_what_it_shows_and_follows_what_it_shows_no_more() {
    let (source, ..) = source().await;
    let here = elsewhere("boxroot", "other").await;
    trust_root(&source, &here).await;
    let included = async |shop: &Shop| {
        let found = shop.app.storage.all::<Inclusion>(["line"]).await.unwrap();
        found.len()
    };
    assert_eq!(included(&source).await, 1);
    let bundle = export(&source, "line", scope(&["stable"])).await;
    let listed = body(&bundle);
    assert_eq!(listed.snaps.len(), 1, "widget is not in the view");
    carry(&bundle, &source, &here).await;
    import(&here, &bundle, &signer(&bundle)).await.unwrap();
    let stores = here
        .app
        .storage
        .all::<StoreRecord>(Key(Vec::new()))
        .await
        .unwrap();
    let ids: Vec<String> = stores.iter().map(|store| store.record.id.to_string()).collect();
    assert_eq!(ids, ["acme", "boxer", "line"]);
    assert_eq!(device(&here, "line", "gizmo", "stable").await.unwrap().0, 1);
    assert_eq!(
        device(&here, "line", "widget", "stable").await.unwrap_err(),
        "name-not-found"
    );

    // Only declarations, stores and keys: channels stay as they are.
    source.clock.advance(60);
    here.clock.advance(60);
    let names = export(&source, "line", scope(&[])).await;
    assert!(
        !names
            .signed()
            .open()
            .unwrap()
            .files
            .iter()
            .any(|file| file.name.starts_with("blobs/"))
    );
    import(&here, &names, &Trust::default()).await.unwrap();
    assert_eq!(device(&here, "line", "gizmo", "stable").await.unwrap().0, 1);

    // Closed and taken out at the source.
    source.clock.advance(60);
    here.clock.advance(60);
    source
        .call("admin", "DELETE", "/stores/line/snaps/gizmo", Value::Null)
        .await
        .ok();
    let without = export(&source, "line", scope(&["stable"])).await;
    let (_, changed) = import(&here, &without, &Trust::default()).await.unwrap();
    assert!(changed);
    assert_eq!(included(&here).await, 0);
    assert_eq!(
        device(&here, "line", "gizmo", "stable").await.unwrap_err(),
        "name-not-found"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_follows_the_newest_bundle_of_who_brought_it() {
    let (source, ..) = source().await;
    let here = elsewhere("boxroot", "other").await;
    trust_root(&source, &here).await;
    let is_private = async |store: &str| {
        let found = here.app.storage.find::<StoreRecord>([store]).await.unwrap();
        found.unwrap().record.private
    };
    let of_view = export(&source, "line", scope(&["stable"])).await;
    source.clock.advance(60);
    here.clock.advance(60);
    let acme = StoreCtx::local(&source.app, &"acme".parse().unwrap())
        .await
        .unwrap();
    let closed = StoreSettings {
        private: Some(true),
        ..StoreSettings::default()
    };
    stores::configure(&source.app, &acme, closed).await.unwrap();
    let of_base = export(&source, "acme", scope(&["stable"])).await;
    let trust = signer(&of_base);
    for bundle in [&of_base, &of_view] {
        carry(bundle, &source, &here).await;
        import(&here, bundle, &trust).await.unwrap();
        assert!(is_private("acme").await);
    }

    // A bundle that speaks of a store which was here before it.
    let mut manifest = of_base.signed().open().unwrap();
    let own = here.app.storage.find::<StoreRecord>(["boxer"]).await.unwrap();
    let mut own = serde_json::to_value(own.unwrap().record).unwrap();
    let was_private = is_private("boxer").await;
    own["private"] = json!(!was_private);
    let brand = json!({"id": "boxer", "name": "boxer", "base-store": "boxer"});
    manifest.body["brands"].as_array_mut().unwrap().push(brand);
    manifest.body["stores"].as_array_mut().unwrap().push(own);
    let signed = SignedManifest::sign(&manifest, &source.app.secrets.audit_seed).unwrap();
    let forged = Bundle::new(signed, of_base.texts.clone()).unwrap();
    assert_eq!(code(import(&here, &forged, &trust).await), "store-taken");
    assert_eq!(is_private("boxer").await, was_private);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_follows_one_source_the_last_that_was_let_in() {
    let (source, one, two) = source().await;
    let (middle, here) = (
        elsewhere("boxroot", "other").await,
        elsewhere("boxroot", "other").await,
    );
    let close = async |shop: &Shop, store: &str, private| {
        let ctx = StoreCtx::local(&shop.app, &store.parse().unwrap()).await.unwrap();
        let settings = StoreSettings {
            private: Some(private),
            ..StoreSettings::default()
        };
        stores::configure(&shop.app, &ctx, settings).await.unwrap();
    };
    let first = export(&source, "line", scope(&["stable"])).await;
    for shop in [&middle, &here] {
        trust_root(&source, shop).await;
        carry(&first, &source, shop).await;
        import(shop, &first, &signer(&first)).await.unwrap();
    }
    // The same store as it is in the middle: it is not followed from there, as it came from elsewhere.
    let of_middle = export(&middle, "line", scope(&["stable"])).await;
    let trust = signer(&of_middle);
    assert_eq!(code(import(&here, &of_middle, &trust).await), "snap-differs");
    let adopt = Trust {
        adopt: true,
        ..trust.clone()
    };
    import(&here, &of_middle, &adopt).await.unwrap();
    assert!(!import(&here, &of_middle, &trust).await.unwrap().1);

    // The first source has nothing to say about it any more: neither about the snap nor about the store, nor takes it anything out.
    source.clock.advance(60);
    let release = json!({"revision": 2, "channels": ["stable"]});
    source
        .call("operator", "POST", "/snaps/gizmo/releases", release)
        .await
        .ok();
    let later = export(&source, "line", scope(&["stable"])).await;
    carry(&later, &source, &here).await;
    assert_eq!(code(import(&here, &later, &signer(&later)).await), "snap-differs");
    source
        .call("admin", "DELETE", "/stores/line/snaps/gizmo", Value::Null)
        .await
        .ok();
    source.clock.advance(60);
    let without = export(&source, "line", scope(&["stable"])).await;
    import(&here, &without, &signer(&without)).await.unwrap();
    assert_eq!(device(&here, "line", "gizmo", "stable").await.unwrap(), (1, one));
    close(&source, "line", true).await;
    source.clock.advance(60);
    let closed = export(&source, "line", scope(&["stable"])).await;
    assert_eq!(
        code(import(&here, &closed, &signer(&closed)).await),
        "store-taken"
    );

    // And back, to a bundle of before.
    let adopt = Trust {
        adopt: true,
        force: true,
        ..signer(&later)
    };
    import(&here, &later, &adopt).await.unwrap();
    assert_eq!(device(&here, "line", "gizmo", "stable").await.unwrap(), (2, two));
    here.clock.advance(60);
    middle.clock.advance(600);
    let of_middle = export(&middle, "line", scope(&["stable"])).await;
    assert_eq!(code(import(&here, &of_middle, &trust).await), "snap-differs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_a_store_come_in_any_order() {
    let (source, one, two) = source().await;
    let here = elsewhere("boxroot", "other").await;
    trust_root(&source, &here).await;
    let later = || {
        source.clock.advance(60);
        here.clock.advance(60);
    };
    let alone = |name: &str| BundleScope {
        snaps: [name.parse().unwrap()].into(),
        ..scope(&["stable"])
    };
    let widget = export(&source, "acme", alone("widget")).await;
    later();
    let whole = export(&source, "acme", scope(&["stable"])).await;
    later();
    let release = json!({"revision": 2, "channels": ["stable"]});
    source
        .call("operator", "POST", "/snaps/gizmo/releases", release)
        .await
        .ok();
    let gizmo = export(&source, "acme", alone("gizmo")).await;
    let trust = signer(&whole);
    for bundle in [&widget, &gizmo, &whole] {
        carry(bundle, &source, &here).await;
    }

    import(&here, &gizmo, &trust).await.unwrap();
    let (states, _) = import(&here, &widget, &trust).await.unwrap();
    assert_eq!(states["widget"], SnapState::New);
    let (states, _) = import(&here, &whole, &trust).await.unwrap();
    assert_eq!(
        (states["gizmo"], states["widget"]),
        (SnapState::Newer, SnapState::Same)
    );
    assert_eq!(device(&here, "acme", "gizmo", "stable").await.unwrap(), (2, two));

    // Behind what speaks of the whole store a part of before is old.
    let before = state(&here).await;
    assert_eq!(code(import(&here, &widget, &trust).await), "older-bundle");
    assert_eq!(state(&here).await, before);
    let back = Trust { force: true, ..trust };
    import(&here, &whole, &back).await.unwrap();
    assert_eq!(device(&here, "acme", "gizmo", "stable").await.unwrap(), (1, one));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_here_put_into_a_store_stays_in_it() {
    let (source, ..) = source().await;
    let here = elsewhere("boxroot", "other").await;
    trust_root(&source, &here).await;
    let included = async || {
        let found = here.app.storage.all::<Inclusion>(["line"]).await.unwrap();
        let ids: Vec<_> = found.into_iter().map(|found| found.record.snap_id).collect();
        ids
    };
    let base = export(&source, "acme", scope(&["stable"])).await;
    let view = export(&source, "line", scope(&["stable"])).await;
    let trust = signer(&base);
    for bundle in [&base, &view] {
        carry(bundle, &source, &here).await;
        import(&here, bundle, &trust).await.unwrap();
    }
    let (gizmo, widget) = (here.snap("gizmo").await.id, here.snap("widget").await.id);
    assert_eq!(included().await, std::slice::from_ref(&gizmo));
    let line = StoreCtx::local(&here.app, &"line".parse().unwrap())
        .await
        .unwrap();
    inclusions::include(&here.app, &line, &"widget".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(included().await.len(), 2);

    source.clock.advance(60);
    here.clock.advance(60);
    source
        .call("admin", "DELETE", "/stores/line/snaps/gizmo", Value::Null)
        .await
        .ok();
    let without = export(&source, "line", scope(&["stable"])).await;
    import(&here, &without, &trust).await.unwrap();
    assert_eq!(included().await, [widget]);
}
