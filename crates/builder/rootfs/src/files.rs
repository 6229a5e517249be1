//! Small hands on a [`Tree`]: read a text, write a file, make the folders above it.

use pilotlight_tree::{Bytes, Kind, Meta, Node, Tree, TreePath};

use crate::Error;

/// The content of the regular file at `path`; hard links are followed, symbolic links are not.
pub(crate) fn content<'a>(tree: &'a Tree, path: &TreePath) -> Option<&'a Bytes> {
    match &tree.get(path)?.kind {
        Kind::File(content) => Some(content),
        Kind::HardLink(target) => match &tree.get(target)?.kind {
            Kind::File(content) => Some(content),
            _ => None,
        },
        _ => None,
    }
}

/// The content of the regular file at `path` as text.
pub(crate) fn text<'a>(tree: &'a Tree, path: &TreePath) -> Result<&'a str, Error> {
    let content = content(tree, path).ok_or_else(|| Error::Missing { path: path.clone() })?;
    std::str::from_utf8(content).map_err(|source| Error::NotText { path: path.clone(), source })
}

/// Puts a node in place, with the folders above it.
pub(crate) fn put(tree: &mut Tree, path: TreePath, node: Node) {
    make_parents(tree, &path, node.meta.mtime);
    tree.insert(path, node);
}

/// Puts a file of root's in place.
pub(crate) fn put_file(tree: &mut Tree, path: TreePath, content: impl Into<Bytes>, mode: u16, mtime: u32) {
    put(tree, path, Node { meta: Meta::root(mode, mtime), kind: Kind::File(content.into()) });
}

/// Puts a symbolic link in place.
pub(crate) fn put_link(tree: &mut Tree, path: TreePath, target: impl AsRef<[u8]>, mtime: u32) {
    let kind = Kind::Symlink(target.as_ref().to_vec());
    put(tree, path, Node { meta: Meta::root(0o777, mtime), kind });
}

/// Makes the folders above `path` that are not there, `root:root` 0755.
pub(crate) fn make_parents(tree: &mut Tree, path: &TreePath, mtime: u32) {
    let mut above = path.parent();
    while let Some(folder) = above {
        if tree.get(&folder).is_some() {
            break;
        }
        above = folder.parent();
        tree.insert(folder, Node { meta: Meta::root(0o755, mtime), kind: Kind::Directory });
    }
}

/// What lies right in the folder `folder`, in the order of the names. Names are lossy UTF-8.
pub(crate) fn entries_of<'a>(tree: &'a Tree, folder: &TreePath) -> Vec<(String, &'a TreePath, &'a Node)> {
    let above = folder.as_bytes();
    tree.iter()
        .filter(|(path, _)| {
            let rest = path.as_bytes().strip_prefix(above).and_then(|rest| rest.strip_prefix(b"/"));
            rest.is_some_and(|name| !name.is_empty() && !name.contains(&b'/'))
        })
        .map(|(path, node)| (String::from_utf8_lossy(path.file_name()).into_owned(), path, node))
        .collect()
}

/// A path given as text by a file of the tree or by root.toml.
pub(crate) fn path(raw: &str) -> Result<TreePath, Error> {
    Ok(TreePath::parse(raw)?)
}
