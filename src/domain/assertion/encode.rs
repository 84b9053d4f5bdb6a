//! Writing: header entries (assertions.md 1.3) and streams (1.6).

use bytes::{BufMut, Bytes, BytesMut};

use super::headers::Value;

/// Appends `name: value` and its preceding line feed. An empty list or map leaves nothing.
pub fn append_header(out: &mut String, name: &str, value: &Value) {
    append_entry(out, 0, &[name, ":"], value, 0);
}

/// `base` is the indentation the value's own blocks start from, `indent` that of the intro.
fn append_entry(out: &mut String, indent: usize, intro: &[&str], value: &Value, base: usize) {
    match value {
        Value::Text(text) => {
            append_intro(out, indent, intro);
            if text.contains('\n') {
                for line in text.split('\n') {
                    out.push('\n');
                    append_spaces(out, base + 4);
                    out.push_str(line);
                }
            } else {
                out.push(' ');
                out.push_str(text);
            }
        }
        Value::List(items) => {
            if items.is_empty() {
                return;
            }
            append_intro(out, indent, intro);
            for item in items {
                append_entry(out, base + 2, &["-"], item, base + 2);
            }
        }
        Value::Map(entries) => {
            if entries.is_empty() {
                return;
            }
            append_intro(out, indent, intro);
            for (key, entry) in entries {
                append_entry(out, base + 2, &[key, ":"], entry, base + 2);
            }
        }
    }
}

fn append_intro(out: &mut String, indent: usize, intro: &[&str]) {
    out.push('\n');
    append_spaces(out, indent);
    out.extend(intro.iter().copied());
}

fn append_spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// A stream of assertions: each ends with a line feed, a blank line stands between them.
pub fn encode_stream<'a>(assertions: impl IntoIterator<Item = &'a Bytes>) -> Bytes {
    let mut out = BytesMut::new();
    for assertion in assertions {
        if !out.is_empty() {
            out.put_u8(b'\n');
        }
        out.put_slice(assertion);
        if !assertion.ends_with(b"\n") {
            out.put_u8(b'\n');
        }
    }
    out.freeze()
}
