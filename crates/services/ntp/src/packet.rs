//! A machine's question and the answer (RFC 5905 § 7.3).

use std::time::Duration;

use crate::{
    clock::{Clock, DRIFT},
    timestamp::{Short, Timestamp},
};

/// Bytes of a packet without extensions. Those of a question are not answered.
pub const LENGTH: usize = 48;
/// The Pi is a stand-in: every better server on the wire is preferred (RFC 5905 § 3: strata).
const STRATUM: u8 = 10;
/// The stratum of who has no time (RFC 5905, figure 11).
pub(crate) const UNSYNCHRONISED: u8 = 16;
/// Leap indicator "the clock is not set" (RFC 5905, figure 9).
pub(crate) const UNKNOWN: u8 = 3;
/// What the operator's hand and wristwatch are taken to be off by: 10 ms.
const DISPERSION: Duration = Duration::from_millis(10);
/// The precision of the Pi's clock as a power of two in seconds: a microsecond.
const PRECISION: i8 = -20;
/// The reference of a server that follows nobody: its own clock (127.127.1.1, as other servers say it).
const OWN_CLOCK: [u8; 4] = [127, 127, 1, 1];
/// As a word: not yet set (RFC 5905, figure 13).
const NOT_SET: [u8; 4] = *b"INIT";
pub(crate) const CLIENT: u8 = 3;
pub(crate) const SERVER: u8 = 4;

/// Why a packet is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// It is too short for one.
    #[error("shorter than a question")]
    Short,
    /// A version that is none, or not yet one.
    #[error("an unknown version")]
    Version,
    /// No client's question: an answer, a broadcast, a request to control or to follow.
    #[error("no question")]
    Mode,
}

impl Ignored {
    /// The same as a fixed text.
    pub fn word(self) -> &'static str {
        match self {
            Self::Short => "shorter than a question",
            Self::Version => "an unknown version",
            Self::Mode => "no question",
        }
    }
}

/// The answer to a question that was received at `received` and is answered at `now`, both since 1970.
///
/// # Errors
/// A packet that is not answered. An answer is never longer than its question.
pub fn reply(
    question: &[u8],
    clock: Clock,
    received: Duration,
    now: Duration,
) -> Result<[u8; LENGTH], Ignored> {
    let question: &[u8; LENGTH] = question.first_chunk().ok_or(Ignored::Short)?;
    let (version, mode) = (question[0] >> 3 & 7, question[0] & 7);
    if !(1..=4).contains(&version) {
        return Err(Ignored::Version);
    }
    if mode != CLIENT {
        return Err(Ignored::Mode);
    }
    let said = Said::of(clock, now);
    let mut answer = [0; LENGTH];
    answer[0] = said.leap << 6 | version << 3 | SERVER;
    answer[1] = said.stratum;
    answer[2] = question[2];
    answer[3] = PRECISION.to_be_bytes()[0];
    answer[4..8].copy_from_slice(&Short::of(said.delay).to_bytes());
    answer[8..12].copy_from_slice(&Short::of(said.dispersion).to_bytes());
    answer[12..16].copy_from_slice(&said.reference);
    let mut put = |at: usize, time: Timestamp| answer[at..at + 8].copy_from_slice(&time.to_bytes());
    if let Some(set) = clock.set {
        put(16, Timestamp::of_unix(set.at));
    }
    put(32, Timestamp::of_unix(received));
    put(40, Timestamp::of_unix(now));
    // By this the client knows its own question again.
    answer[24..32].copy_from_slice(&question[40..48]);
    Ok(answer)
}

/// What is said of the clock.
struct Said {
    leap: u8,
    stratum: u8,
    /// The way there and back to the clock that all follow (RFC 5905 § 7.3: root delay).
    delay: Duration,
    /// How wrong the time may be besides.
    dispersion: Duration,
    reference: [u8; 4],
}

impl Said {
    fn of(clock: Clock, now: Duration) -> Self {
        let Some(set) = clock.set else {
            return Self {
                leap: UNKNOWN,
                stratum: UNSYNCHRONISED,
                delay: Duration::ZERO,
                dispersion: DISPERSION,
                reference: NOT_SET,
            };
        };
        let Some(lead) = clock.follows else {
            return Self {
                leap: 0,
                stratum: STRATUM,
                delay: Duration::ZERO,
                dispersion: DISPERSION,
                reference: OWN_CLOCK,
            };
        };
        // It grows while nobody answers (RFC 5905 § 11.3: PHI).
        let dispersion = lead.dispersion + now.saturating_sub(set.at).mul_f64(DRIFT);
        let (stratum, delay) = (lead.stratum.saturating_add(1).min(UNSYNCHRONISED - 1), lead.delay);
        Self { leap: 0, stratum, delay, dispersion, reference: lead.reference }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Lead, Set, Voucher};

    fn question(first: u8) -> [u8; LENGTH] {
        let mut question = [0; LENGTH];
        question[0] = first;
        question[2] = 6;
        question[40..].copy_from_slice(b"anything");
        question
    }

    fn set_at(at: Duration, by: Voucher) -> Clock {
        Clock { set: Some(Set { at, by }), follows: None }
    }

    const NOW: Duration = Duration::new(1_800_000_000, 500_000_000);

    #[test]
    fn a_clock_that_nobody_set_is_not_to_be_believed() {
        let answer = reply(&question(0x23), Clock::default(), NOW, NOW).unwrap();
        assert_eq!((answer[0], answer[1], &answer[12..16]), (0xe4, 16, &b"INIT"[..]));
        assert_eq!((answer[2], &answer[16..24], &answer[24..32]), (6, &[0; 8][..], &b"anything"[..]));
    }

    #[test]
    fn a_clock_that_was_set_is_a_last_resort() {
        let clock = set_at(Duration::from_secs(1_799_999_999), Voucher::Operator);
        let answer = reply(&question(0x1b), clock, NOW, NOW + Duration::from_micros(10)).unwrap();
        assert_eq!((answer[0], answer[1], &answer[12..16]), (0x1c, 10, &[127, 127, 1, 1][..]));
        // 1800000000 + 2208988800, and a half.
        assert_eq!(answer[32..40], [0xee, 0xf4, 0x50, 0x80, 0x80, 0, 0, 0]);
        let sent = u64::from_be_bytes(answer[40..].try_into().unwrap());
        let received = u64::from_be_bytes(answer[32..40].try_into().unwrap());
        assert_eq!(sent - received, (10_u64 << 32) / 1_000_000);
        assert_eq!(u64::from_be_bytes(answer[16..24].try_into().unwrap()) >> 32, (received >> 32) - 1);
    }

    #[test]
    fn a_clock_that_follows_others_says_how_far_it_is_from_theirs() {
        let lead = Lead {
            stratum: 2,
            delay: Duration::from_millis(500),
            dispersion: Duration::from_millis(250),
            reference: [192, 0, 2, 1],
        };
        let at = NOW - Duration::from_secs(10_000);
        let clock = Clock { set: Some(Set { at, by: Voucher::Upstream }), follows: Some(lead) };
        let answer = reply(&question(0x23), clock, NOW, NOW).unwrap();
        assert_eq!((answer[0], answer[1], &answer[12..16]), (0x24, 3, &[192, 0, 2, 1][..]));
        // Half a second; a quarter of one and 10,000 s of 15 ppm: 0.4 s.
        assert_eq!(answer[4..8], [0, 0, 0x80, 0]);
        assert_eq!(u32::from_be_bytes(answer[8..12].try_into().unwrap()), 26214);
        let last = Clock { follows: Some(Lead { stratum: 15, ..lead }), ..clock };
        assert_eq!(reply(&question(0x23), last, NOW, NOW).unwrap()[1], 15);
    }

    #[test]
    fn only_questions_are_answered() {
        let check = |bytes: &[u8], expect| assert_eq!(reply(bytes, Clock::default(), NOW, NOW), Err(expect));
        check(&question(0x23)[..47], Ignored::Short);
        check(&[], Ignored::Short);
        check(&question(0x03), Ignored::Version);
        check(&question(0x2b), Ignored::Version);
        for mode in [0, 1, 2, 4, 5, 6, 7] {
            check(&question(0x20 | mode), Ignored::Mode);
        }
        let mut with_extension = question(0x23).to_vec();
        with_extension.extend([0; 68]);
        assert!(reply(&with_extension, Clock::default(), NOW, NOW).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_or_ignored(bytes in proptest::collection::vec(any::<u8>(), 0..100), seconds in 0..1_u64 << 40) {
            let at = Duration::from_secs(seconds);
            let _ = reply(&bytes, set_at(at, Voucher::Operator), at, at);
        }
    }
}
