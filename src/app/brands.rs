//! Brands and their stores, as records; making a brand with its keys is [`super::instance`]'s.

use super::{App, BrandCtx, OwnCtx, Refusal, StoresCtx};
use crate::domain::access::{Brand, StoreRecord};
use crate::domain::ident::StoreId;
use crate::ports::{Change, Commit, Key, Versioned};

/// The brands the caller may know of, by id.
pub async fn list(app: &App, ctx: &OwnCtx) -> Result<Vec<Brand>, Refusal> {
    ctx.brands(app).await
}

/// The brand of the context.
pub async fn show(app: &App, ctx: &BrandCtx) -> Result<Brand, Refusal> {
    let brand = ctx.brand();
    let found = app.storage.find::<Brand>([brand.as_str()]).await?;
    found
        .map(|found| found.record)
        .ok_or_else(|| Refusal::not_found(format!("cannot find brand {brand}: there is none")))
}

/// Longest name of a brand, in characters.
const MAX_NAME: usize = 128;

/// Gives the brand another name for people.
///
/// # Errors
/// `invalid-name`.
pub async fn rename(app: &App, ctx: &BrandCtx, name: &str) -> Result<Brand, Refusal> {
    let length = name.chars().count();
    if !(1..=MAX_NAME).contains(&length) || name.trim() != name || name.chars().any(char::is_control) {
        return Err(Refusal::invalid(
            "invalid-name",
            format!(
                "cannot use this brand name: it needs 1 to {MAX_NAME} characters on one line, without outer spaces"
            ),
        ));
    }
    let found = app.storage.find::<Brand>([ctx.brand().as_str()]).await?;
    let Versioned { mut record, version } =
        found.ok_or_else(|| Refusal::not_found(format!("cannot find brand {}", ctx.brand())))?;
    let now = app.clock.now();
    let mut event = ctx.event(now, "brand.rename", ctx.brand().as_str());
    event
        .detail
        .insert("name-before".to_owned(), record.name.clone().into());
    event.detail.insert("name".to_owned(), name.into());
    name.clone_into(&mut record.name);
    record.authorship.change(ctx.account(), now);
    app.commit(Commit {
        records: vec![Change::replace(&record, version)],
        audit: vec![event],
        ..Commit::default()
    })
    .await?;
    Ok(record)
}

/// The stores of the brand that the caller has a role in, by id.
pub async fn stores(app: &App, ctx: &StoresCtx) -> Result<Vec<StoreRecord>, Refusal> {
    let all = app.storage.all::<StoreRecord>(Key(Vec::new())).await?;
    Ok(all
        .into_iter()
        .map(|found| found.record)
        .filter(|store| ctx.includes(store))
        .collect())
}

/// All stores of the brand, by id.
pub async fn all_stores(app: &App, ctx: &BrandCtx) -> Result<Vec<StoreRecord>, Refusal> {
    let all = app.storage.all::<StoreRecord>(Key(Vec::new())).await?;
    Ok(all
        .into_iter()
        .map(|found| found.record)
        .filter(|store| store.brand_id == *ctx.brand())
        .collect())
}

/// One store of the brand; another brand's store is absent.
pub async fn store(app: &App, ctx: &BrandCtx, id: &StoreId) -> Result<Versioned<StoreRecord>, Refusal> {
    let found = app.storage.find::<StoreRecord>([id.as_str()]).await?;
    found
        .filter(|found| found.record.brand_id == *ctx.brand())
        .ok_or_else(|| {
            Refusal::not_found(format!(
                "cannot find store {id}: brand {} has no such store",
                ctx.brand()
            ))
        })
}
