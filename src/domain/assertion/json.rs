//! JSON as the reference reads and writes it: bodies in canonical indentation, and statements to sign.
//!
//! Canonical means what Go's `json.MarshalIndent(v, "", "  ")` writes after reading into untyped values (Go 1.19):
//! keys in byte order, numbers as 64-bit floats, `<`, `>`, `&`, U+2028 and U+2029 escaped.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Checks that a body is a JSON object in canonical form. The error is the end of a sentence about the body.
pub(super) fn check_body(body: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(body).map_err(|_| "is not UTF-8".to_owned())?;
    if text.is_empty() {
        return Err("must contain JSON".to_owned());
    }
    if indent(&object(text)?) == text {
        Ok(())
    } else {
        Err("must be JSON indented by two spaces, its keys sorted, without a final line feed".to_owned())
    }
}

/// The canonical form of a JSON object. The error is the end of a sentence about the text.
pub(super) fn canonical_body(text: &str) -> Result<String, String> {
    Ok(indent(&object(text)?))
}

/// Parses a JSON object. Of a repeated key the last value counts; half surrogate pairs become U+FFFD.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(&replace_lone_surrogates(text)) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err("must be a JSON object".to_owned()),
        Err(error) => Err(format!("is not valid JSON: {error}")),
    }
}

/// Replaces `\uD800`..`\uDFFF` escapes that are no pair. Backslashes stand only inside strings in valid JSON.
fn replace_lone_surrogates(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find('\\') {
        let (before, escape) = rest.split_at(place);
        out.push_str(before);
        let (length, whole) = match code_unit(escape) {
            Some(0xd800..=0xdbff) => match escape.get(6..).and_then(code_unit) {
                Some(0xdc00..=0xdfff) => (12, true),
                Some(_) | None => (6, false),
            },
            Some(0xdc00..=0xdfff) => (6, false),
            // The backslash and what it escapes; `\u` sequences go on as plain characters.
            Some(_) | None => (1 + escape.chars().nth(1).map_or(0, char::len_utf8), true),
        };
        let (taken, more) = escape.split_at_checked(length).unwrap_or((escape, ""));
        out.push_str(if whole { taken } else { "\\ufffd" });
        rest = more;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The value of the `\uXXXX` escape at the front.
fn code_unit(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        u16::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

fn indent(map: &Map<String, Value>) -> String {
    let mut out = String::new();
    write_object(&mut out, map, 0);
    out
}

fn write_value(out: &mut String, value: &Value, level: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(out, number.as_f64().unwrap_or_default()),
        Value::String(text) => write_string(out, text),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                new_line(out, place > 0, level + 1);
                write_value(out, item, level + 1);
            }
            new_line(out, false, level);
            out.push(']');
        }
        Value::Object(map) => write_object(out, map, level),
    }
}

fn write_object(out: &mut String, map: &Map<String, Value>, level: usize) {
    if map.is_empty() {
        out.push_str("{}");
        return;
    }
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| key.as_str());
    out.push('{');
    for (place, (key, value)) in entries.into_iter().enumerate() {
        new_line(out, place > 0, level + 1);
        write_string(out, key);
        out.push_str(": ");
        write_value(out, value, level + 1);
    }
    new_line(out, false, level);
    out.push('}');
}

fn new_line(out: &mut String, comma: bool, level: usize) {
    out.push_str(if comma { ",\n" } else { "\n" });
    out.extend(std::iter::repeat_n("  ", level));
}

fn write_string(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// Shortest digits that read back as the same float; an exponent below 1e-6 and from 1e21 on.
fn write_number(out: &mut String, number: f64) {
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        out.push_str(&number.to_string());
        return;
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => {
            out.push_str(digits);
            out.push_str("e+");
            out.push_str(exponent);
        }
        Some(_) | None => out.push_str(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_64_bit_floats() {
        let cases = [
            ("1", "1"),
            ("1.0", "1"),
            ("-0.0", "-0"),
            ("1e3", "1000"),
            ("0.1", "0.1"),
            ("1e-6", "0.000001"),
            ("1e-7", "1e-7"),
            ("1.5e-10", "1.5e-10"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("123456789012345678901234", "1.2345678901234569e+23"),
            ("9007199254740993", "9007199254740992"),
            ("18446744073709551615", "18446744073709552000"),
            ("5e-324", "5e-324"),
        ];
        for (from, to) in cases {
            let body = canonical_body(&format!("{{\"n\":{from}}}")).unwrap();
            assert_eq!(body, format!("{{\n  \"n\": {to}\n}}"), "{from}");
        }
    }

    #[test]
    fn half_surrogate_pairs_become_the_replacement_character() {
        let cases = [
            (r#"{"a":"\ud83d\ude00"}"#, "😀"),
            (r#"{"a":"\ud83d"}"#, "\u{fffd}"),
            (r#"{"a":"\ud83dx"}"#, "\u{fffd}x"),
            (r#"{"a":"\ude00\ud83d"}"#, "\u{fffd}\u{fffd}"),
            (r#"{"a":"\ud83d\u0041"}"#, "\u{fffd}A"),
            (r#"{"a":"\\ud83d"}"#, "\\ud83d"),
            (r#"{"a":"\ud83d\ud83d\ude00"}"#, "\u{fffd}😀"),
        ];
        for (from, to) in cases {
            assert_eq!(
                object(from).unwrap().get("a").and_then(Value::as_str),
                Some(to),
                "{from}"
            );
        }
    }

    #[test]
    fn control_and_html_characters_are_escaped() {
        let body = canonical_body("{\"a\":\"\\b\\f<>&\u{2028}\\n\\\"\\\\\u{7f}\"}").unwrap();
        assert_eq!(
            body,
            "{\n  \"a\": \"\\u0008\\u000c\\u003c\\u003e\\u0026\\u2028\\n\\\"\\\\\u{7f}\"\n}"
        );
    }
}
