//! What the project hands to people to start from must be good: model templates, the example gadget.

use std::fs;
use std::path::{Path, PathBuf};

use hallmark::domain::assertion::{AssertionType, PublicKey, Statement};

fn folder(path: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut files: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_model_template_can_be_signed() {
    let key = PublicKey::decode(include_str!("../vectors/interop/brand.pub").trim()).unwrap();
    let files = folder("assertions/templates");
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let statement = Statement::from_yaml(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert_eq!(statement.kind(), AssertionType::Model, "{}", file.display());
        statement
            .draft(&key)
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
}

#[test]
fn no_private_key_lies_outside_the_test_data() {
    // Those of `tests/it/tls` are for certificates of `localhost`.
    let allowed = ["tests/vectors/keys", "tests/data", "tests/it/tls", "keys/dev"];
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR"))];
    let mut found = Vec::new();
    while let Some(here) = folders.pop() {
        for entry in fs::read_dir(&here).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let relative = path
                .strip_prefix(env!("CARGO_MANIFEST_DIR"))
                .unwrap()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" && !name.starts_with("hallmark-") {
                    folders.push(path);
                }
            } else if !allowed.iter().any(|allowed| relative.starts_with(allowed))
                && fs::read(&path).is_ok_and(|bytes| {
                    [
                        "-----BEGIN PRIVATE KEY-----\nMI",
                        "-----BEGIN RSA PRIVATE KEY-----\nMI",
                    ]
                    .iter()
                    .any(|begin| {
                        bytes
                            .windows(begin.len())
                            .any(|window| window == begin.as_bytes())
                    })
                })
                && !relative.ends_with("templates.rs")
            {
                found.push(relative);
            }
        }
    }
    assert!(
        found.is_empty(),
        "private keys lie where nobody expects them: {found:?}"
    );
}
