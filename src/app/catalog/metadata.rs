//! The texts about a snap, sent by the tools of its publisher (publisher-api.md 6.12). What a person edited here is not
//! undone unless the tool insists. Pictures: [`super::pictures`].

use super::snaps::{self, Edit};
use crate::app::{App, Refusal, SnapCtx};
use crate::domain::catalog::SnapRecord;

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
