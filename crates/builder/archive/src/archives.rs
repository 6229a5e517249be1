//! The way from `archives.toml` to packages: lock, fetch, unpack.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use pilotlight_fetch::{Cache, CacheError, Client, KeyError, Keyring, Patience, Show};
use pilotlight_tree::Package;
use rayon::prelude::*;

use crate::{
    fetch::{FetchError, Fetcher, FileKind, Want},
    index::IndexError,
    lock::{Lock, LockError, LockedPackage},
    mirrors::Mirrors,
    solve::SolveError,
    spec::{Spec, SpecError},
    unpack::{self, Keep, UnpackError},
};

/// The name of a base's file.
const SPEC: &str = "archives.toml";

/// The archives of one base, with where to look for them and where to keep what they give.
#[derive(Debug, Clone)]
pub struct Archives {
    pub(crate) spec: Spec,
    pub(crate) keyrings: BTreeMap<String, Keyring>,
    mirrors: Mirrors,
    snapshots: Mirrors,
    pub(crate) cache: Cache,
    pub(crate) show: Show,
    client: Client,
}

/// What can go wrong with archives.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the base is unreadable.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `archives.toml` is wrong.
    #[error("{path} is wrong")]
    Spec {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: SpecError,
    },
    /// A key file is wrong.
    #[error("the key file {path} cannot be used")]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// There is no such set.
    #[error("archives.toml has no set {0:?}{1}")]
    NoSet(String, String),
    /// A suite lacks what a set asks for.
    #[error("the suite {suite} of {archive} has no {component} for {architecture}")]
    NoIndex {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// The component.
        component: String,
        /// The architecture.
        architecture: String,
    },
    /// An index does not decompress.
    #[error("the package index of {0} cannot be read")]
    Decode(String, #[source] io::Error),
    /// An index does not parse.
    #[error("the package index of {0} is wrong")]
    Index(String, #[source] IndexError),
    /// A package to be updated that no set has.
    #[error("no set of the lock has a package {0}{1}")]
    NotLocked(String, String),
    /// An index names nothing in place of a package that is not to be had.
    #[error(
        "the archive's index still names {0}, but the package is not to be had, and there is nothing in its place: \
         the mirror is being updated, or lacks it; try later, or name another mirror with --mirror"
    )]
    StillGone(String),
    /// A set cannot be put together.
    #[error("the set {set:?} cannot be put together")]
    Solve {
        /// Which.
        set: String,
        /// Why.
        source: SolveError,
    },
    /// The lock is unusable.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A package could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The cache is unusable.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Archives {
    /// Reads `archives.toml` in the folder `base`, without its keys: what a caller needs to find mirrors. Of the base
    /// that it builds on, which is the folder beside it of that name, it has all that it lacks itself.
    ///
    /// # Errors
    /// A file that is missing or wrong.
    pub fn spec(base: &Path) -> Result<Spec, Error> {
        let own = Self::own_spec(base)?;
        let Some(below) = own.builds_on.as_ref() else { return Ok(own) };
        let below = Self::own_spec(&base.with_file_name(below))?;
        own.upon(below).map_err(|source| Error::Spec { path: base.join(SPEC), source })
    }

    /// The same without what the base builds on.
    ///
    /// # Errors
    /// A file that is missing or wrong.
    pub fn own_spec(base: &Path) -> Result<Spec, Error> {
        let path = base.join(SPEC);
        let text =
            std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let spec = Spec::parse(&text).map_err(|source| Error::Spec { path, source })?;
        Ok(spec.in_folder(base))
    }

    /// Opens the archives of the base in the folder `base` (which holds `archives.toml` and its key files).
    ///
    /// # Errors
    /// A file that is missing or wrong.
    pub fn open(base: &Path, mirrors: Mirrors, cache: Cache) -> Result<Self, Error> {
        Self::with_spec(Self::spec(base)?, mirrors, cache)
    }

    /// Opens the archives of a spec that knows the folder of its keys ([`Archives::spec`], [`Archives::own_spec`]).
    ///
    /// # Errors
    /// A key file that is missing or wrong.
    pub fn with_spec(spec: Spec, mirrors: Mirrors, cache: Cache) -> Result<Self, Error> {
        let mut keyrings = BTreeMap::new();
        for (name, archive) in &spec.archives {
            let keyring: &mut Keyring = keyrings.entry(name.clone()).or_default();
            for key in &archive.keys {
                let path = key.file.clone();
                let armoured =
                    std::fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
                keyring.pin(&key.fingerprint, &armoured).map_err(|source| Error::Key { path, source })?;
            }
        }
        let snapshots = spec.snapshots();
        Ok(Self { spec, keyrings, mirrors, snapshots, cache, show: Show::Auto, client: Client::default() })
    }

    /// The same, waiting and retrying in another way.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { client: Client::new(patience), ..self }
    }

    /// The same, showing its progress in another way.
    #[must_use]
    pub fn with_show(self, show: Show) -> Self {
        Self { show, ..self }
    }

    /// The same, looking for what no mirror has any more in other snapshot archives than the base names; none for
    /// an archive that is not among them.
    #[must_use]
    pub fn with_snapshots(self, snapshots: Mirrors) -> Self {
        Self { snapshots, ..self }
    }

    /// The cache in use.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Whether the lock is what `archives.toml` asks for today, set for set.
    ///
    /// # Errors
    /// The first set that is missing, outdated or superfluous.
    pub fn fits(&self, lock: &Lock) -> Result<(), Error> {
        Ok(lock.fits(&self.spec)?)
    }

    /// What of a set is not in the cache yet.
    ///
    /// # Errors
    /// A lock that does not fit `archives.toml`.
    pub fn missing<'l>(&self, lock: &'l Lock, set: &str) -> Result<Vec<&'l LockedPackage>, Error> {
        let packages = self.locked(lock, set)?.iter();
        Ok(packages.filter(|package| !self.cache.has(&package.sha256, package.size)).collect())
    }

    /// Brings the packages of some sets into the cache, in one go.
    ///
    /// # Errors
    /// A lock that does not fit `archives.toml`, or a package that no mirror gives.
    pub fn fetch(&self, lock: &Lock, sets: &[&str]) -> Result<(), Error> {
        let mut packages = Vec::new();
        for set in sets {
            packages.extend(self.locked(lock, set)?);
        }
        self.fetch_packages(packages)
    }

    /// Brings some packages out of a lock into the cache.
    ///
    /// # Errors
    /// A package that no mirror gives.
    pub fn fetch_packages<'l>(
        &self,
        packages: impl IntoIterator<Item = &'l LockedPackage>,
    ) -> Result<(), Error> {
        let wants: Vec<_> = packages.into_iter().map(want).collect();
        Ok(self.fetcher().all(&wants)?)
    }

    /// The packages of a set, unpacked, in the lock's order (name, architecture, version). They must have been
    /// fetched.
    ///
    /// # Errors
    /// A lock that does not fit `archives.toml`, or a package that is absent or malformed.
    pub fn packages(&self, lock: &Lock, set: &str) -> Result<Vec<Package>, Error> {
        self.unpack(self.locked(lock, set)?, Keep::Yes)
    }

    /// Some packages out of a lock, unpacked, in the order given.
    ///
    /// # Errors
    /// A package that is absent or malformed.
    pub fn unpack(&self, packages: &[LockedPackage], keep: Keep) -> Result<Vec<Package>, Error> {
        // The largest begin first, so that none of them is what everybody waits for in the end.
        let mut order: Vec<usize> = (0..packages.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(packages[*index].size));
        let unpacked: Result<Vec<(usize, Package)>, UnpackError> = order
            .par_iter()
            .with_max_len(1)
            .map(|index| Ok((*index, unpack::unpack(&self.cache, &packages[*index], keep)?)))
            .collect();
        let mut unpacked = unpacked?;
        unpacked.sort_by_key(|(index, _)| *index);
        Ok(unpacked.into_iter().map(|(_, package)| package).collect())
    }

    /// The names of what `set` asks for by name; none when there is no such set.
    pub fn wishes(&self, set: &str) -> Option<Vec<String>> {
        Some(self.spec.sets.get(set)?.packages.iter().map(|wish| wish.name.clone()).collect())
    }

    /// The names of what the builder takes the place of in `set`; none when there is no such set.
    pub fn provided(&self, set: &str) -> Option<Vec<String>> {
        Some(self.spec.sets.get(set)?.provided.iter().map(|provided| provided.name.clone()).collect())
    }

    /// The locked packages of a set.
    ///
    /// # Errors
    /// No such set, or a lock that does not fit `archives.toml`.
    pub fn locked<'l>(&self, lock: &'l Lock, set: &str) -> Result<&'l [LockedPackage], Error> {
        if !self.spec.sets.contains_key(set) {
            let hint = crate::nearest::hint(set, self.spec.sets.keys().map(String::as_str));
            return Err(Error::NoSet(set.into(), hint));
        }
        Ok(lock.set(&self.spec, set)?)
    }

    pub(crate) fn fetcher(&self) -> Fetcher<'_> {
        Fetcher {
            cache: &self.cache,
            mirrors: &self.mirrors,
            snapshots: &self.snapshots,
            show: self.show,
            session: self.client.session(),
        }
    }
}

pub(crate) fn want(package: &LockedPackage) -> Want {
    Want {
        title: package.title(),
        kind: FileKind::Package,
        paths: vec![package.path.clone()],
        origin: package.origin.clone(),
        size: package.size,
        sha256: package.sha256,
    }
}
