//! All accounts of the instance: listed, created, switched off and on.

use serde::{Deserialize, Serialize};

use super::{Created, Input, Json, Native, Outcome};
use crate::app::accounts::{self, NewAccount, Standing};
use crate::app::{App, InstanceCtx, Password, Refusal, password_reset, provider, second_factor};
use crate::domain::access::{Account, Permission};
use crate::domain::ident::{AccountId, Email, Username};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
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
        native.post(
            "/hallmark/v1/accounts/{email}/reset-password",
            P::AccountManage,
            "Make a link that sets somebody's password, once",
            reset_password,
        ),
        native.post(
            "/hallmark/v1/accounts/{email}/second-factor/remove",
            P::AccountManage,
            "Take somebody's second factor away",
            remove_factor,
        ),
        native.post(
            "/hallmark/v1/accounts/{email}/provider/unbind",
            P::AccountManage,
            "Unbind an account from the provider of log-ins",
            unbind,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct AccountView {
    id: AccountId,
    email: Email,
    username: Username,
    display_name: String,
    operator: bool,
    disabled: bool,
    /// Whether log-ins demand a second factor.
    second_factor: bool,
    /// Who they are for the provider of log-ins; null = they have not signed in there.
    provider: Option<ProviderView>,
    created_at: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ProviderView {
    issuer: String,
    subject: String,
    since: Timestamp,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            second_factor: account.has_second_factor(),
            id: account.id,
            email: account.email,
            username: account.username,
            display_name: account.display_name,
            operator: account.operator,
            disabled: account.disabled,
            provider: account.provider.map(|identity| ProviderView {
                issuer: identity.issuer,
                subject: identity.subject,
                since: identity.since,
            }),
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

async fn remove_factor(app: App, ctx: InstanceCtx, input: Input) -> Outcome<Json<AccountView>> {
    let account = second_factor::remove(&app, &ctx, &input.variable("email")?).await?;
    Ok(Json(account.into()))
}

async fn unbind(app: App, ctx: InstanceCtx, input: Input) -> Outcome<Json<AccountView>> {
    Ok(Json(provider::unbind(&app, &ctx, &email(&input)?).await?.into()))
}

/// A link that sets a password; shown only now.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct LinkView {
    email: Email,
    url: String,
    expires_at: Timestamp,
}

async fn reset_password(app: App, ctx: InstanceCtx, input: Input) -> Outcome<Created<LinkView>> {
    let link = password_reset::issue(&app, &ctx, &email(&input)?).await?;
    Ok(Created(LinkView {
        url: link.url(&app).to_string(),
        email: link.account.email,
        expires_at: link.expires,
    }))
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

/// The e-mail address in the path, in any case.
pub(super) fn email<B>(input: &Input<B>) -> Result<Email, Refusal> {
    let text: String = input.variable("email")?;
    Email::normal(&text).map_err(|error| Refusal::not_found(format!("cannot find the account: {error}")))
}
