//! Leave for what takes long: it is judged when it is asked for, and again when it is about to be written down.

use super::grant::Grant;
use super::{BrandCtx, Caller, Place, SnapCtx};
use crate::app::{App, Reason, Refusal};
use crate::domain::access::{Account, Limits, Permission, Presented, Token};
use crate::domain::catalog::SnapRecord;
use crate::domain::ident::AccountId;

/// Leave in a brand, that can be judged again.
#[derive(Clone, Copy, Debug)]
pub enum Leave<'c> {
    /// By what the caller is in the brand.
    Brand(&'c BrandCtx),
    /// By what the caller is to one snap.
    Snap(&'c SnapCtx),
}

impl<'c> From<&'c BrandCtx> for Leave<'c> {
    fn from(ctx: &'c BrandCtx) -> Self {
        Self::Brand(ctx)
    }
}

impl<'c> From<&'c SnapCtx> for Leave<'c> {
    fn from(ctx: &'c SnapCtx) -> Self {
        Self::Snap(ctx)
    }
}

impl Leave<'_> {
    /// Leave as things are now: the token may have been revoked or be over, the account disabled, roles taken away.
    ///
    /// # Errors
    /// As when it was judged first.
    pub async fn now(self, app: &App, permission: Permission) -> Result<BrandCtx, Refusal> {
        let before = match self {
            Self::Brand(ctx) => ctx,
            Self::Snap(ctx) => ctx.brand(),
        };
        let Grant::Remote { token, .. } = &before.grant else {
            return Ok(before.clone());
        };
        let caller = Caller::again(app, &token.id, &token.presented()).await?;
        match self {
            Self::Brand(ctx) => {
                let place = Place::Brand(ctx.brand().clone());
                caller.authorize(app, permission, place).await
            }
            Self::Snap(ctx) => {
                let place = Place::SnapId(ctx.snap().id.clone());
                let again: SnapCtx = caller.authorize(app, permission, place).await?;
                Ok(again.brand().clone())
            }
        }
    }
}

impl Caller {
    /// The caller of before, with no more than they presented then: for work that goes on after the answer.
    ///
    /// # Errors
    /// `invalid-token`, `token-expired`, if the token was revoked or is over, or the account was disabled.
    pub(in crate::app) async fn again(
        app: &App,
        token: &str,
        presented: &Presented,
    ) -> Result<Self, Refusal> {
        let mut caller = Self::named(app, token).await?;
        caller.token.keep(presented);
        if caller.token.expires <= app.clock.now() {
            return Err(super::token_expired());
        }
        Ok(caller)
    }
}

/// Whether an account may do what `permission` names to a snap now, whatever token it comes with: for what it asked for
/// before and somebody else sets off.
pub(in crate::app) async fn may_still(
    app: &App,
    account: &AccountId,
    snap: &SnapRecord,
    permission: Permission,
) -> Result<bool, Refusal> {
    let found = app.storage.find::<Account>([account.as_str()]).await?;
    let Some(account) = found.map(|found| found.record).filter(|found| !found.disabled) else {
        return Ok(false);
    };
    let now = app.clock.now();
    let anything = Token {
        id: String::new(),
        account_id: account.id.clone(),
        hash: String::new(),
        description: String::new(),
        permissions: None,
        words: Vec::new(),
        limits: Limits::default(),
        brand_id: None,
        person: false,
        publisher: false,
        created: now,
        expires: now,
    };
    let caller = Caller::with(app, account, anything);
    let place = Place::SnapId(snap.id.clone());
    match caller.authorize::<SnapCtx>(app, permission, place).await {
        Ok(_) => Ok(true),
        Err(refusal) if matches!(refusal.reason, Reason::NotFound | Reason::Forbidden) => Ok(false),
        Err(refusal) => Err(refusal),
    }
}
