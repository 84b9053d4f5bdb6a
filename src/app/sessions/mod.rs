//! Device sessions (device-api.md 3): a device proves with its key that it is the one a serial names, and gets a
//! macaroon that says so on its later calls.

mod models;
mod nonce;
mod open;
mod token;

pub use models::Models;
pub use open::{DeviceSessions, SessionError, SessionRequest};
pub use token::{DeviceSession, NoSession, SESSION_LIFE, verify_session};
