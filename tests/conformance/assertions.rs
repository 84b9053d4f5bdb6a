//! Assertions: revisions, formats, prefixes, sequences.

use hallmark::domain::assertion::{AssertionType, PrimaryKey, Ref};
use hallmark::ports::{AssertionFilter, Commit, CommitOutcome, PutRule, Storage, StoredAssertion};

use super::samples::{assertion, done};
use super::{Engine, restart};

const DECLARATION: AssertionType = AssertionType::SnapDeclaration;
const SET: AssertionType = AssertionType::ValidationSet;

fn put(assertions: Vec<StoredAssertion>, rule: PutRule) -> Commit {
    Commit {
        assertions: assertions.into_iter().map(|one| (one, rule)).collect(),
        ..Commit::default()
    }
}

async fn revision(storage: &dyn Storage, reference: &Ref, max_format: u32) -> Option<u64> {
    storage
        .assertion(reference, max_format)
        .await
        .unwrap()
        .map(|found| found.revision)
}

pub(crate) async fn an_assertion_is_found_up_to_a_format(engine: &dyn Engine) {
    let storage = engine.open().await;
    let of = |format, revision| assertion(DECLARATION, &["16", "snap-1"], format, revision);
    let reference = of(0, 0).reference;
    assert_eq!(storage.assertion(&reference, 9).await.unwrap(), None);
    for (format, number) in [(0, 1), (2, 2), (4, 5), (1, 7)] {
        done(&*storage, put(vec![of(format, number)], PutRule::Newer)).await;
    }
    let found: Vec<_> = [
        revision(&*storage, &reference, 0).await,
        revision(&*storage, &reference, 1).await,
        revision(&*storage, &reference, 3).await,
        revision(&*storage, &reference, 9).await,
    ]
    .to_vec();
    assert_eq!(found, [Some(1), Some(7), Some(7), Some(7)]);
    assert_eq!(storage.assertion(&reference, 9).await.unwrap(), Some(of(1, 7)));
    done(&*storage, put(vec![of(4, 8)], PutRule::Newer)).await;
    assert_eq!(storage.assertion(&reference, 4).await.unwrap(), Some(of(4, 8)));
    assert_eq!(storage.assertion(&reference, 3).await.unwrap(), Some(of(1, 7)));
    let other = assertion(DECLARATION, &["16", "snap-12"], 0, 0).reference;
    assert_eq!(storage.assertion(&other, 9).await.unwrap(), None);
    let kind = Ref {
        kind: AssertionType::SnapDeveloper,
        key: reference.key,
    };
    assert_eq!(storage.assertion(&kind, 9).await.unwrap(), None);
}

pub(crate) async fn older_revisions_are_refused_or_skipped(engine: &dyn Engine) {
    let storage = engine.open().await;
    let of = |format, revision| assertion(DECLARATION, &["16", "snap-1"], format, revision);
    let reference = of(0, 0).reference;
    done(&*storage, put(vec![of(0, 0)], PutRule::Newer)).await;
    done(&*storage, put(vec![of(0, 4)], PutRule::Newer)).await;
    // Revisions are compared across formats.
    for older in [of(0, 4), of(0, 3), of(5, 4), of(5, 0)] {
        let outcome = storage
            .commit(put(vec![older.clone()], PutRule::Newer))
            .await
            .unwrap();
        assert_eq!(outcome, CommitOutcome::OldRevision { stored: 4 });
        let other = assertion(
            DECLARATION,
            &["16", &format!("snap-{}-{}", older.format, older.revision)],
            0,
            0,
        );
        done(&*storage, put(vec![older, other.clone()], PutRule::SkipOld)).await;
        assert_eq!(
            revision(&*storage, &other.reference, 0).await,
            Some(0),
            "the rest is written"
        );
        assert_eq!(storage.assertion(&reference, 9).await.unwrap(), Some(of(0, 4)));
    }
    done(&*storage, put(vec![of(0, 5)], PutRule::SkipOld)).await;
    assert_eq!(revision(&*storage, &reference, 0).await, Some(5));
}

pub(crate) async fn assertions_are_listed_by_key_prefix_in_order(engine: &dyn Engine) {
    let storage = engine.open().await;
    let keys = [
        ["16", "b"],
        ["16", "a b/é"],
        ["160", "a"],
        ["16", "a"],
        ["16", "ab"],
        ["15", "z"],
    ];
    let all = keys.iter().map(|key| assertion(DECLARATION, key, 1, 0)).collect();
    done(&*storage, put(all, PutRule::Newer)).await;
    done(
        &*storage,
        put(vec![assertion(DECLARATION, &["16", "ab"], 5, 1)], PutRule::Newer),
    )
    .await;
    done(
        &*storage,
        put(vec![assertion(DECLARATION, &["16", "new"], 5, 1)], PutRule::Newer),
    )
    .await;
    done(
        &*storage,
        put(
            vec![assertion(AssertionType::SnapDeveloper, &["16", "a"], 0, 1)],
            PutRule::Newer,
        ),
    )
    .await;
    let listed = |prefix: &[&str], max_format| {
        let key_prefix = prefix.iter().map(|part| (*part).to_owned()).collect();
        let filter = AssertionFilter {
            kind: DECLARATION,
            key_prefix,
            max_format,
        };
        let storage = storage.clone();
        async move {
            let found = storage.assertions(&filter).await.unwrap();
            found
                .iter()
                .map(|a| format!("{} r{}", a.reference.key.0.join("|"), a.revision))
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(
        listed(&[], 5).await,
        [
            "15|z r0",
            "16|a r0",
            "16|a b/é r0",
            "16|ab r1",
            "16|b r0",
            "16|new r1",
            "160|a r0"
        ]
    );
    assert_eq!(
        listed(&["16"], 4).await,
        ["16|a r0", "16|a b/é r0", "16|ab r0", "16|b r0"]
    );
    assert_eq!(listed(&["16", "ab"], 9).await, ["16|ab r1"]);
    assert!(listed(&["1"], 9).await.is_empty());
    assert!(listed(&[], 0).await.is_empty());
}

pub(crate) async fn sequences_are_ordered_as_numbers(engine: &dyn Engine) {
    let storage = engine.open().await;
    for number in ["9", "10", "100", "2", "18"] {
        done(
            &*storage,
            put(
                vec![assertion(SET, &["16", "brand", "set", number], 0, 0)],
                PutRule::Newer,
            ),
        )
        .await;
    }
    done(
        &*storage,
        put(
            vec![assertion(SET, &["16", "brand", "set", "30"], 1, 0)],
            PutRule::Newer,
        ),
    )
    .await;
    done(
        &*storage,
        put(
            vec![assertion(SET, &["16", "brand", "set", "10"], 1, 3)],
            PutRule::Newer,
        ),
    )
    .await;
    done(
        &*storage,
        put(
            vec![assertion(SET, &["16", "brand", "set-b", "11"], 0, 0)],
            PutRule::Newer,
        ),
    )
    .await;
    let member = |name: &str, after, max_format| {
        let key = PrimaryKey(["16", "brand", name].map(str::to_owned).to_vec());
        let storage = storage.clone();
        async move {
            let found = storage
                .sequence_member(SET, &key, after, max_format)
                .await
                .unwrap()?;
            Some((found.reference.key.0[3].parse::<u64>().unwrap(), found.revision))
        }
    };
    assert_eq!(member("set", None, 9).await, Some((100, 0)));
    assert_eq!(member("set", Some(0), 9).await, Some((2, 0)));
    assert_eq!(member("set", Some(2), 9).await, Some((9, 0)));
    assert_eq!(member("set", Some(9), 9).await, Some((10, 3)));
    assert_eq!(member("set", Some(9), 0).await, Some((10, 0)));
    assert_eq!(member("set", Some(18), 9).await, Some((30, 0)));
    assert_eq!(member("set", Some(18), 0).await, Some((100, 0)));
    assert_eq!(member("set", Some(100), 9).await, None);
    assert_eq!(member("set", Some(u64::MAX), 9).await, None);
    assert_eq!(member("set-b", None, 9).await, Some((11, 0)));
    assert_eq!(member("se", None, 9).await, None);
}

pub(crate) async fn assertions_survive_a_restart_byte_for_byte(engine: &dyn Engine) {
    let storage = engine.open().await;
    let mut odd = assertion(AssertionType::Store, &["store-1"], 0, 1);
    let mut bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    bytes.push(b'\n');
    odd.encoded = bytes.into();
    let small = assertion(SET, &["16", "brand", "set", "3"], 0, 1);
    done(&*storage, put(vec![odd.clone(), small.clone()], PutRule::Newer)).await;
    let storage = restart(engine, storage).await;
    assert_eq!(storage.assertion(&odd.reference, 0).await.unwrap(), Some(odd));
    let key = PrimaryKey(small.reference.key.0[..3].to_vec());
    assert_eq!(
        storage.sequence_member(SET, &key, None, 0).await.unwrap(),
        Some(small)
    );
    assert!(storage.check().await.unwrap().is_empty());
}
