//! Damaged and missing files under a real server: what is promised in `docs/operations.md`.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::plant::Plant;

/// Overwrites some bytes in the middle of a text in a file.
fn damage(path: &Path, text: &str) {
    let bytes = std::fs::read(path).unwrap();
    let place = bytes
        .windows(text.len())
        .rposition(|window| window == text.as_bytes())
        .unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(b"?????", place as u64 + 3).unwrap();
}

async fn plant(below: &Path) -> Plant {
    let mut plant = Plant::new(below);
    let server = plant.serve();
    for serial in ["SN-one", "SN-two", "SN-three"] {
        plant.register(&server, serial).await.unwrap();
    }
    assert!(server.stop());
    plant
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_broken_index_is_made_anew_at_the_start() {
    let below = tempfile::tempdir().unwrap();
    let mut plant = plant(below.path()).await;
    let index = plant.file("index");
    std::fs::remove_dir_all(&index).unwrap();
    let server = plant.serve();
    assert!(
        server.log().contains("making the index anew from the journal"),
        "{}",
        server.log()
    );
    plant.register(&server, "SN-one").await.unwrap();
    assert!(server.stop());

    std::fs::write(index.join("db"), b"nonsense".repeat(1000)).unwrap();
    let server = plant.serve();
    plant.register(&server, "SN-two").await.unwrap();
    server.kill();
    plant.nothing_is_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_is_named_and_never_repaired_by_guessing() {
    let below = tempfile::tempdir().unwrap();
    let mut plant = plant(below.path()).await;
    // Behind what the index holds already: noticed by who reads it, and by the doctor. The rest works.
    damage(&plant.file("journal"), "\nserial: SN-two\n");
    let server = plant.log_in();
    plant.register(&server, "SN-four").await.unwrap();
    let (status, _) = server
        .get("/v2/assertions/serial/plant-brand/plant-model/SN-one")
        .await;
    assert_eq!(status, 200);
    let (status, body) = server
        .get("/v2/assertions/serial/plant-brand/plant-model/SN-two")
        .await;
    assert!(status >= 500, "{status} {body}");
    assert!(
        server.log().contains("the journal is damaged at byte"),
        "{}",
        server.log()
    );
    for _ in ["beside the server", "alone"] {
        let doctor = plant.run(&["doctor"]);
        let text = String::from_utf8_lossy(&doctor.stdout) + String::from_utf8_lossy(&doctor.stderr);
        assert_eq!(doctor.status.code(), Some(1), "{text}");
        assert!(text.contains("SN-two") && text.contains("damaged"), "{text}");
    }
    server.kill();
    let doctor = plant.run(&["doctor"]);
    let text = String::from_utf8_lossy(&doctor.stdout) + String::from_utf8_lossy(&doctor.stderr);
    assert!(text.contains("SN-two"), "{text}");

    // What has to be read at the start: it does not start.
    std::fs::remove_dir_all(plant.file("index")).unwrap();
    let message = plant.refuses_to_serve();
    assert!(
        message.contains("the journal is damaged at byte") && message.contains("backup"),
        "{message}"
    );
    let doctor = plant.run(&["doctor"]);
    let text = String::from_utf8_lossy(&doctor.stderr);
    assert!(text.contains("the journal is damaged at byte"), "{text}");

    let (journal, elsewhere) = (plant.file("journal"), plant.file("elsewhere"));
    std::fs::rename(&journal, &elsewhere).unwrap();
    std::fs::create_dir_all(plant.file("index")).unwrap();
    let message = plant.refuses_to_serve();
    assert!(message.contains("there is an index, but no journal"), "{message}");
    assert!(!journal.exists());
}
