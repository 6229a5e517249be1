//! Full disks: small file systems in memory, which nobody but the scene sees.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use pilotlight_tests::namespace;
use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use pilotlight_tests::desk::{Desk, names};

/// A small disk, with a ballast that fills it as far as wanted.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// A disk of `mib` MiB on which the desk's folder `name` lies from now on, empty. The process becomes root of
    /// namespaces of its own: call it before there are threads.
    pub(crate) fn below(desk: &Desk, name: &str, mib: u32) -> Result<Self> {
        namespace::own_mounts()?;
        let (disk, folder) = (desk.path("disk"), desk.path(name));
        fs::create_dir(&disk).with_context(|| format!("could not make {}", disk.display()))?;
        let options = CString::new(format!("size={mib}m"))?;
        mount("tmpfs", &disk, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))
            .with_context(|| format!("could not mount a tmpfs on {}", disk.display()))?;
        let real = disk.join("folder");
        fs::create_dir(&real).with_context(|| format!("could not make {}", real.display()))?;
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("could not remove {}", folder.display()))?;
        }
        symlink(&real, &folder).with_context(|| format!("could not make the link {}", folder.display()))?;
        Ok(Self(disk))
    }

    /// Leaves room for so many bytes.
    pub(crate) fn leave(&self, bytes: u64) -> Result<()> {
        self.empty()?;
        let ballast = File::create(self.ballast()).context("could not make the ballast")?;
        let system = statvfs(&self.0).context("could not look at the small disk")?;
        let free = system.f_bavail * system.f_frsize;
        let size = free.checked_sub(bytes).context("the small disk is too small")?;
        fallocate(&ballast, FallocateFlags::empty(), 0, size).context("could not fill the small disk")
    }

    /// Leaves all its room.
    fn empty(&self) -> Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
                Err(fault).context("could not remove the ballast")
            }
            _ => Ok(()),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    /// The desk cannot remove a folder that something is mounted on.
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Of the image's 130 MB there is room for less: none of it stays, and an older image stays as it was.
pub(crate) fn image() -> Result<()> {
    let desk = Desk::new()?;
    let disk = Disk::below(&desk, "out", 400)?;
    desk.borrow_roots()?;
    let path = desk.image();
    let what = format!("cannot write the image {}", path.display());
    let expect = [&what, "No space left on device", "hint: free some space"];
    disk.leave(50 << 20)?;
    desk.fails(&mut desk.image_builder(None)?, &expect)?;
    disk.empty()?;
    desk.makes_image(None)?;

    disk.leave(50 << 20)?;
    let state = || {
        let meta = fs::metadata(&path).context("the older image is gone")?;
        anyhow::Ok((names(&desk.path("out"))?, meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.blocks()))
    };
    let before = state()?;
    desk.refused(&mut desk.image_builder(None)?, &expect)?;
    ensure!(state()? == before, "the older image was touched: {before:?} became {:?}", state()?);
    Ok(())
}

/// No room for the root file system, or for what is written after it, one after another: told is the file that the
/// disk is full at, and nothing of the root stays.
pub(crate) fn root() -> Result<()> {
    const PARTS: [&str; 4] = ["root.squashfs", "manifest", "bill.cdx.json", "boot/"];
    let desk = Desk::new()?;
    let disk = Disk::below(&desk, "target/roots", 200)?;
    desk.fill_cache(&[])?;
    desk.makes_image(None)?;
    let roots = desk.path("target/roots");
    let [made] = &names(&roots)?[..] else { bail!("there is not one root in {}", roots.display()) };
    let made = roots.join(made);
    let sizes = PARTS.map(|part| len(&made.join(part)));
    for folder in [&made, &desk.path("out")] {
        fs::remove_dir_all(folder).with_context(|| format!("could not remove {}", folder.display()))?;
    }

    let mut before = 0;
    for (part, size) in PARTS.iter().zip(sizes) {
        let size = size?;
        disk.leave(before + size / 2)?;
        desk.fails(
            &mut desk.image_builder(None)?,
            &["cannot write", &format!("/{part}"), "No space left on device", "hint: free some space"],
        )?;
        let left = names(&roots)?;
        ensure!(left.is_empty(), "{left:?} was left of the root");
        before += size;
    }
    disk.empty()?;
    desk.makes_image(None)
}

/// Bytes of a file, or of the files in a folder.
fn len(path: &Path) -> Result<u64> {
    let meta = fs::metadata(path).with_context(|| format!("could not look at {}", path.display()))?;
    if meta.is_dir() {
        return names(path)?.iter().map(|name| len(&path.join(name))).sum();
    }
    Ok(meta.len())
}

/// No room for what is fetched, and then for what is unpacked: what came stays, and is not asked for again.
pub(crate) fn cache() -> Result<()> {
    const ROOM: u64 = 1 << 20;
    let desk = Desk::new()?;
    let disk = Disk::below(&desk, "cache", 64)?;
    desk.empty_cache()?;
    let package = desk.package("systemd")?;
    desk.fill_cache(&[package])?;
    let server = desk.mirror()?;
    let place = format!("{}/{}", package.origin.archive, package.path);
    let advice = "free some, then run the same command again; what was fetched is kept";

    disk.leave(ROOM)?;
    let partial = desk.cached("partial", package);
    let expect = format!("no space left for {}", partial.display());
    desk.fails(&mut desk.image_builder(Some(&server))?, &[&expect, advice])?;
    ensure!(server.take_log() == [place.as_str()], "another file was asked for");
    let kept = fs::metadata(&partial).context("what was fetched is gone")?.len();
    ensure!(kept > 0 && kept <= ROOM, "{kept} bytes were kept");

    disk.leave(package.size - kept + ROOM)?;
    let expect = format!("no space left for {}", desk.cached("unpacked", package).display());
    let title = format!("cannot unpack {}", package.title());
    desk.fails(&mut desk.image_builder(Some(&server))?, &[&title, &expect, advice])?;
    let log = server.take_log();
    ensure!(log == [format!("{place} from {kept}")], "it was asked for {log:?}");

    disk.empty()?;
    desk.makes_image(Some(&server))?;
    let log = server.take_log();
    ensure!(log.is_empty(), "it was asked for {log:?}");
    Ok(())
}
