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
    let (option, times) = match way {
        Way::Careful => ("-p", 1),
        // Having played the journal back it looks at the torn superblock again and gives up (1.47.2); the second time
        // there is no journal left to play.
        Way::CopyOfSuperblock => ("-y", 2),
    };
    let program = "/init";
    let mut last = None;
    for _ in 0..times {
        let status = mounts::with_devices_in_root(|| {
            Command::new(program)
                .args([REPAIR, option])
                .arg(device)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status()
        })?;
        last = Some(status.map_err(Fault::file("start", program))?);
    }
    if last.and_then(|status| status.code()).is_some_and(|code| code < LEFT) {
        return Ok(());
    }
    let status = last.map(|status| status.to_string()).unwrap_or_default();
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
