//! What is known of the Pi's clock, and what is done to it when others say what time it is.
//!
//! The clock is believed once somebody has vouched for it since the Pi was started: an operator, time servers that agree,
//! or a clock chip that this Pi has set itself and that went on since.

use std::{fmt, ops::Range, str::FromStr, time::Duration};

/// How much a clock may go wrong by itself, as a part of the time (RFC 5905 § 7.1: PHI, 15 ppm).
pub(crate) const DRIFT: f64 = 15e-6;
/// Times before 2025 and from 2100 on are mistakes, in seconds since 1970: nothing here is older, and nothing lasts that long.
pub(crate) const SENSIBLE: Range<u64> = 1_735_689_600..4_102_444_800;
/// Up to here the clock is led, so that no time is left out or comes twice: half a second a second is not asked of it,
/// the kernel takes no more than this (adjtimex(2): half a second).
const LED: i64 = 400_000_000;
/// A clock that somebody vouches for is not moved by more (RFC 5905 § 11.2.1: the panic threshold), and none is moved
/// back by more: certificates and leases would come from the future.
const PANIC: i64 = 1_000_000_000_000;
/// How far a clock chip may be from the clock: it counts whole seconds, and a kernel sets it in steps of those.
const CHIP: u64 = 2;

/// Who says that the clock is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voucher {
    /// An operator, who set it.
    Operator,
    /// Time servers.
    Upstream,
    /// A clock chip.
    Chip,
}

const WORDS: [(Voucher, &str); 3] =
    [(Voucher::Operator, "operator"), (Voucher::Upstream, "upstream"), (Voucher::Chip, "chip")];

/// When the clock was last found right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// Since 1970, by the time that it was found to be.
    pub at: Duration,
    /// By whom.
    pub by: Voucher,
}

/// As it is kept in a file until the Pi is started again: the seconds since 1970, and a word.
impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(by, _)| *by == self.by).map_or("", |(_, word)| word);
        write!(f, "{} {word}", self.at.as_secs())
    }
}

/// What is no [`Set`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not say when the clock was set, and by whom")]
pub struct NoSet;

impl FromStr for Set {
    type Err = NoSet;

    fn from_str(text: &str) -> Result<Self, NoSet> {
        let (at, word) = text.trim_end().split_once(' ').ok_or(NoSet)?;
        let (by, _) = WORDS.iter().find(|(_, known)| *known == word).ok_or(NoSet)?;
        Ok(Self { at: Duration::from_secs(at.parse().map_err(|_| NoSet)?), by: *by })
    }
}

/// The time server that the clock follows, as far as machines are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lead {
    /// Its distance from a clock that follows none: 1 to 15.
    pub stratum: u8,
    /// The way to that clock and back, the way to the server included.
    pub delay: Duration,
    /// How wrong it may be besides.
    pub dispersion: Duration,
    /// What it is known by: its address, or the beginning of the address's MD5 for IPv6, of which nobody makes anything.
    pub reference: [u8; 4],
}

/// What is known of the Pi's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    /// When somebody vouched for it; none when nobody has since the Pi was started.
    pub set: Option<Set>,
    /// Whom it follows, since the daemon was started.
    pub follows: Option<Lead>,
}

/// What is to be done about a clock that is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// It is led there slowly.
    Lead,
    /// It is set.
    Step,
    /// Nothing: the difference is none that is believed without an operator.
    Refuse,
}

impl Clock {
    /// What is to be done when time servers say that the clock, which says `now`, is behind by `offset` nanoseconds.
    pub fn correction(&self, now: Duration, offset: i64) -> Correction {
        let then = i128::from(now.as_secs()) + i128::from(offset / 1_000_000_000);
        let is_sensible = u64::try_from(then).is_ok_and(|then| SENSIBLE.contains(&then));
        let may_leap = self.set.is_none() && offset > 0;
        match offset.unsigned_abs() {
            _ if !is_sensible => Correction::Refuse,
            off if off <= LED.unsigned_abs() => Correction::Lead,
            off if off <= PANIC.unsigned_abs() || may_leap => Correction::Step,
            _ => Correction::Refuse,
        }
    }
}

/// A clock chip as this Pi has left it: its name, and a time that it had reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// As the kernel calls it, such as `rtc-ds1307 1-0068`.
    pub name: String,
    /// The seconds since 1970 that it showed.
    pub shows: u64,
}

impl Chip {
    /// Whether it shows what the clock says: only of such a chip a note is left.
    pub fn agrees(&self, now: u64) -> bool {
        self.shows.abs_diff(now) <= CHIP
    }

    /// Whether the chip can be believed that was left as `left` says and is now found like this, by a clock that says `now`,
    /// the latest time that anything on the card knows of: the same chip, and it has not fallen behind, as one does whose
    /// battery is empty.
    pub fn went_on(&self, left: &Self, now: u64) -> bool {
        self.name == left.name
            && SENSIBLE.contains(&self.shows)
            && self.shows >= left.shows
            && self.shows + CHIP >= now
    }
}

/// As the note is kept: the seconds, then the name.
impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.shows, self.name)
    }
}

impl FromStr for Chip {
    type Err = NoSet;

    /// Reads a whole note: one that was torn has no end of line.
    fn from_str(text: &str) -> Result<Self, NoSet> {
        let (shows, name) = text.strip_suffix('\n').and_then(|line| line.split_once(' ')).ok_or(NoSet)?;
        Ok(Self { name: name.to_owned(), shows: shows.parse().map_err(|_| NoSet)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_clock_that_nobody_vouches_for_goes_forward() {
        let clock = Clock::default();
        let check = |offset, expect| assert_eq!(clock.correction(NOW, offset), expect, "{offset}");
        check(0, Correction::Lead);
        check(-SECOND / 3, Correction::Lead);
        check(SECOND, Correction::Step);
        check(365 * 86_400 * SECOND, Correction::Step);
        check(-SECOND, Correction::Step);
        check(-1001 * SECOND, Correction::Refuse);
        // Beyond 2099.
        check(i64::MAX, Correction::Refuse);
        check(i64::MIN, Correction::Refuse);
    }

    #[test]
    fn a_clock_that_somebody_vouches_for_is_corrected_by_minutes() {
        let clock = Clock { set: Some(Set { at: NOW, by: Voucher::Operator }), follows: None };
        let check = |offset, expect| assert_eq!(clock.correction(NOW, offset), expect, "{offset}");
        check(SECOND / 3, Correction::Lead);
        check(900 * SECOND, Correction::Step);
        check(-900 * SECOND, Correction::Step);
        check(1001 * SECOND, Correction::Refuse);
        check(-1001 * SECOND, Correction::Refuse);
    }

    #[test]
    fn who_vouched_is_read_as_it_was_written() {
        for by in [Voucher::Operator, Voucher::Upstream, Voucher::Chip] {
            let set = Set { at: NOW, by };
            assert_eq!(format!("{set}\n").parse(), Ok(set));
        }
        for text in ["", "1800000000", "1800000000 nobody", "x operator", "-1 operator"] {
            assert_eq!(text.parse::<Set>(), Err(NoSet), "{text}");
        }
    }

    #[test]
    fn a_chip_is_believed_that_went_on() {
        let left = Chip { name: "rtc-ds1307 1-0068".into(), shows: 1_800_000_000 };
        let found = |shows| Chip { shows, ..left.clone() };
        let check = |chip: &Chip, now, expect| assert_eq!(chip.went_on(&left, now), expect, "{chip} {now}");
        check(&found(1_800_086_400), 1_800_000_000, true);
        check(&found(1_800_000_000), 1_800_000_002, true);
        // It stood still while the Pi had no power, or began anew.
        check(&found(1_800_000_000), 1_800_000_003, false);
        check(&found(946_684_800), 1_800_000_000, false);
        check(&found(1_799_999_999), 1_799_999_000, false);
        check(&found(4_102_444_800), 1_800_000_000, false);
        check(&Chip { name: "rtc-pl031".into(), shows: 1_800_000_001 }, 1_800_000_000, false);
        assert!(found(1_800_000_000).agrees(1_800_000_002) && !found(1_800_000_000).agrees(1_800_000_003));
    }

    #[test]
    fn a_torn_note_is_none() {
        let chip = Chip { name: "rtc-ds1307 1-0068".into(), shows: 1_800_000_000 };
        let note = format!("{chip}\n");
        assert_eq!(note.parse(), Ok(chip));
        for length in 0..note.len() {
            assert_eq!(note[..length].parse::<Chip>(), Err(NoSet), "{length}");
        }
    }
}
