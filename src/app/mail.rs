//! Mail to people. What is to be sent is recorded in the same step as what it tells of, sealed, and sent afterwards, again
//! and again until the server takes it: what was promised survives a restart.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{aead, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::{App, Reason, Refusal, Secrets};
use crate::domain::access::secret::random_letters;
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::ident::Email;
use crate::domain::mail::OutgoingMail;
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, Key, MailError, Mailer, StoreError, Versioned};

/// How often letters of other processes and of earlier times are looked for.
const ROUND: Duration = Duration::from_secs(30);
/// How long letters may still be sent when the server stops.
const LAST: Duration = Duration::from_secs(5);
/// Letters and digits that tell letters of one second apart.
const RANDOM: usize = 16;

/// Where letters are handed in.
#[derive(Clone, Debug)]
pub struct Post {
    /// What sends them.
    pub mailer: Arc<dyn Mailer>,
    wake: Arc<Notify>,
}

impl Post {
    /// Letters are sent by `mailer`.
    pub fn new(mailer: Arc<dyn Mailer>) -> Self {
        Self {
            mailer,
            wake: Arc::default(),
        }
    }
}

/// A letter in plain text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// To whom.
    pub to: Email,
    /// One line.
    pub subject: String,
    /// Lines of text; may hold a secret.
    pub body: Zeroizing<String>,
    /// After this it is no use.
    pub until: Timestamp,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letter").finish_non_exhaustive()
    }
}

/// Whether this server sends mail.
pub fn is_on(app: &App) -> bool {
    app.post.is_some()
}

/// What records a letter: it goes into the commit of what it tells of. Then [`wake`].
pub(super) fn write(app: &App, letter: &Letter) -> Result<Change, Refusal> {
    let now = app.clock.now();
    let random = random_letters(RANDOM, |buffer| app.entropy.fill(buffer));
    let mut nonce = [0; aead::NONCE_LEN];
    app.entropy.fill(&mut nonce);
    let id = OutgoingMail::id_at(&random, now);
    let sealed = seal(&app.secrets, nonce, &id, letter).ok_or_else(|| {
        tracing::error!("cannot seal a letter");
        Refusal::new(
            Reason::Internal,
            "internal-error",
            "cannot write a letter: internal error",
        )
    })?;
    Ok(Change::create(&OutgoingMail::new(
        &random,
        sealed,
        now,
        letter.until,
    )))
}

/// There may be letters to send.
pub(super) fn wake(app: &App) {
    if let Some(post) = &app.post {
        post.wake.notify_one();
    }
}

/// Sends letters until `stop` is ready. All that wait are tried at once, since the mail server may be another one now.
pub async fn deliver(app: App, stop: impl Future<Output = ()>) {
    let Some(post) = app.post.clone() else {
        return;
    };
    let mut stop = std::pin::pin!(stop);
    let mut soon = true;
    loop {
        {
            let mut round = std::pin::pin!(round(&app, soon));
            let done = tokio::select! {
                done = &mut round => done,
                // What is on its way may arrive.
                () = &mut stop => {
                    let _late = tokio::time::timeout(LAST, round).await;
                    return;
                }
            };
            match done {
                Ok(_) => soon = false,
                Err(error) => tracing::error!(%error, "cannot look for letters to send"),
            }
        }
        tokio::select! {
            () = &mut stop => return,
            () = post.wake.notified() => {}
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

/// Sends the letters that are due, with `soon` also those that wait for another try; gives how many were sent.
///
/// # Errors
/// If the storage is out of reach.
pub async fn round(app: &App, soon: bool) -> Result<usize, StoreError> {
    let Some(post) = &app.post else {
        return Ok(0);
    };
    let mut sent = 0;
    for Versioned { record, version } in app.storage.all::<OutgoingMail>(Key(Vec::new())).await? {
        if record.is_over(app.clock.now()) {
            drop_letter(app, &record, version, "nobody took it while it was of use").await?;
            continue;
        }
        if !record.is_due(app.clock.now(), soon) {
            continue;
        }
        // Claimed first: of several processes one sends it. One that dies meanwhile leaves it to a later round.
        let mut claimed = record;
        claimed.claim(app.clock.now());
        let claim = Commit {
            records: vec![Change::replace(&claimed, version)],
            ..Commit::default()
        };
        if app.storage.commit(claim).await? != CommitOutcome::Done {
            continue;
        }
        match send(app, post, claimed, version.saturating_add(1)).await? {
            Sending::Done => sent += 1,
            Sending::Not => {}
            // The others would fare no better.
            Sending::NoService => break,
        }
    }
    Ok(sent)
}

/// Drops letters that are no use any more, where this server sends none (now).
///
/// # Errors
/// If the storage is out of reach.
pub(super) async fn sweep(app: &App) -> Result<(), StoreError> {
    for Versioned { record, version } in app.storage.all::<OutgoingMail>(Key(Vec::new())).await? {
        if record.is_over(app.clock.now()) {
            drop_letter(app, &record, version, "nobody took it while it was of use").await?;
        }
    }
    Ok(())
}

/// What became of a try.
enum Sending {
    Done,
    Not,
    NoService,
}

async fn send(app: &App, post: &Post, mut mail: OutgoingMail, version: u64) -> Result<Sending, StoreError> {
    let Some(letter) = open(&app.secrets, &mail) else {
        drop_letter(app, &mail, version, "it cannot be unsealed").await?;
        return Ok(Sending::Not);
    };
    let taken = post
        .mailer
        .send(&mail.id, &letter.to, &letter.subject, &letter.body)
        .await;
    let (why, sending) = match taken {
        Ok(()) => {
            tracing::info!(letter = %mail.id, "mail sent");
            let commit = Commit {
                records: vec![Change::delete(&mail, version)],
                ..Commit::default()
            };
            app.storage.commit(commit).await?;
            return Ok(Sending::Done);
        }
        Err(MailError::Refused(why)) => {
            drop_letter(app, &mail, version, &why).await?;
            return Ok(Sending::Not);
        }
        Err(MailError::Later(why)) => (why, Sending::Not),
        Err(MailError::NoService(why)) => (why, Sending::NoService),
    };
    mail.put_off(app.clock.now());
    tracing::warn!(letter = %mail.id, attempts = mail.attempts, next = %mail.next, %why, "mail was not taken; it is sent again");
    let commit = Commit {
        records: vec![Change::replace(&mail, version)],
        ..Commit::default()
    };
    app.storage.commit(commit).await?;
    Ok(sending)
}

/// Gives a letter up; the audit log says so.
async fn drop_letter(app: &App, mail: &OutgoingMail, version: u64, why: &str) -> Result<(), StoreError> {
    tracing::error!(letter = %mail.id, why, "mail cannot be sent; it is given up");
    let mut event = AuditEvent {
        time: app.clock.now(),
        actor: Actor::System,
        brand: None,
        action: "mail.failed".to_owned(),
        subject: mail.id.clone(),
        detail: serde_json::Map::from_iter([("why".to_owned(), why.into())]),
    };
    if let Some(letter) = open(&app.secrets, mail) {
        event.detail.insert("to".to_owned(), letter.to.as_str().into());
    }
    let commit = Commit {
        records: vec![Change::delete(mail, version)],
        audit: vec![event],
        ..Commit::default()
    };
    // Somebody else who was faster has said it.
    app.storage.commit(commit).await.map(|_| ())
}

/// Letters carry links of which hashes alone are kept otherwise: the database by itself must not give them away.
fn key(secrets: &Secrets) -> Option<aead::LessSafeKey> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secrets.nonce_key));
    context.update(b"hallmark mail seal v1\0");
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, context.sign().as_ref());
    key.ok().map(aead::LessSafeKey::new)
}

fn seal(secrets: &Secrets, nonce: [u8; aead::NONCE_LEN], id: &str, letter: &Letter) -> Option<String> {
    let mut text = serde_json::to_vec(letter).ok()?;
    let unique = aead::Nonce::assume_unique_for_key(nonce);
    key(secrets)?
        .seal_in_place_append_tag(unique, aead::Aad::from(id.as_bytes()), &mut text)
        .ok()?;
    Some(BASE64.encode([&nonce[..], &text].concat()))
}

fn open(secrets: &Secrets, mail: &OutgoingMail) -> Option<Letter> {
    let sealed = BASE64.decode(&mail.sealed).ok()?;
    let (nonce, text) = sealed.split_first_chunk::<{ aead::NONCE_LEN }>()?;
    let mut text = Zeroizing::new(text.to_vec());
    let unique = aead::Nonce::assume_unique_for_key(*nonce);
    let plain = key(secrets)?
        .open_in_place(unique, aead::Aad::from(mail.id.as_bytes()), &mut text)
        .ok()?;
    serde_json::from_slice(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(byte: u8) -> Secrets {
        Secrets {
            nonce_key: [byte; 32],
            session_key: [0; 32],
            audit_seed: [0; 32],
        }
    }

    #[test]
    fn a_sealed_letter_opens_under_its_own_id_and_secrets_only() {
        let now = Timestamp::from_unix(1_780_000_000);
        let letter = Letter {
            to: "jo@acme.example".parse().unwrap(),
            subject: "Hello".to_owned(),
            body: "the secret link\n".to_owned().into(),
            until: now.plus_seconds(60),
        };
        let id = OutgoingMail::id_at("r", now);
        let sealed = seal(&secrets(1), [7; aead::NONCE_LEN], &id, &letter).unwrap();
        let mail = OutgoingMail::new("r", sealed, now, letter.until);
        assert!(open(&secrets(1), &mail) == Some(letter.clone()));
        assert!(open(&secrets(2), &mail).is_none());
        let other = OutgoingMail {
            id: OutgoingMail::id_at("s", now),
            ..mail.clone()
        };
        assert!(open(&secrets(1), &other).is_none());
        for sealed in ["", "AAAA", "no base64!"] {
            let damaged = OutgoingMail {
                sealed: sealed.to_owned(),
                ..mail.clone()
            };
            assert!(open(&secrets(1), &damaged).is_none());
        }
        let kept = serde_json::to_string(&mail).unwrap();
        assert!(!kept.contains("acme") && !format!("{letter:?}").contains("secret"));
    }
}
