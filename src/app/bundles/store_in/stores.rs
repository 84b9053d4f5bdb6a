//! The stores of a bundle and their brands, as records.

use std::collections::BTreeSet;

use super::Read;
use crate::app::bundles::{Trust, invalid};
use crate::app::instance::{self, uninitialised};
use crate::app::{App, Refusal};
use crate::domain::access::{Authorship, Brand, StoreRecord};
use crate::domain::assertion::{Assertion, AssertionType};
use crate::domain::bundle::store::BundledBrand;
use crate::domain::catalog::Changed;
use crate::domain::vault::is_reserved;
use crate::ports::{Change, Versioned};

/// What comes to be.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) records: Vec<Change>,
    pub(super) changed: Vec<Changed>,
    /// How new the bundle is that the stores are from. They go with what comes to be.
    pub(super) notes: Vec<Change>,
}

/// Plans stores and brands. `given` has the accounts of the brands. A store follows the source that brought it, and the newest of
/// its bundles; one that was here before only if that is wanted.
pub(super) async fn plan(
    app: &App,
    read: &Read<'_>,
    given: &[Assertion],
    trust: &Trust,
) -> Result<Plan, Refusal> {
    let body = &read.body;
    let now = app.clock.now();
    let mut plan = Plan {
        records: Vec::new(),
        changed: Vec::new(),
        notes: Vec::new(),
    };
    let brands: BTreeSet<_> = body.brands.iter().map(|brand| &brand.id).collect();
    if !body.stores.iter().any(|store| store.id == body.store) {
        return Err(invalid("its store is not among its stores"));
    }
    for brand in &body.brands {
        if app.storage.find::<Brand>([brand.id.as_str()]).await?.is_none() {
            let new = new_brand(app, brand, given).await?;
            plan.records.push(Change::create(&new));
        }
    }
    for store in &body.stores {
        if !brands.contains(&store.brand_id) {
            return Err(invalid(&format!("store {} is of no brand of it", store.id)));
        }
        let part_name = format!("settings/{}", store.id);
        let part = read.opened.part(app, &part_name).await?;
        if read.opened.is_older(part.as_ref()) && !trust.force {
            continue;
        }
        let found = app.storage.find::<StoreRecord>([store.id.as_str()]).await?;
        let adopts = found.is_some() && part.is_none();
        if let Some(change) = followed(store, found)? {
            if adopts && !trust.adopt {
                return Err(Refusal::conflict(
                    "store-taken",
                    format!(
                        "cannot import the bundle: store {} is here already, and not from this source; --adopt lets it follow \
                         the bundle from now on",
                        store.id
                    ),
                ));
            }
            plan.records.push(change);
            plan.changed.push(Changed::Store(store.id.clone()));
        }
        if adopts && !trust.adopt {
            // It is as the bundle says by chance, and stays its own master.
            continue;
        }
        plan.notes
            .extend(read.opened.note(&part_name, part.as_ref(), now));
        if adopts {
            plan.notes.extend(read.opened.alone(app, &part_name).await?);
        }
    }
    Ok(plan)
}

/// A brand that is not here: without keys and people. Our root signs for it only if it signed its account.
async fn new_brand(app: &App, brand: &BundledBrand, given: &[Assertion]) -> Result<Brand, Refusal> {
    let here = instance::instance(&app.storage)
        .await?
        .ok_or_else(uninitialised)?;
    if is_reserved(&brand.id) || here.record.authority_id.as_str() == brand.id.as_str() {
        return Err(Refusal::conflict(
            "reserved-brand",
            format!(
                "cannot import the bundle: no brand can be called {} here",
                brand.id
            ),
        ));
    }
    let ours = given.iter().any(|assertion| {
        assertion.kind() == AssertionType::Account
            && assertion.authority_id() == Some(here.record.authority_id.as_str())
            && assertion.text("account-id") == Some(brand.id.as_str())
            && *assertion.sign_key() == here.record.root_key
    });
    Ok(Brand {
        id: brand.id.clone(),
        name: brand.name.clone(),
        base_store: brand.base_store.clone(),
        delegated: !ours,
        created: app.clock.now(),
        authorship: Authorship::default(),
    })
}

/// The change that lets a store follow; none if it is as it should be. What it shows follows the source; how it reviews,
/// names and clears away what people upload here is a matter of this instance.
fn followed(given: &StoreRecord, found: Option<Versioned<StoreRecord>>) -> Result<Option<Change>, Refusal> {
    let Some(Versioned {
        record: here,
        version,
    }) = found
    else {
        return Ok(Some(Change::create(given)));
    };
    if here.brand_id != given.brand_id || here.parent != given.parent {
        return Err(Refusal::conflict(
            "store-taken",
            format!(
                "cannot import the bundle: store {} is another store here, of brand {}",
                here.id, here.brand_id
            ),
        ));
    }
    let new = StoreRecord {
        name: given.name.clone(),
        kind: given.kind,
        private: given.private,
        inclusion_sources: given.inclusion_sources.clone(),
        inclusion_targets: given.inclusion_targets.clone(),
        whole_stores: given.whole_stores.clone(),
        ..here.clone()
    };
    let same = (&new.name, new.kind, new.private) == (&here.name, here.kind, here.private)
        && new.inclusion_sources == here.inclusion_sources
        && new.inclusion_targets == here.inclusion_targets
        && new.whole_stores == here.whole_stores;
    Ok((!same).then(|| Change::replace(&new, version)))
}
