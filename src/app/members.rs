//! Memberships: who has which role in which store. Roles in a brand's base store hold for the whole brand,
//! and that store always keeps an administrator.

use std::collections::BTreeSet;

use super::{App, BrandCtx, Refusal, brands};
use crate::domain::access::{Account, Membership, Permission, Role, StoreRecord};
use crate::domain::audit::AuditEvent;
use crate::domain::ident::{Email, StoreId};
use crate::ports::{Change, Commit, CommitOutcome, Versioned};

/// How often a change is tried again when somebody else changed the same store's members.
const ATTEMPTS: usize = 5;

/// A member of a store.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub account: Account,
    /// Which roles.
    pub membership: Membership,
}

/// The members of a store, by e-mail address.
pub async fn list(app: &App, ctx: &BrandCtx, store: &StoreId) -> Result<Vec<Member>, Refusal> {
    let store = brands::store(app, ctx, store).await?.record;
    let mut members = Vec::new();
    for found in memberships(app, &store).await? {
        let key = [found.record.account_id.as_str()];
        if let Some(account) = app.storage.find::<Account>(key).await? {
            members.push(Member {
                account: account.record,
                membership: found.record,
            });
        }
    }
    members.sort_by(|a, b| a.account.email.cmp(&b.account.email));
    Ok(members)
}

/// Gives an account exactly these roles in a store.
pub async fn set(
    app: &App,
    ctx: &BrandCtx,
    store: &StoreId,
    email: &Email,
    roles: &BTreeSet<Role>,
) -> Result<Member, Refusal> {
    if roles.is_empty() {
        return Err(Refusal::invalid(
            "roles-required",
            "cannot add a member without a role: name one, or remove the member",
        ));
    }
    change(app, ctx, store, email, roles).await
}

/// Takes all roles of an account in a store away.
pub async fn remove(app: &App, ctx: &BrandCtx, store: &StoreId, email: &Email) -> Result<(), Refusal> {
    change(app, ctx, store, email, &BTreeSet::new()).await.map(|_| ())
}

async fn change(
    app: &App,
    ctx: &BrandCtx,
    store: &StoreId,
    email: &Email,
    roles: &BTreeSet<Role>,
) -> Result<Member, Refusal> {
    for _ in 0..ATTEMPTS {
        let store = brands::store(app, ctx, store).await?;
        let account = super::accounts::by_email(app, email).await?.record;
        let all = memberships(app, &store.record).await?;
        let old = all.iter().find(|found| found.record.account_id == account.id);
        let before: BTreeSet<Role> = old
            .map(|old| old.record.roles.iter().copied().collect())
            .unwrap_or_default();
        check_brand_role(ctx, &store.record, &before, roles)?;
        let membership = Membership {
            brand_id: ctx.brand().clone(),
            store_id: store.record.id.clone(),
            account_id: account.id.clone(),
            roles: roles.iter().copied().collect(),
            changed: app.clock.now(),
        };
        let mut records = vec![match (old, roles.is_empty()) {
            (None, true) => {
                return Err(Refusal::not_found(format!(
                    "cannot remove {email} from store {}: not a member",
                    store.record.id
                )));
            }
            (None, false) => Change::create(&membership),
            (Some(old), false) => Change::replace(&membership, old.version),
            (Some(old), true) => Change::delete(&old.record, old.version),
        }];
        if before.contains(&Role::Admin) && !roles.contains(&Role::Admin) && store.record.parent.is_none() {
            keeps_an_administrator(app, &store.record, &account, &all).await?;
            // The store's record takes part, so that two administrators cannot remove each other at the same time.
            records.push(Change::replace(&store.record, store.version));
        }
        let audit = vec![event(app, ctx, &store.record, &account, &before, roles)];
        match app
            .storage
            .commit(Commit {
                records,
                audit,
                ..Commit::default()
            })
            .await?
        {
            CommitOutcome::Conflict { .. } => {}
            other @ (CommitOutcome::Done
            | CommitOutcome::Taken { .. }
            | CommitOutcome::OldRevision { .. }) => {
                return App::settle(&other).map(|()| Member { account, membership });
            }
        }
    }
    Err(App::changed_meanwhile())
}

/// The role `brand` acts with the brand's keys: it is granted and revoked only by who holds it (or the operator),
/// and only in the base store.
fn check_brand_role(
    ctx: &BrandCtx,
    store: &StoreRecord,
    before: &BTreeSet<Role>,
    after: &BTreeSet<Role>,
) -> Result<(), Refusal> {
    if before.contains(&Role::Brand) == after.contains(&Role::Brand) {
        return Ok(());
    }
    if store.parent.is_some() {
        let message = format!(
            "cannot grant the role brand in store {}: it belongs in the base store",
            store.id
        );
        return Err(Refusal::invalid("not-a-base-store", message));
    }
    if !ctx.may(Permission::BrandRoleGrant) {
        let message =
            "cannot grant or revoke the role brand: only who holds it, or the instance operator, may";
        return Err(Refusal::not_found(message));
    }
    Ok(())
}

async fn keeps_an_administrator(
    app: &App,
    store: &StoreRecord,
    leaving: &Account,
    all: &[Versioned<Membership>],
) -> Result<(), Refusal> {
    for found in all {
        let other = &found.record;
        if other.account_id != leaving.id && other.roles.contains(&Role::Admin) {
            let account = app.storage.find::<Account>([other.account_id.as_str()]).await?;
            if account.is_some_and(|account| !account.record.disabled) {
                return Ok(());
            }
        }
    }
    Err(Refusal::conflict(
        "last-administrator",
        format!(
            "cannot take the role administrator from {}: store {} would have none left",
            leaving.email, store.id
        ),
    ))
}

async fn memberships(app: &App, store: &StoreRecord) -> Result<Vec<Versioned<Membership>>, Refusal> {
    Ok(app
        .storage
        .all([store.brand_id.as_str(), store.id.as_str()])
        .await?)
}

fn event(
    app: &App,
    ctx: &BrandCtx,
    store: &StoreRecord,
    account: &Account,
    before: &BTreeSet<Role>,
    after: &BTreeSet<Role>,
) -> AuditEvent {
    let action = if after.is_empty() {
        "member.remove"
    } else {
        "member.set"
    };
    let mut event = ctx.event(app.clock.now(), action, &format!("{}/{}", store.id, account.id));
    event
        .detail
        .insert("roles-before".to_owned(), serde_json::json!(before));
    event.detail.insert("roles".to_owned(), serde_json::json!(after));
    event
}
