//! How many questions one source may ask: who asks more is an address that somebody has forged, or a machine that has lost
//! its mind, and costs the others nothing.
//!
//! Asks no clock: the caller says what time it is. What is remembered is bounded, however many sources there are.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// The questions of each source, lately. A source is an address of whatever kind; for those of IP there is [`source`].
#[derive(Debug)]
pub struct Limits<S> {
    /// Questions at once.
    burst: u32,
    /// The time after which one more is granted.
    every: Duration,
    /// Half of the sources that are remembered.
    half: usize,
    /// Those that asked since `former` was filled.
    recent: HashMap<S, Bucket>,
    former: HashMap<S, Bucket>,
}

/// What a source has used up, as the time at which it will have been given all of it back.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    even_at: Duration,
}

impl<S: Copy + Eq + Hash> Limits<S> {
    /// `burst` questions at once and `rate` a second from each source, of which `most` are remembered. Neither number is
    /// zero.
    pub fn new(burst: u32, rate: u32, most: usize) -> Self {
        Self {
            burst,
            every: Duration::from_secs(1) / rate.max(1),
            half: (most / 2).max(1),
            recent: HashMap::new(),
            former: HashMap::new(),
        }
    }

    /// Whether a question from `source` is to be answered at `now`, a time since any fixed start.
    pub fn take(&mut self, source: S, now: Duration) -> bool {
        let bucket = self.recent.get(&source).or_else(|| self.former.get(&source));
        let even_at = bucket.map_or(now, |bucket| bucket.even_at.max(now));
        let next = even_at + self.every;
        let granted = next.saturating_sub(now) <= self.every * self.burst;
        let even_at = if granted { next } else { even_at };
        if self.recent.len() >= self.half && !self.recent.contains_key(&source) {
            // Each source is forgotten when so many others have asked since: by then it has been given back what it used,
            // or there are so many that they are one.
            self.former = std::mem::take(&mut self.recent);
        }
        self.recent.insert(source, Bucket { even_at });
        granted
    }
}

/// Who counts as one: an address, and in IPv6, where one machine has as many as it likes, a network; but on the link, where
/// all are of one network, an address again.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_unicast_link_local() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut limits = Limits::new(3, 2, 100);
        let ms = Duration::from_millis;
        let mut take = |number, at| limits.take(number, ms(at));
        assert_eq!([0, 0, 0, 0].map(|at| take(1, at)), [true, true, true, false]);
        assert_eq!([499, 500, 501].map(|at| take(1, at)), [false, true, false]);
        assert!(take(2, 501), "another source has its own");
        assert_eq!([10_000; 4].map(|at| take(1, at)), [true, true, true, false]);
        // A clock that steps back grants nothing and breaks nothing.
        assert!(!take(1, 0));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_a_flood_of_sources_forgives_nobody_at_once() {
        let mut limits = Limits::new(1, 1, 1000);
        let at = Duration::from_millis(1);
        assert!(limits.take(0, at));
        for number in 1..400 {
            assert!(limits.take(number, at));
        }
        assert!(!limits.take(0, at));
        for number in 1..100_000 {
            limits.take(number, at);
            assert!(limits.recent.len() + limits.former.len() <= 1000);
        }
    }

    #[test]
    fn a_machine_with_many_addresses_is_one_source() {
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("fe80::1", "fe80::2", false),
            ("::ffff:10.77.0.1", "10.77.0.1", true),
            ("10.77.0.1", "10.77.0.2", false),
        ] {
            let [one, other] = [one, other].map(|text| source(text.parse().unwrap()));
            assert_eq!(one == other, same, "{one} {other}");
        }
    }
}
