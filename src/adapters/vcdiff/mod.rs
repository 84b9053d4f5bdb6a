//! Deltas in VCDIFF (RFC 3284), as `xdelta3` makes and applies them, by the library oxidelta.

use oxidelta::compress::decoder::{DeltaDecoder, decode_all};
use oxidelta::compress::encoder::{CompressOptions, encode_all};

use crate::ports::Deltas;

mod bounds;

/// VCDIFF without secondary compression: what is in a snap is compressed already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vcdiff;

impl Deltas for Vcdiff {
    fn format(&self) -> &'static str {
        "xdelta3"
    }

    fn make(&self, source: &[u8], target: &[u8]) -> Result<Vec<u8>, String> {
        let mut delta = Vec::new();
        encode_all(&mut delta, source, target, CompressOptions::default())
            .map_err(|error| error.to_string())?;
        match decode_all(source, &delta) {
            Ok(made) if made == target => Ok(delta),
            Ok(_) => Err("the delta gives another file".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn apply(&self, mut source: &[u8], delta: &[u8], limit: u64) -> Result<Vec<u8>, String> {
        bounds::check(delta, source.len() as u64, limit)?;
        let mut target = Vec::new();
        DeltaDecoder::new(delta)
            .decode_to(&mut source, &mut target)
            .map_err(|error| error.to_string())?;
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_the_same_costs_nearly_nothing() {
        let source: Vec<u8> = (0..400_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let mut target = source.clone();
        target.splice(700_000..700_100, [7; 5000]);
        let delta = Vcdiff.make(&source, &target).unwrap();
        // The magic of RFC 3284, and no flags of extensions that old clients do not know.
        assert_eq!(delta[..4], [0xd6, 0xc3, 0xc4, 0]);
        assert!(delta.len() < 1000, "{}", delta.len());
        assert_eq!(
            Vcdiff.apply(&source, &delta, target.len() as u64).unwrap(),
            target
        );
        assert!(Vcdiff.apply(&source, &delta, 10_000).is_err());
        assert!(Vcdiff.apply(&source[..1000], &delta, u64::MAX).is_err());
    }

    proptest! {
        /// One byte of a delta that is one is something else.
        #[test]
        fn a_damaged_delta_is_refused_or_bounded(
            source in proptest::collection::vec(0u8..4, 1..2000),
            target in proptest::collection::vec(0u8..4, 1..2000),
            at in any::<proptest::sample::Index>(),
            byte: u8,
        ) {
            let mut delta = Vcdiff.make(&source, &target).unwrap();
            let at = at.index(delta.len());
            delta[at] = byte;
            if let Ok(made) = Vcdiff.apply(&source, &delta, 2000) {
                prop_assert!(made.len() <= 2000);
            }
        }

        #[test]
        fn any_two_files_have_a_delta(
            source in proptest::collection::vec(0u8..4, 0..5000),
            target in proptest::collection::vec(0u8..4, 0..5000),
        ) {
            prop_assert!(Vcdiff.make(&source, &target).is_ok());
            prop_assert!(Vcdiff.make(&source, &source).is_ok());
            let delta = Vcdiff.make(&source, &target).unwrap();
            prop_assert_eq!(Vcdiff.apply(&source, &delta, target.len() as u64).unwrap(), target);
        }

        /// Whatever comes instead of a delta: no panic, and never more than is allowed.
        #[test]
        fn what_is_no_delta_is_refused_or_bounded(
            source in proptest::collection::vec(any::<u8>(), 0..500),
            mut delta in proptest::collection::vec(any::<u8>(), 0..200),
            kind in 0u8..8,
        ) {
            delta.splice(0..0, [0xd6, 0xc3, 0xc4, 0, kind]);
            if let Ok(target) = Vcdiff.apply(&source, &delta, 1000) {
                prop_assert!(target.len() <= 1000);
            }
        }
    }
}
