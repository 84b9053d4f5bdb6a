//! The one thing of a certificate that nobody else tells: until when it is valid (RFC 5280, 4.1.2.5).

use crate::domain::time::Timestamp;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of validity of a certificate in DER; `None` if it is not one. Nothing else is judged.
pub(super) fn valid_until(certificate: &[u8]) -> Option<Timestamp> {
    let (signed, _) = expect(certificate, SEQUENCE)?;
    let (fields, _) = expect(signed, SEQUENCE)?;
    let (tag, _, after) = element(fields)?;
    // The version is left out in certificates of version 1: then this was the serial number.
    let rest = if tag == VERSION { element(after)?.2 } else { after };
    let (_algorithm, rest) = expect(rest, SEQUENCE)?;
    let (_issuer, rest) = expect(rest, SEQUENCE)?;
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (_, _not_before, rest) = element(validity)?;
    let (tag, not_after, _) = element(rest)?;
    time(tag, std::str::from_utf8(not_after).ok()?)
}

fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let full = match (tag, digits.len()) {
        (UTC_TIME, 12) if digits < "50" => format!("20{digits}"),
        (UTC_TIME, 12) => format!("19{digits}"),
        (GENERALIZED_TIME, 14) => digits.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| full.get(from..to);
    format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    )
    .parse()
    .ok()
}

/// The content of the first element, which must have this tag, and what follows it.
fn expect(data: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(data)?;
    (tag == wanted).then_some((content, rest))
}

/// Tag and content of the first element, and what follows it.
fn element(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = data.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        let length = digits
            .iter()
            .fold(0usize, |sum, digit| (sum << 8) | usize::from(*digit));
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, 0x82, 0, 0];
        out[2..4].copy_from_slice(&u16::try_from(content.len()).unwrap().to_be_bytes());
        out.extend_from_slice(content);
        out
    }

    fn certificate(version: bool, until: Vec<u8>) -> Vec<u8> {
        let version = if version {
            tagged(VERSION, &[2, 1, 2])
        } else {
            Vec::new()
        };
        let validity = [tagged(UTC_TIME, b"200101000000Z"), until].concat();
        let parts = [
            version,
            vec![2, 1, 7],
            tagged(SEQUENCE, &[]),
            tagged(SEQUENCE, &[]),
            tagged(SEQUENCE, &validity),
        ];
        tagged(SEQUENCE, &tagged(SEQUENCE, &parts.concat()))
    }

    #[test]
    fn both_forms_of_time_are_read() {
        for (tag, text, expected) in [
            (UTC_TIME, "270203040506Z", "2027-02-03T04:05:06Z"),
            (UTC_TIME, "990203040506Z", "1999-02-03T04:05:06Z"),
            (GENERALIZED_TIME, "21260203040506Z", "2126-02-03T04:05:06Z"),
        ] {
            for version in [true, false] {
                let der = certificate(version, tagged(tag, text.as_bytes()));
                assert_eq!(valid_until(&der).unwrap().to_string(), expected);
            }
        }
    }

    #[test]
    fn what_is_cut_short_or_something_else_is_no_certificate() {
        let whole = certificate(true, tagged(UTC_TIME, b"270203040506Z"));
        for length in 0..whole.len() {
            assert_eq!(valid_until(&whole[..length]), None, "{length}");
        }
        for (tag, text) in [
            (UTC_TIME, "27020304050Z"),
            (UTC_TIME, "2702030405060"),
            (UTC_TIME, "271303040506Z"),
            (GENERALIZED_TIME, "é2603040506Z"),
            (4, "270203040506Z"),
        ] {
            assert_eq!(
                valid_until(&certificate(true, tagged(tag, text.as_bytes()))),
                None,
                "{text}"
            );
        }
        assert_eq!(valid_until(&[SEQUENCE, 0x85, 1, 1, 1, 1, 1]), None);
    }
}
