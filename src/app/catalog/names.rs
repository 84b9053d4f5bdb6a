//! Names as publisher clients ask for them (publisher-api.md 6.3): whose a taken name is decides what the client says, and
//! nobody takes many at once.

use serde_json::json;

use super::register::{self, NewSnap};
use crate::app::{App, BrandCtx, OwnCtx, Refusal, UnplacedCtx};
use crate::domain::catalog::{SnapRecord, well_known_id};
use crate::domain::ident::{AccountId, SnapName, StoreId};
use crate::ports::Commit;

/// Names a publisher may take within [`WINDOW`].
const MOST: usize = 100;
/// In seconds: an hour.
const WINDOW: i64 = 3600;
/// Longest comment, in characters.
const MAX_COMMENT: usize = 4000;

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
    if let Some(account) = brand.account().filter(|_| !brand.operates()) {
        window(app, account).await?;
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
    match register::register(app, brand, &new).await {
        Ok(snap) => Ok(Some(snap)),
        // Somebody was faster.
        Err(refusal) if refusal.code == "name-taken" => Err(NameTrouble::Taken),
        Err(refusal) => Err(refusal.into()),
    }
}

async fn window(app: &App, account: &AccountId) -> Result<(), NameTrouble> {
    let now = app.clock.now();
    let since = now.plus_seconds(-WINDOW);
    let catalog = app.catalog.current(app).await?;
    let mut lately: Vec<_> = catalog
        .every()
        .filter(|entry| entry.record.publisher_id == *account && entry.record.created > since)
        .map(|entry| entry.record.created)
        .collect();
    if lately.len() < MOST {
        return Ok(());
    }
    lately.sort_unstable();
    let first = lately.iter().rev().nth(MOST - 1).copied().unwrap_or(now);
    let retry_after = first.plus_seconds(WINDOW).unix() - now.unix();
    Err(NameTrouble::Window {
        retry_after: retry_after.max(1),
    })
}

/// Writes down that the caller thinks a taken name should be theirs: into the audit log of the brand that has it, where
/// its administrators find it.
///
/// # Errors
/// Not found where nobody has the name; `already-owned` where the caller has it; `invalid-comment`.
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
    let mut event = ctx.event(app.clock.now(), "snap.name-dispute", name.as_str());
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
