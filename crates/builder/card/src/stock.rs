//! What earlier roots have that a new one need not compress again: blocks of the squashfs, and the kernel.
//!
//! A root's folder holds an index of the pieces of each file that has any. There is no other store of them: the folder
//! appears by one rename, and what removes old roots bounds it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use pilotlight_board::Compression;
use pilotlight_image::pieces::{Found, Index, Maker, Mark, Stock};
use pilotlight_lab::paths::KERNEL_ON_CARD;
use pilotlight_tree::Bytes;

/// The squashfs in a root's folder.
pub(crate) const SQUASHFS: &str = "root.squashfs";
/// The folder of what goes onto the boot partition.
pub(crate) const BOOT: &str = "boot";
/// The indexes of the squashfs' and of the kernel's pieces.
pub(crate) const SQUASHFS_PIECES: &str = "root.pieces";
pub(crate) const KERNEL_PIECES: &str = "kernel.pieces";
/// What is put behind the name of a root that is not to be taken as it is.
const PASSED: &str = ".passed";

/// The pieces of all roots in the folder `parent`. What cannot be read gives none.
pub(crate) fn of(parent: &Path) -> Stock {
    let mut stock = Stock::default();
    for folder in folders(parent) {
        for (file, index) in [
            (PathBuf::from(SQUASHFS), SQUASHFS_PIECES),
            (Path::new(BOOT).join(KERNEL_ON_CARD), KERNEL_PIECES),
        ] {
            if let (Ok(file), Ok(index)) = (File::open(folder.join(file)), fs::read(folder.join(index))) {
                stock.add(Box::new(file), &Index::decode(&index));
            }
        }
    }
    stock
}

/// Has every root made anew, out of the pieces that there are.
pub(crate) fn pass_over(parent: &Path) -> std::io::Result<()> {
    for folder in folders(parent) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name.ends_with(PASSED) {
            continue;
        }
        let passed = parent.join(format!("{name}{PASSED}"));
        if passed.exists() {
            fs::remove_dir_all(&passed)?;
        }
        fs::rename(&folder, &passed)?;
    }
    Ok(())
}

fn folders(parent: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The kernel as the boot loader takes it, and its piece where it is worth one.
pub(crate) fn kernel(
    kernel: &Bytes,
    compression: Compression,
    stock: &Stock,
) -> std::io::Result<(Bytes, Index)> {
    /// How a gzip file begins (RFC 1952, section 2.3.1).
    const GZIP: &[u8] = &[0x1f, 0x8b];
    const LEVEL: u32 = 6;
    if compression == Compression::None || kernel.starts_with(GZIP) {
        return Ok((kernel.clone(), Index::default()));
    }
    let key = Maker::new(&[b"kernel gzip", include_bytes!("stock.rs")]).key(kernel);
    let (packed, mark) = match stock.find(key, kernel.len()) {
        Some((Found::Packed(packed), mark)) => (packed, mark),
        _ => {
            // No name and no time in the header: the same kernel gives the same bytes.
            let room = Vec::with_capacity(kernel.len() / 2);
            let mut gzip = flate2::GzBuilder::new().write(room, flate2::Compression::new(LEVEL));
            std::io::Write::write_all(&mut gzip, kernel)?;
            let packed = gzip.finish()?;
            let mark = Mark::new(key, Some(&packed));
            (packed, mark)
        }
    };
    let mut index = Index::default();
    index.push(mark, 0);
    Ok((packed.into(), index))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of roots with one of this kernel.
    fn roots(kernel: &[u8], index: &Index) -> tempfile::TempDir {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a");
        fs::create_dir_all(folder.join(BOOT)).unwrap();
        fs::write(folder.join(BOOT).join(KERNEL_ON_CARD), kernel).unwrap();
        fs::write(folder.join(KERNEL_PIECES), index.encode()).unwrap();
        parent
    }

    #[test]
    fn a_kernel_is_the_same_whatever_is_in_stock() {
        let raw = Bytes::from("a kernel ".repeat(1000));
        let make = |stock: &Stock| kernel(&raw, Compression::Gzip, stock).unwrap();
        let (cold, index) = make(&Stock::default());
        assert!(cold.len() < 1000);
        assert_eq!(make(&of(roots(&cold, &index).path())), (cold.clone(), index.clone()));
        let mut damaged = cold.to_vec();
        damaged[40] ^= 1;
        for file in [&damaged, &cold[..40], &[]] {
            assert_eq!(make(&of(roots(file, &index).path())), (cold.clone(), index.clone()));
        }
        let (plain, index) = kernel(&raw, Compression::None, &Stock::default()).unwrap();
        assert_eq!((plain, index), (raw.clone(), Index::default()));
    }

    #[test]
    fn roots_that_are_passed_over_give_pieces_still() {
        let raw = Bytes::from("a kernel ".repeat(1000));
        let (packed, index) = kernel(&raw, Compression::Gzip, &Stock::default()).unwrap();
        let parent = roots(&packed, &index);
        let key = Maker::new(&[b"kernel gzip", include_bytes!("stock.rs")]).key(&raw);
        for _ in 0..2 {
            pass_over(parent.path()).unwrap();
            let names: Vec<PathBuf> = folders(parent.path()).collect();
            assert_eq!(names, [parent.path().join("a.passed")]);
            assert!(of(parent.path()).find(key, raw.len()).is_some());
        }
        let again = roots(&packed, &index);
        fs::rename(again.path().join("a"), parent.path().join("a")).unwrap();
        pass_over(parent.path()).unwrap();
        assert_eq!(folders(parent.path()).count(), 1);
    }
}
