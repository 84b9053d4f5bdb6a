//! `hallmark doctor`: is everything that is stored what it should be? Reads all of it, changes nothing, unless it is
//! told to clear away files that belong to nothing.

use std::collections::{HashMap, HashSet};

use super::catalog::garbage;
use super::instance::{assertion, instance, trusted};
use super::{App, Refusal};
use crate::domain::access::Brand;
use crate::domain::assertion::{Assertion, AssertionType, PublicKey, Ref, TYPES, decode};
use crate::domain::ident::KeyId;
use crate::domain::time::Timestamp;
use crate::domain::vault::{KeyState, SerialState, SigningKey, TokenUri};
use crate::ports::{AssertionFilter, Key, SerialFilter, StoreError};

/// Rows of the serial ledger read at a time.
const PAGE: usize = 1000;
/// A chain of account-keys longer than this does not end at a root.
const MAX_CHAIN: usize = 8;
/// More findings than this are counted, not listed.
const MAX_LISTED: usize = 1000;

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Findings {
    /// Assertions whose signature was checked, serials included.
    pub assertions: u64,
    /// Signing keys looked at.
    pub keys: u64,
    /// Files of snaps that were read.
    pub files: u64,
    /// Files that belonged to nothing and were removed.
    pub removed_files: u64,
    /// Files that belong to nothing, but may be about to: they were kept within the grace.
    pub young_files: u64,
    /// When all of these can be judged.
    pub judge_after: Option<Timestamp>,
    /// The hardware tokens that the settings name, and the keys in them.
    #[serde(default)]
    pub tokens: Vec<TokenFinding>,
    /// One line per thing that is wrong; empty = all is well.
    pub problems: Vec<String>,
    /// Problems beyond those listed.
    pub further_problems: u64,
}

/// A hardware token.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TokenFinding {
    /// Its label.
    pub token: String,
    /// Whether it answers and lets us in.
    pub answers: bool,
    /// The keys that are in use and in it: `OWNER/NAME`.
    pub keys: Vec<String>,
}

impl Findings {
    pub(super) fn problem(&mut self, text: String) {
        if self.problems.len() < MAX_LISTED {
            self.problems.push(text);
        } else {
            self.further_problems += 1;
        }
    }
}

/// Looks at everything. A damaged database is a finding, one out of reach an error.
pub async fn examine(app: &App) -> Result<Findings, Refusal> {
    look(app, false, garbage::GRACE).await
}

/// Like [`examine`], and removes files that belong to nothing and were kept more than `grace` seconds ago.
pub async fn repair(app: &App, grace: i64) -> Result<Findings, Refusal> {
    look(app, true, grace).await
}

async fn look(app: &App, repair: bool, grace: i64) -> Result<Findings, Refusal> {
    let mut findings = Findings::default();
    match app.storage.check().await {
        Ok(lines) => lines.into_iter().for_each(|line| findings.problem(line)),
        Err(error @ StoreError::Corrupt(_)) => findings.problem(error.to_string()),
        Err(error) => return Err(error.into()),
    }
    let mut looked = contents(app, &mut findings).await;
    if looked.is_ok() {
        // Never where not all could be read: what a damaged record names is no garbage.
        looked = garbage::examine(app, &mut findings, repair, grace).await;
    }
    match looked {
        Err(refusal) if findings.problems.is_empty() => Err(refusal),
        Err(refusal) => {
            findings.problem(format!("not all could be looked at: {}", refusal.message));
            Ok(findings)
        }
        Ok(()) => Ok(findings),
    }
}

async fn contents(app: &App, findings: &mut Findings) -> Result<(), Refusal> {
    let mut chains = match trusted(app).await {
        Ok(set) => Chains::new(&set),
        Err(refusal) => {
            findings.problem(format!("the root of trust is incomplete: {}", refusal.message));
            Chains::new(&[])
        }
    };
    for info in TYPES {
        stored_assertions(app, info.kind, &mut chains, findings).await?;
    }
    for brand in app.storage.all::<Brand>(Key(Vec::new())).await? {
        ledger(app, &brand.record, &mut chains, findings).await?;
    }
    for state in app.signer.ask_tokens().await {
        if let Some(why) = &state.trouble {
            findings.problem(format!("token {}: {why}", state.token));
        }
        findings.tokens.push(TokenFinding {
            answers: state.trouble.is_none(),
            token: state.token,
            keys: Vec::new(),
        });
    }
    for key in app.storage.all::<SigningKey>(Key(Vec::new())).await? {
        findings.keys += 1;
        if let Some(place) = key.record.place().and_then(|place| TokenUri::key(place).ok())
            && let Some(token) = findings
                .tokens
                .iter_mut()
                .find(|found| found.token == place.token)
        {
            token
                .keys
                .push(format!("{}/{}", key.record.account_id, key.record.name));
        }
        if let Err(problem) = signing_key(app, &key.record, &mut chains).await? {
            findings.problem(format!(
                "key {} of {}: {problem}",
                key.record.name, key.record.account_id
            ));
        }
    }
    if let Some(record) = instance(&app.storage).await?
        && app
            .storage
            .find_unique::<SigningKey>("key-id", record.record.root_key.as_str())
            .await?
            .is_none()
    {
        findings.problem(format!("the root key {} has no record", record.record.root_key));
    }
    Ok(())
}

async fn stored_assertions(
    app: &App,
    kind: AssertionType,
    chains: &mut Chains,
    findings: &mut Findings,
) -> Result<(), Refusal> {
    let filter = AssertionFilter {
        kind,
        key_prefix: Vec::new(),
        max_format: u32::MAX,
    };
    for stored in app.storage.assertions(&filter).await? {
        findings.assertions += 1;
        let verdict = match decode(&stored.encoded) {
            Err(error) => Err(format!("does not decode: {error}")),
            Ok(found)
                if found.reference() != stored.reference
                    || found.revision() != stored.revision
                    || found.format() != stored.format =>
            {
                Err(format!(
                    "is stored where {} revision {} belongs",
                    found.reference(),
                    found.revision()
                ))
            }
            Ok(found) => chains.verify(app, &found).await?,
        };
        if let Err(problem) = verdict {
            findings.problem(format!("assertion {} {problem}", stored.reference));
        }
    }
    Ok(())
}

async fn ledger(
    app: &App,
    brand: &Brand,
    chains: &mut Chains,
    findings: &mut Findings,
) -> Result<(), Refusal> {
    let mut filter = SerialFilter {
        brand: brand.id.clone(),
        models: Vec::new(),
        serial_prefix: None,
        device_key: None,
        since: None,
        until: None,
        before: None,
        limit: PAGE,
    };
    loop {
        let rows = app.storage.serials(&filter).await?;
        for row in rows.iter().filter(|row| row.state == SerialState::Issued) {
            findings.assertions += 1;
            let verdict = match decode(&row.assertion) {
                Err(error) => Err(format!("does not decode: {error}")),
                Ok(found) => {
                    let device = [
                        row.device.brand.as_str(),
                        row.device.model.as_str(),
                        row.device.serial.as_str(),
                    ];
                    let belongs = found.kind() == AssertionType::Serial
                        && found.primary_key().0 == device
                        && found.revision() == row.revision
                        && found.text("device-key-sha3-384") == Some(row.device_key.as_str())
                        && row.sign_key.as_ref() == Some(found.sign_key());
                    if belongs {
                        chains.verify(app, &found).await?
                    } else {
                        Err("is recorded for another device, revision or key".to_owned())
                    }
                }
            };
            if let Err(problem) = verdict {
                findings.problem(format!(
                    "serial {} revision {} {problem}",
                    row.device, row.revision
                ));
            }
        }
        let Some(last) = rows.last() else { return Ok(()) };
        filter.before = Some(last.position);
    }
}

/// Whether a key of ours opens, is what its record says, and is registered where it must be.
async fn signing_key(
    app: &App,
    key: &SigningKey,
    chains: &mut Chains,
) -> Result<Result<(), String>, Refusal> {
    let public = match PublicKey::decode(&key.public_key) {
        Ok(public) if *public.id() == key.key_id => public,
        Ok(public) => return Ok(Err(format!("its public half is that of {}", public.id()))),
        Err(error) => return Ok(Err(format!("its public half is damaged: {error}"))),
    };
    if key.state != KeyState::Deleted {
        let loaded = app.signer.load(&key.account_id, &key.key_id, &key.sealed).await;
        if key.state == KeyState::Disabled {
            app.signer.unload(&key.key_id).await;
        }
        match loaded {
            Ok(()) => {}
            Err(error) if key.place().is_some() => return Ok(Err(error.to_string())),
            Err(error) => return Ok(Err(format!("its private half does not open: {error}"))),
        }
    }
    let delegated = app
        .storage
        .find::<Brand>([key.account_id.as_str()])
        .await?
        .is_some_and(|b| b.record.delegated);
    let Some(account_key) =
        assertion(app, &Ref::new(AssertionType::AccountKey, [key.key_id.as_str()])).await?
    else {
        // In delegated mode an unregistered key is a step on the way.
        return Ok(if delegated {
            Ok(())
        } else {
            Err("it has no account-key".to_owned())
        });
    };
    if account_key.text("account-id") != Some(key.account_id.as_str()) {
        return Ok(Err("its account-key is for another account".to_owned()));
    }
    if PublicKey::decode(&String::from_utf8_lossy(account_key.body()))
        .map(|found| found.id().clone())
        .ok()
        != Some(public.id().clone())
    {
        return Ok(Err("its account-key holds another key".to_owned()));
    }
    Ok(chains
        .verify(app, &account_key)
        .await?
        .map_err(|problem| format!("its account-key {problem}")))
}

/// Keys that are known to go back to a trusted root, or why they do not.
struct Chains {
    roots: HashMap<KeyId, Owned>,
    authorities: HashSet<String>,
    known: HashMap<KeyId, Result<Owned, String>>,
}

/// A public key and whose it is.
#[derive(Clone)]
struct Owned {
    key: PublicKey,
    account: String,
}

impl Owned {
    fn of(account_key: &Assertion) -> Result<Self, String> {
        let text = String::from_utf8_lossy(account_key.body());
        let key = PublicKey::decode(&text).map_err(|e| format!("holds no usable key: {e}"))?;
        Ok(Self {
            key,
            account: account_key.text("account-id").unwrap_or_default().to_owned(),
        })
    }
}

impl Chains {
    fn new(trusted: &[Assertion]) -> Self {
        let keys = trusted
            .iter()
            .filter(|found| found.kind() == AssertionType::AccountKey);
        let roots: HashMap<_, _> = keys
            .filter_map(|found| Owned::of(found).ok())
            .map(|owned| (owned.key.id().clone(), owned))
            .collect();
        let authorities = roots.values().map(|owned| owned.account.clone()).collect();
        Self {
            roots,
            authorities,
            known: HashMap::new(),
        }
    }

    /// Checks the signature of `found`, and that its key goes back to a trusted root.
    async fn verify(&mut self, app: &App, found: &Assertion) -> Result<Result<(), String>, Refusal> {
        if !found.kind().info().has_authority {
            return Ok(match found.kind() {
                AssertionType::AccountKeyRequest => Owned::of(found).and_then(|own| {
                    own.key
                        .verify_assertion(found)
                        .map_err(|e| format!("is not signed well: {e}"))
                }),
                // Signed by devices; what is kept of them was checked when it came.
                _ => Ok(()),
            });
        }
        let owner = match self.owner(app, found.sign_key()).await? {
            Ok(owner) => owner,
            Err(problem) => return Ok(Err(problem)),
        };
        Ok(signed_by(found, &owner, &self.authorities))
    }

    /// The key of this id, with its chain checked up to a root.
    async fn owner(&mut self, app: &App, id: &KeyId) -> Result<Result<Owned, String>, Refusal> {
        // Down from the wanted key to the first that is known...
        let mut chain: Vec<Assertion> = Vec::new();
        let mut wanted = id.clone();
        let mut owner = loop {
            if let Some(root) = self.roots.get(&wanted) {
                break Ok(root.clone());
            }
            if let Some(known) = self.known.get(&wanted) {
                break known.clone();
            }
            let reference = Ref::new(AssertionType::AccountKey, [wanted.as_str()]);
            match assertion(app, &reference).await {
                Ok(Some(account_key)) if chain.len() < MAX_CHAIN => {
                    wanted = account_key.sign_key().clone();
                    chain.push(account_key);
                }
                Ok(Some(_)) => break Err(format!("has a chain of more than {MAX_CHAIN} keys")),
                Ok(None) => {
                    break Err(format!(
                        "is signed by key {wanted}, which has no account-key here"
                    ));
                }
                Err(refusal) if refusal.code == "assertion-damaged" => {
                    break Err(format!("is signed by key {wanted}, whose account-key is damaged"));
                }
                Err(refusal) => return Err(refusal),
            }
        };
        // ...and back up, each key vouching for the next.
        for account_key in chain.into_iter().rev() {
            let next = owner
                .and_then(|owner| signed_by(&account_key, &owner, &self.authorities))
                .and_then(|()| Owned::of(&account_key))
                .map_err(|problem| format!("has no good chain: {} {problem}", account_key.reference()));
            if let Some(key) = account_key
                .text("public-key-sha3-384")
                .and_then(|text| text.parse().ok())
            {
                self.known.insert(key, next.clone());
            }
            owner = next;
        }
        Ok(owner)
    }
}

fn signed_by(found: &Assertion, owner: &Owned, roots: &HashSet<String>) -> Result<(), String> {
    if found.authority_id() != Some(owner.account.as_str()) {
        return Err(format!(
            "names an authority that is not {}, whose key signed it",
            owner.account
        ));
    }
    if matches!(found.kind(), AssertionType::Account | AssertionType::AccountKey)
        && !roots.contains(&owner.account)
    {
        return Err(format!("is signed by {}, which is no root", owner.account));
    }
    owner
        .key
        .verify_assertion(found)
        .map_err(|error| format!("is not signed well: {error}"))
}
