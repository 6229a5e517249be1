//! The partition table in the card's first sector. The Pi 3's boot ROM reads no other kind than the MBR.
//!
//! Writing this one sector is the switch from one slot to the other: see [`Mbr::on_trial`].
//!
//! ```text
//!   pilotlight-update              boot loader                     pilotlight-update
//!   settled A ── on_trial(B) ──▶ armed B ── before the kernel ──▶ tried B ── healthy: settled() ──▶ settled B
//!                                                                    └─ started again, or unhealthy: gone_back() ──▶ settled A
//! ```
//! The boot loader cannot work a table out: it copies the one that [`layout::FALLBACK_SECTOR`] holds, which is
//! written before the switch.

use crate::{
    Slot,
    layout::{self, Extent, SECTOR},
};

/// The length of the table in bytes: one sector.
pub const LEN: usize = 512;
/// A partition that holds FAT32, addressed by sector number. The boot ROM looks for this kind or 0x0b.
pub const KIND_FAT32: u8 = 0x0c;
/// A partition that holds a Linux file system.
pub const KIND_LINUX: u8 = 0x83;

/// The first four bytes of the sector, as a little-endian number, while the active slot has not been started yet.
pub const TRIAL_ARMED: u32 = u32::from_le_bytes(*b"PLt1");
/// The same while it was started once and nobody has said yet that it works.
pub const TRIAL_TRIED: u32 = u32::from_le_bytes(*b"PLt2");

/// Where the disk signature stands in the sector.
pub const SIGNATURE_AT: usize = 440;
const TABLE_AT: usize = 446;
const ENTRY_LEN: usize = 16;
const MAGIC_AT: usize = 510;
const MAGIC: [u8; 2] = [0x55, 0xaa];
const BOOTABLE: u8 = 0x80;

/// Whether the slot that the table starts from has shown that it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trial {
    /// It has, or there is no other to go back to.
    #[default]
    Settled,
    /// It is to be started once; the boot loader turns this into [`Trial::Tried`] before it starts the kernel.
    Armed,
    /// It was started once. Started again like this, the boot loader goes back to the other slot.
    Tried,
}

/// A partition table. It holds no boot code: nothing on a Pi runs any. The state of a trial stands in its place, so
/// that it changes in the same write as the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mbr {
    /// Whether the active slot is on trial.
    pub trial: Trial,
    /// The disk signature, by which `init` knows the card again.
    pub signature: u32,
    /// The four partitions; none where an entry is empty.
    pub partitions: [Option<Partition>; 4],
}

/// One entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Whether it is marked as the one to start from.
    pub bootable: bool,
    /// What it holds: [`KIND_FAT32`], [`KIND_LINUX`]; never 0.
    pub kind: u8,
    /// Its first sector.
    pub first_sector: u32,
    /// Its length in sectors; never 0.
    pub sectors: u32,
}

/// Why some bytes are no partition table, or no table can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MbrError {
    /// Fewer than 512 bytes.
    #[error("a partition table is 512 bytes long, not {0}")]
    Short(usize),
    /// The two bytes 55 aa at the sector's end are missing: the disk has no table.
    #[error("the first sector does not end with 55 aa: the disk has no partition table")]
    NoTable,
    /// The first byte of an entry is neither 00 nor 80.
    #[error("partition {number} has the status byte {status:#04x}, which is neither 0x00 nor 0x80")]
    Status {
        /// The number of the partition, from 1.
        number: u8,
        /// The byte as it stands there.
        status: u8,
    },
    /// An entry has a kind without sectors, or reaches beyond what a 32-bit sector number can say.
    #[error("partition {number} with {sectors} sectors from sector {first_sector} on cannot exist")]
    Span {
        /// The number of the partition, from 1.
        number: u8,
        /// Its first sector.
        first_sector: u32,
        /// Its length in sectors.
        sectors: u32,
    },
    /// Two entries share sectors.
    #[error("partitions {0} and {1} overlap")]
    Overlap(u8, u8),
    /// The disk ends before the data partition of an image does.
    #[error(
        "a disk of {sectors} sectors is too small for this layout, which needs {}",
        layout::IMAGE_LEN / SECTOR
    )]
    TooSmall {
        /// The length of the disk in sectors.
        sectors: u64,
    },
    /// The table is not laid out as a card of ours.
    #[error("partition {0} is not where a card made by this builder has it")]
    Foreign(u8),
}

impl Mbr {
    /// The table of a card of `total_sectors` sectors that starts from `active`. The data partition reaches to
    /// the card's end, or to 2 TiB: a table of this kind knows no more.
    ///
    /// # Errors
    /// A card that an image does not fit on.
    pub fn for_card(signature: u32, active: Slot, total_sectors: u64) -> Result<Self, MbrError> {
        if total_sectors < layout::IMAGE_LEN / SECTOR {
            return Err(MbrError::TooSmall { sectors: total_sectors });
        }
        let end = total_sectors.min(u64::from(u32::MAX)) * SECTOR;
        let data = Extent { start: layout::DATA_START, len: end - layout::DATA_START };
        Ok(Self {
            trial: Trial::Settled,
            signature,
            partitions: [
                Some(Partition { bootable: true, ..Partition::new(KIND_FAT32, active.boot()) }),
                Some(Partition::new(KIND_LINUX, layout::ROOT_A)),
                Some(Partition::new(KIND_LINUX, layout::ROOT_B)),
                Some(Partition::new(KIND_LINUX, data)),
            ],
        })
    }

    /// This table with the data partition reaching to the end of a card of `total_sectors` sectors. It never
    /// shrinks.
    ///
    /// # Errors
    /// A table that is not a card's, or a card that an image does not fit on.
    pub fn with_data_end(&self, total_sectors: u64) -> Result<Self, MbrError> {
        let active = self.active_slot()?;
        let mut grown = Self { trial: self.trial, ..Self::for_card(self.signature, active, total_sectors)? };
        let data = usize::from(layout::DATA_PARTITION - 1);
        if self.partitions[data].map(|p| p.sectors) > grown.partitions[data].map(|p| p.sectors) {
            grown.partitions[data] = self.partitions[data];
        }
        Ok(grown)
    }

    /// This table starting from `slot` once, on trial: the one sector whose write is the switch.
    ///
    /// # Errors
    /// A table that is not a card's.
    pub fn on_trial(&self, slot: Slot) -> Result<Self, MbrError> {
        Ok(Self { trial: Trial::Armed, ..self.with_active(slot)? })
    }

    /// This table with the active slot kept for good.
    pub fn settled(&self) -> Self {
        Self { trial: Trial::Settled, ..*self }
    }

    /// This table starting from the slot that the active one took the place of.
    ///
    /// # Errors
    /// A table that is not a card's.
    pub fn gone_back(&self) -> Result<Self, MbrError> {
        self.with_active(self.active_slot()?.other())
    }

    /// This table starting from `slot` for good.
    ///
    /// # Errors
    /// A table that is not a card's.
    pub fn with_active(&self, slot: Slot) -> Result<Self, MbrError> {
        self.active_slot()?;
        let mut switched = self.settled();
        switched.partitions[0] =
            Some(Partition { bootable: true, ..Partition::new(KIND_FAT32, slot.boot()) });
        Ok(switched)
    }

    /// The slot that this table starts from.
    ///
    /// # Errors
    /// A table that is not laid out as a card of ours, naming the first partition that is elsewhere.
    pub fn active_slot(&self) -> Result<Slot, MbrError> {
        let lies = |number: u8, kind, extent| {
            self.partition(number).is_some_and(|p| p.kind == kind && p.extent() == extent)
        };
        for slot in Slot::ALL {
            if !lies(slot.root_partition(), KIND_LINUX, slot.root()) {
                return Err(MbrError::Foreign(slot.root_partition()));
            }
        }
        let data = self.partition(layout::DATA_PARTITION).map(Partition::extent);
        if data.is_none_or(|data| data.start != layout::DATA_START || data.len < layout::DATA_IMAGE.len) {
            return Err(MbrError::Foreign(layout::DATA_PARTITION));
        }
        Slot::ALL
            .into_iter()
            .find(|slot| lies(layout::BOOT_PARTITION, KIND_FAT32, slot.boot()))
            .ok_or(MbrError::Foreign(layout::BOOT_PARTITION))
    }

    /// The partition with this number, from 1.
    pub fn partition(&self, number: u8) -> Option<Partition> {
        *self.partitions.get(usize::from(number).checked_sub(1)?)?
    }

    /// The table as the card's first sector holds it.
    pub fn encode(&self) -> [u8; LEN] {
        let mut sector = [0; LEN];
        sector[..4].copy_from_slice(&self.trial.word().to_le_bytes());
        sector[SIGNATURE_AT..SIGNATURE_AT + 4].copy_from_slice(&self.signature.to_le_bytes());
        for (entry, partition) in sector[TABLE_AT..MAGIC_AT].chunks_exact_mut(ENTRY_LEN).zip(&self.partitions)
        {
            if let Some(partition) = partition {
                partition.encode(entry);
            }
        }
        sector[MAGIC_AT..].copy_from_slice(&MAGIC);
        sector
    }

    /// Reads a disk's first sector; what follows it is ignored.
    ///
    /// # Errors
    /// A sector that is too short, without a table, or with entries that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Self, MbrError> {
        let sector: &[u8; LEN] = bytes.first_chunk().ok_or(MbrError::Short(bytes.len()))?;
        if sector[MAGIC_AT..] != MAGIC {
            return Err(MbrError::NoTable);
        }
        let mut partitions = [None; 4];
        for ((number, slot), entry) in
            (1..).zip(&mut partitions).zip(sector[TABLE_AT..].chunks_exact(ENTRY_LEN))
        {
            *slot = Partition::parse(number, entry)?;
        }
        let mbr = Self {
            trial: Trial::of_word(le32(sector)),
            signature: le32(&sector[SIGNATURE_AT..]),
            partitions,
        };
        mbr.check_overlap()?;
        Ok(mbr)
    }

    fn check_overlap(&self) -> Result<(), MbrError> {
        let all: Vec<(u8, Extent)> =
            (1..).zip(&self.partitions).filter_map(|(number, p)| Some((number, (*p)?.extent()))).collect();
        for (index, (number, extent)) in all.iter().enumerate() {
            for (other_number, other) in &all[index + 1..] {
                if extent.start < other.end() && other.start < extent.end() {
                    return Err(MbrError::Overlap(*number, *other_number));
                }
            }
        }
        Ok(())
    }
}

impl Trial {
    fn word(self) -> u32 {
        match self {
            Self::Settled => 0,
            Self::Armed => TRIAL_ARMED,
            Self::Tried => TRIAL_TRIED,
        }
    }

    /// Anything else, such as a PC's boot code, is no trial.
    fn of_word(word: u32) -> Self {
        match word {
            TRIAL_ARMED => Self::Armed,
            TRIAL_TRIED => Self::Tried,
            _ => Self::Settled,
        }
    }
}

impl Partition {
    /// A partition over `extent`, which lies below 2 TiB, not marked as bootable.
    fn new(kind: u8, extent: Extent) -> Self {
        let sector = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            bootable: false,
            kind,
            first_sector: sector(extent.first_sector()),
            sectors: sector(extent.sectors()),
        }
    }

    /// Where it lies, in bytes.
    pub fn extent(self) -> Extent {
        Extent { start: u64::from(self.first_sector) * SECTOR, len: u64::from(self.sectors) * SECTOR }
    }

    fn encode(self, entry: &mut [u8]) {
        entry[0] = if self.bootable { BOOTABLE } else { 0 };
        entry[1..4].copy_from_slice(&cylinder_head_sector(u64::from(self.first_sector)));
        entry[4] = self.kind;
        let last = u64::from(self.first_sector) + u64::from(self.sectors).saturating_sub(1);
        entry[5..8].copy_from_slice(&cylinder_head_sector(last));
        entry[8..12].copy_from_slice(&self.first_sector.to_le_bytes());
        entry[12..16].copy_from_slice(&self.sectors.to_le_bytes());
    }

    fn parse(number: u8, entry: &[u8]) -> Result<Option<Self>, MbrError> {
        let [status, _, _, _, kind, ..] = *entry else { return Ok(None) };
        if kind == 0 {
            return Ok(None);
        }
        if status & !BOOTABLE != 0 {
            return Err(MbrError::Status { number, status });
        }
        let (first_sector, sectors) = (le32(&entry[8..]), le32(&entry[12..]));
        if sectors == 0 || first_sector.checked_add(sectors).is_none() {
            return Err(MbrError::Span { number, first_sector, sectors });
        }
        Ok(Some(Self { bootable: status == BOOTABLE, kind, first_sector, sectors }))
    }
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

/// The old three-byte address of a sector, for 255 heads and 63 sectors a track; the largest one where it does
/// not reach, as every partitioning tool writes it.
fn cylinder_head_sector(sector: u64) -> [u8; 3] {
    let (cylinder, head, number) = (sector / (255 * 63), sector / 63 % 255, sector % 63 + 1);
    match u16::try_from(cylinder) {
        Ok(cylinder @ 0..=1023) => {
            let [low, high] = cylinder.to_le_bytes();
            [head as u8, number as u8 | high << 6, low]
        }
        _ => [0xfe, 0xff, 0xff],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IMAGE_SECTORS: u64 = layout::IMAGE_LEN / SECTOR;

    #[test]
    fn the_table_of_an_image() {
        let mbr = Mbr::for_card(0x1234_abcd, Slot::A, IMAGE_SECTORS).unwrap();
        let sector = mbr.encode();
        assert_eq!(sector[440..444], [0xcd, 0xab, 0x34, 0x12]);
        // Bootable FAT32 from sector 8192 on, 196608 sectors, with the addresses that sfdisk gives them.
        assert_eq!(sector[446..462], [0x80, 0x82, 3, 0, 0x0c, 0xbe, 50, 12, 0, 0x20, 0, 0, 0, 0, 3, 0]);
        assert_eq!(mbr.partition(4).map(|p| p.sectors), Some(256 * 2048));
        assert_eq!(mbr.partition(0), None);
        assert_eq!(mbr.partition(5), None);
    }

    #[test]
    fn a_switch_changes_the_first_entry_and_nothing_else() {
        let a = Mbr::for_card(7, Slot::A, 1 << 26).unwrap();
        let b = a.with_active(Slot::B).unwrap();
        assert_eq!((a.active_slot(), b.active_slot()), (Ok(Slot::A), Ok(Slot::B)));
        assert_eq!((a.encode()[..446].to_vec(), a.encode()[462..].to_vec()), {
            let sector = b.encode();
            (sector[..446].to_vec(), sector[462..].to_vec())
        });
        assert_eq!(b.with_active(Slot::A), Ok(a));
    }

    #[test]
    fn a_trial_is_armed_and_ends_either_way() {
        let a = Mbr::for_card(7, Slot::A, 1 << 26).unwrap();
        let armed = a.on_trial(Slot::B).unwrap();
        assert_eq!(armed.encode()[..4], *b"PLt1");
        // What the boot loader does: one word changes.
        let mut sector = armed.encode();
        sector[..4].copy_from_slice(&TRIAL_TRIED.to_le_bytes());
        let tried = Mbr::parse(&sector).unwrap();
        assert_eq!((tried.trial, tried.active_slot()), (Trial::Tried, Ok(Slot::B)));
        assert_eq!(tried.gone_back(), Ok(a));
        assert_eq!(Ok(tried.settled()), a.with_active(Slot::B));
        assert_eq!(tried.with_data_end(1 << 27).unwrap().trial, Trial::Tried);
        sector[..4].copy_from_slice(&[0xeb, 0x63, 0x90, 0x10]);
        assert_eq!(Mbr::parse(&sector), Ok(tried.settled()));
    }

    #[test]
    fn data_grows_and_never_shrinks() {
        let image = Mbr::for_card(7, Slot::B, IMAGE_SECTORS).unwrap();
        let grown = image.with_data_end(61_071_360).unwrap();
        assert_eq!(grown, Mbr::for_card(7, Slot::B, 61_071_360).unwrap());
        assert_eq!(grown.with_data_end(IMAGE_SECTORS), Ok(grown));
        assert_eq!(image.with_data_end(100), Err(MbrError::TooSmall { sectors: 100 }));
        let huge = image.with_data_end(u64::MAX).unwrap();
        assert_eq!(Mbr::parse(&huge.encode()), Ok(huge));
    }

    #[test]
    fn bad_tables() {
        let good = Mbr::for_card(7, Slot::A, IMAGE_SECTORS).unwrap();
        let check = |change: &dyn Fn(&mut Vec<u8>), expect: MbrError| {
            let mut bytes = good.encode().to_vec();
            change(&mut bytes);
            assert_eq!(Mbr::parse(&bytes).and_then(|mbr| mbr.active_slot()), Err(expect));
        };
        check(&|bytes| bytes.truncate(511), MbrError::Short(511));
        check(&|bytes| bytes[511] = 0, MbrError::NoTable);
        check(&|bytes| bytes[462] = 0x7f, MbrError::Status { number: 2, status: 0x7f });
        check(
            &|bytes| bytes[506..510].fill(0),
            MbrError::Span { number: 4, first_sector: 1 << 21, sectors: 0 },
        );
        check(&|bytes| bytes.copy_within(462..478, 478), MbrError::Overlap(2, 3));
        check(&|bytes| bytes[450] = 0x83, MbrError::Foreign(1));
        check(&|bytes| bytes[482] = 0, MbrError::Foreign(3));
        check(&|bytes| bytes[498] = 0, MbrError::Foreign(4));
    }

    proptest! {
        #[test]
        fn any_sector_is_read_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600), magic: bool) {
            if magic && bytes.len() >= LEN {
                bytes[MAGIC_AT..LEN].copy_from_slice(&MAGIC);
                for entry in bytes[TABLE_AT..MAGIC_AT].chunks_exact_mut(ENTRY_LEN) {
                    entry[0] &= BOOTABLE;
                }
            }
            if let Ok(mbr) = Mbr::parse(&bytes) {
                let _ = mbr.with_data_end(1 << 30);
                prop_assert_eq!(Mbr::parse(&mbr.encode()), Ok(mbr));
            }
        }

        #[test]
        fn a_card_survives_its_encoding(signature: u32, b: bool, sectors in IMAGE_SECTORS..u64::MAX) {
            let slot = if b { Slot::B } else { Slot::A };
            let mbr = Mbr::for_card(signature, slot, sectors).unwrap();
            prop_assert_eq!(Mbr::parse(&mbr.encode()), Ok(mbr));
            prop_assert_eq!(mbr.active_slot(), Ok(slot));
        }
    }
}
