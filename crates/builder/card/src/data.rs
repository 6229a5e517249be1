//! What a card's data partition begins with: nothing, or what the lab's nodes are started with and given.

use std::{collections::BTreeMap, fs::File};

use anyhow::Context as _;
use pilotlight_disk::layout::{DATA_IMAGE, MIB};
use pilotlight_fetch::Cache;
use pilotlight_lab::{Lab, System, Versions, paths, users};
use pilotlight_mirror::{Lock, LockedFile, LockedRelease};
use pilotlight_tree::{Bytes, Kind, Meta, Node, Tree, TreePath};

use crate::{NodeImage, NodeKind};

/// What the Pi needs for its first hours, and an ext4 for itself, its journal above all.
const SPARE: u64 = 48 * MIB;

/// The systems that [`crate::Workshop::node_image`] makes which the lab's machines may follow.
pub(crate) fn wanted_kinds(lab: &Lab) -> Vec<NodeKind> {
    let mut wanted = pilotlight_mirror::systems(lab);
    wanted.retain(|wanted| wanted.system == System::DebianRam);
    let is_wanted = |kind: &NodeKind| {
        wanted.iter().any(|wanted| NodeKind::find(&wanted.channel, wanted.architecture) == Some(*kind))
    };
    NodeKind::all().filter(is_wanted).collect()
}

/// How long the partition of these files has to be, in bytes.
pub(crate) fn length(tree: &Tree) -> u64 {
    let content = |(_, node): (&TreePath, &Node)| match &node.kind {
        Kind::File(content) => content.len() as u64,
        _ => 0,
    };
    let bytes: u64 = tree.iter().map(content).sum();
    // Bitmaps and inodes of an ext4 take a sixtieth.
    let wanted = (bytes + bytes / 50 + SPARE).next_multiple_of(4 * MIB);
    if bytes == 0 { DATA_IMAGE.len } else { wanted.max(DATA_IMAGE.len) }
}

/// What the Pi is to have of its lab: what is mirrored, and the systems `images`, which the builder made.
pub(crate) fn shelf(images: &[NodeImage], mirrored: &Lock) -> anyhow::Result<Lock> {
    let mut lock = mirrored.clone();
    for image in images {
        let file = |(name, size, digest): &(String, u64, String)| {
            Ok(LockedFile { path: name.clone(), url: String::new(), size: *size, sha256: digest.parse()? })
        };
        lock.put(LockedRelease {
            system: System::DebianRam,
            architecture: image.kind.architecture(),
            version: image.made.version.clone(),
            channels: vec![image.kind.channel().to_owned()],
            files: image.made.files.iter().map(file).collect::<anyhow::Result<_>>()?,
        });
    }
    Ok(lock)
}

/// The bytes of each of its files, by path beneath `/assets/`.
pub(crate) fn contents(
    shelf: &Lock,
    images: &[NodeImage],
    cache: &Cache,
) -> anyhow::Result<BTreeMap<String, Bytes>> {
    let mut contents = BTreeMap::new();
    for (path, file) in shelf.all() {
        let bytes = match file.url.as_str() {
            "" => made(images, &path)?,
            _ => cache.bytes(&file.sha256)?,
        };
        contents.insert(path, bytes);
    }
    Ok(contents)
}

/// A file that the builder made, at `SYSTEM/VERSION/ARCHITECTURE/NAME`.
fn made(images: &[NodeImage], path: &str) -> anyhow::Result<Bytes> {
    let mut parts = path.split('/').skip(1);
    let (version, name) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
    let image = images.iter().find(|image| image.made.version == version);
    let path = image.with_context(|| format!("nobody made {path}"))?.folder.join(name);
    let file = File::open(&path).and_then(|file| pilotlight_fetch::map(&file));
    file.with_context(|| format!("cannot read {}", path.display()))
}

/// The partition's files: what is on the shelf, among what the Pi hands out, its lock, and the index of systems.
pub(crate) fn tree(shelf: &Lock, contents: BTreeMap<String, Bytes>, epoch: u32) -> anyhow::Result<Tree> {
    let mut tree = Tree::new(Meta::root(0o755, epoch));
    let assets = paths::ASSETS.trim_start_matches(paths::DATA).trim_start_matches('/');
    for (path, content) in contents {
        put(&mut tree, &format!("{assets}/{path}"), content, epoch)?;
    }
    if *shelf != Lock::default() {
        put(&mut tree, &format!("{assets}/{}", Lock::NAME), shelf.text().into(), epoch)?;
        put(&mut tree, &format!("{assets}/{}", Versions::INDEX), shelf.versions().index().into(), epoch)?;
    }
    Ok(tree)
}

/// Puts a file into the tree, with the folders above it. They are the Pi's own to replace, by the one service that does.
fn put(tree: &mut Tree, path: &str, content: Bytes, epoch: u32) -> anyhow::Result<()> {
    let path = TreePath::parse(path)?;
    let mut above = path.parent();
    while let Some(folder) = above.filter(|folder| !folder.is_root() && tree.get(folder).is_none()) {
        above = folder.parent();
        tree.insert(folder, Node { meta: mirrors(0o755, epoch), kind: Kind::Directory });
    }
    tree.insert(path, Node { meta: mirrors(0o644, epoch), kind: Kind::File(content) });
    Ok(())
}

fn mirrors(mode: u16, mtime: u32) -> Meta {
    Meta { mode, uid: users::MIRROR, gid: users::MIRROR, mtime }
}
