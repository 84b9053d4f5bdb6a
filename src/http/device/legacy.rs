//! Paths of older or rarer clients: the store's own assertions as an enterprise proxy serves them, and purchases, of which
//! there are none.

use http::StatusCode;
use serde_json::json;
use warp::reply::Response;
use warp::{Filter, Reply as _};

use super::asking::{Asking, asking, not_found};
use crate::app::App;
use crate::app::catalog::connect;
use crate::domain::ident::StoreId;
use crate::http::endpoint::{Access, Endpoint, with};
use crate::http::fault::{DeviceDialect, Fault};
use crate::http::query::{Query, query};
use crate::http::reply;

pub(super) fn endpoints(app: &App) -> Vec<Endpoint> {
    let assertions = warp::path!("v2" / "auth" / "store" / "assertions")
        .and(query())
        .and(asking())
        .and(with(app.clone()))
        .then(|query: Query, asking: Asking, app: App| async move {
            assertions(&app, &asking, &query)
                .await
                .unwrap_or_else(Fault::into_response)
        })
        .boxed();
    let orders = warp::path!("api" / "v1" / "snaps" / "purchases" / "orders")
        .map(|| reply::json(&json!({"orders": []})))
        .boxed();
    let customer = warp::path!("api" / "v1" / "snaps" / "purchases" / "customers" / "me")
        .map(|| reply::json(&json!({"latest_tos_accepted": true, "has_payment_method": false})))
        .boxed();
    vec![
        Endpoint::get(
            "/v2/auth/store/assertions",
            Access::Open,
            "Serve what points devices at a store",
            assertions,
        )
        .with_query(vec!["store"]),
        Endpoint::get(
            "/api/v1/snaps/purchases/orders",
            Access::Open,
            "List purchases: there are none",
            orders,
        ),
        Endpoint::get(
            "/api/v1/snaps/purchases/customers/me",
            Access::Open,
            "Show how one pays: nothing is for sale",
            customer,
        ),
    ]
}

/// The store that is named, else the only one that devices were connected to.
async fn assertions(app: &App, asking: &Asking, query: &Query) -> Result<Response, Fault<DeviceDialect>> {
    let absent =
        || not_found("cannot find the store: name one that devices were connected to, with ?store=ID");
    let (catalog, _) = asking.enter(app).await?;
    let named = match query.parse::<StoreId, _>("store")? {
        Some(named) => Some(named),
        None => asking.store().cloned(),
    };
    if let Some(named) = named {
        let found = connect::assertions(app, &named).await?.ok_or_else(absent)?;
        return Ok(text(found));
    }
    let mut only = None;
    for store in catalog.store_ids() {
        if let Some(found) = connect::assertions(app, store).await?
            && only.replace(found).is_some()
        {
            return Err(absent());
        }
    }
    only.map(text).ok_or_else(absent)
}

fn text(assertions: bytes::Bytes) -> Response {
    reply::bytes(StatusCode::OK, reply::ASSERTION, assertions)
}
