//! What people read about a snap, sent by the tools of its publisher (publisher-api.md 6.12): texts, and the icon. What a
//! person edited here is not undone unless the tool insists.

use bytes::Bytes;
use serde_json::json;

use super::changes::apply;
use super::garbage;
use super::snaps::{self, ATTEMPTS, Edit};
use crate::app::{App, Refusal, SnapCtx, vault_event};
use crate::domain::blob::BlobId;
use crate::domain::catalog::{Changed, Icon, SnapRecord};
use crate::ports::{Change, Commit, CommitOutcome, IconKind, Kind};

/// A text that a person edited, and a tool would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldConflict {
    /// Which one.
    pub name: &'static str,
    /// What it says now.
    pub current: String,
}

/// Why texts were not changed.
#[derive(Clone, Debug)]
pub enum MetadataTrouble {
    /// People edited these.
    Conflicts(Vec<FieldConflict>),
    /// Anything else.
    Refused(Refusal),
}

impl<E: Into<Refusal>> From<E> for MetadataTrouble {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// Changes the texts; unless `force`, not those that a person edited.
///
/// # Errors
/// The conflicts, all of them; else as [`snaps::edit`].
pub async fn update(
    app: &App,
    ctx: &SnapCtx,
    edit: &Edit,
    force: bool,
) -> Result<SnapRecord, MetadataTrouble> {
    snaps::edit_if(app, ctx.brand(), &ctx.snap().name, edit, |snap| {
        let conflicts = if force { Vec::new() } else { conflicts(snap, edit) };
        if conflicts.is_empty() {
            Ok(())
        } else {
            Err(MetadataTrouble::Conflicts(conflicts))
        }
    })
    .await
}

fn conflicts(snap: &SnapRecord, edit: &Edit) -> Vec<FieldConflict> {
    let listing = &snap.listing;
    if !listing.edited || listing.by_tools {
        return Vec::new();
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        ("title", text(&listing.title), &edit.title),
        ("summary", listing.summary.clone(), &edit.summary),
        ("description", listing.description.clone(), &edit.description),
        ("license", text(&listing.license), &edit.license),
        ("website", text(&listing.website), &edit.website),
        ("contact", text(&listing.contact), &edit.contact),
    ]
    .into_iter()
    .filter(|(_, current, wanted)| wanted.as_ref().is_some_and(|wanted| wanted != current))
    .map(|(name, current, _)| FieldConflict { name, current })
    .collect()
}

/// SHA-256 of the icon, lower-case hex, by which tools know whether theirs is another one; none without an icon.
///
/// # Errors
/// If the storage is out of reach.
pub async fn icon_hash(app: &App, snap: &SnapRecord) -> Result<Option<String>, Refusal> {
    use futures_util::StreamExt as _;
    let Some(icon) = &snap.listing.icon else {
        return Ok(None);
    };
    let Some(blob) = app.blobs.open(&icon.blob).await? else {
        return Ok(None);
    };
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut pieces = blob.stream(0, blob.size());
    while let Some(piece) = pieces.next().await {
        context.update(&piece?);
    }
    Ok(Some(crate::domain::audit::hex(context.finish().as_ref())))
}

/// Shows another icon, or none.
///
/// # Errors
/// `invalid-icon`; trouble of the storage.
pub async fn set_icon(app: &App, ctx: &SnapCtx, bytes: Option<Bytes>) -> Result<(), Refusal> {
    let icon = match bytes {
        None => None,
        Some(bytes) => Some(keep(app, bytes).await?),
    };
    for _ in 0..ATTEMPTS {
        let found = super::snap(
            app,
            ctx.brand(),
            &ctx.snap().name,
            crate::domain::access::Permission::SnapEdit,
        )
        .await?;
        let mut snap = found.record;
        let before: Option<BlobId> = snap.listing.icon.as_ref().map(|icon| icon.blob);
        snap.listing.icon.clone_from(&icon);
        if !snap.listing.edited {
            snap.listing.edited = true;
            snap.listing.by_tools = true;
        }
        let detail = json!({"snap-id": snap.id, "icon": icon.as_ref().map(|icon| icon.blob)});
        let commit = Commit {
            records: vec![Change::replace(&snap, found.version)],
            audit: vec![vault_event(
                app,
                ctx.brand(),
                "snap.edit",
                snap.name.as_str(),
                &detail,
            )],
            ..Commit::default()
        };
        match apply(app, commit, &[Changed::Snap(snap.id.clone())]).await? {
            CommitOutcome::Conflict { kind: Kind::Snap, .. } => {}
            outcome => {
                App::settle(&outcome)?;
                if let Some(before) =
                    before.filter(|before| icon.as_ref().is_none_or(|icon| icon.blob != *before))
                {
                    garbage::unnamed(app, before).await;
                }
                return Ok(());
            }
        }
    }
    Err(App::changed_meanwhile())
}

async fn keep(app: &App, bytes: Bytes) -> Result<Icon, Refusal> {
    let kind = IconKind::of(&bytes).ok_or_else(|| {
        Refusal::invalid(
            "invalid-icon",
            "cannot use the icon: it is no PNG, SVG, JPEG or GIF picture",
        )
    })?;
    let mut staging = app.blobs.stage().await?;
    staging.write(bytes).await?;
    let staged = staging.finish().await?;
    let digest = staged.digest();
    staged.keep().await?;
    Ok(Icon {
        blob: digest.id,
        media: kind.media_type().to_owned(),
        size: digest.size,
    })
}
