//! System calls on block devices that no crate wraps.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use pilotlight_disk::{Extent, mbr};
use rustix::{
    fs::OFlags,
    ioctl::{Setter, ioctl, opcode},
};

use super::Fault;

/// `BLKPG` and its operation 3, `BLKPG_RESIZE_PARTITION` (linux/blkpg.h).
const BLKPG: u32 = opcode::none(0x12, 105);
const BLKPG_RESIZE_PARTITION: i32 = 3;
/// `EXT4_IOC_RESIZE_FS` (linux/ext4.h).
const EXT4_IOC_RESIZE_FS: u32 = opcode::write::<u64>(b'f', 16);

/// `struct blkpg_partition`.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: i32,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Argument {
    operation: i32,
    flags: i32,
    length: i32,
    data: *mut Partition,
}

/// A buffer that a read around the kernel's cache may fill.
#[repr(C, align(4096))]
struct Aligned([u8; 4096]);

/// Writes the partition table, waits until the card has it, and reads it back from the card itself.
pub(crate) fn write_table(disk: &Path, table: &[u8; mbr::LEN]) -> Result<(), Fault> {
    let mut file = File::options().write(true).open(disk).map_err(Fault::file("open for writing", disk))?;
    file.write_all(table)
        .and_then(|()| file.sync_all())
        .map_err(Fault::file("write the partition table of", disk))?;
    let mut found = Aligned([0; 4096]);
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECT.bits().cast_signed())
        .open(disk)
        .and_then(|mut file| file.read_exact(&mut found.0))
        .map_err(Fault::file("read back the partition table of", disk))?;
    if found.0.starts_with(table) {
        return Ok(());
    }
    Err(Fault::Content {
        path: disk.to_owned(),
        reason: "the partition table reads back otherwise than written".to_owned(),
    })
}

/// Tells the kernel the new length of a partition of `disk`.
pub(crate) fn resize_partition(disk: &Path, number: u64, extent: Extent) -> Result<(), Fault> {
    let file = File::open(disk).map_err(Fault::file("open", disk))?;
    let mut partition = Partition {
        start: extent.start.cast_signed(),
        length: extent.len.cast_signed(),
        number: i32::try_from(number).unwrap_or(0),
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let argument = Argument {
        operation: BLKPG_RESIZE_PARTITION,
        flags: 0,
        length: size_of::<Partition>() as i32,
        data: &raw mut partition,
    };
    // SAFETY: BLKPG reads a `blkpg_ioctl_arg`, whose layout `Argument` has, and through its pointer a
    // `blkpg_partition`, whose layout `Partition` has and which outlives the call. It writes to neither.
    let result = unsafe { ioctl(&file, Setter::<BLKPG, Argument>::new(argument)) };
    result.map_err(Fault::file("resize in the kernel the last partition of", disk))
}

/// Lets the ext4 file system mounted at `folder` have `blocks` blocks.
pub(crate) fn resize_ext4(folder: &Path, blocks: u64) -> Result<(), Fault> {
    let file = File::open(folder).map_err(Fault::file("open", folder))?;
    // SAFETY: EXT4_IOC_RESIZE_FS reads a 64-bit number of blocks and writes nothing back.
    let result = unsafe { ioctl(&file, Setter::<EXT4_IOC_RESIZE_FS, u64>::new(blocks)) };
    result.map_err(Fault::file("grow the file system at", folder))
}
