//! `assertion import`, `export` and `show`: the assertions a server keeps.

use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::assertion_verify::{assertions, primary_key};
use super::remote::{Client, Content, native};
use super::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::assertion::{self, Assertion, AssertionType, StreamDecoder, encode_stream};

const ASSERTION: &str = "application/x.ubuntu.assertion";

const IMPORT_AFTER: &str = "\
The files may be in any order and hold several assertions each; all of them are taken or none. What is there already \
changes nothing. Each must chain to a root the server trusts: its own, or one added with `hallmark trust import`.";

#[derive(Debug, Args)]
#[command(after_help = IMPORT_AFTER)]
pub(super) struct Import {
    /// Files with assertions (- is stdin)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Only assertions of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<AssertionType>,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Type of the assertion: account, account-key, model, serial, validation-set...
    #[arg(value_name = "TYPE")]
    kind: AssertionType,
    /// Headers it must have: brand-id=acme model=gate-1
    #[arg(value_name = "HEADER=VALUE")]
    headers: Vec<Header>,
    #[command(flatten)]
    brand: BrandArg,
}

/// A header and its value.
#[derive(Clone, Debug)]
struct Header(String);

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, _)) if assertion::is_header_name(name) => Ok(Self(text.to_owned())),
            Some(_) | None => Err("HEADER=VALUE is expected".to_owned()),
        }
    }
}

const ROW: &[Column] = &[
    Column::field("TYPE", "type"),
    Column::with("PRIMARY KEY", primary_key),
    Column::field("REVISION", "revision"),
    Column::field("OUTCOME", "outcome"),
];

impl Import {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let mut all = Vec::new();
        for file in &self.files {
            all.extend(assertions(file)?);
        }
        let stream = encode_stream(all.iter().map(|assertion| assertion.encoded()));
        let client = Client::open(&self.brand)?;
        let content = Content::Bytes(ASSERTION, stream.to_vec());
        let rows = client
            .json(Method::POST, &native(&["assertions"]), &[], content)
            .await?;
        cx.out.list(&rows, ROW)
    }
}

impl Export {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let kind = self.kind.map(AssertionType::name);
        let query: Vec<(&str, &str)> = kind.map(|kind| ("type", kind)).into_iter().collect();
        print(cx, fetch(&self.brand, &query).await?)
    }
}

impl Show {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let mut query = vec![("type", self.kind.name())];
        query.extend(self.headers.iter().map(|header| ("header", header.0.as_str())));
        print(cx, fetch(&self.brand, &query).await?)
    }
}

async fn fetch(brand: &BrandArg, query: &[(&str, &str)]) -> Result<Bytes, CliError> {
    let client = Client::open(brand)?;
    Ok(client
        .bytes(Method::GET, &native(&["assertions"]), query, Content::Empty)
        .await?
        .into())
}

/// The stream as it is, or each assertion with its headers as JSON.
fn print(cx: &Cx, stream: Bytes) -> Result<(), CliError> {
    match cx.out.format() {
        Format::Table => cx.out.data(&stream),
        Format::Json => {
            let all: Result<Vec<Value>, _> = StreamDecoder::new(stream)
                .map(|assertion| assertion.map(|assertion| row(&assertion)))
                .collect();
            cx.out
                .json(&all.map_err(|e| CliError::failed("cannot read the answer", e))?)
        }
    }
}

fn row(assertion: &Assertion) -> Value {
    let info = assertion.kind().info();
    let values = assertion
        .primary_key()
        .0
        .iter()
        .map(|value| Value::from(value.as_str()));
    let key: Map<String, Value> = info
        .primary_key
        .iter()
        .map(|name| (*name).to_owned())
        .zip(values)
        .collect();
    let headers: Map<String, Value> = assertion
        .headers()
        .iter()
        .map(|(name, value)| (name.to_owned(), document(value)))
        .collect();
    json!({
        "type": info.name,
        "primary-key": key,
        "revision": assertion.revision(),
        "headers": headers,
        "assertion": String::from_utf8_lossy(assertion.encoded()),
    })
}

fn document(value: &assertion::Value) -> Value {
    match value {
        assertion::Value::Text(text) => Value::from(text.as_str()),
        assertion::Value::List(list) => list.iter().map(document).collect(),
        assertion::Value::Map(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), document(value)))
            .collect(),
    }
}
