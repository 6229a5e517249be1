//! Counting what is dropped, so that a flood of garbage costs the journal a line now and then and not one for
//! each packet.
//!
//! Asks no clock: the caller says what time it is.

use std::{collections::BTreeMap, time::Duration};

/// How long a reason stays quiet after it was reported.
pub const QUIET: Duration = Duration::from_secs(10);

/// How many times each reason occurred since it was last reported.
#[derive(Debug, Default)]
pub struct Drops {
    reasons: BTreeMap<&'static str, Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    reported: Option<Duration>,
    unreported: u64,
}

impl Drops {
    /// Counts one drop at `now`, a time since any fixed start. Gives the number to report when it is time to
    /// report this reason: at once for the first one, then at most once in [`QUIET`].
    ///
    /// Reasons are fixed texts, so that nothing from the network can make this grow.
    pub fn count(&mut self, reason: &'static str, now: Duration) -> Option<u64> {
        let tally = self.reasons.entry(reason).or_default();
        tally.unreported += 1;
        tally.due(now).then(|| tally.report(now))
    }

    /// The reasons with drops that went unreported for [`QUIET`], with their numbers: for a timer, so that the
    /// end of a flood is told as well.
    pub fn overdue(&mut self, now: Duration) -> Vec<(&'static str, u64)> {
        let due = self.reasons.iter_mut().filter(|(_, tally)| tally.unreported > 0 && tally.due(now));
        due.map(|(reason, tally)| (*reason, tally.report(now))).collect()
    }

    /// Whether anything waits to be reported by [`Drops::overdue`].
    pub fn waiting(&self) -> bool {
        self.reasons.values().any(|tally| tally.unreported > 0)
    }
}

/// A bound on how many events of one kind are told in a row: the rest is for [`Drops`] to count.
#[derive(Debug)]
pub struct Budget {
    most: u32,
    every: Duration,
    left: u32,
    refilled: Duration,
}

impl Budget {
    /// `most` at once, and one more for each `every` that passes.
    pub fn new(most: u32, every: Duration) -> Self {
        Self { most, every, left: most, refilled: Duration::ZERO }
    }

    /// Whether one more may be told at `now`, a time since any fixed start.
    pub fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.refilled).as_nanos() / self.every.as_nanos().max(1);
        if passed > 0 {
            self.left = self.left.saturating_add(passed.try_into().unwrap_or(u32::MAX)).min(self.most);
            self.refilled = now;
        }
        let granted = self.left > 0;
        self.left -= u32::from(granted);
        granted
    }
}

impl Tally {
    fn due(&self, now: Duration) -> bool {
        self.reported.is_none_or(|then| now.saturating_sub(then) >= QUIET)
    }

    fn report(&mut self, now: Duration) -> u64 {
        self.reported = Some(now);
        std::mem::take(&mut self.unreported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_at_its_start_at_its_end_and_now_and_then() {
        let mut drops = Drops::default();
        let at = Duration::from_secs;
        assert_eq!(drops.count("short", at(0)), Some(1));
        assert_eq!(drops.count("short", at(1)), None);
        assert_eq!(drops.count("other", at(1)), Some(1));
        assert_eq!(drops.count("short", at(9)), None);
        assert_eq!(drops.count("short", at(10)), Some(3));
        assert!(!drops.waiting());
        assert_eq!(drops.count("short", at(11)), None);
        assert!(drops.waiting());
        assert_eq!(drops.overdue(at(19)), []);
        assert_eq!(drops.overdue(at(20)), [("short", 1)]);
        assert_eq!(drops.overdue(at(99)), []);
    }

    #[test]
    fn a_budget_is_spent_and_refilled() {
        let at = Duration::from_secs;
        let mut budget = Budget::new(2, at(1));
        let taken: Vec<bool> = [0, 0, 0, 1, 1, 9, 9, 9].map(|second| budget.take(at(second))).into();
        assert_eq!(taken, [true, true, false, true, false, true, true, false]);
    }
}
