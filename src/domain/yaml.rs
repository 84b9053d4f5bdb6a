//! YAML of strangers, read within bounds, with plain scalars taken as the text they are written in (`version: 1.10`).
//!
//! The YAML library holds a whole document before it gives anything, follows aliases almost without limit and needs
//! quadratic time for deep nesting. So the text is looked over first, and then read twice: once for its shape, against
//! a budget that aliases spend too, then along that shape with every scalar asked for as a string.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// Longest document.
pub(in crate::domain) const MAX_BYTES: usize = 256 << 10;
/// Most values of a document, those that aliases repeat counted each time.
const MAX_VALUES: usize = 50_000;
/// Longest text of all scalars together, those that aliases repeat counted each time.
const MAX_TEXT: usize = 2 * MAX_BYTES;
/// Most brackets open at the same time.
const MAX_BRACKETS: usize = 500;
/// Most list items or keys that begin on one line.
const MAX_INDICATORS: usize = 50;

/// A value of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::domain) enum Node {
    Null,
    Text(String),
    List(Vec<Node>),
    /// In the order of the document; every key once.
    Map(Vec<(String, Node)>),
}

/// Reads a document. The error is the end of a sentence about the text.
pub(in crate::domain) fn parse(text: &str) -> Result<Node, String> {
    look_over(text)?;
    let refuse = |error: serde_yaml::Error| format!("is not valid YAML: {error}");
    let budget = Budget {
        values: Cell::new(MAX_VALUES),
        text: Cell::new(MAX_TEXT),
    };
    let shape = ShapeOf(&budget)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(refuse)?;
    Along(&shape)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(refuse)
}

/// What would cost the library too much. A text may have such things without meaning them, in a quoted string for
/// instance, but no document of the field comes near.
fn look_over(text: &str) -> Result<(), String> {
    if text.len() > MAX_BYTES {
        return Err(format!("has {} bytes, more than {MAX_BYTES}", text.len()));
    }
    let mut open = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MAX_BRACKETS {
            return Err("is nested too deeply".to_owned());
        }
    }
    for line in text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        let words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        if words.take_while(|word| matches!(*word, "-" | "?" | ":")).count() > MAX_INDICATORS {
            return Err("is nested too deeply".to_owned());
        }
    }
    Ok(())
}

struct Budget {
    values: Cell<usize>,
    text: Cell<usize>,
}

impl Budget {
    fn spend<E: serde::de::Error>(&self, text: usize) -> Result<(), E> {
        match (
            self.values.get().checked_sub(1),
            self.text.get().checked_sub(text),
        ) {
            (Some(values), Some(text)) => {
                self.values.set(values);
                self.text.set(text);
                Ok(())
            }
            (None, _) | (_, None) => Err(E::custom("there is too much of it, with what aliases repeat")),
        }
    }
}

/// A document without its texts.
enum Shape {
    Null,
    Scalar,
    List(Vec<Shape>),
    Map(Vec<(Shape, Shape)>),
}

#[derive(Clone, Copy)]
struct ShapeOf<'b>(&'b Budget);

impl<'de> DeserializeSeed<'de> for ShapeOf<'_> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl ShapeOf<'_> {
    fn scalar<E: serde::de::Error>(self, text: usize) -> Result<Shape, E> {
        self.0.spend(text).map(|()| Shape::Scalar)
    }
}

impl<'de> Visitor<'de> for ShapeOf<'_> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, list or map")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Shape, E> {
        self.0.spend(0).map(|()| Shape::Null)
    }

    /// An empty document.
    fn visit_none<E: serde::de::Error>(self) -> Result<Shape, E> {
        self.visit_unit()
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Shape, E> {
        self.scalar(8)
    }

    // Numbers may be written long, but no longer than the library reads as one.
    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Shape, E> {
        self.scalar(64)
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Shape, E> {
        self.scalar(64)
    }

    fn visit_i128<E: serde::de::Error>(self, _: i128) -> Result<Shape, E> {
        self.scalar(64)
    }

    fn visit_u128<E: serde::de::Error>(self, _: u128) -> Result<Shape, E> {
        self.scalar(64)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Shape, E> {
        self.scalar(64)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Shape, E> {
        self.scalar(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Shape, A::Error> {
        self.0.spend(0)?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Shape::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Shape, A::Error> {
        self.0.spend(0)?;
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry_seed(self, self)? {
            entries.push(entry);
        }
        Ok(Shape::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Shape, A::Error> {
        let (tag, _) = access.variant::<String>()?;
        Err(A::Error::custom(format_args!(
            "tags such as !{tag} are not possible"
        )))
    }
}

/// Reads a value known to look like the given one.
#[derive(Clone, Copy)]
struct Along<'s>(&'s Shape);

impl<'de> DeserializeSeed<'de> for Along<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.0 {
            Shape::Null => {
                <IgnoredAny as serde::Deserialize>::deserialize(deserializer)?;
                Ok(Node::Null)
            }
            Shape::Scalar => deserializer.deserialize_str(self),
            Shape::List(_) => deserializer.deserialize_seq(self),
            Shape::Map(_) => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for Along<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, list or map")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        if let Shape::List(shapes) = self.0 {
            for shape in shapes {
                let item = access.next_element_seed(Along(shape))?;
                items.push(item.ok_or_else(|| A::Error::custom("a list ends too early"))?);
            }
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        let mut keys = std::collections::BTreeSet::new();
        if let Shape::Map(shapes) = self.0 {
            for (key_shape, shape) in shapes {
                let Some(Node::Text(key)) = access.next_key_seed(Along(key_shape))? else {
                    return Err(A::Error::custom("a key is not a string"));
                };
                if key == "<<" {
                    return Err(A::Error::custom("merge keys (<<) are not possible"));
                }
                // Readers differ in which of two they take.
                if !keys.insert(key.clone()) {
                    return Err(A::Error::custom(format_args!(
                        "the key {key:?} stands there twice"
                    )));
                }
                entries.push((key, access.next_value_seed(Along(shape))?));
            }
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn text(value: &str) -> Node {
        Node::Text(value.to_owned())
    }

    #[test]
    fn scalars_are_taken_as_written_and_null_is_null() {
        let Node::Map(entries) =
            parse("a: 1.10\nb: 0x10\nc: yes\nd:\ne: ~\nf: ''\ng: |\n  x\n  y\nh: [1_0, {true: 1*}]\n")
                .unwrap()
        else {
            panic!()
        };
        let expected = [
            ("a", text("1.10")),
            ("b", text("0x10")),
            ("c", text("yes")),
            ("d", Node::Null),
            ("e", Node::Null),
            ("f", text("")),
            ("g", text("x\ny\n")),
            (
                "h",
                Node::List(vec![
                    text("1_0"),
                    Node::Map(vec![("true".to_owned(), text("1*"))]),
                ]),
            ),
        ];
        assert_eq!(entries, expected.map(|(key, value)| (key.to_owned(), value)));
    }

    #[test]
    fn what_readers_could_take_differently_is_refused() {
        for bad in [
            "a: 1\na: 2\n",
            "a: 1\n---\nb: 1\n",
            "a: !x b\n",
            "[a]: b\n",
            "~: b\n",
            "a: &a {b: c}\nd: {<<: *a}\n",
            "a: *b\n",
            "a: [\n",
            "a\u{0}b",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn aliases_are_followed_within_reason() {
        let Node::Map(entries) = parse("a: &x [1, b]\nc: *x\n").unwrap() else {
            panic!()
        };
        assert_eq!(entries[0].1, entries[1].1);
    }

    #[test]
    fn bombs_cost_little() {
        let mut levels = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = level - 1;
            levels.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                vec![format!("*a{before}"); 10].join(", ")
            ));
        }
        let wide = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(50_000), "*a,".repeat(50_000));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a,".repeat(50_000));
        let fill = |unit: &str| unit.repeat(MAX_BYTES / unit.len());
        for bomb in [
            levels,
            wide,
            long,
            fill("["),
            fill("{a: "),
            fill("[{a: "),
            fill("- "),
            fill("? "),
            fill("-\t"),
            fill("a: "),
            format!("[{}]", "a,".repeat(MAX_BYTES / 2 - 1)),
            fill("- a\n"),
            fill("&a "),
            fill("!a "),
            fill("'").split_off(1),
            fill("\""),
            fill("%a\n"),
            fill("---\n"),
            (0..500)
                .map(|depth| format!("{}a:\n", " ".repeat(depth)))
                .collect(),
            "x".repeat(MAX_BYTES + 1),
        ] {
            let started = Instant::now();
            let outcome = parse(&bomb);
            assert!(outcome.is_err(), "{:?}", &bomb[..20]);
            assert!(started.elapsed() < Duration::from_secs(3), "{:?}", &bomb[..20]);
        }
    }
}
