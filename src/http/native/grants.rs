//! Interface grants of snaps. The path below a store is the twin of admin-api.md 2.7.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Input, Json, Native, Outcome};
use crate::app::catalog::grants::{self, Grant, Standing, Where};
use crate::app::{App, Refusal, SnapCtx};
use crate::domain::access::Permission;
use crate::domain::ident::{AccountId, SnapId, SnapName, StoreId};
use crate::domain::review::{Attribute, Class, GrantRequest, Granted, Interface, Side, class};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/snaps/{snap}/grants",
            P::SnapRead,
            "List what a snap's declaration grants its plugs and slots",
            list,
        ),
        native.post(
            "/hallmark/v1/snaps/{snap}/grants",
            P::SnapReview,
            "Grant an interface to a snap, or take it back",
            change,
        ),
        native.post(
            "/hallmark/v1/snaps/{snap}/grants/confirm",
            P::GrantConfirm,
            "Confirm what a reviewer wants to grant",
            confirm,
        ),
        native.post(
            "/hallmark/v1/stores/{store}/snaps/{snap-id}/interfaces",
            P::SnapReview,
            "Grant an interface to a snap by its id, or take it back",
            change_in_store,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct GrantedView {
    side: Side,
    interface: String,
    /// Of a plug; of a slot null.
    class: Option<Class>,
    attribute: Attribute,
    /// Only on devices of these stores; null = of all.
    on_store: Option<BTreeSet<String>>,
    /// There are constraints besides, or instead, that were written by hand.
    constrained: bool,
}

fn class_of(side: Side, interface: &str) -> Option<Class> {
    let interface: Interface = interface.parse().ok()?;
    (side == Side::Plug).then(|| class(&interface))
}

impl From<Granted> for GrantedView {
    fn from(granted: Granted) -> Self {
        Self {
            class: class_of(granted.side, &granted.interface),
            side: granted.side,
            interface: granted.interface,
            attribute: granted.attribute,
            on_store: granted.on_store,
            constrained: granted.constrained,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct WaitingView {
    side: Side,
    interface: Interface,
    attribute: Attribute,
    /// Only on devices of these stores; null = of all.
    on_store: Option<BTreeSet<StoreId>>,
    requested_by: AccountId,
    comment: String,
    created_at: Timestamp,
}

impl From<GrantRequest> for WaitingView {
    fn from(request: GrantRequest) -> Self {
        Self {
            side: request.side,
            interface: request.interface,
            attribute: request.attribute,
            on_store: (!request.on_store.is_empty()).then_some(request.on_store),
            requested_by: request.requested_by,
            comment: request.comment,
            created_at: request.created,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct GrantsView {
    snap_id: SnapId,
    name: SnapName,
    /// The revision of the snap-declaration.
    declaration: u64,
    granted: Vec<GrantedView>,
    /// What a second person has to confirm.
    waiting: Vec<WaitingView>,
    remarks: Vec<String>,
}

impl From<Standing> for GrantsView {
    fn from(standing: Standing) -> Self {
        Self {
            snap_id: standing.snap.id,
            name: standing.snap.name,
            declaration: standing.declaration,
            granted: standing.granted.into_iter().map(GrantedView::from).collect(),
            waiting: standing.waiting.into_iter().map(WaitingView::from).collect(),
            remarks: standing.remarks,
        }
    }
}

async fn list(app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<GrantsView>> {
    let found = grants::list(&app, &ctx).await?;
    Ok(Json(found.into()))
}

/// What becomes of a grant, in the words of admin-api.md 2.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Enabled,
    Disabled,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ChangeBody {
    side: Side,
    interface: Interface,
    attribute: Attribute,
    state: State,
    /// On devices of these stores. Absent: of the base store of the snap (in a path with a store: of that one) when
    /// granting, of all when taking back.
    #[serde(default)]
    on_store: Option<BTreeSet<StoreId>>,
    /// On devices of all stores.
    #[serde(default)]
    everywhere: bool,
    #[serde(default)]
    comment: String,
}

async fn apply(app: &App, ctx: &SnapCtx, body: ChangeBody, usual: Where) -> Outcome<Json<GrantsView>> {
    let (ctx, name) = (ctx.brand(), &ctx.snap().name);
    let place = match (body.on_store, body.everywhere) {
        (Some(_), true) => {
            return Err(Refusal::invalid(
                "invalid-request",
                "cannot read the request: \"on-store\" and \"everywhere\" exclude each other",
            )
            .into());
        }
        (Some(stores), false) => Where::Stores(stores),
        (None, true) => Where::Everywhere,
        (None, false) => usual,
    };
    let grant = Grant {
        side: body.side,
        interface: body.interface,
        attribute: body.attribute,
    };
    let done = match body.state {
        State::Enabled => grants::grant(app, ctx, name, &grant, &place, &body.comment).await?,
        State::Disabled => grants::revoke(app, ctx, name, &grant, &place, &body.comment).await?,
    };
    Ok(Json(done.into()))
}

async fn change(app: App, ctx: SnapCtx, input: Input<Json<ChangeBody>>) -> Outcome<Json<GrantsView>> {
    apply(&app, &ctx, input.body.0, Where::Default).await
}

async fn change_in_store(
    app: App,
    ctx: SnapCtx,
    input: Input<Json<ChangeBody>>,
) -> Outcome<Json<GrantsView>> {
    let usual = match input.body.0.state {
        State::Enabled => Where::Stores(BTreeSet::from([input.variable("store")?])),
        State::Disabled => Where::Default,
    };
    apply(&app, &ctx, input.body.0, usual).await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ConfirmBody {
    side: Side,
    interface: Interface,
    attribute: Attribute,
}

async fn confirm(app: App, ctx: SnapCtx, input: Input<Json<ConfirmBody>>) -> Outcome<Json<GrantsView>> {
    let (Json(body), name) = (input.body, &ctx.snap().name);
    let grant = Grant {
        side: body.side,
        interface: body.interface,
        attribute: body.attribute,
    };
    Ok(Json(
        grants::confirm(&app, ctx.brand(), name, &grant).await?.into(),
    ))
}
