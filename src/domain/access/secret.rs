//! API tokens as text: `hmk_`, 40 random letters and digits, 6 of checksum. The fixed prefix and the checksum
//! let leak scanners find them and let us refuse mistyped ones without a look-up.

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use crate::domain::audit::hex;

const PREFIX: &str = "hmk_";
const RANDOM: usize = 40;
const CHECKSUM: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token in the clear. It is shown once and never kept; [`TokenText::hash`] is.
#[derive(Clone)]
pub struct TokenText(Zeroizing<String>);

impl std::fmt::Debug for TokenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenText(…)")
    }
}

impl TokenText {
    /// A token from random bytes (238 bits are used); `refill` is asked for more until there are enough.
    pub fn generate(refill: impl FnMut(&mut [u8])) -> Self {
        Self(compose(PREFIX, refill))
    }

    /// Reads a presented token; none if it cannot be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        recognise(PREFIX, text).map(Self)
    }

    /// SHA-256, lower-case hex: what is stored and looked up. The text has 238 random bits, so no salt is needed.
    pub fn hash(&self) -> String {
        hex(digest::digest(&digest::SHA256, self.0.as_bytes()).as_ref())
    }

    /// The text, to hand it to its owner once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A text that is made and kept like a token, and good once.
macro_rules! good_once {
    ($(#[doc = $doc:literal])* $name:ident, $prefix:literal) => {
        $(#[doc = $doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<String>);

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        impl $name {
            /// One from random bytes.
            pub fn generate(refill: impl FnMut(&mut [u8])) -> Self {
                Self(compose($prefix, refill))
            }

            /// Reads a presented one; none if it cannot be one of ours.
            pub fn parse(text: &str) -> Option<Self> {
                recognise($prefix, text.trim()).map(Self)
            }

            /// SHA-256, lower-case hex: what is stored and looked up.
            pub fn hash(&self) -> String {
                hex(digest::digest(&digest::SHA256, self.0.as_bytes()).as_ref())
            }

            /// The text, to hand it on once.
            pub fn reveal(&self) -> &str {
                &self.0
            }
        }
    };
}

good_once! {
    /// The text that accepts an invite, `hmi_…`.
    InviteText, "hmi_"
}

good_once! {
    /// The text in a link that sets a new password, `hmr_…`.
    ResetText, "hmr_"
}

fn compose(prefix: &str, mut refill: impl FnMut(&mut [u8])) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + RANDOM + CHECKSUM));
    text.push_str(prefix);
    text.push_str(&random_letters(RANDOM, &mut refill));
    let checksum = checksum(text.as_bytes());
    text.push_str(&checksum);
    text
}

fn recognise(prefix: &str, text: &str) -> Option<Zeroizing<String>> {
    let body = text.strip_prefix(prefix)?;
    if body.len() != RANDOM + CHECKSUM || !body.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let (signed, sum) = text.split_at_checked(prefix.len() + RANDOM)?;
    (checksum(signed.as_bytes()) == sum).then(|| Zeroizing::new(text.to_owned()))
}

/// `count` letters and digits, each equally likely; `refill` fills buffers with random bytes.
pub fn random_letters(count: usize, mut refill: impl FnMut(&mut [u8])) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(count));
    let mut buffer = Zeroizing::new([0u8; 64]);
    while text.len() < count {
        refill(buffer.as_mut());
        // 248 = 4 * 62: larger values would make the first letters likelier.
        let letters = buffer.iter().filter(|byte| **byte < 248);
        for letter in letters.filter_map(|byte| ALPHABET.get(usize::from(byte % 62))) {
            if text.len() < count {
                text.push(char::from(*letter));
            }
        }
    }
    text
}

fn checksum(bytes: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, bytes);
    let mut number = hash
        .as_ref()
        .iter()
        .take(8)
        .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let mut text = String::with_capacity(CHECKSUM);
    for _ in 0..CHECKSUM {
        let index = usize::try_from(number % 62).unwrap_or_default();
        text.extend(ALPHABET.get(index).map(|letter| char::from(*letter)));
        number /= 62;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> impl FnMut(&mut [u8]) {
        let mut next = 0u8;
        move |buffer| {
            for byte in buffer {
                *byte = next;
                next = next.wrapping_add(7);
            }
        }
    }

    #[test]
    fn a_token_reads_back_and_every_changed_letter_is_noticed() {
        let token = TokenText::generate(counter());
        assert_eq!(token.reveal().len(), 50);
        assert_eq!(TokenText::parse(token.reveal()).unwrap().hash(), token.hash());
        for place in 0..50 {
            let mut changed = token.reveal().to_owned().into_bytes();
            changed[place] = if changed[place] == b'x' { b'y' } else { b'x' };
            assert!(
                TokenText::parse(std::str::from_utf8(&changed).unwrap()).is_none(),
                "{place}"
            );
        }
        for bad in [
            "",
            "hmk_",
            "hmk_é",
            &format!("{} ", token.reveal()),
            &token.reveal()[..49],
        ] {
            assert!(TokenText::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn texts_that_are_good_once_are_of_their_own_kind() {
        let (invite, reset) = (InviteText::generate(counter()), ResetText::generate(counter()));
        assert!(InviteText::parse(&format!(" {}\n", invite.reveal())).is_some());
        assert_eq!(ResetText::parse(reset.reveal()).unwrap().hash(), reset.hash());
        assert!(ResetText::parse(invite.reveal()).is_none() && InviteText::parse(reset.reveal()).is_none());
        assert!(ResetText::parse(&reset.reveal().replace("hmr_", "hmi_")).is_none());
        assert!(!format!("{reset:?}").contains(&reset.reveal()[4..]));
    }

    #[test]
    fn a_token_is_not_printed_by_debug() {
        let token = TokenText::generate(counter());
        assert!(!format!("{token:?}").contains(&token.reveal()[4..]));
    }

    #[test]
    fn random_letters_skips_biased_bytes() {
        let mut calls = 0;
        let text = random_letters(3, |buffer| {
            buffer.fill(if calls == 0 { 255 } else { 61 });
            calls += 1;
        });
        assert_eq!((text.as_str(), calls), ("zzz", 2));
    }
}
