//! `token`: API tokens for programs.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::moment::span;
use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx, Format};
use crate::app::tokens::Use;
use crate::domain::ident::BrandId;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Create a token; prints it once, on stdout
    Create(Create),
    /// List your tokens and log-ins
    List(List),
    /// Revoke a token or log-in
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What it is for: prepare-image reads, ci publishes and releases snaps too, admin does all you may except what needs a person
    #[arg(long = "for", value_name = "USE", default_value = "ci")]
    purpose: Use,
    /// How long it is good: 90d, 12h, 30m
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = span)]
    expires: i64,
    /// Only for this brand
    #[arg(long, value_name = "ID")]
    brand: Option<BrandId>,
    /// What to call it in the list
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct List {}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// Id of the token, as listed
    id: String,
}

const ROW: &[Column] = &[
    Column::field("ID", "id"),
    Column::field("KIND", "kind"),
    Column::field("DESCRIPTION", "description"),
    Column::with("SCOPES", scopes),
    Column::field("BRAND", "brand-id"),
    Column::field("CREATED", "created-at"),
    Column::field("EXPIRES", "expires"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let client = Client::open(&BrandArg::default())?;
        match self {
            Self::Create(create) => create.run(&client, cx).await,
            Self::List(List {}) => cx.out.list(&client.get(&native(&["tokens"]), &[]).await?, ROW),
            Self::Revoke(Revoke { id }) => {
                client.delete(&native(&["tokens", &id])).await?;
                cx.out
                    .done(&json!({"id": id, "revoked": true}), &format!("revoked {id}"))
            }
        }
    }
}

impl Create {
    async fn run(self, client: &Client, cx: &Cx) -> Result<(), CliError> {
        let Self {
            purpose,
            expires,
            brand,
            description,
        } = self;
        let request = json!({"for": purpose, "ttl": expires, "brand-id": brand, "description": description});
        let token = client.post(&native(&["tokens"]), &request).await?;
        let text = |name: &str| token.get(name).and_then(Value::as_str).unwrap_or_default();
        match cx.out.format() {
            Format::Json => cx.out.json(&token)?,
            // Only the token on stdout: HALLMARK_TOKEN=$(hallmark token create)
            Format::Table => cx.out.data(format!("{}\n", text("token")).as_bytes())?,
        }
        cx.out.note(&format!(
            "token {} is good until {}; it is shown only now",
            text("id"),
            text("expires")
        ));
        Ok(())
    }
}

fn scopes(token: &Value) -> String {
    let names = token.get("permissions").and_then(Value::as_array);
    names.map_or_else(
        || "all".to_owned(),
        |names| {
            names
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        },
    )
}
