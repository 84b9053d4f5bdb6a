//! SubjectPublicKeyInfo (RFC 5280 4.1), as far as needed to tell what kind of public key a DER text is and that it is
//! whole.

/// The kind of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the variants are the names of the algorithms and curves"
)]
pub enum KeyKind {
    Rsa,
    EcdsaP224,
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    Ed25519,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The curves: object id, kind, bytes of a coordinate.
const CURVES: &[(&[u8], KeyKind, usize)] = &[
    (&[0x2b, 0x81, 0x04, 0x00, 0x21], KeyKind::EcdsaP224, 28),
    (
        &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        KeyKind::EcdsaP256,
        32,
    ),
    (&[0x2b, 0x81, 0x04, 0x00, 0x22], KeyKind::EcdsaP384, 48),
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], KeyKind::EcdsaP521, 66),
];

/// The kind of key `der` holds; none if it is no whole key of a known kind.
pub(super) fn key_kind(der: &[u8]) -> Option<KeyKind> {
    let info = only(der, SEQUENCE)?;
    let (algorithm, info) = element(info, SEQUENCE)?;
    let bits = only(info, BIT_STRING)?;
    let (unused, key) = bits.split_first()?;
    let (oid, parameters) = element(algorithm, OID)?;
    let known = match oid {
        RSA => (only(parameters, NULL)?.is_empty() && is_rsa(key)).then_some(KeyKind::Rsa),
        EC => {
            let curve = only(parameters, OID)?;
            let (_, kind, size) = CURVES.iter().find(|(oid, ..)| *oid == curve)?;
            (key.len() == 1 + 2 * size && key.first() == Some(&4)).then_some(*kind)
        }
        ED25519 => (parameters.is_empty() && key.len() == 32).then_some(KeyKind::Ed25519),
        _ => None,
    };
    known.filter(|_| *unused == 0)
}

fn is_rsa(key: &[u8]) -> bool {
    let integers = || {
        let (modulus, rest) = element(only(key, SEQUENCE)?, INTEGER)?;
        Some([modulus, only(rest, INTEGER)?])
    };
    let positive = |integer: &[u8]| {
        integer.first().is_some_and(|byte| byte & 0x80 == 0) && integer.iter().any(|b| *b != 0)
    };
    integers().is_some_and(|both| both.into_iter().all(positive))
}

/// The content of the element `tag` that fills `der` to its end.
fn only(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (content, rest) = element(der, tag)?;
    rest.is_empty().then_some(content)
}

/// The content of the element `tag` at the start of `der`, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, der) = der.split_first()?;
    let (length, der) = der.split_first()?;
    let (length, der) = match *length {
        short @ 0..0x80 => (usize::from(short), der),
        long => {
            let (bytes, der) = der.split_at_checked(usize::from(long & 0x7f))?;
            let length = bytes.iter().try_fold(0usize, |sum, byte| {
                Some(sum.checked_mul(256)? + usize::from(*byte))
            })?;
            let shortest = bytes.first().is_some_and(|byte| *byte != 0) && length >= 0x80;
            (shortest.then_some(length)?, der)
        }
    };
    if *found == tag {
        der.split_at_checked(length)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_that_is_cut_or_has_something_after_it_is_none() {
        let mut key = vec![
            0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
        ];
        key.extend([7; 32]);
        assert_eq!(key_kind(&key), Some(KeyKind::Ed25519));
        for end in 0..key.len() {
            assert_eq!(key_kind(&key[..end]), None, "{end}");
        }
        key.push(0);
        assert_eq!(key_kind(&key), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(der in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = key_kind(&der);
        }
    }
}
