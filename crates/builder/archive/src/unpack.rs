//! A `.deb` → [`Package`]: `ar` around two compressed tar archives.
//!
//! Decompressing is the slow part, so its result is kept in the cache, one file for each .deb: the control
//! archive, the data archive, and a trailer with both lengths and a CRC-32 over all before it. The file is mapped
//! into memory, and a package's contents are slices of the map. Whenever one is opened, its length must fit the
//! trailer and the CRC its content (memory speed, and it also catches a disk that forgot what it was given);
//! otherwise it is made anew from the .deb, whose SHA-256 is checked each time it is read.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
};

use bytes::Bytes;
use pilotlight_tree::{Kind, Meta, Node, Package, PathError, TreePath};
use tar::EntryType;

use crate::{deb822, lock::LockedPackage};
use pilotlight_fetch::{Cache, CacheError, Digest};

/// Ends every kept file, after two lengths and a CRC.
const MAGIC: &[u8; 8] = b"plunpkd1";
const TRAILER: usize = 8 + 8 + 4 + MAGIC.len();

/// Why a package cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[error("cannot unpack {title}")]
pub struct UnpackError {
    /// Which package.
    pub title: String,
    /// What is wrong with it.
    pub source: UnpackFault,
}

/// What can be wrong with a package file.
#[derive(Debug, thiserror::Error)]
pub enum UnpackFault {
    /// It is not in the cache.
    #[error("it has not been fetched")]
    NotFetched,
    /// The cached file changed since it was fetched.
    #[error(
        "its file in the cache was damaged and is removed now: run the same command again to fetch it anew"
    )]
    Damaged,
    /// Not an `ar` archive with the two members, or not in a known compression.
    #[error("it is not a Debian package: {0}")]
    NotADeb(&'static str),
    /// A stream ends early or does not decompress.
    #[error("its {member} cannot be read")]
    Stream {
        /// `control.tar` or `data.tar`.
        member: &'static str,
        /// What the decoder says.
        source: io::Error,
    },
    /// An entry that has no place in a tree.
    #[error("its file {path:?} {what}")]
    Entry {
        /// The entry's path as it stands there.
        path: String,
        /// What is the matter.
        what: &'static str,
    },
    /// A path that is none.
    #[error("it holds an impossible path")]
    Path(#[from] PathError),
    /// The package is another one than the lock says.
    #[error("it says that it is {0}")]
    Other(String),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Whether the decompressed archives stay in the cache for the next time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// They do.
    Yes,
    /// They go when the package is dropped: for a giant that is needed once.
    No,
}

/// Unpacks one locked package, which must have been fetched.
///
/// # Errors
/// A package that is absent, damaged, malformed or not what the lock says.
pub fn unpack(cache: &Cache, locked: &LockedPackage, keep: Keep) -> Result<Package, UnpackError> {
    let package = archives(cache, locked, keep).and_then(|(control, data)| read(locked, &control, &data));
    package.map_err(|source| UnpackError { title: locked.title(), source })
}

/// The decompressed control and data archives.
fn archives(cache: &Cache, locked: &LockedPackage, keep: Keep) -> Result<(Bytes, Bytes), UnpackFault> {
    let path = cache.unpacked(&locked.sha256);
    if let Some(parts) =
        File::open(&path).ok().and_then(|file| pilotlight_fetch::map(&file).ok()).and_then(split)
    {
        return Ok(parts);
    }
    let mut temporary = cache.temporary()?;
    decompress(cache, locked, temporary.as_file_mut(), &path)?;
    let file = match keep {
        Keep::Yes => cache.keep(temporary, &path)?,
        Keep::No => temporary.into_file(),
    };
    let mapped = pilotlight_fetch::map(&file).map_err(CacheError::io("map", &path))?;
    split(mapped).ok_or(UnpackFault::Damaged)
}

/// Cuts a kept file into its two archives; none when its trailer does not fit.
fn split(all: Bytes) -> Option<(Bytes, Bytes)> {
    let end = all.len().checked_sub(TRAILER)?;
    let trailer = &all[end..];
    let number = |at: usize| Some(u64::from_le_bytes(trailer.get(at..at + 8)?.try_into().ok()?));
    let (control, data) = (usize::try_from(number(0)?).ok()?, usize::try_from(number(8)?).ok()?);
    let crc = u32::from_le_bytes(trailer[16..20].try_into().ok()?);
    let fits = trailer.ends_with(MAGIC) && control.checked_add(data) == Some(end);
    (fits && crc32fast::hash(&all[..end]) == crc).then(|| (all.slice(..control), all.slice(control..end)))
}

/// Writes both archives and the trailer of a .deb to `out`.
fn decompress(cache: &Cache, locked: &LockedPackage, out: &mut File, path: &Path) -> Result<(), UnpackFault> {
    let object = cache.object(&locked.sha256);
    let mut deb = match File::open(&object) {
        Ok(deb) => deb,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Err(UnpackFault::NotFetched),
        Err(fault) => return Err(CacheError::io("open", &object)(fault).into()),
    };
    let found = Digest::of_reader(&mut deb).map_err(CacheError::io("read", &object))?;
    if found != locked.sha256 {
        std::fs::remove_file(&object).map_err(CacheError::io("remove", &object))?;
        return Err(UnpackFault::Damaged);
    }
    let mut sink = Sink {
        out: io::BufWriter::with_capacity(1 << 18, out),
        crc: crc32fast::Hasher::new(),
        length: 0,
        fault: None,
    };
    let lengths = members(&mut deb, &mut sink);
    if let Some(fault) = sink.fault.take() {
        return Err(CacheError::io("write", path)(fault).into());
    }
    let [control, data] = lengths?;
    let mut trailer = Vec::with_capacity(TRAILER);
    trailer.extend(control.to_le_bytes());
    trailer.extend(data.to_le_bytes());
    trailer.extend(sink.crc.finalize().to_le_bytes());
    trailer.extend(MAGIC);
    let written = sink.out.write_all(&trailer).and_then(|()| sink.out.flush());
    Ok(written.map_err(CacheError::io("write", path))?)
}

/// Counts and sums up what goes through, and keeps a fault of the disk apart from one of the stream.
struct Sink<'f> {
    out: io::BufWriter<&'f mut File>,
    crc: crc32fast::Hasher,
    length: u64,
    fault: Option<io::Error>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(fault) = self.out.write_all(bytes) {
            self.fault = Some(fault);
            return Err(io::Error::other("the cache cannot take it"));
        }
        self.crc.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decompresses `control.tar.*` and then `data.tar.*` into `sink`; their lengths.
fn members(deb: &mut File, sink: &mut Sink<'_>) -> Result<[u64; 2], UnpackFault> {
    let broken = |source| UnpackFault::Stream { member: "outer archive", source };
    deb.seek(SeekFrom::Start(0)).map_err(broken)?;
    let mut archive = ar::Archive::new(BufReader::with_capacity(1 << 17, deb));
    let mut lengths = Vec::new();
    while let Some(entry) = archive.next_entry() {
        let entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(entry.header().identifier()).trim_end_matches('/').to_owned();
        let member = match (lengths.len(), name.split_once(".tar")) {
            (0, Some(("control", _))) => "control.tar",
            (1, Some(("data", _))) => "data.tar",
            (0, None) if name == "debian-binary" => continue,
            (2, _) => break,
            // dpkg allows and skips members whose names begin with an underscore.
            _ if name.starts_with('_') => continue,
            _ => {
                return Err(UnpackFault::NotADeb(
                    "its members are not debian-binary, control.tar and data.tar",
                ));
            }
        };
        let before = sink.length;
        let mut decoder = decoder(&name, entry.header().size(), entry)?;
        io::copy(&mut decoder, sink).map_err(|source| UnpackFault::Stream { member, source })?;
        lengths.push(sink.length - before);
    }
    lengths.try_into().map_err(|_| UnpackFault::NotADeb("control.tar or data.tar is missing"))
}

/// The decoder for a member by the ending of its `name`; it has `size` bytes.
fn decoder<'r>(name: &str, size: u64, from: impl Read + 'r) -> Result<Box<dyn Read + 'r>, UnpackFault> {
    let stream = |source| UnpackFault::Stream { member: "compressed archive", source };
    Ok(match name.rsplit('.').next() {
        Some("xz") if size > LARGE => Box::new(SideBySide::new(from).map_err(stream)?),
        Some("xz") => Box::new(liblzma::read::XzDecoder::new_multi_decoder(from)),
        Some("zst") => Box::new(zstd::Decoder::new(from).map_err(stream)?),
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(from)),
        Some("tar") => Box::new(from),
        _ => return Err(UnpackFault::NotADeb("its compression is none of xz, zst, gz")),
    })
}

/// Bytes of an xz member from which on its blocks are decompressed side by side. dpkg-deb makes blocks of 24 MiB before
/// compression; one package, the kernel's, takes as long as all others together.
const LARGE: u64 = 8 << 20;
/// Bytes of memory that this may take; with less, fewer blocks go side by side.
const MEMORY: u64 = 256 << 20;

/// An xz stream whose blocks are decompressed side by side. One stream, as dpkg reads it: more behind it is a fault.
struct SideBySide<R: Read>(liblzma::bufread::XzDecoder<BufReader<R>>);

impl<R: Read> SideBySide<R> {
    fn new(from: R) -> io::Result<Self> {
        let threads = u32::try_from(rayon::current_num_threads()).unwrap_or(1);
        let stream = liblzma::stream::MtStreamBuilder::new()
            .threads(threads)
            .memlimit_threading(MEMORY)
            .memlimit_stop(u64::MAX)
            .decoder()?;
        Ok(Self(liblzma::bufread::XzDecoder::new_stream(BufReader::with_capacity(1 << 20, from), stream)))
    }
}

impl<R: Read> Read for SideBySide<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        if count == 0 && !buffer.is_empty() && !self.0.get_mut().fill_buf()?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "something comes after its end"));
        }
        Ok(count)
    }
}

/// The package that two tar archives make up.
fn read(locked: &LockedPackage, control: &Bytes, data: &Bytes) -> Result<Package, UnpackFault> {
    let mut members = BTreeMap::new();
    for (path, node) in entries(control, "control.tar")? {
        if let Kind::File(content) = node.kind {
            members.insert(String::from_utf8_lossy(path.as_bytes()).into_owned(), content);
        }
    }
    let said =
        members.get("control").and_then(|control| std::str::from_utf8(control).ok()).unwrap_or_default();
    let said = deb822::paragraphs(said).next();
    let field = |name| said.and_then(|said| said.get(name)).unwrap_or_default();
    let found = [field("Package"), field("Version"), field("Architecture")];
    if found != [&locked.name, &locked.version, &locked.architecture] {
        return Err(UnpackFault::Other(format!("{:?}", found.join(" "))));
    }
    Ok(Package {
        name: locked.name.clone(),
        version: locked.version.clone(),
        architecture: locked.architecture.clone(),
        control: members,
        data: entries(data, "data.tar")?,
    })
}

/// The entries of a tar archive; contents are slices of it.
fn entries(all: &Bytes, member: &'static str) -> Result<Vec<(TreePath, Node)>, UnpackFault> {
    let broken = |source| UnpackFault::Stream { member, source };
    let mut archive = tar::Archive::new(io::Cursor::new(all));
    let mut read = Vec::new();
    // Regular files and what links to them, by the path to link to.
    let mut files: HashMap<TreePath, TreePath> = HashMap::new();
    for entry in archive.entries_with_seek().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        refuse_extensions(&mut entry, member)?;
        let raw = entry.path_bytes().into_owned();
        let path = TreePath::parse(&raw)?;
        let (start, size) = (entry.raw_file_position(), entry.size());
        let content = || {
            let (start, end) =
                (usize::try_from(start).ok()?, usize::try_from(start.checked_add(size)?).ok()?);
            (end <= all.len()).then(|| all.slice(start..end))
        };
        let fault = |what| UnpackFault::Entry { path: String::from_utf8_lossy(&raw).into_owned(), what };
        let header = entry.header();
        let link = entry.link_name_bytes();
        let device = || {
            let (major, minor) = (header.device_major().ok()??, header.device_minor().ok()??);
            Some((major, minor))
        };
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => {
                files.insert(path.clone(), path.clone());
                Kind::File(content().ok_or_else(|| fault("is cut off"))?)
            }
            EntryType::Symlink => {
                Kind::Symlink(link.ok_or_else(|| fault("is a link to nothing"))?.into_owned())
            }
            EntryType::Link => {
                let target = TreePath::parse(link.ok_or_else(|| fault("is a link to nothing"))?)?;
                let target =
                    files.get(&target).ok_or_else(|| fault("is a hard link to no file before it"))?.clone();
                files.insert(path.clone(), target.clone());
                Kind::HardLink(target)
            }
            EntryType::Char => {
                let (major, minor) = device().ok_or_else(|| fault("is a device without a number"))?;
                Kind::CharDevice { major, minor }
            }
            EntryType::Block => {
                let (major, minor) = device().ok_or_else(|| fault("is a device without a number"))?;
                Kind::BlockDevice { major, minor }
            }
            EntryType::Fifo => Kind::Fifo,
            _ => return Err(fault("is of a kind that a package does not hold")),
        };
        let meta = meta(header).ok_or_else(|| fault("has an unreadable mode, owner or time"))?;
        read.push((path, Node { meta, kind }));
    }
    Ok(read)
}

fn meta(header: &tar::Header) -> Option<Meta> {
    Some(Meta {
        mode: u16::try_from(header.mode().ok()? & 0o7777).ok()?,
        uid: u32::try_from(header.uid().ok()?).ok()?,
        gid: u32::try_from(header.gid().ok()?).ok()?,
        mtime: u32::try_from(header.mtime().ok()?).ok()?,
    })
}

/// A tree has no place for extended attributes: losing one silently could lose a capability or a label.
fn refuse_extensions(
    entry: &mut tar::Entry<'_, io::Cursor<&Bytes>>,
    member: &'static str,
) -> Result<(), UnpackFault> {
    const KNOWN: [&[u8]; 9] =
        [b"path", b"linkpath", b"size", b"mtime", b"atime", b"ctime", b"uid", b"gid", b"comment"];
    let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let extensions = entry.pax_extensions().map_err(|source| UnpackFault::Stream { member, source })?;
    for extension in extensions.into_iter().flatten() {
        let extension = extension.map_err(|source| UnpackFault::Stream { member, source })?;
        if !KNOWN.contains(&extension.key_bytes())
            && ![b"uname".as_slice(), b"gname"].contains(&extension.key_bytes())
        {
            return Err(UnpackFault::Entry {
                path,
                what: "has an extended attribute, which a tree cannot hold",
            });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
