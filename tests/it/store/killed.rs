//! A server process is killed at many moments of an upload: afterwards the revision is there as a whole, or not at all,
//! and what is left of its file is cleared away.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use hallmark::adapters::squashfs::{Content, Entry, build};
use hallmark::cli::line::{Instance, Server};
use hallmark::domain::blob::BlobId;
use serde_json::Value;
use tokio::sync::oneshot;

use super::shop::plain_client;

const BRAND: &str = "killed-brand";
/// What the store of files writes at a time.
const BATCH: usize = 256 << 10;
/// Something random in each file: it comes in several batches.
const LENGTH: usize = 3 * BATCH;

/// Where bodies stop that never end: all of them at once, and then the server is killed.
const STOPS: [usize; 4] = [0, 1, BATCH + 1, LENGTH];

/// When the server is killed that has got a whole file.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So many milliseconds after the last byte was sent: while the file is looked into and signed for.
    Sent(u64),
    /// So many milliseconds after the file is kept: around the commit.
    Kept(u64),
    /// When the client has its answer.
    Answered,
}

const MOMENTS: [Moment; 10] = [
    Moment::Sent(0),
    Moment::Sent(4),
    Moment::Sent(10),
    Moment::Sent(20),
    Moment::Sent(35),
    Moment::Kept(0),
    Moment::Kept(1),
    Moment::Kept(3),
    Moment::Kept(6),
    Moment::Answered,
];

/// An upload that goes on: the status it is answered with.
type Going = tokio::task::JoinHandle<reqwest::Result<reqwest::StatusCode>>;

/// A snap file of this version, different in every byte from the others.
fn file(version: usize) -> Vec<u8> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(version as u64 + 1);
    let noise = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()
    });
    let yaml = format!("name: gizmo\nversion: '{version}'\nsummary: Turns\ndescription: It turns\n");
    let entry = |path: &str, bytes: Vec<u8>| Entry {
        path: path.to_owned(),
        mode: 0o644,
        content: Content::File(bytes),
    };
    build([
        entry("meta/snap.yaml", yaml.into()),
        entry("meta/gui/icon.png", b"\x89PNG\r\n\x1a\n".to_vec()),
        entry("noise", noise.take(LENGTH / 8).flatten().collect()),
    ])
    .unwrap()
}

/// The instance and who uploads to it.
struct Depot {
    instance: Instance,
    token: String,
    http: reqwest::Client,
}

impl Depot {
    fn new(below: &Path) -> Self {
        let instance = Instance::new(env!("CARGO_BIN_EXE_hallmark"), below);
        instance.init(BRAND).unwrap();
        let server = instance.serve().unwrap();
        instance.login(&server).unwrap();
        let token = instance.run(&["token", "create"]).unwrap().trim().to_owned();
        server.stop().unwrap();
        Self {
            instance,
            token,
            http: plain_client(),
        }
    }

    fn blobs(&self) -> std::path::PathBuf {
        self.instance.data().join("blobs")
    }

    /// The bytes of every file that is being taken in.
    fn staged(&self) -> Vec<u64> {
        let staging = self.blobs().join("staging").read_dir().unwrap();
        staging
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect()
    }

    /// The names of all files that are kept.
    fn kept(&self) -> BTreeSet<String> {
        let folders = self.blobs().read_dir().unwrap().map(|entry| entry.unwrap());
        let folders = folders.filter(|entry| entry.file_name().len() == 2);
        let files = folders.flat_map(|folder| folder.path().read_dir().unwrap());
        files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Sends a file, or the beginning of one that never ends.
    async fn send(&self, server: &Server, file: &[u8], stop: Option<usize>) -> Going {
        let pieces: Vec<Bytes> = file[..stop.unwrap_or(file.len())]
            .chunks(64 << 10)
            .map(Bytes::copy_from_slice)
            .collect();
        let (all, sent) = oneshot::channel();
        let end = stream::once(async move {
            all.send(()).unwrap();
            if stop.is_some() {
                std::future::pending::<()>().await;
            }
        });
        let body = stream::iter(pieces)
            .map(Ok::<_, std::io::Error>)
            .chain(end.filter_map(|()| std::future::ready(None)));
        let url = format!("{}/hallmark/v1/snaps/upload?publisher={BRAND}", server.url);
        let request = self
            .http
            .post(url)
            .bearer_auth(&self.token)
            .body(reqwest::Body::wrap_stream(body));
        let going = tokio::spawn(async move { request.send().await.map(|answer| answer.status()) });
        sent.await.unwrap();
        going
    }

    /// Sends beginnings of files, and kills the server when it has written what it got of them.
    async fn stop_short(&self, server: Server, files: &[Vec<u8>]) {
        let mut going = Vec::new();
        for (file, stop) in files.iter().zip(STOPS) {
            going.push(self.send(&server, file, Some(stop)).await);
        }
        let mut written = STOPS.map(|stop| (stop / BATCH * BATCH) as u64);
        written.sort_unstable();
        until(|| {
            let mut staged = self.staged();
            staged.sort_unstable();
            staged == written
        })
        .await;
        server.kill();
        for going in going {
            assert!(going.await.unwrap().is_err());
        }
    }

    /// Sends a file and kills the server at this moment; whether the upload was acknowledged.
    async fn kill(&self, server: Server, file: &[u8], moment: Moment) -> bool {
        let going = self.send(&server, file, None).await;
        match moment {
            Moment::Sent(pause) => tokio::time::sleep(Duration::from_millis(pause)).await,
            Moment::Kept(pause) => {
                let id = BlobId::of(file).to_string();
                let path = self.blobs().join(&id[..2]).join(&id);
                until(|| path.exists()).await;
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Moment::Answered => until(|| going.is_finished()).await,
        }
        server.kill();
        match going.await.unwrap() {
            Ok(status) => {
                assert_eq!(status, 201);
                true
            }
            Err(error) => {
                assert!(!matches!(moment, Moment::Answered), "{error}");
                false
            }
        }
    }

    async fn get(&self, server: &Server, path: &str) -> (u16, Bytes) {
        let request = self
            .http
            .get(format!("{}{path}", server.url))
            .bearer_auth(&self.token);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    }

    /// Whether the revision of a file is there: then all of it is.
    async fn is_there(&self, server: &Server, file: &[u8]) -> bool {
        let id = BlobId::of(file);
        let (status, body) = self.get(server, "/hallmark/v1/snaps/gizmo").await;
        let shown: Value = serde_json::from_slice(&body).unwrap();
        let revisions = match status {
            200 => shown["revisions"].as_array().unwrap().as_slice(),
            _ => &[],
        };
        let numbers = revisions
            .iter()
            .rev()
            .map(|row| row["revision"].as_u64().unwrap());
        assert!(numbers.eq(1..=revisions.len() as u64), "{shown}");
        let path = format!("/v2/assertions/snap-revision/{}/global-upload", id.to_base64url());
        let (signed, _) = self.get(server, &path).await;
        let Some(row) = revisions.iter().find(|row| row["sha3-384"] == id.to_string()) else {
            assert_eq!(signed, 404, "an assertion without its revision");
            return false;
        };
        assert_eq!(signed, 200, "a revision without its assertion");
        let path = format!(
            "/download/{}_{}.snap",
            shown["snap-id"].as_str().unwrap(),
            row["revision"]
        );
        let (status, body) = self.get(server, &path).await;
        assert_eq!((status, BlobId::of(&body)), (200, id));
        true
    }
}

/// Waits for something the server does, looking as often as it can.
async fn until(mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not happen");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_during_an_upload_has_the_whole_revision_or_none_of_it() {
    let below = tempfile::tempdir().unwrap();
    let depot = Depot::new(below.path());
    let files: Vec<Vec<u8>> = (0..STOPS.len() + MOMENTS.len()).map(file).collect();
    let (begun, sent) = files.split_at(STOPS.len());
    depot.stop_short(depot.instance.serve().unwrap(), begun).await;
    let mut server = depot.instance.serve().unwrap();
    assert!(depot.staged().is_empty() && depot.kept().is_empty());

    let mut there = BTreeSet::new();
    let mut orphans = 0;
    for (file, moment) in sent.iter().zip(MOMENTS) {
        let acknowledged = depot.kill(server, file, moment).await;
        server = depot.instance.serve().unwrap();
        assert!(depot.staged().is_empty(), "{moment:?} leaves a staged file");
        let id = BlobId::of(file).to_string();
        if depot.is_there(&server, file).await {
            there.insert(id);
        } else {
            assert!(!acknowledged, "{moment:?}");
            orphans += usize::from(depot.kept().contains(&id));
        }
    }
    let count = there.len();
    eprintln!(
        "{} kills: {count} revisions are there, {orphans} files were kept for nothing",
        MOMENTS.len()
    );
    for file in &files {
        let whole = there.contains(&BlobId::of(file).to_string());
        assert_eq!(depot.is_there(&server, file).await, whole);
    }
    // What was lost is as welcome as ever.
    let again = depot.send(&server, &begun[0], None).await;
    assert_eq!(again.await.unwrap().unwrap(), 201);
    there.insert(BlobId::of(&begun[0]).to_string());
    server.stop().unwrap();
    depot
        .instance
        .run(&["doctor", "--repair", "--grace", "0"])
        .unwrap();
    depot.instance.run(&["doctor"]).unwrap();
    let mut named = there;
    named.insert(BlobId::of(b"\x89PNG\r\n\x1a\n").to_string());
    assert_eq!(depot.kept(), named);
    assert_eq!(depot.staged(), [0; 0]);
}
