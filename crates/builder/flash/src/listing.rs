//! What the kernel tells of its disks: `/sys/block` and `/sys/class/block`
//! (Linux, Documentation/ABI/stable/sysfs-block), `/proc/self/mountinfo` (proc(5)), `/proc/swaps`.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::Device;

/// Where the kernel's tables are.
#[derive(Debug, Clone)]
pub struct Disks {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Default for Disks {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into(), dev: "/dev".into() }
    }
}

/// All disks that are no pieces of others and no memory, sorted by name: no dm, no md, no RAM disks, no CD drives.
/// Loop devices are named only when something is attached to them.
///
/// # Errors
/// The kernel's tables cannot be read.
pub fn list(at: &Disks) -> io::Result<Vec<Device>> {
    let mounts = mounts(&fs::read_to_string(at.proc.join("self/mountinfo"))?);
    let swaps = fs::read_to_string(at.proc.join("swaps")).unwrap_or_default();
    let mut devices = Vec::new();
    for name in names(&at.sys.join("block"))? {
        let stacked =
            ["dm-", "md", "ram", "zram", "sr", "fd", "nbd"].iter().any(|kind| name.starts_with(kind));
        let device = device(at, &name, &mounts, &swaps)?;
        let unused = name.starts_with("loop") && device.bytes == 0;
        if !(stacked || unused) {
            devices.push(device);
        }
    }
    Ok(devices)
}

fn device(at: &Disks, name: &str, mounts: &[Mount], swaps: &str) -> io::Result<Device> {
    let folder = at.sys.join("block").join(name);
    let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default().trim().to_owned();
    let mut pieces = BTreeSet::new();
    let holders = pieces_of(at, name, &mut pieces)?;
    let place = fs::canonicalize(&folder).unwrap_or_default();
    let on_usb = place.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb"));
    let numbers: Vec<String> = pieces
        .iter()
        .map(|piece| {
            fs::read_to_string(at.sys.join("class/block").join(piece).join("dev")).unwrap_or_default()
        })
        .map(|number| number.trim().to_owned())
        .collect();
    let is_piece = |path: &str| path.strip_prefix("/dev/").is_some_and(|piece| pieces.contains(piece));
    let model = format!("{} {}", text("device/vendor"), text("device/model"));
    let model = if model.trim().is_empty() { text("device/name") } else { model.trim().to_owned() };
    let mounted = mounts.iter().filter(|mount| numbers.contains(&mount.number) || is_piece(&mount.source));
    Ok(Device {
        name: name.to_owned(),
        path: at.dev.join(name),
        // The kernel counts in 512 bytes here, whatever the disk's own sectors are.
        bytes: text("size").parse::<u64>().unwrap_or(0).saturating_mul(512),
        model,
        removable: text("removable") == "1" || on_usb || name.starts_with("mmcblk"),
        read_only: text("ro") == "1",
        mounts: mounted.map(|mount| mount.at.clone()).collect(),
        swap: swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).any(is_piece),
        holders,
    })
}

/// Collects the disk, its partitions and whatever is built on them, level by level. Returns what is built on it.
fn pieces_of(at: &Disks, name: &str, pieces: &mut BTreeSet<String>) -> io::Result<Vec<String>> {
    if !pieces.insert(name.to_owned()) {
        return Ok(Vec::new());
    }
    let folder = at.sys.join("class/block").join(name);
    let mut holders = names(&folder.join("holders"))?;
    for holder in holders.clone() {
        pieces_of(at, &holder, pieces)?;
    }
    for piece in names(&folder)? {
        if folder.join(&piece).join("partition").exists() {
            holders.extend(pieces_of(at, &piece, pieces)?);
        }
    }
    Ok(holders)
}

/// A line of `mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// `major:minor` of the file system; some file systems make one up.
    number: String,
    /// Where it is mounted.
    at: PathBuf,
    /// What was mounted.
    source: String,
}

fn mounts(text: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (places, kind) = line.split_once(" - ")?;
        let mut places = places.split(' ').skip(2);
        let number = places.next()?.to_owned();
        let at = PathBuf::from(unescaped(places.nth(1)?));
        Some(Mount { number, at, source: unescaped(kind.split(' ').nth(1)?) })
    };
    text.lines().filter_map(line).collect()
}

/// Spaces, tabs, newlines and backslashes stand as three octal digits (proc(5)).
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// The names in a folder, sorted; none when there is no folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Objection;

    /// A machine's tables in a folder: `(place of the disk, its files)`.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(mountinfo: &str, swaps: &str) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            machine.write("proc/self/mountinfo", mountinfo);
            machine.write("proc/swaps", &format!("Filename Type Size Used Priority\n{swaps}"));
            fs::create_dir_all(machine.0.path().join("sys/block")).unwrap();
            fs::create_dir_all(machine.0.path().join("sys/class/block")).unwrap();
            machine
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn disk(&self, place: &str, files: &[(&str, &str)]) {
            for (file, text) in files {
                self.write(&format!("sys/devices/{place}/{file}"), text);
            }
            let name = place.rsplit('/').next().unwrap();
            let at = self.0.path().join("sys");
            symlink(at.join("devices").join(place), at.join("class/block").join(name)).unwrap();
            if !files.iter().any(|(file, _)| *file == "partition") {
                symlink(at.join("devices").join(place), at.join("block").join(name)).unwrap();
            }
        }

        fn list(&self) -> Vec<Device> {
            let at = |name: &str| self.0.path().join(name);
            list(&Disks { sys: at("sys"), proc: at("proc"), dev: "/dev".into() }).unwrap()
        }
    }

    #[test]
    fn a_desk_with_a_disk_a_card_and_a_stick() {
        let machine = Machine::new(
            "22 1 0:21 / /proc rw - proc proc rw\n\
             30 1 254:0 / / rw,relatime shared:1 - ext4 /dev/mapper/root rw\n\
             31 1 8:17 / /media/a\\040b rw shared:2 - vfat /dev/sdb1 rw\n",
            "/dev/sda2 partition 1 0 -2\n",
        );
        let disk = "pci0000:00/ata1/block/sda";
        machine.disk(
            disk,
            &[
                ("size", "1000215216"),
                ("removable", "0"),
                ("ro", "0"),
                ("dev", "8:0"),
                ("device/model", "SSD 980"),
            ],
        );
        machine.disk(&format!("{disk}/sda1"), &[("partition", "1"), ("dev", "8:1"), ("holders/dm-0/x", "")]);
        machine.disk(&format!("{disk}/sda2"), &[("partition", "2"), ("dev", "8:2")]);
        machine.disk("virtual/block/dm-0", &[("size", "1000"), ("dev", "254:0")]);
        let stick = "pci0000:00/usb1/1-2/block/sdb";
        machine.disk(
            stick,
            &[
                ("size", "60062500"),
                ("removable", "0"),
                ("ro", "0"),
                ("dev", "8:16"),
                ("device/vendor", "Make  "),
                ("device/model", "Stick   "),
            ],
        );
        machine.disk(&format!("{stick}/sdb1"), &[("partition", "1"), ("dev", "8:17")]);
        machine.disk(
            "platform/mmc0/block/mmcblk0",
            &[
                ("size", "62333952"),
                ("removable", "0"),
                ("ro", "0"),
                ("dev", "179:0"),
                ("device/name", "SD32G"),
            ],
        );
        machine.disk("virtual/block/loop0", &[("size", "0"), ("dev", "7:0")]);

        let devices = machine.list();
        let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, ["mmcblk0", "sda", "sdb"]);
        let [card, disk, stick] = &devices[..] else { panic!("{devices:?}") };
        assert_eq!((card.model.as_str(), card.bytes, card.objection(1)), ("SD32G", 31_914_983_424, None));
        assert_eq!(disk.objection(1), Some(Objection::System("/".into())));
        assert_eq!((disk.swap, disk.holders.as_slice()), (true, ["dm-0".to_owned()].as_slice()));
        assert_eq!((stick.model.as_str(), stick.removable), ("Make Stick", true));
        assert_eq!(stick.objection(1), Some(Objection::Mounted("/media/a b".into())));
    }

    #[test]
    fn file_systems_that_make_their_number_up_are_known_by_their_source() {
        let machine = Machine::new("30 1 0:35 /@ / rw shared:1 - btrfs /dev/sda1 rw\n", "");
        machine.disk("ata1/block/sda", &[("size", "10"), ("dev", "8:0")]);
        machine.disk("ata1/block/sda/sda1", &[("partition", "1"), ("dev", "8:1")]);
        assert_eq!(machine.list()[0].objection(1), Some(Objection::System("/".into())));
    }

    #[test]
    fn this_machine_s_own_tables_are_understood() {
        let devices = list(&Disks::default()).unwrap();
        assert!(devices.iter().all(|device| !device.name.is_empty()));
    }
}
