//! Signing: the one way a statement gets a signature of ours. What comes out has been decoded and verified again.

use tracing::Instrument as _;

use super::{App, Reason, Refusal};
use crate::domain::assertion::{Assertion, PublicKey, Statement};
use crate::domain::audit::AuditEvent;
use crate::domain::ident::KeyId;
use crate::domain::vault::{KeyRefusal, SigningKey};
use crate::ports::{SignError, StoredAssertion};

/// Signs `statement` with `key`, if that key may. The caller commits the assertion and an event ([`record`])
/// before anything of it leaves the process.
pub async fn sign(app: &App, key: &SigningKey, statement: Statement) -> Result<Assertion, Refusal> {
    let now = app.clock.now();
    key.may_sign(statement.kind(), statement.headers(), now)?;
    let draft = statement
        .draft(&public_key(key)?)
        .map_err(|e| Refusal::invalid("invalid-statement", format!("cannot sign: {e}")))?;
    let raw = raw(app, &key.key_id, draft.digest(now)).await?;
    draft
        .finish(now, &raw)
        .map_err(|e| Refusal::invalid("invalid-statement", format!("cannot sign: {e}")))
}

/// The raw signature. A key that another process on the same database has made since is loaded first.
pub(super) async fn raw(app: &App, key: &KeyId, sha512: [u8; 64]) -> Result<Vec<u8>, Refusal> {
    let span = tracing::debug_span!(target: "hallmark::traces", "sign", key = %key);
    match app.signer.sign(key, sha512).instrument(span).await {
        Err(SignError::UnknownKey(_)) => {}
        outcome => return Ok(outcome?),
    }
    let unknown = || Refusal::from(SignError::UnknownKey(key.clone()));
    let found = app
        .storage
        .find_unique::<SigningKey>("key-id", key.as_str())
        .await?
        .ok_or_else(unknown)?
        .record;
    found.usable(app.clock.now())?;
    app.signer
        .load(&found.account_id, &found.key_id, &found.sealed)
        .await?;
    Ok(app.signer.sign(key, sha512).await?)
}

/// Fills in what every audit event about a signature says: type, primary key, revision, key.
pub fn record(mut event: AuditEvent, assertion: &Assertion) -> AuditEvent {
    event.action = format!("{}.sign", assertion.kind());
    event.subject = assertion.primary_key().0.join("/");
    event
        .detail
        .insert("revision".to_owned(), assertion.revision().into());
    event.detail.insert(
        "sign-key-sha3-384".to_owned(),
        assertion.sign_key().as_str().into(),
    );
    event
}

/// The form in which an assertion is stored.
pub fn stored(assertion: &Assertion) -> StoredAssertion {
    StoredAssertion {
        reference: assertion.reference(),
        format: assertion.format(),
        revision: assertion.revision(),
        encoded: assertion.encoded().clone(),
    }
}

/// The public half of a key of ours.
pub fn public_key(key: &SigningKey) -> Result<PublicKey, Refusal> {
    PublicKey::decode(&key.public_key).map_err(|error| {
        tracing::error!(%error, key = %key.name, "stored public key is damaged");
        Refusal::new(
            Reason::Internal,
            "internal-error",
            "cannot read the stored public key: run hallmark doctor",
        )
    })
}

impl From<KeyRefusal> for Refusal {
    fn from(refusal: KeyRefusal) -> Self {
        let code = match &refusal {
            KeyRefusal::Disabled { .. } => "key-disabled",
            KeyRefusal::NotValidNow { .. } => "key-not-valid",
            KeyRefusal::Purpose { .. } => "key-purpose",
            KeyRefusal::Model { .. } => "key-model",
            KeyRefusal::Authority { .. } => "key-authority",
        };
        Self::conflict(code, format!("cannot sign: {refusal}"))
    }
}
