//! Names: inodes, folders and owners.

use std::collections::BTreeMap;

use pilotlight_tree::{Kind, Meta, Node, Tree, TreePath};

use super::{Options, SquashfsError, content, metadata};

/// The longest name of an entry in bytes; the kernel's limit, one below the format's.
const NAME_MAX: usize = 255;
/// The longest target of a symbolic link in bytes; the kernel's limit.
const TARGET_MAX: usize = 4095;
/// How many entries can follow one header in a folder.
const RUN_MAX: usize = 256;
/// What a folder's length counts for the two entries that are not stored.
const DOT_ENTRIES: usize = 3;
const NO_XATTRS: u32 = u32::MAX;

/// Inode types of the format; a folder's entries use the basic ones, up to 7.
#[derive(Clone, Copy)]
enum Type {
    Directory = 1,
    File = 2,
    Symlink = 3,
    BlockDevice = 4,
    CharDevice = 5,
    Fifo = 6,
    LongDirectory = 8,
    LongFile = 9,
}

/// The tables of names, compressed.
pub(super) struct Spaces {
    pub(super) inodes: Vec<u8>,
    pub(super) folders: Vec<u8>,
    pub(super) owners: Vec<u32>,
    /// The root folder's inode.
    pub(super) root: u64,
    pub(super) inode_count: u32,
}

/// One entry of the tree, in the order of paths.
struct Item<'a> {
    path: &'a TreePath,
    node: &'a Node,
    /// The inode's number, from 1; names of one file share it.
    number: u32,
    /// The entry whose inode this is: itself, but for a hard link.
    inode: usize,
    /// How many names the inode has, or for a folder how many links.
    links: u32,
    /// The place in the list of contents; for regular files only.
    content: usize,
    /// What a folder holds, in the order of names.
    children: Vec<usize>,
    /// Where the inode stands, once it is written.
    place: metadata::Place,
}

/// Writes all names of `tree`; `places` says where the content of its regular files is, in their order.
pub(super) fn build(
    tree: &Tree,
    places: &[content::Place],
    options: &Options,
) -> Result<Spaces, SquashfsError> {
    let mut items = collect(tree)?;
    let inode_count = items.iter().map(|item| item.number).max().unwrap_or_default();
    let owners = owners(&items)?;
    let mut tables = Tables {
        inodes: metadata::Metadata::new(options.level),
        folders: metadata::Metadata::new(options.level),
        owners: &owners,
        places,
        block_size: options.block_size,
    };
    // A folder refers to the inodes of what it holds, so these come first. Files with several names come before
    // all others, because any folder may refer to them.
    for at in 0..items.len() {
        if items[at].inode != at {
            let target = items[at].inode;
            if items[target].place == UNPLACED {
                items[target].place = tables.put_leaf(&items[target])?;
            }
        }
    }
    // What a folder holds sorts after the folder, so the way back meets every folder after its sub-folders.
    for at in (0..items.len()).rev() {
        if !matches!(items[at].node.kind, Kind::Directory) {
            continue;
        }
        let children = std::mem::take(&mut items[at].children);
        for child in &children {
            let inode = items[*child].inode;
            if items[inode].place == UNPLACED {
                items[inode].place = tables.put_leaf(&items[inode])?;
            }
        }
        let parent = match items[at].path.parent() {
            Some(parent) => find(&items, &parent).map_or(0, |parent| items[parent].number),
            None => inode_count + 1,
        };
        items[at].place = tables.put_folder(&items, at, &children, parent)?;
    }
    let root = items.first().map(|item| item.place.reference()).unwrap_or_default();
    let (inodes, folders) = (tables.inodes.into_bytes()?, tables.folders.into_bytes()?);
    Ok(Spaces { inodes, folders, owners: owners.into_keys().collect(), root, inode_count })
}

const UNPLACED: metadata::Place = metadata::Place { block: u32::MAX, offset: u16::MAX };

fn bad(path: &TreePath, why: &'static str) -> SquashfsError {
    SquashfsError::Node { path: path.clone(), why }
}

fn find(items: &[Item<'_>], path: &TreePath) -> Option<usize> {
    items.binary_search_by(|item| item.path.cmp(path)).ok()
}

/// All entries, numbered, counted and checked.
fn collect(tree: &Tree) -> Result<Vec<Item<'_>>, SquashfsError> {
    let mut items = Vec::with_capacity(tree.len());
    let (mut number, mut content) = (0_u32, 0);
    for (at, (path, node)) in tree.iter().enumerate() {
        let is_link = matches!(node.kind, Kind::HardLink(_));
        let is_directory = matches!(node.kind, Kind::Directory);
        number = number
            .checked_add(u32::from(!is_link))
            .ok_or(SquashfsError::TooLarge { what: "inodes", limit: u32::MAX.into() })?;
        let links = if is_directory { 2 } else { 1 };
        let children = Vec::new();
        items.push(Item { path, node, number, inode: at, links, content, children, place: UNPLACED });
        content += usize::from(matches!(node.kind, Kind::File(_)));
    }
    if !items.first().is_some_and(|root| root.path.is_root() && matches!(root.node.kind, Kind::Directory)) {
        return Err(bad(&TreePath::root(), "the root of the tree is not a folder"));
    }
    for at in 1..items.len() {
        let (path, node) = (items[at].path, items[at].node);
        if path.file_name().len() > NAME_MAX {
            return Err(bad(path, "its name is longer than 255 bytes"));
        }
        let parent = path.parent().and_then(|parent| find(&items, &parent));
        let parent = parent.ok_or_else(|| bad(path, "the folder that holds it is missing"))?;
        if !matches!(items[parent].node.kind, Kind::Directory) {
            return Err(bad(path, "what holds it is not a folder"));
        }
        items[parent].children.push(at);
        items[parent].links += u32::from(matches!(node.kind, Kind::Directory));
        if let Kind::HardLink(target) = &node.kind {
            let target = find(&items, target).filter(|to| matches!(items[*to].node.kind, Kind::File(_)));
            let target =
                target.ok_or_else(|| bad(path, "the target of the hard link is not a regular file"))?;
            items[target].links += 1;
            items[at].inode = target;
            items[at].number = items[target].number;
        }
    }
    Ok(items)
}

/// Every numeric owner and group, with its place in the owner table.
fn owners(items: &[Item<'_>]) -> Result<BTreeMap<u32, u16>, SquashfsError> {
    let mut owners: BTreeMap<u32, u16> =
        items.iter().flat_map(|item| [(item.node.meta.uid, 0), (item.node.meta.gid, 0)]).collect();
    for (index, place) in owners.values_mut().enumerate() {
        *place = u16::try_from(index)
            .ok()
            .filter(|index| *index < u16::MAX)
            .ok_or(SquashfsError::TooLarge { what: "owners and groups", limit: u16::MAX.into() })?;
    }
    Ok(owners)
}

struct Tables<'a> {
    inodes: metadata::Metadata,
    folders: metadata::Metadata,
    owners: &'a BTreeMap<u32, u16>,
    places: &'a [content::Place],
    block_size: u32,
}

impl Tables<'_> {
    fn header(&self, kind: Type, meta: &Meta, number: u32) -> Vec<u8> {
        let owner = |id| self.owners.get(&id).copied().unwrap_or_default();
        let mut inode = Vec::with_capacity(64);
        for half in [kind as u16, meta.mode & 0o7777, owner(meta.uid), owner(meta.gid)] {
            put16(&mut inode, half);
        }
        put32(&mut inode, meta.mtime);
        put32(&mut inode, number);
        inode
    }

    /// Writes the inode of anything but a folder.
    fn put_leaf(&mut self, item: &Item<'_>) -> Result<metadata::Place, SquashfsError> {
        let Item { path, node, number, links, .. } = item;
        let header = |kind| self.header(kind, &node.meta, *number);
        let inode = match &node.kind {
            // Folders are written with their names, links with their targets.
            Kind::Directory | Kind::HardLink(_) => return Ok(UNPLACED),
            Kind::File(bytes) => self.file(item, bytes.len() as u64),
            Kind::Symlink(target) => {
                if target.is_empty() || target.len() > TARGET_MAX {
                    return Err(bad(
                        path,
                        "the target of the symbolic link is empty or longer than 4095 bytes",
                    ));
                }
                let mut inode = header(Type::Symlink);
                put32(&mut inode, *links);
                put32(&mut inode, target.len() as u32);
                inode.extend_from_slice(target);
                inode
            }
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                let is_block = matches!(node.kind, Kind::BlockDevice { .. });
                let mut inode = header(if is_block { Type::BlockDevice } else { Type::CharDevice });
                put32(&mut inode, *links);
                put32(&mut inode, device(path, *major, *minor)?);
                inode
            }
            Kind::Fifo => {
                let mut inode = header(Type::Fifo);
                put32(&mut inode, *links);
                inode
            }
        };
        let place = self.inodes.place()?;
        self.inodes.put(&inode)?;
        Ok(place)
    }

    fn file(&self, item: &Item<'_>, len: u64) -> Vec<u8> {
        let place = &self.places[item.content];
        let short = match (u32::try_from(place.start), u32::try_from(len)) {
            (Ok(start), Ok(len)) if item.links == 1 && place.sparse == 0 => Some((start, len)),
            _ => None,
        };
        let mut inode;
        if let Some((start, len)) = short {
            inode = self.header(Type::File, &item.node.meta, item.number);
            for word in [start, place.fragment, place.offset, len] {
                put32(&mut inode, word);
            }
        } else {
            inode = self.header(Type::LongFile, &item.node.meta, item.number);
            // A file of nothing but holes still occupies a byte, or tools would call it corrupt.
            let sparse = if place.sparse >= len { len.saturating_sub(1) } else { place.sparse };
            for long in [place.start, len, sparse] {
                inode.extend_from_slice(&long.to_le_bytes());
            }
            for word in [item.links, place.fragment, place.offset, NO_XATTRS] {
                put32(&mut inode, word);
            }
        }
        debug_assert_eq!(place.blocks.len() as u64, len / u64::from(self.block_size));
        for size in &place.blocks {
            put32(&mut inode, *size);
        }
        inode
    }

    /// Writes a folder's names and its inode; `parent` is the number of the inode of the folder that holds it.
    fn put_folder(
        &mut self,
        items: &[Item<'_>],
        at: usize,
        children: &[usize],
        parent: u32,
    ) -> Result<metadata::Place, SquashfsError> {
        let names = self.folders.place()?;
        let mut len = DOT_ENTRIES;
        let mut rest = children;
        while let Some(first) = rest.first() {
            let first = &items[items[*first].inode];
            let fits = |child: &&usize| {
                let inode = &items[items[**child].inode];
                inode.place.block == first.place.block
                    && i16::try_from(i64::from(inode.number) - i64::from(first.number)).is_ok()
            };
            let run = rest.iter().take(RUN_MAX).take_while(fits).count();
            let (now, later) = rest.split_at(run);
            rest = later;
            let bytes = run_of_names(items, now, first);
            len += bytes.len();
            self.folders.put(&bytes)?;
        }
        let item = &items[at];
        let mut inode;
        if let Ok(len) = u16::try_from(len) {
            inode = self.header(Type::Directory, &item.node.meta, item.number);
            put32(&mut inode, names.block);
            put32(&mut inode, item.links);
            put16(&mut inode, len);
            put16(&mut inode, names.offset);
            put32(&mut inode, parent);
        } else {
            let len = u32::try_from(len).map_err(|_| bad(item.path, "it holds too many names"))?;
            inode = self.header(Type::LongDirectory, &item.node.meta, item.number);
            for word in [item.links, len, names.block, parent] {
                put32(&mut inode, word);
            }
            // No index: the largest folder of a root is searched in a few blocks.
            put16(&mut inode, 0);
            put16(&mut inode, names.offset);
            put32(&mut inode, NO_XATTRS);
        }
        let place = self.inodes.place()?;
        self.inodes.put(&inode)?;
        Ok(place)
    }
}

/// Entries of a folder whose inodes are in one block, behind their header.
fn run_of_names(items: &[Item<'_>], run: &[usize], first: &Item<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(run.len() * 24 + 12);
    put32(&mut bytes, (run.len() - 1) as u32);
    put32(&mut bytes, first.place.block);
    put32(&mut bytes, first.number);
    for child in run {
        let name = items[*child].path.file_name();
        let inode = &items[items[*child].inode];
        put16(&mut bytes, inode.place.offset);
        put16(&mut bytes, inode.number.wrapping_sub(first.number) as u16);
        put16(&mut bytes, basic_type(&inode.node.kind) as u16);
        put16(&mut bytes, (name.len() - 1) as u16);
        bytes.extend_from_slice(name);
    }
    bytes
}

fn basic_type(kind: &Kind) -> Type {
    match kind {
        Kind::Directory => Type::Directory,
        Kind::File(_) | Kind::HardLink(_) => Type::File,
        Kind::Symlink(_) => Type::Symlink,
        Kind::BlockDevice { .. } => Type::BlockDevice,
        Kind::CharDevice { .. } => Type::CharDevice,
        Kind::Fifo => Type::Fifo,
    }
}

/// A device's number as the kernel packs it: 12 bits of major, 20 of minor.
fn device(path: &TreePath, major: u32, minor: u32) -> Result<u32, SquashfsError> {
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(bad(path, "its device number is out of range"));
    }
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}

fn put16(bytes: &mut Vec<u8>, value: u16) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn put32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend_from_slice(&value.to_le_bytes());
}
