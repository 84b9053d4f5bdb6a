//! `store`: the stores of a brand, their settings, and which snaps they show.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx};
use crate::domain::access::Role;
use crate::domain::ident::{Email, SnapName, StoreId};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Create a store: a view of a base store with --parent, else a base store (instance operator)
    Create(Create),
    /// List the stores of a brand
    List(List),
    /// Show one store
    Show(Named),
    /// Change settings of a store; what is not named stays
    Settings(Settings),
    /// List the snaps a store shows, and why
    Snaps(Named),
    /// Show a snap of another store in this one too
    Include(One),
    /// No longer show a snap of another store here
    Exclude(One),
    /// Print what points a device at a store
    Connect(super::store_connect::Connect),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Product,
    Ecosystem,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Review {
    Allow,
    Avoid,
    Require,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Id of the store, unique on the instance; devices name it in their model
    store: StoreId,
    /// Name for people
    #[arg(long)]
    name: String,
    /// The base store whose snaps it can show
    #[arg(long, value_name = "BASE")]
    parent: Option<StoreId>,
    /// What it is for: a product of the brand, or a partner's ecosystem [default: product]
    #[arg(long, value_enum, requires = "parent", hide_possible_values = true)]
    kind: Option<Kind>,
    /// Stores whose snaps it may include one by one, separated by commas [default: the base store]
    #[arg(long, requires = "parent", value_delimiter = ',', value_name = "STORES")]
    include_from: Option<Vec<StoreId>>,
    /// Only shown to who names the store
    #[arg(long)]
    private: bool,
    /// What happens to uploads after the automatic checks: allow, avoid or require a person
    #[arg(long, value_enum, value_name = "POLICY", hide_possible_values = true)]
    manual_review_policy: Option<Review>,
    /// Somebody with roles in it from the beginning: EMAIL=ROLE,ROLE; may be given several times
    #[arg(long = "member", value_name = "MEMBER", value_parser = first_member)]
    members: Vec<(Email, Vec<Role>)>,
    #[command(flatten)]
    brand: BrandArg,
}

/// `EMAIL=ROLE,ROLE`.
fn first_member(text: &str) -> Result<(Email, Vec<Role>), String> {
    let (email, roles) = text
        .rsplit_once('=')
        .ok_or_else(|| "EMAIL=ROLE,ROLE is expected".to_owned())?;
    let email = Email::normal(email).map_err(|e| e.to_string())?;
    let roles = roles.split(',').map(|role| role.trim().parse::<Role>());
    let roles: Result<Vec<Role>, _> = roles.collect();
    Ok((email, roles.map_err(|e| e.to_string())?))
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The store
    store: StoreId,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// The store
    store: StoreId,
    /// The snap
    snap: SnapName,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Debug, Args)]
pub(super) struct Settings {
    /// The store
    store: StoreId,
    /// Name for people
    #[arg(long)]
    name: Option<String>,
    /// Only shown to who names the store: true or false
    #[arg(long, value_name = "BOOL")]
    private: Option<bool>,
    /// What happens to uploads after the automatic checks: allow, avoid or require a person
    #[arg(long, value_enum, value_name = "POLICY", hide_possible_values = true)]
    manual_review_policy: Option<Review>,
    /// Stores whose snaps may be included one by one, separated by commas; "" for none (those of other brands: instance
    /// operator)
    #[arg(long, value_name = "STORES")]
    allowed_inclusion_source_stores: Option<String>,
    /// Stores that may include snaps from here, separated by commas; "" for all (instance operator)
    #[arg(long, value_name = "STORES")]
    allowed_inclusion_target_stores: Option<String>,
    /// Stores whose snaps are all shown here, separated by commas; "" for none (those of other brands: instance
    /// operator)
    #[arg(long, value_name = "STORES")]
    store_whitelist: Option<String>,
    /// How names of snaps registered here begin, separated by commas; "" for anyhow (instance operator)
    #[arg(long, value_name = "PREFIXES")]
    snap_name_prefixes: Option<String>,
    /// Views of this store do not take these beginnings over
    #[arg(long, requires = "snap_name_prefixes")]
    no_inherit: bool,
    /// How many unreleased revisions are kept of each snap registered here; "" for all
    #[arg(long, value_name = "NUMBER", value_parser = number_or_none)]
    keep_unreleased: Option<Keep>,
    #[command(flatten)]
    brand: BrandArg,
}

const ROW: &[Column] = &[
    Column::field("STORE", "id"),
    Column::field("BRAND", "brand-id"),
    Column::field("NAME", "name"),
    Column::field("PARENT", "parent"),
    Column::field("KIND", "kind"),
    Column::field("PRIVATE", "private"),
    Column::field("CREATED", "created-at"),
];

const CARD: &[Column] = &[
    Column::field("Store", "id"),
    Column::field("Brand", "brand-id"),
    Column::field("Name", "name"),
    Column::field("Parent", "parent"),
    Column::field("Kind", "kind"),
    Column::field("Private", "private"),
    Column::field("Manual review", "manual-review-policy"),
    Column::field("Includes from", "allowed-inclusion-source-stores"),
    Column::field("Included by", "allowed-inclusion-target-stores"),
    Column::field("Includes all of", "store-whitelist"),
    Column::with("Names begin with", |row| prefixes(row.get("snap-name-prefixes"))),
    Column::field("Unreleased kept", "keep-unreleased"),
    Column::field("Created", "created-at"),
];

const SNAP_ROW: &[Column] = &[
    Column::field("SNAP", "name"),
    Column::field("TYPE", "type"),
    Column::field("FROM", "store-id"),
    Column::field("PRIVATE", "private"),
    Column::field("BECAUSE", "because"),
];

impl Verb {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        match self {
            Self::Create(create) => create.run(cx).await,
            Self::List(List { brand }) => cx
                .out
                .list(&Client::open(&brand)?.get(&native(&["stores"]), &[]).await?, ROW),
            Self::Show(Named { store, brand }) => {
                let path = native(&["stores", store.as_str()]);
                cx.out.item(&Client::open(&brand)?.get(&path, &[]).await?, CARD)
            }
            Self::Settings(settings) => settings.run(cx).await,
            Self::Connect(connect) => connect.run(cx).await,
            Self::Snaps(Named { store, brand }) => {
                let path = native(&["stores", store.as_str(), "snaps"]);
                cx.out
                    .list(&Client::open(&brand)?.get(&path, &[]).await?, SNAP_ROW)
            }
            Self::Include(One { store, snap, brand }) => {
                let path = native(&["stores", store.as_str(), "snaps", snap.as_str()]);
                let shown = Client::open(&brand)?.put(&path, &json!({})).await?;
                cx.out.done(&shown, &format!("store {store} shows {snap}"))
            }
            Self::Exclude(One { store, snap, brand }) => {
                let path = native(&["stores", store.as_str(), "snaps", snap.as_str()]);
                Client::open(&brand)?.delete(&path).await?;
                let gone = json!({ "store-id": store, "name": snap });
                cx.out
                    .done(&gone, &format!("store {store} does not show {snap} any more"))
            }
        }
    }
}

impl Create {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let mut members: BTreeMap<Email, BTreeSet<Role>> = BTreeMap::new();
        for (email, roles) in self.members {
            members.entry(email).or_default().extend(roles);
        }
        let mut body = json!({
            "id": self.store, "name": self.name, "parent": self.parent, "kind": self.kind.as_ref().and_then(word),
            "private": self.private, "members": members,
        });
        if let Some(fields) = body.as_object_mut() {
            let sources = self.include_from.map(|list| json!(list));
            let policy = self.manual_review_policy.as_ref().and_then(word).map(Value::from);
            fields.extend(sources.map(|list| ("allowed-inclusion-source-stores".to_owned(), list)));
            fields.extend(policy.map(|word| ("manual-review-policy".to_owned(), word)));
        }
        let store = Client::open(&self.brand)?
            .post(&native(&["stores"]), &body)
            .await?;
        let note = match &self.parent {
            Some(parent) => format!("store {} can show snaps of {parent}", self.store),
            None => format!("base store {} is ready for snaps", self.store),
        };
        cx.out.done(&store, &note)
    }
}

impl Settings {
    async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let mut body = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        let stores = |list: Option<String>| list.map(|list| Value::from(split(&list)));
        set("name", self.name.map(Value::from));
        set("private", self.private.map(Value::from));
        set(
            "manual-review-policy",
            self.manual_review_policy.as_ref().and_then(word).map(Value::from),
        );
        set(
            "allowed-inclusion-source-stores",
            stores(self.allowed_inclusion_source_stores),
        );
        set(
            "allowed-inclusion-target-stores",
            stores(self.allowed_inclusion_target_stores),
        );
        set("store-whitelist", stores(self.store_whitelist));
        set(
            "snap-name-prefixes",
            self.snap_name_prefixes.map(|list| {
                let prefix = |prefix: String| json!({ "prefix": prefix, "inheritable": !self.no_inherit });
                split(&list).into_iter().map(prefix).collect()
            }),
        );
        set(
            "keep-unreleased",
            self.keep_unreleased.map(|Keep(keep)| json!(keep)),
        );
        if body.is_empty() {
            return Err(CliError::Usage(
                "cannot change settings: name one or more, see `hallmark store settings --help`".to_owned(),
            ));
        }
        let path = native(&["stores", self.store.as_str()]);
        let store = Client::open(&self.brand)?.put(&path, &body).await?;
        cx.out
            .done(&store, &format!("changed the settings of store {}", self.store))
    }
}

/// How many are kept; none = all.
#[derive(Clone, Copy, Debug)]
struct Keep(Option<u32>);

fn number_or_none(text: &str) -> Result<Keep, std::num::ParseIntError> {
    if text.is_empty() {
        return Ok(Keep(None));
    }
    text.parse().map(|number| Keep(Some(number)))
}

fn split(list: &str) -> Vec<String> {
    list.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The word of a choice, as on the wire.
fn word<C: ValueEnum>(choice: &C) -> Option<String> {
    choice
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
}

fn prefixes(list: Option<&Value>) -> String {
    let words: Vec<&str> = list
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.get("prefix")?.as_str())
        .collect();
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(", ")
    }
}
