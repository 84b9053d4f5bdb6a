//! `token`: API tokens for programs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use libmacaroon::{Caveat, Macaroon};
use serde_json::{Value, json};

use super::moment::span;
use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx, Format};
use crate::app::tokens::Use;
use crate::domain::access::Pattern;
use crate::domain::ident::{BrandId, SnapName, StoreId};

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
    /// Only for these snaps, which need not be registered yet
    #[arg(long, value_name = "SNAP,…", value_delimiter = ',')]
    packages: Vec<SnapName>,
    /// Only for channels that one of these patterns fits: edge, '2.*/candidate', '*/beta'
    #[arg(long, value_name = "PATTERN,…", value_delimiter = ',')]
    channels: Vec<Pattern>,
    /// Only for these stores
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    store: Vec<StoreId>,
    /// Print it as snapcraft takes it: SNAPCRAFT_STORE_CREDENTIALS=$(hallmark token create --snapcraft)
    #[arg(long)]
    snapcraft: bool,
    /// With --snapcraft: for snapcraft without SNAPCRAFT_STORE_AUTH=onprem, which wants two macaroons
    #[arg(long, requires = "snapcraft")]
    u1: bool,
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
    Column::with("ONLY FOR", only),
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
            packages,
            channels,
            store,
            snapcraft,
            u1,
            description,
        } = self;
        let request = json!({
            "for": purpose, "ttl": expires, "brand-id": brand, "description": description,
            "packages": some(&packages), "channels": some(&channels), "store-ids": some(&store),
        });
        let mut token = client.post(&native(&["tokens"]), &request).await?;
        let secret = field(&token, "token").to_owned();
        let credentials = match (snapcraft, u1) {
            (false, _) => None,
            (true, false) => Some(json!({"t": "macaroon", "v": secret})),
            (true, true) => Some(pair(client, &secret, expires).await?),
        };
        let credentials = credentials.map(|value| STANDARD.encode(value.to_string()));
        let shown = credentials.clone().unwrap_or(secret);
        if let (Some(text), Value::Object(fields)) = (credentials, &mut token) {
            fields.insert("snapcraft".to_owned(), text.into());
        }
        match cx.out.format() {
            Format::Json => cx.out.json(&token)?,
            // Only the token on stdout: HALLMARK_TOKEN=$(hallmark token create)
            Format::Table => cx.out.data(format!("{shown}\n").as_bytes())?,
        }
        let text = |name: &str| field(&token, name);
        cx.out.note(&format!(
            "token {} is good until {}; it is shown only now",
            text("id"),
            text("expires")
        ));
        Ok(())
    }
}

/// The snaps, channels and stores it is limited to.
fn only(token: &Value) -> String {
    let limits = ["packages", "channels", "store-ids"].map(|name| token.get(name).and_then(Value::as_array));
    let limits = limits.into_iter().flatten().flatten().filter_map(Value::as_str);
    limits.collect::<Vec<_>>().join(", ")
}

/// A root and a discharge that names `token`, which stands in for the password at the log-in.
async fn pair(client: &Client, token: &str, expires: i64) -> Result<Value, CliError> {
    let strange = |what: &str| CliError::Failed(format!("cannot make credentials for snapcraft: {what}"));
    let whoami = client.get(&native(&["whoami"]), &[]).await?;
    let root = client.post("/v1/tokens", &json!({"ttl": expires})).await?;
    let root = field(&root, "macaroon");
    let macaroon = Macaroon::deserialize(root).map_err(|_| strange("the server sent no macaroon"))?;
    let caveat = macaroon.caveats().iter().find_map(|caveat| match caveat {
        Caveat::ThirdParty(caveat) => std::str::from_utf8(caveat.id()).ok(),
        Caveat::FirstParty(_) => None,
    });
    let caveat = caveat.ok_or_else(|| strange("the macaroon needs no log-in"))?;
    let login = json!({"email": field(&whoami, "email"), "password": token, "caveat_id": caveat});
    let discharge = client.post("/api/v2/tokens/discharge", &login).await?;
    Ok(json!({"t": "u1-macaroon", "v": {"r": root, "d": field(&discharge, "discharge_macaroon")}}))
}

fn field<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn some<T>(list: &[T]) -> Option<&[T]> {
    (!list.is_empty()).then_some(list)
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
