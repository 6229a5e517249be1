//! Tar archives of every kind that a package may hold, and of those that it must not.

use std::fmt::Debug;

use proptest::prelude::*;

use super::*;

fn header(kind: EntryType, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_gid(42);
    header.set_mtime(1_700_000_000);
    header
}

fn archive(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>) -> io::Result<()>) -> Bytes {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder).unwrap();
    builder.into_inner().unwrap().into()
}

fn add(
    builder: &mut tar::Builder<Vec<u8>>,
    kind: EntryType,
    path: &str,
    link: &str,
    content: &[u8],
) -> io::Result<()> {
    let mut header = header(kind, content.len());
    if link.is_empty() {
        builder.append_data(&mut header, path, content)
    } else {
        builder.append_link(&mut header, path, link)
    }
}

fn says<T: Debug>(result: Result<T, UnpackFault>, expect: &str) {
    let fault = result.unwrap_err();
    let inner = std::error::Error::source(&fault).map(ToString::to_string).unwrap_or_default();
    assert!(format!("{fault}: {inner}").contains(expect), "{expect:?} is not in: {fault}: {inner}");
}

#[test]
fn every_kind_of_entry() {
    let long = format!("usr/{}/file", "n".repeat(200));
    let all = archive(|builder| {
        add(builder, EntryType::Directory, "./", "", b"")?;
        add(builder, EntryType::Directory, "./usr/", "", b"")?;
        add(builder, EntryType::Regular, "./usr/a", "", b"content")?;
        add(builder, EntryType::Link, "./usr/b", "./usr/a", b"")?;
        add(builder, EntryType::Link, "./usr/c", "./usr/b", b"")?;
        add(builder, EntryType::Symlink, "./usr/d", "../etc/d", b"")?;
        add(builder, EntryType::Symlink, "./usr/e", &"t".repeat(150), b"")?;
        add(builder, EntryType::Regular, &format!("./{long}"), "", b"long")?;
        add(builder, EntryType::Fifo, "./usr/f", "", b"")
    });
    let read = entries(&all, "data.tar").unwrap();
    let a = TreePath::literal("usr/a");
    let kinds: BTreeMap<String, Kind> = read
        .iter()
        .map(|(path, node)| (String::from_utf8_lossy(path.as_bytes()).into_owned(), node.kind.clone()))
        .collect();
    assert_eq!(kinds["usr/a"], Kind::File(Bytes::from_static(b"content")));
    assert_eq!(kinds["usr/b"], Kind::HardLink(a.clone()));
    assert_eq!(kinds["usr/c"], Kind::HardLink(a.clone()), "never a link to a link");
    assert_eq!(kinds["usr/d"], Kind::Symlink(b"../etc/d".to_vec()));
    assert_eq!(kinds["usr/e"], Kind::Symlink(vec![b't'; 150]));
    assert_eq!(kinds[&long], Kind::File(Bytes::from_static(b"long")));
    assert_eq!(kinds["usr/f"], Kind::Fifo);
    assert_eq!(kinds[""], Kind::Directory);
    let meta = read.iter().find(|(path, _)| *path == a).unwrap().1.meta;
    assert_eq!(meta, Meta { mode: 0o4755, uid: 7, gid: 42, mtime: 1_700_000_000 });
}

#[test]
fn pax_names_and_attributes() {
    let with = |key: &'static str, value: &'static [u8]| {
        archive(|builder| {
            builder.append_pax_extensions([(key, value)])?;
            add(builder, EntryType::Regular, "./short", "", b"x")
        })
    };
    let read = entries(&with("path", b"./usr/by-pax"), "data.tar").unwrap();
    assert_eq!(read[0].0, TreePath::literal("usr/by-pax"));
    says(entries(&with("SCHILY.xattr.security.capability", b"\x01"), "data.tar"), "extended attribute");
    says(entries(&with("path", b"../outside"), "data.tar"), "..");
}

#[test]
fn what_has_no_place_in_a_tree() {
    let one = |kind, path: &str, link: &str| archive(|builder| add(builder, kind, path, link, b""));
    says(entries(&one(EntryType::Link, "./b", "./a"), "data.tar"), "hard link to no file");
    says(entries(&one(EntryType::new(b'Z'), "./b", ""), "data.tar"), "of a kind");
    let whole = archive(|builder| add(builder, EntryType::Regular, "./a", "", &[7; 2_000]));
    says(entries(&whole.slice(..1_500), "data.tar"), "is cut off");
}

#[test]
fn compressions() {
    let gz = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"text").unwrap();
        encoder.finish().unwrap()
    };
    let zst = zstd::encode_all(b"text".as_slice(), 1).unwrap();
    let check = |name: &str, bytes: &[u8]| {
        let mut text = Vec::new();
        decoder(name, bytes.len() as u64, bytes).unwrap().read_to_end(&mut text).unwrap();
        assert_eq!(text, b"text", "{name}");
    };
    check("data.tar", b"text");
    check("data.tar.gz", &gz);
    check("data.tar.zst", &zst);
    assert!(matches!(decoder("data.tar.lzma", 0, b"".as_slice()), Err(UnpackFault::NotADeb(_))));
}

#[test]
fn large_members_are_read_side_by_side() {
    // Several blocks, and a little more after the last whole one.
    let text: Vec<u8> =
        (0..3_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let stream = liblzma::stream::MtStreamBuilder::new()
        .preset(0)
        .threads(2)
        .block_size(1 << 20)
        .check(liblzma::stream::Check::Crc64)
        .encoder()
        .unwrap();
    let mut packed = Vec::new();
    liblzma::read::XzEncoder::new_stream(&text[..], stream).read_to_end(&mut packed).unwrap();
    let read = |packed: &[u8]| {
        let mut found = Vec::new();
        decoder("data.tar.xz", packed.len() as u64, packed).unwrap().read_to_end(&mut found).map(|_| found)
    };
    assert!(packed.len() as u64 > LARGE, "{}", packed.len());
    assert!(read(&packed).unwrap() == text);
    assert!(read(&packed[..packed.len() - 4]).is_err());
    let fault = read(&[&packed[..], b"\xfd7zXZ"].concat()).unwrap_err();
    assert_eq!(fault.to_string(), "something comes after its end");
    let middle = packed.len() / 2;
    packed[middle] ^= 1;
    assert!(read(&packed).is_err());
}

proptest! {
    #[test]
    fn no_tar_is_too_odd(noise: Vec<u8>, at in 0_usize..3_000, length in 0_usize..4_000) {
        let mut all = archive(|builder| {
            add(builder, EntryType::Regular, "./a", "", &[7; 600])?;
            add(builder, EntryType::Symlink, "./b", "a", b"")
        }).to_vec();
        let end = (at + noise.len()).min(all.len());
        if at < end {
            all[at..end].copy_from_slice(&noise[..end - at]);
        }
        all.truncate(length);
        // Either a value or a fault; what it is depends on the noise.
        drop(entries(&all.into(), "data.tar"));
        drop(entries(&noise.into(), "data.tar"));
    }

    #[test]
    fn no_kept_file_is_too_odd(noise: Vec<u8>) {
        let mut ended = noise.clone();
        ended.extend(MAGIC);
        prop_assert!(split(noise.into()).is_none());
        drop(split(ended.into()));
    }
}
