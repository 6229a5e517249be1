//! Files' content: each distinct one stored once, as whole blocks and a piece of a shared fragment block.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
    sync::mpsc,
};

use pilotlight_tree::{Kind, Tree};
use rayon::prelude::*;
use zstd::bulk::Compressor;

use super::{Options, SquashfsError};
use crate::pieces::{Found, Index, Maker, Mark, Stock};

/// The code that decides how a block is packed.
const CODE: &[u8] = include_bytes!("content.rs");

/// The bit of a block's size that says that it is not compressed.
const STORED: u32 = 1 << 24;
/// How many blocks are compressed together before they are written: enough to keep every processor busy, few
/// enough to hold in memory.
const BATCH: usize = 256;
/// What is tried first of a block that may not shrink at all, in bytes.
const SAMPLE: usize = 8 << 10;
/// Where no fragment is.
pub(super) const NO_FRAGMENT: u32 = u32::MAX;

/// Where a file's content is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Where its first whole block starts in the file system.
    pub(super) start: u64,
    /// The sizes of its whole blocks as stored, 0 for one that is all zeros.
    pub(super) blocks: Vec<u32>,
    /// The fragment block that holds its end, or [`NO_FRAGMENT`].
    pub(super) fragment: u32,
    /// Where in the unpacked fragment block its end starts.
    pub(super) offset: u32,
    /// How many of its bytes are in blocks that are all zeros.
    pub(super) sparse: u64,
}

/// A block as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) start: u64,
    pub(super) size: u32,
}

/// All content as stored.
pub(super) struct Stored {
    /// Where the content of the tree's regular files is, in the order of their paths.
    pub(super) places: Vec<Place>,
    pub(super) fragments: Vec<Block>,
    /// Where the next byte of the file system goes.
    pub(super) end: u64,
    pub(super) content_bytes: u64,
    pub(super) duplicate_bytes: u64,
    /// Where the blocks are that took the trouble of compressing.
    pub(super) index: Index,
    /// How many of them were in stock.
    pub(super) found: u32,
}

/// What is to be compressed as one block.
enum Job<'a> {
    Data { file: usize, bytes: &'a [u8] },
    Fragment(Vec<&'a [u8]>),
}

/// A block ready to be written: empty for one that is all zeros.
struct Packed<'a> {
    bytes: Cow<'a, [u8]>,
    size: u32,
    /// By what it is known the next time, where that is worth it; and whether it was known by it now.
    mark: Option<(Mark, bool)>,
}

/// Writes the content of all regular files of `tree` to `out`, which stands `start` bytes into the file system.
pub(super) fn write(
    tree: &Tree,
    options: &Options,
    stock: &Stock,
    start: u64,
    out: &mut (impl Write + Send),
) -> Result<Stored, SquashfsError> {
    let files: Vec<&[u8]> = tree
        .iter()
        .filter_map(|(_, node)| match &node.kind {
            Kind::File(bytes) => Some(bytes.as_ref()),
            _ => None,
        })
        .collect();
    let originals = originals(&files);
    let mut places = vec![
        Place { start: 0, blocks: Vec::new(), fragment: NO_FRAGMENT, offset: 0, sparse: 0 };
        files.len()
    ];
    let jobs = plan(&files, &originals, options.block_size as usize, &mut places);

    let mut fragments = Vec::new();
    let (mut index, mut found) = (Index::default(), 0);
    let mut end = start;
    let packer = Packer { maker: maker(options), level: options.level, stock };
    compress_in_order(&jobs, &packer, |job, packed| {
        out.write_all(&packed.bytes)?;
        if let Some((mark, known)) = packed.mark {
            index.push(mark, end);
            found += u32::from(known);
        }
        match job {
            Job::Fragment(_) => fragments.push(Block { start: end, size: packed.size }),
            Job::Data { file, bytes } => {
                let place = &mut places[*file];
                if place.blocks.is_empty() {
                    place.start = end;
                }
                if packed.size == 0 {
                    place.sparse += bytes.len() as u64;
                }
                place.blocks.push(packed.size);
            }
        }
        end += packed.bytes.len() as u64;
        Ok(())
    })?;

    let mut duplicate_bytes = 0;
    for (file, original) in originals.iter().enumerate() {
        if *original != file {
            places[file] = places[*original].clone();
            duplicate_bytes += files[file].len() as u64;
        }
    }
    let content_bytes = files.iter().map(|bytes| bytes.len() as u64).sum();
    Ok(Stored { places, fragments, end, content_bytes, duplicate_bytes, index, found })
}

/// For each file the first one with the same content: itself, if there is none before it.
fn originals(files: &[&[u8]]) -> Vec<usize> {
    let mut by_len: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (file, bytes) in files.iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
        by_len.entry(bytes.len()).or_default().push(file);
    }
    let same_len: Vec<Vec<usize>> = by_len.into_values().filter(|group| group.len() > 1).collect();
    let found: Vec<(usize, usize)> = same_len
        .into_par_iter()
        .flat_map_iter(|group| {
            let mut by_sum: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
            let mut found = Vec::new();
            for file in group {
                // The sum only narrows the search; equality decides.
                let same_sum = by_sum.entry(crc32fast::hash(files[file])).or_default();
                match same_sum.iter().find(|earlier| files[**earlier] == files[file]) {
                    Some(earlier) => found.push((file, *earlier)),
                    None => same_sum.push(file),
                }
            }
            found
        })
        .collect();
    let mut originals: Vec<usize> = (0..files.len()).collect();
    for (file, original) in found {
        originals[file] = original;
    }
    originals
}

/// The blocks in the order in which they are stored, and each file's place in the fragment blocks.
fn plan<'a>(
    files: &[&'a [u8]],
    originals: &[usize],
    block_size: usize,
    places: &mut [Place],
) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    let mut fragment: Vec<&[u8]> = Vec::new();
    let (mut fragments, mut filled) = (0, 0);
    for (file, bytes) in files.iter().enumerate().filter(|(file, _)| originals[*file] == *file) {
        let blocks = bytes.chunks_exact(block_size);
        let tail = blocks.remainder();
        jobs.extend(blocks.map(|bytes| Job::Data { file, bytes }));
        if tail.is_empty() {
            continue;
        }
        if filled + tail.len() > block_size {
            jobs.push(Job::Fragment(std::mem::take(&mut fragment)));
            fragments += 1;
            filled = 0;
        }
        (places[file].fragment, places[file].offset) = (fragments, filled as u32);
        fragment.push(tail);
        filled += tail.len();
    }
    if !fragment.is_empty() {
        jobs.push(Job::Fragment(fragment));
    }
    jobs
}

/// Who makes blocks with these options.
fn maker(options: &Options) -> Maker {
    let (level, block_size) = (options.level.to_le_bytes(), options.block_size.to_le_bytes());
    Maker::new(&[b"squashfs zstd", CODE, &level, &block_size])
}

/// What it takes to pack a block.
struct Packer<'s> {
    maker: Maker,
    level: i32,
    stock: &'s Stock,
}

/// Compresses `jobs` on all processors and hands the blocks to `take` in their order, on a thread of its own, so
/// that writing and compressing go on at the same time.
fn compress_in_order<'a>(
    jobs: &'a [Job<'a>],
    packer: &Packer<'_>,
    mut take: impl FnMut(&Job<'a>, Packed<'a>) -> io::Result<()> + Send,
) -> Result<(), SquashfsError> {
    let (sender, receiver) = mpsc::sync_channel::<Vec<(&Job<'a>, Packed<'a>)>>(1);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for batch in receiver {
                for (job, packed) in batch {
                    take(job, packed)?;
                }
            }
            Ok(())
        });
        let mut result = Ok(());
        for batch in jobs.chunks(BATCH) {
            let packed: io::Result<Vec<_>> = batch
                .par_iter()
                .map_init(
                    || (Compressor::new(packer.level), Compressor::new(1)),
                    |(main, quick), job| match (main, quick) {
                        (Ok(main), Ok(quick)) => Ok((job, packer.pack(job, main, quick)?)),
                        (Err(fault), _) | (_, Err(fault)) => {
                            Err(io::Error::new(fault.kind(), fault.to_string()))
                        }
                    },
                )
                .collect();
            match packed.map(|batch| sender.send(batch)) {
                Ok(Ok(())) => {}
                // The writer has stopped; it says why.
                Ok(Err(_)) => break,
                Err(fault) => {
                    result = Err(SquashfsError::Compress(fault));
                    break;
                }
            }
        }
        drop(sender);
        let written: io::Result<()> = writer
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that writes blocks has panicked")));
        result.and(written.map_err(SquashfsError::Write))
    })
}

impl Packer<'_> {
    fn pack<'a>(
        &self,
        job: &Job<'a>,
        main: &mut Compressor<'static>,
        quick: &mut Compressor<'static>,
    ) -> io::Result<Packed<'a>> {
        let raw = match job {
            Job::Data { bytes, .. } => Cow::Borrowed(*bytes),
            Job::Fragment(pieces) => Cow::Owned(pieces.concat()),
        };
        if matches!(job, Job::Data { .. }) && raw.iter().all(|byte| *byte == 0) {
            return Ok(Packed { bytes: Cow::Borrowed(&[]), size: 0, mark: None });
        }
        let stored = |raw: Cow<'a, [u8]>, mark| {
            let size = raw.len() as u32 | STORED;
            Packed { bytes: raw, size, mark }
        };
        // A digest of all of it costs more than this look does.
        if !is_worth_trying(&raw, quick)? {
            return Ok(stored(raw, None));
        }
        let key = self.maker.key(&raw);
        let (packed, mark) = match self.stock.find(key, raw.len()) {
            Some((Found::Packed(packed), mark)) => (Some(packed), (mark, true)),
            Some((Found::Unshrunk, mark)) => (None, (mark, true)),
            None => {
                let packed = Some(main.compress(&raw)?).filter(|packed| packed.len() < raw.len());
                let mark = Mark::new(key, packed.as_deref());
                (packed, (mark, false))
            }
        };
        Ok(match packed {
            Some(packed) => {
                let size = packed.len() as u32;
                Packed { bytes: Cow::Owned(packed), size, mark: Some(mark) }
            }
            None => stored(raw, Some(mark)),
        })
    }
}

/// Whether a block may shrink: modules, archives and pictures are compressed already, and a quick look at three
/// places costs less than a thorough try of the whole.
fn is_worth_trying(raw: &[u8], quick: &mut Compressor<'static>) -> io::Result<bool> {
    if raw.len() <= 4 * SAMPLE {
        return Ok(true);
    }
    for start in [0, raw.len() / 2, raw.len() - SAMPLE] {
        let sample = &raw[start..start + SAMPLE];
        if quick.compress(sample)?.len() < SAMPLE - SAMPLE / 64 {
            return Ok(true);
        }
    }
    Ok(false)
}
