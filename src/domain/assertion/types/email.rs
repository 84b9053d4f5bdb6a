//! The e-mail addresses a system-user may have: RFC 5322, either bare (`a@b`) or with a name (`A B <a@b>`), as far as
//! the reference's parser goes without comments and groups.

/// Whether `text` is one address.
pub(super) fn is_address(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t']);
    if is_addr_spec(text) {
        return true;
    }
    let Some(open) = text.rfind('<') else { return false };
    let (name, address) = text.split_at(open);
    address
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'))
        .is_some_and(is_addr_spec)
        && is_phrase(name)
}

fn is_addr_spec(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    (is_dot_atom(local) || is_quoted(local)) && is_dot_atom(domain)
}

/// A display name: words and quoted strings, perhaps none.
fn is_phrase(text: &str) -> bool {
    let mut rest = text.trim_matches([' ', '\t']);
    while !rest.is_empty() {
        rest = if let Some(quoted) = rest.strip_prefix('"') {
            match end_of_quoted(quoted) {
                Some(after) => after,
                None => return false,
            }
        } else {
            let end = rest.find(|c| !is_atom_char(c) && c != '.').unwrap_or(rest.len());
            if end == 0 {
                return false;
            }
            rest.get(end..).unwrap_or_default()
        };
        rest = rest.trim_start_matches([' ', '\t']);
    }
    true
}

fn is_dot_atom(text: &str) -> bool {
    text.split('.')
        .all(|part| !part.is_empty() && part.chars().all(is_atom_char))
}

fn is_quoted(text: &str) -> bool {
    text.strip_prefix('"')
        .and_then(end_of_quoted)
        .is_some_and(str::is_empty)
}

/// What follows a quoted string whose opening quote was taken off.
fn end_of_quoted(text: &str) -> Option<&str> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return text.get(at + 1..),
            '\\' => match chars.next() {
                Some((_, escaped)) if is_visible(escaped) || escaped == ' ' || escaped == '\t' => {}
                Some(_) | None => return None,
            },
            c if is_visible(c) || c == ' ' || c == '\t' => {}
            _ => return None,
        }
    }
    None
}

fn is_atom_char(c: char) -> bool {
    is_visible(c) && !"()<>[]:;@\\,.\"".contains(c)
}

fn is_visible(c: char) -> bool {
    c.is_ascii_graphic() || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_bare_or_with_a_name() {
        for good in [
            "a@b",
            "john.doe+x@example.com",
            "John Doe <j@x.org>",
            "\"Doe, John\" <j@x.org>",
            "<j@x>",
            "\"a b\"@x",
            "jö@x.org",
            " j@x ",
        ] {
            assert!(is_address(good), "{good:?}");
        }
        for bad in [
            "", "j", "@x", "j@", "a..b@x", ".a@x", "a@x.", "a b@x", "J <j@x", "j@x, k@x", "J j@x", "a@b@c",
            "a\n@x",
        ] {
            assert!(!is_address(bad), "{bad:?}");
        }
    }
}
