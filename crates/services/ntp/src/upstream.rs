//! The Pi as a client: what it asks time servers, what it makes of an answer, and which of them it follows.
//!
//! A plain client of RFC 5905 that sets nothing in its question but a random number (draft-ietf-ntp-data-minimization):
//! nothing is given away, and who does not see the question cannot answer it.

use std::time::Duration;

use crate::{
    clock::{DRIFT, Lead},
    packet::{CLIENT, LENGTH, SERVER, UNKNOWN, UNSYNCHRONISED},
    timestamp::{Short, Timestamp},
};

/// Version 4, a client's.
const FIRST: u8 = 4 << 3 | CLIENT;
/// Servers that are further away are of no use (RFC 5905 § 7.1: MAXDIST; 1.5 s as others have it).
const MOST_DISTANT: Duration = Duration::from_millis(1500);
/// What this machine's own reading of its clock is taken to be off by.
const READING: Duration = Duration::from_micros(100);

/// The question, with a random number in the place of a time.
pub fn question(number: u64) -> [u8; LENGTH] {
    let mut question = [0; LENGTH];
    question[0] = FIRST;
    question[40..].copy_from_slice(&number.to_be_bytes());
    question
}

/// Why an answer is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Useless {
    /// It answers nothing that was asked.
    #[error("it answers something else")]
    Foreign,
    /// The server does not want to be asked (RFC 5905 § 7.4: kiss o' death), for this reason.
    #[error("it does not want to be asked ({})", .0.escape_ascii())]
    Unwelcome([u8; 4]),
    /// The server has no time itself.
    #[error("it does not know the time itself")]
    Unset,
    /// It is too far from the clock that it follows.
    #[error("it may be wrong by {} ms", .0.as_millis())]
    Distant(Duration),
}

/// What one answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// By how many nanoseconds this machine's clock is behind the server's.
    pub offset: i64,
    /// How far that may be wrong: half the way there and back, to the clock that the server follows in the end, and all
    /// that is uncertain besides (RFC 5905 § 11.2.1: root distance).
    pub distance: Duration,
    /// What is told of the server if it is followed, but for its address.
    pub lead: Lead,
}

/// What the answer `packet` to the question with `number` says, which was asked at `sent` since 1970 by this machine's
/// clock and answered after `took`.
///
/// # Errors
/// An answer of no use.
pub fn read(packet: &[u8], number: u64, sent: Duration, took: Duration) -> Result<Sample, Useless> {
    let packet: &[u8; LENGTH] = packet.first_chunk().ok_or(Useless::Foreign)?;
    let time = |at: usize| {
        let bytes: Option<&[u8; 8]> = packet.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(Timestamp::from_bytes([0; 8]), |bytes| Timestamp::from_bytes(*bytes))
    };
    let span = |at: usize| {
        let bytes: Option<&[u8; 4]> = packet.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(Duration::ZERO, |bytes| Short::from_bytes(*bytes).span())
    };
    let (leap, mode, stratum) = (packet[0] >> 6, packet[0] & 7, packet[1]);
    if mode != SERVER || packet[24..32] != number.to_be_bytes() {
        return Err(Useless::Foreign);
    }
    if stratum == 0 {
        return Err(Useless::Unwelcome([packet[12], packet[13], packet[14], packet[15]]));
    }
    let (heard, said) = (time(32), time(40));
    if leap == UNKNOWN || stratum >= UNSYNCHRONISED || said.is_unset() || heard.is_unset() {
        return Err(Useless::Unset);
    }
    let (left, came) = (Timestamp::of_unix(sent), Timestamp::of_unix(sent + took));
    // Both halves by themselves: each may be decades.
    let offset = heard.since(left) / 2 + said.since(came) / 2;
    let there = u64::try_from(said.since(heard)).unwrap_or(0);
    let delay = took.saturating_sub(Duration::from_nanos(there));
    let (root_delay, root_dispersion) = (span(4), span(8));
    let dispersion = root_dispersion + READING + took.mul_f64(DRIFT);
    let distance = (root_delay + delay) / 2 + dispersion;
    if distance > MOST_DISTANT {
        return Err(Useless::Distant(distance));
    }
    let lead = Lead { stratum, delay: root_delay + delay, dispersion, reference: [0; 4] };
    Ok(Sample { offset, distance, lead })
}

/// Which of several servers, one sample of each, are right, and which of these is the best: more than half of those that
/// answered must say what can be true together (RFC 5905 § 11.2.1: the intersection). None when there is no such majority.
pub fn agreed(samples: &[Sample]) -> Option<usize> {
    let reach = |sample: &Sample| {
        let off = i64::try_from(sample.distance.as_nanos()).unwrap_or(i64::MAX);
        (sample.offset.saturating_sub(off), sample.offset.saturating_add(off))
    };
    let holds = |sample: &Sample, at: i64| {
        let (first, last) = reach(sample);
        (first..=last).contains(&at)
    };
    let count = |at: i64| samples.iter().filter(|sample| holds(sample, at)).count();
    // Wherever most reaches lie over one another, one of them begins.
    let begins = samples.iter().map(|sample| reach(sample).0);
    let at = begins.max_by_key(|at| count(*at))?;
    if count(at) * 2 <= samples.len() {
        return None;
    }
    let right = samples.iter().enumerate().filter(|(_, sample)| holds(sample, at));
    right.min_by_key(|(_, sample)| sample.distance).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        clock::{Clock, Set, Voucher},
        packet::reply,
    };

    const SENT: Duration = Duration::from_secs(1_800_000_000);
    const MS: Duration = Duration::from_millis(1);

    /// What our own server says whose clock is off by `ahead`, over a wire that takes 10 ms there and 10 ms back.
    fn answered(ahead: Duration) -> [u8; LENGTH] {
        let clock = Clock { set: Some(Set { at: SENT, by: Voucher::Operator }), follows: None };
        reply(&question(7), clock, SENT + ahead + 10 * MS, SENT + ahead + 12 * MS).unwrap()
    }

    #[test]
    fn the_difference_is_found_whatever_it_is() {
        for years in [0, 1, 30, 60] {
            let ahead = Duration::from_secs(years * 31_557_600);
            let sample = read(&answered(ahead), 7, SENT, 22 * MS).unwrap();
            let off = sample.offset - i64::try_from(ahead.as_nanos()).unwrap();
            assert!(off.abs() < 10, "{years} years: {off} ns");
            assert_eq!(sample.lead.stratum, 10);
            // Half of 20 ms on the wire, and the server's own 10 ms.
            assert!((20 * MS..21 * MS).contains(&sample.distance), "{:?}", sample.distance);
        }
    }

    #[test]
    fn who_did_not_see_the_question_cannot_answer_it() {
        let good = answered(MS);
        assert_eq!(read(&good, 8, SENT, MS), Err(Useless::Foreign));
        assert_eq!(read(&good[..47], 7, SENT, MS), Err(Useless::Foreign));
        let with = |place: usize, byte: u8| {
            let mut packet = good;
            packet[place] = byte;
            packet
        };
        assert_eq!(read(&with(0, 0x23), 7, SENT, MS), Err(Useless::Foreign));
        assert_eq!(read(&with(0, 0xe4), 7, SENT, MS), Err(Useless::Unset));
        assert_eq!(read(&with(1, 16), 7, SENT, MS), Err(Useless::Unset));
        let mut death = with(1, 0);
        death[12..16].copy_from_slice(b"RATE");
        assert_eq!(read(&death, 7, SENT, MS), Err(Useless::Unwelcome(*b"RATE")));
        assert_eq!(read(&death, 7, SENT, MS).unwrap_err().to_string(), "it does not want to be asked (RATE)");
        // A root delay of 4 s.
        assert!(matches!(read(&with(5, 4), 7, SENT, 22 * MS), Err(Useless::Distant(_))));
    }

    fn sample(offset_ms: i64, distance_ms: u64) -> Sample {
        let lead = Lead { stratum: 2, delay: MS, dispersion: MS, reference: [0; 4] };
        Sample { offset: offset_ms * 1_000_000, distance: Duration::from_millis(distance_ms), lead }
    }

    #[test]
    fn the_majority_is_right_and_its_nearest_is_followed() {
        let check = |samples: &[(i64, u64)], expect| {
            let samples: Vec<_> =
                samples.iter().map(|(offset, distance)| sample(*offset, *distance)).collect();
            assert_eq!(agreed(&samples), expect, "{samples:?}");
        };
        check(&[], None);
        check(&[(5, 10)], Some(0));
        // Two that cannot both be right: nobody knows which.
        check(&[(0, 10), (100, 10)], None);
        check(&[(0, 60), (100, 50)], Some(1));
        check(&[(0, 10), (5, 3), (86_400_000, 1)], Some(1));
        check(&[(0, 10), (86_400_000, 1), (86_400_000, 1)], Some(1));
        check(&[(0, 10), (100, 10), (200, 10)], None);
        check(&[(0, 10), (5, 10), (200, 10), (205, 10)], None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            number: u64,
            took in 0..10_000_u64,
        ) {
            let _ = read(&bytes, number, SENT, Duration::from_millis(took));
        }

        /// However few lie, and whatever they say: as long as most are right, what is followed is right.
        #[test]
        fn a_minority_does_not_lead(
            liars in proptest::collection::vec((any::<i64>(), 0..1500_u64), 0..4),
            honest in proptest::collection::vec((-20..20_i64, 20..200_u64), 4..6),
            turn in 0..9_usize,
        ) {
            let mut samples: Vec<_> = honest.iter().map(|(offset, distance)| sample(*offset, *distance)).collect();
            samples.extend(liars.iter().map(|(offset, distance)| Sample { offset: *offset, ..sample(0, *distance) }));
            let turn = turn % samples.len();
            samples.rotate_left(turn);
            let best = samples[agreed(&samples).unwrap()];
            // It overlaps with what is true, which is 0.
            prop_assert!(best.offset.unsigned_abs() <= 2 * 200_000_000 + best.distance.as_nanos() as u64);
        }
    }
}
