//! The data partition: grown to the card's end, mounted, shown where the services keep their state.
//!
//! Never formatted: the image brings a fresh file system, and one that cannot be read is its owner's to rescue.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

use pilotlight_disk::layout::{DATA_PARTITION, SECTOR};
use pilotlight_init::{
    ext4::{self, Superblock},
    status::Data,
};
use pilotlight_lab::{paths, users};

use super::{
    Fault, block,
    card::{self, Found},
    console::Console,
    files,
    mounts::{self, in_root},
    repair::{self, Way},
};

/// What became of the data partition.
pub(crate) struct Mounted {
    /// Its state.
    pub(crate) state: Data,
    /// Its size in bytes, where there is one.
    pub(crate) bytes: Option<u64>,
    /// Its size in bytes before this start, where it grew.
    pub(crate) grown_from: Option<u64>,
}

impl Mounted {
    fn without(state: Data) -> Self {
        Self { state, bytes: None, grown_from: None }
    }

    /// Whether it can be written to.
    pub(crate) fn is_ok(&self) -> bool {
        self.state == Data::Ok
    }
}

/// Mounts the data partition in the root. What goes wrong with growing is a note; what goes wrong with the rest
/// leaves the services with memory.
pub(crate) fn mount(found: &Found, notes: &mut Vec<String>, console: &Console) -> Mounted {
    if found.table.partition(DATA_PARTITION).is_none() {
        let reason = format!("the partition table of {} has no partition {DATA_PARTITION}", found.disk);
        return Mounted::without(Data::Absent(reason));
    }
    let Some(device) = found.partition(DATA_PARTITION) else {
        let reason = format!("{} ends before partition {DATA_PARTITION} starts", found.disk);
        return Mounted::without(Data::Absent(reason));
    };
    let superblock = match superblock(&device).and_then(|found| repaired(&device, found, notes, console)) {
        Ok(superblock) => superblock,
        // Nothing is written beside what is to be rescued, not even the table.
        Err(fault) => {
            let state = Data::Corrupt(fault.chain());
            return Mounted { bytes: Some(size(found, &device)), ..Mounted::without(state) };
        }
    };
    if let Err(fault) = grow_partition(found, &device) {
        notes.push(format!("the data partition keeps its size: {}", fault.chain()));
    }
    let size = size(found, &device);
    let mut mount = || {
        mounts::data(&device)?;
        if let Err(fault) = grow_file_system(superblock, size) {
            notes.push(format!("the data file system keeps its size: {}", fault.chain()));
        }
        show().inspect_err(|_| mounts::no_data())
    };
    let result: Result<(), Fault> = mount();
    match result {
        Ok(()) => {
            let grown_from =
                superblock.grown(size).map(|_| superblock.blocks.saturating_mul(superblock.block_size));
            Mounted { state: Data::Ok, bytes: Some(size), grown_from }
        }
        Err(fault) => Mounted { bytes: Some(size), ..Mounted::without(Data::Corrupt(fault.chain())) },
    }
}

/// The superblock of a file system that can be mounted: repaired, where the kernel has found errors in it or a power cut
/// has torn the superblock.
fn repaired(
    device: &Path,
    found: Superblock,
    notes: &mut Vec<String>,
    console: &Console,
) -> Result<Superblock, Fault> {
    let (way, what) = match found {
        Superblock { torn: true, .. } => (Way::CopyOfSuperblock, "a superblock that a power cut tore"),
        Superblock { damaged: true, .. } => (Way::Careful, "errors"),
        _ => return Ok(found),
    };
    let tried = repair::repair(device, way);
    if tried.is_err() && found.torn {
        // The copy was written at the same time.
        believe_superblock(device)?;
        repair::repair(device, way)?;
    } else {
        tried?;
    }
    console.say(&format!("data had {what} and was repaired"));
    notes.push(format!("the data file system had {what} and was repaired"));
    superblock(device)
}

/// Lets the partition reach the card's end, on the card and in the kernel. One sector is written, and read back.
fn grow_partition(found: &Found, device: &Path) -> Result<(), Fault> {
    let disk = found.device();
    let content =
        |reason: pilotlight_disk::MbrError| Fault::Content { path: disk.clone(), reason: reason.to_string() };
    let grown = found.table.with_data_end(found.sectors).map_err(content)?;
    if grown == found.table {
        return Ok(());
    }
    block::write_table(&disk, &grown.encode())?;
    let Some(partition) = grown.partition(DATA_PARTITION) else { return Ok(()) };
    let number = card::number(&Path::new("/sys/class/block").join(files::name(device)).join("partition"));
    block::resize_partition(&disk, number.unwrap_or(u64::from(DATA_PARTITION)), partition.extent())
}

/// The partition's size in bytes, as the kernel has it now.
fn size(found: &Found, device: &Path) -> u64 {
    let path = Path::new("/sys/block").join(&found.disk).join(files::name(device)).join("size");
    card::number(&path).unwrap_or(0).saturating_mul(SECTOR)
}

fn superblock(device: &Path) -> Result<Superblock, Fault> {
    Superblock::parse(&superblock_bytes(device)?)
        .map_err(|fault| Fault::Content { path: device.to_owned(), reason: fault.to_string() })
}

fn superblock_bytes(device: &Path) -> Result<[u8; ext4::LENGTH], Fault> {
    let mut bytes = [0; ext4::LENGTH];
    File::open(device)
        .and_then(|file| file.read_exact_at(&mut bytes, ext4::OFFSET))
        .map_err(Fault::file("read", device))?;
    Ok(bytes)
}

fn believe_superblock(device: &Path) -> Result<(), Fault> {
    let mut bytes = superblock_bytes(device)?;
    ext4::believe(&mut bytes);
    let file = File::options().write(true).open(device);
    file.and_then(|file| file.write_all_at(&bytes, ext4::OFFSET).and_then(|()| file.sync_all()))
        .map_err(Fault::file("write", device))
}

/// Lets the mounted file system fill the partition: at once after the partition grew, or on the next start if the
/// plug was pulled in between.
fn grow_file_system(superblock: Superblock, partition: u64) -> Result<(), Fault> {
    match superblock.grown(partition) {
        Some(blocks) => block::resize_ext4(&in_root(paths::DATA), blocks),
        None => Ok(()),
    }
}

/// Shows the partition's folders where state is kept. Making them shows that it can be written to.
fn show() -> Result<(), Fault> {
    let data = in_root(paths::DATA);
    files::replace(&data.join("etc/started"), b"", 0o644)?;
    let assets = in_root(paths::ASSETS);
    if !assets.exists() {
        files::folder(&assets)?;
        let owner = Some(users::MIRROR);
        std::os::unix::fs::chown(&assets, owner, owner).map_err(Fault::file("give away", &assets))?;
    }
    mounts::bind_folder(&data.join("lib/pilotlight"), &in_root(paths::STATE))?;
    mounts::bind_folder(&data.join("journal"), &in_root(mounts::JOURNAL))
}
