//! Who may hold a connection, and who gives one up when all are taken.
//!
//! No address has a number of its own: a thousand machines behind one relay are one address, and a rack that boots is a
//! thousand of them. While there is room everybody is let in. When there is none, the address that holds most gives up
//! those of its connections that have been quiet the longest, so that one machine gone wild makes room for the others,
//! and a rack only loses connections on which nothing happens.

use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr};

/// How many connections are given up at a time at most: looking for them means looking at all.
const GIVEN_UP: usize = 64;

/// How many connections each address holds.
#[derive(Debug)]
pub struct Places {
    most: usize,
    taken: usize,
    each: BTreeMap<IpAddr, usize>,
}

/// A connection that might be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder<T> {
    /// Its name.
    pub name: T,
    /// Whose it is.
    pub address: IpAddr,
    /// For how long nothing has come or left, in any unit.
    pub quiet: u64,
}

impl Places {
    /// Room for `most` connections.
    pub fn new(most: usize) -> Self {
        Self { most, taken: 0, each: BTreeMap::new() }
    }

    /// Whether all places are taken.
    pub fn full(&self) -> bool {
        self.taken >= self.most
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// An address takes a place.
    pub fn take(&mut self, address: IpAddr) {
        self.taken += 1;
        *self.each.entry(address).or_default() += 1;
    }

    /// An address gives a place back.
    pub fn give_back(&mut self, address: IpAddr) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(count) = self.each.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.each.remove(&address);
            }
        }
    }

    /// The connections to end so that others can come in, out of all there are.
    pub fn give_up<T>(&self, holders: impl Iterator<Item = Holder<T>>) -> Vec<T> {
        let heaviest = self.each.values().copied().max().unwrap_or(0);
        let of_heaviest =
            holders.filter(|holder| self.each.get(&holder.address).is_some_and(|count| *count == heaviest));
        let mut candidates: Vec<_> = of_heaviest.collect();
        candidates.sort_by_key(|holder| Reverse(holder.quiet));
        candidates.truncate((heaviest / 2).clamp(1, GIVEN_UP));
        candidates.into_iter().map(|holder| holder.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 77, 0, last])
    }

    fn places(held: &[(u8, &[u64])]) -> (Places, Vec<Holder<(u8, u64)>>) {
        let mut places = Places::new(held.iter().map(|(_, quiet)| quiet.len()).sum());
        let mut holders = Vec::new();
        for (last, quiet) in held {
            for quiet in *quiet {
                places.take(address(*last));
                holders.push(Holder { name: (*last, *quiet), address: address(*last), quiet: *quiet });
            }
        }
        assert!(places.full());
        (places, holders)
    }

    #[test]
    fn who_holds_most_gives_up_what_is_quiet() {
        let (places, holders) = places(&[(1, &[90, 80]), (2, &[1, 5, 3, 2]), (3, &[70])]);
        assert_eq!(places.give_up(holders.into_iter()), [(2, 5), (2, 3)]);
    }

    #[test]
    fn among_equals_the_quietest_goes() {
        let (mut places, holders) = places(&[(1, &[1]), (2, &[9]), (3, &[4])]);
        assert_eq!(places.give_up(holders.into_iter()), [(2, 9)]);
        places.give_back(address(2));
        places.give_back(address(2));
        assert!(!places.full());
        assert_eq!(places.each.len(), 2);
    }

    #[test]
    fn not_too_many_at_a_time() {
        let quiet: Vec<u64> = (0..1000).collect();
        let (places, holders) = places(&[(1, &quiet)]);
        assert_eq!(places.give_up(holders.into_iter()).len(), GIVEN_UP);
        assert_eq!(Places::new(0).give_up(std::iter::empty::<Holder<()>>()), []);
    }
}
