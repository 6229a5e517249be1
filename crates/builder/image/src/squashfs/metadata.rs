//! Metadata: a stream of bytes cut into blocks of 8 KiB, each behind its length and compressed where that helps.

use zstd::bulk::Compressor;

use super::SquashfsError;

/// The length of a block before compression.
pub(super) const BLOCK: usize = 8192;
/// The bit of a block's length that says that it is not compressed.
pub(super) const STORED: u16 = 0x8000;

/// Where something stands in a stream of metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// Where its block starts, in bytes from the stream's start.
    pub(super) block: u32,
    /// Its offset in the unpacked block, below 8192.
    pub(super) offset: u16,
}

impl Place {
    /// As an inode is referred to.
    pub(super) fn reference(self) -> u64 {
        u64::from(self.block) << 16 | u64::from(self.offset)
    }
}

/// A stream that is being written.
pub(super) struct Metadata {
    level: i32,
    compressor: Option<Compressor<'static>>,
    open: Vec<u8>,
    done: Vec<u8>,
    /// Where each finished block starts.
    starts: Vec<u64>,
}

impl Metadata {
    pub(super) fn new(level: i32) -> Self {
        Self {
            level,
            compressor: None,
            open: Vec::with_capacity(BLOCK),
            done: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Where the next byte will stand.
    pub(super) fn place(&self) -> Result<Place, SquashfsError> {
        let block = u32::try_from(self.done.len())
            .map_err(|_| SquashfsError::TooLarge { what: "bytes of metadata", limit: u32::MAX.into() })?;
        Ok(Place { block, offset: self.open.len() as u16 })
    }

    pub(super) fn put(&mut self, mut bytes: &[u8]) -> Result<(), SquashfsError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.open.len()));
            self.open.extend_from_slice(now);
            bytes = later;
            if self.open.len() == BLOCK {
                self.close()?;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), SquashfsError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(self.level).map_err(SquashfsError::Compress)?),
        };
        let packed = compressor.compress(&self.open).map_err(SquashfsError::Compress)?;
        self.starts.push(self.done.len() as u64);
        let (header, block) = if packed.len() < self.open.len() {
            (packed.len() as u16, &packed)
        } else {
            (self.open.len() as u16 | STORED, &self.open)
        };
        self.done.extend_from_slice(&header.to_le_bytes());
        self.done.extend_from_slice(block);
        self.open.clear();
        Ok(())
    }

    /// The finished stream.
    pub(super) fn into_bytes(mut self) -> Result<Vec<u8>, SquashfsError> {
        self.close()?;
        Ok(self.done)
    }

    /// The finished stream with the list of its blocks behind it, to stand at `at` in the file; and where in it
    /// the list starts.
    pub(super) fn into_table(mut self, at: u64) -> Result<(Vec<u8>, u64), SquashfsError> {
        self.close()?;
        let index = self.done.len() as u64;
        for start in &self.starts {
            self.done.extend_from_slice(&(at + start).to_le_bytes());
        }
        Ok((self.done, index))
    }
}
