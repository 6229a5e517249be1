//! What is written where: the image's mapped blocks, without the data partition where a card keeps its own.

use bytes::Bytes;
use pilotlight_disk::{
    BlockMap, Extent, Mbr, MbrError,
    block_map::BLOCK,
    layout::{self, SECTOR},
    mbr,
};
use pilotlight_image::{Content, Sparse};

/// Bytes of an ext4 superblock that are looked at, and where they lie from the file system's start.
pub(crate) const SUPERBLOCK: (u64, usize) = (1024, 1024);

/// What a card keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: it starts anew.
    Nothing,
    /// Its data partition: leases, keys, events.
    Data,
}

/// Why no plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The image does not begin with a card's table.
    #[error("the image has no partition table of a card")]
    Table(#[from] MbrError),
    /// The block map does not mention the first block, which holds the table.
    #[error("the block map does not belong to a card: it leaves out the first block")]
    NoFirstBlock,
    /// The image is longer than the target.
    #[error("the target has {target} bytes, the image needs {image}")]
    TooSmall {
        /// Bytes of the target.
        target: u64,
        /// Bytes of the image.
        image: u64,
    },
}

/// What is to be written, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Runs of blocks, all but the first block; each with the SHA-256 that the block map has for it, or none where
    /// the run was cut.
    pub runs: Vec<Run>,
    /// The first block, which is written last: until then the card has no table, and nothing takes it for whole.
    pub first_block: Vec<u8>,
    /// How many bytes of the target the plan reaches over, from its start.
    pub reach: u64,
}

/// A run of bytes on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// What it must hold, where that is known.
    pub sha256: Option<[u8; 32]>,
    /// What stands there instead of what the image has at the same place.
    pub instead: Option<Bytes>,
}

impl Run {
    /// A piece of the image.
    fn image(start: u64, end: u64, sha256: Option<[u8; 32]>) -> Option<Self> {
        (start < end).then(|| Self { offset: start, len: end - start, sha256, instead: None })
    }

    /// What of it lies before and behind `place`.
    fn outside(self, place: Extent) -> impl Iterator<Item = Self> {
        let end = self.offset + self.len;
        let whole = end <= place.start || place.end() <= self.offset;
        let (before, behind) = match whole {
            true => (Some(self), None),
            false => (
                Self::image(self.offset, end.min(place.start), None),
                Self::image(self.offset.max(place.end()), end, None),
            ),
        };
        before.into_iter().chain(behind)
    }
}

impl Plan {
    /// How an image goes onto a target of `target` bytes. `first_block` is the image's.
    ///
    /// # Errors
    /// A map or a first block that is not a card's, a target that is too small.
    pub fn new(map: &BlockMap, first_block: &[u8], target: u64, kept: Kept) -> Result<Self, PlanError> {
        if target < map.image_len {
            return Err(PlanError::TooSmall { target, image: map.image_len });
        }
        let table = Mbr::parse(first_block)?;
        table.active_slot()?;
        if map.ranges.first().is_none_or(|range| range.first != 0) {
            return Err(PlanError::NoFirstBlock);
        }
        let (first_block, end) = match kept {
            Kept::Nothing => (first_block.to_vec(), map.image_len),
            Kept::Data => {
                let mut block = first_block.to_vec();
                block[..mbr::LEN].copy_from_slice(&table.with_data_end(target / SECTOR)?.encode());
                (block, layout::DATA_START)
            }
        };
        let runs = map.ranges.iter().filter_map(|range| {
            let (from, to) = (range.first * BLOCK, (range.last + 1) * BLOCK);
            let (start, stop) = (from.max(BLOCK), to.min(end));
            Run::image(start, stop, ((start, stop) == (from, to)).then_some(range.sha256))
        });
        Ok(Self { runs: runs.collect(), first_block, reach: end })
    }

    /// The same plan with `partition` at `place` instead of what the image has there.
    #[must_use]
    pub fn with_partition(mut self, place: Extent, partition: &Sparse) -> Self {
        self.runs = self.runs.into_iter().flat_map(|run| run.outside(place)).collect();
        self.runs.extend(partition.extents().iter().filter_map(|extent| {
            let bytes = match &extent.content {
                Content::Bytes(bytes) => bytes.clone(),
                Content::Zeros(len) => vec![0; usize::try_from(*len).ok()?].into(),
                // Only a root is a file, and roots are taken from the image.
                Content::File(_) => return None,
            };
            let offset = place.start + extent.offset;
            Some(Run { offset, len: bytes.len() as u64, sha256: None, instead: Some(bytes) })
        }));
        self.runs.sort_by_key(|run| run.offset);
        self
    }

    /// How many bytes are written.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.len).sum::<u64>() + self.first_block.len() as u64
    }
}

/// Whether these bytes, from [`layout::DATA_START`] on, begin a data partition of ours: an ext4 with its name. The
/// partition table does not count: it is gone when a card was being written as the plug was pulled.
pub(crate) fn is_data(bytes: &[u8]) -> bool {
    let superblock = bytes.get(SUPERBLOCK.0 as usize..).unwrap_or_default();
    let label = superblock.get(0x78..0x88).unwrap_or_default();
    superblock.get(0x38..0x3a) == Some(&[0x53, 0xef])
        && label
            .strip_prefix(layout::DATA_LABEL.as_bytes())
            .is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use pilotlight_disk::{Range, Slot};

    use super::*;

    fn map(ranges: &[(u64, u64)]) -> BlockMap {
        let range = |&(first, last)| Range { first, last, sha256: [7; 32] };
        BlockMap { image_len: layout::IMAGE_LEN, ranges: ranges.iter().map(range).collect() }
    }

    fn block() -> Vec<u8> {
        let table = Mbr::for_card(9, Slot::A, layout::IMAGE_LEN / SECTOR).unwrap();
        let mut block = table.encode().to_vec();
        block.resize(BLOCK as usize, 0);
        block
    }

    #[test]
    fn the_first_block_is_apart_and_data_is_left_out() {
        let data = layout::DATA_START / BLOCK;
        let map = map(&[(0, 0), (1024, 1030), (data - 1, data), (data + 5, data + 5)]);
        let whole = Plan::new(&map, &block(), 4 << 30, Kept::Nothing).unwrap();
        let run = |first: u64, blocks: u64, known: bool| Run {
            offset: first * BLOCK,
            len: blocks * BLOCK,
            sha256: known.then_some([7; 32]),
            instead: None,
        };
        assert_eq!(whole.runs, [run(1024, 7, true), run(data - 1, 2, true), run(data + 5, 1, true)]);
        assert_eq!(whole.first_block, block());
        assert_eq!(whole.bytes(), 11 * BLOCK);

        let kept = Plan::new(&map, &block(), 4 << 30, Kept::Data).unwrap();
        assert_eq!(kept.runs, [run(1024, 7, true), run(data - 1, 1, false)]);
        let table = Mbr::parse(&kept.first_block).unwrap();
        assert_eq!(table, Mbr::for_card(9, Slot::A, (4 << 30) / SECTOR).unwrap());
        assert_eq!(kept.reach, layout::DATA_START);
    }

    #[test]
    fn a_partition_takes_the_place_of_the_image_s() {
        let map = map(&[(0, 0), (1000, 1030), (25_599, 25_601), (50_176, 50_180)]);
        let partition =
            Sparse::starting_with(Content::Bytes(Bytes::from_static(b"boot")), layout::BOOT_A.len);
        let plan = Plan::new(&map, &block(), 4 << 30, Kept::Nothing).unwrap();
        let plan = plan.with_partition(layout::BOOT_A, &partition);
        let found: Vec<_> = plan.runs.iter().map(|run| (run.offset, run.len, run.instead.clone())).collect();
        assert_eq!(
            found,
            [
                (1000 * BLOCK, 24 * BLOCK, None),
                (4 << 20, 4, Some(Bytes::from_static(b"boot"))),
                (25_600 * BLOCK, 2 * BLOCK, None),
                (50_176 * BLOCK, 5 * BLOCK, None),
            ]
        );
        assert_eq!(plan.runs.last().unwrap().sha256, Some([7; 32]));
    }

    #[test]
    fn what_is_no_card_is_refused() {
        let check = |map: &BlockMap, block: &[u8], target, expect: &str| {
            let fault = Plan::new(map, block, target, Kept::Nothing).unwrap_err().to_string();
            assert!(fault.contains(expect), "{fault}");
        };
        check(
            &map(&[(0, 0)]),
            &block(),
            1 << 30,
            "the target has 1073741824 bytes, the image needs 1342177280",
        );
        check(&map(&[(0, 0)]), &vec![0; 4096], 4 << 30, "no partition table");
        check(&map(&[(1, 1)]), &block(), 4 << 30, "leaves out the first block");
    }

    #[test]
    fn a_data_partition_is_known_by_its_file_system() {
        let mut bytes = vec![0; 4096];
        assert!(!is_data(&bytes));
        bytes[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        bytes[1024 + 0x78..1024 + 0x78 + layout::DATA_LABEL.len()]
            .copy_from_slice(layout::DATA_LABEL.as_bytes());
        assert!(is_data(&bytes));
        bytes[1024 + 0x78 + layout::DATA_LABEL.len()] = b'x';
        assert!(!is_data(&bytes));
        assert!(!is_data(&bytes[..1100]));
    }
}
