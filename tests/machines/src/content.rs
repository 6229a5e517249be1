//! What was received, by its length and a sum: a thousand machines cannot keep it all.

use crc32fast::Hasher;

/// Bytes, known by how many they are and by their CRC-32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content {
    /// How many.
    pub length: u64,
    /// Their CRC-32.
    pub sum: u32,
}

impl Content {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut growing = Growing::default();
        growing.add(bytes);
        growing.content()
    }
}

/// Content that is still coming in.
#[derive(Debug, Clone, Default)]
pub struct Growing {
    length: u64,
    sum: Hasher,
}

impl Growing {
    /// The next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.sum.update(bytes);
    }

    /// How many there are so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// All of it.
    pub fn content(&self) -> Content {
        Content { length: self.length, sum: self.sum.clone().finalize() }
    }
}
