//! `key`: the signing keys of a brand.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::key_roll::Roll;
use super::moment::{Moment, now, span};
use super::remote::{Client, native, secret_file};
use super::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::ident::{KeyName, ModelName};
use crate::domain::time::Timestamp;
use crate::domain::vault::{KeyPurpose, TokenUri};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make an RSA-4096 key, here or in a hardware token, and register it
    Create(Create),
    /// Take a private key in: PEM (PKCS#8, PKCS#1), armoured OpenPGP, or one in a hardware token; 4096 bits or more
    Import(Import),
    /// List the keys of the brand
    List(OfBrand),
    /// Show one key
    Show(Named),
    /// Print the key's account-key assertion; where another root signs it, a request for one
    Register(Register),
    /// Switch a key off; refused while a model's serials are signed with it
    Disable(Named),
    /// Switch a key on again
    Enable(Named),
    /// Revoke a key for good: devices refuse everything it ever signed
    Revoke(Revoke),
    /// Open a key to the external key manager (hallmark-keymgr), or close it
    External(External),
    /// Replace a key by a new one, step by step: new key, serial policies, what it signed; then switch it off
    Roll(Roll),
    /// Print the encoded public key
    ExportPublic(Named),
}

#[derive(Debug, Args)]
pub(super) struct NewKey {
    /// Name of the key within the brand
    name: KeyName,
    /// What it may sign: model (default), serial, system-user, validation-set, validation, preseed, snap-build, snap-revision, repair
    #[arg(long = "purpose", value_name = "TYPE", value_delimiter = ',')]
    purposes: Vec<KeyPurpose>,
    /// Only for this model; its account-key says so too, which snapd before 2.64 does not accept
    #[arg(long = "model", value_name = "MODEL", value_delimiter = ',')]
    models: Vec<ModelName>,
    /// Say purposes and models in the account-key: on by default with --model; off = only this vault enforces them
    #[arg(long, value_enum, value_name = "WHEN", hide_possible_values = true)]
    constraints: Option<Switch>,
    /// Start of validity: a time or date; now when omitted
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// End of validity: a time, a date, or a span from now (730d); never when omitted
    #[arg(long, value_name = "TIME", value_parser = end)]
    until: Option<Timestamp>,
    /// Open it to the external key manager
    #[arg(long)]
    external: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    key: NewKey,
    /// Make it in this hardware token, which it never leaves: label, or pkcs11:token=LABEL
    #[arg(long, value_name = "TOKEN", value_parser = TokenUri::token)]
    token: Option<TokenUri>,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    #[command(flatten)]
    key: NewKey,
    /// The private key (- is stdin)
    #[arg(required_unless_present = "reference")]
    file: Option<PathBuf>,
    /// Use the key that is in a hardware token, and stays there: pkcs11:token=LABEL;object=LABEL;id=BYTES
    #[arg(long, value_name = "URI", conflicts_with_all = ["file", "passphrase_file"], value_parser = TokenUri::key)]
    reference: Option<TokenUri>,
    /// Read the passphrase of an OpenPGP key from the first line of this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct OfBrand {
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// Name of the key
    name: KeyName,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Register {
    /// Name of the key
    name: KeyName,
    /// Set another end of validity: a time, a date, or a span from now (730d)
    #[arg(long, value_name = "TIME", value_parser = end)]
    until: Option<Timestamp>,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// Name of the key
    name: KeyName,
    /// Yes, everything it signed shall be worthless
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct External {
    /// Name of the key
    name: KeyName,
    /// on or off
    #[arg(value_enum, hide_possible_values = true)]
    state: Switch,
    #[command(flatten)]
    brand: BrandArg,
}

const ROW: &[Column] = &[
    Column::field("NAME", "name"),
    Column::field("PURPOSES", "purposes"),
    Column::field("MODELS", "models"),
    Column::with("STATE", state),
    Column::field("UNTIL", "until"),
    Column::field("SHA3-384", "public-key-sha3-384"),
];

const CARD: &[Column] = &[
    Column::field("Key", "name"),
    Column::field("Brand", "brand-id"),
    Column::field("SHA3-384", "public-key-sha3-384"),
    Column::field("Purposes", "purposes"),
    Column::field("Models", "models"),
    Column::field("Constrained", "constrained"),
    Column::with("State", state),
    Column::field("External", "external"),
    Column::with("Kept", kept),
    Column::field("Since", "since"),
    Column::field("Until", "until"),
    Column::field("Created", "created-at"),
    Column::field("Account-key revision", "account-key-revision"),
];

/// `active`, `disabled`, and whether devices can know it.
fn state(key: &Value) -> String {
    let state = key.get("state").and_then(Value::as_str).unwrap_or("-");
    let registered = key.get("account-key-revision").is_some_and(Value::is_number);
    if registered {
        state.to_owned()
    } else {
        format!("{state}, not registered")
    }
}

/// Where its private half is.
fn kept(key: &Value) -> String {
    match (
        key.get("token").and_then(Value::as_str),
        key.get("state").and_then(Value::as_str),
    ) {
        (Some(token), _) => token.to_owned(),
        (None, Some("deleted")) => "nowhere: destroyed".to_owned(),
        (None, _) => "sealed in the database".to_owned(),
    }
}

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Create(Create { key, token }) => {
                cx.out.note("making an RSA-4096 key; this takes a while");
                let client = Client::open(&key.brand)?;
                let mut request = key.request();
                if let (Some(token), Some(fields)) = (token, request.as_object_mut()) {
                    fields.insert("token".to_owned(), json!(token));
                }
                let made = client.post(&native(&["keys"]), &request).await?;
                shown(cx, &made)
            }
            Self::Import(import) => import.run(cx).await,
            Self::List(OfBrand { brand }) => cx
                .out
                .list(&Client::open(&brand)?.get(&native(&["keys"]), &[]).await?, ROW),
            Self::Show(Named { name, brand }) => {
                let path = native(&["keys", name.as_str()]);
                cx.out.item(&Client::open(&brand)?.get(&path, &[]).await?, CARD)
            }
            Self::Register(register) => register.run(cx).await,
            Self::Disable(named) => named.switch(cx, "disable").await,
            Self::Enable(named) => named.switch(cx, "enable").await,
            Self::Revoke(revoke) => revoke.run(cx).await,
            Self::External(External { name, state, brand }) => {
                let on = matches!(state, Switch::On);
                let path = native(&["keys", name.as_str(), "external"]);
                let key = Client::open(&brand)?.put(&path, &json!({"external": on})).await?;
                let to = if on { "opened to" } else { "closed to" };
                cx.out
                    .done(&key, &format!("key {name} is {to} the external key manager"))
            }
            Self::Roll(roll) => roll.run(cx).await,
            Self::ExportPublic(Named { name, brand }) => {
                let path = native(&["keys", name.as_str(), "public"]);
                let key = Client::open(&brand)?.get(&path, &[]).await?;
                text(cx, &key, "public-key", "\n")
            }
        }
    }
}

impl NewKey {
    fn request(&self) -> Value {
        json!({
            "name": self.name,
            "purposes": self.purposes,
            "models": self.models,
            "constrained": self.constraints.map(|switch| matches!(switch, Switch::On)),
            "since": self.since.map(|since| since.from(now())),
            "until": self.until,
            "external": self.external,
        })
    }
}

impl Import {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let request = match (&self.file, &self.reference) {
            (Some(file), None) => {
                let failed = |error| CliError::failed(format!("cannot read {}", file.display()), error);
                let private_key = Zeroizing::new(match file.to_str() {
                    Some("-") => std::io::read_to_string(std::io::stdin()).map_err(failed)?,
                    _ => std::fs::read_to_string(file).map_err(failed)?,
                });
                let passphrase = self.passphrase_file.as_deref().map(secret_file).transpose()?;
                json!({
                    "key": self.key.request(),
                    "private-key": private_key.as_str(),
                    "passphrase": passphrase.as_ref().map(|text| text.as_str()),
                })
            }
            (_, reference) => json!({
                "key": self.key.request(),
                "reference": reference,
            }),
        };
        let client = Client::open(&self.key.brand)?;
        shown(cx, &client.post(&native(&["keys", "import"]), &request).await?)
    }
}

impl Named {
    async fn switch(self, cx: &Cx, verb: &str) -> Result<(), CliError> {
        let path = native(&["keys", self.name.as_str(), verb]);
        let key = Client::open(&self.brand)?.post(&path, &json!({})).await?;
        cx.out.done(&key, &format!("{verb}d key {}", self.name))
    }
}

impl Register {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let path = native(&["keys", self.name.as_str(), "register"]);
        let answer = Client::open(&self.brand)?
            .post(&path, &json!({"until": self.until}))
            .await?;
        if answer.get("account-key").is_some_and(Value::is_string) {
            return text(cx, &answer, "account-key", "");
        }
        text(cx, &answer, "account-key-request", "")?;
        cx.out.note(
            "another root registers this key: send it the request above, then `hallmark assertion import` its answer",
        );
        Ok(())
    }
}

impl Revoke {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        if !self.yes {
            return Err(CliError::Usage(format!(
                "cannot revoke key {} just like that: devices will refuse everything it ever signed; \
                 replace what it signed first, then repeat with --yes",
                self.name
            )));
        }
        let path = native(&["keys", self.name.as_str(), "revoke"]);
        let answer = Client::open(&self.brand)?.post(&path, &json!({})).await?;
        text(cx, &answer, "account-key", "")?;
        cx.out.note(&format!(
            "revoked key {}: above is its last account-key",
            self.name
        ));
        Ok(())
    }
}

/// Prints the text in `field` of `answer` as it is; for programs the whole answer.
fn text(cx: &Cx, answer: &Value, field: &str, end: &str) -> Result<(), CliError> {
    match cx.out.format() {
        Format::Json => cx.out.json(answer),
        Format::Table => {
            let text = answer.get(field).and_then(Value::as_str).unwrap_or_default();
            cx.out.data(format!("{text}{end}").as_bytes())
        }
    }
}

fn shown(cx: &Cx, key: &Value) -> Result<(), CliError> {
    cx.out.item(key, CARD)?;
    if !key.get("account-key-revision").is_some_and(Value::is_number) {
        cx.out
            .note("the key is not registered yet: see `hallmark key register`");
    }
    Ok(())
}

/// A point in time, or a span from now.
fn end(text: &str) -> Result<Timestamp, String> {
    match span(text) {
        Ok(seconds) => Ok(now().plus_seconds(seconds)),
        Err(_) => text
            .parse::<Moment>()
            .map(|moment| moment.from(now()))
            .map_err(|_| {
                "a time is expected: 2030-01-31, 2030-01-31T10:00:00Z, or a span from now: 730d".to_owned()
            }),
    }
}
