//! Which file a download path means, and whether who asks may have it.

use std::str::FromStr;

use super::asker::Asker;
use super::view::Snapshot;
use crate::app::{App, Refusal, fleet};
use crate::domain::blob::BlobId;
use crate::domain::ident::SnapId;

/// A file to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// The file.
    pub blob: BlobId,
}

/// The name of a file below `/download/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    snap: SnapId,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// `<snap-id>_<source>_<target>.<format>`
    Delta(u64, u64, String),
    /// `<snap-id>_<revision>.snap`
    Snap(u64),
    /// `<snap-id>+<component>_<revision>.comp`
    Component(String, u64),
}

impl FromStr for FileName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (stem, ending) = text.rsplit_once('.').ok_or(())?;
        let (stem, revision) = stem.rsplit_once('_').ok_or(())?;
        let number = |text: &str| {
            let canonical = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| canonical).ok_or(())
        };
        let revision = number(revision)?;
        if let Some((snap, source)) = stem.split_once('_').filter(|_| ending != "snap") {
            return Ok(Self {
                snap: snap.parse().map_err(|_| ())?,
                what: What::Delta(number(source)?, revision, ending.to_owned()),
            });
        }
        let (snap, what) = match (ending, stem.split_once('+')) {
            ("snap", None) => (stem, What::Snap(revision)),
            ("comp", Some((snap, component))) => (snap, What::Component(component.to_owned(), revision)),
            _other => return Err(()),
        };
        Ok(Self {
            snap: snap.parse().map_err(|_| ())?,
            what,
        })
    }
}

/// The file of this name; none if it is not there, or not for who asks.
pub async fn find(
    app: &App,
    catalog: &Snapshot,
    asker: &Asker,
    name: &FileName,
) -> Result<Option<File>, Refusal> {
    let Some(entry) = catalog.by_id(&name.snap, asker.viewer()) else {
        return Ok(None);
    };
    let blob = match &name.what {
        What::Delta(source, target, format) => entry
            .deltas
            .get(&(*source, *target))
            .filter(|delta| delta.format == *format)
            .and_then(|delta| delta.file.as_ref())
            .map(|file| file.blob),
        What::Snap(revision) => entry.revisions.get(revision).map(|found| found.blob),
        What::Component(component, revision) => entry
            .revisions
            .values()
            .flat_map(|found| &found.components)
            .find(|found| found.name == *component && found.revision == *revision)
            .map(|found| found.blob),
    };
    // A delta to a revision counts like the whole of it.
    if let (Some(_), What::Snap(revision) | What::Delta(_, revision, _)) = (&blob, &name.what) {
        fleet::fetched(app, asker, &name.snap, *revision);
    }
    Ok(blob.map(|blob| File { blob }))
}

/// A picture of a snap, its icon or a screenshot, and its media type.
pub fn picture(catalog: &Snapshot, snap: &SnapId, blob: BlobId) -> Option<(File, String)> {
    let mut pictures = catalog.any(snap)?.record.listing.pictures();
    let (_, media) = pictures.find(|(picture, _)| *picture == blob)?;
    Some((File { blob }, media.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_files() {
        let id = "a".repeat(32);
        for good in [
            format!("{id}_1.snap"),
            format!("{id}+docs-1_12.comp"),
            format!("{id}_1_2.xdelta3"),
        ] {
            assert!(good.parse::<FileName>().is_ok(), "{good}");
        }
        for bad in [
            format!("{id}_01.snap"),
            format!("{id}_0.snap"),
            format!("{id}_+1.snap"),
            format!("{id}_.snap"),
            format!("{id}_1.comp"),
            format!("{id}_1_2.snap"),
            format!("{id}_01_2.xdelta3"),
            format!("{id}+x_1.snap"),
            "x_1.snap".to_owned(),
            String::new(),
        ] {
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
    }
}
