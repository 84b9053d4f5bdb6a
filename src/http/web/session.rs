//! Who is logged in: the token of the cookie, with what every page needs to know of its owner.

use http::HeaderMap;

use super::cookies::Cookies;
use crate::app::credentials::Credential;
use crate::app::{App, Authorized, Caller, FormMark, InstanceCtx, Place, Reason, Refusal};
use crate::domain::access::{Account, Permission};

/// A log-in of a person.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Who, with what their token allows.
    caller: Caller,
    /// Their account.
    pub account: Account,
    /// What their forms carry.
    pub mark: FormMark,
    /// Whether they see all accounts.
    pub keeps_accounts: bool,
}

impl Session {
    /// The log-in a request comes with. A program's token is no log-in of a person.
    pub(super) async fn open(app: &App, headers: &HeaderMap) -> Result<Self, Refusal> {
        let token = Cookies::of(app).session(headers).map(Credential::Token);
        let caller = Caller::identify(app, token.as_ref()).await?;
        let nobody = || {
            Refusal::new(
                Reason::Unauthenticated,
                "login-required",
                "cannot show this page: sign in first",
            )
        };
        if !caller.token().person {
            return Err(nobody());
        }
        let account = app.storage.find::<Account>([caller.account().as_str()]).await?;
        let account = account.ok_or_else(nobody)?.record;
        let keeps = caller
            .authorize::<InstanceCtx>(app, Permission::AccountManage, Place::Unnamed)
            .await;
        Ok(Self {
            mark: FormMark::of(&app.secrets, &caller.token().hash),
            keeps_accounts: keeps.is_ok(),
            caller,
            account,
        })
    }

    /// Leave to do what `permission` names there.
    pub(super) async fn authorize<C: Authorized>(
        &self,
        app: &App,
        permission: Permission,
        place: Place,
    ) -> Result<C, Refusal> {
        self.caller.authorize(app, permission, place).await
    }
}
