//! The patterns of names and short texts in `snap.yaml`, as predicates.

pub(super) use crate::domain::assertion::types::names::{is_app, is_provenance, is_snap};

/// The name of a hook: as in [`is_connection`].
pub fn is_hook(text: &str) -> bool {
    is_connection(text)
}

/// The name of a plug, slot or interface: lower-case words joined by single dashes, beginning with a letter.
pub fn is_connection(text: &str) -> bool {
    text.len() <= 128
        && dashed(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// A version: 1 to 32 of letters, digits and `:.+~-`, a letter or digit first, one or `+` or `~` last.
pub(super) fn is_version(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b":.+~-".contains(&b);
    let bytes = text.as_bytes();
    bytes.len() <= 32
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| inner(*b))
        && bytes
            .last()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b"+~".contains(b))
}

/// A web address, or a mail address with or without `mailto:`. No other scheme: these end up as links on pages.
pub(super) fn is_link(text: &str) -> bool {
    let plain = text.len() <= 2000 && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let web = ["https://", "http://"]
        .iter()
        .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    let mail = text.strip_prefix("mailto:").unwrap_or(text);
    let mail = mail
        .split_once('@')
        .is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !mail.contains([':', '/']));
    plain && (web || mail)
}

/// A number in its shortest form.
pub(super) fn small_number(text: &str) -> Option<u32> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| canonical)
}

/// Words of `word` bytes joined by single dashes, none at either end.
fn dashed(text: &str, word: fn(u8) -> bool) -> bool {
    text.split('-')
        .all(|part| !part.is_empty() && part.bytes().all(word))
}
