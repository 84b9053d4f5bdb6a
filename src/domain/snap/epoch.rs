//! Epochs: which data of earlier revisions a snap can read (device-api.md 1.3, 16.5).

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use smallvec::{SmallVec, smallvec};

/// The numbers of one list. Nearly all have one or two, and devices send a dozen epochs at a time.
type List = SmallVec<[u32; 2]>;

/// The data formats a revision reads and the ones it writes. Both lists have 1 to 10 strictly increasing numbers and
/// at least one number in common. The default is `0`: reads 0, writes 0.
///
/// JSON: written as `{"read":[..],"write":[..]}`; read from that, with one of the lists missing, or from `"N"` and `"N*"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Epoch {
    read: List,
    write: List,
}

/// Why numbers or a text are no epoch. Reads as the end of a sentence about the epoch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// Not of the form `N` or `N*`.
    #[error("must be N, N* (N above 0) or lists of numbers, not {0:?}")]
    Form(String),
    /// A list is there, and empty.
    #[error("has an empty list")]
    Empty,
    /// A list has more than 10 numbers.
    #[error("has a list of more than {} numbers", Epoch::MAX_NUMBERS)]
    TooLong,
    /// A list does not increase.
    #[error("has a list that is not strictly increasing")]
    Order,
    /// No number is in both lists.
    #[error("has no number that is both read and written")]
    Disjoint,
}

impl Default for Epoch {
    fn default() -> Self {
        Self {
            read: smallvec![0],
            write: smallvec![0],
        }
    }
}

impl Epoch {
    /// Most numbers a list may have.
    pub const MAX_NUMBERS: usize = 10;

    /// An epoch of two lists.
    ///
    /// # Errors
    /// If a list is empty, longer than [`Self::MAX_NUMBERS`] or not strictly increasing, or they have nothing in common.
    pub fn new(read: impl Into<List>, write: impl Into<List>) -> Result<Self, EpochError> {
        let (read, write): (List, List) = (read.into(), write.into());
        for list in [&read, &write] {
            if list.is_empty() {
                return Err(EpochError::Empty);
            }
            if list.len() > Self::MAX_NUMBERS {
                return Err(EpochError::TooLong);
            }
            if !list.is_sorted_by(|a, b| a < b) {
                return Err(EpochError::Order);
            }
        }
        if !intersect(&read, &write) {
            return Err(EpochError::Disjoint);
        }
        Ok(Self { read, write })
    }

    /// An epoch as documents have it: a missing list is like the other one, both missing is the default.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_lists(read: Option<List>, write: Option<List>) -> Result<Self, EpochError> {
        match (read, write) {
            (None, None) => Ok(Self::default()),
            (Some(list), None) | (None, Some(list)) => Self::new(list.clone(), list),
            (Some(read), Some(write)) => Self::new(read, write),
        }
    }

    /// The formats it reads, increasing.
    pub fn read(&self) -> &[u32] {
        &self.read
    }

    /// The formats it writes, increasing.
    pub fn write(&self) -> &[u32] {
        &self.write
    }

    /// Whether a device may go from `current` to this one: it reads something that `current` writes.
    pub fn can_read(&self, current: &Epoch) -> bool {
        intersect(&self.read, &current.write)
    }

    /// Whether it is the default, which `snap.yaml` leaves out.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether two increasing lists have a number in common. The lists are short.
fn intersect(a: &[u32], b: &[u32]) -> bool {
    a.iter().any(|number| b.binary_search(number).is_ok())
}

impl FromStr for Epoch {
    type Err = EpochError;

    /// `N`: reads and writes N. `N*`: reads N - 1 too.
    fn from_str(text: &str) -> Result<Self, EpochError> {
        let refused = || EpochError::Form(text.chars().take(64).collect());
        let (digits, star) = match text.strip_suffix('*') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let canonical = digits == "0" || !digits.starts_with('0');
        if !canonical || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused());
        }
        let number: u32 = digits.parse().map_err(|_| refused())?;
        let read = if star {
            smallvec![number.checked_sub(1).ok_or_else(refused)?, number]
        } else {
            List::from([number].as_slice())
        };
        Self::new(read, [number].as_slice())
    }
}

impl fmt::Display for Epoch {
    /// The short form if there is one, else `{"read":[..],"write":[..]}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.read.as_slice(), self.write.as_slice()) {
            ([read], [write]) if read == write => write!(f, "{write}"),
            ([before, read], [write]) if read == write && before.checked_add(1) == Some(*read) => {
                write!(f, "{write}*")
            }
            (read, write) => {
                let read = read.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
                let write = write.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
                write!(f, "{{\"read\":[{read}],\"write\":[{write}]}}")
            }
        }
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EpochVisitor)
    }
}

/// The members of the object.
#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "kebab-case")]
enum Part {
    Read,
    Write,
    #[serde(other)]
    Other,
}

struct EpochVisitor;

impl<'de> Visitor<'de> for EpochVisitor {
    type Value = Epoch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an epoch: \"N\", \"N*\" or an object with the lists read and write")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Epoch, E> {
        text.parse()
            .map_err(|error| E::custom(format_args!("epoch {error}")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Epoch, A::Error> {
        let (mut read, mut write): (Option<List>, Option<List>) = (None, None);
        while let Some(part) = access.next_key()? {
            match part {
                Part::Read => read = access.next_value()?,
                Part::Write => write = access.next_value()?,
                Part::Other => {
                    access.next_value::<serde::de::IgnoredAny>()?;
                }
            }
        }
        Epoch::of_lists(read, write).map_err(|error| A::Error::custom(format_args!("epoch {error}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epoch(read: &[u32], write: &[u32]) -> Epoch {
        Epoch::new(read.to_vec(), write.to_vec()).unwrap()
    }

    #[test]
    fn texts_are_read() {
        for (text, expected) in [
            ("0", epoch(&[0], &[0])),
            ("7", epoch(&[7], &[7])),
            ("1*", epoch(&[0, 1], &[1])),
            (
                "4294967295*",
                epoch(&[4_294_967_294, 4_294_967_295], &[4_294_967_295]),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string(), text);
        }
        for bad in [
            "",
            "*",
            "0*",
            "-1",
            "+1",
            "01",
            "1**",
            "1 *",
            " 1",
            "1.0",
            "4294967296",
            "x",
        ] {
            assert_eq!(
                bad.parse::<Epoch>(),
                Err(EpochError::Form(bad.to_owned())),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn json_is_an_object_or_a_text_but_no_number() {
        for (json, expected) in [
            (r#""1*""#, epoch(&[0, 1], &[1])),
            (r#"{"read":[0,2],"write":[2,3]}"#, epoch(&[0, 2], &[2, 3])),
            (r#"{"read":[5]}"#, epoch(&[5], &[5])),
            (r#"{"write":[6],"x":[{}]}"#, epoch(&[6], &[6])),
            (r#"{"read":null,"write":null}"#, Epoch::default()),
            ("{}", Epoch::default()),
        ] {
            assert_eq!(serde_json::from_str::<Epoch>(json).unwrap(), expected, "{json}");
        }
        assert_eq!(serde_json::from_str::<Option<Epoch>>("null").unwrap(), None);
        for bad in [
            "0",
            "null",
            "[]",
            "true",
            r#"{"read":[]}"#,
            r#"{"read":[0],"write":[]}"#,
            r#"{"read":[1,1]}"#,
            r#"{"read":[2,1]}"#,
            r#"{"read":[0],"write":[1]}"#,
            r#"{"read":[-1]}"#,
            r#"{"read":[4294967296]}"#,
            r#"{"read":[0,1,2,3,4,5,6,7,8,9,10]}"#,
            r#"{"read":0}"#,
            r#""0*""#,
        ] {
            assert!(serde_json::from_str::<Epoch>(bad).is_err(), "{bad}");
        }
        assert_eq!(
            serde_json::to_string(&epoch(&[0, 1], &[1])).unwrap(),
            r#"{"read":[0,1],"write":[1]}"#
        );
    }

    #[test]
    fn a_device_steps_through_the_epochs() {
        let (zero, one_star, one) = (epoch(&[0], &[0]), epoch(&[0, 1], &[1]), epoch(&[1], &[1]));
        assert!(one_star.can_read(&zero));
        assert!(!one.can_read(&zero));
        assert!(one.can_read(&one_star));
        assert!(!zero.can_read(&one_star));
    }

    fn list() -> impl Strategy<Value = Vec<u32>> {
        prop::collection::btree_set(0..20_u32, 0..13).prop_map(|set| set.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_is_accepted_keeps_the_rules_and_its_form(read in list(), write in list(), other in list()) {
            let common = read.iter().any(|number| write.contains(number));
            let sizes = [read.len(), write.len()].iter().all(|len| (1..=10).contains(len));
            let made = Epoch::new(read.clone(), write.clone());
            prop_assert_eq!(made.is_ok(), common && sizes);
            if let Ok(made) = made {
                let json = serde_json::to_string(&made).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Epoch>(&json).unwrap(), &made);
                prop_assert!(made.can_read(&made));
                if let Ok(current) = Epoch::new(other.clone(), other.clone()) {
                    prop_assert_eq!(made.can_read(&current), read.iter().any(|number| other.contains(number)));
                }
                let text = made.to_string();
                let again = text.parse::<Epoch>().ok().or_else(|| serde_json::from_str(&text).ok());
                prop_assert_eq!(again, Some(made));
            }
        }

        #[test]
        fn an_unordered_list_is_refused(list in prop::collection::vec(0..20_u32, 2..9)) {
            let increasing = list.is_sorted_by(|a, b| a < b);
            prop_assert_eq!(Epoch::new(list.clone(), list).is_ok(), increasing);
        }
    }
}
