//! What each file of a squashfs takes in it, read off the file system itself: it knows only what it needs for that,
//! of what [`super::write`] makes.

use std::collections::BTreeMap;

use super::content::NO_FRAGMENT;

/// The bits of a block's size that say how many bytes it has as stored.
const SIZE: u32 = 0xff_ffff;

/// What a file system spends. The parts add up to its length exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The regular files by path, each name of a file by itself.
    pub files: BTreeMap<Vec<u8>, FileUsage>,
    /// Bytes of everything that is no content: superblock, inodes, folders, tables, padding.
    pub tables: u64,
}

/// What one file takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileUsage {
    /// Bytes of content.
    pub content: u64,
    /// Bytes as stored. Of a fragment block each file has the share that its end has of the block's content; files
    /// with the same content share in equal parts what is there once.
    pub stored: u64,
}

/// The file is no squashfs of this builder's, or it is damaged.
#[derive(Debug, thiserror::Error)]
#[error("not a squashfs that this builder makes, or a damaged one")]
pub struct Damaged;

/// Reads what every file of the squashfs `image` takes.
///
/// # Errors
/// An image that cannot be made sense of.
pub fn usage(image: &[u8]) -> Result<Usage, Damaged> {
    Reader::open(image).and_then(|reader| reader.usage()).ok_or(Damaged)
}

/// Where content is stored: the same for files with the same content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    start: u64,
    blocks: Vec<u32>,
    fragment: u32,
    offset: u32,
    len: u64,
}

struct Reader<'a> {
    image: &'a [u8],
    block_size: u64,
    /// Bytes as stored of each fragment block.
    fragments: Vec<u64>,
}

impl<'a> Reader<'a> {
    fn open(image: &'a [u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?));
        if word(0)? != super::MAGIC || !word(12)?.is_power_of_two() {
            return None;
        }
        let count = word(16)?;
        let mut fragments = Vec::new();
        if count > 0 {
            let list = usize::try_from(long(image, 80)?).ok()?;
            let mut table = Stream::at(image, long(image, list)?, 0)?;
            for _ in 0..count {
                table.long()?;
                fragments.push(u64::from(table.word()? & SIZE));
                table.word()?;
            }
        }
        Some(Self { image, block_size: word(12)?.into(), fragments })
    }

    fn usage(&self) -> Option<Usage> {
        let mut places: BTreeMap<Place, Vec<Vec<u8>>> = BTreeMap::new();
        let mut open = vec![(Vec::new(), long(self.image, 32)?)];
        // Every entry is met once in a sound file system; a damaged one could lead in circles.
        let mut left = u64::from(u32::from_le_bytes(self.image.get(4..8)?.try_into().ok()?)) * 2 + 65_536;
        while let Some((path, reference)) = open.pop() {
            left = left.checked_sub(1)?;
            match self.inode(reference)? {
                Inode::Folder(names) => open.extend(names.into_iter().map(|(name, child)| {
                    let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    ([&path, separator, &name].concat(), child)
                })),
                Inode::File(place) => places.entry(place).or_default().push(path),
                Inode::Other => {}
            }
        }
        self.share(places)
    }

    /// Parts every byte of content among the files that it belongs to.
    fn share(&self, places: BTreeMap<Place, Vec<Vec<u8>>>) -> Option<Usage> {
        let mut ends: BTreeMap<u32, Vec<(&Place, u64)>> = BTreeMap::new();
        let mut stored: BTreeMap<&Place, u64> = BTreeMap::new();
        for place in places.keys() {
            stored.insert(place, place.blocks.iter().map(|size| u64::from(size & SIZE)).sum());
            if place.fragment != NO_FRAGMENT {
                ends.entry(place.fragment).or_default().push((place, place.len % self.block_size));
            }
        }
        for (fragment, ends) in ends {
            let lengths: Vec<u64> = ends.iter().map(|(_, len)| *len).collect();
            let shares = parted(*self.fragments.get(fragment as usize)?, &lengths);
            for ((place, _), share) in ends.into_iter().zip(shares) {
                *stored.get_mut(place)? += share;
            }
        }
        let mut files = BTreeMap::new();
        let mut sum = 0;
        for (place, names) in &places {
            sum += stored[place];
            let shares = parted(stored[place], &vec![1; names.len()]);
            for (name, stored) in names.iter().zip(shares) {
                files.insert(name.clone(), FileUsage { content: place.len, stored });
            }
        }
        Some(Usage { files, tables: (self.image.len() as u64).checked_sub(sum)? })
    }

    fn inode(&self, reference: u64) -> Option<Inode> {
        let mut inode = Stream::at(self.image, long(self.image, 64)?, reference)?;
        let kind = inode.half()?;
        inode.skip(14)?;
        Some(match kind {
            1 => {
                let block = inode.word()?;
                inode.word()?;
                let (len, offset) = (u32::from(inode.half()?), inode.half()?);
                Inode::Folder(self.names(block, offset, len)?)
            }
            8 => {
                inode.word()?;
                let (len, block) = (inode.word()?, inode.word()?);
                inode.skip(6)?;
                let offset = inode.half()?;
                Inode::Folder(self.names(block, offset, len)?)
            }
            2 => {
                let start = inode.word()?.into();
                let (fragment, offset, len) = (inode.word()?, inode.word()?, inode.word()?.into());
                Inode::File(self.place(inode, start, len, fragment, offset)?)
            }
            9 => {
                let (start, len) = (inode.long()?, inode.long()?);
                inode.skip(12)?;
                let (fragment, offset) = (inode.word()?, inode.word()?);
                inode.word()?;
                Inode::File(self.place(inode, start, len, fragment, offset)?)
            }
            3..=7 => Inode::Other,
            _ => return None,
        })
    }

    fn place(
        &self,
        mut inode: Stream<'_>,
        start: u64,
        len: u64,
        fragment: u32,
        offset: u32,
    ) -> Option<Place> {
        let whole = len / self.block_size;
        let count = if fragment == NO_FRAGMENT { len.div_ceil(self.block_size) } else { whole };
        let blocks = (0..count).map(|_| inode.word()).collect::<Option<Vec<u32>>>()?;
        // Nothing tells empty files from each other, nor need it.
        let start = if blocks.is_empty() { 0 } else { start };
        Some(Place { start, blocks, fragment, offset, len })
    }

    fn names(&self, block: u32, offset: u16, len: u32) -> Option<Vec<(Vec<u8>, u64)>> {
        let mut left = (len as usize).checked_sub(3)?;
        let mut names = Vec::new();
        if left == 0 {
            return Some(names);
        }
        let at = u64::from(block) << 16 | u64::from(offset);
        let mut folder = Stream::at(self.image, long(self.image, 72)?, at)?;
        while left > 0 {
            let (count, block) = (folder.word()?.checked_add(1)?, folder.word()?);
            folder.word()?;
            left = left.checked_sub(12)?;
            for _ in 0..count {
                let offset = folder.half()?;
                folder.skip(4)?;
                let len = usize::from(folder.half()?) + 1;
                names.push((folder.take(len)?, u64::from(block) << 16 | u64::from(offset)));
                left = left.checked_sub(8 + len)?;
            }
        }
        Some(names)
    }
}

enum Inode {
    Folder(Vec<(Vec<u8>, u64)>),
    File(Place),
    Other,
}

/// Parts `whole` in the proportion of `weights`, without losing or adding anything.
fn parted(whole: u64, weights: &[u64]) -> Vec<u64> {
    let total: u64 = weights.iter().sum();
    let mut passed = 0;
    let share = |weight: &u64| {
        let up_to = |weight: u64| (u128::from(whole) * u128::from(weight) / u128::from(total.max(1))) as u64;
        let before = up_to(passed);
        passed += weight;
        up_to(passed) - before
    };
    weights.iter().map(share).collect()
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// A stream of metadata, see the module `metadata`.
struct Stream<'a> {
    image: &'a [u8],
    next: usize,
    unpacked: Vec<u8>,
    at: usize,
}

impl<'a> Stream<'a> {
    fn at(image: &'a [u8], table: u64, reference: u64) -> Option<Self> {
        let next = usize::try_from(table.checked_add(reference >> 16)?).ok()?;
        let mut stream = Self { image, next, unpacked: Vec::new(), at: 0 };
        stream.fill()?;
        stream.at = (reference & 0xffff) as usize;
        Some(stream)
    }

    fn fill(&mut self) -> Option<()> {
        let from = self.image.get(self.next..)?;
        let header = u16::from_le_bytes(from.get(..2)?.try_into().ok()?);
        let block = from.get(2..2 + usize::from(header & !super::metadata::STORED))?;
        self.unpacked = match header & super::metadata::STORED {
            0 => zstd::bulk::decompress(block, super::metadata::BLOCK).ok()?,
            _ => block.to_vec(),
        };
        self.next += 2 + block.len();
        self.at = 0;
        (!self.unpacked.is_empty()).then_some(())
    }

    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut taken = Vec::with_capacity(len);
        while taken.len() < len {
            if self.at >= self.unpacked.len() {
                self.fill()?;
            }
            let step = (len - taken.len()).min(self.unpacked.len() - self.at);
            taken.extend_from_slice(&self.unpacked[self.at..self.at + step]);
            self.at += step;
        }
        Some(taken)
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.take(len).map(drop)
    }

    fn half(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn word(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}
