//! The data partition: an ext4 with a journal, and the folders that the system expects in it.
//!
//! `mkext4` lays it out; this module hands it a [`Tree`] and keeps what it writes as a [`Sparse`]. Blocks that
//! the file system counts as used but that hold only zeros (its journal, its inode tables) are marked to be
//! zero on the card too: an old journal left there would be replayed.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, Cursor},
    ops::Range,
};

use bytes::Bytes;
use mkext4::{FsBuilder, InodeHandle, ROOT, RegionSink, SpecialKind, reader::Fs};
use pilotlight_tree::{Kind, Meta, Tree, TreePath};

use crate::{Content, ReadAt, Sparse};

/// The length of a block in bytes.
const BLOCK: u64 = 4096;

/// How to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The length of the file system in bytes: a multiple of 4096. It can be grown while it is mounted.
    pub len: u64,
    /// The name of the file system: at most 16 bytes.
    pub label: String,
    /// Its number, by which journals and checksums know it.
    pub uuid: [u8; 16],
    /// When it was made, seconds since 1970-01-01T00:00:00Z.
    pub time: u32,
}

/// Why an ext4 cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    /// An entry that cannot be in it.
    #[error("{path} cannot go into the data partition: {why}")]
    Entry {
        /// The entry.
        path: TreePath,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The layout cannot be made: too small, a bad label, too many files.
    #[error("cannot lay out the data partition")]
    Layout(#[from] mkext4::Error),
}

/// Lays out `tree`.
///
/// # Errors
/// An entry that ext4 or its writer does not know; a length, label or content that does not fit.
pub fn write(tree: &Tree, options: &Options) -> Result<Sparse, Ext4Error> {
    let mut settings = mkext4::Options::new(options.len, options.uuid, i64::from(options.time));
    settings.label = Some(options.label.clone());
    // What is kept back for root by default helps a system partition; here it would only be lost.
    settings.reserved_percent = 0;
    let mut builder = FsBuilder::new(settings)?;
    let files = declare(tree, &mut builder)?;

    let layout = builder.seal()?;
    let filling = RefCell::new((Bytes::new(), 0));
    let mut regions = Regions { data: BTreeMap::new(), filling: &filling };
    let mut writer = layout.writer(&mut regions)?;
    for (handle, bytes) in files.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        *filling.borrow_mut() = ((*bytes).clone(), 0);
        writer.fill(*handle, &mut Cursor::new(bytes))?;
    }
    writer.finish()?;
    let sparse = regions.into_sparse(options.len);
    mark_used(sparse)
}

/// Tells `builder` of every entry; returns the regular files in their order.
fn declare<'a>(tree: &'a Tree, builder: &mut FsBuilder) -> Result<Vec<(InodeHandle, &'a Bytes)>, Ext4Error> {
    let mut handles: BTreeMap<&TreePath, InodeHandle> = BTreeMap::new();
    let (mut files, mut links) = (Vec::new(), Vec::new());
    for (path, node) in tree.iter() {
        let bad = |why| Ext4Error::Entry { path: path.clone(), why };
        let meta = meta(&node.meta);
        let Some(parent) = path.parent() else {
            builder.set_meta(ROOT, meta)?;
            handles.insert(path, ROOT);
            continue;
        };
        let parent = *handles.get(&parent).ok_or_else(|| bad("the folder that holds it is missing"))?;
        let name = std::str::from_utf8(path.file_name()).map_err(|_| bad("its name is not UTF-8"))?;
        let special = |major, minor| (major < 1 << 12 && minor < 1 << 20).then_some((major, minor));
        let number = "its device number is out of range";
        let handle = match &node.kind {
            Kind::Directory => builder.mkdir(parent, name, meta)?,
            Kind::File(bytes) => {
                let handle = builder.file(parent, name, meta, bytes.len() as u64)?;
                files.push((handle, bytes));
                handle
            }
            Kind::Symlink(target) => {
                let target = std::str::from_utf8(target).map_err(|_| bad("its target is not UTF-8"))?;
                builder.symlink(parent, name, target, meta)?
            }
            Kind::HardLink(target) => {
                links.push((path, parent, name, target));
                continue;
            }
            Kind::CharDevice { major, minor } => {
                let (major, minor) = special(*major, *minor).ok_or_else(|| bad(number))?;
                builder.mknod(parent, name, meta, SpecialKind::Char { major, minor })?
            }
            Kind::BlockDevice { major, minor } => {
                let (major, minor) = special(*major, *minor).ok_or_else(|| bad(number))?;
                builder.mknod(parent, name, meta, SpecialKind::Block { major, minor })?
            }
            Kind::Fifo => builder.mknod(parent, name, meta, SpecialKind::Fifo)?,
        };
        handles.insert(path, handle);
    }
    for (path, parent, name, target) in links {
        let is_file = tree.get(target).is_some_and(|node| matches!(node.kind, Kind::File(_)));
        let target = handles.get(target).filter(|_| is_file).ok_or_else(|| Ext4Error::Entry {
            path: path.clone(),
            why: "the target of the hard link is not a regular file",
        })?;
        builder.hardlink(parent, name, *target)?;
    }
    Ok(files)
}

fn meta(meta: &Meta) -> mkext4::Meta {
    mkext4::Meta::new(meta.mode & 0o7777, meta.uid, meta.gid, (i64::from(meta.mtime), 0))
}

/// What was written so far, by place.
struct Regions<'f> {
    data: BTreeMap<u64, Region>,
    /// The file that is being written, and how much of it was.
    filling: &'f RefCell<(Bytes, usize)>,
}

/// A run of bytes.
enum Region {
    /// The file system's own.
    Own(Vec<u8>),
    /// A part of a file, which is not copied: a lab's files may be larger than the desk's memory, and those of a cache are
    /// mapped.
    File(Bytes, Range<usize>),
}

impl Region {
    fn len(&self) -> u64 {
        match self {
            Self::Own(bytes) => bytes.len() as u64,
            Self::File(_, part) => part.len() as u64,
        }
    }
}

impl RegionSink for Regions<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (file, at) = &mut *self.filling.borrow_mut();
        let part = *at..*at + bytes.len();
        let is_files = file.get(part.clone()) == Some(bytes);
        let before = self.data.range_mut(..offset).next_back();
        let before = before.filter(|(start, before)| **start + before.len() == offset);
        // Most regions follow each other: one run of bytes is cheaper than many.
        match before.map(|(_, before)| before) {
            Some(Region::File(whole, before)) if is_files && whole.as_ptr() == file.as_ptr() => {
                before.end = part.end;
            }
            Some(Region::Own(before)) if !is_files => before.extend_from_slice(bytes),
            _ if is_files => drop(self.data.insert(offset, Region::File(file.clone(), part.clone()))),
            _ => drop(self.data.insert(offset, Region::Own(bytes.to_vec()))),
        }
        if is_files {
            *at = part.end;
        }
        Ok(())
    }

    fn zeros(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

impl Regions<'_> {
    fn into_sparse(self, len: u64) -> Sparse {
        let mut sparse = Sparse::new(len);
        for (offset, region) in self.data {
            let content = match region {
                Region::Own(bytes) => bytes.into(),
                Region::File(whole, part) => whole.slice(part),
            };
            sparse.push(offset, Content::Bytes(content));
        }
        sparse
    }
}

/// Adds zeros wherever the file system's own bitmaps say that a block is used but nothing was written.
fn mark_used(written: Sparse) -> Result<Sparse, Ext4Error> {
    struct Source<'a>(&'a Sparse);
    impl mkext4::reader::ReadAt for Source<'_> {
        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            self.0.read_exact_at(offset, buf)
        }
    }
    let system = Fs::open(Source(&written))?;
    let (blocks, per_group) = (written.len() / BLOCK, u64::from(system.superblock().blocks_per_group));
    let mut used = Vec::with_capacity(blocks as usize);
    for group in 0..system.superblock().group_count() {
        let bitmap = system.read_block(system.group_desc(group)?.block_bitmap)?;
        used.extend((0..per_group).map(|bit| bitmap[bit as usize / 8] >> (bit % 8) & 1 == 1));
    }

    let mut marked = Sparse::new(written.len());
    let mut extents = written.extents().iter().peekable();
    let mut at = 0;
    while at < blocks {
        let start = at * BLOCK;
        match extents.next_if(|extent| extent.offset < start + BLOCK) {
            Some(extent) => {
                marked.push(extent.offset, extent.content.clone());
                let end = extent.end().next_multiple_of(BLOCK);
                // The rest of a file's last block is not written, but used.
                marked.push(extent.end(), Content::Zeros(end - extent.end()));
                at = end / BLOCK;
            }
            None => {
                let next = extents.peek().map_or(blocks, |extent| extent.offset / BLOCK);
                let is_used = |block: u64| used.get(block as usize).copied().unwrap_or(true);
                let state = is_used(at);
                let end =
                    (at..next.min(blocks)).find(|block| is_used(*block) != state).unwrap_or(next.min(blocks));
                if state {
                    marked.push(start, Content::Zeros((end - at) * BLOCK));
                }
                at = end;
            }
        }
    }
    Ok(marked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilotlight_tree::Node;

    fn options() -> Options {
        Options { len: 256 << 20, label: "pilotlight-data".into(), uuid: [7; 16], time: 1_700_000_000 }
    }

    fn skeleton() -> Tree {
        let mut tree = Tree::new(Meta::root(0o755, 1_700_000_000));
        let mut add = |path: &str, mode, kind| {
            let meta = Meta { mode, uid: 904, gid: 904, mtime: 1_700_000_000 };
            tree.insert(TreePath::parse(path).unwrap(), Node { meta, kind });
        };
        add("lib", 0o755, Kind::Directory);
        add("lib/pilotlight", 0o750, Kind::Directory);
        add("lib/pilotlight/note", 0o640, Kind::File(Bytes::from_static(b"fresh")));
        add("lib/pilotlight/link", 0o777, Kind::Symlink(b"note".to_vec()));
        add("lib/pilotlight/again", 0o640, Kind::HardLink(TreePath::literal("lib/pilotlight/note")));
        tree
    }

    fn bytes(sparse: &Sparse) -> Vec<u8> {
        let mut bytes = vec![0; sparse.len() as usize];
        sparse.read_exact_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let image = bytes(&write(&skeleton(), &options()).unwrap());
        let system = Fs::open(image.as_slice()).unwrap();
        assert_eq!(system.verify().unwrap(), []);
        let read = |path| system.read_file(system.resolve(path).unwrap()).unwrap();
        assert_eq!(read("/lib/pilotlight/note"), b"fresh");
        assert_eq!(
            system.resolve("/lib/pilotlight/again").unwrap(),
            system.resolve("/lib/pilotlight/note").unwrap()
        );
        assert_eq!(system.inode(system.resolve("/lib/pilotlight").unwrap()).unwrap().uid, 904);
    }

    #[test]
    fn files_are_not_copied() {
        let mut tree = skeleton();
        let content: Vec<u8> = (0..10_000_000_u32).map(|n| (n / 4099) as u8).collect();
        let content = Bytes::from(content);
        let node = Node { meta: Meta::root(0o644, 0), kind: Kind::File(content.clone()) };
        tree.insert(TreePath::parse("lib/large").unwrap(), node);
        let sparse = write(&tree, &options()).unwrap();
        let (begin, end) = (content.as_ptr() as usize, content.as_ptr() as usize + content.len());
        let shared = |extent: &&crate::Extent| match &extent.content {
            Content::Bytes(bytes) => (begin..end).contains(&(bytes.as_ptr() as usize)),
            _ => false,
        };
        let shared: u64 = sparse.extents().iter().filter(shared).map(|extent| extent.content.len()).sum();
        assert_eq!(shared, content.len() as u64);
        let image = bytes(&sparse);
        let system = Fs::open(image.as_slice()).unwrap();
        assert_eq!(system.verify().unwrap(), []);
        assert!(system.read_file(system.resolve("/lib/large").unwrap()).unwrap() == content);
    }

    #[test]
    fn two_runs_agree() {
        assert_eq!(write(&skeleton(), &options()).unwrap(), write(&skeleton(), &options()).unwrap());
    }

    #[test]
    fn a_used_card_does_not_show_through() {
        let sparse = write(&skeleton(), &options()).unwrap();
        let mut card = vec![0xa5; sparse.len() as usize];
        for extent in sparse.extents() {
            let range = extent.offset as usize..extent.end() as usize;
            sparse.read_exact_at(extent.offset, &mut card[range]).unwrap();
        }
        let system = Fs::open(card.as_slice()).unwrap();
        assert_eq!(system.verify().unwrap(), []);
        // The journal's body reads as zeros behind its first block.
        let journal = system.read_file(8).unwrap();
        assert!(journal.len() >= 16 << 20);
        assert!(journal[4096..].iter().all(|byte| *byte == 0));
        // Most of the partition stays unwritten.
        assert!(sparse.content_len() < 32 << 20, "{}", sparse.content_len());
    }
}
