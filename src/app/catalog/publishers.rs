//! Publishers: the accounts snaps belong to, and the `account` assertions that devices know them by.

use crate::app::instance::{assertion, root};
use crate::app::sign::sign;
use crate::app::sign::{record, stored};
use crate::app::{App, BrandCtx, OwnCtx, Refusal, accounts, brands};
use crate::domain::access::Account;
use crate::domain::assertion::{Assertion, AssertionType, Headers, Ref, Statement};
use crate::domain::catalog::{Changed, SnapRecord};
use crate::domain::ident::{AccountId, Email};
use crate::ports::{Commit, Key, PutRule};

/// A publisher.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    /// Its account.
    pub id: AccountId,
    username: String,
    display_name: String,
}

/// The publisher a caller names: by brand id, username, e-mail address or account id; none = the caller. Somebody the
/// caller may not publish for answers like nobody.
pub(super) async fn resolve(app: &App, ctx: &BrandCtx, named: Option<&str>) -> Result<Publisher, Refusal> {
    let absent = |text: &str| {
        Refusal::not_found(format!(
            "cannot publish for {text}: there is no such account, or it is not yours to publish for"
        ))
    };
    let publisher = match (named, ctx.account()) {
        (Some(text), _) if text == ctx.brand().as_str() => of_brand(app, ctx).await?,
        (Some(text), _) => {
            let account = find(app, ctx, text).await?.ok_or_else(|| absent(text))?;
            of_account(account)
        }
        (None, Some(account)) => {
            let found = app.storage.find::<Account>([account.as_str()]).await?;
            of_account(found.ok_or_else(|| absent(account.as_str()))?.record)
        }
        (None, None) => {
            return Err(Refusal::invalid(
                "publisher-required",
                "cannot tell who publishes the snap: name the account, or the brand",
            ));
        }
    };
    if ctx.speaks_for(&publisher.id) {
        Ok(publisher)
    } else {
        Err(absent(named.unwrap_or(publisher.id.as_str())))
    }
}

/// The account a text names, whoever may publish for it.
pub(super) async fn named(app: &App, ctx: &BrandCtx, text: &str) -> Result<Option<AccountId>, Refusal> {
    if text == ctx.brand().as_str() {
        return Ok(Some(ctx.brand().clone().into()));
    }
    Ok(find(app, ctx, text).await?.map(|account| account.id))
}

/// The `account` assertion of somebody who uploads for the publisher, where there is none yet.
pub(in crate::app) async fn missing_developer(
    app: &App,
    id: &AccountId,
) -> Result<Option<Assertion>, Refusal> {
    match app.storage.find::<Account>([id.as_str()]).await? {
        Some(found) => missing_account(app, &of_account(found.record)).await,
        None => Ok(None),
    }
}

/// The username of a publisher, where it is an account of this instance or one of its brands.
pub(super) async fn username(app: &App, id: &AccountId) -> Result<Option<String>, Refusal> {
    if let Some(account) = app.storage.find::<Account>([id.as_str()]).await? {
        return Ok(Some(account.record.username.to_string()));
    }
    let account = assertion(app, &Ref::new(AssertionType::Account, [id.as_str()])).await?;
    Ok(account.and_then(|account| account.text("username").map(str::to_owned)))
}

async fn find(app: &App, ctx: &BrandCtx, text: &str) -> Result<Option<Account>, Refusal> {
    if text.contains('@') {
        let base = brands::show(app, ctx).await?.base_store;
        return match accounts::known_in(app, ctx.brand(), &base, &Email::normal(text)?).await {
            Ok(found) => Ok(Some(found.record)),
            Err(refusal) if refusal.reason == crate::app::Reason::NotFound => Ok(None),
            Err(refusal) => Err(refusal),
        };
    }
    let by_name = app.storage.find_unique::<Account>("username", text).await?;
    let found = match by_name {
        Some(found) => Some(found),
        None => app.storage.find::<Account>([text]).await?,
    };
    Ok(found.map(|found| found.record))
}

async fn of_brand(app: &App, ctx: &BrandCtx) -> Result<Publisher, Refusal> {
    let brand = brands::show(app, ctx).await?;
    Ok(Publisher {
        id: brand.id.clone().into(),
        username: brand.id.to_string(),
        display_name: brand.name,
    })
}

fn of_account(account: Account) -> Publisher {
    Publisher {
        id: account.id,
        username: account.username.to_string(),
        display_name: account.display_name,
    }
}

/// The `account` assertion of a publisher, signed by our root, where there is none yet.
pub(super) async fn missing_account(app: &App, publisher: &Publisher) -> Result<Option<Assertion>, Refusal> {
    let reference = Ref::new(AssertionType::Account, [publisher.id.as_str()]);
    if assertion(app, &reference).await?.is_some() {
        return Ok(None);
    }
    account_assertion(app, publisher, 0).await.map(Some)
}

async fn account_assertion(app: &App, publisher: &Publisher, revision: u64) -> Result<Assertion, Refusal> {
    let root = root(app).await?;
    let mut headers = Headers::default();
    headers.set("authority-id", root.account_id.as_str());
    if revision > 0 {
        headers.set("revision", revision.to_string());
    }
    headers.set("account-id", publisher.id.as_str());
    headers.set("display-name", publisher.display_name.as_str());
    headers.set("username", publisher.username.as_str());
    headers.set("validation", "unproven");
    headers.set("timestamp", app.clock.now().to_string());
    let statement = Statement::new(AssertionType::Account, headers, Vec::new());
    sign(app, &root, statement).await
}

/// Adds to `commit` what a changed name of an account changes for devices: its account assertion, where our root signed
/// one. Gives the snaps that show the name.
pub(in crate::app) async fn renamed(
    app: &App,
    ctx: &OwnCtx,
    account: &Account,
    commit: &mut Commit,
) -> Result<Vec<Changed>, Refusal> {
    let reference = Ref::new(AssertionType::Account, [account.id.as_str()]);
    if let Some(known) = assertion(app, &reference).await? {
        let root = root(app).await?;
        if known.authority_id() == Some(root.account_id.as_str()) {
            let publisher = of_account(account.clone());
            let next = account_assertion(app, &publisher, known.revision() + 1).await?;
            commit
                .audit
                .push(record(ctx.event(app.clock.now(), "", ""), &next));
            commit.assertions.push((stored(&next), PutRule::Newer));
        }
    }
    let snaps = app.storage.all::<SnapRecord>(Key(Vec::new())).await?;
    Ok(snaps
        .into_iter()
        .filter(|found| found.record.publisher_id == account.id)
        .map(|found| Changed::Snap(found.record.id))
        .collect())
}
