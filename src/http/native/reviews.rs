//! Reviews of revisions: the queue, one review, and what reviewers and publishers do. Each path below a snap has a twin
//! below its store, in the shape of admin-api.md 2.7.

use serde::{Deserialize, Serialize};

use super::snaps::RevisionView;
use super::{Input, Json, Native, Outcome};
use crate::app::catalog::review::{self, Listed, Reviewed, Wanted};
use crate::app::{App, BrandCtx, Refusal, SnapCtx, StoreCtx};
use crate::domain::access::Permission;
use crate::domain::audit::Actor;
use crate::domain::catalog::Channel;
use crate::domain::ident::{AccountId, SnapId, SnapName, StoreId};
use crate::domain::review::{
    Act, Class, Connected, Finding, ReviewRecord, ReviewState, Side, Standing, Step,
};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/reviews{?store,status}",
            P::SnapRead,
            "List the reviews of revisions",
            list,
        ),
        native.get(
            "/hallmark/v1/stores/{store}/reviews{?status}",
            P::SnapRead,
            "List the reviews of revisions of a base store",
            list_of_store,
        ),
        native.post(
            "/hallmark/v1/stores/{store}/reviews/{snap-id}/{revision}",
            P::SnapReview,
            "Approve or reject a revision by the id of its snap, ask for information, run the checks again",
            act_in_store,
        ),
        native.get(
            "/hallmark/v1/snaps/{snap}/revisions/{revision}/review",
            P::SnapRead,
            "Show a revision with its review",
            show,
        ),
        native.post(
            "/hallmark/v1/snaps/{snap}/revisions/{revision}/review",
            P::SnapReview,
            "Approve or reject a revision, ask for information, run the checks again",
            act,
        ),
        native.post(
            "/hallmark/v1/snaps/{snap}/revisions/{revision}/review/answer",
            P::SnapPublish,
            "Answer what a reviewer asked",
            answer,
        ),
    ]
}

/// A review as the API shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ReviewView {
    snap_id: SnapId,
    name: SnapName,
    store_id: StoreId,
    publisher_id: AccountId,
    revision: u64,
    state: ReviewState,
    /// What the automatic checks found the last time, the weightiest first.
    findings: Vec<Finding>,
    /// Who uploaded it; null: somebody with access to the data directory.
    uploader_id: Option<AccountId>,
    /// Where it is released to when it is approved.
    channels: Vec<Channel>,
    percentage: Option<f64>,
    history: Vec<StepView>,
    created_at: Timestamp,
    changed_at: Timestamp,
}

/// One step of a review as the API shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct StepView {
    time: Timestamp,
    /// The account; null: the automatic checks.
    account_id: Option<AccountId>,
    act: Act,
    from: Option<ReviewState>,
    to: ReviewState,
    comment: String,
}

impl From<Step> for StepView {
    fn from(step: Step) -> Self {
        Self {
            time: step.time,
            account_id: match step.actor {
                Actor::Account(id) => Some(id),
                Actor::Device(_) | Actor::Local | Actor::System => None,
            },
            act: step.act,
            from: step.from,
            to: step.to,
            comment: step.comment,
        }
    }
}

impl ReviewView {
    pub(super) fn of(name: SnapName, publisher_id: AccountId, review: ReviewRecord) -> Self {
        Self {
            changed_at: review.changed(),
            snap_id: review.snap_id,
            name,
            store_id: review.store_id,
            publisher_id,
            revision: review.revision,
            state: review.state,
            findings: review.findings,
            uploader_id: review.uploader,
            channels: review.channels,
            percentage: review.percentage,
            history: review.history.into_iter().map(StepView::from).collect(),
            created_at: review.created,
        }
    }
}

/// A plug or slot as the API shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ConnectionView {
    side: Side,
    name: String,
    interface: String,
    class: Class,
    /// What the declaration says of it: `unsaid`, `granted`, `denied`.
    standing: Standing,
    /// The approved revision before has none such.
    new: bool,
}

impl From<Connected> for ConnectionView {
    fn from(connected: Connected) -> Self {
        Self {
            side: connected.side,
            name: connected.name,
            interface: connected.interface,
            class: connected.class,
            standing: connected.standing,
            new: connected.new,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ReviewedView {
    name: SnapName,
    revision: RevisionView,
    /// Null for what the operator uploaded, and for what is older than reviews: it is approved.
    review: Option<ReviewView>,
    connections: Vec<ConnectionView>,
    /// `meta/snap.yaml` as it stands in the file.
    snap_yaml: String,
    /// What an approval could not do.
    remarks: Vec<String>,
}

impl From<Reviewed> for ReviewedView {
    fn from(reviewed: Reviewed) -> Self {
        let (snap, revision) = (reviewed.snap, reviewed.revision);
        Self {
            name: snap.name.clone(),
            snap_yaml: revision.snap_yaml.clone(),
            revision: revision.into(),
            review: reviewed
                .review
                .map(|review| ReviewView::of(snap.name, snap.publisher_id, review)),
            connections: reviewed
                .connections
                .into_iter()
                .map(ConnectionView::from)
                .collect(),
            remarks: reviewed.remarks,
        }
    }
}

fn views(listed: Vec<Listed>) -> Json<Vec<ReviewView>> {
    let view = |listed: Listed| ReviewView::of(listed.snap.name, listed.snap.publisher_id, listed.review);
    Json(listed.into_iter().map(view).collect())
}

async fn list(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<Vec<ReviewView>>> {
    let (store, wanted): (Option<StoreId>, Option<Wanted>) = (input.query("store")?, input.query("status")?);
    let found = review::list(&app, &ctx, store.as_ref(), wanted.unwrap_or_default()).await?;
    Ok(views(found))
}

async fn list_of_store(app: App, ctx: StoreCtx, input: Input) -> Outcome<Json<Vec<ReviewView>>> {
    let wanted: Option<Wanted> = input.query("status")?;
    let store = &ctx.store().id;
    let found = review::list(&app, ctx.brand(), Some(store), wanted.unwrap_or_default()).await?;
    Ok(views(found))
}

async fn show(app: App, ctx: SnapCtx, input: Input) -> Outcome<Json<ReviewedView>> {
    let found = review::show(&app, &ctx, input.variable("revision")?).await?;
    Ok(Json(found.into()))
}

/// What a reviewer does, in the words of admin-api.md 2.7.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    Approve,
    Reject,
    AskInformation,
    Rerun,
}

impl From<Action> for Act {
    fn from(action: Action) -> Self {
        match action {
            Action::Approve => Self::Approve,
            Action::Reject => Self::Reject,
            Action::AskInformation => Self::AskInformation,
            Action::Rerun => Self::Rerun,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ActBody {
    action: Action,
    /// For who reads it later; needed to reject and to ask.
    #[serde(default)]
    comment: String,
}

async fn act(app: App, ctx: SnapCtx, input: Input<Json<ActBody>>) -> Outcome<Json<ReviewedView>> {
    let revision = input.variable("revision")?;
    let (Json(body), name) = (input.body, &ctx.snap().name);
    let act = body.action.into();
    let done = review::act(&app, ctx.brand(), name, revision, act, &body.comment).await?;
    Ok(Json(done.into()))
}

async fn act_in_store(app: App, ctx: SnapCtx, input: Input<Json<ActBody>>) -> Outcome<Json<ReviewedView>> {
    is_in_store(&ctx, &input.variable("store")?)?;
    act(app, ctx, input).await
}

/// Refuses a snap that is registered elsewhere than the path says.
pub(super) fn is_in_store(ctx: &SnapCtx, store: &StoreId) -> Result<(), Refusal> {
    let snap = ctx.snap();
    if snap.store_id == *store {
        return Ok(());
    }
    Err(Refusal::not_found(format!(
        "cannot find snap {} in store {store}",
        snap.id
    )))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct AnswerBody {
    comment: String,
}

async fn answer(app: App, ctx: SnapCtx, input: Input<Json<AnswerBody>>) -> Outcome<Json<ReviewedView>> {
    let (revision, name) = (input.variable("revision")?, &ctx.snap().name);
    let done = review::answer(&app, ctx.brand(), name, revision, &input.body.0.comment).await?;
    Ok(Json(done.into()))
}
