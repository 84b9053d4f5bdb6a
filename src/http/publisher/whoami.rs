//! Who one is, in the words of publisher clients (publisher-api.md 3.5, admin-api.md 2.2).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Input, Json, Outcome, Publisher};
use crate::app::login::{self, Identity};
use crate::app::{App, OwnCtx};
use crate::domain::access::vocabulary::{Vocabulary, Word, brand_words};
use crate::domain::access::{Account, Permission, Token};
use crate::domain::ident::{AccountId, BrandId, Email, SnapName, Username};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.get(
            "/api/v2/tokens/whoami",
            P::OwnRead,
            "Show who is calling, and what the credential is limited to",
            dashboard_whoami,
        ),
        publisher.get(
            "/v1/tokens/whoami",
            P::OwnRead,
            "Show who is calling, with their rights in brands",
            gateway_whoami,
        ),
    ]
}

/// Both spellings of the name, as clients read different ones.
#[derive(Debug, Serialize)]
struct AccountView {
    email: Email,
    id: AccountId,
    name: String,
    username: Username,
    #[serde(rename = "display-name")]
    display_name: String,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            email: account.email,
            id: account.id,
            name: account.display_name.clone(),
            username: account.username,
            display_name: account.display_name,
        }
    }
}

/// A snap, as credentials name it.
#[derive(Debug, Serialize)]
struct PackageView {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
}

impl PackageView {
    fn of(name: &SnapName) -> Self {
        Self {
            kind: "snap",
            name: name.to_string(),
        }
    }
}

/// What a credential is limited to; null = not limited. A client refuses empty lists here.
#[derive(Debug, Serialize)]
struct Limits {
    channels: Option<Vec<String>>,
    packages: Option<Vec<PackageView>>,
    permissions: Option<Vec<String>>,
    #[serde(rename = "store-ids")]
    store_ids: Option<Vec<String>>,
    errors: [(); 0],
}

impl Limits {
    fn of(token: &Token, vocabulary: Vocabulary) -> Self {
        Self {
            channels: channels(token),
            packages: token
                .limits
                .packages
                .as_ref()
                .map(|names| names.iter().map(PackageView::of).collect()),
            permissions: words(token, vocabulary),
            store_ids: token.limits.stores.as_ref().map(texts),
            errors: [],
        }
    }
}

fn texts<T: ToString>(set: &BTreeSet<T>) -> Vec<String> {
    set.iter().map(ToString::to_string).collect()
}

/// The patterns of channels; of several lists the last, which was added to take away most.
pub(super) fn channels(token: &Token) -> Option<Vec<String>> {
    token.limits.channels.last().map(texts)
}

/// A time without its zone: clients put a `Z` behind it.
pub(super) fn without_zone(time: Timestamp) -> String {
    time.to_string().trim_end_matches('Z').to_owned()
}

/// What a token is for, in the words it was asked for with, where they are of this vocabulary; none = everything. A
/// token that is for nothing clients have a word for still shows whose it is.
pub(super) fn words(token: &Token, vocabulary: Vocabulary) -> Option<Vec<String>> {
    let names = token.permissions.as_ref()?;
    let of_here = |word: &String| Word::named(word).is_some_and(|word| word.vocabulary == vocabulary);
    if !token.words.is_empty() && token.words.iter().all(of_here) {
        return Some(token.words.clone());
    }
    let permissions: Vec<Permission> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let words = Word::of(vocabulary, &permissions);
    let words = if words.is_empty() {
        vec![match vocabulary {
            Vocabulary::Dashboard => "package_access",
            Vocabulary::Gateway => "account-view-packages",
        }]
    } else {
        words
    };
    Some(words.into_iter().map(str::to_owned).collect())
}

#[derive(Debug, Serialize)]
struct DashboardView {
    account: AccountView,
    #[serde(flatten)]
    limits: Limits,
    expires: String,
}

/// `GET /api/v2/tokens/whoami`.
async fn dashboard_whoami(app: App, ctx: OwnCtx, _input: Input) -> Outcome<Json<DashboardView>> {
    let Identity { account, token, .. } = login::whoami(&app, &ctx).await?;
    Ok(Json(DashboardView {
        account: account.into(),
        limits: Limits::of(&token, Vocabulary::Dashboard),
        expires: without_zone(token.expires),
    }))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct GatewayView {
    account: AccountView,
    #[serde(flatten)]
    limits: Limits,
    expires: String,
    brand_permissions: BTreeMap<BrandId, Vec<&'static str>>,
}

/// `GET /v1/tokens/whoami`.
async fn gateway_whoami(app: App, ctx: OwnCtx, _input: Input) -> Outcome<Json<GatewayView>> {
    let Identity { account, token, .. } = login::whoami(&app, &ctx).await?;
    let mut brand_permissions = BTreeMap::new();
    for brand in ctx.brands(&app).await? {
        let words = brand_words(&ctx.permissions_in(&app, &brand.id).await?);
        if !words.is_empty() {
            brand_permissions.insert(brand.id, words);
        }
    }
    Ok(Json(GatewayView {
        account: account.into(),
        limits: Limits::of(&token, Vocabulary::Gateway),
        expires: without_zone(token.expires),
        brand_permissions,
    }))
}
