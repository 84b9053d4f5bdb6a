//! Memberships: who has which role in which store. Roles in a brand's base store hold for the whole brand,
//! and that store always keeps an administrator.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{App, Reason, Refusal, StoreCtx};
use crate::domain::access::{Account, Brand, Membership, Permission, Role, StoreRecord};
use crate::domain::audit::AuditEvent;
use crate::domain::ident::{AccountId, BrandId, Email};
use crate::ports::{Change, Commit, CommitOutcome, Key, Versioned};

/// How often a change is tried again when somebody else changed the same store's members.
const ATTEMPTS: usize = 5;
/// Members changed in one call.
pub const MAX_CHANGES: usize = 1000;
/// Up to this many members their accounts are looked up one by one; of more, all accounts are read at once.
const FEW: usize = 50;
/// What the brand's own account is not given unless somebody confirms it (admin-api.md 1.2).
const NOT_FOR_BRAND: [Role; 3] = [Role::Admin, Role::Review, Role::View];

/// A member of a store.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub account: Account,
    /// Which roles.
    pub membership: Membership,
}

/// Roles that somebody shall have in a store, in place of those they had. None = they leave.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Who.
    pub email: Email,
    /// Exactly these.
    pub roles: BTreeSet<Role>,
}

/// What was confirmed about a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// Who acts for the brand account may be administrator, reviewer or viewer too.
    pub brand_account: bool,
}

/// The members of a store, by e-mail address.
pub async fn list(app: &App, ctx: &StoreCtx) -> Result<Vec<Member>, Refusal> {
    let memberships = memberships(app, ctx.store()).await?;
    let mut accounts = accounts(app, &memberships).await?;
    let mut members: Vec<Member> = memberships
        .into_iter()
        .filter_map(|found| {
            Some(Member {
                account: accounts.remove(&found.record.account_id)?,
                membership: found.record,
            })
        })
        .collect();
    members.sort_by(|a, b| a.account.email.cmp(&b.account.email));
    Ok(members)
}

async fn accounts(app: &App, of: &[Versioned<Membership>]) -> Result<BTreeMap<AccountId, Account>, Refusal> {
    if of.len() > FEW {
        let all = app.storage.all::<Account>(Key(Vec::new())).await?;
        return Ok(all
            .into_iter()
            .map(|found| (found.record.id.clone(), found.record))
            .collect());
    }
    let mut accounts = BTreeMap::new();
    for found in of {
        let id = &found.record.account_id;
        if let Some(account) = app.storage.find::<Account>([id.as_str()]).await? {
            accounts.insert(id.clone(), account.record);
        }
    }
    Ok(accounts)
}

/// The caller as a member of the store; none if they have roles only through the brand, or none.
pub async fn myself(app: &App, ctx: &StoreCtx) -> Result<Option<Member>, Refusal> {
    let Some(id) = ctx.account() else { return Ok(None) };
    let store = ctx.store();
    let key = [store.brand_id.as_str(), store.id.as_str(), id.as_str()];
    let membership = app.storage.find::<Membership>(key).await?;
    let account = app.storage.find::<Account>([id.as_str()]).await?;
    Ok(membership.zip(account).map(|(membership, account)| Member {
        account: account.record,
        membership: membership.record,
    }))
}

/// Gives an account exactly these roles in a store.
pub async fn set(
    app: &App,
    ctx: &StoreCtx,
    email: &Email,
    roles: &BTreeSet<Role>,
    confirmed: Confirmed,
) -> Result<Member, Refusal> {
    if roles.is_empty() {
        return Err(Refusal::invalid(
            "roles-required",
            "cannot add a member without a role: name one, or remove the member",
        ));
    }
    let wanted = Assignment {
        email: email.clone(),
        roles: roles.clone(),
    };
    let mut members = assign(app, ctx, &[wanted], Keep::Nothing, confirmed).await?;
    members.pop().ok_or_else(App::changed_meanwhile)
}

/// Takes all roles of an account in a store away.
pub async fn remove(app: &App, ctx: &StoreCtx, email: &Email) -> Result<(), Refusal> {
    let wanted = Assignment {
        email: email.clone(),
        roles: BTreeSet::new(),
    };
    assign(app, ctx, &[wanted], Keep::Nothing, Confirmed::default())
        .await
        .map(|_| ())
}

/// Which roles a change leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None.
    Nothing,
    /// The role `brand`: clients of old do not know it, so what they send says nothing about it.
    BrandRole,
}

/// Changes the roles of several accounts: all of them or, if one cannot be changed, none.
///
/// # Errors
/// `last-administrator`, `brand-account`, `duplicate-email`, `too-many-members`; unknown accounts are not found.
pub async fn assign(
    app: &App,
    ctx: &StoreCtx,
    wanted: &[Assignment],
    keep: Keep,
    confirmed: Confirmed,
) -> Result<Vec<Member>, Refusal> {
    if wanted.len() > MAX_CHANGES {
        return Err(Refusal::invalid(
            "too-many-members",
            format!("cannot change more than {MAX_CHANGES} members at once: send them in parts"),
        ));
    }
    let emails: BTreeSet<&Email> = wanted.iter().map(|one| &one.email).collect();
    if emails.len() != wanted.len() {
        return Err(Refusal::invalid(
            "duplicate-email",
            "cannot change members: an e-mail address is there twice",
        ));
    }
    for _ in 0..ATTEMPTS {
        let store = ctx.again(app).await?;
        let mut change = Changing::begin(app, ctx, &store).await?;
        for one in wanted {
            change.assign(one, keep, confirmed).await?;
        }
        if let Some(members) = change.commit().await? {
            return Ok(members);
        }
    }
    Err(App::changed_meanwhile())
}

/// Those of the named who have no account the store may know of.
pub async fn unknown(app: &App, ctx: &StoreCtx, wanted: &[Assignment]) -> Result<Vec<Email>, Refusal> {
    let store = ctx.store();
    let mut unknown = Vec::new();
    for one in wanted.iter().take(MAX_CHANGES) {
        match super::accounts::known_in(app, &store.brand_id, &store.id, &one.email).await {
            Ok(_) => {}
            Err(refusal) if refusal.reason == Reason::NotFound => unknown.push(one.email.clone()),
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(unknown)
}

/// A change of a store's members that is being put together.
struct Changing<'c> {
    app: &'c App,
    ctx: &'c StoreCtx,
    store: &'c Versioned<StoreRecord>,
    base: BaseStore,
    before: Vec<Versioned<Membership>>,
    after: Vec<Member>,
    /// Administrators before whose role is taken away.
    leaving: Vec<Account>,
    commit: Commit,
}

/// Where the role `brand` is held.
struct BaseStore(String);

impl<'c> Changing<'c> {
    async fn begin(
        app: &'c App,
        ctx: &'c StoreCtx,
        store: &'c Versioned<StoreRecord>,
    ) -> Result<Self, Refusal> {
        let brand_id = &store.record.brand_id;
        let brand = app.storage.find::<Brand>([brand_id.as_str()]).await?;
        let base = brand.map_or_else(
            || brand_id.to_string(),
            |brand| brand.record.base_store.to_string(),
        );
        Ok(Self {
            app,
            ctx,
            store,
            base: BaseStore(base),
            before: memberships(app, &store.record).await?,
            after: Vec::new(),
            leaving: Vec::new(),
            commit: Commit::default(),
        })
    }

    async fn assign(&mut self, wanted: &Assignment, keep: Keep, confirmed: Confirmed) -> Result<(), Refusal> {
        let store = &self.store.record;
        let known = super::accounts::known_in(self.app, &store.brand_id, &store.id, &wanted.email).await;
        let account = match known {
            Err(refusal) if refusal.reason == Reason::NotFound => {
                return Err(no_account(&wanted.email, store));
            }
            found => found?.record,
        };
        let old = self
            .before
            .iter()
            .find(|found| found.record.account_id == account.id);
        let before: BTreeSet<Role> = old
            .map(|old| old.record.roles.iter().copied().collect())
            .unwrap_or_default();
        let mut roles = wanted.roles.clone();
        if keep == Keep::BrandRole && before.contains(&Role::Brand) {
            roles.insert(Role::Brand);
        }
        self.check_brand_role(&before, &roles)?;
        let confirmation = self
            .check_brand_account(&account, &before, &roles, confirmed)
            .await?;
        let membership = Membership {
            brand_id: store.brand_id.clone(),
            store_id: store.id.clone(),
            account_id: account.id.clone(),
            roles: roles.iter().copied().collect(),
            changed: self.app.clock.now(),
        };
        self.commit.records.push(match (old, roles.is_empty()) {
            (None, true) => {
                return Err(Refusal::not_found(format!(
                    "cannot remove {} from store {}: not a member",
                    wanted.email, store.id
                )));
            }
            (None, false) => Change::create(&membership),
            (Some(old), false) => Change::replace(&membership, old.version),
            (Some(old), true) => Change::delete(&old.record, old.version),
        });
        if before.contains(&Role::Admin) && !roles.contains(&Role::Admin) {
            self.leaving.push(account.clone());
        }
        let mut event = self.event(&account, &before, &roles);
        if confirmation {
            event
                .detail
                .insert("brand-account-confirmed".to_owned(), true.into());
        }
        self.commit.audit.push(event);
        self.after.push(Member { account, membership });
        Ok(())
    }

    /// The role `brand` acts with the brand's keys: it is granted and revoked only by who holds it (or the operator),
    /// and only in the base store.
    fn check_brand_role(&self, before: &BTreeSet<Role>, after: &BTreeSet<Role>) -> Result<(), Refusal> {
        if before.contains(&Role::Brand) == after.contains(&Role::Brand) {
            return Ok(());
        }
        let store = &self.store.record;
        if store.id.as_str() != self.base.0 {
            let message = format!(
                "cannot grant the role brand in store {}: it belongs in the base store",
                store.id
            );
            return Err(Refusal::invalid("not-a-base-store", message));
        }
        if !self.ctx.may(Permission::BrandRoleGrant) {
            let message =
                "cannot grant or revoke the role brand: only who holds it, or the instance operator, may";
            return Err(Refusal::not_found(message));
        }
        Ok(())
    }

    /// Who acts for the brand account publishes at most: the other roles must be confirmed. True if it was needed.
    async fn check_brand_account(
        &self,
        account: &Account,
        before: &BTreeSet<Role>,
        after: &BTreeSet<Role>,
        confirmed: Confirmed,
    ) -> Result<bool, Refusal> {
        let barred = |roles: &BTreeSet<Role>| NOT_FOR_BRAND.iter().any(|role| roles.contains(role));
        let gains = NOT_FOR_BRAND
            .iter()
            .any(|role| after.contains(role) && !before.contains(role));
        let becomes_brand = after.contains(&Role::Brand) && !before.contains(&Role::Brand);
        let elsewhere = self.store.record.id.as_str() != self.base.0;
        let acts_for_brand = after.contains(&Role::Brand)
            || (elsewhere
                && acts_for_brand(self.app, &self.store.record.brand_id, &self.base.0, account).await?);
        let needed = acts_for_brand && (gains || (becomes_brand && barred(after)));
        if needed && !confirmed.brand_account {
            return Err(not_for_brand(account));
        }
        Ok(needed)
    }

    /// None if somebody changed the same members meanwhile.
    async fn commit(mut self) -> Result<Option<Vec<Member>>, Refusal> {
        if !self.leaving.is_empty() && self.store.record.parent.is_none() {
            let stays = self.keeps_an_administrator().await?;
            // The store's record takes part, so that two administrators cannot remove each other at the same time; and
            // the account of the one who stays, so that it is not switched off meanwhile.
            self.commit.records.extend([
                Change::replace(&self.store.record, self.store.version),
                Change::replace(&stays.record, stays.version),
            ]);
        }
        if self.commit.records.is_empty() {
            return Ok(Some(self.after));
        }
        match self.app.storage.commit(self.commit).await? {
            CommitOutcome::Conflict { .. } => Ok(None),
            other @ (CommitOutcome::Done
            | CommitOutcome::Taken { .. }
            | CommitOutcome::OldRevision { .. }) => App::settle(&other).map(|()| Some(self.after)),
        }
    }

    /// One of those who administer the store after this.
    async fn keeps_an_administrator(&self) -> Result<Versioned<Account>, Refusal> {
        let changed: BTreeSet<&AccountId> = self.after.iter().map(|member| &member.account.id).collect();
        let before = self.before.iter().map(|found| &found.record);
        let before = before.filter(|member| !changed.contains(&member.account_id));
        let after = self.after.iter().map(|member| &member.membership);
        if let Some(stays) = administrator(self.app, after.chain(before)).await? {
            return Ok(stays);
        }
        let names: Vec<&str> = self
            .leaving
            .iter()
            .map(|account| account.email.as_str())
            .collect();
        Err(Refusal::conflict(
            "last-administrator",
            format!(
                "cannot take the role administrator from {}: store {} would have none left",
                names.join(", "),
                self.store.record.id
            ),
        ))
    }

    fn event(&self, account: &Account, before: &BTreeSet<Role>, after: &BTreeSet<Role>) -> AuditEvent {
        let action = if after.is_empty() {
            "member.remove"
        } else {
            "member.set"
        };
        let subject = format!("{}/{}", self.store.record.id, account.id);
        let mut event = self.ctx.event(self.app.clock.now(), action, &subject);
        event.detail.insert("roles-before".to_owned(), json!(before));
        event.detail.insert("roles".to_owned(), json!(after));
        event
    }
}

/// One of these members who is an administrator and whose account is not disabled.
async fn administrator<'m>(
    app: &App,
    members: impl Iterator<Item = &'m Membership>,
) -> Result<Option<Versioned<Account>>, Refusal> {
    for member in members.filter(|member| member.roles.contains(&Role::Admin)) {
        let account = app.storage.find::<Account>([member.account_id.as_str()]).await?;
        if let Some(account) = account.filter(|account| !account.record.disabled) {
            return Ok(Some(account));
        }
    }
    Ok(None)
}

/// What takes part in switching `account` off: the base stores it administers, so that their other administrators stay
/// while that is done.
///
/// # Errors
/// `last-administrator` where there is no other.
pub(super) async fn left_without(app: &App, account: &Account) -> Result<Vec<Change>, Refusal> {
    let mut changes = Vec::new();
    for store in app.storage.all::<StoreRecord>(Key(Vec::new())).await? {
        let key = [
            store.record.brand_id.as_str(),
            store.record.id.as_str(),
            account.id.as_str(),
        ];
        let held = app.storage.find::<Membership>(key).await?;
        if store.record.parent.is_some() || !held.is_some_and(|held| held.record.roles.contains(&Role::Admin))
        {
            continue;
        }
        let all = memberships(app, &store.record).await?;
        let others = all.iter().map(|found| &found.record);
        let others = others.filter(|other| other.account_id != account.id);
        if administrator(app, others).await?.is_none() {
            return Err(Refusal::conflict(
                "last-administrator",
                format!(
                    "cannot disable {}: base store {} would have no administrator left; make somebody else one first \
                     (`hallmark member add`)",
                    account.email, store.record.id
                ),
            ));
        }
        changes.push(Change::replace(&store.record, store.version));
    }
    Ok(changes)
}

/// Whether the account holds the role `brand` in the brand's base store.
async fn acts_for_brand(app: &App, brand: &BrandId, base: &str, account: &Account) -> Result<bool, Refusal> {
    let found = app
        .storage
        .find::<Membership>([brand.as_str(), base, account.id.as_str()])
        .await?;
    Ok(found.is_some_and(|found| found.record.roles.contains(&Role::Brand)))
}

fn no_account(email: &Email, store: &StoreRecord) -> Refusal {
    Refusal::not_found(format!(
        "cannot find account {email}: there is none; invite them (`hallmark member invite {} {email}`)",
        store.id
    ))
}

fn not_for_brand(account: &Account) -> Refusal {
    Refusal::conflict(
        "brand-account",
        format!(
            "cannot make {} administrator, reviewer or viewer: the account acts for the brand, which should only \
             publish; confirm it (`hallmark member add --confirm-brand-account`) if it is meant",
            account.email
        ),
    )
}

/// Judges roles that somebody gets in a store that is being made.
pub(super) async fn check_first(
    app: &App,
    brand: &BrandId,
    account: &Account,
    roles: &BTreeSet<Role>,
) -> Result<(), Refusal> {
    let record = app.storage.find::<Brand>([brand.as_str()]).await?;
    let base = record.map_or_else(|| brand.to_string(), |found| found.record.base_store.to_string());
    let barred = NOT_FOR_BRAND.iter().any(|role| roles.contains(role));
    if barred && acts_for_brand(app, brand, &base, account).await? {
        return Err(not_for_brand(account));
    }
    Ok(())
}

async fn memberships(app: &App, store: &StoreRecord) -> Result<Vec<Versioned<Membership>>, Refusal> {
    Ok(app
        .storage
        .all([store.brand_id.as_str(), store.id.as_str()])
        .await?)
}
