//! Judges a stream of assertions against a trusted set, without any storage: `hallmark assertion verify`.

use bytes::Bytes;

use super::Refusal;
use crate::domain::assertion::database::{AddError, CheckError, Database, MemoryBackstore};
use crate::domain::assertion::{Assertion, AssertionType, DecodeError, StreamDecoder};
use crate::domain::time::Timestamp;

/// What was found out about one assertion of the stream.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// Its type; none if not even that could be read.
    pub kind: Option<AssertionType>,
    /// The headers of its primary key with their values; empty if it could not be decoded.
    pub primary_key: Vec<(&'static str, String)>,
    /// Why it is refused, if it is.
    pub refused: Option<Objection>,
}

/// Why an assertion is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Which step refused it.
    pub stage: Stage,
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// The steps of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading its text.
    Decode,
    /// Its signature, the key behind it, and what it refers to.
    Check,
}

impl Stage {
    /// Its name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Check => "check",
        }
    }
}

/// What assertions are checked against.
#[derive(Clone, Debug)]
pub struct Known {
    database: Database<MemoryBackstore>,
    now: Timestamp,
}

impl Known {
    /// Nothing is known but the `trusted` accounts and account-keys, which are believed as they are.
    pub fn new(trusted: Vec<Assertion>, now: Timestamp) -> Result<Self, Refusal> {
        let database = Database::new(trusted, [], MemoryBackstore::default()).map_err(|wrong| {
            Refusal::invalid("wrong-trusted", format!("cannot use the trusted set: {wrong}"))
        })?;
        Ok(Self { database, now })
    }

    /// Adds an assertion after checking it. One that is there already, in this or a newer revision, is left out.
    pub fn add(&mut self, assertion: Assertion) -> Result<(), AddError> {
        match self.database.add(assertion, self.now) {
            Ok(_) | Err(AddError::Predefined(_) | AddError::Revision { .. }) => Ok(()),
            Err(
                error @ (AddError::NotStorable(_) | AddError::Check(_) | AddError::UnsupportedFormat { .. }),
            ) => Err(error),
        }
    }
}

/// Decodes a stream of assertions. The first error ends it.
pub fn decode_all(stream: Bytes) -> Result<Vec<Assertion>, DecodeError> {
    StreamDecoder::new(stream).collect()
}

/// Judges every assertion of `stream`, in order; one that cannot be decoded ends it. With `known` none, decoding is
/// all that is asked.
///
/// Like a device that takes the stream in as one batch, assertions of the stream that hold are known to the others.
pub fn verify(stream: Bytes, known: Option<Known>) -> Vec<Judgement> {
    let mut decoded = Vec::new();
    let mut failed = None;
    for result in StreamDecoder::new(stream) {
        match result {
            Ok(assertion) => decoded.push(assertion),
            Err(error) => failed = Some(error),
        }
    }
    let refusals = match known {
        Some(known) => check_all(&decoded, known),
        None => vec![None; decoded.len()],
    };
    let judged = decoded
        .iter()
        .zip(refusals)
        .map(|(assertion, refusal)| Judgement {
            kind: Some(assertion.kind()),
            primary_key: named_key(assertion),
            refused: refusal.map(|error| Objection {
                stage: Stage::Check,
                code: error.code(),
                message: error.to_string(),
            }),
        });
    let undecodable = failed.map(|error| Judgement {
        kind: error.kind(),
        primary_key: Vec::new(),
        refused: Some(Objection {
            stage: Stage::Decode,
            code: error.code(),
            message: error.to_string(),
        }),
    });
    judged.chain(undecodable).collect()
}

/// The refusal of each assertion, none where it holds. What holds is added, and what was refused is tried again as
/// long as that adds anything new.
fn check_all(assertions: &[Assertion], mut known: Known) -> Vec<Option<CheckError>> {
    let mut refusals: Vec<Option<CheckError>> = Vec::new();
    let mut news = false;
    for assertion in assertions {
        let result = known.database.check(assertion, known.now);
        if result.is_ok() {
            news |= known.database.add(assertion.clone(), known.now).is_ok();
        }
        refusals.push(result.err());
    }
    while news {
        news = false;
        for (assertion, refusal) in assertions.iter().zip(&mut refusals) {
            if !refusal.as_ref().is_some_and(may_pass_later) {
                continue;
            }
            *refusal = known.database.check(assertion, known.now).err();
            if refusal.is_none() {
                news |= known.database.add(assertion.clone(), known.now).is_ok();
            }
        }
    }
    refusals
}

/// Whether knowing more assertions could make the refusal go away.
fn may_pass_later(error: &CheckError) -> bool {
    match error {
        CheckError::KeyUnknown { .. }
        | CheckError::DeviceUnknown(_)
        | CheckError::Missing { .. }
        | CheckError::NotAuthorized { .. } => true,
        CheckError::UnsupportedFormat { .. }
        | CheckError::KeyOfOther { .. }
        | CheckError::KeyNotValid { .. }
        | CheckError::KeyConstraints { .. }
        | CheckError::NotCheckable(_)
        | CheckError::OtherDeviceKey(_)
        | CheckError::Signature(_)
        | CheckError::TimestampOutsideKey { .. }
        | CheckError::NotByRoot { .. }
        | CheckError::KeyNameTaken { .. } => false,
    }
}

fn named_key(assertion: &Assertion) -> Vec<(&'static str, String)> {
    let names = assertion.kind().info().primary_key.iter();
    names
        .copied()
        .zip(assertion.primary_key().0.iter().cloned())
        .collect()
}
