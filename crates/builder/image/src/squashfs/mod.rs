//! A squashfs 4.0 writer: a [`Tree`] in, a read-only file system out, in one pass.
//!
//! Blocks are compressed with zstd on all processors; what comes out does not depend on how many there are.
//! Content that does not shrink is stored as it is, content that stands twice is stored once. There is no
//! support for extended attributes: a [`Tree`] has none.
//!
//! The format is described in the Linux kernel's `fs/squashfs/squashfs_fs.h`. From the start: superblock,
//! compressor options, data and fragment blocks, inodes, folders, fragment table, owner table.

mod content;
mod metadata;
mod namespace;
#[cfg(test)]
mod tests;
mod usage;
#[cfg(test)]
mod walk;

use std::io::{self, Seek, SeekFrom, Write};

use pilotlight_tree::{Tree, TreePath};

use crate::pieces::{Index, Stock};
use metadata::Metadata;
pub use usage::{Damaged, FileUsage, Usage, usage};

const MAGIC: u32 = 0x7371_7368;
const SUPERBLOCK_LEN: u64 = 96;
const COMPRESSION_ZSTD: u16 = 6;
const FLAG_ALWAYS_FRAGMENTS: u16 = 0x0020;
const FLAG_DUPLICATES: u16 = 0x0040;
const FLAG_NO_XATTRS: u16 = 0x0200;
const FLAG_COMPRESSOR_OPTIONS: u16 = 0x0400;
/// What stands in place of a table that is not there.
const ABSENT: u64 = u64::MAX;
/// The file's length is a multiple of this, so that it can be a block device.
const DEVICE_BLOCK: u64 = 4096;

/// How to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The level of zstd, 1 to 22.
    pub level: i32,
    /// The length of a data block in bytes: a power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
    /// When the file system was made, seconds since 1970-01-01T00:00:00Z.
    pub time: u32,
}

impl Options {
    /// The defaults, made at `time`.
    pub const fn new(time: u32) -> Self {
        Self { level: DEFAULT_LEVEL, block_size: DEFAULT_BLOCK_SIZE, time }
    }
}

/// The level of zstd unless told otherwise. Measured once each on a Debian root of 282 MB, 87 of them modules that
/// are compressed already, with blocks of 256 KiB on two cores shared with other work, so that the times are
/// rough: level 1 took 0.7 s for 161 MB, 3 took 1.0 s for 158, 6 and 9 took about 3 s for 157 and 155, 15 took
/// 27 s for 151.
pub const DEFAULT_LEVEL: i32 = 3;
/// The length of a data block in bytes unless told otherwise. On the same root at level 3, 128 KiB come to 161 MB,
/// 256 to 158, 512 to 156. A page that is read costs a whole block, and the kernel keeps three fragments and one
/// buffer a processor: about 2 MB of a Pi 3's 1 GB. How long a Pi takes to unpack one is not measured.
pub const DEFAULT_BLOCK_SIZE: u32 = 256 << 10;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// The length of the file system in bytes, padding included.
    pub bytes: u64,
    /// The length of all files' content before deduplication and compression.
    pub content_bytes: u64,
    /// The length of the content that was left out because it stands elsewhere already.
    pub duplicate_bytes: u64,
    /// The inodes: files with several names count once.
    pub inodes: u32,
    /// The fragment blocks.
    pub fragments: u32,
    /// The blocks that would have been compressed, but were in stock.
    pub found: u32,
}

/// Why a tree cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SquashfsError {
    /// An option that the format does not have.
    #[error("squashfs knows no {what} of {value}")]
    Option {
        /// The option.
        what: &'static str,
        /// The value asked for.
        value: i64,
    },
    /// The tree is not a file system.
    #[error("{path} cannot go into a squashfs: {why}")]
    Node {
        /// The entry.
        path: TreePath,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More entries, owners or bytes than the format can count.
    #[error("the tree is too large for a squashfs: it has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much the format can count.
        limit: u64,
    },
    /// The compressor refused.
    #[error("zstd cannot compress a block")]
    Compress(#[source] io::Error),
    /// The output refused.
    #[error("cannot write the squashfs")]
    Write(#[from] io::Error),
}

/// Writes `tree` to `out`, from its current position on. The index says where in it the blocks are that the next file
/// system can have out of stock; what is written does not depend on what is in `stock`.
///
/// # Errors
/// A tree that is no file system or too large for the format, unknown options, a full disk.
pub fn write(
    tree: &Tree,
    options: &Options,
    stock: &Stock,
    out: &mut (impl Write + Seek + Send),
) -> Result<(Stats, Index), SquashfsError> {
    options.check()?;
    let base = out.stream_position()?;
    out.write_all(&[0; SUPERBLOCK_LEN as usize])?;
    let compressor_options = compressor_options(options.level);
    out.write_all(&compressor_options)?;

    let start = SUPERBLOCK_LEN + compressor_options.len() as u64;
    let stored = content::write(tree, options, stock, start, out)?;
    let spaces = namespace::build(tree, &stored.places, options)?;

    let mut superblock = Superblock { inode_table: stored.end, ..Superblock::default() };
    out.write_all(&spaces.inodes)?;
    superblock.folder_table = superblock.inode_table + spaces.inodes.len() as u64;
    out.write_all(&spaces.folders)?;

    let mut fragments = Metadata::new(options.level);
    for fragment in &stored.fragments {
        fragments.put(&fragment.start.to_le_bytes())?;
        fragments.put(&fragment.size.to_le_bytes())?;
        fragments.put(&[0; 4])?;
    }
    let at = superblock.folder_table + spaces.folders.len() as u64;
    let (table, index) = fragments.into_table(at)?;
    out.write_all(&table)?;
    superblock.fragment_table = at + index;

    let mut owners = Metadata::new(options.level);
    for owner in &spaces.owners {
        owners.put(&owner.to_le_bytes())?;
    }
    let at = at + table.len() as u64;
    let (table, index) = owners.into_table(at)?;
    out.write_all(&table)?;
    superblock.owner_table = at + index;

    superblock.bytes_used = at + table.len() as u64;
    superblock.inodes = spaces.inode_count;
    superblock.root = spaces.root;
    superblock.fragments = stored.fragments.len() as u32;
    superblock.owners = spaces.owners.len() as u16;
    let bytes = superblock.bytes_used.next_multiple_of(DEVICE_BLOCK);
    out.write_all(&vec![0; (bytes - superblock.bytes_used) as usize])?;
    out.seek(SeekFrom::Start(base))?;
    out.write_all(&superblock.encode(options))?;
    out.seek(SeekFrom::Start(base + bytes))?;
    out.flush()?;
    let stats = Stats {
        bytes,
        content_bytes: stored.content_bytes,
        duplicate_bytes: stored.duplicate_bytes,
        inodes: superblock.inodes,
        fragments: superblock.fragments,
        found: stored.found,
    };
    Ok((stats, stored.index))
}

impl Options {
    fn check(&self) -> Result<(), SquashfsError> {
        if !(1..=22).contains(&self.level) {
            return Err(SquashfsError::Option { what: "zstd level", value: self.level.into() });
        }
        if !self.block_size.is_power_of_two() || !(4 << 10..=1 << 20).contains(&self.block_size) {
            return Err(SquashfsError::Option { what: "block size", value: self.block_size.into() });
        }
        Ok(())
    }
}

/// The metadata block that names the level of zstd, stored as it is.
fn compressor_options(level: i32) -> [u8; 6] {
    let [a, b, c, d] = level.to_le_bytes();
    let [low, high] = (metadata::STORED | 4).to_le_bytes();
    [low, high, a, b, c, d]
}

#[derive(Default)]
struct Superblock {
    inodes: u32,
    fragments: u32,
    owners: u16,
    root: u64,
    bytes_used: u64,
    owner_table: u64,
    inode_table: u64,
    folder_table: u64,
    fragment_table: u64,
}

impl Superblock {
    fn encode(&self, options: &Options) -> Vec<u8> {
        let flags = FLAG_ALWAYS_FRAGMENTS | FLAG_DUPLICATES | FLAG_NO_XATTRS | FLAG_COMPRESSOR_OPTIONS;
        let mut bytes = Vec::with_capacity(SUPERBLOCK_LEN as usize);
        for word in [MAGIC, self.inodes, options.time, options.block_size, self.fragments] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for half in [COMPRESSION_ZSTD, options.block_size.ilog2() as u16, flags, self.owners, 4, 0] {
            bytes.extend_from_slice(&half.to_le_bytes());
        }
        let tables =
            [self.owner_table, ABSENT, self.inode_table, self.folder_table, self.fragment_table, ABSENT];
        for place in [self.root, self.bytes_used].into_iter().chain(tables) {
            bytes.extend_from_slice(&place.to_le_bytes());
        }
        bytes
    }
}
