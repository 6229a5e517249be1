//! A plain reader for the tests: it trusts nothing that the writer knows, and panics at the first oddity.

use std::collections::BTreeMap;

use bytes::Bytes;
use pilotlight_tree::{Kind, Meta};

/// One entry as the file system has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) number: u32,
    pub(super) links: u32,
    pub(super) meta: Meta,
    pub(super) kind: Kind,
}

pub(super) struct Image<'a> {
    pub(super) bytes: &'a [u8],
    block_size: u64,
    inode_table: u64,
    folder_table: u64,
    owners: Vec<u32>,
    fragments: Vec<(u64, u32)>,
}

/// A place in a stream of metadata.
struct Cursor<'a> {
    image: &'a [u8],
    next: usize,
    unpacked: Vec<u8>,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(image: &'a [u8], table: u64, reference: u64) -> Self {
        let mut cursor =
            Self { image, next: (table + (reference >> 16)) as usize, unpacked: Vec::new(), at: 0 };
        cursor.fill();
        cursor.at = (reference & 0xffff) as usize;
        cursor
    }

    fn fill(&mut self) {
        let header = u16::from_le_bytes(self.image[self.next..self.next + 2].try_into().unwrap());
        let len = usize::from(header & 0x7fff);
        let block = &self.image[self.next + 2..self.next + 2 + len];
        let unpacked = if header & 0x8000 == 0 { unpack(block, 8192) } else { block.to_vec() };
        assert!(!unpacked.is_empty() && unpacked.len() <= 8192);
        self.unpacked = unpacked;
        self.next += 2 + len;
        self.at = 0;
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while taken.len() < len {
            if self.at == self.unpacked.len() {
                self.fill();
            }
            let step = (len - taken.len()).min(self.unpacked.len() - self.at);
            taken.extend_from_slice(&self.unpacked[self.at..self.at + step]);
            self.at += step;
        }
        taken
    }

    fn half(&mut self) -> u16 {
        u16::from_le_bytes(self.take(2).try_into().unwrap())
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }
}

fn unpack(block: &[u8], most: usize) -> Vec<u8> {
    zstd::bulk::decompress(block, most).unwrap()
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl<'a> Image<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Self {
        assert_eq!(&bytes[..4], b"hsqs");
        assert_eq!(bytes.len() % 4096, 0);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let half = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
        assert_eq!(1 << half(22), word(12));
        assert_eq!((half(20), half(28), half(30)), (6, 4, 0));
        let mut image = Self {
            bytes,
            block_size: word(12).into(),
            inode_table: long(bytes, 64),
            folder_table: long(bytes, 72),
            owners: Vec::new(),
            fragments: Vec::new(),
        };
        // The first block of a table is where its list says.
        let table = |list: u64| Cursor::new(bytes, long(bytes, list as usize), 0);
        let mut owners = table(long(bytes, 48));
        image.owners = (0..half(26)).map(|_| owners.word()).collect();
        if word(16) > 0 {
            let mut fragments = table(long(bytes, 80));
            let mut entry = |_| (fragments.long(), fragments.word(), fragments.word());
            image.fragments = (0..word(16)).map(&mut entry).map(|(start, size, _)| (start, size)).collect();
        }
        image
    }

    /// Every entry by its path.
    pub(super) fn walk(&self) -> BTreeMap<Vec<u8>, Found> {
        let mut found = BTreeMap::new();
        self.visit(Vec::new(), long(self.bytes, 32), &mut found);
        found
    }

    fn visit(&self, path: Vec<u8>, reference: u64, found: &mut BTreeMap<Vec<u8>, Found>) {
        let mut inode = Cursor::new(self.bytes, self.inode_table, reference);
        let (kind, mode, uid, gid) = (inode.half(), inode.half(), inode.half(), inode.half());
        let owner = |index: u16| self.owners[usize::from(index)];
        let meta = Meta { mode, uid: owner(uid), gid: owner(gid), mtime: inode.word() };
        let number = inode.word();
        let mut links = 1;
        let kind = match kind {
            1 | 8 => {
                let (block, len, offset);
                if kind == 1 {
                    block = inode.word();
                    links = inode.word();
                    len = u32::from(inode.half());
                    offset = inode.half();
                } else {
                    links = inode.word();
                    (len, block) = (inode.word(), inode.word());
                    inode.word();
                    assert_eq!(inode.half(), 0);
                    offset = inode.half();
                }
                let names = self.names(u64::from(block) << 16 | u64::from(offset), len as usize - 3);
                assert!(names.is_sorted_by(|one, other| one.0 < other.0));
                for (name, child) in names {
                    let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    self.visit([&path, separator, &name].concat(), child, found);
                }
                Kind::Directory
            }
            2 | 9 => {
                let (start, len, fragment, offset);
                if kind == 2 {
                    start = u64::from(inode.word());
                    (fragment, offset) = (inode.word(), inode.word());
                    len = u64::from(inode.word());
                } else {
                    (start, len) = (inode.long(), inode.long());
                    inode.long();
                    links = inode.word();
                    (fragment, offset) = (inode.word(), inode.word());
                    assert_eq!(inode.word(), u32::MAX);
                }
                Kind::File(self.content(&mut inode, start, len, fragment, offset))
            }
            3 => {
                links = inode.word();
                let len = inode.word() as usize;
                Kind::Symlink(inode.take(len))
            }
            4 | 5 => {
                links = inode.word();
                let device = inode.word();
                let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
                if kind == 4 { Kind::BlockDevice { major, minor } } else { Kind::CharDevice { major, minor } }
            }
            6 => {
                links = inode.word();
                Kind::Fifo
            }
            other => panic!("inode type {other}"),
        };
        found.insert(path, Found { number, links, meta, kind });
    }

    fn names(&self, reference: u64, mut len: usize) -> Vec<(Vec<u8>, u64)> {
        let mut names = Vec::new();
        if len == 0 {
            return names;
        }
        let mut folder = Cursor::new(self.bytes, self.folder_table, reference);
        while len > 0 {
            let (count, block, _) = (folder.word() + 1, folder.word(), folder.word());
            assert!(count <= 256);
            len -= 12;
            for _ in 0..count {
                let (offset, _, _) = (folder.half(), folder.half(), folder.half());
                let name_len = usize::from(folder.half()) + 1;
                names.push((folder.take(name_len), u64::from(block) << 16 | u64::from(offset)));
                len -= 8 + name_len;
            }
        }
        names
    }

    fn content(&self, inode: &mut Cursor<'_>, start: u64, len: u64, fragment: u32, offset: u32) -> Bytes {
        let blocks = if fragment == u32::MAX { len.div_ceil(self.block_size) } else { len / self.block_size };
        let (mut content, mut at) = (Vec::new(), start as usize);
        for _ in 0..blocks {
            let size = inode.word();
            let stored = &self.bytes[at..at + (size & 0xff_ffff) as usize];
            match size {
                0 => content.resize(content.len() + self.block_size as usize, 0),
                size if size >> 24 == 0 => content.extend(unpack(stored, self.block_size as usize)),
                _ => content.extend_from_slice(stored),
            }
            at += stored.len();
        }
        if fragment != u32::MAX {
            let (start, size) = self.fragments[fragment as usize];
            let stored = &self.bytes[start as usize..start as usize + (size & 0xff_ffff) as usize];
            let whole =
                if size >> 24 == 0 { unpack(stored, self.block_size as usize) } else { stored.to_vec() };
            content.extend_from_slice(&whole[offset as usize..][..(len % self.block_size) as usize]);
        }
        assert_eq!(content.len() as u64, len);
        content.into()
    }
}
