//! The way from a lab to a lock and to its files: who is asked for what, in which order.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use pilotlight_fetch::{
    Cache, Client, Digest, Expected, Fault, Headers, Keyring, Progress, Session, Show, Want,
};
use pilotlight_lab::{Lab, System};

use crate::{
    Lock, LockedFile, MirrorError, Signed, Sources, Wanted,
    images::{self, Begun},
    order::newer,
    release::{Candidate, fedora, filled, flatcar, sums, talos},
    wanted::{self, Supply},
};

/// The most bytes of a list, a signature or a file of keys: GitHub's list of releases has some hundred kilobytes.
const LONGEST_TEXT: u64 = 8 << 20;
/// The most bytes of a file whose length nobody says: a system's root has nearly one gigabyte.
const LONGEST_FILE: u64 = 4 << 30;
/// How many files travel at once.
const PARALLEL: usize = 4;
/// What of a lock is looked for anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// What the lab asks for and the lock lacks.
    Changed,
    /// The channels of these systems, too; of all when none is named.
    Systems(Vec<System>),
}

impl Update {
    fn moves(&self, system: System) -> bool {
        match self {
            Self::Changed => false,
            Self::Systems(systems) => systems.is_empty() || systems.contains(&system),
        }
    }
}

/// Asks for what a lab names.
#[derive(Debug)]
pub struct Mirror<'a> {
    /// Where the files are kept.
    pub cache: &'a Cache,
    /// Where they come from.
    pub sources: &'a Sources,
    /// What asks.
    pub client: Client,
    /// How progress is shown.
    pub show: Show,
    /// Seconds since 1970, by which keys and signatures are judged.
    pub now: i64,
    /// Where room is short: told how many bytes are about to come, makes room for them or says how much there is.
    pub room: Option<Room<'a>>,
}

/// Makes room for so many bytes, or says how many there is room for.
pub struct Room<'a>(pub &'a (dyn Fn(u64) -> Result<(), u64> + Sync));

impl std::fmt::Debug for Room<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Room")
    }
}

/// Something to be fetched, and what to do with it.
pub(crate) struct Job {
    pub(crate) title: String,
    pub(crate) candidate: Candidate,
    pub(crate) keys: Option<Arc<Keyring>>,
}

/// The keys that were fetched.
#[derive(Default)]
struct Keys {
    flatcar: OnceCell<Arc<Keyring>>,
    fedora: OnceCell<Arc<Keyring>>,
}

/// A version that was found, and its files.
struct Found {
    version: String,
    keys: Option<Arc<Keyring>>,
    files: Vec<Candidate>,
}

impl Mirror<'_> {
    /// The lock of a lab: what `old` has and the lab still wants stays, the rest is found, verified and fetched.
    ///
    /// # Errors
    /// The first thing that cannot be found, or is not believed.
    pub fn lock(&self, lab: &Lab, old: &Lock, update: &Update) -> Result<Lock, MirrorError> {
        let session = self.client.session();
        let (mut lock, keys) = (Lock::default(), Keys::default());
        let mut jobs = Vec::new();
        let mut found = Vec::new();
        for wanted in wanted::systems(lab) {
            let known = old.serves(&wanted);
            if wanted.system == System::DebianRam {
                // The builder makes it, and nobody else has it: what is here stays.
                known.into_iter().for_each(|it| lock.add(&wanted, &it.version, it.files.clone()));
                continue;
            }
            match known.filter(|_| wanted.held.is_some() || !update.moves(wanted.system)) {
                Some(release) => lock.add(&wanted, &release.version, release.files.clone()),
                None => {
                    let new = self.find(&session, &keys, &wanted)?;
                    forward(&wanted, old, &new.version)?;
                    let same = old.releases.iter().find(|release| {
                        (release.system, release.architecture, &release.version)
                            == (wanted.system, wanted.architecture, &new.version)
                    });
                    match same {
                        Some(release) => lock.add(&wanted, &release.version, release.files.clone()),
                        None => {
                            let first = jobs.len();
                            jobs.extend(new.files.into_iter().map(|candidate| Job {
                                title: format!(
                                    "{} {}: {}",
                                    wanted.system.title(),
                                    new.version,
                                    candidate.name
                                ),
                                candidate,
                                keys: new.keys.clone(),
                            }));
                            found.push((wanted, new.version, first..jobs.len()));
                        }
                    }
                }
            }
        }
        let rest = jobs.len();
        self.supplies(&session, lab, old, &mut lock, &mut jobs)?;
        let end = jobs.len();
        let begun = self.images(&session, lab, old, &mut lock, &mut jobs)?;
        let manifests = begun.iter().flat_map(|Begun { image, .. }| &image.files);
        let kept = lock.all().into_values().chain(manifests).map(|file| file.sha256).collect();
        self.make_room_for(&session, &jobs, kept)?;
        let files = self.fetch_all(&session, &jobs)?;
        for Begun { mut image, rest } in begun {
            image.files.extend_from_slice(files.get(rest).unwrap_or_default());
            lock.images.push(image);
        }
        lock.images.sort_by(|one, other| one.name.cmp(&other.name));
        for (wanted, version, range) in found {
            lock.add(&wanted, &version, files.get(range).unwrap_or_default().to_vec());
        }
        lock.files.extend_from_slice(files.get(rest..end).unwrap_or_default());
        lock.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(lock)
    }

    /// Brings all files of a lock into the cache.
    ///
    /// # Errors
    /// The first one that nobody gives as it is locked.
    pub fn fetch(&self, lock: &Lock) -> Result<(), MirrorError> {
        self.bring(lock.all().into_iter().collect())
    }

    /// Brings these files into the cache, each with the path that it goes by.
    ///
    /// # Errors
    /// The first one that nobody gives as it is locked.
    pub fn bring(&self, files: Vec<(String, &LockedFile)>) -> Result<(), MirrorError> {
        let missing: Vec<(String, &LockedFile)> =
            files.into_iter().filter(|(_, file)| !self.cache.has(&file.sha256, file.size)).collect();
        let mut bytes = 0;
        let mut names = BTreeSet::new();
        for (_, file) in &missing {
            // A file may have several places.
            if names.insert(file.sha256) {
                bytes += file.size.saturating_sub(self.cache.begun(&file.sha256));
            }
        }
        self.make_room(bytes)?;
        let session = self.client.session();
        self.each(&missing, bytes, |(path, file), progress, stop| {
            let expected = Expected::exactly(file.size, file.sha256);
            let urls = [file.url.clone()];
            let file = self.introduced(&session, path, images::headers(path), |headers| {
                let want = Want { title: path, urls: &urls, headers, expected };
                session.file(self.cache, want, |_, _| Ok(()), progress, stop)
            });
            file.map(drop)
        })?;
        Ok(())
    }

    fn find(&self, session: &Session, keys: &Keys, wanted: &Wanted) -> Result<Found, MirrorError> {
        let (channel, architecture) = (wanted.channel.as_str(), wanted.architecture);
        match wanted.system {
            System::Flatcar => {
                let source = &self.sources.flatcar;
                let keys = self.keys(session, &keys.flatcar, source)?;
                let values = [("channel", channel), ("architecture", architecture.name())];
                let base = filled(&source.releases, &values);
                let folder = format!("{base}/{}", wanted.held.as_deref().unwrap_or("current"));
                let url = format!("{folder}/{}", flatcar::VERSION);
                let title = format!("the version of {wanted}");
                let signature =
                    self.text(session, &title, &format!("{url}.sig"), |text| Ok(text.to_vec()))?;
                let version = self.text(session, &title, &url, |text| {
                    keys.verify_detached(&signature, text, self.now).map_err(refused)?;
                    flatcar::version(&String::from_utf8_lossy(text)).map_err(refused)
                })?;
                // By its version from now on: `current` may be another one in a moment.
                let files = flatcar::candidates(&format!("{base}/{version}"));
                same_version(wanted, &version)?;
                Ok(Found { version, keys: Some(keys), files })
            }
            System::FedoraCoreos => {
                let source = &self.sources.fedora_coreos;
                let url = format!("{}/{channel}.json", source.releases);
                let title = format!("the stream of {wanted}");
                let read = |text: &[u8]| fedora::stream(text, channel, architecture).map_err(refused);
                let stream = self.text(session, &title, &url, read)?;
                if wanted.held.as_ref().is_some_and(|held| *held != stream.version) {
                    return Err(MirrorError::Held { wanted: wanted.to_string(), found: stream.version });
                }
                let keys = self.keys(session, &keys.fedora, source)?;
                Ok(Found { version: stream.version, keys: Some(keys), files: stream.files })
            }
            System::Talos => {
                let source = &self.sources.talos;
                let title = format!("the releases of {wanted}");
                let version = match &wanted.held {
                    Some(version) => version.clone(),
                    None => self.text(session, &title, &source.versions, |text| {
                        talos::newest(text, channel).map_err(refused)
                    })?,
                };
                let folder = format!("{}/{version}", source.releases);
                let files = self.text(session, &title, &format!("{folder}/{}", talos::SUMS), |text| {
                    talos::candidates(&folder, &String::from_utf8_lossy(text), architecture).map_err(refused)
                })?;
                Ok(Found { version, keys: None, files })
            }
            // Made by the builder, not fetched.
            System::DebianRam => Ok(Found { version: String::new(), keys: None, files: Vec::new() }),
        }
    }

    /// Puts what the lab wants besides systems into the lock, or what is to be fetched for it among the jobs.
    fn supplies(
        &self,
        session: &Session,
        lab: &Lab,
        old: &Lock,
        lock: &mut Lock,
        jobs: &mut Vec<Job>,
    ) -> Result<(), MirrorError> {
        for supply in wanted::supplies(lab, self.sources) {
            let is_it = |file: &&LockedFile| {
                (&file.path, &file.url) == (&supply.path, &supply.url)
                    && supply.sha256.is_none_or(|sha256| sha256 == file.sha256)
            };
            if let Some(file) = old.files.iter().find(is_it) {
                lock.files.push(file.clone());
                continue;
            }
            let sha256 = match supply.sha256 {
                Some(sha256) => sha256,
                None => {
                    let (title, name) = (format!("the digest of {}", supply.path), supply.name());
                    self.text(session, &title, &format!("{}.sha256", supply.url), |text| {
                        sums::of(&String::from_utf8_lossy(text), name).map_err(refused)
                    })?
                }
            };
            let Supply { path, url, .. } = supply;
            let candidate = Candidate { name: path.clone(), url, sha256: Some(sha256), signature: None };
            jobs.push(Job { title: path, candidate, keys: None });
        }
        Ok(())
    }

    fn keys(
        &self,
        session: &Session,
        cell: &OnceCell<Arc<Keyring>>,
        source: &Signed,
    ) -> Result<Arc<Keyring>, MirrorError> {
        if let Some(keys) = cell.get() {
            return Ok(Arc::clone(keys));
        }
        let url = &source.keys;
        let file =
            self.text(session, "the keys that releases are signed with", url, |text| Ok(text.to_vec()))?;
        let mut keyring = Keyring::default();
        let pinned = keyring.pin_some(&source.pinned, &file);
        pinned.map_err(|source| MirrorError::Keys { url: url.clone(), source })?;
        Ok(Arc::clone(cell.get_or_init(|| Arc::new(keyring))))
    }

    pub(crate) fn text<T>(
        &self,
        session: &Session,
        title: &str,
        url: &str,
        accept: impl Fn(&[u8]) -> Result<T, Fault>,
    ) -> Result<T, MirrorError> {
        let document = session.document(&[url.to_owned()], &Headers::default(), LONGEST_TEXT, accept);
        document.map_err(|failure| MirrorError::of(title, failure))
    }

    /// Makes room for what is to be fetched, as far as it is said how long it is: of the rest it shows when it comes. Of what
    /// came before, and was interrupted, only these files and what is to be fetched now stay.
    fn make_room_for(
        &self,
        session: &Session,
        jobs: &[Job],
        mut kept: BTreeSet<Digest>,
    ) -> Result<(), MirrorError> {
        if self.room.is_none() {
            return Ok(());
        }
        let mut bytes = 0;
        for Job { title, candidate, .. } in jobs {
            let name = Cache::name(candidate.sha256, &candidate.url);
            if !kept.insert(name) {
                continue;
            }
            let length = self.introduced(session, title, Headers::default(), |headers| {
                session.length(&candidate.url, headers)
            })?;
            bytes += length.unwrap_or(0).saturating_sub(self.cache.begun(&name));
        }
        self.cache.keep_only(&kept)?;
        self.make_room(bytes)
    }

    fn make_room(&self, bytes: u64) -> Result<(), MirrorError> {
        let Some(Room(make)) = &self.room else { return Ok(()) };
        if bytes == 0 {
            return Ok(());
        }
        make(bytes).map_err(|free| MirrorError::NoRoom { wanted: bytes, free })
    }

    fn fetch_all(&self, session: &Session, jobs: &[Job]) -> Result<Vec<LockedFile>, MirrorError> {
        self.each(jobs, 0, |job, progress, stop| self.fetch_one(session, job, progress, stop))
    }

    fn fetch_one(
        &self,
        session: &Session,
        job: &Job,
        progress: &Progress,
        stop: &AtomicBool,
    ) -> Result<LockedFile, MirrorError> {
        let Job { title, candidate, keys } = job;
        let Candidate { name, url, sha256, signature } = candidate;
        let signature = match signature {
            Some(url) => Some(self.text(session, title, url, |text| Ok(text.to_vec()))?),
            None => None,
        };
        let accept = |path: &Path, _: &Digest| match (&signature, keys) {
            (Some(signature), Some(keys)) => {
                let content = Content::open(path).map_err(refused)?;
                keys.verify_detached(signature, content, self.now).map_err(refused)
            }
            _ => Ok(()),
        };
        let expected = Expected { size: None, sha256: *sha256, limit: LONGEST_FILE };
        let urls = [url.clone()];
        let (sha256, size) = self.introduced(session, title, Headers::default(), |headers| {
            let want = Want { title, urls: &urls, headers, expected };
            session.file(self.cache, want, accept, progress, stop)
        })?;
        Ok(LockedFile { path: name.clone(), url: url.clone(), size, sha256 })
    }

    /// Does something for each, several at once, and returns what came of it in their order. The first failure ends it.
    fn each<I: Sync, T: Send>(
        &self,
        items: &[I],
        bytes: u64,
        work: impl Fn(&I, &Progress, &AtomicBool) -> Result<T, MirrorError> + Sync,
    ) -> Result<Vec<T>, MirrorError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let progress = Progress::start(self.show, "Fetching", items.len(), bytes);
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let done = Mutex::new((BTreeMap::new(), None));
        let worker = || {
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(place).filter(|_| !stop.load(Ordering::Relaxed)) else { return };
                let outcome = work(item, &progress, &stop);
                let Ok(mut done) = done.lock() else { return };
                match outcome {
                    Ok(value) => drop(done.0.insert(place, value)),
                    // The first one is the one to tell; the others are often its consequence.
                    Err(fault) if !stop.swap(true, Ordering::Relaxed) => done.1 = Some(fault),
                    Err(_) => {}
                }
            }
        };
        thread::scope(|scope| (0..PARALLEL.min(items.len())).for_each(|_| drop(scope.spawn(worker))));
        let (values, fault) = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        match fault {
            Some(fault) => Err(fault),
            None => {
                progress.finish("Fetched", items.len());
                Ok(values.into_values().collect())
            }
        }
    }
}

pub(crate) fn refused(fault: impl std::error::Error + Send + Sync + 'static) -> Fault {
    Fault::Refused(Box::new(fault))
}

/// A version that the lab names has to be the one that comes.
fn same_version(wanted: &Wanted, found: &str) -> Result<(), MirrorError> {
    match &wanted.held {
        Some(held) if held != found => Err(MirrorError::Other {
            wanted: wanted.to_string(),
            asked: held.clone(),
            found: found.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// A channel does not go back by itself.
fn forward(wanted: &Wanted, old: &Lock, found: &str) -> Result<(), MirrorError> {
    match old.serves(wanted) {
        Some(locked) if wanted.held.is_none() && newer(&locked.version, found) => {
            Err(MirrorError::Backwards {
                wanted: wanted.to_string(),
                found: found.to_owned(),
                locked: locked.version.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// A file that can be read from its beginning as often as there are keys.
#[derive(Clone)]
struct Content {
    file: Arc<File>,
    place: u64,
}

impl Content {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Arc::new(File::open(path)?), place: 0 })
    }
}

impl Read for Content {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(block, self.place)?;
        self.place += read as u64;
        Ok(read)
    }
}
