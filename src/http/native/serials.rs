//! The signing log with its exports, allow-lists and denials, approvals.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use warp::Reply as _;
use warp::reply::Response;

use super::{Input, Json, Native, Outcome};
use crate::app::factory;
use crate::app::serials::{self, Decision, SerialQuery, SerialReader};
use crate::app::{App, BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::ident::{BrandId, KeyId, ModelName, SerialNumber};
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::Approval;
use crate::domain::vault::{SerialRow, SerialState, SiteName, Standing};
use crate::http::endpoint::Endpoint;
use crate::ports::{ApprovalRow, StandingRow};

pub(super) fn endpoints(native: &Native) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        native.get(
            "/hallmark/v1/serials{?model,serial,device-key,since,until,before,limit}",
            P::SerialRead,
            "List issued serials, newest first",
            list,
        ),
        native.get(
            "/hallmark/v1/serials/export{?model,serial,device-key,since,until,as}",
            P::SerialRead,
            "Export issued serials as CSV or NDJSON",
            export,
        ),
        native.get(
            "/hallmark/v1/serials/{model}/{serial}",
            P::SerialRead,
            "Show the history of a serial",
            show,
        ),
        native.get(
            "/hallmark/v1/models/{name}/standings{?after,limit}",
            P::SerialRead,
            "List allowed and denied serials",
            judged,
        ),
        native.put(
            "/hallmark/v1/models/{name}/standings",
            P::SerialManage,
            "Allow or deny serials",
            judge,
        ),
        native.get(
            "/hallmark/v1/approvals",
            P::SerialRead,
            "List requests that wait for a person",
            waiting,
        ),
        native.post(
            "/hallmark/v1/approvals",
            P::SerialManage,
            "Approve or reject a waiting request",
            decide,
        ),
    ]
}

/// A row of the log; the fields of decisions.md 13.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct RowView<'r> {
    brand_id: &'r BrandId,
    model: &'r ModelName,
    serial: &'r SerialNumber,
    revision: u64,
    created_at: Timestamp,
    device_key_sha3_384: &'r KeyId,
    sign_key_sha3_384: Option<&'r KeyId>,
    state: SerialState,
    /// The factory site whose box signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'r SiteName>,
}

impl<'r> RowView<'r> {
    fn at(row: &'r SerialRow, sites: &'r BTreeMap<KeyId, SiteName>) -> Self {
        Self {
            site: row.sign_key.as_ref().and_then(|key| sites.get(key)),
            ..Self::from(row)
        }
    }
}

impl<'r> From<&'r SerialRow> for RowView<'r> {
    fn from(row: &'r SerialRow) -> Self {
        Self {
            brand_id: &row.device.brand,
            model: &row.device.model,
            serial: &row.device.serial,
            revision: row.revision,
            created_at: row.created_at,
            device_key_sha3_384: &row.device_key,
            sign_key_sha3_384: row.sign_key.as_ref(),
            state: row.state,
            site: None,
        }
    }
}

/// The conditions of a log request.
fn query(input: &Input) -> Outcome<SerialQuery> {
    let mut models = Vec::new();
    for text in input.query_all("model").flat_map(|text| text.split(',')) {
        models.push(text.parse::<ModelName>().map_err(|error| {
            Refusal::invalid(
                "invalid-request",
                format!("cannot read the query: model: {error}"),
            )
        })?);
    }
    Ok(SerialQuery {
        models,
        serial_prefix: input.query("serial")?,
        device_key: input.query("device-key")?,
        since: input.query("since")?,
        until: input.query("until")?,
        ..SerialQuery::default()
    })
}

/// `GET /hallmark/v1/serials`: a page of the log. `next` is the `before` of the next page, null at the end.
async fn list(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<serde_json::Value>> {
    let query = SerialQuery {
        before: input.query("before")?,
        limit: input.query("limit")?,
        ..query(&input)?
    };
    let page = serials::list(&app, &ctx, query).await?;
    let sites = factory::by_key(&app, &ctx).await?;
    let rows: Vec<RowView<'_>> = page.rows.iter().map(|row| RowView::at(row, &sites)).collect();
    Ok(Json(serde_json::json!({ "serials": rows, "next": page.next })))
}

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExportAs {
    Csv,
    Ndjson,
}

impl std::str::FromStr for ExportAs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "csv" => Ok(Self::Csv),
            "ndjson" => Ok(Self::Ndjson),
            _ => Err("say csv or ndjson"),
        }
    }
}

/// `GET /hallmark/v1/serials/export?as=csv|ndjson`: everything that matches, streamed.
async fn export(app: App, ctx: BrandCtx, input: Input) -> Outcome<Response> {
    let form = input.query("as")?.unwrap_or(ExportAs::Csv);
    let mut reader = SerialReader::new(&app, &ctx, query(&input)?);
    // The first rows are read before the answer begins, so that a refusal still is one.
    let mut rows = reader.next().await?;
    let (kind, head) = match form {
        ExportAs::Csv => ("text/csv; charset=utf-8", csv_head()),
        ExportAs::Ndjson => ("application/x-ndjson", Bytes::new()),
    };
    // Two parts at most wait for a slow reader; one that hangs up ends the task.
    let (parts, mut received) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(2);
    tokio::spawn(async move {
        let mut part = head.to_vec();
        while let Some(page) = rows.take() {
            let written = page.iter().try_for_each(|row| write_row(&mut part, row, form));
            let failed = written.is_err();
            if parts
                .send(written.map(|()| Bytes::from(std::mem::take(&mut part))))
                .await
                .is_err()
                || failed
            {
                return;
            }
            match reader.next().await {
                Ok(next) => rows = next,
                // The answer breaks off unfinished, which every client notices.
                Err(refusal) => {
                    tracing::error!(%refusal, "an export broke off");
                    let _gone = parts.send(Err(std::io::Error::other(refusal))).await;
                    return;
                }
            }
        }
        if !part.is_empty() {
            let _gone = parts.send(Ok(Bytes::from(part))).await;
        }
    });
    let parts = stream::poll_fn(move |context| received.poll_recv(context));
    let mut response = warp::reply::stream(parts).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if form == ExportAs::Csv {
        response.headers_mut().insert(
            CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"serials.csv\""),
        );
    }
    Ok(response)
}

const COLUMNS: [&str; 8] = [
    "brand-id",
    "model",
    "serial",
    "revision",
    "created-at",
    "device-key-sha3-384",
    "sign-key-sha3-384",
    "state",
];

fn csv_head() -> Bytes {
    Bytes::from(format!("{}\r\n", COLUMNS.join(",")))
}

fn write_row(out: &mut Vec<u8>, row: &SerialRow, form: ExportAs) -> Result<(), std::io::Error> {
    match form {
        ExportAs::Ndjson => {
            serde_json::to_writer(&mut *out, &RowView::from(row))?;
            out.push(b'\n');
            Ok(())
        }
        ExportAs::Csv => {
            let state = match row.state {
                SerialState::Reserved => "reserved",
                SerialState::Issued => "issued",
                SerialState::Void => "void",
            };
            let mut writer = csv::WriterBuilder::new()
                .terminator(csv::Terminator::CRLF)
                .from_writer(out);
            writer.write_record([
                row.device.brand.as_str(),
                row.device.model.as_str(),
                &neutral(row.device.serial.as_str()),
                &row.revision.to_string(),
                &row.created_at.to_string(),
                &neutral(row.device_key.as_str()),
                &neutral(row.sign_key.as_ref().map_or("", KeyId::as_str)),
                state,
            ])?;
            writer.flush()
        }
    }
}

/// A cell no spreadsheet takes for a formula: one that begins like one gets an apostrophe in front
/// (serial-vault.md 11, 17 S24).
fn neutral(text: &str) -> String {
    match text.bytes().next() {
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r') => format!("'{text}"),
        Some(_) | None => text.to_owned(),
    }
}

/// `GET /hallmark/v1/serials/{model}/{serial}`: all revisions, highest first, and the latest assertion.
async fn show(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<serde_json::Value>> {
    let (model, serial): (ModelName, SerialNumber) = (input.variable("model")?, input.variable("serial")?);
    let story = serials::show(&app, &ctx, &model, &serial).await?;
    let sites = factory::by_key(&app, &ctx).await?;
    let rows: Vec<RowView<'_>> = story.rows.iter().map(|row| RowView::at(row, &sites)).collect();
    let latest = story
        .rows
        .iter()
        .find(|row| row.state == SerialState::Issued && !row.assertion.is_empty());
    Ok(Json(serde_json::json!({
        "brand-id": ctx.brand(),
        "model": model,
        "serial": serial,
        "standing": story.standing,
        "serials": rows,
        "assertion": latest.map(|row| String::from_utf8_lossy(&row.assertion).into_owned()),
    })))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct StandingView {
    model: ModelName,
    serial: SerialNumber,
    standing: Standing,
    since: Timestamp,
}

impl From<StandingRow> for StandingView {
    fn from(row: StandingRow) -> Self {
        Self {
            model: row.device.model,
            serial: row.device.serial,
            standing: row.standing,
            since: row.since,
        }
    }
}

/// `GET /hallmark/v1/models/{name}/standings`: judged serials, ordered by serial, after `after`.
async fn judged(app: App, ctx: BrandCtx, input: Input) -> Outcome<Json<Vec<StandingView>>> {
    let name = input.variable("name")?;
    let after: Option<SerialNumber> = input.query("after")?;
    let rows = serials::judged(&app, &ctx, &name, after.as_ref(), input.query("limit")?).await?;
    Ok(Json(rows.into_iter().map(StandingView::from).collect()))
}

/// A judgement in a request.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StandingWord {
    Allowed,
    Denied,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct JudgeBody {
    serials: Vec<SerialNumber>,
    standing: StandingWord,
}

#[derive(Debug, Serialize)]
struct JudgedView {
    count: usize,
}

/// `PUT /hallmark/v1/models/{name}/standings`: judges serials of the model.
async fn judge(app: App, ctx: BrandCtx, input: Input<Json<JudgeBody>>) -> Outcome<Json<JudgedView>> {
    let name = input.variable("name")?;
    let Json(body) = input.body;
    let standing = match body.standing {
        StandingWord::Allowed => Some(Standing::Allowed),
        StandingWord::Denied => Some(Standing::Denied),
        StandingWord::None => None,
    };
    serials::judge(&app, &ctx, &name, &body.serials, standing).await?;
    Ok(Json(JudgedView {
        count: body.serials.len(),
    }))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ApprovalView {
    model: ModelName,
    serial: SerialNumber,
    device_key_sha3_384: KeyId,
    state: Approval,
    since: Timestamp,
}

impl From<ApprovalRow> for ApprovalView {
    fn from(row: ApprovalRow) -> Self {
        Self {
            model: row.device.model,
            serial: row.device.serial,
            device_key_sha3_384: row.device_key,
            state: row.approval,
            since: row.since,
        }
    }
}

/// `GET /hallmark/v1/approvals`: requests that wait.
async fn waiting(app: App, ctx: BrandCtx, _input: Input) -> Outcome<Json<Vec<ApprovalView>>> {
    let rows = serials::approvals(&app, &ctx).await?;
    Ok(Json(rows.into_iter().map(ApprovalView::from).collect()))
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DecisionWord {
    Approve,
    Reject,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct DecideBody {
    model: ModelName,
    serial: SerialNumber,
    #[serde(default)]
    device_key_sha3_384: Option<KeyId>,
    decision: DecisionWord,
}

/// `POST /hallmark/v1/approvals`: a person's word about a waiting request.
async fn decide(app: App, ctx: BrandCtx, input: Input<Json<DecideBody>>) -> Outcome<Json<ApprovalView>> {
    let Json(body) = input.body;
    let decision = match body.decision {
        DecisionWord::Approve => Decision::Approve,
        DecisionWord::Reject => Decision::Reject,
    };
    let key = body.device_key_sha3_384.as_ref();
    Ok(Json(
        serials::decide(&app, &ctx, &body.model, &body.serial, key, decision)
            .await?
            .into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(serial: &str) -> SerialRow {
        SerialRow {
            position: 1,
            device: crate::domain::ident::DeviceId {
                brand: "acme".parse().unwrap(),
                model: "m1".parse().unwrap(),
                serial: serial.parse().unwrap(),
            },
            revision: 3,
            device_key: "-".repeat(64).parse().unwrap(),
            sign_key: None,
            created_at: Timestamp::from_unix(0),
            state: SerialState::Void,
            assertion: Bytes::new(),
        }
    }

    #[test]
    fn csv_cells_are_quoted_and_no_formulas() {
        let written = |serial| {
            let mut out = Vec::new();
            write_row(&mut out, &row(serial), ExportAs::Csv).unwrap();
            String::from_utf8(out).unwrap()
        };
        let rest = format!("3,1970-01-01T00:00:00Z,'{},,void\r\n", "-".repeat(64));
        assert_eq!(written("SN 1"), format!("acme,m1,SN 1,{rest}"));
        assert_eq!(written("a,\"b\""), format!("acme,m1,\"a,\"\"b\"\"\",{rest}"));
        for formula in ["=1+1", "+1", "-1", "@x"] {
            assert_eq!(written(formula), format!("acme,m1,'{formula},{rest}"));
        }
    }

    #[test]
    fn ndjson_rows_have_the_documented_fields() {
        let mut out = Vec::new();
        write_row(&mut out, &row("S"), ExportAs::Ndjson).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let mut expected = COLUMNS.to_vec();
        expected.sort_unstable();
        let mut fields: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, expected);
    }
}
