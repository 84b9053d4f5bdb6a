//! `model`: models the vault serves, their API keys and serial policies, and signing model assertions.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::issuing::{Registering, Settings};
use super::moment::{now, span};
use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::ident::{KeyName, ModelName};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Sign a model assertion with a brand key, keep it, and print it
    Sign(Sign),
    /// Let the vault serve a model; prints its API key once
    Create(Create),
    /// List the models the vault serves
    List(List),
    /// Show one model
    Show(Named),
    /// Let another key sign the serials of a model from now on
    Policy(Policy),
    /// Print a ready prepare-device hook for the model's gadget
    Hook(Hook),
    /// Say what devices become when they register from now on: production devices, with a tag
    Fleet(Fleet),
    /// Stop serving a model: no serials, no sessions
    Disable(Named),
    /// Serve a disabled model again
    Enable(Named),
    /// API keys of a model: several can be in force while one replaces another
    #[command(subcommand)]
    ApiKey(ApiKeyVerb),
}

#[derive(Debug, Args)]
pub(super) struct Sign {
    /// The model's headers as JSON (what `snap sign` takes) or YAML; - is stdin
    file: PathBuf,
    /// The signing key [default: model]
    #[arg(short = 'k', long, env = "HALLMARK_KEY", value_name = "NAME")]
    key: Option<KeyName>,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Name of the model, as in its assertion
    name: ModelName,
    /// Take this API key, of more than 10 characters, instead of making one
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// The key that signs its serials [default: serial]
    #[arg(long, value_name = "NAME")]
    key: Option<KeyName>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    registering: Registering,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The model
    name: ModelName,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Fleet {
    /// The model
    name: ModelName,
    #[command(flatten)]
    registering: Registering,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Policy {
    /// The model
    name: ModelName,
    /// The key that shall sign its serials
    #[arg(long, value_name = "NAME")]
    key: KeyName,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Hook {
    /// The model
    name: ModelName,
    /// The API key to write into it; it must be one of the model's
    #[arg(long, value_name = "KEY", conflicts_with = "new_api_key")]
    api_key: Option<String>,
    /// Make a new API key for it
    #[arg(long)]
    new_api_key: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeyVerb {
    /// Add an API key; prints it once
    Add(AddKey),
    /// Add an API key and let the others end after a while; prints it once
    Rotate(Rotate),
    /// List the API keys of a model
    List(Named),
    /// Set when an API key ends
    Expire(Expire),
    /// Revoke an API key at once
    Revoke(OneKey),
}

#[derive(Debug, Args)]
pub(super) struct AddKey {
    /// The model
    model: ModelName,
    /// Take this key, of more than 10 characters, instead of making one
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// How long it is good: 90d, 12h; for ever when omitted
    #[arg(long, value_name = "SPAN", value_parser = span)]
    expires: Option<i64>,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// The model
    model: ModelName,
    /// How long the other keys stay good: 30d, 12h
    #[arg(long, value_name = "SPAN", default_value = "30d", value_parser = span)]
    overlap: i64,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Expire {
    /// The model
    model: ModelName,
    /// The API key's id, as listed
    id: String,
    /// How long it is good from now on: 30d, 12h
    #[arg(long = "in", value_name = "SPAN", value_parser = span, required_unless_present = "never")]
    expires: Option<i64>,
    /// It never ends
    #[arg(long, conflicts_with = "expires")]
    never: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct OneKey {
    /// The model
    model: ModelName,
    /// The API key's id, as listed
    id: String,
    #[command(flatten)]
    brand: BrandArg,
}

const ROW: &[Column] = &[
    Column::field("MODEL", "name"),
    Column::field("KEY", "key"),
    Column::field("RE-ISSUE", "reissue"),
    Column::field("AUTH", "auth"),
    Column::with("API KEYS", |row| count(row.get("api-keys"))),
    Column::field("DISABLED", "disabled"),
    Column::field("CREATED", "created-at"),
];

const CARD: &[Column] = &[
    Column::field("Model", "name"),
    Column::field("Brand", "brand-id"),
    Column::field("Serials signed by", "key"),
    Column::with("Policy revision", |row| count(row.get("policies"))),
    Column::field("Re-issue", "reissue"),
    Column::field("Authentication", "auth"),
    Column::field("Allow-list only", "allow-list"),
    Column::field("Quota", "quota"),
    Column::with("API keys", |row| {
        let keys = row
            .get("api-keys")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let ids: Vec<&str> = keys.iter().filter_map(|key| key.get("id")?.as_str()).collect();
        if ids.is_empty() {
            "-".to_owned()
        } else {
            ids.join(", ")
        }
    }),
    Column::field("Production devices", "production"),
    Column::field("Tag", "tag"),
    Column::field("Disabled", "disabled"),
    Column::field("Created", "created-at"),
];

const KEY_ROW: &[Column] = &[
    Column::field("ID", "id"),
    Column::field("CREATED", "created-at"),
    Column::field("EXPIRES", "expires-at"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Sign(sign) => sign.run(cx).await,
            Self::Create(create) => create.run(cx).await,
            Self::List(List { brand }) => cx
                .out
                .list(&Client::open(&brand)?.get(&native(&["models"]), &[]).await?, ROW),
            Self::Show(Named { name, brand }) => cx
                .out
                .item(&Client::open(&brand)?.get(&path(&name, &[]), &[]).await?, CARD),
            Self::Policy(Policy { name, key, brand }) => {
                let client = Client::open(&brand)?;
                let model = client
                    .post(&path(&name, &["policies"]), &json!({ "key": key }))
                    .await?;
                cx.out.done(
                    &model,
                    &format!("serials of model {name} are now signed by key {key}"),
                )
            }
            Self::Hook(hook) => hook.run(cx).await,
            Self::Fleet(fleet) => fleet.run(cx).await,
            Self::Disable(named) => named.switch(cx, true).await,
            Self::Enable(named) => named.switch(cx, false).await,
            Self::ApiKey(verb) => verb.run(cx).await,
        }
    }
}

impl Sign {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let statement = read_text(&self.file)?;
        let body = json!({ "statement": statement, "key": self.key });
        let signed = Client::open(&self.brand)?
            .post(&native(&["model-assertions"]), &body)
            .await?;
        let warnings = signed
            .get("warnings")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for warning in warnings.filter_map(Value::as_str) {
            cx.out.warn(warning);
        }
        cx.out.data(text_of(&signed, "assertion").as_bytes())
    }
}

impl Create {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let mut body = self.settings.body();
        self.registering.add_to(&mut body);
        body.insert("name".to_owned(), json!(self.name));
        body.insert("api-key".to_owned(), json!(self.api_key));
        body.insert("key".to_owned(), json!(self.key));
        let model = Client::open(&self.brand)?
            .post(&native(&["models"]), &body)
            .await?;
        let note = format!(
            "model {} is served from now on; its API key is shown only this once",
            self.name
        );
        print_key(cx, &model, &note)
    }
}

impl Fleet {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        if self.registering.is_empty() {
            return Err(CliError::Usage(
                "cannot change the model: give --production or --tag".to_owned(),
            ));
        }
        let mut body = serde_json::Map::new();
        self.registering.add_to(&mut body);
        let model = Client::open(&self.brand)?
            .put(&path(&self.name, &[]), &body)
            .await?;
        cx.out.done(
            &model,
            &format!(
                "devices of model {} that register from now on follow this",
                self.name
            ),
        )
    }
}

impl Hook {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let body = json!({ "api-key": self.api_key, "new-api-key": self.new_api_key });
        let answer = Client::open(&self.brand)?
            .post(&path(&self.name, &["hook"]), &body)
            .await?;
        if self.api_key.is_none() && !self.new_api_key {
            cx.out.note(
                "the API key is not known any more: put it into the hook, or use --api-key or --new-api-key",
            );
        }
        cx.out.data(text_of(&answer, "hook").as_bytes())
    }
}

impl Named {
    async fn switch(self, cx: &Cx, disabled: bool) -> Result<(), CliError> {
        let client = Client::open(&self.brand)?;
        let model = client
            .put(&path(&self.name, &[]), &json!({ "disabled": disabled }))
            .await?;
        let word = if disabled {
            "not served any more"
        } else {
            "served again"
        };
        cx.out.done(&model, &format!("model {} is {word}", self.name))
    }
}

impl ApiKeyVerb {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Add(AddKey {
                model,
                api_key,
                expires,
                brand,
            }) => {
                let expires = expires.map(|span| now().plus_seconds(span));
                let body = json!({ "api-key": api_key, "expires-at": expires });
                let answer = Client::open(&brand)?
                    .post(&path(&model, &["api-keys"]), &body)
                    .await?;
                print_key(cx, &answer, "the API key is shown only this once")
            }
            Self::Rotate(Rotate {
                model,
                overlap,
                brand,
            }) => {
                let body = json!({ "retire-others-after": overlap });
                let answer = Client::open(&brand)?
                    .post(&path(&model, &["api-keys"]), &body)
                    .await?;
                let ends = now().plus_seconds(overlap);
                let note = format!("the API key is shown only this once; the others end at {ends}");
                print_key(cx, &answer, &note)
            }
            Self::List(Named { name, brand }) => {
                let model = Client::open(&brand)?.get(&path(&name, &[]), &[]).await?;
                cx.out
                    .list(model.get("api-keys").unwrap_or(&Value::Null), KEY_ROW)
            }
            Self::Expire(Expire {
                model,
                id,
                expires,
                never: _,
                brand,
            }) => {
                let client = Client::open(&brand)?;
                let expires = expires.map(|span| now().plus_seconds(span));
                let body = json!({ "expires-at": expires });
                let answer = client.put(&path(&model, &["api-keys", &id]), &body).await?;
                let when = expires.map_or_else(|| "never ends".to_owned(), |time| format!("ends at {time}"));
                cx.out
                    .done(&answer, &format!("API key {id} of model {model} {when}"))
            }
            Self::Revoke(OneKey { model, id, brand }) => {
                let answer = Client::open(&brand)?
                    .delete(&path(&model, &["api-keys", &id]))
                    .await?;
                cx.out
                    .done(&answer, &format!("API key {id} of model {model} is revoked"))
            }
        }
    }
}

/// A new API key alone on stdout, so that scripts can take it; the rest is for people.
fn print_key(cx: &Cx, answer: &Value, note: &str) -> Result<(), CliError> {
    match cx.out.format() {
        Format::Json => cx.out.json(answer),
        Format::Table => {
            cx.out.note(note);
            cx.out
                .data(format!("{}\n", text_of(answer, "api-key")).as_bytes())
        }
    }
}

/// The string `field` of an answer.
pub(super) fn text_of<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A text file; `-` is stdin.
pub(super) fn read_text(path: &std::path::Path) -> Result<String, CliError> {
    let text = match path.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()),
        Some(_) | None => std::fs::read_to_string(path),
    };
    text.map_err(|error| CliError::failed(format!("cannot read {}", path.display()), error))
}

fn path(model: &ModelName, rest: &[&str]) -> String {
    let mut parts = vec!["models", model.as_str()];
    parts.extend(rest);
    native(&parts)
}

fn count(items: Option<&Value>) -> String {
    items.and_then(Value::as_array).map_or(0, Vec::len).to_string()
}
