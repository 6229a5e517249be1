//! Where the clock is moved to: the board has no clock of its own and starts at the kernel's beginning of time.

/// The first second of 2100-01-01: a saved time at or after it is taken for damage, or else one bad file on the
/// data partition would hold the clock there for good.
const DAMAGED_FROM: u64 = 4_102_444_800;

/// The time to set, in seconds since 1970-01-01T00:00:00Z: the latest of `known`, when that is later than `now`.
/// The clock is never moved back.
pub fn step_to(now: u64, known: &[u64]) -> Option<u64> {
    known.iter().copied().filter(|time| *time < DAMAGED_FROM).max().filter(|time| *time > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_forward_or_stays() {
        let check = |now, known: &[u64], expect| assert_eq!(step_to(now, known), expect, "{now} {known:?}");
        check(0, &[], None);
        check(0, &[100, 300, 200], Some(300));
        check(300, &[100, 300, 200], None);
        check(301, &[300], None);
        check(0, &[DAMAGED_FROM, 5], Some(5));
        check(0, &[u64::MAX], None);
    }
}
