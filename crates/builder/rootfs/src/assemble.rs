//! The union of the packages' files. Knows the merged /usr and the rules of what is left out; knows nothing of
//! what the files are for, the kernel's excepted: that one belongs on the FAT partition.

use std::collections::{BTreeMap, BTreeSet};

use pilotlight_tree::{Bytes, Kind, Meta, Node, Package, Tree, TreePath};

use crate::{Error, Spec, files};

/// One file of a package that is not in the root, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it would be.
    pub path: TreePath,
    /// Whose it is.
    pub package: String,
    /// The reason as root.toml gives it.
    pub reason: String,
    /// Bytes of content; 0 for folders and links.
    pub size: u64,
}

/// The kernel's parts that do not belong in the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kernel {
    pub(crate) image: Bytes,
    pub(crate) release: String,
    /// By the path below `/usr/lib/linux-image-RELEASE/`.
    pub(crate) device_trees: BTreeMap<String, Bytes>,
}

pub(crate) struct Assembled {
    pub(crate) tree: Tree,
    /// Which package ships the file, folders excepted.
    pub(crate) owners: BTreeMap<TreePath, String>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) kernel: Kernel,
    pub(crate) merge: UsrMerge,
}

/// The links at the top of the root (`/bin` → `usr/bin`), through which packages may name their files.
#[derive(Debug, Clone, Default)]
pub(crate) struct UsrMerge(BTreeMap<Vec<u8>, Vec<u8>>);

/// The folders that are links into /usr.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

impl UsrMerge {
    pub(crate) fn of(packages: &[Package]) -> Self {
        let all = packages.iter().flat_map(|package| &package.data);
        let links = all.filter_map(|(path, node)| match &node.kind {
            Kind::Symlink(target) if !path.is_root() && !path.as_bytes().contains(&b'/') => {
                Some((path.as_bytes().to_vec(), target.clone()))
            }
            _ => None,
        });
        Self(links.collect())
    }

    /// The same, with the links that nobody ships: before Debian 13 it was debootstrap that made them, for every folder of
    /// [`MERGED`] that a package has files in. Gives those as well.
    fn completed(packages: &[Package]) -> (Self, Vec<TreePath>) {
        let mut merge = Self::of(packages);
        if MERGED.iter().any(|name| merge.0.contains_key(name.as_bytes())) {
            return (merge, Vec::new());
        }
        let all = || packages.iter().flat_map(|package| &package.data);
        let used = MERGED.into_iter().map(TreePath::literal);
        let used = used.filter(|folder| all().any(|(path, _)| path.is_at_or_beneath(folder)));
        let made: Vec<TreePath> = used.collect();
        for folder in &made {
            merge.0.insert(folder.as_bytes().to_vec(), [b"usr/", folder.as_bytes()].concat());
        }
        (merge, made)
    }

    /// Whether `path` is one of the links.
    pub(crate) fn is_link(&self, path: &TreePath) -> bool {
        self.0.contains_key(path.as_bytes())
    }

    /// The path behind the links; the links themselves stay as they are.
    pub(crate) fn resolve(&self, path: &TreePath) -> Result<TreePath, Error> {
        let bytes = path.as_bytes();
        let Some(slash) = bytes.iter().position(|byte| *byte == b'/') else { return Ok(path.clone()) };
        match self.0.get(&bytes[..slash]) {
            Some(target) => Ok(TreePath::parse([target, &bytes[slash..]].concat())?),
            None => Ok(path.clone()),
        }
    }
}

pub(crate) fn assemble(packages: &[Package], spec: &Spec) -> Result<Assembled, Error> {
    let (merge, made) = UsrMerge::completed(packages);
    let mut tree = Tree::new(Meta::root(0o755, 0));
    for link in made {
        files::put_link(&mut tree, link.clone(), [b"usr/", link.as_bytes()].concat(), 0);
    }
    let mut owners = BTreeMap::new();
    let mut left_out = Vec::new();
    let mut folders = Vec::new();
    let mut kernels = Vec::new();
    let mut device_trees = BTreeMap::new();
    for package in packages {
        for (raw, node) in &package.data {
            if merge.is_link(raw) && node.kind == Kind::Directory {
                continue;
            }
            let path = merge.resolve(raw)?;
            if let Kind::File(content) = &node.kind {
                note_kernel(&path, content, &mut kernels, &mut device_trees);
            }
            match spec.reason_to_leave_out(&path) {
                Some(reason) if node.kind == Kind::Directory => {
                    folders.push((path, node.clone(), package, reason))
                }
                Some(reason) => left_out.push(LeftOut {
                    path,
                    package: package.name.clone(),
                    reason: reason.to_owned(),
                    size: size(node),
                }),
                None => insert(&mut tree, &mut owners, &merge, path, node, package)?,
            }
        }
    }
    keep_needed_folders(&mut tree, folders, &mut left_out);
    check_hard_links(&tree)?;
    let found = kernels.len();
    let (Some((release, image)), 1) = (kernels.pop(), found) else { return Err(Error::Kernel { found }) };
    Ok(Assembled { tree, owners, left_out, kernel: Kernel { image, release, device_trees }, merge })
}

fn size(node: &Node) -> u64 {
    if let Kind::File(content) = &node.kind { content.len() as u64 } else { 0 }
}

/// `uname -r` of the kernel that a package ships at this place: Debian up to 13 in `/boot`, from 14 on beside its modules.
pub fn kernel_release(path: &TreePath) -> Option<String> {
    let beside_modules = || {
        let release = path.as_bytes().strip_prefix(b"usr/lib/modules/")?.strip_suffix(b"/vmlinuz")?;
        (!release.contains(&b'/')).then_some(release)
    };
    let release = path.as_bytes().strip_prefix(b"boot/vmlinuz-").or_else(beside_modules)?;
    Some(String::from_utf8_lossy(release).into_owned())
}

fn note_kernel(
    path: &TreePath,
    content: &Bytes,
    kernels: &mut Vec<(String, Bytes)>,
    device_trees: &mut BTreeMap<String, Bytes>,
) {
    if let Some(release) = kernel_release(path) {
        kernels.push((release, content.clone()));
    }
    if let Some(rest) = path.as_bytes().strip_prefix(b"usr/lib/linux-image-")
        && [&b".dtb"[..], b".dtbo"].iter().any(|ending| path.as_bytes().ends_with(ending))
        && let Some((_, below)) = String::from_utf8_lossy(rest).split_once('/')
    {
        device_trees.insert(below.to_owned(), content.clone());
    }
}

/// Folders are shared: the first package that ships one gives it its mode. Files are one package's, unless two
/// ship the very same (packages of two architectures side by side do).
fn insert(
    tree: &mut Tree,
    owners: &mut BTreeMap<TreePath, String>,
    merge: &UsrMerge,
    path: TreePath,
    node: &Node,
    package: &Package,
) -> Result<(), Error> {
    let mut node = node.clone();
    if let Kind::HardLink(target) = &node.kind {
        node.kind = Kind::HardLink(merge.resolve(target)?);
    }
    let mut first = package.name.clone();
    if let Some(owner) = owners.get(&path) {
        first.clone_from(owner);
    }
    match tree.get(&path).map(|there| (there.kind == Kind::Directory, there.kind == node.kind)) {
        Some((true, true)) if !path.is_root() => {}
        // `/` itself, and folders made for want of an entry of their own.
        Some((true, true)) => _ = tree.insert(path, node),
        Some((false, true)) => {}
        Some(_) => return Err(Error::Conflict { path, first, second: package.name.clone() }),
        None => {
            if node.kind != Kind::Directory {
                owners.insert(path.clone(), package.name.clone());
            }
            files::put(tree, path, node);
        }
    }
    Ok(())
}

/// A folder that a rule leaves out is kept after all when something beneath it is kept.
fn keep_needed_folders(
    tree: &mut Tree,
    folders: Vec<(TreePath, Node, &Package, &str)>,
    left_out: &mut Vec<LeftOut>,
) {
    let mut gone = BTreeSet::new();
    for (path, node, package, reason) in folders {
        if tree.get(&path).is_some() {
            // Made by `files::put` for what lies beneath it: give it the package's own mode.
            tree.insert(path, node);
        } else if gone.insert(path.clone()) {
            let reason = reason.to_owned();
            left_out.push(LeftOut { path, package: package.name.clone(), reason, size: 0 });
        }
    }
}

fn check_hard_links(tree: &Tree) -> Result<(), Error> {
    for (path, node) in tree.iter() {
        if let Kind::HardLink(target) = &node.kind
            && !matches!(tree.get(target), Some(Node { kind: Kind::File(_), .. }))
        {
            return Err(Error::HardLink { path: path.clone(), target: target.clone() });
        }
    }
    Ok(())
}

impl Spec {
    /// Why `path` stays out of the root, if it does.
    pub(crate) fn reason_to_leave_out(&self, path: &TreePath) -> Option<&str> {
        let rule = self.leave_out.iter().find(|rule| {
            rule.paths.iter().any(|glob| glob.matches_path(path))
                && !rule.except.iter().any(|glob| glob.matches_path(path))
        });
        rule.map(|rule| rule.reason.as_str())
    }
}
