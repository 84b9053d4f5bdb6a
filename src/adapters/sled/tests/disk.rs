//! A disk that fails: what is refused, what stays, and what comes back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

/// A disk that fails when told to.
#[derive(Debug, Default)]
struct BadDisk {
    full: AtomicBool,
    no_room: AtomicBool,
    sync_fails: AtomicBool,
    syncs: AtomicU64,
}

impl Disk for BadDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            // As a full disk does: some of it fits.
            file.write_all_at(bytes.get(..bytes.len() / 2).unwrap_or_default(), offset)?;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        file.write_all_at(bytes, offset)
    }

    fn room(&self, _: &Path, _: usize) -> io::Result<()> {
        if self.no_room.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("input/output error"));
        }
        file.sync_data()
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room_again() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(BadDisk::default());
    let storage = Sled::open_on(&SledOptions::new(directory.path()), disk.clone()).unwrap();
    assert_eq!(issue(&storage, "SN1", 1).await.unwrap(), 1);
    storage.ping().await.unwrap();
    let reservation = reserve(&storage, "SN1", 2).await.unwrap();

    disk.full.store(true, Ordering::SeqCst);
    let why = unavailable(storage.issue(&reservation, signed("SN1"), event()).await);
    assert!(why.starts_with("cannot write the journal:"), "{why}");
    assert!(unavailable(storage.ping().await).contains("cannot write the journal"));
    assert_eq!(
        revisions(&storage, "SN1").await,
        [(2, SerialState::Reserved), (1, SerialState::Issued)]
    );
    assert_eq!(
        storage.latest(&device("SN1")).await.unwrap().unwrap().revision,
        1,
        "reads go on"
    );

    disk.full.store(false, Ordering::SeqCst);
    storage.ping().await.unwrap();
    storage.issue(&reservation, signed("SN1"), event()).await.unwrap();
    assert_eq!(issue(&storage, "SN1", 3).await.unwrap(), 3);
    drop(storage);
    let storage = Sled::open(&SledOptions::new(directory.path())).unwrap();
    assert_eq!(
        revisions(&storage, "SN1").await,
        [3, 2, 1].map(|number| (number, SerialState::Issued))
    );
    assert!(storage.check().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_index_without_room_stays_behind_until_there_is_some() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(BadDisk::default());
    let mut options = SledOptions::new(directory.path());
    options.settle_at = 100;
    let storage = Sled::open_on(&options, disk.clone()).unwrap();
    disk.no_room.store(true, Ordering::SeqCst);
    // Memory takes some; then writes are refused, but nothing is lost and reads go on.
    let mut accepted = Vec::new();
    let why = loop {
        match issue(&storage, "SN1", accepted.len() as u64 + 1).await {
            Ok(revision) => accepted.push(revision),
            Err(error) => break unavailable::<()>(Err(error)),
        }
        assert!(accepted.len() < 1000, "memory is bounded");
    };
    assert!(why.starts_with("cannot move changes into the index:"), "{why}");
    assert!(accepted.len() > 10);
    unavailable(storage.ping().await);
    let latest = storage.latest(&device("SN1")).await.unwrap().unwrap();
    assert_eq!(Some(&latest.revision), accepted.last());

    disk.no_room.store(false, Ordering::SeqCst);
    let mut tries = 0;
    while storage.ping().await.is_err() {
        tries += 1;
        assert!(tries < 200, "it does not come back");
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    issue(&storage, "SN1", 9999).await.unwrap();
    drop(storage);
    let storage = Sled::open(&options).unwrap();
    let issued = revisions(&storage, "SN1").await;
    let issued = issued.iter().filter(|(_, state)| *state == SerialState::Issued);
    assert_eq!(issued.count(), accepted.len() + 1);
    assert!(storage.check().await.unwrap().is_empty());

    // Nor does it end in order without room; the journal has it all.
    storage.close().await.unwrap();
    let storage = Sled::open_on(&options, disk.clone()).unwrap();
    issue(&storage, "SN2", 10_000).await.unwrap();
    disk.no_room.store(true, Ordering::SeqCst);
    unavailable(storage.close().await);
    let error = Sled::open_on(&options, disk).unwrap_err().to_string();
    assert!(error.contains("there is no room to start with"), "{error}");
    let storage = Sled::open(&options).unwrap();
    assert_eq!(revisions(&storage, "SN2").await, [(1, SerialState::Issued)]);
}

#[tokio::test]
async fn on_a_full_disk_claims_take_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(BadDisk::default());
    let storage = Sled::open_on(&SledOptions::new(directory.path()), disk.clone()).unwrap();
    disk.full.store(true, Ordering::SeqCst);
    let reservation = reserve(&storage, "SN1", 1).await.unwrap();
    unavailable(storage.issue(&reservation, signed("SN1"), event()).await);
    for number in 2..50 {
        unavailable(storage.claim(claim("SN1", number)).await);
    }
    assert_eq!(revisions(&storage, "SN1").await, [(1, SerialState::Reserved)]);
    disk.full.store(false, Ordering::SeqCst);
    storage.void(&reservation).await.unwrap();
    assert_eq!(issue(&storage, "SN1", 50).await.unwrap(), 2);
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_until_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(BadDisk::default());
    let storage = Sled::open_on(&SledOptions::new(directory.path()), disk.clone()).unwrap();
    assert_eq!(issue(&storage, "SN1", 1).await.unwrap(), 1);
    let reservation = reserve(&storage, "SN1", 2).await.unwrap();
    disk.sync_fails.store(true, Ordering::SeqCst);
    let why = unavailable(storage.issue(&reservation, signed("SN1"), event()).await);
    assert!(why.contains("cannot sync the journal"), "{why}");
    assert_eq!(
        storage.latest(&device("SN1")).await.unwrap().unwrap().revision,
        1,
        "what failed is not seen"
    );

    // The disk says it is well again, but what it holds is not known.
    disk.sync_fails.store(false, Ordering::SeqCst);
    let why = unavailable(storage.claim(claim("SN2", 3)).await);
    assert!(why.contains("restart the server"), "{why}");
    unavailable(storage.issue(&reservation, signed("SN1"), event()).await);
    unavailable(storage.ping().await);
    unavailable(storage.close().await);
    drop(storage);

    let storage = Sled::open(&SledOptions::new(directory.path())).unwrap();
    let after = revisions(&storage, "SN1").await;
    assert_eq!(after.last(), Some(&(1, SerialState::Issued)));
    assert!(after.len() <= 2, "only what was asked for");
    assert_eq!(issue(&storage, "SN1", 4).await.unwrap(), after.len() as u64 + 1);
    assert!(storage.check().await.unwrap().is_empty());
}

/// What is on a disk that goes on as Linux does after a failed sync: what was to be synced can be read, and is lost.
#[derive(Debug, Default)]
struct ForgetfulDisk {
    sync_fails: AtomicBool,
    waiting: Mutex<Vec<(u64, Vec<u8>)>>,
    durable: Mutex<Vec<u8>>,
}

impl Disk for ForgetfulDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.waiting.lock().unwrap().push((offset, bytes.to_vec()));
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("input/output error"));
        }
        let mut durable = self.durable.lock().unwrap();
        for (offset, bytes) in waiting {
            let start = usize::try_from(offset).unwrap();
            let end = start + bytes.len();
            if durable.len() < end {
                durable.resize(end, 0);
            }
            durable.get_mut(start..end).unwrap().copy_from_slice(&bytes);
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_a_failed_sync_left_unwritten_is_written_by_the_next_start() {
    for settle_at in [SledOptions::new("").settle_at, 1] {
        let directory = tempfile::tempdir().unwrap();
        let mut options = SledOptions::new(directory.path());
        options.settle_at = settle_at;
        Sled::open(&options).unwrap().close().await.unwrap();
        let journal = directory.path().join("journal");
        let disk = Arc::new(ForgetfulDisk::default());
        *disk.durable.lock().unwrap() = std::fs::read(&journal).unwrap();

        let storage = Sled::open_on(&options, disk.clone()).unwrap();
        assert_eq!(issue(&storage, "SN1", 1).await.unwrap(), 1);
        disk.sync_fails.store(true, Ordering::SeqCst);
        issue(&storage, "SN1", 2).await.unwrap_err();
        drop(storage);
        disk.sync_fails.store(false, Ordering::SeqCst);
        let storage = Sled::open_on(&options, disk.clone()).unwrap();
        assert_eq!(issue(&storage, "SN2", 3).await.unwrap(), 1);
        drop(storage);

        // A power cut.
        std::fs::write(&journal, &*disk.durable.lock().unwrap()).unwrap();
        std::fs::remove_dir_all(directory.path().join("index")).unwrap();
        let storage = Sled::open(&options).unwrap();
        for serial in ["SN1", "SN2"] {
            assert!(
                storage.latest(&device(serial)).await.unwrap().is_some(),
                "{serial}"
            );
        }
        storage.close().await.unwrap();
    }
}

#[tokio::test]
async fn concurrent_writes_share_a_sync() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(BadDisk::default());
    let storage = Arc::new(Sled::open_on(&SledOptions::new(directory.path()), disk.clone()).unwrap());
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                storage
                    .spend([number; 16], Timestamp::from_unix(0))
                    .await
                    .unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
    let syncs = disk.syncs.load(Ordering::SeqCst);
    assert!(syncs < 150, "{syncs} syncs for 200 writes");
}
