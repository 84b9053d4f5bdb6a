//! Root macaroons: what a client asks for before anybody has logged in. Nothing is stored.

use std::collections::BTreeSet;

use super::Narrowing;
use super::seal::{CaveatId, Purpose, Said, macaroon, text, trouble};
use crate::app::{App, Refusal};
use crate::domain::access::Limits;
use crate::domain::access::limits::MAX_ENTRIES;
use crate::domain::access::secret::random_letters;
use crate::domain::access::vocabulary::permissions_of;
use crate::domain::time::Timestamp;

/// Life of a root where none is asked for, in seconds: a year, as clients ask for by default.
const DEFAULT_LIFE: i64 = 365 * 86_400;
/// The longest life of a root, in seconds: ten years.
pub const MAX_LIFE: i64 = crate::app::tokens::MAX_LIFE;
/// What one root may say, in bytes: it goes into a header of every request, twice, in base64.
const MAX_SAID: usize = 8 * 1024;
/// Where `snap login` looks for the caveat, whatever server it talks to (decisions.md 7).
const SNAP_LOGIN: &str = "login.ubuntu.com";
/// How `snap login` is told from publisher clients.
const PURCHASE: &str = "package_purchase";
pub(super) const IDENTIFIER: &str = "hallmark publisher-root v1 ";

/// What a client wants to be able to do.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Words of any vocabulary; none = all that the account may.
    pub words: Option<Vec<String>>,
    /// Snaps, channels, stores.
    pub limits: Limits,
    /// When it should end; none = in a year.
    pub expires: Option<Timestamp>,
    /// For the list of tokens.
    pub description: Option<String>,
}

impl Asked {
    fn narrowing(&self) -> Result<Narrowing, Refusal> {
        let Some(words) = &self.words else {
            return Ok(Narrowing {
                limits: self.limits.clone(),
                ..Narrowing::default()
            });
        };
        let mut permissions = BTreeSet::new();
        let mut unknown = Vec::new();
        for word in words {
            match permissions_of(word) {
                Some(all) => permissions.extend(all.iter().map(|one| one.name().to_owned())),
                None => unknown.push(word.chars().take(64).collect::<String>()),
            }
        }
        if !unknown.is_empty() {
            return Err(Refusal::invalid(
                "invalid-permission",
                format!("cannot give these permissions: nobody knows {unknown:?}"),
            ));
        }
        if words.is_empty() || words.len() > MAX_ENTRIES {
            return Err(Refusal::invalid(
                "invalid-permission",
                format!("cannot give permissions: name 1 to {MAX_ENTRIES} of them"),
            ));
        }
        Ok(Narrowing {
            permissions: Some(permissions),
            words: words.clone(),
            limits: self.limits.clone(),
        })
    }
}

/// A root macaroon for what is asked, for anybody. It is good for nothing without a log-in.
///
/// # Errors
/// `invalid-permission`, `invalid-expiry`, `too-many-limits`.
pub fn issue_root(app: &App, asked: &Asked) -> Result<String, Refusal> {
    let now = app.clock.now();
    let expires = asked.expires.unwrap_or_else(|| now.plus_seconds(DEFAULT_LIFE));
    if expires <= now || expires > now.plus_seconds(MAX_LIFE) {
        return Err(Refusal::invalid(
            "invalid-expiry",
            "cannot give credentials: they must end within ten years from now",
        ));
    }
    let narrowing = asked.narrowing()?;
    let nonce = random_letters(20, |buffer| app.entropy.fill(buffer)).to_string();
    let description = asked.description.as_deref().unwrap_or("publisher client");
    let id = CaveatId {
        nonce: nonce.clone(),
        expires,
        narrowing: narrowing.clone(),
        description: description
            .chars()
            .filter(|c| !c.is_control())
            .take(100)
            .collect(),
    }
    .seal(&app.secrets);
    if id.len() > MAX_SAID {
        return Err(Refusal::invalid(
            "too-many-limits",
            "cannot give credentials: their snaps, channels and stores are too many for one header; name fewer",
        ));
    }
    let identifier = format!("{IDENTIFIER}{nonce}");
    let said = [Said::Expires(expires), Said::Narrowed(narrowing)];
    let key = Purpose::Root.key(&app.secrets, &identifier);
    let mut root = macaroon(host(app), &key, &identifier, &said)?;
    let is_snap = asked
        .words
        .as_ref()
        .is_some_and(|words| words.iter().any(|word| word == PURCHASE));
    let location = if is_snap { SNAP_LOGIN } else { host(app) };
    let key = Purpose::Discharge.key(&app.secrets, &id);
    root.add_third_party_caveat(location, &key, &id)
        .map_err(trouble)?;
    text(&root)
}

/// Host and port of the public URL, as clients compare it.
pub(super) fn host(app: &App) -> &str {
    let url = &app.settings.public_url;
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}
