//! The reader: lists folders and reads files of a FAT32, however damaged, without a panic or an endless walk.

use std::io;

use super::{
    ATTR_DIRECTORY, ATTR_LONG_NAME, ATTR_VOLUME, CHAIN_END, CLUSTER_MASK, ENTRY_LEN, LAST_PIECE,
    MIN_CLUSTERS, PIECE_LEN, PIECE_UNITS, SECTOR, short_name_sum,
};
use crate::ReadAt;

/// The longest folder that is read: what the format allows.
const FOLDER_MAX: u64 = 65536 * ENTRY_LEN as u64;
/// The longest file that is read, in bytes: far more than a boot partition holds, and little enough for memory
/// when a damaged length asks for more.
const FILE_MAX: u64 = 256 << 20;
const ENTRY_DELETED: u8 = 0xe5;
/// The bits of a short entry that say that its base or its extension is in lower case.
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// A FAT32 that is being read.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    cluster_len: u64,
    fat_start: u64,
    data_start: u64,
    /// One more than the last cluster's number.
    clusters_end: u32,
    root: u32,
    label: [u8; 11],
    volume_id: u32,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name: the long one, where there is one.
    pub name: String,
    /// Whether it is a folder.
    pub is_directory: bool,
    /// A file's length in bytes; 0 for a folder.
    pub len: u32,
    first: u32,
}

/// Why a FAT32 or a file on it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FatReadError {
    /// The first sector is not the one of a FAT32.
    #[error("this is no FAT32 file system: {0}")]
    NotFat(&'static str),
    /// No such file or folder.
    #[error("the FAT has no file or folder `{0}`")]
    NotFound(String),
    /// A file where a folder was asked for, or the other way round.
    #[error("`{path}` on the FAT is not a {expected}")]
    WrongKind {
        /// The path.
        path: String,
        /// What it was expected to be.
        expected: &'static str,
    },
    /// A chain of clusters leaves the file system, is a circle, or ends too early.
    #[error("the FAT is damaged: the chain of `{0}` is broken")]
    Chain(String),
    /// A file longer than any that a boot partition holds.
    #[error("`{path}` on the FAT claims to be {len} bytes long; at most 268435456 are read")]
    TooLong {
        /// The path.
        path: String,
        /// The length that its entry claims.
        len: u32,
    },
    /// The medium cannot be read.
    #[error("cannot read the FAT")]
    Read(#[from] io::Error),
}

impl<R: ReadAt> Reader<R> {
    /// Looks at the boot sector at the start of `source`.
    ///
    /// # Errors
    /// Anything but a FAT32 with sectors of 512 bytes.
    pub fn open(source: R) -> Result<Self, FatReadError> {
        let mut boot = [0; SECTOR];
        source.read_exact_at(0, &mut boot)?;
        let half = |at: usize| u16::from_le_bytes([boot[at], boot[at + 1]]);
        let word = |at: usize| u32::from_le_bytes([boot[at], boot[at + 1], boot[at + 2], boot[at + 3]]);
        if boot[510..] != [0x55, 0xaa] || usize::from(half(11)) != SECTOR {
            return Err(FatReadError::NotFat(
                "its first sector is not a boot sector for sectors of 512 bytes",
            ));
        }
        let (cluster_sectors, fats, reserved) = (boot[13], boot[16], half(14));
        if !cluster_sectors.is_power_of_two() || fats == 0 || reserved == 0 || half(17) != 0 || half(22) != 0
        {
            return Err(FatReadError::NotFat("it has another kind of FAT, or none"));
        }
        let (sectors, fat_sectors) = (u64::from(word(32)), u64::from(word(36)));
        let data_sector = u64::from(reserved) + u64::from(fats) * fat_sectors;
        let clusters = sectors.saturating_sub(data_sector) / u64::from(cluster_sectors);
        let in_fat = (fat_sectors * SECTOR as u64 / 4).saturating_sub(2);
        let clusters = clusters.min(in_fat).min(u64::from(CLUSTER_MASK - 16)) as u32;
        if clusters < MIN_CLUSTERS {
            return Err(FatReadError::NotFat("it has too few clusters for a FAT32"));
        }
        let mut label = [0; 11];
        label.copy_from_slice(&boot[71..82]);
        Ok(Self {
            cluster_len: u64::from(cluster_sectors) * SECTOR as u64,
            fat_start: u64::from(reserved) * SECTOR as u64,
            data_start: data_sector * SECTOR as u64,
            clusters_end: clusters + 2,
            root: word(44) & CLUSTER_MASK,
            label,
            volume_id: word(67),
            source,
        })
    }

    /// The volume's name as the boot sector has it.
    pub fn label(&self) -> String {
        String::from_utf8_lossy(&self.label).trim_end().to_owned()
    }

    /// The volume's number.
    pub fn volume_id(&self) -> u32 {
        self.volume_id
    }

    /// What the folder at `path` holds; the root is the empty path.
    ///
    /// # Errors
    /// A path that is not there or no folder, or a damaged chain.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, FatReadError> {
        let first = match self.find(path)? {
            None => self.root,
            Some(entry) if entry.is_directory => entry.first,
            Some(_) => return Err(FatReadError::WrongKind { path: path.to_owned(), expected: "folder" }),
        };
        let bytes = self.chain(path, first, None)?;
        Ok(entries(&bytes))
    }

    /// The content of the file at `path`, case ignored.
    ///
    /// # Errors
    /// A path that is not there or no file, or a damaged chain.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, FatReadError> {
        match self.find(path)? {
            Some(Entry { is_directory: false, len, .. }) if u64::from(len) > FILE_MAX => {
                Err(FatReadError::TooLong { path: path.to_owned(), len })
            }
            Some(Entry { is_directory: false, len, first, .. }) => {
                self.chain(path, first, Some(u64::from(len)))
            }
            _ => Err(FatReadError::WrongKind { path: path.to_owned(), expected: "file" }),
        }
    }

    /// The entry at `path`; none for the root.
    fn find(&self, path: &str) -> Result<Option<Entry>, FatReadError> {
        let mut found: Option<Entry> = None;
        for component in path.split('/').filter(|component| !component.is_empty()) {
            let folder = match &found {
                None => self.root,
                Some(entry) if entry.is_directory => entry.first,
                Some(_) => return Err(FatReadError::NotFound(path.to_owned())),
            };
            let held = entries(&self.chain(path, folder, None)?);
            let wanted = component.to_uppercase();
            let entry = held.into_iter().find(|entry| entry.name.to_uppercase() == wanted);
            found = Some(entry.ok_or_else(|| FatReadError::NotFound(path.to_owned()))?);
        }
        Ok(found)
    }

    /// The bytes of a chain: `len` of them, or all of a folder's.
    fn chain(&self, path: &str, first: u32, len: Option<u64>) -> Result<Vec<u8>, FatReadError> {
        let broken = || FatReadError::Chain(path.to_owned());
        let most = len.unwrap_or(FOLDER_MAX);
        let mut bytes = Vec::new();
        let mut cluster = first;
        while (bytes.len() as u64) < most {
            if len.is_none() && cluster >= CHAIN_END && !bytes.is_empty() {
                break;
            }
            // A circle ends here too: no chain has more clusters than there are.
            let walked = bytes.len() as u64 / self.cluster_len;
            if !(2..self.clusters_end).contains(&cluster) || walked >= u64::from(self.clusters_end) {
                return Err(broken());
            }
            let start = bytes.len();
            let step = self.cluster_len.min(most - start as u64);
            bytes.resize(start + step as usize, 0);
            let offset = self.data_start + u64::from(cluster - 2) * self.cluster_len;
            self.source.read_exact_at(offset, &mut bytes[start..])?;
            let mut next = [0; 4];
            self.source.read_exact_at(self.fat_start + u64::from(cluster) * 4, &mut next)?;
            cluster = u32::from_le_bytes(next) & CLUSTER_MASK;
        }
        Ok(bytes)
    }
}

/// The entries in a folder's bytes; labels, deleted entries and `.` and `..` left out.
fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut long = LongName::default();
    for entry in bytes.chunks_exact(ENTRY_LEN) {
        let attributes = entry[11];
        match entry[0] {
            0 => break,
            ENTRY_DELETED => long = LongName::default(),
            _ if attributes & 0x3f == ATTR_LONG_NAME => long.take(entry),
            _ => {
                let long = std::mem::take(&mut long);
                if attributes & ATTR_VOLUME != 0 || entry[0] == b'.' {
                    continue;
                }
                let mut short = [0; 11];
                short.copy_from_slice(&entry[..11]);
                let half = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
                found.push(Entry {
                    name: long.finish(&short).unwrap_or_else(|| short_name(&short, entry[12])),
                    is_directory: attributes & ATTR_DIRECTORY != 0,
                    len: u32::from_le_bytes([entry[28], entry[29], entry[30], entry[31]]),
                    first: u32::from(half(20)) << 16 & CLUSTER_MASK | u32::from(half(26)),
                });
            }
        }
    }
    found
}

/// The pieces of a long name so far, last piece first.
#[derive(Default)]
struct LongName {
    units: Vec<[u16; PIECE_LEN]>,
    /// The number of the next piece that belongs to it.
    awaited: u8,
    sum: u8,
}

impl LongName {
    fn take(&mut self, entry: &[u8]) {
        let number = entry[0] & !LAST_PIECE;
        if entry[0] & LAST_PIECE != 0 {
            *self = Self { units: Vec::new(), awaited: number, sum: entry[13] };
        }
        if number == 0 || number != self.awaited || entry[13] != self.sum {
            *self = Self::default();
            return;
        }
        self.units.push(PIECE_UNITS.map(|at| u16::from_le_bytes([entry[at], entry[at + 1]])));
        self.awaited -= 1;
    }

    fn finish(self, short: &[u8; 11]) -> Option<String> {
        if self.units.is_empty() || self.awaited != 0 || self.sum != short_name_sum(short) {
            return None;
        }
        let units: Vec<u16> =
            self.units.iter().rev().flatten().copied().take_while(|unit| *unit != 0).collect();
        String::from_utf16(&units).ok()
    }
}

fn short_name(short: &[u8; 11], case: u8) -> String {
    let part = |bytes: &[u8], lower: bool| {
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if lower { text.to_lowercase() } else { text }
    };
    let (base, extension) =
        (part(&short[..8], case & LOWER_BASE != 0), part(&short[8..], case & LOWER_EXTENSION != 0));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}
