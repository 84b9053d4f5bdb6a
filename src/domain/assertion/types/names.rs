//! The name patterns of assertions.md 3, as predicates. They say what devices accept on the wire; the identifiers
//! hallmark itself hands out (`domain::ident`) are at least as strict.

/// ACC: an account id.
pub fn is_account_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    (bytes.len() == 32 && bytes.iter().all(u8::is_ascii_alphanumeric))
        || ((2..=28).contains(&bytes.len()) && bytes.iter().all(|b| lower_or_digit(*b) || *b == b'-'))
}

/// KEYNAME: the name of an account key; at least one letter.
pub fn is_account_key_name(text: &str) -> bool {
    dashed(text, lower_or_digit) && text.bytes().any(|b| b.is_ascii_lowercase())
}

/// MODEL: the name of a model.
pub fn is_model(text: &str) -> bool {
    dashed(text, lower_or_digit)
}

/// SNAP: the name of a snap, a component or another snap resource.
pub fn is_snap(text: &str) -> bool {
    (2..=40).contains(&text.len())
        && dashed(text, lower_or_digit)
        && text.bytes().any(|b| b.is_ascii_lowercase())
}

/// INSTANCE: a snap name, perhaps with an instance key.
pub fn is_instance(text: &str) -> bool {
    match text.split_once('_') {
        None => is_snap(text),
        Some((snap, key)) => {
            is_snap(snap) && (1..=10).contains(&key.len()) && key.bytes().all(lower_or_digit)
        }
    }
}

/// SNAPID: a snap id.
pub fn is_snap_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// PROV: a provenance. Hardware names and the model part of a device id follow the same pattern.
pub fn is_provenance(text: &str) -> bool {
    dashed(text, |b| b.is_ascii_alphanumeric())
}

/// APP: the name of an application of a snap.
pub fn is_app(text: &str) -> bool {
    is_provenance(text)
}

/// ALIAS: the name of a command alias.
pub fn is_alias(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// VSNAME: the name of a validation set.
pub fn is_validation_set_name(text: &str) -> bool {
    dashed(text, lower_or_digit)
}

/// LABEL: the label of a seed system.
pub fn is_system_label(text: &str) -> bool {
    dashed(text, lower_or_digit)
}

/// MODE: a mode a snap of a model is there in.
pub fn is_mode(text: &str) -> bool {
    text.len() >= 2 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && !text.starts_with('-')
}

/// STOREID, as `on-store` constraints have it.
pub fn is_store_id(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// USERNAME: the login of a system user.
pub fn is_username(text: &str) -> bool {
    text.bytes().next().is_some_and(lower_or_digit)
        && text
            .bytes()
            .all(|b| lower_or_digit(b) || matches!(b, b'-' | b'.' | b'_'))
}

/// SERIALSTRICT: the serial part of a device id in messages, clusters and confdb-control.
pub fn is_strict_serial(text: &str) -> bool {
    let separator = |c: char| matches!(c, ':' | '+' | '-');
    !text.is_empty()
        && text
            .split(separator)
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The name of a confdb or of one of its views.
pub fn is_confdb_name(text: &str) -> bool {
    dashed(text, lower_or_digit) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// CHANNEL: a channel name as written, not normalised.
pub fn is_channel(text: &str) -> bool {
    channel_track(text).is_some()
}

/// The track of a channel: `Some(None)` where the channel names none (`stable`, `edge/fix`), `None` if it is no
/// channel at all.
pub fn channel_track(text: &str) -> Option<Option<&str>> {
    let parts: Vec<&str> = text.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    match parts.as_slice() {
        [only] if is_risk(only) => Some(None),
        [track] => Some(Some(track)),
        [risk, _branch] if is_risk(risk) => Some(None),
        [track, risk] | [track, risk, _] if is_risk(risk) => Some(Some(track)),
        _ => None,
    }
}

/// A risk level of a channel.
pub fn is_risk(text: &str) -> bool {
    matches!(text, "stable" | "candidate" | "beta" | "edge")
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Words of `word` bytes joined by single dashes, none at either end.
fn dashed(text: &str, word: fn(u8) -> bool) -> bool {
    text.split('-')
        .all(|part| !part.is_empty() && part.bytes().all(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_may_lack_a_track_but_no_part_of_it_is_empty() {
        assert_eq!(channel_track("stable"), Some(None));
        assert_eq!(channel_track("edge/fix"), Some(None));
        assert_eq!(channel_track("22"), Some(Some("22")));
        assert_eq!(channel_track("22/edge/fix"), Some(Some("22")));
        for bad in [
            "",
            "/",
            "22/",
            "/edge",
            "22/foo",
            "22/edge/",
            "a/b/c",
            "22/edge/x/y",
        ] {
            assert_eq!(channel_track(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_the_vectors_do_not_cover() {
        for good in ["run", "a-", "ephemeral", "ab"] {
            assert!(is_mode(good), "{good:?}");
        }
        for bad in ["", "a", "-a", "Run", "run1"] {
            assert!(!is_mode(bad), "{bad:?}");
        }
        for good in ["SN-1", "a:b+c-d", "1"] {
            assert!(is_strict_serial(good), "{good:?}");
        }
        for bad in ["", "SN 1", "-a", "a-", "a--b", "a:+b", "é"] {
            assert!(!is_strict_serial(bad), "{bad:?}");
        }
        assert!(is_username("j.o-e_1") && !is_username(".joe") && !is_username("jo+x"));
    }
}
