//! Leave that ends between the asking and the doing.

use std::time::Duration;

use bytes::Bytes;
use hallmark::domain::access::{Account, Membership, Token};
use hallmark::domain::catalog::RevisionRecord;
use hallmark::ports::{Change, Commit, Key};
use serde_json::{Value, json};

use super::gate::Gate;
use super::shop::*;
use crate::harness::instance;

/// Something that needs a grant.
const NEEDS_GRANT: &str = "plugs: {snapd-control: null}\n";

/// How somebody's leave ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Role,
    Token,
    Account,
}

impl End {
    /// What a request answers after it.
    pub fn refusal(self) -> (u16, &'static str) {
        match self {
            Self::Role => (404, "resource-not-found"),
            Self::Token | Self::Account => (401, "invalid-token"),
        }
    }

    pub async fn comes(self, shop: &Shop, who: &str) {
        let (account, storage) = (Shop::account(who), &shop.app.storage);
        let change = match self {
            Self::Role => {
                let found = storage.find::<Membership>([BRAND, BRAND, &account]).await;
                let found = found.unwrap().unwrap();
                Change::delete(&found.record, found.version)
            }
            Self::Token => {
                let found = storage.find::<Token>([who]).await.unwrap().unwrap();
                Change::delete(&found.record, found.version)
            }
            Self::Account => {
                let found = storage.find::<Account>([account.as_str()]).await;
                let mut found = found.unwrap().unwrap();
                found.record.disabled = true;
                Change::replace(&found.record, found.version)
            }
        };
        shop.commit(Commit {
            records: vec![change],
            ..Commit::default()
        })
        .await;
    }
}

/// A body whose pieces come as they are sent.
pub fn in_pieces() -> (tokio::sync::mpsc::Sender<Bytes>, reqwest::Body) {
    let (send, receive) = tokio::sync::mpsc::channel::<Bytes>(1);
    let pieces = futures_util::stream::unfold(receive, |mut receive| async {
        let piece = receive.recv().await?;
        Some((Ok::<_, std::io::Error>(piece), receive))
    });
    (send, reqwest::Body::wrap_stream(pieces))
}

async fn revisions(shop: &Shop) -> usize {
    let all = shop.app.storage.all::<RevisionRecord>(Key(Vec::new())).await;
    all.unwrap().len()
}

#[tokio::test]
async fn who_may_no_more_when_the_last_byte_comes_uploads_nothing() {
    let shop = Shop::new().await;
    for (who, end) in [("pub", End::Role), ("pub2", End::Token), ("brand", End::Account)] {
        let file = snap_file(&format!("{who}-snap"), "1", "");
        let (pieces, body) = in_pieces();
        let meanwhile = async {
            let (first, rest) = file.split_at(file.len() / 2);
            pieces.send(first.to_vec().into()).await.unwrap();
            // It is judged for the first time by now.
            tokio::time::sleep(Duration::from_millis(500)).await;
            end.comes(&shop, who).await;
            // Who was refused need not take the rest.
            let _gone = pieces.send(rest.to_vec().into()).await;
            drop(pieces);
        };
        let (answer, ()) = tokio::join!(shop.send(who, "release=stable", body), meanwhile);
        assert_eq!(answer.refusal(), end.refusal(), "{who}");
    }
    assert_eq!(revisions(&shop).await, 0);
    assert!(shop.blobs().await.is_empty());
}

#[tokio::test]
async fn who_may_no_more_when_it_is_written_down_uploads_nothing() {
    let (app, clock) = instance().await;
    let (app, gate) = Gate::before(&app, 0);
    let shop = Shop::serving(app, clock).await;
    let ends = [("pub", End::Role), ("pub2", End::Token), ("brand", End::Account)];
    let uploads = ends.map(|(who, _)| {
        let file = snap_file(&format!("{who}-snap"), "1", "");
        shop.send(who, "release=stable", file)
    });
    let meanwhile = async {
        gate.reached(3).await;
        for (who, end) in ends {
            end.comes(&shop, who).await;
        }
        gate.open();
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(uploads), meanwhile);
    for (answer, (who, end)) in answers.iter().zip(ends) {
        assert_eq!(answer.refusal(), end.refusal(), "{who}");
    }
    assert_eq!(revisions(&shop).await, 0);
}

#[tokio::test]
async fn what_somebody_asked_for_who_may_release_no_more_is_approved_and_not_released() {
    let shop = Shop::new().await;
    shop.send("pub", "release=stable", snap_file("gizmo", "1", ""))
        .await
        .ok();
    let held = async |version: &str, who: &str| {
        let file = snap_file("gizmo", version, NEEDS_GRANT);
        let answer = shop.send(who, "release=stable", file).await.ok();
        assert_eq!(answer["revision"]["review"], "ManualReviewPending", "{answer}");
        answer["revision"]["revision"].as_u64().unwrap()
    };
    let approve = async |revision: u64| {
        let path = format!("/snaps/gizmo/revisions/{revision}/review");
        let answer = shop
            .call("rev", "POST", &path, json!({"action": "approve"}))
            .await;
        let (done, snap) = (answer.ok(), shop.snap("gizmo").await);
        assert_eq!(done["review"]["state"], "approved", "{done}");
        (done, snap.releases.open[0].revision)
    };
    shop.collaborate("gizmo", "pub2").await;
    // What collaborators ask for is as good as what the publisher asks for.
    let number = held("2", "pub2").await;
    assert_eq!(approve(number).await.1, number);
    let theirs = held("3", "pub2").await;
    shop.leave("gizmo", "pub2").await;
    let (done, released) = approve(theirs).await;
    assert_eq!(released, number);
    assert_eq!(done["review"]["channels"], json!([]));
    let remark = done["remarks"][0].as_str().unwrap();
    assert!(
        remark.starts_with("cannot release") && remark.contains("latest/stable"),
        "{remark}"
    );
    // A publisher whose account is disabled.
    let last = held("4", "pub").await;
    End::Account.comes(&shop, "pub").await;
    let (done, released) = approve(last).await;
    assert_eq!((released, done["remarks"].as_array().unwrap().len()), (number, 1));
}

#[tokio::test]
async fn what_is_decided_while_it_is_sent_elsewhere_is_released_there() {
    let (app, clock) = instance().await;
    let (app, gate) = Gate::before(&app, 4);
    let shop = Shop::serving(app, clock).await;
    // Each keeps its file and its icon.
    shop.send("pub", "release=stable", snap_file("gizmo", "1", ""))
        .await
        .ok();
    let file = snap_file("gizmo", "2", NEEDS_GRANT);
    shop.send("pub", "", file.clone()).await.ok();
    gate.reached(4).await;
    let meanwhile = async {
        gate.reached(1).await;
        let path = "/snaps/gizmo/revisions/2/review";
        shop.call("rev", "POST", path, json!({"action": "approve"}))
            .await
            .ok();
        gate.open();
    };
    let (answer, ()) = tokio::join!(shop.send("pub", "release=beta", file), meanwhile);
    let answer = answer.ok();
    assert_eq!(
        (&answer["new"], &answer["revision"]["review"]),
        (&json!(false), &json!("approved"))
    );
    let snap = shop.snap("gizmo").await;
    let open: Vec<(String, u64)> = snap
        .releases
        .open
        .iter()
        .map(|open| (open.channel.short(), open.revision))
        .collect();
    assert_eq!(open, [("stable".to_owned(), 1), ("beta".to_owned(), 2)]);
    let review = shop
        .call("rev", "GET", "/snaps/gizmo/revisions/2/review", Value::Null)
        .await
        .ok();
    assert_eq!(review["review"]["channels"], json!([]));
}
