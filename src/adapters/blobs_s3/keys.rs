//! What objects are called.
//!
//! ```text
//! PREFIX/0c/0c63a7…f004                a blob, as in a directory of files
//! PREFIX/kept/0c63a7…f004/1790000000   when it was kept, in the name: a listing tells it, without a look at each object
//! PREFIX/kept/0c63a7…f004/removing-ID  somebody is about to remove it
//! PREFIX/kept/0c63a7…f004/uploading-ID an upload in parts; what it holds is the bucket's name for it
//! ```

use object_store::path::Path;

use crate::domain::blob::BlobId;
use crate::domain::time::Timestamp;

const KEPT: &str = "kept";
const REMOVING: &str = "removing-";
const UPLOADING: &str = "uploading-";

/// The names below one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys(Path);

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The blob itself.
    Blob(BlobId),
    /// It was kept then.
    Kept(BlobId, Timestamp),
    /// Somebody is about to remove it.
    Removing(BlobId),
    /// It is being uploaded in parts.
    Uploading(BlobId),
}

impl Keys {
    /// Below `prefix`, which may be empty.
    pub(super) fn new(prefix: &str) -> Self {
        Self(Path::from(prefix))
    }

    pub(super) fn prefix(&self) -> &Path {
        &self.0
    }

    pub(super) fn blob(&self, id: &BlobId) -> Path {
        let [first, ..] = id.as_bytes();
        self.0.clone().join(format!("{first:02x}")).join(id.to_string())
    }

    /// Everything that is noted of a blob is below this.
    pub(super) fn notes(&self, id: &BlobId) -> Path {
        self.0.clone().join(KEPT).join(id.to_string())
    }

    /// Below this is never anything.
    pub(super) fn nothing(&self) -> Path {
        self.0.clone().join(KEPT).join("nothing")
    }

    pub(super) fn kept(&self, id: &BlobId, at: Timestamp) -> Path {
        self.notes(id).join(at.unix().to_string())
    }

    /// A name of its own for whoever removes the blob.
    pub(super) fn removing(&self, id: &BlobId, who: &str) -> Path {
        self.notes(id).join(format!("{REMOVING}{who}"))
    }

    /// A name of its own for an upload in parts.
    pub(super) fn uploading(&self, id: &BlobId, who: &str) -> Path {
        self.notes(id).join(format!("{UPLOADING}{who}"))
    }

    /// What an object is, if it is one of ours.
    pub(super) fn read(&self, path: &Path) -> Option<Named> {
        let parts: Vec<_> = path.prefix_match(&self.0)?.collect();
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        let id_of = |text: &str| text.parse::<BlobId>().ok().filter(|id| id.to_string() == text);
        match parts.as_slice() {
            [KEPT, id, note] => {
                let id = id_of(id)?;
                if note.starts_with(REMOVING) {
                    Some(Named::Removing(id))
                } else if note.starts_with(UPLOADING) {
                    Some(Named::Uploading(id))
                } else {
                    let at = note.parse().ok()?;
                    Some(Named::Kept(id, Timestamp::from_unix(at)))
                }
            }
            [folder, id] => id_of(id)
                .filter(|_| id.starts_with(folder) && folder.len() == 2)
                .map(Named::Blob),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for prefix in ["", "store", "a/b"] {
            let keys = Keys::new(prefix);
            let id = BlobId::of(b"content");
            let at = Timestamp::from_unix(1_790_000_000);
            for (path, named) in [
                (keys.blob(&id), Named::Blob(id)),
                (keys.kept(&id, at), Named::Kept(id, at)),
                (keys.removing(&id, "x"), Named::Removing(id)),
                (keys.uploading(&id, "x"), Named::Uploading(id)),
            ] {
                assert_eq!(keys.read(&path), Some(named), "{path}");
                assert!(path.prefix_matches(keys.prefix()));
            }
            for other in ["lock", "staging/x", "00/0c63", "kept/0c63/1", "aa/bb/cc"] {
                let path = keys.prefix().parts().chain(Path::from(other).parts()).collect();
                assert_eq!(keys.read(&path), None, "{path}");
            }
            assert_eq!(keys.read(&Path::from(format!("elsewhere/{id}"))), None);
            let wrong = keys.prefix().clone().join("zz").join(id.to_string());
            assert_eq!(keys.read(&wrong), None);
        }
    }
}
