//! Assertions: the signed documents of the field (shared contract: assertions.md).

mod envelope;
mod headers;
mod registry;

pub use envelope::{Envelope, PrimaryKey, Ref};
pub use headers::{HeaderError, Headers, Value};
pub use registry::{AssertionType, TYPES, TypeInfo, UnknownType};
