//! A short list that readers lengthen. It is read without a lock: a lock is a place that all who read write to, and each
//! would wait for it to come from the processor of the one before.

use std::sync::OnceLock;

/// Values in the order they came; none is ever replaced.
#[derive(Debug)]
pub(super) struct Kept<T> {
    value: OnceLock<T>,
    next: OnceLock<Box<Self>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            value: OnceLock::new(),
            next: OnceLock::new(),
        }
    }
}

impl<T> Kept<T> {
    /// The first value that `wanted` takes.
    pub(super) fn find(&self, mut wanted: impl FnMut(&T) -> bool) -> Option<&T> {
        let mut here = self;
        loop {
            let value = here.value.get()?;
            if wanted(value) {
                return Some(value);
            }
            here = here.next.get()?;
        }
    }

    /// Keeps a value, unless there are `most` already.
    pub(super) fn keep(&self, mut value: T, most: usize) {
        let mut here = self;
        for _ in 0..most {
            match here.value.set(value) {
                Ok(()) => return,
                Err(back) => value = back,
            }
            here = here.next.get_or_init(Box::default);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_in_order_up_to_the_bound() {
        let kept = Kept::default();
        assert_eq!(kept.find(|_| true), None);
        for value in 1..=5 {
            kept.keep(value, 3);
        }
        assert_eq!(kept.find(|_| true), Some(&1));
        assert_eq!(kept.find(|value| *value > 1), Some(&2));
        assert_eq!(kept.find(|value| *value == 3), Some(&3));
        assert_eq!(kept.find(|value| *value > 3), None);
    }
}
