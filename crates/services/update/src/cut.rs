//! Where a system is cut into pieces: by its content (FastCDC, Xia et al., USENIX ATC 2016), so that what is the
//! same in two systems is cut alike wherever it lies.

use std::{
    collections::HashMap,
    io::{self, Read},
    ops::Range,
};

use fastcdc::v2020::{FastCDC, StreamCDC};

use crate::{Hash, manifest::LONGEST_PIECE};

/// Bytes of the shortest piece and of a usual one. A compressed block of the root has 128 KiB at most, and a piece
/// should hold little that is not of the block that changed.
const SHORTEST: u32 = 16 << 10;
const USUAL: u32 = 64 << 10;

/// The pieces of `bytes`, in order, without gaps.
pub fn cut(bytes: &[u8]) -> Vec<Range<usize>> {
    FastCDC::new(bytes, SHORTEST, USUAL, LONGEST_PIECE)
        .map(|chunk| chunk.offset..chunk.offset + chunk.length)
        .collect()
}

/// What is on a card already: content and one place of each.
pub type Known = HashMap<(Hash, u32), u64>;

/// Adds the pieces of what `from` gives to `known`; it lies from byte `start` of the card on.
///
/// # Errors
/// What reading gives.
pub fn index(from: impl Read, start: u64, known: &mut Known) -> io::Result<()> {
    for chunk in StreamCDC::new(from, SHORTEST, USUAL, LONGEST_PIECE) {
        let chunk = chunk.map_err(io::Error::other)?;
        let len = u32::try_from(chunk.length).map_err(io::Error::other)?;
        known.insert((Hash::of(&chunk.data), len), start + chunk.offset);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without a pattern.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let step = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(step).collect()
    }

    #[test]
    fn what_is_the_same_is_cut_alike_wherever_it_lies() {
        let old = noise(8 << 20);
        let mut new = old.clone();
        new.splice(3 << 20..(3 << 20) + 100, noise(1777));
        let mut known = Known::new();
        index(old.as_slice(), 1000, &mut known).unwrap();
        let lacking: usize = cut(&new)
            .into_iter()
            .map(|range| &new[range])
            .filter(|piece| !known.contains_key(&(Hash::of(piece), piece.len() as u32)))
            .map(<[u8]>::len)
            .sum();
        assert!(lacking > 0 && lacking < 1 << 20, "{lacking} bytes would be sent for a change of 1777");
        let (key, place) = known.iter().next().unwrap();
        let start = (*place - 1000) as usize;
        assert_eq!(Hash::of(&old[start..start + key.1 as usize]), key.0);
    }

    #[test]
    fn pieces_have_no_gaps_and_are_not_too_long() {
        for bytes in [noise(0), noise(1), noise(3 << 20), vec![0; 3 << 20]] {
            let mut end = 0;
            for range in cut(&bytes) {
                assert_eq!(range.start, end);
                assert!(range.len() <= LONGEST_PIECE as usize && !range.is_empty());
                end = range.end;
            }
            assert_eq!(end, bytes.len());
        }
    }
}
