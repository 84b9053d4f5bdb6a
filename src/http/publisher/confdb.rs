//! confdb-schemas: listed, completed, kept (publisher-api.md 6.16). Clients forbid keys they do not know.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use warp::reply::Response;

use super::assertions::{MAX_ASSERTION, as_text, headers};
use super::{Input, Json, Outcome, Publisher, Raw};
use crate::app::catalog::confdb;
use crate::app::{App, OwnCtx};
use crate::domain::access::Permission;
use crate::domain::assertion::Assertion;
use crate::http::endpoint::Endpoint;
use crate::http::reply;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.get(
            "/api/v2/confdb-schemas",
            P::OwnRead,
            "List one's confdb-schemas",
            list,
        ),
        publisher.get(
            "/api/v2/confdb-schemas/{name}",
            P::OwnRead,
            "Show one of one's confdb-schemas",
            list,
        ),
        publisher.post(
            "/api/v2/confdb-schemas/build-assertion",
            P::OwnRead,
            "Complete the headers of a confdb-schema that is to be signed",
            build,
        ),
        publisher.post(
            "/api/v2/confdb-schemas",
            P::OwnVouch,
            "Keep a signed confdb-schema",
            add,
        ),
    ]
}

/// The body stands beside the headers, as text.
fn schema(assertion: &Assertion) -> Value {
    let mut headers = headers(
        assertion,
        &[
            "type",
            "authority-id",
            "account-id",
            "name",
            "timestamp",
            "summary",
            "views",
            "body-length",
            "sign-key-sha3-384",
        ],
    );
    headers.insert("revision".to_owned(), assertion.revision().to_string().into());
    json!({"headers": headers, "body": String::from_utf8_lossy(assertion.body())})
}

async fn list(app: App, ctx: OwnCtx, input: Input) -> Outcome<Json<Value>> {
    // Not there in the list of all.
    let name: String = input.variable("name").unwrap_or_default();
    let name = Some(name.as_str()).filter(|name| !name.is_empty());
    let found = confdb::schemas(&app, &ctx, name).await?;
    let assertions: Vec<Value> = found.iter().map(schema).collect();
    Ok(Json(json!({ "assertions": assertions })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SchemaBody {
    account_id: String,
    name: String,
    #[serde(default)]
    summary: Option<String>,
    views: Map<String, Value>,
    body: String,
}

/// What is signed is the whole of it, with the body in its place.
async fn build(app: App, ctx: OwnCtx, input: Input<Json<SchemaBody>>) -> Outcome<Json<Value>> {
    let Json(body) = input.body;
    let (account, revision) = confdb::draft(&app, &ctx, &body.account_id, &body.name).await?;
    let mut built = json!({
        "type": "confdb-schema",
        "authority-id": account,
        "account-id": account,
        "name": body.name,
        "revision": revision.to_string(),
        "timestamp": app.clock.now(),
        "views": as_text(Value::Object(body.views)),
        "body": body.body,
    });
    if let (Some(summary), Some(built)) = (body.summary, built.as_object_mut()) {
        built.insert("summary".to_owned(), summary.into());
    }
    Ok(Json(built))
}

async fn add(app: App, ctx: OwnCtx, input: Input<Raw<MAX_ASSERTION>>) -> Outcome<Response> {
    let Raw(text) = input.body;
    let assertion = confdb::add(&app, &ctx, &text).await?;
    let answer = json!({"assertions": [schema(&assertion)]});
    Ok(reply::json_with(StatusCode::CREATED, &answer))
}
