//! Times and spans in NTP's own units (RFC 5905 § 6).

use std::time::Duration;

/// From NTP's first second, 1900-01-01, to that of Unix.
const ERA: u64 = 2_208_988_800;
const NANOSECONDS: i128 = 1_000_000_000;

/// A time: seconds of its era and parts of 2^-32 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time `unix` since 1970. It goes round in 2036, as everybody's does.
    pub fn of_unix(unix: Duration) -> Self {
        let seconds = unix.as_secs().wrapping_add(ERA) & 0xffff_ffff;
        let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
        Self(seconds << 32 | fraction)
    }

    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Whether nothing is said: no time has all bits zero but one instant in 136 years.
    pub(crate) fn is_unset(self) -> bool {
        self.0 == 0
    }

    /// By how many nanoseconds this is later than `other`, whichever of the times 136 years apart are nearest.
    pub(crate) fn since(self, other: Self) -> i64 {
        let parts = i128::from(self.0.wrapping_sub(other.0).cast_signed());
        // At most 2^31 s, which fits.
        i64::try_from((parts * NANOSECONDS) >> 32).unwrap_or_default()
    }
}

/// A span: seconds and parts of 2^-16 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short(u32);

impl Short {
    /// The span, or the longest that can be said: 18 hours.
    pub(crate) fn of(span: Duration) -> Self {
        let parts = (span.as_nanos() << 16) / NANOSECONDS.unsigned_abs();
        Self(u32::try_from(parts).unwrap_or(u32::MAX))
    }

    pub(crate) fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }

    pub(crate) fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    pub(crate) fn span(self) -> Duration {
        Duration::from_nanos((u64::from(self.0) * 1_000_000_000) >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_go_round_with_the_era() {
        let at = |seconds| Timestamp::of_unix(Duration::from_secs(seconds));
        assert_eq!(at(1_800_000_001).since(at(1_800_000_000)), 1_000_000_000);
        assert_eq!(at(1_800_000_000).since(at(1_800_000_001)), -1_000_000_000);
        // 2036-02-07T06:28:16Z is the next era's first second.
        let turn = (1_u64 << 32) - ERA;
        assert_eq!(at(turn).to_bytes(), [0; 8]);
        assert_eq!(at(turn + 5).since(at(turn - 5)), 10_000_000_000);
        assert_eq!(at(turn - 5).since(at(turn + 5)), -10_000_000_000);
        let half = Timestamp::of_unix(Duration::from_millis(500)).since(at(0));
        assert_eq!(half, 500_000_000);
    }

    #[test]
    fn spans_have_an_end() {
        for (span, bytes) in [
            (Duration::ZERO, [0, 0, 0, 0]),
            (Duration::from_millis(500), [0, 0, 0x80, 0]),
            (Duration::from_secs(3), [0, 3, 0, 0]),
            (Duration::MAX, [255; 4]),
        ] {
            assert_eq!(Short::of(span).to_bytes(), bytes);
        }
        assert_eq!(Short::from_bytes([0, 1, 0x40, 0]).span(), Duration::from_millis(1250));
    }
}
