//! Files in memory: the values that the builder's steps hand to each other.
//!
//! A [`Tree`] is a whole root file system as data: a sorted map from [`TreePath`] to [`Node`]. File contents
//! are [`bytes::Bytes`], which are cheap to clone and slice and may be backed by a memory-mapped archive, so a
//! file's content is never copied between the unpacked package and the compressor.
//!
//! A [`Package`] is one unpacked package as the archive holds it, before anything is done to it.
//!
//! This crate does no I/O.

mod path;

use std::collections::BTreeMap;

pub use bytes::Bytes;
pub use path::{PathError, TreePath};

/// Ownership, permissions and time of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: `0o0000..=0o7777`.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time, seconds since 1970-01-01T00:00:00Z.
    pub mtime: u32,
}

impl Meta {
    /// `root:root` with the given permission bits and time.
    pub const fn root(mode: u16, mtime: u32) -> Self {
        Self { mode, uid: 0, gid: 0, mtime }
    }
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Directory,
    /// A regular file with its content.
    File(Bytes),
    /// A symbolic link with its target as it stands, absolute or relative.
    Symlink(Vec<u8>),
    /// Another name for the regular file at this path of the same tree (never for another hard link).
    HardLink(TreePath),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Ownership, permissions and time. For a [`Kind::HardLink`] the target's count.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind,
}

/// A file system as a value. The root folder itself is the entry of [`TreePath::root`] and always present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<TreePath, Node>,
}

impl Tree {
    /// A tree that holds nothing but its root folder.
    pub fn new(root: Meta) -> Self {
        Self { nodes: BTreeMap::from([(TreePath::root(), Node { meta: root, kind: Kind::Directory })]) }
    }

    /// The node at `path`, links not followed.
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The node at `path` for changing, links not followed.
    pub fn get_mut(&mut self, path: &TreePath) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// Puts `node` at `path` and returns what stood there.
    pub fn insert(&mut self, path: TreePath, node: Node) -> Option<Node> {
        self.nodes.insert(path, node)
    }

    /// Takes the node at `path` out. What lies beneath a removed folder stays: see [`Tree::remove_all`].
    pub fn remove(&mut self, path: &TreePath) -> Option<Node> {
        self.nodes.remove(path)
    }

    /// Takes out `path` and all that lies beneath it; returns how many nodes went.
    pub fn remove_all(&mut self, path: &TreePath) -> usize {
        let before = self.nodes.len();
        self.nodes.retain(|other, _| !other.is_at_or_beneath(path));
        before - self.nodes.len()
    }

    /// All nodes in the byte order of their paths; every folder comes before what it holds if it is present.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Node)> {
        self.nodes.iter()
    }

    /// How many nodes there are, the root folder included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing but the root folder.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    /// Keeps the nodes that `keep` says yes to. The root folder always stays.
    pub fn retain(&mut self, mut keep: impl FnMut(&TreePath, &Node) -> bool) {
        self.nodes.retain(|path, node| path.is_root() || keep(path, node));
    }
}

/// One package as its archive holds it.
#[derive(Debug, Clone)]
pub struct Package {
    /// Name, as in `Package:`.
    pub name: String,
    /// Version, as in `Version:`.
    pub version: String,
    /// Architecture, as in `Architecture:` (`armhf`, `arm64`, `amd64` or `all`).
    pub architecture: String,
    /// The members of `control.tar` by name without a leading `./`: `control`, `md5sums`, `conffiles`, …
    pub control: BTreeMap<String, Bytes>,
    /// The members of `data.tar` in their order, with their content, mode and owner as they stand there.
    pub data: Vec<(TreePath, Node)>,
}
