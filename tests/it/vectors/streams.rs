//! `streams.json`: what the stream decoder yields, event by event, and what the one-shot decoder says.

use hallmark::domain::assertion::{StreamDecoder, decode, encode_stream};
use serde_json::json;

use super::{assert_complete, json as read_json, read};

#[test]
fn streams_yield_the_events_of_the_reference() {
    let mut used = Vec::new();
    for case in read_json("streams.json").as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let bytes = read(file);
        let mut events = Vec::new();
        for result in StreamDecoder::new(bytes.clone()) {
            events.push(match &result {
                Ok(assertion) => json!({
                    "type": assertion.kind().name(),
                    "primary-key": assertion.primary_key().0,
                    "revision": assertion.revision(),
                    "body-length": assertion.body().len(),
                }),
                Err(error) => json!({ "category": error.code() }),
            });
        }
        if events.last().is_none_or(|event| event.get("category").is_none()) {
            events.push(json!({ "eof": true }));
        }
        let expected = case["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| match event.get("category") {
                Some(category) => json!({ "category": category }),
                None => event.clone(),
            });
        assert_eq!(events, expected.collect::<Vec<_>>(), "{file}");
        assert_eq!(
            decode(&bytes).is_ok(),
            case["one-shot-decode"] == "ok",
            "{file} one-shot"
        );
        used.push(file.to_owned());
    }
    assert_complete("stream", ".stream", used);
}

#[test]
fn a_stream_encodes_to_itself() {
    for case in read_json("streams.json").as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let bytes = read(file);
        let Ok(assertions) = StreamDecoder::new(bytes.clone()).collect::<Result<Vec<_>, _>>() else {
            continue;
        };
        let again = encode_stream(assertions.iter().map(|assertion| assertion.encoded()));
        let decoded: Vec<_> = StreamDecoder::new(again.clone())
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(decoded, assertions, "{file}");
        // The only liberties of the input were its last line feeds.
        assert_eq!(again.trim_ascii_end(), bytes.trim_ascii_end(), "{file}");
        assert_eq!(again.ends_with(b"\n"), !bytes.is_empty(), "{file}");
    }
}
