//! The pictures of a snap, sent by the tools of its publisher (publisher-api.md 6.12): its icon, and screenshots.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::json;

use super::changes::apply;
use super::garbage;
use super::snaps::ATTEMPTS;
use crate::app::{App, Reason, Refusal, SnapCtx, vault_event};
use crate::domain::access::Permission;
use crate::domain::audit::hex;
use crate::domain::blob::{BlobDigest, BlobId};
use crate::domain::catalog::{Changed, Icon, Screenshot, SnapRecord};
use crate::ports::{Change, Commit, CommitOutcome, Icon as IconFile, IconKind, Kind};

/// A picture that is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One that is there: the SHA-256 of its file, lower-case hex.
    Kept(String),
    /// This file.
    New(Bytes),
}

/// All pictures a snap is to have. What is not named goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pictures {
    /// The icon.
    pub icon: Option<Wanted>,
    /// In the order in which they are shown.
    pub screenshots: Vec<Wanted>,
}

/// SHA-256 of a file, lower-case hex, as tools name pictures.
pub fn sha256(file: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, file).as_ref())
}

/// SHA-256 of the icon, lower-case hex, by which tools know whether theirs is another one; none without an icon.
///
/// # Errors
/// If the storage is out of reach.
pub async fn icon_hash(app: &App, snap: &SnapRecord) -> Result<Option<String>, Refusal> {
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
    Ok(Some(hex(context.finish().as_ref())))
}

/// Shows these pictures and no others; the snap as it is then.
///
/// # Errors
/// `invalid-icon`, `invalid-screenshot`, `too-many-screenshots`; `invalid-media`, if one is named that is not there;
/// `request-too-large`; trouble of the storage. Nothing is changed then.
pub async fn show(app: &App, ctx: &SnapCtx, wanted: &Pictures) -> Result<SnapRecord, Refusal> {
    judge(wanted)?;
    // What is missing is said before anything is kept.
    resolve(app, ctx.snap(), wanted, &New::default()).await?;
    let new = New::keep(app, wanted).await?;
    for _ in 0..ATTEMPTS {
        let name = &ctx.snap().name;
        let found = super::snap(app, ctx.brand(), name, Permission::SnapEdit).await?;
        let mut snap = found.record;
        let (icon, screenshots) = resolve(app, &snap, wanted, &new).await?;
        if snap.listing.icon == icon && snap.listing.screenshots == screenshots {
            return Ok(snap);
        }
        let before: BTreeSet<BlobId> = snap.listing.pictures().map(|(blob, _)| blob).collect();
        // Snap files have an icon too: what is set here stays when they are replaced.
        if snap.listing.icon != icon && !snap.listing.edited {
            snap.listing.edited = true;
            snap.listing.by_tools = true;
        }
        snap.listing.icon = icon;
        snap.listing.screenshots = screenshots;
        let shown: BTreeSet<BlobId> = snap.listing.pictures().map(|(blob, _)| blob).collect();
        let shots: Vec<BlobId> = snap.listing.screenshots.iter().map(|shot| shot.blob).collect();
        let icon = snap.listing.icon.as_ref().map(|icon| icon.blob);
        let detail = json!({"snap-id": snap.id, "icon": icon, "screenshots": shots});
        let name = snap.name.as_str();
        let commit = Commit {
            records: vec![Change::replace(&snap, found.version)],
            audit: vec![vault_event(app, ctx.brand(), "snap.edit", name, &detail)],
            ..Commit::default()
        };
        match apply(app, commit, &[Changed::Snap(snap.id.clone())]).await? {
            CommitOutcome::Conflict { kind: Kind::Snap, .. } => {}
            outcome => {
                App::settle(&outcome)?;
                for gone in before.difference(&shown) {
                    garbage::unnamed(app, *gone).await;
                }
                return Ok(snap);
            }
        }
    }
    Err(App::changed_meanwhile())
}

/// What can be said of the new files without keeping them.
fn judge(wanted: &Pictures) -> Result<(), Refusal> {
    if wanted.screenshots.len() > Screenshot::MOST {
        return Err(Refusal::invalid(
            "too-many-screenshots",
            format!("cannot show more than {} screenshots of a snap", Screenshot::MOST),
        ));
    }
    if let Some(Wanted::New(file)) = &wanted.icon {
        if file.len() > IconFile::MAX_BYTES {
            return Err(Refusal::new(
                Reason::TooLarge,
                "request-too-large",
                format!(
                    "cannot use the icon: it has more than {} bytes",
                    IconFile::MAX_BYTES
                ),
            ));
        }
        if IconKind::of(file).is_none() {
            return Err(no_icon());
        }
    }
    for shot in &wanted.screenshots {
        if let Wanted::New(file) = shot {
            Screenshot::judge(file).map_err(no_screenshot)?;
        }
    }
    Ok(())
}

fn no_icon() -> Refusal {
    Refusal::invalid(
        "invalid-icon",
        "cannot use the icon: it is no PNG, SVG, JPEG or GIF picture",
    )
}

fn no_screenshot(why: crate::domain::catalog::NoScreenshot) -> Refusal {
    Refusal::invalid("invalid-screenshot", format!("cannot use the screenshot: {why}"))
}

/// The new files, once they are kept; in the order in which they are wanted.
#[derive(Debug, Default)]
struct New {
    icon: Option<Icon>,
    screenshots: Vec<Screenshot>,
}

impl New {
    async fn keep(app: &App, wanted: &Pictures) -> Result<Self, Refusal> {
        let mut new = Self::default();
        if let Some(Wanted::New(file)) = &wanted.icon {
            let kind = IconKind::of(file).ok_or_else(no_icon)?;
            let digest = keep(app, file).await?;
            new.icon = Some(Icon {
                blob: digest.id,
                media: kind.media_type().to_owned(),
                size: digest.size,
            });
        }
        for shot in &wanted.screenshots {
            let Wanted::New(file) = shot else { continue };
            let picture = Screenshot::judge(file).map_err(no_screenshot)?;
            let digest = keep(app, file).await?;
            new.screenshots.push(Screenshot {
                blob: digest.id,
                sha256: sha256(file),
                media: picture.media.to_owned(),
                size: digest.size,
                width: picture.width,
                height: picture.height,
            });
        }
        Ok(new)
    }
}

/// The pictures of `snap` as they are to be. Those that are wanted new and are not in `new` yet are left out.
async fn resolve(
    app: &App,
    snap: &SnapRecord,
    wanted: &Pictures,
    new: &New,
) -> Result<(Option<Icon>, Vec<Screenshot>), Refusal> {
    let missing = |what: &str| {
        Refusal::invalid(
            "invalid-media",
            format!("cannot change the pictures: {what} is named that is not there, and its file is missing"),
        )
    };
    let icon = match &wanted.icon {
        None => None,
        Some(Wanted::New(_)) => new.icon.clone(),
        Some(Wanted::Kept(hash)) => {
            if icon_hash(app, snap).await?.as_ref() != Some(hash) {
                return Err(missing("an icon"));
            }
            snap.listing.icon.clone()
        }
    };
    let mut screenshots: Vec<Screenshot> = Vec::new();
    let mut added = new.screenshots.iter();
    for shot in &wanted.screenshots {
        let shot = match shot {
            Wanted::New(_) => added.next(),
            Wanted::Kept(hash) => {
                let mut known = snap.listing.screenshots.iter();
                let known = known.find(|known| known.sha256 == *hash);
                Some(known.ok_or_else(|| missing("a screenshot"))?)
            }
        };
        // The same picture is shown once.
        let shot = shot.filter(|shot| screenshots.iter().all(|other| other.blob != shot.blob));
        screenshots.extend(shot.cloned());
    }
    Ok((icon, screenshots))
}

async fn keep(app: &App, file: &Bytes) -> Result<BlobDigest, Refusal> {
    let mut staging = app.blobs.stage().await?;
    staging.write(file.clone()).await?;
    let staged = staging.finish().await?;
    let digest = staged.digest();
    staged.keep().await?;
    Ok(digest)
}
