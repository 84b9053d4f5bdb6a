//! The catalogue: stores and what they show, snaps and their releases. Everything that changes it goes through
//! [`changes`], so that readers can follow by number.

pub(crate) mod changes;
pub mod confdb;
pub mod connect;
pub mod declare;
pub(in crate::app) mod expiry;
pub mod featured;
pub mod garbage;
pub mod grants;
pub mod inclusions;
pub mod ingest;
pub mod metadata;
pub mod names;
pub mod overrides;
pub mod overview;
pub mod pictures;
mod publishers;
pub mod push;
pub mod register;
pub mod releases;
pub mod review;
pub mod sharing;
pub mod shelf;
pub mod snaps;
pub mod stores;
pub mod tracks;
pub mod uploads;
pub mod validation_sets;
pub mod vouching;

pub(crate) use changes::apply;
pub(in crate::app) use publishers::missing_developer;
pub(super) use publishers::renamed;

use super::sign::{record, stored};
use super::{App, BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::assertion::Assertion;
use crate::domain::catalog::SnapRecord;
use crate::domain::ident::SnapName;
use crate::ports::{Commit, PutRule, Versioned};

/// The snap of this name, if the caller may do what `permission` names to it; what they may not is absent.
pub(super) async fn snap(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    permission: Permission,
) -> Result<Versioned<SnapRecord>, Refusal> {
    let found = app
        .storage
        .find_unique::<SnapRecord>("name", name.as_str())
        .await?;
    found
        .filter(|found| ctx.may_with(&found.record, permission))
        .ok_or_else(|| no_snap(ctx, name))
}

/// There is no such snap, or none the caller may know of.
fn no_snap(ctx: &BrandCtx, name: &SnapName) -> Refusal {
    Refusal::not_found(format!(
        "cannot find snap {name}: brand {} has no such snap, or it is not yours to do this with",
        ctx.brand()
    ))
}

/// Adds a fresh signature to `commit`: the assertion and what the audit log says about it.
fn signed(app: &App, ctx: &BrandCtx, commit: &mut Commit, assertion: &Assertion, rule: PutRule) {
    commit
        .audit
        .push(record(ctx.event(app.clock.now(), "", ""), assertion));
    commit.assertions.push((stored(assertion), rule));
}
