//! Brands and their stores, as records; making a brand with its keys is [`super::instance`]'s.

use super::{App, BrandCtx, OwnCtx, Refusal};
use crate::domain::access::{Brand, StoreRecord};
use crate::domain::ident::StoreId;
use crate::ports::{Key, Versioned};

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

/// The stores of the brand, by id.
pub async fn stores(app: &App, ctx: &BrandCtx) -> Result<Vec<StoreRecord>, Refusal> {
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
