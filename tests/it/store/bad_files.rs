//! Snap files of people who mean harm, through the upload: refused with a reason, at once, and nothing is left of them.

use std::time::{Duration, Instant};

use hallmark::adapters::squashfs::{Content, Entry, build};
use hallmark::domain::catalog::SnapRecord;
use hallmark::ports::Key;
use serde_json::Value;

use super::shop::*;

#[path = "../../../src/adapters/squashfs/crafted.rs"]
mod crafted;
use crafted::*;

/// Longest time one upload may take; builds for tests are slow.
const LONG: Duration = Duration::from_secs(5);

fn entry(path: &str, content: Content) -> Entry {
    Entry {
        path: path.to_owned(),
        mode: 0o644,
        content,
    }
}

fn with_yaml(text: impl Into<Vec<u8>>) -> Vec<u8> {
    build([entry("meta/snap.yaml", Content::File(text.into()))]).unwrap()
}

fn with_links(links: &[(&str, &str)]) -> Vec<u8> {
    let entries = links
        .iter()
        .map(|(path, target)| entry(path, Content::Link((*target).to_owned())));
    build(entries).unwrap()
}

#[tokio::test]
async fn a_file_that_means_harm_is_refused_with_its_reason_and_nothing_is_left() {
    let shop = Shop::new().await;
    let file = small_file(96, 9, &[PLAIN | 9]);
    let head = "name: gizmo\nversion: '1'\nsummary: s\ndescription: d\n";
    let mut levels = format!("{head}a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        levels.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let good = snap_file("gizmo", "1", "");
    let end = usize::try_from(u64::from_le_bytes(good[40..48].try_into().unwrap())).unwrap();
    let image = "invalid-snap";
    let yaml = "invalid-snap-yaml";
    let mut cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (Vec::new(), image, "no squashfs image"),
        (vec![0; 100_000], image, "no squashfs image"),
        // Bombs.
        (with_block(&deflated(50_000_000)[..4096]), image, "damaged file"),
        (with_block(&deflated(4097)), image, "damaged file"),
        (
            with_metadata(&deflated(4_000_000)),
            image,
            "damaged piece of metadata",
        ),
        (endless(), image, "too many entries"),
        (with_yaml(vec![b'a'; 8 << 20]), image, "more than 1048576 bytes"),
        // Tricks with paths.
        (tree(&[(b"..", 32)], YAML, &file), image, "an entry with the name"),
        (
            tree(&[(b"meta", 32), (b"a/b", 64)], YAML, &file),
            image,
            "an entry with the name",
        ),
        (
            tree(META, &[(b"../snap.yaml", 64)], &file),
            image,
            "an entry with the name",
        ),
        (
            tree(&[(b"meta", 0), (b"snap.yaml", 64)], YAML, &file),
            image,
            "contains itself",
        ),
        (tree(&[(b"meta", 9000)], YAML, &file), image, "metadata outside"),
        // Links, to themselves and out of the image.
        (with_links(&[("meta", "meta")]), image, "link"),
        (with_links(&[("meta", "other"), ("other", "meta")]), image, "link"),
        (with_links(&[("meta/snap.yaml", "snap.yaml")]), image, "link"),
        (with_links(&[("meta/snap.yaml", "/etc/passwd")]), image, "link"),
        // snap.yaml.
        (
            with_yaml(levels),
            yaml,
            "too much of it, with what aliases repeat",
        ),
        (
            with_yaml(format!("{head}x: {}", "[".repeat(100_000))),
            yaml,
            "nested too deeply",
        ),
        (
            with_yaml(format!("{head}x: {}", "y".repeat(300_000))),
            yaml,
            "more than 262144",
        ),
        (with_yaml(format!("{head}name: other\n")), yaml, "twice"),
        (with_yaml("name: [\n"), yaml, "not valid YAML"),
        (with_yaml("\u{0}"), yaml, "not valid YAML"),
        (
            with_yaml("name: ../../gizmo\nversion: '1'\nsummary: s\ndescription: d\n"),
            yaml,
            "name",
        ),
        (with_yaml(b"\xff".as_slice()), image, "is not UTF-8"),
        (with_yaml(""), yaml, "must be a map"),
    ];
    // Cut off anywhere, also where the superblock was made to agree.
    cases.extend((0..end).step_by(61).map(|len| (good[..len].to_vec(), image, "")));
    cases.extend((96..end).step_by(61).map(|len| {
        let mut cut = good[..len].to_vec();
        cut[40..48].copy_from_slice(&(len as u64).to_le_bytes());
        (cut, image, "")
    }));
    let mut wrong = Vec::new();
    for (number, (bytes, code, why)) in cases.into_iter().enumerate() {
        let started = Instant::now();
        let answer = shop.send("pub", "", bytes).await;
        let message = answer.body["error-list"][0]["message"]
            .as_str()
            .unwrap_or_default();
        let clear = message.starts_with("cannot ") && message.contains(why) && message.len() < 500;
        if answer.refusal() != (400, code) || !clear || started.elapsed() > LONG {
            wrong.push(format!("case {number}, {:?}: {answer:?}", started.elapsed()));
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert_eq!(shop.blobs().await, [""; 0]);
    let snaps = shop.app.storage.all::<SnapRecord>(Key(Vec::new())).await.unwrap();
    assert!(snaps.is_empty());
    assert_eq!(
        shop.call("pub", "GET", "/snaps/gizmo", Value::Null).await.status,
        404
    );
    // And the good one is as good as ever.
    shop.send("pub", "", good).await.ok();
}
