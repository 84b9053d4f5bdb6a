//! Backups by the real program: made beside a running server that goes on registering devices, brought back on an empty
//! directory, into another engine, and what is refused on the way.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use hallmark::adapters::memory::Memory;
use hallmark::app::transfer;
use hallmark::domain::assertion::{AssertionType, decode_bytes};
use hallmark::ports::Storage;
use serde_json::Value;

use crate::conformance::samples;
use crate::plant::Plant;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a command that must succeed; what it prints as JSON.
fn json(plant: &Plant, arguments: &[&str]) -> Value {
    let ended = plant.run(&[arguments, &["--format", "json"]].concat());
    let err = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {err}");
    serde_json::from_slice(&ended.stdout).unwrap_or(Value::Null)
}

/// Runs a command that must be refused; its message.
fn refused(plant: &Plant, arguments: &[&str], status: i32) -> String {
    let ended = plant.run(arguments);
    let err = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(status), "{arguments:?}: {err}");
    err
}

/// The revision in the last serial that was acknowledged.
fn revision(plant: &Plant) -> u64 {
    let assertion = decode_bytes(plant.last_acknowledged()).unwrap();
    assert_eq!(assertion.kind(), AssertionType::Serial);
    assertion.revision()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_server_becomes_an_instance_again() {
    let below = tempfile::tempdir().unwrap();
    let place = |name: &str| below.path().join(name);
    let (data, backup, sealed) = (place("data"), place("backup.tar"), place("sealed.tar"));
    let (copy, files, password) = (place("audit.jsonl"), place("files"), place("backup-password"));
    std::fs::write(&password, "open sesame\n").unwrap();
    let mut plant = Plant::new(below.path());
    let running = plant.log_in();
    for serial in ["S1", "S2", "S3"] {
        plant.register(&running, serial).await.unwrap();
    }
    plant.register(&running, "S1").await.unwrap();
    assert_eq!(revision(&plant), 2);

    // Beside the server, while it works.
    let stop = Arc::new(AtomicBool::new(false));
    let backups = {
        let arguments = [
            vec!["backup", text(&backup), "--blobs", text(&files)],
            vec!["backup", text(&sealed), "--password-file", text(&password)],
        ];
        let commands: Vec<_> = arguments.iter().map(|words| plant.detached(words)).collect();
        let stop = Arc::clone(&stop);
        tokio::task::spawn_blocking(move || {
            let ended: Vec<_> = commands
                .into_iter()
                .map(|mut command| command.output().unwrap())
                .collect();
            stop.store(true, Ordering::Release);
            ended
        })
    };
    let mut meanwhile = 0;
    while !stop.load(Ordering::Acquire) || meanwhile < 3 {
        plant.register(&running, &format!("M{meanwhile}")).await.unwrap();
        meanwhile += 1;
    }
    for ended in backups.await.unwrap() {
        let err = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{err}");
        assert!(
            err.contains("passphrase") && err.contains("is not in it"),
            "{err}"
        );
    }
    assert!(
        std::fs::read(&sealed)
            .unwrap()
            .windows(13)
            .all(|window| window != b"rows/000000.j")
    );
    assert!(!place("backup.tar.partial").exists());
    let again = json(&plant, &["backup", text(&backup), "--blobs", text(&files)]);
    assert_eq!(again["new-files"], 0, "{again}");
    assert_eq!(again["rows"]["serial"], 4 + meanwhile);

    // After the backup: one more revision, which only the copy of the log knows.
    plant.register(&running, "S1").await.unwrap();
    assert_eq!(revision(&plant), 3);
    let copied = json(&plant, &["audit", "export", text(&copy)]);
    assert_eq!(copied["entries"], copied["new-entries"]);
    assert!(running.stop());
    std::fs::rename(&data, place("old")).unwrap();
    std::fs::create_dir(&data).unwrap();

    // What is refused leaves nothing that serves.
    let restore = ["restore", text(&backup), "--blobs", text(&files)];
    let floor = ["--audit-copy", text(&copy)];
    let usage = refused(&plant, &restore, 2);
    assert!(usage.contains("--revision-floor"), "{usage}");
    let missing = refused(&plant, &[&restore[..], &floor].concat(), 1);
    assert!(missing.contains("HALLMARK_KEY_PASSPHRASE_FILE"), "{missing}");
    std::fs::write(data.join("passphrase"), "another passphrase than that\n").unwrap();
    let wrong = refused(&plant, &[&restore[..], &floor].concat(), 1);
    assert!(wrong.contains("another passphrase"), "{wrong}");
    std::fs::copy(place("old/passphrase"), data.join("passphrase")).unwrap();
    let whole = std::fs::read(&backup).unwrap();
    let cut = place("cut.tar");
    for (length, change) in [(whole.len() / 2, None), (whole.len(), Some(whole.len() / 3))] {
        let mut bytes = whole[..length].to_vec();
        if let Some(at) = change {
            bytes[at] ^= 1;
        }
        std::fs::write(&cut, bytes).unwrap();
        let arguments = [
            "restore",
            text(&cut),
            "--blobs",
            text(&files),
            "--revision-floor",
            "0",
        ];
        refused(&plant, &arguments, 1);
    }
    assert!(
        plant.refuses_to_serve().contains("not initialised") || plant.refuses_to_serve().contains("cannot")
    );

    // The attempts above left rows behind: the right one goes on where they were, or says that they differ.
    std::fs::remove_dir_all(data.join("db")).unwrap();
    let restored = json(&plant, &[&restore[..], &floor].concat());
    assert_eq!(restored["revision-floor"], 4);
    let twice = refused(&plant, &[&restore[..], &floor].concat(), 1);
    assert!(twice.contains("initialised already"), "{twice}");
    assert_eq!(json(&plant, &["doctor"])["problems"], Value::Array(Vec::new()));

    let running = plant.log_in();
    plant.register(&running, "S1").await.unwrap();
    assert_eq!(revision(&plant), 5, "a revision may have been given twice");
    plant.register(&running, "N1").await.unwrap();
    assert_eq!(revision(&plant), 5);
    let log = json(&plant, &["audit", "verify"]);
    assert_eq!(log["verdict"], "ok");
    assert!(running.stop());

    // The encrypted one opens with its password only.
    std::fs::remove_dir_all(data.join("db")).unwrap();
    let floor = ["--revision-floor", "7"];
    let closed = refused(&plant, &[&["restore", text(&sealed)][..], &floor].concat(), 1);
    assert!(closed.contains("no whole backup"), "{closed}");
    std::fs::write(place("wrong-password"), "open\n").unwrap();
    let wrong = place("wrong-password");
    let words = ["restore", text(&sealed), "--password-file", text(&wrong)];
    let closed = refused(&plant, &[&words[..], &floor].concat(), 1);
    assert!(closed.contains("the passphrase is another"), "{closed}");
    let words = ["restore", text(&sealed), "--password-file", text(&password)];
    assert_eq!(json(&plant, &[&words[..], &floor].concat())["revision-floor"], 7);
    assert_eq!(json(&plant, &["doctor"])["problems"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_moves_to_another_database() {
    let below = tempfile::tempdir().unwrap();
    let mut plant = Plant::new(below.path());
    let running = plant.log_in();
    for number in 0..5 {
        plant.register(&running, &format!("S{number}")).await.unwrap();
    }
    let url = |path: &Path| format!("sled:{}", path.display());
    let (from, to) = (url(&plant.file("")), url(&below.path().join("elsewhere")));
    let busy = refused(&plant, &["migrate", "--from", &from, "--to", &to], 1);
    assert!(busy.contains("has it open"), "{busy}");
    assert!(running.stop());
    let empty = url(&below.path().join("nothing"));
    let nothing = refused(&plant, &["migrate", "--from", &empty, "--to", &to], 1);
    assert!(nothing.contains("there is no database"), "{nothing}");
    refused(&plant, &["migrate", "--from", &from, "--to", &from], 2);
    let moved = json(&plant, &["migrate", "--from", &from, "--to", &to]);
    assert_eq!(moved["rows"]["serial"], 5);
    // Once more: everything is there already, and the same.
    assert_eq!(json(&plant, &["migrate", "--from", &from, "--to", &to]), moved);
    let back = url(&below.path().join("back"));
    assert_eq!(json(&plant, &["migrate", "--from", &to, "--to", &back]), moved);
    std::fs::rename(plant.file(""), below.path().join("old")).unwrap();
    std::fs::rename(below.path().join("back"), below.path().join("data/db")).unwrap();
    plant.nothing_is_lost().await;
    let running = plant.log_in();
    plant.register(&running, "S1").await.unwrap();
    assert_eq!(revision(&plant), 2);
    assert!(running.stop());
    // Now they differ.
    let differs = refused(&plant, &["migrate", "--from", &from, "--to", &to], 1);
    assert!(differs.contains("holds something else"), "{differs}");
}

#[tokio::test]
async fn a_copy_that_was_cut_short_goes_on() {
    let source: Arc<dyn Storage> = Arc::new(Memory::new());
    for number in 0..700 {
        samples::issue(&*source, samples::claim(&format!("SN{number}"), 'a', number)).await;
    }
    assert!(source.spend([1; 16], samples::at(60)).await.unwrap());
    let whole = transfer::count(&source).await.unwrap();
    let target: Arc<dyn Storage> = Arc::new(Memory::new());
    for pieces in [1, 2] {
        let cut = source.export().await.unwrap().take(pieces).boxed();
        transfer::fill(&target, cut, |_| {}).await.unwrap();
    }
    let mut told = 0;
    let copied = transfer::fill(&target, source.export().await.unwrap(), |rows| told = rows).await;
    assert_eq!(copied.unwrap(), whole);
    assert_eq!(told, 700 + 700 + 701, "serials, their log, what was spent");
    assert_eq!(transfer::count(&target).await.unwrap(), whole);
    assert!(!target.spend([1; 16], samples::at(60)).await.unwrap());
    // Something else in the way is not written over.
    samples::issue(&*source, samples::claim("A-FIRST", 'a', 9000)).await;
    samples::issue(&*target, samples::claim("ANOTHER", 'a', 9001)).await;
    let refused = transfer::fill(&target, source.export().await.unwrap(), |_| {}).await;
    assert_eq!(refused.unwrap_err().code, "target-differs");
}
