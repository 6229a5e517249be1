//! What a system is made of: pieces of its boot partition and of its root, each with its place and digest.

use std::fmt;

use pilotlight_disk::{Extent, Slot};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The longest piece in bytes. It is held in memory as a whole.
pub(crate) const LONGEST_PIECE: u32 = 256 << 10;
/// The most pieces of a system: both partitions full of the shortest ones that are cut.
pub(crate) const MOST_PIECES: usize = 1 << 16;

/// SHA-256 of a piece; in text, 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("a SHA-256 has 64 hexadecimal digits");
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = str::from_utf8(digits).map_err(|_| "a SHA-256 has 64 hexadecimal digits")?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| "a SHA-256 has 64 hexadecimal digits")?;
        }
        Ok(Self(hash))
    }
}

/// A part of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// The boot partition.
    Boot,
    /// The root.
    Root,
}

impl Area {
    /// Where it lies on the card.
    pub fn of(self, slot: Slot) -> Extent {
        match self {
            Self::Boot => slot.boot(),
            Self::Root => slot.root(),
        }
    }
}

/// A run of bytes of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Piece {
    /// The part of the slot that it is in.
    pub area: Area,
    /// Its first byte, from the start of that part.
    pub at: u64,
    /// Its length in bytes, from 1 to 256 KiB.
    pub len: u32,
    /// What it holds.
    pub sha256: Hash,
}

impl Piece {
    /// Where it lies on the card.
    pub fn place(&self, slot: Slot) -> u64 {
        self.area.of(slot).start + self.at
    }
}

/// A system that is offered to a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The card's disk signature, which the system's command line names: eight hexadecimal digits.
    pub signature: String,
    /// The slot that it was made for: `a` or `b`.
    pub slot: String,
    /// The board that it was made for: a file of `boards/` without its ending.
    pub board: String,
    /// SHA-256 of the lab on its boot partition.
    pub lab: Hash,
    /// All that it is made of, ascending, without overlap.
    pub pieces: Vec<Piece>,
}

/// Why a manifest is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The slot is neither `a` nor `b`.
    #[error("the offer is for slot {0:?}; there are a and b")]
    Slot(String),
    /// There is nothing in it, or far too much.
    #[error("the offer has {0} pieces; 1 to {MOST_PIECES} can be taken")]
    Count(usize),
    /// A piece that is empty, too long, beyond its place, or lies over the one before it.
    #[error("the offer's piece {0} is empty, too long, out of order or out of its place")]
    Piece(usize),
}

impl Manifest {
    /// The slot that it is for, once everything in it is found to be possible.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self) -> Result<Slot, ManifestError> {
        let slot = Slot::from_name(&self.slot).ok_or_else(|| ManifestError::Slot(self.slot.clone()))?;
        if self.pieces.is_empty() || self.pieces.len() > MOST_PIECES {
            return Err(ManifestError::Count(self.pieces.len()));
        }
        let mut free = (Area::Boot, 0);
        for (number, piece) in self.pieces.iter().enumerate() {
            let end = piece.at.checked_add(u64::from(piece.len));
            let fits = end.is_some_and(|end| end <= piece.area.of(slot).len);
            let in_order = piece.area > free.0 || piece.area == free.0 && piece.at >= free.1;
            if piece.len == 0 || piece.len > LONGEST_PIECE || !fits || !in_order {
                return Err(ManifestError::Piece(number));
            }
            free = (piece.area, end.unwrap_or(u64::MAX));
        }
        Ok(slot)
    }

    /// How far it reaches into a part of the slot, in bytes.
    pub fn reach(&self, area: Area) -> u64 {
        let ends = self.pieces.iter().filter(|piece| piece.area == area);
        ends.map(|piece| piece.at.saturating_add(u64::from(piece.len))).max().unwrap_or(0)
    }

    /// Bytes of all pieces.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.len)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(area: Area, at: u64, len: u32) -> Piece {
        Piece { area, at, len, sha256: Hash([0; 32]) }
    }

    #[test]
    fn what_can_be_taken() {
        let check = |pieces: &[Piece], expect: Result<Slot, ManifestError>| {
            let manifest = Manifest {
                signature: "00000001".to_owned(),
                slot: "b".to_owned(),
                board: "rpi3".to_owned(),
                lab: Hash([0; 32]),
                pieces: pieces.to_vec(),
            };
            assert_eq!(manifest.check(), expect, "{pieces:?}");
        };
        let end = Slot::B.boot().len;
        check(&[piece(Area::Boot, 0, 1), piece(Area::Boot, 1, 5), piece(Area::Root, 0, 5)], Ok(Slot::B));
        check(&[piece(Area::Boot, end - 5, 5)], Ok(Slot::B));
        check(&[], Err(ManifestError::Count(0)));
        let wrong = |number| Err(ManifestError::Piece(number));
        check(&[piece(Area::Boot, 0, 0)], wrong(0));
        check(&[piece(Area::Boot, 0, LONGEST_PIECE + 1)], wrong(0));
        check(&[piece(Area::Boot, end - 4, 5)], wrong(0));
        check(&[piece(Area::Boot, u64::MAX, 5)], wrong(0));
        check(&[piece(Area::Boot, 0, 5), piece(Area::Boot, 4, 5)], wrong(1));
        check(&[piece(Area::Root, 0, 5), piece(Area::Boot, 0, 5)], wrong(1));
    }

    #[test]
    fn a_hash_is_64_digits() {
        let text = serde_json::to_string(&Hash([0xab; 32])).unwrap();
        assert_eq!(text, format!("\"{}\"", "ab".repeat(32)));
        assert_eq!(serde_json::from_str::<Hash>(&text).unwrap(), Hash([0xab; 32]));
        for bad in ["\"\"", "\"zz\"", &format!("\"+{}\"", "a".repeat(63)), &format!("\"{}\"", "é".repeat(32))]
        {
            assert!(serde_json::from_str::<Hash>(bad).is_err(), "{bad}");
        }
    }
}
