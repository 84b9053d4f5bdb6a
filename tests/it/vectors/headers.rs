//! `headers/`: the grammar of header blocks, and entries as we write them.

use hallmark::domain::assertion::{append_header, parse_headers};
use serde_json::Value as Json;

use super::{assert_complete, from_json, json, read, read_text, to_json};

fn entries(op: &str) -> Vec<Json> {
    let index = json("headers/index.json");
    index
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["op"] == op)
        .cloned()
        .collect()
}

#[test]
fn header_blocks_decode_as_in_the_reference() {
    let mut used = Vec::new();
    for entry in entries("decode") {
        let file = entry["file"].as_str().unwrap();
        let result = parse_headers(&read(file));
        match (entry["ok"].as_bool().unwrap(), result) {
            (true, Ok(headers)) => {
                let decoded: Json = headers
                    .iter()
                    .map(|(name, value)| (name, to_json(value)))
                    .collect();
                assert_eq!(decoded, entry["decoded"], "{file}");
            }
            (true, Err(error)) => panic!("{file} is refused: {error}"),
            (false, Ok(headers)) => panic!("{file} should be refused ({}): {headers:?}", entry["error"]),
            (false, Err(_)) => {}
        }
        used.push(file.to_owned());
    }
    let inputs = used.iter().filter(|file| file.ends_with(".txt")).cloned();
    let encoded = super::files("headers", ".txt")
        .into_iter()
        .filter(|file| file.contains("/enc-"));
    assert_complete("headers", ".txt", inputs.chain(encoded));
}

#[test]
fn header_entries_are_written_byte_for_byte() {
    let mut used = Vec::new();
    for entry in entries("encode") {
        let file = entry["file"].as_str().unwrap();
        let mut out = String::new();
        append_header(&mut out, "h", &from_json(&json(file)));
        assert_eq!(out, read_text(&file.replace(".json", ".txt")), "{file}");
        used.push(file.to_owned());
    }
    let cases = super::files("headers", ".json")
        .into_iter()
        .filter(|file| file.contains("/enc-"));
    assert_eq!(used, cases.collect::<Vec<_>>());
    assert!(!used.is_empty());
}

#[test]
fn written_headers_decode_to_themselves() {
    for entry in entries("decode").iter().filter(|entry| entry["ok"] == true) {
        let file = entry["file"].as_str().unwrap();
        let headers = parse_headers(&read(file)).unwrap();
        let mut out = String::new();
        for (name, value) in headers.iter() {
            append_header(&mut out, name, value);
        }
        assert_eq!(
            parse_headers(out.trim_start_matches('\n').as_bytes()).unwrap(),
            headers,
            "{file}"
        );
    }
}
