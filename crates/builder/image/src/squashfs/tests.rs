use std::io::Cursor;

use bytes::Bytes;
use pilotlight_tree::{Kind, Meta, Node, Tree, TreePath};
use proptest::prelude::*;

use super::{
    walk::{Found, Image},
    *,
};
use crate::ReadAt;

const TIME: u32 = 1_700_000_000;
const BLOCK: usize = 4096;

fn options() -> Options {
    Options { block_size: BLOCK as u32, ..Options::new(TIME) }
}

fn meta(mode: u16, uid: u32) -> Meta {
    Meta { mode, uid, gid: uid + 1, mtime: TIME - uid % 1000 }
}

fn tree() -> Tree {
    Tree::new(meta(0o755, 0))
}

fn add(tree: &mut Tree, path: &str, meta: Meta, kind: Kind) {
    tree.insert(TreePath::parse(path).unwrap(), Node { meta, kind });
}

fn add_file(tree: &mut Tree, path: &str, content: impl Into<Bytes>) {
    add(tree, path, meta(0o644, 0), Kind::File(content.into()));
}

fn written(tree: &Tree, options: &Options) -> (Vec<u8>, Stats) {
    let mut out = Cursor::new(Vec::new());
    let (stats, _) = write(tree, options, &Stock::default(), &mut out).unwrap();
    assert_eq!(stats.bytes, out.get_ref().len() as u64);
    (out.into_inner(), stats)
}

/// Bytes that do not shrink.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Reads `image` back and holds it against `tree`.
fn assert_same(tree: &Tree, image: &[u8]) {
    let found = Image::open(image).walk();
    assert_eq!(found.len(), tree.len());
    for (path, node) in tree.iter() {
        let Found { number, links, meta, kind } = &found[path.as_bytes()];
        let (expect, target) = match &node.kind {
            Kind::HardLink(target) => (tree.get(target).unwrap(), target),
            _ => (node, path),
        };
        assert_eq!((meta, kind), (&expect.meta, &expect.kind), "{path}");
        assert_eq!(*number, found[target.as_bytes()].number, "{path}");
        let names = found.values().filter(|other| other.number == *number).count();
        let folders = tree.iter().filter(|(other, node)| {
            other.parent().as_ref() == Some(path) && matches!(node.kind, Kind::Directory)
        });
        let expect_links = if matches!(kind, Kind::Directory) { 2 + folders.count() } else { names };
        assert_eq!(*links as usize, expect_links, "{path}");
    }
}

#[test]
fn every_kind_of_entry() {
    let mut tree = tree();
    add(&mut tree, "dev", meta(0o755, 0), Kind::Directory);
    add(&mut tree, "dev/null", meta(0o666, 0), Kind::CharDevice { major: 1, minor: 3 });
    add(&mut tree, "dev/sda", meta(0o660, 6), Kind::BlockDevice { major: 0xfff, minor: 0xf_ffff });
    add(&mut tree, "dev/pipe", meta(0o600, 4_000_000_000), Kind::Fifo);
    add(&mut tree, "dev-empty", meta(0o1777, 0), Kind::Directory);
    add(&mut tree, "bin", meta(0o777, 0), Kind::Symlink(b"usr/bin".to_vec()));
    add(&mut tree, "usr", meta(0o755, 0), Kind::Directory);
    add(&mut tree, "usr/su", meta(0o4755, 0), Kind::File(Bytes::from_static(b"setuid")));
    add(&mut tree, "a-link", meta(0o644, 0), Kind::HardLink(TreePath::literal("usr/su")));
    add(&mut tree, "z-link", meta(0o644, 0), Kind::HardLink(TreePath::literal("usr/su")));
    add_file(&mut tree, "empty", "");
    let (image, stats) = written(&tree, &options());
    assert_same(&tree, &image);
    assert_eq!(stats.inodes, 10);
}

#[test]
fn every_length_of_content() {
    let mut tree = tree();
    for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 77] {
        add_file(&mut tree, &format!("noise{len}"), noise(len));
        add_file(&mut tree, &format!("text{len}"), b"pilot".repeat(len / 5 + 1)[..len].to_vec());
        add_file(&mut tree, &format!("zeros{len}"), vec![0; len]);
        let hole = [vec![7; len], vec![0; 2 * BLOCK], vec![8; len]].concat();
        add_file(&mut tree, &format!("hole{len}"), hole);
    }
    assert_same(&tree, &written(&tree, &options()).0);
}

#[test]
fn a_folder_of_many_names() {
    let mut tree = tree();
    add(&mut tree, "many", meta(0o755, 0), Kind::Directory);
    for number in 0..3000 {
        add_file(&mut tree, &format!("many/a name that makes the folder long {number}"), format!("{number}"));
    }
    assert_same(&tree, &written(&tree, &options()).0);
}

#[test]
fn what_stands_twice_is_stored_once() {
    let mut once = tree();
    add_file(&mut once, "a", noise(20 * BLOCK + 5));
    let mut twice = once.clone();
    add_file(&mut twice, "b", noise(20 * BLOCK + 5));
    let (_, stats) = written(&once, &options());
    let (image, stats_twice) = written(&twice, &options());
    assert_same(&twice, &image);
    assert_eq!(stats.bytes, stats_twice.bytes);
    assert_eq!(stats_twice.duplicate_bytes, 20 * BLOCK as u64 + 5);
}

#[test]
fn what_everything_takes_adds_up() {
    let mut tree = tree();
    add_file(&mut tree, "big", noise(3 * BLOCK + 100));
    add_file(&mut tree, "folder/big-again", noise(3 * BLOCK + 100));
    add_file(&mut tree, "folder/end", noise(300));
    add_file(&mut tree, "folder/text", vec![b'x'; 2 * BLOCK]);
    add_file(&mut tree, "folder/zeros", vec![0; 2 * BLOCK]);
    add_file(&mut tree, "folder/empty", "");
    add(&mut tree, "folder", meta(0o755, 0), Kind::Directory);
    add(&mut tree, "second-name", meta(0o644, 0), Kind::HardLink(TreePath::literal("folder/end")));
    let (image, stats) = written(&tree, &options());
    let usage = usage(&image).unwrap();
    let stored: u64 = usage.files.values().map(|file| file.stored).sum();
    assert_eq!(stored + usage.tables, stats.bytes);
    let check = |path: &str, content: usize, stored: std::ops::RangeInclusive<usize>| {
        let found = usage.files[path.as_bytes()];
        assert_eq!(found.content, content as u64, "{path}");
        assert!(stored.contains(&(found.stored as usize)), "{path}: {found:?}, not {stored:?}");
    };
    // Half of what is there once, a fragment's share included.
    let half = (3 * BLOCK + 100) / 2;
    check("big", 3 * BLOCK + 100, half - 60..=half + 60);
    check("folder/big-again", 3 * BLOCK + 100, half - 60..=half + 60);
    check("folder/end", 300, 120..=180);
    check("second-name", 300, 120..=180);
    check("folder/text", 2 * BLOCK, 1..=200);
    check("folder/zeros", 2 * BLOCK, 0..=0);
    check("folder/empty", 0, 0..=0);
    assert_eq!(usage.files.len(), 7);
    for end in (0..image.len()).step_by(97) {
        // Whatever is cut off: an answer or an error, never a panic.
        let _ = super::usage(&image[..end]);
    }
}

#[test]
fn what_does_not_shrink_is_stored_as_it_is() {
    let mut tree = tree();
    let content = noise(1 << 20);
    add_file(&mut tree, "module.ko.xz", content.clone());
    let options = Options::new(TIME);
    let (image, _) = written(&tree, &options);
    assert_eq!(image.windows(64).filter(|window| *window == &content[1000..1064]).count(), 1);
    assert_same(&tree, &image);
}

#[test]
fn nothing_at_all() {
    let (image, stats) = written(&tree(), &options());
    assert_same(&tree(), &image);
    assert_eq!((stats.bytes, stats.inodes, stats.fragments), (4096, 1, 0));
}

#[test]
fn the_number_of_processors_does_not_show() {
    let mut tree = tree();
    for number in 0..900 {
        add_file(&mut tree, &format!("file{number}"), format!("{number} ").repeat(number * 3));
    }
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| written(&tree, &options()).0)
    };
    assert!(with(1) == with(5));
}

#[test]
fn it_starts_where_the_output_stands() {
    let mut tree = tree();
    add_file(&mut tree, "a", "b");
    let mut out = Cursor::new(vec![9; 100]);
    out.set_position(100);
    let (stats, _) = write(&tree, &options(), &Stock::default(), &mut out).unwrap();
    assert_eq!(out.position(), 100 + stats.bytes);
    assert_eq!(out.get_ref()[..100], [9; 100]);
    assert_same(&tree, &out.get_ref()[100..]);
}

#[test]
fn what_cannot_be_written() {
    let check = |change: &dyn Fn(&mut Tree, &mut Options), expect: &str| {
        let (mut tree, mut options) = (tree(), options());
        change(&mut tree, &mut options);
        let fault = write(&tree, &options, &Stock::default(), &mut Cursor::new(Vec::new())).unwrap_err();
        assert_eq!(fault.to_string(), expect);
    };
    check(&|_, options| options.level = 23, "squashfs knows no zstd level of 23");
    check(&|_, options| options.block_size = 5000, "squashfs knows no block size of 5000");
    let prefix = "cannot go into a squashfs:";
    check(
        &|tree, _| add_file(tree, "a/b", ""),
        &format!("/a/b {prefix} the folder that holds it is missing"),
    );
    check(
        &|tree, _| {
            add_file(tree, "a", "");
            add_file(tree, "a/b", "");
        },
        &format!("/a/b {prefix} what holds it is not a folder"),
    );
    let link = |target| Kind::HardLink(TreePath::literal(target));
    check(
        &|tree, _| add(tree, "l", meta(0o644, 0), link("gone")),
        &format!("/l {prefix} the target of the hard link is not a regular file"),
    );
    check(
        &|tree, _| add(tree, "d", meta(0o644, 0), Kind::CharDevice { major: 4096, minor: 0 }),
        &format!("/d {prefix} its device number is out of range"),
    );
    check(
        &|tree, _| add(tree, "s", meta(0o777, 0), Kind::Symlink(Vec::new())),
        &format!("/s {prefix} the target of the symbolic link is empty or longer than 4095 bytes"),
    );
    let long = "n".repeat(256);
    check(
        &|tree, _| add_file(tree, &long, ""),
        &format!("/{long} {prefix} its name is longer than 255 bytes"),
    );
    check(
        &|tree, _| {
            for owner in 0..65536 {
                add(tree, &owner.to_string(), meta(0o644, owner), Kind::Fifo);
            }
        },
        "the tree is too large for a squashfs: it has more than 65535 owners and groups",
    );
}

#[test]
fn a_full_disk_is_an_error() {
    struct Full(Cursor<Vec<u8>>);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.position() > 100_000 {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                self.0.write(bytes)
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Seek for Full {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let mut tree = tree();
    add_file(&mut tree, "a", noise(8 << 20));
    let fault = write(&tree, &options(), &Stock::default(), &mut Full(Cursor::new(Vec::new()))).unwrap_err();
    assert!(matches!(fault, SquashfsError::Write(source) if source.kind() == io::ErrorKind::StorageFull));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_tree_survives(
        // A file's name ends with `.f`, a folder's does not: neither stands in the other's way.
        files in prop::collection::btree_map(
            "([a-c]{1,3}/){0,3}[a-c]{1,3}[.]f",
            prop::collection::vec(0_u8..3, 0..9000),
            0..20,
        ),
    ) {
        let mut tree = tree();
        for (path, content) in files {
            let path = TreePath::parse(&path).unwrap();
            let mut parent = path.parent();
            while let Some(folder) = parent.filter(|folder| !folder.is_root()) {
                parent = folder.parent();
                tree.insert(folder, Node { meta: meta(0o755, 3), kind: Kind::Directory });
            }
            tree.insert(path, Node { meta: meta(0o600, 5), kind: Kind::File(content.into()) });
        }
        assert_same(&tree, &written(&tree, &options()).0);
    }
}

/// A file in memory as stock.
struct Held(Vec<u8>);

impl ReadAt for Held {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(offset, buf)
    }
}

/// A tree of blocks and tails that shrink, that do not, and that only look as if they did.
fn mixed_tree() -> Tree {
    let mut tree = tree();
    for number in 0..200 {
        let text: String = (0..number * 7).map(|word| format!("{number} {word} ")).collect();
        add_file(&mut tree, &format!("text{number:03}"), text);
    }
    for number in 0..20 {
        add_file(&mut tree, &format!("noise{number:02}"), noise(3000 + number * 501));
    }
    add_file(&mut tree, "zeros", vec![0; 3 * BLOCK + 5]);
    tree
}

#[test]
fn the_bytes_do_not_depend_on_what_is_in_stock() {
    let tree = mixed_tree();
    let make = |tree: &Tree, options: &Options, image: &[u8], index: &[u8]| {
        let mut stock = Stock::default();
        stock.add(Box::new(Held(image.to_vec())), &Index::decode(index));
        let mut out = Cursor::new(Vec::new());
        let (stats, index) = write(tree, options, &stock, &mut out).unwrap();
        (out.into_inner(), index.encode(), stats.found)
    };
    let (cold, index, found) = make(&tree, &options(), &[], &[]);
    assert_eq!(found, 0);
    assert_same(&tree, &cold);
    let all = Index::decode(&index);

    let (warm, warm_index, found) = make(&tree, &options(), &cold, &index);
    assert_eq!((&warm, &warm_index), (&cold, &index));
    assert!(found > 50, "{found} found");
    let full = found;

    // What was cut short, by a full disk or a killed builder.
    for part in 0..8 {
        let (image, index) = (&cold[..cold.len() * part / 8], &index[..index.len() * part / 8]);
        for (image, index) in [(image, &all.encode()[..]), (&cold[..], index), (image, index)] {
            let (bytes, _, found) = make(&tree, &options(), image, index);
            assert_eq!(bytes, cold);
            assert!(found < full);
        }
    }
    // What was damaged: a byte in every thousand, in either file.
    for shift in 0..16 {
        let damage = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes.iter_mut().skip(shift * 61).step_by(1000).for_each(|byte| *byte ^= 1 << (shift % 8));
            bytes
        };
        for (image, index) in [(damage(&cold), index.clone()), (cold.clone(), damage(&index))] {
            let (bytes, _, found) = make(&tree, &options(), &image, &index);
            assert_eq!(bytes, cold);
            assert!(found < full);
        }
    }
    // What was made otherwise, and what is made of something else.
    let other = Options { level: 9, ..options() };
    let (plain, ..) = make(&tree, &other, &[], &[]);
    assert_eq!(make(&tree, &other, &cold, &index), (plain.clone(), make(&tree, &other, &[], &[]).1, 0));
    let mut changed = mixed_tree();
    add_file(&mut changed, "text100", "short now");
    let (plain, ..) = make(&changed, &options(), &[], &[]);
    let (bytes, _, found) = make(&changed, &options(), &cold, &index);
    assert_eq!(bytes, plain);
    assert!(found > 0);
}
