//! Remodel rules: which devices of one model may become another (serial-vault.md 6, admin-api.md 1.6).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::json;

use super::{App, BrandCtx, Refusal, models, vault_event};
use crate::domain::access::Authorship;
use crate::domain::ident::{BrandId, ModelName, SerialNumber, StoreId};
use crate::domain::vault::RemodelRule;
use crate::ports::{Change, Commit, CommitOutcome, Key, Record as _, Versioned};

/// Longest note, in characters.
pub const MAX_NOTE: usize = 140;
/// Rules that can be changed in one call.
pub const MAX_AT_ONCE: usize = 1000;

/// A rule to be made.
#[derive(Clone, Debug)]
pub struct NewRule {
    /// The model the device has.
    pub from_model: ModelName,
    /// The model it may become.
    pub to_model: ModelName,
    /// Only this serial; none = every serial.
    pub from_serial: Option<SerialNumber>,
    /// The store the new model must name, if any.
    pub store: Option<StoreId>,
    /// A note for people.
    pub note: String,
}

/// All rules of the brand, ordered by models and serial.
pub async fn list(app: &App, ctx: &BrandCtx) -> Result<Vec<RemodelRule>, Refusal> {
    let rules = app.storage.all::<RemodelRule>([ctx.brand().as_str()]).await?;
    Ok(rules.into_iter().map(|rule| rule.record).collect())
}

/// What names a rule.
#[derive(Clone, Debug)]
pub struct RuleName {
    /// The model the device has.
    pub from_model: ModelName,
    /// The model it may become.
    pub to_model: ModelName,
    /// Only this serial; none = every serial.
    pub from_serial: Option<SerialNumber>,
}

/// Which rules are wanted.
#[derive(Clone, Debug)]
pub struct RuleQuery {
    /// Only from this model.
    pub from_model: Option<ModelName>,
    /// Only to this model.
    pub to_model: Option<ModelName>,
    /// Continue behind this place.
    pub cursor: Option<String>,
    /// At most this many.
    pub limit: usize,
}

/// One page of rules.
#[derive(Clone, Debug)]
pub struct RulePage {
    /// The rules.
    pub rules: Vec<RemodelRule>,
    /// Where the next page begins, if there is more.
    pub next: Option<String>,
}

/// A page of the rules of the brand, ordered by models and serial.
///
/// # Errors
/// `invalid-cursor`.
pub async fn page(app: &App, ctx: &BrandCtx, query: &RuleQuery) -> Result<RulePage, Refusal> {
    let after = query.cursor.as_deref().map(place).transpose()?;
    let mut rules: Vec<RemodelRule> = list(app, ctx)
        .await?
        .into_iter()
        .filter(|rule| after.as_ref().is_none_or(|after| rule.key() > *after))
        .filter(|rule| {
            query
                .from_model
                .as_ref()
                .is_none_or(|model| *model == rule.from_model)
        })
        .filter(|rule| {
            query
                .to_model
                .as_ref()
                .is_none_or(|model| *model == rule.to_model)
        })
        .take(query.limit.saturating_add(1))
        .collect();
    let more = rules.len() > query.limit;
    rules.truncate(query.limit);
    let next = rules.last().filter(|_| more).map(cursor);
    Ok(RulePage { rules, next })
}

/// The place of a rule as clients carry it: the parts of its key, none of which holds a zero byte.
fn cursor(rule: &RemodelRule) -> String {
    BASE64.encode(rule.key().0.join("\0"))
}

fn place(cursor: &str) -> Result<Key, Refusal> {
    let wrong = || {
        Refusal::invalid(
            "invalid-cursor",
            "cannot continue there: the cursor is none of ours",
        )
    };
    let bytes = BASE64.decode(cursor).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    Ok(Key(text.split('\0').map(str::to_owned).collect()))
}

/// Adds a rule. The old model must be one of this vault; the new one need not be: then the old model's policy
/// signs the new serials.
pub async fn add(app: &App, ctx: &BrandCtx, new: NewRule) -> Result<RemodelRule, Refusal> {
    let mut added = add_all(app, ctx, vec![new]).await?;
    added.pop().ok_or_else(App::changed_meanwhile)
}

/// Adds rules: all of them or, if one cannot be, none. See [`add`].
pub async fn add_all(app: &App, ctx: &BrandCtx, new: Vec<NewRule>) -> Result<Vec<RemodelRule>, Refusal> {
    let mut commit = Commit::default();
    let mut rules = Vec::new();
    check_number(new.len())?;
    for new in new {
        check(app, ctx, &new).await?;
        let rule = RemodelRule {
            brand_id: ctx.brand().clone(),
            from_model: new.from_model,
            to_model: new.to_model,
            from_serial: new.from_serial,
            store: new.store,
            note: new.note,
            created: app.clock.now(),
            authorship: Authorship::made_by(ctx.account()),
        };
        if rules.iter().any(|known: &RemodelRule| known.key() == rule.key()) {
            return Err(exists(&rule));
        }
        let detail = json!({ "store": rule.store.as_ref().map(StoreId::as_str), "note": rule.note });
        commit
            .audit
            .push(vault_event(app, ctx, "remodel.add", &subject(&rule), &detail));
        commit.records.push(Change::create(&rule));
        rules.push(rule);
    }
    match app.storage.commit(commit).await? {
        CommitOutcome::Done => Ok(rules),
        CommitOutcome::Conflict { key, .. } => Err(rules
            .iter()
            .find(|rule| rule.key() == key)
            .map_or_else(App::changed_meanwhile, exists)),
        outcome @ (CommitOutcome::Taken { .. } | CommitOutcome::OldRevision { .. }) => {
            App::settle(&outcome).map(|()| rules)
        }
    }
}

fn exists(rule: &RemodelRule) -> Refusal {
    Refusal::conflict(
        "already-exists",
        format!("cannot add the remodel rule {}: it is there", subject(rule)),
    )
}

fn check_number(number: usize) -> Result<(), Refusal> {
    if (1..=MAX_AT_ONCE).contains(&number) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "wrong-number",
        format!("cannot change {number} remodel rules at once: 1 to {MAX_AT_ONCE} are possible"),
    ))
}

async fn check(app: &App, ctx: &BrandCtx, new: &NewRule) -> Result<(), Refusal> {
    models::find(app, ctx, &new.from_model).await?;
    if new.from_model == new.to_model {
        return Err(Refusal::invalid(
            "same-model",
            "cannot add the remodel rule: both models are the same",
        ));
    }
    check_note(&new.note)?;
    if new
        .from_serial
        .as_ref()
        .is_some_and(|serial| serial.as_str() == "*")
    {
        return Err(Refusal::invalid(
            "invalid-serial",
            "cannot add the remodel rule: leave the serial out to mean every serial",
        ));
    }
    Ok(())
}

fn check_note(note: &str) -> Result<(), Refusal> {
    if note.chars().count() > MAX_NOTE {
        return Err(Refusal::invalid(
            "note-too-long",
            format!("cannot save the remodel rule: its note has more than {MAX_NOTE} characters"),
        ));
    }
    Ok(())
}

async fn named(app: &App, ctx: &BrandCtx, name: &RuleName) -> Result<Versioned<RemodelRule>, Refusal> {
    let RuleName {
        from_model,
        to_model,
        from_serial,
    } = name;
    let key = key(ctx.brand().as_str(), from_model, to_model, from_serial.as_ref());
    app.storage.find::<RemodelRule>(key).await?.ok_or_else(|| {
        Refusal::not_found(format!(
            "cannot find a remodel rule from {from_model} to {to_model} for that serial"
        ))
    })
}

/// Changes the notes of rules: all of them or, if one is not there, none.
pub async fn describe(
    app: &App,
    ctx: &BrandCtx,
    changes: &[(RuleName, String)],
) -> Result<Vec<RemodelRule>, Refusal> {
    check_number(changes.len())?;
    let now = app.clock.now();
    let mut commit = Commit::default();
    let mut rules = Vec::new();
    for (name, note) in changes {
        check_note(note)?;
        let Versioned { mut record, version } = named(app, ctx, name).await?;
        record.note.clone_from(note);
        record.authorship.change(ctx.account(), now);
        let detail = json!({ "note": note });
        commit.audit.push(vault_event(
            app,
            ctx,
            "remodel.describe",
            &subject(&record),
            &detail,
        ));
        commit.records.push(Change::replace(&record, version));
        rules.push(record);
    }
    app.commit(commit).await?;
    Ok(rules)
}

/// Removes a rule.
pub async fn remove(
    app: &App,
    ctx: &BrandCtx,
    from_model: &ModelName,
    to_model: &ModelName,
    from_serial: Option<&SerialNumber>,
) -> Result<RemodelRule, Refusal> {
    let name = RuleName {
        from_model: from_model.clone(),
        to_model: to_model.clone(),
        from_serial: from_serial.cloned(),
    };
    let mut removed = remove_all(app, ctx, &[name]).await?;
    removed.pop().ok_or_else(App::changed_meanwhile)
}

/// Removes rules: all of them or, if one is not there, none.
pub async fn remove_all(app: &App, ctx: &BrandCtx, names: &[RuleName]) -> Result<Vec<RemodelRule>, Refusal> {
    check_number(names.len())?;
    let mut commit = Commit::default();
    let mut rules = Vec::new();
    for name in names {
        let Versioned { record, version } = named(app, ctx, name).await?;
        commit.audit.push(vault_event(
            app,
            ctx,
            "remodel.remove",
            &subject(&record),
            &json!({}),
        ));
        commit.records.push(Change::delete(&record, version));
        rules.push(record);
    }
    match app.storage.commit(commit).await? {
        CommitOutcome::Done => Ok(rules),
        CommitOutcome::Conflict { .. } | CommitOutcome::Taken { .. } | CommitOutcome::OldRevision { .. } => {
            Err(Refusal::conflict(
                "changed-meanwhile",
                "cannot remove the remodel rule: it was changed; try again",
            ))
        }
    }
}

/// The rule that lets `serial` of `from_model` become `to_model`: the one for this serial, else the one for all.
pub(super) async fn matching(
    app: &App,
    brand: &BrandId,
    from_model: &ModelName,
    to_model: &ModelName,
    serial: &SerialNumber,
) -> Result<Option<RemodelRule>, crate::ports::StoreError> {
    if let Some(rule) = app
        .storage
        .find::<RemodelRule>(key(brand.as_str(), from_model, to_model, Some(serial)))
        .await?
    {
        return Ok(Some(rule.record));
    }
    Ok(app
        .storage
        .find::<RemodelRule>(key(brand.as_str(), from_model, to_model, None))
        .await?
        .map(|rule| rule.record))
}

fn key(brand: &str, from_model: &ModelName, to_model: &ModelName, serial: Option<&SerialNumber>) -> Key {
    Key::from([
        brand,
        from_model.as_str(),
        to_model.as_str(),
        serial.map_or("*", SerialNumber::as_str),
    ])
}

fn subject(rule: &RemodelRule) -> String {
    rule.key().0.join("/")
}
