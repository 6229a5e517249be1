//! The overlay: files of ours that go into the root as they are. [`read`] is the only place in this crate that
//! touches a disk.

use std::{collections::BTreeMap, fs, os::unix::ffi::OsStrExt, os::unix::fs::PermissionsExt, path::Path};

use pilotlight_tree::{Kind, Meta, Node, Tree, TreePath};

use crate::{Error, Spec, assemble::UsrMerge, files};

/// Files of ours with normal modes and owners.
#[derive(Debug, Clone, Default)]
pub struct Overlay(Vec<(TreePath, Node)>);

/// One file of a package that the root has otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Where.
    pub path: TreePath,
    /// Whose it was.
    pub package: String,
    /// The reason as root.toml gives it.
    pub reason: String,
}

impl Overlay {
    /// An overlay of what is at hand.
    pub fn new(nodes: Vec<(TreePath, Node)>) -> Self {
        Self(nodes)
    }

    /// What it holds, in the order of the paths.
    pub fn nodes(&self) -> &[(TreePath, Node)] {
        &self.0
    }
}

/// Reads the folder `folder`. Files become 0755 when their owner may run them, else 0644; all is `root:root` and
/// of the time `mtime`; symbolic links stay as they are. Names that begin with `.git` are passed over.
///
/// # Errors
/// A file that cannot be read, a device or the like.
pub fn read(folder: &Path, mtime: u32) -> Result<Overlay, Error> {
    let mut nodes = Vec::new();
    read_folder(folder, &TreePath::root(), mtime, &mut nodes)?;
    nodes.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(Overlay(nodes))
}

fn read_folder(
    folder: &Path,
    at: &TreePath,
    mtime: u32,
    nodes: &mut Vec<(TreePath, Node)>,
) -> Result<(), Error> {
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Overlay { path, source }
    };
    for entry in fs::read_dir(folder).map_err(fault(folder))? {
        let entry = entry.map_err(fault(folder))?;
        let (name, path) = (entry.file_name(), entry.path());
        if name.as_bytes().starts_with(b".git") {
            continue;
        }
        let inside = at.join(name.as_bytes())?;
        let found = entry.metadata().map_err(fault(&path))?;
        let (mode, kind) = if found.is_symlink() {
            let target = fs::read_link(&path).map_err(fault(&path))?;
            (0o777, Kind::Symlink(target.as_os_str().as_bytes().to_vec()))
        } else if found.is_dir() {
            read_folder(&path, &inside, mtime, nodes)?;
            (0o755, Kind::Directory)
        } else if found.is_file() {
            let mode = if found.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            (mode, Kind::File(fs::read(&path).map_err(fault(&path))?.into()))
        } else {
            return Err(Error::OverlayKind { path });
        };
        nodes.push((inside, Node { meta: Meta::root(mode, mtime), kind }));
    }
    Ok(())
}

/// Lays `overlay` over `tree`. Folders that are there keep their mode.
pub(crate) fn merge(
    tree: &mut Tree,
    owners: &mut BTreeMap<TreePath, String>,
    usr: &UsrMerge,
    overlay: &Overlay,
    spec: &Spec,
) -> Result<(Vec<TreePath>, Vec<Replaced>), Error> {
    let (mut own, mut replaced) = (Vec::new(), Vec::new());
    for (path, node) in &overlay.0 {
        let path = usr.resolve(path)?;
        let folder = node.kind == Kind::Directory;
        let there_folder = tree.get(&path).map(|there| there.kind == Kind::Directory);
        match there_folder {
            Some(true) if folder => continue,
            // A link at the top stands for the folder.
            _ if folder && usr.is_link(&path) => continue,
            Some(there) if there != folder => {
                return Err(Error::Occupied { path, what: "the overlay".to_owned() });
            }
            _ => {}
        }
        if let Some(package) = owners.remove(&path) {
            let reason = spec.replaced.iter().find(|(glob, _)| glob.matches_path(&path));
            let Some((_, reason)) = reason else { return Err(Error::Replaces { path, package }) };
            replaced.push(Replaced { path: path.clone(), package, reason: reason.clone() });
        }
        files::put(tree, path.clone(), node.clone());
        if !folder {
            own.push(path);
        }
    }
    Ok((own, replaced))
}
