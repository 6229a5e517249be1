//! Which pieces of which files are in memory, as far as this server knows from having read them.
//!
//! The kernel itself does not say it everywhere: `preadv2(2)` with `RWF_NOWAIT` is a matter of the file system, and
//! `mincore(2)` tells only those who may write. What was read a while ago may have been put out since: whoever finds out
//! [`Warmth::forget`]s it.

use std::{collections::BTreeMap, ops::Range};

/// Bytes of a piece: some ten milliseconds of a card, and little beside the cost of asking for it.
pub const PIECE: u64 = 256 * 1024;
/// The most files that are remembered.
const MOST_FILES: usize = 1024;

/// What is known to be in memory.
#[derive(Debug, Default)]
pub struct Warmth {
    files: BTreeMap<u64, Pieces>,
    clock: u64,
}

#[derive(Debug, Default)]
struct Pieces {
    /// A bit for each piece.
    known: Vec<u64>,
    used: u64,
}

impl Warmth {
    /// How much of `part` of the file `inode` is in memory from its start on without a gap, in bytes.
    pub fn known(&mut self, inode: u64, part: Range<u64>) -> u64 {
        self.clock += 1;
        let Some(pieces) = self.files.get_mut(&inode) else { return 0 };
        pieces.used = self.clock;
        let mut end = part.start;
        while end < part.end && pieces.has(end / PIECE) {
            end = (end / PIECE + 1).saturating_mul(PIECE);
        }
        end.min(part.end).saturating_sub(part.start)
    }

    /// The piece in which the byte `at` lies, which may go on beyond the end of the file.
    pub fn piece(at: u64) -> Range<u64> {
        let start = at / PIECE * PIECE;
        start..start.saturating_add(PIECE)
    }

    /// The piece of the file `inode` in which the byte `at` lies was read.
    pub fn learn(&mut self, inode: u64, at: u64) {
        self.clock += 1;
        if !self.files.contains_key(&inode) && self.files.len() >= MOST_FILES {
            let oldest = self.files.iter().min_by_key(|(_, pieces)| pieces.used).map(|(inode, _)| *inode);
            oldest.map(|oldest| self.files.remove(&oldest));
        }
        let pieces = self.files.entry(inode).or_default();
        pieces.used = self.clock;
        pieces.set(at / PIECE);
    }

    /// What was known of the pieces in which `part` lies is not so any more.
    pub fn forget(&mut self, inode: u64, part: Range<u64>) {
        let Some(pieces) = self.files.get_mut(&inode) else { return };
        for piece in part.start / PIECE..part.end.div_ceil(PIECE) {
            pieces.clear(piece);
        }
    }
}

impl Pieces {
    fn has(&self, piece: u64) -> bool {
        let word = usize::try_from(piece / 64).ok().and_then(|word| self.known.get(word));
        word.is_some_and(|word| word & 1 << (piece % 64) != 0)
    }

    fn clear(&mut self, piece: u64) {
        if let Some(word) = usize::try_from(piece / 64).ok().and_then(|word| self.known.get_mut(word)) {
            *word &= !(1 << (piece % 64));
        }
    }

    fn set(&mut self, piece: u64) {
        let Ok(at) = usize::try_from(piece / 64) else { return };
        if self.known.len() <= at {
            self.known.resize(at + 1, 0);
        }
        if let Some(word) = self.known.get_mut(at) {
            *word |= 1 << (piece % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_known() {
        let mut warmth = Warmth::default();
        assert_eq!(warmth.known(7, 0..10), 0);
        warmth.learn(7, 0);
        warmth.learn(7, PIECE);
        warmth.learn(7, 3 * PIECE);
        assert_eq!(warmth.known(7, 0..10), 10);
        assert_eq!(warmth.known(7, 5..10 * PIECE), 2 * PIECE - 5);
        assert_eq!(warmth.known(7, 2 * PIECE..10 * PIECE), 0);
        assert_eq!(warmth.known(7, 3 * PIECE + 1..3 * PIECE + 9), 8);
        assert_eq!(warmth.known(8, 0..10), 0);
        assert_eq!(warmth.known(7, 5..5), 0);
        assert_eq!(warmth.known(7, u64::MAX - 1..u64::MAX), 0);
        warmth.forget(7, 5..PIECE);
        assert_eq!((warmth.known(7, 0..10), warmth.known(7, PIECE..9 * PIECE)), (0, PIECE));
        warmth.forget(7, PIECE - 1..PIECE + 1);
        assert_eq!(warmth.known(7, PIECE..9 * PIECE), 0);
        assert_eq!(warmth.known(7, 3 * PIECE..9 * PIECE), PIECE);
    }

    #[test]
    fn pieces_lie_side_by_side() {
        assert_eq!(Warmth::piece(0), 0..PIECE);
        assert_eq!(Warmth::piece(PIECE - 1), 0..PIECE);
        assert_eq!(Warmth::piece(PIECE), PIECE..2 * PIECE);
        assert_eq!(Warmth::piece(u64::MAX).end, u64::MAX);
    }

    #[test]
    fn the_file_used_longest_ago_makes_room() {
        let mut warmth = Warmth::default();
        for inode in 0..MOST_FILES as u64 {
            warmth.learn(inode, 0);
        }
        assert_eq!(warmth.known(0, 0..1), 1);
        warmth.learn(9_999, 0);
        assert_eq!((warmth.known(0, 0..1), warmth.known(1, 0..1), warmth.files.len()), (1, 0, MOST_FILES));
    }
}
