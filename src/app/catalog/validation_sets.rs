//! Validation sets of a brand: which revisions of which snaps go together, signed with a key of the vault, or drawn up to
//! be signed elsewhere. What others signed comes in through [`super::vouching`].

use std::collections::BTreeMap;

use serde_json::json;

use super::register::SERIES;
use super::vouching::{Which, of_account, stored_revision};
use crate::app::{App, BrandCtx, Refusal, brand_key, fleet, sign, vault_event};
use crate::domain::access::Permission;
use crate::domain::assertion::types::SetPresence;
use crate::domain::assertion::{Assertion, AssertionType, Headers, Statement, StatementError, Value};
use crate::domain::ident::{AccountId, BrandId, KeyName, SnapId, SnapName};
use crate::domain::time::Timestamp;
use crate::ports::{Commit, CommitOutcome, PutRule};

/// The key that signs validation sets unless another is named.
pub const DEFAULT_KEY: &str = "validation-set";
/// Most snaps of one validation set.
pub const MOST_SNAPS: usize = 1000;

const KIND: AssertionType = AssertionType::ValidationSet;

/// A validation set to be made.
#[derive(Clone, Debug)]
pub struct NewSet {
    /// Its name within the brand.
    pub name: String,
    /// Its number in the sequence, from 1 on. One that is there already gets a next revision.
    pub sequence: u64,
    /// Its snaps, in order.
    pub snaps: Vec<NewSnap>,
}

/// A snap of it.
#[derive(Clone, Debug)]
pub struct NewSnap {
    /// Its name.
    pub name: SnapName,
    /// The one revision allowed; none = any.
    pub revision: Option<u64>,
    /// Whether it must be installed; none = it must.
    pub presence: Option<SetPresence>,
}

/// The statement of a validation set, as it would be signed now.
///
/// # Errors
/// `invalid-statement`, `unknown-snap`, `unknown-revision`.
pub async fn draft(app: &App, ctx: &BrandCtx, new: &NewSet) -> Result<Statement, Refusal> {
    if new.sequence == 0 || new.snaps.is_empty() || new.snaps.len() > MOST_SNAPS {
        return Err(Refusal::invalid(
            "invalid-statement",
            format!(
                "cannot make the validation set: its sequence is a number from 1 on, and it has 1 to {MOST_SNAPS} snaps"
            ),
        ));
    }
    let catalog = app.catalog.current(app).await?;
    let mut snaps = Vec::new();
    for wanted in &new.snaps {
        let name = &wanted.name;
        let entry = catalog
            .named(name)
            .filter(|entry| !entry.record.private || ctx.may_with(&entry.record, Permission::SnapRead))
            .ok_or_else(|| {
                Refusal::invalid(
                    "unknown-snap",
                    format!("cannot make the validation set: there is no snap {name}"),
                )
            })?;
        if let Some(revision) = wanted.revision
            && !entry.revisions.contains_key(&revision)
        {
            return Err(Refusal::invalid(
                "unknown-revision",
                format!("cannot make the validation set: snap {name} has no revision {revision}"),
            ));
        }
        snaps.push(listed(name, &entry.record.id, wanted.presence, wanted.revision));
    }
    let brand = ctx.brand();
    let account = AccountId::from(brand.clone());
    let mut statement = statement(&account, &new.name, new.sequence, app.clock.now(), snaps);
    if let Some(known) = stored_revision(app, &account, &new.name, new.sequence).await? {
        let next = known.saturating_add(1).to_string();
        statement.headers_mut().set("revision", next);
    }
    Ok(statement)
}

/// What a validation set says.
pub(in crate::app) fn statement(
    account: &AccountId,
    name: &str,
    sequence: u64,
    timestamp: Timestamp,
    snaps: Vec<Value>,
) -> Statement {
    let mut headers = Headers::default();
    headers.set("authority-id", account.as_str());
    headers.set("series", SERIES);
    headers.set("account-id", account.as_str());
    headers.set("name", name);
    headers.set("sequence", sequence.to_string());
    headers.set("timestamp", timestamp.to_string());
    headers.set("snaps", snaps);
    Statement::new(KIND, headers, Vec::new())
}

/// A snap in it.
pub(in crate::app) fn listed(
    name: &SnapName,
    id: &SnapId,
    presence: Option<SetPresence>,
    revision: Option<u64>,
) -> Value {
    let mut snap = BTreeMap::from([
        ("name".to_owned(), Value::from(name.as_str())),
        ("id".to_owned(), Value::from(id.as_str())),
    ]);
    if let Some(revision) = revision {
        snap.insert("revision".to_owned(), revision.to_string().into());
    }
    if let Some(presence) = presence {
        snap.insert("presence".to_owned(), word(presence).into());
    }
    Value::Map(snap)
}

/// Signs a validation set with the brand's key `key` and keeps it; devices are served it from now on.
///
/// # Errors
/// Those of [`draft`]; `made-by-waves`; those of the key (`key-not-registered`, `key-purpose`...); `old-revision` where somebody else was
/// faster.
pub async fn create(
    app: &App,
    ctx: &BrandCtx,
    new: &NewSet,
    key: Option<KeyName>,
) -> Result<Assertion, Refusal> {
    made_by_waves(app, ctx.brand(), &new.name).await?;
    let statement = draft(app, ctx, new).await?;
    let name = match key {
        Some(key) => key,
        None => DEFAULT_KEY.parse()?,
    };
    let assertion = signed(app, ctx.brand(), &name, statement).await?;
    let subject = assertion.primary_key().0.join("/");
    let detail = json!({ "key": name.as_str() });
    let event = vault_event(app, ctx, "validation-set.sign", &subject, &detail);
    let commit = Commit {
        assertions: vec![(sign::stored(&assertion), PutRule::Newer)],
        audit: vec![sign::record(event, &assertion)],
        ..Commit::default()
    };
    match app.storage.commit(commit).await? {
        CommitOutcome::OldRevision { stored } => Err(Refusal::conflict(
            "old-revision",
            format!(
                "cannot keep validation set {} {}: somebody made revision {stored} of it meanwhile; try again",
                new.name, new.sequence
            ),
        )),
        outcome => App::settle(&outcome).map(|()| assertion),
    }
}

/// Refuses what waves make.
async fn made_by_waves(app: &App, brand: &BrandId, name: &str) -> Result<(), Refusal> {
    match fleet::maker(app, &brand.clone().into(), name).await? {
        None => Ok(()),
        Some((tag, _)) => Err(Refusal::conflict(
            "made-by-waves",
            format!("cannot make validation set {name}: waves of tag {tag} make it; make a wave"),
        )),
    }
}

/// Signs a statement with a key of the brand. The caller records it before anything of it leaves the process.
///
/// # Errors
/// Those of the key; `invalid-statement`.
pub(in crate::app) async fn signed(
    app: &App,
    brand: &BrandId,
    name: &KeyName,
    statement: Statement,
) -> Result<Assertion, Refusal> {
    const ACT: &str = "sign the validation set";
    let key = brand_key::read(&*app.storage, brand, name)
        .await
        .map_err(|why| why.refusal(ACT))?;
    // All checks before the signature: what devices would refuse is never signed.
    statement.clone().draft(&key.public).map_err(|e| refused(&e))?;
    key.check(KIND, statement.headers(), app.clock.now())
        .map_err(|why| why.refusal(ACT))?;
    sign::sign(app, &key.record, statement).await
}

/// The validation sets of the brand, of this name or all, whoever signed them: by name, then sequence.
///
/// # Errors
/// If the storage is out of reach.
pub async fn list(
    app: &App,
    ctx: &BrandCtx,
    name: Option<&str>,
    which: Which,
) -> Result<Vec<Assertion>, Refusal> {
    of_account(app, &ctx.brand().clone().into(), name, which).await
}

/// One validation set of the brand: the last of its sequence unless another is named.
///
/// # Errors
/// A set that is not there is not found.
pub async fn show(
    app: &App,
    ctx: &BrandCtx,
    name: &str,
    sequence: Option<u64>,
) -> Result<Assertion, Refusal> {
    let which = sequence.map_or(Which::Latest, Which::One);
    let mut found = list(app, ctx, Some(name), which).await?;
    found.pop().ok_or_else(|| {
        let number = sequence.map_or_else(String::new, |number| format!(" {number}"));
        Refusal::not_found(format!(
            "cannot find validation set {name}{number}: brand {} has none",
            ctx.brand()
        ))
    })
}

/// As it is in assertions.
pub fn word(presence: SetPresence) -> &'static str {
    match presence {
        SetPresence::Required => "required",
        SetPresence::Optional => "optional",
        SetPresence::Invalid => "invalid",
    }
}

fn refused(error: &StatementError) -> Refusal {
    Refusal::invalid(
        "invalid-statement",
        format!("cannot sign the validation set: {error}"),
    )
}
