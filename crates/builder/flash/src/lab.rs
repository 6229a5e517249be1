//! The boot partition of an image with another lab on it.

use pilotlight_disk::layout;
use pilotlight_image::{
    ReadAt, Sparse,
    card::Card,
    fat::{self, FatError, FatReadError, Reader},
};
use pilotlight_lab::paths::LAB_ON_CARD;
use pilotlight_tree::{Kind, Meta, Node, PathError, Tree, TreePath};

/// Why a lab could not be put onto a boot partition.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The image's boot partition cannot be read.
    #[error("cannot read the image's boot partition")]
    Read(#[from] FatReadError),
    /// A file on it has a name that no file may have.
    #[error("the image's boot partition is damaged")]
    Name(#[from] PathError),
    /// With the lab, it does not fit its place.
    #[error("cannot put the lab onto the boot partition")]
    Write(#[from] FatError),
}

/// The boot partition of `image`, with `lab` for its `lab.toml`. Its entries carry no date.
///
/// # Errors
/// A boot partition that cannot be read, or a lab that does not fit.
pub fn with_lab(image: &Card, lab: &[u8]) -> Result<Sparse, LabError> {
    let fat = image.boot()?;
    let mut tree = Tree::new(Meta::root(0o755, 0));
    copy(&fat, "", &mut tree)?;
    tree.insert(TreePath::parse(LAB_ON_CARD)?, file(lab.to_vec()));
    let place = image.slot.boot();
    let options = fat::Options {
        len: place.len,
        start: place.start,
        label: layout::BOOT_LABEL.to_owned(),
        volume_id: fat.volume_id(),
        time: 0,
    };
    Ok(fat::write(&tree, &options)?)
}

fn copy<R: ReadAt>(fat: &Reader<R>, folder: &str, tree: &mut Tree) -> Result<(), LabError> {
    for entry in fat.list(folder)? {
        let name = format!("{folder}{}", entry.name);
        if entry.is_directory {
            tree.insert(TreePath::parse(&name)?, Node { meta: Meta::root(0o755, 0), kind: Kind::Directory });
            copy(fat, &format!("{name}/"), tree)?;
        } else {
            tree.insert(TreePath::parse(&name)?, file(fat.read(&name)?));
        }
    }
    Ok(())
}

fn file(content: Vec<u8>) -> Node {
    Node { meta: Meta::root(0o644, 0), kind: Kind::File(content.into()) }
}
