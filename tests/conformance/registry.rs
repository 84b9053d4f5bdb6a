//! Records: versions, unique values, prefixes.

use std::collections::BTreeSet;
use std::sync::Arc;

use hallmark::domain::access::{Account, Limits, Membership, Role, StoreInvite, StoreRecord, Token};
use hallmark::domain::audit::Actor;
use hallmark::domain::blob::BlobId;
use hallmark::domain::bundle::BundleSource;
use hallmark::domain::catalog::{Override, SnapRecord};
use hallmark::domain::ident::AccountId;
use hallmark::domain::mail::OutgoingMail;
use hallmark::domain::review::{
    Act, Attribute, Finding, GrantRequest, ReviewRecord, ReviewState, Severity, Side,
};
use hallmark::domain::vault::ModelRecord;
use hallmark::ports::{Change, Commit, CommitOutcome, Key, Kind, Record, Storage};

use super::samples::{account, at, done, model_record};
use super::{Engine, race, restart};

fn only(change: Change) -> Commit {
    Commit {
        records: vec![change],
        ..Commit::default()
    }
}

async fn find(storage: &Arc<dyn Storage>, name: &str) -> Option<(serde_json::Value, u64)> {
    let found = storage.find::<Account>(account(name).key()).await.unwrap();
    found.map(|found| (serde_json::to_value(found.record).unwrap(), found.version))
}

pub(crate) async fn a_record_is_created_replaced_and_deleted_by_version(engine: &dyn Engine) {
    let storage = engine.open().await;
    let mut ada = account("ada");
    let conflict = CommitOutcome::Conflict {
        kind: Kind::Account,
        key: ada.key(),
    };
    assert!(find(&storage, "ada").await.is_none());
    assert_eq!(
        storage.commit(only(Change::replace(&ada, 1))).await.unwrap(),
        conflict
    );
    assert_eq!(
        storage.commit(only(Change::delete(&ada, 1))).await.unwrap(),
        conflict
    );

    done(&*storage, only(Change::create(&ada))).await;
    assert_eq!(
        find(&storage, "ada").await,
        Some((serde_json::to_value(&ada).unwrap(), 1))
    );
    assert_eq!(
        storage.commit(only(Change::create(&ada))).await.unwrap(),
        conflict
    );

    ada.display_name = "Countess".to_owned();
    done(&*storage, only(Change::replace(&ada, 1))).await;
    assert_eq!(
        find(&storage, "ada").await,
        Some((serde_json::to_value(&ada).unwrap(), 2))
    );
    assert_eq!(
        storage.commit(only(Change::replace(&ada, 1))).await.unwrap(),
        conflict
    );
    assert_eq!(
        storage.commit(only(Change::delete(&ada, 1))).await.unwrap(),
        conflict
    );

    done(&*storage, only(Change::delete(&ada, 2))).await;
    assert!(find(&storage, "ada").await.is_none());
    done(&*storage, only(Change::create(&ada))).await;
}

pub(crate) async fn a_unique_value_belongs_to_one_record(engine: &dyn Engine) {
    let storage = engine.open().await;
    done(&*storage, only(Change::create(&account("ada")))).await;
    let by_email = storage
        .find_unique::<Account>("email", "ada@brand.example")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(by_email.record.username.as_str(), "ada");
    assert!(
        storage
            .find_unique::<Account>("username", "ada@brand.example")
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        storage
            .find_unique::<Account>("email", "ada@brand")
            .await
            .unwrap()
            .is_none()
    );

    let mut bob = account("bob");
    bob.email = account("ada").email;
    let taken = CommitOutcome::Taken {
        kind: Kind::Account,
        field: "email",
    };
    assert_eq!(storage.commit(only(Change::create(&bob))).await.unwrap(), taken);
    assert!(find(&storage, "bob").await.is_none());

    // The same value of another kind or in another field is something else.
    done(
        &*storage,
        only(Change::create(&model_record("brand-one", "gate", &["ada"]))),
    )
    .await;
    let keys = ["one", "two"];
    done(
        &*storage,
        only(Change::create(&model_record("brand-one", "door", &keys))),
    )
    .await;
    for hash in keys {
        let model = storage
            .find_unique::<ModelRecord>("api-key", hash)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(model.record.name.as_str(), "door");
    }
    let outcome = storage
        .commit(only(Change::create(&model_record(
            "brand-two",
            "door",
            &["x", "two"],
        ))))
        .await
        .unwrap();
    assert_eq!(
        outcome,
        CommitOutcome::Taken {
            kind: Kind::Model,
            field: "api-key"
        }
    );
    assert!(
        storage
            .find_unique::<ModelRecord>("api-key", "x")
            .await
            .unwrap()
            .is_none()
    );
}

pub(crate) async fn a_unique_value_is_free_again_after_change_or_deletion(engine: &dyn Engine) {
    let storage = engine.open().await;
    done(
        &*storage,
        only(Change::create(&model_record("brand-one", "a", &["k1", "k2"]))),
    )
    .await;
    done(
        &*storage,
        only(Change::replace(&model_record("brand-one", "a", &["k2", "k3"]), 1)),
    )
    .await;
    assert!(
        storage
            .find_unique::<ModelRecord>("api-key", "k1")
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        storage
            .find_unique::<ModelRecord>("api-key", "k2")
            .await
            .unwrap()
            .is_some()
    );
    done(
        &*storage,
        only(Change::create(&model_record("brand-one", "b", &["k1"]))),
    )
    .await;
    done(
        &*storage,
        only(Change::delete(&model_record("brand-one", "a", &[]), 2)),
    )
    .await;
    assert!(
        storage
            .find_unique::<ModelRecord>("api-key", "k2")
            .await
            .unwrap()
            .is_none()
    );
    done(
        &*storage,
        only(Change::create(&model_record("brand-one", "c", &["k2", "k3"]))),
    )
    .await;
}

pub(crate) async fn records_are_listed_by_key_prefix_in_order(engine: &dyn Engine) {
    let storage = engine.open().await;
    for (brand, name) in [
        ("brand", "b"),
        ("brand-two", "a"),
        ("brand", "a-b"),
        ("brand", "a"),
        ("brand", "a1"),
        ("aa", "z"),
    ] {
        done(&*storage, only(Change::create(&model_record(brand, name, &[])))).await;
    }
    let listed = |prefix: Key| async {
        let all = storage.all::<ModelRecord>(prefix).await.unwrap();
        all.iter()
            .map(|model| format!("{}/{}", model.record.brand_id, model.record.name))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        listed(Key::from([])).await,
        [
            "aa/z",
            "brand/a",
            "brand/a-b",
            "brand/a1",
            "brand/b",
            "brand-two/a"
        ]
    );
    assert_eq!(
        listed(Key::from(["brand"])).await,
        ["brand/a", "brand/a-b", "brand/a1", "brand/b"]
    );
    assert_eq!(listed(Key::from(["brand", "a"])).await, ["brand/a"]);
    assert!(listed(Key::from(["bran"])).await.is_empty());
    assert!(
        storage
            .records(Kind::Brand, &Key::from([]))
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn records_of_an_account_are_found_among_those_of_others(engine: &dyn Engine) {
    let storage = engine.open().await;
    let (ada, bob) = (account("ada").id, account("bob").id);
    let token = |id: &str, of: &AccountId, description: &str| Token {
        id: id.to_owned(),
        account_id: of.clone(),
        hash: format!("hash of {id}"),
        description: description.to_owned(),
        permissions: None,
        words: Vec::new(),
        limits: Limits::default(),
        brand_id: None,
        person: true,
        publisher: false,
        created: at(0),
        expires: at(60),
    };
    // What somebody writes into a text does not make it another's.
    let lie = format!("\"account-id\":\"{ada}\"");
    for one in [token("c", &ada, ""), token("a", &ada, ""), token("b", &bob, &lie)] {
        done(&*storage, only(Change::create(&one))).await;
    }
    for (store, of) in [("one", &ada), ("two", &bob), ("three", &ada)] {
        let membership = Membership {
            brand_id: "brand".parse().unwrap(),
            store_id: store.parse().unwrap(),
            account_id: of.clone(),
            roles: vec![Role::View],
            changed: at(0),
        };
        done(&*storage, only(Change::create(&membership))).await;
    }
    let tokens = async |of: &AccountId| {
        let all = storage.all_of::<Token>(of).await.unwrap();
        all.into_iter().map(|found| found.record.id).collect::<Vec<_>>()
    };
    assert_eq!(tokens(&ada).await, ["a", "c"]);
    assert_eq!(tokens(&bob).await, ["b"]);
    assert!(tokens(&account("eve").id).await.is_empty());
    let stores = storage.all_of::<Membership>(&ada).await.unwrap();
    let stores: Vec<&str> = stores
        .iter()
        .map(|found| found.record.store_id.as_str())
        .collect();
    assert_eq!(stores, ["one", "three"]);
    let first = storage.all_of::<Token>(&ada).await.unwrap().remove(0);
    assert_eq!(first.version, 1);
    done(&*storage, only(Change::delete(&first.record, first.version))).await;
    assert_eq!(tokens(&ada).await, ["c"]);
}

pub(crate) async fn one_of_many_racing_creations_wins(engine: &dyn Engine) {
    let storage = engine.open().await;
    let outcomes = race(16, |number| {
        let storage = storage.clone();
        async move {
            let mut someone = account(&format!("user{number}"));
            someone.email = "all@brand.example".parse().unwrap();
            storage.commit(only(Change::create(&someone))).await.unwrap()
        }
    })
    .await;
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == CommitOutcome::Done)
            .count(),
        1
    );
    let taken = CommitOutcome::Taken {
        kind: Kind::Account,
        field: "email",
    };
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == taken).count(), 15);
    assert_eq!(
        storage
            .records(Kind::Account, &Key::from([]))
            .await
            .unwrap()
            .len(),
        1
    );
}

pub(crate) async fn racing_replacements_of_one_version_let_one_through(engine: &dyn Engine) {
    let storage = engine.open().await;
    done(&*storage, only(Change::create(&account("ada")))).await;
    let outcomes = race(16, |number| {
        let storage = storage.clone();
        async move {
            let mut ada = account("ada");
            ada.display_name = number.to_string();
            storage.commit(only(Change::replace(&ada, 1))).await.unwrap()
        }
    })
    .await;
    let winners: Vec<_> = (0..16)
        .filter(|number| outcomes[*number] == CommitOutcome::Done)
        .collect();
    assert_eq!(winners.len(), 1);
    let (ada, version) = find(&storage, "ada").await.unwrap();
    assert_eq!(
        (ada["display-name"].as_str(), version),
        (Some(winners[0].to_string().as_str()), 2)
    );
}

pub(crate) async fn records_survive_a_restart(engine: &dyn Engine) {
    let storage = engine.open().await;
    done(&*storage, only(Change::create(&account("ada")))).await;
    done(&*storage, only(Change::replace(&account("ada"), 1))).await;
    done(&*storage, only(Change::create(&account("bob")))).await;
    done(&*storage, only(Change::delete(&account("bob"), 1))).await;
    let storage = restart(engine, storage).await;
    assert_eq!(find(&storage, "ada").await.unwrap().1, 2);
    assert!(find(&storage, "bob").await.is_none());
    assert!(
        storage
            .find_unique::<Account>("username", "ada")
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        storage
            .find_unique::<Account>("username", "bob")
            .await
            .unwrap()
            .is_none()
    );
    assert!(storage.check().await.unwrap().is_empty());
}

pub(crate) async fn an_invite_is_found_by_its_secret_until_it_is_accepted(engine: &dyn Engine) {
    let storage = engine.open().await;
    let store = StoreRecord::new(
        "brand-one".parse().unwrap(),
        "brand-one".parse().unwrap(),
        "One".to_owned(),
        at(0),
    );
    done(&*storage, only(Change::create(&store))).await;
    let invite = |email: &str, secret: &str| StoreInvite {
        brand_id: "brand-one".parse().unwrap(),
        store_id: "brand-one".parse().unwrap(),
        email: email.parse().unwrap(),
        roles: BTreeSet::from([Role::View, Role::Access]),
        secret: secret.to_owned(),
        invited_by: None,
        revoked: false,
        created: at(0),
        expires: at(60),
    };
    let mut jo = invite("jo@acme.example", "s1");
    let al = invite("al@acme.example", "s2");
    done(&*storage, only(Change::create(&jo))).await;
    done(&*storage, only(Change::create(&al))).await;
    // Sent again: the secret of before is nobody's.
    jo.secret = "s3".to_owned();
    done(&*storage, only(Change::replace(&jo, 1))).await;
    let restarted = restart(engine, storage).await;
    let by_secret = async |secret: &str| {
        let found = restarted
            .find_unique::<StoreInvite>("secret", secret)
            .await
            .unwrap();
        found.map(|found| found.record)
    };
    assert_eq!(by_secret("s1").await, None);
    assert_eq!(by_secret("s3").await, Some(jo.clone()));
    let all = restarted.all::<StoreInvite>(["brand-one"]).await.unwrap();
    let emails: Vec<&str> = all.iter().map(|found| found.record.email.as_str()).collect();
    assert_eq!(emails, ["al@acme.example", "jo@acme.example"]);
    // Two who accept at once: one of them does.
    let accept = || restarted.commit(only(Change::delete(&jo, 2)));
    let outcomes = [accept().await.unwrap(), accept().await.unwrap()];
    let done = outcomes
        .iter()
        .filter(|outcome| **outcome == CommitOutcome::Done)
        .count();
    assert_eq!(done, 1);
    assert_eq!(by_secret("s3").await, None);
}

pub(crate) async fn reviews_are_found_by_their_file_until_it_is_approved(engine: &dyn Engine) {
    let storage = engine.open().await;
    let (first, second) = (snap_record('a', "gizmo"), snap_record('b', "widget"));
    let waiting = ReviewState::ManualReviewPending;
    let review = |snap: &SnapRecord, revision, file: &str| review_record(snap, revision, file, waiting);
    let commit = Commit {
        records: vec![
            Change::create(&first),
            Change::create(&second),
            Change::create(&review(&first, 10, "ten")),
            Change::create(&review(&first, 2, "two")),
            Change::create(&review(&second, 1, "one")),
        ],
        ..Commit::default()
    };
    done(&*storage, commit).await;
    let found = async |file: &str| {
        let value = ReviewRecord::file_value(&BlobId::of(file.as_bytes()), "global-upload");
        let found = storage.find_unique::<ReviewRecord>("file", &value).await.unwrap();
        found.map(|found| found.record.revision)
    };
    assert_eq!((found("two").await, found("nine").await), (Some(2), None));
    let twice = storage
        .commit(only(Change::create(&review(&second, 3, "two"))))
        .await
        .unwrap();
    let taken = CommitOutcome::Taken {
        kind: Kind::Review,
        field: "file",
    };
    assert_eq!(twice, taken);
    let listed = async |key: Key| {
        let all = storage.all::<ReviewRecord>(key).await.unwrap();
        all.iter().map(|found| found.record.revision).collect::<Vec<_>>()
    };
    let (id, store) = (first.id.as_str(), first.store_id.as_str());
    assert_eq!(listed(Key::from([store, id])).await, [2, 10]);
    assert_eq!(listed(Key::from([store])).await, [2, 10, 1]);
    // An approved file is found by its assertion: another review may have it.
    let mut approved = review(&first, 2, "two");
    approved.step(at(1), Actor::System, Act::Approve, ReviewState::Approved, "");
    done(&*storage, only(Change::replace(&approved, 1))).await;
    assert_eq!(found("two").await, None);
    done(&*storage, only(Change::create(&review(&second, 3, "two")))).await;
    let storage = restart(engine, storage).await;
    let key = [store, id, "0000000002"];
    let kept = storage.find::<ReviewRecord>(key).await.unwrap().unwrap();
    assert_eq!((kept.record, kept.version), (approved, 2));
    assert!(storage.check().await.unwrap().is_empty());
}

pub(crate) async fn grants_wait_by_snap(engine: &dyn Engine) {
    let storage = engine.open().await;
    let snap = snap_record('a', "gizmo");
    let request = |interface: &str, attribute| GrantRequest {
        snap_id: snap.id.clone(),
        side: Side::Plug,
        interface: interface.parse().unwrap(),
        attribute,
        on_store: ["acme".parse().unwrap()].into(),
        requested_by: "acme".parse().unwrap(),
        comment: "why".to_owned(),
        created: at(0),
    };
    let requests = [
        request("userns", Attribute::Installation),
        request("tee", Attribute::Installation),
        request("tee", Attribute::AutoConnection),
    ];
    let records = requests.iter().map(Change::create);
    let commit = Commit {
        records: std::iter::once(Change::create(&snap)).chain(records).collect(),
        ..Commit::default()
    };
    done(&*storage, commit).await;
    let listed = storage.all::<GrantRequest>([snap.id.as_str()]).await.unwrap();
    let listed: Vec<GrantRequest> = listed.into_iter().map(|found| found.record).collect();
    let [first, second, third] = requests;
    assert_eq!(listed, [third, second, first.clone()]);
    done(&*storage, only(Change::delete(&first, 1))).await;
    assert!(storage.find::<GrantRequest>(first.key()).await.unwrap().is_none());
    assert!(storage.check().await.unwrap().is_empty());
}

fn snap_record(letter: char, name: &str) -> SnapRecord {
    SnapRecord {
        id: letter.to_string().repeat(32).parse().unwrap(),
        name: name.parse().unwrap(),
        brand_id: "acme".parse().unwrap(),
        store_id: "acme".parse().unwrap(),
        publisher_id: "acme".parse().unwrap(),
        collaborators: Default::default(),
        kind: None,
        private: false,
        featured: None,
        revoked: false,
        listing: Default::default(),
        tracks: Default::default(),
        guardrails: Vec::new(),
        default_track: None,
        aliases: Default::default(),
        refresh_control: Default::default(),
        newest_revision: 0,
        newest_components: Default::default(),
        releases: Default::default(),
        created: at(0),
    }
}

fn review_record(snap: &SnapRecord, revision: u64, file: &str, state: ReviewState) -> ReviewRecord {
    let mut review = ReviewRecord {
        store_id: snap.store_id.clone(),
        snap_id: snap.id.clone(),
        revision,
        brand_id: snap.brand_id.clone(),
        blob: BlobId::of(file.as_bytes()),
        provenance: "global-upload".to_owned(),
        state,
        findings: vec![Finding {
            severity: Severity::Hold,
            code: "interface-not-granted".to_owned(),
            text: "Ω".to_owned(),
            about: Some("plugs/x".to_owned()),
        }],
        uploader: None,
        channels: vec!["2.0/edge".parse().unwrap()],
        release_by: None,
        percentage: Some(12.5),
        key: None,
        icon: None,
        history: Vec::new(),
        created: at(0),
    };
    review.step(at(0), Actor::System, Act::Check, state, "");
    review
}

pub(crate) async fn letters_wait_in_order_of_time_and_are_claimed_by_one(engine: &dyn Engine) {
    let storage = engine.open().await;
    let letter = |random: &str, time: i64| {
        OutgoingMail::new(random, format!("sealed {random}"), at(time), at(time + 60))
    };
    for (random, time) in [("b", 3), ("a", 20), ("c", 1)] {
        done(&*storage, only(Change::create(&letter(random, time)))).await;
    }
    let first = letter("c", 1);
    let outcomes = race(8, |_| {
        let (storage, mut mine) = (storage.clone(), first.clone());
        mine.claim(at(30));
        async move { storage.commit(only(Change::replace(&mine, 1))).await.unwrap() }
    })
    .await;
    let claimed = outcomes
        .iter()
        .filter(|outcome| **outcome == CommitOutcome::Done)
        .count();
    assert_eq!(claimed, 1);
    let restarted = restart(engine, storage).await;
    let waiting = restarted.all::<OutgoingMail>(Key::from([])).await.unwrap();
    let sealed: Vec<&str> = waiting.iter().map(|found| found.record.sealed.as_str()).collect();
    assert_eq!(sealed, ["sealed c", "sealed b", "sealed a"]);
    assert_eq!(
        (waiting[0].record.attempts, waiting[0].version),
        (1, 2),
        "the claim outlives a restart"
    );
    done(&*restarted, only(Change::delete(&first, 2))).await;
    assert!(
        restarted
            .find::<OutgoingMail>(first.key())
            .await
            .unwrap()
            .is_none()
    );
}

pub(crate) async fn parts_of_sources_are_found_one_by_one(engine: &dyn Engine) {
    let storage = engine.open().await;
    let part = |source: &str, part: &str, time: i64| BundleSource {
        source: source.to_owned(),
        part: part.to_owned(),
        signer: "5a".repeat(32).parse().unwrap(),
        created_at: at(time),
        imported_at: at(time + 5),
    };
    let all = [
        part("one", "instance", 1),
        part("one", "snap/a", 2),
        part("two", "instance", 3),
    ];
    for new in &all {
        done(&*storage, only(Change::create(new))).await;
    }
    let again = storage.commit(only(Change::create(&all[1]))).await.unwrap();
    assert!(matches!(
        again,
        CommitOutcome::Conflict {
            kind: Kind::BundleSource,
            ..
        }
    ));
    let newer = part("one", "snap/a", 9);
    done(&*storage, only(Change::replace(&newer, 1))).await;
    let restarted = restart(engine, storage).await;
    let found = restarted
        .find::<BundleSource>(["one", "snap/a"])
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.record, found.version), (newer.clone(), 2));
    let of_one = restarted.all::<BundleSource>(["one"]).await.unwrap();
    let of_one: Vec<BundleSource> = of_one.into_iter().map(|found| found.record).collect();
    assert_eq!(of_one, [all[0].clone(), newer.clone()]);
    done(&*restarted, only(Change::delete(&newer, 2))).await;
    assert!(
        restarted
            .find::<BundleSource>(newer.key())
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(restarted.check().await.unwrap(), Vec::<String>::new());
}

pub(crate) async fn overrides_are_listed_by_store_and_snap(engine: &dyn Engine) {
    let storage = engine.open().await;
    let (first, second) = (snap_record('a', "gizmo"), snap_record('b', "widget"));
    let store = |id: &str| {
        let brand = "brand-one".parse().unwrap();
        StoreRecord::new(id.parse().unwrap(), brand, id.to_owned(), at(0))
    };
    let pin = |store: &str, snap: &SnapRecord, channel: &str, architecture: &str, revision| Override {
        store_id: store.parse().unwrap(),
        snap_id: snap.id.clone(),
        channel: channel.parse().unwrap(),
        architecture: architecture.parse().unwrap(),
        revision,
        since: at(0),
    };
    let mut commit = Commit {
        records: vec![
            Change::create(&first),
            Change::create(&second),
            Change::create(&store("one")),
            Change::create(&store("one-more")),
        ],
        ..Commit::default()
    };
    let pins = [
        pin("one", &first, "stable", "amd64", 2),
        pin("one", &first, "stable", "arm64", 3),
        pin("one", &first, "2.0/edge/fix", "all", 4),
        pin("one", &second, "stable", "all", 5),
        pin("one-more", &first, "stable", "amd64", 6),
    ];
    commit.records.extend(pins.iter().map(Change::create));
    done(&*storage, commit).await;
    let storage = restart(engine, storage).await;
    let listed = async |key: Key| {
        let all = storage.all::<Override>(key).await.unwrap();
        all.into_iter().map(|found| found.record).collect::<Vec<_>>()
    };
    let [amd64, arm64, fix, widget, other] = pins;
    assert_eq!(
        listed(Key::from(["one"])).await,
        [fix.clone(), amd64.clone(), arm64.clone(), widget]
    );
    let gizmo = Key::from(["one", first.id.as_str()]);
    assert_eq!(listed(gizmo.clone()).await, [fix.clone(), amd64.clone(), arm64]);
    assert_eq!(listed(Key::from(["one-more"])).await, [other]);
    // The place is the key: another revision there is the same record.
    let again = pin("one", &first, "stable", "amd64", 9);
    let outcome = storage.commit(only(Change::create(&again))).await.unwrap();
    let conflict = CommitOutcome::Conflict {
        kind: Kind::Override,
        key: amd64.key(),
    };
    assert_eq!(outcome, conflict);
    done(&*storage, only(Change::replace(&again, 1))).await;
    done(&*storage, only(Change::delete(&fix, 1))).await;
    let left = listed(gizmo).await;
    assert_eq!(left.first(), Some(&again));
    assert_eq!(left.len(), 2);
}
