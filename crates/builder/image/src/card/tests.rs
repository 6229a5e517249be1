use std::collections::BTreeMap;

use pilotlight_tree::{Kind, Meta, Node, Tree, TreePath};

use super::*;
use crate::{Blob, ext4, fat};

const TIME: u32 = 1_700_000_000;

fn parts(root: Content) -> CardParts {
    let mut tree = Tree::new(Meta::root(0o755, TIME));
    let kind = Kind::File(Bytes::from_static(b"[network]\n"));
    tree.insert(TreePath::literal("lab.toml"), Node { meta: Meta::root(0o644, TIME), kind });
    let boot = fat::Options {
        len: layout::BOOT_A.len,
        start: layout::BOOT_A.start,
        label: layout::BOOT_LABEL.into(),
        volume_id: 1,
        time: TIME,
    };
    let data = ext4::Options {
        len: layout::DATA_IMAGE.len,
        label: layout::DATA_LABEL.into(),
        uuid: [1; 16],
        time: TIME,
    };
    CardParts {
        signature: 0x0bad_cafe,
        slot: Slot::A,
        boot: fat::write(&tree, &boot).unwrap(),
        root,
        data: ext4::write(&Tree::new(Meta::root(0o755, TIME)), &data).unwrap(),
    }
}

/// Names and lengths of what is in a folder.
fn held(folder: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())
    });
    entries.collect()
}

/// What the lab's machines fetch makes the data partition longer, and the image with it.
#[test]
fn a_longer_data_partition_is_a_longer_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("card.img");
    let with = |len: u64| {
        let data = ext4::Options { len, label: layout::DATA_LABEL.into(), uuid: [1; 16], time: TIME };
        let data = ext4::write(&Tree::new(Meta::root(0o755, TIME)), &data).unwrap();
        CardParts { data, ..parts(Content::Bytes(Bytes::from_static(b"root"))) }
    };
    let more = layout::DATA_IMAGE.len + (64 << 20);
    let summary = write(&path, &with(more), false).unwrap();
    assert_eq!(summary.len, layout::DATA_START + more);
    let card = open(&path).unwrap();
    assert_eq!(card.mbr.partition(layout::DATA_PARTITION).unwrap().extent().len, more);
    assert!(
        write(&path, &with(layout::DATA_IMAGE.len - (4 << 20)), false).is_err(),
        "shorter than any image's"
    );
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("card.img");
    let root = Bytes::from(vec![0x5a; 10_000]);
    let summary = write(&path, &parts(Content::Bytes(root.clone())), true).unwrap();
    assert_eq!(summary.len, layout::IMAGE_LEN);
    assert_eq!(summary.block_map, folder.path().join("card.img.bmap"));
    assert_eq!(held(folder.path()).len(), 2);

    let card = open(&path).unwrap();
    assert_eq!((card.slot, card.mbr.signature), (Slot::A, 0x0bad_cafe));
    assert_eq!(card.boot().unwrap().read("LAB.TOML").unwrap(), b"[network]\n");
    let mut found = vec![0; root.len()];
    card.root().read_exact_at(0, &mut found).unwrap();
    assert_eq!(found, root);
    let mut magic = [0; 2];
    card.data().read_exact_at(1080, &mut magic).unwrap();
    assert_eq!(magic, [0x53, 0xef]);
    assert_eq!(summary.sha256.unwrap(), Digest::of_file(&path).unwrap().0);
}

#[test]
fn the_block_map_is_true() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("card.img");
    let summary = write(&path, &parts(Content::Bytes(vec![0x5a; 10_000].into())), false).unwrap();
    let map = BlockMap::parse(&fs::read_to_string(&summary.block_map).unwrap()).unwrap();
    assert_eq!(Digest(map.content_sha256()), summary.content_sha256);
    assert_eq!(summary.sha256, None);
    let image = File::open(&path).unwrap();
    let mut outside = 0;
    for range in &map.ranges {
        let mut hash = Sha256::new();
        let mut block = [0; BLOCK as usize];
        for number in outside..range.first {
            FileExt::read_exact_at(&image, &mut block, number * BLOCK).unwrap();
            assert!(block.iter().all(|byte| *byte == 0), "block {number} is not in the map");
        }
        for number in range.first..=range.last {
            FileExt::read_exact_at(&image, &mut block, number * BLOCK).unwrap();
            hash.update(block);
        }
        assert_eq!(hash.finalize()[..], range.sha256);
        outside = range.last + 1;
    }
    // A system that was in the other slot is no more.
    for start in [Slot::B.boot().start, Slot::B.root().start] {
        let number = start / BLOCK;
        assert!(map.ranges.iter().any(|range| (range.first..=range.last).contains(&number)));
    }
}

#[test]
fn a_root_in_a_file_makes_the_same_card() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one.img"), folder.path().join("other.img"));
    let root = Bytes::from(vec![0x5a; 3 * BLOCK as usize]);
    let file = folder.path().join("root.squashfs");
    fs::write(&file, &root).unwrap();
    let from_bytes = write(&one, &parts(Content::Bytes(root)), true).unwrap();
    let from_file = write(&other, &parts(Content::File(Blob::read(&file).unwrap())), true).unwrap();
    assert_eq!(from_bytes.sha256, from_file.sha256);
    assert_eq!(from_bytes.content_sha256, from_file.content_sha256);
}

#[test]
fn a_failure_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("card.img");
    let check = |root: Content, expect: &str| {
        fs::write(&path, "old").unwrap();
        let before = held(folder.path());
        let fault = write(&path, &parts(root), false).unwrap_err();
        assert_eq!(fault.to_string(), expect);
        assert_eq!(held(folder.path()), before);
    };
    check(
        Content::Zeros(layout::ROOT_A.len + 1),
        "the root has 432013313 bytes, but its place on the card has 432013312",
    );
    let gone = folder.path().join("gone.squashfs");
    let blob = |len| Blob { path: gone.clone(), len, sha256: Digest([0; 32]) };
    check(Content::File(blob(4096)), &format!("cannot read {} for the image", gone.display()));
    fs::write(&gone, "shorter").unwrap();
    check(Content::File(blob(4096)), &format!("cannot read {} for the image", gone.display()));

    let nowhere = folder.path().join("no/such/card.img");
    let fault = write(&nowhere, &parts(Content::Zeros(4096)), false).unwrap_err();
    assert_eq!(fault.to_string(), format!("cannot write the image {}", nowhere.display()));
}

#[test]
fn what_is_no_card() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.img");
    let check = |content: &[u8], expect: MbrError| {
        fs::write(&path, content).unwrap();
        assert!(matches!(open(&path), Err(CardError::Table { source, .. }) if source == expect));
    };
    check(b"", MbrError::Short(0));
    check(&[0; 511], MbrError::Short(511));
    check(&[0; 4096], MbrError::NoTable);
    assert!(matches!(open(folder.path().join("no").as_path()), Err(CardError::Read { .. })));
}

#[test]
fn numbers_follow_the_content() {
    let of = |root: &[u8], kernel: &[u8]| Identity::of(&[Digest::of(root), Digest::of(kernel)]);
    assert_eq!(of(b"root", b"kernel"), of(b"root", b"kernel"));
    assert_ne!(of(b"root", b"kernel").signature, of(b"root", b"kernel 2").signature);
    assert_ne!(of(b"root", b"kernel").signature, of(b"kernel", b"root").signature);
    let uuid = of(b"root", b"kernel").data_uuid;
    assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (8, 2));
}
