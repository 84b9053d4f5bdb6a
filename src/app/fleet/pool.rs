//! Values that many share, by number: a fleet of a million devices runs few different sets of snaps.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Values by number, each kept while somebody uses it.
#[derive(Debug)]
pub(super) struct Pool<T> {
    numbers: HashMap<Arc<T>, u32, RandomState>,
    values: Vec<Option<(Arc<T>, u32)>>,
    free: Vec<u32>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            numbers: HashMap::default(),
            values: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T: Eq + Hash> Pool<T> {
    /// One more user of a value.
    pub(super) fn take(&mut self, value: T) -> u32 {
        if let Some(number) = self.numbers.get(&value).copied() {
            self.keep(number);
            return number;
        }
        let value = Arc::new(value);
        let entry = Some((Arc::clone(&value), 1));
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.values.get_mut(number as usize) {
                    *place = entry;
                }
                number
            }
            None => {
                self.values.push(entry);
                u32::try_from(self.values.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.numbers.insert(value, number);
        number
    }

    /// One more user of a value that is there.
    pub(super) fn keep(&mut self, number: u32) {
        if let Some(Some((_, users))) = self.values.get_mut(number as usize) {
            *users = users.saturating_add(1);
        }
    }

    /// One user less; the value, if that was the last one.
    pub(super) fn give_back(&mut self, number: u32) -> Option<Arc<T>> {
        let place = self.values.get_mut(number as usize)?;
        let (_, users) = place.as_mut()?;
        *users = users.saturating_sub(1);
        if *users > 0 {
            return None;
        }
        let (value, _) = place.take()?;
        self.numbers.remove(&value);
        self.free.push(number);
        Some(value)
    }

    /// The value of a number.
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let (value, _) = self.values.get(number as usize)?.as_ref()?;
        Some(value)
    }

    /// The number of a value.
    pub(super) fn number(&self, value: &T) -> Option<u32> {
        self.numbers.get(value).copied()
    }

    /// All values that somebody uses.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let numbered = self.values.iter().enumerate();
        numbered.filter_map(|(number, entry)| {
            let (value, _) = entry.as_ref()?;
            Some((u32::try_from(number).ok()?, &**value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_kept_while_it_is_used() {
        let mut pool = Pool::default();
        let one = pool.take("one");
        assert_eq!(pool.take("one"), one);
        let two = pool.take("two");
        assert_ne!(one, two);
        assert_eq!(pool.give_back(one), None);
        assert_eq!(pool.get(one), Some(&"one"));
        assert_eq!(pool.give_back(one).as_deref(), Some(&"one"));
        assert_eq!(pool.get(one), None);
        assert_eq!(pool.give_back(one), None);
        assert_eq!(pool.take("three"), one);
        assert_eq!(pool.number(&"three"), Some(one));
        assert_eq!(pool.number(&"one"), None);
        let all: Vec<_> = pool.iter().map(|(_, value)| *value).collect();
        assert_eq!(all, ["three", "two"]);
    }
}
