//! Disks that the lab names for a node, with what they may have been found with.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
};

use anyhow::Result;
use pilotlight_emulator::pc::Disk;
use pilotlight_fetch::Digest;
use pilotlight_tests::{process::must, surroundings::Tools};

use crate::PATIENCE;

const MIB: u64 = 1 << 20;
const LENGTH: u64 = 256 * MIB;
/// What is on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing.
    Blank,
    /// What an interrupted formatting left.
    HalfMade,
    /// A file system of ours without its outermost folder.
    Damaged,
    /// What an earlier start of the machine left.
    Kept,
    /// What is on the disk that every machine has besides.
    Used,
}

/// A node's disk for `purpose`; none where it is one that it has anyway.
pub(crate) fn disk(folder: &Path, node: &str, purpose: &str, content: Content) -> Result<Option<Disk>> {
    let serial = format!("{purpose}-{node}");
    let path = folder.join(format!("{serial}.disk"));
    match content {
        Content::Used => return Ok(None),
        Content::Kept => {}
        Content::Blank => File::create(&path)?.set_len(LENGTH)?,
        Content::HalfMade => {
            let file = File::create(&path)?;
            file.set_len(LENGTH)?;
            file.write_all_at(&[0x5a; 70_000], 3000)?;
            let mark =
                format!("pilotlight is formatting this disk for {purpose}: {}", uuid(purpose, &serial));
            file.write_all_at(mark.as_bytes(), LENGTH - MIB)?;
        }
        Content::Damaged => damaged(&path, &uuid(purpose, &serial))?,
    }
    Ok(Some(Disk { path, serial }))
}

fn damaged(path: &Path, uuid: &str) -> Result<()> {
    let tools = Tools::checkers()?;
    File::create(path)?.set_len(LENGTH)?;
    let mut mke2fs = tools.command("mke2fs")?;
    mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-U", uuid]).arg(path);
    must(mke2fs.arg(format!("{}M", LENGTH / MIB - 1)), PATIENCE)?;
    let script = path.with_extension("debugfs");
    fs::write(&script, "clri <2>\n")?;
    must(tools.command("debugfs")?.arg("-w").arg("-f").arg(&script).arg(path), PATIENCE)?;
    Ok(())
}

/// The UUID of version 8 (RFC 9562 § 5.8) that the file system of this disk has.
fn uuid(purpose: &str, serial: &str) -> String {
    let hex = Digest::of(format!("pilotlight {purpose} {serial}")).to_string();
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}
