//! The way out of the initrd: into the root, or back to the firmware.

use std::{
    convert::Infallible,
    fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use rustix::{
    fs::sync,
    mount::mount_move,
    process::{chdir, chroot},
    system::{RebootCommand, reboot},
};

use super::{Fault, console::Console, mounts};

/// The system's own init, seen from the root.
const INIT: &str = "/sbin/init";

/// Hands over to the system in `root`. The initrd's files are deleted first: nothing else would give their memory
/// back.
pub(crate) fn root(root: &Path) -> Result<Infallible, Fault> {
    mounts::move_kernel_file_systems()?;
    if let Ok(initrd) = fs::metadata("/") {
        empty(Path::new("/"), initrd.dev());
    }
    chdir(root).map_err(Fault::file("enter", root))?;
    mount_move(".", "/").map_err(Fault::file("move to / the root at", root))?;
    chroot(".").map_err(Fault::file("change the root to", root))?;
    chdir("/").map_err(Fault::file("enter", "/"))?;
    Err(Fault::file("start", INIT)(Command::new(INIT).exec()))
}

/// Deletes everything below `folder` that lies on the file system `device`; what does not go is left.
fn empty(folder: &Path, device: u64) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // The metadata of what is mounted on a folder, not of the folder beneath: of another device, so left alone.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.dev() != device {
            continue;
        }
        let _ = if metadata.is_dir() {
            empty(&path, device);
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
    }
}

/// Restarts the board after `pause`.
pub(crate) fn restart(pause: Duration, console: &Console) -> ExitCode {
    console.say(&format!("restarting in {} s", pause.as_secs()));
    thread::sleep(pause);
    sync();
    let result = reboot(RebootCommand::Restart);
    console.say(&format!("cannot restart: {result:?}"));
    // PID 1 that ends is a kernel panic, and with `panic=` the kernel restarts the board.
    ExitCode::FAILURE
}
