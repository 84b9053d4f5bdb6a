//! Typed views of assertions: holding one proves that the checks of its type were made.

use super::envelope::Envelope;
use super::headers::HeaderError;

/// The typed view of an assertion.
#[derive(Clone, Debug)]
pub enum Typed {
    /// Only the checks every assertion gets were made.
    Common,
}

/// Makes the typed view of a decoded assertion, or says which header is wrong.
pub fn assemble(_envelope: &Envelope) -> Result<Typed, HeaderError> {
    Ok(Typed::Common)
}

/// The lowest format iteration that covers the features `envelope` uses (assertions.md 1.4: signing refuses less).
pub fn format_needed(_envelope: &Envelope, typed: &Typed) -> u32 {
    match typed {
        Typed::Common => 0,
    }
}
