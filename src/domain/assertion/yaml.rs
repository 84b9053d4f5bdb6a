//! Statements in YAML: the same headers as in JSON, with plain scalars taken as the text they are written in.

use super::headers::{Headers, Value};
use crate::domain::yaml::{self, Node};

/// The top-level map of a YAML document. The error is the end of a sentence about the text.
pub(super) fn headers(text: &str) -> Result<Headers, String> {
    match value(yaml::parse(text)?) {
        Ok(Value::Map(map)) => Ok(Headers(map)),
        Ok(Value::Text(_) | Value::List(_)) => Err("must be a YAML map".to_owned()),
        Err(why) => Err(why.to_owned()),
    }
}

fn value(node: Node) -> Result<Value, &'static str> {
    match node {
        Node::Null => Err("has a null, which is no header value: write \"\" for an empty string"),
        Node::Text(text) => Ok(Value::Text(text)),
        Node::List(items) => {
            let items: Result<_, _> = items.into_iter().map(value).collect();
            items.map(Value::List)
        }
        Node::Map(entries) => {
            let entries: Result<_, _> = entries
                .into_iter()
                .map(|(key, node)| Ok((key, value(node)?)))
                .collect();
            entries.map(Value::Map)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_taken_as_written() {
        let text = "revision: 1\nseries: '16'\nversion: 1.10\nhex: 0x10\nclassic: true\ntimestamp: 2024-05-01T10:00:00Z\n\
                    text: |\n  a\n  b\nlist:\n- 007\n- {k: 1_0}\nempty: ''\nno: yes\n";
        let headers = headers(text).unwrap();
        for (name, expected) in [
            ("revision", "1"),
            ("series", "16"),
            ("version", "1.10"),
            ("hex", "0x10"),
            ("classic", "true"),
            ("timestamp", "2024-05-01T10:00:00Z"),
            ("text", "a\nb\n"),
            ("empty", ""),
            ("no", "yes"),
        ] {
            assert_eq!(headers.text(name), Some(expected), "{name}");
        }
        let list = headers.get("list").and_then(Value::as_list).unwrap();
        assert_eq!(list[0].as_text(), Some("007"));
        assert_eq!(list[1].as_map().unwrap()["k"].as_text(), Some("1_0"));
    }

    #[test]
    fn null_tags_repeated_keys_and_other_documents_are_refused() {
        for text in [
            "a:\n",
            "a: ~\n",
            "a: !x b\n",
            "a: 1\na: 2\n",
            "- a\n",
            "a\n",
            "",
            "a: 1\n---\nb: 1\n",
            "[a]: b\n",
            "1: a\n01: b\n1: c\n",
        ] {
            assert!(headers(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn anchors_are_followed_within_reason() {
        let headers = headers("a: &x\n- 1\n- b\nc: *x\n").unwrap();
        assert_eq!(headers.get("a"), headers.get("c"));
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = level - 1;
            bomb.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                vec![format!("*a{before}"); 10].join(", ")
            ));
        }
        let error = super::headers(&bomb).unwrap_err();
        assert!(error.contains("too much of it"), "{error}");
    }

    #[test]
    fn a_small_bomb_is_refused_at_once() {
        // Few jumps, but each repeats thousands of values.
        let bomb = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(5_000), "*a,".repeat(3_000));
        assert!(bomb.len() < 20_000);
        let started = std::time::Instant::now();
        let error = headers(&bomb).unwrap_err();
        assert!(error.contains("too much of it"), "{error}");
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}
