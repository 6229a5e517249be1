//! When the log is turned over, when it is made durable, and how losses are told.

use std::time::Duration;

/// The size at which the log is turned over, in bytes: with the one old log that is kept, 16 MiB hold some
/// 60,000 events.
pub const TURN_OVER: u64 = 8 * 1024 * 1024;

/// How long a written event may stay in memory. Each flush costs an SD card an erase block or two.
pub const FLUSH: Duration = Duration::from_secs(1);

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

    /// A line was not written. Gives whether this is the first loss in a row, which is the one to tell.
    pub fn failed(&mut self) -> bool {
        self.lost = self.lost.saturating_add(1);
        self.lost == 1
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
        assert!(policy.failed());
        assert!(!policy.failed());
        assert_eq!(policy.recovered(), Some(2));
        assert_eq!(policy.recovered(), None);
        assert!(policy.failed());
    }
}
