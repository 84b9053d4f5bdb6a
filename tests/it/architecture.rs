//! The direction rules of the house, as a table that is walked over `src`. See ARCHITECTURE.md, "Rooms".

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// No production file should be longer than this without its tests; longer ones are listed, not refused.
const LONG_FILE: usize = 500;

/// Paths that a room must not name. A room is a path prefix below `src`; every matching row applies.
#[rustfmt::skip]
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("domain/", &[
        "crate::ports", "crate::app", "crate::adapters", "crate::http", "crate::cli", "crate::config",
        "crate::telemetry", "tokio", "tokio_util", "futures_util", "warp", "hyper", "hyper_util", "reqwest", "sled",
        "tokio_postgres", "deadpool_postgres", "clap", "tracing", "std::fs", "std::env", "std::process",
        "std::thread", "TcpStream", "TcpListener", "UdpSocket", "SystemTime", "Instant", "aws_lc_rs::rand",
        "getrandom", "rand",
    ]),
    ("ports/", &[
        "crate::app", "crate::adapters", "crate::http", "crate::cli", "crate::config", "crate::telemetry", "warp",
        "hyper", "reqwest", "sled", "tokio_postgres", "deadpool_postgres", "clap", "std::fs", "std::env",
        "TcpStream", "TcpListener", "UdpSocket",
    ]),
    ("app/", &[
        "crate::adapters", "crate::http", "crate::cli", "crate::telemetry", "http", "warp", "hyper", "reqwest",
        "sled", "tokio_postgres", "deadpool_postgres", "clap", "std::fs", "std::env", "std::process",
        "TcpStream", "TcpListener", "UdpSocket",
    ]),
    ("http/", &[
        "crate::adapters", "crate::cli", "sled", "tokio_postgres", "deadpool_postgres", "clap",
    ]),
    ("adapters/", &[
        "crate::app", "crate::http", "crate::cli", "crate::config", "crate::telemetry", "warp", "clap",
    ]),
    // One crypto provider: sequoia parses and verifies, it never signs (deny.toml, RUSTSEC-2023-0071).
    ("", &["into_keypair", "SignatureBuilder", "serialize::stream::Signer", "crypto::KeyPair", "rsa"]),
];

/// Where the clock may be read; everybody else asks the `Clock` port. (`Instant` for durations is free outside
/// the domain.)
const CLOCK: &[&str] = &["adapters/system"];
const CLOCK_WORDS: &[&str] = &["SystemTime::now", "Utc::now", "Local::now"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helpers", "manager", "misc"];

#[test]
fn rooms_name_only_what_they_may() {
    let mut broken = String::new();
    for file in sources() {
        let room = room_of(&file);
        for (line, path) in named_paths(&file) {
            for (prefix, words) in FORBIDDEN {
                if room.starts_with(prefix)
                    && let Some(word) = words.iter().find(|word| names(&path, word))
                {
                    let _ = writeln!(broken, "src/{room}:{line}: names {word}");
                }
            }
            if let Some(other) = other_adapter(&room, &path) {
                let _ = writeln!(broken, "src/{room}:{line}: names the adapter {other}");
            }
            if !CLOCK.iter().any(|allowed| room.starts_with(allowed))
                && let Some(word) = CLOCK_WORDS.iter().find(|word| names(&path, word))
            {
                let _ = writeln!(
                    broken,
                    "src/{room}:{line}: reads the clock with {word}, use the Clock port"
                );
            }
        }
    }
    assert!(broken.is_empty(), "direction rules are broken:\n{broken}");
}

#[test]
fn only_the_command_line_wires_adapters() {
    let mut broken = String::new();
    for file in sources() {
        let room = room_of(&file);
        if room.starts_with("cli/") || room.starts_with("adapters/") || room == "lib.rs" {
            continue;
        }
        for (line, path) in named_paths(&file) {
            if names(&path, "crate::adapters") || names(&path, "hallmark::adapters") {
                let _ = writeln!(broken, "src/{room}:{line}: names an adapter");
            }
        }
    }
    assert!(broken.is_empty(), "only cli may wire adapters:\n{broken}");
}

#[test]
fn file_names_say_what_is_inside() {
    let empty: Vec<String> = sources()
        .iter()
        .map(|file| room_of(file))
        .filter(|room| {
            Path::new(room).iter().any(|part| {
                let part = part.to_string_lossy();
                EMPTY_NAMES.contains(&part.trim_end_matches(".rs"))
            })
        })
        .collect();
    assert!(empty.is_empty(), "these names say nothing: {empty:?}");
}

#[test]
fn every_file_opens_with_its_purpose() {
    let silent: Vec<String> = sources()
        .iter()
        .filter(|file| !read(file).trim_start().starts_with("//!"))
        .map(|file| room_of(file))
        .collect();
    assert!(silent.is_empty(), "these files lack a //! opening: {silent:?}");
}

/// Prints the longest files (`cargo test --test it sizes -- --nocapture`); a size is a hint, not an error.
#[test]
fn sizes_of_files_are_reported() {
    let mut sizes: Vec<(usize, String)> = sources()
        .iter()
        .map(|file| (production_lines(&read(file)).count(), room_of(file)))
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let total: usize = sizes.iter().map(|(lines, _)| lines).sum();
    println!(
        "{total} lines without tests in {} files; over {LONG_FILE}:",
        sizes.len()
    );
    for (lines, room) in sizes.iter().take_while(|(lines, _)| *lines > LONG_FILE) {
        println!("{lines:6} src/{room}");
    }
    assert!(total > 0, "no source was found");
}

#[test]
fn the_walk_sees_through_groups_and_skips_comments_and_tests() {
    let source = "//! tokio::x\nuse crate::{ports, http::{auth as a, body}};\n// warp::z\nfn f() { sled::open() }\n\
                  #[cfg(test)]\nmod tests { use std::fs; }\n";
    let found = paths_in(source);
    let has = |line, path: &str| found.iter().any(|(at, found)| *at == line && found == path);
    assert!(
        has(2, "crate::ports") && has(2, "crate::http::auth") && has(2, "crate::http::body"),
        "{found:?}"
    );
    assert!(has(4, "sled::open"), "{found:?}");
    assert!(
        !found
            .iter()
            .any(|(_, path)| names(path, "tokio") || names(path, "warp") || names(path, "std::fs"))
    );
    assert!(names("crate::http::auth", "crate::http") && !names("crate::httpx", "crate::http"));
    assert!(!names("crate::http::auth", "http") && names("http::StatusCode", "http"));
    assert!(names("std::time::SystemTime::now", "SystemTime::now"));
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("cannot list {}: {e}", folder.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs")
                && !path
                    .file_stem()
                    .is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn room_of(file: &Path) -> String {
    file.strip_prefix(root())
        .unwrap()
        .to_string_lossy()
        .replace('\\', "/")
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|e| panic!("cannot read {}: {e}", file.display()))
}

fn named_paths(file: &Path) -> Vec<(usize, String)> {
    paths_in(&read(file))
}

/// The lines of a file up to its unit tests, comments emptied.
fn production_lines(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .take_while(|line| line.trim_end() != "#[cfg(test)]")
        .map(|line| {
            if line.trim_start().starts_with("//") {
                ""
            } else {
                line
            }
        })
}

/// Every path a source names, with its line: whole `use` trees, and words joined by `::` elsewhere.
fn paths_in(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in production_lines(source).enumerate() {
        let trimmed = line.trim();
        if open.is_none()
            && let Some(tree) = trimmed
                .strip_prefix("use ")
                .or_else(|| trimmed.split_once(" use ").map(|(_, t)| t))
            && (trimmed.starts_with("use ") || trimmed.starts_with("pub"))
        {
            open = Some((index + 1, tree.to_owned()));
        } else if let Some((_, tree)) = &mut open {
            tree.push_str(trimmed);
        } else {
            let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let code = line.split(" // ").next().unwrap_or(line);
            found.extend(
                code.split(|c| !word(c))
                    .map(|path| path.trim_matches(':'))
                    .filter(|path| path.contains("::") || path.contains("into_keypair"))
                    .map(|path| (index + 1, path.to_owned())),
            );
        }
        if let Some((start, tree)) = open.take() {
            match tree.split_once(';') {
                Some((tree, _)) => expand("", tree, &mut |path| found.push((start, path))),
                None => open = Some((start, tree)),
            }
        }
    }
    found
}

/// Calls `each` with every full path of a `use` tree.
fn expand(prefix: &str, tree: &str, each: &mut impl FnMut(String)) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        let path = path.trim_end_matches("::self");
        each(if path == "self" {
            prefix.trim_end_matches("::").to_owned()
        } else {
            format!("{prefix}{path}")
        });
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let inner = group.strip_suffix('}').unwrap_or(group);
    let mut depth = 0;
    let mut start = 0;
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&prefix, &inner[start..at], each);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inner[start..].trim().is_empty() {
        expand(&prefix, &inner[start..], each);
    }
}

/// Whether `path` names `word`: at its start for crates and rooms, anywhere for items such as `Type::method`.
fn names(path: &str, word: &str) -> bool {
    let parts: Vec<&str> = path.split("::").collect();
    let wanted: Vec<&str> = word.split("::").collect();
    let rooted = wanted.iter().all(|part| {
        part.chars()
            .all(|c| c.is_lowercase() || c.is_numeric() || c == '_')
    });
    let rooted = rooted && *word != *"into_keypair";
    if rooted {
        let parts: Vec<&str> = if parts.first() == Some(&"super") {
            super_as_crate(&parts)
        } else {
            parts.clone()
        };
        parts.starts_with(&wanted)
    } else {
        parts.windows(wanted.len()).any(|window| window == wanted)
    }
}

/// `super::super::adapters::x` means the same as `crate::adapters::x` for the rules.
fn super_as_crate<'a>(parts: &[&'a str]) -> Vec<&'a str> {
    std::iter::once("crate")
        .chain(parts.iter().copied().skip_while(|part| *part == "super"))
        .collect()
}

/// The adapter that another adapter names, if any.
fn other_adapter(room: &str, path: &str) -> Option<String> {
    let own = room.strip_prefix("adapters/")?.split(['/', '.']).next()?;
    let other = path.strip_prefix("crate::adapters::")?.split("::").next()?;
    (own != "mod" && own != other).then(|| other.to_owned())
}

/// The names in `section` of Cargo.toml.
fn packages(manifest: &str, section: &str) -> Vec<String> {
    let (_, below) = manifest.split_once(&format!("\n[{section}]\n")).unwrap();
    below
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "))
        .filter(|(name, _)| !name.starts_with('#'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn the_map_names_every_package_once_and_numbers_every_decision_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let (_, table) = page.split_once("| Package | Why |\n|---|---|\n").unwrap();
    let mut listed: Vec<&str> = table
        .lines()
        .map_while(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|names| names.split(", "))
        .collect();
    listed.sort_unstable();
    let mut used = packages(&manifest, "dependencies");
    used.extend(packages(&manifest, "dev-dependencies"));
    used.sort_unstable();
    assert_eq!(listed, used);

    let numbers: Vec<u32> = page
        .lines()
        .filter_map(|line| line.strip_prefix("**D-")?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(
        numbers,
        (1..=u32::try_from(numbers.len()).unwrap()).collect::<Vec<_>>()
    );
}
