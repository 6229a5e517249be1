//! What is known of a disk, and what speaks against writing a card to it.

use std::{fmt, path::PathBuf};

/// The largest size in bytes that is taken for a card unasked: 256 GB, as cards count. What is larger is more
/// likely somebody's disk.
pub const PLAUSIBLE: u64 = 256_000_000_000;

/// Where a system's own files are mounted. A disk with one of these is the machine's own.
const SYSTEM: [&str; 8] = ["/", "/boot", "/boot/efi", "/boot/firmware", "/usr", "/var", "/home", "/nix"];

/// A disk of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The kernel's name for it, such as `sdb`.
    pub name: String,
    /// Its device file.
    pub path: PathBuf,
    /// Its size in bytes; 0 for a reader without a card.
    pub bytes: u64,
    /// Maker and model, as the disk says them; may be empty.
    pub model: String,
    /// Whether it is on USB, in a card slot, or says of itself that its medium can be taken out.
    pub removable: bool,
    /// Whether the card's lock is on.
    pub read_only: bool,
    /// Where it, a partition of it, or something built on one is mounted.
    pub mounts: Vec<PathBuf>,
    /// Whether it, or a partition of it, is swapped to.
    pub swap: bool,
    /// What is built on it: `dm-0`, `md127`.
    pub holders: Vec<String>,
}

/// What speaks against a disk, the gravest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// The machine runs from it.
    System(PathBuf),
    /// Something of it is mounted.
    Mounted(PathBuf),
    /// It is swapped to.
    Swap,
    /// It is part of something: LVM, RAID, an encrypted disk.
    Held(String),
    /// A reader without a card.
    Empty,
    /// The card is locked.
    ReadOnly,
    /// An image does not fit: it has this many bytes, and needs the others.
    TooSmall(u64, u64),
    /// Nothing says that it could be taken out.
    Fixed,
    /// It has more bytes than [`PLAUSIBLE`].
    TooLarge(u64),
}

impl Objection {
    /// Whether naming the disk twice settles it: for a disk that is unlikely rather than in use.
    pub fn is_doubt(&self) -> bool {
        matches!(self, Self::Fixed | Self::TooLarge(_))
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(at) => write!(out, "this machine runs from it ({} is there)", at.display()),
            Self::Mounted(at) => write!(out, "it is mounted at {}", at.display()),
            Self::Swap => write!(out, "it is swapped to"),
            Self::Held(by) => write!(out, "it is part of {by}"),
            Self::Empty => write!(out, "there is no card in it"),
            Self::ReadOnly => write!(out, "it is write-protected"),
            Self::TooSmall(has, needs) => {
                write!(out, "it has {} MB, an image needs {} MB", has / 1_000_000, needs.div_ceil(1_000_000))
            }
            Self::Fixed => write!(out, "it is not removable"),
            Self::TooLarge(has) => write!(out, "it has {} GB, which is no usual card", has / 1_000_000_000),
        }
    }
}

impl Device {
    /// What speaks against writing `needs` bytes to it.
    pub fn objection(&self, needs: u64) -> Option<Objection> {
        let system = self.mounts.iter().find(|at| SYSTEM.iter().any(|system| at.as_os_str() == *system));
        if let Some(at) = system {
            return Some(Objection::System(at.clone()));
        }
        if let Some(at) = self.mounts.first() {
            return Some(Objection::Mounted(at.clone()));
        }
        if self.swap {
            return Some(Objection::Swap);
        }
        if let Some(by) = self.holders.first() {
            return Some(Objection::Held(by.clone()));
        }
        match self.bytes {
            0 => Some(Objection::Empty),
            _ if self.read_only => Some(Objection::ReadOnly),
            bytes if bytes < needs => Some(Objection::TooSmall(bytes, needs)),
            _ if !self.removable => Some(Objection::Fixed),
            bytes if bytes > PLAUSIBLE => Some(Objection::TooLarge(bytes)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_against_a_disk() {
        let card = Device {
            name: "sdb".to_owned(),
            path: "/dev/sdb".into(),
            bytes: 31_914_983_424,
            model: "Generic STORAGE DEVICE".to_owned(),
            removable: true,
            read_only: false,
            mounts: Vec::new(),
            swap: false,
            holders: Vec::new(),
        };
        let check = |change: &dyn Fn(&mut Device), expect: Option<&str>| {
            let mut device = card.clone();
            change(&mut device);
            let objection = device.objection(1_342_177_280);
            assert_eq!(objection.map(|objection| objection.to_string()).as_deref(), expect);
        };
        check(&|_| (), None);
        check(
            &|disk| disk.mounts = vec!["/media/me/BOOT".into(), "/".into()],
            Some("this machine runs from it (/ is there)"),
        );
        check(&|disk| disk.mounts = vec!["/media/me/BOOT".into()], Some("it is mounted at /media/me/BOOT"));
        check(&|disk| disk.swap = true, Some("it is swapped to"));
        check(&|disk| disk.holders = vec!["dm-0".to_owned()], Some("it is part of dm-0"));
        check(&|disk| disk.bytes = 0, Some("there is no card in it"));
        check(&|disk| disk.read_only = true, Some("it is write-protected"));
        check(&|disk| disk.bytes = 1_000_000_000, Some("it has 1000 MB, an image needs 1343 MB"));
        check(&|disk| disk.removable = false, Some("it is not removable"));
        check(&|disk| disk.bytes = PLAUSIBLE, None);
        check(&|disk| disk.bytes = 2 * PLAUSIBLE, Some("it has 512 GB, which is no usual card"));
    }

    #[test]
    fn only_an_unlikely_disk_may_be_named_twice() {
        let doubts = [Objection::Fixed, Objection::TooLarge(1)];
        assert!(doubts.iter().all(Objection::is_doubt));
        let refusals = [
            Objection::System("/".into()),
            Objection::Mounted("/mnt".into()),
            Objection::Swap,
            Objection::Held("md0".to_owned()),
            Objection::Empty,
            Objection::ReadOnly,
            Objection::TooSmall(1, 2),
        ];
        assert!(!refusals.iter().any(Objection::is_doubt));
    }
}
