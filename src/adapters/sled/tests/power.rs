//! After a power cut: which index is trusted, and what is left of one that is not.

use std::path::PathBuf;

use super::*;

/// A disk of a machine that can be started anew.
#[derive(Debug)]
struct Machine(&'static str);

impl Disk for Machine {
    fn boot(&self) -> String {
        self.0.to_owned()
    }
}

/// A database with a hundred serials, closed in order.
struct Place(tempfile::TempDir);

impl Place {
    async fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let storage = place.open("monday");
        storage.load((0..100).map(loaded).collect()).await.unwrap();
        storage.close().await.unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Opens it in the run `boot` of the machine.
    fn open(&self, boot: &'static str) -> Sled {
        Sled::open_on(&SledOptions::new(self.0.path()), Arc::new(Machine(boot))).unwrap()
    }

    /// The index by itself. Threads of who had it open before may still be on their way out.
    fn index(&self) -> ::sled::Db {
        for _ in 0..100 {
            match ::sled::open(self.path("index")) {
                Err(::sled::Error::Io(_)) => std::thread::sleep(std::time::Duration::from_millis(50)),
                opened => return opened.unwrap(),
            }
        }
        panic!("the index stays locked")
    }

    /// Loses parts of the index without a trace. Only a start that does not trust the index finds them again.
    fn lose_rows(&self) {
        let index = self.index();
        for key in index
            .scan_prefix([super::super::encoding::Space::Row as u8])
            .keys()
        {
            index.remove(key.unwrap()).unwrap();
        }
        index.flush().unwrap();
    }
}

async fn is_whole(storage: &Sled) -> bool {
    storage.latest(&device("L1")).await.is_ok_and(|row| row.is_some())
        && storage.check().await.unwrap().is_empty()
}

#[tokio::test]
async fn an_index_that_a_machine_went_down_with_is_not_trusted() {
    let place = Place::new().await;
    place.lose_rows();
    let storage = place.open("tuesday");
    assert!(!is_whole(&storage).await, "closed in order, so trusted");
    drop(storage);
    let storage = place.open("tuesday");
    assert!(!is_whole(&storage).await, "killed, but the machine stayed up");
    drop(storage);
    let storage = place.open("wednesday");
    assert!(is_whole(&storage).await);
    assert!(!place.path("index.discarded").exists());
    drop(storage);
    place.lose_rows();
    let storage = place.open("thursday");
    assert!(is_whole(&storage).await, "also while it was just made anew");
    storage.close().await.unwrap();
    place.lose_rows();
    assert!(
        !is_whole(&place.open("friday")).await,
        "closed after that, so trusted again"
    );
}

#[tokio::test]
async fn an_index_left_open_is_not_trusted_where_the_system_does_not_tell() {
    let place = Place::new().await;
    drop(place.open(""));
    place.lose_rows();
    let storage = place.open("");
    assert!(is_whole(&storage).await);
    storage.close().await.unwrap();
    place.lose_rows();
    assert!(!is_whole(&place.open("")).await, "closed in order, so trusted");
}

#[tokio::test]
async fn an_index_that_was_copied_while_open_is_not_trusted() {
    let place = Place::new().await;
    let running = place.open("monday");
    let backup = Place(tempfile::tempdir().unwrap());
    copy(place.0.path(), backup.0.path());
    drop(running);
    backup.lose_rows();
    assert!(is_whole(&backup.open("monday")).await);
    // One that was closed may be copied.
    let backup = Place(tempfile::tempdir().unwrap());
    place.open("monday").close().await.unwrap();
    copy(place.0.path(), backup.0.path());
    backup.lose_rows();
    assert!(!is_whole(&backup.open("monday")).await, "trusted");
}

#[tokio::test]
async fn an_index_being_made_anew_when_the_power_goes_is_made_anew_again() {
    let place = Place::new().await;
    drop(place.open("monday"));
    // As far as a start gets between deleting the old one and marking the new one.
    std::fs::rename(place.path("index"), place.path("index.discarded")).unwrap();
    assert!(is_whole(&place.open("tuesday")).await);
    assert!(!place.path("index.discarded").exists(), "a crash left it behind");
    // Deleted in part, twice.
    std::fs::rename(place.path("index"), place.path("index.discarded")).unwrap();
    std::fs::remove_file(place.path("index.discarded").join("db")).unwrap();
    std::fs::create_dir(place.path("index")).unwrap();
    let storage = place.open("wednesday");
    assert!(is_whole(&storage).await);
    assert!(!place.path("index.discarded").exists());
}

#[tokio::test]
async fn a_missing_journal_is_never_replaced_by_an_empty_one() {
    let place = Place::new().await;
    std::fs::rename(place.path("journal"), place.path("elsewhere")).unwrap();
    let error = Sled::open(&SledOptions::new(place.0.path()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("there is an index, but no journal"), "{error}");
    assert!(place.path("index").exists() && !place.path("journal").exists());
    std::fs::rename(place.path("elsewhere"), place.path("journal")).unwrap();
    assert!(is_whole(&place.open("monday")).await);
}
