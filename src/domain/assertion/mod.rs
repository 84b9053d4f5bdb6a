//! Assertions: the signed documents of the field (shared contract: assertions.md).

pub mod database;
mod decode;
mod encode;
mod envelope;
mod grammar;
mod headers;
mod json;
mod packet;
mod public_key;
mod registry;
mod signature;
mod statement;
mod stream;
pub mod types;
mod yaml;

pub use decode::{Assertion, DecodeError, Part, decode, decode_bytes};
pub use encode::{append_header, encode_stream};
pub use envelope::{Envelope, PrimaryKey, Ref};
pub use grammar::{GrammarError, is_header_name, parse_headers};
pub use headers::{HeaderError, Headers, Value};
pub use packet::PacketError;
pub use public_key::{MAX_BITS, MIN_BITS, PublicKey, PublicKeyError};
pub use registry::{AssertionType, TYPES, TypeInfo, UnknownType};
pub use signature::{SignatureBlock, SignatureError, SignatureInfo, SignatureWriter};
pub use statement::{Draft, Statement, StatementError};
pub use stream::{Limits, StreamDecoder};
pub use types::Typed;
