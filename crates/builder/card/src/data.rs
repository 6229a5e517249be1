//! What a card's data partition begins with: nothing, or the systems that the lab's nodes run from memory.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, bail};
use pilotlight_disk::layout::DATA_IMAGE;
use pilotlight_lab::{Architecture, Lab, ProfileKind, System, Versions, paths};
use pilotlight_tree::{Bytes, Kind, Meta, Node, Tree, TreePath};

use crate::NodeImage;

/// The channel of what is made here.
pub(crate) const CHANNEL: &str = "stable";
/// What an ext4 of the data partition's length needs for itself, its journal above all, and the Pi for its first hours.
const SPARE: u64 = 40 << 20;

/// Whether a profile of `lab` starts the system that [`crate::Workshop::node_image`] makes.
pub(crate) fn wants_node_image(lab: &Lab) -> bool {
    releases(lab)
        .any(|(system, architecture)| (system, architecture) == (System::DebianRam, Architecture::Amd64))
}

/// What profiles of `lab` start and this builder does not bring, in words.
pub(crate) fn lacking(lab: &Lab) -> Vec<String> {
    let mut lacking: Vec<_> = releases(lab)
        .filter(|wanted| *wanted != (System::DebianRam, Architecture::Amd64))
        .map(|(system, architecture)| format!("{} for {architecture}", system.title()))
        .collect();
    lacking.sort();
    lacking.dedup();
    lacking
}

fn releases(lab: &Lab) -> impl Iterator<Item = (System, Architecture)> {
    lab.profiles.values().filter_map(|profile| match &profile.kind {
        ProfileKind::Release(release) => Some((release.system, release.architecture)),
        _ => None,
    })
}

/// The partition's files, with `image` among what the Pi hands out.
pub(crate) fn tree(image: Option<&NodeImage>, epoch: u32) -> anyhow::Result<Tree> {
    let mut tree = Tree::new(Meta::root(0o755, epoch));
    let Some(image) = image else { return Ok(tree) };
    let bytes: u64 = image.files.iter().map(|(_, length, _)| length).sum();
    if bytes + SPARE > DATA_IMAGE.len {
        bail!(
            "the nodes' system has {bytes} bytes, and the data partition of an image {}: there is no room for it",
            DATA_IMAGE.len
        );
    }
    let (system, architecture) = (System::DebianRam, Architecture::Amd64);
    let assets = paths::ASSETS.trim_start_matches(paths::DATA).trim_start_matches('/');
    let folder = format!("{assets}/{}/{}/{architecture}", system.name(), image.version);
    for (name, ..) in &image.files {
        let path = image.folder.join(name);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        put(&mut tree, &format!("{folder}/{name}"), content.into(), epoch)?;
    }
    let digests = image.files.iter().map(|(name, _, digest)| (name.clone(), digest.clone()));
    let key = |text: &str| (system, architecture, text.to_owned());
    let versions = Versions {
        channels: BTreeMap::from([(key(CHANNEL), image.version.clone())]),
        files: BTreeMap::from([(key(&image.version), digests.collect())]),
    };
    put(&mut tree, &format!("{assets}/{}", Versions::INDEX), versions.index().into(), epoch)?;
    Ok(tree)
}

/// Puts a file into the tree, with the folders above it.
fn put(tree: &mut Tree, path: &str, content: Bytes, epoch: u32) -> anyhow::Result<()> {
    let path = TreePath::parse(path)?;
    let mut above = path.parent();
    while let Some(folder) = above.filter(|folder| !folder.is_root() && tree.get(folder).is_none()) {
        above = folder.parent();
        tree.insert(folder, Node { meta: Meta::root(0o755, epoch), kind: Kind::Directory });
    }
    tree.insert(path, Node { meta: Meta::root(0o644, epoch), kind: Kind::File(content) });
    Ok(())
}
