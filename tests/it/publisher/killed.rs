//! A server process is killed while it makes revisions of what was pushed: the next one goes on with it, and nothing that
//! was accepted is lost or comes twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hallmark::cli::line::{Instance, Server};
use serde_json::{Value, json};

use super::snapcraft::{BOUNDARY, form};
use crate::store::shop::{plain_client, snap_file};

const BRAND: &str = "killed-brand";

/// How long after the last push was accepted the server is killed, in milliseconds.
const MOMENTS: [u64; 3] = [0, 15, 60];
/// Pushes before each kill; more than are worked on at a time.
const PUSHES: usize = 6;
/// Longer than a lease, and than the pause between two looks for those that are over.
const PATIENCE: Duration = Duration::from_secs(90);

struct Publisher {
    http: reqwest::Client,
    token: String,
}

impl Publisher {
    async fn json(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn post(&self, server: &Server, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", server.url));
        let request = request.header("Authorization", format!("Macaroon {}", self.token));
        self.json(request.body(body.to_string())).await
    }

    /// Sends a file; its id.
    async fn upload(&self, server: &Server, file: &[u8]) -> Value {
        let request = self.http.post(format!("{}/unscanned-upload/", server.url));
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let request = request.header("Content-Type", kind).body(form("binary", file));
        self.json(request).await["upload_id"].clone()
    }

    /// The path of the status of a push that was accepted.
    async fn push(&self, server: &Server, upload: &Value) -> String {
        let body = json!({"name": "gizmo", "series": "16", "updown_id": upload, "channels": ["edge"]});
        let answer = self.post(server, "/dev/api/snap-push/", body).await;
        let url = answer["status_details_url"].as_str().unwrap();
        url.split_once("/dev/")
            .map(|(_, path)| format!("/dev/{path}"))
            .unwrap()
    }

    async fn status(&self, server: &Server, path: &str) -> Value {
        self.json(self.http.get(format!("{}{path}", server.url))).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_at_work_goes_on_after_it() {
    let below = tempfile::tempdir().unwrap();
    let instance = Instance::new(env!("CARGO_BIN_EXE_hallmark"), below.path());
    instance.init(BRAND).unwrap();
    let mut server = instance.serve().unwrap();
    instance.login(&server).unwrap();
    let publisher = Publisher {
        http: plain_client(),
        token: instance.run(&["token", "create"]).unwrap().trim().to_owned(),
    };
    let name = json!({"snap_name": "gizmo", "series": "16"});
    publisher.post(&server, "/dev/api/register-name/", name).await;

    let mut accepted = Vec::new();
    let mut unfinished = 0;
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        let mut uploads = Vec::new();
        for number in 0..PUSHES {
            let file = snap_file("gizmo", &format!("{round}.{number}"), "");
            uploads.push(publisher.upload(&server, &file).await);
        }
        // One file is sent and never asked for: it waits, and is in nobody's way.
        publisher.upload(&server, b"for nothing").await;
        let first = accepted.len();
        for upload in &uploads {
            accepted.push(publisher.push(&server, upload).await);
        }
        tokio::time::sleep(Duration::from_millis(moment)).await;
        server.kill();
        server = instance.serve().unwrap();
        for path in &accepted[first..] {
            let status = publisher.status(&server, path).await;
            unfinished += usize::from(status["processed"] == false);
        }
    }
    eprintln!("{unfinished} of {} pushes were cut short", accepted.len());
    assert!(unfinished > 0, "no kill came in time");

    let began = Instant::now();
    let mut revisions = BTreeSet::new();
    for path in &accepted {
        let status = loop {
            let status = publisher.status(&server, path).await;
            if status["processed"] == true {
                break status;
            }
            assert_eq!(status["code"], "being_processed");
            assert!(began.elapsed() < PATIENCE, "nobody goes on with it");
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert_eq!(status["code"], "ready_to_release", "{status}");
        revisions.insert(status["revision"].as_u64().unwrap());
    }
    // None lost, none twice, none left out.
    assert_eq!(revisions, (1..=accepted.len() as u64).collect());
    let map = publisher
        .http
        .get(format!("{}/api/v2/snaps/gizmo/releases", server.url));
    let listed = publisher
        .json(map.header("Authorization", format!("Macaroon {}", publisher.token)))
        .await;
    assert_eq!(listed["revisions"].as_array().unwrap().len(), accepted.len());
    server.stop().unwrap();
    instance.run(&["doctor"]).unwrap();
}
