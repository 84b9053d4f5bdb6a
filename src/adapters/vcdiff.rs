//! Deltas in VCDIFF (RFC 3284), as `xdelta3` makes and applies them, by the library oxidelta.

use oxidelta::compress::decoder::decode_all;
use oxidelta::compress::encoder::{CompressOptions, encode_all};

use crate::ports::Deltas;

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
    }

    proptest! {
        #[test]
        fn any_two_files_have_a_delta(
            source in proptest::collection::vec(0u8..4, 0..5000),
            target in proptest::collection::vec(0u8..4, 0..5000),
        ) {
            prop_assert!(Vcdiff.make(&source, &target).is_ok());
            prop_assert!(Vcdiff.make(&source, &source).is_ok());
        }
    }
}
