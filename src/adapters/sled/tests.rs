//! What the conformance suite cannot see: failing disks, torn and damaged files, the index behind the journal.

mod disk;
mod power;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::journal::Disk;
use super::{Sled, SledOptions};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::ident::{BrandId, DeviceId, KeyId};
use crate::domain::time::Timestamp;
use crate::domain::vault::claim::PresentedRequestId;
use crate::domain::vault::{ClaimOutcome, ClaimRules, Reservation, SerialClaim, SerialRow, SerialState};
use crate::ports::{IssuedSerial, SerialFilter, SerialLedger, Storage, StoreError};

fn brand() -> BrandId {
    "brand-one".parse().unwrap()
}

fn device(serial: &str) -> DeviceId {
    DeviceId {
        brand: brand(),
        model: "gate-1".parse().unwrap(),
        serial: serial.parse().unwrap(),
    }
}

fn key() -> KeyId {
    "k".repeat(64).parse().unwrap()
}

fn claim(serial: &str, number: u64) -> SerialClaim {
    let mut nonce = [1; 16];
    nonce[8..].copy_from_slice(&number.to_be_bytes());
    SerialClaim {
        device: device(serial),
        device_key: key(),
        request_id: PresentedRequestId {
            nonce,
            expires: Timestamp::from_unix(600),
        },
        rules: ClaimRules::default(),
        now: Timestamp::from_unix(0),
    }
}

fn event() -> AuditEvent {
    AuditEvent {
        time: Timestamp::from_unix(0),
        actor: Actor::System,
        brand: Some(brand().into()),
        action: "serial.sign".to_owned(),
        subject: "x".to_owned(),
        detail: serde_json::Map::new(),
    }
}

fn signed(serial: &str) -> IssuedSerial {
    let assertion = format!("type: serial\nserial: {serial}\n\n{}\n", "x".repeat(2000)).into();
    IssuedSerial {
        assertion,
        sign_key: key(),
        created_at: Timestamp::from_unix(5),
    }
}

async fn reserve(storage: &Sled, serial: &str, number: u64) -> Result<Reservation, StoreError> {
    match storage.claim(claim(serial, number)).await? {
        ClaimOutcome::Reserved(reservation) => Ok(reservation),
        other => panic!("{other:?}"),
    }
}

async fn issue(storage: &Sled, serial: &str, number: u64) -> Result<u64, StoreError> {
    let reservation = reserve(storage, serial, number).await?;
    storage.issue(&reservation, signed(serial), event()).await?;
    Ok(reservation.revision)
}

fn unavailable<T>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it worked"),
    }
}

async fn revisions(storage: &Sled, serial: &str) -> Vec<(u64, SerialState)> {
    let history = storage.history(&device(serial)).await.unwrap();
    history.iter().map(|row| (row.revision, row.state)).collect()
}

fn loaded(number: u64) -> SerialRow {
    SerialRow {
        position: 0,
        device: device(&format!("L{number}")),
        revision: 1,
        device_key: key(),
        sign_key: Some(key()),
        created_at: Timestamp::from_unix(7),
        state: SerialState::Issued,
        assertion: signed("loaded").assertion,
    }
}

/// Copies a database as it lies on the disk, as a crash would leave it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_write_cut_off_anywhere_is_left_out_and_what_came_before_stays() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Sled::open(&SledOptions::new(directory.path())).unwrap();
    issue(&storage, "SN1", 1).await.unwrap();
    let before = std::fs::metadata(directory.path().join("journal")).unwrap().len();
    issue(&storage, "SN1", 2).await.unwrap();
    drop(storage);
    let end = std::fs::metadata(directory.path().join("journal")).unwrap().len();
    for length in [
        before,
        before + 1,
        before + 19,
        before + 20,
        before + 700,
        end - 1,
        end,
    ] {
        let broken = tempfile::tempdir().unwrap();
        copy(directory.path(), broken.path());
        let journal = File::options()
            .write(true)
            .open(broken.path().join("journal"))
            .unwrap();
        journal.set_len(length).unwrap();
        if length > before && length < end {
            // Some file systems leave zeros.
            journal.set_len(end).unwrap();
        }
        let storage = Sled::open(&SledOptions::new(broken.path())).unwrap();
        let expected = if length == end { 2 } else { 1 };
        assert_eq!(revisions(&storage, "SN1").await.len(), expected, "{length}");
        assert_eq!(issue(&storage, "SN1", 9).await.unwrap(), expected as u64 + 1);
        drop(storage);
        let storage = Sled::open(&SledOptions::new(broken.path())).unwrap();
        assert_eq!(revisions(&storage, "SN1").await.len(), expected + 1);
        assert!(storage.check().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn damage_before_good_entries_is_never_taken_for_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Sled::open(&SledOptions::new(directory.path())).unwrap();
    let mut ends = Vec::new();
    for number in 1..=3 {
        issue(&storage, "SN1", number).await.unwrap();
        ends.push(std::fs::metadata(directory.path().join("journal")).unwrap().len());
    }
    drop(storage);
    for place in [ends[0] + 2, ends[0] + 9, ends[0] + 500] {
        let broken = tempfile::tempdir().unwrap();
        copy(directory.path(), broken.path());
        let journal = File::options()
            .write(true)
            .open(broken.path().join("journal"))
            .unwrap();
        journal.write_all_at(b"?", place).unwrap();
        let error = Sled::open(&SledOptions::new(broken.path()))
            .unwrap_err()
            .to_string();
        let expected = format!(
            "the journal is damaged at byte {}, and good entries follow",
            ends[0]
        );
        assert!(error.contains(&expected), "{error}");
    }
}

#[tokio::test]
async fn a_lost_or_broken_index_is_rebuilt_from_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let options = SledOptions::new(directory.path());
    let index = directory.path().join("index");
    let storage = Sled::open(&options).unwrap();
    issue(&storage, "SN1", 1).await.unwrap();
    storage.load((0..3000).map(loaded).collect()).await.unwrap();
    storage.close().await.unwrap();
    let good = |storage: Sled| async move {
        assert_eq!(revisions(&storage, "SN1").await, [(1, SerialState::Issued)]);
        let filter = SerialFilter {
            brand: brand(),
            models: Vec::new(),
            serial_prefix: None,
            device_key: None,
            since: None,
            until: None,
            before: None,
            limit: 5000,
        };
        assert_eq!(storage.serials(&filter).await.unwrap().len(), 3001);
        assert_eq!(
            storage.claim(claim("SN1", 1)).await.unwrap(),
            ClaimOutcome::StaleRequest
        );
        assert!(storage.check().await.unwrap().is_empty());
        storage.close().await.unwrap();
    };
    good(Sled::open(&options).unwrap()).await;

    std::fs::remove_dir_all(&index).unwrap();
    good(Sled::open(&options).unwrap()).await;

    // A snapshot that a crash left half-written.
    std::fs::write(index.join("snap.0000000000000FFF.generating"), b"half").unwrap();
    good(Sled::open(&options).unwrap()).await;

    // An index of another database.
    let other = tempfile::tempdir().unwrap();
    Sled::open(&SledOptions::new(other.path()))
        .unwrap()
        .close()
        .await
        .unwrap();
    std::fs::remove_dir_all(&index).unwrap();
    copy(&other.path().join("index"), &index);
    good(Sled::open(&options).unwrap()).await;

    // One that sled cannot read.
    for entry in std::fs::read_dir(&index).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::write(path, b"nonsense".repeat(1000)).unwrap();
        }
    }
    good(Sled::open(&options).unwrap()).await;
}

#[tokio::test]
async fn the_index_follows_the_journal_and_a_crash_between_them_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let options = SledOptions::new(directory.path());
    let storage = Sled::open(&options).unwrap();
    // Enough changes for several rounds of moving them into the index.
    for thousand in 0..12 {
        storage
            .load((0..1000).map(|number| loaded(thousand * 1000 + number)).collect())
            .await
            .unwrap();
    }
    // What lies on the disk now, in whatever state the index is.
    let crashed = tempfile::tempdir().unwrap();
    copy(directory.path(), crashed.path());
    drop(storage);
    for options in [SledOptions::new(crashed.path()), options] {
        let storage = Sled::open(&options).unwrap();
        let numbers = storage.stats(&brand(), None).await.unwrap();
        assert_eq!((numbers.issued, numbers.serials), (12_000, 12_000));
        for number in [0, 1, 5999, 11_999] {
            let row = storage
                .latest(&device(&format!("L{number}")))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(row.assertion, signed("loaded").assertion);
        }
        assert!(storage.check().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_second_start_says_who_is_in_the_way_and_how_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = SledOptions::new(directory.path());
    let storage = Sled::open(&options).unwrap();
    options.socket = Some(directory.path().join("hallmark.sock"));
    let error = Sled::open(&options).unwrap_err().to_string();
    let expected = format!(
        "cannot open the database in {0}: another hallmark process has it open; stop it first, or use a command that \
         goes through {0}/hallmark.sock",
        directory.path().display()
    );
    assert_eq!(error, expected);
    storage.close().await.unwrap();
    Sled::open(&options).unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let options = SledOptions::new(directory.path());
    Sled::open(&options).unwrap().close().await.unwrap();
    std::fs::write(
        directory.path().join("journal"),
        super::journal::header(2, [0; 16]),
    )
    .unwrap();
    let error = Sled::open(&options).unwrap_err().to_string();
    assert!(
        error.contains("written by a newer hallmark (format 2, this one knows 1)"),
        "{error}"
    );
    std::fs::write(directory.path().join("journal"), b"something else").unwrap();
    let error = Sled::open(&options).unwrap_err().to_string();
    assert!(error.contains("is no journal"), "{error}");
}

#[tokio::test]
async fn a_journal_shorter_than_the_index_knows_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let options = SledOptions::new(directory.path());
    let storage = Sled::open(&options).unwrap();
    issue(&storage, "SN1", 1).await.unwrap();
    let length = std::fs::metadata(directory.path().join("journal")).unwrap().len();
    issue(&storage, "SN1", 2).await.unwrap();
    storage.close().await.unwrap();
    let journal = File::options()
        .write(true)
        .open(directory.path().join("journal"))
        .unwrap();
    journal.set_len(length).unwrap();
    let error = Sled::open(&options).unwrap_err().to_string();
    assert!(
        error.contains("the journal ends before what the index holds"),
        "{error}"
    );
    std::fs::remove_dir_all(directory.path().join("index")).unwrap();
    let storage = Sled::open(&options).unwrap();
    assert_eq!(revisions(&storage, "SN1").await.len(), 1);
}

#[tokio::test]
async fn damage_of_a_stored_value_is_noticed_when_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let options = SledOptions::new(directory.path());
    let storage = Sled::open(&options).unwrap();
    issue(&storage, "SN1", 1).await.unwrap();
    storage.close().await.unwrap();
    let path = directory.path().join("journal");
    let bytes = std::fs::read(&path).unwrap();
    let place = bytes.windows(4).position(|window| window == b"xxxx").unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(b"y", place as u64)
        .unwrap();
    let storage = Sled::open(&options).unwrap();
    assert!(matches!(
        storage.latest(&device("SN1")).await,
        Err(StoreError::Corrupt(_))
    ));
    let wrong = storage.check().await.unwrap();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].contains("SN1"), "{wrong:?}");
    // The rest still works.
    assert_eq!(issue(&storage, "SN1", 2).await.unwrap(), 2);
}

#[tokio::test]
async fn spent_request_ids_and_nonces_are_forgotten_long_after_their_time() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Sled::open(&SledOptions::new(directory.path())).unwrap();
    for number in 0..10 {
        issue(&storage, "SN1", number).await.unwrap();
        storage
            .spend([u8::try_from(number).unwrap() + 1; 16], Timestamp::from_unix(600))
            .await
            .unwrap();
    }
    let count = |space: super::encoding::Space| {
        storage
            .look(|view| Ok(view.scan(&[space as u8], super::layers::Order::Ascending).count()))
            .unwrap()
    };
    use super::encoding::Space::{NonceExpiry, SpentNonce, SpentRequest};
    assert_eq!(
        (count(SpentRequest), count(SpentNonce), count(NonceExpiry)),
        (10, 10, 10)
    );
    // A random part that starts with 64 zero bits cleans up.
    let later = |seconds| {
        let mut late = claim("SN2", 0);
        late.request_id = PresentedRequestId {
            nonce: [0; 16],
            expires: Timestamp::from_unix(seconds + 600),
        };
        late.now = Timestamp::from_unix(seconds);
        late
    };
    storage.claim(later(7000)).await.unwrap();
    assert_eq!(count(SpentRequest), 11);
    storage.claim(later(9000)).await.unwrap();
    assert_eq!(count(SpentRequest), 2);
    storage
        .spend([0; 16], Timestamp::from_unix(300_000))
        .await
        .unwrap();
    assert_eq!((count(SpentNonce), count(NonceExpiry)), (1, 1));
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Sled::open(&SledOptions::new(file.path().join("below"))).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot open the database in "),
        "{error}"
    );
}
