//! Giving assertions out to the people of a brand: everything of the brand, or what fits a search.

use bytes::Bytes;

use super::import::owner;
use super::lookup;
use crate::app::instance::trusted;
use crate::app::{App, BrandCtx, Refusal};
use crate::domain::access::Brand;
use crate::domain::assertion::{Assertion, AssertionType, PrimaryKey, TYPES, decode, encode_stream};
use crate::ports::{AssertionFilter, Key};

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Only assertions of this type; none = all types.
    pub kind: Option<AssertionType>,
    /// Only those whose headers have these values.
    pub headers: Vec<(String, String)>,
}

/// The assertions a search finds, as a stream, newest revisions only, ordered by type and primary key.
///
/// Without a type: those of the brand, after the trusted set they rest on, so that the stream can be verified and
/// imported elsewhere. With a type: also those nobody on this instance owns. Never those of other brands here.
/// Serials are in the ledger: one is found by its whole primary key, all of them with `serial list`.
pub async fn export(app: &App, ctx: &BrandCtx, search: &Search) -> Result<Bytes, Refusal> {
    let other_brands: Vec<String> = app
        .storage
        .all::<Brand>(Key(Vec::new()))
        .await?
        .into_iter()
        .map(|brand| brand.record.id.to_string())
        .filter(|id| id != ctx.brand().as_str())
        .collect();
    let wanted = |assertion: &Assertion| {
        let owner = owner(assertion).unwrap_or_default();
        let mine = owner == ctx.brand().as_str();
        let visible = mine || (search.kind.is_some() && !other_brands.iter().any(|other| other == owner));
        visible
            && search
                .headers
                .iter()
                .all(|(name, value)| assertion.text(name) == Some(value))
    };
    let mut found = Vec::new();
    if search.kind.is_none() && search.headers.is_empty() {
        found = trusted(app).await?;
    }
    if search.kind == Some(AssertionType::Serial) {
        found.extend(serial(app, search).await?.into_iter().filter(wanted));
    }
    let kinds = TYPES
        .iter()
        .map(|info| info.kind)
        .filter(|kind| search.kind.is_none_or(|only| only == *kind));
    for kind in kinds {
        let filter = AssertionFilter {
            kind,
            key_prefix: prefix(kind, search),
            max_format: u32::MAX,
        };
        for stored in app.storage.assertions(&filter).await? {
            match decode(&stored.encoded) {
                Ok(assertion) if wanted(&assertion) && !found.contains(&assertion) => found.push(assertion),
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, reference = %stored.reference, "stored assertion is damaged")
                }
            }
        }
    }
    Ok(encode_stream(found.iter().map(|assertion| assertion.encoded())))
}

/// The leading primary key values a search gives.
fn prefix(kind: AssertionType, search: &Search) -> Vec<String> {
    let value = |name: &&str| {
        search
            .headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.clone())
    };
    kind.info().primary_key.iter().map_while(value).collect()
}

async fn serial(app: &App, search: &Search) -> Result<Option<Assertion>, Refusal> {
    let kind = AssertionType::Serial;
    let key = prefix(kind, search);
    if key.len() != kind.info().primary_key.len() {
        return Err(Refusal::invalid(
            "incomplete-key",
            "cannot search serials: give brand-id, model and serial, or use `hallmark serial list`",
        ));
    }
    let encoded = lookup::serial(app, &PrimaryKey(key)).await?;
    Ok(encoded.and_then(|encoded| decode(&encoded).ok()))
}
