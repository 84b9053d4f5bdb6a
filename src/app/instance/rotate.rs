//! Another passphrase: everything sealed is opened and sealed again, in one commit (decisions.md 17).

use std::sync::Arc;

use super::{instance, uninitialised};
use crate::app::{InstanceCtx, Refusal, second_factor};
use crate::domain::access::Account;
use crate::domain::time::Timestamp;
use crate::domain::vault::{Kdf, KeyState, SigningKey, token_uri};
use crate::ports::{Change, Commit, CommitOutcome, Key, Seal, SealError, SealLabel, Storage};

/// Seals all secrets of the instance under `new`, which was derived with `kdf`. Nobody else may use the storage
/// meanwhile. Gives the number of secrets; nothing is changed if one of them does not open.
pub async fn rotate(
    storage: &Arc<dyn Storage>,
    ctx: &InstanceCtx,
    old: &dyn Seal,
    new: &dyn Seal,
    kdf: Kdf,
    now: Timestamp,
) -> Result<usize, Refusal> {
    let mut record = instance(storage).await?.ok_or_else(uninitialised)?;
    let again = |label: SealLabel<'_>, sealed: &str| -> Result<String, SealError> {
        new.seal(&label, &old.open(&label, sealed)?)
    };
    let failed = |what: String| {
        move |error: SealError| {
            Refusal::conflict(
                "seal-broken",
                format!("cannot rotate the passphrase: {what}: {error}"),
            )
        }
    };
    let instance = &mut record.record;
    instance.secrets = again(SealLabel::secrets(&instance.id), &instance.secrets)
        .map_err(failed("the instance's secrets".to_owned()))?;
    instance.kdf = kdf;
    let mut commit = Commit::default();
    commit
        .records
        .push(Change::replace(&record.record, record.version));
    for mut found in storage.all::<SigningKey>(Key(Vec::new())).await? {
        let key = &mut found.record;
        if key.state == KeyState::Deleted {
            continue;
        }
        // The place of a key in hardware is open, and under the seal once more: only the seal is made anew.
        let (place, seal) = token_uri::split(&key.sealed);
        let resealed = again(SealLabel::key(&key.account_id, &key.key_id), seal)
            .map_err(failed(format!("key {} of {}", key.name, key.account_id)))?;
        key.sealed = match place {
            Some(place) => token_uri::join(place, &resealed),
            None => resealed,
        };
        commit.records.push(Change::replace(&found.record, found.version));
    }
    for mut found in storage.all::<Account>(Key(Vec::new())).await? {
        let account = &mut found.record;
        let Some(factor) = &mut account.second_factor else {
            continue;
        };
        factor.sealed = again(second_factor::label(&account.id), &factor.sealed)
            .map_err(failed(format!("the second factor of {}", account.email)))?;
        commit.records.push(Change::replace(&found.record, found.version));
    }
    let secrets = commit.records.len();
    let mut event = ctx.event(now, "passphrase.rotate", "");
    event.detail.insert("secrets".to_owned(), secrets.into());
    commit.audit.push(event);
    match storage.commit(commit).await? {
        CommitOutcome::Done => Ok(secrets),
        CommitOutcome::Conflict { .. } | CommitOutcome::Taken { .. } | CommitOutcome::OldRevision { .. } => {
            Err(Refusal::conflict(
                "changed-meanwhile",
                "cannot rotate the passphrase: keys or accounts were changed at the same time; stop all servers and try again",
            ))
        }
    }
}
