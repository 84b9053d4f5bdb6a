//! The automatic checks, with what they need gathered.

use super::super::ingest::Upload;
use super::super::register::declaration_of;
use super::newest_approved;
use crate::app::{App, BrandCtx, Reason, Refusal, brands};
use crate::domain::access::{Permission, ReviewPolicy};
use crate::domain::assertion::{Assertion, Typed};
use crate::domain::audit::Actor;
use crate::domain::catalog::{Channel, RevisionRecord, SnapRecord, well_known_id};
use crate::domain::ident::{SnapName, StoreId};
use crate::domain::review::{self, Act, Finding, ReviewRecord, ReviewState, check, decide, outcome};
use crate::domain::snap::SnapYaml;

/// The base that has nothing in it.
const BARE: &str = "bare";

/// The review an upload begins with; none for what the operator uploads, who approves it by that. A token that was made
/// for less, as for a build service, approves nothing.
pub(in crate::app::catalog) async fn begin(
    app: &App,
    ctx: &BrandCtx,
    upload: &Upload,
    (snap, revision): (&SnapRecord, &RevisionRecord),
    declaration: &Assertion,
    imported: bool,
) -> Result<Option<ReviewRecord>, Refusal> {
    if ctx.operates() && ctx.may(Permission::SnapReview) {
        return Ok(None);
    }
    let subject = Subject {
        snap,
        revision,
        declaration,
        imported,
        channels: &upload.channels,
        announced: upload.size,
    };
    let findings = subject.findings(app).await?;
    let state = decide(policy(app, ctx, &snap.store_id).await?, outcome(&findings));
    let mut review = ReviewRecord {
        store_id: snap.store_id.clone(),
        snap_id: snap.id.clone(),
        revision: revision.revision,
        brand_id: snap.brand_id.clone(),
        blob: revision.blob,
        provenance: revision.provenance.clone(),
        state: ReviewState::ManualReviewPending,
        findings,
        uploader: ctx.account().cloned(),
        channels: upload.channels.clone(),
        release_by: None,
        percentage: upload.percentage,
        key: upload.key.clone(),
        icon: None,
        history: Vec::new(),
        created: revision.created,
    };
    review.step(revision.created, Actor::System, Act::Check, state, "");
    Ok(Some(review))
}

/// What the checks find now in a revision that was uploaded before.
pub(super) async fn again(
    app: &App,
    snap: &SnapRecord,
    revision: &RevisionRecord,
    review: &ReviewRecord,
    imported: bool,
) -> Result<Vec<Finding>, Refusal> {
    let declaration = declaration_of(app, snap).await?;
    Subject {
        snap,
        revision,
        declaration: &declaration,
        imported,
        channels: &review.channels,
        announced: None,
    }
    .findings(app)
    .await
}

/// The policy of a base store.
pub(super) async fn policy(app: &App, ctx: &BrandCtx, store: &StoreId) -> Result<ReviewPolicy, Refusal> {
    Ok(brands::store(app, ctx, store).await?.record.review_policy)
}

struct Subject<'a> {
    snap: &'a SnapRecord,
    revision: &'a RevisionRecord,
    declaration: &'a Assertion,
    imported: bool,
    channels: &'a [Channel],
    announced: Option<u64>,
}

impl Subject<'_> {
    async fn findings(&self, app: &App) -> Result<Vec<Finding>, Refusal> {
        let (snap, revision) = (self.snap, self.revision);
        let yaml = SnapYaml::parse(&revision.snap_yaml)?;
        let Typed::SnapDeclaration(declaration) = self.declaration.typed() else {
            return Err(Refusal::new(
                Reason::Internal,
                "assertion-missing",
                format!("cannot check {}: its snap-declaration cannot be read", snap.name),
            ));
        };
        let approved = newest_approved(app, snap, revision.revision).await?;
        let catalog = app.catalog.current(app).await?;
        let confinement_known = catalog.any(&snap.id).is_some_and(|entry| {
            let mut approved = entry.revisions.values();
            approved.any(|known| known.confinement == yaml.confinement)
        });
        Ok(check(&review::Upload {
            base_known: knows_base(app, snap, yaml.base.as_deref()).await?,
            yaml: &yaml,
            name: &snap.name,
            snap,
            approved: approved.as_ref(),
            confinement_known,
            headers: self.declaration.headers(),
            declaration,
            imported: self.imported,
            channels: self.channels,
            size: revision.size,
            announced: self.announced,
        }))
    }
}

/// Whether devices can have the base: it is in every store, or a snap of this instance that the brand may know of.
async fn knows_base(app: &App, snap: &SnapRecord, base: Option<&str>) -> Result<bool, Refusal> {
    let Some(base) = base else { return Ok(true) };
    if base == BARE {
        return Ok(true);
    }
    let Ok(name) = base.parse::<SnapName>() else {
        return Ok(false);
    };
    if well_known_id(&name).is_some() {
        return Ok(true);
    }
    let found = app
        .storage
        .find_unique::<SnapRecord>("name", name.as_str())
        .await?;
    Ok(found.is_some_and(|found| found.record.brand_id == snap.brand_id || !found.record.private))
}
