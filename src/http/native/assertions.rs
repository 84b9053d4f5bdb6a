//! Assertions of a brand: taking them in, giving them out.

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use warp::reply::Response;

use super::{Input, Json, Native, Outcome, Raw};
use crate::app::assertions::{self, Imported, MAX_IMPORT, Search};
use crate::app::{App, BrandCtx};
use crate::domain::access::Permission;
use crate::domain::assertion::AssertionType;
use crate::http::endpoint::Endpoint;
use crate::http::fault::Fault;
use crate::http::reply;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/assertions{?type,header}",
            P::AssertionRead,
            "Give the assertions of the brand, or those of a type with all of some headers (NAME=VALUE)",
            export,
        ),
        native.post(
            "/hallmark/v1/assertions",
            P::AssertionImport,
            "Take in a stream of assertions others signed: all of them or none",
            import,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ImportedView {
    #[serde(rename = "type")]
    kind: &'static str,
    primary_key: Map<String, Value>,
    revision: u64,
    /// `imported`, or `known` where it or a newer one was there before.
    outcome: &'static str,
}

impl From<Imported> for ImportedView {
    fn from(imported: Imported) -> Self {
        let info = imported.reference.kind.info();
        let values = imported.reference.key.0.into_iter().map(Value::from);
        Self {
            kind: info.name,
            primary_key: info
                .primary_key
                .iter()
                .map(|name| (*name).to_owned())
                .zip(values)
                .collect(),
            revision: imported.revision,
            outcome: if imported.new { "imported" } else { "known" },
        }
    }
}

/// `GET /hallmark/v1/assertions`
async fn export(app: App, ctx: BrandCtx, input: Input) -> Outcome<Response> {
    let kind = input.query::<AssertionType>("type")?;
    let headers = input
        .query_all("header")
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                Fault::invalid(
                    "invalid-request",
                    format!("cannot search for {pair:?}: NAME=VALUE is expected"),
                )
            })?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect::<Outcome<Vec<_>>>()?;
    let stream = assertions::export(&app, &ctx, &Search { kind, headers }).await?;
    if stream.is_empty() {
        return Err(Fault::new(
            StatusCode::NOT_FOUND,
            "resource-not-found",
            "cannot find any such assertion",
        ));
    }
    Ok(reply::assertions(stream))
}

/// `POST /hallmark/v1/assertions`
async fn import(app: App, ctx: BrandCtx, input: Input<Raw<MAX_IMPORT>>) -> Outcome<Json<Vec<ImportedView>>> {
    let imported = assertions::import(&app, &ctx, input.body.0).await?;
    Ok(Json(imported.into_iter().map(ImportedView::from).collect()))
}
