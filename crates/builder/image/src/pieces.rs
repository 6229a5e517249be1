//! Compressed pieces of what earlier builds wrote, found again by a digest of what they are made of.
//!
//! What a build writes (a squashfs, a packed kernel) holds its own compressed pieces. An [`Index`] beside it says where
//! each lies and what it is made of; a [`Stock`] of such files gives the next build the pieces that it would make once
//! more. So there is no store of pieces that has to be filled, bounded and swept: pieces come and go with the files that
//! they are part of.
//!
//! **What comes out does not depend on what is in stock.** A [`Key`] is over the content and over everything that decides
//! how it is compressed: settings, the code that does it, and every library (`Cargo.lock`). A record's digest is over key,
//! length and the bytes themselves, and they are checked each time that they are read: a file that is damaged, cut short
//! or someone else's gives no pieces, and never wrong ones.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::{Digest, ReadAt};

/// The libraries that compress are the same where this is.
const LIBRARIES: &str = include_str!("../../../../Cargo.lock");
/// Bytes of a record: key, start, length, check.
const RECORD: usize = 32 + 8 + 4 + 32;

/// How pieces are made.
#[derive(Clone)]
pub struct Maker(Sha256);

/// What a piece is made of, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Maker {
    /// One that is told from others by `parts`: what it is called, its settings, its code.
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts.iter().chain([&LIBRARIES.as_bytes()]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash)
    }

    /// The key of what it makes of `content`.
    pub fn key(&self, content: &[u8]) -> Key {
        Key(self.0.clone().chain_update(content).finalize().into())
    }
}

/// A piece that can be found again, wherever it comes to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    key: Key,
    /// 0 for content that does not shrink.
    len: u32,
    check: Digest,
}

impl Mark {
    /// Of what was made: `None` when the content does not shrink, and is not kept packed.
    pub fn new(key: Key, packed: Option<&[u8]>) -> Self {
        let packed = packed.unwrap_or_default();
        let len = packed.len() as u32;
        let hash = Sha256::new().chain_update(key.0).chain_update(len.to_le_bytes()).chain_update(packed);
        Self { key, len, check: Digest(hash.finalize().into()) }
    }
}

/// Where in a file its pieces lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index(Vec<(Mark, u64)>);

impl Index {
    /// Adds a piece that starts `start` bytes into the file.
    pub fn push(&mut self, mark: Mark, start: u64) {
        self.0.push((mark, start));
    }

    /// As kept in a file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * RECORD);
        for (mark, start) in &self.0 {
            bytes.extend_from_slice(&mark.key.0);
            bytes.extend_from_slice(&start.to_le_bytes());
            bytes.extend_from_slice(&mark.len.to_le_bytes());
            bytes.extend_from_slice(&mark.check.0);
        }
        bytes
    }

    /// Reads an index; what is no whole record is left out. Whether a record is true shows when it is used.
    pub fn decode(bytes: &[u8]) -> Self {
        fn field<const LEN: usize>(bytes: &[u8]) -> Option<([u8; LEN], &[u8])> {
            bytes.split_first_chunk().map(|(field, rest)| (*field, rest))
        }
        let record = |bytes| {
            let (key, bytes) = field(bytes)?;
            let (start, bytes) = field(bytes)?;
            let (len, bytes) = field(bytes)?;
            let (check, _) = field(bytes)?;
            let mark = Mark { key: Key(key), len: u32::from_le_bytes(len), check: Digest(check) };
            Some((mark, u64::from_le_bytes(start)))
        };
        Self(bytes.chunks_exact(RECORD).filter_map(record).collect())
    }
}

/// A piece out of stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The packed bytes.
    Packed(Vec<u8>),
    /// The content does not shrink.
    Unshrunk,
}

/// Files that were written earlier, with their indexes.
#[derive(Default)]
pub struct Stock {
    files: Vec<Box<dyn ReadAt + Send + Sync>>,
    pieces: HashMap<Key, (Mark, usize, u64)>,
}

impl Stock {
    /// Adds a file. Of pieces that several have, the first file's are used.
    pub fn add(&mut self, file: Box<dyn ReadAt + Send + Sync>, index: &Index) {
        for (mark, start) in &index.0 {
            self.pieces.entry(mark.key).or_insert((*mark, self.files.len(), *start));
        }
        self.files.push(file);
    }

    /// The piece with this key, made of `len` bytes, if it is there and whole.
    pub fn find(&self, key: Key, len: usize) -> Option<(Found, Mark)> {
        let (mark, file, start) = self.pieces.get(&key)?;
        // A piece is shorter than what it is made of: what says otherwise is not worth the memory.
        let packed_len = usize::try_from(mark.len).ok().filter(|packed| *packed < len)?;
        let mut packed = vec![0; packed_len];
        self.files.get(*file)?.read_exact_at(*start, &mut packed).ok()?;
        let found = (!packed.is_empty()).then_some(packed);
        if Mark::new(key, found.as_deref()) != *mark {
            return None;
        }
        Some((found.map_or(Found::Unshrunk, Found::Packed), *mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Held(Vec<u8>);

    impl ReadAt for Held {
        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
            self.0.read_exact_at(offset, buf)
        }
    }

    fn maker() -> Maker {
        Maker::new(&[b"test"])
    }

    /// A file with two pieces, and its index.
    fn stocked() -> (Vec<u8>, Index) {
        let mut index = Index::default();
        index.push(Mark::new(maker().key(b"long content"), Some(b"long")), 3);
        index.push(Mark::new(maker().key(b"noise"), None), 0);
        (b"...long...".to_vec(), index)
    }

    fn stock(file: &[u8], index: &[u8]) -> Stock {
        let mut stock = Stock::default();
        stock.add(Box::new(Held(file.to_vec())), &Index::decode(index));
        stock
    }

    fn found(stock: &Stock, content: &[u8]) -> Option<Found> {
        stock.find(maker().key(content), content.len()).map(|(found, _)| found)
    }

    #[test]
    fn what_was_made_is_found_again() {
        let (file, index) = stocked();
        assert_eq!(Index::decode(&index.encode()), index);
        let stock = stock(&file, &index.encode());
        assert_eq!(found(&stock, b"long content"), Some(Found::Packed(b"long".to_vec())));
        assert_eq!(found(&stock, b"noise"), Some(Found::Unshrunk));
        assert_eq!(found(&stock, b"other content"), None);
        let key = Maker::new(&[b"tes", b"t"]).key(b"long content");
        assert!(stock.find(key, 12).is_none(), "another maker's is not taken");
    }

    #[test]
    fn any_damage_is_noticed() {
        let (file, index) = stocked();
        let index = index.encode();
        let is_true = |stock: &Stock| {
            let packed = found(stock, b"long content");
            let unshrunk = found(stock, b"noise");
            assert!(packed.is_none_or(|found| found == Found::Packed(b"long".to_vec())));
            assert!(unshrunk.is_none_or(|found| found == Found::Unshrunk));
        };
        for bit in 0..index.len() * 8 {
            let mut damaged = index.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            is_true(&stock(&file, &damaged));
        }
        for bit in 3 * 8..7 * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(found(&stock(&damaged, &index), b"long content"), None);
        }
        for len in 0..index.len() {
            is_true(&stock(&file, &index[..len]));
        }
        for len in 0..7 {
            assert_eq!(found(&stock(&file[..len], &index), b"long content"), None);
        }
    }
}
