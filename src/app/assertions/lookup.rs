//! Looking one assertion up as devices name it (assertions.md 4.6, device-api.md 6).

use bytes::Bytes;

use crate::app::{App, Refusal};
use crate::domain::assertion::{AssertionType, PrimaryKey, Ref};
use crate::domain::ident::{BrandId, DeviceId};

/// Which member of a sequence is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// The one with the largest number.
    Latest,
    /// The one with this number.
    Number(u64),
}

/// An assertion as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// By its whole primary key.
    Exact(Ref),
    /// The newest member of a sequence, by its primary key without the number.
    Latest(AssertionType, PrimaryKey),
}

/// Why the parts do not name an assertion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No type has this name, or none of its assertions is kept under a key.
    #[error("cannot find assertions of type {0:?}: there is no such type")]
    UnknownType(String),
    /// The key has another number of parts.
    #[error("cannot find {kind} assertions with {given} key parts: {}", kind.info().primary_key.join(", "))]
    KeyParts {
        /// The type.
        kind: AssertionType,
        /// How many parts came.
        given: usize,
    },
    /// A sequence number that is not one.
    #[error("cannot find the {kind} assertion: {given:?} is not a sequence number")]
    SequenceNumber {
        /// The type.
        kind: AssertionType,
        /// What came.
        given: String,
    },
}

impl Sequence {
    /// `latest` or a number from 1 on.
    pub fn parse(kind: AssertionType, text: &str) -> Result<Self, LookupError> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        // Only the canonical spelling names the assertion: it is kept under its text.
        let number = text
            .parse::<u64>()
            .ok()
            .filter(|number| *number > 0 && number.to_string() == text);
        number
            .map(Self::Number)
            .ok_or_else(|| LookupError::SequenceNumber {
                kind,
                given: text.chars().take(32).collect(),
            })
    }
}

impl Lookup {
    /// From a type and key parts as they stand in a path; `sequence` from the query. A trailing optional part may be
    /// left out. The number of a sequence stands either in the path (`snap known --remote`) or in the query (devices);
    /// without any, the newest member is meant. In the path it wins.
    pub fn parse(kind: &str, parts: &[String], sequence: Option<&str>) -> Result<Self, LookupError> {
        let kind: AssertionType = kind
            .parse()
            .map_err(|_| LookupError::UnknownType(kind.chars().take(64).collect()))?;
        let info = kind.info();
        let whole = info.primary_key.len();
        if whole == 0 {
            return Err(LookupError::UnknownType(info.name.to_owned()));
        }
        let mut key = parts.to_vec();
        if info.sequence {
            if key.len() + 1 == whole {
                match Sequence::parse(kind, sequence.unwrap_or("latest"))? {
                    Sequence::Latest => return Ok(Self::Latest(kind, PrimaryKey(key))),
                    Sequence::Number(number) => key.push(number.to_string()),
                }
            } else if let (true, Some(last)) = (key.len() == whole, key.last())
                && Sequence::parse(kind, last)? == Sequence::Latest
            {
                key.pop();
                return Ok(Self::Latest(kind, PrimaryKey(key)));
            }
        }
        let missing = whole
            .checked_sub(key.len())
            .filter(|missing| *missing <= info.optional.len());
        let Some(missing) = missing else {
            return Err(LookupError::KeyParts {
                kind,
                given: parts.len(),
            });
        };
        let defaults = info.optional.iter().rev().take(missing).rev();
        key.extend(defaults.map(|(_, default)| (*default).to_owned()));
        Ok(Self::Exact(Ref {
            kind,
            key: PrimaryKey(key),
        }))
    }

    /// The type asked for.
    pub fn kind(&self) -> AssertionType {
        match self {
            Self::Exact(reference) => reference.kind,
            Self::Latest(kind, _) => *kind,
        }
    }
}

/// The newest revision with a format of at most `max_format` (none: any format we know), as it was received.
pub async fn find(app: &App, lookup: &Lookup, max_format: Option<u32>) -> Result<Option<Bytes>, Refusal> {
    let max_format = max_format.unwrap_or(u32::MAX);
    let found = match lookup {
        Lookup::Exact(Ref {
            kind: AssertionType::Serial,
            key,
        }) => return serial(app, key).await,
        Lookup::Exact(reference) => app.storage.assertion(reference, max_format).await?,
        Lookup::Latest(kind, key) => app.storage.sequence_member(*kind, key, None, max_format).await?,
    };
    Ok(found.map(|stored| stored.encoded))
}

/// Serials are kept by the ledger; the newest one issued to the device counts.
pub(super) async fn serial(app: &App, key: &PrimaryKey) -> Result<Option<Bytes>, Refusal> {
    let [brand, model, serial] = key.0.as_slice() else {
        return Ok(None);
    };
    // A name the ledger does not take cannot be in it.
    let (Ok(brand), Ok(model), Ok(serial)) = (brand.parse::<BrandId>(), model.parse(), serial.parse()) else {
        return Ok(None);
    };
    let row = app.storage.latest(&DeviceId { brand, model, serial }).await?;
    Ok(row.map(|row| row.assertion))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str, sequence: Option<&str>) -> Result<String, LookupError> {
        let mut parts = path.split('/').map(str::to_owned);
        let kind = parts.next().unwrap_or_default();
        Lookup::parse(&kind, &parts.collect::<Vec<_>>(), sequence).map(|lookup| match lookup {
            Lookup::Exact(reference) => reference.to_string(),
            Lookup::Latest(kind, key) => format!("newest {kind} ({})", key.0.join("/")),
        })
    }

    #[test]
    fn all_forms_of_a_name_are_understood() {
        for (path, sequence, expected) in [
            ("account/acme", None, "account (acme)"),
            ("model/16/acme/gate", None, "model (16/acme/gate)"),
            ("snap-revision/abc", None, "snap-revision (abc/global-upload)"),
            ("snap-revision/abc/own", None, "snap-revision (abc/own)"),
            (
                "snap-resource-pair/id/res/1/2",
                None,
                "snap-resource-pair (id/res/1/2/global-upload)",
            ),
            (
                "validation-set/16/acme/base",
                None,
                "newest validation-set (16/acme/base)",
            ),
            (
                "validation-set/16/acme/base",
                Some("latest"),
                "newest validation-set (16/acme/base)",
            ),
            (
                "validation-set/16/acme/base",
                Some("3"),
                "validation-set (16/acme/base/3)",
            ),
            (
                "validation-set/16/acme/base/3",
                None,
                "validation-set (16/acme/base/3)",
            ),
            (
                "validation-set/16/acme/base/latest",
                None,
                "newest validation-set (16/acme/base)",
            ),
        ] {
            assert_eq!(
                parse(path, sequence).as_deref(),
                Ok(expected),
                "{path} {sequence:?}"
            );
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for (path, sequence) in [
            ("serial-request/x", None),
            ("banana/x", None),
            ("account/a/b", None),
            ("model/16/acme", None),
            ("snap-revision/a/b/c", None),
            ("validation-set/16/acme", None),
            ("validation-set/16/acme/base/03", None),
            ("validation-set/16/acme/base/0", None),
            ("validation-set/16/acme/base", Some("-1")),
            ("validation-set/16/acme/base", Some("first")),
        ] {
            assert!(parse(path, sequence).is_err(), "{path} {sequence:?}");
        }
    }
}
