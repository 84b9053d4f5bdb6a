//! Names as publisher clients ask for them (publisher-api.md 6.3): whose a taken name is decides what the client says, and
//! nobody takes many at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::register::{self, NewSnap};
use crate::app::{App, BrandCtx, OwnCtx, Reason, Refusal, UnplacedCtx};
use crate::domain::catalog::{SnapRecord, well_known_id};
use crate::domain::ident::{AccountId, SnapName, StoreId};
use crate::domain::time::Timestamp;
use crate::ports::Commit;

/// Names a publisher may take within [`WINDOW`], whether they keep them or not.
pub const MOST_NAMES: usize = 100;
/// Names somebody may dispute within [`WINDOW`].
pub const MOST_DISPUTES: usize = 20;
/// In seconds: an hour.
const WINDOW: i64 = 3600;
/// Longest comment, in characters.
const MAX_COMMENT: usize = 4000;

/// What accounts did within the last [`WINDOW`], so that nobody does it too often; in memory, one per process. What is
/// undone afterwards counts all the same.
#[derive(Debug, Default)]
pub struct Lately<const MOST: usize>(Mutex<BTreeMap<AccountId, VecDeque<Timestamp>>>);

impl<const MOST: usize> Lately<MOST> {
    /// What is younger than the window, of accounts that did anything.
    fn young(&self, now: Timestamp) -> MutexGuard<'_, BTreeMap<AccountId, VecDeque<Timestamp>>> {
        let mut when = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.plus_seconds(-WINDOW);
        when.retain(|_, times| {
            times.retain(|time| *time > since);
            !times.is_empty()
        });
        when
    }

    fn room(times: Option<&VecDeque<Timestamp>>, now: Timestamp) -> Result<(), i64> {
        let first = times
            .filter(|times| times.len() >= MOST)
            .and_then(VecDeque::front);
        match first {
            Some(first) => Err((first.plus_seconds(WINDOW).unix() - now.unix()).max(1)),
            None => Ok(()),
        }
    }

    /// Whether the account may do it once more; else in how many seconds.
    fn of(&self, account: &AccountId, now: Timestamp) -> Result<(), i64> {
        Self::room(self.young(now).get(account), now)
    }

    /// Notes that it does it once more, if it may.
    fn take(&self, account: &AccountId, now: Timestamp) -> Result<(), i64> {
        let mut when = self.young(now);
        Self::room(when.get(account), now)?;
        when.entry(account.clone()).or_default().push_back(now);
        Ok(())
    }

    /// It came to nothing.
    fn give_back(&self, account: &AccountId, now: Timestamp) {
        if let Some(times) = self.young(now).get_mut(account)
            && let Some(at) = times.iter().rposition(|time| *time == now)
        {
            times.remove(at);
        }
    }
}

/// A name that somebody wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The name.
    pub name: SnapName,
    /// The base store; none = that of the only brand of the caller.
    pub store: Option<StoreId>,
    /// Only for those who prove to belong to a store that shows it.
    pub private: bool,
    /// Only say whether it could be had.
    pub dry_run: bool,
}

/// Why a name was not registered.
#[derive(Clone, Debug)]
pub enum NameTrouble {
    /// The caller has it already.
    Owned,
    /// Somebody else has it.
    Taken,
    /// It is kept for somebody.
    Reserved,
    /// The caller took too many names lately.
    Window {
        /// Seconds until the next one.
        retry_after: i64,
    },
    /// Anything else.
    Refused(Refusal),
}

impl<E: Into<Refusal>> From<E> for NameTrouble {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// Leave to register in `store`, or in the only brand of the caller.
///
/// # Errors
/// Absent where the caller may not register; `brand-required` where several brands could be meant.
pub async fn place(app: &App, ctx: &UnplacedCtx, store: Option<&StoreId>) -> Result<BrandCtx, Refusal> {
    match store {
        Some(store) => Ok(ctx.store(app, store).await?.brand().clone()),
        None => ctx.brand(app, None).await,
    }
}

/// Registers a name for the caller; none where it was only asked.
///
/// # Errors
/// See [`NameTrouble`]; the rest is as for [`register::register`].
pub async fn claim(app: &App, brand: &BrandCtx, wanted: &Wanted) -> Result<Option<SnapRecord>, NameTrouble> {
    brand.check_name(&wanted.name)?;
    let found = app
        .storage
        .find_unique::<SnapRecord>("name", wanted.name.as_str())
        .await?;
    if let Some(found) = found {
        let snap = found.record;
        let own = |account: &AccountId| snap.publisher_id == *account || snap.collaborators.contains(account);
        let mine = brand.account().is_some_and(own)
            || (snap.brand_id == *brand.brand() && brand.speaks_for(&snap.publisher_id));
        return Err(if mine {
            NameTrouble::Owned
        } else {
            NameTrouble::Taken
        });
    }
    if well_known_id(&wanted.name).is_some() && !brand.operates() {
        return Err(NameTrouble::Reserved);
    }
    let now = app.clock.now();
    let account = brand.account().filter(|_| !brand.operates());
    if let Some(account) = account {
        let lately = app.guard.names.of(account, now);
        lately.map_err(|retry_after| NameTrouble::Window { retry_after })?;
    }
    let new = NewSnap {
        name: wanted.name.clone(),
        store: wanted.store.clone(),
        publisher: None,
        private: wanted.private,
    };
    if wanted.dry_run {
        register::prepare(app, brand, &new, None, &mut Commit::default()).await?;
        return Ok(None);
    }
    // Before it is signed: of many at once each one counts.
    if let Some(account) = account {
        let taken = app.guard.names.take(account, now);
        taken.map_err(|retry_after| NameTrouble::Window { retry_after })?;
    }
    let registered = register::register(app, brand, &new).await;
    if let (Some(account), Err(_)) = (account, &registered) {
        app.guard.names.give_back(account, now);
    }
    match registered {
        Ok(snap) => Ok(Some(snap)),
        // Somebody was faster.
        Err(refusal) if refusal.code == "name-taken" => Err(NameTrouble::Taken),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Writes down that the caller thinks a taken name should be theirs: into the audit log of the brand that has it, where
/// its administrators find it.
///
/// # Errors
/// Not found where nobody has the name; `already-owned` where the caller has it; `invalid-comment`, `too-many-disputes`.
pub async fn dispute(app: &App, ctx: &OwnCtx, name: &SnapName, comment: &str) -> Result<(), Refusal> {
    if comment.chars().count() > MAX_COMMENT {
        return Err(Refusal::invalid(
            "invalid-comment",
            format!("cannot take the comment: it has more than {MAX_COMMENT} characters"),
        ));
    }
    let found = app
        .storage
        .find_unique::<SnapRecord>("name", name.as_str())
        .await?
        .ok_or_else(|| {
            Refusal::not_found(format!(
                "cannot dispute {name}: nobody has registered it; register it yourself"
            ))
        })?;
    if found.record.publisher_id == *ctx.account() {
        return Err(Refusal::conflict(
            "already-owned",
            format!("cannot dispute {name}: it is yours"),
        ));
    }
    let now = app.clock.now();
    app.guard
        .disputes
        .take(ctx.account(), now)
        .map_err(|retry_after| {
            Refusal::new(
                Reason::Locked,
                "too-many-disputes",
                format!("cannot dispute {name}: you disputed many names lately; try again later"),
            )
            .after(retry_after)
        })?;
    let mut event = ctx.event(now, "snap.name-dispute", name.as_str());
    event.detail.extend([
        ("snap-id".to_owned(), json!(found.record.id)),
        ("comment".to_owned(), json!(comment)),
    ]);
    event.brand = Some(found.record.brand_id.into());
    app.commit(Commit {
        audit: vec![event],
        ..Commit::default()
    })
    .await
}
