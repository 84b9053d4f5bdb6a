//! The golden vectors of `tests/vectors` (see its README): what a device's own library says of each file.

mod database;
mod headers;
mod models;
mod sign;
mod signatures;
mod streams;
mod types;
pub(crate) mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA512;
use base64::Engine as _;
use bytes::Bytes;
use hallmark::domain::assertion::{PublicKey, Value};
use serde_json::Value as Json;

/// Where a vector lies.
pub(crate) fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(file)
}

/// The bytes of a vector.
pub(crate) fn read(file: &str) -> Bytes {
    std::fs::read(path(file))
        .unwrap_or_else(|error| panic!("{file}: {error}"))
        .into()
}

/// The text of a vector.
pub(crate) fn read_text(file: &str) -> String {
    String::from_utf8(read(file).to_vec()).unwrap()
}

/// A JSON index.
pub(crate) fn json(file: &str) -> Json {
    serde_json::from_slice(&read(file)).unwrap()
}

/// The cases of `index.json` in the groups `wanted` takes.
pub(crate) fn cases(wanted: impl Fn(&str) -> bool) -> Vec<Json> {
    let index = json("index.json");
    let cases = index["cases"].as_array().unwrap();
    cases
        .iter()
        .filter(|case| wanted(case["group"].as_str().unwrap()))
        .cloned()
        .collect()
}

/// The files in a directory of the vectors whose name ends so.
pub(crate) fn files(directory: &str, ending: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(path(directory)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.ends_with(ending))
        .map(|name| format!("{directory}/{name}"))
        .collect()
}

/// Fails unless exactly the files of the directory were used.
pub(crate) fn assert_complete(directory: &str, ending: &str, used: impl IntoIterator<Item = String>) {
    let used: BTreeSet<_> = used.into_iter().collect();
    assert_eq!(
        used,
        files(directory, ending),
        "not every file of {directory} was used"
    );
    assert!(!used.is_empty(), "{directory} is empty");
}

/// A header value as the vectors write it.
pub(crate) fn to_json(value: &Value) -> Json {
    match value {
        Value::Text(text) => Json::from(text.as_str()),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, entry)| (key.clone(), to_json(entry)))
            .collect(),
    }
}

/// The other way round; only strings, lists and maps.
pub(crate) fn from_json(value: &Json) -> Value {
    match value {
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::List(items.iter().map(from_json).collect()),
        Json::Object(map) => Value::Map(
            map.iter()
                .map(|(key, entry)| (key.clone(), from_json(entry)))
                .collect(),
        ),
        other => panic!("{other} is no header value"),
    }
}

/// One of the throw-away keys.
pub(crate) struct TestKey {
    pub(crate) name: String,
    pub(crate) public: PublicKey,
    pub(crate) pair: RsaKeyPair,
}

impl TestKey {
    /// RSASSA-PKCS1-v1_5 over a SHA-512 digest, as a `Signer` would.
    pub(crate) fn sign(&self, digest: &[u8; 64]) -> Vec<u8> {
        let digest = aws_lc_rs::digest::Digest::import_less_safe(digest, &aws_lc_rs::digest::SHA512).unwrap();
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign_digest(&RSA_PKCS1_SHA512, &digest, &mut signature)
            .unwrap();
        signature
    }
}

/// The PKCS#8 bytes in a PEM file.
pub(crate) fn pem_bytes(file: &str) -> Vec<u8> {
    let text = read_text(file);
    let base64: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(base64).unwrap()
}

/// All throw-away keys, by key id.
pub(crate) fn keys() -> BTreeMap<String, TestKey> {
    let index = json("keys/index.json");
    let keys = index.as_array().unwrap().iter().map(|entry| {
        let public = PublicKey::decode(entry["encoded"].as_str().unwrap()).unwrap();
        let pair = RsaKeyPair::from_pkcs8(&pem_bytes(entry["pem"].as_str().unwrap())).unwrap();
        let name = entry["name"].as_str().unwrap().to_owned();
        (
            entry["key-id"].as_str().unwrap().to_owned(),
            TestKey { name, public, pair },
        )
    });
    keys.collect()
}

/// The throw-away key called `name`.
pub(crate) fn key(name: &str) -> TestKey {
    keys().into_values().find(|key| key.name == name).unwrap()
}
