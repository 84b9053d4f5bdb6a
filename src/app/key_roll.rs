//! Replacing a signing key by another: serial policies change over, and what the old key signed is signed again. In
//! parts, so that no call takes long; a part that was done is not done twice, so a broken-off roll-over goes on where
//! it ended. Serials stay as they are (each device keeps its own), and so do system-user assertions, which end soon.

use serde_json::json;

use super::brand_key::{self, BrandKey};
use super::models;
use super::sign::{record, sign, stored};
use super::{App, BrandCtx, Refusal, fleet, keys, vault_event};
use crate::domain::access::Permission;
use crate::domain::assertion::{Assertion, AssertionType, Ref, Statement, decode};
use crate::domain::ident::{KeyName, ModelName};
use crate::domain::vault::{KeyPurpose, ModelRecord, SigningKey};
use crate::ports::{AssertionFilter, Commit, CommitOutcome, PutRule};

/// Signatures in one part: about a second on a slow machine.
const PART: usize = 100;

/// What a roll-over has to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Models whose serials the key signs from the next registration on.
    pub policies: Vec<ModelName>,
    /// What it signed and what will be signed again.
    pub assertions: Vec<Ref>,
    /// System-user assertions it signed that stay as they are.
    pub system_users: usize,
}

/// What one part of a roll-over did.
#[derive(Clone, Debug)]
pub struct Part {
    /// Models that have a new serial policy now.
    pub policies: Vec<ModelName>,
    /// The new revisions.
    pub assertions: Vec<Assertion>,
    /// What is still to be signed; 0 = the roll-over is complete.
    pub left: usize,
}

/// What replacing key `name` would change.
///
/// # Errors
/// `resource-not-found`; if the database is out of reach.
pub async fn plan(app: &App, ctx: &BrandCtx, name: &KeyName) -> Result<Plan, Refusal> {
    let old = keys::find(app, ctx, name).await?.record;
    Ok(Plan {
        policies: policies(app, ctx, name).await?,
        assertions: signed_by(app, &old)
            .await?
            .iter()
            .map(|assertion| assertion.reference())
            .collect(),
        system_users: of_kind(app, &old, AssertionType::SystemUser).await?.len(),
    })
}

/// Does a part of replacing key `name` by `to`, which must be able to sign what `name` signs.
///
/// # Errors
/// `wave-open` while a wave is open whose documents `name` signed; `key-successor` if `to` is the key itself or lacks a purpose or model of it; `resource-not-found` if a key is
/// unknown, or the caller may not change models where policies have to change; what setting a policy and signing refuse.
pub async fn step(app: &App, ctx: &BrandCtx, name: &KeyName, to: &KeyName) -> Result<Part, Refusal> {
    let act = format!("replace key {name} by {to}");
    let old = keys::find(app, ctx, name).await?.record;
    let new = brand_key::read(&*app.storage, ctx.brand(), to)
        .await
        .map_err(|why| why.refusal(&act))?;
    succeeds(&old, &new.record)
        .map_err(|why| Refusal::conflict("key-successor", format!("cannot {act}: {why}")))?;
    if let Some(wave) = fleet::open_with_key(app, &old.key_id).await? {
        return Err(Refusal::conflict(
            "wave-open",
            format!(
                "cannot {act}: it signed the documents of wave {wave}, which devices are told of; complete that, or a later \
                 one of its tag, first"
            ),
        ));
    }
    let mut changed = Vec::new();
    for model in policies(app, ctx, name).await? {
        if !ctx.may(Permission::ModelManage) {
            return Err(Refusal::not_found(format!(
                "cannot {act}: serials of model {model} are signed with it, and changing that is for administrators"
            )));
        }
        models::set_policy(app, ctx, &model, to.clone()).await?;
        changed.push(model);
    }
    let todo = signed_by(app, &old).await?;
    let mut signed = Vec::new();
    for assertion in todo.iter().take(PART) {
        signed.extend(again(app, ctx, &new, assertion, &act).await?);
    }
    Ok(Part {
        policies: changed,
        assertions: signed,
        left: todo.len().saturating_sub(PART),
    })
}

/// Whether `new` may sign all that `old` may.
fn succeeds(old: &SigningKey, new: &SigningKey) -> Result<(), String> {
    if old.key_id == new.key_id {
        return Err("they are the same key".to_owned());
    }
    if let Some(purpose) = old
        .purposes
        .iter()
        .find(|purpose| !new.purposes.contains(purpose))
    {
        return Err(format!("{} is not for {purpose} assertions", new.name));
    }
    // Without models a key is for all of them.
    if !new.models.is_empty()
        && (old.models.is_empty() || old.models.iter().any(|model| !new.models.contains(model)))
    {
        return Err(format!("{} is for fewer models", new.name));
    }
    Ok(())
}

/// The models whose policy in force names the key, disabled ones too: they may come back.
async fn policies(app: &App, ctx: &BrandCtx, name: &KeyName) -> Result<Vec<ModelName>, Refusal> {
    let models = app.storage.all::<ModelRecord>([ctx.brand().as_str()]).await?;
    let uses = |model: &ModelRecord| model.policy().is_some_and(|policy| policy.key == *name);
    let models = models.into_iter().map(|found| found.record);
    Ok(models.filter(uses).map(|model| model.name).collect())
}

/// The newest revisions that the key signed, of the types that are signed again.
async fn signed_by(app: &App, key: &SigningKey) -> Result<Vec<Assertion>, Refusal> {
    let mut found = Vec::new();
    for purpose in &key.purposes {
        if matches!(purpose, KeyPurpose::Serial | KeyPurpose::SystemUser) {
            continue;
        }
        for kind in purpose.assertion_types() {
            found.extend(of_kind(app, key, *kind).await?);
        }
    }
    Ok(found)
}

async fn of_kind(app: &App, key: &SigningKey, kind: AssertionType) -> Result<Vec<Assertion>, Refusal> {
    let filter = AssertionFilter {
        kind,
        key_prefix: Vec::new(),
        max_format: u32::MAX,
    };
    let all = app.storage.assertions(&filter).await?;
    let decoded = all.iter().filter_map(|stored| decode(&stored.encoded).ok());
    Ok(decoded
        .filter(|assertion| *assertion.sign_key() == key.key_id)
        .collect())
}

/// The same assertion in its next revision, signed by `key`; none if somebody made a newer one meanwhile. Devices want
/// the time in it to lie in the validity of the key, so it is now.
async fn again(
    app: &App,
    ctx: &BrandCtx,
    key: &BrandKey,
    assertion: &Assertion,
    act: &str,
) -> Result<Option<Assertion>, Refusal> {
    let kind = assertion.kind();
    let now = app.clock.now();
    let mut headers = assertion.headers().clone();
    headers.set("revision", assertion.revision().saturating_add(1).to_string());
    if headers.contains("timestamp") {
        headers.set("timestamp", now.to_string());
    }
    key.check(kind, &headers, now).map_err(|why| why.refusal(act))?;
    let statement = Statement::new(kind, headers, assertion.body().to_vec());
    let signed = sign(app, &key.record, statement).await?;
    let detail = json!({ "key": key.record.name.as_str(), "rolled-over": true });
    let event = vault_event(app, ctx, "", "", &detail);
    let commit = Commit {
        assertions: vec![(stored(&signed), PutRule::Newer)],
        audit: vec![record(event, &signed)],
        ..Commit::default()
    };
    match app.storage.commit(commit).await? {
        CommitOutcome::OldRevision { .. } => Ok(None),
        outcome => App::settle(&outcome).map(|()| Some(signed)),
    }
}
