//! The steps of root.toml: what stands in for each package's scripts, and what the appliance wants besides. A
//! script that root.toml does not know stops the build.

use pilotlight_tree::{Kind, Meta, Node, Package, Tree, TreePath};

use crate::{Error, Spec, files, spec::Step, users::Users};

/// The steps to take, with a name for messages.
///
/// # Errors
/// A package whose postinst or whose triggers nothing in root.toml stands for.
pub(crate) fn of<'a>(spec: &'a Spec, packages: &[Package]) -> Result<Vec<(String, &'a Step)>, Error> {
    let mut steps = Vec::new();
    for package in packages {
        let known = spec.scripts.iter().find(|(name, _)| name.matches(package.name.as_bytes()));
        let interested = package.control.get("triggers").is_some_and(|triggers| {
            String::from_utf8_lossy(triggers).lines().any(|line| line.trim_start().starts_with("interest"))
        });
        let script = match () {
            () if package.control.contains_key("postinst") => Some("postinst"),
            () if interested => Some("triggers"),
            () => None,
        };
        match (known, script) {
            (Some((_, step)), _) => steps.push((format!("the step for package {}", package.name), step)),
            (None, Some(script)) => {
                return Err(Error::UnknownScript { package: package.name.clone(), script });
            }
            (None, None) => {}
        }
    }
    steps.extend(spec.raw.step.iter().map(|step| (format!("the step \"{}\"", step.why), step)));
    Ok(steps)
}

/// Takes one step. What is already there stays, as with the scripts that the step stands for: the overlay was
/// laid down before. Owners are set on what is there.
pub(crate) fn take(tree: &mut Tree, what: &str, step: &Step, users: &Users, mtime: u32) -> Result<(), Error> {
    let owned = |mode: u16, group: &Option<String>| -> Result<Meta, Error> {
        let (uid, gid) = users.owner(what, "root", group.as_deref().unwrap_or("root"))?;
        Ok(Meta { mode, uid, gid, mtime })
    };
    for directory in &step.directories {
        let meta = owned(directory.mode.unwrap_or(0o755), &directory.group)?;
        put_new(tree, &directory.path, Node { meta, kind: Kind::Directory })?;
    }
    for copy in &step.copies {
        let from = files::path(&copy.from)?;
        let content = files::content(tree, &from).ok_or(Error::Missing { path: from })?.clone();
        put_new(tree, &copy.to, Node { meta: Meta::root(0o644, mtime), kind: Kind::File(content) })?;
    }
    for file in &step.files {
        let meta = owned(file.mode.unwrap_or(0o644), &file.group)?;
        put_new(tree, &file.path, Node { meta, kind: Kind::File(file.content.clone().into()) })?;
    }
    for link in &step.links {
        let kind = Kind::Symlink(link.target.clone().into_bytes());
        // A package ships an empty folder where its script wants a link.
        remove_empty_folder(tree, &files::path(&link.path)?);
        put_new(tree, &link.path, Node { meta: Meta::root(0o777, mtime), kind })?;
    }
    for owner in &step.owners {
        let (uid, gid) = users.owner(what, &owner.user, &owner.group)?;
        let path = files::path(&owner.path)?;
        let node = match tree.get_mut(&path) {
            Some(node) => node,
            None if owner.may_lack => continue,
            None => return Err(Error::Missing { path }),
        };
        node.meta = Meta { mode: owner.mode, uid, gid, ..node.meta };
    }
    Ok(())
}

fn remove_empty_folder(tree: &mut Tree, path: &TreePath) {
    if tree.get(path).is_some_and(|node| node.kind == Kind::Directory)
        && !tree.iter().any(|(other, _)| other != path && other.is_at_or_beneath(path))
    {
        tree.remove(path);
    }
}

fn put_new(tree: &mut Tree, path: &str, node: Node) -> Result<(), Error> {
    let path: TreePath = files::path(path)?;
    if tree.get(&path).is_none() {
        files::put(tree, path, node);
    }
    Ok(())
}
