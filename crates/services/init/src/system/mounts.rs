//! What is mounted where, and with which flags.

use std::{fs, path::Path};

use pilotlight_lab::paths;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_move, unmount};

use super::{Fault, files};

/// Where the card's root is mounted before the switch.
pub(crate) const ROOT: &str = "/root";
/// Where journald keeps what outlives a start, when the folder is there.
pub(crate) const JOURNAL: &str = "/var/log/journal";
/// What the kernel provides, in the initrd and in the root alike.
const KERNEL: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// `path` as the root has it, seen from the initrd.
pub(crate) fn in_root(path: &str) -> std::path::PathBuf {
    Path::new(ROOT).join(path.trim_start_matches('/'))
}

/// Mounts `/dev`, `/proc`, `/sys` and `/run`.
pub(crate) fn kernel_file_systems() -> Result<(), Fault> {
    let own = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    virtual_file_system("devtmpfs", "/dev", MountFlags::NOSUID, c"mode=0755")?;
    virtual_file_system("proc", "/proc", own, c"")?;
    virtual_file_system("sysfs", "/sys", own, c"")?;
    // As systemd mounts it; it keeps one that is there.
    virtual_file_system(
        "tmpfs",
        "/run",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::STRICTATIME,
        c"mode=0755,size=20%,nr_inodes=800k",
    )
}

fn virtual_file_system(
    kind: &str,
    target: &str,
    flags: MountFlags,
    options: &std::ffi::CStr,
) -> Result<(), Fault> {
    files::folder(Path::new(target))?;
    match mount(kind, target, kind, flags, options) {
        // CONFIG_DEVTMPFS_MOUNT does not reach into an initrd, but a kernel may come with it mounted.
        Ok(()) | Err(rustix::io::Errno::BUSY) => Ok(()),
        Err(errno) => Err(Fault::file("mount", target)(errno)),
    }
}

/// Mounts the root read-only, and an empty `/var` in memory over its own.
pub(crate) fn root(device: &Path) -> Result<(), Fault> {
    files::folder(Path::new(ROOT))?;
    mount(device, ROOT, "squashfs", MountFlags::RDONLY | MountFlags::NODEV, None)
        .map_err(Fault::file("mount the root from", device))?;
    let var = in_root("/var");
    mount("tmpfs", &var, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755,size=25%")
        .map_err(Fault::file("mount memory on", &var))
}

/// Memory at `folder`.
pub(crate) fn memory(folder: &Path) -> Result<(), Fault> {
    files::folder(folder)?;
    mount("tmpfs", folder, "tmpfs", MountFlags::NODEV, c"mode=0755,size=90%")
        .map_err(Fault::file("mount memory on", folder))
}

/// Mounts the root at `device`, which is only read, with the memory at `folder` over it: what is changed is gone at the next
/// start.
pub(crate) fn root_in_memory(device: &Path, folder: &Path) -> Result<(), Fault> {
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| folder.join(name));
    for path in [&lower, &upper, &work, &ROOT.into()] {
        files::folder(path)?;
    }
    mount(device, &lower, "squashfs", MountFlags::RDONLY | MountFlags::NODEV, None)
        .map_err(Fault::file("mount the root from", device))?;
    let show = |path: &Path| path.display().to_string();
    let layers = format!("lowerdir={},upperdir={},workdir={}", show(&lower), show(&upper), show(&work));
    let layers = std::ffi::CString::new(layers).unwrap_or_default();
    mount("overlay", ROOT, "overlay", MountFlags::NODEV, layers.as_c_str())
        .map_err(Fault::file("lay memory over the root at", ROOT))
}

/// Calls `run` while what the kernel provides is shown in the root, too.
pub(crate) fn with_kernel_in_root<T>(run: impl FnOnce() -> T) -> Result<T, Fault> {
    for path in KERNEL {
        let target = in_root(path);
        mount_bind(path, &target).map_err(Fault::file("show a file system of the kernel's at", &target))?;
    }
    let result = run();
    for path in KERNEL {
        let target = in_root(path);
        unmount(&target, UnmountFlags::DETACH).map_err(Fault::file("unmount", &target))?;
    }
    Ok(result)
}

/// Mounts the data partition for writing.
pub(crate) fn data(device: &Path) -> Result<(), Fault> {
    let target = in_root(paths::DATA);
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    // A fault found later must not be written over; the services go on from memory.
    mount(device, &target, "ext4", flags, c"errors=remount-ro").map_err(Fault::file("mount", device))
}

/// Takes the data partition away again, wherever it is shown.
pub(crate) fn no_data() {
    for path in [JOURNAL, paths::STATE, paths::DATA] {
        let _ = unmount(in_root(path), UnmountFlags::DETACH);
    }
}

/// Calls `read` with the folder of the FAT at `device`, which is mounted read-only only for that long.
pub(crate) fn with_fat<T>(device: &Path, read: impl FnOnce(&Path) -> T) -> Result<T, Fault> {
    let target = Path::new("/fat");
    files::folder(target)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(device, target, "vfat", flags, None).map_err(Fault::file("mount", device))?;
    let result = read(target);
    unmount(target, UnmountFlags::empty()).map_err(Fault::file("unmount", device))?;
    Ok(result)
}

/// Shows `source` at `target`, which is made when it can be.
pub(crate) fn bind_folder(source: &Path, target: &Path) -> Result<(), Fault> {
    files::folder(source)?;
    files::folder(target)?;
    mount_bind(source, target).map_err(Fault::file("bind the data partition to", target))
}

/// Shows the file `source` in place of the file `target`.
pub(crate) fn bind_file(source: &Path, target: &Path) -> Result<(), Fault> {
    mount_bind(source, target).map_err(Fault::file("put a file of this card in place of", target))
}

/// Moves what the kernel provides into the root.
pub(crate) fn move_kernel_file_systems() -> Result<(), Fault> {
    for path in KERNEL {
        let target = in_root(path);
        mount_move(path, &target).map_err(Fault::file("move a file system to", &target))?;
        let _ = fs::remove_dir(path);
    }
    Ok(())
}
