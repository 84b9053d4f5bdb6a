//! The numbers of spans of days, from those of single days.
//!
//! Of a span are kept, for each of its days, the devices that reported last on that day. A new day takes those that came
//! back out of the day they were there before, and adds all of its own; the day that falls out of the span takes with it
//! who did not come back. So each device is in exactly one of them, and the sum is the number of devices in the span.

use std::collections::{BTreeMap, VecDeque};

use super::tally::{SnapDay, Split, Tally};
use crate::domain::time::Day;

/// Which number is told of a tally, under which names.
#[derive(Clone, Copy, Debug)]
enum What {
    Devices,
    By(Split),
}

type Cells<'h> = BTreeMap<&'h str, i64>;

/// The days of a snap, as far as they are needed.
#[derive(Clone, Debug, Default)]
pub struct History {
    days: BTreeMap<Day, SnapDay>,
    versions: BTreeMap<u64, String>,
}

/// Devices that came, stayed and went, per day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In this span and in the one before.
    pub continued: Vec<i64>,
    /// Not in this span, but in the one before.
    pub lost: Vec<i64>,
    /// In this span, not in the one before.
    pub new: Vec<i64>,
}

impl History {
    /// Adds a part of a day.
    pub fn add(&mut self, part: SnapDay) {
        self.versions
            .extend(part.versions.iter().map(|(number, text)| (*number, text.clone())));
        match self.days.get_mut(&part.day) {
            Some(day) => day.merge(part),
            None => drop(self.days.insert(part.day, part)),
        }
    }

    /// The versions of the revisions that were counted.
    pub fn versions(&self) -> &BTreeMap<u64, String> {
        &self.versions
    }

    /// How many devices had what, in the span of `span` days that ends on each day from `first` to `last`. What no device
    /// had in all that time is left out. Right if the days are there from `span - 1` before `first`.
    pub fn installed(&self, by: Split, span: i64, first: Day, last: Day) -> BTreeMap<&str, Vec<i64>> {
        let mut told: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        let days = usize::try_from(last.since(first).saturating_add(1)).unwrap_or(0);
        self.walk(What::By(by), span, first, last, |place, cells| {
            for (name, count) in cells.iter().filter(|(_, count)| **count > 0) {
                let values = told.entry(name).or_insert_with(|| vec![0; days]);
                if let Some(value) = values.get_mut(place) {
                    *value = *count;
                }
            }
        });
        told
    }

    /// How the devices of the span of `span` days that ends on each day from `first` to `last` differ from those of the
    /// span before. Right if the days are there from `2 * span - 1` before `first`.
    pub fn changes(&self, span: i64, first: Day, last: Day) -> Changes {
        let both = self.devices(2 * span, first, last);
        let here = self.devices(span, first, last);
        let before = self.devices(span, first.plus(-span), last.plus(-span));
        let mut changes = Changes::default();
        for ((both, here), before) in both.into_iter().zip(here).zip(before) {
            changes.continued.push((here + before - both).max(0));
            changes.lost.push((both - here).max(0));
            changes.new.push((both - before).max(0));
        }
        changes
    }

    /// How many devices reported the snap in each span.
    fn devices(&self, span: i64, first: Day, last: Day) -> Vec<i64> {
        let mut told = Vec::new();
        self.walk(What::Devices, span, first, last, |_, cells| {
            told.push(cells.values().sum());
        });
        told
    }

    fn walk<'h>(
        &'h self,
        what: What,
        span: i64,
        first: Day,
        last: Day,
        mut tell: impl FnMut(usize, &Cells<'h>),
    ) {
        let mut within: VecDeque<(Day, Cells<'h>)> = VecDeque::new();
        let mut total = Cells::new();
        for day in first.plus(1 - span).to(last) {
            if within.front().is_some_and(|(old, _)| day.since(*old) >= span)
                && let Some((_, cells)) = within.pop_front()
            {
                add(&mut total, &cells, -1);
            }
            let mut here = Cells::new();
            if let Some(found) = self.days.get(&day) {
                for (days, back) in found.back.range(1..span) {
                    let was = day.plus(-days);
                    if let Some((_, cells)) = within.iter_mut().find(|(known, _)| *known == was) {
                        let gone = self.cells(what, back);
                        add(cells, &gone, -1);
                        add(&mut total, &gone, -1);
                    }
                }
                here = self.cells(what, &found.active);
                add(&mut total, &here, 1);
            }
            within.push_back((day, here));
            if let Ok(place) = usize::try_from(day.since(first)) {
                tell(place, &total);
            }
        }
    }

    fn cells<'h>(&'h self, what: What, tally: &'h Tally) -> Cells<'h> {
        fn texts(numbers: &BTreeMap<String, i64>) -> Cells<'_> {
            let numbers = numbers.iter();
            numbers.map(|(name, count)| (name.as_str(), *count)).collect()
        }
        match what {
            What::Devices => [("", tally.devices)].into(),
            What::By(Split::Channel) => texts(&tally.channels),
            What::By(Split::Architecture) => texts(&tally.architectures),
            What::By(Split::System) => texts(&tally.systems),
            What::By(Split::Version) => {
                let mut cells = Cells::new();
                for (revision, count) in &tally.revisions {
                    if let Some(version) = self.versions.get(revision) {
                        *cells.entry(version).or_default() += count;
                    }
                }
                cells
            }
        }
    }
}

fn add<'h>(into: &mut Cells<'h>, from: &Cells<'h>, times: i64) {
    for (name, count) in from {
        *into.entry(name).or_default() += count * times;
    }
}

#[cfg(test)]
mod tests;
