//! Where a device stands towards a wave.

use super::pin::PinRef;
use super::wave::{Wave, WaveKind};

/// Where a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// It has none of the snaps: the wave is not about it.
    Apart,
    /// It has something of before the wave.
    Before,
    /// It has what the wave says.
    On,
    /// It has at least that, and something newer.
    Beyond,
}

impl Position {
    /// Whether the wave has nothing to do for it any more.
    pub fn is_updated(self) -> bool {
        self >= Self::On
    }
}

/// Where a device stands that has these snaps, each with its revision and since when, as in [`super::Running`].
pub fn position<'p>(wave: &Wave, snaps: impl IntoIterator<Item = (PinRef<'p>, u64, u64)>) -> Position {
    let mut position = Position::Apart;
    for (pin, revision, since) in snaps {
        let Some(wanted) = wave.revision(pin) else {
            continue;
        };
        let one = if revision == wanted {
            Position::On
        } else if since > wave.sequence || (wave.kind == WaveKind::Forward && revision > wanted) {
            Position::Beyond
        } else {
            return Position::Before;
        };
        position = position.max(one);
    }
    position
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Pin, WaveKind};
    use super::*;
    use crate::domain::time::Timestamp;

    fn pin(letter: &str) -> Pin {
        Pin {
            snap_id: letter.repeat(32).parse().unwrap(),
            channel: "latest/stable".parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
        }
    }

    fn stands(kind: WaveKind, snaps: &[(&str, u64, u64)]) -> Position {
        let entry = |letter| Entry {
            pin: pin(letter),
            revision: 5,
        };
        let wave = Wave::draft(
            "acme".parse().unwrap(),
            "main".parse().unwrap(),
            "w".parse().unwrap(),
            7,
            kind,
            vec![entry("b"), entry("a")],
            Timestamp::from_unix(9),
        );
        let pins: Vec<(Pin, u64, u64)> = snaps
            .iter()
            .map(|(letter, has, since)| (pin(letter), *has, *since))
            .collect();
        position(
            &wave.unwrap(),
            pins.iter().map(|(pin, has, since)| (pin.by_ref(), *has, *since)),
        )
    }

    #[test]
    fn a_device_stands_where_its_hindmost_snap_is() {
        use Position::{Apart, Before, Beyond, On};
        use WaveKind::{Forward, Rollback};
        for (kind, snaps, expected) in [
            (Forward, &[][..], Apart),
            (Forward, &[("c", 9, 0)], Apart),
            (Forward, &[("a", 5, 0), ("c", 1, 0)], On),
            (Forward, &[("a", 5, 0), ("b", 5, 0)], On),
            (Forward, &[("a", 5, 0), ("b", 4, 0)], Before),
            (Forward, &[("a", 4, 0), ("b", 5, 0)], Before),
            (Forward, &[("a", 5, 0), ("b", 6, 0)], Beyond),
            (Forward, &[("a", 4, 8), ("b", 5, 0)], Beyond),
            (Rollback, &[("a", 6, 0)], Before),
            (Rollback, &[("a", 4, 0)], Before),
            (Rollback, &[("a", 5, 0)], On),
            (Rollback, &[("a", 6, 8)], Beyond),
        ] {
            assert_eq!(stands(kind, snaps), expected, "{kind:?} {snaps:?}");
        }
    }
}
