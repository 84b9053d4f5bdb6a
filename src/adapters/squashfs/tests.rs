//! The reader with images of real tools, of our writer, and of people who mean harm.

use std::time::{Duration, Instant};

use super::crafted::*;
use super::*;
use crate::ports::{Description, IconKind};

const CODECS: [&str; 4] = ["gzip", "lzo", "xz", "zstd"];

fn sample(codec: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/snaps/{codec}.snap", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn file(path: &str, bytes: impl Into<Vec<u8>>) -> Entry {
    Entry {
        path: path.to_owned(),
        mode: 0o644,
        content: Content::File(bytes.into()),
    }
}

fn link(path: &str, target: &str) -> Entry {
    Entry {
        path: path.to_owned(),
        mode: 0o777,
        content: Content::Link(target.to_owned()),
    }
}

fn yaml() -> Entry {
    file("meta/snap.yaml", "name: a1\n")
}

fn made(entries: Vec<Entry>) -> Vec<u8> {
    build(entries).unwrap()
}

/// Why an image is refused; it must not take long.
fn refusal(image: &[u8]) -> String {
    let started = Instant::now();
    let error = inspect_image(image).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5), "{error}");
    match error {
        SnapFileError::Refused(why) => why,
        SnapFileError::Unreadable(why) => panic!("unreadable: {why}"),
    }
}

/// Like [`refusal`], where an image may be fine all the same.
fn survives(image: &[u8]) {
    let started = Instant::now();
    let outcome = inspect_image(image);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(!matches!(outcome, Err(SnapFileError::Unreadable(_))));
}

#[test]
fn snaps_of_real_tools_are_read_whatever_compresses_them() {
    for codec in CODECS {
        let contents = inspect_image(sample(codec).as_slice()).unwrap();
        let Description::Snap(text) = &contents.description else {
            panic!()
        };
        assert!(
            text.starts_with("name: sample\n") && text.ends_with("[network]}\n"),
            "{codec}"
        );
        assert!(contents.gadget_yaml.unwrap().starts_with("volumes:"));
        assert_eq!(contents.hooks, ["configure", "install"]);
        assert_eq!(contents.icon.unwrap().kind, IconKind::Svg);
        assert!(contents.remarks.is_empty());
        assert!(crate::domain::snap::SnapYaml::parse(text).is_ok());
    }
}

#[test]
fn what_the_writer_writes_the_reader_reads() {
    let noise: Vec<u8> = (0..300_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut entries = vec![
        file("meta/snap.yaml", "x".repeat(400_000)),
        file("meta/gadget.yaml", ""),
        file(
            "meta/gui/icon.png",
            [b"\x89PNG\r\n\x1a\n".as_slice(), &noise[..200_000]].concat(),
        ),
        link("meta/link", "snap.yaml"),
    ];
    // More than one group, and more metadata than one block holds.
    for number in 0..2000 {
        entries.push(file(&format!("meta/hooks/hook-{number:04}"), "").with_mode(0o755));
        entries.push(file(&format!("many/with/a/rather/long/name/{number:0100}"), "x"));
    }
    entries.retain(|entry| !entry.path.starts_with("meta/hooks/hook-1"));
    let image = made(entries.clone());
    let contents = inspect_image(image.as_slice()).unwrap();
    assert_eq!(contents.description, Description::Snap("x".repeat(400_000)));
    assert_eq!(contents.gadget_yaml.as_deref(), Some(""));
    assert_eq!(contents.hooks.len(), 1000);
    let icon = contents.icon.unwrap();
    assert_eq!((icon.kind, icon.bytes.len()), (IconKind::Png, 200_008));
    entries.reverse();
    assert!(made(entries) == image, "the order of the entries shows");
}

impl Entry {
    fn with_mode(mut self, mode: u16) -> Self {
        self.mode = mode;
        self
    }
}

#[test]
fn the_writer_refuses_what_is_no_tree() {
    for (entries, expected) in [
        (vec![file("../x", "")], "plain names"),
        (vec![file("/x", "")], "plain names"),
        (vec![file("a//b", "")], "plain names"),
        (vec![file("", "")], "plain names"),
        (vec![file("a\0b", "")], "plain names"),
        (vec![file("a", ""), file("a", "")], "twice"),
        (vec![file("a", ""), file("a/b", "")], "no directory"),
        (vec![link("a", "")], "target"),
        (vec![file("a", "").with_mode(0o10000)], "mode"),
    ] {
        let error = build(entries).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot put ") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn a_directory_becomes_entries() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("meta/empty")).unwrap();
    std::fs::write(directory.path().join("meta/snap.yaml"), "name: a1\n").unwrap();
    std::os::unix::fs::symlink("snap.yaml", directory.path().join("meta/link")).unwrap();
    let entries = entries_of(directory.path()).unwrap();
    let paths: Vec<_> = entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["meta", "meta/empty", "meta/link", "meta/snap.yaml"]);
    assert_eq!(entries[2].content, Content::Link("snap.yaml".to_owned()));
    assert!(inspect_image(made(entries).as_slice()).is_ok());
    assert!(entries_of(&directory.path().join("none")).is_err());
}

#[test]
fn components_are_told_from_snaps() {
    let component = || file("meta/component.yaml", "component: a1+b1\n");
    let contents = inspect_image(made(vec![component()]).as_slice()).unwrap();
    assert!(matches!(contents.description, Description::Component(text) if text.starts_with("component")));
    assert!(refusal(&made(vec![component(), yaml()])).contains("both"));
    assert!(refusal(&made(vec![file("a", "")])).contains("neither"));
    assert!(refusal(&made(vec![])).contains("neither"));
}

#[test]
fn icons_are_judged_by_their_bytes_and_never_stop_a_snap() {
    for (name, bytes, expected) in [
        ("png", b"\x89PNG\r\n\x1a\n....".as_slice(), Some(IconKind::Png)),
        ("png", b"GIF89a....", Some(IconKind::Gif)),
        ("jpg", b"\xff\xd8\xff\xe0", Some(IconKind::Jpeg)),
        ("svg", b"\xef\xbb\xbf <svg/>", Some(IconKind::Svg)),
        ("svg", b"<!-- x --><svg/>", Some(IconKind::Svg)),
        ("svg", b"<html><script/></html>", None),
        ("png", b"MZ", None),
        ("gif", b"", None),
        ("jpeg", &[0xff; 300_001], None),
    ] {
        let image = made(vec![yaml(), file(&format!("meta/gui/icon.{name}"), bytes)]);
        let contents = inspect_image(image.as_slice()).unwrap();
        assert_eq!(contents.icon.map(|icon| icon.kind), expected, "{name}");
        assert_eq!(contents.remarks.is_empty(), expected.is_some());
    }
    let linked = made(vec![yaml(), link("meta/gui/icon.png", "../../secret")]);
    let contents = inspect_image(linked.as_slice()).unwrap();
    assert_eq!(contents.icon, None);
    assert_eq!(
        contents.remarks,
        ["meta/gui/icon.png is left out: it is not a plain file"]
    );
    let second = made(vec![
        yaml(),
        file("meta/gui/icon.svg", "x"),
        file("meta/gui/icon.png", b"\x89PNG\r\n\x1a\n".as_slice()),
    ]);
    let contents = inspect_image(second.as_slice()).unwrap();
    assert_eq!(contents.icon.unwrap().kind, IconKind::Png);
}

#[test]
fn links_are_never_followed() {
    for entries in [
        vec![
            link("meta/snap.yaml", "../real.yaml"),
            file("real.yaml", "name: a1\n"),
        ],
        vec![link("meta/snap.yaml", "snap.yaml")],
        vec![link("meta", "other"), file("other/snap.yaml", "name: a1\n")],
        vec![link("meta", "meta")],
    ] {
        let why = refusal(&made(entries));
        assert!(why.contains("a symbolic link"), "{why}");
    }
    let gadget = refusal(&made(vec![yaml(), link("meta/gadget.yaml", "/etc/passwd")]));
    assert!(gadget.contains("meta/gadget.yaml is a symbolic link"), "{gadget}");
    let why = refusal(&made(vec![file("meta/snap.yaml/x", "")]));
    assert!(why.contains("is a directory"), "{why}");
    let why = refusal(&made(vec![file("meta", "")]));
    assert!(why.contains("in a file"), "{why}");
}

#[test]
fn texts_have_limits_and_are_texts() {
    let why = refusal(&made(vec![file("meta/snap.yaml", vec![b'a'; (1 << 20) + 1])]));
    assert_eq!(why, "meta/snap.yaml has more than 1048576 bytes");
    let why = refusal(&made(vec![file("meta/snap.yaml", b"\xff".as_slice())]));
    assert_eq!(why, "meta/snap.yaml is not UTF-8");
    let why = refusal(&made(vec![
        yaml(),
        file("meta/gadget.yaml", vec![b'a'; (1 << 20) + 1]),
    ]));
    assert!(why.starts_with("meta/gadget.yaml has more"), "{why}");
    let hooks = (0..1001).map(|number| file(&format!("meta/hooks/h{number}"), ""));
    let why = refusal(&made(hooks.chain([yaml()]).collect()));
    assert!(why.contains("more than 1000"), "{why}");
}

#[test]
fn other_files_are_no_images() {
    let mut big_endian = sample("xz");
    big_endian[..4].reverse();
    for other in [
        b"".as_slice(),
        b"hsqs",
        &[0; 5000],
        b"PK\x03\x04 and so on, long enough to have held the ninety-six bytes of a squashfs superblock if it were one",
        &big_endian,
    ] {
        assert_eq!(refusal(other), "it is no squashfs image");
    }
}

/// A good image with some bytes of its superblock replaced.
fn with_head(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = sample("gzip");
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
    image
}

#[test]
fn superblocks_are_checked_before_anything_is_read() {
    let huge = u32::MAX.to_le_bytes();
    let far = (1_u64 << 40).to_le_bytes();
    let nowhere = u64::MAX.to_le_bytes();
    for (image, expected) in [
        (with_head(4, &huge), "claims to have 4294967295 files"),
        (with_head(4, &0_u32.to_le_bytes()), "it is empty"),
        (with_head(12, &huge), "block size"),
        (with_head(12, &(2_u32 << 20).to_le_bytes()), "block size"),
        (with_head(12, &0_u32.to_le_bytes()), "block size"),
        (with_head(22, &16_u16.to_le_bytes()), "block size"),
        (with_head(22, &60_000_u16.to_le_bytes()), "block size"),
        (with_head(16, &huge), "table that lies outside"),
        (with_head(20, &0_u16.to_le_bytes()), "unknown compressor 0"),
        (with_head(20, &2_u16.to_le_bytes()), "lzma"),
        (with_head(20, &5_u16.to_le_bytes()), "lz4"),
        (with_head(20, &7_u16.to_le_bytes()), "unknown compressor 7"),
        (with_head(26, &0_u16.to_le_bytes()), "it is empty"),
        (with_head(28, &3_u16.to_le_bytes()), "squashfs 3.0, not 4.0"),
        (with_head(30, &1_u16.to_le_bytes()), "squashfs 4.1, not 4.0"),
        (with_head(40, &far), "cut off"),
        (with_head(40, &96_u64.to_le_bytes()), "table that lies outside"),
        (with_head(48, &far), "table that lies outside"),
        (with_head(64, &far), "table that lies outside"),
        (with_head(64, &0_u64.to_le_bytes()), "table that lies outside"),
        (with_head(72, &far), "table that lies outside"),
        (with_head(72, &nowhere), "table that lies outside"),
        (with_head(80, &nowhere), "table that lies outside"),
        (with_head(88, &far), "table that lies outside"),
        (with_head(32, &nowhere), "outside of it"),
        (with_head(32, &far), "outside of it"),
        (with_head(32, &9000_u64.to_le_bytes()), "outside of it"),
    ] {
        let why = refusal(&image);
        assert!(why.contains(expected), "{expected}: {why}");
    }
}

#[test]
fn a_truncated_image_is_refused_wherever_it_ends() {
    for codec in CODECS {
        let image = sample(codec);
        let end = usize::try_from(u64::from_le_bytes(image[40..48].try_into().unwrap())).unwrap();
        assert!(inspect_image(&image[..end]).is_ok(), "padding is not needed");
        for len in (0..end).step_by(7).chain([end - 1]) {
            refusal(&image[..len]);
            // Cut off and filled up again, so that the superblock agrees.
            let mut filled = image[..len].to_vec();
            filled.resize(image.len(), 0);
            survives(&filled);
        }
    }
}

#[test]
fn any_flipped_byte_does_no_harm() {
    for codec in CODECS {
        let image = sample(codec);
        let end = usize::from(u16::from_le_bytes([image[40], image[41]]));
        for at in (0..end).step_by(5) {
            for change in [0x01, 0xff] {
                let mut changed = image.clone();
                changed[at] ^= change;
                survives(&changed);
            }
        }
    }
}

#[test]
fn a_crafted_image_is_good_before_it_is_bad() {
    let good = tree(META, YAML, &small_file(96, 9, &[PLAIN | 9]));
    let contents = inspect_image(good.as_slice()).unwrap();
    assert_eq!(contents.description, Description::Snap("name: a1\n".to_owned()));
    // A hole.
    let hole = tree(META, YAML, &small_file(96, 9, &[0]));
    let contents = inspect_image(hole.as_slice()).unwrap();
    assert_eq!(contents.description, Description::Snap("\0".repeat(9)));
}

#[test]
fn names_that_play_tricks_are_refused() {
    let file = small_file(96, 9, &[PLAIN | 9]);
    for name in [b".".as_slice(), b"..", b"a/b", b"/", b"a\0", &[b'x'; 257]] {
        let why = refusal(&tree(&[(b"meta", 32), (name, 64)], YAML, &file));
        assert!(why.contains("an entry with the name"), "{why}");
        let why = refusal(&tree(META, &[(name, 64)], &file));
        assert!(why.contains("an entry with the name"), "{why}");
    }
    for names in [
        [b"snap.yaml".as_slice(), b"snap.yaml"],
        [b"snap.yaml", b"a"],
        [b"a", b"a"],
    ] {
        let why = refusal(&tree(META, &[(names[0], 64), (names[1], 64)], &file));
        assert!(why.contains("stands twice or out of order"), "{why}");
    }
}

#[test]
fn directories_that_contain_themselves_are_refused() {
    let file = small_file(96, 9, &[PLAIN | 9]);
    // meta is the root, which has a snap.yaml.
    let why = refusal(&tree(&[(b"meta", 0), (b"snap.yaml", 64)], YAML, &file));
    assert!(why.contains("contains itself"), "{why}");
    // meta/hooks is meta.
    let why = refusal(&tree(META, &[(b"hooks", 32), (b"snap.yaml", 64)], &file));
    assert!(why.contains("contains itself"), "{why}");
}

#[test]
fn references_to_nowhere_are_refused() {
    let file = small_file(96, 9, &[PLAIN | 9]);
    for (image, expected) in [
        (tree(&[(b"meta", 5000)], YAML, &file), "metadata outside"),
        (tree(&[(b"meta", 9000)], YAML, &file), "metadata outside"),
        (tree(META, &[(b"snap.yaml", 70)], &file), "unknown kind"),
        (
            tree(META, YAML, &small_file(u32::MAX, 9, &[PLAIN | 9])),
            "data outside",
        ),
        (
            tree(META, YAML, &small_file(96, 9, &[PLAIN | 4096])),
            "data outside",
        ),
        (
            tree(META, YAML, &small_file(96, 9, &[PLAIN | 4097])),
            "damaged file",
        ),
        (tree(META, YAML, &small_file(96, 9, &[u32::MAX])), "damaged file"),
        (tree(META, YAML, &small_file(96, 9, &[PLAIN | 8])), "damaged file"),
        (tree(META, YAML, &small_file(96, 9, &[9])), "damaged file"),
        (
            tree(META, YAML, &small_file(96, 900_000, &[])),
            "metadata outside",
        ),
        (tree(META, YAML, &small_file(96, u32::MAX, &[])), "more than"),
        (tree(META, YAML, &inode(9, &[&[0xff; 40]])), "more than"),
        (tree(META, YAML, &inode(3, &[&[0xff; 40]])), "symbolic link"),
        (tree(META, YAML, &inode(4, &[&[0; 40]])), "a device"),
        (tree(META, YAML, &inode(14, &[&[0; 40]])), "pipe or socket"),
        (tree(META, YAML, &inode(0, &[&[0; 40]])), "unknown kind"),
        (tree(META, YAML, &inode(15, &[&[0; 40]])), "unknown kind"),
        (tree(META, YAML, &[2, 0]), "metadata outside"),
        (
            crafted(&directory(0, 900), &group(META), b"", 0),
            "metadata outside",
        ),
        (
            crafted(&directory(0, 10), &group(META), b"", 0),
            "damaged directory",
        ),
        (
            crafted(&directory(8000, 100), &group(META), b"", 0),
            "metadata outside",
        ),
        (
            crafted(&directory(9000, 100), &group(META), b"", 0),
            "metadata outside",
        ),
        (crafted(&file, &group(META), b"", 0), "root is not a directory"),
        (
            crafted(&inode(3, &[&[0; 16]]), &group(META), b"", 0),
            "root is not a directory",
        ),
        (
            crafted(&directory(0, 100), &[0xff; 100], b"", 0),
            "damaged directory",
        ),
    ] {
        let why = refusal(&image);
        assert!(why.contains(expected), "{expected}: {why}");
    }
    // A file whose last part lies in a fragment, of which there are none.
    let fragment = inode(2, &[&[0; 4], &[0; 4], &[0; 4], &9_u32.to_le_bytes()]);
    let why = refusal(&tree(META, YAML, &fragment));
    assert!(why.contains("fragment that is not there"), "{why}");
}

#[test]
fn bombs_are_refused() {
    // A block of a file that gives 50 MB.
    let packed = deflated(50_000_000);
    for packed in [&packed[..4096], &deflated(4097)] {
        assert_eq!(refusal(&with_block(packed)), "it has a damaged file");
    }
    // A piece of metadata that gives 4 MB.
    let image = with_metadata(&deflated(4_000_000));
    assert_eq!(refusal(&image), "it has a damaged piece of metadata");
    // A directory that claims to be endless, and one that is really long.
    let why = refusal(&endless());
    assert!(why.contains("too many entries"), "{why}");
    let mut listing = Vec::new();
    for start in (0..60_000).step_by(256) {
        let names: Vec<String> = (start..start + 256)
            .map(|number| format!("{number:030}"))
            .collect();
        let entries: Vec<_> = names.iter().map(|name| (name.as_bytes(), 0)).collect();
        listing.extend(group(&entries));
    }
    let len = listing.len() as u32 + 3;
    let long = inode(8, &[&[0; 4], &len.to_le_bytes(), &[0; 16]]);
    let why = refusal(&crafted(&long, &listing, b"", 0));
    assert!(why.contains("too many entries"), "{why}");
}

#[test]
fn decoders_keep_their_bounds() {
    use super::codec::Codec;

    for codec in [Codec::Gzip, Codec::Lzo, Codec::Xz, Codec::Zstd] {
        for input in [
            b"".as_slice(),
            b"\0",
            &[0; 8192],
            &[0xff; 8192],
            b"\xfd7zXZ\0",
            b"\x28\xb5\x2f\xfd",
        ] {
            let output = codec.decompress(input, 8192).unwrap_or_default();
            assert!(output.len() <= 8192, "{codec:?}");
        }
    }
    // A zstd frame that asks for a window of gigabytes; an xz block with a dictionary of 4 GiB.
    assert_eq!(
        Codec::Zstd.decompress(b"\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00", 8192),
        None
    );
    let mut xz = b"\xfd7zXZ\0\0\x01\x69\x22\xde\x36".to_vec();
    xz.extend_from_slice(b"\x02\0\x21\x01\x28\0\0\0");
    xz.extend_from_slice(&[0; 64]);
    assert_eq!(Codec::Xz.decompress(&xz, 8192), None);
}

#[tokio::test]
async fn the_port_reads_a_file_and_says_which_side_is_to_blame() {
    let squashfs = Squashfs::default();
    let path = format!("{}/tests/data/snaps/xz.snap", env!("CARGO_MANIFEST_DIR"));
    assert!(squashfs.inspect(Path::new(&path)).await.is_ok());
    let missing = squashfs.inspect(Path::new("/nonexistent/a.snap")).await;
    assert!(matches!(missing, Err(SnapFileError::Unreadable(_))));
    let other = squashfs
        .inspect(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")))
        .await;
    assert_eq!(
        other.unwrap_err().to_string(),
        "cannot use the snap file: it is no squashfs image"
    );
}
