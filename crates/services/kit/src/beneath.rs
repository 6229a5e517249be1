//! Opening what a name from the network asks for, beneath one folder and nowhere else.
//!
//! The kernel keeps the promise (`openat2(2)` with `RESOLVE_BENEATH`): a symlink that leads out, a `..` or a
//! race with a rename cannot get past it. The checks before it only make the refusals precise.

use std::{fs::File, io, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// The longest name that is looked for, in bytes. What the network may ask for is short; Linux itself would
/// take 4095.
pub const LONGEST_NAME: usize = 1024;

/// How often a lookup is tried again when a rename elsewhere disturbed it (`openat2(2)`, `EAGAIN`).
const TRIES: usize = 8;

/// A folder to serve from.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
}

/// A regular file, open for reading.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub file: File,
    /// Its length in bytes when it was opened.
    pub length: u64,
    /// Its inode's number.
    pub inode: u64,
    /// The time of its last change, in nanoseconds since 1970; negative before.
    pub changed_ns: i128,
}

/// Why a name was not opened.
#[derive(Debug, thiserror::Error)]
pub enum BeneathError {
    /// The name is empty, or only slashes and dots.
    #[error("the name is empty")]
    Empty,
    /// The name holds a zero byte.
    #[error("the name holds a zero byte")]
    Nul,
    /// The name begins with a slash.
    #[error("the name is absolute")]
    Absolute,
    /// The name has a `..` in it.
    #[error("the name climbs with \"..\"")]
    Climbs,
    /// The name, or a part of it, is too long.
    #[error("the name is too long")]
    TooLong,
    /// There is no such file.
    #[error("no such file")]
    Missing,
    /// A symlink leads out of the root, or round in circles.
    #[error("the name leads out of what is served")]
    Outside,
    /// There is something, but no regular file.
    #[error("not a regular file")]
    NotAFile,
    /// The daemon's user may not read it.
    #[error("not readable by this service")]
    Denied,
    /// The lookup failed.
    #[error("opening it failed: {0}")]
    Io(io::Error),
}

impl BeneathError {
    /// Whether the name is simply not there, as opposed to a name that nobody asks for in good faith or a
    /// fault of ours.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

impl Root {
    /// The folder at `path`.
    ///
    /// # Errors
    /// When there is no such folder, or this process may not read it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { folder })
    }

    /// Opens the regular file that `name`, a path relative to the root, leads to. Never blocks on a pipe, never
    /// follows a symlink out of the root.
    ///
    /// # Errors
    /// [`BeneathError`] says which rule the name broke, or what is in its place.
    pub fn file(&self, name: &[u8]) -> Result<Opened, BeneathError> {
        check(name)?;
        // NONBLOCK so that a pipe or a device in the tree cannot hold up the daemon; it means nothing for
        // regular files.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = TRIES;
        let file = loop {
            match rustix::fs::openat2(&self.folder, name, flags, Mode::empty(), resolve) {
                Ok(file) => break file,
                Err(Errno::AGAIN | Errno::INTR) if tries > 0 => tries -= 1,
                Err(errno) => return Err(fault(errno)),
            }
        };
        let stat = rustix::fs::fstat(&file).map_err(fault)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(BeneathError::NotAFile);
        }
        Ok(Opened {
            file: File::from(file),
            length: stat.st_size.try_into().unwrap_or(0),
            // The width of these fields differs by architecture.
            #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
            inode: u64::from(stat.st_ino),
            #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
            changed_ns: i128::from(stat.st_mtime) * 1_000_000_000 + stat.st_mtime_nsec as i128,
        })
    }
}

/// `name` without leading slashes: TFTP clients send `/pxelinux.0` and mean the top of what is served.
pub fn relative(name: &[u8]) -> &[u8] {
    let slashes = name.iter().take_while(|byte| **byte == b'/').count();
    name.get(slashes..).unwrap_or_default()
}

fn check(name: &[u8]) -> Result<(), BeneathError> {
    if name.len() > LONGEST_NAME {
        return Err(BeneathError::TooLong);
    }
    if name.contains(&0) {
        return Err(BeneathError::Nul);
    }
    if name.first() == Some(&b'/') {
        return Err(BeneathError::Absolute);
    }
    let mut parts = name.split(|byte| *byte == b'/');
    if parts.clone().any(|part| part == b"..") {
        return Err(BeneathError::Climbs);
    }
    if parts.all(|part| part.is_empty() || part == b".") {
        return Err(BeneathError::Empty);
    }
    Ok(())
}

fn fault(errno: Errno) -> BeneathError {
    match errno {
        Errno::NOENT | Errno::NOTDIR => BeneathError::Missing,
        Errno::XDEV | Errno::LOOP => BeneathError::Outside,
        Errno::NAMETOOLONG => BeneathError::TooLong,
        Errno::ACCESS | Errno::PERM => BeneathError::Denied,
        // A socket, or a device without a driver.
        Errno::NXIO | Errno::NODEV => BeneathError::NotAFile,
        other => BeneathError::Io(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, os::unix::fs::symlink};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// A served folder `in` beside a `secret` that must never be read.
    fn scene() -> (TempDir, Root) {
        let scene = TempDir::new().unwrap();
        let inside = scene.path().join("in");
        fs::create_dir_all(inside.join("dir")).unwrap();
        fs::write(scene.path().join("secret"), "secret").unwrap();
        fs::write(inside.join("file"), "content").unwrap();
        fs::write(inside.join("dir/deep"), "deep").unwrap();
        symlink("dir/deep", inside.join("link")).unwrap();
        symlink("../file", inside.join("dir/up")).unwrap();
        symlink("../secret", inside.join("out")).unwrap();
        symlink(scene.path().join("secret"), inside.join("absolute")).unwrap();
        symlink("/proc/self/exe", inside.join("magic")).unwrap();
        symlink("..", inside.join("parent")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, inside.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        drop(std::os::unix::net::UnixListener::bind(inside.join("socket")).unwrap());
        let root = Root::open(&inside).unwrap();
        (scene, root)
    }

    #[test]
    fn names_lead_to_files_or_to_a_precise_refusal() {
        let (_scene, root) = scene();
        let check = |name: &[u8], expect: Result<&str, &str>| {
            let got = root.file(name).map(|mut opened| {
                let mut text = String::new();
                opened.file.read_to_string(&mut text).unwrap();
                assert_eq!(opened.length, text.len() as u64);
                text
            });
            let got = got.as_deref().map_err(|error| format!("{error:?}"));
            assert_eq!(got, expect.map_err(str::to_owned), "{}", name.escape_ascii());
        };
        check(b"file", Ok("content"));
        check(b"./dir//deep", Ok("deep"));
        check(b"link", Ok("deep"));
        check(b"dir/up", Ok("content"));
        check(b"", Err("Empty"));
        check(b".", Err("Empty"));
        check(b"./", Err("Empty"));
        check(b"/", Err("Absolute"));
        check(b"/file", Err("Absolute"));
        check(b"//etc/passwd", Err("Absolute"));
        check(b"..", Err("Climbs"));
        check(b"../secret", Err("Climbs"));
        check(b"dir/../file", Err("Climbs"));
        check(b"file\0.txt", Err("Nul"));
        check(b"missing", Err("Missing"));
        check(b"file/below", Err("Missing"));
        check(b"file/", Err("Missing"));
        check(b"out", Err("Outside"));
        check(b"absolute", Err("Outside"));
        check(b"magic", Err("Outside"));
        check(b"parent/secret", Err("Outside"));
        check(b"loop", Err("Outside"));
        check(b"dir", Err("NotAFile"));
        check(b"pipe", Err("NotAFile"));
        check(b"socket", Err("NotAFile"));
        check(&[b'a'; 300], Err("TooLong"));
        check(&[b'a'; LONGEST_NAME + 1], Err("TooLong"));
        check(&b"a/".repeat(LONGEST_NAME / 2), Err("Missing"));
        check(b"\xff\xfe", Err("Missing"));
    }

    #[test]
    fn leading_slashes_are_stripped() {
        for (name, expect) in [("/a/b", "a/b"), ("///a", "a"), ("a/", "a/"), ("/", ""), ("", "")] {
            assert_eq!(relative(name.as_bytes()), expect.as_bytes(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_reads_the_secret(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("..".to_owned()), Just("parent".to_owned()), Just("out".to_owned()),
                    Just("secret".to_owned()), Just("dir".to_owned()), Just("absolute".to_owned()),
                    Just("".to_owned()), Just(".".to_owned()), Just("pipe".to_owned()), ".{0,8}",
                ],
                0..6,
            ),
        ) {
            let (_scene, root) = scene();
            for name in [parts.join("/"), format!("/{}", parts.join("/"))] {
                for name in [name.as_bytes(), relative(name.as_bytes())] {
                    if let Ok(mut opened) = root.file(name) {
                        let mut text = String::new();
                        opened.file.read_to_string(&mut text).unwrap();
                        prop_assert_ne!(text, "secret");
                    }
                }
            }
        }
    }
}
