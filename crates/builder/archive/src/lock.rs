//! `pilotlight.lock`: every package of every set by name, version, path, size and SHA-256, below the release whose
//! index named it; the sets are lists of names.
//!
//! The writer is deterministic and puts one package on one line, whatever the number of sets that hold it, so that
//! a change reads well in a diff. The text itself is read and written by the module `text`.

mod text;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    date,
    spec::{Spec, Suite},
};
use pilotlight_fetch::Digest;

/// A whole lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// The releases that the packages were found in, sorted; each has at least one package here.
    pub releases: Vec<LockedRelease>,
    /// The sets by name.
    pub sets: BTreeMap<String, LockedSet>,
}

/// A suite as it was when packages of it were locked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedRelease {
    /// Which, and when.
    pub origin: Origin,
    /// The indexes of it that were read, sorted by path.
    pub indexes: Vec<LockedIndex>,
}

/// A suite at the time of one of its Releases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The archive's name.
    pub archive: String,
    /// The suite.
    pub suite: String,
    /// The `Date` of its Release.
    pub date: String,
}

impl Origin {
    /// When it was published, in seconds since 1970.
    pub fn published(&self) -> Option<i64> {
        date::parse(&self.date)
    }

    /// Whether it is a release of `suite`.
    pub(crate) fn is_of(&self, suite: &Suite) -> bool {
        (&self.archive, &self.suite) == (&suite.archive, &suite.name)
    }

    /// The times at which a snapshot archive is asked for what it named, as they stand in addresses: the likeliest
    /// first.
    ///
    /// Such an archive takes a picture about every 6 hours and answers with the last one at or before the time asked
    /// for: the first that has the Release is up to a turn later, and a turn can fall out. What was locked may also
    /// be older than its Release.
    pub fn snapshots(&self) -> impl Iterator<Item = String> {
        const OFFSETS: [i64; 3] = [6 * 3_600, 24 * 3_600, 0];
        let published = self.published();
        OFFSETS.into_iter().filter_map(move |offset| Some(date::stamp(published? + offset)))
    }
}

/// A list of packages that a Release named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedIndex {
    /// Where, relative to the suite's folder.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// A set's packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedSet {
    /// [`Spec::fingerprint`] of what was asked for.
    pub spec: String,
    /// Sorted by name, architecture and version.
    pub packages: Vec<LockedPackage>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// The release whose index named it.
    pub origin: Origin,
    /// Where, relative to the archive's root.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// The digest of the .deb.
    pub sha256: Digest,
}

/// What is wrong with a lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Not the TOML that the writer writes.
    #[error("not a valid lock: restore it, or write it anew with `cargo xtask lock --update`")]
    Toml(#[from] toml::de::Error),
    /// Made by another version of the builder.
    #[error(
        "the lock has the layout {0}, this builder knows {known}: write it anew with `cargo xtask lock --update`",
        known = text::VERSION
    )]
    Version(u32),
    /// A package that could lead out of the archive, or the like.
    #[error("the lock's package {0:?} has an impossible {1}")]
    Package(String, &'static str),
    /// A set names a package that stands nowhere, or one name that several have.
    #[error("the lock's set {0:?} names {1:?}, which is not exactly one of its packages")]
    Reference(String, String),
    /// A set that is not locked.
    #[error("the set {0:?} is not in the lock: run `cargo xtask lock`")]
    Missing(String),
    /// A set whose spec changed.
    #[error(
        "archives.toml asks for something else in the set {0:?} than the lock was made for: run `cargo xtask lock`"
    )]
    Outdated(String),
    /// A set that nobody asks for.
    #[error("archives.toml has no set {0:?}, but the lock has: run `cargo xtask lock`")]
    Superfluous(String),
}

impl LockedPackage {
    /// Name, version and architecture for messages.
    pub fn title(&self) -> String {
        format!("{} {} ({})", self.name, self.version, self.architecture)
    }

    /// Name and architecture, as a person names a package: `libc6:armhf`.
    pub fn qualified(&self) -> String {
        format!("{}:{}", self.name, self.architecture)
    }
}

impl Lock {
    /// A lock of these sets. `indexes` are those that were read for any of them; what no package came from is left
    /// out. One package found in several releases counts as found in the first.
    pub(crate) fn new(
        mut sets: BTreeMap<String, LockedSet>,
        indexes: impl IntoIterator<Item = (Origin, LockedIndex)>,
    ) -> Self {
        let mut known: BTreeMap<(String, String, Digest), Origin> = BTreeMap::new();
        let key =
            |package: &LockedPackage| (package.origin.archive.clone(), package.path.clone(), package.sha256);
        for package in sets.values().flat_map(|set| &set.packages) {
            let origin = known.entry(key(package)).or_insert_with(|| package.origin.clone());
            if package.origin.published() < origin.published() {
                *origin = package.origin.clone();
            }
        }
        for package in sets.values_mut().flat_map(|set| &mut set.packages) {
            package.origin.clone_from(&known[&key(package)]);
        }
        let mut releases: BTreeMap<Origin, Vec<LockedIndex>> =
            known.into_values().map(|origin| (origin, Vec::new())).collect();
        for (origin, index) in indexes {
            if let Some(list) = releases.get_mut(&origin) {
                list.push(index);
            }
        }
        let releases = releases.into_iter().map(|(origin, mut indexes)| {
            indexes.sort();
            indexes.dedup();
            LockedRelease { origin, indexes }
        });
        Self { releases: releases.collect(), sets }
    }

    /// This lock upon `below`: the sets of both, this one's where both have one of that name.
    #[must_use]
    pub fn upon(self, below: Self) -> Self {
        let known = |lock: &Self| -> Vec<(Origin, LockedIndex)> {
            lock.indexes().map(|(origin, index)| (origin.clone(), index.clone())).collect()
        };
        let indexes = [known(&self), known(&below)].concat();
        let mut sets = below.sets;
        sets.extend(self.sets);
        Self::new(sets, indexes)
    }

    /// Every index with the release that it belongs to.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = (&Origin, &LockedIndex)> {
        self.releases.iter().flat_map(|release| release.indexes.iter().map(|index| (&release.origin, index)))
    }

    /// Every package of every set, those that several sets share as often.
    pub fn packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.sets.values().flat_map(|set| &set.packages)
    }

    /// When the newest release was published that packages of the named sets are of, in seconds since 1970: the
    /// time that what is built from these sets carries. None when they have no packages.
    pub fn published(&self, sets: &[&str]) -> Option<i64> {
        let sets = sets.iter().filter_map(|name| self.sets.get(*name));
        sets.flat_map(|set| &set.packages).filter_map(|package| package.origin.published()).max()
    }

    /// The packages of a set, if they are what `spec` asks for today.
    ///
    /// # Errors
    /// A set that is not locked, or locked for another spec.
    pub fn set<'l>(&'l self, spec: &Spec, name: &str) -> Result<&'l [LockedPackage], LockError> {
        let set = self.sets.get(name).ok_or_else(|| LockError::Missing(name.into()))?;
        if spec.fingerprint(name).as_deref() == Some(set.spec.as_str()) {
            Ok(&set.packages)
        } else {
            Err(LockError::Outdated(name.into()))
        }
    }

    /// Whether the lock is what `spec` asks for today, set for set.
    ///
    /// # Errors
    /// The first set that is missing, outdated or superfluous.
    pub fn fits(&self, spec: &Spec) -> Result<(), LockError> {
        for name in spec.sets.keys() {
            self.set(spec, name)?;
        }
        match self.sets.keys().find(|name| !spec.sets.contains_key(*name)) {
            Some(name) => Err(LockError::Superfluous(name.clone())),
            None => Ok(()),
        }
    }
}
