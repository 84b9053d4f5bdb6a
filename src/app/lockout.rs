//! Slowing down guesses: failures are counted per (credential, peer) pair and nothing else, so one bad device
//! or person never stops others behind the same address (decisions.md 18).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;

use crate::domain::time::Timestamp;

/// Failures of one pair within [`WINDOW`] that lock it.
pub const MAX_FAILURES: u32 = 10;
/// How long failures are remembered after the last one, and so how long a locked pair stays locked, in seconds.
pub const WINDOW: i64 = 900;
/// Pairs that are remembered at most (about 100 bytes each). When full, the oldest that are not locked go first.
pub const MAX_PAIRS: usize = 20_000;

/// The network an address belongs to: of IPv6 the first 48 bits. Whoever has a line or a server gets up to that many
/// networks of 64 bits to themselves, so these are no bound; others on the same 48 bits share, as behind one IPv4 address.
pub fn network(peer: Option<IpAddr>) -> String {
    match peer.map(|peer| peer.to_canonical()) {
        None => "local".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => {
            let [a, b, c, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}")
        }
    }
}

/// Counts failures. In memory only: a restart forgives.
#[derive(Debug, Default)]
pub struct Lockout {
    pairs: Mutex<HashMap<Pair, Failures>>,
}

/// A credential (by digest) and the address it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pair {
    credential: [u8; 16],
    peer: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: i64,
}

impl Lockout {
    /// Seconds until the pair may try again; none if it may now. Ask before checking the credential.
    pub fn locked_for(&self, credential: &str, peer: Option<IpAddr>, now: Timestamp) -> Option<i64> {
        let pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = pairs.get(&Pair::new(credential, peer))?;
        let left = failures.last.saturating_add(WINDOW).saturating_sub(now.unix());
        (failures.count >= MAX_FAILURES && left > 0).then_some(left.min(WINDOW))
    }

    /// Counts one failure; true if it is the one that locks the pair.
    pub fn failed(&self, credential: &str, peer: Option<IpAddr>, now: Timestamp) -> bool {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = Pair::new(credential, peer);
        if pairs.len() >= MAX_PAIRS && !pairs.contains_key(&pair) {
            make_room(&mut pairs, now.unix());
        }
        let failures = pairs.entry(pair).or_insert(Failures {
            count: 0,
            last: now.unix(),
        });
        if now.unix().saturating_sub(failures.last) > WINDOW {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now.unix();
        failures.count == MAX_FAILURES
    }

    /// Forgets the failures of a pair whose credential turned out right.
    pub fn succeeded(&self, credential: &str, peer: Option<IpAddr>) {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.remove(&Pair::new(credential, peer));
    }
}

impl Pair {
    fn new(credential: &str, peer: Option<IpAddr>) -> Self {
        let hash = digest::digest(&digest::SHA256, credential.as_bytes());
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Self {
            credential: short,
            peer,
        }
    }
}

/// Drops expired pairs, then a tenth of the rest: those with few failures first, then the oldest.
fn make_room(pairs: &mut HashMap<Pair, Failures>, now: i64) {
    pairs.retain(|_, failures| now.saturating_sub(failures.last) <= WINDOW);
    if pairs.len() < MAX_PAIRS {
        return;
    }
    let mut order: Vec<(bool, i64, Pair)> = pairs
        .iter()
        .map(|(pair, f)| (f.count >= MAX_FAILURES, f.last, *pair))
        .collect();
    order.sort_unstable_by_key(|(locked, last, _)| (*locked, *last));
    for (_, _, pair) in order.iter().take(MAX_PAIRS / 10) {
        pairs.remove(pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_client_may_have_is_one_network() {
        for (peer, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:0:5::1", "2001:db8:0"),
            ("2001:db8:0:ff05:ffff::9", "2001:db8:0"),
            ("2001:db8:1:5::1", "2001:db8:1"),
        ] {
            assert_eq!(network(Some(peer.parse().unwrap())), expected);
        }
        assert_eq!(network(None), "local");
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_700_000_000 + seconds)
    }

    fn peer(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn ten_failures_lock_the_pair_and_only_the_pair() {
        let lockout = Lockout::default();
        for n in 1..=MAX_FAILURES {
            assert_eq!(lockout.locked_for("a@b", peer(1), at(0)), None);
            assert_eq!(lockout.failed("a@b", peer(1), at(0)), n == MAX_FAILURES);
        }
        assert_eq!(lockout.locked_for("a@b", peer(1), at(0)), Some(WINDOW));
        assert_eq!(
            lockout.locked_for("a@b", peer(2), at(0)),
            None,
            "the same name from elsewhere"
        );
        assert_eq!(
            lockout.locked_for("c@b", peer(1), at(0)),
            None,
            "another name from the same address"
        );
    }

    #[test]
    fn a_lock_ends_and_counting_starts_again() {
        let lockout = Lockout::default();
        for _ in 0..MAX_FAILURES {
            lockout.failed("a@b", peer(1), at(0));
        }
        assert_eq!(lockout.locked_for("a@b", peer(1), at(WINDOW - 1)), Some(1));
        assert_eq!(lockout.locked_for("a@b", peer(1), at(WINDOW)), None);
        assert!(!lockout.failed("a@b", peer(1), at(WINDOW + 1)));
        assert_eq!(lockout.locked_for("a@b", peer(1), at(WINDOW + 1)), None);
    }

    #[test]
    fn success_forgets_earlier_failures() {
        let lockout = Lockout::default();
        for _ in 1..MAX_FAILURES {
            lockout.failed("a@b", peer(1), at(0));
        }
        lockout.succeeded("a@b", peer(1));
        assert!(!lockout.failed("a@b", peer(1), at(0)));
    }

    #[test]
    fn memory_is_bounded_and_locked_pairs_outlive_a_flood() {
        let lockout = Lockout::default();
        for _ in 0..MAX_FAILURES {
            lockout.failed("victim", peer(1), at(0));
        }
        for n in 0..MAX_PAIRS * 2 {
            lockout.failed(&format!("guess-{n}"), peer(2), at(1));
        }
        assert!(lockout.pairs.lock().unwrap().len() <= MAX_PAIRS);
        assert!(lockout.locked_for("victim", peer(1), at(2)).is_some());
    }
}
