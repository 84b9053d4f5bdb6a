//! Which snaps may contain a text, so that a search does not read them all: of every three bytes that follow each other
//! in a text, in which texts they are.

use std::collections::HashMap;

use crate::domain::ident::SnapId;

type Piece = [u8; 3];

/// The texts of all snaps, by their pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    ids: Vec<SnapId>,
    numbers: HashMap<SnapId, u32>,
    /// Numbers of snaps, ascending.
    pieces: HashMap<Piece, Vec<u32>>,
}

impl Index {
    /// Takes the text of a snap instead of what it was before.
    pub(super) fn put(&mut self, id: &SnapId, before: Option<&str>, text: &str) {
        let next = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(id.clone()).or_insert(next);
        if number == next {
            self.ids.push(id.clone());
        }
        self.forget(number, before);
        for piece in pieces(text) {
            let snaps = self.pieces.entry(piece).or_default();
            if let Err(place) = snaps.binary_search(&number) {
                snaps.insert(place, number);
            }
        }
    }

    /// Forgets a snap with its text.
    pub(super) fn remove(&mut self, id: &SnapId, text: &str) {
        if let Some(number) = self.numbers.remove(id) {
            self.forget(number, Some(text));
        }
    }

    fn forget(&mut self, number: u32, text: Option<&str>) {
        for piece in text.into_iter().flat_map(pieces) {
            if let Some(snaps) = self.pieces.get_mut(&piece)
                && let Ok(place) = snaps.binary_search(&number)
            {
                snaps.remove(place);
            }
        }
    }

    /// The snaps that may contain all of these texts; all that do are among them. None if the texts are too short to
    /// tell.
    pub(super) fn candidates(&self, texts: &[&str]) -> Option<impl Iterator<Item = &SnapId>> {
        let wanted = texts.iter().copied().flat_map(pieces);
        let mut lists: Vec<&[u32]> = wanted
            .map(|piece| self.pieces.get(&piece).map_or(&[][..], Vec::as_slice))
            .collect();
        lists.sort_by_key(|list| list.len());
        let (rarest, others) = lists.split_first()?;
        let others = others.to_vec();
        let common = rarest
            .iter()
            .filter(move |number| others.iter().all(|list| list.binary_search(number).is_ok()));
        Some(common.filter_map(|number| self.ids.get(usize::try_from(*number).ok()?)))
    }
}

fn pieces(text: &str) -> impl Iterator<Item = Piece> {
    let pieces = text.as_bytes().windows(3);
    pieces.filter_map(|piece| piece.try_into().ok())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn id(number: usize) -> SnapId {
        format!("{number:032}").parse().unwrap()
    }

    proptest! {
        /// However texts came, changed and went: what contains the words is among the candidates, and what was
        /// removed is not.
        #[test]
        fn nothing_that_fits_is_missed(
            steps in proptest::collection::vec((0usize..6, proptest::option::of("[abé]{0,6}")), 0..30),
            words in proptest::collection::vec("[abé]{0,4}", 0..3),
        ) {
            let mut index = Index::default();
            let mut texts: BTreeMap<usize, String> = BTreeMap::new();
            for (number, text) in steps {
                let before = texts.remove(&number);
                match (text, before) {
                    (Some(text), before) => {
                        index.put(&id(number), before.as_deref(), &text);
                        texts.insert(number, text);
                    }
                    (None, Some(before)) => index.remove(&id(number), &before),
                    (None, None) => {}
                }
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let found: Option<BTreeSet<SnapId>> = index.candidates(&words).map(|found| found.cloned().collect());
            prop_assert_eq!(found.is_none(), words.iter().all(|word| word.len() < 3));
            if let Some(found) = found {
                for (number, text) in &texts {
                    if words.iter().all(|word| text.contains(word)) {
                        prop_assert!(found.contains(&id(*number)));
                    }
                }
                prop_assert!(found.iter().all(|found| texts.keys().any(|number| id(*number) == *found)));
            }
        }
    }
}
