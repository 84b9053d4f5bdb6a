//! Handing messages to a listener of the operator's.

use async_trait::async_trait;

/// Takes messages to one address by HTTP.
#[async_trait]
pub trait Courier: std::fmt::Debug + Send + Sync {
    /// Sends a JSON document. Returns when the listener has taken it (an answer of 200 to 299), within half a minute. `id` is the
    /// same for each try, so that a message that came twice shows as one; `signature` proves it is ours.
    ///
    /// # Errors
    /// In words: out of reach, or another answer.
    async fn deliver(&self, id: &str, signature: &str, body: Vec<u8>) -> Result<(), String>;
}
