//! Every store of files through the conformance suite, and what only files on a disk can show.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hallmark::adapters::blobs_file::FileBlobs;
use hallmark::adapters::memory::MemoryBlobs;
use hallmark::adapters::system::SystemClock;
use hallmark::domain::blob::BlobId;
use hallmark::ports::{BlobError, Blobs, Clock};

mod memory {
    use super::*;
    use crate::conformance::blobs::BlobEngine;

    /// The same store for every opening, under the clock of the first one.
    struct InMemory(std::sync::OnceLock<MemoryBlobs>);

    #[async_trait::async_trait]
    impl BlobEngine for InMemory {
        async fn open(&self, clock: Arc<dyn Clock>) -> Arc<dyn Blobs> {
            Arc::new(self.0.get_or_init(|| MemoryBlobs::new(clock)).clone())
        }
    }

    crate::blob_conformance_tests!(InMemory(std::sync::OnceLock::new()));
}

mod file {
    use super::*;
    use crate::conformance::blobs::BlobEngine;

    struct InDirectory(tempfile::TempDir);

    #[async_trait::async_trait]
    impl BlobEngine for InDirectory {
        async fn open(&self, clock: Arc<dyn Clock>) -> Arc<dyn Blobs> {
            Arc::new(FileBlobs::open(&self.0.path().join("blobs"), clock).expect("open the store"))
        }
    }

    crate::blob_conformance_tests!(InDirectory(tempfile::tempdir().expect("a directory")));
}

fn open(root: &Path) -> FileBlobs {
    FileBlobs::open(root, Arc::new(SystemClock)).unwrap()
}

fn staged_files(root: &Path) -> Vec<PathBuf> {
    let entries = root.join("staging").read_dir().unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn files_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("blobs");
    let store = open(&root);
    let mut staging = store.stage().await.unwrap();
    staging.write("abc".into()).await.unwrap();
    let staged = staging.finish().await.unwrap();
    let id = staged.keep().await.unwrap();
    let name = id.to_string();
    let folder = root.join(&name[..2]);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.join(&name)), 0o600);
    for directory in [&root, &folder, &root.join("staging")] {
        assert_eq!(mode(directory), 0o700);
    }
    assert!(staged_files(&root).is_empty());
}

/// A crash is a staged file that no process holds a lock on.
#[tokio::test]
async fn a_start_clears_what_a_crash_left_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = open(root);
    let mut staging = store.stage().await.unwrap();
    staging.write("in progress".into()).await.unwrap();
    let left = root.join("staging/00000000-0000-4000-8000-000000000000");
    std::fs::write(&left, "half a fi").unwrap();
    let second = open(root);
    assert!(!left.exists());
    assert_eq!(staged_files(root).len(), 1);
    let id = staging.finish().await.unwrap().keep().await.unwrap();
    assert!(second.open(&id).await.unwrap().is_some());
}

#[tokio::test]
async fn keeping_a_file_heals_a_damaged_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let id = BlobId::of(b"content");
    let path = directory.path().join(&id.to_string()[..2]).join(id.to_string());
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "rotten!").unwrap();
    let mut staging = store.stage().await.unwrap();
    staging.write("content".into()).await.unwrap();
    staging.finish().await.unwrap().keep().await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"content");
}

#[tokio::test]
async fn a_file_that_becomes_shorter_while_it_is_read_is_an_error() {
    use futures_util::StreamExt as _;

    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut staging = store.stage().await.unwrap();
    staging.write(vec![7; 300_000].into()).await.unwrap();
    let id = staging.finish().await.unwrap().keep().await.unwrap();
    let blob = store.open(&id).await.unwrap().unwrap();
    let path = directory.path().join(&id.to_string()[..2]).join(id.to_string());
    let mut stream = blob.stream(0, u64::MAX);
    assert!(stream.next().await.unwrap().is_ok());
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(10)
        .unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(error, BlobError::Damaged { id: found, .. } if found == id));
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_an_error_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = FileBlobs::open(&file, Arc::new(SystemClock)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("cannot open the directory of files: "), "{text}");
    let store = open(&directory.path().join("blobs"));
    std::fs::remove_dir_all(directory.path().join("blobs")).unwrap();
    let error = store.stage().await.unwrap_err().to_string();
    assert!(error.starts_with("cannot make a staged file: "), "{error}");
}

#[tokio::test]
async fn other_files_in_the_directory_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let foreign = directory.path().join("00/notes.txt");
    std::fs::create_dir(foreign.parent().unwrap()).unwrap();
    std::fs::write(&foreign, "mine").unwrap();
    assert_eq!(store.list().await, Ok(vec![]));
    open(directory.path());
    assert_eq!(foreign.metadata().unwrap().size(), 4);
}
