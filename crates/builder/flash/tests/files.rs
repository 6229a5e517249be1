//! Cards written to files, with faults on the way. A file behaves as a disk does but for how it is opened.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use pilotlight_disk::{
    BlockMap, Mbr, Range, Slot,
    block_map::BLOCK,
    layout::{self, SECTOR},
};
use pilotlight_flash::{FlashError, Kept, Plan, Stage, Target, write};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Where the image of these tests holds something, in blocks: table, boot, root, data.
const RUNS: [(u64, u64); 4] = [(0, 0), (1024, 3000), (50_176, 50_180), (262_144, 262_150)];

struct Scene {
    folder: TempDir,
    map: BlockMap,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = File::create(folder.path().join("image")).unwrap();
        image.set_len(layout::IMAGE_LEN).unwrap();
        let mut ranges = Vec::new();
        for (first, last) in RUNS {
            let mut bytes: Vec<u8> =
                (first * BLOCK..(last + 1) * BLOCK).map(|at| (at.wrapping_mul(31) >> 7) as u8).collect();
            if first == 0 {
                let table = Mbr::for_card(9, Slot::A, layout::IMAGE_LEN / SECTOR).unwrap();
                bytes.fill(0);
                bytes[..512].copy_from_slice(&table.encode());
            }
            image.write_all_at(&bytes, first * BLOCK).unwrap();
            ranges.push(Range { first, last, sha256: Sha256::digest(&bytes).into() });
        }
        Self { folder, map: BlockMap { image_len: layout::IMAGE_LEN, ranges } }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self) -> File {
        File::open(self.path("image")).unwrap()
    }

    /// A card full of old bytes where the image has some.
    fn card(&self, bytes: u64) -> PathBuf {
        let path = self.path("card");
        let card = File::create(&path).unwrap();
        card.set_len(bytes).unwrap();
        for (first, last) in RUNS {
            card.write_all_at(&vec![0xa5; ((last + 1 - first) * BLOCK) as usize], first * BLOCK).unwrap();
        }
        path
    }

    fn flash(&self, card: &Path, kept: Kept) -> Result<[u64; 2], FlashError> {
        let target = Target::open(card)?;
        let plan = Plan::new(&self.map, &read(&self.path("image"), 0, BLOCK), target.bytes, kept).unwrap();
        let mut done = [0; 2];
        write(&self.image(), &target, &plan, &mut |stage, bytes| {
            done[usize::from(stage == Stage::Verify)] += bytes
        })?;
        Ok(done)
    }
}

fn read(path: &Path, at: u64, len: u64) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    let mut bytes = vec![0; len as usize];
    file.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_card_gets_what_is_mapped_and_nothing_else() {
    let scene = Scene::new();
    let card = scene.card(2 << 30);
    File::options().write(true).open(&card).unwrap().write_all_at(b"kept", 500 << 20).unwrap();
    let done = scene.flash(&card, Kept::Nothing).unwrap();
    let written: u64 = RUNS[1..].iter().map(|(first, last)| (last + 1 - first) * BLOCK).sum();
    assert_eq!(done, [written, written]);
    for (first, last) in RUNS {
        let len = (last + 1 - first) * BLOCK;
        assert!(read(&card, first * BLOCK, len) == read(&scene.path("image"), first * BLOCK, len), "{first}");
    }
    assert_eq!(read(&card, 500 << 20, 4), *b"kept");
}

#[test]
fn a_card_of_ours_keeps_its_data() {
    let scene = Scene::new();
    let card = scene.card(4 << 30);
    assert!(!Target::open(&card).unwrap().has_data());
    let old = File::options().write(true).open(&card).unwrap();
    let mut superblock = vec![0; 1024];
    superblock[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
    superblock[0x78..0x78 + layout::DATA_LABEL.len()].copy_from_slice(layout::DATA_LABEL.as_bytes());
    old.write_all_at(&superblock, layout::DATA_START + 1024).unwrap();
    assert!(Target::open(&card).unwrap().has_data());

    let before = read(&card, layout::DATA_START, 7 * BLOCK);
    scene.flash(&card, Kept::Data).unwrap();
    assert!(read(&card, layout::DATA_START, 7 * BLOCK) == before);
    let table = Mbr::parse(&read(&card, 0, 512)).unwrap();
    assert_eq!(table, Mbr::for_card(9, Slot::A, (4 << 30) / SECTOR).unwrap());
    // Without its table it is known, too: the plug may have been pulled while it was written.
    old.write_all_at(&[0; 512], 0).unwrap();
    assert!(Target::open(&card).unwrap().has_data());
}

#[test]
fn an_image_that_changed_is_not_made_valid() {
    let scene = Scene::new();
    let card = scene.card(2 << 30);
    let image = File::options().write(true).open(scene.path("image")).unwrap();
    image.write_all_at(b"x", 50_177 * BLOCK).unwrap();
    let fault = scene.flash(&card, Kept::Nothing).unwrap_err();
    assert!(matches!(fault, FlashError::ImageChanged(at) if at == 50_176 * BLOCK), "{fault}");
    assert_eq!(read(&card, 0, BLOCK), vec![0; BLOCK as usize]);
}

/// A device that ends before it said it would, and one that may not be written.
#[test]
fn a_target_that_fails_is_not_made_valid() {
    let scene = Scene::new();
    let card = scene.card(layout::IMAGE_LEN);
    let target = Target::open(&card).unwrap();
    let block = read(&scene.path("image"), 0, BLOCK);
    let plan = Plan::new(&scene.map, &block, target.bytes, Kept::Nothing).unwrap();
    // What is written is cut off again behind the writer's back, as a worn-out card forgets it.
    let cut = File::options().write(true).open(&card).unwrap();
    let fault = write(&scene.image(), &target, &plan, &mut |stage, _| {
        if stage == Stage::Write {
            cut.set_len(100 * BLOCK).unwrap();
        }
    });
    let fault = fault.unwrap_err().to_string();
    assert!(fault.contains("failed at byte 4194304: it is not a whole card now"), "{fault}");
    assert_eq!(read(&card, 0, BLOCK), vec![0; BLOCK as usize]);
}

#[test]
fn bytes_that_come_back_changed_are_noticed() {
    let scene = Scene::new();
    let card = scene.card(2 << 30);
    let target = Target::open(&card).unwrap();
    let block = read(&scene.path("image"), 0, BLOCK);
    let plan = Plan::new(&scene.map, &block, target.bytes, Kept::Nothing).unwrap();
    let worn = File::options().write(true).open(&card).unwrap();
    let fault = write(&scene.image(), &target, &plan, &mut |stage, _| {
        if stage == Stage::Write {
            worn.write_all_at(b"worn", 2000 * BLOCK).unwrap();
        }
    });
    let fault = fault.unwrap_err();
    assert!(matches!(fault, FlashError::Differs { at, .. } if at == 1024 * BLOCK), "{fault}");
    assert_eq!(read(&card, 0, BLOCK), vec![0; BLOCK as usize]);
}

#[test]
fn what_cannot_be_a_target_is_refused() {
    let scene = Scene::new();
    let check = |path: &Path, expect: &str| {
        let fault = Target::open(path).unwrap_err().to_string();
        assert!(fault.contains(expect), "{fault}");
    };
    check(scene.folder.path(), "is neither a disk nor a file");
    check(&scene.path("absent"), "cannot open");
    assert!(fs::read_dir(scene.folder.path()).unwrap().count() == 1, "something was made");
}
