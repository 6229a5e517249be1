//! The record of writes: the format of Linux's dm-log-writes (Linux, drivers/md/dm-log-writes.c), as QEMU's driver
//! `blklogwrites` writes it (QEMU 10.0, block/blklogwrites.c).
//!
//! One sector of header, then for each request a sector that describes it and what it wrote. All numbers are
//! little-endian. A log that is being written ends somewhere: what is not whole is not there.

use std::ops::Range;

/// Bytes of a sector; what a card writes whole or not at all.
pub const SECTOR: u64 = 512;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;

/// A request of the guest, answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The first sector that it wrote.
    pub sector: u64,
    /// Where what it wrote lies in the log; empty for a flush alone. The length is a multiple of [`SECTOR`].
    pub data: Range<usize>,
    /// Whether everything that was answered before it is on the card for good.
    pub flush: bool,
    /// Whether it is on the card for good itself.
    pub fua: bool,
    /// Where the log goes on behind it.
    pub end: usize,
}

/// A log, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The requests, in the order in which they were answered.
    pub entries: Vec<Entry>,
}

/// Why a log cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It does not begin as one.
    #[error("this is no log of writes: its header is {0:#018x}, version {1}, with sectors of {2} bytes")]
    Header(u64, u64, u64),
    /// A request of a kind that is not expected of a card.
    #[error("request {0} of the log has the flags {1:#x}, which are not known")]
    Flags(usize, u64),
}

impl Log {
    /// Reads the log `bytes`.
    ///
    /// # Errors
    /// Something else than a log with sectors of 512 bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, LogError> {
        let (magic, version, size) = (number(bytes, 0), number(bytes, 8), number(bytes, 24) & 0xffff_ffff);
        if (magic, version, size) != (MAGIC, VERSION, SECTOR) {
            return Err(LogError::Header(magic, version, size));
        }
        let mut entries = Vec::new();
        let mut at = SECTOR as usize;
        // The header's count is brought up to date now and then only; an entry of nothing but zeros is none.
        while bytes.len() >= at + SECTOR as usize {
            let field = |index: usize| number(bytes, at + index * 8);
            let (sector, sectors, flags) = (field(0), field(1), field(2));
            if (sectors, flags) == (0, 0) {
                break;
            }
            if flags & !(FLUSH | FUA) != 0 {
                return Err(LogError::Flags(entries.len(), flags));
            }
            let start = at + SECTOR as usize;
            let Some(end) = usize::try_from(sectors * SECTOR).ok().and_then(|len| start.checked_add(len))
            else {
                break;
            };
            if end > bytes.len() {
                break;
            }
            let (flush, fua) = (flags & FLUSH != 0, flags & FUA != 0);
            entries.push(Entry { sector, data: start..end, flush, fua, end });
            at = end;
        }
        Ok(Self { entries })
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    found.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A log of requests: sector, content (one byte a sector) and flags.
    pub(crate) fn log(requests: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |words: &[u64]| {
            let start = bytes.len();
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            bytes.resize(start + 512, 0);
        };
        put(&[MAGIC, VERSION, 0, SECTOR]);
        for (sector, content, flags) in requests {
            put(&[*sector, content.len() as u64, *flags, 0]);
            for byte in *content {
                put(&[u64::from_le_bytes([*byte; 8]); 64]);
            }
        }
        bytes
    }

    #[test]
    fn requests_are_read_up_to_the_last_whole_one() {
        let bytes = log(&[(7, &[1, 2], 0), (0, &[], FLUSH), (9, &[3], FUA)]);
        let read = Log::read(&bytes).unwrap();
        assert_eq!(read.entries.len(), 3);
        assert_eq!(
            read.entries[0],
            Entry { sector: 7, data: 1024..2048, flush: false, fua: false, end: 2048 }
        );
        assert!(read.entries[1].flush && read.entries[1].data.is_empty() && read.entries[2].fua);
        for end in [bytes.len() - 1, bytes.len() - 512] {
            assert_eq!(Log::read(&bytes[..end]).unwrap().entries.len(), 2);
        }
        let longer = [&bytes[..], &[0; 4096]].concat();
        assert_eq!(Log::read(&longer).unwrap(), read);
    }

    #[test]
    fn what_is_no_log_is_named() {
        assert!(matches!(Log::read(b"no log"), Err(LogError::Header(..))));
        assert_eq!(Log::read(&log(&[(0, &[1], 4)])), Err(LogError::Flags(0, 4)));
    }
}
