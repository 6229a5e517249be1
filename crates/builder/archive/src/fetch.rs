//! Files from mirrors into the cache: several at once, resumed, retried, verified, renamed into place.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    cache::{Cache, CacheError},
    digest::{Digest, Hasher},
    hosts::{self, Hosts},
    http::{Fault, Http, Patience},
    lock::Origin,
    mirrors::Mirrors,
    progress::{Item, Progress, Show},
};

/// How many files travel at once.
const PARALLEL: usize = 8;

/// What a file is in an archive: it decides what a person can do about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A suite's signed table.
    Release,
    /// A list of packages.
    Index,
    /// A package.
    Package,
}

/// A file that is known by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Want {
    /// For messages.
    pub(crate) title: String,
    pub(crate) kind: FileKind,
    /// Where it may be, relative to the archive's root; the first that works is taken.
    pub(crate) paths: Vec<String>,
    /// Whose it is.
    pub(crate) origin: Origin,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
}

/// What one address answered.
#[derive(Debug)]
pub struct Attempt {
    /// The address.
    pub url: String,
    /// What was wrong with the last answer.
    pub fault: Fault,
}

/// A package that mirrors do not have any more, and no snapshot archive gave either.
#[derive(Debug)]
pub struct GoneFile {
    /// Its name, version and architecture.
    pub title: String,
    /// Its digest in the lock.
    pub sha256: Digest,
    /// The last answer of each address that was tried.
    pub attempts: Vec<Attempt>,
}

/// A file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No mirror gave the right bytes.
    #[error("cannot fetch {title}:{}\n{}", list(.attempts), advice(*.kind, .attempts))]
    Mirrors {
        /// What it was.
        title: String,
        /// What kind of file.
        kind: FileKind,
        /// The last answer of each address that was tried.
        attempts: Vec<Attempt>,
    },
    /// Packages that are nowhere to be had; everything else was fetched.
    #[error(
        "the archives do not have {}any more:{}\narchives drop old versions: `cargo xtask lock --update NAME` moves the \
         lock to what they have now, which a build without --locked does by itself; or name a mirror that has it \
         with --mirror, or a snapshot archive with --snapshot",
        several(.0), list_gone(.0)
    )]
    Gone(Vec<GoneFile>),
    /// There is nowhere to look.
    #[error("no mirror of the archive {0:?} is known")]
    NoMirror(String),
    /// Another file's failure ended it; never the failure that is reported.
    #[error("stopped because another file could not be fetched")]
    Stopped,
    /// The cache cannot take it.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn several(files: &[GoneFile]) -> String {
    match files {
        [only] => format!("{} ", only.title),
        more => format!("{} packages of the lock ", more.len()),
    }
}

fn list_gone(files: &[GoneFile]) -> String {
    files
        .iter()
        .map(|file| format!("\n  {}:{}", file.title, list(&file.attempts).replace('\n', "\n  ")))
        .collect()
}

fn list(attempts: &[Attempt]) -> String {
    let mut lines: Vec<(&Attempt, String, usize)> = Vec::new();
    for attempt in attempts {
        let fault = attempt.fault.to_string();
        let same = |(first, other, _): &&mut (&Attempt, String, usize)| {
            hosts::host(&first.url) == hosts::host(&attempt.url) && *other == fault
        };
        match lines.iter_mut().find(same) {
            Some((_, _, others)) => *others += 1,
            None => lines.push((attempt, fault, 0)),
        }
    }
    let line = |(attempt, fault, others): &(&Attempt, String, usize)| match others {
        0 => format!("\n  {}: {fault}", attempt.url),
        _ => format!("\n  {} (and {others} more there): {fault}", attempt.url),
    };
    lines.iter().map(line).collect()
}

fn advice(kind: FileKind, attempts: &[Attempt]) -> &'static str {
    let any = |test: fn(&Fault) -> bool| attempts.iter().any(|attempt| test(&attempt.fault));
    let wrong = any(Fault::is_wrong_content);
    match kind {
        FileKind::Release if any(|fault| matches!(fault, Fault::Release(_))) => {
            "nothing was believed; try later or name another mirror with --mirror"
        }
        FileKind::Release if any(|fault| matches!(fault, Fault::Missing)) => {
            "no mirror has such a suite: are its name and the mirrors' addresses right? name another mirror with --mirror"
        }
        FileKind::Index if wrong || any(|fault| matches!(fault, Fault::Missing)) => {
            "the mirror's index is not the one that its signed Release names: it is being updated, or stale; nothing \
             of it was believed; try later or name another mirror with --mirror"
        }
        FileKind::Package if wrong => {
            "nothing of it was kept; run the same command again, or name another mirror with --mirror"
        }
        _ => {
            "check the network, then run the same command again: it goes on from what is already here; or name \
             another mirror with --mirror"
        }
    }
}

/// Fetches into one cache from known mirrors.
pub(crate) struct Fetcher<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) mirrors: &'a Mirrors,
    /// Where to look for what the mirrors do not have any more.
    pub(crate) snapshots: &'a Mirrors,
    pub(crate) patience: Patience,
    pub(crate) show: Show,
    pub(crate) hosts: Hosts,
    /// Made when first needed: it reads the machine's certificates, which takes a quarter of a second.
    pub(crate) http: &'a OnceLock<Http>,
}

/// How one try at one address ended, when not well.
enum Setback {
    /// It is this address's fault; `moved` when new bytes came all the same.
    Mirror { fault: Fault, moved: bool },
    /// No other address would help.
    Fatal(FetchError),
}

impl From<CacheError> for Setback {
    fn from(fault: CacheError) -> Self {
        Self::Fatal(fault.into())
    }
}

impl From<Fault> for Setback {
    fn from(fault: Fault) -> Self {
        Self::Mirror { fault, moved: false }
    }
}

impl<'a> Fetcher<'a> {
    /// Brings all of `wants` into the cache. What is there already costs nothing. After the first failure no new
    /// file is begun, but for packages that are gone, which do not hinder the others; what was fetched stays, whole
    /// or in part.
    pub(crate) fn all(&self, wants: &[Want]) -> Result<(), FetchError> {
        let mut gone = Vec::new();
        for (_, fault) in self.run(wants, |fault| matches!(fault, FetchError::Gone(_))) {
            match fault {
                FetchError::Gone(files) => gone.extend(files),
                other => return Err(other),
            }
        }
        if gone.is_empty() { Ok(()) } else { Err(FetchError::Gone(gone)) }
    }

    /// Brings those of `wants` into the cache that can be had. Returns the others' places in the list and why not.
    pub(crate) fn each(&self, wants: &[Want]) -> Vec<(usize, FetchError)> {
        self.run(wants, |_| true)
    }

    /// The failures by their place in `wants`; one that is not `bearable` ends the run and comes first.
    fn run(&self, wants: &[Want], bearable: fn(&FetchError) -> bool) -> Vec<(usize, FetchError)> {
        let mut missing: Vec<(usize, &Want)> =
            wants.iter().enumerate().filter(|(_, want)| !self.cache.has(&want.sha256, want.size)).collect();
        // The largest first: the last thread to finish then finishes soonest.
        missing.sort_by_key(|(_, want)| (std::cmp::Reverse(want.size), want.sha256));
        missing.dedup_by_key(|(_, want)| want.sha256);
        if missing.is_empty() {
            return Vec::new();
        }
        let bytes = missing.iter().map(|(_, want)| want.size).sum();
        let progress = Progress::start(self.show, "Fetching", missing.len(), bytes);
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failures = Mutex::new(Vec::new());
        let work = || {
            while let Some((place, want)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Err(fault) = self.one(want, &progress, &stop) else { continue };
                let Ok(mut failures) = failures.lock() else { return };
                if bearable(&fault) {
                    failures.push((*place, fault));
                } else if !stop.swap(true, Ordering::Relaxed) {
                    // The first one is the one to tell; the others are often its consequence.
                    failures.insert(0, (*place, fault));
                }
            }
        };
        thread::scope(|scope| (0..PARALLEL.min(missing.len())).for_each(|_| drop(scope.spawn(work))));
        let failures = failures.into_inner().unwrap_or_default();
        if failures.is_empty() {
            progress.finish("Fetched", missing.len());
        }
        failures
    }

    /// Fetches a Release from the first mirror whose copy `accept` takes.
    pub(crate) fn document<T>(
        &self,
        title: &str,
        archive: &str,
        path: &str,
        limit: u64,
        accept: impl Fn(&[u8]) -> Result<T, Fault>,
    ) -> Result<T, FetchError> {
        let urls = self.urls(archive, &[path.to_owned()])?;
        self.rounds(title, FileKind::Release, &urls, &AtomicBool::new(false), |url| {
            let mut body = self.http()?.get(url, 0)?;
            let (mut text, mut block) = (Vec::new(), vec![0; 1 << 16]);
            loop {
                match body.read(&mut block)? {
                    0 => break,
                    read => text.extend_from_slice(&block[..read]),
                }
                if text.len() as u64 > limit {
                    return Err(Fault::Size { expected: limit, found: None }.into());
                }
            }
            Ok(accept(&text)?)
        })
    }

    fn one(&self, want: &Want, progress: &Progress, stop: &AtomicBool) -> Result<(), FetchError> {
        let path = self.cache.partial(&want.sha256);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(CacheError::io("open", &path))?;
        // Another builder may fetch the same file. File systems without locks go without this courtesy: both then
        // write the same bytes.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            progress.say(&format!("{}: another builder is at it, waiting", want.title));
            let _ = file.lock();
        }
        if self.cache.has(&want.sha256, want.size) {
            progress.item(&want.title, want.size, want.size);
            // Empty, and whoever waits for it looks at the finished one first.
            let _ = std::fs::remove_file(&path);
            return Ok(());
        }
        let mut hasher = Hasher::default();
        let have = resume(&mut file, &mut hasher, want.size).map_err(CacheError::io("read", &path))?;
        let item = progress.item(&want.title, want.size, have);
        let mut partial = Partial { want, path: path.clone(), file, hasher, have, item };
        let urls = self.urls(&want.origin.archive, &want.paths)?;
        let mut get = |urls: &[String]| {
            self.rounds(&want.title, want.kind, urls, stop, |url| partial.complete(self.http()?, url, stop))
        };
        if let Err(fault) = get(&urls) {
            self.elsewhere(want, fault, get)?;
            progress.say(&format!("{}: taken from the snapshot archive, for no mirror has it", want.title));
        }
        let object = self.cache.object(&want.sha256);
        std::fs::rename(&path, &object).map_err(CacheError::io("rename into place", &object))?;
        Ok(())
    }

    /// Asks the snapshot archive for what the mirrors, which ended with `fault`, dropped.
    fn elsewhere(
        &self,
        want: &Want,
        fault: FetchError,
        mut get: impl FnMut(&[String]) -> Result<(), FetchError>,
    ) -> Result<(), FetchError> {
        let FetchError::Mirrors { title, kind, mut attempts } = fault else { return Err(fault) };
        let wrong = attempts.iter().any(|attempt| attempt.fault.is_wrong_content());
        let gone = attempts.iter().any(|attempt| matches!(attempt.fault, Fault::Missing));
        // A mirror with another index than its Release names is as good as one without. A wrong package, or no
        // answer at all, is another matter: that has to be seen.
        let elsewhere = gone || wrong && kind == FileKind::Index;
        if !elsewhere {
            return Err(FetchError::Mirrors { title, kind, attempts });
        }
        match get(&self.snapshot_urls(want)) {
            Ok(()) => return Ok(()),
            Err(FetchError::Mirrors { attempts: more, .. }) => attempts.extend(more),
            Err(other) => return Err(other),
        }
        let wrong = attempts.iter().any(|attempt| attempt.fault.is_wrong_content());
        if kind == FileKind::Package && !wrong {
            return Err(FetchError::Gone(vec![GoneFile { title, sha256: want.sha256, attempts }]));
        }
        Err(FetchError::Mirrors { title, kind, attempts })
    }

    /// Tries every address, again and again as long as one of them may still do better.
    fn rounds<T>(
        &self,
        title: &str,
        kind: FileKind,
        urls: &[String],
        stop: &AtomicBool,
        mut attempt: impl FnMut(&str) -> Result<T, Setback>,
    ) -> Result<T, FetchError> {
        let mut open: Vec<&String> = urls.iter().collect();
        let mut last: Vec<Option<Fault>> = urls.iter().map(|_| None).collect();
        // Rounds since the last new byte.
        let (mut fruitless, mut pause) = (0, self.patience.pause);
        loop {
            fruitless += 1;
            let mut still = Vec::new();
            for url in open {
                if stop.load(Ordering::Relaxed) {
                    return Err(FetchError::Stopped);
                }
                let (fault, moved) = match attempt(url) {
                    Ok(value) => {
                        self.hosts.answered(url);
                        return Ok(value);
                    }
                    Err(Setback::Fatal(fault)) => return Err(fault),
                    Err(Setback::Mirror { fault, moved }) => (fault, moved),
                };
                if moved || !fault.is_silence() {
                    self.hosts.answered(url);
                } else {
                    self.hosts.silent(url);
                }
                if fault.is_transient() {
                    still.push(url);
                }
                if moved {
                    (fruitless, pause) = (0, self.patience.pause);
                }
                if let Some(place) = urls.iter().position(|other| other == url) {
                    last[place] = Some(fault);
                }
            }
            open = still;
            // Once one says that it is gone, nobody is waited for.
            let gone = last.iter().any(|fault| matches!(fault, Some(Fault::Missing)));
            if open.is_empty() || gone || fruitless >= self.patience.rounds {
                break;
            }
            thread::sleep(pause);
            pause *= 2;
        }
        let attempts = urls
            .iter()
            .zip(last)
            .filter_map(|(url, fault)| Some(Attempt { url: url.clone(), fault: fault? }));
        Err(FetchError::Mirrors { title: title.into(), kind, attempts: attempts.collect() })
    }

    fn urls(&self, archive: &str, paths: &[String]) -> Result<Vec<String>, FetchError> {
        let mirrors = self.mirrors.get(archive).filter(|mirrors| !mirrors.is_empty());
        let mirrors = mirrors.ok_or_else(|| FetchError::NoMirror(archive.into()))?;
        let urls = mirrors.iter().flat_map(|mirror| paths.iter().map(move |path| format!("{mirror}/{path}")));
        let urls = self.hosts.in_order(urls.collect());
        let lively: Vec<String> = urls.iter().filter(|url| !self.hosts.is_dead(url)).cloned().collect();
        Ok(if lively.is_empty() { urls } else { lively })
    }

    fn snapshot_urls(&self, want: &Want) -> Vec<String> {
        let bases = self.snapshots.get(&want.origin.archive).into_iter().flatten();
        let urls = bases.flat_map(|base| {
            let stamps = want.origin.snapshots();
            stamps.flat_map(move |stamp| want.paths.iter().map(move |path| format!("{base}/{stamp}/{path}")))
        });
        urls.filter(|url| !self.hosts.is_dead(url)).collect()
    }

    fn http(&self) -> Result<&Http, Fault> {
        match self.http.get() {
            Some(http) => Ok(http),
            None => {
                let http = Http::new(self.patience)?;
                Ok(self.http.get_or_init(|| http))
            }
        }
    }
}

/// A file on its way into the cache.
struct Partial<'p> {
    want: &'p Want,
    path: PathBuf,
    file: File,
    /// Of the bytes that are here.
    hasher: Hasher,
    have: u64,
    item: Item<'p>,
}

impl Partial<'_> {
    /// Gets what is missing from `url` and checks the whole.
    fn complete(&mut self, http: &Http, url: &str, stop: &AtomicBool) -> Result<(), Setback> {
        let resumed = self.have > 0;
        if self.have < self.want.size || self.want.size == 0 {
            self.pull(http, url, stop)?;
        }
        let found = self.hasher.clone().finish();
        if found == self.want.sha256 {
            return Ok(());
        }
        self.start_anew()?;
        if resumed {
            // The fault may lie in what was here before, not in this mirror.
            return self.complete(http, url, stop);
        }
        Err(Fault::Tampered { expected: self.want.sha256, found }.into())
    }

    fn pull(&mut self, http: &Http, url: &str, stop: &AtomicBool) -> Result<(), Setback> {
        let before = self.have;
        let mut body = http.get(url, self.have)?;
        let expected = self.want.size;
        if let Some(found) = body.whole().filter(|found| *found != expected) {
            return Err(Fault::Size { expected, found: Some(found) }.into());
        }
        if body.start != self.have {
            self.start_anew()?;
        }
        let mut block = vec![0; 1 << 16];
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(Setback::Fatal(FetchError::Stopped));
            }
            let moved = self.have > before;
            let read = body.read(&mut block).map_err(|fault| Setback::Mirror { fault, moved })?;
            if read == 0 {
                break;
            }
            if self.have + read as u64 > expected {
                self.start_anew()?;
                return Err(Fault::Size { expected, found: None }.into());
            }
            self.file.write_all(&block[..read]).map_err(CacheError::io("write", &self.path))?;
            self.hasher.update(&block[..read]);
            self.have += read as u64;
            self.item.add(read as u64);
        }
        if self.have < expected {
            let fault = Fault::Short { got: self.have, expected };
            return Err(Setback::Mirror { fault, moved: self.have > before });
        }
        Ok(())
    }

    fn start_anew(&mut self) -> Result<(), CacheError> {
        self.item.take_back(self.have);
        (self.have, self.hasher) = (0, Hasher::default());
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map(drop).map_err(CacheError::io("write", &self.path))
    }
}

/// Takes up what is in a partial file: digests it and stands behind it. One that is too long is emptied.
fn resume(file: &mut File, hasher: &mut Hasher, size: u64) -> std::io::Result<u64> {
    if file.metadata()?.len() > size {
        file.set_len(0)?;
    }
    let (mut have, mut block) = (0, vec![0; 1 << 17]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(have),
            read => {
                hasher.update(&block[..read]);
                have += read as u64;
            }
        }
    }
}
