//! The card among the disks that the kernel shows.

use std::{
    fs,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use pilotlight_disk::{Mbr, Params, layout, mbr};
use pilotlight_init::search::{self, SeenDisk};

use super::{Fault, console::Console, files};

/// How long to wait for the card: a slow reader on a slow bus answers within a few seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// When to tell the person in front of the console that something is amiss.
const SILENCE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(20);

/// The card and those of its partitions that a start needs.
#[derive(Debug)]
pub(crate) struct Found {
    /// The kernel's name for the disk.
    pub(crate) disk: String,
    /// Its length in sectors of 512 bytes.
    pub(crate) sectors: u64,
    /// Its partition table.
    pub(crate) table: Mbr,
    /// The FAT of the slot that the firmware started from.
    pub(crate) boot: PathBuf,
    /// The root of the slot that the command line names.
    pub(crate) root: PathBuf,
}

impl Found {
    /// Waits until the kernel shows the card and its partitions. No other disk is looked at beyond its first
    /// sector.
    pub(crate) fn wait(params: Params, console: &Console) -> Result<Self, Fault> {
        let started = Instant::now();
        let mut told = false;
        loop {
            let missing = match Self::look(params) {
                Ok(found) => return Ok(found),
                Err(missing) => missing,
            };
            if started.elapsed() >= PATIENCE {
                let seconds = PATIENCE.as_secs();
                return Err(Fault::NoCard(format!("the card was not found in {seconds} s: {missing}")));
            }
            if !told && started.elapsed() >= SILENCE {
                console.say(&format!("waiting for the card: {missing}"));
                told = true;
            }
            thread::sleep(STEP);
        }
    }

    /// The card, or what is missing.
    fn look(params: Params) -> Result<Self, String> {
        let disks = disks();
        let seen: Vec<SeenDisk> = disks.iter().map(|(disk, _)| disk.clone()).collect();
        let disk = search::choose(&seen, params.disk).ok_or_else(|| search::not_found(&seen, params.disk))?;
        let table = disks.iter().find_map(|(other, table)| (other == disk).then_some(table.as_ref())?);
        let table = *table.ok_or_else(|| format!("{} has no partition table", disk.name))?;
        let device = |number| {
            partition(&disk.name, &table, number)
                .ok_or_else(|| format!("{} shows no partition {number}", disk.name))
        };
        Ok(Self {
            disk: disk.name.clone(),
            sectors: disk.sectors,
            table,
            boot: device(layout::BOOT_PARTITION)?,
            root: device(params.slot.root_partition())?,
        })
    }

    /// The device of a partition of the card, by its number from 1.
    pub(crate) fn partition(&self, number: u8) -> Option<PathBuf> {
        partition(&self.disk, &self.table, number)
    }

    /// The card's own device.
    pub(crate) fn device(&self) -> PathBuf {
        Path::new("/dev").join(&self.disk)
    }
}

/// Every disk that may be the card, with its table.
fn disks() -> Vec<(SeenDisk, Option<Mbr>)> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| search::may_be_the_card(name));
    names.sort();
    names.into_iter().map(disk).collect()
}

fn disk(name: String) -> (SeenDisk, Option<Mbr>) {
    let sectors = number(&Path::new("/sys/block").join(&name).join("size")).unwrap_or(0);
    let device = Path::new("/dev").join(&name);
    let table =
        first_sector(&device).and_then(|sector| Mbr::parse(&sector).map_err(|fault| fault.to_string()));
    let seen = SeenDisk {
        name,
        sectors,
        signature: table.as_ref().map(|table| table.signature).map_err(Clone::clone),
    };
    (seen, table.ok())
}

fn first_sector(device: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut sector = Vec::with_capacity(mbr::LEN);
    fs::File::open(device)
        .and_then(|file| file.take(mbr::LEN as u64).read_to_end(&mut sector))
        .map_err(|error| format!("cannot be read: {error}"))?;
    Ok(sector)
}

/// The device that the kernel shows for a partition: known by where it starts, whatever the kernel calls it.
fn partition(disk: &str, table: &Mbr, number: u8) -> Option<PathBuf> {
    let start = u64::from(table.partition(number)?.first_sector);
    let folder = Path::new("/sys/block").join(disk);
    let entries = fs::read_dir(folder).ok()?.flatten();
    let found = entries
        .map(|entry| entry.path())
        .find(|path| path.join("partition").exists() && self::number(&path.join("start")) == Some(start))?;
    let device = Path::new("/dev").join(files::name(&found));
    // The kernel shows a partition in /sys a moment before its device is there.
    fs::metadata(&device).is_ok_and(|metadata| metadata.file_type().is_block_device()).then_some(device)
}

/// A number that the kernel shows in a file of its own.
pub(crate) fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
