//! Which devices a rollout takes (waves-and-registration.md A.3, A.11): exactly as many as asked for while there are any, those
//! seen lately first, by chance that the same seed repeats.

use super::wave::WaveError;

/// How many devices a rollout takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All that are selected.
    All,
    /// At most so many.
    Limit(u64),
    /// At most this part of those that match, out of 100, rounded up.
    Percent(u8),
}

impl Size {
    /// At most `limit`.
    ///
    /// # Errors
    /// [`WaveError::NoLimit`] below 1.
    pub fn limit(limit: i64) -> Result<Self, WaveError> {
        match u64::try_from(limit) {
            Ok(limit) if limit > 0 => Ok(Self::Limit(limit)),
            _ => Err(WaveError::NoLimit),
        }
    }

    /// At most `percent` of 100.
    ///
    /// # Errors
    /// [`WaveError::NoPercentage`] below 1 or above 100.
    pub fn percent(percent: i64) -> Result<Self, WaveError> {
        match u8::try_from(percent) {
            Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
            _ => Err(WaveError::NoPercentage),
        }
    }

    fn of(self, matching: u64) -> u64 {
        match self {
            Self::All => u64::MAX,
            Self::Limit(limit) => limit,
            Self::Percent(percent) => {
                // Up to a million devices, and far beyond, this does not overflow.
                matching.saturating_mul(u64::from(percent)).div_ceil(100)
            }
        }
    }
}

/// A device that matches a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its uuid.
    pub id: u128,
    /// For how long it has not been seen, in seconds; none = it never was.
    pub unseen: Option<u64>,
    /// Whether it can be taken: it is neither exposed to the wave nor updated.
    pub open: bool,
}

/// What a rollout takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected<T> {
    /// How many match.
    pub matching: u64,
    /// How many of them could be taken.
    pub eligible: u64,
    /// Those that are, each once, the first choice first.
    pub chosen: Vec<T>,
}

/// Chooses among the devices that match. The same devices, as they were, and the same seed give the same choice.
pub fn select<T>(matching: impl IntoIterator<Item = (T, Candidate)>, size: Size, seed: u64) -> Selected<T> {
    let mut count = 0;
    let mut drawn: Vec<(f64, u128, T)> = Vec::new();
    for (device, candidate) in matching {
        count += 1;
        if candidate.open {
            drawn.push((rank(&candidate, seed), candidate.id, device));
        }
    }
    let eligible = drawn.len() as u64;
    let order = |a: &(f64, u128, T), b: &(f64, u128, T)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    let most = usize::try_from(size.of(count)).unwrap_or(usize::MAX);
    if most < drawn.len() {
        drawn.select_nth_unstable_by(most, order);
        drawn.truncate(most);
    }
    drawn.sort_unstable_by(order);
    Selected {
        matching: count,
        eligible,
        chosen: drawn.into_iter().map(|(_, _, device)| device).collect(),
    }
}

/// The lower, the sooner it is chosen: draws by chance, each device as often as its weight says (Efraimidis and Spirakis, 2006).
fn rank(candidate: &Candidate, seed: u64) -> f64 {
    const HOUR: u64 = 3600;
    let weight = match candidate.unseen {
        Some(unseen) if unseen < 4 * HOUR => 1.0,
        Some(unseen) if unseen < 24 * HOUR => 0.25,
        Some(unseen) if unseen < 7 * 24 * HOUR => 0.05,
        Some(_) | None => 0.01,
    };
    -chance(candidate.id, seed).ln() / weight
}

/// A number above 0 and below 1 that this device draws with this seed: always the same, on every machine.
fn chance(id: u128, seed: u64) -> f64 {
    let halves = id.to_be_bytes();
    let half = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0u64, |number, byte| (number << 8) | u64::from(*byte))
    };
    let (high, low) = halves.split_at(8);
    let mixed = mix(mix(mix(seed) ^ half(high)) ^ half(low));
    // 53 bits are what an f64 holds.
    ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fleet(number: u128, unseen: impl Fn(u128) -> Option<u64>) -> Vec<(u128, Candidate)> {
        let device = |id| {
            (
                id,
                Candidate {
                    id,
                    unseen: unseen(id),
                    open: id % 7 != 0,
                },
            )
        };
        (0..number).map(device).collect()
    }

    #[test]
    fn sizes_that_are_none_are_refused() {
        assert_eq!(Size::limit(0), Err(WaveError::NoLimit));
        assert_eq!(Size::limit(-1), Err(WaveError::NoLimit));
        assert_eq!(Size::limit(3), Ok(Size::Limit(3)));
        assert_eq!(Size::percent(0), Err(WaveError::NoPercentage));
        assert_eq!(Size::percent(101), Err(WaveError::NoPercentage));
        assert_eq!(Size::percent(100), Ok(Size::Percent(100)));
    }

    #[test]
    fn those_seen_lately_come_first() {
        // A tenth of 20,000 was seen in the last hours.
        let fleet = fleet(20_000, |id| Some(if id % 10 == 3 { 600 } else { 90 * 24 * 3600 }));
        let chosen = select(fleet, Size::Limit(1000), 1).chosen;
        let lately = chosen.iter().filter(|id| *id % 10 == 3).count();
        assert!(lately > 850, "{lately}");
        // The others are not shut out.
        assert!(lately < 1000, "{lately}");
    }

    #[test]
    fn where_all_are_alike_each_is_chosen_as_often() {
        let mut often = [0u32; 50];
        for seed in 0..4000 {
            let fleet = (0..50).map(|id| {
                (
                    id,
                    Candidate {
                        id,
                        unseen: None,
                        open: true,
                    },
                )
            });
            for id in select(fleet, Size::Limit(5), seed).chosen {
                often[id as usize] += 1;
            }
        }
        assert!(often.iter().all(|often| (300..=500).contains(often)), "{often:?}");
    }

    proptest! {
        /// I10, I13: exactly so many, each once, only open ones, and the same seed chooses the same.
        #[test]
        fn exactly_so_many(number in 0u128..300, limit in 1u64..400, percent in 1u8..=100, seed in any::<u64>()) {
            let open = |id: &u128| !id.is_multiple_of(7);
            let eligible = (0..number).filter(open).count() as u64;
            for (size, most) in [
                (Size::All, eligible),
                (Size::Limit(limit), eligible.min(limit)),
                (Size::Percent(percent), eligible.min((number as u64 * u64::from(percent)).div_ceil(100))),
            ] {
                let unseen = |id: u128| id.is_multiple_of(3).then_some(id as u64 * 1000);
                let selected = select(fleet(number, unseen), size, seed);
                prop_assert_eq!(selected.matching, number as u64);
                prop_assert_eq!(selected.eligible, eligible);
                prop_assert_eq!(selected.chosen.len() as u64, most);
                prop_assert!(selected.chosen.iter().all(open));
                let once: std::collections::HashSet<_> = selected.chosen.iter().collect();
                prop_assert_eq!(once.len(), selected.chosen.len());
                let mut backwards = fleet(number, unseen);
                backwards.reverse();
                prop_assert_eq!(select(backwards, size, seed), selected);
            }
        }

        /// A larger limit takes the same devices and some more.
        #[test]
        fn more_is_the_same_and_more(number in 1u128..200, limit in 1u64..100, seed in any::<u64>()) {
            let few = select(fleet(number, |_| None), Size::Limit(limit), seed).chosen;
            let many = select(fleet(number, |_| None), Size::Limit(limit + 20), seed).chosen;
            prop_assert!(many.starts_with(&few));
        }
    }
}
