//! The cache in the user's cache folder: what was fetched, by SHA-256, and what was unpacked from it.
//!
//! ```text
//! objects/SHA256        a fetched file, complete and verified before it got this name
//! partial/SHA256        the same on its way here, locked by the builder that fetches it
//! unpacked/SHA256       the tar archives of the .deb with that digest (see the module `unpack`)
//! ```
//! A file appears under its final name by one rename and is never written again, so any number of builders can
//! share a cache, and a mapped file never changes under its reader.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::{
    digest::{Digest, Hasher},
    scribe::Scribe,
    transfer::Expected,
};

/// How the names of half-made files begin and end.
const HALF_MADE: (&str, &str) = (".new-", "");

/// A cache folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
    on_card: bool,
}

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Neither variable says where it is.
    #[error("no cache folder: set XDG_CACHE_HOME or HOME")]
    Nowhere,
    /// The file system is full.
    #[error("no space left for {path}: free some, then run the same command again; what was fetched is kept")]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// Anything else that the file system says.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
}

impl CacheError {
    /// Wraps a fault; one that says "no space" becomes [`CacheError::Full`].
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { action, path, source },
        }
    }
}

/// The bytes of a file of a cache, without reading them: one that has its name there, or a temporary one that is
/// finished.
///
/// # Errors
/// What the system says.
pub fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: the file is either a temporary one that only this process knows, or one that got its name in the
    // cache by a rename; nobody writes to either again, so the mapped bytes do not change.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::from_owner(map))
}

impl Cache {
    /// The user's own cache: `$XDG_CACHE_HOME/pilotlight`, else `$HOME/.cache/pilotlight`.
    ///
    /// # Errors
    /// Neither is set, or the folder cannot be made.
    pub fn of_user() -> Result<Self, CacheError> {
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        Self::at(base.ok_or(CacheError::Nowhere)?.join("pilotlight"))
    }

    /// The cache in a given folder, which is made when it is not there.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, CacheError> {
        let root = root.into();
        for part in ["objects", "partial", "unpacked"] {
            let path = root.join(part);
            fs::create_dir_all(&path).map_err(CacheError::io("create the folder", &path))?;
        }
        Ok(Self { root, on_card: false })
    }

    /// The same on a card that others write to as well, and that may lose its power: what comes is written down megabyte by
    /// megabyte, so that nobody waits behind more than one of them, with pauses as long as the writing takes, and what has
    /// its name is complete even after a cut.
    pub fn on_card(self) -> Self {
        Self { on_card: true, ..self }
    }

    pub(crate) fn is_on_card(&self) -> bool {
        self.on_card
    }

    /// Takes a file that is known from `source`, and gives it its name once it is right.
    ///
    /// # Errors
    /// The source ends or fails, the bytes are others, or the cache cannot take them: then nothing of it is kept.
    pub fn receive(&self, source: &mut impl io::Read, size: u64, sha256: &Digest) -> Result<(), CacheError> {
        let path = self.partial(sha256);
        let mut take = || {
            let mut scribe = Scribe::new(File::create(&path)?, self.on_card);
            let (mut hasher, mut left, mut block) = (Hasher::default(), size, vec![0; 1 << 16]);
            while left > 0 {
                let most = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
                let count = source.read(block.get_mut(..most).unwrap_or_default())?;
                let piece = block.get(..count).filter(|piece| !piece.is_empty());
                let piece = piece.ok_or(io::ErrorKind::UnexpectedEof)?;
                scribe.write(piece)?;
                hasher.update(piece);
                left -= count as u64;
            }
            if hasher.finish() != *sha256 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it has another SHA-256"));
            }
            scribe.finish()?;
            fs::rename(&path, self.object(sha256))
        };
        take().map_err(|fault| {
            let _ = fs::remove_file(&path);
            CacheError::io("take", &path)(fault)
        })
    }

    /// What a file goes by that is on its way here: its digest, or, while nobody says that, the one of its address.
    pub fn name(sha256: Option<Digest>, url: &str) -> Digest {
        sha256.unwrap_or_else(|| Digest::of(url))
    }

    /// How many bytes of the file of this name are here, finished or not.
    pub fn begun(&self, name: &Digest) -> u64 {
        let lengths =
            [self.object(name), self.partial(name)].map(|path| fs::metadata(path).map(|it| it.len()));
        lengths.into_iter().flatten().max().unwrap_or(0)
    }

    /// Removes all files, finished or not, but those of these names.
    ///
    /// # Errors
    /// One of them cannot be removed.
    pub fn keep_only(&self, names: &BTreeSet<Digest>) -> Result<(), CacheError> {
        for path in ["objects", "partial"].map(|part| self.root.join(part)) {
            let entries = fs::read_dir(&path).map_err(CacheError::io("list", &path))?;
            for entry in entries {
                let entry = entry.map_err(CacheError::io("list", &path))?;
                let name = entry.file_name().to_str().and_then(|name| name.parse().ok());
                if !name.is_some_and(|name: Digest| names.contains(&name)) {
                    fs::remove_file(entry.path()).map_err(CacheError::io("empty the folder", &path))?;
                }
            }
        }
        Ok(())
    }

    /// The folder; others may keep what is theirs in folders of their own beneath it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes what was unpacked; it is unpacked again when it is next needed. A builder that reads it now keeps
    /// what it has open.
    ///
    /// # Errors
    /// The folder cannot be emptied.
    pub fn forget_unpacked(&self) -> Result<(), CacheError> {
        let path = self.root.join("unpacked");
        fs::remove_dir_all(&path)
            .and_then(|()| fs::create_dir(&path))
            .map_err(CacheError::io("empty the folder", &path))
    }

    /// Removes what was unpacked from the .deb with this digest, if it is there.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn forget_package(&self, sha256: &Digest) -> Result<(), CacheError> {
        let path = self.unpacked(sha256);
        match fs::remove_file(&path) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
                Err(CacheError::io("remove", &path)(fault))
            }
            _ => Ok(()),
        }
    }

    /// Where the file with this digest is, or will be.
    pub fn object(&self, sha256: &Digest) -> PathBuf {
        self.root.join("objects").join(sha256.to_string())
    }

    /// Whether the file with this digest is here with this size. Its bytes were checked when it came in, and are
    /// checked again when it is unpacked.
    pub fn has(&self, sha256: &Digest, size: u64) -> bool {
        self.find(&Expected::exactly(size, *sha256)).is_some()
    }

    /// The bytes of the file with this digest, mapped.
    ///
    /// # Errors
    /// It is not here, or cannot be read.
    pub fn bytes(&self, sha256: &Digest) -> Result<Bytes, CacheError> {
        let path = self.object(sha256);
        File::open(&path).and_then(|file| map(&file)).map_err(CacheError::io("read", &path))
    }

    /// Where what is known of a file leads to, if it is here: its digest and length.
    pub(crate) fn find(&self, expected: &Expected) -> Option<(Digest, u64)> {
        let sha256 = expected.sha256?;
        let found = fs::metadata(self.object(&sha256)).ok().filter(fs::Metadata::is_file)?.len();
        expected.size.is_none_or(|size| size == found).then_some((sha256, found))
    }

    pub(crate) fn partial(&self, sha256: &Digest) -> PathBuf {
        self.root.join("partial").join(sha256.to_string())
    }

    /// Where what was unpacked from the file with this digest is, or will be.
    pub fn unpacked(&self, sha256: &Digest) -> PathBuf {
        self.root.join("unpacked").join(sha256.to_string())
    }

    /// A new file without a name beside the unpacked ones; it gets one by [`Cache::keep`]. It is locked.
    ///
    /// # Errors
    /// The folder takes no file.
    pub fn temporary(&self) -> Result<tempfile::NamedTempFile, CacheError> {
        let folder = self.root.join("unpacked");
        let make = || loop {
            let file =
                tempfile::Builder::new().prefix(HALF_MADE.0).suffix(HALF_MADE.1).tempfile_in(&folder)?;
            file.as_file().lock()?;
            // Before it was locked, another builder may have taken it for one that was left behind.
            if file.as_file().metadata()?.nlink() > 0 {
                return Ok(file);
            }
        };
        make().map_err(CacheError::io("create a file in", &folder))
    }

    /// The folder of half-made files, and how their names begin and end. Each is locked by the builder that makes it, so
    /// that one whose builder was killed can be told and removed.
    pub fn half_made(&self) -> (PathBuf, (&'static str, &'static str)) {
        (self.root.join("unpacked"), HALF_MADE)
    }

    /// Gives a finished temporary file its name and returns it open for reading.
    ///
    /// # Errors
    /// It cannot be flushed or named.
    pub fn keep(&self, file: tempfile::NamedTempFile, path: &Path) -> Result<File, CacheError> {
        // What has a name is complete, even after a power cut.
        file.as_file().sync_data().map_err(CacheError::io("write", path))?;
        file.persist(path).map_err(|fault| CacheError::io("rename into place", path)(fault.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named() {
        let kinds = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem,
        ];
        let told = kinds.map(|kind| {
            let fault = CacheError::io("write", Path::new("/c/partial/ab"))(kind.into());
            let cause = std::error::Error::source(&fault).map(|cause| format!("\n  because: {cause}"));
            format!("{fault}{}", cause.unwrap_or_default())
        });
        insta::assert_snapshot!([&told[..], &[CacheError::Nowhere.to_string()]].concat().join("\n\n"));
    }
}
