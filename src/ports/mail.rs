//! Sending mail.

use async_trait::async_trait;

use crate::domain::ident::Email;

/// Why a letter was not sent. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The server is out of reach, or does not know us: no letter goes now.
    #[error("{0}")]
    NoService(String),
    /// It does not take this letter now.
    #[error("{0}")]
    Later(String),
    /// It never takes this letter.
    #[error("{0}")]
    Refused(String),
}

/// Hands letters to a mail server.
#[async_trait]
pub trait Mailer: std::fmt::Debug + Send + Sync {
    /// Sends a letter in plain text. Returns when the server has taken it, within a minute. `id` is the same for each try,
    /// so that a letter that came twice shows as one.
    async fn send(&self, id: &str, to: &Email, subject: &str, body: &str) -> Result<(), MailError>;
}
