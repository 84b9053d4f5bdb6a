//! Groups of devices: a device is in at most one.

use std::collections::BTreeMap;

use serde_json::json;

use super::follow::look;
use super::{act, start};
use crate::app::{App, Refusal, StoreCtx, vault_event};
use crate::domain::access::Authorship;
use crate::domain::fleet::Group;
use crate::domain::ident::GroupName;
use crate::ports::{Change, Commit, CommitOutcome, Kind};

/// A group and how many devices are in it.
#[derive(Clone, Debug)]
pub struct GroupSize {
    /// The group.
    pub group: Group,
    /// Its devices that are not shut out.
    pub devices: u64,
    /// The production devices among them.
    pub production: u64,
}

/// Makes a group.
///
/// # Errors
/// `name-in-use`.
pub async fn create(app: &App, ctx: &StoreCtx, name: GroupName) -> Result<Group, Refusal> {
    let group = Group {
        store: ctx.store().id.clone(),
        name,
        created: app.clock.now(),
        authorship: Authorship::made_by(ctx.account()),
    };
    let detail = json!({ "group": group.name });
    let commit = Commit {
        records: vec![Change::create(&group)],
        audit: vec![vault_event(
            app,
            ctx.brand(),
            "group.create",
            group.store.as_str(),
            &detail,
        )],
        ..Commit::default()
    };
    match app.storage.commit(commit).await? {
        CommitOutcome::Conflict {
            kind: Kind::Group, ..
        } => Err(Refusal::conflict(
            "name-in-use",
            format!(
                "cannot make group {}: store {} has it already",
                group.name, group.store
            ),
        )),
        outcome => App::settle(&outcome).map(|()| group),
    }
}

/// The groups of a store, by name.
pub async fn list(app: &App, ctx: &StoreCtx) -> Result<Vec<GroupSize>, Refusal> {
    look(app).await?;
    let store = &ctx.store().id;
    let groups = app.storage.all::<Group>([store.as_str()]).await?;
    let mut counts: BTreeMap<GroupName, (u64, u64)> = BTreeMap::new();
    {
        let state = app.fleet.read();
        for ((place, _), count) in state.cells() {
            let Some(place) = state.place_of(*place).filter(|place| place.store == *store) else {
                continue;
            };
            let Some(group) = &place.group else { continue };
            let (all, production) = counts.entry(group.clone()).or_default();
            *all += count;
            *production += if place.production { *count } else { 0 };
        }
    }
    let sized = |group: Group| {
        let (devices, production) = counts.get(&group.name).copied().unwrap_or_default();
        GroupSize {
            group,
            devices,
            production,
        }
    };
    Ok(groups.into_iter().map(|found| sized(found.record)).collect())
}

/// Removes a group without devices.
///
/// # Errors
/// `group-in-use`; absent.
pub async fn delete(app: &App, ctx: &StoreCtx, name: &GroupName) -> Result<(), Refusal> {
    start(app).await?;
    let _one_at_a_time = act(app).await?;
    let store = &ctx.store().id;
    let found = app.storage.find::<Group>([store.as_str(), name.as_str()]).await?;
    let found = found.ok_or_else(|| {
        Refusal::not_found(format!(
            "cannot find group {name}: store {store} has none of this name"
        ))
    })?;
    let used = {
        let state = app.fleet.read();
        let mut places = state.places();
        places.any(|(_, place)| place.store == *store && place.group.as_ref() == Some(name))
    };
    if used {
        return Err(Refusal::conflict(
            "group-in-use",
            format!("cannot delete group {name}: there are devices in it; move them first"),
        ));
    }
    let detail = json!({ "group": name });
    app.commit(Commit {
        records: vec![Change::delete(&found.record, found.version)],
        audit: vec![vault_event(
            app,
            ctx.brand(),
            "group.delete",
            store.as_str(),
            &detail,
        )],
        ..Commit::default()
    })
    .await
}
