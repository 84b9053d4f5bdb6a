//! Messages by HTTP POST, with `reqwest`. Nothing of an answer but its status is read.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::redirect::Policy;

use crate::outgoing::http_client;
use crate::ports::Courier;

/// Time for a message, from connecting to the status of the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// An address that takes messages.
#[derive(Debug)]
pub struct Webhook {
    client: reqwest::Client,
    url: String,
}

impl Webhook {
    /// Messages go to `url`. Redirects are not followed: what is signed for one address goes to no other.
    ///
    /// # Errors
    /// If the connection cannot be set up at all.
    pub fn new(url: String) -> Result<Self, reqwest::Error> {
        let client = http_client(&url)
            .timeout(PATIENCE)
            .redirect(Policy::none())
            .user_agent(concat!("hallmark/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, url })
    }
}

#[async_trait]
impl Courier for Webhook {
    async fn deliver(&self, id: &str, signature: &str, body: Vec<u8>) -> Result<(), String> {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header("x-hallmark-delivery", id)
            .header("x-hallmark-signature", signature)
            .body(body);
        // The address may hold a secret: errors are told without it.
        let answer = request
            .send()
            .await
            .map_err(|error| error.without_url().to_string())?;
        let status = answer.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("it answered with status {}", status.as_u16()))
        }
    }
}
