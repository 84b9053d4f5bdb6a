//! One's own second factor.

use serde::{Deserialize, Serialize};

use super::{Created, Input, Json, Native, NoContent, Outcome};
use crate::app::second_factor::{self, Enrolment, Standing};
use crate::app::{App, OwnCtx};
use crate::domain::access::Permission;
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/second-factor",
            P::OwnRead,
            "Show whether one has a second factor",
            show,
        ),
        native.post(
            "/hallmark/v1/second-factor",
            P::OwnCredentials,
            "Enrol a second factor; answers with its secret",
            enrol,
        ),
        native.put(
            "/hallmark/v1/second-factor",
            P::OwnCredentials,
            "Confirm the second factor; answers with recovery codes",
            confirm,
        ),
        native.post(
            "/hallmark/v1/second-factor/disable",
            P::OwnCredentials,
            "Take one's second factor away",
            disable,
        ),
    ]
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct StandingView {
    enrolled: bool,
    since: Option<Timestamp>,
    /// Recovery codes that are left.
    recovery_codes: usize,
}

async fn show(app: App, ctx: OwnCtx, _input: Input) -> Outcome<Json<StandingView>> {
    let Standing {
        since,
        recovery_codes,
    } = second_factor::show(&app, &ctx).await?;
    Ok(Json(StandingView {
        enrolled: since.is_some(),
        since,
        recovery_codes,
    }))
}

#[derive(Serialize)]
struct EnrolmentView {
    secret: String,
    url: String,
}

async fn enrol(app: App, ctx: OwnCtx, _input: Input) -> Outcome<Created<EnrolmentView>> {
    let Enrolment { secret, url } = second_factor::enrol(&app, &ctx).await?;
    Ok(Created(EnrolmentView {
        secret: secret.to_string(),
        url: url.to_string(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    code: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RecoveryView {
    recovery_codes: Vec<String>,
}

async fn confirm(app: App, ctx: OwnCtx, input: Input<Json<Code>>) -> Outcome<Json<RecoveryView>> {
    let Json(Code { code }) = input.body;
    let codes = second_factor::confirm(&app, &ctx, &code).await?;
    Ok(Json(RecoveryView {
        recovery_codes: codes.iter().map(|code| code.to_string()).collect(),
    }))
}

async fn disable(app: App, ctx: OwnCtx, input: Input<Json<Code>>) -> Outcome<NoContent> {
    let Json(Code { code }) = input.body;
    second_factor::disable(&app, &ctx, &code).await?;
    Ok(NoContent)
}
