//! The data partition's repair by the root's own e2fsck(8).

use std::{
    convert::Infallible,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{chdir, chroot};

use super::{
    Fault,
    mounts::{self, ROOT},
};

/// The word by which this program knows itself as the one that becomes e2fsck in the root.
pub(crate) const REPAIR: &str = "repair";
const E2FSCK: &str = "/usr/sbin/e2fsck";
/// Exit statuses of e2fsck(8): below this one nothing is left to be repaired.
const LEFT: i32 = 4;

/// How much e2fsck may do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// What loses nothing.
    Careful,
    /// To use a copy of the superblock, which it does not call careful. The journal is played back all the same.
    CopyOfSuperblock,
}

/// Has e2fsck repair what can be repaired without asking anyone.
pub(crate) fn repair(device: &Path, way: Way) -> Result<(), Fault> {
    let option = match way {
        Way::Careful => "-p",
        Way::CopyOfSuperblock => "-y",
    };
    let program = "/init";
    let status = mounts::with_devices_in_root(|| {
        Command::new(program)
            .arg(REPAIR)
            .arg(option)
            .arg(device)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
    })?;
    let status = status.map_err(Fault::file("start", program))?;
    if status.code().is_some_and(|code| code < LEFT) {
        return Ok(());
    }
    let reason = format!("it has errors that e2fsck does not repair by itself ({status})");
    Err(Fault::Content { path: device.to_owned(), reason })
}

/// What the process does that [`repair`] starts.
pub(crate) fn become_e2fsck(option: &str, device: &str) -> Result<Infallible, Fault> {
    chroot(ROOT).map_err(Fault::file("change the root to", ROOT))?;
    chdir("/").map_err(Fault::file("enter", "/"))?;
    // -f: a journal without anything in it would make it look clean.
    Err(Fault::file("start", E2FSCK)(Command::new(E2FSCK).args(["-f", option, device]).exec()))
}
