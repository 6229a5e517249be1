//! When to send again: the estimate of RFC 6298, with bounds that fit a boot ROM at the end of one wire.

use std::time::Duration;

/// Before anything was measured (RFC 6298 § 2.1).
const FIRST: Duration = Duration::from_secs(1);
/// A ROM that polls its network card between other work answers in tens of milliseconds; sending again much
/// sooner only makes duplicates, on which some clients hang (Raspberry Pi 4).
const LEAST: Duration = Duration::from_millis(100);
/// The longest wait, unless the client asked for another `timeout`. Longer than 5 s: atftp acknowledges a repeated
/// block once and no more until nothing has come for its own 5 s, so a server that never pauses as long never
/// hears from it again.
const MOST: Duration = Duration::from_secs(6);
/// How long after a sign of a gap the blocks go out again, in round trips.
const HURRY: u32 = 2;
const LEAST_HURRY: Duration = Duration::from_millis(10);

/// The wait before sending again, fed with round trips.
#[derive(Debug, Clone)]
pub(crate) struct Estimate {
    /// Smoothed round trip and its variation.
    smooth: Option<(Duration, Duration)>,
    wait: Duration,
    most: Duration,
}

impl Estimate {
    /// With `timeout`, the client's own wait (RFC 2349), there is no longer wait than that.
    pub(crate) fn new(timeout: Option<Duration>) -> Self {
        let most = timeout.unwrap_or(MOST);
        Self { smooth: None, wait: FIRST.min(most), most }
    }

    /// The wait before the next repetition.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// The wait once the client has shown that something is missing.
    pub(crate) fn hurry(&self) -> Duration {
        let round_trip = self.smooth.map_or(self.wait, |(smooth, _)| smooth.saturating_mul(HURRY));
        round_trip.clamp(LEAST_HURRY, self.wait.max(LEAST_HURRY))
    }

    /// A round trip was measured on something sent once (Karn's rule is the caller's to keep).
    pub(crate) fn measured(&mut self, round_trip: Duration) {
        let (smooth, variation) = match self.smooth {
            None => (round_trip, round_trip / 2),
            Some((smooth, variation)) => {
                let off = smooth.abs_diff(round_trip);
                ((smooth * 7 + round_trip) / 8, (variation * 3 + off) / 4)
            }
        };
        self.smooth = Some((smooth, variation));
        self.wait = (smooth + variation * 4).clamp(LEAST.min(self.most), self.most);
    }

    /// The wait passed without an answer: the next is twice as long.
    pub(crate) fn expired(&mut self) {
        self.wait = self.wait.saturating_mul(2).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_the_wire() {
        let ms = Duration::from_millis;
        let mut estimate = Estimate::new(None);
        assert_eq!(estimate.wait(), ms(1000));
        estimate.measured(ms(1));
        assert_eq!((estimate.wait(), estimate.hurry()), (LEAST, LEAST_HURRY));
        estimate.measured(ms(500));
        assert!(estimate.wait() > ms(300), "{estimate:?}");
        for _ in 0..9 {
            estimate.expired();
        }
        assert_eq!(estimate.wait(), MOST);
        estimate.measured(Duration::from_secs(99));
        assert_eq!(estimate.wait(), MOST);
    }

    #[test]
    fn the_clients_timeout_bounds_it() {
        let mut estimate = Estimate::new(Some(Duration::from_secs(255)));
        assert_eq!(estimate.wait(), FIRST);
        for _ in 0..20 {
            estimate.expired();
        }
        assert_eq!(estimate.wait(), Duration::from_secs(255));
    }
}
