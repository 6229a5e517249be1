//! A root that was made the usual way, read from the tar archive that `mmdebstrap` makes of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
};

use pilotlight_tree::{Bytes, Kind, Meta, Node, Tree, TreePath};
use tar::EntryType;

use super::reasons::{Reasons, Unused};
use crate::Error;

/// What an archive's extended headers say besides attributes: names and numbers too long for the plain header.
const PLAIN: [&str; 9] = ["path", "linkpath", "size", "mtime", "atime", "ctime", "uid", "gid", "comment"];

/// The usual root.
#[derive(Debug, Clone)]
pub struct Usual {
    pub(super) tree: Tree,
    /// Names of the extended attributes (access lists and capabilities among them) by path.
    pub(super) attributes: BTreeMap<TreePath, Vec<String>>,
}

impl Usual {
    /// Reads a tar archive.
    ///
    /// # Errors
    /// An archive that is cut off, or that holds what no root does.
    pub fn read(archive: &Bytes) -> Result<Self, Error> {
        let unreadable = Error::UsualArchive;
        let mut usual = Self { tree: Tree::new(Meta::root(0o755, 0)), attributes: BTreeMap::new() };
        // Regular files and their further names, by the path to link to.
        let mut names: HashMap<TreePath, TreePath> = HashMap::new();
        let mut tar = tar::Archive::new(io::Cursor::new(archive));
        for entry in tar.entries_with_seek().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let path = TreePath::parse(entry.path_bytes())?;
            let strange = |what| Error::UsualEntry { path: path.clone(), what };
            let attributes = attributes(&mut entry).map_err(unreadable)?;
            let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
            let link = || link.clone().ok_or_else(|| strange("a link to nothing"));
            let header = entry.header();
            let number = |number: io::Result<u64>| {
                number
                    .ok()
                    .and_then(|number| u32::try_from(number).ok())
                    .ok_or_else(|| strange("an owner too large"))
            };
            let meta = Meta {
                mode: (header.mode().map_err(unreadable)? & 0o7777) as u16,
                uid: number(header.uid())?,
                gid: number(header.gid())?,
                mtime: 0,
            };
            let kind = match header.entry_type() {
                EntryType::Directory => Kind::Directory,
                EntryType::Regular | EntryType::Continuous => {
                    names.insert(path.clone(), path.clone());
                    let (start, len) = (entry.raw_file_position() as usize, entry.size() as usize);
                    let end = start.checked_add(len).filter(|end| *end <= archive.len());
                    Kind::File(archive.slice(start..end.ok_or_else(|| strange("cut off"))?))
                }
                EntryType::Symlink => Kind::Symlink(link()?),
                EntryType::Link => {
                    let target = TreePath::parse(link()?)?;
                    let target = names.get(&target).ok_or_else(|| strange("a hard link to no file"))?.clone();
                    names.insert(path.clone(), target.clone());
                    Kind::HardLink(target)
                }
                // Their numbers are the kernel's matter: no root of ours has any.
                EntryType::Char => Kind::CharDevice { major: 0, minor: 0 },
                EntryType::Block => Kind::BlockDevice { major: 0, minor: 0 },
                EntryType::Fifo => Kind::Fifo,
                _ => return Err(strange("of a kind that no root holds")),
            };
            if !attributes.is_empty() {
                usual.attributes.insert(path.clone(), attributes);
            }
            usual.tree.insert(path, Node { meta, kind });
        }
        Ok(usual)
    }

    /// The same with every folder that `reasons` calls moved at the place where ours has it.
    pub(super) fn moved(&self, reasons: &Reasons, unused: &mut Unused) -> Self {
        let mut found = BTreeSet::new();
        let mut place = |path: &TreePath| {
            let mut all = reasons.moved.iter().enumerate();
            let Some((number, moved)) = all.find(|(_, moved)| path.is_at_or_beneath(&moved.from)) else {
                return path.clone();
            };
            found.insert(number);
            let below = &path.as_bytes()[moved.from.as_bytes().len()..];
            TreePath::parse([moved.to.as_bytes(), below].concat()).unwrap_or_else(|_| path.clone())
        };
        let mut tree = Tree::new(Meta::root(0o755, 0));
        for (path, node) in self.tree.iter() {
            let kind = match &node.kind {
                Kind::HardLink(target) => Kind::HardLink(place(target)),
                other => other.clone(),
            };
            tree.insert(place(path), Node { meta: node.meta, kind });
        }
        let attributes = self.attributes.iter().map(|(path, names)| (place(path), names.clone())).collect();
        for number in found {
            reasons.found_moved(number, unused);
        }
        Self { tree, attributes }
    }
}

fn attributes(entry: &mut tar::Entry<'_, io::Cursor<&Bytes>>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let key = String::from_utf8_lossy(extension?.key_bytes()).into_owned();
        if !PLAIN.contains(&key.as_str()) && !["uname", "gname"].contains(&key.as_str()) {
            names.push(key.trim_start_matches("SCHILY.xattr.").to_owned());
        }
    }
    Ok(names)
}
