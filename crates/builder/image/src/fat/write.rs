//! The writer: a tree of folders and files in, a partition out, in one pass.

use bytes::Bytes;
use pilotlight_tree::{Kind, Tree, TreePath};

use super::{
    ATTR_ARCHIVE, ATTR_DIRECTORY, ATTR_LONG_NAME, ATTR_VOLUME, CLUSTER_MASK, ENTRY_LEN, FSINFO_HEAD,
    FSINFO_MIDDLE, LAST_PIECE, MIN_CLUSTERS, PIECE_LEN, PIECE_UNITS, SECTOR,
    names::{self, Names},
    short_name_sum,
};
use crate::{Content, Sparse};

/// Where the data may start at the earliest: behind the boot sector, its copy and what stands beside them.
const MIN_RESERVED: u32 = 32;
const BACKUP_SECTOR: usize = 6;
/// The first cluster that holds data, and the one of the root folder.
const FIRST_CLUSTER: u32 = 2;
/// Data starts at a multiple of this many sectors, so that clusters do not straddle pages of the card.
const ALIGNMENT: u32 = 8;

/// How to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The length of the partition in bytes.
    pub len: u64,
    /// Where the partition starts on the disk, in bytes.
    pub start: u64,
    /// The name of the volume: 1 to 11 ASCII characters without lower case.
    pub label: String,
    /// The volume's number.
    pub volume_id: u32,
    /// The time of every entry, seconds since 1970-01-01T00:00:00Z; shown as UTC.
    pub time: u32,
}

/// Why a FAT cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FatError {
    /// A length for which FAT32 with clusters of one sector is not made.
    #[error("a partition of {0} bytes cannot be FAT32 with clusters of 512 bytes; 34 MiB to 128 GiB can")]
    Len(u64),
    /// A label that the format does not have.
    #[error("{0:?} is no name for a FAT volume: 1 to 11 of A-Z, 0-9, - and _")]
    Label(String),
    /// An entry that the format does not have.
    #[error("{path} cannot go into a FAT: {why}")]
    Entry {
        /// The entry.
        path: TreePath,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More content than the partition has room for.
    #[error("the boot partition has room for {room} bytes, but its files need {needed}")]
    Full {
        /// How many bytes there is room for.
        room: u64,
        /// How many bytes are needed.
        needed: u64,
    },
}

/// What is where.
struct Geometry {
    sectors: u32,
    reserved: u32,
    fat_sectors: u32,
    clusters: u32,
}

/// A folder or file of the tree with its place.
struct Item<'a> {
    path: &'a TreePath,
    name: Option<names::Name>,
    /// The content of a file; none for a folder.
    content: Option<&'a Bytes>,
    children: Vec<usize>,
    parent: usize,
    /// The first cluster; 0 for an empty file.
    first: u32,
    clusters: u32,
}

/// Lays out `tree`, which holds folders and regular files only; owners and permissions are dropped.
///
/// # Errors
/// An entry, a label or a length that the format does not have; too much content.
pub fn write(tree: &Tree, options: &Options) -> Result<Sparse, FatError> {
    let geometry = Geometry::new(options.len)?;
    let label = label(&options.label)?;
    let mut items = collect(tree)?;
    let used = place(&mut items, &geometry)?;

    let mut sparse = Sparse::new(options.len);
    sparse.push(0, Content::Bytes(reserved_sectors(options, &geometry, &label, used).into()));
    let fat = Bytes::from(table(&items, &geometry));
    let fat_len = fat.len() as u64;
    let at = u64::from(geometry.reserved) * SECTOR as u64;
    sparse.push(at, Content::Bytes(fat.clone()));
    sparse.push(at + fat_len, Content::Bytes(fat));
    for item in items.iter().enumerate().filter(|(_, item)| item.clusters > 0) {
        let (index, item) = item;
        let start = geometry.offset(item.first);
        let len = u64::from(item.clusters) * SECTOR as u64;
        let bytes = match item.content {
            Some(bytes) => bytes.clone(),
            None => folder(&items, index, &label, options.time).into(),
        };
        let padding = len - bytes.len() as u64;
        sparse.push(start, Content::Bytes(bytes));
        sparse.push(start + len - padding, Content::Zeros(padding));
    }
    Ok(sparse)
}

impl Geometry {
    fn new(len: u64) -> Result<Self, FatError> {
        let bad = FatError::Len(len);
        let sectors = u32::try_from(len / SECTOR as u64).ok().filter(|sectors| *sectors <= 1 << 28);
        let Some(sectors) = sectors.filter(|_| len.is_multiple_of(SECTOR as u64)) else { return Err(bad) };
        let fat_sectors = (sectors + FIRST_CLUSTER).div_ceil(SECTOR as u32 / 4);
        let reserved = (MIN_RESERVED + 2 * fat_sectors).next_multiple_of(ALIGNMENT) - 2 * fat_sectors;
        let clusters = sectors.saturating_sub(reserved + 2 * fat_sectors);
        if clusters < MIN_CLUSTERS { Err(bad) } else { Ok(Self { sectors, reserved, fat_sectors, clusters }) }
    }

    /// Where a cluster starts, in bytes.
    fn offset(&self, cluster: u32) -> u64 {
        let sector =
            u64::from(self.reserved) + 2 * u64::from(self.fat_sectors) + u64::from(cluster - FIRST_CLUSTER);
        sector * SECTOR as u64
    }
}

fn label(text: &str) -> Result<[u8; 11], FatError> {
    let good = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if text.is_empty() || text.len() > 11 || !text.bytes().all(good) {
        return Err(FatError::Label(text.to_owned()));
    }
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(label)
}

/// All entries, folders before what they hold, each checked and named.
fn collect(tree: &Tree) -> Result<Vec<Item<'_>>, FatError> {
    let mut items: Vec<Item<'_>> = Vec::with_capacity(tree.len());
    let mut names: Vec<Names> = Vec::new();
    for (path, node) in tree.iter() {
        let bad = |why| FatError::Entry { path: path.clone(), why };
        let content = match &node.kind {
            Kind::Directory => None,
            Kind::File(bytes) if path.is_root() || bytes.len() as u64 > u64::from(u32::MAX) => {
                return Err(bad("it is larger than 4 GiB or stands in place of the root folder"));
            }
            Kind::File(bytes) => Some(bytes),
            _ => return Err(bad("it is neither a folder nor a regular file")),
        };
        let mut item =
            Item { path, name: None, content, children: Vec::new(), parent: 0, first: 0, clusters: 0 };
        if let Some(parent) = path.parent() {
            let found = items.binary_search_by(|item| item.path.cmp(&parent)).ok();
            let found = found.filter(|parent| items[*parent].content.is_none());
            item.parent = found.ok_or_else(|| bad("what holds it is missing or no folder"))?;
            item.name = Some(names[item.parent].add(path.file_name()).map_err(bad)?);
            let index = items.len();
            items[item.parent].children.push(index);
        }
        items.push(item);
        names.push(Names::default());
    }
    Ok(items)
}

/// Gives every entry its run of clusters; returns how many are used.
fn place(items: &mut [Item<'_>], geometry: &Geometry) -> Result<u32, FatError> {
    let mut next = u64::from(FIRST_CLUSTER);
    for index in 0..items.len() {
        let len = match items[index].content {
            Some(bytes) => bytes.len(),
            None => folder_len(items, index),
        };
        let clusters = len.div_ceil(SECTOR) as u64;
        if clusters > 0 {
            // Beyond the end only the count is of use, for the message.
            items[index].first = u32::try_from(next).unwrap_or(u32::MAX);
            items[index].clusters = u32::try_from(clusters).unwrap_or(u32::MAX);
        }
        next += clusters;
    }
    let used = next - u64::from(FIRST_CLUSTER);
    match u32::try_from(used) {
        Ok(used) if used <= geometry.clusters => Ok(used),
        _ => Err(FatError::Full {
            room: u64::from(geometry.clusters) * SECTOR as u64,
            needed: used * SECTOR as u64,
        }),
    }
}

fn folder_len(items: &[Item<'_>], index: usize) -> usize {
    // The label in the root, `.` and `..` elsewhere; a folder of no length would have no cluster.
    let own = if items[index].path.is_root() { 1 } else { 2 };
    let held = items[index]
        .children
        .iter()
        .map(|child| items[*child].name.as_ref().map_or(0, |name| 1 + name.long.len().div_ceil(PIECE_LEN)));
    (own + held.sum::<usize>()) * ENTRY_LEN
}

/// The sectors before the first FAT: the boot sector, the count of what is free, and their copies.
fn reserved_sectors(options: &Options, geometry: &Geometry, label: &[u8; 11], used: u32) -> Vec<u8> {
    let mut boot = [0; SECTOR];
    let mut put = |at: usize, bytes: &[u8]| boot[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0xeb, 0x58, 0x90]);
    put(3, b"MSWIN4.1");
    put(11, &(SECTOR as u16).to_le_bytes());
    put(13, &[1]);
    put(14, &(geometry.reserved as u16).to_le_bytes());
    put(16, &[2]);
    put(21, &[0xf8]);
    put(24, &63_u16.to_le_bytes());
    put(26, &255_u16.to_le_bytes());
    put(28, &u32::try_from(options.start / SECTOR as u64).unwrap_or(u32::MAX).to_le_bytes());
    put(32, &geometry.sectors.to_le_bytes());
    put(36, &geometry.fat_sectors.to_le_bytes());
    put(44, &FIRST_CLUSTER.to_le_bytes());
    put(48, &1_u16.to_le_bytes());
    put(50, &(BACKUP_SECTOR as u16).to_le_bytes());
    put(64, &[0x80, 0, 0x29]);
    put(67, &options.volume_id.to_le_bytes());
    put(71, label);
    put(82, b"FAT32   ");
    put(510, &[0x55, 0xaa]);

    let mut info = [0; SECTOR];
    let mut put = |at: usize, bytes: &[u8]| info[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, FSINFO_HEAD);
    put(484, FSINFO_MIDDLE);
    put(488, &(geometry.clusters - used).to_le_bytes());
    put(492, &(FIRST_CLUSTER + used - 1).to_le_bytes());
    put(510, &[0x55, 0xaa]);

    let mut sectors = vec![0; geometry.reserved as usize * SECTOR];
    for start in [0, BACKUP_SECTOR * SECTOR] {
        sectors[start..start + SECTOR].copy_from_slice(&boot);
        sectors[start + SECTOR..start + 2 * SECTOR].copy_from_slice(&info);
        // The third boot sector holds nothing but its mark.
        sectors[start + 3 * SECTOR - 2..start + 3 * SECTOR].copy_from_slice(&[0x55, 0xaa]);
    }
    sectors
}

/// The FAT: for every cluster the next one of its chain.
fn table(items: &[Item<'_>], geometry: &Geometry) -> Vec<u8> {
    let mut table = Vec::with_capacity(geometry.fat_sectors as usize * SECTOR);
    for word in [0x0fff_fff8, CLUSTER_MASK] {
        table.extend_from_slice(&u32::to_le_bytes(word));
    }
    for item in items.iter().filter(|item| item.clusters > 0) {
        let last = item.first + item.clusters - 1;
        for next in item.first + 1..=last {
            table.extend_from_slice(&next.to_le_bytes());
        }
        table.extend_from_slice(&CLUSTER_MASK.to_le_bytes());
    }
    table.resize(geometry.fat_sectors as usize * SECTOR, 0);
    table
}

fn folder(items: &[Item<'_>], index: usize, label: &[u8; 11], time: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(folder_len(items, index));
    let item = &items[index];
    if item.path.is_root() {
        put_entry(&mut bytes, label, ATTR_VOLUME, 0, 0, time);
    } else {
        // The root folder counts as cluster 0 here.
        let parent = if item.parent == 0 { 0 } else { items[item.parent].first };
        put_entry(&mut bytes, b".          ", ATTR_DIRECTORY, item.first, 0, time);
        put_entry(&mut bytes, b"..         ", ATTR_DIRECTORY, parent, 0, time);
    }
    for child in item.children.iter().map(|child| &items[*child]) {
        let Some(name) = &child.name else { continue };
        put_long_name(&mut bytes, name);
        let (attributes, len) = match child.content {
            Some(content) => (ATTR_ARCHIVE, content.len() as u32),
            None => (ATTR_DIRECTORY, 0),
        };
        put_entry(&mut bytes, &name.short, attributes, child.first, len, time);
    }
    bytes
}

/// The pieces of a long name, last piece first.
fn put_long_name(bytes: &mut Vec<u8>, name: &names::Name) {
    let pieces = name.long.chunks(PIECE_LEN);
    let count = pieces.len();
    for (index, piece) in pieces.enumerate().rev() {
        let number = index + 1;
        let mut entry = [0; ENTRY_LEN];
        entry[0] = number as u8 | if number == count { LAST_PIECE } else { 0 };
        entry[11] = ATTR_LONG_NAME;
        entry[13] = short_name_sum(&name.short);
        for (index, at) in PIECE_UNITS.into_iter().enumerate() {
            // A short piece ends with a zero; what follows that is all ones.
            let filler = if index == piece.len() { 0 } else { 0xffff };
            entry[at..at + 2].copy_from_slice(&piece.get(index).unwrap_or(&filler).to_le_bytes());
        }
        bytes.extend_from_slice(&entry);
    }
}

fn put_entry(bytes: &mut Vec<u8>, name: &[u8; 11], attributes: u8, first: u32, len: u32, time: u32) {
    let (day, second) = dos_time(time);
    let [low, high] = [first as u16, (first >> 16) as u16];
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&[attributes, 0, 0]);
    for half in [second, day, day, high, second, day, low] {
        bytes.extend_from_slice(&half.to_le_bytes());
    }
    bytes.extend_from_slice(&len.to_le_bytes());
}

/// Day and time of day as a FAT has them: years from 1980 to 2107, steps of two seconds.
fn dos_time(time: u32) -> (u16, u16) {
    const FIRST: u32 = 315_532_800;
    let time = time.max(FIRST);
    let (days, second) = (time / 86400, time % 86400);
    // Days to a date by eras of 400 years that start in March, so that a leap day is a year's last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u32::from(month <= 2);
    let date = (year - 1980) << 9 | month << 5 | day;
    let clock = (second / 3600) << 11 | (second / 60 % 60) << 5 | (second % 60 / 2);
    (date as u16, clock as u16)
}

#[cfg(test)]
mod tests {
    use super::dos_time;

    #[test]
    fn dates() {
        let check = |time, (year, month, day): (u16, u16, u16), (hour, minute, second): (u16, u16, u16)| {
            let date = (year - 1980) << 9 | month << 5 | day;
            assert_eq!(dos_time(time), (date, hour << 11 | minute << 5 | (second / 2)), "{time}");
        };
        check(0, (1980, 1, 1), (0, 0, 0));
        check(951_827_696, (2000, 2, 29), (12, 34, 56));
        check(1_700_000_000, (2023, 11, 14), (22, 13, 20));
        check(u32::MAX, (2106, 2, 7), (6, 28, 15));
    }
}
