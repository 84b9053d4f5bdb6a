//! The variables of a path.

use percent_encoding::percent_decode_str;

/// The variables of `path`, decoded, where it fits `template`: `{name}` takes one segment. A final slash does not count.
pub(super) fn variables(template: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut found = Vec::new();
    let mut segments = path.split('/');
    for part in template.split('/') {
        let segment = segments.next()?;
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(_) if segment.is_empty() => return None,
            Some(name) => {
                let text = percent_decode_str(segment).decode_utf8().ok()?;
                found.push((name, text.into_owned()));
            }
            None if part == segment => {}
            None => return None,
        }
    }
    segments.next().is_none().then_some(found)
}
