//! Time and randomness.

use crate::domain::time::Timestamp;

/// The wall clock.
pub trait Clock: std::fmt::Debug + Send + Sync {
    /// Now, whole seconds.
    fn now(&self) -> Timestamp;
}

/// The operating system's random source.
pub trait Entropy: std::fmt::Debug + Send + Sync {
    /// Fills `buffer` with random bytes.
    fn fill(&self, buffer: &mut [u8]);
}
