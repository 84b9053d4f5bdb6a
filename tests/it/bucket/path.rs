//! The whole path on a real S3 server: snaps come in over HTTP, devices fetch them in both ways, and what nothing names goes.

use std::sync::Arc;
use std::time::Duration;

use hallmark::adapters::blobs_s3::{S3Blobs, S3Options};
use hallmark::adapters::squashfs::{Content, Entry, build};
use hallmark::app::catalog::garbage::GRACE;
use hallmark::app::{App, doctor, upkeep};
use hallmark::domain::blob::BlobId;
use serde_json::Value;

use super::cut::{Fault, Line, client};
use super::{Bucket, bytes, keep};
use crate::harness::{TestClock, instance};
use crate::store::shop::Shop;

impl Bucket {
    /// A store whose files are in this bucket.
    async fn shop(&self, options: &S3Options) -> (Shop, Arc<S3Blobs>) {
        let (app, clock): (App, Arc<TestClock>) = instance().await;
        let blobs = Arc::new(self.with(options, Arc::clone(&clock) as _));
        let mut state = (*app).clone();
        state.blobs = Arc::clone(&blobs) as _;
        (Shop::serving(App::from(state), clock).await, blobs)
    }
}

/// A snap that comes in parts.
fn snap(version: &str) -> Vec<u8> {
    let yaml = format!("name: gizmo\nversion: '{version}'\nsummary: Turns\ndescription: It turns\n");
    let entry = |path: &str, content: Vec<u8>| Entry {
        path: path.to_owned(),
        mode: 0o644,
        content: Content::File(content),
    };
    build([
        entry("meta/snap.yaml", yaml.into()),
        entry("meta/gui/icon.png", b"\x89PNG\r\n\x1a\n".to_vec()),
        entry("noise", bytes(10 << 20).to_vec()),
    ])
    .unwrap()
}

async fn json(answer: reqwest::Response) -> Value {
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

async fn upload(shop: &Shop, file: &[u8]) -> String {
    shop.upload("pub", "release=stable", &[file.to_vec()]).await.ok();
    let id = shop.snap("gizmo").await.id;
    format!("http://{}/download/{id}_1.snap", shop.address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snaps_come_and_go_through_the_server() {
    let Some(bucket) = Bucket::fresh() else { return };
    let (shop, blobs) = bucket.shop(&bucket.options()).await;
    let file = snap("1");
    let url = upload(&shop, &file).await;
    let answer = client().get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.unwrap() == file);
    // A download that was broken off goes on.
    let half = file.len() / 2;
    let rest = client().get(&url).header("range", format!("bytes={half}-"));
    let rest = rest.send().await.unwrap();
    assert_eq!(rest.status(), 206);
    let said = format!("bytes {half}-{}/{}", file.len() - 1, file.len());
    assert_eq!(rest.headers()["content-range"], said);
    assert!(rest.bytes().await.unwrap() == file[half..]);
    let head = client().head(&url).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], file.len().to_string());
    // What nothing names goes after an hour, and nothing else.
    let orphan = keep(&*blobs, &bytes(1_000)).await;
    upkeep(shop.app.clone(), async {}).await;
    assert!(shop.blobs().await.contains(&orphan.to_string()));
    shop.clock.advance(GRACE + 1);
    let repaired = doctor::repair(&shop.app, GRACE).await.unwrap();
    assert_eq!(
        (repaired.removed_files, repaired.problems.as_slice()),
        (1, [].as_slice())
    );
    assert!(!shop.blobs().await.contains(&orphan.to_string()));
    assert!(client().get(&url).send().await.unwrap().bytes().await.unwrap() == file);
    assert_eq!(doctor::examine(&shop.app).await.unwrap().problems, [""; 0]);
    // Damage is found.
    bucket.put(&BlobId::of(&file), "rotten").await;
    assert_eq!(doctor::examine(&shop.app).await.unwrap().problems.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_are_sent_to_the_bucket() {
    let Some(bucket) = Bucket::fresh() else { return };
    let options = S3Options {
        links: Some(Duration::from_secs(60)),
        ..bucket.options()
    };
    let (shop, _) = bucket.shop(&options).await;
    let file = snap("1");
    let url = upload(&shop, &file).await;
    let answer = client()
        .get(&url)
        .header("range", "bytes=10-")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.headers()["cache-control"], "private, no-store");
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with(&bucket.server), "{location}");
    // As snapd does: the same headers again where it was sent to.
    let rest = client()
        .get(&location)
        .header("range", "bytes=10-")
        .send()
        .await
        .unwrap();
    assert_eq!(rest.status(), 206);
    assert!(rest.bytes().await.unwrap() == file[10..]);
    let whole = shop.http.get(&url).send().await.unwrap();
    assert!(whole.url().as_str().starts_with(&bucket.server));
    assert!(whole.bytes().await.unwrap() == file);
    // What an address for GET cannot answer, and what belongs to nobody else, is answered here.
    let head = client().head(&url).send().await.unwrap();
    assert_eq!(
        (
            head.status().as_u16(),
            head.headers()["content-length"].to_str().unwrap()
        ),
        (200, &*file.len().to_string())
    );
    let etag = head.headers()["etag"].clone();
    let same = client()
        .get(&url)
        .header("if-none-match", etag)
        .send()
        .await
        .unwrap();
    assert_eq!(same.status(), 304);
    let listing = shop.snap("gizmo").await;
    let icon = listing.listing.icon.unwrap().blob;
    let icon = client().get(format!("http://{}/download/{}/{icon}", shop.address, listing.id));
    let icon = icon.send().await.unwrap();
    assert_eq!(icon.status(), 200);
    assert!(icon.headers().contains_key("content-security-policy"));
    // Who may not have it is not sent anywhere.
    shop.change("gizmo", |snap| snap.private = true).await;
    let refused = client().get(&url).send().await.unwrap();
    assert_eq!(refused.status(), 404);
    assert!(!refused.headers().contains_key("location"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_bucket_is_away_files_are_refused_for_now() {
    let Some(bucket) = Bucket::fresh() else { return };
    let line = Line::to(&bucket.server).await;
    let options = S3Options {
        endpoint: Some(line.url.clone()),
        patience: Duration::from_secs(1),
        persistence: Duration::from_secs(1),
        slowest: 8 << 20,
        ..bucket.options()
    };
    let (shop, _) = bucket.shop(&options).await;
    let file = snap("1");
    let url = upload(&shop, &file).await;
    let ready = format!("http://{}/readyz", shop.address);
    let metrics = format!("http://{}/metrics", shop.address);
    assert_eq!(
        json(client().get(&ready).send().await.unwrap()).await["files"],
        "ready"
    );
    line.next(usize::MAX, |_| true, Fault::Answer("503 Slow Down", "SlowDown"));
    let answer = client().get(&url).send().await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["content-type"].to_str().unwrap()
        ),
        (503, "application/json")
    );
    let refused = shop.upload("pub", "release=stable", &[snap("2")]).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(shop.snap("gizmo").await.newest_revision, 1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let answer = client().get(&ready).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(json(answer).await["files"], "unavailable");
    let text = client().get(&metrics).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("\nhallmark_bucket_up 0\n"), "{text}");
    line.heal();
    assert_eq!(client().get(&url).send().await.unwrap().status(), 200);
    shop.upload("pub", "release=stable", &[snap("2")]).await.ok();
    assert_eq!(shop.snap("gizmo").await.newest_revision, 2);
}
