//! A file as a block device.

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    ioctl::{IntegerSetter, Opcode, ioctl},
};

use super::Fault;

/// `LOOP_CTL_ADD` and `LOOP_SET_FD` (linux/loop.h).
const LOOP_CTL_ADD: Opcode = 0x4C80;
const LOOP_SET_FD: Opcode = 0x4C00;
/// There is no other.
const NUMBER: usize = 0;

/// Shows the file at `path`, which is only read, as a block device. Gives the device.
pub(crate) fn show(path: &Path) -> Result<PathBuf, Fault> {
    let control = Path::new("/dev/loop-control");
    let device = PathBuf::from(format!("/dev/loop{NUMBER}"));
    let open = |path: &Path| File::open(path).map_err(Fault::file("open", path));
    let (file, control_file) = (open(path)?, open(control)?);
    // SAFETY: LOOP_CTL_ADD takes the number of a device by value.
    let added = unsafe { ioctl(&control_file, IntegerSetter::<LOOP_CTL_ADD>::new_usize(NUMBER)) };
    match added {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Fault::file("make a device with", control)(errno)),
    }
    let device_file = open(&device)?;
    let number = usize::try_from(file.as_raw_fd()).unwrap_or_default();
    // SAFETY: LOOP_SET_FD takes a descriptor by value, which is open; the kernel holds the file itself from then on.
    let set = unsafe { ioctl(&device_file, IntegerSetter::<LOOP_SET_FD>::new_usize(number)) };
    set.map_err(Fault::file("show as a device", path))?;
    Ok(device)
}
