//! What making our image is measured against: a root of the same packages by `mmdebstrap`, then `mksquashfs`, `mkfs`
//! and `dd`. It gets its packages from our cache, as our builder does, and has less to do: neither an initrd nor our
//! services nor the boot ROM's files nor an inventory. A developer's tool: nothing else here needs it.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use pilotlight_card::{Toolset, Workshop};

use crate::{BOARD, usual};

const SCRIPT: &str = include_str!("usual.sh");
/// The set of what the Pi hands to other machines. Its packages are unpacked, not installed.
const PAYLOAD: &str = "payload";

/// Makes the image once in the new folder `scratch`, and says how long it took.
///
/// # Errors
/// A step does not succeed; its log is kept in the folder of targets.
pub(crate) fn make(workshop: &Workshop, scratch: &Path) -> anyhow::Result<Duration> {
    let payload = scratch.join("payload");
    fs::create_dir_all(&payload).with_context(|| format!("cannot make {}", payload.display()))?;
    workshop.fetch(&[PAYLOAD])?;
    for package in workshop.archives().locked(workshop.lock(), PAYLOAD)? {
        let object = workshop.archives().cache().object(&package.sha256);
        fs::copy(&object, payload.join(format!("{}.deb", package.name)))
            .with_context(|| format!("cannot copy {}", object.display()))?;
    }
    let selection = workshop.selection(&workshop.root_sets(&workshop.board(BOARD)?.0))?;
    let mut command = usual::command(&selection, scratch, SCRIPT)?;
    let tools = workshop.toolbox(Toolset::Checkers)?;
    for (variable, program) in [
        ("MKSQUASHFS", "mksquashfs"),
        ("MKFS_FAT", "mkfs.fat"),
        ("MCOPY", "mcopy"),
        ("MKE2FS", "mke2fs"),
        ("SFDISK", "sfdisk"),
    ] {
        command.env(variable, tools.program(program)?);
    }
    let start = Instant::now();
    usual::run(command, &workshop.target().join("usual.log"))?;
    Ok(start.elapsed())
}
