//! A real file system that runs full, or can only be read. `HALLMARK_TEST_SMALL_DISK` names the mount point of an empty
//! one of about 48 MiB that root may remount; `tests/small-disk.sh` makes one, and `.ci/run` calls that. Without it
//! these cases do not run and say so.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hallmark::cli::line::LineError;

use crate::plant::{Plant, Running};

/// The mount point; one test uses it at a time.
async fn disk() -> Option<(PathBuf, tokio::sync::MutexGuard<'static, ()>)> {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let Some(path) = std::env::var_os("HALLMARK_TEST_SMALL_DISK") else {
        eprintln!(
            "NOT RUN: tests/small-disk.sh sets HALLMARK_TEST_SMALL_DISK to run the cases on a full disk"
        );
        return None;
    };
    Some((PathBuf::from(path), ONE.lock().await))
}

/// Takes all the room there is, but for `left` bytes.
fn fill(disk: &Path, left: u64) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    let length = file.metadata().unwrap().len();
    file.set_len(length - left.min(length)).unwrap();
    file.sync_all().unwrap();
    path
}

fn remount(disk: &Path, how: &str) {
    let options = format!("remount,{how}");
    let done = Command::new("mount").arg("-o").arg(options).arg(disk).status();
    assert!(done.unwrap().success());
}

fn told_to_come_back(result: &Result<(), LineError>) -> bool {
    matches!(result, Err(LineError::Answer { status, .. }) if status.as_u16() == 503)
}

/// All that needs no writing.
async fn reads_go_on(plant: &Plant, server: &Running, serial: &str) {
    assert_eq!(server.get("/healthz").await.0, 200);
    let path = format!("/v2/assertions/serial/plant-brand/plant-model/{serial}");
    let (status, body) = server.get(&path).await;
    assert_eq!(status, 200, "{body}");
    assert!(body.starts_with("type: serial\n"));
    let list = plant.run(&["serial", "list"]);
    assert!(list.status.success(), "{list:?}");
    assert!(String::from_utf8_lossy(&list.stdout).contains(serial));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_sends_devices_away_until_there_is_room() {
    let Some((disk, _one)) = disk().await else { return };
    let mut plant = Plant::new(&disk.join("full"));
    let server = plant.log_in();
    plant.register(&server, "SN-first").await.unwrap();

    for round in 0..3_u64 {
        let filler = fill(&disk, round * 20_000);
        // Some get through until the last block is taken; then nobody does.
        let mut refused = 0;
        for number in 0.. {
            let result = plant.register(&server, &format!("SN-{round}-{number}")).await;
            if result.is_ok() {
                assert!(number < 100, "the disk does not get full");
                refused = 0;
                continue;
            }
            assert!(told_to_come_back(&result), "{result:?}");
            refused += 1;
            if refused == 10 {
                break;
            }
        }
        assert!(
            server
                .log()
                .contains("cannot write the journal: No space left on device"),
            "{}",
            server.log()
        );
        assert_eq!(server.get("/readyz").await.0, 503);
        reads_go_on(&plant, &server, "SN-first").await;

        std::fs::remove_file(filler).unwrap();
        assert_eq!(server.get("/readyz").await.0, 200);
        plant
            .register(&server, &format!("SN-{round}-after"))
            .await
            .unwrap();
        reads_go_on(&plant, &server, &format!("SN-{round}-after")).await;
    }
    server.kill();
    plant.nothing_is_lost().await;

    // Nothing starts without room, and nothing is damaged by trying.
    let filler = fill(&disk, 0);
    let message = plant.refuses_to_serve();
    assert!(message.contains("there is no room to start with"), "{message}");
    let doctor = plant.run(&["doctor"]);
    let text = String::from_utf8_lossy(&doctor.stderr);
    assert!(text.contains("there is no room to start with"), "{text}");
    std::fs::remove_file(filler).unwrap();
    assert!(plant.file("index").exists());

    // It may run full while it stops, too.
    let server = plant.serve();
    plant.register(&server, "SN-last").await.unwrap();
    let filler = fill(&disk, 0);
    assert!(!server.stop(), "it says that it could not end in order");
    std::fs::remove_file(filler).unwrap();
    plant.nothing_is_lost().await;
    let doctor = plant.run(&["doctor"]);
    assert!(doctor.status.success(), "{doctor:?}");
    eprintln!(
        "{} serials acknowledged on a disk that ran full",
        plant.acknowledged()
    );
    std::fs::remove_dir_all(disk.join("full")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_can_only_be_read_is_named() {
    let Some((disk, _one)) = disk().await else { return };
    let mut plant = Plant::new(&disk.join("read-only"));
    let server = plant.serve();
    plant.register(&server, "SN-first").await.unwrap();
    assert!(server.stop());
    remount(&disk, "ro");
    let message = plant.refuses_to_serve();
    let doctor = plant.run(&["doctor"]);
    remount(&disk, "rw");
    assert!(message.contains("Read-only file system"), "{message}");
    let text = String::from_utf8_lossy(&doctor.stderr);
    assert!(
        !doctor.status.success() && text.contains("Read-only file system"),
        "{text}"
    );
    let server = plant.serve();
    plant.register(&server, "SN-second").await.unwrap();
    assert!(server.stop());
    plant.nothing_is_lost().await;
    std::fs::remove_dir_all(disk.join("read-only")).unwrap();
}
