//! The operating system's clock and random source.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::domain::time::Timestamp;
use crate::ports::{Clock, Entropy};

/// The wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock everybody else asks")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 is as good as 1970: nothing is valid then either way.
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Timestamp::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}

/// The crypto library's generator, seeded by the operating system.
#[derive(Clone, Debug, Default)]
pub struct SystemEntropy(SystemRandom);

impl Entropy for SystemEntropy {
    #[expect(
        clippy::expect_used,
        reason = "without random bytes nothing here may go on; aws-lc aborts itself too"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        self.0
            .fill(buffer)
            .expect("the operating system gives random bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_and_bytes_are_random() {
        assert!(SystemClock.now().unix() > 1_700_000_000);
        let (mut one, mut two) = ([0; 32], [0; 32]);
        SystemEntropy::default().fill(&mut one);
        SystemEntropy::default().fill(&mut two);
        assert_ne!(one, two);
    }
}
