//! Reviews: what uploads of publishers go through before devices get them (admin-api.md 1.3, 2.7). A revision that is not
//! approved has its number, its file and its review; it has no assertion, no release, and no reader of the store sees it.

mod acts;
mod checking;

pub use acts::{act, answer};
pub(super) use acts::{foresee_release, redirect, supersede};
pub(super) use checking::begin;

use super::ingest::signing::File;
use super::no_snap;
use super::snaps::revision;
use crate::app::{App, BrandCtx, Refusal, SnapCtx, brands};
use crate::domain::access::Permission;
use crate::domain::assertion::Headers;
use crate::domain::catalog::{RevisionRecord, SnapRecord, revision_key};
use crate::domain::ident::{SnapName, StoreId};
use crate::domain::review::{Connected, ReviewRecord, ReviewState, connected};
use crate::domain::snap::SnapYaml;
use crate::ports::Versioned;

/// Which reviews are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Those that wait for a reviewer or for the publisher.
    #[default]
    Open,
    /// Those in this state.
    In(ReviewState),
    /// Those that somebody, or the checks, refused.
    Refused,
    /// All.
    Every,
}

impl std::str::FromStr for Wanted {
    type Err = String;

    /// `open`, `pending`, `needs-information`, `rejected`, `approved`, `all`; or a state as it is on the wire.
    fn from_str(text: &str) -> Result<Self, String> {
        let state = || ReviewState::ALL.into_iter().find(|state| state.as_str() == text);
        match text {
            "open" => Ok(Self::Open),
            "pending" => Ok(Self::In(ReviewState::ManualReviewPending)),
            "needs-information" => Ok(Self::In(ReviewState::NeedsInformation)),
            "rejected" => Ok(Self::Refused),
            "all" => Ok(Self::Every),
            _ => state().map(Self::In).ok_or_else(|| {
                "it is none of open, pending, needs-information, rejected, approved, all".to_owned()
            }),
        }
    }
}

impl Wanted {
    fn has(self, state: ReviewState) -> bool {
        match self {
            Self::Open => state.is_open(),
            Self::In(wanted) => state == wanted,
            Self::Refused => matches!(state, ReviewState::Rejected | ReviewState::AutomaticallyRejected),
            Self::Every => true,
        }
    }
}

/// A review in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The snap.
    pub snap: SnapRecord,
    /// The review.
    pub review: ReviewRecord,
}

/// A revision with its review.
#[derive(Clone, Debug)]
pub struct Reviewed {
    /// The snap.
    pub snap: SnapRecord,
    /// The revision.
    pub revision: RevisionRecord,
    /// Its review; none for what the operator uploaded, and for what is older than reviews.
    pub review: Option<ReviewRecord>,
    /// Its plugs and slots, and what stands about them in the declaration.
    pub connections: Vec<Connected>,
    /// What an approval could not do, for people.
    pub remarks: Vec<String>,
}

/// The reviews of a base store, or of all of the brand; the oldest upload first. Those of snaps the caller does not see
/// are left out.
///
/// # Errors
/// An unknown store is not found.
pub async fn list(
    app: &App,
    ctx: &BrandCtx,
    store: Option<&StoreId>,
    wanted: Wanted,
) -> Result<Vec<Listed>, Refusal> {
    let stores = match store {
        Some(store) => vec![brands::store(app, ctx, store).await?.record],
        None => brands::all_stores(app, ctx).await?,
    };
    let catalog = app.catalog.current(app).await?;
    let mut found = Vec::new();
    for store in stores.iter().filter(|store| store.parent.is_none()) {
        for review in app.storage.all::<ReviewRecord>([store.id.as_str()]).await? {
            let review = review.record;
            let entry = catalog.any(&review.snap_id);
            if let Some(entry) = entry
                && wanted.has(review.state)
                && ctx.may_with(&entry.record, Permission::SnapRead)
            {
                let snap = entry.record.clone();
                found.push(Listed { snap, review });
            }
        }
    }
    found.sort_by(|a, b| {
        let key = |listed: &Listed| {
            (
                listed.review.created,
                listed.snap.name.clone(),
                listed.review.revision,
            )
        };
        key(a).cmp(&key(b))
    });
    Ok(found)
}

/// One revision with its review. Who sees the snap only because some store shows it has no part in its reviews.
///
/// # Errors
/// An unknown revision is not found.
pub async fn show(app: &App, ctx: &SnapCtx, number: u64) -> Result<Reviewed, Refusal> {
    let snap = ctx.snap().clone();
    if !ctx.takes_part() {
        return Err(no_snap(ctx.brand(), &snap.name));
    }
    let revision = revision(app, &snap, number)
        .await?
        .ok_or_else(|| unknown(&snap.name, number))?;
    let review = record_of(app, &snap, number).await?.map(|found| found.record);
    reviewed(app, snap, revision, review, Vec::new()).await
}

async fn reviewed(
    app: &App,
    snap: SnapRecord,
    revision: RevisionRecord,
    review: Option<ReviewRecord>,
    remarks: Vec<String>,
) -> Result<Reviewed, Refusal> {
    let declaration = super::register::declaration_of(app, &snap).await.ok();
    let none = Headers::default();
    let headers = declaration.as_ref().map_or(&none, |found| found.headers());
    let before = newest_approved(app, &snap, revision.revision).await?;
    let before = before.and_then(|before| SnapYaml::parse(&before.snap_yaml).ok());
    // What was taken in could be read; samples of tests may have none.
    let connections = SnapYaml::parse(&revision.snap_yaml)
        .map(|yaml| connected(&yaml, snap.id.as_str(), headers, before.as_ref()))
        .unwrap_or_default();
    Ok(Reviewed {
        snap,
        revision,
        review,
        connections,
        remarks,
    })
}

/// The newest approved revision besides this one.
async fn newest_approved(
    app: &App,
    snap: &SnapRecord,
    besides: u64,
) -> Result<Option<RevisionRecord>, Refusal> {
    let catalog = app.catalog.current(app).await?;
    let entry = catalog.any(&snap.id);
    let found = entry.and_then(|entry| {
        let mut approved = entry.revisions.values().rev();
        approved.find(|revision| revision.revision != besides)
    });
    Ok(found.cloned())
}

/// The review of a revision, where there is one.
pub(super) async fn record_of(
    app: &App,
    snap: &SnapRecord,
    revision: u64,
) -> Result<Option<Versioned<ReviewRecord>>, Refusal> {
    let key = [snap.store_id.as_str(), snap.id.as_str(), &revision_key(revision)];
    Ok(app.storage.find::<ReviewRecord>(key).await?)
}

/// The revision that a file without an assertion is, where it was uploaded before.
pub(super) async fn number_of(app: &App, snap: &SnapRecord, file: File<'_>) -> Result<Option<u64>, Refusal> {
    let value = ReviewRecord::file_value(&file.blob, file.provenance);
    let found = app.storage.find_unique::<ReviewRecord>("file", &value).await?;
    Ok(found
        .map(|found| found.record)
        .filter(|review| review.snap_id == snap.id)
        .map(|review| review.revision))
}

fn unknown(name: &SnapName, number: u64) -> Refusal {
    Refusal::not_found(format!("cannot find revision {number} of snap {name}"))
}

/// Whoever uploaded it does not review it; to them it answers like what is not theirs to review.
fn not_the_uploader(ctx: &BrandCtx, snap: &SnapRecord, review: &ReviewRecord) -> Result<(), Refusal> {
    match (ctx.account(), &review.uploader) {
        (Some(account), Some(uploader)) if account == uploader => Err(no_snap(ctx, &snap.name)),
        _ => Ok(()),
    }
}
