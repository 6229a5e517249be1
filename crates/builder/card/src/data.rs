//! What a card's data partition begins with: nothing, or what the lab's nodes are started with and given.

use std::{collections::BTreeSet, fs};

use anyhow::Context as _;
use pilotlight_disk::layout::{DATA_IMAGE, MIB};
use pilotlight_fetch::Cache;
use pilotlight_lab::{Architecture, Lab, System, Versions, paths, users};
use pilotlight_mirror::{Lock, Wanted};
use pilotlight_tree::{Bytes, Kind, Meta, Node, Tree, TreePath};

use crate::{NODE_CHANNELS, NodeImage};

/// What the Pi needs for its first hours, and an ext4 for itself, its journal above all.
const SPARE: u64 = 48 * MIB;

/// The channels of the system that [`crate::Workshop::node_image`] makes which the lab's machines may follow.
pub(crate) fn wanted_channels(lab: &Lab) -> Vec<&'static str> {
    let wanted: BTreeSet<String> = ours(lab).filter(is_made).map(|wanted| wanted.channel).collect();
    NODE_CHANNELS.iter().map(|(name, _)| *name).filter(|name| wanted.contains(*name)).collect()
}

/// What the lab wants of it and this builder does not make, in words.
pub(crate) fn unmade(lab: &Lab) -> Vec<String> {
    ours(lab).filter(|wanted| !is_made(wanted)).map(|wanted| wanted.to_string()).collect()
}

fn ours(lab: &Lab) -> impl Iterator<Item = Wanted> {
    pilotlight_mirror::systems(lab).into_iter().filter(|wanted| wanted.system == System::DebianRam)
}

fn is_made(wanted: &Wanted) -> bool {
    wanted.architecture == Architecture::Amd64
        && NODE_CHANNELS.iter().any(|(name, _)| *name == wanted.channel)
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

/// The partition's files: the systems `images` and what `mirrored` names, out of the cache, among what the Pi hands out, and
/// the index of systems.
pub(crate) fn tree(images: &[NodeImage], mirrored: &Lock, cache: &Cache, epoch: u32) -> anyhow::Result<Tree> {
    let mut tree = Tree::new(Meta::root(0o755, epoch));
    let (system, architecture) = (System::DebianRam, Architecture::Amd64);
    let assets = paths::ASSETS.trim_start_matches(paths::DATA).trim_start_matches('/');
    let mut versions = mirrored.versions();
    for (path, file) in mirrored.all() {
        put(&mut tree, &format!("{assets}/{path}"), cache.bytes(&file.sha256)?, epoch)?;
    }
    for image in images {
        let folder = format!("{assets}/{}/{}/{architecture}", system.name(), image.version);
        for (name, ..) in &image.files {
            let path = image.folder.join(name);
            let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            put(&mut tree, &format!("{folder}/{name}"), content.into(), epoch)?;
        }
        let digests = image.files.iter().map(|(name, _, digest)| (name.clone(), digest.clone()));
        let key = |text: &str| (system, architecture, text.to_owned());
        versions.channels.insert(key(&image.channel), image.version.clone());
        versions.files.insert(key(&image.version), digests.collect());
    }
    if *mirrored != Lock::default() {
        put(&mut tree, &format!("{assets}/{}", Lock::NAME), mirrored.text().into(), epoch)?;
    }
    if !versions.files.is_empty() {
        put(&mut tree, &format!("{assets}/{}", Versions::INDEX), versions.index().into(), epoch)?;
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
