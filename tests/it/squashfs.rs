//! Our images in other programs' hands. Skipped where the program is not there; `.ci/run` installs it.

use std::path::Path;
use std::process::Command;

use hallmark::adapters::squashfs::{Content, Entry, build};

fn run(program: &str, arguments: &[&str], image: &Path) -> Option<String> {
    let output = match Command::new(program).args(arguments).arg(image).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {program} is not installed");
            return None;
        }
        output => output.unwrap(),
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program}: {said}");
    assert!(said.is_empty(), "{program}: {said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn entry(path: &str, mode: u16, content: Content) -> Entry {
    Entry {
        path: path.to_owned(),
        mode,
        content,
    }
}

#[test]
fn squashfs_tools_read_what_we_write() {
    let large: Vec<u8> = (0..700_000_u32).map(|number| (number / 7) as u8).collect();
    let mut entries = vec![
        entry("meta/snap.yaml", 0o644, Content::File(b"name: hello\n".to_vec())),
        entry(
            "meta/hooks/install",
            0o755,
            Content::File(b"#!/bin/sh\n".to_vec()),
        ),
        entry("bin", 0o700, Content::Directory),
        entry("bin/large", 0o4711, Content::File(large.clone())),
        entry("bin/empty", 0o600, Content::File(Vec::new())),
        entry("bin/link", 0o777, Content::Link("../meta/snap.yaml".to_owned())),
        entry("empty", 0o1777, Content::Directory),
    ];
    for number in 0..3000 {
        let path = format!("many/a-name-that-is-long-enough-to-fill-a-block-{number}");
        entries.push(entry(
            &path,
            0o444,
            Content::File(number.to_string().into_bytes()),
        ));
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("a.snap");
    std::fs::write(&image, build(entries).unwrap()).unwrap();
    let Some(listing) = run("unsquashfs", &["-no-progress", "-lln"], &image) else {
        return;
    };
    let listing = listing.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "drwxr-xr-x 0/0 75 1970-01-01 00:00 squashfs-root drwx------ 0/0",
        "-rws--x--x 0/0 700000 1970-01-01 00:00 squashfs-root/bin/large",
        "lrwxrwxrwx 0/0 17 1970-01-01 00:00 squashfs-root/bin/link -> ../meta/snap.yaml",
        "drwxrwxrwt 0/0 3 1970-01-01 00:00 squashfs-root/empty",
        "1970-01-01 00:00 squashfs-root/many/a-name-that-is-long-enough-to-fill-a-block-2999",
    ] {
        assert!(listing.contains(expected), "{expected}:\n{}", &listing[..2000]);
    }
    let unpacked = directory.path().join("out");
    let target = unpacked.to_str().unwrap();
    run("unsquashfs", &["-no-progress", "-d", target], &image);
    assert!(std::fs::read(unpacked.join("bin/large")).unwrap() == large);
    assert_eq!(
        std::fs::read(unpacked.join("many/a-name-that-is-long-enough-to-fill-a-block-2999")).unwrap(),
        b"2999"
    );
}
