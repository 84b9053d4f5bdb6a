//! API tokens: made for a person's log-in or by a person for programs, limited in scope, brand and time.

use super::{App, OwnCtx, Refusal, login};
use crate::domain::access::limits::MAX_ENTRIES;
use crate::domain::access::secret::random_letters;
use crate::domain::access::{Account, Limits, Permission, Token, TokenText};
use crate::domain::audit::AuditEvent;
use crate::domain::ident::{AccountId, BrandId, IdentError};
use crate::domain::time::Timestamp;
use crate::ports::{Change, Commit, CommitOutcome, Key, Versioned};

/// Life of a log-in, in seconds: a working day.
pub const LOGIN_LIFE: i64 = 12 * 3600;
/// Life of a token made for programs, unless told otherwise, in seconds: 90 days.
pub const DEFAULT_LIFE: i64 = 90 * 86_400;
/// The longest life of a token, in seconds: ten years.
pub const MAX_LIFE: i64 = 3650 * 86_400;
/// Tokens one account may have at a time.
pub const MAX_TOKENS: usize = 500;
/// How often a log-in is recorded anew because the account changed at the same time; others log in too.
const ATTEMPTS: usize = 20;
/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 200;

/// What a token is for; decides its scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Building images: reads models and assertions.
    PrepareImage,
    /// Continuous integration: reads what builds and releases need to know, publishes and releases its owner's snaps.
    Ci,
    /// Everything its owner may do, except what only persons may.
    Admin,
}

impl Use {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::PrepareImage => "prepare-image",
            Self::Ci => "ci",
            Self::Admin => "admin",
        }
    }

    /// The scopes; none = all of the owner's.
    pub fn permissions(self) -> Option<&'static [Permission]> {
        use Permission as P;
        match self {
            Self::PrepareImage => Some(&[
                P::BrandRead,
                P::ModelRead,
                P::AssertionRead,
                P::SnapRead,
                P::SnapReadAll,
                P::ImageBuild,
            ]),
            Self::Ci => Some(&[
                P::BrandRead,
                P::ModelRead,
                P::AssertionRead,
                P::SnapRead,
                P::SnapReadAll,
                P::KeyRead,
                P::MemberRead,
                P::SnapRegister,
                P::SnapPublish,
                P::SnapEdit,
                P::SnapRelease,
            ]),
            Self::Admin => None,
        }
    }
}

impl std::str::FromStr for Use {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        match text {
            "prepare-image" => Ok(Self::PrepareImage),
            "ci" => Ok(Self::Ci),
            "admin" => Ok(Self::Admin),
            _ => Err(IdentError::new(
                "use of a token (prepare-image, ci or admin)",
                text,
            )),
        }
    }
}

/// A token somebody wants.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What it is for.
    pub purpose: Use,
    /// For people; none = the purpose.
    pub description: String,
    /// Only for this brand.
    pub brand: Option<BrandId>,
    /// Its life in seconds; none = [`DEFAULT_LIFE`].
    pub life: Option<i64>,
    /// Only for these snaps, channels and stores.
    pub limits: Limits,
}

/// Makes a token for programs. Its text is in the answer and nowhere else.
pub async fn create(app: &App, ctx: &OwnCtx, new: NewToken) -> Result<(Token, TokenText), Refusal> {
    let life = new.life.unwrap_or(DEFAULT_LIFE);
    if !(1..=MAX_LIFE).contains(&life) {
        return Err(Refusal::invalid(
            "invalid-expiry",
            "cannot make a token: it must expire within ten years",
        ));
    }
    if !new.limits.is_sensible() {
        return Err(Refusal::invalid(
            "invalid-request",
            format!(
                "cannot make a token: name 1 to {MAX_ENTRIES} snaps, channels or stores, or leave the field out"
            ),
        ));
    }
    if let Some(brand) = &new.brand
        && !ctx.brands(app).await?.iter().any(|known| known.id == *brand)
    {
        return Err(Refusal::not_found(format!(
            "cannot make a token for brand {brand}: there is no such brand, or you have no role in it"
        )));
    }
    if of_account(app, ctx.account()).await?.len() >= MAX_TOKENS {
        return Err(Refusal::conflict(
            "too-many-tokens",
            format!("cannot make a token: you have {MAX_TOKENS}; revoke some first"),
        ));
    }
    let (mut token, text) = fresh(app, ctx.account(), &new.description, life);
    token.permissions = new
        .purpose
        .permissions()
        .map(|all| all.iter().map(|one| one.name().to_owned()).collect());
    token.brand_id = new.brand;
    token.limits = new.limits;
    let mut event = ctx.event(token.created, "token.create", &token.id);
    event
        .detail
        .insert("expires".to_owned(), token.expires.to_string().into());
    event
        .detail
        .insert("scopes".to_owned(), serde_json::json!(token.permissions));
    if !token.limits.is_none() {
        let limits = serde_json::json!(token.limits);
        event.detail.insert("limits".to_owned(), limits);
    }
    app.commit(Commit {
        records: vec![Change::create(&token)],
        audit: vec![event],
        ..Commit::default()
    })
    .await?;
    Ok((token, text))
}

/// Whether the caller's token is as good as `other` one of theirs, so that it may show or revoke it: what is made for some
/// brand, stores or snaps only has no say over what is made for more.
fn has_say_over(ctx: &OwnCtx, other: &Token) -> bool {
    let own = ctx.token();
    own.id == other.id || (own.brand_id.is_none() && own.limits.is_none())
}

/// The caller's tokens that are still good, oldest first. A limited token is shown itself alone.
pub async fn list(app: &App, ctx: &OwnCtx) -> Result<Vec<Token>, Refusal> {
    let now = app.clock.now();
    let mut tokens: Vec<Token> = of_account(app, ctx.account())
        .await?
        .into_iter()
        .map(|found| found.record)
        .collect();
    tokens.retain(|token| token.expires > now && has_say_over(ctx, token));
    tokens.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(tokens)
}

/// Revokes one of the caller's tokens. A limited token revokes itself alone.
pub async fn revoke(app: &App, ctx: &OwnCtx, id: &str) -> Result<(), Refusal> {
    let absent = || Refusal::not_found(format!("cannot revoke token {id:?}: you have no such token"));
    let found = app.storage.find::<Token>([id]).await?.ok_or_else(absent)?;
    if found.record.account_id != *ctx.account() || !has_say_over(ctx, &found.record) {
        return Err(absent());
    }
    let event = ctx.event(app.clock.now(), "token.revoke", &found.record.id);
    let records = vec![Change::delete(&found.record, found.version)];
    match app
        .storage
        .commit(Commit {
            records,
            audit: vec![event],
            ..Commit::default()
        })
        .await?
    {
        // Somebody was faster: it is revoked.
        CommitOutcome::Done | CommitOutcome::Conflict { .. } => Ok(()),
        other @ (CommitOutcome::Taken { .. } | CommitOutcome::OldRevision { .. }) => App::settle(&other),
    }
}

/// Removes expired tokens; call it now and then. Returns how many went.
pub async fn sweep(app: &App) -> Result<usize, Refusal> {
    let now = app.clock.now();
    let tokens = app.storage.all::<Token>(Key(Vec::new())).await?;
    let mut gone = 0;
    for found in tokens.into_iter().filter(|found| found.record.expires <= now) {
        let records = vec![Change::delete(&found.record, found.version)];
        app.storage
            .commit(Commit {
                records,
                ..Commit::default()
            })
            .await?;
        gone += 1;
    }
    Ok(gone)
}

/// A token record with its text, not stored yet: all of the account's rights, for programs.
pub(super) fn fresh(app: &App, account: &AccountId, description: &str, life: i64) -> (Token, TokenText) {
    let text = TokenText::generate(|buffer| app.entropy.fill(buffer));
    let created: Timestamp = app.clock.now();
    let token = Token {
        id: random_letters(12, |buffer| app.entropy.fill(buffer)).to_string(),
        account_id: account.clone(),
        hash: text.hash(),
        description: description
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_DESCRIPTION)
            .collect(),
        permissions: None,
        words: Vec::new(),
        limits: Limits::default(),
        brand_id: None,
        person: false,
        publisher: false,
        created,
        expires: created.plus_seconds(life),
    };
    (token, text)
}

/// Records the token of a log-in that was proved to `account`, as it was then. Of those of its kind the account keeps
/// `most`; the oldest end. Keeps scripts that log in anew every time from filling the database.
///
/// The account takes part: what ends its log-ins (another password, a second factor, being switched off) ends those that
/// were under way too.
///
/// # Errors
/// `invalid-credentials` if what was proved is no longer enough.
pub(super) async fn log_in_with(
    app: &App,
    account: &Account,
    token: &Token,
    event: AuditEvent,
    most: usize,
    of_kind: impl Fn(&Token) -> bool,
) -> Result<(), Refusal> {
    for _ in 0..ATTEMPTS {
        let now = app.storage.find::<Account>([account.id.as_str()]).await?;
        let now = now
            .filter(|now| now.record.admits(account))
            .ok_or_else(login::wrong)?;
        let mut others = of_account(app, &account.id).await?;
        others.retain(|found| of_kind(&found.record));
        others.sort_by(|a, b| (a.record.created, &a.record.id).cmp(&(b.record.created, &b.record.id)));
        let surplus = (others.len() + 1).saturating_sub(most);
        let oldest = others.iter().take(surplus);
        let mut records: Vec<Change> = oldest
            .map(|found| Change::delete(&found.record, found.version))
            .collect();
        records.push(Change::create(token));
        records.push(Change::replace(&now.record, now.version));
        let commit = Commit {
            records,
            audit: vec![event.clone()],
            ..Commit::default()
        };
        match app.storage.commit(commit).await? {
            // The account changed, or another log-in cleared the same old ones away.
            CommitOutcome::Conflict { .. } => {}
            other @ (CommitOutcome::Done
            | CommitOutcome::Taken { .. }
            | CommitOutcome::OldRevision { .. }) => {
                return App::settle(&other);
            }
        }
    }
    Err(App::changed_meanwhile())
}

/// Every token of an account, expired ones too.
pub(super) async fn of_account(app: &App, account: &AccountId) -> Result<Vec<Versioned<Token>>, Refusal> {
    Ok(app.storage.all_of::<Token>(account).await?)
}
