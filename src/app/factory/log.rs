//! What a box signed flows back: its entries are numbered 1, 2, ... in the order of its ledger, and the centre takes each
//! once, however often it comes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::enrol::enrolled;
use super::{bundle, find};
use crate::app::{App, BrandCtx, InstanceCtx, Reason, Refusal, fleet, vault_event};
use crate::domain::assertion::{PublicKey, Typed, decode_bytes};
use crate::domain::bundle::SignedManifest;
use crate::domain::ident::{BrandId, DeviceId, KeyId, ModelName};
use crate::domain::time::Timestamp;
use crate::domain::vault::factory::SITE_REVISIONS;
use crate::domain::vault::{FactoryBox, FactorySite, SerialRow, SerialState, SiteName};
use crate::ports::{Change, Commit, SerialFilter, StoreError, Versioned};

/// Most entries of one log; some 25 MB.
pub const MAX_ENTRIES: usize = 10_000;
/// Most bytes of assertions in one log, as they stand there, unless it is a single one: a manifest has 64 MiB, and goes over HTTP
/// quoted once more.
const MAX_BYTES: usize = 24 << 20;
/// Rows in one step.
const STEP: usize = 1000;
/// Entries that a refusal names.
const MAX_NAMED: usize = 5;

/// A log as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SiteLog {
    /// The brand.
    pub brand_id: BrandId,
    /// The site.
    pub site: SiteName,
    /// The key that signed.
    pub public_key_sha3_384: KeyId,
    /// The number of the first entry.
    pub first: u64,
    /// The serial assertions, verbatim. All that a ledger keeps of them is in there: device, revision, device key, time,
    /// and what the device sent along.
    pub entries: Vec<String>,
}

/// A log that was written.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The bundle.
    pub bundle: SignedManifest,
    /// The number of its first entry.
    pub first: u64,
    /// How many entries it has.
    pub entries: usize,
    /// Whether there are more than one log takes.
    pub more: bool,
}

/// What became of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TakenIn {
    /// The site.
    pub site: SiteName,
    /// Entries that were not here before.
    pub new: usize,
    /// Entries that were.
    pub known: usize,
    /// Entries that are not taken, since they were signed after the site was revoked.
    pub refused: usize,
    /// The number of the last entry that is here.
    pub last_entry: u64,
}

/// The finished serials of this box behind `position`, oldest first, at most `most`, and whether there are more. Nothing
/// behind one that is still being made is among them: it would change places when that is done.
async fn behind(
    app: &App,
    brand: &BrandId,
    position: u64,
    most: usize,
) -> Result<(VecDeque<SerialRow>, bool), StoreError> {
    let mut found: VecDeque<SerialRow> = VecDeque::new();
    let mut more = false;
    let mut filter = all_of(brand, STEP);
    loop {
        let rows = app.storage.serials(&filter).await?;
        let full = rows.len() == STEP;
        filter.before = rows.last().map(|row| row.position);
        let mut done = !full;
        for row in rows {
            if row.position <= position {
                done = true;
                break;
            }
            match row.state {
                SerialState::Issued => found.push_front(row),
                SerialState::Void => {}
                SerialState::Reserved => {
                    found.clear();
                    more = false;
                }
            }
            if found.len() > most {
                found.truncate(most);
                more = true;
            }
        }
        if done {
            return Ok((found, more));
        }
    }
}

/// The position of the entry `acknowledged`, whose digest is this one if that is known.
///
/// # Errors
/// `box-behind` if this box has fewer entries, or another one in its place: it was set back, and would sign what it has signed
/// before.
pub(super) async fn acknowledge(
    app: &App,
    record: &FactoryBox,
    acknowledged: u64,
    digest: Option<&str>,
) -> Result<u64, Refusal> {
    let (mut position, mut left) = match acknowledged.checked_sub(record.acknowledged) {
        Some(more) => (record.position, more),
        // Counted from the first one: the centre was set back.
        None => (0, acknowledged),
    };
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(usize::MAX).min(MAX_ENTRIES);
        let (rows, _) = behind(app, &record.brand_id, position, step).await?;
        let Some(last) = rows.back().filter(|_| rows.len() == step) else {
            return Err(set_back(&format!(
                "the centre has {acknowledged} entries of this box's log, which has fewer"
            )));
        };
        position = last.position;
        left -= step as u64;
    }
    if let Some(digest) = digest.filter(|_| acknowledged > 0) {
        let here = at(app, &record.brand_id, position).await?;
        if here.is_none_or(|row| bundle::sha256(&row.assertion) != digest) {
            return Err(set_back(&format!(
                "the centre has another entry {acknowledged} of this box's log than this box"
            )));
        }
    }
    Ok(position)
}

fn set_back(why: &str) -> Refusal {
    Refusal::conflict(
        "box-behind",
        format!(
            "cannot take the grant: {why}; it was set back, as from an older backup, and must not sign again: send its whole log \
             (`hallmark export log --after 0`) and enrol a new site"
        ),
    )
}

/// The row at this position.
async fn at(app: &App, brand: &BrandId, position: u64) -> Result<Option<SerialRow>, StoreError> {
    let mut filter = all_of(brand, 1);
    filter.before = position.checked_add(1);
    let rows = app.storage.serials(&filter).await?;
    Ok(rows.into_iter().find(|row| row.position == position))
}

fn all_of(brand: &BrandId, limit: usize) -> SerialFilter {
    SerialFilter {
        brand: brand.clone(),
        models: Vec::new(),
        serial_prefix: None,
        device_key: None,
        since: None,
        until: None,
        before: None,
        limit,
    }
}

/// The log of this box from what the centre has, or from the entry behind `after`.
///
/// # Errors
/// `invalid-entry` if this box has not so many.
pub async fn export(app: &App, ctx: &InstanceCtx, after: Option<u64>) -> Result<Exported, Refusal> {
    let record = enrolled(app).await?.record;
    let after = after.unwrap_or(record.acknowledged);
    let position = acknowledge(app, &record, after, None).await.map_err(|refusal| {
        if refusal.code == "box-behind" {
            Refusal::invalid(
                "invalid-entry",
                format!("cannot write the log from behind entry {after}: there are not so many"),
            )
        } else {
            refusal
        }
    })?;
    let (mut rows, mut more) = behind(app, &record.brand_id, position, MAX_ENTRIES).await?;
    let mut bytes = 0;
    let fits = rows
        .iter()
        .take_while(|row| {
            bytes += quoted(&row.assertion);
            bytes <= MAX_BYTES
        })
        .count()
        .max(1);
    if fits < rows.len() {
        rows.truncate(fits);
        more = true;
    }
    let log = SiteLog {
        brand_id: record.brand_id.clone(),
        site: record.site.clone(),
        public_key_sha3_384: record.key_id,
        first: after + 1,
        entries: rows
            .iter()
            .map(|row| String::from_utf8_lossy(&row.assertion).into_owned())
            .collect(),
    };
    let bundle = bundle::sign(app, bundle::LOG, &record.brand_id, &log).await?;
    let mut event = ctx.event(
        app.clock.now(),
        "factory.log-export",
        &format!("{}/{}", log.brand_id, log.site),
    );
    event.detail.insert("first".to_owned(), log.first.into());
    event
        .detail
        .insert("entries".to_owned(), log.entries.len().into());
    app.commit(Commit {
        audit: vec![event],
        ..Commit::default()
    })
    .await?;
    Ok(Exported {
        bundle,
        first: log.first,
        entries: log.entries.len(),
        more,
    })
}

/// How many bytes a text takes in JSON.
fn quoted(text: &[u8]) -> usize {
    serde_json::to_string(&String::from_utf8_lossy(text)).map_or(MAX_BYTES, |quoted| quoted.len())
}

/// Takes the log of a site in. All of it is judged before any of it is written; entries that are here already count as
/// known. Written in steps, each with the number of its last entry: what breaks off goes on when the log comes again.
///
/// # Errors
/// `invalid-bundle`; `wrong-signer`; `site-key`; `log-gap` if entries before it are missing here; `log-refused` if an entry is
/// not what the site may sign; `log-conflict` if something else is in the ledger in its place.
pub async fn take_in(app: &App, ctx: &BrandCtx, signed: &SignedManifest) -> Result<TakenIn, Refusal> {
    let (log, signer): (SiteLog, _) = bundle::open(signed, bundle::LOG)?;
    if log.brand_id != *ctx.brand() {
        return Err(Refusal::invalid(
            "invalid-bundle",
            format!("cannot take the log: it is of brand {}", log.brand_id),
        ));
    }
    let Versioned {
        record: mut site,
        mut version,
    } = find(app, ctx, &log.site).await?;
    bundle::by(site.signer.as_ref(), signer, "logs of this site")?;
    if site.key_id != log.public_key_sha3_384 {
        return Err(Refusal::conflict(
            "site-key",
            format!(
                "cannot take the log: site {} has the key {}",
                site.site, site.key_id
            ),
        ));
    }
    if log.first > site.last_entry + 1 {
        return Err(Refusal::conflict(
            "log-gap",
            format!(
                "cannot take the log of site {}: it begins with entry {}, and entries {} to {} are missing here; write it at the \
                 box with --after {}",
                site.site,
                log.first,
                site.last_entry + 1,
                log.first - 1,
                site.last_entry
            ),
        ));
    }
    let first = log.first;
    let judged = {
        let site = site.clone();
        // Thousands of signatures take seconds.
        tokio::task::spawn_blocking(move || judge(&site, &log)).await
    };
    let Judged { rows, refused } = judged.map_err(|_| {
        Refusal::new(
            Reason::Internal,
            "internal-error",
            "cannot take the log: checking it broke off",
        )
    })??;
    let new = unknown(app, &site, first, &rows).await?;
    let mut taken = TakenIn {
        site: site.site.clone(),
        new: new.len(),
        known: rows.len() - new.len(),
        refused,
        last_entry: site.last_entry,
    };
    let now = app.clock.now();
    for (step, part) in rows.chunks(STEP).enumerate() {
        let begin = first + (step * STEP) as u64;
        let last = begin + part.len() as u64 - 1;
        let fresh: Vec<SerialRow> = part
            .iter()
            .filter(|row| new.contains_key(&(row.device.clone(), row.revision)))
            .cloned()
            .collect();
        if fresh.is_empty() && last <= site.last_entry {
            continue;
        }
        for (model, count) in first_ones(&fresh, &new) {
            *site.used.entry(model).or_default() += count;
        }
        if let Some(row) = part.last().filter(|_| last >= site.last_entry) {
            site.last_digest = Some(bundle::sha256(&row.assertion));
        }
        site.last_entry = site.last_entry.max(last);
        site.last_log = Some(now);
        let detail = json!({
            "first": begin, "last": last, "new": fresh.len(), "bundle-sha256": bundle::digest(signed),
        });
        let subject = format!("{}/{}", site.brand_id, site.site);
        let commit = Commit {
            records: vec![Change::replace(&site, version)],
            audit: vec![vault_event(app, ctx, "factory.log", &subject, &detail)],
            serials: fresh,
            ..Commit::default()
        };
        match app.storage.commit(commit).await {
            // Somebody wrote to the same place since it was looked at.
            Err(StoreError::Refused(why)) => {
                return Err(Refusal::conflict(
                    "log-conflict",
                    format!(
                        "cannot take the log of site {}: {why}; import it again",
                        site.site
                    ),
                ));
            }
            outcome => App::settle(&outcome?)?,
        }
        version += 1;
        taken.last_entry = site.last_entry;
    }
    // Also of known ones: an import that broke off may have left this out.
    for row in &rows {
        fleet::devices::registered(app, &row.device).await?;
    }
    Ok(taken)
}

/// Entries that hold, in order.
struct Judged {
    rows: Vec<SerialRow>,
    refused: usize,
}

/// Whether each entry is a serial that the site's key signed, within what was granted.
fn judge(site: &FactorySite, log: &SiteLog) -> Result<Judged, Refusal> {
    let key = PublicKey::decode(&site.public_key).map_err(|error| {
        Refusal::new(
            Reason::Internal,
            "internal-error",
            format!("cannot read the key of site {}: {error}", site.site),
        )
    })?;
    if log.entries.len() > MAX_ENTRIES {
        return Err(Refusal::invalid(
            "log-refused",
            format!("cannot take the log: it has more than {MAX_ENTRIES} entries"),
        ));
    }
    let mut rows = Vec::with_capacity(log.entries.len());
    for (number, text) in (log.first..).zip(&log.entries) {
        let refuse = |why: String| {
            Refusal::invalid(
                "log-refused",
                format!("cannot take the log of site {}: entry {number} {why}", site.site),
            )
        };
        let row = entry(site, &key, text).map_err(refuse)?;
        if site.revoked.is_some_and(|revoked| row.created_at >= revoked) {
            // Numbers behind it cannot be taken either.
            let refused = log.entries.len() - rows.len();
            return Ok(Judged { rows, refused });
        }
        rows.push(row);
    }
    Ok(Judged { rows, refused: 0 })
}

fn entry(site: &FactorySite, key: &PublicKey, text: &str) -> Result<SerialRow, String> {
    let assertion = decode_bytes(Bytes::from(text.to_owned())).map_err(|e| format!("cannot be read: {e}"))?;
    let Typed::Serial(serial) = assertion.typed() else {
        return Err(format!("is a {}, no serial", assertion.kind()));
    };
    let header = |name: &str| assertion.text(name).unwrap_or_default().to_owned();
    let device = DeviceId {
        brand: header("brand-id").parse().map_err(|e| format!("{e}"))?,
        model: header("model").parse().map_err(|e| format!("{e}"))?,
        serial: header("serial").parse().map_err(|e| format!("{e}"))?,
    };
    let created_at: Timestamp = header("timestamp")
        .parse()
        .map_err(|_| "has no time that can be read".to_owned())?;
    if *assertion.sign_key() != site.key_id || assertion.authority_id() != Some(site.brand_id.as_str()) {
        return Err(format!("({device}) is not signed by the key of the site"));
    }
    key.verify_assertion(&assertion)
        .map_err(|e| format!("({device}) is not signed by the key of the site: {e}"))?;
    if !site.allowed(&device, created_at) {
        return Err(format!(
            "({device}, signed at {created_at}) is not among what the site was granted"
        ));
    }
    let revision = assertion.revision();
    if revision == 0 || revision > SITE_REVISIONS {
        return Err(format!("({device}) has revision {revision}, which no site signs"));
    }
    Ok(SerialRow {
        position: 0,
        device,
        revision,
        device_key: serial.device_key.id().clone(),
        sign_key: Some(site.key_id.clone()),
        created_at,
        state: SerialState::Issued,
        assertion: assertion.encoded().clone(),
    })
}

/// The entries that are not in the ledger; true where nothing else of their serial is.
async fn unknown(
    app: &App,
    site: &FactorySite,
    first: u64,
    rows: &[SerialRow],
) -> Result<BTreeMap<(DeviceId, u64), bool>, Refusal> {
    let mut new = BTreeMap::new();
    let mut devices: BTreeSet<&DeviceId> = BTreeSet::new();
    let mut conflicts: Vec<String> = Vec::new();
    for (number, row) in (first..).zip(rows) {
        let history = app.storage.history(&row.device).await?;
        let place = (row.device.clone(), row.revision);
        // A void one stands for no signature, and gives way.
        let there = history
            .iter()
            .find(|known| known.revision == row.revision && known.state != SerialState::Void);
        let known = match there {
            None if new.contains_key(&place) => false,
            None => {
                let live = history.iter().any(|known| known.state != SerialState::Void);
                new.insert(place, devices.insert(&row.device) && !live);
                continue;
            }
            Some(known) => known.assertion == row.assertion,
        };
        if !known {
            conflicts.push(format!(
                "entry {number} ({}, revision {})",
                row.device, row.revision
            ));
        }
    }
    if conflicts.is_empty() {
        return Ok(new);
    }
    let count = conflicts.len();
    conflicts.truncate(MAX_NAMED);
    Err(Refusal::conflict(
        "log-conflict",
        format!(
            "cannot take the log of site {}: {count} of its entries contradict the log here: {}",
            site.site,
            conflicts.join(", ")
        ),
    ))
}

/// How many serials of each model have their first row among these.
fn first_ones(rows: &[SerialRow], new: &BTreeMap<(DeviceId, u64), bool>) -> BTreeMap<ModelName, u64> {
    let mut counts = BTreeMap::new();
    for row in rows {
        if new.get(&(row.device.clone(), row.revision)) == Some(&true) {
            *counts.entry(row.device.model.clone()).or_default() += 1;
        }
    }
    counts
}
