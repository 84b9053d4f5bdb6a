//! Statements in YAML: the same headers as in JSON, with plain scalars taken as the text they are written in.
//!
//! The parser resolves a plain `1` or `true` to a number or boolean and forgets how it was written. So the text is
//! read twice: once for its shape, then along that shape with every scalar asked for as a string.

use std::collections::BTreeMap;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::headers::{Headers, Value};

/// The top-level map of a YAML document. The error is the end of a sentence about the text.
pub(super) fn headers(text: &str) -> Result<Headers, String> {
    let refuse = |error: serde_yaml::Error| format!("is not valid YAML: {error}");
    let shape: serde_yaml::Value = serde_yaml::from_str(text).map_err(refuse)?;
    if !shape.is_mapping() {
        return Err("must be a YAML map".to_owned());
    }
    match Shaped(&shape)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(refuse)?
    {
        Value::Map(map) => Ok(Headers(map)),
        Value::Text(_) | Value::List(_) => Err("must be a YAML map".to_owned()),
    }
}

/// Reads a value known to look like the given one.
#[derive(Clone, Copy)]
struct Shaped<'s>(&'s serde_yaml::Value);

impl<'de> DeserializeSeed<'de> for Shaped<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.0 {
            serde_yaml::Value::Null => Err(D::Error::custom(
                "null is no header value: write \"\" for an empty string",
            )),
            serde_yaml::Value::Tagged(tagged) => Err(D::Error::custom(format_args!(
                "tags such as {} are not possible",
                tagged.tag
            ))),
            serde_yaml::Value::Bool(_) | serde_yaml::Value::Number(_) | serde_yaml::Value::String(_) => {
                deserializer.deserialize_str(self)
            }
            serde_yaml::Value::Sequence(_) => deserializer.deserialize_seq(self),
            serde_yaml::Value::Mapping(_) => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for Shaped<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string, list or map")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        for shape in self.0.as_sequence().into_iter().flatten() {
            let item = access.next_element_seed(Shaped(shape))?;
            items.push(item.ok_or_else(|| A::Error::custom("a list ends too early"))?);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = BTreeMap::new();
        for (key_shape, shape) in self.0.as_mapping().into_iter().flatten() {
            let key = access.next_key_seed(Shaped(key_shape))?;
            let Some(Value::Text(key)) = key else {
                return Err(A::Error::custom("a key is not a string"));
            };
            let value = access.next_value_seed(Shaped(shape))?;
            if entries.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format_args!(
                    "the key {key:?} stands there twice"
                )));
            }
        }
        Ok(Value::Map(entries))
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
        assert!(super::headers(&bomb).is_err());
    }
}
