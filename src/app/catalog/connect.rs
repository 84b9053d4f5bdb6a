//! Pointing devices at this server: the `store` assertion (assertions.md 3) that names it, for `proxy.store`
//! (device-api.md 12.3).

use bytes::Bytes;

use super::{record, stored};
use crate::app::sign::sign;
use crate::app::{App, Refusal, StoreCtx, brand_key, instance};
use crate::domain::access::{Brand, StoreRecord};
use crate::domain::assertion::{Assertion, AssertionType, Headers, Ref, Statement, Typed, encode_stream};
use crate::domain::ident::{BrandId, StoreId};
use crate::ports::{Commit, PutRule};

/// What a device needs to use this server as its store.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The store.
    pub store: StoreId,
    /// Where the assertion says it answers.
    pub url: String,
    /// The brand's account and the store assertion, in the order `snap ack` takes.
    pub assertions: Bytes,
}

/// The connection of a store. Its assertion is signed when there is none for the present address yet; the same call
/// again gives the same one.
///
/// # Errors
/// `delegated-store` if another root signs for the brand and its store assertion was not imported, or names another
/// address.
pub async fn connect(app: &App, ctx: &StoreCtx) -> Result<Connection, Refusal> {
    let StoreRecord { id, brand_id, .. } = ctx.store();
    let url = address(&app.settings.public_url);
    let known = find(app, id).await?;
    if let Some(known) = &known
        && says(known, brand_id, &url)
    {
        return connection(app, id, known).await;
    }
    let brand = app.storage.find::<Brand>([brand_id.as_str()]).await?;
    if brand.is_some_and(|brand| brand.record.delegated) {
        let why = match known {
            Some(_) => {
                format!("the imported store assertion does not name {url}: set public-url to what it names")
            }
            None => {
                "another root signs for the brand: import its store assertion (`hallmark assertion import`)"
                    .to_owned()
            }
        };
        return Err(Refusal::conflict(
            "delegated-store",
            format!("cannot connect devices to store {id}: {why}"),
        ));
    }
    let root = instance::root(app).await?;
    let now = app.clock.now();
    let mut headers = Headers::default();
    headers.set("authority-id", root.account_id.as_str());
    headers.set(
        "revision",
        known.map_or(0, |known| known.revision() + 1).to_string(),
    );
    headers.set("store", id.as_str());
    headers.set("operator-id", brand_id.as_str());
    headers.set("url", url.as_str());
    headers.set("timestamp", now.to_string());
    let assertion = sign(
        app,
        &root,
        Statement::new(AssertionType::Store, headers, Vec::new()),
    )
    .await?;
    let commit = Commit {
        assertions: vec![(stored(&assertion), PutRule::Newer)],
        audit: vec![record(ctx.event(now, "", ""), &assertion)],
        ..Commit::default()
    };
    app.commit(commit).await?;
    connection(app, id, &assertion).await
}

/// The store assertions of a store with those of its operator, for `GET /v2/auth/store/assertions`; none if nobody
/// connected devices to it.
pub async fn assertions(app: &App, id: &StoreId) -> Result<Option<Bytes>, Refusal> {
    let Some(known) = find(app, id).await? else {
        return Ok(None);
    };
    Ok(Some(connection(app, id, &known).await?.assertions))
}

async fn find(app: &App, id: &StoreId) -> Result<Option<Assertion>, Refusal> {
    let reference = Ref::new(AssertionType::Store, [id.as_str()]);
    Ok(brand_key::stored(&*app.storage, &reference).await?)
}

/// The public URL as devices need it. They resolve some addresses relative to it, which takes away what follows the last
/// slash of its path: so a path ends with one.
fn address(public_url: &str) -> String {
    match public_url.split_once("://") {
        Some((_, rest)) if rest.contains('/') && !rest.ends_with('/') => format!("{public_url}/"),
        _ => public_url.to_owned(),
    }
}

/// Whether an assertion says what a device has to know.
fn says(assertion: &Assertion, brand: &BrandId, url: &str) -> bool {
    // Without a path a slash at the end says the same.
    let same = |named: &str| named == url || (!url.ends_with('/') && named.strip_suffix('/') == Some(url));
    matches!(assertion.typed(), Typed::Store(store)
        if store.url.as_deref().is_some_and(same) && store.operator_id == brand.as_str())
}

async fn connection(app: &App, id: &StoreId, assertion: &Assertion) -> Result<Connection, Refusal> {
    let operator = assertion.text("operator-id").unwrap_or_default();
    let account = Ref::new(AssertionType::Account, [operator]);
    let account = brand_key::stored(&*app.storage, &account).await?.ok_or_else(|| {
        Refusal::not_found(format!(
            "cannot connect devices to store {id}: the account assertion of {operator} is not known here"
        ))
    })?;
    let mut stream = Vec::new();
    // A key that no client has built in goes along.
    let root = instance::root(app).await?;
    if assertion.sign_key() != &root.key_id
        && let Some(chain) = brand_key::chain_of(&*app.storage, assertion.sign_key()).await?
    {
        stream.push(chain.key.encoded().clone());
    }
    stream.push(account.encoded().clone());
    stream.push(assertion.encoded().clone());
    Ok(Connection {
        store: id.clone(),
        url: assertion.text("url").unwrap_or_default().to_owned(),
        assertions: encode_stream(stream.iter()),
    })
}
