//! Interface grants: reviewers turn single ones on and off in the snap-declaration of a snap that is not their own
//! (admin-api.md 1.3, 2.7). A plug of class C takes two persons: a reviewer asks, an administrator or the operator
//! confirms. Taking back takes one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::changes::apply;
use super::declare;
use super::register::{declaration_of, declares};
use super::{no_snap, signed, snap};
use crate::app::{App, BrandCtx, Refusal, SnapCtx, vault_event};
use crate::domain::access::{Permission, StoreRecord};
use crate::domain::assertion::{Assertion, Value};
use crate::domain::catalog::{Changed, SnapRecord};
use crate::domain::ident::{AccountId, SnapName, StoreId};
use crate::domain::review::{
    Attribute, Class, GrantRefusal, GrantRequest, Granted, Interface, MAX_COMMENT, Scope, Side, class,
    disable, enable, grants,
};
use crate::ports::{Change, Commit, Key, PutRule, Record as _, Versioned};

/// Most stores a grant may name at a time.
const MAX_STORES: usize = 100;

/// Which grant of a snap is meant.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Plug or slot.
    pub side: Side,
    /// The interface.
    pub interface: Interface,
    /// What is granted.
    pub attribute: Attribute,
}

/// On which devices.
#[derive(Clone, Debug)]
pub enum Where {
    /// Of the base store of the snap when granting, wherever it is granted when taking back.
    Default,
    /// Of these stores.
    Stores(BTreeSet<StoreId>),
    /// Of all stores.
    Everywhere,
}

/// The grants of a snap, and those that wait for a second person.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The snap.
    pub snap: SnapRecord,
    /// The revision of its declaration.
    pub declaration: u64,
    /// What the declaration grants.
    pub granted: Vec<Granted>,
    /// What waits.
    pub waiting: Vec<GrantRequest>,
    /// Stores that show the snap and that the change just made does not reach.
    pub remarks: Vec<String>,
}

/// The grants of a snap, for who has a part in it.
///
/// # Errors
/// Unknown snaps are not found.
pub async fn list(app: &App, ctx: &SnapCtx) -> Result<Standing, Refusal> {
    let snap = ctx.snap().clone();
    if !ctx.takes_part() {
        return Err(no_snap(ctx.brand(), &snap.name));
    }
    let declaration = declaration_of(app, &snap).await?;
    standing(app, snap, &declaration, Vec::new()).await
}

async fn standing(
    app: &App,
    snap: SnapRecord,
    declaration: &Assertion,
    remarks: Vec<String>,
) -> Result<Standing, Refusal> {
    let waiting = app.storage.all::<GrantRequest>([snap.id.as_str()]).await?;
    Ok(Standing {
        granted: grants(declaration.headers()),
        declaration: declaration.revision(),
        waiting: waiting.into_iter().map(|found| found.record).collect(),
        snap,
        remarks,
    })
}

/// A reviewer grants something: by the next declaration, or for a plug of class C by a request that a second person
/// confirms.
///
/// # Errors
/// `grant-refused`, `invalid-comment`, `unknown-store`; `declaration-imported` where another root declares the brand's
/// snaps. Snaps of one's own are not found.
pub async fn grant(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    grant: &Grant,
    place: &Where,
    comment: &str,
) -> Result<Standing, Refusal> {
    check_comment(comment)?;
    let found = snap(app, ctx, name, Permission::SnapReview).await?;
    let scope = scope(app, &found.record, place).await?;
    let scope = scope.unwrap_or_else(|| BTreeSet::from([found.record.store_id.clone()]));
    let two = grant.side == Side::Plug && class(&grant.interface) == Class::C;
    if !two {
        let (rules, current) = changed(app, ctx, &found.record, grant, |rule| {
            enable(rule, grant.side, &grant.interface, grant.attribute, &scope).map(Some)
        })
        .await?;
        let by = Step::of(grant, "grant.enable", &scope, comment);
        return enact(app, ctx, found, &current, rules, by, Vec::new()).await;
    }
    request(app, ctx, found, grant, scope, comment).await
}

/// Writes down what a reviewer wants; what wanted the same before is replaced.
async fn request(
    app: &App,
    ctx: &BrandCtx,
    found: Versioned<SnapRecord>,
    grant: &Grant,
    scope: Scope,
    comment: &str,
) -> Result<Standing, Refusal> {
    // What cannot be done later is refused now.
    let (_, current) = changed(app, ctx, &found.record, grant, |rule| {
        enable(rule, grant.side, &grant.interface, grant.attribute, &scope).map(Some)
    })
    .await?;
    let request = GrantRequest {
        snap_id: found.record.id.clone(),
        side: grant.side,
        interface: grant.interface.clone(),
        attribute: grant.attribute,
        requested_by: person(ctx, &found.record)?,
        on_store: scope.clone(),
        comment: comment.to_owned(),
        created: app.clock.now(),
    };
    let before = app.storage.find::<GrantRequest>(request.key()).await?;
    let write = match before {
        Some(before) => Change::replace(&request, before.version),
        None => Change::create(&request),
    };
    let by = Step::of(grant, "grant.request", &scope, comment);
    let snap = found.record;
    app.commit(Commit {
        // The snap takes part: what the caller was judged by must still hold.
        records: vec![write, Change::replace(&snap, found.version)],
        audit: vec![vault_event(app, ctx, by.action, snap.name.as_str(), &by.detail)],
        ..Commit::default()
    })
    .await?;
    let remark = format!(
        "{} {} waits for a second person: an administrator, or the operator, confirms it",
        grant.interface,
        grant.attribute.as_str()
    );
    standing(app, snap, &current, vec![remark]).await
}

/// A second person confirms what a reviewer wanted: it is declared.
///
/// # Errors
/// `second-person-required` for who asked for it; `request-void` if who asked publishes the snap by
/// now, or reviews it no more; what nobody asked for is not found; `grant-refused`,
/// `changed-meanwhile`. Snaps of one's own are not found.
pub async fn confirm(app: &App, ctx: &BrandCtx, name: &SnapName, grant: &Grant) -> Result<Standing, Refusal> {
    let found = snap(app, ctx, name, Permission::GrantConfirm).await?;
    let key = [
        found.record.id.as_str(),
        grant.side.header(),
        grant.interface.as_str(),
        grant.attribute.as_str(),
    ];
    let asked = app
        .storage
        .find::<GrantRequest>(key)
        .await?
        .ok_or_else(|| nobody_asked(name, grant))?;
    if person(ctx, &found.record)? == asked.record.requested_by {
        return Err(Refusal::conflict(
            "second-person-required",
            format!(
                "cannot confirm {} for {name}: you asked for it; somebody else has to",
                grant.interface
            ),
        ));
    }
    // Who asked must still be somebody who may.
    let asker = &asked.record.requested_by;
    if !ctx.still_reviews(app, &found.record, asker).await? {
        return Err(Refusal::conflict(
            "request-void",
            format!(
                "cannot confirm {} for {name}: who asked for it publishes the snap by now, or reviews it no more; a \
                 reviewer has to ask again",
                grant.interface
            ),
        ));
    }
    let scope = asked.record.on_store.clone();
    let (rules, current) = changed(app, ctx, &found.record, grant, |rule| {
        enable(rule, grant.side, &grant.interface, grant.attribute, &scope).map(Some)
    })
    .await?;
    let mut by = Step::of(grant, "grant.confirm", &scope, "");
    if let Some(detail) = by.detail.as_object_mut() {
        detail.insert("requested-by".to_owned(), json!(asked.record.requested_by));
    }
    let done = Change::delete(&asked.record, asked.version);
    enact(app, ctx, found, &current, rules, by, vec![done]).await
}

/// A reviewer takes back what was granted, or a request for it: by the next declaration.
///
/// # Errors
/// `grant-refused`, `unknown-store`. Snaps of one's own are not found.
pub async fn revoke(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    grant: &Grant,
    place: &Where,
    comment: &str,
) -> Result<Standing, Refusal> {
    check_comment(comment)?;
    let found = snap(app, ctx, name, Permission::SnapReview).await?;
    let scope = scope(app, &found.record, place).await?.unwrap_or_default();
    let key = [
        found.record.id.as_str(),
        grant.side.header(),
        grant.interface.as_str(),
        grant.attribute.as_str(),
    ];
    let asked = app.storage.find::<GrantRequest>(key).await?;
    let after = changed(app, ctx, &found.record, grant, |rule| {
        disable(rule, grant.side, &grant.interface, grant.attribute, &scope)
    })
    .await;
    let by = Step::of(grant, "grant.disable", &scope, comment);
    let withdrawn = asked.map(|asked| Change::delete(&asked.record, asked.version));
    match (after, withdrawn) {
        (Ok((rules, current)), withdrawn) => {
            let more = withdrawn.into_iter().collect();
            enact(app, ctx, found, &current, rules, by, more).await
        }
        // It was not granted yet: what was asked for is taken back.
        (Err(refusal), Some(withdrawn)) if refusal.code == "grant-refused" => {
            let snap = found.record;
            app.commit(Commit {
                records: vec![withdrawn, Change::replace(&snap, found.version)],
                audit: vec![vault_event(app, ctx, by.action, snap.name.as_str(), &by.detail)],
                ..Commit::default()
            })
            .await?;
            let current = declaration_of(app, &snap).await?;
            standing(app, snap, &current, Vec::new()).await
        }
        (Err(refusal), _) => Err(refusal),
    }
}

fn nobody_asked(name: &SnapName, grant: &Grant) -> Refusal {
    Refusal::not_found(format!(
        "cannot confirm {} {} for {name}: no reviewer asked for it",
        grant.interface,
        grant.attribute.as_str()
    ))
}

/// The person who acts: two are needed, so both must be somebody.
fn person(ctx: &BrandCtx, snap: &SnapRecord) -> Result<AccountId, Refusal> {
    ctx.account().cloned().ok_or_else(|| {
        Refusal::conflict(
            "second-person-required",
            format!(
                "cannot grant this for {}: it takes two persons who are logged in",
                snap.name
            ),
        )
    })
}

fn check_comment(comment: &str) -> Result<(), Refusal> {
    if comment.chars().count() <= MAX_COMMENT && !comment.chars().any(|c| c.is_control() && c != '\n') {
        return Ok(());
    }
    Err(Refusal::invalid(
        "invalid-comment",
        format!(
            "cannot use this comment: it has at most {MAX_COMMENT} characters, and no control characters"
        ),
    ))
}

/// The stores that are meant; none = as is usual for the act, empty = all.
async fn scope(app: &App, snap: &SnapRecord, place: &Where) -> Result<Option<Scope>, Refusal> {
    match place {
        Where::Default => Ok(None),
        Where::Everywhere => Ok(Some(Scope::new())),
        Where::Stores(stores) => {
            if stores.is_empty() || stores.len() > MAX_STORES {
                return Err(Refusal::invalid(
                    "invalid-request",
                    format!("cannot use this list of stores: it names 1 to {MAX_STORES}"),
                ));
            }
            for store in stores {
                let found = app.storage.find::<StoreRecord>([store.as_str()]).await?;
                if found.is_none_or(|found| found.record.brand_id != snap.brand_id) {
                    return Err(Refusal::invalid(
                        "unknown-store",
                        format!(
                            "cannot grant anything on store {store}: brand {} has no such store",
                            snap.brand_id
                        ),
                    ));
                }
            }
            Ok(Some(stores.clone()))
        }
    }
}

/// The rules of one side after `change` of the rule for the interface, and the declaration they were in.
async fn changed(
    app: &App,
    ctx: &BrandCtx,
    snap: &SnapRecord,
    grant: &Grant,
    change: impl FnOnce(Option<&Value>) -> Result<Option<Value>, GrantRefusal>,
) -> Result<(BTreeMap<String, Value>, Assertion), Refusal> {
    declare::ours(app, ctx, &snap.name).await?;
    let current = declaration_of(app, snap).await?;
    let rules = current.headers().get(grant.side.header()).and_then(Value::as_map);
    let mut rules = rules.cloned().unwrap_or_default();
    let interface = grant.interface.as_str();
    let after = change(rules.get(interface)).map_err(|why| {
        Refusal::conflict(
            "grant-refused",
            format!(
                "cannot change {} of {} {interface} for {}: {why}",
                grant.attribute.as_str(),
                grant.side.word(),
                snap.name
            ),
        )
    })?;
    match after {
        Some(rule) => drop(rules.insert(interface.to_owned(), rule)),
        None => drop(rules.remove(interface)),
    }
    Ok((rules, current))
}

/// What is written about a change.
struct Step<'a> {
    grant: &'a Grant,
    action: &'static str,
    detail: serde_json::Value,
    scope: &'a Scope,
}

impl<'a> Step<'a> {
    fn of(grant: &'a Grant, action: &'static str, scope: &'a Scope, comment: &str) -> Self {
        let detail = json!({
            "side": grant.side, "interface": grant.interface, "attribute": grant.attribute, "on-store": scope,
            "comment": (!comment.is_empty()).then_some(comment),
        });
        Self {
            grant,
            action,
            detail,
            scope,
        }
    }
}

/// Declares the rules by the next revision of the declaration, with `more` changes in the same commit.
async fn enact(
    app: &App,
    ctx: &BrandCtx,
    found: Versioned<SnapRecord>,
    current: &Assertion,
    rules: BTreeMap<String, Value>,
    mut by: Step<'_>,
    more: Vec<Change>,
) -> Result<Standing, Refusal> {
    let mut headers = declare::carried(current.headers());
    let header = by.grant.side.header();
    if rules.is_empty() {
        headers.remove(header);
    } else {
        headers.set(header, rules);
    }
    let assertion = declare::signed_next(app, current, headers).await?;
    let Versioned { mut record, version } = found;
    declares(&mut record, &assertion);
    if let Some(detail) = by.detail.as_object_mut() {
        detail.insert("revision".to_owned(), json!(assertion.revision()));
    }
    let mut commit = Commit {
        records: vec![Change::replace(&record, version)],
        audit: vec![vault_event(app, ctx, by.action, record.name.as_str(), &by.detail)],
        ..Commit::default()
    };
    commit.records.extend(more);
    signed(app, ctx, &mut commit, &assertion, PutRule::Newer);
    let changed = [Changed::Snap(record.id.clone())];
    App::settle(&apply(app, commit, &changed).await?)?;
    let remarks = if by.action == "grant.disable" {
        Vec::new()
    } else {
        unreached(app, &record, by.scope).await?
    };
    standing(app, record, &assertion, remarks).await
}

/// Views of the base store whose devices a grant does not reach.
async fn unreached(app: &App, snap: &SnapRecord, scope: &Scope) -> Result<Vec<String>, Refusal> {
    if scope.is_empty() {
        return Ok(Vec::new());
    }
    let stores = app.storage.all::<StoreRecord>(Key(Vec::new())).await?;
    let views: Vec<String> = stores
        .into_iter()
        .map(|found| found.record)
        .filter(|store| store.parent.as_ref() == Some(&snap.store_id) && !scope.contains(&store.id))
        .map(|store| store.id.to_string())
        .collect();
    if views.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "it holds on devices of {} only; name {} too if their devices need it",
        scope
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        views.join(", ")
    )])
}
