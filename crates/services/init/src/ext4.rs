//! The little of an ext4 superblock that growing and repairing need (Linux, Documentation/filesystems/ext4/super.rst).

/// Where the superblock lies from the filesystem's start, in bytes.
pub const OFFSET: u64 = 1024;
/// How long the superblock is, in bytes.
pub const LENGTH: usize = 1024;

/// The size that a filesystem says it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Bytes in a block: a power of two from 1024 to 65536.
    pub block_size: u64,
    /// Blocks in the filesystem.
    pub blocks: u64,
    /// Whether the kernel once found something in it that no journal explains (`EXT4_ERROR_FS`), and nobody has
    /// repaired it since. A pulled plug alone does not do that.
    pub damaged: bool,
    /// Whether its two sectors are of different times, as its checksum says: a power cut came between them. The kernel
    /// does not mount it; everything else is as good as ever, and so are the superblock's copies.
    pub torn: bool,
}

/// The feature by which a superblock has a checksum (`EXT4_FEATURE_RO_COMPAT_METADATA_CSUM`).
const CHECKSUMS: u32 = 0x400;
/// Where the checksum is, which is over all that is before it.
const CHECKSUM_AT: usize = 0x3fc;

/// Why a superblock is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ext4Error {
    /// The magic number is not there.
    #[error("there is no ext4 filesystem: 0x{0:04x} stands where 0xef53 should")]
    Magic(u16),
    /// A block size that no ext4 has.
    #[error("the ext4 superblock is damaged: blocks of 2^(10+{0}) bytes")]
    BlockSize(u32),
}

impl Superblock {
    /// Reads the superblock.
    ///
    /// # Errors
    /// When the bytes are no ext4 superblock.
    pub fn parse(bytes: &[u8; LENGTH]) -> Result<Self, Ext4Error> {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let magic = u16_at(0x38);
        if magic != 0xef53 {
            return Err(Ext4Error::Magic(magic));
        }
        let log_block_size = u32_at(0x18);
        if log_block_size > 6 {
            return Err(Ext4Error::BlockSize(log_block_size));
        }
        // The upper half counts only with the 64bit feature.
        let high = if u32_at(0x60) & 0x80 != 0 { u32_at(0x150) } else { 0 };
        Ok(Self {
            block_size: 1024 << log_block_size,
            blocks: u64::from(high) << 32 | u64::from(u32_at(0x04)),
            damaged: u16_at(0x3a) & 0x2 != 0,
            torn: u32_at(0x64) & CHECKSUMS != 0 && u32_at(CHECKSUM_AT) != checksum(&bytes[..CHECKSUM_AT]),
        })
    }

    /// The number of blocks the filesystem should have on a partition of this many bytes, when that is more
    /// than it has.
    pub fn grown(self, partition: u64) -> Option<u64> {
        Some(partition / self.block_size).filter(|blocks| *blocks > self.blocks)
    }
}

/// Gives a torn superblock the checksum of what it is now, so that e2fsck looks at it at all: for when the copies are
/// torn, too, as they can be while the file system grows. What its halves say may not agree; the journal holds it whole.
pub fn believe(bytes: &mut [u8; LENGTH]) {
    let sum = checksum(&bytes[..CHECKSUM_AT]);
    bytes[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
}

/// CRC-32C as ext4 has it: without the last inversion.
fn checksum(bytes: &[u8]) -> u32 {
    !crc32c::crc32c(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn superblock(log_block_size: u32, blocks: u64, wide: bool) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0x04..0x08].copy_from_slice(&(blocks as u32).to_le_bytes());
        bytes[0x18..0x1c].copy_from_slice(&log_block_size.to_le_bytes());
        bytes[0x38..0x3a].copy_from_slice(&0xef53u16.to_le_bytes());
        bytes[0x60] = if wide { 0x80 } else { 0 };
        bytes[0x150..0x154].copy_from_slice(&((blocks >> 32) as u32).to_le_bytes());
        bytes
    }

    #[test]
    fn sizes_are_read() {
        let check = |bytes, expect| assert_eq!(Superblock::parse(&bytes), expect);
        check(
            superblock(2, 65536, true),
            Ok(Superblock { block_size: 4096, blocks: 65536, damaged: false, torn: false }),
        );
        check(
            superblock(0, 8, false),
            Ok(Superblock { block_size: 1024, blocks: 8, damaged: false, torn: false }),
        );
        check(
            superblock(2, 1 << 33, true),
            Ok(Superblock { block_size: 4096, blocks: 1 << 33, damaged: false, torn: false }),
        );
        check(
            superblock(2, (1 << 33) + 7, false),
            Ok(Superblock { block_size: 4096, blocks: 7, damaged: false, torn: false }),
        );
        // Clean, with errors, in use, in use with errors.
        for (state, damaged) in [(1, false), (3, true), (0, false), (2, true)] {
            let mut bytes = superblock(2, 7, true);
            bytes[0x3a] = state;
            check(bytes, Ok(Superblock { block_size: 4096, blocks: 7, damaged, torn: false }));
        }
        check([0; LENGTH], Err(Ext4Error::Magic(0)));
        check(superblock(7, 1, true), Err(Ext4Error::BlockSize(7)));
    }

    #[test]
    fn a_superblock_of_two_times_is_torn() {
        let with_checksum = |blocks| {
            let mut bytes = superblock(2, blocks, true);
            bytes[0x65] = 0x04;
            // Something of the second sector.
            bytes[0x200] = blocks as u8;
            let sum = checksum(&bytes[..CHECKSUM_AT]);
            bytes[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
            bytes
        };
        let (older, newer) = (with_checksum(7), with_checksum(8));
        assert!(!Superblock::parse(&older).unwrap().torn && !Superblock::parse(&newer).unwrap().torn);
        let mut torn: [u8; LENGTH] = [&newer[..512], &older[512..]].concat().try_into().unwrap();
        assert!(Superblock::parse(&torn).unwrap().torn);
        believe(&mut torn);
        assert!(!Superblock::parse(&torn).unwrap().torn);
        assert_eq!(torn[..CHECKSUM_AT], [&newer[..512], &older[512..CHECKSUM_AT]].concat());
    }

    #[test]
    fn it_grows_and_never_shrinks() {
        let filesystem = Superblock { block_size: 4096, blocks: 65536, damaged: false, torn: false };
        let mib = 1 << 20;
        assert_eq!(filesystem.grown(1024 * mib), Some(262_144));
        assert_eq!(filesystem.grown(256 * mib), None);
        assert_eq!(filesystem.grown(256 * mib + 4095), None);
        assert_eq!(filesystem.grown(mib), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), LENGTH)) {
            let _ = Superblock::parse(&bytes.try_into().expect("the length asked for"));
        }
    }
}
