//! A machine's question and the answer (RFC 5905 § 7.3).

use std::time::Duration;

/// Bytes of a packet without extensions. Those of a question are not answered.
pub const LENGTH: usize = 48;
/// From NTP's first second, 1900-01-01, to that of Unix.
const ERA: u64 = 2_208_988_800;
/// The Pi is a stand-in: every better server on the wire is preferred (RFC 5905 § 3: strata).
const STRATUM: u8 = 10;
/// The stratum of who has no time (RFC 5905, figure 11).
const UNSYNCHRONISED: u8 = 16;
/// Leap indicator "the clock is not set" (RFC 5905, figure 9).
const UNKNOWN: u8 = 3;
/// What the operator's hand and wristwatch are taken to be off by, in units of 2^-16 s: 10 ms.
const DISPERSION: u32 = 655;
/// The precision of the Pi's clock as a power of two in seconds: a microsecond.
const PRECISION: i8 = -20;
/// The reference of a server that follows nobody: its own clock (127.127.1.1, as other servers say it).
const OWN_CLOCK: [u8; 4] = [127, 127, 1, 1];
/// As a word: not yet set (RFC 5905, figure 13).
const NOT_SET: [u8; 4] = *b"INIT";
const CLIENT: u8 = 3;
const SERVER: u8 = 4;

/// What is known of the Pi's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    /// When an operator set it, since 1970 by the time that was set; none when nobody has since the Pi was started.
    pub set: Option<Duration>,
}

/// A time in NTP's own units: seconds of its era and parts of 2^-32 s (RFC 5905 § 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time `unix` since 1970. It goes round in 2036, as every client's does.
    pub fn of_unix(unix: Duration) -> Self {
        let seconds = unix.as_secs().wrapping_add(ERA) & 0xffff_ffff;
        let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
        Self(seconds << 32 | fraction)
    }
}

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
    let (leap, stratum, reference) = match clock.set {
        Some(_) => (0, STRATUM, OWN_CLOCK),
        None => (UNKNOWN, UNSYNCHRONISED, NOT_SET),
    };
    let mut answer = [0; LENGTH];
    answer[0] = leap << 6 | version << 3 | SERVER;
    answer[1] = stratum;
    answer[2] = question[2];
    answer[3] = PRECISION.to_be_bytes()[0];
    answer[8..12].copy_from_slice(&DISPERSION.to_be_bytes());
    answer[12..16].copy_from_slice(&reference);
    let mut put = |at: usize, time: Timestamp| answer[at..at + 8].copy_from_slice(&time.0.to_be_bytes());
    if let Some(set) = clock.set {
        put(16, Timestamp::of_unix(set));
    }
    put(32, Timestamp::of_unix(received));
    put(40, Timestamp::of_unix(now));
    // By this the client knows its own question again.
    answer[24..32].copy_from_slice(&question[40..48]);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(first: u8) -> [u8; LENGTH] {
        let mut question = [0; LENGTH];
        question[0] = first;
        question[2] = 6;
        question[40..].copy_from_slice(b"anything");
        question
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
        let clock = Clock { set: Some(Duration::from_secs(1_799_999_999)) };
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
            let _ = reply(&bytes, Clock { set: Some(at) }, at, at);
        }
    }
}
