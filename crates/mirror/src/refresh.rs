//! What a Pi does so that it has what was found: acts, one after the other, after each of which the plug may be pulled.
//!
//! Files come before the index that names them, and go after it has ceased to. What a channel had before it moved stays, one
//! release of each system, so that a lab can go back to it; when the card has no room for both, that is the first to go.

use std::collections::{BTreeMap, BTreeSet};

use pilotlight_fetch::Digest;
use pilotlight_lab::{Architecture, System, Versions};

use crate::{Lock, LockedFile, LockedRelease};

/// One act. Each is done or not, whatever happens, and is on the card before the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Gives a file, fetched and verified, its name beneath `/assets/`.
    Place {
        /// The name.
        path: String,
        /// The file.
        file: LockedFile,
    },
    /// Writes down what was found.
    Note(Lock),
    /// Has machines started by this index from now on.
    Publish(Versions),
    /// Removes a file that nothing names any more.
    Remove {
        /// Its name beneath `/assets/`.
        path: String,
    },
}

/// What lies beneath `/assets/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Here {
    /// What was found the last time.
    pub lock: Lock,
    /// What machines are started by.
    pub index: Versions,
    /// All files but those two.
    pub files: BTreeMap<String, Held>,
}

/// Whether there is room for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// There is.
    Now,
    /// Once what was kept to go back to is given up.
    AfterThrift,
    /// Not even then; for so many bytes there would be.
    Never(u64),
}

/// A file that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

impl Here {
    /// What is here where no lock says so: the releases of the index, whose files are here.
    pub fn without_lock(index: Versions, files: BTreeMap<String, Held>) -> Self {
        let mut lock = Lock::default();
        for ((system, architecture, version), names) in &index.files {
            let of_it = |key: &&(System, Architecture, String)| {
                (key.0, key.1) == (*system, *architecture) && index.channels.get(*key) == Some(version)
            };
            let channels =
                index.channels.keys().filter(of_it).map(|(_, _, channel)| channel.clone()).collect();
            let mut release = LockedRelease {
                system: *system,
                architecture: *architecture,
                version: version.clone(),
                channels,
                files: Vec::new(),
            };
            let folder = release.folder();
            release.files.extend(names.keys().filter_map(|name| {
                let Held { size, sha256 } = *files.get(&format!("{folder}/{name}"))?;
                Some(LockedFile { path: name.clone(), url: String::new(), size, sha256 })
            }));
            // As the index has it, or not at all.
            if release.files.iter().all(|file| names.get(&file.path) == Some(&file.sha256.to_string()))
                && release.files.len() == names.len()
            {
                lock.releases.push(release);
            }
        }
        Self { lock, index, files }
    }

    /// What is to be done for the files of `found`.
    pub fn acts(&self, found: &Lock) -> Vec<Act> {
        let mut lock = found.clone();
        self.kept(found).into_iter().for_each(|release| lock.put(release));
        let lacking = self.lacking(&lock).into_iter();
        let placed: Vec<_> = lacking.map(|(path, file)| Act::Place { path, file: file.clone() }).collect();
        placed.into_iter().chain(self.settled(lock)).collect()
    }

    /// What gives back all room that is not needed for what machines are started with now.
    pub fn thrift(&self) -> Vec<Act> {
        let mut lock = self.lock.clone();
        lock.releases.retain(|release| !release.channels.is_empty());
        self.settled(lock)
    }

    /// Whether so many bytes find room, where so many are free.
    pub fn fit(&self, wanted: u64, free: u64) -> Fit {
        let most = free.saturating_add(self.spare());
        match wanted {
            _ if wanted <= free => Fit::Now,
            _ if wanted <= most => Fit::AfterThrift,
            _ => Fit::Never(most),
        }
    }

    /// How much room thrift gives back, in bytes.
    fn spare(&self) -> u64 {
        let removed = self.thrift().into_iter().map(|act| match act {
            Act::Remove { path } => self.files.get(&path).map_or(0, |held| held.size),
            _ => 0,
        });
        removed.sum()
    }

    /// The files of `found` that are not here yet.
    pub fn lacking<'a>(&self, found: &'a Lock) -> Vec<(String, &'a LockedFile)> {
        let is_here = |path: &String, file: &LockedFile| {
            self.files.get(path) == Some(&Held { size: file.size, sha256: file.sha256 })
        };
        found.all().into_iter().filter(|(path, file)| !is_here(path, file)).collect()
    }

    /// Once all files of `lock` are here: what makes it what counts, and removes the rest.
    fn settled(&self, lock: Lock) -> Vec<Act> {
        let index = lock.versions();
        let named = lock.all();
        let removed = self.files.keys().filter(|path| !named.contains_key(*path));
        let removed: Vec<_> = removed.map(|path| Act::Remove { path: path.clone() }).collect();
        let note = (lock != self.lock).then_some(Act::Note(lock));
        let publish = (index != self.index).then_some(Act::Publish(index));
        note.into_iter().chain(publish).chain(removed).collect()
    }

    /// The releases that stay although no channel of `found` has them: those that one had until now, of a system of which
    /// one has moved; of the others what was kept already.
    fn kept(&self, found: &Lock) -> Vec<LockedRelease> {
        let key = |release: &LockedRelease| (release.system, release.architecture);
        let is_found = |release: &&LockedRelease| {
            found.releases.iter().any(|other| key(other) == key(release) && other.version == release.version)
        };
        let has_moved = |release: &LockedRelease| {
            let of = |lock: &Lock| -> BTreeSet<String> {
                let current = lock.releases.iter().filter(|other| !other.channels.is_empty());
                current
                    .filter(|other| key(other) == key(release))
                    .map(|other| other.version.clone())
                    .collect()
            };
            of(found) != of(&self.lock)
        };
        // Of a system that the lab does not want any more nothing stays.
        let is_wanted =
            |release: &&LockedRelease| found.releases.iter().any(|other| key(other) == key(release));
        let missing = self.lock.releases.iter().filter(|release| !is_found(release)).filter(is_wanted);
        // One that the card has lost a file of is nothing to go back to.
        let is_whole = |release: &&LockedRelease| {
            let lock = Lock { releases: vec![(*release).clone()], ..Lock::default() };
            self.lacking(&lock).is_empty()
        };
        let kept = missing.filter(|release| !release.channels.is_empty() || !has_moved(release));
        kept.filter(is_whole)
            .map(|release| LockedRelease { channels: Vec::new(), ..release.clone() })
            .collect()
    }
}
