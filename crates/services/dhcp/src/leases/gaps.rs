//! Numbers that nobody has, kept as stretches: the next one is found without a search, however many are taken.

use std::collections::BTreeMap;

/// Numbers, as stretches from a first to a last one that never touch each other.
#[derive(Debug, Default)]
pub(super) struct Gaps(BTreeMap<u32, u32>);

impl Gaps {
    /// All numbers from `first` to `last`.
    pub(super) fn all(first: u32, last: u32) -> Self {
        Self(BTreeMap::from([(first, last)]))
    }

    /// The first number from `from` on; beyond the last one it starts over.
    pub(super) fn next(&self, from: u32) -> Option<u32> {
        match self.around(from) {
            Some(_) => Some(from),
            None => self.0.range(from..).next().or_else(|| self.0.first_key_value()).map(|(first, _)| *first),
        }
    }

    /// `number` is somebody's from now on.
    pub(super) fn take(&mut self, number: u32) {
        let Some((first, last)) = self.around(number) else { return };
        self.0.remove(&first);
        if first < number {
            self.0.insert(first, number - 1);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
    }

    /// `number` is nobody's any more.
    pub(super) fn give_back(&mut self, number: u32) {
        if self.around(number).is_some() {
            return;
        }
        let (mut first, mut last) = (number, number);
        if let Some((before, _)) = number.checked_sub(1).and_then(|below| self.around(below)) {
            first = before;
        }
        if let Some(after) = number.checked_add(1).and_then(|above| self.0.remove(&above)) {
            last = after;
        }
        self.0.insert(first, last);
    }

    /// The stretch that `number` is in.
    fn around(&self, number: u32) -> Option<(u32, u32)> {
        let (first, last) = self.0.range(..=number).next_back()?;
        (number <= *last).then_some((*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_all_numbers_hold() {
        let mut gaps = Gaps::all(u32::MAX - 1, u32::MAX);
        gaps.take(u32::MAX);
        assert_eq!(gaps.next(u32::MAX), Some(u32::MAX - 1), "it starts over");
        gaps.take(u32::MAX - 1);
        assert_eq!(gaps.next(0), None);
        gaps.give_back(0);
        gaps.give_back(u32::MAX);
        assert_eq!((gaps.next(1), gaps.next(0)), (Some(u32::MAX), Some(0)));
    }

    proptest! {
        #[test]
        fn it_is_a_set(changes in proptest::collection::vec((0u32..40, any::<bool>(), 0u32..45), 0..200)) {
            let (mut gaps, mut set) = (Gaps::all(10, 29), BTreeSet::from_iter(10..=29));
            for (number, take, from) in changes {
                if take {
                    gaps.take(number);
                    set.remove(&number);
                } else {
                    gaps.give_back(number);
                    set.insert(number);
                }
                let next = set.range(from..).next().or_else(|| set.first()).copied();
                prop_assert_eq!(gaps.next(from), next);
                let touching = gaps.0.iter().any(|(_, last)| gaps.0.contains_key(&(last + 1)));
                prop_assert!(!touching, "stretches that touch are one: {:?}", gaps);
            }
        }
    }
}
