//! `factory`: sites whose boxes sign serials offline. `request` and `status` are for the box, by who owns its data; the other
//! verbs are for the centre. Grants and logs travel as bundles: `export factory`, `export log`, `import`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::bundle::factory::without_bundle;
use super::local;
use super::open::SettingsArgs;
use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx, Format};
use crate::domain::vault::SiteName;
use crate::http::local::Task;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// On the box: write its request, to be carried to the centre
    Request(Request),
    /// On the box: show its site, and what it may sign until when
    Status(Status),
    /// List the sites of a brand
    List(List),
    /// Show a site: its grants, how many serials it used, the end of its log
    Show(Show),
    /// Give a site no grants any more; the one it has ends by itself
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(super) struct Request {
    /// Where to write it; must not be there yet
    file: PathBuf,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The site
    site: SiteName,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The site
    site: SiteName,
    #[command(flatten)]
    brand: BrandArg,
}

const ROW: &[Column] = &[
    Column::field("SITE", "site"),
    Column::field("STATE", "state"),
    Column::field("GRANT", "grant/number"),
    Column::field("MODELS", "grant/models"),
    Column::field("SERIALS", "grant/serials"),
    Column::field("UNTIL", "grant/until"),
    Column::with("USED", used),
    Column::field("LAST LOG", "last-log"),
];

const CARD: &[Column] = &[
    Column::field("Site", "site"),
    Column::field("Brand", "brand-id"),
    Column::field("State", "state"),
    Column::field("Key", "public-key-sha3-384"),
    Column::field("Grant", "grant/number"),
    Column::field("Models", "grant/models"),
    Column::field("Serials", "grant/serials"),
    Column::field("Since", "grant/since"),
    Column::field("Until", "grant/until"),
    Column::field("Count", "grant/count"),
    Column::with("Used", used),
    Column::field("Log up to entry", "last-entry"),
    Column::field("Last log", "last-log"),
    Column::field("Revoked", "revoked-at"),
    Column::field("Enrolled", "created-at"),
];

const BOX: &[Column] = &[
    Column::field("Site", "site"),
    Column::field("Brand", "brand-id"),
    Column::field("Key", "key-id"),
    Column::field("Grant", "grant/number"),
    Column::field("Models", "grant/models"),
    Column::field("Serials", "grant/serials"),
    Column::field("Until", "grant/until"),
    Column::field("Count", "grant/count"),
    Column::field("Centre has entries", "acknowledged"),
    Column::field("Centre signs as", "centre"),
];

/// How many serials came in, by model.
fn used(site: &Value) -> String {
    let used = site.get("used").and_then(Value::as_object);
    let used: Vec<String> = used
        .into_iter()
        .flatten()
        .map(|(model, count)| format!("{model}: {count}"))
        .collect();
    if used.is_empty() {
        "-".to_owned()
    } else {
        used.join(", ")
    }
}

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Request(Request { file, settings }) => {
                let answer = local::perform(&settings.load_quietly()?, Task::FactoryRequest).await?;
                let card = without_bundle(&answer, &file)?;
                cx.out.item(
                    &card,
                    &[
                        Column::field("Site", "site"),
                        Column::field("Brand", "brand-id"),
                        Column::field("Key", "public-key-sha3-384"),
                        Column::field("File", "file"),
                    ],
                )
            }
            Self::Status(Status { settings }) => {
                let state = local::perform(&settings.load_quietly()?, Task::FactoryStatus).await?;
                cx.out.item(&state, BOX)
            }
            Self::List(List { brand }) => {
                let sites = Client::open(&brand)?.get(&native(&["factories"]), &[]).await?;
                cx.out.list(&sites, ROW)
            }
            Self::Show(Show { site, brand }) => {
                let path = native(&["factories", site.as_str()]);
                cx.out.item(&Client::open(&brand)?.get(&path, &[]).await?, CARD)
            }
            Self::Revoke(Revoke { site, brand }) => {
                let path = native(&["factories", site.as_str(), "revoke"]);
                let answer = Client::open(&brand)?.post(&path, &json!({})).await?;
                let until = answer.get("grant").and_then(|grant| grant.get("until"));
                if let (Format::Table, Some(until)) = (cx.out.format(), until.and_then(Value::as_str)) {
                    cx.out.note(&format!(
                        "its box can go on signing until {until}: nobody can call its key back before"
                    ));
                }
                cx.out
                    .done(&answer, &format!("site {site} gets no grants any more"))
            }
        }
    }
}
