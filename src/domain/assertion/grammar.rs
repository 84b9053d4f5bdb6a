//! The header grammar of assertions.md 1.2: from the lines of a header block to values.
//!
//! Each block hands the first line that does not continue it to the level above, so one pass suffices.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::headers::{Headers, Value};

/// Levels of nesting accepted. A block within the size limit of the stream decoder cannot have more than 361,
/// so this bounds the stack only for files, which have no size limit.
const MAX_DEPTH: usize = 400;

/// What is wrong with a header block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// Bytes that are no UTF-8.
    #[error("the headers are not UTF-8")]
    NotUtf8,
    /// A line that is no entry.
    #[error("line {line} {problem}: {text:?}")]
    Syntax {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it, as the end of a sentence.
        problem: &'static str,
        /// The line, cut to 64 characters.
        text: String,
    },
    /// A header name or map key that is none.
    #[error("line {line} has an invalid name {name:?}: use lower-case letters, digits and single dashes")]
    Name {
        /// Number of the line, from 1.
        line: usize,
        /// The name, cut to 64 characters.
        name: String,
    },
    /// A header or a key of one map that stands there twice.
    #[error("line {line} repeats {name:?}")]
    Duplicate {
        /// Number of the line, from 1.
        line: usize,
        /// The name.
        name: String,
    },
}

/// Parses a header block: the bytes before the first blank line, without a final line feed.
pub fn parse_headers(head: &[u8]) -> Result<Headers, GrammarError> {
    let text = std::str::from_utf8(head).map_err(|_| GrammarError::NotUtf8)?;
    let mut lines = Lines::new(text);
    let mut headers = BTreeMap::new();
    while let Some(line) = lines.next() {
        let (name, rest) = name_of(line, lines.number)?;
        match headers.entry(name.to_owned()) {
            Entry::Occupied(_) => return Err(duplicate(name, lines.number)),
            Entry::Vacant(slot) => slot.insert(value(rest, &mut lines, 0, 0)?),
        };
    }
    Ok(Headers(headers))
}

/// The lines of a block, with one line of look-ahead.
struct Lines<'a> {
    rest: std::str::Split<'a, char>,
    ahead: Option<&'a str>,
    /// Number of the line last taken, from 1.
    number: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let mut rest = text.split('\n');
        let ahead = rest.next();
        Self {
            rest,
            ahead,
            number: 0,
        }
    }

    fn next(&mut self) -> Option<&'a str> {
        let line = self.ahead?;
        self.ahead = self.rest.next();
        self.number += 1;
        Some(line)
    }

    /// What follows `indent` spaces on the next line, if it has them.
    fn peek_indented(&self, indent: usize) -> Option<&'a str> {
        strip_indent(self.ahead?, indent)
    }

    fn next_indented(&mut self, indent: usize) -> Option<&'a str> {
        let rest = self.peek_indented(indent)?;
        self.next();
        Some(rest)
    }

    fn syntax(&self, line: &str, problem: &'static str) -> GrammarError {
        GrammarError::Syntax {
            line: self.number,
            problem,
            text: cut(line),
        }
    }
}

fn strip_indent(line: &str, indent: usize) -> Option<&str> {
    let (head, rest) = line.split_at_checked(indent)?;
    head.bytes().all(|b| b == b' ').then_some(rest)
}

/// The value after an intro of base indentation `base`; `rest` is what follows the colon or dash on its line.
fn value(rest: &str, lines: &mut Lines<'_>, base: usize, depth: usize) -> Result<Value, GrammarError> {
    if let Some(text) = rest.strip_prefix(' ') {
        return Ok(Value::Text(text.to_owned()));
    }
    if !rest.is_empty() {
        return Err(lines.syntax(
            rest,
            "needs a space (or the end of the line) after the colon or dash",
        ));
    }
    if depth >= MAX_DEPTH {
        return Err(lines.syntax(rest, "is nested too deep"));
    }
    match lines.peek_indented(base + 2) {
        Some(next) if next.starts_with('-') => list(lines, base, depth),
        Some(next) if !next.is_empty() && !next.starts_with(' ') => map(lines, base, depth),
        Some(_) | None => text(lines, base),
    }
}

fn list(lines: &mut Lines<'_>, base: usize, depth: usize) -> Result<Value, GrammarError> {
    let mut items = Vec::new();
    while let Some(rest) = lines
        .peek_indented(base + 2)
        .and_then(|line| line.strip_prefix('-'))
    {
        lines.next();
        items.push(value(rest, lines, base + 2, depth + 1)?);
    }
    Ok(Value::List(items))
}

fn map(lines: &mut Lines<'_>, base: usize, depth: usize) -> Result<Value, GrammarError> {
    let mut entries = BTreeMap::new();
    while let Some(line) = lines.next_indented(base + 2) {
        let (name, rest) = name_of(line, lines.number)?;
        match entries.entry(name.to_owned()) {
            Entry::Occupied(_) => return Err(duplicate(name, lines.number)),
            Entry::Vacant(slot) => slot.insert(value(rest, lines, base + 2, depth + 1)?),
        };
    }
    Ok(Value::Map(entries))
}

fn text(lines: &mut Lines<'_>, base: usize) -> Result<Value, GrammarError> {
    let Some(first) = lines.next_indented(base + 4) else {
        return Err(lines.syntax(
            "",
            "has no value: a text of several lines is indented by four more spaces",
        ));
    };
    let mut text = first.to_owned();
    while let Some(line) = lines.next_indented(base + 4) {
        text.push('\n');
        text.push_str(line);
    }
    Ok(Value::Text(text))
}

/// Splits `name:rest` at the first colon and checks the name.
fn name_of(line: &str, number: usize) -> Result<(&str, &str), GrammarError> {
    let (name, rest) = line.split_once(':').ok_or_else(|| GrammarError::Syntax {
        line: number,
        problem: "has no colon after a header name",
        text: cut(line),
    })?;
    if is_header_name(name) {
        Ok((name, rest))
    } else {
        Err(GrammarError::Name {
            line: number,
            name: cut(name),
        })
    }
}

fn duplicate(name: &str, line: usize) -> GrammarError {
    GrammarError::Duplicate {
        line,
        name: name.to_owned(),
    }
}

/// Whether `name` may name a header or a map key: `^[a-z](?:-?[a-z0-9])*$`.
pub fn is_header_name(name: &str) -> bool {
    let mut after_dash = false;
    for (place, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' => after_dash = false,
            b'0'..=b'9' if place > 0 => after_dash = false,
            b'-' if place > 0 && !after_dash => after_dash = true,
            _ => return false,
        }
    }
    !name.is_empty() && !after_dash
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deeply_nested_file_is_refused_without_exhausting_the_stack() {
        let mut block = String::from("a:\n");
        for level in 1..5_000 {
            block.push_str(&" ".repeat(2 * level));
            block.push_str("-\n");
        }
        block.push('x');
        let error = parse_headers(block.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("nested too deep"), "{error}");
    }

    #[test]
    fn names_are_lower_case_words_joined_by_single_dashes() {
        for good in ["a", "a0", "a-0", "snap-sha3-384", "a-b-c"] {
            assert!(is_header_name(good), "{good}");
        }
        for bad in ["", "-", "a-", "-a", "0a", "a--b", "A", "a_b", "a ", "é"] {
            assert!(!is_header_name(bad), "{bad}");
        }
    }
}
