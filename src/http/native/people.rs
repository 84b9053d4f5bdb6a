//! Log-in, accounts, brands, stores, members and tokens.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Created, Input, Json, Native, NoContent, Outcome};
use crate::app::accounts::{self, NewAccount, Standing};
use crate::app::instance::{self, NewBrand};
use crate::app::login::{self, Identity, Session};
use crate::app::members::{self, Member};
use crate::app::tokens::{self, NewToken, Use};
use crate::app::{App, BrandCtx, InstanceCtx, OwnCtx, Password, Refusal, brands};
use crate::domain::access::{Account, Brand, Membership, Permission, Role, StoreRecord, Token};
use crate::domain::ident::{AccountId, BrandId, Email, StoreId, Username};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.open_post(
            "/hallmark/v1/login",
            "Log in with a password; answers with a token",
            log_in,
        ),
        native.post(
            "/hallmark/v1/logout",
            P::OwnRead,
            "End the token of this request",
            log_out,
        ),
        native.get(
            "/hallmark/v1/whoami",
            P::OwnRead,
            "Show who is calling, and with which roles",
            whoami,
        ),
        native.put(
            "/hallmark/v1/password",
            P::OwnCredentials,
            "Change one's own password",
            password,
        ),
        native.get(
            "/hallmark/v1/tokens",
            P::OwnAccount,
            "List one's tokens",
            list_tokens,
        ),
        native.post(
            "/hallmark/v1/tokens",
            P::OwnCredentials,
            "Make a token for programs",
            create_token,
        ),
        native.delete(
            "/hallmark/v1/tokens/{token}",
            P::OwnAccount,
            "Revoke one of one's tokens",
            revoke_token,
        ),
        native.get(
            "/hallmark/v1/accounts",
            P::AccountManage,
            "List all accounts",
            list_accounts,
        ),
        native.post(
            "/hallmark/v1/accounts",
            P::AccountManage,
            "Create an account",
            create_account,
        ),
        native.get(
            "/hallmark/v1/accounts/{email}",
            P::AccountManage,
            "Show an account",
            show_account,
        ),
        native.post(
            "/hallmark/v1/accounts/{email}/disable",
            P::AccountManage,
            "Switch an account off",
            disable,
        ),
        native.post(
            "/hallmark/v1/accounts/{email}/enable",
            P::AccountManage,
            "Switch an account on again",
            enable,
        ),
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
            "/hallmark/v1/stores",
            P::BrandRead,
            "List the stores of a brand",
            list_stores,
        ),
        native.get(
            "/hallmark/v1/stores/{store}",
            P::BrandRead,
            "Show a store",
            show_store,
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Credentials {
    email: String,
    password: Password,
    #[serde(default)]
    description: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SessionView {
    token: String,
    expires: Timestamp,
    id: AccountId,
    email: Email,
}

async fn log_in(app: App, input: Input<Json<Credentials>>) -> Outcome<Created<SessionView>> {
    let Json(Credentials {
        email,
        password,
        description,
    }) = input.body;
    let description = description.as_deref().unwrap_or("log-in");
    let Session { account, token, text } =
        login::login(&app, input.peer, &email, password, description).await?;
    let (id, email, expires) = (account.id, account.email, token.expires);
    Ok(Created(SessionView {
        token: text.reveal().to_owned(),
        expires,
        id,
        email,
    }))
}

async fn log_out(app: App, ctx: OwnCtx, _input: Input) -> Outcome<NoContent> {
    login::logout(&app, &ctx).await?;
    Ok(NoContent)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct IdentityView {
    #[serde(flatten)]
    account: AccountView,
    memberships: Vec<MembershipView>,
    token: TokenView,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct MembershipView {
    brand_id: BrandId,
    store_id: StoreId,
    roles: Vec<Role>,
}

async fn whoami(app: App, ctx: OwnCtx, _input: Input) -> Outcome<Json<IdentityView>> {
    let Identity {
        account,
        memberships,
        token,
    } = login::whoami(&app, &ctx).await?;
    let view = |Membership {
                    brand_id,
                    store_id,
                    roles,
                    ..
                }| MembershipView {
        brand_id,
        store_id,
        roles,
    };
    let memberships = memberships.into_iter().map(view).collect();
    Ok(Json(IdentityView {
        account: account.into(),
        memberships,
        token: token.into(),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    current: Password,
    new: Password,
}

async fn password(app: App, ctx: OwnCtx, input: Input<Json<PasswordChange>>) -> Outcome<NoContent> {
    let Json(PasswordChange { current, new }) = input.body;
    login::change_password(&app, &ctx, input.peer, current, new).await?;
    Ok(NoContent)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct TokenView {
    id: String,
    description: String,
    /// `log-in` or `program`.
    kind: &'static str,
    permissions: Option<Vec<String>>,
    brand_id: Option<BrandId>,
    created_at: Timestamp,
    expires: Timestamp,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        Self {
            id: token.id,
            description: token.description,
            kind: if token.person { "log-in" } else { "program" },
            permissions: token.permissions,
            brand_id: token.brand_id,
            created_at: token.created,
            expires: token.expires,
        }
    }
}

async fn list_tokens(app: App, ctx: OwnCtx, _input: Input) -> Outcome<Json<Vec<TokenView>>> {
    Ok(Json(
        tokens::list(&app, &ctx)
            .await?
            .into_iter()
            .map(TokenView::from)
            .collect(),
    ))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TokenRequest {
    #[serde(rename = "for")]
    purpose: Use,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    brand_id: Option<BrandId>,
    /// Life in seconds.
    #[serde(default)]
    ttl: Option<i64>,
}

#[derive(Serialize)]
struct NewTokenView {
    #[serde(flatten)]
    record: TokenView,
    token: String,
}

async fn create_token(
    app: App,
    ctx: OwnCtx,
    input: Input<Json<TokenRequest>>,
) -> Outcome<Created<NewTokenView>> {
    let Json(TokenRequest {
        purpose,
        description,
        brand_id,
        ttl,
    }) = input.body;
    let description = description.unwrap_or_else(|| purpose.name().to_owned());
    let new = NewToken {
        purpose,
        description,
        brand: brand_id,
        life: ttl,
    };
    let (record, text) = tokens::create(&app, &ctx, new).await?;
    Ok(Created(NewTokenView {
        record: record.into(),
        token: text.reveal().to_owned(),
    }))
}

async fn revoke_token(app: App, ctx: OwnCtx, input: Input) -> Outcome<NoContent> {
    tokens::revoke(&app, &ctx, &input.variable::<String>("token")?).await?;
    Ok(NoContent)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct AccountView {
    id: AccountId,
    email: Email,
    username: Username,
    display_name: String,
    operator: bool,
    disabled: bool,
    created_at: Timestamp,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            email: account.email,
            username: account.username,
            display_name: account.display_name,
            operator: account.operator,
            disabled: account.disabled,
            created_at: account.created,
        }
    }
}

async fn list_accounts(app: App, ctx: InstanceCtx, _input: Input) -> Outcome<Json<Vec<AccountView>>> {
    Ok(Json(
        accounts::list(&app, &ctx)
            .await?
            .into_iter()
            .map(AccountView::from)
            .collect(),
    ))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AccountRequest {
    email: String,
    #[serde(default)]
    username: Option<Username>,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    password: Option<Password>,
    #[serde(default)]
    operator: bool,
}

#[derive(Serialize)]
struct NewAccountView {
    #[serde(flatten)]
    account: AccountView,
    /// The password made for it; absent where the caller gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

async fn create_account(
    app: App,
    ctx: InstanceCtx,
    input: Input<Json<AccountRequest>>,
) -> Outcome<Created<NewAccountView>> {
    let Json(AccountRequest {
        email,
        username,
        display_name,
        password,
        operator,
    }) = input.body;
    let email = Email::normal(&email).map_err(Refusal::from)?;
    let new = NewAccount {
        email,
        username,
        display_name,
        password,
        operator,
    };
    let (account, made) = accounts::create(&app, &ctx, new).await?;
    let password = made.map(|password| password.reveal().to_owned());
    Ok(Created(NewAccountView {
        account: account.into(),
        password,
    }))
}

async fn show_account(app: App, ctx: InstanceCtx, input: Input) -> Outcome<Json<AccountView>> {
    Ok(Json(accounts::show(&app, &ctx, &email(&input)?).await?.into()))
}

async fn disable(app: App, ctx: InstanceCtx, input: Input) -> Outcome<Json<AccountView>> {
    Ok(Json(
        accounts::set_standing(&app, &ctx, &email(&input)?, Standing::Disabled)
            .await?
            .into(),
    ))
}

async fn enable(app: App, ctx: InstanceCtx, input: Input) -> Outcome<Json<AccountView>> {
    Ok(Json(
        accounts::set_standing(&app, &ctx, &email(&input)?, Standing::Enabled)
            .await?
            .into(),
    ))
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
    };
    Ok(Created(instance::create_brand(&app, &ctx, new).await?.into()))
}

async fn show_brand(app: App, ctx: BrandCtx, _input: Input) -> Outcome<Json<BrandView>> {
    Ok(Json(brands::show(&app, &ctx).await?.into()))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct StoreView {
    id: StoreId,
    brand_id: BrandId,
    name: String,
    parent: Option<StoreId>,
    created_at: Timestamp,
}

impl From<StoreRecord> for StoreView {
    fn from(store: StoreRecord) -> Self {
        let StoreRecord {
            id,
            brand_id,
            name,
            parent,
            created,
        } = store;
        Self {
            id,
            brand_id,
            name,
            parent,
            created_at: created,
        }
    }
}

async fn list_stores(app: App, ctx: BrandCtx, _input: Input) -> Outcome<Json<Vec<StoreView>>> {
    Ok(Json(
        brands::stores(&app, &ctx)
            .await?
            .into_iter()
            .map(StoreView::from)
            .collect(),
    ))
}

async fn show_store(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<StoreView>> {
    Ok(Json(
        brands::store(&app, &ctx, &input.variable("store")?)
            .await?
            .record
            .into(),
    ))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct MemberView {
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

async fn list_members(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<Vec<MemberView>>> {
    let members = members::list(&app, &ctx, &input.variable("store")?).await?;
    Ok(Json(members.into_iter().map(MemberView::from).collect()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Roles {
    roles: BTreeSet<Role>,
}

async fn set_member(app: App, ctx: BrandCtx, input: Input<Json<Roles>>) -> Outcome<Json<MemberView>> {
    let (store, email) = (input.variable("store")?, email(&input)?);
    Ok(Json(
        members::set(&app, &ctx, &store, &email, &input.body.0.roles)
            .await?
            .into(),
    ))
}

async fn remove_member(app: App, ctx: BrandCtx, input: Input) -> Outcome<NoContent> {
    members::remove(&app, &ctx, &input.variable("store")?, &email(&input)?).await?;
    Ok(NoContent)
}

/// The e-mail address in the path, in any case.
fn email<B>(input: &Input<B>) -> Result<Email, Refusal> {
    let text: String = input.variable("email")?;
    Email::normal(&text).map_err(|error| Refusal::not_found(format!("cannot find the account: {error}")))
}
