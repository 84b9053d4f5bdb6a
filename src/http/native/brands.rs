//! Brands, and who has which role in their stores.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::accounts::email;
use super::{Created, Input, Json, Native, NoContent, Outcome};
use crate::app::instance::{self, NewBrand};
use crate::app::members::{self, Confirmed, Member};
use crate::app::{App, BrandCtx, InstanceCtx, OwnCtx, Refusal, StoreCtx, brands};
use crate::domain::access::{Brand, Permission, Role};
use crate::domain::ident::{AccountId, BrandId, Email, StoreId, Username};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/brands",
            P::OwnRead,
            "List the brands the caller may know of",
            list_brands,
        ),
        native.post(
            "/hallmark/v1/brands",
            P::BrandManage,
            "Create a brand with its keys and base store",
            create_brand,
        ),
        native.get(
            "/hallmark/v1/brands/{brand}",
            P::BrandRead,
            "Show a brand",
            show_brand,
        ),
        native.get(
            "/hallmark/v1/stores/{store}/members",
            P::MemberRead,
            "List who has which role",
            list_members,
        ),
        native.put(
            "/hallmark/v1/stores/{store}/members/{email}",
            P::MemberManage,
            "Give an account these roles in a store, in place of those it had",
            set_member,
        ),
        native.delete(
            "/hallmark/v1/stores/{store}/members/{email}",
            P::MemberManage,
            "Take all roles in a store away from an account",
            remove_member,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct BrandView {
    id: BrandId,
    name: String,
    base_store: StoreId,
    delegated: bool,
    created_at: Timestamp,
}

impl From<Brand> for BrandView {
    fn from(brand: Brand) -> Self {
        Self {
            id: brand.id,
            name: brand.name,
            base_store: brand.base_store,
            delegated: brand.delegated,
            created_at: brand.created,
        }
    }
}

async fn list_brands(app: App, ctx: OwnCtx, _input: Input) -> Outcome<Json<Vec<BrandView>>> {
    Ok(Json(
        brands::list(&app, &ctx)
            .await?
            .into_iter()
            .map(BrandView::from)
            .collect(),
    ))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct BrandRequest {
    id: BrandId,
    #[serde(default)]
    name: Option<String>,
    /// Becomes the first administrator; the caller when absent.
    #[serde(default)]
    admin: Option<String>,
    #[serde(default)]
    delegated: bool,
}

async fn create_brand(
    app: App,
    ctx: InstanceCtx,
    input: Input<Json<BrandRequest>>,
) -> Outcome<Created<BrandView>> {
    let Json(BrandRequest {
        id,
        name,
        admin,
        delegated,
    }) = input.body;
    let admin = admin
        .map(|text| Email::normal(&text))
        .transpose()
        .map_err(Refusal::from)?;
    let new = NewBrand {
        id,
        name,
        delegated,
        admin,
        factory: None,
    };
    Ok(Created(instance::create_brand(&app, &ctx, new).await?.into()))
}

async fn show_brand(app: App, ctx: BrandCtx, _input: Input) -> Outcome<Json<BrandView>> {
    Ok(Json(brands::show(&app, &ctx).await?.into()))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MemberView {
    id: AccountId,
    email: Email,
    username: Username,
    display_name: String,
    disabled: bool,
    brand_id: BrandId,
    store_id: StoreId,
    roles: Vec<Role>,
    changed_at: Timestamp,
}

impl From<Member> for MemberView {
    fn from(Member { account, membership }: Member) -> Self {
        Self {
            id: account.id,
            email: account.email,
            username: account.username,
            display_name: account.display_name,
            disabled: account.disabled,
            brand_id: membership.brand_id,
            store_id: membership.store_id,
            roles: membership.roles,
            changed_at: membership.changed,
        }
    }
}

async fn list_members(app: App, ctx: StoreCtx, _input: Input) -> Outcome<Json<Vec<MemberView>>> {
    let members = members::list(&app, &ctx).await?;
    Ok(Json(members.into_iter().map(MemberView::from).collect()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Roles {
    roles: BTreeSet<Role>,
    /// That it is meant to make who acts for the brand account administrator, reviewer or viewer.
    #[serde(default)]
    confirm_brand_account: bool,
}

async fn set_member(app: App, ctx: StoreCtx, input: Input<Json<Roles>>) -> Outcome<Json<MemberView>> {
    let email = email(&input)?;
    let Json(Roles {
        roles,
        confirm_brand_account,
    }) = input.body;
    let confirmed = Confirmed {
        brand_account: confirm_brand_account,
    };
    Ok(Json(
        members::set(&app, &ctx, &email, &roles, confirmed).await?.into(),
    ))
}

async fn remove_member(app: App, ctx: StoreCtx, input: Input) -> Outcome<NoContent> {
    members::remove(&app, &ctx, &email(&input)?).await?;
    Ok(NoContent)
}
