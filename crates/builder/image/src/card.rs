//! The whole card: partition table, boot partition, root and data put in their places, as a sparse file with a
//! block map beside it.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom},
    os::{fd::AsRawFd as _, unix::fs::FileExt},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use pilotlight_disk::{
    BlockMap, Mbr, MbrError, Range, Slot,
    block_map::BLOCK,
    layout::{self, SECTOR},
    mbr,
};
use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use sha2::{Digest as _, Sha256};

use crate::{
    Content, Digest, Extent, ReadAt, Sparse, Window,
    fat::{FatReadError, Reader},
};

/// What a card is made of.
#[derive(Debug, Clone)]
pub struct CardParts {
    /// The disk signature: see [`Identity`].
    pub signature: u32,
    /// The slot that gets boot partition and root, and is started.
    pub slot: Slot,
    /// The boot partition: as long as its place.
    pub boot: Sparse,
    /// The root: at most as long as its place.
    pub root: Content,
    /// The data partition: as long as an image brings it.
    pub data: Sparse,
}

/// The numbers by which a card and its file systems are known, derived from what is on it, so that the same
/// content has the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The disk signature in the partition table; never 0.
    pub signature: u32,
    /// The number of the boot partition's FAT.
    pub volume_id: u32,
    /// The number of the data partition's file system (version 8 of RFC 9562).
    pub data_uuid: [u8; 16],
}

impl Identity {
    /// Derived from the digests of what the card is made of: root, kernel, initrd. The command line cannot be
    /// among them, because it names the signature.
    pub fn of(parts: &[Digest]) -> Self {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(part.0));
        let digest: [u8; 32] = hash.finalize().into();
        let word =
            |at: usize| u32::from_le_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]);
        let mut data_uuid = [0; 16];
        data_uuid.copy_from_slice(&digest[16..]);
        data_uuid[6] = data_uuid[6] & 0x0f | 0x80;
        data_uuid[8] = data_uuid[8] & 0x3f | 0x80;
        Self { signature: word(0).max(1), volume_id: word(4), data_uuid }
    }
}

/// A card that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The image.
    pub path: PathBuf,
    /// The block map beside it.
    pub block_map: PathBuf,
    /// The length of the image in bytes, holes included.
    pub len: u64,
    /// How many bytes a card gets that is written by the block map.
    pub mapped_bytes: u64,
    /// The disk signature.
    pub signature: u32,
    /// One number for what the image holds: see [`BlockMap::content_sha256`].
    pub content_sha256: Digest,
    /// SHA-256 of the whole file, if it was asked for.
    pub sha256: Option<Digest>,
    /// The length of boot partition, root and data partition without holes, in bytes.
    pub parts: [u64; 3],
}

/// Why a card cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// A part does not fit its place.
    #[error("the {part} has {len} bytes, but its place on the card has {room}")]
    Size {
        /// Which part.
        part: &'static str,
        /// Its length in bytes.
        len: u64,
        /// The length of its place in bytes.
        room: u64,
    },
    /// The image or its block map cannot be written; nothing is left at its path.
    #[error("cannot write the image {path}", path = path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that becomes part of the image cannot be read, or has changed.
    #[error("cannot read {path} for the image", path = path.display())]
    Part {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An image cannot be read.
    #[error("cannot read the image {path}", path = path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An image has no partition table of ours.
    #[error("{path} is no card image", path = path.display())]
    Table {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        source: MbrError,
    },
}

/// Writes the image to `path` and its block map to `path` with `.bmap` added. Both get their names when they are whole, so
/// that nothing half-written is left by a failure, nor by a builder that is killed.
///
/// The SHA-256 of the whole file is worked out on request only: for its gigabyte of holes it takes longer than
/// all the rest.
///
/// # Errors
/// Parts that do not fit, a full disk, a root file that is gone or has changed its length.
pub fn write(path: &Path, parts: &CardParts, with_sha256: bool) -> Result<Summary, CardError> {
    let image = assemble(parts)?;
    let failed = |source| CardError::Write { path: path.to_owned(), source };
    let block_map_path = PathBuf::from([path.as_os_str(), ".bmap".as_ref()].join("".as_ref()));

    let file = Unnamed::beside(path).map_err(failed)?;
    let ((written, map), sha256) = rayon::join(
        || rayon::join(|| write_extents(path, &image, &file.0), || block_map(&image)),
        || with_sha256.then(|| whole_sha256(&image)).transpose(),
    );
    written?;
    let (map, sha256) = (map?, sha256?);

    let map_file = Unnamed::beside(&block_map_path).map_err(failed)?;
    map_file.0.write_all_at(map.to_xml().as_bytes(), 0).map_err(failed)?;
    // An old map must not stand beside a new image, not even for a moment.
    match fs::remove_file(&block_map_path) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(failed(fault)),
        _ => {}
    }
    file.name(path).map_err(failed)?;
    map_file.name(&block_map_path).map_err(failed)?;
    Ok(Summary {
        path: path.to_owned(),
        block_map: block_map_path,
        len: image.len(),
        mapped_bytes: map.mapped_bytes(),
        signature: parts.signature,
        content_sha256: Digest(map.content_sha256()),
        sha256,
        parts: [parts.boot.content_len(), parts.root.len(), parts.data.content_len()],
    })
}

/// All parts in their places.
fn assemble(parts: &CardParts) -> Result<Sparse, CardError> {
    let (boot, root) = (parts.slot.boot(), parts.slot.root());
    let exact = |part, len, room| if len == room { Ok(()) } else { Err(CardError::Size { part, len, room }) };
    exact("boot partition", parts.boot.len(), boot.len)?;
    // A longer one holds what the lab's machines fetch.
    let data_len = parts.data.len();
    if data_len < layout::DATA_IMAGE.len || !data_len.is_multiple_of(layout::MIB) {
        let room = layout::DATA_IMAGE.len;
        return Err(CardError::Size { part: "data partition", len: data_len, room });
    }
    let len = layout::DATA_START + data_len;
    if parts.root.len() > root.len {
        return Err(CardError::Size { part: "root", len: parts.root.len(), room: root.len });
    }
    let table = Mbr::for_card(parts.signature, parts.slot, len / SECTOR);
    let table = table.map_err(|source| CardError::Table { path: PathBuf::new(), source })?;

    let mut placed =
        vec![Extent { offset: 0, content: Content::Bytes(Bytes::copy_from_slice(&table.encode())) }];
    let mut put = |start: u64, sparse: &Sparse| {
        let moved =
            sparse.extents().iter().map(|extent| Extent { offset: start + extent.offset, ..extent.clone() });
        placed.extend(moved);
    };
    put(boot.start, &parts.boot);
    put(root.start, &Sparse::starting_with(parts.root.clone(), root.len));
    put(layout::DATA_START, &parts.data);
    // A used card may still hold a system in the other slot. Its heads are wiped, so that nothing takes it for
    // one that belongs to this image.
    let wiped = Sparse::starting_with(Content::Zeros(BLOCK), BLOCK);
    put(parts.slot.other().boot().start, &wiped);
    put(parts.slot.other().root().start, &wiped);

    placed.sort_by_key(|extent| extent.offset);
    let mut image = Sparse::new(len);
    placed.into_iter().for_each(|extent| image.push(extent.offset, extent.content));
    Ok(image)
}

/// A new file without a name: it is gone when its maker is, however that ends.
struct Unnamed(File);

impl Unnamed {
    /// A file in the folder of `path`, readable as any other new file of the user is.
    fn beside(path: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(folder_of(path), flags, Mode::from_raw_mode(0o666))?.into()))
    }

    /// Gives it its name, in place of what has it now. A name can be given to a new file only where there is none: it gets
    /// another one first, for the moment between two calls.
    fn name(self, path: &Path) -> io::Result<()> {
        let passing = folder_of(path).join(format!(".pilotlight-{}.part", std::process::id()));
        match fs::remove_file(&passing) {
            // Left by a builder that was killed in that moment.
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
            _ => {}
        }
        // open(2): how a file that was opened without a name gets one, without a privilege.
        let source = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        rustix::fs::linkat(CWD, source.as_str(), CWD, &passing, AtFlags::SYMLINK_FOLLOW)?;
        fs::rename(&passing, path)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_extents(path: &Path, image: &Sparse, mut out: &File) -> Result<(), CardError> {
    let failed = |source| CardError::Write { path: path.to_owned(), source };
    out.set_len(image.len()).map_err(failed)?;
    for extent in image.extents() {
        match &extent.content {
            Content::Bytes(bytes) => out.write_all_at(bytes, extent.offset).map_err(failed)?,
            // The file is new: what is not written reads as zeros.
            Content::Zeros(_) => {}
            Content::File(blob) => {
                let part = |source| CardError::Part { path: blob.path.clone(), source };
                let mut file = File::open(&blob.path).map_err(part)?;
                out.seek(SeekFrom::Start(extent.offset)).map_err(failed)?;
                // The system copies from file to file by itself, or only shares the blocks where it can.
                let copied = io::copy(&mut file, &mut out).map_err(failed)?;
                if copied != blob.len {
                    return Err(part(io::Error::other(format!(
                        "it has {copied} bytes instead of {}",
                        blob.len
                    ))));
                }
            }
        }
    }
    Ok(())
}

/// Takes the bytes of `extent` into `hash`.
fn hash_extent(hash: &mut Sha256, extent: &Extent) -> Result<(), CardError> {
    match &extent.content {
        Content::Bytes(bytes) => hash.update(bytes),
        Content::Zeros(len) => hash_zeros(hash, *len),
        Content::File(blob) => {
            let part = |source| CardError::Part { path: blob.path.clone(), source };
            let file = File::open(&blob.path).map_err(part)?;
            let mut buf = vec![0; 1 << 20];
            let mut at = 0;
            while at < blob.len {
                let step = (blob.len - at).min(buf.len() as u64);
                FileExt::read_exact_at(&file, &mut buf[..step as usize], at).map_err(part)?;
                hash.update(&buf[..step as usize]);
                at += step;
            }
        }
    }
    Ok(())
}

fn hash_zeros(hash: &mut Sha256, mut len: u64) {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    while len > 0 {
        let step = len.min(ZEROS.len() as u64);
        hash.update(&ZEROS[..step as usize]);
        len -= step;
    }
}

fn whole_sha256(image: &Sparse) -> Result<Digest, CardError> {
    let mut hash = Sha256::new();
    let mut at = 0;
    for extent in image.extents() {
        hash_zeros(&mut hash, extent.offset - at);
        hash_extent(&mut hash, extent)?;
        at = extent.end();
    }
    hash_zeros(&mut hash, image.len() - at);
    Ok(Digest(hash.finalize().into()))
}

fn block_map(image: &Sparse) -> Result<BlockMap, CardError> {
    // Runs of extents whose blocks touch.
    let mut runs: Vec<&[Extent]> = Vec::new();
    let mut rest = image.extents();
    while !rest.is_empty() {
        let gap = rest.windows(2).position(|pair| pair[0].end().div_ceil(BLOCK) < pair[1].offset / BLOCK);
        let (run, later) = rest.split_at(gap.map_or(rest.len(), |last| last + 1));
        runs.push(run);
        rest = later;
    }
    let ranges: Result<Vec<Range>, CardError> =
        runs.par_iter().filter_map(|run| range(run).transpose()).collect();
    Ok(BlockMap { image_len: image.len(), ranges: ranges? })
}

fn range(run: &[Extent]) -> Result<Option<Range>, CardError> {
    let (Some(head), Some(tail)) = (run.first(), run.last()) else { return Ok(None) };
    let (first, end) = (head.offset / BLOCK, tail.end().div_ceil(BLOCK));
    let sha256 = match run {
        // A file's digest is known, and is the run's where it fills its blocks.
        [Extent { offset, content: Content::File(blob) }] if offset % BLOCK == 0 && blob.len % BLOCK == 0 => {
            blob.sha256.0
        }
        _ => {
            let mut hash = Sha256::new();
            let mut at = first * BLOCK;
            for extent in run {
                hash_zeros(&mut hash, extent.offset - at);
                hash_extent(&mut hash, extent)?;
                at = extent.end();
            }
            hash_zeros(&mut hash, end * BLOCK - at);
            hash.finalize().into()
        }
    };
    Ok(Some(Range { first, last: end - 1, sha256 }))
}

/// An image, or a card, that is being read.
#[derive(Debug)]
pub struct Card {
    file: File,
    /// The partition table.
    pub mbr: Mbr,
    /// The slot that it starts from.
    pub slot: Slot,
}

/// Opens the image or card at `path`.
///
/// # Errors
/// A file that cannot be read or has no partition table of ours.
pub fn open(path: &Path) -> Result<Card, CardError> {
    let failed = |source| CardError::Read { path: path.to_owned(), source };
    let foreign = |source| CardError::Table { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut sector = [0; mbr::LEN];
    match FileExt::read_exact_at(&file, &mut sector, 0) {
        Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => {
            let len = file.metadata().map_err(failed)?.len();
            return Err(foreign(MbrError::Short(usize::try_from(len).unwrap_or_default())));
        }
        read => read.map_err(failed)?,
    }
    let mbr = Mbr::parse(&sector).map_err(foreign)?;
    let slot = mbr.active_slot().map_err(foreign)?;
    Ok(Card { file, mbr, slot })
}

impl Card {
    /// The boot partition that it starts from.
    ///
    /// # Errors
    /// Anything but a FAT32 there.
    pub fn boot(&self) -> Result<Reader<Window<&File>>, FatReadError> {
        Reader::open(self.window(self.slot.boot()))
    }

    /// The place of the root that it starts from; what follows the root's own length there is a hole.
    pub fn root(&self) -> impl ReadAt + '_ {
        self.window(self.slot.root())
    }

    /// The data partition.
    pub fn data(&self) -> impl ReadAt + '_ {
        let data = self.mbr.partition(layout::DATA_PARTITION).map(|partition| partition.extent());
        self.window(data.unwrap_or(layout::DATA_IMAGE))
    }

    fn window(&self, extent: pilotlight_disk::Extent) -> Window<&File> {
        Window::new(&self.file, extent.start, extent.len)
    }
}

#[cfg(test)]
mod tests;
