//! What snapcraft sends, as it was recorded (samples of publisher-api.md).

use std::time::Duration;

use http::StatusCode;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::store::shop::{Answer, Shop, answer, token};

/// A publisher's client.
pub struct Client<'s> {
    pub shop: &'s Shop,
    pub who: &'static str,
}

pub const BOUNDARY: &str = "627d095e5e11437b8b59000ef0a5b79b";

/// A form with one file, as the client's library writes it.
pub fn form(name: &str, file: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"../../my-snap_1.0_amd64.snap\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let end = format!("\r\n--{BOUNDARY}--\r\n");
    [head.as_bytes(), file, end.as_bytes()].concat()
}

impl<'s> Client<'s> {
    pub fn new(shop: &'s Shop, who: &'static str) -> Self {
        Self { shop, who }
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.shop.address);
        self.shop.http.request(method.parse().unwrap(), url)
    }

    /// With credentials; a body of null is none.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let mut request = self
            .request(method, path)
            .header("Authorization", format!("Macaroon {}", token(self.who).reveal()));
        if !body.is_null() {
            request = request
                .header("Content-Type", "application/json")
                .body(body.to_string());
        }
        answer(request).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call("GET", path, Value::Null).await.ok()
    }

    /// A file without credentials, as all clients send it.
    pub async fn send(&self, body: impl Into<reqwest::Body>) -> Answer {
        let request = self
            .request("POST", "/unscanned-upload/")
            .header("Accept", "application/json")
            .header(
                "Content-Type",
                format!("multipart/form-data; boundary={BOUNDARY}"),
            );
        answer(request.body(body)).await
    }

    /// Uploads a file; its id.
    pub async fn upload(&self, file: &[u8]) -> String {
        let answer = self.send(form("binary", file)).await.ok();
        assert_eq!(answer["successful"], true);
        answer["upload_id"].as_str().unwrap().to_owned()
    }

    pub async fn register(&self, name: &str) -> String {
        let body = json!({"snap_name": name, "is_private": false, "series": "16"});
        let answer = self.call("POST", "/dev/api/register-name/", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.body["snap_id"].as_str().unwrap().to_owned()
    }

    /// Asks for a revision; `more` is added to what is always said. The path to ask what became of it.
    pub async fn push(&self, name: &str, upload: &str, more: Value) -> Result<String, Answer> {
        let mut body = json!({
            "name": name, "series": "16", "updown_id": upload, "source_uploaded": false,
            "built_at": "2026-01-02T03:04:05.000000Z",
        });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = self.call("POST", "/dev/api/snap-push/", body).await;
        if answer.status != 202 {
            return Err(answer);
        }
        let url = answer.body["status_details_url"].as_str().unwrap().to_owned();
        let path = url
            .strip_prefix("http://127.0.0.1:8380")
            .expect("an absolute URL");
        Ok(path.to_owned())
    }

    /// Polls without credentials, as the oldest client does, until it is processed.
    pub async fn processed(&self, path: &str) -> Value {
        for _ in 0..600 {
            let status = answer(self.request("GET", path)).await.ok();
            assert!(status["code"].is_string());
            if status["processed"] == true {
                return status;
            }
            assert_eq!(status["code"], "being_processed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it is processed for ever");
    }

    /// All of `snapcraft upload`; the last status.
    pub async fn publish(&self, name: &str, file: &[u8], more: Value) -> Value {
        let dry_run = json!({"name": name, "dry_run": true});
        assert_eq!(
            self.call("POST", "/dev/api/snap-push/", dry_run).await.status,
            202
        );
        let upload = self.upload(file).await;
        let mut more = more;
        more["binary_filesize"] = file.len().into();
        let status = self.push(name, &upload, more).await.unwrap();
        self.processed(&status).await
    }
}

/// The keys of an object, which must be one.
pub fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}
