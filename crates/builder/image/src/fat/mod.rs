//! FAT32: a writer for the boot partition, and a reader that takes files out of an image again.
//!
//! The format is described in Microsoft's *FAT32 File System Specification* 1.03. Firmware reads this partition
//! before any system of ours runs, so it gets nothing unusual: one sector a cluster, every file in one run, long
//! names beside short ones.

mod names;
mod read;
mod write;

pub use read::{Entry, FatReadError, Reader};
pub use write::{FatError, Options, write};

/// The length of a sector in bytes.
const SECTOR: usize = 512;
/// The length of a folder's entry in bytes.
const ENTRY_LEN: usize = 32;
/// Below this many clusters a FAT is FAT16, whatever else it says.
const MIN_CLUSTERS: u32 = 65525;
/// The bits of a FAT's entry that count.
const CLUSTER_MASK: u32 = 0x0fff_ffff;
/// The least value that ends a chain of clusters.
const CHAIN_END: u32 = 0x0fff_fff8;
const FSINFO_HEAD: &[u8] = b"RRaA";
const FSINFO_MIDDLE: &[u8] = b"rrAa";

const ATTR_VOLUME: u8 = 0x08;
const ATTR_DIRECTORY: u8 = 0x10;
const ATTR_ARCHIVE: u8 = 0x20;
const ATTR_LONG_NAME: u8 = 0x0f;
/// The bit of a long name's first stored piece, which is its last.
const LAST_PIECE: u8 = 0x40;
/// How many UTF-16 units of a long name an entry holds, and where.
const PIECE_LEN: usize = 13;
const PIECE_UNITS: [usize; PIECE_LEN] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// The sum over a short name that ties a long name's entries to it.
fn short_name_sum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests;
