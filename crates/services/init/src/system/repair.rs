//! The data partition's repair by the root's own e2fsck(8).

use std::{path::Path, process::Stdio};

use super::{Fault, inside};

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
    let mut last = None;
    for _ in 0..times {
        // -f: a journal without anything in it would make it look clean.
        last = Some(inside::run(&[E2FSCK, "-f", option, &device.to_string_lossy()], Stdio::null)?);
    }
    if last.and_then(|status| status.code()).is_some_and(|code| code < LEFT) {
        return Ok(());
    }
    let status = last.map(|status| status.to_string()).unwrap_or_default();
    let reason = format!("it has errors that e2fsck does not repair by itself ({status})");
    Err(Fault::Content { path: device.to_owned(), reason })
}
