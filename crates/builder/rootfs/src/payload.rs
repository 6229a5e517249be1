//! Files that are taken one by one out of packages that are not installed: what the Pi hands to other machines.

use pilotlight_tree::{Bytes, Kind, Package, Tree, TreePath};

use crate::{Error, Spec, files};

/// Copies what root.toml names, and the copyright file of every payload package. What was copied, and whose it is.
pub(crate) fn copy(
    tree: &mut Tree,
    packages: &[Package],
    spec: &Spec,
    mtime: u32,
) -> Result<Vec<(TreePath, String)>, Error> {
    let mut own = Vec::new();
    for rule in &spec.raw.payload {
        let missing = || Error::Payload { package: rule.package.clone(), path: rule.from.clone() };
        let package = packages.iter().find(|package| package.name == rule.package).ok_or_else(missing)?;
        let content = find(package, &files::path(&rule.from)?, 0).ok_or_else(missing)?;
        own.push((put(tree, files::path(&rule.to)?, content, mtime)?, rule.package.clone()));
    }
    for package in packages {
        let path = files::path(&format!("usr/share/doc/{}/copyright", package.name))?;
        if tree.get(&path).is_some() {
            continue;
        }
        if let Some(content) = find(package, &path, 0) {
            own.push((put(tree, path, content, mtime)?, package.name.clone()));
        }
    }
    Ok(own)
}

fn put(tree: &mut Tree, path: TreePath, content: Bytes, mtime: u32) -> Result<TreePath, Error> {
    if tree.get(&path).is_some() {
        return Err(Error::Occupied { path, what: "the payload".to_owned() });
    }
    files::put_file(tree, path.clone(), content, 0o644, mtime);
    Ok(path)
}

/// The content of a file of the package; links within the package are followed, eight deep.
fn find(package: &Package, path: &TreePath, depth: u8) -> Option<Bytes> {
    let (_, node) = package.data.iter().find(|(other, _)| other == path)?;
    match &node.kind {
        Kind::File(content) => Some(content.clone()),
        Kind::HardLink(target) if depth < 8 => find(package, target, depth + 1),
        Kind::Symlink(target) if depth < 8 => find(package, &beside(path, target)?, depth + 1),
        _ => None,
    }
}

/// Where a link at `path` leads.
fn beside(path: &TreePath, target: &[u8]) -> Option<TreePath> {
    if target.starts_with(b"/") {
        return TreePath::parse(target).ok();
    }
    let mut at = path.parent()?;
    for part in target.split(|byte| *byte == b'/') {
        at = match part {
            b".." => at.parent()?,
            part => at.join(part).ok()?,
        };
    }
    Some(at)
}
