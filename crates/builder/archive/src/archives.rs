//! The way from `archives.toml` to packages: lock, fetch, unpack.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use pilotlight_tree::Package;
use rayon::prelude::*;

use crate::{
    cache::{Cache, CacheError},
    digest::Digest,
    fetch::{FetchError, Fetcher, FileKind, Want},
    http::{Fault, Http, Patience},
    index::{self, IndexError, Record},
    keyring::{KeyError, Keyring},
    lock::{Lock, LockError, LockedPackage, LockedRelease, LockedSet},
    mirrors::Mirrors,
    progress::Show,
    release::{self, Release},
    solve::{self, SolveError},
    spec::{SetSpec, Spec, SpecError},
    unpack::{self, Keep, UnpackError},
};

/// An InRelease of Debian's is 0.2 MB; no suite needs a hundred times that.
const RELEASE_LIMIT: u64 = 16 << 20;

/// The archives of one base, with where to look for them and where to keep what they give.
#[derive(Debug, Clone)]
pub struct Archives {
    spec: Spec,
    keyrings: BTreeMap<String, Keyring>,
    mirrors: Mirrors,
    cache: Cache,
    patience: Patience,
    show: Show,
    http: Arc<OnceLock<Http>>,
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

/// One index of a suite: which, and its decompressed text.
struct Text {
    suite: String,
    component: String,
    architecture: String,
    archive: String,
    text: String,
}

impl Archives {
    /// Reads `archives.toml` in the folder `base`, without its keys: what a caller needs to find mirrors.
    ///
    /// # Errors
    /// A file that is missing or wrong.
    pub fn spec(base: &Path) -> Result<Spec, Error> {
        let path = base.join("archives.toml");
        let text =
            std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        Spec::parse(&text).map_err(|source| Error::Spec { path, source })
    }

    /// Opens the archives of the base in the folder `base` (which holds `archives.toml` and its key files).
    ///
    /// # Errors
    /// A file that is missing or wrong.
    pub fn open(base: &Path, mirrors: Mirrors, cache: Cache) -> Result<Self, Error> {
        let spec = Self::spec(base)?;
        let mut keyrings = BTreeMap::new();
        for (name, archive) in &spec.archives {
            let keyring: &mut Keyring = keyrings.entry(name.clone()).or_default();
            for key in &archive.keys {
                let path = base.join(&key.file);
                let armoured =
                    std::fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
                keyring.pin(&key.fingerprint, &armoured).map_err(|source| Error::Key { path, source })?;
            }
        }
        Ok(Self {
            spec,
            keyrings,
            mirrors,
            cache,
            patience: Patience::default(),
            show: Show::Auto,
            http: Arc::default(),
        })
    }

    /// The same, waiting and retrying in another way.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, http: Arc::default(), ..self }
    }

    /// The same, showing its progress in another way.
    #[must_use]
    pub fn with_show(self, show: Show) -> Self {
        Self { show, ..self }
    }

    /// The cache in use.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Asks the archives what they have at the time `now` (seconds since 1970) and picks every set's packages.
    ///
    /// # Errors
    /// No mirror gives a Release that can be believed, or a set cannot be put together.
    pub fn lock(&self, now: i64) -> Result<Lock, Error> {
        let suites: BTreeSet<&str> =
            self.spec.sets.values().flat_map(|set| set.suites.iter().map(String::as_str)).collect();
        let mut releases = BTreeMap::new();
        for suite in suites {
            releases.insert(suite, self.release(suite, now)?);
        }
        let texts = self.texts(&releases)?;
        let mut sets = BTreeMap::new();
        for (name, set) in &self.spec.sets {
            let packages = solve_set(name, set, &texts)?;
            let spec = self.spec.fingerprint(name).unwrap_or_default();
            sets.insert(name.clone(), LockedSet { spec, packages });
        }
        let locked = releases.iter().map(|(suite, release)| LockedRelease {
            archive: self.archive_of(suite).into(),
            suite: (*suite).into(),
            date: release.date.clone(),
        });
        Ok(Lock::new(locked.collect(), sets))
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
        let mut wants = Vec::new();
        for set in sets {
            wants.extend(self.locked(lock, set)?.iter().map(want));
        }
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

    fn fetcher(&self) -> Fetcher<'_> {
        Fetcher {
            cache: &self.cache,
            mirrors: &self.mirrors,
            patience: self.patience,
            show: self.show,
            http: &self.http,
        }
    }

    fn archive_of(&self, suite: &str) -> &str {
        // A checked spec has an archive for every suite that a set names.
        self.spec.archive_of(suite).unwrap_or_default()
    }

    fn release(&self, suite: &str, now: i64) -> Result<Release, Error> {
        let archive = self.archive_of(suite);
        let nobody = Keyring::default();
        let keyring = self.keyrings.get(archive).unwrap_or(&nobody);
        let open = |bytes: &[u8]| {
            release::open(bytes, keyring, suite, now).map_err(|fault| Fault::Release(Box::new(fault)))
        };
        let title = format!("the Release of {suite}");
        Ok(self.fetcher().document(
            &title,
            archive,
            &format!("dists/{suite}/InRelease"),
            RELEASE_LIMIT,
            open,
        )?)
    }

    /// Every index that any set needs, fetched and decompressed.
    fn texts(&self, releases: &BTreeMap<&str, Release>) -> Result<Vec<Text>, Error> {
        let mut needed = BTreeSet::new();
        for set in self.spec.sets.values() {
            for suite in &set.suites {
                for component in &set.components {
                    needed.extend(
                        set.architectures
                            .iter()
                            .map(|own| (suite.as_str(), component.as_str(), own.as_str())),
                    );
                }
            }
        }
        let wants: Vec<Want> = needed
            .iter()
            .map(|(suite, component, architecture)| {
                self.index(&releases[suite], suite, component, architecture)
            })
            .collect::<Result<_, _>>()?;
        self.fetcher().all(&wants)?;
        let read = |((suite, component, architecture), want): ((&str, &str, &str), &Want)| {
            let text = self.decode(want).map_err(|source| Error::Decode(want.title.clone(), source))?;
            Ok(Text {
                suite: suite.into(),
                component: component.into(),
                architecture: architecture.into(),
                archive: self.archive_of(suite).into(),
                text,
            })
        };
        let needed: Vec<_> = needed.into_iter().collect();
        needed.into_par_iter().zip(&wants).map(read).collect()
    }

    fn index(
        &self,
        release: &Release,
        suite: &str,
        component: &str,
        architecture: &str,
    ) -> Result<Want, Error> {
        let path = format!("{component}/binary-{architecture}/Packages.xz");
        let archive = self.archive_of(suite);
        let (size, sha256) = *release.indexes.get(&path).ok_or_else(|| Error::NoIndex {
            archive: archive.into(),
            suite: suite.into(),
            component: component.into(),
            architecture: architecture.into(),
        })?;
        let by_hash = format!("dists/{suite}/{component}/binary-{architecture}/by-hash/SHA256/{sha256}");
        let mut paths = vec![format!("dists/{suite}/{path}")];
        if release.by_hash {
            paths.insert(0, by_hash);
        }
        Ok(Want {
            title: format!("the index of {suite} {component} for {architecture}"),
            kind: FileKind::Index,
            archive: archive.into(),
            paths,
            size,
            sha256,
        })
    }

    /// The text of a fetched index. Its digest is checked again, as of everything that comes out of the cache.
    fn decode(&self, want: &Want) -> io::Result<String> {
        let path = self.cache.object(&want.sha256);
        let compressed = std::fs::read(&path)?;
        if Digest::of(&compressed) != want.sha256 {
            std::fs::remove_file(&path)?;
            return Err(io::Error::other(
                "its file in the cache was damaged and is removed now: run the same command again",
            ));
        }
        let mut text = String::new();
        liblzma::read::XzDecoder::new_multi_decoder(compressed.as_slice()).read_to_string(&mut text)?;
        Ok(text)
    }
}

/// The packages of one set, out of the indexes that it may use.
fn solve_set(name: &str, set: &SetSpec, texts: &[Text]) -> Result<Vec<LockedPackage>, Error> {
    let mut records: Vec<Record<'_>> = Vec::new();
    // In the set's own order of architectures and suites: what is equal in all else goes by it.
    for architecture in &set.architectures {
        for suite in &set.suites {
            let wanted = texts.iter().enumerate().filter(|(_, text)| {
                (&text.suite, &text.architecture) == (suite, architecture)
                    && set.components.contains(&text.component)
            });
            for (number, text) in wanted {
                let title = || format!("{suite} {} {architecture}", text.component);
                index::read(&text.text, number, &mut records)
                    .map_err(|source| Error::Index(title(), source))?;
            }
        }
    }
    let chosen = solve::solve(set, &records).map_err(|source| Error::Solve { set: name.into(), source })?;
    let packages = chosen.into_iter().map(|index| {
        let record = &records[index];
        LockedPackage {
            name: record.package.into(),
            architecture: record.architecture.into(),
            version: record.version.into(),
            archive: texts[record.archive].archive.clone(),
            path: record.path.into(),
            size: record.size,
            sha256: record.sha256,
        }
    });
    Ok(packages.collect())
}

fn want(package: &LockedPackage) -> Want {
    Want {
        title: package.title(),
        kind: FileKind::Package,
        archive: package.archive.clone(),
        paths: vec![package.path.clone()],
        size: package.size,
        sha256: package.sha256,
    }
}
