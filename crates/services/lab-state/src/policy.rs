//! When the log is turned over, when it is made durable, and how losses are told.

use std::{collections::BTreeMap, time::Duration};

/// The size at which the log is turned over, in bytes: with the one old log that is kept, 16 MiB hold some
/// 60,000 events.
pub const TURN_OVER: u64 = 8 * 1024 * 1024;

/// How long a written event may stay in memory. Each flush costs an SD card an erase block or two.
pub const FLUSH: Duration = Duration::from_secs(1);

/// What one sender may put into the log at once, in bytes: half of a whole log, some 15,000 events.
pub const BURST: u64 = TURN_OVER / 2;

/// What each sender may put into it in the long run, in bytes a second: some 250 events. A rack that powers on is a
/// burst; what goes on for longer is a flood, and would wear the card out for nothing.
pub const STEADY: u64 = 64 * 1024;

/// How much each sender has put into the log lately. Senders are users that may send events, so there are few.
#[derive(Debug, Clone, Default)]
pub struct Allowances {
    used: BTreeMap<u32, (u64, Duration)>,
}

impl Allowances {
    /// Whether the user `uid` may put a line of `length` bytes into the log at `now`, a time since any fixed start.
    pub fn take(&mut self, uid: u32, length: u64, now: Duration) -> bool {
        let (used, since) = self.used.entry(uid).or_insert((0, now));
        let passed = now.saturating_sub(*since).as_millis().try_into().unwrap_or(u64::MAX);
        let given_back = passed.saturating_mul(STEADY) / 1000;
        if given_back > 0 {
            *used = used.saturating_sub(given_back);
            *since = now;
        }
        let granted = used.saturating_add(length) <= BURST;
        if granted {
            *used += length;
        }
        granted
    }
}

/// How a line is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// Put the present log aside, in the place of the old one, and begin a new one.
    pub turn_over: bool,
    /// The log ends within a line, after a power cut or a full disk: begin a new line first.
    pub new_line: bool,
}

/// The state of the log as far as decisions need it.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    size: u64,
    torn: bool,
    unflushed: Option<Duration>,
    lost: u64,
}

impl Policy {
    /// A log that is `size` bytes long and ends within a line or not. Losses that were counted stay counted.
    pub fn opened(&mut self, size: u64, torn: bool) {
        self.size = size;
        self.torn = torn;
        self.unflushed = None;
    }

    /// How to write a line of `length` bytes.
    pub fn write(&self, length: u64) -> Write {
        let turn_over = self.size > 0 && self.size.saturating_add(length) > TURN_OVER;
        Write { turn_over, new_line: self.torn && !turn_over }
    }

    /// `length` bytes were written at `now`, a time since any fixed start; the log ends with a whole line.
    pub fn written(&mut self, length: u64, now: Duration) {
        self.size = self.size.saturating_add(length);
        self.torn = false;
        self.unflushed.get_or_insert(now);
    }

    /// So many lines were not written. Gives whether this is the first loss in a row, which is the one to tell.
    pub fn failed(&mut self, lines: u64) -> bool {
        let first = self.lost == 0;
        self.lost = self.lost.saturating_add(lines);
        first
    }

    /// How many lines were lost, once one was written again; asked for once.
    pub fn recovered(&mut self) -> Option<u64> {
        (self.lost > 0).then(|| std::mem::take(&mut self.lost))
    }

    /// When to call [`Policy::flushed`] next; none while everything is durable.
    pub fn flush_at(&self) -> Option<Duration> {
        self.unflushed.map(|since| since + FLUSH)
    }

    /// The one before is still under way at `now`: the next second, then.
    pub fn postpone(&mut self, now: Duration) {
        self.unflushed = self.unflushed.map(|_| now);
    }

    /// The log was made durable, or that failed and will not be tried again for these lines.
    pub fn flushed(&mut self) {
        self.unflushed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_turned_over_before_it_grows_too_long() {
        let mut policy = Policy::default();
        let check = |policy: &Policy, length, turn_over, new_line| {
            assert_eq!(policy.write(length), Write { turn_over, new_line }, "{policy:?}");
        };
        // Even a line that is too long by itself is written somewhere.
        check(&policy, TURN_OVER + 1, false, false);
        policy.opened(TURN_OVER - 10, false);
        check(&policy, 10, false, false);
        check(&policy, 11, true, false);
        policy.opened(TURN_OVER - 10, true);
        check(&policy, 5, false, true);
        check(&policy, 11, true, false);
        policy.written(5, Duration::ZERO);
        check(&policy, 5, false, false);
        check(&policy, 6, true, false);
    }

    #[test]
    fn flushes_come_at_most_once_a_second_and_only_after_a_write() {
        let at = Duration::from_millis;
        let mut policy = Policy::default();
        assert_eq!(policy.flush_at(), None);
        policy.written(1, at(500));
        policy.written(1, at(1400));
        assert_eq!(policy.flush_at(), Some(at(1500)));
        policy.flushed();
        assert_eq!(policy.flush_at(), None);
        policy.written(1, at(1501));
        assert_eq!(policy.flush_at(), Some(at(2501)));
        policy.postpone(at(2600));
        assert_eq!(policy.flush_at(), Some(at(3600)));
    }

    #[test]
    fn losses_are_told_at_the_first_and_counted_until_the_end() {
        let mut policy = Policy::default();
        assert_eq!(policy.recovered(), None);
        assert!(policy.failed(1));
        assert!(!policy.failed(2));
        assert_eq!(policy.recovered(), Some(3));
        assert_eq!(policy.recovered(), None);
        assert!(policy.failed(1));
    }

    #[test]
    fn a_flood_of_one_sender_is_cut_and_nobody_elses() {
        let at = Duration::from_secs;
        let mut allowances = Allowances::default();
        assert!(allowances.take(901, BURST, at(1)));
        assert!(!allowances.take(901, 1, at(1)));
        assert!(allowances.take(902, BURST, at(1)));
        assert!(!allowances.take(901, STEADY + 1, at(2)));
        assert!(allowances.take(901, STEADY, at(2)));
        assert!(!allowances.take(901, 100, at(2)));
        // A tick too short to give a byte back is not forgotten.
        assert!(!allowances.take(901, 1, at(2) + Duration::from_micros(900)));
        assert!(allowances.take(901, 65, at(2) + Duration::from_millis(1)));
        assert!(allowances.take(901, BURST, at(1000)));
        assert!(!allowances.take(901, 1, at(0)), "a clock that steps back gives nothing");
    }
}
