//! The image's partitions, cut out into files of their own.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use pilotlight_disk::{Mbr, layout, mbr};
use pilotlight_tests::{
    process::must,
    surroundings::{self, Tools},
};

/// Longer than any checker takes; nothing waits for it unless something is wrong.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// Cuts partition `number` out of the image under test, by the image's own table.
pub(crate) fn partition(number: u8, folder: &Path) -> Result<PathBuf> {
    let image = surroundings::image()?;
    let mut file = File::open(&image).with_context(|| format!("could not read {}", image.display()))?;
    let mut sector = [0; mbr::LEN];
    file.read_exact(&mut sector)?;
    let extent =
        Mbr::parse(&sector)?.partition(number).context("the partition is not in the table")?.extent();
    let path = folder.join(format!("partition-{number}"));
    let mut out = File::create(&path)?;
    file.seek(SeekFrom::Start(extent.start))?;
    let mut rest = file.take(extent.len);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = rest.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        // What is nothing but zeros stays a hole.
        if buffer[..count].iter().all(|byte| *byte == 0) {
            out.seek(SeekFrom::Current(count as i64))?;
        } else {
            out.write_all(&buffer[..count])?;
        }
    }
    out.set_len(extent.len)?;
    Ok(path)
}

/// The root's squashfs, and all of it unpacked: contents and links, not owners, as an ordinary user may.
pub(crate) struct Root {
    pub(crate) squashfs: PathBuf,
    pub(crate) tree: PathBuf,
    folder: tempfile::TempDir,
}

impl Root {
    pub(crate) fn unpack() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("image-").tempdir()?;
        let squashfs = partition(layout::ROOT_A_PARTITION, folder.path())?;
        let tree = folder.path().join("root");
        let mut unpack = Tools::checkers()?.command("unsquashfs")?;
        unpack.args(["-no-progress", "-quiet", "-no-xattrs", "-dest"]).arg(&tree).arg(&squashfs);
        must(&mut unpack, LIMIT)?;
        // Some programs may be run and not read; that stops everyone but root. Modes are read off the listing.
        open_up(&tree).with_context(|| format!("could not open {}", tree.display()))?;
        Ok(Self { squashfs, tree, folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the kernel's modules.
    pub(crate) fn modules(&self) -> Result<PathBuf> {
        let parent = self.tree.join("usr/lib/modules");
        let first = fs::read_dir(&parent)?.next().context("the root has no kernel modules")?;
        Ok(first?.path())
    }
}

/// Gives the owner of everything in a folder the right to look at it and to remove it.
fn open_up(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let mode = entry.metadata()?.permissions().mode();
        if kind.is_dir() {
            open_up(&entry.path())?;
        } else if kind.is_file() && mode & 0o400 == 0 {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode | 0o400))?;
        }
    }
    Ok(())
}
