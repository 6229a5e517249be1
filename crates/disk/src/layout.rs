//! Where everything lies on a card, in bytes from its start, each size beside its reason.

/// One mebibyte.
pub const MIB: u64 = 1 << 20;
/// The unit of the partition table.
pub const SECTOR: u64 = 512;

/// The sector after the partition table: while a slot is on trial, a whole table that starts the other one, for the
/// boot loader to copy.
pub const FALLBACK_SECTOR: u64 = 1;

/// A run of bytes on the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub start: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl Extent {
    const fn mib(start: u64, end: u64) -> Self {
        Self { start: start * MIB, len: (end - start) * MIB }
    }

    /// The byte after its last one.
    pub const fn end(self) -> u64 {
        self.start + self.len
    }

    /// Its first sector.
    pub const fn first_sector(self) -> u64 {
        self.start / SECTOR
    }

    /// Its length in sectors.
    pub const fn sectors(self) -> u64 {
        self.len / SECTOR
    }
}

/// Boot partition of slot A. The first 4 MiB stay free: they hold the partition table, and cards erase in units
/// of up to 4 MiB, so that no partition shares one with the table.
///
/// 96 MiB: firmware, kernel, initrd and device trees of the first image come to 19 MiB, so there is room for
/// several times that; FAT32 with clusters of one sector needs 33 MiB at least to be FAT32 at all.
pub const BOOT_A: Extent = Extent::mib(4, 100);
/// Boot partition of slot B: as large as the one of slot A.
pub const BOOT_B: Extent = Extent::mib(100, 196);
/// Root of slot A. 412 MiB: what two equal roots leave below 1 GiB. The first image's root, with one installer to
/// hand out, has 84 MiB; the rest is room for what later profiles bake in, of which none is measured yet.
pub const ROOT_A: Extent = Extent::mib(196, 608);
/// Root of slot B: as large as the one of slot A.
pub const ROOT_B: Extent = Extent::mib(608, 1020);
/// Where the data partition starts: at exactly 1 GiB, whatever becomes of the rest, so that an image of another
/// version never moves what an owner keeps. The 4 MiB before it are spare.
pub const DATA_START: u64 = 1024 * MIB;
/// The data partition as an image brings it; `init` grows it to the card's end. 256 MiB: its journal has 16 MiB,
/// which growing does not change, and a card of 2 GB still takes it.
pub const DATA_IMAGE: Extent = Extent::mib(1024, 1280);
/// The length of an image in bytes: the smallest card that takes it.
pub const IMAGE_LEN: u64 = DATA_IMAGE.end();

/// The number of the active boot partition in the partition table. The boot ROM takes the first FAT that it
/// finds, so the switch to the other slot is a change of where this partition lies.
pub const BOOT_PARTITION: u8 = 1;
/// The number of slot A's root in the partition table.
pub const ROOT_A_PARTITION: u8 = 2;
/// The number of slot B's root in the partition table.
pub const ROOT_B_PARTITION: u8 = 3;
/// The number of the data partition in the partition table.
pub const DATA_PARTITION: u8 = 4;

/// The name of the boot partition's FAT; at most 11 characters of upper case.
pub const BOOT_LABEL: &str = "PILOTLIGHT";
/// The name of the data partition's file system; at most 16 bytes.
pub const DATA_LABEL: &str = "pilotlight-data";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps_and_everything_starts_on_an_erase_unit() {
        let all = [BOOT_A, BOOT_B, ROOT_A, ROOT_B, DATA_IMAGE];
        for pair in all.windows(2) {
            assert!(pair[0].end() <= pair[1].start, "{pair:?}");
        }
        for extent in all {
            assert_eq!(extent.start % (4 * MIB), 0, "{extent:?}");
        }
        assert_eq!(BOOT_A.len, BOOT_B.len);
        assert_eq!(ROOT_A.len, ROOT_B.len);
        assert_eq!(DATA_IMAGE.start, DATA_START);
    }
}
