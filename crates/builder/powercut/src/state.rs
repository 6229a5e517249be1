//! States of a card: a base, and which of the recorded writes are there.

use std::{collections::BTreeMap, io};

use pilotlight_image::ReadAt;

use crate::log::{Log, SECTOR};

/// A number that looks random and is the same for the same seed (SplitMix64's last step).
fn mixed(seed: u64) -> u64 {
    let mut word = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Every state that a power cut may leave: the log of what was done to a card, and the card before it.
#[derive(Debug)]
pub struct Cuts<'a, B: ?Sized> {
    base: &'a B,
    bytes: &'a [u8],
    log: &'a Log,
    /// Numbers of the requests behind which a flush had been answered; the first is 0.
    boundaries: Vec<usize>,
}

/// A card as a power cut left it.
#[derive(Debug)]
pub struct State<'a, B: ?Sized> {
    base: &'a B,
    bytes: &'a [u8],
    /// Where in the log what stands in a sector is; sectors that are not named are the base's.
    sectors: BTreeMap<u64, usize>,
    /// How far in the log's bytes the guest had got: what was promised to others before that is owed.
    pub reached: usize,
    /// In words, for a person who has to find it again.
    pub title: String,
}

impl<'a, B: ReadAt + ?Sized> Cuts<'a, B> {
    /// The states of `base`, to which was done what `log` says; `bytes` are those that it was read from.
    pub fn new(base: &'a B, bytes: &'a [u8], log: &'a Log) -> Self {
        let flushes = log.entries.iter().enumerate().filter(|(_, entry)| entry.flush).map(|(at, _)| at);
        let boundaries = [0].into_iter().chain(flushes.map(|at| at + 1)).collect();
        Self { base, bytes, log, boundaries }
    }

    /// How many moments there are at which nothing is on its way.
    pub fn boundaries(&self) -> usize {
        self.boundaries.len()
    }

    /// The card right after the flush `number`, with nothing of what came later.
    pub fn at_boundary(&self, number: usize) -> State<'a, B> {
        let until = self.boundaries.get(number).copied().unwrap_or_default();
        self.state(until, &|_| false, until, format!("after flush {number}, request {until}"))
    }

    /// The card with a part of what was written since a flush: a cut at some request, and of each of those before it
    /// that no flush has covered all sectors, some or none, but for those that were to be there for good by themselves.
    ///
    /// The same `seed` gives the same state.
    pub fn at_random(&self, seed: u64) -> State<'a, B> {
        let below = |salt: u64, limit: usize| (mixed(mixed(seed) ^ salt) % limit.max(1) as u64) as usize;
        let number = below(1, self.boundaries.len());
        let from = self.boundaries.get(number).copied().unwrap_or_default();
        // The next flush is not answered yet, or all that it covers would be there.
        let next = self.boundaries.get(number + 1).map(|next| next - 1);
        let end = next.unwrap_or(self.log.entries.len());
        let cut = from + below(2, end - from + 1);
        let kept = move |place: u64| mixed(mixed(seed ^ place)) & 1 == 0;
        let title = format!("seed {seed}: after flush {number}, cut at request {cut} of {from} to {end}");
        self.state(from, &kept, cut, title)
    }

    /// The card at the end.
    pub fn last(&self) -> State<'a, B> {
        let all = self.log.entries.len();
        self.state(all, &|_| false, all, "at the end".to_owned())
    }

    /// All requests up to `whole`, and of those up to `cut` the sectors that `kept` says.
    fn state(&self, whole: usize, kept: &dyn Fn(u64) -> bool, cut: usize, title: String) -> State<'a, B> {
        let mut sectors = BTreeMap::new();
        for (at, entry) in self.log.entries.iter().enumerate().take(cut) {
            for (sector, place) in (entry.sector..).zip(entry.data.clone().step_by(SECTOR as usize)) {
                if at < whole || entry.fua || kept(place as u64) {
                    sectors.insert(sector, place);
                }
            }
        }
        let reached =
            cut.checked_sub(1).and_then(|last| self.log.entries.get(last)).map_or(0, |entry| entry.end);
        State { base: self.base, bytes: self.bytes, sectors, reached, title }
    }
}

impl<B: ?Sized> State<'_, B> {
    /// The sectors that are not the base's, and their content.
    pub fn changed(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let content = |place: usize| self.bytes.get(place..place + SECTOR as usize).unwrap_or_default();
        self.sectors.iter().map(move |(sector, place)| (*sector, content(*place)))
    }
}

impl<B: ReadAt + ?Sized> ReadAt for State<'_, B> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.base.read_exact_at(offset, buf)?;
        let end = offset + buf.len() as u64;
        for (sector, place) in self.sectors.range(offset / SECTOR..end.div_ceil(SECTOR)) {
            let start = sector * SECTOR;
            let (from, to) = (start.max(offset), (start + SECTOR).min(end));
            let source = place + (from - start) as usize;
            let content = self.bytes.get(source..source + (to - from) as usize);
            let target = buf.get_mut((from - offset) as usize..(to - offset) as usize);
            if let (Some(content), Some(target)) = (content, target) {
                target.copy_from_slice(content);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::log;

    fn content(state: &State<'_, [u8]>) -> Vec<u8> {
        let mut bytes = vec![0; 4 * 512];
        state.read_exact_at(0, &mut bytes).unwrap();
        bytes.chunks(512).map(|sector| sector[0]).collect()
    }

    #[test]
    fn a_flush_is_a_promise_and_what_follows_is_none() {
        let base = vec![0; 4 * 512];
        let bytes =
            log(&[(0, &[1, 2], 0), (0, &[], 1), (1, &[3, 4], 0), (3, &[5], 2), (0, &[], 1), (0, &[6], 0)]);
        let log = Log::read(&bytes).unwrap();
        let cuts = Cuts::new(&base[..], &bytes, &log);
        assert_eq!(cuts.boundaries(), 3);
        assert_eq!(content(&cuts.at_boundary(0)), [0, 0, 0, 0]);
        assert_eq!(content(&cuts.at_boundary(1)), [1, 2, 0, 0]);
        assert_eq!(content(&cuts.at_boundary(2)), [1, 3, 4, 5]);
        assert_eq!(content(&cuts.last()), [6, 3, 4, 5]);

        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..2_000 {
            let state = cuts.at_random(seed);
            let sectors = content(&state);
            if state.reached > log.entries[3].data.start && state.reached < log.entries[4].end {
                assert_eq!(sectors[3], 5, "a write that was to be there for good is lost");
            }
            seen.insert(sectors);
        }
        // Torn in every way, and never without what a flush had covered.
        for expect in [[0, 2, 0, 0], [1, 0, 0, 0], [1, 3, 0, 0], [1, 2, 4, 5], [1, 3, 4, 5], [6, 3, 4, 5]] {
            assert!(seen.contains(&expect[..]), "{expect:?} of {seen:?}");
        }
        assert!(seen.iter().all(|sectors| sectors[3] == 0 || sectors[0] != 0));
    }
}
