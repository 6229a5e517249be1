//! The clock, moved to the latest time that anything on the card knows of.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use pilotlight_init::clock::step_to;
use pilotlight_lab::paths;
use rustix::time::{ClockId, Timespec, clock_settime};

use super::{Fault, mounts::in_root};

/// Files whose age is the image's: systemd's own marker, and systemd itself.
const OF_THE_IMAGE: [&str; 2] = ["/usr/lib/clock-epoch", "/usr/lib/systemd/systemd"];
/// How deep below the data partition's folders the running services write: folder, then file.
const DEPTH: usize = 3;
/// More files than this are not asked for their age.
const MOST: usize = 4096;

/// Sets the clock forward, if the image or a file that the services wrote is later than it.
pub(crate) fn set_forward() -> Result<(), Fault> {
    let mut known: Vec<u64> = OF_THE_IMAGE.iter().filter_map(|path| changed(&in_root(path))).collect();
    let mut left = MOST;
    collect(&in_root(paths::DATA), DEPTH, &mut left, &mut known);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let Some(time) = step_to(now, &known) else { return Ok(()) };
    // The field has 64 bits on every architecture of ours, and the decision caps the value far below that.
    let time = Timespec { tv_sec: time as i64, tv_nsec: 0 };
    clock_settime(ClockId::Realtime, time).map_err(Fault::file("set", "the clock"))
}

fn changed(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().and_then(|metadata| u64::try_from(metadata.mtime()).ok())
}

fn collect(folder: &Path, depth: usize, left: &mut usize, known: &mut Vec<u64>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let path = entry.path();
        known.extend(changed(&path));
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, depth - 1, left, known);
        }
    }
}
