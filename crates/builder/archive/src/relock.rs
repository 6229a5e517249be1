//! From what archives have to a lock: anew, or as near as can be to the one there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
};

use rayon::prelude::*;

use crate::{
    archives::{Archives, Error, want},
    fetch::{FetchError, FileKind, Want},
    index::{self, Record},
    lock::{Lock, LockedIndex, LockedPackage, LockedSet, Origin},
    nearest,
    release::{self, Release},
    solve::{self, Favoured},
    spec::{SetSpec, Suite, Wish},
    unpack::{self, Keep},
};
use pilotlight_fetch::{Digest, Fault, Keyring, Show};

/// An InRelease of Debian's is 0.2 MB; no suite needs a hundred times that.
const RELEASE_LIMIT: u64 = 16 << 20;

/// What of a lock may become another. The rest stays as it is wherever that is possible.
#[derive(Debug, Clone)]
pub enum Update {
    /// What `archives.toml` asks for otherwise than when the lock was made.
    Changed,
    /// That, and these packages, where there are newer ones.
    Packages(Vec<Wish>),
    /// These packages, which are not to be had any more.
    Gone(Vec<Digest>),
    /// Everything.
    All,
}

/// One index of a suite: which, and its decompressed text.
pub(crate) struct Text {
    pub(crate) origin: Origin,
    pub(crate) component: String,
    pub(crate) architecture: String,
    pub(crate) index: LockedIndex,
    pub(crate) text: String,
}

/// A locked package that no index names any more, with what an index would say of it.
struct Kept<'l> {
    package: &'l LockedPackage,
    text: String,
}

/// An index that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) suite: Suite,
    pub(crate) component: String,
    pub(crate) architecture: String,
}

impl Place {
    fn path(&self) -> String {
        format!("{}/binary-{}/Packages.xz", self.component, self.architecture)
    }
}

impl Archives {
    /// Asks the archives what they have at the time `now` (seconds since 1970) and picks every set's packages.
    ///
    /// # Errors
    /// No mirror gives a Release that can be believed, or a set cannot be put together.
    pub fn lock(&self, now: i64) -> Result<Lock, Error> {
        self.relock(&Lock::default(), &Update::All, now)
    }

    /// The lock that `archives.toml` asks for today, as near to `old` as `update` allows. Sets that nothing
    /// requires to change are taken over as they are; when all are, nobody is asked.
    ///
    /// # Errors
    /// As [`Archives::lock`]; also a package to be updated that is not locked.
    pub fn relock(&self, old: &Lock, update: &Update, now: i64) -> Result<Lock, Error> {
        let names = self.unsettled(old, update)?;
        let mut sets: BTreeMap<String, LockedSet> = old
            .sets
            .iter()
            .filter(|(name, _)| self.spec.sets.contains_key(*name) && !names.contains(name.as_str()))
            .map(|(name, set)| (name.clone(), set.clone()))
            .collect();
        let mut indexes: Vec<(Origin, LockedIndex)> =
            old.indexes().map(|(origin, index)| (origin.clone(), index.clone())).collect();
        if names.is_empty() {
            return Ok(Lock::new(sets, indexes));
        }
        let texts = self.texts(&names, old, update, now)?;
        for name in names {
            let packages = self.solve_set(name, &texts, old, update)?;
            let spec = self.spec.fingerprint(name).unwrap_or_default();
            sets.insert(name.into(), LockedSet { spec, packages });
        }
        indexes.extend(texts.into_iter().map(|text| (text.origin, text.index)));
        let lock = Lock::new(sets, indexes);
        let mut gone =
            lock.packages().filter(|package| matches!(update, Update::Gone(_)) && !update.keeps(package));
        if let Some(package) = gone.next() {
            return Err(Error::StillGone(package.title()));
        }
        drop(gone);
        Ok(lock)
    }

    /// The sets that are to be put together anew.
    fn unsettled(&self, old: &Lock, update: &Update) -> Result<BTreeSet<&str>, Error> {
        if let Update::Packages(wishes) = update {
            for wish in wishes {
                if !old.packages().any(|package| is_wished(package, wish)) {
                    let hint = nearest::hint(&wish.name, old.packages().map(|package| package.name.as_str()));
                    return Err(Error::NotLocked(wish.to_string(), hint));
                }
            }
        }
        let is_unsettled = |name: &str| match update {
            Update::All => true,
            Update::Gone(_) => {
                old.sets.get(name).is_some_and(|set| !set.packages.iter().all(|one| update.keeps(one)))
            }
            Update::Changed | Update::Packages(_) => match old.set(&self.spec, name) {
                Ok(packages) => !packages.iter().all(|package| update.keeps(package)),
                Err(_) => true,
            },
        };
        Ok(self.spec.sets.keys().map(String::as_str).filter(|name| is_unsettled(name)).collect())
    }

    /// The packages of one set, out of the indexes that it may use and of what the lock keeps.
    fn solve_set(
        &self,
        name: &str,
        texts: &[Text],
        old: &Lock,
        update: &Update,
    ) -> Result<Vec<LockedPackage>, Error> {
        let Some(set) = self.spec.sets.get(name) else { return Ok(Vec::new()) };
        let mut records = read_indexes(set, texts)?;
        let own: Vec<&LockedPackage> = old.sets.get(name).into_iter().flat_map(|set| &set.packages).collect();
        let kept = self.kept(set, &own, &records, update)?;
        for (number, one) in kept.iter().enumerate() {
            let title = || one.package.title();
            index::read(&one.text, texts.len() + number, &mut records)
                .map_err(|source| Error::Index(title(), source))?;
        }
        for package in own.iter().filter(|package| !update.keeps(package)) {
            let replaces = |record: &Record<'_>| {
                record.package == package.name
                    && record.architecture == package.architecture
                    && match update {
                        Update::Packages(_) => record.is_newer_than(&package.version),
                        _ => record.sha256 != package.sha256,
                    }
            };
            if records.iter().any(replaces) {
                records.retain(|record| record.sha256 != package.sha256);
            }
        }
        let digests = |packages: &mut dyn Iterator<Item = &LockedPackage>| -> BTreeSet<Digest> {
            packages.filter(|package| update.keeps(package)).map(|package| package.sha256).collect()
        };
        let favoured =
            Favoured { own: digests(&mut own.iter().copied()), others: digests(&mut old.packages()) };
        let chosen = solve::solve(set, &records, &favoured)
            .map_err(|source| Error::Solve { set: name.into(), source })?;
        let known: BTreeMap<(&str, &str, Digest), &LockedPackage> = old
            .packages()
            .filter(|package| update.keeps(package))
            .map(|package| {
                ((package.origin.archive.as_str(), package.path.as_str(), package.sha256), package)
            })
            .collect();
        let packages = chosen.into_iter().map(|index| {
            let record = &records[index];
            let origin = match texts.get(record.archive) {
                Some(text) => &text.origin,
                None => &kept[record.archive - texts.len()].package.origin,
            };
            // Where it was found first, so that its line stays where it is.
            let known = known.get(&(origin.archive.as_str(), record.path, record.sha256));
            LockedPackage {
                name: record.package.into(),
                architecture: record.architecture.into(),
                version: record.version.into(),
                origin: known.map_or(origin, |package| &package.origin).clone(),
                path: record.path.into(),
                size: record.size,
                sha256: record.sha256,
            }
        });
        Ok(packages.collect())
    }

    /// The set's packages that may stay although no index names them any more, those of them that can still be had:
    /// the package itself says what it needs.
    fn kept<'l>(
        &self,
        set: &SetSpec,
        own: &[&'l LockedPackage],
        records: &[Record<'_>],
        update: &Update,
    ) -> Result<Vec<Kept<'l>>, Error> {
        let named: BTreeSet<(&str, Digest)> =
            records.iter().map(|record| (record.path, record.sha256)).collect();
        let may_stay = |package: &&&LockedPackage| {
            let LockedPackage { origin, architecture, .. } = **package;
            update.keeps(package)
                && !named.contains(&(package.path.as_str(), package.sha256))
                && set.suites.iter().any(|suite| origin.is_of(suite))
                && (architecture == "all" || set.architectures.contains(architecture))
        };
        let stay: Vec<&LockedPackage> = own.iter().filter(may_stay).copied().collect();
        let gone = match self.fetcher().all(&stay.iter().map(|package| want(package)).collect::<Vec<_>>()) {
            Ok(()) => BTreeSet::new(),
            Err(FetchError::Gone(files)) => files.into_iter().map(|file| file.sha256).collect(),
            Err(fault) => return Err(fault.into()),
        };
        let stay = stay.into_iter().filter(|package| !gone.contains(&package.sha256));
        stay.map(|package| {
            let unpacked = unpack::unpack(&self.cache, package, Keep::Yes)?;
            let control = unpacked.control.get("control").map(|bytes| String::from_utf8_lossy(bytes));
            let control = control.as_deref().unwrap_or_default().trim_end();
            let LockedPackage { path, size, sha256, .. } = package;
            let text = format!("{control}\nFilename: {path}\nSize: {size}\nSHA256: {sha256}\n\n");
            Ok(Kept { package, text })
        })
        .collect()
    }

    /// Every index that the sets need, fetched and decompressed.
    fn texts(
        &self,
        sets: &BTreeSet<&str>,
        old: &Lock,
        update: &Update,
        now: i64,
    ) -> Result<Vec<Text>, Error> {
        let mut places = BTreeSet::new();
        for set in sets.iter().filter_map(|name| self.spec.sets.get(*name)) {
            for (suite, component) in pairs(&set.suites, &set.components) {
                places.extend(set.architectures.iter().map(|architecture| Place {
                    suite: suite.clone(),
                    component: component.clone(),
                    architecture: architecture.clone(),
                }));
            }
        }
        let mut releases = BTreeMap::new();
        for Place { suite, .. } in &places {
            if !releases.contains_key(suite) {
                releases.insert(suite, self.release(suite, now)?);
            }
        }
        let mut wanted = Vec::new();
        for place in &places {
            let (origin, index) = self.index(&releases[&place.suite], place)?;
            wanted.push((place, origin, index, releases[&place.suite].by_hash));
        }
        let wants: Vec<Want> = wanted
            .iter()
            .map(|(place, origin, index, by_hash)| index_want(place, origin, index, *by_hash))
            .collect();
        for (number, fault) in self.fetcher().each(&wants) {
            // What the lock was made from serves as well where nothing need be new.
            let (place, origin, index, _) = &mut wanted[number];
            let before = old
                .indexes()
                .filter(|(other, index)| other.is_of(&place.suite) && index.path == place.path());
            let before = before.max_by_key(|(origin, _)| origin.published());
            let before = before.filter(|_| matches!(update, Update::Changed | Update::Gone(_)));
            let Some((old_origin, old_index)) = before else { return Err(fault.into()) };
            if self.fetcher().all(&[index_want(place, old_origin, old_index, true)]).is_err() {
                return Err(fault.into());
            }
            self.say(&format!(
                "{fault}\ngoing on with the index of {}, which the lock was made from",
                old_origin.date
            ));
            (*origin, *index) = (old_origin.clone(), old_index.clone());
        }
        let read = |(place, origin, index, _): (&Place, Origin, LockedIndex, bool)| {
            let text = self.decode(&index).map_err(|source| Error::Decode(index_title(place), source))?;
            let Place { component, architecture, .. } = place.clone();
            Ok(Text { origin, component, architecture, index, text })
        };
        wanted.into_par_iter().map(read).collect()
    }

    /// The signed Release of a suite.
    pub(crate) fn release(&self, suite: &Suite, now: i64) -> Result<Release, Error> {
        let Suite { archive, name, .. } = suite;
        let nobody = Keyring::default();
        let keyring = self.keyrings.get(archive).unwrap_or(&nobody);
        let open = |bytes: &[u8]| {
            release::open(bytes, keyring, name, now).map_err(|fault| Fault::Refused(Box::new(fault)))
        };
        let title = format!("the Release of {suite}");
        let path = format!("dists/{name}/InRelease");
        Ok(self.fetcher().document(&title, archive, &path, RELEASE_LIMIT, open)?)
    }

    /// What a Release says of one of its indexes.
    pub(crate) fn index(&self, release: &Release, place: &Place) -> Result<(Origin, LockedIndex), Error> {
        let (path, Suite { archive, name, .. }) = (place.path(), &place.suite);
        let (size, sha256) = *release.indexes.get(&path).ok_or_else(|| Error::NoIndex {
            archive: archive.clone(),
            suite: name.clone(),
            component: place.component.clone(),
            architecture: place.architecture.clone(),
        })?;
        let origin = Origin { archive: archive.clone(), suite: name.clone(), date: release.date.clone() };
        Ok((origin, LockedIndex { path, size, sha256 }))
    }

    /// The text of a fetched index. Its digest is checked again, as of everything that comes out of the cache.
    pub(crate) fn decode(&self, index: &LockedIndex) -> io::Result<String> {
        let path = self.cache.object(&index.sha256);
        let compressed = std::fs::read(&path)?;
        if Digest::of(&compressed) != index.sha256 {
            std::fs::remove_file(&path)?;
            return Err(io::Error::other(
                "its file in the cache was damaged and is removed now: run the same command again",
            ));
        }
        let mut text = String::new();
        liblzma::read::XzDecoder::new_multi_decoder(compressed.as_slice()).read_to_string(&mut text)?;
        Ok(text)
    }

    fn say(&self, text: &str) {
        if self.show == Show::Auto {
            eprintln!("warning: {text}");
        }
    }
}

impl Update {
    /// Whether a locked package is to stay as it is, if that is possible.
    fn keeps(&self, package: &LockedPackage) -> bool {
        match self {
            Self::Changed => true,
            Self::Packages(wishes) => !wishes.iter().any(|wish| is_wished(package, wish)),
            Self::Gone(gone) => !gone.contains(&package.sha256),
            Self::All => false,
        }
    }
}

fn is_wished(package: &LockedPackage, wish: &Wish) -> bool {
    package.name == wish.name
        && wish.architecture.as_ref().is_none_or(|architecture| *architecture == package.architecture)
}

pub(crate) fn index_title(place: &Place) -> String {
    format!("the index of {} {} for {}", place.suite, place.component, place.architecture)
}

pub(crate) fn index_want(place: &Place, origin: &Origin, index: &LockedIndex, by_hash: bool) -> Want {
    let Place { suite: Suite { name: suite, .. }, component, architecture } = place;
    let by_hash = by_hash
        .then(|| format!("dists/{suite}/{component}/binary-{architecture}/by-hash/SHA256/{}", index.sha256));
    Want {
        title: index_title(place),
        kind: FileKind::Index,
        paths: by_hash.into_iter().chain([format!("dists/{suite}/{}", index.path)]).collect(),
        origin: origin.clone(),
        size: index.size,
        sha256: index.sha256,
    }
}

/// All records of the indexes that a set may use, in its own order of architectures and suites: what is equal in all
/// else goes by it.
fn read_indexes<'t>(set: &SetSpec, texts: &'t [Text]) -> Result<Vec<Record<'t>>, Error> {
    let mut records: Vec<Record<'_>> = Vec::new();
    for (architecture, suite) in pairs(&set.architectures, &set.suites) {
        let wanted = texts.iter().enumerate().filter(|(_, text)| {
            text.origin.is_of(suite)
                && text.architecture == *architecture
                && set.components.contains(&text.component)
        });
        for (number, text) in wanted {
            let title = || format!("{suite} {} {architecture}", text.component);
            index::read(&text.text, number, &mut records).map_err(|source| Error::Index(title(), source))?;
        }
    }
    Ok(records)
}

fn pairs<'s, O, I>(outer: &'s [O], inner: &'s [I]) -> impl Iterator<Item = (&'s O, &'s I)> {
    outer.iter().flat_map(|one| inner.iter().map(move |other| (one, other)))
}
