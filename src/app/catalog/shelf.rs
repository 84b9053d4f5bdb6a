//! The snaps of a store as administrators look at them: whose they are, where else they are, what was released last.

use std::collections::BTreeSet;

use super::inclusions;
use crate::app::store::{SnapEntry, Snapshot};
use crate::app::{App, Refusal, StoreCtx};
use crate::domain::access::{Permission, StoreRecord};
use crate::domain::catalog::{Channel, SnapRecord, Viewer, sees};
use crate::domain::ident::{SnapId, SnapName, StoreId};
use crate::domain::time::Timestamp;
use crate::ports::Key;

/// Which snaps are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Which<'c> {
    /// Those the store shows.
    Shown,
    /// Those of them that this store may include and does not show yet. Asked of the store itself: all it may include.
    FreeFor(&'c StoreCtx),
}

/// What was released last.
#[derive(Clone, Debug)]
pub struct Latest {
    /// Where.
    pub channel: Channel,
    /// When.
    pub released: Timestamp,
    /// Which revision.
    pub revision: u64,
    /// Its version.
    pub version: Option<String>,
}

/// One snap.
#[derive(Clone, Debug)]
pub struct ShelfRow {
    /// Its id.
    pub id: SnapId,
    /// Its name.
    pub name: SnapName,
    /// It is in every store.
    pub essential: bool,
    /// Only for those who prove to belong to a store that shows it.
    pub private: bool,
    /// The base store it is registered in.
    pub store: StoreId,
    /// The other stores of the brand that show it, as far as the caller may know of them.
    pub other_stores: Vec<StoreId>,
    /// Whose it is.
    pub publisher_name: String,
    /// The public name of that account.
    pub publisher_username: Option<String>,
    /// What was released last.
    pub latest: Option<Latest>,
}

/// The snaps of a store by name, with `words` in their names: to publishers their own, to the others all.
pub async fn rows(
    app: &App,
    ctx: &StoreCtx,
    which: Which<'_>,
    words: Option<&str>,
) -> Result<Vec<ShelfRow>, Refusal> {
    let catalog = app.catalog.current(app).await?;
    let shown = || async {
        let all = inclusions::contents(app, ctx).await?;
        Ok::<Vec<SnapRecord>, Refusal>(all.into_iter().map(|shown| shown.snap).collect())
    };
    let snaps = match which {
        Which::Shown => shown().await?,
        Which::FreeFor(target) => {
            let mut free = inclusions::candidates(app, target).await?;
            if target.store().id != ctx.store().id {
                let here: BTreeSet<SnapId> = shown().await?.into_iter().map(|snap| snap.id).collect();
                free.retain(|snap| here.contains(&snap.id));
            }
            free
        }
    };
    let wanted = words.unwrap_or_default().to_lowercase();
    let neighbours = neighbours(app, ctx).await?;
    Ok(snaps
        .into_iter()
        .filter(|snap| snap.name.as_str().contains(&wanted))
        .map(|snap| row(&catalog, ctx.store(), &neighbours, snap))
        .collect())
}

/// The stores of the brand that the caller may know of beside this one.
async fn neighbours(app: &App, ctx: &StoreCtx) -> Result<Vec<StoreId>, Refusal> {
    if !ctx.brand().may(Permission::BrandRead) {
        return Ok(Vec::new());
    }
    let all = app.storage.all::<StoreRecord>(Key(Vec::new())).await?;
    Ok(all
        .into_iter()
        .map(|found| found.record)
        .filter(|store| store.brand_id == ctx.store().brand_id)
        .map(|store| store.id)
        .collect())
}

fn row(catalog: &Snapshot, here: &StoreRecord, neighbours: &[StoreId], snap: SnapRecord) -> ShelfRow {
    let placed = snap.placed();
    let other_stores = neighbours
        .iter()
        .chain(std::iter::once(&here.id))
        .filter(|store| **store != snap.store_id && sees(catalog, placed, Viewer::Of(store)))
        .cloned()
        .collect::<BTreeSet<StoreId>>();
    let entry = catalog.by_id(&snap.id, Viewer::Of(&snap.store_id));
    let publisher = entry.map(|entry| &entry.publisher);
    ShelfRow {
        essential: placed.essential(),
        private: snap.private,
        other_stores: other_stores.into_iter().collect(),
        publisher_name: publisher
            .map_or_else(|| snap.publisher_id.to_string(), |one| one.display_name.clone()),
        publisher_username: publisher.map(|one| one.username.clone()),
        latest: entry.and_then(|entry| latest(entry)),
        store: snap.store_id,
        name: snap.name,
        id: snap.id,
    }
}

fn latest(entry: &SnapEntry) -> Option<Latest> {
    let open = &entry.record.releases.open;
    let release = open.iter().max_by_key(|release| release.released)?;
    Some(Latest {
        channel: release.channel.clone(),
        released: release.released,
        revision: release.revision,
        version: entry
            .revisions
            .get(&release.revision)
            .map(|revision| revision.version.clone()),
    })
}
