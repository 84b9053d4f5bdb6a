//! Characters and classes of characters of RE2 patterns, rewritten for the `regex` crate (see `regexp`).

use std::fmt::Write;

type Read<T> = Result<T, &'static str>;

/// Unicode classes devices know and the `regex` crate means the same by. Scripts beyond these are refused.
const UNICODE_CLASSES: &[&str] = &[
    "Any", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P", "Pc", "Pd",
    "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs", "Cc", "Cf", "Arabic",
    "Cyrillic", "Greek", "Han", "Hangul", "Hebrew", "Hiragana", "Katakana", "Latin", "Thai",
];

/// Classes in `[:...:]`, the same in both languages.
const POSIX_CLASSES: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// States a class of some ranges, and one of a Unicode class, costs.
const RANGES: usize = 10;
const UNICODE: usize = 400;

/// Writes `c` so that it means itself, in and outside of a class.
pub(super) fn push_char(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        out.push(c);
    } else {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\x{{{:x}}}", u32::from(c));
    }
}

/// Reads a bracketed class whose `[` was taken; says how many states it costs.
pub(super) fn read(rest: &mut &str, out: &mut String) -> Read<usize> {
    out.push('[');
    if take_prefix(rest, "^") {
        out.push('^');
    }
    let mut states = RANGES;
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if posix(rest, out)? {
            continue;
        }
        if let Some(after) = rest.strip_prefix('\\') {
            let mut after = after;
            if let Some(cost) = read_named(&mut after, out)? {
                states += cost;
                *rest = after;
                continue;
            }
        }
        let low = member(rest)?;
        push_char(out, low);
        if rest.starts_with('-') && !rest.starts_with("-]") && rest.len() > 1 {
            take_prefix(rest, "-");
            let high = member(rest)?;
            if high < low {
                return Err("a range of characters is backwards");
            }
            out.push('-');
            push_char(out, high);
        }
    }
    take_prefix(rest, "]");
    out.push(']');
    Ok(states)
}

/// A class such as `\d` or `\pL` whose backslash was taken; none if something else follows.
pub(super) fn read_named(rest: &mut &str, out: &mut String) -> Read<Option<usize>> {
    let class = match rest.chars().next() {
        Some('d') => "[0-9]",
        Some('D') => "[^0-9]",
        Some('s') => "[\\t\\n\\x0c\\r\\x20]",
        Some('S') => "[^\\t\\n\\x0c\\r\\x20]",
        Some('w') => "[0-9A-Za-z_]",
        Some('W') => "[^0-9A-Za-z_]",
        Some('p') => return unicode(rest, out, false).map(Some),
        Some('P') => return unicode(rest, out, true).map(Some),
        Some(_) | None => return Ok(None),
    };
    *rest = rest.get(1..).unwrap_or_default();
    out.push_str(class);
    Ok(Some(RANGES))
}

/// The character an escape stands for; its backslash was taken.
pub(super) fn read_escaped(rest: &mut &str) -> Read<char> {
    const INVALID: &str = "an escape is unknown";
    let c = take(rest).ok_or("it ends with a backslash")?;
    let next_is_octal = rest.starts_with(|c| matches!(c, '0'..='7'));
    match c {
        '0' => octal(rest, c),
        '1'..='7' if next_is_octal => octal(rest, c),
        'x' => hexadecimal(rest),
        'a' => Ok('\x07'),
        'f' => Ok('\x0c'),
        'n' => Ok('\n'),
        'r' => Ok('\r'),
        't' => Ok('\t'),
        'v' => Ok('\x0b'),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
        _ => Err(INVALID),
    }
}

/// One character of a class, escaped or not.
fn member(rest: &mut &str) -> Read<char> {
    match take(rest) {
        Some('\\') => read_escaped(rest),
        Some(c) => Ok(c),
        None => Err("a class is not closed"),
    }
}

/// `[:name:]` or `[:^name:]` inside a class; says whether there was one.
fn posix(rest: &mut &str, out: &mut String) -> Read<bool> {
    let Some((name, after)) = rest.strip_prefix("[:").and_then(|inner| inner.split_once(":]")) else {
        return Ok(false);
    };
    if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
        return Err("a class has an unknown name");
    }
    let _ = write!(out, "[:{name}:]");
    *rest = after;
    Ok(true)
}

/// `\pN`, `\p{Name}`, `\p{^Name}` and the negations with `\P`; the letter p still stands there.
fn unicode(rest: &mut &str, out: &mut String, negated: bool) -> Read<usize> {
    const UNKNOWN: &str = "a Unicode class is unknown";
    let named = rest.get(1..).unwrap_or_default();
    let (name, after) = match named.strip_prefix('{') {
        Some(braced) => braced.split_once('}').ok_or("a Unicode class is not closed")?,
        None => {
            let length = named.chars().next().ok_or(UNKNOWN)?.len_utf8();
            named.split_at_checked(length).ok_or(UNKNOWN)?
        }
    };
    let (name, negated) = match name.strip_prefix('^') {
        Some(name) => (name, !negated),
        None => (name, negated),
    };
    if !UNICODE_CLASSES.contains(&name) {
        return Err(UNKNOWN);
    }
    let _ = write!(out, "\\{}{{{name}}}", if negated { 'P' } else { 'p' });
    *rest = after;
    Ok(UNICODE)
}

/// Up to three octal digits, the first of them taken.
fn octal(rest: &mut &str, first: char) -> Read<char> {
    let mut code = first.to_digit(8).unwrap_or_default();
    for _ in 0..2 {
        let Some(digit) = rest.chars().next().and_then(|c| c.to_digit(8)) else {
            break;
        };
        take(rest);
        code = code * 8 + digit;
    }
    char::from_u32(code).ok_or("an escape is no character")
}

/// `41` or `{10FFFF}` after `\x`.
fn hexadecimal(rest: &mut &str) -> Read<char> {
    const INVALID: &str = "a hexadecimal escape is no character";
    let (digits, after) = match rest.strip_prefix('{') {
        Some(braced) => braced.split_once('}').ok_or(INVALID)?,
        None => rest.split_at_checked(2).ok_or(INVALID)?,
    };
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(INVALID);
    }
    *rest = after;
    u32::from_str_radix(digits, 16)
        .ok()
        .and_then(char::from_u32)
        .ok_or(INVALID)
}

fn take(rest: &mut &str) -> Option<char> {
    let mut chars = rest.chars();
    let c = chars.next();
    *rest = chars.as_str();
    c
}

fn take_prefix(rest: &mut &str, prefix: &str) -> bool {
    let after = rest.strip_prefix(prefix);
    *rest = after.unwrap_or(rest);
    after.is_some()
}
