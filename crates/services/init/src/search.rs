//! Which of the disks that the kernel shows is the card, and what to say when none is.

use std::fmt::Write as _;

/// A whole disk, as far as looking for the card goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenDisk {
    /// The kernel's name for it, such as `mmcblk0`.
    pub name: String,
    /// Its size in sectors of 512 bytes.
    pub sectors: u64,
    /// The signature in its partition table, or why there is none.
    pub signature: Result<u32, String>,
}

/// Whether a name in `/sys/block` is that of a whole disk that can be the card: an SD card or eMMC (not its
/// hardware boot areas), a virtual disk, or a disk on USB.
pub fn may_be_the_card(name: &str) -> bool {
    let rest = |prefix| name.strip_prefix(prefix).filter(|rest: &&str| !rest.is_empty());
    rest("mmcblk").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
        || rest("vd")
            .or_else(|| rest("sd"))
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_lowercase()))
}

/// The disk with the signature that is asked for. Two cards written from one image carry the same: then an SD
/// card comes before any other, because that is what the firmware starts from.
pub fn choose(seen: &[SeenDisk], wanted: u32) -> Option<&SeenDisk> {
    seen.iter()
        .filter(|disk| disk.signature == Ok(wanted))
        .min_by_key(|disk| (!disk.name.starts_with("mmcblk"), disk.name.len(), &disk.name))
}

/// What was looked for and what was seen, for the person in front of a card that does not start.
pub fn not_found(seen: &[SeenDisk], wanted: u32) -> String {
    let mut text = format!("looked for the disk with the signature {wanted:08x}; ");
    if seen.is_empty() {
        text.push_str("the kernel shows no disk at all: a driver is missing, or there is no card");
        return text;
    }
    text.push_str("seen: ");
    for (index, disk) in seen.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let _ = write!(text, "{separator}{} ({} MiB, ", disk.name, disk.sectors / 2048);
        let _ = match &disk.signature {
            Ok(signature) => write!(text, "signature {signature:08x})"),
            Err(reason) => write!(text, "{reason})"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, signature: Result<u32, &str>) -> SeenDisk {
        SeenDisk { name: name.to_owned(), sectors: 2 << 20, signature: signature.map_err(str::to_owned) }
    }

    #[test]
    fn only_whole_disks_are_looked_at() {
        for name in ["mmcblk0", "mmcblk12", "vda", "sdb", "sdaa"] {
            assert!(may_be_the_card(name), "{name}");
        }
        for name in
            ["mmcblk0p1", "mmcblk0boot0", "mmcblk", "vda1", "sd", "sda2", "loop0", "ram0", "sr0", "nbd0"]
        {
            assert!(!may_be_the_card(name), "{name}");
        }
    }

    #[test]
    fn the_signature_decides_and_the_sd_card_wins_a_tie() {
        let check = |seen: &[SeenDisk], expect| {
            assert_eq!(choose(seen, 7).map(|disk| disk.name.as_str()), expect, "{seen:?}");
        };
        check(&[], None);
        check(&[disk("mmcblk0", Ok(8)), disk("sda", Err("no partition table"))], None);
        check(&[disk("mmcblk0", Ok(8)), disk("sda", Ok(7))], Some("sda"));
        check(&[disk("sda", Ok(7)), disk("mmcblk1", Ok(7)), disk("mmcblk0", Ok(7))], Some("mmcblk0"));
        check(&[disk("sdaa", Ok(7)), disk("sdb", Ok(7))], Some("sdb"));
    }

    #[test]
    fn a_vain_search_says_what_it_saw() {
        assert_eq!(
            not_found(&[disk("mmcblk0", Ok(8)), disk("sda", Err("no partition table"))], 7),
            "looked for the disk with the signature 00000007; seen: mmcblk0 (1024 MiB, signature 00000008), sda \
             (1024 MiB, no partition table)"
        );
        assert!(not_found(&[], 7).contains("no disk at all"));
    }
}
