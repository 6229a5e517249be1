use bytes::Bytes;
use pilotlight_tree::{Kind, Meta, Node, Tree, TreePath};
use proptest::prelude::*;

use super::*;
use crate::{ReadAt as _, Sparse};

const LEN: u64 = 40 << 20;

fn options() -> Options {
    Options {
        len: LEN,
        start: 4 << 20,
        label: "PILOTLIGHT".into(),
        volume_id: 0x1234_abcd,
        time: 1_700_000_000,
    }
}

fn tree(entries: &[(&str, Option<&[u8]>)]) -> Tree {
    let mut tree = Tree::new(Meta::root(0o755, 0));
    for (path, content) in entries {
        let kind = content.map_or(Kind::Directory, |bytes| Kind::File(Bytes::copy_from_slice(bytes)));
        tree.insert(TreePath::parse(path).unwrap(), Node { meta: Meta::root(0o644, 0), kind });
    }
    tree
}

fn bytes(sparse: &Sparse) -> Vec<u8> {
    let mut bytes = vec![0; sparse.len() as usize];
    sparse.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_written_is_read() {
    let kernel: Vec<u8> = (0..200_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let entries: &[(&str, Option<&[u8]>)] = &[
        ("bcm2837-rpi-3-b-plus.dtb", Some(&[1; 512])),
        ("bcm2837-rpi-3-b.dtb", Some(&[2; 513])),
        ("empty", Some(b"")),
        ("overlays", None),
        ("overlays/deeper", None),
        ("overlays/deeper/a name of more than two pieces of a long name.txt", Some(b"deep")),
        ("vmlinuz", Some(&kernel)),
    ];
    let written = write(&tree(entries), &options()).unwrap();
    let reader = Reader::open(&written).unwrap();
    assert_eq!((reader.label().as_str(), reader.volume_id()), ("PILOTLIGHT", 0x1234_abcd));
    for (path, content) in entries {
        match content {
            Some(content) => assert_eq!(reader.read(path).unwrap(), *content, "{path}"),
            None => assert!(reader.list(path).is_ok(), "{path}"),
        }
    }
    assert_eq!(reader.read("VMLINUZ").unwrap(), kernel);
    let names: Vec<String> = reader.list("").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["bcm2837-rpi-3-b-plus.dtb", "bcm2837-rpi-3-b.dtb", "empty", "overlays", "vmlinuz"]);
    assert!(matches!(reader.read("nothing"), Err(FatReadError::NotFound(_))));
    assert!(matches!(reader.read("overlays"), Err(FatReadError::WrongKind { .. })));
    assert!(matches!(reader.list("vmlinuz"), Err(FatReadError::WrongKind { .. })));
}

#[test]
fn both_copies_of_everything_agree() {
    let image = bytes(&write(&tree(&[("a", Some(b"b"))]), &options()).unwrap());
    assert_eq!(image[..3 * SECTOR], image[6 * SECTOR..9 * SECTOR]);
    let reserved = usize::from(u16::from_le_bytes([image[14], image[15]])) * SECTOR;
    let fat = u32::from_le_bytes(image[36..40].try_into().unwrap()) as usize * SECTOR;
    assert_eq!(image[reserved..reserved + fat], image[reserved + fat..reserved + 2 * fat]);
    assert_eq!((reserved + 2 * fat) % 4096, 0);
}

#[test]
fn what_cannot_be_written() {
    let check = |tree: &Tree, options: &Options, expect: &str| {
        assert_eq!(write(tree, options).unwrap_err().to_string(), expect);
    };
    let small = Options { len: 32 << 20, ..options() };
    check(
        &tree(&[]),
        &small,
        "a partition of 33554432 bytes cannot be FAT32 with clusters of 512 bytes; 34 MiB to 128 GiB can",
    );
    let label = Options { label: "pilot".into(), ..options() };
    check(&tree(&[]), &label, "\"pilot\" is no name for a FAT volume: 1 to 11 of A-Z, 0-9, - and _");
    let full = tree(&[("big", Some(&[7; 40 << 20]))]);
    check(&full, &options(), "the boot partition has room for 41267200 bytes, but its files need 41943552");
    let orphan = tree(&[("a/b", Some(b""))]);
    check(&orphan, &options(), "/a/b cannot go into a FAT: what holds it is missing or no folder");
    let twice = tree(&[("README", Some(b"")), ("readme", Some(b""))]);
    check(
        &twice,
        &options(),
        "/readme cannot go into a FAT: another name in its folder differs from it only in case",
    );
    let mut link = tree(&[]);
    let kind = Kind::Symlink(b"a".to_vec());
    link.insert(TreePath::literal("l"), Node { meta: Meta::root(0o777, 0), kind });
    check(&link, &options(), "/l cannot go into a FAT: it is neither a folder nor a regular file");
}

#[test]
fn a_circle_ends() {
    let mut image = bytes(&write(&tree(&[("a", Some(&[5; 2000]))]), &options()).unwrap());
    let reserved = usize::from(u16::from_le_bytes([image[14], image[15]])) * SECTOR;
    // The root folder's one cluster follows itself.
    image[reserved + 8..reserved + 12].copy_from_slice(&2_u32.to_le_bytes());
    assert!(Reader::open(image.as_slice()).unwrap().read("no").is_err());
    // A file's first cluster is the last one.
    image[reserved + 12..reserved + 16].copy_from_slice(&CLUSTER_MASK.to_le_bytes());
    assert!(matches!(Reader::open(image.as_slice()).unwrap().read("a"), Err(FatReadError::Chain(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damage_never_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut: prop::sample::Index,
    ) {
        let folder: &[(&str, Option<&[u8]>)] = &[("d", None), ("d/long name.text", Some(&[1; 3000])), ("B", Some(b"b"))];
        let written = write(&tree(folder), &options()).unwrap();
        // The boot sector, the first FAT's start and the first clusters are where damage matters.
        let used = written.extents().iter().map(crate::Extent::end).max().unwrap() as usize;
        let mut image = bytes(&written);
        let reserved = usize::from(u16::from_le_bytes([image[14], image[15]])) * SECTOR;
        for (index, (at, value)) in damage.iter().enumerate() {
            let place = match index % 3 {
                0 => at.index(90),
                1 => reserved + at.index(64),
                _ => used - 4096 + at.index(4096),
            };
            image[place] = *value;
        }
        image.truncate(used - cut.index(used / 2));
        if let Ok(reader) = Reader::open(image.as_slice()) {
            for path in ["", "d", "d/long name.text", "b", "no/such"] {
                let _ = reader.list(path);
                let _ = reader.read(path);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(image in prop::collection::vec(any::<u8>(), 0..2048)) {
        if let Ok(reader) = Reader::open(image.as_slice()) {
            let _ = reader.list("");
        }
    }
}
